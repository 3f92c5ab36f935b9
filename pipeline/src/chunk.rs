//! Chunks: where received bytes land, stay and are read, and the pool that fills and retires them.
//!
//! Each reception core owns one pool and fills its chunks front to back; so does an owner that keeps
//! images, with its copies. A byte range belongs to
//! reception until the ring's release, to validation until the node's release, and then to
//! nobody: it is immutable until every party has answered the chunk's retirement.
//! When no chunk is free, [`ChunkPool::tail`] says so and the core stops reading.
//!
//! | phase | meaning | next, and who makes it so |
//! |---|---|---|
//! | free | nobody knows a byte of it | filling: reception needs room |
//! | filling | the one that reads land in | full: too little room is left |
//! | full | some bytes may be awaited, checked, read | retiring: oldest, all descriptors answered, too few free |
//! | retiring | owners and agents let go of it | free: every owner counted for it has answered |
#![expect(unsafe_code, reason = "bytes that several cores reach through ranges, not references")]

use std::collections::VecDeque;

use deltaworks_image::header::HEADER_BYTES;
use deltaworks_runtime::chunk_memory::{ByteRange, ChunkId, ChunkMemory, ChunkPlace};
use deltaworks_runtime::prefetch::{prefetch, prefetch_to_write};
use deltaworks_runtime::sync::Arc;

/// Where an image lies: chunk, offset and length packed into one word (30, 18 and 16 bits; offset
/// and length in units of 8 bytes).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImageRange(u64);

/// The bits of its word that tell the offset.
const OFFSET: u64 = 0x3_ffff << 16;

impl ImageRange {
    /// Packs a range. Offset and length are multiples of 8, the length below 512 KiB.
    #[inline]
    pub fn new(chunk: ChunkId, offset_bytes: u32, bytes: u32) -> Self {
        debug_assert!(offset_bytes.is_multiple_of(8) && bytes.is_multiple_of(8));
        debug_assert!(offset_bytes < 1 << 21 && bytes < 1 << 19 && chunk.0 < 1 << 30);
        Self(u64::from(chunk.0) << 34 | u64::from(offset_bytes / 8) << 16 | u64::from(bytes / 8))
    }

    /// The range of a word that [`ImageRange::to_word`] gave.
    #[inline]
    pub fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The packed word.
    #[inline]
    pub fn to_word(self) -> u64 {
        self.0
    }

    /// The chunk.
    #[inline]
    pub fn chunk(self) -> ChunkId {
        ChunkId((self.0 >> 34) as u32)
    }

    /// Offset in the chunk.
    #[inline]
    pub fn offset_bytes(self) -> u32 {
        ((self.0 >> 16 & 0x3_ffff) as u32) * 8
    }

    /// Length.
    #[inline]
    pub fn bytes(self) -> u32 {
        self.words() * 8
    }

    /// Length in units of 8 bytes.
    #[inline]
    pub(crate) fn words(self) -> u32 {
        (self.0 & 0xffff) as u32
    }

    #[inline]
    fn byte_range(self) -> ByteRange {
        ByteRange { chunk: self.chunk(), offset: self.offset_bytes(), bytes: self.bytes() }
    }
}

/// Images of one chunk that have one length, and where that is.
#[derive(Clone, Copy, Debug)]
pub struct RowOfImages<'a> {
    like: ImageRange,
    chunk: ChunkPlace<'a>,
}

impl<'a> RowOfImages<'a> {
    /// Those that are like one.
    #[inline(always)]
    pub fn of(like: ImageRange, memory: &'a ChunkMemory) -> Self {
        Self { like, chunk: memory.place_of(like.chunk()) }
    }
}

/// An image that has landed and is not published yet: the one right to write into its bytes.
///
/// Made by reception's pool, moved through a ring to the owner, and ended by
/// [`Landed::publish`] or by being dropped. Not `Clone`: there is one right per range.
#[derive(Debug)]
pub struct Landed {
    range: ImageRange,
}

impl Landed {
    /// The right to no byte at all.
    #[inline]
    pub(crate) fn nothing() -> Self {
        Self { range: ImageRange::new(ChunkId(0), 0, 0) }
    }

    /// Whether the right was taken out, and this is what was left in its place.
    #[inline]
    pub(crate) fn is_nothing(&self) -> bool {
        self.range.bytes() == 0
    }

    /// Where it lies.
    #[inline]
    pub fn range(&self) -> ImageRange {
        self.range
    }

    /// The image's bytes.
    #[inline]
    pub fn bytes<'a>(&'a self, memory: &'a ChunkMemory) -> &'a [u8] {
        // SAFETY: the pool makes one Landed per range and does not reuse the chunk before its
        // descriptor is answered, which the holder does after it has let go of this value; so
        // nobody writes these bytes while &self is borrowed.
        unsafe { memory.slice(self.range.byte_range()) }
    }

    /// As [`Self::bytes_mut`], if it lies in the chunk of the row and is as long as its images.
    #[inline(always)]
    pub fn bytes_in<'a>(&'a mut self, row: &RowOfImages<'a>) -> Option<&'a mut [u8]> {
        if (self.range.0 ^ row.like.0) & !OFFSET != 0 {
            return None;
        }
        // SAFETY: as in `bytes_mut`; it is the same range.
        Some(unsafe { row.chunk.slice_mut(self.range.offset_bytes(), row.like.bytes()) })
    }

    /// Asks for the lines of its header, which another core has written, to be stamped, and for its last one,
    /// which a short image may reach into. Those between are read in order, so the processor asks for them by
    /// itself.
    #[inline]
    pub(crate) fn prefetch_header(&self, memory: &ChunkMemory) {
        let bytes = self.bytes(memory);
        if let Some(header) = bytes.first_chunk::<HEADER_BYTES>() {
            prefetch_to_write(&header[0]);
            prefetch_to_write(&header[HEADER_BYTES - 1]);
            prefetch(&bytes[bytes.len() - 1]);
        }
    }

    /// The image's bytes, to be stamped.
    #[inline]
    pub fn bytes_mut<'a>(&'a mut self, memory: &'a ChunkMemory) -> &'a mut [u8] {
        // SAFETY: as in `bytes`, and &mut self is the only way to the range: no node names it.
        unsafe { memory.slice_mut(self.range.byte_range()) }
    }

    /// Ends the right to write: what is returned may be put into a node.
    #[inline]
    pub fn publish(self) -> ImageRange {
        self.range
    }
}

/// The bytes of a published image.
///
/// The caller holds a node that its document's stream has published and that it has not yet
/// answered a retirement for: from publication to that answer the bytes are immutable.
#[inline]
pub(crate) fn published(memory: &ChunkMemory, range: ImageRange) -> &[u8] {
    // SAFETY: nodes hold only ranges from `Landed::publish`; their chunk is reused only when all
    // owners and agents counted for it have answered its retirement, and cursors are moved, and
    // half-sent images copied, before that answer.
    unsafe { memory.slice(range.byte_range()) }
}

/// Part of a published image or of several that lie back to back.
#[inline]
pub(crate) fn published_run(memory: &ChunkMemory, first: ImageRange, bytes: u32) -> &[u8] {
    let range = ByteRange { chunk: first.chunk(), offset: first.offset_bytes(), bytes };
    // SAFETY: as in `published`; the caller has merged only ranges of nodes that it holds.
    unsafe { memory.slice(range) }
}

/// A part of a chunk that images have landed in.
#[derive(Debug)]
pub struct Landing {
    /// Where it begins, as a range of no bytes.
    start: ImageRange,
    bytes: u32,
}

impl Landing {
    /// The image of `bytes` bytes at `offset` of the landing. The caller asks for parts that do
    /// not overlap, each once.
    #[inline]
    pub(crate) fn land(&self, offset: u32, bytes: u32) -> Landed {
        debug_assert!(offset + bytes <= self.bytes);
        debug_assert!(offset.is_multiple_of(8) && bytes.is_multiple_of(8) && bytes < 1 << 19);
        Landed {
            range: ImageRange(self.start.0 + (u64::from(offset) << 13) + u64::from(bytes / 8)),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Free,
    Filling,
    Full,
    Retiring,
}

#[derive(Debug)]
struct Chunk {
    phase: Phase,
    /// Descriptors sent to owners, and those that owners have answered.
    sent: u32,
    answered: u32,
    /// Messages still being filled in it.
    reservations: u32,
    /// Bit per worker: was sent a descriptor; has not yet answered the retirement.
    owners: u64,
    missing: u64,
}

/// Contiguous room for one large message that has not arrived whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reservation {
    chunk: u32,
    offset_bytes: u32,
    bytes: u32,
}

impl Reservation {
    /// The room's length.
    pub fn bytes(self) -> u32 {
        self.bytes
    }
}

/// The chunks of one reception core.
///
/// Worst-case memory: the region itself, told to the budget as a whole, and 40 bytes a chunk.
#[derive(Debug)]
pub struct ChunkPool {
    memory: Arc<ChunkMemory>,
    first: u32,
    chunks: Vec<Chunk>,
    free: Vec<u32>,
    /// Oldest first.
    full: VecDeque<u32>,
    filling: Option<u32>,
    fill_offset: u32,
    retiring: usize,
    /// With fewer free chunks than this, no more credit is granted. The oldest is retired one chunk
    /// earlier, so that what is read meanwhile finds one, and credit is not withheld in each round.
    low_mark: usize,
    recycled: u64,
    #[cfg(feature = "testing")]
    poison: Option<u8>,
}

impl ChunkPool {
    /// The pool over the `count` chunks of `memory` from `first` on.
    ///
    /// # Panics
    /// With fewer than two chunks: one is read while the other is filled.
    pub fn new(memory: Arc<ChunkMemory>, first: ChunkId, count: u32) -> Self {
        assert!(count >= 2, "a pool needs two chunks at least");
        let chunk = || Chunk {
            phase: Phase::Free,
            sent: 0,
            answered: 0,
            reservations: 0,
            owners: 0,
            missing: 0,
        };
        Self {
            memory,
            first: first.0,
            chunks: (0..count).map(|_| chunk()).collect(),
            free: (0..count).rev().collect(),
            full: VecDeque::with_capacity(count as usize),
            filling: None,
            fill_offset: 0,
            retiring: 0,
            low_mark: (count as usize / 8).clamp(1, 8),
            recycled: 0,
            #[cfg(feature = "testing")]
            poison: None,
        }
    }

    /// The same, with a chunk retired when `low_mark` are free or will be, or fewer.
    #[must_use]
    pub(crate) fn with_low_mark(self, low_mark: usize) -> Self {
        Self { low_mark, ..self }
    }

    /// From now on a chunk that comes back is filled with `byte`.
    #[cfg(feature = "testing")]
    pub(crate) fn poison_recycled(&mut self, byte: u8) {
        self.poison = Some(byte);
    }

    /// The memory below.
    pub fn memory(&self) -> &Arc<ChunkMemory> {
        &self.memory
    }

    /// Bytes of each chunk.
    #[inline]
    pub fn chunk_bytes(&self) -> u32 {
        self.memory.chunk_bytes() as u32
    }

    /// Chunks in all.
    pub fn count(&self) -> usize {
        self.chunks.len()
    }

    /// Chunks that nobody uses.
    pub fn free_count(&self) -> usize {
        self.free.len()
    }

    /// Chunks whose retirement has begun and not ended.
    pub(crate) fn retiring(&self) -> usize {
        self.retiring
    }

    /// Bytes that are left of the chunk being filled.
    pub(crate) fn tail_bytes(&self) -> u32 {
        if self.filling.is_some() { self.chunk_bytes() - self.fill_offset } else { 0 }
    }

    /// Whether so few chunks are free that no more credit should be granted.
    pub fn is_short(&self) -> bool {
        self.free.len() < self.low_mark
    }

    /// How many times a chunk came back to be filled again.
    pub fn recycled(&self) -> u64 {
        self.recycled
    }

    fn id(&self, index: u32) -> ChunkId {
        ChunkId(self.first + index)
    }

    /// Makes sure that the chunk being filled has `least_bytes` left; `false` if it has not and
    /// no chunk is free.
    ///
    /// # Panics
    /// If `least_bytes` exceeds a chunk.
    #[inline]
    pub fn ensure_tail(&mut self, least_bytes: u32) -> bool {
        let chunk_bytes = self.chunk_bytes();
        assert!(least_bytes <= chunk_bytes);
        if self.filling.is_some() && chunk_bytes - self.fill_offset >= least_bytes {
            return true;
        }
        let Some(next) = self.free.pop() else { return false };
        if let Some(index) = self.filling.take() {
            self.chunks[index as usize].phase = Phase::Full;
            self.full.push_back(index);
        }
        let chunk = &mut self.chunks[next as usize];
        debug_assert!(chunk.phase == Phase::Free);
        *chunk = Chunk {
            phase: Phase::Filling,
            sent: 0,
            answered: 0,
            reservations: 0,
            owners: 0,
            missing: 0,
        };
        self.filling = Some(next);
        self.fill_offset = 0;
        true
    }

    /// The free tail of the chunk being filled; at least what [`ChunkPool::ensure_tail`] promised.
    #[inline]
    pub fn tail(&mut self) -> &mut [u8] {
        let Some(index) = self.filling else { return &mut [] };
        let range = ByteRange {
            chunk: self.id(index),
            offset: self.fill_offset,
            bytes: self.chunk_bytes() - self.fill_offset,
        };
        // SAFETY: bytes behind `fill_offset` of the filling chunk are in no Landed, node or
        // reservation: those are made below it only, and &mut self gives them out once.
        unsafe { self.memory.slice_mut(range) }
    }

    /// Takes `bytes` from the start of the tail: an image that has landed whole.
    #[inline]
    pub fn land(&mut self, bytes: u32) -> Landed {
        self.take_run(bytes).land(0, bytes)
    }

    /// Takes `bytes` from the start of the tail: images that have landed, one behind another.
    #[inline]
    pub fn take_run(&mut self, bytes: u32) -> Landing {
        let index = self.filling.expect("a run follows ensure_tail");
        let start = ImageRange::new(self.id(index), self.fill_offset, 0);
        let landing = Landing { start, bytes };
        self.skip(bytes);
        landing
    }

    /// Leaves out `bytes` at the start of the tail (messages that are not images).
    #[inline]
    pub fn skip(&mut self, bytes: u32) {
        debug_assert!(bytes <= self.chunk_bytes() - self.fill_offset);
        self.fill_offset += bytes;
    }

    /// Counts a descriptor of `range` as sent to `worker`.
    #[inline]
    pub fn sent(&mut self, range: ImageRange, worker: u16) {
        let chunk = &mut self.chunks[(range.chunk().0 - self.first) as usize];
        chunk.sent += 1;
        chunk.owners |= 1 << worker;
    }

    /// Counts `count` descriptors of images in `landing` as sent to the workers of the mask `owners`.
    #[inline]
    pub(crate) fn sent_run(&mut self, landing: &Landing, count: u32, owners: u64) {
        let chunk = &mut self.chunks[(landing.start.chunk().0 - self.first) as usize];
        chunk.sent += count;
        chunk.owners |= owners;
    }

    /// Counts `to` among the workers that know a chunk wherever `from` does.
    pub(crate) fn count_with(&mut self, from: u16, to: u16) {
        for chunk in &mut self.chunks {
            if chunk.owners & 1 << from != 0 {
                chunk.owners |= 1 << to;
            }
        }
    }

    /// Counts `worker` among those that know the chunk being filled.
    pub(crate) fn count_too(&mut self, worker: u16) {
        if let Some(index) = self.filling {
            self.chunks[index as usize].owners |= 1 << worker;
        }
    }

    /// Chunks that are being retired for which no worker but `worker` has still to answer.
    pub(crate) fn waits_only_for(&self, worker: u16) -> usize {
        let waits = |it: &&Chunk| it.phase == Phase::Retiring && it.missing == 1 << worker;
        self.chunks.iter().filter(waits).count()
    }

    /// Contiguous room of `bytes` for a message that is still arriving, if the tail has it or a
    /// chunk is free.
    pub fn reserve(&mut self, bytes: u32) -> Option<Reservation> {
        if !self.ensure_tail(bytes) {
            return None;
        }
        let index = self.filling?;
        let reservation = Reservation { chunk: index, offset_bytes: self.fill_offset, bytes };
        self.chunks[index as usize].reservations += 1;
        self.fill_offset += bytes;
        Some(reservation)
    }

    /// The room itself.
    pub fn reserved(&mut self, reservation: &Reservation) -> &mut [u8] {
        let range = ByteRange {
            chunk: self.id(reservation.chunk),
            offset: reservation.offset_bytes,
            bytes: reservation.bytes,
        };
        // SAFETY: `reserve` moved the fill offset past this room and gave it to nobody else, and
        // the chunk is not retired while a reservation is counted in it.
        unsafe { self.memory.slice_mut(range) }
    }

    /// Ends a reservation whose message is whole.
    pub fn land_reserved(&mut self, reservation: Reservation) -> Landed {
        self.release(reservation);
        Landed {
            range: ImageRange::new(
                self.id(reservation.chunk),
                reservation.offset_bytes,
                reservation.bytes,
            ),
        }
    }

    /// Ends a reservation whose message will not come or moves elsewhere.
    pub fn release(&mut self, reservation: Reservation) {
        let chunk = &mut self.chunks[reservation.chunk as usize];
        debug_assert!(chunk.reservations > 0);
        chunk.reservations -= 1;
    }

    /// Counts `count` descriptors of `chunk` as answered.
    pub fn answered(&mut self, chunk: ChunkId, count: u32) {
        let chunk = &mut self.chunks[(chunk.0 - self.first) as usize];
        chunk.answered += count;
        debug_assert!(chunk.answered <= chunk.sent);
    }

    /// Whether a chunk should be retired now.
    pub fn wants_retirement(&self) -> bool {
        self.free.len() + self.retiring <= self.low_mark && !self.full.is_empty()
    }

    /// Whether messages are still arriving in the chunk that is next to be retired.
    pub fn oldest_has_reservations(&self) -> bool {
        self.full.front().is_some_and(|index| self.chunks[*index as usize].reservations > 0)
    }

    /// Whether `reservation` stands in the chunk that is next to be retired.
    pub fn is_in_oldest(&self, reservation: &Reservation) -> bool {
        self.full.front() == Some(&reservation.chunk)
    }

    /// Begins to retire the oldest chunk whose descriptors are all answered: gives it and the
    /// workers to be asked, one bit each. A chunk that nobody knows is free at once.
    pub fn begin_retirement(&mut self) -> Option<(ChunkId, u64)> {
        if !self.wants_retirement() {
            return None;
        }
        let place = self.full.iter().position(|index| {
            let chunk = &self.chunks[*index as usize];
            chunk.sent == chunk.answered && chunk.reservations == 0
        })?;
        let index = self.full.remove(place)?;
        let id = self.id(index);
        let chunk = &mut self.chunks[index as usize];
        if chunk.owners == 0 {
            self.recycle(index);
            return self.begin_retirement();
        }
        chunk.phase = Phase::Retiring;
        chunk.missing = chunk.owners;
        self.retiring += 1;
        Some((id, chunk.owners))
    }

    /// Takes a worker's answer; `true` if it was the last and the chunk is free again.
    pub fn freed(&mut self, chunk: ChunkId, worker: u16) -> bool {
        let index = chunk.0 - self.first;
        let chunk = &mut self.chunks[index as usize];
        debug_assert!(chunk.phase == Phase::Retiring && chunk.missing & 1 << worker != 0);
        chunk.missing &= !(1 << worker);
        if chunk.missing != 0 {
            return false;
        }
        self.retiring -= 1;
        self.recycle(index);
        true
    }

    /// Puts a chunk that nobody knows a byte of back among the free ones.
    fn recycle(&mut self, index: u32) {
        self.chunks[index as usize].phase = Phase::Free;
        self.free.push(index);
        self.recycled += 1;
        #[cfg(feature = "testing")]
        if let Some(byte) = self.poison {
            let range = ByteRange { chunk: self.id(index), offset: 0, bytes: self.chunk_bytes() };
            // SAFETY: the chunk is free, so no right, node or reservation names a byte of it.
            unsafe { self.memory.slice_mut(range) }.fill(byte);
        }
    }
}
