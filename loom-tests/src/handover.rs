//! Stories of a hand-over: a document moves from one owner to another, and its order does not suffer.
//!
//! | old owner | a core with sessions | new owner |
//! |---|---|---|
//! | tells all to go elsewhere `(1)` | | has said that it has room |
//! | | on that: what is for the document goes to the new owner `(2)`, who is counted for its chunks `(3)`; answers with a fence | |
//! | behind the last fence: judges what came, has no part in chunks that are retired from then on `(4)`, says its last word | batches, some before and some behind the fence | holds batches `(5)` and retirements `(6)` |
//! | | has heard it | |
//! | behind the last answer `(7)`: hands the document over | learns its producer's new place `(8)` | owns it; notes its runs `(9)`; goes on with what it held; marks it in the bitmap of its home `(10)` |
//! | | reads on, and fills its chunk again when both owners have let go | |
//!
//! The stages are the shipping ones. The question whether there is room, and its answer, come before a
//! story begins; what is left when its threads have ended can come in one order only (`settle`). The
//! core with sessions is the new owner's, or has the old or the new owner on its thread, so that two
//! threads tell of three parts.
//!
//! All have a bound, for their length: see "What is explored" in the README.

use crate::table::{Model, Mutant};

const ANSWERS: &str = "pipeline/src/validation/answers.rs";
const CHUNK: &str = "pipeline/src/chunk.rs";
const COMING: &str = "pipeline/src/validation/coming.rs";
const HANDLES: &str = "pipeline/src/reception/handles.rs";
const LEAVING: &str = "pipeline/src/validation/leaving.rs";

/// The models of this file.
pub const MODELS: &[Model] = &[
    Model {
        name: "handover::models::a_batch_beside_a_move_waits_for_its_document",
        mutants: &[
            Mutant {
                fault: "(2) a handle goes to the new owner with its producer's old place",
                file: HANDLES,
                text: "            self.producer = BY_SLOT;\n",
                replacement: "",
            },
            Mutant {
                fault: "(5) batches are not held until the document is there",
                file: COMING,
                text: "expected.hold(Behind::Batch(arrival), now);\n            return;",
                replacement: "let _ = expected;",
            },
            Mutant {
                fault: "(8) a handle learns its producer's place, and goes on to the old owner",
                file: HANDLES,
                text: "handle.worker = worker;\n                handle.producer = producer;",
                replacement: "let _ = worker;\n                handle.producer = producer;",
            },
        ],
    },
    Model {
        name: "handover::models::what_the_old_owner_said_is_heard_first",
        mutants: &[Mutant {
            fault: "(7) the document goes before the last word was heard",
            file: LEAVING,
            text: "Stage::Listening { missing: self.session_cores, first_job }",
            replacement: "Stage::Listening { missing: 0, first_job }",
        }],
    },
    Model {
        name: "handover::models::a_reader_reads_on_across_a_move",
        mutants: &[Mutant {
            fault: "(10) the new owner marks the document in its own bitmap",
            file: ANSWERS,
            text: "&self.pending[home(slot)][core]",
            replacement: "&self.pending[usize::from(self.registry.worker)][core]",
        }],
    },
    Model {
        name: "handover::models::a_retirement_that_meets_the_rerouting_is_for_the_old_owner",
        mutants: &[Mutant {
            fault: "(4) the old owner does not wait for fences",
            file: LEAVING,
            text: "leaving.stage = Stage::Fencing { missing: parties };",
            replacement: "leaving.stage = Stage::Fencing { missing: 0 };",
        }],
    },
    Model {
        name: "handover::models::a_retirement_behind_the_fence_waits_for_the_document",
        mutants: &[
            Mutant {
                fault: "(3) the new owner is not counted for chunks of the old",
                file: CHUNK,
                text: "                chunk.owners |= 1 << to;\n",
                replacement: "                let _ = to;\n",
            },
            Mutant {
                fault: "(6) a retirement is answered before the document is there",
                file: COMING,
                text: "if self.moves.takes() {\n            let before",
                replacement: "if false {\n            let before",
            },
            Mutant {
                fault: "(9) where its runs begin is not noted",
                file: COMING,
                text: "            retirements.touch_again(chunk, arrived.place, at.block, at.index);\n",
                replacement: "            let _ = &retirements;\n",
            },
        ],
    },
];

#[cfg(all(loom, test))]
mod models {
    use crate::cores::{
        ALL, Core, DOCUMENTS, ELASTIC, Event, SESSIONS, Sizes, cores, settle, turns,
    };
    use crate::explore::{few_preemptions, spawn};
    use deltaworks_pipeline::message::{From, Policy, SessionId};
    use deltaworks_pipeline::stages::CoreRole;
    use deltaworks_runtime::sync::thread::yield_now;

    /// Owns what it is given, and serves nobody.
    const GUESTS: CoreRole = CoreRole { serves_sessions: false, ..ELASTIC };

    /// The document's owner has asked the next one, which has answered.
    fn ask(all: &mut [Core]) {
        let (old, new) = all.split_at_mut(1);
        old[0].give_to(1, new);
    }

    #[test]
    fn a_batch_beside_a_move_waits_for_its_document() {
        few_preemptions(2, || {
            let mut all = cores(&[DOCUMENTS, ELASTIC], &Sizes::default());
            let (writing, reading) = (all[1].connect(), all[1].connect());
            all[1].open_to_write(writing);
            all[1].open_to_read(reading, From::Live, Policy::Gap);
            settle(&mut all);
            ask(&mut all);
            let [mut old, mut new]: [Core; 2] = all.try_into().ok().unwrap();

            let old = spawn(move || {
                turns(&mut old, 3);
                old
            });
            yield_now();
            for number in [1, 2] {
                assert!(new.publish(writing, 0, number));
                turns(&mut new, 1);
            }
            let mut all = [old.join().unwrap(), new];
            settle(&mut all);
            assert!(all[1].was_given());
            assert!(all[1].publish(writing, 0, 3));
            settle(&mut all);
            assert_eq!(all[1].client.next_sequence(reading), 4);
            assert_eq!(all[1].client.of(writing).last(), Some(Event::Ack(3)));
        });
    }

    /// The old owner is a core of its own; the new one shares its thread with the sessions' core.
    #[test]
    fn what_the_old_owner_said_is_heard_first() {
        few_preemptions(2, || {
            let mut all = cores(&[DOCUMENTS, GUESTS, SESSIONS], &Sizes::default());
            let writing = all[2].connect();
            all[2].open_to_write(writing);
            settle(&mut all);
            ask(&mut all);
            let [mut old, mut new, mut sessions]: [Core; 3] = all.try_into().ok().unwrap();

            let old = spawn(move || {
                turns(&mut old, 3);
                old
            });
            yield_now();
            for number in [1, 2] {
                assert!(sessions.publish(writing, 0, number));
                new.turn();
                turns(&mut sessions, 1);
            }
            let mut all = [old.join().unwrap(), new, sessions];
            settle(&mut all);
            assert!(all[1].was_given());
            let told: Vec<_> = all[2].client.of(writing).skip(1).collect();
            assert!(told.is_sorted_by_key(|event| ack(*event)), "in order: {told:?}");
            assert_eq!(told.last(), Some(&Event::Ack(2)));
        });
    }

    fn ack(event: Event) -> u64 {
        match event {
            Event::Ack(number) => number,
            _ => unreachable!("nothing is refused"),
        }
    }

    /// Both owners share a thread; the reader has its own.
    #[test]
    fn a_reader_reads_on_across_a_move() {
        few_preemptions(2, || {
            // By its name the document is at home at the second.
            let mut all = cores(&[DOCUMENTS, DOCUMENTS, SESSIONS], &Sizes::default());
            let (writing, reading) = (all[2].connect(), all[2].connect());
            all[2].open_to_write(writing);
            all[2].open_to_read(reading, From::Live, Policy::Gap);
            settle(&mut all);
            let (new, old) = all.split_at_mut(1);
            old[0].give_to(0, new);
            let [mut new, mut old, mut sessions]: [Core; 3] = all.try_into().ok().unwrap();

            let owners = spawn(move || {
                for _ in 0..3 {
                    old.turn();
                    turns(&mut new, 1);
                }
                [new, old]
            });
            yield_now();
            for number in [1, 2] {
                assert!(sessions.publish(writing, 0, number));
                turns(&mut sessions, 1);
            }
            let [new, old] = owners.join().unwrap();
            let mut all = [new, old, sessions];
            settle(&mut all);
            assert!(all[0].was_given());
            assert_eq!(all[2].client.next_sequence(reading), 3);
        });
    }

    /// Image 1 fills a chunk of the new owner's core, which has two, and a reader on the old owner's
    /// has not taken it. The next owner has said that it takes the document.
    fn image_in_a_chunk() -> ([Core; 2], SessionId, SessionId) {
        let sizes = Sizes { images_per_chunk: 1, ..Sizes::default() };
        let mut all = cores(&[ALL, ELASTIC], &sizes);
        let (writing, reading) = (all[1].connect(), all[0].connect());
        all[1].open_to_write(writing);
        all[0].open_to_read(reading, From::Live, Policy::Gap);
        settle(&mut all);
        all[0].client.room_bytes = 0;
        assert!(all[1].publish(writing, 0, 1));
        settle(&mut all);
        ask(&mut all);
        (all.try_into().ok().unwrap(), writing, reading)
    }

    /// Image 3 lies where image 1 was, and the reader has got or was told all.
    fn is_read_whole(mut all: [Core; 2], is_read: bool, writing: SessionId, reading: SessionId) {
        settle(&mut all);
        if !is_read {
            assert!(all[1].publish(writing, 0, 3), "a chunk is free");
        }
        // At once: image 3 needs no other chunk again.
        all[0].take_all(reading);
        settle(&mut all);
        assert!(all[1].was_given());
        assert_eq!(all[0].client.next_sequence(reading), 4);
    }

    /// The chunk's core does not know yet that the document goes.
    #[test]
    fn a_retirement_that_meets_the_rerouting_is_for_the_old_owner() {
        few_preemptions(2, || {
            let ([mut old, mut new], writing, reading) = image_in_a_chunk();
            // Both chunks are full: the next turn retires the first.
            assert!(new.publish(writing, 0, 2));
            let old = spawn(move || {
                turns(&mut old, 2);
                old
            });
            turns(&mut new, 2);
            is_read_whole([old.join().unwrap(), new], false, writing, reading);
        });
    }

    /// The chunk's core knows it, and the old owner waits until its last word is heard.
    #[test]
    fn a_retirement_behind_the_fence_waits_for_the_document() {
        few_preemptions(2, || {
            let ([mut old, mut new], writing, reading) = image_in_a_chunk();
            old.turn();
            new.turn();
            old.turn();
            old.turn();
            assert!(new.publish(writing, 0, 2));
            let old = spawn(move || {
                turns(&mut old, 2);
                old.take_all(reading);
                turns(&mut old, 2);
                old
            });
            let mut is_read = false;
            for _ in 0..3 {
                turns(&mut new, 1);
                is_read = is_read || new.publish(writing, 0, 3);
            }
            is_read_whole([old.join().unwrap(), new], is_read, writing, reading);
        });
    }
}
