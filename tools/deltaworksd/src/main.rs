//! The deltaworks daemon: options, plan, server, signals, an orderly end.
#![forbid(unsafe_code)]

mod collections;
mod options;
mod placement;
mod planted;

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use deltaworks_pipeline::limits::Limits;
use deltaworks_protocol::server::Config as ProtocolConfig;
use deltaworks_runtime::idle::IdleBudget;
use deltaworks_server::sizing::{Sizing, SizingRequest, size};
use deltaworks_server::{AccessConfig, CorePlacement, Server, ServerConfig, Stopped};
use options::Options;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

const NOT_STARTED: u8 = 1;
const WRONG_USAGE: u8 = 2;
const CUT: u8 = 3;
const FAILED: u8 = 4;

/// Time between two looks at whether the cores still live.
const WATCH: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(code) => code,
        Err((code, message)) => {
            eprintln!("deltaworksd: {message}");
            ExitCode::from(code)
        }
    }
}

type Failure = (u8, String);

fn run(options: &Options) -> Result<ExitCode, Failure> {
    let usage = |message: String| (WRONG_USAGE, message);
    let not_started = |message: String| (NOT_STARTED, message);
    let placement = placement::place(options.cores).map_err(not_started)?;
    let sizing = sizing(options, &placement.cores).map_err(usage)?;
    if options.print_budget {
        print!("{}", budget_table(&sizing));
        return Ok(ExitCode::SUCCESS);
    }
    let tcp = addresses(options).map_err(usage)?;
    let collections = collections::read(&options.collection).map_err(usage)?;
    // Signals are taken from here on, so that one that comes early is not lost.
    let mut signals = Signals::new([SIGTERM, SIGINT])
        .map_err(|error| not_started(format!("signals: {error}")))?;
    for note in &placement.notes {
        eprintln!("deltaworksd: {note}");
    }
    let config = server_config(options, tcp, placement.cores, collections, &sizing);
    let server = planted::start(config)?;
    announce(&server, &sizing);
    if let Some(path) = &options.ready_file {
        write_ready_file(path, &server, &options.unix)
            .map_err(|error| not_started(format!("{}: {error}", path.display())))?;
    }
    loop {
        if signals.pending().next().is_some() {
            break;
        }
        if server.has_failed() {
            server.stop(Duration::ZERO, || true);
            return Err((FAILED, "a core failed; what was in memory is gone".to_owned()));
        }
        std::thread::sleep(WATCH);
    }
    eprintln!("deltaworksd: ending in order, {} sessions", server.session_count());
    let drain = Duration::from_secs(options.drain_seconds);
    match server.stop(drain, || signals.pending().next().is_some()) {
        Stopped::Complete => {
            eprintln!("deltaworksd: ended, everything was delivered");
            Ok(ExitCode::SUCCESS)
        }
        Stopped::Cut { sessions } => {
            eprintln!("deltaworksd: ended, {sessions} sessions were cut");
            Ok(ExitCode::from(CUT))
        }
    }
}

fn sizing(options: &Options, cores: &[CorePlacement]) -> Result<Sizing, String> {
    let count = |pick: fn(&CorePlacement) -> bool| cores.iter().filter(|it| pick(it)).count();
    size(SizingRequest {
        budget_bytes: options.budget_mib.map(|mib| mib << 20),
        cores: cores.len() as u32,
        session_cores: count(|core| core.role.serves_sessions) as u32,
        workers: count(|core| core.role.owns_documents) as u32,
        documents: options.documents,
        chunk_bytes: options.chunk_bytes as u64,
    })
    .map_err(|error| error.to_string())
}

fn addresses(options: &Options) -> Result<Vec<SocketAddr>, String> {
    if options.tcp.is_empty() && options.unix.is_empty() {
        return Ok(vec![SocketAddr::from(([127, 0, 0, 1], 7710))]);
    }
    for address in &options.tcp {
        if !address.ip().is_loopback() && !options.insecure {
            return Err(format!(
                "{address} is no loopback address, and nobody would be asked who they are; \
                 give --insecure if that is meant"
            ));
        }
    }
    Ok(options.tcp.clone())
}

fn server_config(
    options: &Options,
    tcp: Vec<SocketAddr>,
    cores: Vec<CorePlacement>,
    collections: deltaworks_pipeline::collection::Collections,
    sizing: &Sizing,
) -> ServerConfig {
    let limits = Limits {
        credit_bytes: options.credit_bytes,
        message_deadline_ns: options.message_deadline_seconds * 1_000_000_000,
        idle_unload_ns: options.idle_unload_seconds * 1_000_000_000,
        ..sizing.limits.clone()
    };
    let mut protocol = ProtocolConfig::default();
    protocol.limits.image_bytes_max = limits.image_bytes_max;
    protocol.limits.deltas_per_batch_max = limits.deltas_per_batch_max;
    protocol.documents_per_session_max = limits.handles_per_session_max;
    protocol.name_bytes_max = limits.name_bytes_max;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    ServerConfig {
        cores,
        tcp,
        unix: options.unix.clone(),
        access: AccessConfig::default(),
        collections,
        limits,
        chunks_per_core: sizing.chunks_per_core,
        chunk_bytes: options.chunk_bytes,
        node_blocks: sizing.node_blocks,
        ring_capacity: options.ring_capacity.unwrap_or(sizing.ring_capacity),
        control_bytes_per_core_max: sizing.control_bytes_per_core_max,
        idle: IdleBudget { spin_ns: options.spin_us * 1000, yield_ns: 0 },
        protocol,
        epoch_seed: now.as_nanos() as u64 ^ u64::from(std::process::id()) << 40,
    }
}

fn announce(server: &Server, sizing: &Sizing) {
    for downgrade in server.downgrades() {
        eprintln!("deltaworksd: {downgrade}");
    }
    let mib = sizing.budget_bytes >> 20;
    eprintln!("deltaworksd: budget {mib} MiB; documents are kept in memory only");
    for address in server.tcp() {
        eprintln!("deltaworksd: listening on tcp {address}");
    }
    for path in server.unix() {
        eprintln!("deltaworksd: listening on unix {}", path.display());
    }
}

/// Written aside and renamed, so that whoever sees the file sees all of it.
fn write_ready_file(path: &Path, server: &Server, unix: &[std::path::PathBuf]) -> io::Result<()> {
    let mut text = String::new();
    for address in server.tcp() {
        let _ = writeln!(text, "tcp={address}");
    }
    for socket in unix {
        let _ = writeln!(text, "unix={}", socket.display());
    }
    let _ = writeln!(text, "pid={}", std::process::id());
    let aside = path.with_extension("part");
    std::fs::write(&aside, text)?;
    std::fs::rename(aside, path)
}

fn budget_table(sizing: &Sizing) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:<18} {:>10} {:>12} {:>12}  when full",
        "kind", "bytes each", "at most", "MiB"
    );
    for row in &sizing.rows {
        let mib = row.bytes() as f64 / f64::from(1 << 20);
        let _ = writeln!(
            text,
            "{:<18} {:>10} {:>12} {mib:>12.1}  {}",
            row.kind, row.each_bytes, row.count, row.when_full
        );
    }
    let all = sizing.worst_case_bytes() as f64 / f64::from(1 << 20);
    let budget = sizing.budget_bytes >> 20;
    let _ = writeln!(text, "{:<18} {:>10} {:>12} {all:>12.1}  of {budget} MiB", "all", "", "");
    text
}
