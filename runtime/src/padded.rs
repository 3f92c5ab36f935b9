//! A value on cache lines of its own.
//!
//! What one core writes and another reads stands alone, so that neighbours are not slowed. Two
//! lines of 64 bytes, because common processors fetch lines in pairs. Any core; never grows.

use core::ops::{Deref, DerefMut};

/// A value aligned to 128 bytes and padded to a multiple of them.
#[derive(Debug, Default, Clone, Copy)]
#[repr(align(128))]
pub struct Padded<T>(pub T);

impl<T> Deref for Padded<T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Padded<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
