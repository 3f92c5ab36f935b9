//! Panics in the running daemon: whom they cost something, and who goes on.

use deltaworks_protocol::message::{Policy, Start};

use crate::flow::Flow;
use crate::planting;
use crate::wire::{Peer, Told, batch};
use crate::witness::Witness;

/// The next message refuses this batch as failed.
fn expect_failed(peer: &mut Peer, handle: u32, number: u64) {
    match peer.next() {
        Told::Error(error) => {
            assert_eq!((error.code, error.handle, error.number), (409, Some(handle), Some(number)));
        }
        told => panic!("batch {number} failed, and its writer was told {told:?}"),
    }
}

/// A batch that panics costs itself and its document: other documents of the same session and of
/// the same cores go on, readers keep what they have, and what is planted is in the log.
fn a_failing_document(plant: &str) {
    let daemon = planting::start(&format!("{plant}:bad"), &["--cores", "2"]);
    let witness = Witness::start(&daemon);
    let mut reader = Peer::unix(&daemon);
    let mut peer = Peer::tcp(&daemon);
    let bad = peer.write("bad", 1);
    reader.read("bad", Start::Live, Policy::Gap);
    let good: Vec<u32> =
        (0..6).map(|place| peer.write(&format!("good{place}"), 1).handle).collect();
    for (place, handle) in good.iter().enumerate() {
        assert!(peer.publish(*handle, 1, &[b"beside"]));
        assert!(peer.publish(bad.handle, place as u64 + 1, &[b"never"]));
        assert!(peer.publish(*handle, 2, &[b"beside"]));
    }
    // Documents live on two cores, which answer in any order.
    let (mut failed, mut acked) = (0, std::collections::BTreeMap::new());
    while failed < 6 || good.iter().any(|handle| acked.get(handle) != Some(&2)) {
        match peer.next() {
            Told::Error(error) => {
                failed += 1;
                let place = (error.code, error.handle, error.number);
                assert_eq!(place, (409, Some(bad.handle), Some(failed)));
            }
            Told::Ack { handle, number, .. } => drop(acked.insert(handle, number)),
            told => panic!("a writer was told {told:?}"),
        }
    }
    assert_eq!(reader.is_alive(), [], "nothing of a failed batch is read");
    // Somebody else finds it in quarantine, and may begin anew by dropping it.
    let mut other = Peer::unix(&daemon);
    let opened = other.write("bad", 2);
    assert_eq!(opened.next_sequence, 1);
    assert!(other.publish(opened.handle, 1, &[b"x"]));
    expect_failed(&mut other, opened.handle, 1);
    other.until_acked(opened.handle, 1);
    other.drop_document(opened.handle);
    match other.next() {
        Told::Closed { handle: Some(handle), code: 501 } => other.close(handle),
        told => panic!("the document was dropped, and its writer was told {told:?}"),
    }
    assert_eq!(other.next(), Told::Closed { handle: Some(opened.handle), code: 500 });
    let mut flow = Flow::open(&mut other, "bad", 2);
    flow.send(&mut other, &[b"anew"]);
    flow.settle(&mut other);
    assert_eq!((flow.number, flow.acked), (1, 1));
    witness.finish();
    let log = daemon.log();
    assert_eq!(log.matches("panicked").count(), 1, "{log}");
    assert!(log.contains("a planted fault") && log.contains("bad"), "{log}");
    daemon.terminate();
    let mut daemon = daemon;
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
}

#[test]
fn a_panic_in_validation_costs_its_document_alone() {
    a_failing_document("panic_validation");
}

#[test]
fn a_panic_in_appending_costs_its_document_alone() {
    a_failing_document("panic_append");
}

/// A session whose input makes the server panic is told 299 and ended; the others go on, on the
/// same core, too, and it leaves no descriptor and no memory that grows.
#[test]
fn a_panic_in_a_session_costs_that_session_alone() {
    let daemon = planting::start("panic_session:trap:always", &["--cores", "2"]);
    let witness = Witness::start(&daemon);
    let mut others: Vec<Peer> = (0..4).map(|_| Peer::unix(&daemon)).collect();
    let before = daemon.descriptors();
    for round in 0..30 {
        let mut peer = if round % 2 == 0 { Peer::tcp(&daemon) } else { Peer::unix(&daemon) };
        peer.read(&format!("d{round}"), Start::Live, Policy::Wait);
        let own = peer.write(&format!("d{round}"), 1);
        assert!(peer.publish(own.handle, 1, &[b"whole"]));
        peer.until_acked(own.handle, 1);
        // Behind the open that panics stands a batch: it is not taken, and nobody is told of it.
        let options = crate::wire::reading(Start::Live, Policy::Gap);
        let open = deltaworks_protocol::message::Open::new(99, "trap", options);
        let mut bytes = crate::wire::encoded(&open);
        bytes.extend(batch(own.handle, 2, &[b"never"]));
        assert!(peer.send(&bytes));
        let told = peer.expect_end(299);
        // The echo, and the credit that waited for it.
        let is_ok = |told: &Told| matches!(told, Told::Batch(_) | Told::Ack { number: 1, .. });
        assert!(told.iter().all(is_ok), "{told:?}");
    }
    for peer in &mut others {
        assert_eq!(peer.is_alive(), []);
    }
    crate::daemon::eventually("no descriptor is left", || daemon.descriptors() <= before);
    witness.finish();
    let log = daemon.log();
    assert_eq!(log.matches("panicked").count(), 30, "{log}");
}
