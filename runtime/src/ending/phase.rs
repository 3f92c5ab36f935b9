//! How far an end has come: one word, set by who ends, looked at every turn by those who go along.
//!
//! Belongs to nobody. Numbers mean what its user says; 0 is the beginning, in which nothing ends.
//! It wakes those who sleep by their doorbells, and says nothing to those who never look.

use crate::doorbell::{Doorbell, ring_all};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU8, Ordering};

/// The word; cheap to clone, on any thread.
#[derive(Clone, Debug)]
pub struct PhaseWord {
    word: Arc<AtomicU8>,
}

impl Default for PhaseWord {
    fn default() -> Self {
        Self { word: Arc::new(AtomicU8::new(0)) }
    }
}

impl PhaseWord {
    /// Enters `phase`, and wakes the sleepers of `doorbells` to look at it.
    pub fn enter<'a>(&self, phase: u8, doorbells: impl IntoIterator<Item = &'a Doorbell>) {
        // Release: pairs with the Acquire in `get`.
        self.word.store(phase, Ordering::Release);
        ring_all(doorbells);
    }

    /// The phase now. What was done before it was entered is seen.
    pub fn get(&self) -> u8 {
        // Acquire: pairs with the Release in `enter`.
        self.word.load(Ordering::Acquire)
    }
}
