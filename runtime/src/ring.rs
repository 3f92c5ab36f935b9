//! Rings: bounded queues between exactly two cores, one that pushes and one that takes.
//!
//! ```text
//!  producer's core ──push / push_all──▶ [ · · 4 5 6 · ] ──pop / drain──▶ consumer's core
//! ```
//!
//! Thin over the `rtrb` crate; in a model its place is taken by a twin, which follows the same
//! protocol with the same orderings. A push publishes everything that the producer wrote before
//! it. A ring never waits and never allocates after it was made; when it is full, `push` gives the
//! value back and the sender keeps it.

#[cfg(loom)]
use self::twin as queue;
#[cfg(not(loom))]
use rtrb as queue;

#[cfg(any(loom, test))]
mod twin;

/// Both ends of a new ring for `capacity` values. Allocates once, [`ring_bytes`] in all.
///
/// # Panics
/// If `capacity` is zero or so large that its memory cannot be had.
pub fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(capacity > 0, "a ring without a slot passes nothing");
    let (producer, consumer) = queue::RingBuffer::new(capacity);
    (Producer { end: producer, capacity }, Consumer { end: consumer, capacity })
}

/// Bytes that the slots of a ring of `capacity` values take, for the budget.
pub const fn ring_bytes<T>(capacity: usize) -> u64 {
    capacity as u64 * size_of::<T>() as u64
}

/// The end of a ring that gives. Moves between threads, is used by one at a time.
pub struct Producer<T> {
    end: queue::Producer<T>,
    capacity: usize,
}

impl<T> Producer<T> {
    /// Publishes `value` to the consumer. A store, and a load of the other core's line only when
    /// the ring looks full.
    ///
    /// # Errors
    /// Gives `value` back when the ring is full.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), T> {
        self.end.push(value).map_err(|queue::PushError::Full(value)| value)
    }

    /// How many values of `values` were taken from it and published, in order: as many as there
    /// are free slots. The others stay in the iterator. One store for all of them, and a load of the other
    /// core's line only when the ring looks too full for as many as there may be.
    #[inline]
    pub fn push_all(&mut self, values: &mut impl Iterator<Item = T>) -> usize {
        let most = values.size_hint().1.unwrap_or(self.capacity).min(self.capacity);
        let chunk = match self.end.write_chunk_uninit(most) {
            Err(queue::chunks::ChunkError::TooFewSlots(free @ 1..)) => {
                self.end.write_chunk_uninit(free)
            }
            chunk => chunk,
        };
        chunk.map_or(0, |chunk| chunk.fill_from_iter(values))
    }

    /// How many of `count` values can be pushed now. Looks at the consumer's progress only if the ring looks
    /// too full for all of them.
    #[inline]
    pub fn room_for(&mut self, count: usize) -> usize {
        let count = count.min(self.capacity);
        match self.end.write_chunk_uninit(count) {
            Ok(_) => count,
            Err(queue::chunks::ChunkError::TooFewSlots(free)) => free,
        }
    }

    /// How many values can be pushed now, at least; looks at the consumer's progress.
    #[inline]
    pub fn free_slots(&self) -> usize {
        self.end.slots()
    }

    /// How many values fit into the empty ring.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether the consumer is gone, so that what is pushed reaches nobody.
    #[inline]
    pub fn is_abandoned(&self) -> bool {
        self.end.is_abandoned()
    }
}

/// The end of a ring that takes. Moves between threads, is used by one at a time.
pub struct Consumer<T> {
    end: queue::Consumer<T>,
    capacity: usize,
}

impl<T> Consumer<T> {
    /// The oldest value, which leaves the ring, if there is one.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        self.end.pop().ok()
    }

    /// The oldest value, which stays in the ring, if there is one.
    #[inline]
    pub fn peek(&self) -> Option<&T> {
        self.end.peek().ok()
    }

    /// How many values `take` was given: those that are there, oldest first, `max` at most. Their
    /// slots become free together at the end, with one load and one store for all of them.
    ///
    /// If `take` panics, the values that it was given have left the ring and the others stay.
    #[inline]
    pub fn drain(&mut self, max: usize, take: impl FnMut(T)) -> usize {
        let there = self.end.slots().min(max);
        if there == 0 {
            return 0;
        }
        match self.end.read_chunk(there) {
            Ok(chunk) => {
                chunk.into_iter().for_each(take);
                there
            }
            Err(queue::chunks::ChunkError::TooFewSlots(_)) => 0,
        }
    }

    /// How many values are there now, at least; looks at the producer's progress.
    #[inline]
    pub fn len(&self) -> usize {
        self.end.slots()
    }

    /// Whether no value is there now.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many values fit into the empty ring.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether the producer is gone, so that nothing comes after what is there. Ask this *before*
    /// the last look at the ring: a value may arrive in between.
    #[inline]
    pub fn is_abandoned(&self) -> bool {
        self.end.is_abandoned()
    }
}

impl<T> core::fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Producer(capacity {})", self.capacity)
    }
}

impl<T> core::fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Consumer(capacity {})", self.capacity)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::rc::Rc;

    #[test]
    fn a_full_ring_gives_the_value_back() {
        let (mut producer, mut consumer) = ring(2);
        assert_eq!(producer.push(1), Ok(()));
        assert_eq!(producer.push(2), Ok(()));
        assert_eq!(producer.push(3), Err(3));
        assert_eq!(producer.free_slots(), 0);
        assert_eq!(consumer.pop(), Some(1));
        assert_eq!(producer.free_slots(), 1);
        assert_eq!(producer.push(3), Ok(()));
        assert_eq!(consumer.len(), 2);
        assert_eq!(consumer.peek(), Some(&2));
    }

    #[test]
    fn push_all_leaves_what_does_not_fit_in_the_iterator() {
        let (mut producer, mut consumer) = ring(3);
        let mut values = 0..5;
        assert_eq!(producer.push_all(&mut values), 3);
        assert_eq!(producer.push_all(&mut values), 0);
        let mut got = Vec::new();
        assert_eq!(consumer.drain(2, |value| got.push(value)), 2);
        assert_eq!(producer.push_all(&mut values), 2);
        assert_eq!(consumer.drain(usize::MAX, |value| got.push(value)), 3);
        assert_eq!(got, [0, 1, 2, 3, 4]);
        assert_eq!(consumer.drain(usize::MAX, |_| unreachable!()), 0);
    }

    #[test]
    fn each_end_learns_that_the_other_is_gone() {
        let (producer, consumer) = ring::<u8>(1);
        assert!(!consumer.is_abandoned() && !producer.is_abandoned());
        drop(producer);
        assert!(consumer.is_abandoned());
        let (producer, consumer) = ring::<u8>(1);
        drop(consumer);
        assert!(producer.is_abandoned());
    }

    #[test]
    fn a_panic_while_draining_loses_and_doubles_nothing() {
        let (mut producer, mut consumer) = ring(4);
        let value = Rc::new(());
        producer.push_all(&mut std::iter::repeat_n(value.clone(), 4));
        let mut seen = 0;
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            consumer.drain(4, |_| {
                seen += 1;
                assert!(seen < 2, "planted");
            })
        }));
        assert!(caught.is_err());
        assert_eq!(consumer.len(), 2);
        drop((producer, consumer));
        assert_eq!(Rc::strong_count(&value), 1);
    }

    #[test]
    #[should_panic(expected = "without a slot")]
    fn a_ring_needs_a_slot() {
        let _ = ring::<u8>(0);
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Push,
        PushAll(usize),
        Pop,
        Drain(usize),
        Look,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            Just(Step::Push),
            (0..6usize).prop_map(Step::PushAll),
            Just(Step::Pop),
            (0..6usize).prop_map(Step::Drain),
            Just(Step::Look),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        /// The ring, its twin and a plain queue do the same, step by step.
        #[test]
        fn ring_and_twin_agree(capacity in 1..5usize, steps in steps()) {
            let (mut producer, mut consumer) = ring::<Rc<u32>>(capacity);
            let (mut twin_producer, mut twin_consumer) =
                twin::RingBuffer::new(capacity);
            let mut model = VecDeque::new();
            let mut next = 0u32;
            for step in steps {
                match step {
                    Step::Push => {
                        let value = Rc::new(next);
                        let full = model.len() == capacity;
                        prop_assert_eq!(producer.push(value.clone()).is_err(), full);
                        prop_assert_eq!(twin_producer.push(value.clone()).is_err(), full);
                        if !full {
                            model.push_back(value);
                            next += 1;
                        }
                    }
                    Step::PushAll(count) => {
                        let values: Vec<_> =
                            (next..next + count as u32).map(Rc::new).collect();
                        let pushed = producer.push_all(&mut values.iter().cloned());
                        let free = twin_producer.slots();
                        let chunk = twin_producer.write_chunk_uninit(free).ok().unwrap();
                        prop_assert_eq!(pushed, chunk.fill_from_iter(values.iter().cloned()));
                        prop_assert_eq!(pushed, count.min(capacity - model.len()));
                        model.extend(values.into_iter().take(pushed));
                        next += pushed as u32;
                    }
                    Step::Pop => {
                        let value = model.pop_front();
                        prop_assert_eq!(consumer.pop(), value.clone());
                        prop_assert_eq!(twin_consumer.pop().ok(), value);
                    }
                    Step::Drain(max) => {
                        let mut got = Vec::new();
                        let count = consumer.drain(max, |value| got.push(value));
                        prop_assert_eq!(count, got.len());
                        let there = twin_consumer.slots().min(max);
                        let chunk = twin_consumer.read_chunk(there).ok().unwrap();
                        let twins: Vec<_> = chunk.into_iter().collect();
                        prop_assert_eq!(&got, &twins);
                        let expected: Vec<_> = model.drain(..max.min(model.len())).collect();
                        prop_assert_eq!(got, expected);
                    }
                    Step::Look => {
                        prop_assert_eq!(consumer.peek(), model.front());
                        prop_assert_eq!(twin_consumer.peek().ok(), model.front());
                        prop_assert_eq!(consumer.len(), model.len());
                        prop_assert_eq!(twin_consumer.slots(), model.len());
                        prop_assert_eq!(producer.free_slots(), capacity - model.len());
                        prop_assert_eq!(twin_producer.slots(), capacity - model.len());
                    }
                }
            }
            prop_assert!(!producer.is_abandoned() && !twin_producer.is_abandoned());
            drop((consumer, twin_consumer));
            prop_assert!(producer.is_abandoned() && twin_producer.is_abandoned());
            let (_, twin_consumer) = twin::RingBuffer::<u8>::new(capacity);
            prop_assert!(twin_consumer.is_abandoned());
            drop((producer, twin_producer));
            prop_assert!(model.iter().all(|value| Rc::strong_count(value) == 1));
        }
    }
}
