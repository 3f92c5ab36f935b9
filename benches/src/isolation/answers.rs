//! How many batches are on their way, and how long each was.
//!
//! A queue of times for each handle; answers come in their order.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use hdrhistogram::Histogram;

use super::client::Key;
use super::span::{histogram, quantiles};
use crate::spread::Quantiles;

/// What is on its way, and what was.
#[derive(Debug)]
pub struct Answers {
    written: HashMap<(Key, u32), VecDeque<Instant>>,
    waits: Histogram<u64>,
    depth: u64,
    /// The most that were on their way.
    pub depth_max: u64,
    /// Batches that were answered.
    pub batches: u64,
}

impl Default for Answers {
    fn default() -> Self {
        let (written, waits) = (HashMap::new(), histogram());
        Self { written, waits, depth: 0, depth_max: 0, batches: 0 }
    }
}

impl Answers {
    /// A batch was written.
    pub fn written(&mut self, key: Key, handle: u32) {
        self.written.entry((key, handle)).or_default().push_back(Instant::now());
        self.depth += 1;
        self.depth_max = self.depth_max.max(self.depth);
    }

    /// So many of a handle were answered.
    pub fn answered(&mut self, key: Key, handle: u32, count: u64) {
        let Some(times) = self.written.get_mut(&(key, handle)) else { return };
        let now = Instant::now();
        for written in times.drain(..(count as usize).min(times.len())) {
            self.waits.saturating_record((now - written).as_nanos() as u64);
            self.depth -= 1;
            self.batches += 1;
        }
    }

    /// Measures from now on; what is on its way stays so.
    pub fn begin(&mut self) {
        self.waits.reset();
        (self.depth_max, self.batches) = (self.depth, 0);
    }

    /// How long they took.
    pub fn quantiles(&self) -> Quantiles {
        quantiles(&self.waits)
    }
}
