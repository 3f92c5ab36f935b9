//! Stories of a doorbell: a sleeper that misses work sleeps forever, and the model sees that no
//! thread can go on.

use crate::table::{Model, Mutant};

const DOORBELL: &str = "runtime/src/doorbell.rs";

/// The models of this file.
pub const MODELS: &[Model] = &[
    Model {
        name: "doorbell::models::work_pushed_while_falling_asleep_is_not_lost",
        mutants: &[
            Mutant {
                fault: "the sleeper does not look again",
                file: DOORBELL,
                text: "if look() {",
                replacement: "if false && look() {",
            },
            Mutant {
                fault: "the sleeper looks again before it says that it sleeps",
                file: DOORBELL,
                text: "self.shared.sleeping.store(SLEEPING, Ordering::Relaxed);\n        // Pairs with the fence in `ring` or `ring_all`; see the drawing above.\n        fence(Ordering::SeqCst);\n        if look() {",
                replacement: "let found = look();\n        self.shared.sleeping.store(SLEEPING, Ordering::Relaxed);\n        fence(Ordering::SeqCst);\n        if found {",
            },
            Mutant {
                fault: "no fence on the sleeper's side",
                file: DOORBELL,
                text: "// Pairs with the fence in `ring` or `ring_all`; see the drawing above.\n        fence(Ordering::SeqCst);",
                replacement: "",
            },
            Mutant {
                fault: "no fence on the ringer's side",
                file: DOORBELL,
                text: "fence(Ordering::SeqCst);\n        self.ring_after_fence();",
                replacement: "self.ring_after_fence();",
            },
            Mutant {
                fault: "a wake before the sleep is forgotten",
                file: "runtime/src/parking.rs",
                text: "unwrap_or_else(PoisonError::into_inner) = true;",
                replacement: "unwrap_or_else(PoisonError::into_inner) = false;",
            },
        ],
    },
    Model {
        name: "doorbell::models::work_pushed_while_falling_asleep_again_is_not_lost",
        mutants: &[Mutant {
            fault: "parking throws an earlier wake away",
            file: "runtime/src/parking.rs",
            text: "while !*stored {",
            replacement: "*stored = false;\n        while !*stored {",
        }],
    },
    Model {
        name: "doorbell::models::two_producers_share_one_doorbell",
        mutants: &[Mutant {
            fault: "of two ringers neither wakes",
            file: DOORBELL,
            text: "if word.compare_exchange(SLEEPING, AWAKE, Ordering::Release, Ordering::Relaxed).is_ok() {",
            replacement: "if word.compare_exchange(SLEEPING, AWAKE, Ordering::Release, Ordering::Relaxed).is_err() {",
        }],
    },
    Model {
        name: "doorbell::models::one_fence_serves_two_doorbells",
        mutants: &[Mutant {
            fault: "no fence before several doorbells",
            file: DOORBELL,
            text: "    fence(Ordering::SeqCst);\n    for doorbell in doorbells {",
            replacement: "    for doorbell in doorbells {",
        }],
    },
];

#[cfg(all(loom, test))]
mod models {
    use crate::explore::{every_order, few_preemptions};
    use deltaworks_runtime::doorbell::{Sleeper, doorbell, ring_all};
    use deltaworks_runtime::parking::{Parker, parker};
    use deltaworks_runtime::ring::{Consumer, ring};
    use deltaworks_runtime::sync::thread;

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
