//! How long a session may say nothing, as it was asked for: until hello, between signs of life.

use std::time::{Duration, Instant};

use crate::daemon::Daemon;
use crate::wire::{HELLO, Peer, Stream, Told};
use crate::witness::Witness;

/// Each time is the one that was asked for, and not the default; each end has its number.
#[test]
fn deadlines_are_those_that_were_asked_for() {
    let daemon = Daemon::start(&[
        "--cores=2",
        "--hello-deadline-seconds=1",
        "--ping-interval-seconds=1",
        "--ping-timeout-seconds=3",
    ]);
    let witness = Witness::start(&daemon);
    let mut mute = Peer::silent(Stream::tcp(&daemon));
    let began = Instant::now();
    let mut dead = Peer::unix(&daemon);
    let mut alive = Peer::unix(&daemon);
    mute.expect_end(204);
    // The defaults are 5 and 45 seconds; a session lives as long as it answers.
    assert!(matches!(dead.next_unanswered(), Told::Ping(_)), "a silent one is asked");
    while began.elapsed() < Duration::from_secs(4) {
        alive.say(&deltaworks_protocol::message::Ping { token: 7 });
        while alive.next() != Told::Pong(7) {}
        std::thread::sleep(Duration::from_millis(200));
    }
    let told: Vec<Told> = std::iter::from_fn(|| match dead.next_unanswered() {
        Told::End => None,
        told => Some(told),
    })
    .filter(|told| !matches!(told, Told::Ping(_)))
    .collect();
    let [Told::Error(error), Told::Closed { handle: None, code: 205 }] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(error.code, 205);
    assert_eq!(alive.is_alive(), []);
    let mut again = Peer::silent(Stream::unix(&daemon));
    again.say(&HELLO);
    assert!(matches!(again.next(), Told::Hello { .. }));
    witness.finish();
    daemon.stop();
}
