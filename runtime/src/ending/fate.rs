//! Whether something still lives: a word that it sets with its last breath, however that comes.
//!
//! What lives holds the [`Living`] and drops it last. Dropped without a word, it was a panic: so
//! nobody has to catch one in order to tell of it. Everybody else holds a [`Fate`].
//!
//! | word | means | set by |
//! |---|---|---|
//! | 0 | lives | |
//! | 1 | has ended in order | [`Living::ends`] |
//! | 2 | has panicked | dropping a [`Living`] |

use crate::sync::Arc;
use crate::sync::atomic::{AtomicU8, Ordering};

const LIVES: u8 = 0;
const ENDED: u8 = 1;
const PANICKED: u8 = 2;

/// Both sides, of something that lives.
pub fn fate() -> (Living, Fate) {
    let word = Arc::new(AtomicU8::new(LIVES));
    (Living { word: Arc::clone(&word), last: PANICKED }, Fate { word })
}

/// Held by what lives.
#[derive(Debug)]
pub struct Living {
    word: Arc<AtomicU8>,
    last: u8,
}

impl Living {
    /// Ends in order.
    pub fn ends(mut self) {
        self.last = ENDED;
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `Fate::get`; all that was done in life is seen.
        self.word.store(self.last, Ordering::Release);
    }
}

/// Held by whoever cares; cheap to clone, on any thread.
#[derive(Clone, Debug)]
pub struct Fate {
    word: Arc<AtomicU8>,
}

impl Fate {
    /// Whether it has ended, in order or not. All that it did is seen then.
    pub fn has_ended(&self) -> bool {
        self.get() != LIVES
    }

    /// Whether it has ended by a panic.
    pub fn has_panicked(&self) -> bool {
        self.get() == PANICKED
    }

    fn get(&self) -> u8 {
        // Acquire: pairs with the Release in `Living::drop`.
        self.word.load(Ordering::Acquire)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_ends_without_a_word_has_panicked() {
        let (living, ends) = fate();
        assert!(!ends.has_ended());
        living.ends();
        assert!(ends.has_ended() && !ends.has_panicked());

        let (living, panics) = fate();
        let thread = std::thread::spawn(move || {
            let _living = living;
            std::panic::resume_unwind(Box::new("planted"));
        });
        assert!(thread.join().is_err());
        assert!(panics.has_ended() && panics.has_panicked());
    }
}
