//! Two counts that change together and are read together.
//!
//! Both stand in one word, so that nobody sees one of them moved and the other not yet: what goes
//! from the first to the second is never in both, and never in neither. Any thread may change and
//! read it. Each count holds 32 bits; to go below zero or above that is an error of the caller's.

use crate::sync::atomic::{AtomicU64, Ordering};

const SECOND: u32 = 32;

/// Two counts in one word.
#[derive(Debug)]
pub struct CountPair(AtomicU64);

impl Default for CountPair {
    fn default() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl CountPair {
    /// Adds so much to the first and to the second, at once.
    pub fn add(&self, first: i32, second: i32) {
        let both = (i64::from(second) << SECOND).wrapping_add(i64::from(first));
        // Relaxed: counts, which publish nothing but themselves.
        self.0.fetch_add(both as u64, Ordering::Relaxed);
    }

    /// The first and the second, as of one moment.
    pub fn get(&self) -> (u32, u32) {
        // Relaxed: as above.
        let both = self.0.load(Ordering::Relaxed);
        (both as u32, (both >> SECOND) as u32)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn counts_go_up_and_down_alone_and_together() {
        let pair = CountPair::default();
        pair.add(3, 0);
        pair.add(-1, 1);
        assert_eq!(pair.get(), (2, 1));
        pair.add(-2, 2);
        pair.add(0, -3);
        assert_eq!(pair.get(), (0, 0));
        pair.add(i32::MAX, i32::MAX);
        assert_eq!(pair.get(), (i32::MAX as u32, i32::MAX as u32));
    }

    #[test]
    fn what_moves_is_never_in_neither() {
        let pair = CountPair::default();
        pair.add(1_000, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| (0..1_000).for_each(|_| pair.add(-1, 1)));
            loop {
                let (first, second) = pair.get();
                assert_eq!(first + second, 1_000);
                if first == 0 {
                    break;
                }
            }
        });
    }
}
