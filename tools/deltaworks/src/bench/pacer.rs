//! When each batch is due: at fixed times, in turn among the publishers, whatever happens to the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// The longest sleep before it looks whether it shall stop.
const SLEEP_MAX: Duration = Duration::from_millis(50);

/// A plan of batches over time.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Deltas a second of all publishers together.
    pub deltas_per_second: f64,
    /// Deltas in a batch.
    pub batch_deltas: usize,
    /// Publishers.
    pub publishers: usize,
    /// How long batches are due.
    pub length: Duration,
}

impl Pace {
    /// Batches in all.
    pub fn batches(&self) -> u64 {
        let batches = self.length.as_secs_f64() * self.deltas_per_second / self.batch_deltas as f64;
        (batches.ceil() as u64).max(1)
    }

    /// When the batch with this number is due, since the start.
    pub fn due_ns(&self, batch: u64) -> u64 {
        (batch as f64 * self.batch_deltas as f64 * 1e9 / self.deltas_per_second) as u64
    }

    /// The number of the batch that is this publisher's `turn`th, if there is one.
    pub fn batch(&self, publisher: usize, turn: u64) -> Option<u64> {
        let batch = turn * self.publishers as u64 + publisher as u64;
        (batch < self.batches()).then_some(batch)
    }

    /// Gives each publisher a permit when its next batch is due; returns after the last, or when it
    /// shall stop. Sleeps in the system, because the timers of tasks count milliseconds.
    pub fn keep(&self, start: Instant, permits: &[Arc<Semaphore>], stop: &AtomicBool) {
        for batch in 0..self.batches() {
            let due = start + Duration::from_nanos(self.due_ns(batch));
            loop {
                // Relaxed: nothing but this flag is read after it.
                if stop.load(Relaxed) {
                    return;
                }
                let left = due.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                std::thread::sleep(left.min(SLEEP_MAX));
            }
            permits[(batch % self.publishers as u64) as usize].add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_due_at_even_times_and_each_belongs_to_one_publisher() {
        let pace = Pace {
            deltas_per_second: 1_000.0,
            batch_deltas: 10,
            publishers: 3,
            length: Duration::from_secs(2),
        };
        assert_eq!(pace.batches(), 200);
        assert_eq!([0, 1, 199].map(|batch| pace.due_ns(batch)), [0, 10_000_000, 1_990_000_000]);
        let of = |publisher| (0..).map_while(move |turn| pace.batch(publisher, turn));
        let mut all: Vec<u64> = (0..3).flat_map(of).collect();
        all.sort_unstable();
        assert_eq!(all, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn every_permit_is_given_and_none_after_a_stop() {
        let pace = Pace {
            deltas_per_second: 1e6,
            batch_deltas: 1,
            publishers: 2,
            length: Duration::from_micros(9),
        };
        let permits = [Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0))];
        pace.keep(Instant::now(), &permits, &AtomicBool::new(true));
        assert_eq!(permits[0].available_permits(), 0);
        pace.keep(Instant::now(), &permits, &AtomicBool::new(false));
        let given: Vec<usize> = permits.iter().map(|it| it.available_permits()).collect();
        assert_eq!(given, [5, 4]);
    }
}
