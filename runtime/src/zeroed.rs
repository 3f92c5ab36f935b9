//! Large arrays that start as zeros and cost memory only where they are touched.
//!
//! Tables with one entry per document or node block are sized for the limit, but most daemons
//! never reach it. Owned by whoever made it; never grows, never moves; an index past the end
//! panics like a slice. On Linux huge pages are asked for, because a random walk over a hundred
//! megabytes of small pages pays for a page walk at every step. An array that is shorter than a huge
//! page is not given the room of one: where the kernel gives huge pages to all who have room
//! (`always`), its first word would cost all of it.
#![cfg_attr(
    all(target_os = "linux", not(loom)),
    expect(unsafe_code, reason = "mmap: a safe allocation would touch every page at the start")
)]

use core::ops::{Deref, DerefMut};

/// Types for which every bit pattern of zeros is a valid value.
///
/// # Safety
/// The all-zero bit pattern must be a valid, fully initialised value, and the type must not need
/// to be dropped.
#[expect(unsafe_code, reason = "the promise is about bit patterns")]
pub unsafe trait Zeroable: Sized {
    /// A value of zeros, for the platforms that cannot map memory.
    fn zeroed() -> Self;
}

// SAFETY: zero is a valid integer, and integers need no drop.
#[expect(unsafe_code, reason = "the promise is about bit patterns")]
unsafe impl Zeroable for u32 {
    fn zeroed() -> Self {
        0
    }
}

// SAFETY: as above.
#[expect(unsafe_code, reason = "the promise is about bit patterns")]
unsafe impl Zeroable for u64 {
    fn zeroed() -> Self {
        0
    }
}

/// A fixed array of `T`, all zeros at first, in pages that exist once they are touched.
pub struct ZeroedArray<T: Zeroable> {
    #[cfg(all(target_os = "linux", not(loom)))]
    entries: mapped::Mapping<T>,
    #[cfg(not(all(target_os = "linux", not(loom))))]
    entries: Box<[T]>,
}

impl<T: Zeroable> ZeroedArray<T> {
    /// An array of `length` zeros. One `mmap` and one `madvise` on Linux, an allocation elsewhere.
    ///
    /// # Panics
    /// If address space or memory is refused.
    pub fn new(length: usize) -> Self {
        #[cfg(all(target_os = "linux", not(loom)))]
        {
            Self { entries: mapped::Mapping::new(length) }
        }
        #[cfg(not(all(target_os = "linux", not(loom))))]
        {
            Self { entries: (0..length).map(|_| T::zeroed()).collect() }
        }
    }
}

impl<T: Zeroable> ZeroedArray<T> {
    /// Makes the pages of entries `range` present, so that nobody who writes them waits for the kernel.
    /// One system call on Linux, nothing elsewhere; a kernel that refuses makes them present when they
    /// are touched.
    ///
    /// # Panics
    /// If the range is not inside of the array.
    pub fn prefault(&self, range: core::ops::Range<usize>) {
        let entries = &self[range];
        #[cfg(all(target_os = "linux", not(loom)))]
        mapped::populate(entries);
        #[cfg(not(all(target_os = "linux", not(loom))))]
        let _ = entries;
    }
}

impl<T: Zeroable> Deref for ZeroedArray<T> {
    type Target = [T];
    #[inline]
    fn deref(&self) -> &[T] {
        &self.entries
    }
}

impl<T: Zeroable> DerefMut for ZeroedArray<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.entries
    }
}

impl<T: Zeroable> core::fmt::Debug for ZeroedArray<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "ZeroedArray({} entries)", self.len())
    }
}

#[cfg(all(target_os = "linux", not(loom)))]
mod mapped {
    use super::Zeroable;
    use core::ops::{Deref, DerefMut};
    use core::ptr::NonNull;

    const HUGE_PAGE_BYTES: usize = 2 << 20;
    const PAGE_BYTES: usize = 4096;

    pub(super) struct Mapping<T> {
        base: NonNull<libc::c_void>,
        mapped_bytes: usize,
        entries: NonNull<T>,
        length: usize,
    }

    impl<T: Zeroable> Mapping<T> {
        pub(super) fn new(length: usize) -> Self {
            assert!(align_of::<T>() <= PAGE_BYTES);
            let bytes = length.checked_mul(size_of::<T>()).expect("array size overflows");
            if bytes == 0 {
                return Self {
                    base: NonNull::dangling(),
                    mapped_bytes: 0,
                    entries: NonNull::dangling(),
                    length,
                };
            }
            let is_huge = bytes >= HUGE_PAGE_BYTES;
            let mapped_bytes = bytes + if is_huge { HUGE_PAGE_BYTES } else { 0 };
            // SAFETY: a new private anonymous mapping; no memory that exists is named.
            let base = unsafe {
                libc::mmap(
                    core::ptr::null_mut(),
                    mapped_bytes,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                    -1,
                    0,
                )
            };
            assert!(base != libc::MAP_FAILED, "mapping {mapped_bytes} bytes was refused");
            let base = NonNull::new(base).expect("mmap gives no null page");
            let entries = base.as_ptr().cast::<u8>();
            let skip = if is_huge { entries.align_offset(HUGE_PAGE_BYTES) } else { 0 };
            // SAFETY: 0, or less than HUGE_PAGE_BYTES, by which the mapping is larger than the array.
            let entries = unsafe { entries.add(skip) };
            if is_huge {
                // SAFETY: the range lies in the mapping made above. Advice only: a kernel that
                // refuses leaves small pages, which are as right, only slower.
                unsafe { libc::madvise(entries.cast(), bytes, libc::MADV_HUGEPAGE) };
            }
            Self {
                base,
                mapped_bytes,
                entries: NonNull::new(entries.cast()).expect("inside a mapping"),
                length,
            }
        }

        #[cfg(test)]
        pub(super) fn mapped_bytes(&self) -> usize {
            self.mapped_bytes
        }
    }

    /// Has the kernel make the pages present in which `entries`, part of a mapping, lie.
    pub(super) fn populate<T>(entries: &[T]) {
        let start = entries.as_ptr().cast::<u8>();
        let skip = start.addr() % PAGE_BYTES;
        let bytes = size_of_val(entries) + skip;
        // SAFETY: the first page of the entries lies in their mapping, too, whose beginning is that of a
        // page. The call changes no content: pages that are present stay as they are. Advice only.
        unsafe {
            libc::madvise(start.sub(skip).cast_mut().cast(), bytes, libc::MADV_POPULATE_WRITE)
        };
    }

    impl<T> Deref for Mapping<T> {
        type Target = [T];
        #[inline]
        fn deref(&self) -> &[T] {
            // SAFETY: `length` entries lie in the mapping, aligned, and zeros are valid values
            // (`Zeroable`); the mapping lives as long as self.
            unsafe { core::slice::from_raw_parts(self.entries.as_ptr(), self.length) }
        }
    }

    impl<T> DerefMut for Mapping<T> {
        #[inline]
        fn deref_mut(&mut self) -> &mut [T] {
            // SAFETY: as above, and &mut self makes this the only reference.
            unsafe { core::slice::from_raw_parts_mut(self.entries.as_ptr(), self.length) }
        }
    }

    impl<T> Drop for Mapping<T> {
        fn drop(&mut self) {
            if self.mapped_bytes != 0 {
                // SAFETY: base and length are those that mmap gave; nothing borrows it any more.
                unsafe { libc::munmap(self.base.as_ptr(), self.mapped_bytes) };
            }
        }
    }

    // SAFETY: the mapping is plain owned memory, as a Box<[T]> would be.
    unsafe impl<T: Send> Send for Mapping<T> {}
    // SAFETY: shared access gives out &[T] only.
    unsafe impl<T: Sync> Sync for Mapping<T> {}
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn starts_as_zeros_and_keeps_what_is_written() {
        let mut array = ZeroedArray::<u64>::new(1 << 20);
        assert!(array.iter().step_by(4096).all(|entry| *entry == 0));
        array[(1 << 20) - 1] = 7;
        assert_eq!(array[(1 << 20) - 1], 7);
        assert_eq!(array.len(), 1 << 20);
        assert_eq!(array.as_ptr() as usize % (2 << 20), 0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_short_array_has_no_room_for_a_huge_page() {
        let mapped = |bytes| mapped::Mapping::<u32>::new(bytes / 4).mapped_bytes();
        for bytes in [4, 4096, 450_000, (2 << 20) - 4] {
            assert_eq!(mapped(bytes), bytes);
        }
        assert_eq!(mapped(2 << 20), 4 << 20, "room to begin where a huge page does");
        let mut short = ZeroedArray::<u32>::new(1 << 10);
        short[(1 << 10) - 1] = 7;
        assert_eq!(short.iter().sum::<u32>(), 7);
    }

    #[test]
    fn what_is_made_present_keeps_its_values() {
        let mut array = ZeroedArray::<u32>::new(10_000);
        array[5_000] = 7;
        for range in [0..0, 4_999..5_001, 0..10_000] {
            array.prefault(range);
        }
        assert!(
            array.iter().enumerate().all(|(place, it)| *it == if place == 5_000 { 7 } else { 0 })
        );
    }

    #[test]
    fn an_empty_array_is_an_empty_slice() {
        assert!(ZeroedArray::<u64>::new(0).is_empty());
    }
}
