//! Stories of what meets a document on its way: its way back, a drop, an open, a close, an end.
//!
//! | what | before the rerouting | behind it, until the document is there | behind that |
//! |---|---|---|---|
//! | a move back | | | is one like the first: at home the document is no guest `(1)` |
//! | a drop | the old owner ends the document and keeps it until it is gone `(2)` | waits `(3)` | the home learns that the slot is free `(4)` |
//! | an open | is sent back by who leaves `(5)`, not forgotten `(6)` | | goes where its session's batches go; a document without nodes finds blocks `(7)` |
//! | a close | by the producer's place | waits `(8)`; by the handle `(9)` | by the producer's new place |
//! | an end | no core says that it has nothing left to do `(10)` | the same | all has arrived |
//!
//! One core owns documents and is their home; the other serves the sessions, and is the elastic worker
//! that a document is promoted to. Whichever order it is, each session is told one thing, and nothing
//! is left that nobody owns: in the end the one place that there is for a document is used again.
//!
//! All have a bound, for their length: see "What is explored" in the README.

use crate::table::{Model, Mutant};

const COMING: &str = "pipeline/src/validation/coming.rs";
const CONTROL: &str = "pipeline/src/validation/control.rs";
const GUESTS: &str = "pipeline/src/registry/guests.rs";
const LEAVING: &str = "pipeline/src/validation/leaving.rs";
const LENDING: &str = "pipeline/src/validation/lending.rs";
const REGISTRY: &str = "pipeline/src/registry.rs";
const VALIDATION: &str = "pipeline/src/validation.rs";

/// The models of this file.
pub const MODELS: &[Model] = &[
    Model {
        name: "moving::models::a_document_goes_and_comes_back",
        mutants: &[Mutant {
            fault: "(1) its home goes on to think that it is away",
            file: GUESTS,
            text: "        self.guests_here.away.remove(&place);\n    }",
            replacement: "    }",
        }],
    },
    Model {
        name: "moving::models::a_drop_beside_a_move_ends_one_document",
        mutants: &[
            Mutant {
                fault: "(3) a drop does not wait for the document",
                file: VALIDATION,
                text: "Some(it) => it.hold(Behind::Drop { slot, generation }, now),",
                replacement: "Some(_) => self.drop_document(slot, generation, boxes),",
            },
            Mutant {
                fault: "(4) the home is not told that the slot is free",
                file: COMING,
                text: "boxes.to_worker(home(slot) as u16).send(Message::SlotFree { slot, generation });",
                replacement: "",
            },
        ],
    },
    Model {
        name: "moving::models::a_drop_and_a_close_beside_a_move_leave_nothing",
        mutants: &[Mutant {
            fault: "(2) a dropped document is freed while it leaves",
            file: REGISTRY,
            text: "self.documents[index].flags & (DROPPED | LEAVING) != DROPPED || cold.handles != 0",
            replacement: "self.documents[index].flags & DROPPED == 0 || cold.handles != 0",
        }],
    },
    Model {
        name: "moving::models::an_open_beside_a_move_is_answered_by_one_owner",
        mutants: &[
            Mutant {
                fault: "(5) opens are answered while the document leaves",
                file: LEAVING,
                text: "if self.registry.documents[place].flags & LEAVING == 0 {",
                replacement: "if self.registry.documents[place].flags & LEAVING != u16::MAX {",
            },
            Mutant {
                fault: "(6) opens that cannot be answered are not sent back",
                file: LEAVING,
                text: "        open_elsewhere(open, document.slot, document.generation, boxes);\n",
                replacement: "        let _ = (open, document, boxes);\n",
            },
            Mutant {
                fault: "(7) an elastic worker gives all blocks back while its document has no nodes",
                file: LENDING,
                text: "(true, _) if guests == 0 => 0,",
                replacement: "(true, 0) => 0,",
            },
        ],
    },
    Model {
        name: "moving::models::a_close_beside_a_move_keeps_its_place",
        mutants: &[
            Mutant {
                fault: "(8) a close does not wait for the document",
                file: VALIDATION,
                text: "Some(it) => it.hold(Behind::Close(core, closing, reason), now),",
                replacement: "Some(_) => self.close(core, closing, reason, boxes, now),",
            },
            Mutant {
                fault: "(9) the producer is not looked up",
                file: CONTROL,
                text: "if closing.producer == BY_SLOT {",
                replacement: "if closing.producer == BY_SLOT && false {",
            },
        ],
    },
    Model {
        name: "moving::models::nothing_is_still_while_a_document_is_on_its_way",
        mutants: &[Mutant {
            fault: "(10) a worker is idle while a move is open",
            file: VALIDATION,
            text: "\n            && self.moves.is_idle()",
            replacement: "",
        }],
    },
];

#[cfg(all(loom, test))]
mod models {
    use crate::cores::{Core, DOCUMENTS, ELASTIC, Event, Sizes, cores, settle, turns};
    use crate::explore::{few_preemptions, spawn};
    use deltaworks_pipeline::message::{Access, CloseReason, From, Policy, SessionId};
    use deltaworks_pipeline::port::ControlAction;
    use deltaworks_runtime::ending::{Resting, Stillness, restfulness};
    use deltaworks_runtime::sync::thread::yield_now;

    const BOTH: Access = Access { read: true, write: true };

    /// The document's home and owner, and the worker that is about to be given the document; on a
    /// thread of its own, the first turns so many times while `beside` goes on with the second.
    fn beside_a_move(
        mut all: Vec<Core>,
        old_turns: usize,
        beside: impl FnOnce(&mut Core),
    ) -> [Core; 2] {
        let (old, new) = all.split_at_mut(1);
        old[0].give_to(1, new);
        let [mut old, mut new]: [Core; 2] = all.try_into().ok().unwrap();
        let old = spawn(move || {
            turns(&mut old, old_turns);
            old
        });
        yield_now();
        beside(&mut new);
        let mut all = [old.join().unwrap(), new];
        settle(&mut all);
        all
    }

    fn handle(core: &Core, session: SessionId) -> Option<(u32, (u32, u32))> {
        core.client.of(session).rev().find_map(|event| match event {
            Event::Opened { handle, document, .. } => Some((handle, document)),
            _ => None,
        })
    }

    #[test]
    fn a_document_goes_and_comes_back() {
        few_preemptions(2, || {
            let mut all =
                cores(&[DOCUMENTS, ELASTIC], &Sizes { node_blocks: 8, ..Sizes::default() });
            let (writing, reading) = (all[1].connect(), all[1].connect());
            all[1].open_to_write(writing);
            all[1].open_to_read(reading, From::Live, Policy::Gap);
            settle(&mut all);
            let mut gives = false;
            let mut all = beside_a_move(all, 4, |new| {
                for number in [1, 2, 3] {
                    assert!(new.publish(writing, 0, number));
                    turns(new, 1);
                    gives = gives || new.may_give_to(0);
                }
            });
            assert!(all[1].was_given());
            // Its first batch there is awaited.
            assert!(all[1].publish(writing, 0, 4));
            settle(&mut all);
            assert!(gives || all[1].may_give_to(0));
            settle(&mut all);
            assert!(all[0].was_given());
            assert!(all[1].publish(writing, 0, 5));
            settle(&mut all);
            assert!(all[0].may_give_to(1), "at home it has one owner, as before");
            assert_eq!(all[1].client.next_sequence(reading), 6);
            assert_eq!(all[1].client.of(writing).last(), Some(Event::Ack(5)));
        });
    }

    /// The document is gone everywhere: its name and its only slot are another's.
    fn begins_anew(mut all: [Core; 2], session: SessionId, old: (u32, u32)) {
        all[1].open(session, BOTH, From::Live, Policy::Gap);
        settle(&mut all);
        let (number, document) = handle(&all[1], session).unwrap();
        assert!(document.0 == old.0 && document.1 != old.1, "the next in the same slot");
        assert!(all[1].publish(session, number, 1));
        settle(&mut all);
        assert_eq!(all[1].client.next_sequence(session), 2);
    }

    #[test]
    fn a_drop_beside_a_move_ends_one_document() {
        few_preemptions(2, || {
            let mut all = cores(&[DOCUMENTS, ELASTIC], &Sizes::default());
            let (writing, reading) = (all[1].connect(), all[1].connect());
            all[1].open_to_write(writing);
            all[1].open_to_read(reading, From::Live, Policy::Gap);
            settle(&mut all);
            let (_, document) = handle(&all[1], reading).unwrap();
            let all = beside_a_move(all, 3, |new| {
                turns(new, 1);
                assert!(new.publish(writing, 0, 1));
                new.act(writing, ControlAction::Drop { handle: 0 });
                turns(new, 2);
            });
            let client = &all[1].client;
            assert_eq!(client.next_sequence(reading), 2);
            assert!(
                [writing, reading].iter().all(|it| client.is_closed(*it, CloseReason::Dropped))
            );
            begins_anew(all, reading, document);
        });
    }

    #[test]
    fn a_drop_and_a_close_beside_a_move_leave_nothing() {
        few_preemptions(2, || {
            let mut all = cores(&[DOCUMENTS, ELASTIC], &Sizes::default());
            let writing = all[1].connect();
            all[1].open_to_write(writing);
            settle(&mut all);
            let (_, document) = handle(&all[1], writing).unwrap();
            let all = beside_a_move(all, 3, |new| {
                new.act(writing, ControlAction::Drop { handle: 0 });
                new.act(writing, ControlAction::Close { handle: 0 });
                turns(new, 3);
            });
            let closed = |event| matches!(event, Event::Closed(..));
            assert!(all[1].client.of(writing).any(closed));
            begins_anew(all, writing, document);
        });
    }

    /// The first session reads; the second opens, and writes as soon as it may.
    #[test]
    fn an_open_beside_a_move_is_answered_by_one_owner() {
        few_preemptions(2, || {
            let mut all = cores(&[DOCUMENTS, ELASTIC], &Sizes::default());
            let (reading, opening) = (all[1].connect(), all[1].connect());
            all[1].open_to_read(reading, From::Live, Policy::Gap);
            settle(&mut all);
            let mut wrote = false;
            let mut all = beside_a_move(all, 4, |new| {
                new.open(opening, BOTH, From::Live, Policy::Gap);
                for _ in 0..4 {
                    turns(new, 1);
                    let may_write = !wrote && handle(new, opening).is_some();
                    wrote = wrote || may_write && new.publish(opening, 0, 1);
                }
            });
            assert!(all[1].was_given());
            if !wrote {
                assert!(all[1].publish(opening, 0, 1));
                settle(&mut all);
            }
            let client = &all[1].client;
            assert!([reading, opening].iter().all(|session| client.next_sequence(*session) == 2));
            assert!(client.of(opening).any(|event| event == Event::Ack(1)));
        });
    }

    #[test]
    fn a_close_beside_a_move_keeps_its_place() {
        few_preemptions(2, || {
            let mut all = cores(&[DOCUMENTS, ELASTIC], &Sizes::default());
            let writing = all[1].connect();
            all[1].open_to_write(writing);
            settle(&mut all);
            let mut all = beside_a_move(all, 3, |new| {
                turns(new, 1);
                assert!(new.publish(writing, 0, 1));
                new.act(writing, ControlAction::Close { handle: 0 });
                turns(new, 2);
            });
            let told: Vec<_> = all[1].client.of(writing).skip(1).collect();
            assert_eq!(told, [Event::Ack(1), Event::Closed(0, CloseReason::Asked)]);
            // Nobody is left who writes: the next session goes on as the same producer.
            let next = all[1].connect();
            all[1].open_to_write(next);
            settle(&mut all);
            assert!(all[1].publish(next, 0, 2));
            settle(&mut all);
            assert_eq!(all[1].client.of(next).last(), Some(Event::Ack(2)));
            assert!(all[1].client.of(writing).last() == told.last().copied(), "nobody is fenced");
        });
    }

    const ENDING: u8 = 1;

    /// A turn of the stages while they drain, and what the core tells of it: nothing is left to do
    /// only when the document is where it is to be.
    fn drain(core: &mut Core, resting: &mut Resting, is_moved: impl Fn(&Core) -> bool) {
        let has_worked = core.turn() > 0;
        let is_quiet = core.stages.may_park() && !core.stages.has_backlog();
        assert!(!is_quiet || is_moved(core), "a move is open");
        resting.turned(has_worked, if is_quiet { ENDING } else { 0 });
    }

    /// Nothing is read any more, and a document is on its way, with a batch behind it.
    #[test]
    fn nothing_is_still_while_a_document_is_on_its_way() {
        few_preemptions(2, || {
            let mut all = cores(&[DOCUMENTS, ELASTIC], &Sizes::default());
            let (writing, reading) = (all[1].connect(), all[1].connect());
            all[1].open_to_write(writing);
            all[1].open_to_read(reading, From::Live, Policy::Gap);
            settle(&mut all);
            let (old, new) = all.split_at_mut(1);
            old[0].give_to(1, new);
            let [mut old, mut new]: [Core; 2] = all.try_into().ok().unwrap();
            let ((mut a, told_by_a), (mut b, told_by_b)) = (restfulness(), restfulness());
            b.turned(false, ENDING);
            assert!(new.publish(writing, 0, 1));
            a.turned(true, ENDING);
            old.stages.stop_reading();
            new.stages.stop_reading();
            let old = spawn(move || {
                for _ in 0..4 {
                    drain(&mut old, &mut b, |core| core.stages.document_count() == 0);
                    yield_now();
                }
                old
            });
            let told = [told_by_a, told_by_b];
            let mut stillness = Stillness::default();
            for _ in 0..2 {
                for _ in 0..2 {
                    drain(&mut new, &mut a, Core::was_given);
                    yield_now();
                }
                if stillness.look(ENDING, told.iter()) {
                    assert!(new.was_given(), "the document has come");
                    assert_eq!(new.client.next_sequence(reading), 2, "and its batch");
                    assert!(new.client.of(writing).any(|it| it == Event::Ack(1)));
                }
            }
            let mut all = [old.join().unwrap(), new];
            settle(&mut all);
            assert!(all[1].was_given());
        });
    }
}
