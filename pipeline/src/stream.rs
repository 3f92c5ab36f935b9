//! Document streams: linked blocks of nodes, one node a batch.
//!
//! A block belongs to the owner of its document, who alone writes it; agents read nodes below the
//! tail that they acquired. A node is 16 bytes: where the image lies and its first sequence.
//! Blocks are taken from a pool and given back once every agent has answered the retirement that
//! passed them; when the pool is empty, a batch is refused.
//!
//! ```text
//! head ─▶ [next|n n n n n n n] ─▶ [next|n n n n n n n] ─▶ [next|n n · · · · ·] ◀─ tail
//!            ▲ window start            ▲ a cursor               ▲ published tail
//! ```
//!
//! The words of a block are Relaxed: atomics that are plain moves, and what orders them is the
//! Release of the document's tail. The one exception is where an image lies, because a kept image
//! moves while agents may look: that word's later store is a Release, and its load an Acquire. So a
//! protocol error could show a wrong node, never undefined behaviour in this file.

use deltaworks_runtime::prefetch::{prefetch_in_entry, prefetch_in_entry_to_write};
use deltaworks_runtime::sync::Arc;
use deltaworks_runtime::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use deltaworks_runtime::zeroed::{Zeroable, ZeroedArray};

use crate::chunk::ImageRange;

/// "No block": the end of a chain, or a stream without a batch.
pub const NO_BLOCK: u32 = u32::MAX;

/// Nodes in one block; two in a model, so that a short story crosses a block's end.
pub const NODES_PER_BLOCK: u8 = if cfg!(loom) { 2 } else { 7 };

/// One batch in a document's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where the image lies.
    pub range: ImageRange,
    /// The sequence of its first delta.
    pub first_sequence: u64,
}

#[repr(C, align(128))]
struct Block {
    next: AtomicU32,
    slot: AtomicU32,
    first_node: AtomicU64,
    nodes: [[AtomicU64; 2]; NODES_PER_BLOCK as usize],
}

const _: () = assert!(size_of::<Block>() == 128 || cfg!(loom));

// SAFETY: atomic integers of value zero.
#[expect(unsafe_code, reason = "the promise is about bit patterns")]
unsafe impl Zeroable for Block {
    fn zeroed() -> Self {
        Self {
            next: AtomicU32::new(0),
            slot: AtomicU32::new(0),
            first_node: AtomicU64::new(0),
            nodes: core::array::from_fn(|_| core::array::from_fn(|_| AtomicU64::new(0))),
        }
    }
}

/// Bytes of one block.
pub const BLOCK_BYTES: usize = 128;

/// Bytes of a node in it, and of its head.
const NODE_BYTES: usize = 16;

/// A place between two nodes of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the next node, counted from the stream's beginning.
    pub node: u64,
    /// The block in which it stands or, with `index` at the end, whose successor will hold it.
    pub block: u32,
    /// Place in the block, at most [`NODES_PER_BLOCK`].
    pub index: u8,
}

impl Place {
    /// The beginning of a stream that has no batch yet.
    pub const START: Self = Self { node: 0, block: NO_BLOCK, index: 0 };
}

/// Bytes of images before a place of a stream, in units of 8 and modulo 2³²: what lies between two
/// places is exact while it is less than 32 GiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position(u32);

impl Position {
    /// The position `bytes` further on.
    #[inline]
    #[must_use]
    pub fn after(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add((bytes / 8) as u32))
    }

    /// The position behind an image.
    #[inline]
    #[must_use]
    pub(crate) fn after_image(self, range: ImageRange) -> Self {
        Self(self.0.wrapping_add(range.words()))
    }

    /// The position `bytes` before.
    #[inline]
    #[must_use]
    pub fn before(self, bytes: u64) -> Self {
        Self(self.0.wrapping_sub((bytes / 8) as u32))
    }

    /// Bytes from `earlier` to here.
    #[inline]
    pub fn bytes_since(self, earlier: Self) -> u64 {
        u64::from(self.0.wrapping_sub(earlier.0)) * 8
    }

    /// The word that [`Position::from_word`] takes.
    #[inline]
    pub(crate) fn to_word(self) -> u32 {
        self.0
    }

    /// The position of a word.
    #[inline]
    pub(crate) fn from_word(word: u32) -> Self {
        Self(word)
    }
}

/// The blocks of all streams, shared by owners and agents.
#[derive(Debug)]
pub struct NodeMemory {
    blocks: ZeroedArray<Block>,
}

impl NodeMemory {
    /// Memory for `blocks` blocks of [`BLOCK_BYTES`], touched when used.
    pub fn new(blocks: u32) -> Arc<Self> {
        assert!(blocks < NO_BLOCK);
        Arc::new(Self { blocks: ZeroedArray::new(blocks as usize) })
    }

    /// Makes blocks `first..end` present.
    fn prefault(&self, first: u32, end: u32) {
        self.blocks.prefault(first as usize..end as usize);
    }

    /// The block behind `block`, or [`NO_BLOCK`].
    #[inline]
    pub fn next(&self, block: u32) -> u32 {
        self.blocks[block as usize].next.load(Ordering::Relaxed)
    }

    /// The document slot that the block belongs to.
    #[inline]
    pub fn slot(&self, block: u32) -> u32 {
        self.blocks[block as usize].slot.load(Ordering::Relaxed)
    }

    /// Number of the block's first node.
    #[inline]
    pub fn first_node(&self, block: u32) -> u64 {
        self.blocks[block as usize].first_node.load(Ordering::Relaxed)
    }

    /// The node at `index` of `block`; the caller knows that it is published.
    #[inline]
    pub fn node(&self, block: u32, index: u8) -> Node {
        let words = &self.blocks[block as usize].nodes[index as usize];
        let first_sequence = words[1].load(Ordering::Relaxed);
        Node { range: self.range(block, index), first_sequence }
    }

    /// Where its image lies.
    #[inline]
    pub fn range(&self, block: u32, index: u8) -> ImageRange {
        range_of(&self.blocks[block as usize].nodes[index as usize])
    }

    /// The same, if `index` is one of the block's places.
    #[inline(always)]
    pub(crate) fn find_range(&self, block: u32, index: u8) -> Option<ImageRange> {
        Some(range_of(self.blocks.get(block as usize)?.nodes.get(index as usize)?))
    }

    /// Asks for the cache line of `block` that holds the node at `index`; for that of its head where no
    /// node is, because a block follows there.
    #[inline(always)]
    pub fn prefetch(&self, block: u32, index: u8) {
        if (block as usize) < self.blocks.len() {
            prefetch_in_entry(&self.blocks, block as usize, node_offset(index));
        }
    }

    /// The same, to write there; few ask so for no block.
    #[inline(always)]
    pub fn prefetch_to_write(&self, block: u32, index: u8) {
        prefetch_in_entry_to_write(&self.blocks, block as usize, node_offset(index));
    }

    /// Steps over a block's end, if a successor is linked; returns the place and whether a node
    /// can stand there.
    #[inline]
    pub fn normalise(&self, mut place: Place) -> Place {
        if place.index == NODES_PER_BLOCK && place.block != NO_BLOCK {
            let next = self.next(place.block);
            if next != NO_BLOCK {
                place.block = next;
                place.index = 0;
            }
        }
        place
    }

    /// The place of node number `node`, found by walking blocks from `from`.
    ///
    /// The chain from there must be linked up to that node. Costs one load per 7 nodes.
    pub fn seek(&self, from: Place, node: u64) -> Place {
        debug_assert!(node >= from.node);
        let mut place = self.normalise(from);
        loop {
            let room = u64::from(NODES_PER_BLOCK - place.index);
            let step = node - place.node;
            if step < room || (step == room && self.next(place.block) == NO_BLOCK) {
                return Place { node, block: place.block, index: place.index + step as u8 };
            }
            place = Place { node: place.node + room, block: self.next(place.block), index: 0 };
        }
    }
}

#[inline(always)]
fn range_of(words: &[AtomicU64; 2]) -> ImageRange {
    // Acquire: pairs with `BlockPool::point`; the bytes of a copy are seen. Those of the
    // first place were published by the tail. On x86 the same instruction as Relaxed.
    ImageRange::from_word(words[0].load(Ordering::Acquire))
}

/// Where the node at `index` stands in its block; behind the last, where the block begins. It is computed:
/// nobody could guess which of a block's lines it is.
#[inline(always)]
fn node_offset(index: u8) -> usize {
    (usize::from(index) + 1) * NODE_BYTES % BLOCK_BYTES
}

/// Free blocks that go from one owner to another, linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    first: u32,
    last: u32,
    /// How many.
    pub count: u32,
}

impl Chain {
    /// No block.
    pub const EMPTY: Self = Self { first: NO_BLOCK, last: NO_BLOCK, count: 0 };
}

/// One owner's free blocks.
///
/// When it is empty, [`BlockPool::take`] says so and the batch is refused.
#[derive(Debug)]
pub struct BlockPool {
    memory: Arc<NodeMemory>,
    free: u32,
    fresh: u32,
    fresh_end: u32,
    used: u32,
    /// Used and free.
    total: u32,
}

impl BlockPool {
    /// The pool of blocks `first..end` of `memory`.
    pub fn new(memory: Arc<NodeMemory>, first: u32, end: u32) -> Self {
        assert!(first <= end && end as usize <= memory.blocks.len());
        Self { memory, free: NO_BLOCK, fresh: first, fresh_end: end, used: 0, total: end - first }
    }

    /// Makes the blocks present that were never used.
    pub fn prefault(&self) {
        self.memory.prefault(self.fresh, self.fresh_end);
    }

    /// The shared memory.
    #[inline]
    pub fn memory(&self) -> &NodeMemory {
        &self.memory
    }

    /// Blocks that documents hold now.
    pub fn used(&self) -> u32 {
        self.used
    }

    /// All blocks, those that documents hold and those that are free.
    pub fn total(&self) -> u32 {
        self.total
    }

    /// Blocks that no document holds.
    #[inline]
    pub fn free(&self) -> u32 {
        self.total - self.used
    }

    /// A document goes with its `count` blocks.
    pub fn part_with(&mut self, count: u32) {
        self.used -= count;
        self.total -= count;
    }

    /// A document comes with its `count` blocks.
    pub fn take_over(&mut self, count: u32) {
        self.used += count;
        self.total += count;
    }

    /// Takes `count` free blocks out, or as many as there are; one step for each.
    pub fn take_chain(&mut self, count: u32) -> Chain {
        let mut chain = Chain::EMPTY;
        while chain.count < count {
            // In no document: as one that was given back.
            let Some(block) = self.take(NO_BLOCK, 0) else { break };
            self.memory.blocks[block as usize].next.store(chain.first, Ordering::Relaxed);
            if chain.count == 0 {
                chain.last = block;
            }
            chain.first = block;
            chain.count += 1;
        }
        self.part_with(chain.count);
        chain
    }

    /// Takes in what another owner has taken out.
    pub fn add_chain(&mut self, chain: Chain) {
        if chain.count > 0 {
            let last = &self.memory.blocks[chain.last as usize];
            last.next.store(self.free, Ordering::Relaxed);
            self.free = chain.first;
            self.total += chain.count;
        }
    }

    /// A block for document `slot` whose first node will be number `first_node`; `None` when all
    /// are in use.
    #[inline]
    pub fn take(&mut self, slot: u32, first_node: u64) -> Option<u32> {
        let index = if self.free != NO_BLOCK {
            let index = self.free;
            self.free = self.memory.next(index);
            // The next block's line arrives before it is taken.
            self.memory.prefetch(self.free, 0);
            index
        } else if self.fresh < self.fresh_end {
            self.fresh += 1;
            self.fresh - 1
        } else {
            return None;
        };
        self.used += 1;
        let block = &self.memory.blocks[index as usize];
        block.next.store(NO_BLOCK, Ordering::Relaxed);
        block.slot.store(slot, Ordering::Relaxed);
        block.first_node.store(first_node, Ordering::Relaxed);
        Some(index)
    }

    /// Links `next` behind `block`.
    #[inline]
    pub fn link(&mut self, block: u32, next: u32) {
        self.memory.blocks[block as usize].next.store(next, Ordering::Relaxed);
    }

    /// Writes a node that no agent can see until the document's tail is published.
    #[inline]
    pub fn write(&mut self, block: u32, index: u8, node: Node) {
        let words = &self.memory.blocks[block as usize].nodes[index as usize];
        words[0].store(node.range.to_word(), Ordering::Relaxed);
        words[1].store(node.first_sequence, Ordering::Relaxed);
    }

    /// The same, unless there is no such place: the block is none, or full.
    #[inline(always)]
    pub fn try_write(&mut self, block: u32, index: u8, node: Node) -> bool {
        let block = self.memory.blocks.get(block as usize);
        let Some(words) = block.and_then(|block| block.nodes.get(index as usize)) else {
            return false;
        };
        words[0].store(node.range.to_word(), Ordering::Relaxed);
        words[1].store(node.first_sequence, Ordering::Relaxed);
        true
    }

    /// Points a published node to a copy of its image.
    ///
    /// Agents read it before or after; both places hold the same bytes until every agent has answered
    /// the retirement of the old one's chunk, for which it is asked behind this.
    pub fn point(&mut self, block: u32, index: u8, range: ImageRange) {
        let word = &self.memory.blocks[block as usize].nodes[index as usize][0];
        // Release: publishes the copied bytes; pairs with the Acquire in `range_of`.
        word.store(range.to_word(), Ordering::Release);
    }

    /// Gives the chain `first..end` back (`end` stays; [`NO_BLOCK`] for the whole chain).
    ///
    /// Only when no agent can reach it any more: all have answered the retirement.
    pub fn give_back(&mut self, first: u32, end: u32) {
        let mut index = first;
        while index != end {
            let next = self.memory.next(index);
            let block = &self.memory.blocks[index as usize];
            block.slot.store(NO_BLOCK, Ordering::Relaxed);
            block.next.store(self.free, Ordering::Relaxed);
            self.free = index;
            self.used -= 1;
            index = next;
        }
    }
}
