//! The stand-in for `rtrb` in models: the same calls, the same protocol, the same orderings.
//!
//! Each ordering names where rtrb 0.4.1 has it, because the twin proves nothing about a protocol
//! that it does not follow. Positions run from 0 to twice the capacity, so that full and empty
//! differ; each end keeps a copy of the other's position and looks again only when it must. Used
//! by models (and compared with rtrb in tests), never by a daemon. A full ring gives the value
//! back.
#![expect(unsafe_code, reason = "slots are written by one end and read by the other")]

use crate::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use crate::sync::cell::UnsafeCell;
use core::cell::Cell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

const IS_ABANDONED: u8 = 0b1000_0000;

/// What both ends share.
pub(super) struct RingBuffer<T> {
    head: AtomicUsize,
    tail: AtomicUsize,
    flags: AtomicU8,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

impl<T> RingBuffer<T> {
    #[expect(clippy::new_ret_no_self, reason = "the name that rtrb gives it")]
    pub(super) fn new(capacity: usize) -> (Producer<T>, Consumer<T>) {
        let ring = Box::new(Self {
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
            flags: AtomicU8::new(0),
            slots: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
        });
        let ring = NonNull::from(Box::leak(ring));
        let producer = Producer {
            ring: Shared { ring },
            cached_head: Cell::new(0),
            cached_tail: Cell::new(0),
        };
        let consumer = Consumer {
            ring: Shared { ring },
            cached_head: Cell::new(0),
            cached_tail: Cell::new(0),
        };
        (producer, consumer)
    }

    fn capacity(&self) -> usize {
        self.slots.len()
    }

    fn slot(&self, position: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[position % self.capacity()]
    }

    fn advance(&self, position: usize, by: usize) -> usize {
        (position + by) % (2 * self.capacity())
    }

    fn distance(&self, head: usize, tail: usize) -> usize {
        (2 * self.capacity() + tail - head) % (2 * self.capacity())
    }

    /// # Safety
    /// The slot must be empty and belong to the producer.
    unsafe fn write(&self, position: usize, value: T) {
        // SAFETY: the caller's promise; the consumer looks at the slot only after the tail moved.
        self.slot(position).with_mut(|slot| unsafe { (*slot).write(value) });
    }

    /// # Safety
    /// The slot must hold a value and belong to the consumer, who must not read it again.
    unsafe fn read(&self, position: usize) -> T {
        // A mutable access, because the value moves out. SAFETY: the caller's promise; the
        // producer looks at the slot only after the head moved.
        self.slot(position).with_mut(|slot| unsafe { (*slot).assume_init_read() })
    }
}

impl<T> Drop for RingBuffer<T> {
    fn drop(&mut self) {
        // Relaxed: the Acquire in `Shared::drop` came before. rtrb: lib.rs 245, 246.
        let mut head = self.head.load(Ordering::Relaxed);
        let tail = self.tail.load(Ordering::Relaxed);
        while head != tail {
            // SAFETY: slots from head to tail hold values and both ends are gone.
            drop(unsafe { self.read(head) });
            head = self.advance(head, 1);
        }
    }
}

/// One of the two references to a ring.
struct Shared<T> {
    ring: NonNull<RingBuffer<T>>,
}

impl<T> core::ops::Deref for Shared<T> {
    type Target = RingBuffer<T>;
    fn deref(&self) -> &RingBuffer<T> {
        // SAFETY: the ring lives until both references are dropped; nobody holds it mutably.
        unsafe { self.ring.as_ref() }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Release: what this end did to the ring comes before the other end's Acquire below.
        // rtrb: arc_ring_buffer.rs 54.
        if self.flags.fetch_or(IS_ABANDONED, Ordering::Release) & IS_ABANDONED != 0 {
            // Acquire: pairs with the Release of the end that went first.
            // rtrb: arc_ring_buffer.rs 69.
            let _ = self.flags.load(Ordering::Acquire);
            // SAFETY: made by Box::leak, and the other reference is gone.
            drop(unsafe { Box::from_raw(self.ring.as_ptr()) });
        }
    }
}

/// The giving end.
pub(super) struct Producer<T> {
    ring: Shared<T>,
    cached_head: Cell<usize>,
    cached_tail: Cell<usize>,
}

// SAFETY: one thread at a time has the producer; values move to the consumer's thread.
unsafe impl<T: Send> Send for Producer<T> {}

/// The value that did not fit.
pub(super) enum PushError<T> {
    Full(T),
}

impl<T> Producer<T> {
    pub(super) fn push(&mut self, value: T) -> Result<(), PushError<T>> {
        if self.cached_slots() == 0 && self.slots() == 0 {
            return Err(PushError::Full(value));
        }
        let tail = self.cached_tail.get();
        // SAFETY: at least one slot is free, and the tail's is the first of them.
        unsafe { self.ring.write(tail, value) };
        self.commit(1);
        Ok(())
    }

    /// Release: publishes the slots; pairs with the Acquire in `Consumer::slots`.
    /// rtrb: lib.rs 351, chunks.rs 748.
    fn commit(&self, count: usize) {
        let tail = self.ring.advance(self.cached_tail.get(), count);
        self.ring.tail.store(tail, Ordering::Release);
        self.cached_tail.set(tail);
    }

    fn cached_slots(&self) -> usize {
        self.ring.capacity() - self.ring.distance(self.cached_head.get(), self.cached_tail.get())
    }

    /// Acquire: the slots before this head are read; pairs with the Release in
    /// `Consumer::release`. rtrb: lib.rs 378 and 496, chunks.rs 223.
    pub(super) fn slots(&self) -> usize {
        let head = self.ring.head.load(Ordering::Acquire);
        self.cached_head.set(head);
        self.cached_slots()
    }

    /// rtrb: lib.rs 478.
    pub(super) fn is_abandoned(&self) -> bool {
        self.ring.flags.load(Ordering::Acquire) & IS_ABANDONED != 0
    }

    pub(super) fn write_chunk_uninit(
        &mut self,
        count: usize,
    ) -> Result<WriteChunkUninit<'_, T>, chunks::ChunkError> {
        if self.cached_slots() < count && self.slots() < count {
            return Err(chunks::ChunkError::TooFewSlots(self.cached_slots()));
        }
        Ok(WriteChunkUninit { producer: self, count })
    }
}

/// Free slots that are about to be filled.
pub(super) struct WriteChunkUninit<'a, T> {
    producer: &'a Producer<T>,
    count: usize,
}

impl<T> WriteChunkUninit<'_, T> {
    pub(super) fn fill_from_iter(self, values: impl IntoIterator<Item = T>) -> usize {
        let ring = &self.producer.ring;
        let tail = self.producer.cached_tail.get();
        let mut filled = 0;
        let mut values = values.into_iter();
        while filled < self.count {
            let Some(value) = values.next() else { break };
            // SAFETY: `count` slots from the tail on are free and not yet published.
            unsafe { ring.write(ring.advance(tail, filled), value) };
            filled += 1;
        }
        self.producer.commit(filled);
        filled
    }
}

/// The taking end.
pub(super) struct Consumer<T> {
    ring: Shared<T>,
    cached_head: Cell<usize>,
    cached_tail: Cell<usize>,
}

// SAFETY: one thread at a time has the consumer; values come from the producer's thread.
unsafe impl<T: Send> Send for Consumer<T> {}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        // A forgotten chunk iterator leaves `cached_head` ahead. rtrb: lib.rs 554.
        self.ring.head.store(self.cached_head.get(), Ordering::Release);
    }
}

/// There was no value.
#[derive(Debug)]
pub(super) struct Empty;

impl<T> Consumer<T> {
    pub(super) fn pop(&mut self) -> Result<T, Empty> {
        if self.cached_slots() == 0 && self.slots() == 0 {
            return Err(Empty);
        }
        let head = self.cached_head.get();
        // SAFETY: at least one slot holds a value, and the head's is the oldest of them.
        let value = unsafe { self.ring.read(head) };
        self.release(self.ring.advance(head, 1));
        Ok(value)
    }

    pub(super) fn peek(&self) -> Result<&T, Empty> {
        if self.cached_slots() == 0 && self.slots() == 0 {
            return Err(Empty);
        }
        // SAFETY: the head's slot holds a value, and it stays while self is borrowed.
        let slot = |slot: *const MaybeUninit<T>| unsafe { (*slot).assume_init_ref() };
        Ok(self.ring.slot(self.cached_head.get()).with(slot))
    }

    /// Release: gives the slots back; pairs with the Acquire in `Producer::slots`.
    /// rtrb: lib.rs 597, chunks.rs 1116.
    fn release(&self, head: usize) {
        self.ring.head.store(head, Ordering::Release);
        self.cached_head.set(head);
    }

    fn cached_slots(&self) -> usize {
        self.ring.distance(self.cached_head.get(), self.cached_tail.get())
    }

    /// Acquire: the slots before this tail are written; pairs with the Release in
    /// `Producer::commit`. rtrb: lib.rs 667 and 784, chunks.rs 348.
    pub(super) fn slots(&self) -> usize {
        let tail = self.ring.tail.load(Ordering::Acquire);
        self.cached_tail.set(tail);
        self.cached_slots()
    }

    /// rtrb: lib.rs 766.
    pub(super) fn is_abandoned(&self) -> bool {
        self.ring.flags.load(Ordering::Acquire) & IS_ABANDONED != 0
    }

    pub(super) fn read_chunk(
        &mut self,
        count: usize,
    ) -> Result<ReadChunk<'_, T>, chunks::ChunkError> {
        if self.cached_slots() < count && self.slots() < count {
            return Err(chunks::ChunkError::TooFewSlots(self.cached_slots()));
        }
        Ok(ReadChunk { consumer: self, count })
    }
}

/// Values that are about to be taken.
pub(super) struct ReadChunk<'a, T> {
    consumer: &'a Consumer<T>,
    count: usize,
}

impl<'a, T> IntoIterator for ReadChunk<'a, T> {
    type Item = T;
    type IntoIter = ReadChunkIntoIter<'a, T>;

    fn into_iter(self) -> ReadChunkIntoIter<'a, T> {
        let first = self.consumer.cached_head.get();
        self.consumer.cached_head.set(self.consumer.ring.advance(first, self.count));
        ReadChunkIntoIter { chunk: self, first, taken: 0 }
    }
}

/// Takes the values of a chunk one by one and gives their slots back when dropped.
pub(super) struct ReadChunkIntoIter<'a, T> {
    chunk: ReadChunk<'a, T>,
    first: usize,
    taken: usize,
}

impl<T> Iterator for ReadChunkIntoIter<'_, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        if self.taken == self.chunk.count {
            return None;
        }
        let ring = &self.chunk.consumer.ring;
        let position = ring.advance(self.first, self.taken);
        self.taken += 1;
        // SAFETY: `count` slots from `first` on hold values, and each is taken once.
        Some(unsafe { ring.read(position) })
    }
}

impl<T> Drop for ReadChunkIntoIter<'_, T> {
    fn drop(&mut self) {
        let consumer = self.chunk.consumer;
        consumer.release(consumer.ring.advance(self.first, self.taken));
    }
}

/// As rtrb's module of the name.
pub(super) mod chunks {
    /// Fewer slots than asked for: so many.
    pub(in super::super) enum ChunkError {
        TooFewSlots(
            #[cfg_attr(
                not(loom),
                expect(dead_code, reason = "part of the API that the twin follows")
            )]
            usize,
        ),
    }
}
