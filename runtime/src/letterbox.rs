//! What any thread may leave for one core: control that comes rarely, never data.
//!
//! Belongs to the core that takes; putting rings nobody, so ring the core's doorbell behind it. The
//! one lock is taken for a letter put and a letter taken; a core that has none pays a load. A full
//! letterbox gives the letter back.
//!
//! ```text
//! who leaves one: put it, raise `waiting` │ fence, ring the doorbell
//! the core:       sleeping = 1, fence     │ `waiting` = 0? else take one
//! ```
//!
//! The count is a hint and needs no order of its own: the lock orders letters, and the doorbell's
//! two fences keep a core from falling asleep over one.

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};
use std::collections::VecDeque;
use std::sync::PoisonError;

/// Letters for one core, in order.
#[derive(Debug)]
pub struct Letterbox<T> {
    letters: Mutex<VecDeque<T>>,
    waiting: AtomicUsize,
    at_most: usize,
}

impl<T> Letterbox<T> {
    /// An empty one that holds so many letters at most.
    pub fn new(at_most: usize) -> Self {
        let letters = Mutex::new(VecDeque::new());
        Self { letters, waiting: AtomicUsize::new(0), at_most }
    }

    /// Leaves a letter; ring the core's doorbell afterwards.
    ///
    /// # Errors
    /// The letter, if too many wait.
    pub fn put(&self, letter: T) -> Result<(), T> {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        if letters.len() >= self.at_most {
            return Err(letter);
        }
        letters.push_back(letter);
        // Relaxed: only whether to take the lock; see the module's drawing.
        self.waiting.store(letters.len(), Ordering::Relaxed);
        Ok(())
    }

    /// The oldest letter. A load if there is none.
    pub fn take(&self) -> Option<T> {
        // Relaxed: as in `put`.
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        let letter = letters.pop_front();
        // Relaxed: as in `put`.
        self.waiting.store(letters.len(), Ordering::Relaxed);
        letter
    }

    /// About how many wait.
    pub fn waiting(&self) -> usize {
        // Relaxed: a figure.
        self.waiting.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn letters_come_in_order_and_a_full_box_gives_one_back() {
        let letters = Letterbox::new(2);
        assert_eq!(letters.take(), None);
        assert_eq!((letters.put('a'), letters.put('b')), (Ok(()), Ok(())));
        assert_eq!(letters.put('c'), Err('c'));
        assert_eq!((letters.take(), letters.waiting()), (Some('a'), 1));
        assert_eq!(letters.put('c'), Ok(()));
        assert_eq!((letters.take(), letters.take(), letters.take()), (Some('b'), Some('c'), None));
    }
}
