//! The one place where platforms differ.
//!
//! Linux maps, binds and locks memory and pins threads. Everything else (a browser, a model) has
//! plain allocations and no system. The rest of the crate names only what stands here.

#[cfg(all(target_os = "linux", not(loom)))]
mod barrier;
#[cfg(all(target_os = "linux", not(loom)))]
pub(crate) use barrier::{barrier_everywhere, register_barriers};
#[cfg(all(target_os = "linux", not(loom)))]
mod linux;
#[cfg(all(target_os = "linux", not(loom)))]
pub(crate) use linux::{Memory, confine, memlock_limit_bytes};
#[cfg(all(target_os = "linux", not(loom)))]
mod slice;
#[cfg(all(target_os = "linux", not(loom)))]
pub(crate) use slice::{ask_for_short_slices, yield_to_others};

#[cfg(not(all(target_os = "linux", not(loom))))]
mod portable;
#[cfg(not(all(target_os = "linux", not(loom))))]
pub(crate) use portable::{Memory, barrier_everywhere, register_barriers};
