//! Publishers and a subscriber that hold every sequence, acknowledgement and byte against what was
//! written, for as long as a test moves their documents.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use deltaworks_protocol::message::{Policy, Start};

use crate::daemon::{Daemon, eventually};
use crate::wire::{Peer, Told, batch};

/// Batches on their way for a document at most.
const IN_FLIGHT: u64 = 8;
/// Between two rounds: others need the machine, too.
const PAUSE: Duration = Duration::from_micros(500);
/// The last delta of each document.
const THE_END: &[u8] = b"the end";

/// One publisher of all documents and one subscriber of all, on sessions of their own.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    publisher: JoinHandle<u64>,
    subscriber: JoinHandle<u64>,
}

struct Written {
    handle: u32,
    number: u64,
    acked: u64,
    balance: i64,
    has_ended: bool,
}

fn content(name: usize, sequence: u64) -> Vec<u8> {
    let mut delta = sequence.to_le_bytes().to_vec();
    delta.resize(8 + (sequence + name as u64) as usize % 40, name as u8);
    delta
}

impl Writers {
    /// At work on documents of these names when this returns; nobody else writes to them.
    pub fn start(daemon: &Daemon, names: &[String], producer: u64) -> Writers {
        let mut subscriber = Peer::unix(daemon);
        let mut publisher = Peer::tcp(daemon);
        let mut read = BTreeMap::new();
        for (place, name) in names.iter().enumerate() {
            let opened = subscriber.read(name, Start::Live, Policy::Wait);
            read.insert(opened.document, (place, opened.next_sequence));
        }
        let written: Vec<Written> = names
            .iter()
            .map(|name| {
                let opened = publisher.write(name, producer);
                let (number, balance) = (opened.producer_sequence, opened.credit as i64);
                assert_eq!(number, 0, "nobody wrote before");
                Written { handle: opened.handle, number, acked: 0, balance, has_ended: false }
            })
            .collect();
        let (stop, received) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&received));
        Writers {
            stop,
            received,
            publisher: spawn(move || publish(publisher, written, &stopped)),
            subscriber: spawn(move || subscribe(subscriber, read, &counted)),
        }
    }

    /// Waits until the subscriber has got on by so many deltas.
    pub fn get_on(&self, deltas: u64) {
        let before = self.received.load(SeqCst);
        eventually("the subscriber gets on", || {
            self.received.load(SeqCst) >= before + deltas
                || self.publisher.is_finished()
                || self.subscriber.is_finished()
        });
    }

    /// Ends them; how many deltas all in all were written, acknowledged and read, in order.
    pub fn finish(self) -> u64 {
        self.stop.store(true, SeqCst);
        let written = self.publisher.join().expect("the publisher saw no fault");
        let read = self.subscriber.join().expect("the subscriber saw no fault");
        assert_eq!(read, written, "all that was acknowledged came, once");
        written
    }
}

/// One delta a batch to each document in turn, until told to stop; then the end to each.
fn publish(mut peer: Peer, mut written: Vec<Written>, stop: &AtomicBool) -> u64 {
    loop {
        let is_stopping = stop.load(SeqCst);
        for place in 0..written.len() {
            let is_blocked =
                |it: &Written| it.number - it.acked >= IN_FLIGHT || it.balance <= 0 || it.has_ended;
            while is_blocked(&written[place]) && !written[place].has_ended {
                hear(&mut peer, &mut written);
            }
            let it = &mut written[place];
            let delta = content(place, it.number + 1);
            let delta = if is_stopping { THE_END } else { &delta };
            it.has_ended = is_stopping;
            it.number += 1;
            let image = batch(it.handle, it.number, &[delta]);
            it.balance -= image.len() as i64;
            assert!(peer.send(&image));
        }
        if is_stopping {
            break;
        }
        sleep(PAUSE);
    }
    while written.iter().any(|it| it.acked < it.number) {
        hear(&mut peer, &mut written);
    }
    written.iter().map(|it| it.number).sum()
}

fn hear(peer: &mut Peer, written: &mut [Written]) {
    match peer.next() {
        Told::Ack { handle, number, sequence, credit, duplicates } => {
            let it = written.iter_mut().find(|it| it.handle == handle).expect("one of ours");
            assert_eq!((sequence, duplicates), (number, 0), "one delta a batch, none twice");
            assert!(number >= it.acked && number <= it.number, "{number} after {}", it.acked);
            it.acked = number;
            it.balance += credit as i64;
        }
        Told::Credit { handle, bytes } => {
            let it = written.iter_mut().find(|it| it.handle == handle).expect("one of ours");
            it.balance += bytes as i64;
        }
        told => panic!("the publisher was told {told:?}"),
    }
}

/// Takes the streams of all documents in order, to the end of each.
fn subscribe(mut peer: Peer, mut read: BTreeMap<u64, (usize, u64)>, count: &AtomicU64) -> u64 {
    let (mut open, mut all) = (read.len(), 0);
    while open > 0 {
        match peer.next() {
            Told::Batch(batch) => {
                let (place, next) = read.get_mut(&batch.document).expect("one of ours");
                assert_eq!(batch.first_sequence, *next, "nothing is missing, nothing comes twice");
                for delta in &batch.deltas {
                    if delta == THE_END {
                        open -= 1;
                    } else {
                        assert_eq!(*delta, content(*place, *next), "the bytes are the writer's");
                    }
                    (*next, all) = (*next + 1, all + 1);
                }
                count.store(all, SeqCst);
            }
            told => panic!("the subscriber was told {told:?}"),
        }
    }
    all
}
