//! Who may connect: modes and groups of Unix sockets, limits by address, and what is known of peers.

use std::os::unix::fs::MetadataExt;

use crate::daemon::{Daemon, Folder, SMALL, eventually, program};
use crate::wire::{HELLO, Peer, Stream, Told};
use crate::witness::Witness;

/// A connection's number if it is refused.
fn refusal(stream: Stream) -> Option<u16> {
    let mut peer = Peer::silent(stream);
    peer.say(&HELLO);
    match peer.next() {
        Told::Hello { .. } => None,
        Told::Error(error) => {
            let code = error.code;
            assert_eq!(peer.rest(), [Told::Closed { handle: None, code }]);
            Some(code)
        }
        told => panic!("{told:?}"),
    }
}

/// Each origin has its own limit, and an ended session makes room; nobody else is touched.
#[test]
fn sessions_beyond_the_limit_of_their_address_are_told() {
    let daemon = Daemon::start(&["--cores", "2", "--sessions-per-address", "5"]);
    // One session over TCP, one as this user.
    let witness = Witness::start(&daemon);
    let mut over_tcp: Vec<Peer> = (0..4).map(|_| Peer::tcp(&daemon)).collect();
    for _ in 0..20 {
        assert_eq!(refusal(Stream::tcp(&daemon)), Some(208));
    }
    // Another address, and this machine's users, are counted by themselves.
    let elsewhere = || Stream::over_tcp(crate::listening::from_address("127.0.0.2", daemon.tcp()));
    let mut others: Vec<Peer> = (0..5).map(|_| Peer::over(elsewhere())).collect();
    assert_eq!(refusal(elsewhere()), Some(208));
    let mut users: Vec<Peer> = (0..4).map(|_| Peer::unix(&daemon)).collect();
    assert_eq!(refusal(Stream::unix(&daemon)), Some(208));
    for peer in over_tcp.iter_mut().chain(&mut others).chain(&mut users) {
        assert_eq!(peer.is_alive(), []);
    }
    over_tcp.pop();
    users.pop();
    eventually("an ended session makes room", || refusal(Stream::tcp(&daemon)).is_none());
    eventually("an ended session makes room", || refusal(Stream::unix(&daemon)).is_none());
    witness.finish();
    daemon.stop();
}

/// As many sessions as were asked for, and no more, over all cores together.
#[test]
fn the_limit_of_all_sessions_is_the_one_that_was_asked_for() {
    let daemon = Daemon::start(&["--cores", "2", "--sessions", "20"]);
    let witness = Witness::start(&daemon);
    let mut peers: Vec<Peer> = (2..20).map(|_| Peer::unix(&daemon)).collect();
    assert_eq!(refusal(Stream::unix(&daemon)), Some(207));
    assert_eq!(refusal(Stream::tcp(&daemon)), Some(207));
    peers.pop();
    eventually("an ended session makes room", || refusal(Stream::unix(&daemon)).is_none());
    witness.finish();
    daemon.stop();
}

/// Refused ones that do not go are not waited for, however many they are: the next is told at once.
#[test]
fn refused_ones_that_stay_cost_no_more_than_a_few_descriptors() {
    let daemon = Daemon::start(&["--cores", "2", "--sessions-per-address", "3"]);
    let witness = Witness::start(&daemon);
    let _kept: Vec<Peer> = (0..2).map(|_| Peer::unix(&daemon)).collect();
    let before = daemon.descriptors();
    let mut staying = Vec::new();
    for _ in 0..500 {
        let mut peer = Peer::silent(Stream::unix(&daemon));
        peer.say(&HELLO);
        let Told::Error(error) = peer.next() else { panic!("refused") };
        assert_eq!(error.code, 208);
        staying.push(peer);
        // 64 of them linger, and some more may be on their way.
        assert!(daemon.descriptors() < before + 80, "{} and {before}", daemon.descriptors());
    }
    witness.finish();
    daemon.stop();
}

/// The mode and the group are those that were asked for.
#[test]
fn a_unix_socket_has_the_mode_and_the_group_that_were_asked_for() {
    let daemon = Daemon::start(&[]);
    let found = std::fs::symlink_metadata(daemon.unix()).expect("a socket");
    assert_eq!(found.mode() & 0o7777, 0o660, "by default");
    daemon.stop();
    let group = nix::unistd::Group::from_gid(nix::unistd::getgid());
    let group = group.expect("the system knows its groups").expect("ours has a name").name;
    let daemon = Daemon::start(&["--unix-mode", "0600", "--unix-group", &group]);
    let found = std::fs::symlink_metadata(daemon.unix()).expect("a socket");
    assert_eq!((found.mode() & 0o7777, found.gid()), (0o600, nix::unistd::getgid().as_raw()));
    Peer::unix(&daemon).is_alive();
    daemon.stop();
}

/// A group that there is not is a mistake of the configuration.
#[test]
fn an_unknown_group_is_refused() {
    let folder = Folder::new();
    let mut command = program();
    command.args(SMALL).arg("--unix").arg(folder.join("s"));
    let output = command.args(["--unix-group", "no-such-group"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("no-such-group"), "{output:?}");
}

/// Who connected and why a session ended stands in the log, for who wants it.
#[test]
fn sessions_are_logged_with_their_peers_and_reasons() {
    let daemon = Daemon::start(&["--cores", "2", "--log", "debug"]);
    Peer::unix(&daemon).is_alive();
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    let mut wrong = Peer::tcp(&daemon);
    wrong.say(&HELLO);
    wrong.expect_end(203);
    let all = ["session begins", "session ended", "number=203", "127.0.0.1:"];
    eventually("all of it is logged", || all.iter().all(|it| daemon.log().contains(it)));
    let credentials = format!("pid {} uid {uid} gid {gid}", std::process::id());
    assert!(daemon.log().contains(&credentials), "{}", daemon.log());
    daemon.stop();
}
