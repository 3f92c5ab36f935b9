//! Producers: who numbers batches for a document, so that a resend is recognised.
//!
//! One table per owner, one cache line a producer, linked per document. A document remembers
//! a bounded number of producers; forgetting one raises the document's floor, and a batch
//! numbered at or below the floor of its producer is an error, never a second apply.

use deltaworks_runtime::zeroed::{Zeroable, ZeroedArray};

/// "No producer".
pub const NO_PRODUCER: u32 = u32::MAX;

/// The place of a producer whose document was moved, until the new owner has told it: the owner looks
/// it up.
pub const BY_SLOT: u32 = u32::MAX - 1;

/// What a numbered batch is to its producer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Numbered {
    /// The next one.
    Next,
    /// Answered before; 0 if its sequence is no longer known.
    Resent { sequence: u64 },
    /// From before the producer was remembered.
    Forgotten,
    /// Leaves numbers out.
    Jump { expected: u64 },
}

/// A session writes as this producer.
pub(crate) const BOUND: u8 = 1;
/// Its session is owed an ack.
pub(crate) const TOUCHED: u8 = 2;
/// The entry is in use.
pub(crate) const USED: u8 = 4;
/// Credit of its batches may wait for `wait` subscriptions.
pub(crate) const OWED: u8 = 8;
/// Its ack has found no room in a ring: it stands among those that are asked first in the next turn.
pub(crate) const KEPT: u8 = 16;

#[repr(C, align(64))]
#[derive(Debug, Clone)]
pub(crate) struct Producer {
    pub identity: u64,
    /// The last number that was answered.
    pub last: u64,
    /// Numbers up to here are from before it was remembered.
    pub base: u64,
    /// First sequence of batch `last`; 0 if refused.
    pub last_sequence: u64,
    pub session: u32,
    pub handle: u32,
    pub origin: u32,
    /// Its document's place at the owner.
    pub place: u32,
    /// Credit to be given back.
    pub credit_bytes: u32,
    /// Resends since the last ack.
    pub duplicates: u32,
    pub next: u32,
    pub core: u16,
    pub flags: u8,
}

const _: () = assert!(size_of::<Producer>() == 64);

// SAFETY: plain integers.
#[expect(unsafe_code, reason = "the promise is about bit patterns")]
unsafe impl Zeroable for Producer {
    fn zeroed() -> Self {
        Self {
            identity: 0,
            last: 0,
            base: 0,
            last_sequence: 0,
            session: 0,
            handle: 0,
            origin: 0,
            place: 0,
            credit_bytes: 0,
            duplicates: 0,
            next: 0,
            core: 0,
            flags: 0,
        }
    }
}

impl Producer {
    /// Judges a batch's number. Consumes nothing.
    #[inline]
    pub fn judge(&self, number: u64) -> Numbered {
        if number == self.last + 1 {
            Numbered::Next
        } else if number > self.last {
            Numbered::Jump { expected: self.last + 1 }
        } else if number <= self.base {
            Numbered::Forgotten
        } else {
            Numbered::Resent { sequence: if number == self.last { self.last_sequence } else { 0 } }
        }
    }
}

/// The producers of one owner's documents.
///
/// Worst-case memory: 64 bytes each, at most `limit`.
#[derive(Debug)]
pub(crate) struct ProducerTable {
    entries: ZeroedArray<Producer>,
    free: u32,
    /// Entries that were ever used.
    fresh: u32,
    used: u32,
}

impl ProducerTable {
    pub fn new(limit: u32) -> Self {
        let entries = ZeroedArray::new(limit as usize);
        Self { entries, free: NO_PRODUCER, fresh: 0, used: 0 }
    }

    #[inline]
    pub fn get(&mut self, index: u32) -> &mut Producer {
        &mut self.entries[index as usize]
    }

    /// The place of a producer's document.
    #[inline(always)]
    pub fn place(&self, index: u32) -> u32 {
        self.entries[index as usize].place
    }

    /// All entries, by index.
    #[inline]
    pub fn entries(&mut self) -> &mut [Producer] {
        &mut self.entries
    }

    #[inline(always)]
    pub fn prefetch(&self, index: u32) {
        deltaworks_runtime::prefetch::prefetch_in_entry(&self.entries, index as usize, 0);
    }

    pub fn used(&self) -> u32 {
        self.used
    }

    /// Entries that may still be made.
    pub fn room(&self) -> u32 {
        self.entries.len() as u32 - self.used
    }

    /// The entry of `identity` in the list from `first`.
    pub fn find(&self, first: u32, identity: u64) -> Option<u32> {
        let mut index = first;
        while index != NO_PRODUCER {
            let producer = &self.entries[index as usize];
            if producer.identity == identity {
                return Some(index);
            }
            index = producer.next;
        }
        None
    }

    /// Entries of the list that a session writes as.
    pub fn bound(&self, first: u32) -> u32 {
        let (mut index, mut bound) = (first, 0);
        while index != NO_PRODUCER {
            let producer = &self.entries[index as usize];
            bound += u32::from(producer.flags & BOUND != 0);
            index = producer.next;
        }
        bound
    }

    /// The longest remembered entry of the list that no session writes as.
    pub fn oldest_unbound(&self, first: u32) -> Option<u32> {
        let mut found = None;
        let mut index = first;
        while index != NO_PRODUCER {
            let producer = &self.entries[index as usize];
            if producer.flags & (BOUND | TOUCHED) == 0 {
                found = Some(index); // new ones stand in front
            }
            index = producer.next;
        }
        found
    }

    /// A new entry in front of the list from `first`; `None` at the limit.
    pub fn insert(&mut self, first: u32, producer: Producer) -> Option<u32> {
        let producer = Producer { next: first, flags: producer.flags | USED, ..producer };
        let index = if self.free != NO_PRODUCER {
            let index = self.free;
            self.free = self.entries[index as usize].next;
            self.entries[index as usize] = producer;
            index
        } else if (self.fresh as usize) < self.entries.len() {
            self.entries[self.fresh as usize] = producer;
            self.fresh += 1;
            self.fresh - 1
        } else {
            return None;
        };
        self.used += 1;
        Some(index)
    }

    /// Takes `index` out of the list from `first`; returns the list's new first entry.
    pub fn remove(&mut self, first: u32, index: u32) -> u32 {
        let next = self.entries[index as usize].next;
        let mut new_first = first;
        if first == index {
            new_first = next;
        } else {
            let mut before = first;
            while self.entries[before as usize].next != index {
                before = self.entries[before as usize].next;
            }
            self.entries[before as usize].next = next;
        }
        let entry = &mut self.entries[index as usize];
        entry.flags = 0;
        entry.identity = 0;
        entry.next = self.free;
        self.free = index;
        self.used -= 1;
        new_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn producer(identity: u64) -> Producer {
        Producer {
            identity,
            last: 5,
            base: 2,
            last_sequence: 77,
            session: 0,
            handle: 0,
            origin: 1,
            place: 0,
            credit_bytes: 0,
            duplicates: 0,
            next: NO_PRODUCER,
            core: 0,
            flags: 0,
        }
    }

    #[test]
    fn numbers_are_judged_by_what_is_remembered() {
        let producer = producer(1);
        assert_eq!(producer.judge(6), Numbered::Next);
        assert_eq!(producer.judge(7), Numbered::Jump { expected: 6 });
        assert_eq!(producer.judge(5), Numbered::Resent { sequence: 77 });
        assert_eq!(producer.judge(3), Numbered::Resent { sequence: 0 });
        assert_eq!(producer.judge(2), Numbered::Forgotten);
        assert_eq!(producer.judge(0), Numbered::Forgotten);
    }

    #[test]
    fn lists_keep_their_entries_apart() {
        let mut table = ProducerTable::new(3);
        let a1 = table.insert(NO_PRODUCER, producer(1)).unwrap();
        let b1 = table.insert(NO_PRODUCER, producer(1)).unwrap();
        let a2 = table.insert(a1, producer(2)).unwrap();
        assert!(table.insert(a2, producer(3)).is_none());
        assert_eq!(table.find(a2, 1), Some(a1));
        assert_eq!(table.find(b1, 2), None);
        assert_eq!(table.oldest_unbound(a2), Some(a1));
        assert_eq!(table.remove(a2, a1), a2);
        assert_eq!(table.find(a2, 1), None);
        assert!(table.insert(a2, producer(3)).is_some());
    }
}
