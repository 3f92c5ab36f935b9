//! The watchdog: the service manager hears that the daemon lives only while every core turns.
//!
//! A thread of its own, so that it goes on while the server drains. Three times in the manager's
//! interval it rings every core's doorbell and then looks: a core that sleeps turns when it is rung,
//! a core that is held does not, and then the manager is not told, and restarts the daemon in the
//! end. It never waits for a core, and takes no lock. It ends with the process.

use std::io;
use std::thread::{Builder, sleep};
use std::time::Duration;

use deltaworks_server::Observer;
use sd_notify::NotifyState;
use tracing::{info, warn};

/// Looks in the manager's interval: one may be missed because the machine is slow.
const LOOKS: u32 = 3;

/// The interval in which the service manager wants to hear of this process; none if it does not.
pub fn interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())
}

/// Begins to watch, and to tell.
///
/// # Errors
/// If there is no thread to be had.
pub fn begin(observer: Observer, interval: Duration) -> io::Result<()> {
    let mut watchdog = Watchdog { told: observer.turns(), held: Vec::new() };
    let pause = interval / LOOKS;
    Builder::new().name("watchdog".to_owned()).spawn(move || {
        loop {
            observer.ring();
            sleep(pause);
            if watchdog.look(&observer.turns()) {
                // What cannot be told is missed by the manager, which is what it is for.
                let _ = sd_notify::notify(&[NotifyState::Watchdog]);
            }
        }
    })?;
    Ok(())
}

#[derive(Debug)]
struct Watchdog {
    /// The cores' turns when the manager was told last.
    told: Vec<u64>,
    /// The cores that have not turned since, as last logged.
    held: Vec<usize>,
}

impl Watchdog {
    /// Whether every core has turned since this said so last.
    fn look(&mut self, turns: &[u64]) -> bool {
        let pairs = turns.iter().zip(&self.told).enumerate();
        let held: Vec<usize> =
            pairs.filter(|(_, (now, told))| now == told).map(|(core, _)| core).collect();
        if held != self.held {
            if held.is_empty() {
                info!("every core turns again");
            } else {
                warn!("cores {held:?} do not turn; the service manager is not told");
            }
        }
        self.held = held;
        if self.held.is_empty() {
            self.told.copy_from_slice(turns);
        }
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_core_that_stands_is_enough() {
        let mut watchdog = Watchdog { told: vec![5, 7, 9], held: vec![] };
        assert!(watchdog.look(&[6, 8, 10]));
        assert!(!watchdog.look(&[7, 8, 11]));
        assert_eq!(watchdog.held, [1]);
        // The others' turns count from the last time that the manager was told.
        assert!(!watchdog.look(&[7, 8, 11]));
        assert!(watchdog.look(&[7, 9, 11]), "all have turned since");
        assert!(!watchdog.look(&[7, 9, 11]));
        assert!(watchdog.look(&[u64::MAX, 0, 12]), "a counter that has wrapped has turned");
    }
}
