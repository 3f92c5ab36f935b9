//! Which documents of one home have something new for one propagation agent.
//!
//! Two levels of words, indexed by the document's place in its home table. The owner sets, the
//! agent swaps out; nothing can fill, so no wake-up is lost. One bitmap per (home, agent): a document
//! that is owned elsewhere is marked in its home's, so a bitmap may have several writers. Each only
//! adds bits, of documents that are its own.
//!
//! ```text
//! summary   [ ..1.. ]            bit w: word w may hold something
//! words     [ ][ ][..1.1][ ]     bit d: document d has grown since the agent looked
//! ```
//!
//! | step | owner | agent |
//! |---|---|---|
//! | 1 | publishes the tails of a turn | swaps words out |
//! | 2 | `fence(SeqCst)` | `fence(SeqCst)` |
//! | 3 | tests each bit, sets what is clear | reads the tails |
//!
//! Either the owner's test sees the word swapped out, and sets the bit again, or the agent's read
//! sees the tail.

use deltaworks_runtime::prefetch::prefetch_to_write;
use deltaworks_runtime::sync::atomic::{AtomicU64, Ordering, fence};

const BITS: usize = u64::BITS as usize;

/// The bitmap of one (home, propagation agent) pair.
///
/// Worst-case memory: 1 bit and 1/64 bit a document.
#[derive(Debug)]
pub struct Pending {
    words: Box<[AtomicU64]>,
    summary: Box<[AtomicU64]>,
}

impl Pending {
    /// A clear bitmap for `documents` documents. Allocates; every other operation does not.
    pub fn new(documents: usize) -> Self {
        let words = documents.div_ceil(BITS).max(1);
        let summary = words.div_ceil(BITS);
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            summary: (0..summary).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Owner: asks for the line that a mark of document `index` is set in, which the agent has taken. Swaps and
    /// additions wait for their line one after another, so all that will be needed are asked for before.
    #[inline]
    pub fn ask(&self, index: usize) {
        prefetch_to_write(&self.words[index / BITS]);
    }

    /// Owner: marks document `index`, and tells whether the mark is new.
    ///
    /// The caller has published the tail and has fenced (SeqCst) since: see the module's table.
    #[inline]
    pub fn set(&self, index: usize) -> bool {
        let (word, bit) = (index / BITS, 1 << (index % BITS));
        // Relaxed: ordered by the caller's fence against the agent's swap and fence.
        if self.words[word].load(Ordering::Relaxed) & bit != 0 {
            return false;
        }
        // AcqRel: if the agent swapped this word out before, its clearing of the summary is seen
        // by the load below; pairs with the swaps in `take`.
        self.words[word].fetch_or(bit, Ordering::AcqRel);
        let (place, bit) = (word / BITS, 1 << (word % BITS));
        if self.summary[place].load(Ordering::Relaxed) & bit == 0 {
            // AcqRel: pairs with the swap in `take`; the bit in `words` is seen by whoever takes
            // the summary bit.
            self.summary[place].fetch_or(bit, Ordering::AcqRel);
        }
        true
    }

    /// Agent: moves marks into `found` until at least `at_most` are there or none is left, and
    /// fences, so that tails read afterwards are at least those of the marks.
    ///
    /// Goes on where `position` says, so that no document is favoured. Takes whole words: up to
    /// 63 more than `at_most`.
    pub fn take(&self, position: &mut usize, at_most: usize, found: &mut Vec<u32>) {
        let before = found.len();
        for _ in 0..self.summary.len() {
            let place = *position % self.summary.len();
            *position = place + 1;
            // Relaxed peek: a mark that it misses is found at the next turn, or by the look
            // before parking, which stands behind a fence.
            if self.summary[place].load(Ordering::Relaxed) == 0 {
                continue;
            }
            // AcqRel: pairs with the second addition in `set`, whose bit in the words is seen; and
            // whoever sees the word swapped out below sees this clearing, too.
            let mut summary = self.summary[place].swap(0, Ordering::AcqRel);
            let mut ahead = summary;
            while ahead != 0 {
                prefetch_to_write(&self.words[place * BITS + ahead.trailing_zeros() as usize]);
                ahead &= ahead - 1;
            }
            while summary != 0 {
                let word = place * BITS + summary.trailing_zeros() as usize;
                summary &= summary - 1;
                // AcqRel: pairs with `set`, both ways.
                let mut bits = self.words[word].swap(0, Ordering::AcqRel);
                while bits != 0 {
                    found.push((word * BITS + bits.trailing_zeros() as usize) as u32);
                    bits &= bits - 1;
                }
                if found.len() - before >= at_most && summary != 0 {
                    // Put back what was not visited; AcqRel as in `set`.
                    self.summary[place].fetch_or(summary, Ordering::AcqRel);
                    *position = place;
                    summary = 0;
                }
            }
            if found.len() - before >= at_most {
                break;
            }
        }
        if found.len() > before {
            // Pairs with the owner's fence in `mark_elsewhere`, between its tails and its tests.
            fence(Ordering::SeqCst);
        }
    }

    /// Whether no mark stands. Meant for the look before parking, behind the doorbell's fence.
    pub fn is_clear(&self) -> bool {
        // Relaxed: the doorbell's fence orders it, and nothing is read on its strength.
        self.summary.iter().all(|summary| summary.load(Ordering::Relaxed) == 0)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_mark_is_found_once() {
        let pending = Pending::new(100_000);
        let marks = [0, 63, 64, 4095, 4096, 99_999];
        for mark in marks {
            assert!(pending.set(mark));
            assert!(!pending.set(mark));
        }
        let (mut found, mut position) = (Vec::new(), 0);
        pending.take(&mut position, usize::MAX, &mut found);
        found.sort_unstable();
        assert_eq!(found, marks.map(|mark| mark as u32));
        found.clear();
        pending.take(&mut position, usize::MAX, &mut found);
        assert!(found.is_empty() && pending.is_clear());
    }

    #[test]
    fn a_bounded_take_goes_round_and_leaves_nobody_behind() {
        let pending = Pending::new(1 << 14);
        for index in (0..1 << 14).step_by(7) {
            pending.set(index);
        }
        let (mut all, mut position) = (Vec::new(), 0);
        while !pending.is_clear() {
            let mut found = Vec::new();
            pending.take(&mut position, 10, &mut found);
            assert!(!found.is_empty() && found.len() < 10 + BITS);
            pending.set(0); // a busy document in front takes no turn from those behind
            all.extend(found);
            if all.len() > 1 << 15 {
                break;
            }
            if all.iter().filter(|index| **index != 0).count() == (1 << 14) / 7 {
                break;
            }
        }
        all.retain(|index| *index != 0);
        all.sort_unstable();
        let expected: Vec<u32> = (7..1 << 14).step_by(7).collect();
        assert_eq!(all, expected);
    }
}
