//! What the load has done so far, counted where it happens, for progress, for stalls and for the report.
//!
//! All accesses are Relaxed: each number is only added to, and none of them orders anything.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that many tasks add to.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    /// What it is now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Raises it to `least` if it is lower.
    pub fn raise(&self, least: u64) {
        self.0.fetch_max(least, Relaxed);
    }
}

/// Counters of one load; deltas, unless they say something else.
#[derive(Debug, Default)]
pub struct Tally {
    /// Given to a client.
    pub sent: Count,
    /// Accepted by the daemon.
    pub accepted: Count,
    /// Of those, due after the warm-up.
    pub accepted_measured: Count,
    /// Refused by the daemon.
    pub refused: Count,
    /// Of which nobody knows whether they were applied.
    pub unknown: Count,
    /// Read and checked by subscribers, all together.
    pub read: Count,
    /// Of those, due after the warm-up.
    pub read_measured: Count,
    /// Told as gaps to subscribers, all together.
    pub missed: Count,
    /// Gaps, not deltas.
    pub gaps: Count,
    /// Batches that were sent later than they should have been.
    pub late_batches: Count,
    /// When the last answer or delta came, in nanoseconds since the start.
    pub last_ns: Count,
}

impl Tally {
    /// Changes whenever anything moves.
    pub fn moved(&self) -> u64 {
        let parts = [&self.sent, &self.accepted, &self.refused, &self.unknown, &self.read];
        parts.iter().map(|count| count.get()).sum::<u64>() + self.missed.get()
    }
}
