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

    /// Makes `bytes` from `at` on present and locks them.
    pub(crate) fn prefault(&self, at: usize, bytes: usize, region: RegionSpec) -> Vec<Downgrade> {
        let mut downgrades = Vec::new();
        // SAFETY: the caller's range lies in this mapping, as `ChunkMemory` computed it.
        let start = unsafe { self.base.add(at) };
        // SAFETY: populating writes nothing that a read could tell from before.
        let populated =
            unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_POPULATE_WRITE) };
        if populated != 0 {
            let error = errno();
            if error == libc::EINVAL {
                self.touch(at, bytes);
            } else {
                downgrades.push(Downgrade::NotPresent { bytes, error });
                return downgrades;
            }
        }
        // SAFETY: locking changes no content; unmapping unlocks.
        if unsafe { libc::mlock(start.as_ptr().cast(), bytes) } != 0 {
            downgrades.push(Downgrade::NotLocked { bytes, limit_bytes: memlock_limit_bytes() });
        }
        if let Some(node) = region.numa_node {
            let elsewhere = self.pages_elsewhere(at, bytes, node);
            if elsewhere > 0 {
                downgrades.push(Downgrade::ElsewhereThanAsked { node, samples: elsewhere });
            }
        }
        downgrades
    }

    /// For kernels before 5.14: reads and writes a byte of each page.
    fn touch(&self, at: usize, bytes: usize) {
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

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}
