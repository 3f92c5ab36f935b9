//! Somebody else: a publisher and a subscriber on sessions of their own, whose stream must stay
//! whole whatever the rest of a test does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use deltaworks_protocol::message::{Policy, Start};

use crate::daemon::{Daemon, eventually};
use crate::wire::{Peer, Told, batch};

/// Between two batches: others need the machine, too.
const PAUSE: Duration = Duration::from_millis(1);
/// Deltas of a batch.
const DELTAS: u64 = 3;
/// Batches that are to pass after the attack.
const AFTERWARDS: u64 = 10;
/// Batches on their way at most.
const IN_FLIGHT: u64 = 8;
/// The last batch's only delta.
const THE_END: &[u8] = b"the end";

#[derive(Debug, Default)]
struct Progress {
    stop: AtomicBool,
    acked: AtomicU64,
    received: AtomicU64,
}

/// How one side ended: the code of `closed`, if the server ended it.
type Ended = Option<u16>;

/// The two sessions, at work on threads of their own.
pub(crate) struct Witness {
    progress: Arc<Progress>,
    publisher: JoinHandle<Ended>,
    subscriber: JoinHandle<Ended>,
}

impl Witness {
    /// A publisher over TCP and a subscriber over the Unix socket.
    pub fn start(daemon: &Daemon) -> Witness {
        let mut subscriber = Peer::unix(daemon);
        let mut publisher = Peer::tcp(daemon);
        subscriber.read("witness", Start::Live, Policy::Wait);
        let opened = publisher.write("witness", 0x717);
        let progress = Arc::new(Progress::default());
        let (there, here) = (Arc::clone(&progress), Arc::clone(&progress));
        Witness {
            progress,
            publisher: spawn(move || publish(publisher, opened.handle, opened.credit, &there)),
            subscriber: spawn(move || subscribe(subscriber, &here)),
        }
    }

    /// Ends the witness: it still got on after the attack, and everything came in order.
    pub fn finish(self) {
        let before = self.progress.received.load(SeqCst);
        eventually("the witness gets on", || {
            self.progress.received.load(SeqCst) >= before + AFTERWARDS * DELTAS
                || self.publisher.is_finished()
                || self.subscriber.is_finished()
        });
        self.progress.stop.store(true, SeqCst);
        assert_eq!(self.publisher.join().expect("the publisher saw no fault"), None);
        assert_eq!(self.subscriber.join().expect("the subscriber saw no fault"), None);
        let received = self.progress.received.load(SeqCst);
        assert_eq!(received, self.progress.acked.load(SeqCst), "all that was acknowledged came");
        assert!(received >= AFTERWARDS * DELTAS);
    }

    /// The server has ended in order: both were told, and what was acknowledged came.
    pub fn finish_with_server(self) {
        assert_eq!(self.publisher.join().expect("the publisher saw no fault"), Some(200));
        assert_eq!(self.subscriber.join().expect("the subscriber saw no fault"), Some(200));
        let (acked, received) =
            (self.progress.acked.load(SeqCst), self.progress.received.load(SeqCst));
        assert!(received >= acked && acked > 0, "{acked} acknowledged, {received} came");
    }
}

fn content(sequence: u64) -> Vec<u8> {
    let mut delta = sequence.to_le_bytes().to_vec();
    delta.resize(8 + (sequence % 90) as usize, sequence as u8);
    delta
}

/// Publishes within its credit, several batches on their way, until told to stop; then the end.
fn publish(mut peer: Peer, handle: u32, credit: u64, progress: &Progress) -> Ended {
    let (mut number, mut acked, mut balance) = (0, 0, credit as i64);
    let mut has_said_the_end = false;
    loop {
        let is_stopping = progress.stop.load(SeqCst);
        while number - acked >= IN_FLIGHT || balance <= 0 || (is_stopping && acked < number) {
            match peer.next() {
                Told::Ack { number: up_to, sequence, credit, duplicates, .. } => {
                    assert_eq!((sequence, duplicates), ((up_to - 1) * DELTAS + 1, 0));
                    acked = up_to;
                    balance += credit as i64;
                    let deltas = acked * DELTAS - if has_said_the_end { DELTAS } else { 0 };
                    progress.acked.store(deltas, SeqCst);
                }
                Told::Credit { bytes, .. } => balance += bytes as i64,
                Told::Error(error) if error.code == 200 => {}
                Told::Closed { handle: None, code } => return Some(code),
                told => panic!("the witness published and was told {told:?}"),
            }
        }
        if has_said_the_end {
            return None;
        }
        let first = number * DELTAS + 1;
        let deltas: Vec<Vec<u8>> = (first..first + DELTAS).map(content).collect();
        let mut deltas: Vec<&[u8]> = deltas.iter().map(Vec::as_slice).collect();
        if is_stopping {
            deltas = vec![THE_END];
            has_said_the_end = true;
        }
        let image = batch(handle, number + 1, &deltas);
        balance -= image.len() as i64;
        number += 1;
        // If it is not taken, the next answer tells why.
        peer.send(&image);
        sleep(PAUSE);
    }
}

/// Takes the whole stream in order, to its end.
fn subscribe(mut peer: Peer, progress: &Progress) -> Ended {
    let mut next = 1;
    loop {
        match peer.next() {
            Told::Batch(batch) => {
                assert_eq!(batch.first_sequence, next, "nothing is missing, nothing comes twice");
                if batch.deltas == [THE_END] {
                    return None;
                }
                for delta in &batch.deltas {
                    assert_eq!(*delta, content(next), "the bytes are the writer's");
                    next += 1;
                }
                progress.received.store(next - 1, SeqCst);
            }
            Told::Error(error) if error.code == 200 => {}
            Told::Closed { handle: None, code } => return Some(code),
            told => panic!("the witness read and was told {told:?}"),
        }
    }
}
