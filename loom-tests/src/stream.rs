//! Stories of a document's stream: every image once, in order, for every reader, from the first.
//!
//! The cores are the shipping stages. Core o owns the document and serves its writer, the others
//! serve readers. In a model a block holds two nodes, so three images cross its end.
//!
//! ```text
//! core o    node in place │ block full: link the next │ tail = n, Release │ fence │ mark │ ring
//! core r    mark │ fence │ tail, Acquire │ nodes from the cursor, over the block's end, to the tail │ send
//!
//! a reader that comes later:
//! core r    open ──ring──▶ o: tails published, reader noted, where to begin ──ring──▶ r: cursor, look once
//! ```
//!
//! What was appended before the reader was noted lies between where to begin and the tail that it
//! finds when it looks once; what comes later is marked for it. Nothing is in both, and nothing in
//! neither: there is no seam.
//!
//! The stories of stages that sleep have a bound: see "What is explored" in the README.

use crate::table::{Model, Mutant};

const VALIDATION: &str = "pipeline/src/validation.rs";
const ANSWERS: &str = "pipeline/src/validation/answers.rs";
const PROPAGATION: &str = "pipeline/src/propagation.rs";
const NEWEST: &str = "pipeline/src/propagation/newest.rs";
const SETTLING: &str = "pipeline/src/propagation/settling.rs";
const OPENING: &str = "pipeline/src/registry/opening.rs";
const DOCUMENT: &str = "pipeline/src/document.rs";
const STREAM: &str = "pipeline/src/stream.rs";
const HERE: &str = "loom-tests/src/stream.rs";

/// The models of this file.
pub const MODELS: &[Model] = &[
    Model {
        name: "stream::models::every_node_is_seen_once_from_an_empty_stream_on",
        mutants: &[
            Mutant {
                fault: "the tail does not publish the nodes below it",
                file: DOCUMENT,
                text: "self.tail.store(nodes | if ended { ENDED } else { 0 }, Ordering::Release);",
                replacement: "self.tail.store(nodes | if ended { ENDED } else { 0 }, Ordering::Relaxed);",
            },
            Mutant {
                fault: "an agent does not acquire the nodes below the tail",
                file: DOCUMENT,
                text: "self.tail.load(Ordering::Acquire)",
                replacement: "self.tail.load(Ordering::Relaxed)",
            },
            Mutant {
                fault: "a node is written behind the tail that publishes it",
                file: HERE,
                text: "self.write();\n            self.publish();",
                replacement: "self.nodes += 1;\n            self.publish();\n            self.nodes -= 1;\n            self.write();",
            },
            Mutant {
                fault: "a cursor stays at a block's end",
                file: STREAM,
                text: "                place.block = next;\n                place.index = 0;\n            }\n        }\n        place",
                replacement: "            }\n        }\n        place",
            },
        ],
    },
    Model {
        name: "stream::models::bytes_are_told_of_the_tail_that_they_lie_below",
        mutants: &[
            Mutant {
                fault: "bytes are told whatever tail they belong to",
                file: DOCUMENT,
                text: "(word as u32 == nodes as u32).then_some(",
                replacement: "(word as u32 >= nodes as u32).then_some(",
            },
            Mutant {
                fault: "bytes are told behind the tail that they belong to",
                file: DOCUMENT,
                text: "        // Relaxed: who acquires the tail sees it.\n        self.measure.store(measure, Ordering::Relaxed);\n        // Release: pairs with `tail_word`.\n        self.tail.store(nodes | if ended { ENDED } else { 0 }, Ordering::Release);",
                replacement: "        self.tail.store(nodes | if ended { ENDED } else { 0 }, Ordering::Release);\n        self.measure.store(measure, Ordering::Relaxed);",
            },
        ],
    },
    Model {
        name: "stream::models::every_image_is_seen_once_across_a_blocks_end",
        mutants: &[
            Mutant {
                fault: "a full block is not linked to the next",
                file: VALIDATION,
                text: "blocks.link(document.tail_block, block);",
                replacement: "let _ = block;",
            },
            Mutant {
                fault: "a reader does not step over a block's end",
                file: PROPAGATION,
                text: "            at = self.nodes.normalise(at);\n            let range = self.nodes.node(at.block, at.index).range;\n            if at.node != first",
                replacement: "            let range = self.nodes.node(at.block, at.index).range;\n            if at.node != first",
            },
            Mutant {
                fault: "a reader does not move its cursor over a newest image",
                file: NEWEST,
                text: "            entry.place = Place { node: at.node + 1, block: at.block, index: at.index + 1 };\n",
                replacement: "",
            },
        ],
    },
    Model {
        name: "stream::models::the_newest_image_is_seen_behind_a_full_block",
        mutants: &[
            Mutant {
                fault: "a reader of the newest image alone does not step over a block's end",
                file: NEWEST,
                text: "let at = nodes.normalise(at);",
                replacement: "",
            },
            Mutant {
                fault: "a reader does not move its cursor over what was sent together",
                file: SETTLING,
                text: "                self.move_cursor(group.subscription, group.after, group.live_bytes);\n",
                replacement: "",
            },
        ],
    },
    Model {
        name: "stream::models::a_slow_reader_and_a_fast_one_see_the_same",
        mutants: &[
            Mutant {
                fault: "of two readers only the first is marked",
                file: ANSWERS,
                text: "                readers &= readers - 1;\n                if let Some(pending)",
                replacement: "                readers = 0;\n                if let Some(pending)",
            },
            Mutant {
                fault: "what a full socket did not take is forgotten",
                file: SETTLING,
                text: "            self.move_cursor(group.subscription, at, live_bytes);\n            self.make_ready(group.subscription, false);",
                replacement: "            self.move_cursor(group.subscription, at, live_bytes);",
            },
        ],
    },
    Model {
        name: "stream::models::an_open_beside_one_append_has_no_seam",
        mutants: &[
            Mutant {
                fault: "a new reader does not look once",
                file: PROPAGATION,
                text: "        // The owner's mark may have come before: look once.\n        self.make_ready(place, true);\n",
                replacement: "",
            },
            Mutant {
                fault: "a reader is not noted",
                file: OPENING,
                text: "            document.readers |= 1 << core;\n",
                replacement: "",
            },
            Mutant {
                fault: "a reader is told where to begin behind what it asked for",
                file: OPENING,
                text: "From::Start => at_window,",
                replacement: "From::Start => Start { place: tail, ..at_window },",
            },
        ],
    },
    Model {
        name: "stream::models::history_and_live_have_no_seam",
        mutants: &[
            Mutant {
                fault: "a new reader does not look once",
                file: PROPAGATION,
                text: "        // The owner's mark may have come before: look once.\n        self.make_ready(place, true);\n",
                replacement: "",
            },
            Mutant {
                fault: "a reader is not noted",
                file: OPENING,
                text: "            document.readers |= 1 << core;\n",
                replacement: "",
            },
            Mutant {
                fault: "a reader is told where to begin behind what it asked for",
                file: OPENING,
                text: "From::Start => at_window,",
                replacement: "From::Start => Start { place: tail, ..at_window },",
            },
        ],
    },
];

#[cfg(all(loom, test))]
mod models {
    use crate::cores::{ALL, Core, IMAGE_BYTES, SESSIONS, Sizes, cores, settle};
    use crate::explore::{every_order, few_preemptions, spawn};
    use deltaworks_pipeline::chunk::ImageRange;
    use deltaworks_pipeline::document::SharedDocuments;
    use deltaworks_pipeline::message::{From, Policy, SessionId};
    use deltaworks_pipeline::stream::{
        BlockPool, NO_BLOCK, NODES_PER_BLOCK, Node, NodeMemory, Place, Position,
    };
    use deltaworks_runtime::chunk_memory::ChunkId;
    use deltaworks_runtime::sync::Arc;
    use deltaworks_runtime::sync::thread::yield_now;
    use loom::thread::JoinHandle;

    /// Core o with its writer, and cores that serve readers. Their rings and chunks never fill.
    fn joined(readers: usize) -> (Vec<Core>, SessionId) {
        let mut roles = vec![ALL];
        roles.resize(1 + readers, SESSIONS);
        let mut all = cores(&roles, &Sizes { images_per_chunk: 4, ..Sizes::default() });
        let writing = all[0].connect();
        all[0].open_to_write(writing);
        settle(&mut all);
        (all, writing)
    }

    fn read(core: &mut Core, from: From) -> SessionId {
        let session = core.connect();
        core.open_to_read(session, from, Policy::Gap);
        session
    }

    /// A turn in which batch `number` is appended.
    fn append(core: &mut Core, writing: SessionId, number: u64) {
        assert!(core.publish(writing, 0, number));
        core.turn();
    }

    /// Runs until everything below `sequence` has come to the session.
    fn reads(mut core: Core, session: SessionId, sequence: u64) -> JoinHandle<()> {
        spawn(move || core.run_until(|core| core.client.next_sequence(session) == sequence))
    }

    /// What an owner keeps of a document, and does for each batch and each turn.
    struct Writer {
        pool: BlockPool,
        shared: Arc<SharedDocuments>,
        place: Place,
        nodes: u64,
    }

    impl Writer {
        fn write(&mut self) {
            if self.place.block == NO_BLOCK || self.place.index == NODES_PER_BLOCK {
                let block = self.pool.take(0, self.nodes).expect("blocks enough for the story");
                match self.place.block {
                    NO_BLOCK => self.shared.get(0).set_first_block(block),
                    full => self.pool.link(full, block),
                }
                self.place = Place { block, index: 0, ..self.place };
            }
            self.pool.write(self.place.block, self.place.index, node(self.nodes));
            self.place.index += 1;
            self.nodes += 1;
        }

        fn publish(&self) {
            self.shared.get(0).publish(self.nodes, behind(self.nodes), false);
        }

        fn append(&mut self) {
            self.write();
            self.publish();
        }
    }

    /// Where so many nodes of eight bytes end.
    fn behind(nodes: u64) -> Position {
        Position::default().after(8 * nodes)
    }

    fn node(number: u64) -> Node {
        let range = ImageRange::new(ChunkId(0), 8 * number as u32, 8);
        Node { range, first_sequence: number + 1 }
    }

    #[test]
    fn every_node_is_seen_once_from_an_empty_stream_on() {
        const NODES: u64 = NODES_PER_BLOCK as u64 + 1;
        every_order(|| {
            let (memory, shared) = (NodeMemory::new(2), SharedDocuments::new(1, 1));
            shared.get(0).reset();
            let pool = BlockPool::new(memory.clone(), 0, 2);
            let mut writer = Writer { pool, shared: shared.clone(), place: Place::START, nodes: 0 };
            let agent = spawn(move || {
                let mut cursor = Place::START;
                while cursor.node < NODES {
                    let (tail, _) = shared.get(0).tail();
                    if tail == cursor.node {
                        yield_now();
                        continue;
                    }
                    if cursor.block == NO_BLOCK {
                        cursor.block = shared.get(0).first_block();
                    }
                    while cursor.node < tail {
                        cursor = memory.normalise(cursor);
                        assert_eq!(memory.node(cursor.block, cursor.index), node(cursor.node));
                        cursor.node += 1;
                        cursor.index += 1;
                    }
                }
            });
            (0..NODES).for_each(|_| writer.append());
            agent.join().unwrap();
        });
    }

    #[test]
    fn bytes_are_told_of_the_tail_that_they_lie_below() {
        every_order(|| {
            let shared = SharedDocuments::new(1, 1);
            shared.get(0).reset();
            let published = shared.clone();
            let owner = spawn(move || {
                (1..=2).for_each(|nodes| published.get(0).publish(nodes, behind(nodes), false));
            });
            for _ in 0..2 {
                let (tail, _) = shared.get(0).tail();
                let appended = shared.get(0).appended();
                assert!(appended.bytes_since(behind(0)) >= 8 * tail, "all below the tail");
                let below = shared.get(0).appended_below(tail);
                assert!(below.is_none_or(|position| position == behind(tail)), "of this tail");
            }
            owner.join().unwrap();
        });
    }

    #[test]
    fn every_image_is_seen_once_across_a_blocks_end() {
        every_order(|| {
            let (mut all, writing) = joined(1);
            let reading = read(&mut all[1], From::Live);
            settle(&mut all);
            append(&mut all[0], writing, 1);
            settle(&mut all);
            let [mut owner, reader]: [Core; 2] = all.try_into().ok().unwrap();
            let reader = reads(reader, reading, 4);
            assert!(owner.publish(writing, 0, 2));
            append(&mut owner, writing, 3);
            reader.join().unwrap();
        });
    }

    /// All of the first block is read; the next image, alone, stands in the one behind it.
    #[test]
    fn the_newest_image_is_seen_behind_a_full_block() {
        every_order(|| {
            let (mut all, writing) = joined(1);
            let reading = read(&mut all[1], From::Live);
            settle(&mut all);
            (1..=2).for_each(|number| append(&mut all[0], writing, number));
            settle(&mut all);
            let [mut owner, reader]: [Core; 2] = all.try_into().ok().unwrap();
            let reader = reads(reader, reading, 4);
            append(&mut owner, writing, 3);
            reader.join().unwrap();
        });
    }

    #[test]
    fn a_slow_reader_and_a_fast_one_see_the_same() {
        few_preemptions(2, || {
            let (mut all, writing) = joined(2);
            let (fast_one, slow_one) =
                (read(&mut all[1], From::Live), read(&mut all[2], From::Live));
            settle(&mut all);
            let [mut owner, fast, mut slow]: [Core; 3] = all.try_into().ok().unwrap();
            let fast = reads(fast, fast_one, 3);
            let slow = spawn(move || {
                // Half of the first image: then the socket is full for a while.
                slow.client.room_bytes = IMAGE_BYTES / 2;
                slow.run_until(|core| core.client.room_bytes == 0);
                slow.take_all(slow_one);
                slow.run_until(|core| core.client.next_sequence(slow_one) == 3);
            });
            assert!(owner.publish(writing, 0, 1));
            append(&mut owner, writing, 2);
            fast.join().unwrap();
            slow.join().unwrap();
        });
    }

    /// The question is on its way; each core turns twice, whenever, the owner once with a batch.
    #[test]
    fn an_open_beside_one_append_has_no_seam() {
        every_order(|| {
            let (mut all, writing) = joined(1);
            append(&mut all[0], writing, 1);
            let reading = read(&mut all[1], From::Start);
            all[1].turn();
            let [mut owner, mut reader]: [Core; 2] = all.try_into().ok().unwrap();
            let owner = spawn(move || {
                owner.turn();
                append(&mut owner, writing, 2);
                owner
            });
            (0..2).for_each(|_| _ = reader.turn());
            let mut all = [owner.join().unwrap(), reader];
            settle(&mut all);
            assert_eq!(all[1].client.next_sequence(reading), 3);
        });
    }

    /// The owner learns of the reader before, in, or behind the turn that appends the second batch.
    #[test]
    fn history_and_live_have_no_seam() {
        few_preemptions(2, || {
            let (mut all, writing) = joined(1);
            append(&mut all[0], writing, 1);
            let [mut owner, mut reader]: [Core; 2] = all.try_into().ok().unwrap();
            let end = owner.end();
            let owner = spawn(move || {
                owner.turn();
                append(&mut owner, writing, 2);
                owner.run();
            });
            let reading = read(&mut reader, From::Start);
            reads(reader, reading, 3).join().unwrap();
            end.tell();
            owner.join().unwrap();
        });
    }
}
