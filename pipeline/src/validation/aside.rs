//! Aside: the places of what waits at its worker, behind a batch in slices or in a lane.
//!
//! Belongs to one worker. What waits for one document stands in a line of its own; the places of all
//! lines are one table, which grows to a bound and no further. When it is full, the worker takes no
//! more messages until one has gone: those that wait are judged without any message, so some always
//! go. What was held for a document while it moved is put here all the same, beyond the bound.

use std::collections::VecDeque;

use super::{Behind, Stall};

/// The end of a line.
const NONE: u32 = u32::MAX;
/// Places that the table grows by at least.
const GROWS_BY: usize = 64;

/// A place.
#[derive(Debug)]
struct Entry {
    behind: Option<Behind>,
    next: u32,
}

/// Bytes of what waits: its place, and the state of a batch in slices.
pub const ASIDE_BYTES: usize = size_of::<Entry>() + size_of::<Stall>();

/// What waits for one document, in order.
#[derive(Debug)]
pub(super) struct Line {
    first: u32,
    last: u32,
    waiting: u32,
}

impl Line {
    /// Nothing.
    pub const EMPTY: Self = Self { first: NONE, last: NONE, waiting: 0 };

    /// How much stands in it.
    #[inline]
    pub fn waiting(&self) -> usize {
        self.waiting as usize
    }
}

/// The places of all lines of one worker.
#[derive(Debug)]
pub(super) struct Aside {
    /// Those that are free form a list.
    entries: Vec<Entry>,
    free: u32,
    used: usize,
    used_max: usize,
}

impl Aside {
    /// So many places at most.
    pub fn new(used_max: u32) -> Self {
        Self { entries: Vec::new(), free: NONE, used: 0, used_max: used_max.max(1) as usize }
    }

    /// Places that are left while `others` more are spoken for.
    #[inline]
    pub fn left(&self, others: usize) -> usize {
        self.used_max.saturating_sub(self.used + others)
    }

    /// Places that are taken.
    #[cfg(feature = "testing")]
    pub fn used(&self) -> usize {
        self.used
    }

    /// Puts something at the end of a line.
    pub fn push(&mut self, line: &mut Line, behind: Behind) {
        let entry = Entry { behind: Some(behind), next: NONE };
        let number = match self.entries.get_mut(self.free as usize) {
            Some(free) => {
                let number = self.free;
                self.free = free.next;
                *free = entry;
                number
            }
            None => {
                self.grow();
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
        };
        match self.entries.get_mut(line.last as usize) {
            Some(last) => last.next = number,
            None => line.first = number,
        }
        line.last = number;
        line.waiting += 1;
        self.used += 1;
    }

    /// The first of a line, if it is such a one.
    pub fn pop(&mut self, line: &mut Line, is_it: impl FnOnce(&Behind) -> bool) -> Option<Behind> {
        let number = line.first;
        let entry = self.entries.get_mut(number as usize)?;
        let behind = entry.behind.take_if(|behind| is_it(behind))?;
        line.first = core::mem::replace(&mut entry.next, self.free);
        self.free = number;
        if line.first == NONE {
            line.last = NONE;
        }
        line.waiting -= 1;
        self.used -= 1;
        Some(behind)
    }

    /// Puts a batch in slices among the others.
    pub fn push_stall(&self, stalls: &mut VecDeque<Stall>, stall: Stall) {
        if stalls.len() == stalls.capacity() {
            stalls.reserve_exact(self.more(stalls.len()));
        }
        stalls.push_back(stall);
    }

    fn grow(&mut self) {
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(self.more(self.entries.len()));
        }
    }

    /// By how much a full table grows: it doubles, up to the bound, which is what the budget has for it.
    fn more(&self, places: usize) -> usize {
        match self.used_max.saturating_sub(places) {
            0 => GROWS_BY,
            up_to_bound => places.max(GROWS_BY).min(up_to_bound),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drop_of(slot: u32) -> Behind {
        Behind::Drop { slot, generation: 0 }
    }

    fn slot_of(behind: Option<Behind>) -> Option<u32> {
        match behind {
            Some(Behind::Drop { slot, .. }) => Some(slot),
            _ => None,
        }
    }

    #[test]
    fn lines_keep_their_order_and_share_their_places() {
        let mut aside = Aside::new(1_000);
        let (mut one, mut two) = (Line::EMPTY, Line::EMPTY);
        for round in 0..3 {
            for number in 0..500 {
                aside.push(&mut one, drop_of(number));
                aside.push(&mut two, drop_of(1_000 + number));
            }
            assert_eq!(aside.left(0), 0);
            assert_eq!(aside.entries.capacity(), 1_000, "round {round}");
            assert!(aside.pop(&mut one, |_| false).is_none());
            for number in 0..500 {
                assert_eq!(slot_of(aside.pop(&mut one, |_| true)), Some(number));
                assert_eq!(slot_of(aside.pop(&mut two, |_| true)), Some(1_000 + number));
            }
            assert_eq!((one.waiting(), two.waiting(), aside.used()), (0, 0, 0));
            assert!(aside.pop(&mut one, |_| true).is_none());
        }
    }
}
