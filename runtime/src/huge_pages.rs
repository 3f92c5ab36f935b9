//! Vectors that grow large, in huge pages.
//!
//! What is looked up at random and is larger than what small pages can be remembered of pays for a
//! page walk at each look. [`grow`] asks for huge pages before the memory is touched, because
//! afterwards pages would have to be moved. Advice only: a system that refuses leaves small pages.
#![cfg_attr(
    all(target_os = "linux", not(loom)),
    expect(unsafe_code, reason = "madvise: the advice has no safe form")
)]

const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Makes room for twice as many values if `vec` is full and fills a huge page or more; else nothing. Copies
/// all values then, where growing might only have mapped their pages elsewhere (mremap(2)); one system
/// call.
#[inline]
pub fn grow<T>(vec: &mut Vec<T>) {
    if vec.len() == vec.capacity() && vec.len() * size_of::<T>() >= HUGE_PAGE_BYTES {
        double(vec);
    }
}

#[cold]
fn double<T>(vec: &mut Vec<T>) {
    let mut larger = Vec::with_capacity(2 * vec.len());
    advise(larger.spare_capacity_mut());
    larger.append(vec);
    *vec = larger;
}

/// Asks for huge pages where all of one lies in `memory`.
fn advise<T>(memory: &mut [core::mem::MaybeUninit<T>]) {
    #[cfg(all(target_os = "linux", not(loom)))]
    {
        let start = memory.as_mut_ptr().cast::<u8>();
        let skip = start.align_offset(HUGE_PAGE_BYTES);
        let bytes = size_of_val(memory).saturating_sub(skip) & !(HUGE_PAGE_BYTES - 1);
        if bytes > 0 {
            // SAFETY: the range lies in memory that the caller has for itself, and begins and ends at
            // pages. The advice changes no content, and one that is refused does nothing.
            unsafe { libc::madvise(start.wrapping_add(skip).cast(), bytes, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(all(target_os = "linux", not(loom))))]
    let _ = memory;
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn values_stay_as_a_vector_grows() {
        let mut vec = Vec::new();
        let mut moves = 0;
        for value in 0..3 * HUGE_PAGE_BYTES as u64 / 8 {
            let before = vec.as_ptr();
            grow(&mut vec);
            moves += u32::from(before != vec.as_ptr());
            vec.push(value);
        }
        assert!(moves >= 1);
        assert!(vec.iter().copied().eq(0..vec.len() as u64));
    }

    #[test]
    fn what_is_short_or_has_room_is_left_alone() {
        let mut short = vec![7_u8; 100];
        short.shrink_to_fit();
        let mut roomy = Vec::with_capacity(2 * HUGE_PAGE_BYTES);
        roomy.resize(HUGE_PAGE_BYTES, 7_u8);
        for vec in [&mut short, &mut roomy] {
            let before = (vec.as_ptr(), vec.capacity());
            grow(vec);
            assert_eq!((vec.as_ptr(), vec.capacity()), before);
        }
    }

    #[test]
    fn no_advice_is_given_for_less_than_a_page() {
        for bytes in [0, 1, HUGE_PAGE_BYTES - 1, HUGE_PAGE_BYTES, 3 * HUGE_PAGE_BYTES + 5] {
            let mut memory: Vec<u8> = Vec::with_capacity(bytes);
            advise(memory.spare_capacity_mut());
            memory.resize(bytes, 7);
            assert!(memory.iter().all(|byte| *byte == 7));
        }
    }
}
