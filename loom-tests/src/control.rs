//! Stories of control between threads that come together rarely: settings, letters, answers, seats.
//!
//! Each is a lock, or a count that needs no order, and a rule. The rules are what is modelled:
//!
//! | what | rule | broken by |
//! |---|---|---|
//! | settings | value first, version second; a reader notes the version first | either turned round |
//! | letters | the count is told under the lock, and looked at again before sleep | telling it outside; no second look |
//! | answers | who waits leaves its waker under the lock under which it looked | leaving it later |
//! | seats | one counts up and takes nothing of what others count down | counting up by a store |
//! | quotas | whoever takes exchanges the word that it has looked at | storing it; giving back by a store |
//!
//! The letters' story has a bound, because its reader sleeps twice: see "What is explored" in the README.

use crate::table::{Model, Mutant};

const VERSIONED: &str = "runtime/src/versioned.rs";
const LETTERBOX: &str = "runtime/src/letterbox.rs";

/// The models of this file.
pub const MODELS: &[Model] = &[
    Model {
        name: "control::models::the_last_settings_are_seen",
        mutants: &[
            Mutant {
                fault: "the version is raised before the value stands",
                file: VERSIONED,
                text: "        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = value;\n        // Relaxed: who sees the new version takes the lock behind it, and so behind the one above.\n        self.version.fetch_add(1, Ordering::Relaxed);",
                replacement: "        self.version.fetch_add(1, Ordering::Relaxed);\n        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = value;",
            },
            Mutant {
                fault: "a reader notes the version behind the value",
                file: VERSIONED,
                text: "        self.seen = version;\n        Some(self.value.get())",
                replacement: "        let value = self.value.get();\n        self.seen = self.value.version.load(Ordering::Relaxed);\n        Some(value)",
            },
        ],
    },
    Model {
        name: "control::models::no_letter_is_slept_over",
        mutants: &[
            Mutant {
                fault: "a core does not look again before it sleeps",
                file: "runtime/src/agent_loop.rs",
                text: "let found = || agent.do_work(now) > 0 || phase.get() != 0;",
                replacement: "let found = || phase.get() != 0;",
            },
            Mutant {
                fault: "the count is told outside of the lock",
                file: LETTERBOX,
                text: "        let letter = letters.pop_front();\n        // Relaxed: as in `put`.\n        self.waiting.store(letters.len(), Ordering::Relaxed);",
                replacement: "        let letter = letters.pop_front();\n        let waiting = letters.len();\n        drop(letters);\n        self.waiting.store(waiting, Ordering::Relaxed);",
            },
            Mutant {
                fault: "a letter taken hides those behind it",
                file: LETTERBOX,
                text: "let letter = letters.pop_front();\n        // Relaxed: as in `put`.\n        self.waiting.store(letters.len(), Ordering::Relaxed);",
                replacement: "let letter = letters.pop_front();\n        self.waiting.store(0, Ordering::Relaxed);",
            },
            Mutant {
                fault: "the doorbell is rung before the letter is put",
                file: "loom-tests/src/control.rs",
                text: "                        letters.put(value).unwrap();\n                        bell.ring();",
                replacement: "                        bell.ring();\n                        letters.put(value).unwrap();",
            },
        ],
    },
    Model {
        name: "control::models::an_answer_wakes_who_waits_for_it",
        mutants: &[
            Mutant {
                fault: "who waits leaves its waker later",
                file: "runtime/src/answer.rs",
                text: "            state.waker = Some(context.waker().clone());",
                replacement: "            drop(state);\n            lock(&self.shared).waker = Some(context.waker().clone());",
            },
            Mutant {
                fault: "the first that has told all ends the answer",
                file: "runtime/src/answer.rs",
                text: "if state.tellers > 0 {",
                replacement: "if state.tellers > 1 {",
            },
        ],
    },
    Model {
        name: "control::models::seats_are_never_more_than_their_limit",
        mutants: &[
            Mutant {
                fault: "a seat is given out by a store",
                file: "runtime/src/seats.rs",
                text: "        if self.taken.load(Ordering::Relaxed) >= at_most {\n            return None;\n        }\n        self.taken.fetch_add(1, Ordering::Relaxed);",
                replacement: "        let taken = self.taken.load(Ordering::Relaxed);\n        if taken >= at_most {\n            return None;\n        }\n        self.taken.store(taken + 1, Ordering::Relaxed);",
            },
            Mutant {
                fault: "a seat is given back before its session has ended",
                file: "loom-tests/src/control.rs",
                text: "                    session.end();\n                    drop(seat);",
                replacement: "                    drop(seat);\n                    session.end();",
            },
        ],
    },
    Model {
        name: "control::models::no_more_is_taken_of_a_quota_than_there_is",
        mutants: &[
            Mutant {
                fault: "what is taken is stored over what others have taken",
                file: "runtime/src/token_bucket.rs",
                text: "            match self.full_at.compare_exchange(full_at, next, Ordering::Relaxed, Ordering::Relaxed)\n            {\n                Ok(_) => return taken,",
                replacement: "            self.full_at.store(next, Ordering::Relaxed);\n            match Ok::<u64, u64>(next) {\n                Ok(_) => return taken,",
            },
            Mutant {
                fault: "what is given back is stored",
                file: "runtime/src/token_bucket.rs",
                text: "            match self.full_at.compare_exchange(full_at, next, Ordering::Relaxed, Ordering::Relaxed)\n            {\n                Ok(_) => break,",
                replacement: "            self.full_at.store(next, Ordering::Relaxed);\n            match Ok::<u64, u64>(next) {\n                Ok(_) => break,",
            },
        ],
    },
];

#[cfg(all(loom, test))]
mod models {
    use crate::explore::{every_order, few_preemptions};
    use deltaworks_runtime::agent::Agent;
    use deltaworks_runtime::agent_loop::run;
    use deltaworks_runtime::answer::Answer;
    use deltaworks_runtime::clock::{ManualClock, Now};
    use deltaworks_runtime::doorbell::{Wake, doorbell};
    use deltaworks_runtime::ending::PhaseWord;
    use deltaworks_runtime::idle::IdleBudget;
    use deltaworks_runtime::letterbox::Letterbox;
    use deltaworks_runtime::parking::{Unparker, parker};
    use deltaworks_runtime::seats::Seats;
    use deltaworks_runtime::sync::{Arc, thread};
    use deltaworks_runtime::token_bucket::{Rate, SharedBucket};
    use deltaworks_runtime::versioned::{Versioned, VersionedReader};
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Waker};

    #[test]
    fn the_last_settings_are_seen() {
        every_order(|| {
            let settings = Arc::new(Versioned::new(1));
            let mut reader = VersionedReader::new(&settings);
            let publishing = thread::spawn(move || {
                settings.publish(2);
                settings.publish(3);
            });
            let mut seen = 1;
            for _ in 0..2 {
                if let Some(news) = reader.news() {
                    assert!(news >= seen, "older than what was seen");
                    seen = news;
                }
            }
            publishing.join().unwrap();
            assert_eq!(reader.news().unwrap_or(seen), 3);
        });
    }

    /// Takes letters until the last has come, and then ends.
    struct Reader {
        letters: Arc<Letterbox<u32>>,
        next: u32,
        phase: PhaseWord,
    }

    const LETTERS: u32 = 2;

    impl Agent for Reader {
        fn do_work(&mut self, _: Now) -> usize {
            let Some(letter) = self.letters.take() else { return 0 };
            assert_eq!(letter, self.next);
            self.next += 1;
            if self.next == LETTERS {
                self.phase.enter(1, []);
            }
            1
        }
    }

    #[test]
    fn no_letter_is_slept_over() {
        few_preemptions(3, || {
            let letters = Arc::new(Letterbox::new(2));
            let (mut parker, unparker) = parker();
            let (bell, mut sleeper) = doorbell(unparker);
            let putting = thread::spawn({
                let letters = letters.clone();
                move || {
                    for value in 0..LETTERS {
                        letters.put(value).unwrap();
                        bell.ring();
                    }
                }
            });
            let phase = PhaseWord::default();
            let mut reader = Reader { letters, next: 0, phase: phase.clone() };
            run(
                &mut reader,
                &mut ManualClock::default(),
                IdleBudget::SHARED,
                &mut sleeper,
                &mut parker,
                &phase,
            );
            assert_eq!(reader.next, LETTERS);
            putting.join().unwrap();
        });
    }

    struct WakeThread(Unparker);

    impl std::task::Wake for WakeThread {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.wake();
        }
    }

    #[test]
    fn an_answer_wakes_who_waits_for_it() {
        few_preemptions(2, || {
            let mut answer = pin!(Answer::default());
            let telling = [1, 2].map(|value| {
                let teller = answer.teller();
                thread::spawn(move || assert!(teller.tell(vec![value])))
            });
            let (mut parker, unparker) = parker();
            let waker = Waker::from(std::sync::Arc::new(WakeThread(unparker)));
            let mut context = Context::from_waker(&waker);
            let mut told = loop {
                match answer.as_mut().poll(&mut context) {
                    Poll::Ready(told) => break told,
                    Poll::Pending => parker.park(),
                }
            };
            told.sort_unstable();
            assert_eq!(told, [1, 2], "both have told all they had");
            telling.into_iter().for_each(|core| core.join().unwrap());
        });
    }

    /// Two, so that one can be given back while another is given out.
    const SEATS: usize = 2;

    /// A session, counted by who knows better: not a word of the program.
    struct Session(std::sync::Arc<AtomicUsize>);

    impl Session {
        fn begin(sitting: &std::sync::Arc<AtomicUsize>) -> Self {
            assert!(sitting.fetch_add(1, Ordering::SeqCst) < SEATS, "more than the limit");
            Self(sitting.clone())
        }

        fn end(self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn seats_are_never_more_than_their_limit() {
        few_preemptions(2, || {
            let sitting = std::sync::Arc::new(AtomicUsize::new(0));
            let mut seats = Seats::default();
            let mut serving = Vec::new();
            for _ in 0..=SEATS {
                let Some(seat) = seats.take(SEATS) else { continue };
                let session = Session::begin(&sitting);
                serving.push(thread::spawn(move || {
                    session.end();
                    drop(seat);
                }));
            }
            serving.into_iter().for_each(|core| core.join().unwrap());
            assert!(!seats.is_taken(), "all have been given back");
        });
    }

    /// Two cores take of the quota of one address, and one gives back what it could not use.
    #[test]
    fn no_more_is_taken_of_a_quota_than_there_is() {
        every_order(|| {
            let rate = Rate { per_second: Some(1_000), burst_ns: 4_000_000 };
            let bucket = Arc::new(SharedBucket::default());
            let other = Arc::clone(&bucket);
            let taking = thread::spawn(move || {
                let taken = other.take_up_to(3, &rate, 1);
                other.give_back(taken.min(1), &rate);
                taken - taken.min(1)
            });
            let taken = bucket.take_up_to(3, &rate, 1);
            let all = taken + taking.join().unwrap();
            assert!(all <= 4, "{all} taken of 4");
            assert_eq!(bucket.available(&rate, 1), 4 - all, "the rest is there, and no more");
        });
    }
}
