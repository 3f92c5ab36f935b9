//! Memory from the kernel: huge pages if it gives them, bound to a node, present and locked; and
//! the CPUs of a thread.
//!
//! Every wish that the kernel does not grant is told as a [`Downgrade`] and changes speed only.
#![expect(
    unsafe_code,
    reason = "mmap, mbind, madvise, mlock and sched_setaffinity are system calls"
)]

use crate::chunk_memory::{Downgrade, RegionSpec};
use crate::sync::atomic::{AtomicU8, Ordering};
use core::ptr::NonNull;
use std::io;

const HUGE_PAGE_BYTES: usize = 2 << 20;
const PAGE_BYTES: usize = 4096;
/// `MAP_HUGE_2MB` of linux/mman.h: the page size's logarithm above bit 26.
const MAP_HUGE_2MB: i32 = 21 << 26;
/// Policies and flags of linux/mempolicy.h.
const MPOL_PREFERRED: libc::c_long = 1;
const MPOL_BIND: libc::c_long = 2;
const MPOL_MF_MOVE: libc::c_ulong = 1 << 1;
/// Node numbers that the kernel can have at most.
const NODES_MAX: usize = 1024;

/// Lets the calling thread run on `cpus` only; numbers beyond what the kernel's set holds are left
/// out.
pub(crate) fn confine(cpus: impl Iterator<Item = usize>) -> io::Result<()> {
    // SAFETY: all-zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { core::mem::zeroed() };
    for cpu in cpus.filter(|cpu| *cpu < libc::CPU_SETSIZE as usize) {
        // SAFETY: the number is below the size of the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: the set is initialised, and its size is that of its type; 0 is the calling thread.
    match unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

pub(crate) struct Memory {
    mapping: NonNull<u8>,
    mapping_bytes: usize,
    base: NonNull<u8>,
    reserved_huge_pages: bool,
}

// SAFETY: the mapping is owned, and all access goes through pointers with a contract.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Zeroed memory of `bytes`, aligned to `align_bytes` (a power of two); none of it is present
    /// yet.
    pub(crate) fn map(
        bytes: usize,
        align_bytes: usize,
        downgrades: &mut Vec<Downgrade>,
    ) -> io::Result<Self> {
        let whole_huge_pages = bytes.is_multiple_of(HUGE_PAGE_BYTES);
        if whole_huge_pages && align_bytes <= HUGE_PAGE_BYTES {
            match map_anonymous(bytes, libc::MAP_HUGETLB | MAP_HUGE_2MB) {
                Ok(base) => {
                    return Ok(Self {
                        mapping: base,
                        mapping_bytes: bytes,
                        base,
                        reserved_huge_pages: true,
                    });
                }
                Err(_) => downgrades
                    .push(Downgrade::NoReservedHugePages { pages: bytes / HUGE_PAGE_BYTES }),
            }
        }
        let align_bytes = align_bytes.max(HUGE_PAGE_BYTES);
        let mapping_bytes = bytes
            .checked_add(align_bytes)
            .ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let mapping = map_anonymous(mapping_bytes, libc::MAP_NORESERVE)?;
        let skip_bytes = mapping.as_ptr().align_offset(align_bytes);
        // SAFETY: skip_bytes < align_bytes, by which the mapping is larger than what was asked.
        let base = unsafe { mapping.add(skip_bytes) };
        let memory = Self { mapping, mapping_bytes, base, reserved_huge_pages: false };
        if whole_huge_pages && let Some(downgrade) = memory.advise_huge_pages(bytes) {
            downgrades.push(downgrade);
        }
        Ok(memory)
    }

    fn advise_huge_pages(&self, bytes: usize) -> Option<Downgrade> {
        // SAFETY: the range lies in this mapping; the advice changes no content.
        let advised =
            unsafe { libc::madvise(self.base.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
        let setting = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
        let forbidden = setting.is_ok_and(|setting| setting.contains("[never]"));
        (advised != 0 || forbidden).then_some(Downgrade::SmallPages)
    }

    #[inline(always)]
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Binds `bytes` from `at` on to the region's node, if it names one.
    pub(crate) fn bind(&self, at: usize, bytes: usize, region: RegionSpec) -> Option<Downgrade> {
        let node = region.numa_node?;
        let refused = |error| Some(Downgrade::NotBound { node, error });
        let bit = node as usize;
        if bit >= NODES_MAX {
            return refused(libc::EINVAL);
        }
        let mut mask = [0 as libc::c_ulong; NODES_MAX / libc::c_ulong::BITS as usize];
        mask[bit / libc::c_ulong::BITS as usize] |= 1 << (bit % libc::c_ulong::BITS as usize);
        // Reserved huge pages are preferred from the node, not bound to it: a fault that finds
        // none left there would kill the process.
        let policy = if self.reserved_huge_pages { MPOL_PREFERRED } else { MPOL_BIND };
        // SAFETY: the range lies in this mapping, the mask is NODES_MAX bits long (the kernel
        // reads one bit less than it is told); placement changes no content.
        let done = unsafe {
            libc::syscall(
                libc::SYS_mbind,
                self.base.as_ptr().add(at),
                bytes,
                policy,
                mask.as_ptr(),
                NODES_MAX + 1,
                MPOL_MF_MOVE,
            )
        };
        if done == 0 { None } else { refused(errno()) }
    }

    /// Has the pages of `bytes` from `at` on locked as soon as they are present.
    pub(crate) fn lock(&self, at: usize, bytes: usize) -> Option<Downgrade> {
        // SAFETY: the caller's range lies in this mapping, as `ChunkMemory` computed it.
        let start = unsafe { self.base.add(at) }.as_ptr().cast();
        // SAFETY: locking changes no content; unmapping unlocks.
        let mut is_locked = unsafe { libc::mlock2(start, bytes, libc::MLOCK_ONFAULT as _) } == 0;
        if !is_locked && asks_for_plain_mlock(errno()) {
            // SAFETY: as above. This makes all of them present.
            is_locked = unsafe { libc::mlock(start, bytes) } == 0;
        }
        (!is_locked).then(|| Downgrade::NotLocked { bytes, limit_bytes: memlock_limit_bytes() })
    }

    /// Makes `bytes` from `at` on present; `false` if the kernel knows no call for it.
    ///
    /// # Errors
    /// What the kernel refused.
    pub(crate) fn populate(&self, at: usize, bytes: usize) -> Result<bool, Downgrade> {
        // SAFETY: the caller's range lies in this mapping, as `ChunkMemory` computed it.
        let start = unsafe { self.base.add(at) }.as_ptr().cast();
        // SAFETY: populating writes nothing that a read could tell from before, also if another
        // thread writes there meanwhile.
        match unsafe { libc::madvise(start, bytes, libc::MADV_POPULATE_WRITE) } {
            0 => Ok(true),
            _ => match errno() {
                libc::EINVAL => Ok(false),
                error => Err(Downgrade::NotPresent { bytes, error }),
            },
        }
    }

    /// What of `bytes` from `at` on lies on another node than the region's.
    pub(crate) fn placed(&self, at: usize, bytes: usize, region: RegionSpec) -> Option<Downgrade> {
        let node = region.numa_node?;
        let samples = self.pages_elsewhere(at, bytes, node);
        (samples > 0).then_some(Downgrade::ElsewhereThanAsked { node, samples })
    }

    /// For kernels before 5.14: reads and writes a byte of each page.
    pub(crate) fn touch(&self, at: usize, bytes: usize) {
        for page in (at..at + bytes).step_by(PAGE_BYTES) {
            // SAFETY: in the mapping, whose bytes may be touched atomically by anybody.
            unsafe {
                let byte = self.base.add(page).cast::<AtomicU8>();
                // Relaxed: an addition of zero tells nothing; it is atomic because another core
                // may already use what lies beside.
                byte.as_ref().fetch_add(0, Ordering::Relaxed);
            }
        }
    }

    /// How many of the samples, one every two megabytes, lie on another node than `node`.
    fn pages_elsewhere(&self, at: usize, bytes: usize, node: u32) -> usize {
        let step_bytes = HUGE_PAGE_BYTES.min(bytes);
        let pages: Vec<*mut u8> = (at..at + bytes)
            .step_by(step_bytes)
            // SAFETY: in the mapping.
            .map(|at| unsafe { self.base.as_ptr().add(at) })
            .collect();
        let mut nodes = vec![-1 as libc::c_int; pages.len()];
        // SAFETY: with a null target nothing moves: the kernel reads `pages` and writes `nodes`,
        // which have the length that it is told.
        let asked = unsafe {
            libc::syscall(
                libc::SYS_move_pages,
                0,
                pages.len(),
                pages.as_ptr(),
                core::ptr::null::<libc::c_int>(),
                nodes.as_mut_ptr(),
                0,
            )
        };
        if asked != 0 {
            return 0;
        }
        // A negative answer is an error about a page, not a place.
        nodes.iter().filter(|found| **found >= 0 && **found as u32 != node).count()
    }

    #[inline(always)]
    pub(crate) fn will_read(&self, _at: usize, _bytes: usize) {}

    #[inline(always)]
    pub(crate) fn will_write(&self, _at: usize, _bytes: usize) {}
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped in `map` with this length, and nothing borrows it any more.
        unsafe { libc::munmap(self.mapping.as_ptr().cast(), self.mapping_bytes) };
    }
}

fn map_anonymous(bytes: usize, flags: i32) -> io::Result<NonNull<u8>> {
    // SAFETY: a new private anonymous mapping; no memory that exists is named.
    let mapped = unsafe {
        libc::mmap(
            core::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags,
            -1,
            0,
        )
    };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(mapped.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))
}

/// Bytes that this process may lock, at present.
pub(crate) fn memlock_limit_bytes() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills the struct it is given.
    unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) };
    limit.rlim_cur
}

/// Whether mlock2's `error` may be one of the call, and not of what was asked: a kernel before 4.4, or a
/// filter that knows only mlock.
fn asks_for_plain_mlock(error: i32) -> bool {
    matches!(error, libc::ENOSYS | libc::EINVAL | libc::EPERM)
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk_memory::{CHUNK_BYTES, ChunkId, ChunkMemory, RegionId};

    /// How many pages of a memory's chunks are present.
    fn present_pages(memory: &ChunkMemory) -> usize {
        let base = memory.base_ptr(ChunkId(0));
        let bytes = memory.chunks() as usize * memory.chunk_bytes();
        let mut told = vec![0_u8; bytes / PAGE_BYTES];
        // SAFETY: the range is that of the chunks, which are mapped; a byte is told for each page of it.
        let asked = unsafe { libc::mincore(base.as_ptr().cast(), bytes, told.as_mut_ptr()) };
        assert_eq!(asked, 0, "{}", io::Error::last_os_error());
        told.iter().filter(|told| **told & 1 != 0).count()
    }

    #[test]
    fn a_filter_that_knows_only_mlock_is_asked_for_that() {
        assert!([libc::ENOSYS, libc::EINVAL, libc::EPERM].into_iter().all(asks_for_plain_mlock));
        // More than may be locked is too much for either call.
        assert!(![libc::ENOMEM, libc::EAGAIN].into_iter().any(asks_for_plain_mlock));
    }

    #[test]
    fn first_one_chunk_is_present_and_then_all_are() {
        let regions = [RegionSpec { chunks: 3, numa_node: None }; 2];
        let (memory, _) = ChunkMemory::new(&regions, CHUNK_BYTES).unwrap();
        let of_chunk = CHUNK_BYTES / PAGE_BYTES;
        assert_eq!(present_pages(&memory), 0, "a page that nobody has touched shows");
        let probe = Memory::map(CHUNK_BYTES, CHUNK_BYTES, &mut Vec::new()).unwrap();
        if !matches!(probe.populate(0, PAGE_BYTES), Ok(true)) {
            return eprintln!("this kernel, before 5.14, does not make pages present when asked");
        }
        memory.prefault_first(RegionId(0));
        assert_eq!(present_pages(&memory), of_chunk);
        let mut chunks = 0;
        memory.prefault_rest(RegionId(0), || {
            chunks += 1;
            chunks < 2
        });
        assert_eq!(present_pages(&memory), 2 * of_chunk, "it has stopped when it was told to");
        memory.prefault_rest(RegionId(0), || true);
        assert_eq!(present_pages(&memory), 3 * of_chunk);
        memory.prefault(RegionId(1));
        assert_eq!(present_pages(&memory), 6 * of_chunk);
    }
}
