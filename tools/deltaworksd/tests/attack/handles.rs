//! Opens, closes and batches that do not go together: unknown names and handles, opens twice,
//! closes in between, numbers that jump, identities that two sessions share.

use deltaworks_protocol::message::{Access, Open, OpenOptions, Policy, Start};

use crate::daemon::Daemon;
use crate::wire::{Peer, Refusal, Told, batch, encoded, reading, writing};
use crate::witness::Witness;

fn refused(told: Told) -> Refusal {
    match told {
        Told::Error(refusal) => refusal,
        told => panic!("not refused: {told:?}"),
    }
}

/// What cannot be opened is refused by number, and the session goes on.
#[test]
fn opens_are_refused_by_number_and_the_session_goes_on() {
    let daemon = Daemon::start(&["--cores", "2"]);
    let witness = Witness::start(&daemon);
    let mut peer = Peer::tcp(&daemon);
    let live = reading(Start::Live, Policy::Gap);
    let long = "x".repeat(257);
    let plain = |name: &'static str| Open::new(7, name, live);
    let mut other = Peer::unix(&daemon);
    let epoch = other.write("d", 6).epoch;
    for (open, code) in [
        (Open::new(7, "", live), 300),
        (Open::new(7, &long, live), 300),
        (plain("line\nbreak"), 300),
        (plain("nul\0"), 300),
        (plain("nowhere/d"), 301),
        (Open { access: 0, ..plain("d") }, 302),
        (Open { access: 4, ..plain("d") }, 302),
        (Open { from: 3, ..plain("d") }, 302),
        (Open { policy: Some(6), ..plain("d") }, 302),
        (Open { policy: Some(5), ..plain("d") }, 311),
        (Open::new(7, "d", writing(0)), 303),
        (Open { from: 2, sequence: 2, epoch, ..plain("d") }, 305),
        (Open { from: 2, sequence: u64::MAX, epoch, ..plain("d") }, 305),
    ] {
        assert!(peer.say(&open));
        let refusal = refused(peer.next());
        assert_eq!((refusal.code, refusal.request), (code, Some(7)), "{open:?}");
    }
    peer.read("d", Start::Live, Policy::Gap);
    for policy in [Policy::Gap, Policy::Wait] {
        let request = peer.ask("d", reading(Start::Window, policy));
        let refusal = refused(peer.next());
        assert_eq!((refusal.code, refusal.request), (310, Some(request)));
    }
    let opened = peer.write("d", 5);
    assert!(peer.publish(opened.handle, 1, &[b"still here"]));
    let told = peer.until_acked(opened.handle, 1);
    assert!(told.iter().all(|it| matches!(it, Told::Ack { .. } | Told::Batch(_))), "{told:?}");
    witness.finish();
    daemon.stop();
}

/// A handle that was never given, was closed, or may not write ends the session.
#[test]
fn handles_that_are_not_the_sessions_end_it() {
    let daemon = Daemon::start(&["--cores", "2"]);
    let witness = Witness::start(&daemon);
    let peer = || Peer::tcp(&daemon);
    for handle in [0, 1, 1023, 1024, u32::MAX] {
        let mut stranger = peer();
        stranger.publish(handle, 1, &[b"x"]);
        assert_eq!(stranger.expect_end(209), []);
        let mut stranger = peer();
        stranger.close(handle);
        assert_eq!(stranger.expect_end(209), []);
        let mut stranger = peer();
        stranger.drop_document(handle);
        assert_eq!(stranger.expect_end(209), []);
    }
    let mut reader = peer();
    let opened = reader.read("d", Start::Live, Policy::Gap);
    reader.publish(opened.handle, 1, &[b"x"]);
    assert_eq!(reader.expect_end(210), []);
    let mut reader = peer();
    let opened = reader.read("d", Start::Live, Policy::Gap);
    reader.drop_document(opened.handle);
    assert_eq!(reader.expect_end(210), []);
    let mut hasty = peer();
    let mut bytes = encoded(&Open::new(1, "d", writing(9)));
    bytes.extend(batch(0, 1, &[b"before it was opened"]));
    hasty.send(&bytes);
    assert_eq!(hasty.expect_end(209), []);
    let mut twice = peer();
    let opened = twice.write("d", 10);
    twice.close(opened.handle);
    assert_eq!(twice.next(), Told::Closed { handle: Some(opened.handle), code: 500 });
    twice.close(opened.handle);
    assert_eq!(twice.expect_end(209), []);
    witness.finish();
    daemon.stop();
}

/// A close between two batches: the first is applied, the second is not, the handle can be given
/// again, and the producer is known again.
#[test]
fn a_close_between_batches_divides_them() {
    let daemon = Daemon::start(&["--cores", "2"]);
    let witness = Witness::start(&daemon);
    let mut reader = Peer::unix(&daemon);
    reader.read("d", Start::Live, Policy::Gap);
    for round in 0..20_u64 {
        let mut peer = Peer::tcp(&daemon);
        let opened = peer.write("d", 3);
        assert_eq!(opened.producer_sequence, round);
        let mut bytes = batch(opened.handle, round + 1, &[b"before"]);
        bytes.extend(encoded(&deltaworks_protocol::message::Close { handle: Some(opened.handle) }));
        bytes.extend(batch(opened.handle, round + 2, &[b"behind"]));
        peer.send(&bytes);
        let mut told = Vec::new();
        while told.last() != Some(&Told::Closed { handle: Some(opened.handle), code: 500 }) {
            told.push(peer.next());
            assert_ne!(told.last(), Some(&Told::End), "{told:?}");
        }
        assert!(matches!(told[0], Told::Ack { number, .. } if number == round + 1), "{told:?}");
        let Told::Batch(got) = reader.next() else { panic!("round {round}") };
        assert_eq!((got.number, got.deltas), (round + 1, vec![b"before".to_vec()]));
    }
    assert_eq!(reader.is_alive(), []);
    witness.finish();
    daemon.stop();
}

/// Numbers that leave others out are refused and told which is next; resends are recognised.
#[test]
fn numbers_that_jump_are_refused_and_resends_recognised() {
    let daemon = Daemon::start(&["--cores", "2"]);
    let witness = Witness::start(&daemon);
    let mut reader = Peer::unix(&daemon);
    reader.read("d", Start::Live, Policy::Gap);
    let mut peer = Peer::tcp(&daemon);
    let handle = peer.write("d", 3).handle;
    for number in [2, 77, u64::MAX] {
        assert!(peer.publish(handle, number, &[b"jump"]));
        let refusal = refused(peer.next());
        assert_eq!((refusal.code, refusal.handle), (402, Some(handle)));
        assert_eq!(refusal.number, Some(number));
        assert!(refusal.text.contains("expected 1"), "{}", refusal.text);
        // What it took from the balance comes back.
        assert!(matches!(peer.next(), Told::Ack { number: 0, .. } | Told::Credit { .. }));
    }
    assert!(peer.publish(handle, 1, &[b"one", b"two"]));
    peer.until_acked(handle, 1);
    for _ in 0..2 {
        assert!(peer.publish(handle, 1, &[b"one", b"two"]));
        let told = peer.next();
        assert!(
            matches!(told, Told::Ack { number: 1, sequence: 1, duplicates: 1, .. }),
            "{told:?}"
        );
    }
    let Told::Batch(got) = reader.next() else { panic!("the batch comes") };
    assert_eq!((got.first_sequence, got.deltas.len()), (1, 2));
    assert_eq!(reader.is_alive(), [], "and comes once");
    witness.finish();
    daemon.stop();
}

/// Of two sessions that write as one producer, the older is told, and takes nothing more.
#[test]
fn the_older_of_two_sessions_with_one_producer_is_fenced() {
    let daemon = Daemon::start(&["--cores", "2"]);
    let witness = Witness::start(&daemon);
    let mut older = Peer::tcp(&daemon);
    let old = older.write("d", 3);
    assert!(older.publish(old.handle, 1, &[b"mine"]));
    older.until_acked(old.handle, 1);
    let mut younger = Peer::unix(&daemon);
    let young = younger.write("d", 3);
    assert_eq!(young.producer_sequence, 1);
    assert_eq!(older.next(), Told::Closed { handle: Some(old.handle), code: 502 });
    // On its way when it was fenced: passed over.
    assert!(older.publish(old.handle, 2, &[b"mine too"]));
    assert_eq!(older.is_alive(), []);
    assert!(younger.publish(young.handle, 2, &[b"ours"]));
    younger.until_acked(young.handle, 2);
    older.close(old.handle);
    assert_eq!(older.next(), Told::Closed { handle: Some(old.handle), code: 500 });
    let mut reader = Peer::unix(&daemon);
    reader.read("d", Start::Window, Policy::Gap);
    let got: Vec<Vec<u8>> = (0..2)
        .map(|_| match reader.next() {
            Told::Batch(batch) => batch.deltas.concat(),
            told => panic!("{told:?}"),
        })
        .collect();
    assert_eq!(got, [b"mine".to_vec(), b"ours".to_vec()]);
    assert_eq!(reader.is_alive(), []);
    witness.finish();
    daemon.stop();
}

/// A dropped document ends for everybody behind its last batch; its name begins anew.
#[test]
fn a_dropped_document_ends_in_order() {
    let daemon = Daemon::start(&["--cores", "2"]);
    let witness = Witness::start(&daemon);
    let mut reader = Peer::unix(&daemon);
    let read = reader.read("d", Start::Live, Policy::Gap);
    let mut other = Peer::tcp(&daemon);
    let others = other.write("d", 4);
    let mut peer = Peer::tcp(&daemon);
    let opened = peer.write("d", 3);
    for number in 1..=50 {
        assert!(peer.publish(opened.handle, number, &[&number.to_le_bytes()]));
    }
    peer.drop_document(opened.handle);
    for number in 1..=50_u64 {
        let Told::Batch(batch) = reader.next() else { panic!("batch {number}") };
        assert_eq!(batch.deltas, [number.to_le_bytes()]);
    }
    assert_eq!(reader.next(), Told::Closed { handle: Some(read.handle), code: 501 });
    assert_eq!(other.next(), Told::Closed { handle: Some(others.handle), code: 501 });
    let told = peer.until_acked(opened.handle, 50);
    assert!(told.iter().all(|it| matches!(it, Told::Ack { .. })), "{told:?}");
    assert_eq!(peer.next(), Told::Closed { handle: Some(opened.handle), code: 501 });
    for (session, handle) in
        [(&mut reader, read.handle), (&mut other, others.handle), (&mut peer, opened.handle)]
    {
        session.close(handle);
        assert_eq!(session.next(), Told::Closed { handle: Some(handle), code: 500 });
    }
    let again = peer.write("d", 3);
    assert_ne!(again.document, opened.document, "another generation, or slot");
    assert_eq!((again.next_sequence, again.producer_sequence), (1, 0));
    witness.finish();
    daemon.stop();
}

/// A session that sends on at a balance of zero or less is ended; what came before stands.
#[test]
fn credit_ignored_ends_the_session() {
    let daemon = Daemon::start(&["--cores", "2", "--credit-bytes", "8192"]);
    let witness = Witness::start(&daemon);
    let mut reader = Peer::unix(&daemon);
    let read = reader.read("d", Start::Live, Policy::Wait);
    // A `wait` reader that reads nothing keeps the credit back, so the balance is foreseeable.
    let mut greedy = Peer::tcp(&daemon);
    let opened = greedy.write("d", 3);
    assert_eq!(opened.credit, 8192);
    let image = |number| batch(opened.handle, number, &[&[7; 4000]]);
    let mut bytes = image(1);
    bytes.extend(image(2));
    bytes.extend(image(3));
    for number in 4..40 {
        bytes.extend(image(number));
    }
    greedy.send(&bytes);
    let told = greedy.expect_end(211);
    assert!(told.iter().all(|it| matches!(it, Told::Ack { .. } | Told::Credit { .. })), "{told:?}");
    let mut next = 1;
    loop {
        match reader.next() {
            Told::Batch(batch) => {
                assert_eq!(batch.first_sequence, next);
                next += 1;
            }
            told => panic!("{told:?}"),
        }
        if next > 3 {
            break;
        }
    }
    let more = reader.is_alive();
    assert!(more.len() < 36, "not all was taken: {}", more.len());
    reader.close(read.handle);
    witness.finish();
    daemon.stop();
}

/// A session may do both, gets its own batches back, and is the same in one handle.
#[test]
fn one_handle_reads_and_writes() {
    let daemon = Daemon::start(&[]);
    let witness = Witness::start(&daemon);
    let mut peer = Peer::unix(&daemon);
    let both = OpenOptions { access: Access::Both, ..writing(8) };
    let opened = peer.open("d", both);
    assert!(peer.publish(opened.handle, 1, &[b"echo"]));
    let (first, second) = (peer.next(), peer.next());
    let is_echo = |told: &Told| matches!(told, Told::Batch(it) if it.document == opened.document);
    let is_ack = |told: &Told| matches!(told, Told::Ack { number: 1, sequence: 1, .. });
    assert!(
        is_echo(&first) && is_ack(&second) || is_ack(&first) && is_echo(&second),
        "{first:?} {second:?}"
    );
    let request = peer.ask("d", OpenOptions { producer: 9, ..both });
    let refusal = refused(peer.next());
    assert_eq!((refusal.code, refusal.request), (310, Some(request)));
    // As the same producer it fences itself: the newer handle takes over.
    let again = peer.open("d", both);
    assert_eq!(again.producer_sequence, 1);
    assert_eq!(peer.next(), Told::Closed { handle: Some(opened.handle), code: 502 });
    witness.finish();
    daemon.stop();
}
