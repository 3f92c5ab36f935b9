//! Latencies from many tasks in a few histograms, put together in the end.

use std::sync::{Mutex, MutexGuard};

use hdrhistogram::Histogram;

/// Histograms of one kind at most: some 200 KiB each.
const SHARDS_MAX: usize = 32;
/// The lowest latency that is told apart from none.
const LOWEST_NS: u64 = 100;
/// The highest that is told; what takes longer counts as an hour.
const HIGHEST_NS: u64 = 3_600_000_000_000;
/// Decimal digits that are kept.
const DIGITS: u8 = 3;

/// Histograms of one kind of latency, in nanoseconds.
#[derive(Debug)]
pub struct Histograms {
    shards: Vec<Mutex<Histogram<u64>>>,
}

impl Histograms {
    /// Empty ones for so many tasks.
    pub fn new(tasks: usize) -> Histograms {
        let shards = (0..tasks.clamp(1, SHARDS_MAX)).map(|_| Mutex::new(empty())).collect();
        Histograms { shards }
    }

    /// The one that this task records into, shared with some others.
    pub fn of(&self, task: usize) -> MutexGuard<'_, Histogram<u64>> {
        // A task that panicked ends the run; its histogram is as good as before.
        let shard = &self.shards[task % self.shards.len()];
        shard.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// All of them together.
    pub fn whole(&self) -> Histogram<u64> {
        let mut whole = empty();
        for shard in 0..self.shards.len() {
            // All have the same bounds, so everything fits.
            let _ = whole.add(&*self.of(shard));
        }
        whole
    }
}

/// A histogram in which nothing is recorded.
pub fn empty() -> Histogram<u64> {
    match Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("the bounds are constants: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_tasks_recorded_is_put_together() {
        let histograms = Histograms::new(100);
        for task in 0..100 {
            histograms.of(task).saturating_record(1_000 * (task as u64 + 1));
        }
        let whole = histograms.whole();
        assert_eq!(whole.len(), 100);
        assert!(whole.value_at_quantile(0.5).abs_diff(50_000) <= 100);
        assert!(whole.max().abs_diff(100_000) <= 100);
        histograms.of(3).saturating_record(u64::MAX);
        assert!(histograms.whole().max() >= HIGHEST_NS, "an hour, and no panic");
    }
}
