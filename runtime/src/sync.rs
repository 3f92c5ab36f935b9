//! The one place that names atomics, cells, locks and threads.
//!
//! Everything that two threads share is built from these, so that a model checker can stand in
//! for the machine: under `cfg(loom)` the same names mean loom's types. The cell has loom's shape
//! (`with`, `with_mut`) on both sides and costs nothing outside a model. Belongs to no core, owns
//! nothing, waits for nothing but what a lock or a parker waits for.

#[cfg(loom)]
pub use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
#[cfg(not(loom))]
pub use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// Atomic integers, orderings and fences.
pub mod atomic {
    #[cfg(loom)]
    pub use loom::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    #[cfg(not(loom))]
    pub use std::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, compiler_fence, fence,
    };
}

/// Cells whose every access a model can see.
pub mod cell {
    #[cfg(loom)]
    pub use loom::cell::UnsafeCell;
    #[cfg(not(loom))]
    pub use plain::UnsafeCell;

    #[cfg(not(loom))]
    mod plain {
        /// A cell in the shape of loom's: pointers exist only inside `with` and `with_mut`.
        ///
        /// Using such a pointer is as unsafe as ever; the shape only makes accesses visible.
        #[derive(Debug, Default)]
        #[repr(transparent)]
        pub struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

        impl<T> UnsafeCell<T> {
            /// A cell around `value`.
            #[inline(always)]
            pub const fn new(value: T) -> Self {
                Self(core::cell::UnsafeCell::new(value))
            }

            /// What `f` makes of a pointer for reading.
            #[inline(always)]
            pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
                f(self.0.get())
            }

            /// What `f` makes of a pointer for writing.
            #[inline(always)]
            pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
                f(self.0.get())
            }
        }
    }
}

/// Threads: spawning, yielding and joining.
pub mod thread {
    #[cfg(loom)]
    pub use loom::thread::{JoinHandle, spawn, yield_now};
    #[cfg(not(loom))]
    pub use std::thread::{JoinHandle, spawn, yield_now};
}

/// What a thread says to the processor, or to the model, while it has nothing to do.
pub mod hint {
    #[cfg(loom)]
    pub use loom::hint::spin_loop;
    #[cfg(not(loom))]
    pub use std::hint::spin_loop;
}
