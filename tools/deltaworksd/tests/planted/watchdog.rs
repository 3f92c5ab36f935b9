//! One core's thread is held: the service manager hears no more that the daemon lives.

use std::time::Duration;

use crate::daemon::{Daemon, Folder, SMALL, eventually};
use crate::notify_socket::Manager;
use crate::planting::planted;
use crate::wire::Peer;

/// What the manager wants to hear in.
const INTERVAL_US: u64 = 300_000;

fn managed(faults: &str) -> (Daemon, Manager) {
    let folder = Folder::new();
    let mut command = planted(faults);
    let manager = Manager::of(&mut command, &folder);
    command.env("WATCHDOG_USEC", INTERVAL_US.to_string());
    (Daemon::start_as(command, folder, &[&SMALL[..], &["--cores", "2"]].concat()), manager)
}

/// Nothing comes while a core is held, although all others turn and serve: for long enough that the
/// manager would restart the daemon.
#[test]
fn a_held_core_silences_the_watchdog() {
    let (daemon, manager) = managed("wedge:1:2");
    manager.until("WATCHDOG=1");
    // Half of them on the core that goes on.
    let mut peers: Vec<Peer> = (0..2).map(|_| Peer::unix(&daemon)).collect();
    eventually("it is wedged", || daemon.log().contains("core 1 is wedged"));
    let is_seen = |log: &str| {
        let after = log.split("core 1 is wedged").nth(1).unwrap_or_default();
        after.contains("cores [1] do not turn")
    };
    eventually("the watchdog sees it", || is_seen(&daemon.log()));
    // What was on its way by then.
    while manager.next_within(Duration::from_millis(1)).is_some() {}
    assert!(!manager.tells_within("WATCHDOG=1", 5 * Duration::from_micros(INTERVAL_US)));
    // The first that came was handed to the first core.
    peers[0].is_alive();
}

/// A core that is let go is heard of again: it was the held one that was missed.
#[test]
fn a_core_that_is_let_go_is_heard_of_again() {
    let (daemon, manager) = managed("wedge:0:2:2");
    eventually("it is wedged", || daemon.log().contains("core 0 is wedged"));
    eventually("the watchdog sees it", || daemon.log().contains("cores [0] do not turn"));
    while manager.next_within(Duration::from_millis(1)).is_some() {}
    eventually("it goes on", || daemon.log().contains("core 0 goes on"));
    manager.until("WATCHDOG=1");
    eventually("it is told", || daemon.log().contains("every core turns again"));
    daemon.stop();
}
