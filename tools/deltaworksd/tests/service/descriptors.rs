//! No descriptor left: newcomers are told, the others go on, nothing turns in a circle.

use std::process::Command;

use crate::daemon::{Daemon, Folder, SMALL, eventually, program};
use crate::wire::{Peer, Stream, Told};
use crate::witness::Witness;

/// Files that the daemon may have open.
const FILES: usize = 100;
/// Newcomers while there is no descriptor.
const NEWCOMERS: usize = 200;

/// A daemon that may open so few files.
fn start() -> Daemon {
    let mut command = Command::new("sh");
    let launch = format!("ulimit -n {FILES}; exec \"$0\" \"$@\"");
    command.args(["-c", &launch]).arg(program().get_program());
    Daemon::start_as(command, Folder::new(), &[&SMALL[..], &["--cores", "2"]].concat())
}

/// A number that stands in the log behind `name=`.
fn counted(log: &str, name: &str) -> usize {
    let line = log.lines().rev().find(|line| line.contains(name)).unwrap_or_default();
    let rest = line.split(&format!("{name}=")).nth(1);
    let digits = rest.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no {name}: {log}"))
}

/// Newcomers are told 215 and closed, the others' stream stays whole, accepting is tried about
/// twice for each newcomer and no more, and ended sessions make room.
#[test]
fn without_descriptors_newcomers_are_told_and_the_others_go_on() {
    let mut daemon = start();
    assert!(daemon.log().contains("files may be open"), "it is told: {}", daemon.log());
    let witness = Witness::start(&daemon);
    let mut sessions = Vec::new();
    let mut connections = 2;
    let connect = |connections: &mut usize| {
        *connections += 1;
        let stream = if connections.is_multiple_of(2) { Stream::unix } else { Stream::tcp };
        let mut peer = Peer::silent(stream(&daemon));
        // Whoever is refused may have closed already.
        peer.say(&crate::wire::HELLO);
        let told = peer.next();
        (peer, told)
    };
    loop {
        match connect(&mut connections) {
            (peer, Told::Hello { .. }) => sessions.push(peer),
            (_, Told::Error(error)) => break assert_eq!(error.code, 215),
            (_, told) => panic!("{told:?}"),
        }
        assert!(sessions.len() < FILES, "there is a limit");
    }
    assert!(sessions.len() > 20, "{}", sessions.len());
    for _ in 0..NEWCOMERS {
        match connect(&mut connections) {
            (mut peer, Told::Error(error)) => {
                assert_eq!(error.code, 215);
                assert_eq!(peer.rest(), [Told::Closed { handle: None, code: 215 }]);
            }
            (_, told) => panic!("{told:?}"),
        }
    }
    // Many at once, who do not wait for an answer.
    let silent: Vec<Stream> = (0..50).map(|_| Stream::unix(&daemon)).collect();
    connections += silent.len();
    for session in &mut sessions {
        session.is_alive();
    }
    drop(silent);
    sessions.truncate(sessions.len() / 2);
    eventually("ended sessions make room", || {
        matches!(connect(&mut connections), (_, Told::Hello { .. }))
    });
    for session in &mut sessions {
        session.is_alive();
    }
    witness.finish();
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    let log = daemon.log();
    let (attempts, refused) = (counted(&log, "attempts"), counted(&log, "refused_descriptors"));
    assert!(refused > NEWCOMERS, "{refused} of {connections}: {log}");
    // One to learn that there is none, one with the spare; one that finds nobody left.
    assert!(attempts <= 3 * connections + 50, "{attempts} for {connections} connections: {log}");
}
