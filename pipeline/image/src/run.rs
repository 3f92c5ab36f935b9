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

/// Checks the batches at the beginning of `bytes`, and gives each with its length to `take` until that
/// returns `false`. Returns the bytes of those that were given.
///
/// Costs one pass over each; allocates nothing.
#[inline]
pub fn check_run(bytes: &[u8], limits: &Limits, take: impl FnMut(u32, Inbound) -> bool) -> usize {
    let usual = Usual::new(limits);
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("sse4.2") {
        // SAFETY: the only requirement is SSE4.2, which was detected on this CPU.
        return unsafe { check_in_hardware(bytes, usual, take) };
    }
    walk(bytes, usual, take, crc::of_counted)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn check_in_hardware(bytes: &[u8], usual: Usual, take: impl FnMut(u32, Inbound) -> bool) -> usize {
    walk(bytes, usual, take, |count, behind| crc::chains::of_counted(count, behind))
}

#[inline(always)]
fn walk(
    bytes: &[u8],
    usual: Usual,
    mut take: impl FnMut(u32, Inbound) -> bool,
    checksum: impl Fn(u32, &[u8]) -> u32,
) -> usize {
    let mut rest = bytes;
    while let Some((length, inbound)) = usual.check(rest, &checksum) {
        rest = &rest[length as usize..];
        if !take(length, inbound) {
            break;
        }
    }
    bytes.len() - rest.len()
}
