//! A document's stream with its images: one owner, agents of different speeds, chunks and blocks
//! that are poisoned and used again as soon as all have answered.
//!
//! The protocol is that of the stages, by hand: the owner asks every agent to let go of a chunk,
//! waits for the answers, poisons its bytes and its nodes, and fills it again.

use deltaworks_pipeline::chunk::ImageRange;
use deltaworks_pipeline::document::SharedDocuments;
use deltaworks_pipeline::stream::{
    BlockPool, NO_BLOCK, NODES_PER_BLOCK, Node, NodeMemory, Place, Position,
};
use deltaworks_runtime::chunk_memory::{ByteRange, ChunkId, ChunkMemory, RegionSpec};
use deltaworks_runtime::ring::{Consumer, Producer, ring};
use deltaworks_runtime::sync::Arc;
use deltaworks_stress_tests::rest::wait_until;
use deltaworks_stress_tests::{Random, content, rounds};

const AGENTS: usize = 3;
const CHUNKS: u32 = 3;
const CHUNK_BYTES: usize = 8 << 10;
const IMAGE_BYTES: u32 = 64;
const IMAGES_PER_CHUNK: u64 = CHUNK_BYTES as u64 / IMAGE_BYTES as u64;
/// Deltas of an image, as it were: sequences are not node numbers.
const STEP: u64 = 3;
/// Never the content of an image.
const POISON: u8 = 0xdd;

#[derive(Clone)]
struct Shared {
    memory: Arc<ChunkMemory>,
    nodes: Arc<NodeMemory>,
    documents: Arc<SharedDocuments>,
}

/// Where image number `node` lies.
fn range(node: u64) -> ByteRange {
    let chunk = (node / IMAGES_PER_CHUNK % u64::from(CHUNKS)) as u32;
    let offset = (node % IMAGES_PER_CHUNK) as u32 * IMAGE_BYTES;
    ByteRange::new(ChunkId(chunk), offset, IMAGE_BYTES)
}

fn image(node: u64) -> impl Iterator<Item = u8> {
    (0..u64::from(IMAGE_BYTES) / 8).flat_map(move |word| content(node << 8 | word).to_le_bytes())
}

struct Owner {
    shared: Shared,
    pool: BlockPool,
    asks: Vec<Producer<u64>>,
    answers: Vec<Consumer<u64>>,
    head: u32,
    tail: u32,
    tail_index: u8,
}

impl Owner {
    /// Appends image and node number `number`; they are published with a later tail.
    fn append(&mut self, number: u64) {
        let range = range(number);
        // SAFETY: no agent reads these bytes: the chunk is new, or all have answered for it.
        let bytes = unsafe { self.shared.memory.slice_mut(range) };
        bytes.iter_mut().zip(image(number)).for_each(|(to, from)| *to = from);
        if self.tail == NO_BLOCK || self.tail_index == NODES_PER_BLOCK {
            let block = self.pool.take(0, number).expect("blocks are given back");
            if self.tail == NO_BLOCK {
                self.shared.documents.get(0).set_first_block(block);
                self.head = block;
            } else {
                self.pool.link(self.tail, block);
            }
            (self.tail, self.tail_index) = (block, 0);
        }
        let range = ImageRange::new(range.chunk, range.offset, range.bytes);
        self.pool.write(self.tail, self.tail_index, Node { range, first_sequence: number * STEP });
        self.tail_index += 1;
    }

    /// Takes back everything below `start`, which is where a chunk ends, and poisons it.
    fn retire(&mut self, start: u64) {
        self.shared.documents.get(0).set_window_start(start);
        for ask in &mut self.asks {
            ask.push(start).expect("one question at a time");
        }
        for answer in &mut self.answers {
            wait_until(|| !answer.is_empty());
            assert_eq!(answer.pop(), Some(start));
        }
        let whole = ByteRange::new(range(start - 1).chunk, 0, CHUNK_BYTES as u32);
        // SAFETY: all agents have answered.
        unsafe { self.shared.memory.slice_mut(whole) }.fill(POISON);
        let first = self.head;
        let poison = Node { range: ImageRange::from_word(u64::MAX), first_sequence: u64::MAX };
        while self.shared.nodes.first_node(self.head) + u64::from(NODES_PER_BLOCK) <= start {
            (0..NODES_PER_BLOCK).for_each(|index| self.pool.write(self.head, index, poison));
            self.head = self.shared.nodes.next(self.head);
        }
        self.pool.give_back(first, self.head);
    }

    fn run(mut self, images: u64) {
        let mut random = Random::new(5);
        let mut published = 0;
        for number in 0..images {
            let chunks = number / IMAGES_PER_CHUNK;
            if number.is_multiple_of(IMAGES_PER_CHUNK) && chunks >= u64::from(CHUNKS) {
                self.shared.documents.get(0).publish(number, Position::default(), false);
                self.retire((chunks + 1 - u64::from(CHUNKS)) * IMAGES_PER_CHUNK);
            }
            self.append(number);
            if number - published >= random.below(12) {
                published = number + 1;
                self.shared.documents.get(0).publish(published, Position::default(), false);
            }
        }
        self.shared.documents.get(0).publish(images, Position::default(), true);
    }
}

struct Agent {
    shared: Shared,
    asked: Consumer<u64>,
    answer: Producer<u64>,
    cursor: Place,
    /// Whether it pauses between its turns, often.
    is_slow: bool,
    seen: u64,
}

impl Agent {
    /// Lets go of everything below the node that it is asked for.
    fn let_go(&mut self) {
        let Some(start) = self.asked.pop() else { return };
        if self.cursor.node < start {
            self.resolve();
            self.cursor = self.shared.nodes.seek(self.cursor, start);
        }
        self.answer.push(start).expect("one question at a time");
    }

    fn resolve(&mut self) {
        if self.cursor.block == NO_BLOCK && self.shared.documents.get(0).tail().0 > 0 {
            self.cursor.block = self.shared.documents.get(0).first_block();
        }
    }

    /// Reads up to `at_most` nodes; whether the stream has ended here.
    fn read(&mut self, at_most: u64) -> bool {
        let (tail, is_ended) = self.shared.documents.get(0).tail();
        self.resolve();
        for _ in 0..at_most.min(tail - self.cursor.node) {
            self.cursor = self.shared.nodes.normalise(self.cursor);
            let number = self.cursor.node;
            let node = self.shared.nodes.node(self.cursor.block, self.cursor.index);
            assert_eq!(node.first_sequence, number * STEP, "node {number}");
            let place = (node.range.chunk(), node.range.offset_bytes(), node.range.bytes());
            assert_eq!(ByteRange::new(place.0, place.1, place.2), range(number), "node {number}");
            // SAFETY: published by the tail, and not answered for: nobody writes it.
            let bytes = unsafe { self.shared.memory.slice(range(number)) };
            assert!(bytes.iter().copied().eq(image(number)), "the bytes of image {number}");
            self.cursor.node += 1;
            self.cursor.index += 1;
            self.seen += 1;
        }
        is_ended && self.cursor.node == tail
    }

    /// Follows to the stream's end; how many images it has seen.
    fn run(mut self) -> u64 {
        let mut random = Random::new(6);
        while !self.read(1 + random.below(40)) {
            self.let_go();
            if self.is_slow {
                random.pause_one_in(2);
            } else {
                std::thread::yield_now();
            }
        }
        self.seen
    }
}

#[test]
fn agents_of_all_speeds_see_every_image_that_the_window_holds() {
    let images = rounds(20) * IMAGES_PER_CHUNK;
    let region = RegionSpec { chunks: CHUNKS, numa_node: None };
    let (memory, _) = ChunkMemory::new(&[region], CHUNK_BYTES).expect("memory");
    let blocks = (IMAGES_PER_CHUNK as u32 * CHUNKS).div_ceil(u32::from(NODES_PER_BLOCK)) + 2;
    let shared = Shared {
        memory: Arc::new(memory),
        nodes: NodeMemory::new(blocks),
        documents: SharedDocuments::new(1, 1),
    };
    shared.documents.get(0).reset();
    let (mut asks, mut answers, mut agents) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..AGENTS {
        let ((ask, asked), (answer, answered)) = (ring(1), ring(1));
        asks.push(ask);
        answers.push(answered);
        let (shared, cursor) = (shared.clone(), Place::START);
        let agent = Agent { shared, asked, answer, cursor, is_slow: number == 0, seen: 0 };
        agents.push(std::thread::spawn(move || agent.run()));
    }
    let pool = BlockPool::new(shared.nodes.clone(), 0, blocks);
    let (head, tail) = (NO_BLOCK, NO_BLOCK);
    Owner { shared, pool, asks, answers, head, tail, tail_index: 0 }.run(images);
    let seen: Vec<u64> = agents.into_iter().map(|agent| agent.join().expect("an agent")).collect();
    println!("stream: {images} images, seen by each agent: {seen:?}");
    assert!(seen.iter().all(|seen| *seen > 0 && *seen <= images), "{seen:?}");
    assert!(seen.iter().any(|seen| *seen < images), "nobody was slow: {seen:?}");
}
