//! What the daemon tells when it accepts connections: the start lines, and the ready file.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use deltaworks_server::Server;
use tracing::{info, warn};

use crate::housekeeping::Housekeeping;

/// Logs where the daemon listens, what it keeps in memory, and what the system did not grant.
pub fn log(server: &Server, budget_bytes: u64) {
    for downgrade in server.downgrades() {
        warn!("{downgrade}");
    }
    info!("budget {} MiB; documents are kept in memory only", budget_bytes >> 20);
    for address in server.tcp() {
        info!("listening on tcp {address}");
    }
    for path in server.unix() {
        info!("listening on unix {}", path.display());
    }
}

/// Logs what became of connections, with the calls that it took to accept them.
pub fn log_connections(server: &Server) {
    let counts = server.accept_counts();
    info!(
        attempts = counts.attempts,
        accepted = counts.accepted,
        refused_sessions = counts.refused_sessions,
        refused_address = counts.refused_address,
        refused_descriptors = counts.refused_descriptors,
        aborted = counts.aborted,
        pauses = counts.pauses,
        "connections"
    );
}

/// Writes the addresses and the process id aside and renames them, so that whoever sees the file
/// sees all of it.
///
/// # Errors
/// If it cannot be written.
pub fn write_ready_file(
    path: &Path,
    server: &Server,
    housekeeping: &Housekeeping,
) -> io::Result<()> {
    let mut text = String::new();
    for address in server.tcp() {
        let _ = writeln!(text, "tcp={address}");
    }
    for socket in server.unix() {
        let _ = writeln!(text, "unix={}", socket.display());
    }
    if let Some(address) = housekeeping.http() {
        let _ = writeln!(text, "http={address}");
    }
    if let Some(path) = housekeeping.admin() {
        let _ = writeln!(text, "admin={}", path.display());
    }
    let _ = writeln!(text, "pid={}", std::process::id());
    // A name is put in the place of what stands there, which must not be a device.
    if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "there is something that is no file",
        ));
    }
    let aside = path.with_extension("part");
    let placed = std::fs::write(&aside, text).and_then(|()| std::fs::rename(&aside, path));
    placed.inspect_err(|_| {
        let _ = std::fs::remove_file(&aside);
    })
}
