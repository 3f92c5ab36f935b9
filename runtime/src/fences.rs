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
//! Where the system has no such call (an old kernel, a filter, a browser), and in models, which know no
//! kernel, both sides fence. Belongs to no core, owns nothing.

use crate::platform;
#[cfg(not(loom))]
use crate::sync::atomic::compiler_fence;
use crate::sync::atomic::{Ordering, fence};

/// Who fences how; both sides of a pair hold the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fences {
    by_kernel: bool,
}

impl Fences {
    /// Each side fences for itself: for a seldom side that is not so seldom.
    pub const EVEN: Self = Self { by_kernel: false };

    /// The often side is cheap if the kernel fences for it, else even. A system call.
    pub fn lopsided() -> Self {
        Self { by_kernel: platform::register_barriers() }
    }

    /// Whether the kernel fences for the often side.
    pub fn are_by_kernel(self) -> bool {
        self.by_kernel
    }

    /// Between what the often side has written and its look. Nothing if the kernel fences for it.
    #[inline(always)]
    pub fn often(self) {
        #[cfg(not(loom))]
        if self.by_kernel {
            // A fence for the compiler alone; pairs with the kernel's in `seldom`.
            compiler_fence(Ordering::SeqCst);
            return;
        }
        // The fence pairs with that of `seldom`.
        fence(Ordering::SeqCst);
    }

    /// Between what the seldom side has written and its look. By the kernel a system call, and an
    /// interrupt of each core on which another thread of this process runs.
    pub fn seldom(self) {
        // The fence pairs with that of `often`.
        fence(Ordering::SeqCst);
        if self.by_kernel {
            platform::barrier_everywhere();
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
        fences.seldom();
        assert_eq!(Fences::lopsided(), fences, "asked twice, told the same");
        assert!(!Fences::EVEN.are_by_kernel());
    }
}
