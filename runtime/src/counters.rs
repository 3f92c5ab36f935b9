//! Counters that one core writes and anybody reads, all of them as of one moment.
//!
//! The writer counts in plain integers of its own and publishes them together now and then, so
//! counting costs an addition, and sharing costs a few stores to lines that only this core writes.
//! Neither waits for the other. There are two copies: the writer fills the one to which no reader
//! is sent, and then sends readers there.
//!
//! | step | writer, at publication n + 1 | reader |
//! |---|---|---|
//! | 1 | `fence(Release)` | loads `version`: n, Acquire |
//! | 2 | stores into copy (n + 1) % 2 | loads from copy n % 2 |
//! | 3 | stores `version`: n + 1, Release | `fence(Acquire)`, loads `version` again |
//!
//! A reader that was overtaken so far that its copy is being filled again finds another version at
//! its third step, because a word that it has read lies behind the writer's next fence; it begins
//! anew. Counters of two sets may be of different moments. Fixed in number; a counter wraps at 2⁶⁴.

use crate::padded::Padded;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::hint::spin_loop;

#[derive(Debug)]
struct Shared<const N: usize> {
    /// Publications so far. The last one stands in copy `version % 2`.
    version: AtomicU64,
    copies: [[AtomicU64; N]; 2],
}

impl<const N: usize> Shared<N> {
    fn copy(&self, version: u64) -> &[AtomicU64; N] {
        &self.copies[(version % 2) as usize]
    }
}

/// The two sides of `N` counters, all at zero. Allocates once.
pub fn counters<const N: usize>() -> (CounterWriter<N>, CounterReader<N>) {
    let copies = core::array::from_fn(|_| core::array::from_fn(|_| AtomicU64::new(0)));
    let shared = Arc::new(Padded(Shared { version: AtomicU64::new(0), copies }));
    let copies = [[0; N]; 2];
    let writer = CounterWriter { local: [0; N], version: 0, copies, shared: shared.clone() };
    (writer, CounterReader { shared })
}

/// The side of the core that counts.
#[derive(Debug)]
pub struct CounterWriter<const N: usize> {
    local: [u64; N],
    version: u64,
    /// What stands in the two copies.
    copies: [[u64; N]; 2],
    shared: Arc<Padded<Shared<N>>>,
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

    /// Makes the present values visible to readers, together. Stores only those that changed; if
    /// none has, nothing at all.
    pub fn publish(&mut self) {
        if self.local == self.copies[(self.version % 2) as usize] {
            return;
        }
        // Release: pairs with the fence in `CounterReader::read`. Whoever has read a word that is
        // stored below sees that the version before was published.
        fence(Ordering::Release);
        self.version += 1;
        let copy = &mut self.copies[(self.version % 2) as usize];
        for (index, word) in self.shared.copy(self.version).iter().enumerate() {
            if copy[index] != self.local[index] {
                copy[index] = self.local[index];
                // Relaxed: the fence and the version order it.
                word.store(copy[index], Ordering::Relaxed);
            }
        }
        // Release: pairs with the Acquire in `CounterReader::read`; the copy is whole.
        self.shared.version.store(self.version, Ordering::Release);
    }
}

/// The side of whoever wants to know; cheap to clone, on any thread.
#[derive(Debug, Clone)]
pub struct CounterReader<const N: usize> {
    shared: Arc<Padded<Shared<N>>>,
}

impl<const N: usize> CounterReader<N> {
    /// The latest published value of counter `index`. Asked again, never an older one.
    ///
    /// # Panics
    /// If there is no counter `index`.
    pub fn get(&self, index: usize) -> u64 {
        // Relaxed: ordered by the version around it.
        self.read(|copy| copy[index].load(Ordering::Relaxed))
    }

    /// The latest published value of every counter, all of one publication.
    pub fn snapshot(&self) -> [u64; N] {
        // Relaxed: as above.
        self.read(|copy| core::array::from_fn(|index| copy[index].load(Ordering::Relaxed)))
    }

    /// What `look` makes of the latest copy. Looks once more only if the writer has published
    /// meanwhile.
    fn read<R>(&self, look: impl Fn(&[AtomicU64; N]) -> R) -> R {
        loop {
            // Acquire: pairs with the Release that ends `publish`.
            let version = self.shared.version.load(Ordering::Acquire);
            let found = look(self.shared.copy(version));
            // Acquire: pairs with the fence that begins `publish`.
            fence(Ordering::Acquire);
            // Relaxed: the fence orders it.
            if self.shared.version.load(Ordering::Relaxed) == version {
                return found;
            }
            spin_loop();
        }
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
        writer.publish();
        assert_eq!((reader.get(0), reader.get(1)), (4, 9));
    }

    #[test]
    fn a_snapshot_is_of_one_publication_however_often_it_is_overtaken() {
        const PUBLICATIONS: u64 = 200_000;
        let (mut writer, reader) = counters::<5>();
        let writing = std::thread::spawn(move || {
            for value in 1..=PUBLICATIONS {
                (0..5).for_each(|index| writer.set(index, value));
                writer.publish();
            }
        });
        let mut before = 0;
        while before < PUBLICATIONS {
            let snapshot = reader.snapshot();
            assert!(snapshot.iter().all(|value| *value == snapshot[0]), "{snapshot:?}");
            assert!(snapshot[0] >= before, "{} behind {before}", snapshot[0]);
            before = snapshot[0];
        }
        writing.join().unwrap();
    }
}
