//! A limit of what may be there at once: one thread gives seats out, any thread gives them back.
//!
//! Belongs to the thread that gives them out, which alone counts up. So the count that it reads is
//! at most too high, never too low, and the limit holds without a lock and without an order. It
//! never waits: without a seat, there is none.

use crate::sync::Arc;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// How many sit; given out by its one owner.
#[derive(Debug)]
pub struct Seats {
    taken: Arc<AtomicUsize>,
}

impl Default for Seats {
    fn default() -> Self {
        Self { taken: Arc::new(AtomicUsize::new(0)) }
    }
}

impl Seats {
    /// A seat, if fewer than `at_most` are taken.
    pub fn take(&mut self, at_most: usize) -> Option<Seat> {
        // Relaxed, both: a count, which publishes nothing. `&mut self`: only one counts
        // up, so what it has read can only have become less.
        if self.taken.load(Ordering::Relaxed) >= at_most {
            return None;
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        Some(Seat { taken: Arc::clone(&self.taken) })
    }

    /// Whether somebody sits, or sat until just now.
    pub fn is_taken(&self) -> bool {
        // Relaxed: as in `take`.
        self.taken.load(Ordering::Relaxed) > 0
    }
}

/// A seat; dropped, on any thread, it is given back.
#[derive(Debug)]
pub struct Seat {
    taken: Arc<AtomicUsize>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Relaxed: as in `take`.
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_seat_that_is_given_back_is_given_out_again() {
        let mut seats = Seats::default();
        let (one, other) = (seats.take(2), seats.take(2));
        assert!(one.is_some() && other.is_some() && seats.take(2).is_none());
        drop(one);
        assert!(seats.is_taken() && seats.take(2).is_some());
        drop(other);
        assert!(!seats.is_taken());
    }
}
