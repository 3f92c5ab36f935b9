//! Memory where there is no system to ask: one zeroed allocation.
//!
//! In a model every granule of it has a cell, so that an access by two threads that nothing
//! orders is found. Never huge, never bound, never locked, and that is nothing to tell.
#![expect(unsafe_code, reason = "the allocation is shared by pointers")]

use crate::chunk_memory::{Downgrade, RegionSpec};
use core::ptr::NonNull;
use std::alloc::Layout;

/// Bytes that a model watches as one.
#[cfg(loom)]
const GRANULE_BYTES: usize = 32;

/// Whether the system fences on other threads: it does not.
pub(crate) fn register_barriers() -> bool {
    false
}

/// Is never asked for.
pub(crate) fn barrier_everywhere() -> bool {
    unreachable!("nobody has promised it")
}

pub(crate) struct Memory {
    base: NonNull<u8>,
    layout: Layout,
    #[cfg(loom)]
    granules: Box<[crate::sync::cell::UnsafeCell<()>]>,
}

// SAFETY: the allocation is owned, and all access goes through pointers with a contract.
unsafe impl Send for Memory {}
// SAFETY: as above; the cells of a model are there to find who breaks the contract.
unsafe impl Sync for Memory {}

impl Memory {
    pub(crate) fn map(
        bytes: usize,
        align_bytes: usize,
        _downgrades: &mut Vec<Downgrade>,
    ) -> std::io::Result<Self> {
        let refused = || std::io::Error::from(std::io::ErrorKind::OutOfMemory);
        let layout = Layout::from_size_align(bytes, align_bytes).map_err(|_| refused())?;
        // SAFETY: the caller asks for at least one byte.
        let base = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) }).ok_or_else(refused)?;
        Ok(Self {
            base,
            layout,
            #[cfg(loom)]
            granules: (0..bytes.div_ceil(GRANULE_BYTES))
                .map(|_| crate::sync::cell::UnsafeCell::new(()))
                .collect(),
        })
    }

    #[inline(always)]
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) fn bind(&self, _: usize, _: usize, _: RegionSpec) -> Option<Downgrade> {
        None
    }

    pub(crate) fn lock(&self, _: usize, _: usize) -> Option<Downgrade> {
        None
    }

    pub(crate) fn populate(&self, _: usize, _: usize) -> Result<bool, Downgrade> {
        Ok(true)
    }

    pub(crate) fn placed(&self, _: usize, _: usize, _: RegionSpec) -> Option<Downgrade> {
        None
    }

    pub(crate) fn touch(&self, _: usize, _: usize) {}

    /// Says to a model that the bytes are read now.
    #[inline(always)]
    pub(crate) fn will_read(&self, _at: usize, _bytes: usize) {
        #[cfg(loom)]
        for granule in &self.granules[_at / GRANULE_BYTES..(_at + _bytes).div_ceil(GRANULE_BYTES)] {
            granule.with(|_| ());
        }
    }

    /// Says to a model that the bytes are written now.
    #[inline(always)]
    pub(crate) fn will_write(&self, _at: usize, _bytes: usize) {
        #[cfg(loom)]
        for granule in &self.granules[_at / GRANULE_BYTES..(_at + _bytes).div_ceil(GRANULE_BYTES)] {
            granule.with_mut(|_| ());
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `map` with this layout, and nothing borrows it any more.
        unsafe { std::alloc::dealloc(self.base.as_ptr(), self.layout) };
    }
}
