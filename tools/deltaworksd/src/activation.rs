//! Sockets that the service manager listens on and hands to the daemon at its start.
//!
//! Belongs to the daemon's first moments. The manager keeps them when the daemon ends, so that
//! nobody is refused while it is restarted. What is handed over and is no listening stream socket
//! is refused, as is an address that everybody can reach, unless that is meant.
//!
//! | variable | says |
//! |---|---|
//! | LISTEN_PID | whom they are for; another process's are left alone |
//! | LISTEN_FDS | how many, from descriptor 3 on |
//! | LISTEN_FDNAMES | their names, with colons between them |

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use deltaworks_server::Inherited;
use tracing::info;

/// What the daemon was handed, each with its name; nothing when it is asked again.
///
/// # Errors
/// If it is nothing that sessions can come from.
pub fn inherited(insecure: bool) -> Result<Vec<(String, Inherited)>, String> {
    static TAKEN: OnceLock<()> = OnceLock::new();
    if TAKEN.set(()).is_err() {
        return Ok(Vec::new());
    }
    let wrong = |error| format!("inherited sockets: {error}");
    // Names are judged only where there are sockets: those of another process are not ours to judge.
    if sd_notify::listen_fds().map_err(wrong)?.len() == 0 {
        return Ok(Vec::new());
    }
    let handed = sd_notify::listen_fds_with_names().map_err(wrong)?;
    // All of them are owned before one is refused.
    let owned: Vec<(String, OwnedFd)> = handed.map(|(raw, name)| (name, own(raw))).collect();
    owned.into_iter().map(|(name, descriptor)| judge(name, descriptor, insecure)).collect()
}

fn judge(name: String, descriptor: OwnedFd, insecure: bool) -> Result<(String, Inherited), String> {
    let wrong = |why: String| format!("inherited socket {name:?}: {why}");
    let socket =
        Inherited::from_descriptor(descriptor).map_err(|error| wrong(error.to_string()))?;
    if let Inherited::Tcp(listener) = &socket {
        let address = listener.local_addr().map_err(|error| wrong(error.to_string()))?;
        if !address.ip().to_canonical().is_loopback() && !insecure {
            let why = "is no loopback address, and nobody would be asked who they are";
            return Err(wrong(format!("{address} {why}; set insecure if that is meant")));
        }
    }
    info!("serving the inherited socket {name:?}");
    Ok((name, socket))
}

#[expect(unsafe_code, reason = "the service manager hands descriptors over by number")]
fn own(descriptor: RawFd) -> OwnedFd {
    // SAFETY: by the variables that were read the descriptor was left to this process; it is open,
    // since it has just been marked to be closed on exec; and it is taken once, as `TAKEN` says.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn judged(address: &str, insecure: bool) -> Result<(String, Inherited), String> {
        let listener = TcpListener::bind(address).expect("a listener");
        judge("web".to_owned(), listener.into(), insecure)
    }

    #[test]
    fn addresses_that_everybody_reaches_are_refused() {
        assert!(judged("127.0.0.1:0", false).is_ok());
        assert!(judged("0.0.0.0:0", true).is_ok());
        let refused = judged("0.0.0.0:0", false).expect_err("everybody");
        assert!(refused.contains("\"web\"") && refused.contains("insecure"), "{refused}");
        assert!(judged("[::]:0", false).is_err());
    }
}
