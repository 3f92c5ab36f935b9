//! Provided buffers: memory out of which the kernel takes a buffer itself when bytes come.
//!
//! A ring of descriptors that this thread fills and the kernel empties. Mapped once, for as long as the
//! process lives, because the kernel may write to it until its ring is gone.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// Buffers, as the ring wants it a power of two: twice the publisher's window.
pub const BUFFERS: usize = 8;
/// The number under which the kernel knows them.
pub const GROUP: u16 = 0;
const BUFFER_BYTES: usize = 64 << 10;
const PAGE_BYTES: usize = 4096;

const _: () = assert!(BUFFERS.is_power_of_two());
const _: () = assert!(BUFFERS * size_of::<BufRingEntry>() <= PAGE_BYTES);

/// Bytes at the beginning of a buffer.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Which buffer.
    pub buffer: u16,
    /// How many bytes.
    pub bytes: usize,
}

/// The buffers and their ring.
pub struct Provided {
    ring: *mut BufRingEntry,
    memory: *mut u8,
    tail: u16,
}

impl Provided {
    /// All buffers, for the kernel to take.
    ///
    /// # Errors
    /// If memory is refused, or the kernel knows no such ring.
    pub fn new(submitter: &Submitter<'_>) -> io::Result<Self> {
        let all = PAGE_BYTES + BUFFERS * BUFFER_BYTES;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), all, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the mapping is longer than a page.
        let memory = unsafe { at.cast::<u8>().add(PAGE_BYTES) };
        let mut provided = Self { ring: at.cast(), memory, tail: 0 };
        let address = at.addr() as u64;
        // SAFETY: the ring is a page of its own that is never unmapped.
        unsafe { submitter.register_buf_ring_with_flags(address, BUFFERS as u16, GROUP, 0) }?;
        let all = (0..BUFFERS as u16).map(|buffer| Piece { buffer, bytes: 0 });
        provided.give_back(&all.collect::<Vec<_>>());
        Ok(provided)
    }

    /// What the kernel has written to a buffer that was not given back since.
    pub fn bytes(&self, piece: Piece) -> &[u8] {
        let at = usize::from(piece.buffer) * BUFFER_BYTES;
        assert!(usize::from(piece.buffer) < BUFFERS && piece.bytes <= BUFFER_BYTES);
        // SAFETY: within the mapping by the assertion; the kernel writes to no buffer that it has handed out, until
        // it is given back, for which this must be borrowed mutably.
        unsafe { std::slice::from_raw_parts(self.memory.add(at), piece.bytes) }
    }

    /// Lets the kernel take these buffers again.
    pub fn give_back(&mut self, pieces: &[Piece]) {
        for piece in pieces {
            let place = usize::from(self.tail) & (BUFFERS - 1);
            // SAFETY: the buffer lies in the mapping; the place is below the ring's end, and the kernel reads it only
            // when the tail has passed it. No more buffers are given back than there are.
            let entry = unsafe {
                assert!(usize::from(piece.buffer) < BUFFERS);
                let buffer = self.memory.add(usize::from(piece.buffer) * BUFFER_BYTES);
                let entry = &mut *self.ring.add(place);
                entry.set_addr(buffer.addr() as u64);
                entry
            };
            entry.set_len(BUFFER_BYTES as u32);
            entry.set_bid(piece.buffer);
            self.tail = self.tail.wrapping_add(1);
        }
        // SAFETY: the ring's first entry holds its tail, two aligned bytes that the kernel reads and we alone write.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.ring).cast_mut()) };
        // Release: publishes the entries; pairs with the kernel's Acquire of the tail.
        tail.store(self.tail, Ordering::Release);
    }
}
