//! The main thread while the daemon serves: it waits for signals and looks whether cores live.
//!
//! Owned by the main thread; it looks every [`WATCH`] and does nothing else.

use std::time::Duration;

use deltaworks_server::Server;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Time between two looks.
pub const WATCH: Duration = Duration::from_millis(100);

/// What ended the watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A signal that asks for an orderly end.
    Asked,
    /// A core ended although nobody asked.
    CoreFailed,
}

/// Signals that the daemon takes; those that come before the watch wait for it.
///
/// # Errors
/// If the system refuses.
pub fn take_signals() -> std::io::Result<Signals> {
    Signals::new([SIGTERM, SIGINT, SIGHUP])
}

/// Waits until the server is to end; calls `reload` at each SIGHUP, and `tick` at each look.
pub fn watch(
    server: &Server,
    signals: &mut Signals,
    mut reload: impl FnMut(),
    mut tick: impl FnMut(),
) -> Ended {
    loop {
        let (mut ends, mut reloads) = (false, false);
        for signal in signals.pending() {
            ends |= signal != SIGHUP;
            reloads |= signal == SIGHUP;
        }
        if ends {
            return Ended::Asked;
        }
        if server.has_failed() {
            return Ended::CoreFailed;
        }
        if reloads {
            reload();
        }
        tick();
        std::thread::sleep(WATCH);
    }
}

/// Whether a signal that asks for the end has come again; SIGHUP has no meaning any more.
pub fn is_asked_again(signals: &mut Signals) -> bool {
    signals.pending().any(|signal| signal != SIGHUP)
}
