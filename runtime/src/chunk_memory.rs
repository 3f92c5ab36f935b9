//! The memory below chunks: one region for each reception core, made once and never moved.
//!
//! ```text
//!  base ┬ region of core 0 ───────┬ region of core 1 ─────┬ …
//!       │ chunk 0 │ chunk 1 │ …   │ chunk k │ chunk k+1 │ │    address = base + chunk << shift
//! ```
//!
//! Knows nothing of who fills a chunk or when it is free: that is its owner's business, and the
//! contract of [`ChunkMemory::slice`] says what holds in between. Never grows; when all chunks
//! are in use, their owner says what happens.
#![expect(unsafe_code, reason = "bytes change hands by messages, which no borrow can follow")]

use crate::platform::Memory;
use core::fmt;
use core::ptr::NonNull;

mod downgrade;
pub use downgrade::Downgrade;

/// Bytes of a chunk, unless a test wants less: one huge page.
pub const CHUNK_BYTES: usize = 2 << 20;

/// Bytes of the smallest chunk that can be asked for.
pub const CHUNK_BYTES_MIN: usize = if cfg!(loom) { 64 } else { 8 << 10 };

/// Bytes of the largest chunk that can be asked for.
pub const CHUNK_BYTES_MAX: usize = 1 << 30;

/// What one reception core's region is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegionSpec {
    /// How many chunks, one at least.
    pub chunks: u32,
    /// The NUMA node to bind to, or none where it does not matter.
    pub numa_node: Option<u32>,
}

/// The number of a region: its place among the specs that the memory was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegionId(pub u32);

/// The number of a chunk, counted over all regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkId(pub u32);

/// Some bytes of one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ByteRange {
    /// The chunk.
    pub chunk: ChunkId,
    /// Bytes before the range.
    pub offset: u32,
    /// Bytes in the range.
    pub bytes: u32,
}

impl ByteRange {
    /// The range of `bytes` bytes that begins `offset` bytes into `chunk`.
    #[inline(always)]
    pub const fn new(chunk: ChunkId, offset: u32, bytes: u32) -> Self {
        Self { chunk, offset, bytes }
    }

    /// The first byte after the range, counted from the chunk's beginning.
    #[inline(always)]
    pub const fn end(&self) -> u32 {
        self.offset + self.bytes
    }
}

/// The chunks of all reception cores. Shared by all cores; see [`ChunkMemory::slice`].
pub struct ChunkMemory {
    memory: Memory,
    shift: u32,
    /// `1 << shift`.
    chunk_bytes: usize,
    chunks: u32,
    regions: Box<[(u32, RegionSpec)]>,
}

impl ChunkMemory {
    /// Memory for `regions`, zeroed, mapped and bound but not yet present, and what the kernel
    /// did not grant. A few system calls; each core then calls [`ChunkMemory::prefault_first`].
    ///
    /// # Errors
    /// If `chunk_bytes` is no power of two from [`CHUNK_BYTES_MIN`] to [`CHUNK_BYTES_MAX`], if
    /// there is no chunk, or too many, or if the system has no address space left.
    pub fn new(
        regions: &[RegionSpec],
        chunk_bytes: usize,
    ) -> Result<(Self, Vec<Downgrade>), ChunkMemoryError> {
        if !chunk_bytes.is_power_of_two()
            || !(CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&chunk_bytes)
        {
            return Err(ChunkMemoryError::ChunkBytes(chunk_bytes));
        }
        let mut chunks = 0u32;
        let mut placed = Vec::with_capacity(regions.len());
        for region in regions {
            placed.push((chunks, *region));
            chunks = chunks.checked_add(region.chunks).ok_or(ChunkMemoryError::Chunks)?;
        }
        if regions.is_empty() || regions.iter().any(|region| region.chunks == 0) {
            return Err(ChunkMemoryError::Chunks);
        }
        let bytes = (chunks as usize).checked_mul(chunk_bytes).ok_or(ChunkMemoryError::Chunks)?;
        let mut downgrades = Vec::new();
        let memory =
            Memory::map(bytes, chunk_bytes, &mut downgrades).map_err(ChunkMemoryError::Refused)?;
        let shift = chunk_bytes.trailing_zeros();
        let this = Self { memory, shift, chunk_bytes, chunks, regions: placed.into() };
        for (first, region) in &this.regions {
            let (at, bytes) = this.extent(*first, *region);
            downgrades.extend(this.memory.bind(at, bytes, *region));
        }
        Ok((this, downgrades))
    }

    /// Makes a region's pages present and locks them, and tells what was not granted: both halves
    /// at once. To be called by the region's core, on its own thread, before anything uses the
    /// region. May take a second for a gigabyte.
    ///
    /// # Panics
    /// If there is no such region.
    pub fn prefault(&self, region: RegionId) -> Vec<Downgrade> {
        let mut downgrades = self.prefault_first(region);
        downgrades.extend(self.prefault_rest(region, || true));
        downgrades
    }

    /// Has a region's pages locked as soon as they are present, makes its first chunk present, and
    /// tells what was not granted. To be called by the region's core, on its own thread, before
    /// anything uses the region. A kernel before 5.14 makes all of it present here.
    ///
    /// # Panics
    /// If there is no such region.
    pub fn prefault_first(&self, region: RegionId) -> Vec<Downgrade> {
        let (first, region) = self.regions[region.0 as usize];
        let (at, bytes) = self.extent(first, region);
        let mut downgrades: Vec<_> = self.memory.lock(at, bytes).into_iter().collect();
        match self.memory.populate(at, self.chunk_bytes()) {
            Ok(true) => {}
            Ok(false) => self.memory.touch(at, bytes),
            Err(downgrade) => downgrades.push(downgrade),
        }
        downgrades
    }

    /// Makes the other chunks of a region present, one after another, as long as `goes_on`, and
    /// tells what was not granted. From any thread, also while the region is used: whoever
    /// touches a chunk before its turn waits for the kernel there. Pages come from the node that the
    /// region is bound to; without one, from the node of the caller, if the kernel has them there.
    ///
    /// # Panics
    /// If there is no such region.
    pub fn prefault_rest(
        &self,
        region: RegionId,
        mut goes_on: impl FnMut() -> bool,
    ) -> Vec<Downgrade> {
        let (first, region) = self.regions[region.0 as usize];
        let (at, bytes) = self.extent(first, region);
        for chunk in (at..at + bytes).step_by(self.chunk_bytes()).skip(1) {
            if !goes_on() {
                return Vec::new();
            }
            match self.memory.populate(chunk, self.chunk_bytes()) {
                Ok(true) => {}
                Ok(false) => break,
                // What is left would be refused, too.
                Err(Downgrade::NotPresent { error, .. }) => {
                    return vec![Downgrade::NotPresent { bytes: at + bytes - chunk, error }];
                }
                Err(downgrade) => return vec![downgrade],
            }
        }
        self.memory.placed(at, bytes, region).into_iter().collect()
    }

    fn extent(&self, first: u32, region: RegionSpec) -> (usize, usize) {
        ((first as usize) << self.shift, (region.chunks as usize) << self.shift)
    }

    /// Bytes of each chunk, a power of two.
    #[inline(always)]
    pub fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// How many chunks there are in all regions.
    #[inline(always)]
    pub fn chunks(&self) -> u32 {
        self.chunks
    }

    /// How many regions there are.
    pub fn regions(&self) -> u32 {
        self.regions.len() as u32
    }

    /// The chunks of a region.
    ///
    /// # Panics
    /// If there is no such region.
    pub fn chunks_of(&self, region: RegionId) -> impl ExactSizeIterator<Item = ChunkId> + use<> {
        let (first, region) = self.regions[region.0 as usize];
        ChunkRange { next: first, end: first + region.chunks }
    }

    /// The region that a chunk lies in. A binary search: for messages about chunks, not for bytes.
    ///
    /// # Panics
    /// If there is no such chunk.
    pub fn region_of(&self, chunk: ChunkId) -> RegionId {
        assert!(chunk.0 < self.chunks, "no {chunk:?} among {} chunks", self.chunks);
        RegionId(self.regions.partition_point(|(first, _)| *first <= chunk.0) as u32 - 1)
    }

    /// The address of a chunk's first byte. To go through it is under the contract of
    /// [`ChunkMemory::slice`], which a model then cannot check.
    ///
    /// # Panics
    /// If there is no such chunk.
    #[inline(always)]
    pub fn base_ptr(&self, chunk: ChunkId) -> NonNull<u8> {
        assert!(chunk.0 < self.chunks, "no such chunk");
        // SAFETY: the chunk lies in the mapping, which is `chunks << shift` bytes long.
        unsafe { self.memory.base().add((chunk.0 as usize) << self.shift) }
    }

    /// A chunk of which several ranges are needed.
    ///
    /// # Panics
    /// If there is no such chunk.
    #[inline(always)]
    pub fn place_of(&self, chunk: ChunkId) -> ChunkPlace<'_> {
        let at = self.start(ByteRange { chunk, offset: 0, bytes: 0 });
        // SAFETY: inside of the mapping, by the look that `start` has taken.
        let base = unsafe { self.memory.base().add(at) };
        ChunkPlace { memory: self, at, base, bytes: self.chunk_bytes as u32 }
    }

    #[inline(always)]
    fn start(&self, range: ByteRange) -> usize {
        let end = u64::from(range.offset) + u64::from(range.bytes);
        assert!(
            range.chunk.0 < self.chunks && end <= self.chunk_bytes as u64,
            "a byte range outside of its chunk"
        );
        // A product: a shift by a number that is not known when this is compiled takes more instructions.
        range.chunk.0 as usize * self.chunk_bytes + range.offset as usize
    }

    /// The bytes of `range`, to be read. Two comparisons and an addition.
    ///
    /// # Panics
    /// If the range is not inside of one chunk.
    ///
    /// # Safety
    /// As long as the slice lives, nobody may write any of its bytes. That is so for
    ///
    /// 1. *reception*, the owner of the chunk, from taking the chunk (made, or every party has
    ///    answered its retiring) until it releases the range into a ring;
    /// 2. *the owner of the document*, from taking the range out of that ring until it publishes
    ///    a node that names it;
    /// 3. everybody who learned the range from such a node, from then until it answered the
    ///    chunk's retiring: the bytes do not change any more.
    ///
    /// Each step must be a release on one side and an acquire on the other.
    #[inline(always)]
    pub unsafe fn slice(&self, range: ByteRange) -> &[u8] {
        let at = self.start(range);
        self.memory.will_read(at, range.bytes as usize);
        // SAFETY: inside of the mapping, which lives as long as self; zeros at first, so
        // initialised; nobody writes, by the caller's promise.
        unsafe {
            core::slice::from_raw_parts(self.memory.base().as_ptr().add(at), range.bytes as usize)
        }
    }

    /// The bytes of `range`, to be written. Two comparisons and an addition.
    ///
    /// # Panics
    /// If the range is not inside of one chunk.
    ///
    /// # Safety
    /// As long as the slice lives, nobody else may read or write any of its bytes. Only reception
    /// (1) and the document's owner (2) may ask, each in its time; see [`ChunkMemory::slice`].
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "who may have it is told by messages, see Safety")]
    pub unsafe fn slice_mut(&self, range: ByteRange) -> &mut [u8] {
        let at = self.start(range);
        self.memory.will_write(at, range.bytes as usize);
        // SAFETY: inside of the mapping, which lives as long as self; zeros at first, so
        // initialised; the caller promises that it alone has these bytes.
        unsafe {
            core::slice::from_raw_parts_mut(
                self.memory.base().as_ptr().add(at),
                range.bytes as usize,
            )
        }
    }
}

/// One chunk of a memory, whose place was looked up.
#[derive(Clone, Copy, Debug)]
pub struct ChunkPlace<'a> {
    memory: &'a ChunkMemory,
    at: usize,
    base: NonNull<u8>,
    bytes: u32,
}

impl<'a> ChunkPlace<'a> {
    /// Its bytes from `offset` on, to be written, as [`ChunkMemory::slice_mut`] gives them. A comparison and an
    /// addition.
    ///
    /// # Panics
    /// If they are not inside of the chunk.
    ///
    /// # Safety
    /// That of [`ChunkMemory::slice_mut`].
    #[inline(always)]
    pub unsafe fn slice_mut(&self, offset: u32, bytes: u32) -> &'a mut [u8] {
        let end = u64::from(offset) + u64::from(bytes);
        assert!(end <= u64::from(self.bytes), "a byte range outside of its chunk");
        let (offset, bytes) = (offset as usize, bytes as usize);
        self.memory.memory.will_write(self.at + offset, bytes);
        // SAFETY: inside of the mapping, which lives as long as the memory; zeros at first, so
        // initialised; the caller promises that it alone has these bytes.
        unsafe { core::slice::from_raw_parts_mut(self.base.as_ptr().add(offset), bytes) }
    }
}

impl fmt::Debug for ChunkMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkMemory({} chunks of {} bytes)", self.chunks, self.chunk_bytes())
    }
}

struct ChunkRange {
    next: u32,
    end: u32,
}

impl Iterator for ChunkRange {
    type Item = ChunkId;
    fn next(&mut self) -> Option<ChunkId> {
        (self.next < self.end).then(|| {
            self.next += 1;
            ChunkId(self.next - 1)
        })
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.end - self.next) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for ChunkRange {}

/// Why there is no chunk memory.
#[derive(Debug)]
pub enum ChunkMemoryError {
    /// The size of a chunk is not one that can be had.
    ChunkBytes(usize),
    /// No chunk, a region without one, or more than addresses reach.
    Chunks,
    /// The system refused.
    Refused(std::io::Error),
}

impl fmt::Display for ChunkMemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChunkBytes(bytes) => write!(
                f,
                "a chunk of {bytes} bytes: take a power of two from {CHUNK_BYTES_MIN} to \
                 {CHUNK_BYTES_MAX}"
            ),
            Self::Chunks => f.write_str("every region needs a chunk, and 2³² chunks are too many"),
            Self::Refused(error) => {
                write!(f, "no memory for chunks ({error}): lower the budget or raise the limit")
            }
        }
    }
}

impl core::error::Error for ChunkMemoryError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Refused(error) => Some(error),
            Self::ChunkBytes(_) | Self::Chunks => None,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn memory(chunks: &[u32], chunk_bytes: usize) -> ChunkMemory {
        let regions: Vec<_> =
            chunks.iter().map(|chunks| RegionSpec { chunks: *chunks, numa_node: None }).collect();
        ChunkMemory::new(&regions, chunk_bytes).unwrap().0
    }

    #[test]
    fn every_byte_of_every_chunk_is_its_own() {
        let memory = memory(&[2, 1, 3], 8192);
        for region in 0..3 {
            memory.prefault(RegionId(region));
        }
        let range = |chunk, half| ByteRange::new(ChunkId(chunk), half * 4096, 4096);
        for chunk in 0..6 {
            for half in 0..2 {
                // SAFETY: one thread, one slice at a time.
                let bytes = unsafe { memory.slice_mut(range(chunk, half)) };
                assert!(bytes.iter().all(|byte| *byte == 0), "starts as zeros");
                bytes.fill((chunk * 2 + half) as u8 + 1);
            }
        }
        for chunk in 0..6 {
            for half in 0..2 {
                // SAFETY: nobody writes any more.
                let bytes = unsafe { memory.slice(range(chunk, half)) };
                assert!(bytes.iter().all(|byte| *byte == (chunk * 2 + half) as u8 + 1));
            }
        }
    }

    #[test]
    fn the_rest_becomes_present_while_the_first_chunk_is_written() {
        let memory = memory(&[3, 5], CHUNK_BYTES);
        for region in 0..2 {
            memory.prefault_first(RegionId(region));
        }
        let first = ByteRange::new(ChunkId(3), 0, CHUNK_BYTES as u32);
        std::thread::scope(|threads| {
            let rest = threads.spawn(|| memory.prefault_rest(RegionId(1), || true));
            // SAFETY: one slice, and nobody reads.
            unsafe { memory.slice_mut(first) }.fill(7);
            let refused = |it: &Downgrade| matches!(it, Downgrade::NotPresent { .. });
            assert!(!rest.join().unwrap().iter().any(refused));
        });
        // SAFETY: nobody writes any more.
        assert!(unsafe { memory.slice(first) }.iter().all(|byte| *byte == 7));
        for chunk in 4..8 {
            let range = ByteRange::new(ChunkId(chunk), 0, CHUNK_BYTES as u32);
            // SAFETY: as above.
            assert!(unsafe { memory.slice(range) }.iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn nothing_more_is_made_present_when_it_is_to_end() {
        let memory = memory(&[4], CHUNK_BYTES);
        let mut asked = 0;
        memory.prefault_rest(RegionId(0), || {
            asked += 1;
            asked < 2
        });
        assert_eq!(asked, 2, "it is asked before each chunk");
    }

    #[test]
    fn chunks_know_their_region_and_regions_their_chunks() {
        let memory = memory(&[2, 1, 3], 8192);
        let regions: Vec<_> = (0..6).map(|chunk| memory.region_of(ChunkId(chunk)).0).collect();
        assert_eq!(regions, [0, 0, 1, 2, 2, 2]);
        let chunks: Vec<_> = memory.chunks_of(RegionId(2)).map(|chunk| chunk.0).collect();
        assert_eq!(chunks, [3, 4, 5]);
        assert_eq!(memory.chunks_of(RegionId(0)).len(), 2);
    }

    #[test]
    fn chunks_are_aligned_to_their_size() {
        for chunk_bytes in [8192, CHUNK_BYTES, 4 << 20] {
            let memory = memory(&[1, 2], chunk_bytes);
            for chunk in 0..3 {
                let address = memory.base_ptr(ChunkId(chunk)).as_ptr() as usize;
                assert_eq!(address % chunk_bytes, 0);
            }
        }
    }

    #[test]
    fn ranges_outside_of_their_chunk_are_refused() {
        let memory = memory(&[2], 8192);
        for (chunk, offset, bytes) in
            [(0, 0, 8193), (0, 8192, 1), (2, 0, 1), (0, u32::MAX, 2), (1, 1, u32::MAX)]
        {
            let range = ByteRange::new(ChunkId(chunk), offset, bytes);
            // SAFETY: the call panics before it makes a slice; none would be written.
            let read = std::panic::catch_unwind(|| unsafe { memory.slice(range) }.len());
            assert!(read.is_err(), "{range:?}");
        }
        // SAFETY: nobody writes.
        assert_eq!(unsafe { memory.slice(ByteRange::new(ChunkId(1), 8192, 0)) }.len(), 0);
    }

    #[test]
    fn what_cannot_be_made_is_refused_by_name() {
        let one = RegionSpec { chunks: 1, numa_node: None };
        let none = RegionSpec { chunks: 0, numa_node: None };
        let all = RegionSpec { chunks: u32::MAX, numa_node: None };
        for bytes in [0, 4096, 12_288, 3 << 20, 2 << 30] {
            let refused = ChunkMemory::new(&[one], bytes).unwrap_err();
            assert!(matches!(refused, ChunkMemoryError::ChunkBytes(told) if told == bytes));
        }
        for regions in [&[][..], &[one, none], &[all, one]] {
            let refused = ChunkMemory::new(regions, 8192).unwrap_err();
            assert!(matches!(refused, ChunkMemoryError::Chunks));
        }
        let refused = ChunkMemory::new(&[all], CHUNK_BYTES_MAX).unwrap_err();
        assert!(matches!(refused, ChunkMemoryError::Refused(_)), "{refused}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_node_that_is_not_there_is_told() {
        let region = RegionSpec { chunks: 1, numa_node: Some(777) };
        let (memory, downgrades) = ChunkMemory::new(&[region], CHUNK_BYTES).unwrap();
        let told = downgrades.iter().find(|told| matches!(told, Downgrade::NotBound { .. }));
        assert!(told.unwrap().to_string().contains("NUMA node 777"));
        // SAFETY: one thread.
        unsafe { memory.slice_mut(ByteRange::new(ChunkId(0), 0, 8)) }.fill(1);
    }
}
