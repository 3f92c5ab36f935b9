//! A value that changes rarely: published by whoever changes it, taken by each reader once.
//!
//! Belongs to nobody. A reader that has the latest pays a load; a change costs each reader a lock,
//! once. It wakes nobody: ring those who sleep. Holds one value, the latest.
//!
//! | step | who publishes | a reader |
//! |---|---|---|
//! | 1 | puts the value in place, under the lock | loads `version`; done if it is the one it has seen |
//! | 2 | raises `version` | takes the value, under the lock |
//!
//! In this order a reader may take a value twice, but never takes an old one for a new one.

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex};
use std::sync::PoisonError;

/// A value, where all threads see it.
#[derive(Debug)]
pub struct Versioned<T> {
    /// Counts changes.
    version: AtomicU64,
    value: Mutex<T>,
}

impl<T: Copy> Versioned<T> {
    /// The first value, which readers are not told as news.
    pub fn new(value: T) -> Self {
        Self { version: AtomicU64::new(0), value: Mutex::new(value) }
    }

    /// Makes `value` the latest.
    pub fn publish(&self, value: T) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = value;
        // Relaxed: who sees the new version takes the lock behind it, and so behind the one above.
        self.version.fetch_add(1, Ordering::Relaxed);
    }

    /// The latest.
    pub fn get(&self) -> T {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One reader's view.
#[derive(Debug)]
pub struct VersionedReader<T> {
    value: Arc<Versioned<T>>,
    seen: u64,
}

impl<T: Copy> VersionedReader<T> {
    /// A reader to whom everything that is published from the beginning on is news.
    pub fn new(value: &Arc<Versioned<T>>) -> Self {
        Self { value: Arc::clone(value), seen: 0 }
    }

    /// The latest, if something was published since this was asked last. A load if not.
    pub fn news(&mut self) -> Option<T> {
        // Relaxed: see `Versioned::publish`.
        let version = self.value.version.load(Ordering::Relaxed);
        if version == self.seen {
            return None;
        }
        self.seen = version;
        Some(self.value.get())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_reader_sees_a_change_once() {
        let value = Arc::new(Versioned::new(1));
        let mut readers = [VersionedReader::new(&value), VersionedReader::new(&value)];
        assert!(readers.iter_mut().all(|reader| reader.news().is_none()));
        value.publish(2);
        value.publish(3);
        for reader in &mut readers {
            assert_eq!(reader.news(), Some(3));
            assert_eq!(reader.news(), None);
        }
        assert_eq!(value.get(), 3);
    }
}
