//! One core's thread is held while all others go on.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Sender, channel};
use std::thread::spawn;

use crate::daemon::eventually;
use crate::flow::Flow;
use crate::planting;
use crate::wire::Peer;

/// Sessions, half of them on each of two cores; each with a document of its own.
const SESSIONS: usize = 16;

/// Publishes one batch after the other, and tells of each that was acknowledged.
fn publish(mut peer: Peer, place: usize, acked: &Sender<usize>) {
    let mut flow = Flow::open(&mut peer, &format!("d{place}"), 1);
    while flow.ended_by.is_none() {
        flow.send(&mut peer, &[b"x"]);
        while flow.acked < flow.number {
            match peer.next() {
                crate::wire::Told::End => return,
                told => flow.hear(&told),
            }
        }
        if acked.send(place).is_err() {
            return;
        }
    }
}

/// A core that is held says so; the sessions of the others go on with the others' documents, and
/// those of the held one stand.
#[test]
fn a_wedged_core_holds_nobody_but_its_own() {
    let daemon = planting::start("wedge:1:5", &["--cores", "2"]);
    let (told, tells) = channel();
    // All have said hello before it: whoever comes later may be handed to the held core.
    for place in 0..SESSIONS {
        let (peer, told) = (Peer::unix(&daemon), told.clone());
        spawn(move || publish(peer, place, &told));
    }
    eventually("it is wedged", || daemon.log().contains("core 1 is wedged"));
    while tells.try_recv().is_ok() {}
    let mut counts = BTreeMap::new();
    for _ in 0..2000 {
        *counts.entry(tells.recv().expect("somebody goes on")).or_insert(0) += 1;
    }
    // What the held ones had been told before is no more than one each.
    counts.retain(|_, count| *count > 1);
    assert!((1..=SESSIONS / 2).contains(&counts.len()), "a wedged core serves: {counts:?}");
    assert!(!daemon.log().contains("core 1 goes on"), "{}", daemon.log());
}

/// A core that is held is told: the daemon is not well until it turns again.
#[test]
fn a_wedged_core_is_seen_by_who_asks_for_its_health() {
    let daemon = planting::start("wedge:1:1:6", &["--cores", "2", "--http", "127.0.0.1:0"]);
    let ready =
        std::fs::read_to_string(daemon.unix().with_file_name("ready")).expect("it is ready");
    let address = ready.lines().find_map(|line| line.strip_prefix("http=")).expect("an address");
    let health = || {
        let mut stream = TcpStream::connect(address).expect("a connection");
        let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("it listens");
        let mut told = String::new();
        stream.read_to_string(&mut told).expect("it answers");
        told
    };
    eventually("it is wedged", || daemon.log().contains("core 1 is wedged"));
    let told = health();
    assert!(told.starts_with("HTTP/1.1 503") && told.ends_with("core 1\n"), "{told}");
    eventually("it is well again", || health().starts_with("HTTP/1.1 200"));
    daemon.stop();
}

/// Held for a time, it goes on, and with it whoever waited.
#[test]
fn a_core_that_is_let_go_serves_again() {
    let daemon = planting::start("wedge:0:1:1", &["--cores", "2"]);
    let mut peers: Vec<Peer> = (0..4).map(|_| Peer::unix(&daemon)).collect();
    eventually("it is wedged", || daemon.log().contains("core 0 is wedged"));
    for peer in &mut peers {
        peer.is_alive();
        let mut flow = Flow::open(peer, "d", 1);
        flow.send(peer, &[b"x"]);
        flow.settle(peer);
    }
    assert!(daemon.log().contains("core 0 goes on"), "{}", daemon.log());
    daemon.stop();
}
