//! Counters that one core writes and anybody reads.
//!
//! The writer counts in plain integers of its own and publishes them once a turn, so counting
//! costs an addition and sharing costs a few stores to lines that only this core writes. Readers
//! see each counter's latest published value; two counters of one snapshot may be of different
//! turns. Fixed in number; a counter wraps at 2⁶⁴.

use crate::padded::Padded;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The two sides of `N` counters, all at zero. Allocates once.
pub fn counters<const N: usize>() -> (CounterWriter<N>, CounterReader<N>) {
    let shared = Arc::new(Padded(core::array::from_fn(|_| AtomicU64::new(0))));
    (
        CounterWriter { local: [0; N], published: [0; N], shared: shared.clone() },
        CounterReader { shared },
    )
}

/// The side of the core that counts.
#[derive(Debug)]
pub struct CounterWriter<const N: usize> {
    local: [u64; N],
    published: [u64; N],
    shared: Arc<Padded<[AtomicU64; N]>>,
}

impl<const N: usize> CounterWriter<N> {
    /// Adds `amount` to counter `index`.
    ///
    /// # Panics
    /// If there is no counter `index`.
    #[inline(always)]
    pub fn add(&mut self, index: usize, amount: u64) {
        self.local[index] = self.local[index].wrapping_add(amount);
    }

    /// Sets counter `index`, for values that go down, too.
    ///
    /// # Panics
    /// If there is no counter `index`.
    #[inline(always)]
    pub fn set(&mut self, index: usize, value: u64) {
        self.local[index] = value;
    }

    /// The value of counter `index`, published or not.
    ///
    /// # Panics
    /// If there is no counter `index`.
    #[inline(always)]
    pub fn get(&self, index: usize) -> u64 {
        self.local[index]
    }

    /// Makes the present values visible to readers; stores only those that changed.
    pub fn publish(&mut self) {
        for index in 0..N {
            if self.local[index] != self.published[index] {
                self.published[index] = self.local[index];
                // Relaxed: a figure for people, which publishes nothing but itself.
                self.shared[index].store(self.local[index], Ordering::Relaxed);
            }
        }
    }
}

/// The side of whoever wants to know; cheap to clone, on any thread.
#[derive(Debug, Clone)]
pub struct CounterReader<const N: usize> {
    shared: Arc<Padded<[AtomicU64; N]>>,
}

impl<const N: usize> CounterReader<N> {
    /// The latest published value of counter `index`.
    ///
    /// # Panics
    /// If there is no counter `index`.
    pub fn get(&self, index: usize) -> u64 {
        // Relaxed: nothing else is read on the strength of a counter.
        self.shared[index].load(Ordering::Relaxed)
    }

    /// The latest published value of every counter.
    pub fn snapshot(&self) -> [u64; N] {
        core::array::from_fn(|index| self.get(index))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn readers_see_what_was_published_and_no_more() {
        let (mut writer, reader) = counters::<2>();
        writer.add(0, 3);
        writer.set(1, 9);
        assert_eq!(reader.snapshot(), [0, 0]);
        writer.publish();
        writer.add(0, 1);
        assert_eq!(reader.snapshot(), [3, 9]);
        assert_eq!(writer.get(0), 4);
    }
}
