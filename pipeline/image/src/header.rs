//! Where each field of an image's header stands, and the plain reads and writes of them.
//!
//! Every field has one writer: see the drawing in the crate's docs. This file checks nothing; the
//! offsets are asserted to be contiguous, and the header to be within one cache line.

use core::fmt;

/// Bytes of an image's header, prelude included.
pub const HEADER_BYTES: usize = 56;

/// The longest delta, in bytes; the shortest has 1.
pub const DELTA_BYTES_MAX: usize = 1 << 16;

/// Offset of the document field.
pub const DOCUMENT: usize = 8;
/// Offset of the first sequence.
pub const FIRST_SEQUENCE: usize = 16;
/// Offset of the time in microseconds.
pub const TIME_US: usize = 24;
/// Offset of the origin.
pub const ORIGIN: usize = 32;
/// Offset of the header's CRC; it covers the bytes before it.
pub const HEADER_CRC: usize = 36;
/// Offset of the payload's CRC.
pub const PAYLOAD_CRC: usize = 40;
/// Offset of the count; the payload's CRC covers everything from here.
pub const COUNT: usize = 44;
/// Offset of the producer sequence.
pub const PRODUCER_SEQUENCE: usize = 48;

const _: () = {
    assert!(DOCUMENT == crate::prelude::PRELUDE_BYTES);
    assert!(FIRST_SEQUENCE == DOCUMENT + 8 && TIME_US == FIRST_SEQUENCE + 8);
    assert!(ORIGIN == TIME_US + 8 && HEADER_CRC == ORIGIN + 4);
    assert!(PAYLOAD_CRC == HEADER_CRC + 4 && COUNT == PAYLOAD_CRC + 4);
    assert!(PRODUCER_SEQUENCE == COUNT + 4 && HEADER_BYTES == PRODUCER_SEQUENCE + 8);
    assert!(HEADER_BYTES <= 64 && HEADER_BYTES.is_multiple_of(8));
};

/// A document's identity: a slot, and how often the slot was given away before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentId {
    /// The slot, an index.
    pub slot: u32,
    /// The slot's generation.
    pub generation: u32,
}

impl DocumentId {
    /// The id as one number: the slot in the low half, the generation in the high half.
    #[inline]
    pub const fn to_bits(self) -> u64 {
        self.slot as u64 | (self.generation as u64) << 32
    }

    /// The id of a number that [`to_bits`](Self::to_bits) gave.
    #[inline]
    pub const fn from_bits(bits: u64) -> DocumentId {
        DocumentId { slot: bits as u32, generation: (bits >> 32) as u32 }
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

#[inline]
pub(crate) fn read_u32(header: &[u8; HEADER_BYTES], offset: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&header[offset..offset + 4]);
    u32::from_le_bytes(field)
}

#[inline]
pub(crate) fn read_u64(header: &[u8; HEADER_BYTES], offset: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&header[offset..offset + 8]);
    u64::from_le_bytes(field)
}

#[inline]
pub(crate) fn write_u32(header: &mut [u8; HEADER_BYTES], offset: usize, value: u32) {
    header[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
}

#[inline]
pub(crate) fn write_u64(header: &mut [u8; HEADER_BYTES], offset: usize, value: u64) {
    header[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
}
