//! A story of a document that moves from one owner to another: a protocol ahead of its use.
//!
//! Nothing in the pipeline moves documents yet. This is the protocol alone, over the shipping rings,
//! doorbells, chunk memory, node blocks and document words.
//!
//! | session core (reception and agent) | old owner | new owner (on the session's core) |
//! |---|---|---|
//! | batch 1, in its only chunk | tells the session core to re-route | |
//! | on re-route: a fence into the old ring, an announcement into the new `(1)`; counts the new owner for chunks of the old `(2)` | | |
//! | retires its chunk at the owners counted for it | asks the agent, waits | holds batches `(3)` and the retirement `(4)` behind the announcement |
//! | as agent: reads up to the tail, then answers | behind the fence `(5)`, and when no answer is missing `(6)`: hands the document over | takes it, then what it held |
//! | fills the chunk again with batch 2 | | |
//!
//! The document is a value that moves through a ring, so it has one owner at a time. The agent reads
//! 1, 2: nothing is lost, doubled or overtaken, and no byte is written that it could still read.
//!
//! All have a bound, for their length: see "What is explored" in the README.

use crate::table::{Model, Mutant};

const HERE: &str = "loom-tests/src/handover.rs";
const TWIN: &str = "runtime/src/ring/twin.rs";

/// The models of this file.
pub const MODELS: &[Model] = &[
    Model {
        name: "handover::models::a_batch_behind_the_fence_waits_for_its_document",
        mutants: &[
            Mutant {
                fault: "(1) the new owner is not told that the document comes",
                file: HERE,
                text: concat!("self.new.send(", "Message::Announced);"),
                replacement: "",
            },
            Mutant {
                fault: "(3) batches are not held until the document is there",
                file: HERE,
                text: concat!("Message::Batch(..) if self.is_", "announced"),
                replacement: "Message::Batch(..) if false",
            },
        ],
    },
    Model {
        name: "handover::models::a_retirement_behind_the_fence_waits_for_the_document",
        mutants: &[
            Mutant {
                fault: "(2) the new owner is not counted for chunks of the old",
                file: HERE,
                text: concat!("self.counted[1] = ", "self.counted[0];"),
                replacement: "",
            },
            Mutant {
                fault: "(4) a retirement is answered before the announced document is there",
                file: HERE,
                text: concat!("Message::Retire if self.is_", "announced"),
                replacement: "Message::Retire if false",
            },
            Mutant {
                fault: "(5) the document goes before the last batch in front of the fence",
                file: HERE,
                text: concat!("if !self.is_", "fenced || "),
                replacement: "if ",
            },
            Mutant {
                fault: "the ring does not publish what the document's first owner did",
                file: TWIN,
                text: "self.ring.tail.store(tail, Ordering::Release)",
                replacement: "self.ring.tail.store(tail, Ordering::Relaxed)",
            },
        ],
    },
    Model {
        name: "handover::models::a_retirement_before_the_fence_is_answered_by_the_old_owner",
        mutants: &[Mutant {
            fault: "(6) the document goes while an answer is missing",
            file: HERE,
            text: concat!("|| self.is_", "retiring {"),
            replacement: "{",
        }],
    },
];

#[cfg(all(loom, test))]
mod models {
    #![expect(unsafe_code, reason = "the contract of chunk memory is what is modelled")]

    use crate::explore::{few_preemptions, spawn};
    use deltaworks_pipeline::chunk::ImageRange;
    use deltaworks_pipeline::document::{SharedDocuments, slot};
    use deltaworks_pipeline::stream::{
        BlockPool, NODES_PER_BLOCK, Node, NodeMemory, Place, Position,
    };
    use deltaworks_runtime::chunk_memory::{
        ByteRange, CHUNK_BYTES_MIN, ChunkId, ChunkMemory, RegionSpec,
    };
    use deltaworks_runtime::doorbell::{Doorbell, Sleeper, doorbell};
    use deltaworks_runtime::parking::{Parker, parker};
    use deltaworks_runtime::ring::{Consumer, Producer, ring};
    use deltaworks_runtime::sync::Arc;

    const BATCHES: u8 = 2;

    /// Rings of the core that the session and the new owner share; the others are the new owner's.
    const FROM_OLD: usize = 0;
    const FROM_NEW: usize = 1;

    enum Message {
        /// The batch of this number, in the chunk.
        Batch(u8),
        Fence,
        Announced,
        /// Let go of the chunk.
        Retire,
        Reroute,
        Grew,
        Retiring,
        Released,
        Freed,
        Document(Box<Document>),
    }

    /// A document: what its one owner has, blocks included.
    struct Document {
        blocks: BlockPool,
        tail: Place,
        window_start: u64,
    }

    /// What all three share.
    #[derive(Clone)]
    struct Memory {
        chunks: Arc<ChunkMemory>,
        nodes: Arc<NodeMemory>,
        documents: Arc<SharedDocuments>,
    }

    /// The session core's only chunk has room for one image.
    const BYTES: ByteRange = ByteRange::new(ChunkId(0), 0, CHUNK_BYTES_MIN as u32);

    /// When the session core looks at the re-routing that the old owner has sent it.
    #[derive(Clone, Copy, PartialEq)]
    enum Rerouted {
        BeforeTheBatch,
        BehindTheBatch,
        BehindTheRetirement,
    }

    /// The giving end of a way.
    struct To(Producer<Message>, Doorbell);

    impl To {
        fn send(&mut self, message: Message) {
            assert!(self.0.push(message).is_ok(), "the story has room for each message");
            self.1.ring();
        }
    }

    /// The taking ends of a core's ways.
    struct Inbox {
        rings: Vec<Consumer<Message>>,
        sleeper: Sleeper,
        parker: Parker,
        bell: Doorbell,
    }

    impl Inbox {
        fn new() -> Self {
            let (parker, unparker) = parker();
            let (bell, sleeper) = doorbell(unparker);
            Self { rings: Vec::new(), sleeper, parker, bell }
        }

        fn way(&mut self) -> To {
            let (producer, consumer) = ring(8);
            self.rings.push(consumer);
            To(producer, self.bell.clone())
        }

        /// A message and the ring it came from, if there is one.
        fn look(&mut self) -> Option<(usize, Message)> {
            let mut rings = self.rings.iter_mut().enumerate();
            rings.find_map(|(from, ring)| Some((from, ring.pop()?)))
        }

        /// The same, as soon as there is one.
        fn next(&mut self) -> (usize, Message) {
            loop {
                if let Some(message) = self.look() {
                    return message;
                }
                let rings = &self.rings;
                if self.sleeper.may_sleep(|| rings.iter().any(|ring| !ring.is_empty())) {
                    self.parker.park();
                    self.sleeper.woke();
                }
            }
        }
    }

    /// An owner, old or new.
    struct Owner {
        memory: Memory,
        session: To,
        document: Option<Box<Document>>,
        held: Vec<Message>,
        is_announced: bool,
        is_fenced: bool,
        is_retiring: bool,
        /// Where the document is to go.
        next: Option<To>,
    }

    impl Owner {
        /// Takes a message, and hands the document over as soon as it may go.
        fn take(&mut self, message: Message) {
            self.handle(message);
            self.hand_over();
        }

        fn handle(&mut self, message: Message) {
            let is_away = self.document.is_none();
            match message {
                Message::Batch(..) if self.is_announced && is_away => self.held.push(message),
                Message::Batch(number) => self.append(number),
                Message::Fence => self.is_fenced = true,
                Message::Announced => self.is_announced = true,
                Message::Retire if self.is_announced && is_away => self.held.push(message),
                Message::Retire => self.retire(),
                Message::Released => {
                    assert!(!is_away, "only its owner frees what a document has");
                    self.is_retiring = false;
                    self.session.send(Message::Freed);
                }
                Message::Document(document) => {
                    self.document = Some(document);
                    core::mem::take(&mut self.held).into_iter().for_each(|held| self.handle(held));
                }
                _ => unreachable!("a message for a session core"),
            }
        }

        fn append(&mut self, number: u8) {
            let document = self.document.as_mut().expect("a batch reaches the owner");
            let Document { blocks, tail, .. } = &mut **document;
            assert_eq!(u64::from(number), tail.node + 1, "none is overtaken");
            let shared = self.memory.documents.get(slot(0, 0));
            if tail.node == 0 || tail.index == NODES_PER_BLOCK {
                let block = blocks.take(slot(0, 0), tail.node).expect("there are blocks");
                if tail.node == 0 {
                    shared.set_first_block(block);
                } else {
                    blocks.link(tail.block, block);
                }
                (tail.block, tail.index) = (block, 0);
            }
            // SAFETY: the contract under test; the model finds whoever breaks it.
            let bytes = unsafe { self.memory.chunks.slice_mut(BYTES) };
            assert_eq!(bytes[1], number, "as reception read it");
            bytes[0] = number; // the stamp
            let range = ImageRange::new(BYTES.chunk, 0, BYTES.bytes);
            let node = Node { range, first_sequence: u64::from(number) };
            blocks.write(tail.block, tail.index, node);
            tail.node += 1;
            tail.index += 1;
            shared.publish(tail.node, Position::default(), false);
            self.session.send(Message::Grew);
        }

        /// Lets go of chunk 0: only batch 1 can lie there.
        fn retire(&mut self) {
            let Some(document) = self.document.as_mut().filter(|it| it.window_start == 0) else {
                self.session.send(Message::Freed);
                return;
            };
            document.window_start = 1;
            self.memory.documents.get(slot(0, 0)).set_window_start(1);
            self.is_retiring = true;
            self.session.send(Message::Retiring);
        }

        fn hand_over(&mut self) {
            if !self.is_fenced || self.is_retiring {
                return;
            }
            if let (Some(next), Some(document)) = (&mut self.next, self.document.take()) {
                next.send(Message::Document(document));
            }
        }
    }

    /// Reception and agent, and on the same core the new owner.
    struct SessionCore {
        memory: Memory,
        inbox: Inbox,
        new_owner: Owner,
        old: To,
        new: To,
        is_rerouted: bool,
        /// Whether the old owner, the new owner may have nodes in chunk 0.
        counted: [bool; 2],
        missing: usize,
        cursor: Place,
    }

    impl SessionCore {
        fn run(mut self, rerouted: Rerouted) {
            if rerouted == Rerouted::BeforeTheBatch {
                self.handle_next();
            }
            self.publish(1);
            self.counted[usize::from(self.is_rerouted)] = true;
            if rerouted == Rerouted::BehindTheBatch {
                self.handle_next();
            }
            self.missing = self.counted.iter().filter(|is_counted| **is_counted).count();
            for owner in 0..2 {
                if self.counted[owner] {
                    self.owner(owner).send(Message::Retire);
                }
            }
            while self.missing > 0 || !self.is_rerouted {
                self.handle_next();
            }
            let window_start = self.memory.documents.get(slot(0, 0)).window_start();
            assert_eq!(window_start, 1, "no node that lives lies in the chunk");
            self.publish(BATCHES);
            while self.cursor.node < u64::from(BATCHES) {
                self.handle_next();
            }
        }

        fn owner(&mut self, number: usize) -> &mut To {
            if number == 0 { &mut self.old } else { &mut self.new }
        }

        fn publish(&mut self, number: u8) {
            // SAFETY: as above.
            unsafe { self.memory.chunks.slice_mut(BYTES) }.fill(number);
            let owner = usize::from(self.is_rerouted);
            self.owner(owner).send(Message::Batch(number));
        }

        fn handle_next(&mut self) {
            match self.inbox.next() {
                (FROM_OLD, message) => self.handle(0, message),
                (FROM_NEW, message) => self.handle(1, message),
                (_, message) => self.new_owner.take(message),
            }
        }

        fn handle(&mut self, owner: usize, message: Message) {
            match message {
                Message::Reroute => {
                    self.old.send(Message::Fence);
                    self.new.send(Message::Announced);
                    self.counted[1] = self.counted[0];
                    self.is_rerouted = true;
                }
                Message::Grew => self.read(),
                Message::Retiring => {
                    self.read();
                    self.owner(owner).send(Message::Released);
                }
                Message::Freed => self.missing -= 1,
                _ => unreachable!("a message for an owner"),
            }
        }

        /// Reads the stream up to its tail.
        fn read(&mut self) {
            let shared = self.memory.documents.get(slot(0, 0));
            let (tail, _) = shared.tail();
            if self.cursor.node == 0 && tail > 0 {
                self.cursor.block = shared.first_block();
            }
            while self.cursor.node < tail {
                self.cursor = self.memory.nodes.normalise(self.cursor);
                let node = self.memory.nodes.node(self.cursor.block, self.cursor.index);
                assert_eq!(node.first_sequence, self.cursor.node + 1);
                // SAFETY: as above.
                let bytes = unsafe { self.memory.chunks.slice(BYTES) };
                self.cursor.node += 1;
                self.cursor.index += 1;
                let number = self.cursor.node as u8;
                assert!(bytes.iter().all(|byte| *byte == number), "batch {number}, whole");
            }
        }
    }

    #[test]
    fn a_batch_behind_the_fence_waits_for_its_document() {
        few_preemptions(3, || story(Rerouted::BeforeTheBatch, 1));
    }

    #[test]
    fn a_retirement_behind_the_fence_waits_for_the_document() {
        few_preemptions(2, || story(Rerouted::BehindTheBatch, 3));
    }

    #[test]
    fn a_retirement_before_the_fence_is_answered_by_the_old_owner() {
        few_preemptions(2, || story(Rerouted::BehindTheRetirement, 4));
    }

    /// So many messages reach the old owner.
    fn story(rerouted: Rerouted, to_old_owner: usize) {
        let region = RegionSpec { chunks: 1, numa_node: None };
        let (chunks, _) = ChunkMemory::new(&[region], CHUNK_BYTES_MIN).unwrap();
        let nodes = NodeMemory::new(1);
        let documents = SharedDocuments::new(1, 1);
        documents.get(slot(0, 0)).reset();
        let blocks = BlockPool::new(nodes.clone(), 0, 1);
        let document = Document { blocks, tail: Place::START, window_start: 0 };
        let memory = Memory { chunks: Arc::new(chunks), nodes, documents };

        let (mut inbox, mut to_old) = (Inbox::new(), Inbox::new());
        let (mut from_old, from_new) = (inbox.way(), inbox.way());
        let (session_to_new, old_to_new) = (inbox.way(), inbox.way());
        let session_to_old = to_old.way();
        from_old.send(Message::Reroute);
        let owner = |session, document, next| Owner {
            memory: memory.clone(),
            session,
            document,
            held: Vec::new(),
            is_announced: false,
            is_fenced: false,
            is_retiring: false,
            next,
        };
        let mut old = owner(from_old, Some(Box::new(document)), Some(old_to_new));
        let old = spawn(move || {
            old.hand_over();
            for _ in 0..to_old_owner {
                let (_, message) = to_old.next();
                old.take(message);
            }
        });
        let session = SessionCore {
            new_owner: owner(from_new, None, None),
            memory,
            inbox,
            old: session_to_old,
            new: session_to_new,
            is_rerouted: false,
            counted: [false; 2],
            missing: 0,
            cursor: Place::START,
        };
        session.run(rerouted);
        old.join().unwrap();
    }
}
