//! One core's thread is held while all others go on.

use std::collections::BTreeMap;
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
    let daemon = planting::start("wedge:1:1", &["--cores", "2"]);
    let (told, tells) = channel();
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
