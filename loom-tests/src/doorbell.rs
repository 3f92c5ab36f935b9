//! Stories of a doorbell: a sleeper that misses work sleeps forever, and the model sees that no
//! thread can go on.
//!
//! | ringer | sleeper |
//! |---|---|
//! | publishes work: a value in a ring, a mark in a bitmap, its own end | finds no work |
//! | fence `(1)` | `sleeping = 1` |
//! | `sleeping = 1`? then takes it to 0 and wakes `(2)` | fence `(3)` |
//! | | looks once more `(4)`: none |
//! | | parks until woken; a wake before counts `(5)` |
//!
//! Without one of the fences both may miss each other: the ringer reads an old 0, the sleeper's look
//! an old emptiness. Each mutant takes away one of the numbers. A model knows no kernel that would fence
//! for the ringers, so both sides fence here; that the kernel's fence stands for a ringer's is what
//! membarrier(2) promises, and what a stress test shows with and without it.
//!
//! The second story of a sleeper that falls asleep twice has a bound: see "What is explored" in the README.

use crate::table::{Model, Mutant};

const DOORBELL: &str = "runtime/src/doorbell.rs";
const FENCES: &str = "runtime/src/fences.rs";
const PENDING: &str = "pipeline/src/pending.rs";
const TWIN: &str = "runtime/src/ring/twin.rs";

/// The models of this file.
pub const MODELS: &[Model] = &[
    Model {
        name: "doorbell::models::work_pushed_while_falling_asleep_is_not_lost",
        mutants: &[
            Mutant {
                fault: "(4) the sleeper does not look again",
                file: DOORBELL,
                text: "if look() || !is_fenced {",
                replacement: "if (false && look()) || !is_fenced {",
            },
            Mutant {
                fault: "(4) the sleeper looks again before it says that it sleeps",
                file: DOORBELL,
                text: "self.shared.sleeping.store(SLEEPING, Ordering::Relaxed);\n        // Meets the fence in `ring` or `ring_all`; see the drawing above.\n        let is_fenced = self.fences.seldom();\n        if look() || !is_fenced {",
                replacement: "let found = look();\n        self.shared.sleeping.store(SLEEPING, Ordering::Relaxed);\n        let is_fenced = self.fences.seldom();\n        if found || !is_fenced {",
            },
            Mutant {
                fault: "(3) no fence on the sleeper's side",
                file: DOORBELL,
                text: "// Meets the fence in `ring` or `ring_all`; see the drawing above.\n        let is_fenced = self.fences.seldom();",
                replacement: "let is_fenced = true;",
            },
            Mutant {
                fault: "(1) no fence on the ringer's side",
                file: DOORBELL,
                text: "self.fences.often();\n        self.ring_after_fence();",
                replacement: "self.ring_after_fence();",
            },
            Mutant {
                fault: "(1) the often side of the fences has none",
                file: FENCES,
                text: "        // The fence pairs with that of `seldom`.\n        fence(Ordering::SeqCst);",
                replacement: "",
            },
            Mutant {
                fault: "(3) the seldom side of the fences has none",
                file: FENCES,
                text: "        // The fence pairs with that of `often`.\n        fence(Ordering::SeqCst);",
                replacement: "",
            },
            Mutant {
                fault: "(5) a wake before the sleep is forgotten",
                file: "runtime/src/parking.rs",
                text: "unwrap_or_else(PoisonError::into_inner) = true;",
                replacement: "unwrap_or_else(PoisonError::into_inner) = false;",
            },
        ],
    },
    Model {
        name: "doorbell::models::work_pushed_while_falling_asleep_again_is_not_lost",
        mutants: &[Mutant {
            fault: "(5) parking throws an earlier wake away",
            file: "runtime/src/parking.rs",
            text: "while !*stored {",
            replacement: "*stored = false;\n        while !*stored {",
        }],
    },
    Model {
        name: "doorbell::models::two_producers_share_one_doorbell",
        mutants: &[Mutant {
            fault: "(2) of two ringers neither wakes",
            file: DOORBELL,
            text: "if word.compare_exchange(SLEEPING, AWAKE, Ordering::Release, Ordering::Relaxed).is_ok() {",
            replacement: "if word.compare_exchange(SLEEPING, AWAKE, Ordering::Release, Ordering::Relaxed).is_err() {",
        }],
    },
    Model {
        name: "doorbell::models::one_fence_serves_two_doorbells",
        mutants: &[Mutant {
            fault: "(1) no fence before several doorbells",
            file: DOORBELL,
            text: "    fence(Ordering::SeqCst);\n    for doorbell in doorbells {",
            replacement: "    for doorbell in doorbells {",
        }],
    },
    Model {
        name: "doorbell::models::a_mark_set_while_falling_asleep_is_not_lost",
        mutants: &[
            Mutant {
                fault: "(1) no fence between the mark and the look at the sleeper",
                file: DOORBELL,
                text: "self.fences.often();\n        self.ring_after_fence();",
                replacement: "self.ring_after_fence();",
            },
            Mutant {
                fault: "(4) the bitmap seems clear when it is not",
                file: PENDING,
                text: "self.summary.iter().all(|summary| summary.load(Ordering::Relaxed) == 0)",
                replacement: "true",
            },
            Mutant {
                fault: "(4) a mark stands in its word, and the summary does not say so",
                file: PENDING,
                text: "self.summary[place].fetch_or(bit, Ordering::AcqRel);\n        }\n        true",
                replacement: "}\n        true",
            },
        ],
    },
    Model {
        name: "doorbell::models::a_producer_that_hangs_up_wakes_its_consumer",
        mutants: &[
            Mutant {
                fault: "(1) no fence between the hang-up and the look at the sleeper",
                file: DOORBELL,
                text: "self.fences.often();\n        self.ring_after_fence();",
                replacement: "self.ring_after_fence();",
            },
            Mutant {
                fault: "(3) no fence between the sleep and the last look",
                file: DOORBELL,
                text: "// Meets the fence in `ring` or `ring_all`; see the drawing above.\n        let is_fenced = self.fences.seldom();",
                replacement: "let is_fenced = true;",
            },
            Mutant {
                fault: "the consumer sees the hang-up, but not what was pushed before it",
                file: TWIN,
                text: "/// rtrb: lib.rs 766.\n    pub(super) fn is_abandoned(&self) -> bool {\n        self.ring.flags.load(Ordering::Acquire)",
                replacement: "/// rtrb: lib.rs 766.\n    pub(super) fn is_abandoned(&self) -> bool {\n        self.ring.flags.load(Ordering::Relaxed)",
            },
        ],
    },
];

#[cfg(all(loom, test))]
mod models {
    use crate::explore::{every_order, few_preemptions};
    use deltaworks_pipeline::pending::Pending;
    use deltaworks_runtime::doorbell::{Sleeper, doorbell, ring_all};
    use deltaworks_runtime::parking::{Parker, parker};
    use deltaworks_runtime::ring::{Consumer, ring};
    use deltaworks_runtime::sync::atomic::{Ordering, fence};
    use deltaworks_runtime::sync::{Arc, thread};

    /// Takes `count` values from `rings` and sleeps whenever there is none.
    fn take(count: usize, rings: &mut [Consumer<u32>], sleeper: &mut Sleeper, parker: &mut Parker) {
        let mut taken = 0;
        loop {
            taken += turn(rings);
            if taken == count {
                return;
            }
            let mut found = 0;
            if sleeper.may_sleep(|| {
                found = turn(rings);
                found > 0
            }) {
                parker.park();
                sleeper.woke();
            }
            taken += found;
            if taken == count {
                return;
            }
        }
    }

    fn turn(rings: &mut [Consumer<u32>]) -> usize {
        rings.iter_mut().map(|ring| ring.drain(1, |_| ())).sum()
    }

    #[test]
    fn work_pushed_while_falling_asleep_is_not_lost() {
        every_order(|| one_producer(1));
    }

    #[test]
    fn work_pushed_while_falling_asleep_again_is_not_lost() {
        few_preemptions(3, || one_producer(2));
    }

    fn one_producer(values: u32) {
        let (mut producer, consumer) = ring(2);
        let (mut parker, unparker) = parker();
        let (bell, mut sleeper) = doorbell(unparker);
        let pushing = thread::spawn(move || {
            for value in 0..values {
                producer.push(value).unwrap();
                bell.ring();
            }
        });
        take(values as usize, &mut [consumer], &mut sleeper, &mut parker);
        pushing.join().unwrap();
    }

    #[test]
    fn two_producers_share_one_doorbell() {
        few_preemptions(2, || {
            let (mut one, from_one) = ring(1);
            let (mut other, from_other) = ring(1);
            let (mut parker, unparker) = parker();
            let (bell, mut sleeper) = doorbell(unparker);
            let bell_of_other = bell.clone();
            let pushing_one = thread::spawn(move || {
                one.push(1).unwrap();
                bell.ring();
            });
            let pushing_other = thread::spawn(move || {
                other.push(2).unwrap();
                bell_of_other.ring();
            });
            take(2, &mut [from_one, from_other], &mut sleeper, &mut parker);
            pushing_one.join().unwrap();
            pushing_other.join().unwrap();
        });
    }

    #[test]
    fn a_mark_set_while_falling_asleep_is_not_lost() {
        every_order(|| {
            let marks = Arc::new(Pending::new(1));
            let (mut parker, unparker) = parker();
            let (bell, mut sleeper) = doorbell(unparker);
            let marking = thread::spawn({
                let marks = marks.clone();
                move || {
                    fence(Ordering::SeqCst); // as an owner does behind its tails
                    assert!(marks.set(0), "the mark is new");
                    bell.ring();
                }
            });
            let (mut found, mut position) = (Vec::new(), 0);
            while found.is_empty() {
                marks.take(&mut position, 1, &mut found);
                if found.is_empty() && sleeper.may_sleep(|| !marks.is_clear()) {
                    parker.park();
                    sleeper.woke();
                }
            }
            assert_eq!(found, [0]);
            marking.join().unwrap();
        });
    }

    #[test]
    fn a_producer_that_hangs_up_wakes_its_consumer() {
        every_order(|| {
            let (mut producer, mut consumer) = ring(1);
            let (mut parker, unparker) = parker();
            let (bell, mut sleeper) = doorbell(unparker);
            let pushing = thread::spawn(move || {
                producer.push(7).unwrap();
                drop(producer);
                bell.ring();
            });
            let mut sum = 0;
            loop {
                // Asked first: what is pushed after the answer is seen by the drain below.
                let is_last = consumer.is_abandoned();
                let taken = consumer.drain(1, |value| sum += value);
                if is_last {
                    break;
                }
                let look = || !consumer.is_empty() || consumer.is_abandoned();
                if taken == 0 && sleeper.may_sleep(look) {
                    parker.park();
                    sleeper.woke();
                }
            }
            assert_eq!(sum, 7, "nothing that was pushed is lost with its producer");
            pushing.join().unwrap();
        });
    }

    #[test]
    fn one_fence_serves_two_doorbells() {
        few_preemptions(2, || {
            let (mut to_one, one) = ring(1);
            let (mut to_other, other) = ring(1);
            let (mut parker_of_one, unparker_of_one) = parker();
            let (mut parker_of_other, unparker_of_other) = parker();
            let (bell_of_one, mut sleeper_one) = doorbell(unparker_of_one);
            let (bell_of_other, mut sleeper_other) = doorbell(unparker_of_other);
            let taking_one = thread::spawn(move || {
                take(1, &mut [one], &mut sleeper_one, &mut parker_of_one);
            });
            let taking_other = thread::spawn(move || {
                take(1, &mut [other], &mut sleeper_other, &mut parker_of_other);
            });
            to_one.push(1).unwrap();
            to_other.push(2).unwrap();
            ring_all([&bell_of_one, &bell_of_other]);
            taking_one.join().unwrap();
            taking_other.join().unwrap();
        });
    }
}
