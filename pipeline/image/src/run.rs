//! Runs: batches that stand one behind another, checked as reception finds them.
//!
//! The whole walk is compiled for a CPU that has an instruction for checksums, so that none of them is a
//! call. It stops at the first message that is no whole and right batch, and does not say why: see
//! [`check_prelude`](crate::check_prelude) and [`check_behind`](crate::check_behind).

#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls functions that need CPU features which were detected")
)]

use crate::check::{Inbound, Usual};
use crate::crc;
use crate::prelude::Limits;

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
/// `offset`, and tells `hear` the handle of each.
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
    for place in run {
        let Some((bytes, Inbound { handle, count, .. })) = usual.check(rest, &checksum) else {
            break;
        };
        hear(handle);
        *place = InRun { offset: at, bytes, handle, count };
        rest = &rest[bytes as usize..];
        at += bytes;
        images += 1;
        deltas += count;
    }
    Walked { images, bytes: at - offset, deltas }
}
