//! Documents: what every core may read of one, what its owner knows, and what is rarely needed.
//!
//! A slot names a document: the high 8 bits its home worker, the low 24 its place in that
//! worker's table. The generation tells one document from the next in the same slot.
//!
//! | part | bytes | who |
//! |---|---|---|
//! | [`SharedDocument`] | 32 | written by the owner, read by agents |
//! | `Document` | 64 | the owner's, hot; moves with it |
//! | `ColdDocument` | 200 and the name | the same, touched by control only |

use std::sync::Arc as StdArc;

use deltaworks_image::DocumentId;
use deltaworks_runtime::sync::Arc;
use deltaworks_runtime::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use deltaworks_runtime::zeroed::{Zeroable, ZeroedArray};

use crate::stream::{NO_BLOCK, Place, Position};
use crate::subscription::NO_SUBSCRIPTION;

/// Bits of a slot that name the place in the home worker's table.
pub const SLOT_INDEX_BITS: u32 = 24;

/// The home worker of `slot`.
#[inline]
pub fn home(slot: u32) -> usize {
    (slot >> SLOT_INDEX_BITS) as usize
}

/// The place of `slot` in its home table.
#[inline]
pub fn index(slot: u32) -> usize {
    (slot & ((1 << SLOT_INDEX_BITS) - 1)) as usize
}

/// The slot at `index` of worker `home`.
#[inline]
pub fn slot(home: u16, index: u32) -> u32 {
    u32::from(home) << SLOT_INDEX_BITS | index
}

/// The tail's highest bit: the stream has ended, no batch follows.
const ENDED: u64 = 1 << 63;

/// What agents read of a document.
///
/// | word | meaning | written by, ordering |
/// |---|---|---|
/// | tail | nodes published; high bit: ended | owner, Release: publishes nodes, blocks, images |
/// | window_start | first node that may be read | owner, Release, before agents are told `Retiring` |
/// | first_block | the block of node 0 | owner, before the first tail |
/// | first_reader | first in the list of readers on its home's core | that core's agent, which alone reads it |
/// | measure | nodes and bytes appended, each modulo 2³² | owner, Relaxed, before each tail |
#[repr(C, align(32))]
#[derive(Debug)]
pub struct SharedDocument {
    tail: AtomicU64,
    window_start: AtomicU64,
    first_block: AtomicU32,
    /// All bits turned over.
    first_reader: AtomicU32,
    measure: AtomicU64,
}

const _: () = assert!(size_of::<SharedDocument>() == 32 || cfg!(loom));

// SAFETY: atomic integers of value zero.
#[expect(unsafe_code, reason = "the promise is about bit patterns")]
unsafe impl Zeroable for SharedDocument {
    fn zeroed() -> Self {
        Self {
            tail: AtomicU64::new(0),
            window_start: AtomicU64::new(0),
            first_block: AtomicU32::new(0),
            first_reader: AtomicU32::new(!NO_SUBSCRIPTION),
            measure: AtomicU64::new(0),
        }
    }
}

impl SharedDocument {
    /// Nodes published, and whether the stream has ended there.
    #[inline]
    pub fn tail(&self) -> (u64, bool) {
        let word = self.tail_word();
        (word & !ENDED, word & ENDED != 0)
    }

    /// Number of the first node that the window holds.
    #[inline]
    pub fn window_start(&self) -> u64 {
        // Acquire: pairs with `set_window_start`. Not needed for the data behind (the `Retiring`
        // message orders it); it keeps the reading self-contained.
        self.window_start.load(Ordering::Acquire)
    }

    /// The block of node 0; only for a cursor that has stood there since the stream began.
    #[inline]
    pub fn first_block(&self) -> u32 {
        // Relaxed: read after a tail above 0 was acquired.
        self.first_block.load(Ordering::Relaxed)
    }

    /// Bytes appended, as far as this core has seen; never less than those below a tail that it has
    /// acquired.
    #[inline]
    pub fn appended(&self) -> Position {
        // Relaxed: a number, written before the tail that publishes what it counts.
        Position::from_word((self.measure.load(Ordering::Relaxed) >> 32) as u32)
    }

    /// Bytes below node number `nodes`, a tail that was acquired; `None` while another is published.
    #[inline]
    pub fn appended_below(&self, nodes: u64) -> Option<Position> {
        // Relaxed: as in `appended`; the number of nodes beside it tells which tail it belongs to.
        let word = self.measure.load(Ordering::Relaxed);
        (word as u32 == nodes as u32).then_some(Position::from_word((word >> 32) as u32))
    }

    /// Whether nodes are published up to number `nodes`, no more, and the stream has not ended there.
    #[inline]
    pub(crate) fn ends_before(&self, nodes: u64) -> bool {
        // The mark of the end makes another number.
        self.tail_word() == nodes
    }

    #[inline]
    fn tail_word(&self) -> u64 {
        // Acquire: pairs with `publish`; nodes below and their images are seen.
        self.tail.load(Ordering::Acquire)
    }

    /// The first subscription in the list of the home's own agent, which alone asks.
    #[inline]
    pub(crate) fn first_reader(&self) -> u32 {
        // Relaxed: one agent's own, kept where it looks anyway.
        !self.first_reader.load(Ordering::Relaxed)
    }

    /// Sets it; returns what it was.
    #[inline]
    pub(crate) fn replace_first_reader(&self, place: u32) -> u32 {
        let before = self.first_reader();
        // Relaxed: as in `first_reader`.
        self.first_reader.store(!place, Ordering::Relaxed);
        before
    }

    /// Owner: publishes everything below node number `nodes`, before which lies `appended`.
    #[inline]
    pub fn publish(&self, nodes: u64, appended: Position, ended: bool) {
        let measure = u64::from(appended.to_word()) << 32 | nodes & u64::from(u32::MAX);
        // Relaxed: who acquires the tail sees it.
        self.measure.store(measure, Ordering::Relaxed);
        // Release: pairs with `tail_word`.
        self.tail.store(nodes | if ended { ENDED } else { 0 }, Ordering::Release);
    }

    /// Owner: moves the window's start.
    #[inline]
    pub fn set_window_start(&self, node: u64) {
        // Release: pairs with `window_start`.
        self.window_start.store(node, Ordering::Release);
    }

    /// Owner: names the block of node 0.
    #[inline]
    pub fn set_first_block(&self, block: u32) {
        // Relaxed: published by the next tail.
        self.first_block.store(block, Ordering::Relaxed);
    }

    /// Owner: makes the entry that of a new document, before any agent hears of it. The list of readers is
    /// empty then, and its agent's.
    pub fn reset(&self) {
        self.set_first_block(NO_BLOCK);
        self.set_window_start(0);
        self.publish(0, Position::default(), false);
    }
}

/// The shared parts of all documents, by slot.
#[derive(Debug)]
pub struct SharedDocuments {
    homes: Vec<ZeroedArray<SharedDocument>>,
}

impl SharedDocuments {
    /// Tables of `documents` entries for each of `homes` workers, touched when used.
    pub fn new(homes: usize, documents: usize) -> Arc<Self> {
        assert!(homes <= 1 << (32 - SLOT_INDEX_BITS) && documents <= 1 << SLOT_INDEX_BITS);
        Arc::new(Self { homes: (0..homes).map(|_| ZeroedArray::new(documents)).collect() })
    }

    /// The shared part of `slot`.
    #[inline]
    pub fn get(&self, slot: u32) -> &SharedDocument {
        &self.homes[home(slot)][index(slot)]
    }

    /// Those of the slots that are at home at `worker`, by their place; none of a worker that is nobody's home.
    #[inline]
    pub(crate) fn at_home(&self, worker: u16) -> &[SharedDocument] {
        self.homes.get(usize::from(worker)).map_or(&[], |home| home)
    }

    /// How many workers documents are at home at.
    pub fn homes(&self) -> usize {
        self.homes.len()
    }

    /// Entries in each worker's table.
    pub fn per_worker(&self) -> usize {
        self.homes.first().map_or(0, |home| home.len())
    }
}

/// The slot holds a document.
pub(crate) const LIVE: u16 = 1;
/// Dropped: no batch and no `open` any more; ends when its last handle has gone.
pub(crate) const DROPPED: u16 = 2;
/// A batch of it is being validated in slices; what follows waits behind.
pub(crate) const STALLED: u16 = 4;
/// Grew since its tail was published, and stands in a list of such.
pub(crate) const GREW: u16 = 8;
/// Has `wait` subscriptions: credit comes back when they have read.
pub(crate) const WAITED_FOR: u16 = 16;
/// Quarantined: the server failed at a batch of it, and it takes no more of them.
pub(crate) const FAILED: u16 = 32;
/// Hot, on a core that it shares: what comes for it waits in a lane.
pub(crate) const LANED: u16 = 64;
/// All cores have been told to go elsewhere with it: it is handed over soon.
pub(crate) const LEAVING: u16 = 128;
/// It was handed over here a short time ago: its runs are being noted, its first batch is awaited.
pub(crate) const ARRIVED: u16 = 256;

/// What the owner needs for every batch.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Document {
    pub next_sequence: u64,
    /// Nodes appended, published or not.
    pub nodes: u64,
    pub window_start: u64,
    /// Bit per core with an agent that has a subscriber.
    pub readers: u64,
    pub head_block: u32,
    pub tail_block: u32,
    /// What all other cores know it by; beside its generation, with which it is one word.
    pub slot: u32,
    pub generation: u32,
    /// Bytes of the images appended, published or not.
    pub appended: Position,
    pub collection: u16,
    pub head_index: u8,
    pub tail_index: u8,
    pub flags: u16,
    /// The chunk of the newest node.
    pub last_chunk: u32,
}

const _: () = assert!(size_of::<Document>() == 64);

// SAFETY: plain integers.
#[expect(unsafe_code, reason = "the promise is about bit patterns")]
unsafe impl Zeroable for Document {
    fn zeroed() -> Self {
        Self {
            next_sequence: 0,
            nodes: 0,
            window_start: 0,
            readers: 0,
            head_block: 0,
            tail_block: 0,
            last_chunk: 0,
            generation: 0,
            appended: Position::default(),
            collection: 0,
            head_index: 0,
            tail_index: 0,
            flags: 0,
            slot: 0,
        }
    }
}

impl Document {
    /// Where the window starts.
    pub fn window_place(&self) -> Place {
        Place { node: self.window_start, block: self.head_block, index: self.head_index }
    }

    /// What the document is known by.
    #[inline(always)]
    pub fn id(&self) -> DocumentId {
        DocumentId { slot: self.slot, generation: self.generation }
    }

    /// A node was appended: so many deltas, in an image of so many bytes.
    #[inline(always)]
    pub fn grow(&mut self, deltas: u32, bytes: u32) {
        self.next_sequence += u64::from(deltas);
        self.nodes += 1;
        self.appended = self.appended.after(u64::from(bytes));
        self.tail_index += 1;
    }

    /// Where the next node will stand.
    pub fn tail_place(&self) -> Place {
        Place { node: self.nodes, block: self.tail_block, index: self.tail_index }
    }

    /// Makes the slot a new document's; the generation is the caller's to raise.
    pub fn begin(&mut self, slot: u32, collection: u16) {
        *self = Self {
            next_sequence: 1,
            head_block: NO_BLOCK,
            tail_block: NO_BLOCK,
            last_chunk: u32::MAX,
            generation: self.generation,
            collection,
            slot,
            flags: LIVE,
            ..Self::zeroed()
        };
    }
}

/// Who waits for the `wait` subscriptions of a document, and how far those have come.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// `wait` subscriptions and lowest cursor, by core.
    pub agents: Vec<WaitingAgent>,
    /// Credit that comes back when a node has been taken: (number of the node, producer, its
    /// origin, bytes). Bounded by the credit of the document's writers.
    pub owed: std::collections::VecDeque<Owed>,
}

#[derive(Debug)]
pub(crate) struct WaitingAgent {
    pub core: u16,
    pub subscriptions: u32,
    pub node: u64,
}

#[derive(Debug)]
pub(crate) struct Owed {
    pub node: u64,
    pub producer: u32,
    pub origin: u32,
    pub bytes: u32,
}

/// What only control touches.
#[derive(Debug)]
pub(crate) struct ColdDocument {
    pub name: StdArc<str>,
    pub epoch: u64,
    pub info: Option<StdArc<[u8]>>,
    /// Handles on it, reading or writing.
    pub handles: u32,
    /// Subscriptions by core.
    pub readers: Vec<(u16, u32)>,
    pub waiting: Option<Box<Waiting>>,
    /// First of its producers, or `u32::MAX`.
    pub producers: u32,
    pub producer_count: u32,
    pub next_origin: u32,
    /// Highest producer sequence of an evicted producer.
    pub floor: u64,
    /// Deltas that subscriptions were not sent.
    pub missed_deltas: u64,
    /// When its last handle was closed, monotonic nanoseconds.
    pub idle_since_ns: u64,
    /// The number behind the last of its nodes that was pointed to a kept image.
    pub kept_to: u64,
    /// Bytes of its kept images in the window.
    pub kept_bytes: u64,
}
