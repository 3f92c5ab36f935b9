//! Kept images: the newest bytes of quiet documents, copied out of chunks that are let go of.
//!
//! One owner's, in chunks of its own. A collection says how many of each document's newest bytes it
//! keeps; when a chunk is retired, what lies in it of these is copied once and its nodes are pointed
//! to the copy, before the agents are asked. Kept chunks fill front to back and are retired like
//! others, oldest first: what is still among the newest goes on to the next one.
//! When the share is full, what is oldest in it goes: its documents' windows move behind it.
//!
//! ```text
//! chunk that is retired ──copy──▶ [kept | kept | filling | free] ──still among the newest──┐
//!      nodes ───point to────────────▲                      ▲───────────── copied on ───────┘
//! ```
//!
//! A document that moves takes its nodes along, and its kept images stay where they are: from then on its
//! new owner is one of those who are asked when their chunk is retired, and copies what is still among
//! the newest into a chunk of its own, if there is room at once.
//!
//! One chunk at least stays free for what goes on, so that a retirement can always end. Who needs
//! room that is about to come waits for it; an owner that gives documents waits for no other owner, so
//! nobody waits in a circle. Bytes may go on as long as there is credit for it: a byte
//! for each that was newly kept, and no more than all kept chunks hold. So there are at most two copies
//! a byte and owner, and a share of which less than half is still among the newest loses nothing
//! of what did not move. What a moved document has kept goes where there is no room at once.

use deltaworks_runtime::chunk_memory::{ChunkId, ChunkMemory};
use deltaworks_runtime::sync::Arc;

use crate::chunk::{ChunkPool, ImageRange, published};
use crate::document::Document;
use crate::stream::{NodeMemory, Place};

/// Chunks of one owner, at least: one that is filled, one for what goes on, one that is retired, one
/// that is full; in a model one less, so that a short story goes round.
pub const KEPT_CHUNKS_MIN: u32 = if cfg!(loom) { 3 } else { 4 };

/// With so many free chunks, and chunks that will be, or fewer, the oldest is retired.
const LOW_MARK: usize = 1;

/// What an owner has counted of kept images since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeptCounts {
    /// Images copied out of reception's chunks.
    pub images: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Bytes copied on from one kept chunk to another.
    pub copied_on_bytes: u64,
    /// Bytes of images whose documents have come from elsewhere, copied out of another owner's kept chunks.
    pub taken_over_bytes: u64,
    /// Bytes that were still among the newest, and went because the share was full, or because their
    /// document's owner by then keeps nothing.
    pub let_go_bytes: u64,
}

/// Whose chunk an image is copied out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A reception core's.
    Reception,
    /// The owner's that copies it: its own kept chunk.
    Own,
    /// Another owner's kept chunk: its document was there once.
    Another,
}

/// The part of a run of nodes in one chunk that is among its document's newest bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Newest {
    /// Its first node; the run's end if there is none.
    pub from: Place,
    /// Its bytes.
    pub bytes: u64,
    /// Bytes of the images behind the run.
    pub behind_bytes: u64,
    /// Nodes that were looked at to find it.
    pub looked_at: usize,
}

/// Whether there is room for some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// There is.
    Now,
    /// There will be, when a retirement that has begun goes on.
    Later,
    /// There is none.
    None,
}

/// The kept chunks of one owner.
#[derive(Debug)]
pub(crate) struct Kept {
    memory: Arc<ChunkMemory>,
    pool: ChunkPool,
    first: u32,
    worker: u16,
    /// Retirements of kept chunks whose lists are being walked.
    walks: usize,
    /// Bytes that may still go on.
    credit_bytes: u64,
    /// Room that another owner makes may be waited for.
    pub waits_for_others: bool,
    counts: KeptCounts,
}

impl Kept {
    /// The `count` chunks of `memory` from `first` on, for documents of `worker`.
    ///
    /// # Panics
    /// With fewer than [`KEPT_CHUNKS_MIN`].
    pub fn new(memory: Arc<ChunkMemory>, first: ChunkId, count: u32, worker: u16) -> Self {
        assert!(count >= KEPT_CHUNKS_MIN, "too few chunks for kept images");
        let pool = ChunkPool::new(Arc::clone(&memory), first, count).with_low_mark(LOW_MARK);
        let counts = KeptCounts::default();
        let (first, walks, credit_bytes) = (first.0, 0, 0);
        Self { memory, pool, first, worker, walks, credit_bytes, waits_for_others: true, counts }
    }

    /// Whether `chunk` is one of them.
    #[inline]
    pub fn owns(&self, chunk: ChunkId) -> bool {
        (self.first..self.first + self.pool.count() as u32).contains(&chunk.0)
    }

    /// Bytes of the chunks that are not free.
    pub fn live_bytes(&self) -> u64 {
        let used = self.pool.count() - self.pool.free_count();
        used as u64 * u64::from(self.pool.chunk_bytes())
    }

    /// What was counted.
    pub fn counts(&self) -> KeptCounts {
        self.counts
    }

    #[cfg(feature = "testing")]
    pub fn pool_mut(&mut self) -> &mut ChunkPool {
        &mut self.pool
    }

    /// The most of a document's newest bytes that can be kept: half a chunk.
    pub fn bytes_max(&self) -> u64 {
        u64::from(self.pool.chunk_bytes() / 2)
    }

    /// The oldest chunk, if it must be retired for others to be free, and the workers to be asked, one bit
    /// each: this one, and those that documents with images in it have gone to.
    pub fn begin_retirement(&mut self) -> Option<(ChunkId, u64)> {
        let begun = self.pool.begin_retirement()?;
        self.walks += 1;
        Some(begun)
    }

    /// Counts `to` among the workers that may have documents with images in a chunk wherever `from` does.
    pub fn rerouted(&mut self, from: u16, to: u16) {
        self.pool.count_with(from, to);
    }

    /// The list of a kept chunk that is retired has been walked.
    pub fn walked(&mut self) {
        self.walks -= 1;
    }

    /// Every agent has answered `worker` for `chunk`.
    pub fn freed(&mut self, chunk: ChunkId, worker: u16) {
        self.pool.freed(chunk, worker);
    }

    /// Whether there is room for `bytes`.
    pub fn room(&self, bytes: u64, source: Source) -> Room {
        match source {
            Source::Reception => self.room_for_new(bytes),
            Source::Own => self.room_to_go_on(bytes),
            // The other owner waits: what waited for it could be waited for by it.
            Source::Another if self.room_for_new(bytes) == Room::Now => Room::Now,
            Source::Another => Room::None,
        }
    }

    fn room_for_new(&self, bytes: u64) -> Room {
        // Nothing comes between those that go on: the chunk that is kept free is for them.
        if self.walks > 0 {
            Room::Later
        } else if self.fits(bytes) || self.pool.free_count() > 1 {
            Room::Now
        } else if self.pool.wants_retirement() || self.is_awaited() {
            Room::Later
        } else {
            Room::None
        }
    }

    /// Whether a chunk will be free for which that may be waited, beside those whose lists are walked.
    fn is_awaited(&self) -> bool {
        let awaited = match self.waits_for_others {
            true => self.pool.retiring(),
            false => self.pool.waits_only_for(self.worker),
        };
        awaited > self.walks
    }

    fn room_to_go_on(&self, bytes: u64) -> Room {
        if bytes > self.credit_bytes {
            Room::None
        } else if self.fits(bytes) || self.pool.free_count() > 0 {
            Room::Now
        } else if self.is_awaited() {
            Room::Later
        } else {
            Room::None
        }
    }

    fn fits(&self, bytes: u64) -> bool {
        bytes <= u64::from(self.pool.tail_bytes())
    }

    /// Copies an image that is about to go; if its document leaves for worker `to`, that is asked, too, when
    /// the copy is to go. The caller has asked for room.
    pub fn keep(&mut self, range: ImageRange, source: Source, to: Option<u16>) -> ImageRange {
        let image = published(&self.memory, range);
        let has_room = self.pool.ensure_tail(range.bytes());
        assert!(has_room, "room was asked for");
        self.pool.tail()[..image.len()].copy_from_slice(image);
        let copy = self.pool.land(range.bytes()).publish();
        self.pool.sent(copy, self.worker);
        self.pool.answered(copy.chunk(), 1);
        if let Some(to) = to {
            self.pool.count_too(to);
        }
        let bytes = u64::from(range.bytes());
        if source == Source::Own {
            self.credit_bytes -= bytes;
        } else {
            let all_bytes = self.pool.count() as u64 * u64::from(self.pool.chunk_bytes());
            self.credit_bytes = (self.credit_bytes + bytes).min(all_bytes);
        }
        match source {
            Source::Reception => {
                self.counts.images += 1;
                self.counts.bytes += bytes;
            }
            Source::Own => self.counts.copied_on_bytes += bytes,
            Source::Another => self.counts.taken_over_bytes += bytes,
        }
        copy
    }
}

/// What of the run from `start` to `end`, of `run_bytes`, is among the newest `keep_bytes` of its
/// document. Looks at no more nodes behind the run than these bytes hold, and at the run twice.
pub(crate) fn newest(
    nodes: &NodeMemory,
    document: &Document,
    (start, end): (Place, Place),
    run_bytes: u64,
    keep_bytes: u64,
) -> Newest {
    let bytes_at = |at: &mut Place| {
        *at = nodes.normalise(*at);
        let bytes = nodes.node(at.block, at.index).range.bytes();
        at.node += 1;
        at.index += 1;
        u64::from(bytes)
    };
    let mut looked_at = 0;
    let (mut at, mut behind_bytes) = (end, 0);
    while at.node < document.nodes && behind_bytes < keep_bytes {
        behind_bytes += bytes_at(&mut at);
        looked_at += 1;
    }
    let room = keep_bytes.saturating_sub(behind_bytes);
    let (mut from, mut bytes) = (start, run_bytes);
    if room == 0 {
        (from, bytes) = (end, 0);
    }
    while bytes > room {
        bytes -= bytes_at(&mut from);
        looked_at += 1;
    }
    Newest { from: nodes.normalise(from), bytes, behind_bytes, looked_at }
}
