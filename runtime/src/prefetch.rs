//! Hints to the processor that a line will be read or written soon.
//!
//! A stage that handles a run of batches knows early which lines it will touch: it asks for all
//! of them first, so that their misses overlap. Hints change no result and fault on nothing.
#![cfg_attr(
    all(target_arch = "x86_64", not(loom)),
    expect(unsafe_code, reason = "the intrinsic is declared unsafe, and one hint has none")
)]

/// Asks for the cache line of `value`; about one instruction, nothing on other platforms.
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint about an address that is a valid reference; it reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(loom))))]
    let _ = value;
}

/// Asks for the cache line of `value` as its only holder, because it will be written: another core that
/// has it lets go of it now, and not when the write stands in the way of those behind it.
#[inline(always)]
pub fn prefetch_to_write<T>(value: &T) {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    {
        // SAFETY: a hint about an address that is a valid reference; it changes nothing that can be
        // read. Processors of 64 bits that do not know the hint do nothing.
        unsafe {
            core::arch::asm!(
                "prefetchw [{}]",
                in(reg) core::ptr::from_ref(value),
                options(nostack, preserves_flags, readonly)
            );
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(loom))))]
    let _ = value;
}

/// Asks for entry `index` of `slice`, if there is one.
#[inline(always)]
pub fn prefetch_entry<T>(slice: &[T], index: usize) {
    if let Some(value) = slice.get(index) {
        prefetch(value);
    }
}

/// Asks for the line that holds byte `offset` of entry `index` of `slice`. Nothing is compared: an address
/// outside of the slice is only a hint in vain, and takes longer; for where that is rare.
#[inline(always)]
pub fn prefetch_in_entry<T>(slice: &[T], index: usize, offset: usize) {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which reads nothing and faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(in_entry(slice, index, offset)) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(loom))))]
    let _ = (slice, index, offset);
}

/// The same, to write there.
#[inline(always)]
pub fn prefetch_in_entry_to_write<T>(slice: &[T], index: usize, offset: usize) {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    {
        // SAFETY: a hint, which changes nothing that can be read and faults on no address.
        unsafe {
            core::arch::asm!(
                "prefetchw [{}]",
                in(reg) in_entry(slice, index, offset),
                options(nostack, preserves_flags, readonly)
            );
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(loom))))]
    let _ = (slice, index, offset);
}

#[cfg(all(target_arch = "x86_64", not(loom)))]
#[inline(always)]
fn in_entry<T>(slice: &[T], index: usize, offset: usize) -> *const i8 {
    slice.as_ptr().wrapping_add(index).cast::<i8>().wrapping_add(offset)
}
