//! Two fences that meet: one that is passed often, and one that is passed seldom.
//!
//! One side writes its word and looks at the other's, and so does the other side; with a fence in
//! between on both, one of the two sees what the other wrote. A fence costs as long as the stores
//! before it take to reach the other core, so where one side comes by a million times as often as the
//! other, the kernel fences for it: the seldom side asks it to have every thread of this process that
//! runs pass a fence now (membarrier(2), private and expedited), and threads that do not run pass one
//! before they do. What the often side then needs is that the compiler keeps the order.
//!
//! | | often | seldom |
//! |---|---|---|
//! | even | `fence(SeqCst)` | `fence(SeqCst)` |
//! | by the kernel | a fence for the compiler | `fence(SeqCst)`, and one on all other running threads |
//!
//! Where the system has no such call (an old kernel, a filter, a browser), in models, which know no
//! kernel, and with many cores, whom the call would interrupt, both sides fence. Belongs to no core,
//! owns nothing.

use crate::platform;
#[cfg(not(loom))]
use crate::sync::atomic::compiler_fence;
use crate::sync::atomic::{Ordering, fence};

/// Who fences how; both sides of a pair hold the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fences(How);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Even,
    ByKernel,
    /// As by a kernel that has promised and refuses.
    #[cfg(all(test, not(loom)))]
    Refused,
}

/// With so many cores at most the kernel fences for who rings.
///
/// It interrupts every CPU on which a thread of the process runs, each time that a core parks. All
/// cores together so interrupt each other as often as the square of their number, while a fence at
/// each ring costs a core the same whatever their number. Measured with two cores and not with more:
/// eight is a guess, and not a figure.
pub const BY_KERNEL_CORES_MAX: usize = 8;

impl Fences {
    /// A kernel that has promised to fence and refuses, for tests.
    #[cfg(all(test, not(loom)))]
    pub(crate) const REFUSED: Self = Self(How::Refused);

    /// Each side fences for itself: for a seldom side that is not so seldom.
    pub const EVEN: Self = Self(How::Even);

    /// The often side is cheap if the kernel fences for it, else even. A system call.
    pub fn lopsided() -> Self {
        Self(if platform::register_barriers() { How::ByKernel } else { How::Even })
    }

    /// What so many cores that ring each other take: lopsided up to [`BY_KERNEL_CORES_MAX`], else even.
    pub fn for_cores(cores: usize) -> Self {
        if cores <= BY_KERNEL_CORES_MAX { Self::lopsided() } else { Self::EVEN }
    }

    /// Whether the kernel fences for the often side.
    pub fn are_by_kernel(self) -> bool {
        self.0 != How::Even
    }

    /// Between what the often side has written and its look. Nothing if the kernel fences for it.
    #[inline(always)]
    pub fn often(self) {
        #[cfg(not(loom))]
        if self.0 != How::Even {
            // A fence for the compiler alone; pairs with the kernel's in `seldom`.
            compiler_fence(Ordering::SeqCst);
            return;
        }
        // The fence pairs with that of `seldom`.
        fence(Ordering::SeqCst);
    }

    /// Between what the seldom side has written and its look. By the kernel a system call, and an
    /// interrupt of each core on which another thread of this process runs. False if the kernel had no
    /// memory for it: then the often side may miss what was written.
    #[must_use]
    pub fn seldom(self) -> bool {
        // The fence pairs with that of `often`.
        fence(Ordering::SeqCst);
        match self.0 {
            How::Even => true,
            How::ByKernel => platform::barrier_everywhere(),
            #[cfg(all(test, not(loom)))]
            How::Refused => false,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_asked_only_where_it_answers() {
        let fences = Fences::lopsided();
        println!("fences by the kernel: {}", fences.are_by_kernel());
        fences.often();
        assert!(fences.seldom() && Fences::EVEN.seldom() && !Fences::REFUSED.seldom());
        assert_eq!(Fences::lopsided(), fences, "asked twice, told the same");
        assert!(!Fences::EVEN.are_by_kernel());
    }

    #[test]
    fn many_cores_do_not_interrupt_each_other() {
        assert_eq!(Fences::for_cores(1), Fences::lopsided());
        assert_eq!(Fences::for_cores(BY_KERNEL_CORES_MAX), Fences::lopsided());
        assert_eq!(Fences::for_cores(BY_KERNEL_CORES_MAX + 1), Fences::EVEN);
    }
}
