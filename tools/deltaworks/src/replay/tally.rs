//! What a replay has done so far, counted where it happens, for progress and for stalls.
//!
//! Written by the tasks of publishers and subscribers, read by the one that watches. All accesses are
//! Relaxed: each number has one writer or is only added to, and none of them orders anything.

use std::iter::repeat_with;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of one replay.
#[derive(Debug)]
pub struct Tally {
    /// Deltas acknowledged, of each publisher in each document: publisher × documents + document.
    acknowledged: Vec<AtomicU64>,
    /// Deltas read, of each subscriber in each document: subscriber × documents + document.
    read: Vec<AtomicU64>,
    batches: AtomicU64,
    bytes: AtomicU64,
    documents: usize,
}

impl Tally {
    /// Counters that stand at 0.
    pub fn new(publishers: usize, subscribers: usize, documents: usize) -> Tally {
        Tally {
            acknowledged: repeat_with(AtomicU64::default).take(publishers * documents).collect(),
            read: repeat_with(AtomicU64::default).take(subscribers * documents).collect(),
            batches: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            documents,
        }
    }

    /// A publisher's batch was acknowledged.
    pub fn add_acknowledged(&self, publisher: usize, document: usize, deltas: u64, bytes: u64) {
        self.acknowledged[publisher * self.documents + document].fetch_add(deltas, Relaxed);
        self.batches.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// A subscriber has read so many deltas of a document.
    pub fn set_read(&self, subscriber: usize, document: usize, deltas: u64) {
        self.read[subscriber * self.documents + document].store(deltas, Relaxed);
    }

    /// Deltas acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Deltas read by all subscribers together.
    pub fn read(&self) -> u64 {
        self.read.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Deltas that one subscriber has read.
    pub fn read_by(&self, subscriber: usize) -> u64 {
        let from = subscriber * self.documents;
        self.read[from..from + self.documents].iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Batches acknowledged.
    pub fn batches(&self) -> u64 {
        self.batches.load(Relaxed)
    }

    /// Bytes of the acknowledged deltas.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// The publisher and document with the fewest acknowledged deltas, and how many they are.
    pub fn slowest_publisher(&self) -> (usize, usize, u64) {
        slowest(&self.acknowledged, self.documents)
    }

    /// The subscriber and document with the fewest deltas read, and how many they are.
    pub fn slowest_subscriber(&self) -> (usize, usize, u64) {
        slowest(&self.read, self.documents)
    }
}

fn slowest(counts: &[AtomicU64], documents: usize) -> (usize, usize, u64) {
    let (place, least) = counts
        .iter()
        .map(|count| count.load(Relaxed))
        .enumerate()
        .min_by_key(|(_, count)| *count)
        .unwrap_or_default();
    (place / documents, place % documents, least)
}
