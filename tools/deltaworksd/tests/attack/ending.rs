//! Ends: of clients that are killed in mid-batch, and of the daemon under load.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread::{sleep, spawn};
use std::time::Duration;

use deltaworks_protocol::message::{Policy, Start};

use crate::daemon::{Daemon, eventually};
use crate::flow::Flow;
use crate::limits::{ASK, ASKS_MAX};
use crate::wire::{Peer, Told, batch};
use crate::witness::Witness;

/// Clients killed with half a batch out: the whole ones stand, the half one never was, and
/// whoever takes the producer over goes on behind the last whole one.
#[test]
fn clients_killed_in_mid_batch_leave_whole_batches() {
    let daemon = Daemon::start(&["--cores", "2"]);
    let witness = Witness::start(&daemon);
    let before = daemon.descriptors();
    let mut reader = Peer::unix(&daemon);
    reader.read("d", Start::Live, Policy::Gap);
    let mut last = 0;
    for round in 0..12_usize {
        let mut peer = if round % 2 == 0 { Peer::unix(&daemon) } else { Peer::tcp(&daemon) };
        let opened = peer.write("d", 77);
        assert_eq!(opened.producer_sequence, last, "what the dead ones got through is known");
        let whole = batch(opened.handle, last + 1, &[&[1; 500]]);
        let half = batch(opened.handle, last + 2, &[&[2; 9000], &[3; 500]]);
        // The connection's only descriptor goes to a process that can be killed.
        let client = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(peer.into_stream().into_descriptor())
            .spawn();
        let mut client = client.expect("cat runs");
        let mut pipe = client.stdin.take().expect("its input");
        pipe.write_all(&whole).expect("it reads");
        pipe.write_all(&half[..half.len() * (round + 1) / 13]).expect("it reads");
        pipe.flush().expect("it reads");
        let Told::Batch(got) = reader.next() else { panic!("round {round}") };
        assert_eq!((got.number, got.deltas), (last + 1, vec![vec![1; 500]]));
        client.kill().expect("SIGKILL");
        client.wait().expect("it is dead");
        last += 1;
    }
    // And with a reset, which comes when somebody ends with answers unread.
    for _ in 0..20 {
        let mut peer = Peer::tcp(&daemon);
        let opened = peer.write("d", 77);
        let mut bytes = batch(opened.handle, last + 1, &[b"reset"]);
        bytes.extend(&batch(opened.handle, last + 2, &[&[2; 9000]])[..3000]);
        assert!(peer.send(&bytes));
        let Told::Batch(got) = reader.next() else { panic!("the whole one comes") };
        assert_eq!(got.number, last + 1);
        last += 1;
    }
    assert_eq!(reader.is_alive(), []);
    eventually("the dead leave no descriptor", || daemon.descriptors() <= before + 1);
    witness.finish();
    daemon.stop();
}

/// Publishes in one document as fast as the credit allows, until the server ends the session.
fn load(mut peer: Peer, name: String, producer: u64, acked: Arc<AtomicU64>) -> Option<u16> {
    let mut flow = Flow::open(&mut peer, &name, producer);
    let delta = [7; 700];
    while flow.publish(&mut peer, &[&delta, &delta]) {
        while flow.number - flow.acked > 16 && flow.ended_by.is_none() {
            let told = peer.next();
            flow.hear(&told);
        }
        acked.store(flow.acked, SeqCst);
    }
    for told in peer.rest() {
        flow.hear(&told);
    }
    acked.store(flow.acked, SeqCst);
    flow.ended_by
}

/// SIGTERM under load: whatever was acknowledged reaches the subscribers that are connected, also
/// the one that is behind; everybody is told; the exit code says that nothing was cut.
#[test]
fn sigterm_under_load_delivers_what_was_acknowledged() {
    let mut daemon = Daemon::start(&["--cores", "2"]);
    let witness = Witness::start(&daemon);
    let subscribers: Vec<_> = (0..3)
        .map(|place| {
            let mut peer = if place == 0 { Peer::unix(&daemon) } else { Peer::tcp(&daemon) };
            peer.read("load", Start::Live, Policy::Wait);
            spawn(move || {
                let mut next = 1;
                loop {
                    match peer.next() {
                        Told::Batch(batch) => {
                            assert_eq!(batch.first_sequence, next);
                            next += batch.deltas.len() as u64;
                        }
                        Told::Error(error) => assert_eq!(error.code, 200),
                        Told::Closed { handle: None, code } => return (next - 1, code),
                        told => panic!("a subscriber was told {told:?}"),
                    }
                    if place == 2 && next % 32 == 1 {
                        sleep(Duration::from_millis(1));
                    }
                }
            })
        })
        .collect();
    let acked: Vec<Arc<AtomicU64>> = (0..3).map(|_| Arc::default()).collect();
    let publishers: Vec<_> = (0..3)
        .map(|place| {
            let peer = if place == 0 { Peer::unix(&daemon) } else { Peer::tcp(&daemon) };
            let (count, producer) = (Arc::clone(&acked[place]), place as u64 + 1);
            spawn(move || load(peer, "load".to_owned(), producer, count))
        })
        .collect();
    eventually("the load runs", || acked.iter().all(|count| count.load(SeqCst) > 50));
    daemon.terminate();
    for publisher in publishers {
        assert_eq!(publisher.join().expect("a publisher saw no fault"), Some(200));
    }
    let acked: u64 = acked.iter().map(|count| count.load(SeqCst)).sum();
    for subscriber in subscribers {
        let (received, code) = subscriber.join().expect("a subscriber saw no fault");
        assert_eq!(code, 200);
        assert!(received >= 2 * acked, "{acked} batches acknowledged, {received} deltas came");
    }
    witness.finish_with_server();
    let status = daemon.wait();
    assert_eq!(status.code(), Some(0), "{}", daemon.log());
    assert!(daemon.log().contains("everything was delivered"), "{}", daemon.log());
    assert!(!daemon.unix().exists(), "its socket's name is gone");
}

/// A subscriber with much on its way that reads none of it, and its publisher.
fn deaf(daemon: &Daemon) -> (Peer, Peer) {
    let mut reader = Peer::unix(daemon);
    reader.read("d", Start::Live, Policy::Gap);
    let mut peer = Peer::unix(daemon);
    let mut flow = Flow::open(&mut peer, "d", 1);
    for _ in 0..100 {
        assert!(flow.publish(&mut peer, &[&[5; 10_000]]));
    }
    flow.settle(&mut peer);
    (reader, peer)
}

/// Whoever is ended by a fault has what was on its way, and its number, although it had said more
/// than the server read, and although it reads late: its connection is not reset.
#[test]
fn a_fault_reaches_who_talks_on_and_reads_late() {
    let log = "info,deltaworks_server=debug";
    let daemon = Daemon::start(&["--cores", "2", "--log", log]);
    let before = daemon.descriptors();
    let mut late = Peer::tcp(&daemon);
    // More answers than its own side of the connection takes while it reads nothing; both take all.
    let mut said = ASK.repeat(ASKS_MAX);
    said.extend(batch(77, 1, &[b"no such handle"]));
    assert!(late.send(&said));
    // Behind the fault; whether all of it is taken is the server's business.
    late.send(&batch(77, 2, &[&[0; 15_000]]).repeat(20));
    eventually("it is ended", || daemon.log().contains("number=209"));
    // Closed by the server, whether it has heard all or not.
    eventually("its descriptor is given back", || daemon.descriptors() <= before);
    let told = late.expect_end(209);
    assert!(told.iter().all(|told| matches!(told, Told::Error(it) if it.code == 300)), "{told:?}");
    assert_eq!(told.len(), ASKS_MAX, "every answer has come");
    daemon.stop();
}

/// The time for draining is bounded; who was cut is counted, and the exit code says so.
#[test]
fn draining_ends_in_time() {
    // Time enough for those who read, on whatever machine; the one that does not has no end.
    let mut daemon = Daemon::start(&["--cores", "2", "--drain-seconds", "4"]);
    let witness = Witness::start(&daemon);
    let (mut reader, mut publisher) = deaf(&daemon);
    daemon.terminate();
    publisher.expect_end(200);
    witness.finish_with_server();
    assert_eq!(daemon.wait().code(), Some(3), "{}", daemon.log());
    // The one that reads nothing, and nobody else.
    assert!(daemon.log().contains("ended, 1 session was cut"), "{}", daemon.log());
    // What it has of the stream is in order; nothing that looks like an end in order comes.
    let mut next = 1;
    for told in reader.rest() {
        let Told::Batch(batch) = told else { continue };
        assert_eq!(batch.first_sequence, next);
        next += 1;
    }
    assert!(next < 101, "it was cut");
}

/// A second SIGTERM ends the draining at once.
#[test]
fn a_second_sigterm_cuts() {
    let mut daemon = Daemon::start(&["--cores", "2", "--drain-seconds", "600"]);
    let witness = Witness::start(&daemon);
    let (_reader, _publisher) = deaf(&daemon);
    daemon.terminate();
    eventually("it ends in order", || daemon.log().contains("ending in order"));
    sleep(Duration::from_millis(300));
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(3), "{}", daemon.log());
    witness.finish_with_server();
}
