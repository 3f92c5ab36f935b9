//! What the command line says, with its defaults.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// Delta server: orders, checks and fans out small changes to named documents.
///
/// Documents are kept in memory only: they are gone when the daemon ends. Binds what --tcp and
/// --unix say, and 127.0.0.1:7710 if they say nothing.
#[derive(Debug, Parser)]
#[command(name = "deltaworksd", version, after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Listens for TCP connections here; port 0 takes a free one. May be given again.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub tcp: Vec<SocketAddr>,
    /// Listens for connections on this Unix socket. May be given again.
    #[arg(long, value_name = "PATH")]
    pub unix: Vec<PathBuf>,
    /// Listens on addresses other than loopback, although nobody is asked who they are.
    #[arg(long)]
    pub insecure: bool,
    /// Adds a collection: opaque, or a JSON Type Definition over CBOR. May be given again.
    #[arg(long, value_name = "NAME=KIND[:SCHEMA-FILE]")]
    pub collection: Vec<String>,
    /// Memory for everything that clients can make grow, in MiB (default 256, or 64 a core).
    #[arg(long, value_name = "MIB")]
    pub budget_mib: Option<u64>,
    /// Documents at most (default 100,000 at 256 MiB).
    #[arg(long, value_name = "COUNT")]
    pub documents: Option<u32>,
    /// Cores at most (default: what the plan finds in this process's CPU mask).
    #[arg(long, value_name = "COUNT")]
    pub cores: Option<u16>,
    /// Bytes of a chunk: a power of two; small ones recycle soon, for tests.
    #[arg(long, value_name = "BYTES", default_value_t = 2 << 20)]
    pub chunk_bytes: usize,
    /// Messages that a ring between two cores holds; 1 is slow and right, for tests.
    #[arg(long, value_name = "COUNT")]
    pub ring_capacity: Option<usize>,
    /// How long a core stays awake without work, in microseconds.
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 20)]
    pub spin_us: u64,
    /// Credit of each writer, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 10)]
    pub credit_bytes: u32,
    /// Unfinished messages end their session after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub message_deadline_seconds: u64,
    /// A document that nobody has open is unloaded after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub idle_unload_seconds: u64,
    /// How long an orderly end may take after SIGTERM, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    pub drain_seconds: u64,
    /// Writes the addresses and the process id here once connections are accepted.
    #[arg(long, value_name = "PATH")]
    pub ready_file: Option<PathBuf>,
    /// Prints the worst case of the memory budget by kind, and ends.
    #[arg(long)]
    pub print_budget: bool,
}

const EXAMPLES: &str = "\
Examples:
  deltaworksd
  deltaworksd --unix /run/deltaworks.sock --tcp 127.0.0.1:7710
  deltaworksd --collection notes=cbor:note.jtd.json --budget-mib 1024
  deltaworksd --print-budget

SIGTERM and SIGINT end in order: no connection is accepted, what was accepted reaches the
subscribers that are connected, sessions are told. A second signal ends at once.

Exit codes:
  0  ended in order, everything was delivered
  1  did not start
  2  the command line is wrong
  3  ended with sessions cut: the time was up, or a second signal came
  4  a core failed";
