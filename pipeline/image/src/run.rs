//! Runs: batches that stand one behind another, checked as reception finds them.
//!
//! The whole walk is compiled for a CPU that has an instruction for checksums, so that none of them is a
//! call. It stops at the first message that is no whole and right batch, and does not say why: see
//! [`check_prelude`](crate::check_prelude) and [`check_behind`](crate::check_behind). Batches of one delta,
//! up to 128 bytes, that are as long as those in front are held against the first of these: what both say alike is
//! right.

#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls functions that need CPU features which were detected")
)]

use crate::check::{ENTRY_BYTES, Inbound, Usual, owners_fields};
use crate::crc;
use crate::header::{
    COUNT, DOCUMENT, HEADER_BYTES, PAYLOAD_CRC, PRODUCER_SEQUENCE, read_u32, read_u64,
};
use crate::prelude::{Limits, PADDING_MASK, PRELUDE_BYTES};

/// An image of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InRun {
    /// Where it begins, from where the run is counted.
    pub offset: u32,
    /// Its length.
    pub bytes: u32,
    /// The session's handle of its document.
    pub handle: u32,
    /// Its deltas; 0 for an info.
    pub count: u32,
}

/// What a walk over a run has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Batches.
    pub images: usize,
    /// Their bytes.
    pub bytes: u32,
    /// Their deltas.
    pub deltas: u32,
}

/// Notes the batches at the beginning of `bytes` in `run`, as many as find a place there, the first at
/// `offset`, and tells `hear` the handle of each. The place behind the last may have been written, too.
///
/// Costs one pass over each; allocates nothing.
#[inline]
pub fn check_run(
    bytes: &[u8],
    offset: u32,
    limits: &Limits,
    run: &mut [InRun],
    hear: impl FnMut(u32),
) -> Walked {
    let usual = Usual::new(limits);
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("sse4.2") {
        // SAFETY: the only requirement is SSE4.2, which was detected on this CPU.
        return unsafe { check_in_hardware(bytes, offset, usual, run, hear) };
    }
    walk(bytes, offset, usual, run, hear, crc::of_counted)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn check_in_hardware(
    bytes: &[u8],
    offset: u32,
    usual: Usual,
    run: &mut [InRun],
    hear: impl FnMut(u32),
) -> Walked {
    walk(bytes, offset, usual, run, hear, |count, behind| crc::chains::of_counted(count, behind))
}

#[inline(always)]
fn walk(
    bytes: &[u8],
    offset: u32,
    usual: Usual,
    run: &mut [InRun],
    mut hear: impl FnMut(u32),
    checksum: impl Fn(u32, &[u8]) -> u32,
) -> Walked {
    let (mut rest, mut at) = (bytes, offset);
    let (mut images, mut deltas) = (0, 0);
    while let Some((place, room)) = run.get_mut(images..).and_then(|run| run.split_first_mut()) {
        let Some((bytes, Inbound { handle, count, .. })) = usual.check(rest, &checksum) else {
            break;
        };
        hear(handle);
        *place = InRun { offset: at, bytes, handle, count };
        let (first, behind) = rest.split_at(bytes as usize);
        let alike = if count == 1 {
            walk_alike(first, behind, at + bytes, room, &mut hear, &checksum)
        } else {
            0
        };
        rest = &behind[alike as usize * bytes as usize..];
        at += bytes * (1 + alike);
        images += 1 + alike as usize;
        deltas += count + alike;
    }
    Walked { images, bytes: at - offset, deltas }
}

/// Notes the batches at the beginning of `bytes` in `run`, the first at `at`, as long as they are right and alike
/// with `first`, a right one of one delta that is not long; returns how many.
#[inline(always)]
fn walk_alike(
    first: &[u8],
    bytes: &[u8],
    at: u32,
    run: &mut [InRun],
    hear: impl FnMut(u32),
    checksum: impl Fn(u32, &[u8]) -> u32,
) -> u32 {
    // Each length has a walk of its own, in which all steps of the checksum are known.
    macro_rules! of_length {
        ($($length:literal)*) => {
            match first.len() {
                $($length => walk_behind::<$length>(first, bytes, at, run, hear, checksum),)*
                _ => 0,
            }
        };
    }
    of_length!(64 72 80 88 96 104 112 120 128)
}

#[inline(always)]
fn walk_behind<const BYTES: usize>(
    first: &[u8],
    bytes: &[u8],
    mut at: u32,
    run: &mut [InRun],
    mut hear: impl FnMut(u32),
    checksum: impl Fn(u32, &[u8]) -> u32,
) -> u32 {
    let Some(model) = first.first_chunk::<BYTES>().and_then(Model::of) else { return 0 };
    let mut count = 0;
    for (image, place) in bytes.as_chunks::<BYTES>().0.iter().zip(run) {
        // Written before it is known, and apart: so it is no vector that is put together.
        (place.offset, place.bytes) = (at, BYTES as u32);
        let Some(handle) = model.handle(image, &checksum) else { break };
        hear(handle);
        (place.handle, place.count) = (handle, 1);
        at += BYTES as u32;
        count += 1;
    }
    count
}

/// What batches of one delta that are equally long have in common.
struct Model {
    prelude: u64,
    entry: [u8; ENTRY_BYTES],
    /// The bits of the last word that are padding.
    padding: u64,
}

impl Model {
    /// That of a right batch.
    #[inline(always)]
    fn of<const BYTES: usize>(image: &[u8; BYTES]) -> Option<Self> {
        let prelude = u64::from_le_bytes(*image.first_chunk::<PRELUDE_BYTES>()?);
        let padding = (prelude >> 40) as u8 & PADDING_MASK;
        let entry = *image[HEADER_BYTES..].first_chunk()?;
        Some(Self { prelude, entry, padding: !(u64::MAX >> (8 * padding)) })
    }

    /// The handle of another, if it is right, too: what [`Usual::check`] would look at, which where both are
    /// alike is right already.
    #[inline(always)]
    fn handle<const BYTES: usize>(
        &self,
        image: &[u8; BYTES],
        checksum: impl Fn(u32, &[u8]) -> u32,
    ) -> Option<u32> {
        let header = image.first_chunk::<HEADER_BYTES>()?;
        if read_u64(header, 0) != self.prelude || read_u32(header, COUNT) != 1 {
            return None;
        }
        if *image[HEADER_BYTES..].first_chunk::<ENTRY_BYTES>()? != self.entry {
            return None;
        }
        let padding = u64::from_le_bytes(*image.last_chunk()?) & self.padding;
        if owners_fields(header) | padding != 0 || read_u64(header, PRODUCER_SEQUENCE) == 0 {
            return None;
        }
        let is_whole = checksum(1, &image[COUNT + 4..]) == read_u32(header, PAYLOAD_CRC);
        is_whole.then(|| read_u32(header, DOCUMENT))
    }
}
