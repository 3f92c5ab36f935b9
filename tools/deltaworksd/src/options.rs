//! What the command line says, with its defaults.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use clap::builder::RangedU64ValueParser;
use clap::value_parser;
use deltaworks_pipeline::limits::CREDIT_FLOOR_BYTES;
use deltaworks_runtime::chunk_memory::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN};

/// 16 TiB.
const BUDGET_MIB_MAX: u64 = 1 << 24;
/// Messages of 40 bytes, in each of the rings.
const RING_CAPACITY_MAX: u64 = 1 << 20;
/// A minute: who wants no sleep at all gets it.
const SPIN_US_MAX: u64 = 60_000_000;
/// 1 GiB.
const CREDIT_BYTES_MAX: i64 = 1 << 30;
/// A year.
const SECONDS_MAX: u64 = 365 * 86_400;

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
    #[arg(long, value_name = "MIB", value_parser = value_parser!(u64).range(1..=BUDGET_MIB_MAX))]
    pub budget_mib: Option<u64>,
    /// Documents at most (default 100,000 at 256 MiB).
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u32).range(1..))]
    pub documents: Option<u32>,
    /// Cores at most (default: what the plan finds in this process's CPU mask).
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u16).range(1..))]
    pub cores: Option<u16>,
    /// Bytes of a chunk: a power of two; small ones recycle soon, for tests.
    #[arg(long, value_name = "BYTES", default_value_t = 2 << 20, value_parser = chunk_bytes)]
    pub chunk_bytes: usize,
    /// Messages that a ring between two cores holds; 1 is slow and right, for tests.
    #[arg(long, value_name = "COUNT",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=RING_CAPACITY_MAX))]
    pub ring_capacity: Option<usize>,
    /// How long a core stays awake without work, in microseconds.
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 20,
        value_parser = value_parser!(u64).range(..=SPIN_US_MAX))]
    pub spin_us: u64,
    /// Credit of each writer, in bytes; 4,096 at least.
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 10,
        value_parser = value_parser!(u32).range(i64::from(CREDIT_FLOOR_BYTES)..=CREDIT_BYTES_MAX))]
    pub credit_bytes: u32,
    /// Unfinished messages end their session after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10,
        value_parser = value_parser!(u64).range(1..=SECONDS_MAX))]
    pub message_deadline_seconds: u64,
    /// A document that nobody has open is unloaded after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300,
        value_parser = value_parser!(u64).range(..=SECONDS_MAX))]
    pub idle_unload_seconds: u64,
    /// How long an orderly end may take after SIGTERM, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 20,
        value_parser = value_parser!(u64).range(..=SECONDS_MAX))]
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

fn chunk_bytes(text: &str) -> Result<usize, String> {
    let bytes: usize = text.parse().map_err(|error| format!("{error}"))?;
    let is_possible =
        bytes.is_power_of_two() && (CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&bytes);
    let range = format!("a power of two from {CHUNK_BYTES_MIN} to {CHUNK_BYTES_MAX}");
    if is_possible { Ok(bytes) } else { Err(range) }
}
