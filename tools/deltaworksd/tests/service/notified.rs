//! What the service manager is told, from the start to the end.

use std::process::Command;
use std::time::Duration;

use crate::daemon::{Daemon, Folder, SMALL, program};
use crate::notify_socket::Manager;
use crate::wire::{Peer, Stream};
use crate::witness::Witness;

/// A small daemon, and the manager that it tells.
fn managed(prepare: impl FnOnce(&mut Command)) -> (Daemon, Manager) {
    let folder = Folder::new();
    let mut command = program();
    prepare(&mut command);
    let manager = Manager::of(&mut command, &folder);
    let options = [&SMALL[..], &["--cores", "2"]].concat();
    (Daemon::start_as(command, folder, &options), manager)
}

/// READY when connections are accepted, a status that follows the sessions, and STOPPING with the
/// time that the end may take.
#[test]
fn the_manager_hears_of_start_sessions_and_end() {
    let (mut daemon, manager) = managed(|_| ());
    let told = manager.until("READY=1");
    assert!(told.contains("STATUS=Serving 0 sessions"), "{told}");
    let peer = Peer::unix(&daemon);
    manager.until("STATUS=Serving 1 session;");
    daemon.terminate();
    let told = manager.until("STOPPING=1");
    // 20 seconds to drain, and 10 beyond.
    assert!(told.contains("EXTEND_TIMEOUT_USEC=30000000"), "{told}");
    assert!(told.contains("1 session"), "{told}");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    drop(peer);
}

/// A reload is announced with the time at which it began, and its end is told.
#[test]
fn the_manager_hears_of_a_reload() {
    let (daemon, manager) = managed(|_| ());
    manager.until("READY=1");
    daemon.signal("HUP");
    let told = manager.until("RELOADING=1");
    let time = told.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(time.and_then(|time| time.parse::<u64>().ok()) > Some(0), "{told}");
    manager.until("READY=1");
    Peer::unix(&daemon).is_alive();
    daemon.stop();
}

/// The watchdog is fed by a daemon that has nothing to do, whose cores sleep, and by one that works.
#[test]
fn the_watchdog_is_fed_by_idle_and_by_busy_cores() {
    let (daemon, manager) = managed(|command| {
        command.env("WATCHDOG_USEC", "600000");
    });
    for _ in 0..4 {
        manager.until("WATCHDOG=1");
    }
    let witness = Witness::start(&daemon);
    let _idle = Peer::silent(Stream::tcp(&daemon));
    for _ in 0..4 {
        manager.until("WATCHDOG=1");
    }
    witness.finish();
    daemon.stop();
}

/// Nobody who has not asked for it is fed.
#[test]
fn a_watchdog_that_is_not_ours_is_not_fed() {
    let cases: [&[(&str, &str)]; 3] = [
        &[],
        &[("WATCHDOG_USEC", "0")],
        // Inherited from another process that the manager watches.
        &[("WATCHDOG_USEC", "30000"), ("WATCHDOG_PID", "1")],
    ];
    let daemons = cases.map(|variables| {
        managed(|command| {
            command.envs(variables.iter().copied());
        })
    });
    for ((daemon, manager), variables) in daemons.into_iter().zip(cases) {
        manager.until("READY=1");
        let is_fed = manager.tells_within("WATCHDOG=1", Duration::from_millis(300));
        assert!(!is_fed, "{variables:?}");
        daemon.stop();
    }
}

/// A manager that does not listen is told of in the log, and the daemon serves all the same.
#[test]
fn a_deaf_manager_hinders_nobody() {
    let folder = Folder::new();
    let mut command = program();
    command.env("NOTIFY_SOCKET", folder.join("nobody")).env("WATCHDOG_USEC", "60000");
    let daemon = Daemon::start_as(command, folder, &SMALL);
    Peer::tcp(&daemon).is_alive();
    assert!(daemon.log().contains("the service manager cannot be told"), "{}", daemon.log());
    daemon.stop();
}
