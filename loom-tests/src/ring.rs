//! Stories of a ring: values in order, slots given back, ends that go away.
//!
//! | producer | consumer |
//! |---|---|
//! | acquires the head `(4)`: these slots are free | acquires the tail `(2)`: these slots are filled |
//! | writes slots | reads slots |
//! | releases the tail `(1)` | releases the head `(3)` |
//! | goes: sets the flag `(5)` | sees the flag `(6)`, drains what is left |
//! | whoever goes last frees the ring with what is in it `(7)` | |
//!
//! The models drive a twin of rtrb; a test holds its orderings against rtrb's. Each mutant weakens
//! one of the numbers: then loom sees a slot written while it is read, or values are lost.

use crate::table::{Model, Mutant};

const TWIN: &str = "runtime/src/ring/twin.rs";

/// The models of this file.
pub const MODELS: &[Model] = &[
    Model {
        name: "ring::models::values_wrap_around_a_ring_of_one",
        mutants: &[
            Mutant {
                fault: "(1) a push does not publish its slot",
                file: TWIN,
                text: "self.ring.tail.store(tail, Ordering::Release)",
                replacement: "self.ring.tail.store(tail, Ordering::Relaxed)",
            },
            Mutant {
                fault: "(2) a pop does not wait for the slot's content",
                file: TWIN,
                text: "self.ring.tail.load(Ordering::Acquire)",
                replacement: "self.ring.tail.load(Ordering::Relaxed)",
            },
            Mutant {
                fault: "(3) a pop gives its slot back too early",
                file: TWIN,
                text: "fn release(&self, head: usize) {\n        self.ring.head.store(head, Ordering::Release)",
                replacement: "fn release(&self, head: usize) {\n        self.ring.head.store(head, Ordering::Relaxed)",
            },
            Mutant {
                fault: "(4) a push does not wait until its slot was read",
                file: TWIN,
                text: "self.ring.head.load(Ordering::Acquire)",
                replacement: "self.ring.head.load(Ordering::Relaxed)",
            },
        ],
    },
    Model {
        name: "ring::models::a_run_is_pushed_and_drained_as_one",
        mutants: &[
            Mutant {
                fault: "(3) a drained run is not given back",
                file: TWIN,
                text: "consumer.release(consumer.ring.advance(self.first, self.taken))",
                replacement: "consumer.release(consumer.ring.advance(self.first, 0))",
            },
            Mutant {
                fault: "(1) a run is published before it is filled",
                file: TWIN,
                text: "let mut filled = 0;",
                replacement: "let mut filled = 0;\n        ring.tail.store(ring.advance(tail, 1), Ordering::Release);",
            },
        ],
    },
    Model {
        name: "ring::models::a_run_is_cut_by_a_ring_of_one",
        mutants: &[Mutant {
            fault: "(4) a run does not wait until its slots were read",
            file: TWIN,
            text: "self.ring.head.load(Ordering::Acquire)",
            replacement: "self.ring.head.load(Ordering::Relaxed)",
        }],
    },
    Model {
        name: "ring::models::values_wrap_around_a_ring_of_two",
        mutants: &[Mutant {
            fault: "full and empty look the same",
            file: TWIN,
            text: "(position + by) % (2 * self.capacity())",
            replacement: "(position + by) % self.capacity()",
        }],
    },
    Model {
        name: "ring::models::producer_drops_while_consumer_reads",
        mutants: &[
            Mutant {
                fault: "(5) a gone producer does not publish what it pushed last",
                file: TWIN,
                text: "fetch_or(IS_ABANDONED, Ordering::Release)",
                replacement: "fetch_or(IS_ABANDONED, Ordering::Relaxed)",
            },
            Mutant {
                fault: "(6) a consumer sees that the producer is gone, but not its last push",
                file: TWIN,
                text: "/// rtrb: lib.rs 766.\n    pub(super) fn is_abandoned(&self) -> bool {\n        self.ring.flags.load(Ordering::Acquire)",
                replacement: "/// rtrb: lib.rs 766.\n    pub(super) fn is_abandoned(&self) -> bool {\n        self.ring.flags.load(Ordering::Relaxed)",
            },
        ],
    },
    Model {
        name: "ring::models::producer_drops_behind_a_run",
        mutants: &[Mutant {
            fault: "(1) a run is not published as a whole",
            file: TWIN,
            text: "self.producer.commit(filled);",
            replacement: "self.producer.commit(filled.min(1));",
        }],
    },
    Model {
        name: "ring::models::consumer_drops_while_producer_pushes",
        mutants: &[Mutant {
            fault: "(7) the last end frees slots that it does not see",
            file: TWIN,
            text: "let _ = self.flags.load(Ordering::Acquire);",
            replacement: "let _ = self.flags.load(Ordering::Relaxed);",
        }],
    },
];

#[cfg(all(loom, test))]
mod models {
    use crate::explore::every_order;
    use deltaworks_runtime::ring::ring;
    use deltaworks_runtime::sync::thread;

    #[test]
    fn values_wrap_around_a_ring_of_one() {
        every_order(|| one_by_one(1, 3));
    }

    #[test]
    fn values_wrap_around_a_ring_of_two() {
        every_order(|| one_by_one(2, 3));
    }

    fn one_by_one(capacity: usize, values: u32) {
        let (mut producer, mut consumer) = ring(capacity);
        let pushing = thread::spawn(move || {
            for value in 0..values {
                while producer.push(Box::new(value)).is_err() {
                    thread::yield_now();
                }
            }
        });
        for expected in 0..values {
            let value = loop {
                match consumer.pop() {
                    Some(value) => break value,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(*value, expected);
        }
        pushing.join().unwrap();
        assert!(consumer.is_empty());
    }

    #[test]
    fn a_run_is_pushed_and_drained_as_one() {
        every_order(|| runs(2, 4));
    }

    #[test]
    fn a_run_is_cut_by_a_ring_of_one() {
        every_order(|| runs(1, 2));
    }

    fn runs(capacity: usize, count: u32) {
        let (mut producer, mut consumer) = ring(capacity);
        let pushing = thread::spawn(move || {
            let mut values = 0..count;
            while !values.is_empty() {
                if producer.push_all(&mut values) == 0 {
                    thread::yield_now();
                }
            }
        });
        let mut next = 0;
        while next < count {
            let taken = consumer.drain(2, |value| {
                assert_eq!(value, next);
                next += 1;
            });
            if taken == 0 {
                thread::yield_now();
            }
        }
        pushing.join().unwrap();
        assert_eq!(consumer.len(), 0);
    }

    #[test]
    fn producer_drops_while_consumer_reads() {
        every_order(|| {
            let (mut producer, mut consumer) = ring(2);
            let pushing = thread::spawn(move || {
                producer.push(1u32).unwrap();
                producer.push(2u32).unwrap();
            });
            let mut sum = 0;
            loop {
                // Asked first: what is pushed after the answer is seen by the drain below.
                let last = consumer.is_abandoned();
                let taken = consumer.drain(2, |value| sum += value);
                if last {
                    break;
                }
                if taken == 0 {
                    thread::yield_now();
                }
            }
            assert_eq!(sum, 3, "nothing that was pushed is lost with its producer");
            pushing.join().unwrap();
        });
    }

    #[test]
    fn producer_drops_behind_a_run() {
        every_order(|| {
            let (mut producer, mut consumer) = ring(2);
            let pushing = thread::spawn(move || {
                assert_eq!(producer.push_all(&mut [1u32, 2].into_iter()), 2);
            });
            let first = consumer.pop();
            pushing.join().unwrap();
            let left: Vec<u32> = core::iter::from_fn(|| consumer.pop()).collect();
            assert_eq!(first.into_iter().chain(left).collect::<Vec<_>>(), [1, 2]);
            assert!(consumer.is_abandoned());
        });
    }

    #[test]
    fn consumer_drops_while_producer_pushes() {
        every_order(|| {
            let value = std::sync::Arc::new(());
            let (mut producer, mut consumer) = ring(2);
            let pushed = value.clone();
            let pushing = thread::spawn(move || {
                let _ = producer.push(pushed.clone());
                let _ = producer.push(pushed);
            });
            drop(consumer.pop());
            drop(consumer);
            pushing.join().unwrap();
            assert_eq!(std::sync::Arc::strong_count(&value), 1, "dropped once, all of them");
        });
    }
}
