//! What the server writes into an image: bytes 8..40.
//!
//! The owner stamps all of them in one pass, once per batch, on the hot path. Until then the place of
//! the stamp's time, which clients must leave zero, may hold the server's own note of when the image
//! was received. Nothing here looks at the body, allocates, or can fail.

#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls a function that needs CPU features which were detected")
)]

use crate::crc;
use crate::header::{
    DOCUMENT, DocumentId, FIRST_SEQUENCE, HEADER_BYTES, HEADER_CRC, ORIGIN, TIME_US, read_u64,
    write_u32, write_u64,
};

/// The owner's fields of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The document.
    pub document: DocumentId,
    /// The sequence of the batch's first delta; sequences start at 1.
    pub first_sequence: u64,
    /// Microseconds since the Unix epoch.
    pub time_us: u64,
    /// The number that `opened` gave the writer.
    pub origin: u32,
}

/// Writes the owner's fields and the header's CRC into the image that starts at `image[0]`.
///
/// Costs a few nanoseconds: 32 bytes written, a CRC over 36.
///
/// # Panics
/// If `image` is shorter than [`HEADER_BYTES`].
#[inline]
pub fn stamp(image: &mut [u8], stamp: Stamp) {
    write(image, stamp, crc::of_header);
}

#[inline(always)]
fn write(image: &mut [u8], stamp: Stamp, checksum: impl Fn(&[u8; HEADER_CRC]) -> u32) {
    let header = image.first_chunk_mut::<HEADER_BYTES>().expect("an image begins with its header");
    write_u64(header, DOCUMENT, stamp.document.to_bits());
    write_u64(header, FIRST_SEQUENCE, stamp.first_sequence);
    write_u64(header, TIME_US, stamp.time_us);
    write_u32(header, ORIGIN, stamp.origin);
    let crc = checksum(header.first_chunk().expect("shorter than the header"));
    write_u32(header, HEADER_CRC, crc);
}

/// Work in whose course images are stamped: see [`stamping`].
pub trait Stamping {
    /// What it comes to.
    type Output;

    /// Does the work, with what is as [`stamp`] is. To be `#[inline(always)]`, or a stamp stays a call.
    fn work(self, stamp: impl Fn(&mut [u8], Stamp)) -> Self::Output;
}

/// Does `work`, all of which is compiled for a CPU with an instruction for checksums where there is one, so
/// that a stamp is no call in the middle of it.
#[inline]
pub fn stamping<W: Stamping>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("sse4.2") {
        // SAFETY: the only requirement is SSE4.2, which was detected on this CPU.
        return unsafe { in_hardware(work) };
    }
    work.work(stamp)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn in_hardware<W: Stamping>(work: W) -> W::Output {
    work.work(|image, stamp| write(image, stamp, |header| crc::chains::of_header(header)))
}

/// Notes when an image was received, in nanoseconds of the server's own clock; the stamp overwrites
/// it.
///
/// # Panics
/// If `image` is shorter than [`HEADER_BYTES`].
#[inline]
pub fn note_received(image: &mut [u8], received_ns: u64) {
    let header = image.first_chunk_mut::<HEADER_BYTES>().expect("an image begins with its header");
    write_u64(header, TIME_US, received_ns);
}

/// What [`note_received`] noted in an image that is not stamped yet; 0 if it did not.
///
/// # Panics
/// If `image` is shorter than [`HEADER_BYTES`].
#[inline]
pub fn received_ns(image: &[u8]) -> u64 {
    let header = image.first_chunk::<HEADER_BYTES>().expect("an image begins with its header");
    read_u64(header, TIME_US)
}
