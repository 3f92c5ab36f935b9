//! Stories of an end: nobody sleeps through it, waits for one that has gone, or ends too early.
//!
//! ```text
//! who ends      writes what it has arranged │ phase = 1, Release │ fence │ rings
//! a core        turn │ phase, Acquire? │ sleeping = 1 │ fence │ work? phase? │ sleeps
//! ```
//!
//! A core that panics leaves a word; the others hear of it from whoever ends them:
//!
//! ```text
//! core a        works │ panics │ fate = 2, Release
//! who ends                         fate of a? │ phase = 1, rings b │ waits for b's fate
//! core b        sleeps until a sends something ···················· wakes, ends in order
//! ```
//!
//! Work that is still on its way between cores is found by counting turns; see the table in
//! `runtime/src/ending/stillness.rs`, whose steps the mutants break:
//!
//! ```text
//! core a        asks b │ turn │ turn │ look │ turn │ turn │ look: still? then it was asked, and has answered
//! core b        quiet ········ turn: takes the question? answers it ···· turn ···· turn
//! ```
//!
//! With the shipping stages on both cores that means: when all is still, every batch that was taken
//! off a socket is acknowledged, and has reached the readers that take it.
//!
//! The story of the stages at both ends has a bound: see "What is explored" in the README.

use crate::table::{Model, Mutant};

const PHASE: &str = "runtime/src/ending/phase.rs";
const FATE: &str = "runtime/src/ending/fate.rs";
const STILLNESS: &str = "runtime/src/ending/stillness.rs";
const HERE: &str = "loom-tests/src/ending.rs";

/// The models of this file.
pub const MODELS: &[Model] = &[
    Model {
        name: "ending::models::no_end_is_slept_through",
        mutants: &[
            Mutant {
                fault: "the last look does not look for an end",
                file: "runtime/src/agent_loop.rs",
                text: "let found = || agent.do_work(now) > 0 || phase.get() != 0;",
                replacement: "let found = || agent.do_work(now) > 0;",
            },
            Mutant {
                fault: "those who sleep are rung before there is anything to see",
                file: PHASE,
                text: "        self.word.store(phase, Ordering::Release);\n        ring_all(doorbells);",
                replacement: "        ring_all(doorbells);\n        self.word.store(phase, Ordering::Release);",
            },
            Mutant {
                fault: "a phase does not publish what was done before it",
                file: PHASE,
                text: "self.word.store(phase, Ordering::Release)",
                replacement: "self.word.store(phase, Ordering::Relaxed)",
            },
            Mutant {
                fault: "who sees a phase does not see what was done before it",
                file: PHASE,
                text: "self.word.load(Ordering::Acquire)",
                replacement: "self.word.load(Ordering::Relaxed)",
            },
        ],
    },
    Model {
        name: "ending::models::nobody_waits_for_one_that_has_panicked",
        mutants: &[
            Mutant {
                fault: "a panic is told as an end in order",
                file: FATE,
                text: "last: PANICKED }",
                replacement: "last: ENDED }",
            },
            Mutant {
                fault: "a fate does not publish the life before it",
                file: FATE,
                text: "self.word.store(self.last, Ordering::Release)",
                replacement: "self.word.store(self.last, Ordering::Relaxed)",
            },
            Mutant {
                fault: "who sees a fate does not see the life before it",
                file: FATE,
                text: "self.word.load(Ordering::Acquire)",
                replacement: "self.word.load(Ordering::Relaxed)",
            },
            Mutant {
                fault: "a core tells its end before it has ended",
                file: HERE,
                text: "            let _ = catch_unwind(AssertUnwindSafe(life));\n            drop(living);",
                replacement: "            drop(living);\n            let _ = catch_unwind(AssertUnwindSafe(life));",
            },
            Mutant {
                fault: "the others are not woken",
                file: HERE,
                text: concat!("phase.enter(1, [&bell_of_b", "]);"),
                replacement: "let _ = &bell_of_b;\n            phase.enter(1, []);",
            },
        ],
    },
    Model {
        name: "ending::models::nothing_is_still_while_a_question_is_on_its_way",
        mutants: &[
            Mutant {
                fault: "no fence between a core's turns",
                file: STILLNESS,
                text: "        // Pairs with the fence in `Stillness::look`; see the table above.\n        fence(Ordering::SeqCst);",
                replacement: "",
            },
            Mutant {
                fault: "no fence between the words and the turns",
                file: STILLNESS,
                text: "        // Pairs with the fence in `Resting::turned`; see the table above.\n        fence(Ordering::SeqCst);",
                replacement: "",
            },
            Mutant {
                fault: "turns are noted as of before the fence",
                file: STILLNESS,
                text: "let turns = cores.map(|core| core.told().turns);",
                replacement: "let turns = told.iter().map(|told| told.turns);",
            },
        ],
    },
    Model {
        name: "ending::models::a_turn_that_was_under_way_is_no_whole_one",
        mutants: &[Mutant {
            fault: "a turn that was under way counts as a whole one",
            file: STILLNESS,
            text: "TURNS_MASK >= A_WHOLE_TURN",
            replacement: "TURNS_MASK >= A_WHOLE_TURN - 1",
        }],
    },
    Model {
        name: "ending::models::nothing_is_still_while_an_answer_is_on_its_way",
        mutants: &[Mutant {
            fault: "work since the first look does not count",
            file: STILLNESS,
            text: "told.working_turns == since.working_turns",
            replacement: "told.quiet_in == since.quiet_in",
        }],
    },
    Model {
        name: "ending::models::what_was_accepted_has_arrived_when_all_is_still",
        mutants: &[Mutant {
            fault: "that all are quiet is enough",
            file: STILLNESS,
            text: "TURNS_MASK >= A_WHOLE_TURN",
            replacement: "TURNS_MASK >= A_WHOLE_TURN - 2",
        }],
    },
    Model {
        name: "ending::models::a_core_whose_readers_socket_is_full_is_not_still",
        mutants: &[Mutant {
            fault: "a reader whose socket is full is not behind",
            file: "pipeline/src/propagation.rs",
            text: "outlet.is_open\n            && (outlet.first_ready != NO_SUBSCRIPTION || !matches!(outlet.half, Half::None))",
            replacement: "outlet.is_open\n            && !matches!(outlet.half, Half::None)",
        }],
    },
];

#[cfg(all(loom, test))]
mod models {
    #![expect(unsafe_code, reason = "a cell whose every access the model sees")]

    use crate::cores::{ALL, Core, Event, SESSIONS, Sizes, cores, settle};
    use crate::explore::{every_order, few_preemptions, spawn};
    use deltaworks_pipeline::message::{From, Policy};
    use deltaworks_runtime::agent::Agent;
    use deltaworks_runtime::agent_loop::run;
    use deltaworks_runtime::clock::{ManualClock, Now};
    use deltaworks_runtime::doorbell::{Doorbell, Sleeper, doorbell};
    use deltaworks_runtime::ending::{Living, PhaseWord, Resting, Stillness, fate, restfulness};
    use deltaworks_runtime::idle::IdleBudget;
    use deltaworks_runtime::parking::{Parker, parker};
    use deltaworks_runtime::ring::{Consumer, ring};
    use deltaworks_runtime::sync::cell::UnsafeCell;
    use deltaworks_runtime::sync::{Arc, thread};
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Something plain: written before a word is set, read after it was seen.
    struct Plain(UnsafeCell<u32>);

    // SAFETY: the contract under test; the model finds whoever breaks it.
    unsafe impl Send for Plain {}
    // SAFETY: as above.
    unsafe impl Sync for Plain {}

    impl Plain {
        fn new() -> Arc<Self> {
            Arc::new(Self(UnsafeCell::new(0)))
        }

        fn write(&self) {
            // SAFETY: as above.
            self.0.with_mut(|value| unsafe { *value = 1 });
        }

        fn check(&self) {
            // SAFETY: as above.
            assert_eq!(self.0.with(|value| unsafe { *value }), 1);
        }
    }

    fn sleeping_side() -> (Doorbell, Sleeper, Parker) {
        let (parker, unparker) = parker();
        let (bell, sleeper) = doorbell(unparker);
        (bell, sleeper, parker)
    }

    /// Has nothing to do.
    struct Idler;

    impl Agent for Idler {
        fn do_work(&mut self, _: Now) -> usize {
            0
        }
    }

    #[test]
    fn no_end_is_slept_through() {
        every_order(|| {
            let (bell, mut sleeper, mut parker) = sleeping_side();
            let (phase, arranged) = (PhaseWord::default(), Plain::new());
            let core = thread::spawn({
                let (phase, arranged) = (phase.clone(), arranged.clone());
                move || {
                    run(
                        &mut Idler,
                        &mut ManualClock::default(),
                        IdleBudget::SHARED,
                        &mut sleeper,
                        &mut parker,
                        &phase,
                    );
                    arranged.check();
                }
            });
            arranged.write();
            phase.enter(1, [&bell]);
            core.join().unwrap();
        });
    }

    /// Waits for what another core is to send.
    struct Waiter(Consumer<u32>);

    impl Agent for Waiter {
        fn do_work(&mut self, _: Now) -> usize {
            self.0.drain(1, |_| ())
        }
    }

    /// A core's thread: a life, and then the word that it has ended.
    fn core(living: Living, life: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
        thread::spawn(move || {
            let _ = catch_unwind(AssertUnwindSafe(life));
            drop(living);
        })
    }

    #[test]
    fn nobody_waits_for_one_that_has_panicked() {
        few_preemptions(2, || {
            let (bell_of_b, mut sleeper, mut parker) = sleeping_side();
            let (phase, done_by_a) = (PhaseWord::default(), Plain::new());
            let (to_b, from_a) = ring::<u32>(1);
            let ((living_a, fate_of_a), (living_b, fate_of_b)) = (fate(), fate());
            let a = core(living_a, {
                let done_by_a = done_by_a.clone();
                move || {
                    let _to_b = to_b;
                    done_by_a.write();
                    resume_unwind(Box::new("planted"));
                }
            });
            let b = thread::spawn({
                let phase = phase.clone();
                move || {
                    let mut waiter = Waiter(from_a);
                    run(
                        &mut waiter,
                        &mut ManualClock::default(),
                        IdleBudget::SHARED,
                        &mut sleeper,
                        &mut parker,
                        &phase,
                    );
                    living_b.ends();
                }
            });
            while !fate_of_a.has_ended() {
                thread::yield_now();
            }
            assert!(fate_of_a.has_panicked());
            done_by_a.check();
            phase.enter(1, [&bell_of_b]);
            b.join().unwrap();
            assert!(fate_of_b.has_ended() && !fate_of_b.has_panicked());
            a.join().unwrap();
        });
    }

    const ENDING: u8 = 1;

    /// Core a asks core b, and nobody knows when b turns.
    #[test]
    fn nothing_is_still_while_a_question_is_on_its_way() {
        few_preemptions(2, || {
            let (mut to_b, mut inbox) = ring(1);
            let ((mut a, told_by_a), (mut b, told_by_b)) = (restfulness(), restfulness());
            b.turned(false, ENDING);
            let a = thread::spawn(move || {
                to_b.push(1).unwrap();
                a.turned(true, ENDING);
                (0..3).for_each(|_| a.turned(false, ENDING));
            });
            // The story's judge: known to nobody in it.
            let was_asked = std::sync::Arc::new(AtomicBool::new(false));
            let asked = was_asked.clone();
            let b = thread::spawn(move || {
                for _ in 0..3 {
                    let work = inbox.drain(1, |_: u32| asked.store(true, Ordering::SeqCst));
                    b.turned(work > 0, ENDING);
                }
            });
            let told = [told_by_a, told_by_b];
            let mut stillness = Stillness::default();
            for _ in 0..2 {
                let is_still = stillness.look(ENDING, told.iter());
                assert!(!is_still || was_asked.load(Ordering::SeqCst), "on its way");
            }
            a.join().unwrap();
            b.join().unwrap();
        });
    }

    /// Core a asks core b when b may have begun a turn and found nothing; then a looks.
    #[test]
    fn a_turn_that_was_under_way_is_no_whole_one() {
        every_order(|| {
            let (mut to_b, mut inbox) = ring(1);
            let ((mut a, told_by_a), (mut b, told_by_b)) = (restfulness(), restfulness());
            b.turned(false, ENDING);
            // The story's judge: known to nobody in it.
            let was_asked = std::sync::Arc::new(AtomicBool::new(false));
            let asked = was_asked.clone();
            let b = thread::spawn(move || {
                for _ in 0..3 {
                    let work = inbox.drain(1, |_: u32| asked.store(true, Ordering::SeqCst));
                    b.turned(work > 0, ENDING);
                }
            });
            to_b.push(1).unwrap();
            a.turned(true, ENDING);
            let told = [told_by_a, told_by_b];
            let mut stillness = Stillness::default();
            for _ in 0..2 {
                (0..2).for_each(|_| a.turned(false, ENDING));
                let is_still = stillness.look(ENDING, told.iter());
                assert!(!is_still || was_asked.load(Ordering::SeqCst), "on its way");
            }
            b.join().unwrap();
        });
    }

    /// Core b has a question and answers it; core a looks, between turns in which it takes answers.
    #[test]
    fn nothing_is_still_while_an_answer_is_on_its_way() {
        every_order(|| {
            let (mut to_b, mut inbox_of_b) = ring(1);
            let (mut to_a, mut inbox) = ring(1);
            let ((mut a, told_by_a), (mut b, told_by_b)) = (restfulness(), restfulness());
            b.turned(false, ENDING);
            to_b.push(1).unwrap();
            a.turned(true, ENDING);
            let b = thread::spawn(move || {
                for _ in 0..3 {
                    let work = inbox_of_b.drain(1, |it: u32| to_a.push(it).unwrap());
                    b.turned(work > 0, ENDING);
                }
            });
            let told = [told_by_a, told_by_b];
            let mut is_answered = false;
            let mut stillness = Stillness::default();
            for _ in 0..2 {
                for _ in 0..2 {
                    let work = inbox.drain(1, |_| is_answered = true);
                    a.turned(work > 0, ENDING);
                }
                assert!(!stillness.look(ENDING, told.iter()) || is_answered, "on its way");
            }
            b.join().unwrap();
        });
    }

    /// A turn of the stages while they drain, and what the core tells of it.
    fn drain(core: &mut Core, resting: &mut Resting) {
        let has_worked = core.turn() > 0;
        let is_quiet = core.stages.may_park() && !core.stages.has_backlog();
        resting.turned(has_worked, if is_quiet { ENDING } else { 0 });
    }

    /// A writer's core, and an owner's with a reader whose socket is full at first. The batch is on
    /// its way when nothing is read any more.
    #[test]
    fn what_was_accepted_has_arrived_when_all_is_still() {
        few_preemptions(3, || {
            let mut all = cores(&[SESSIONS, ALL], &Sizes::default());
            let (writing, reading) = (all[0].connect(), all[1].connect());
            all[0].open_to_write(writing);
            all[1].open_to_read(reading, From::Live, Policy::Gap);
            settle(&mut all);
            let [mut writer, mut owner]: [Core; 2] = all.try_into().ok().unwrap();
            let ((mut a, told_by_a), (mut b, told_by_b)) = (restfulness(), restfulness());
            b.turned(false, ENDING);
            assert!(writer.publish(writing, 0, 1));
            a.turned(true, ENDING);
            // The story's judge: known to nobody in it.
            let has_arrived = std::sync::Arc::new(AtomicBool::new(false));
            let arrived = has_arrived.clone();
            let owner = spawn(move || {
                owner.stages.stop_reading();
                owner.client.room_bytes = 0;
                for turn in 0..4 {
                    if turn == 2 {
                        owner.take_all(reading);
                    }
                    drain(&mut owner, &mut b);
                    let is_sent = owner.client.next_sequence(reading) == 2;
                    arrived.store(is_sent, Ordering::SeqCst);
                }
            });
            writer.stages.stop_reading();
            let told = [told_by_a, told_by_b];
            let mut stillness = Stillness::default();
            for _ in 0..2 {
                (0..2).for_each(|_| drain(&mut writer, &mut a));
                if stillness.look(ENDING, told.iter()) {
                    assert!(has_arrived.load(Ordering::SeqCst), "at its reader");
                    let is_acked = writer.client.of(writing).any(|it| it == Event::Ack(1));
                    assert!(is_acked, "and its writer knows");
                }
            }
            owner.join().unwrap();
        });
    }

    /// A writer and a reader of one core: what is accepted waits for the reader's socket, which
    /// takes it at last.
    #[test]
    fn a_core_whose_readers_socket_is_full_is_not_still() {
        every_order(|| {
            let mut all = cores(&[ALL], &Sizes::default());
            let (writing, reading) = (all[0].connect(), all[0].connect());
            all[0].open_to_write(writing);
            all[0].open_to_read(reading, From::Live, Policy::Gap);
            settle(&mut all);
            let mut core = all.pop().unwrap();
            core.client.room_bytes = 0;
            assert!(core.publish(writing, 0, 1));
            core.stages.stop_reading();
            settle(core::slice::from_mut(&mut core));
            let (mut resting, told) = restfulness();
            // The story's judge: known to nobody in it.
            let has_arrived = std::sync::Arc::new(AtomicBool::new(false));
            let arrived = has_arrived.clone();
            let core = spawn(move || {
                (0..3).for_each(|_| drain(&mut core, &mut resting));
                core.take_all(reading);
                drain(&mut core, &mut resting);
                let is_sent = core.client.next_sequence(reading) == 2;
                arrived.store(is_sent, Ordering::SeqCst);
                (0..3).for_each(|_| drain(&mut core, &mut resting));
            });
            let mut stillness = Stillness::default();
            let mut look = || stillness.look(ENDING, [&told].into_iter());
            for _ in 0..2 {
                assert!(!look() || has_arrived.load(Ordering::SeqCst), "at its reader");
            }
            core.join().unwrap();
        });
    }
}
