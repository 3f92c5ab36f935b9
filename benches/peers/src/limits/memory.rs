//! Memory: what a core reads, writes and copies in a second, and payload copied from cache to cache.

use std::hint::black_box;
use std::time::{Duration, Instant};

use deltaworks_runtime::pinned::PinnedThread;
use serde_json::json;

use super::Measured;
use crate::system::Cpus;

/// More than any cache here holds.
const BYTES: usize = 256 << 20;
/// Bytes between two looks at the clock.
const PIECE: usize = 4 << 20;
/// What payload is copied from and to: fits into a core's own cache.
const NEAR_BYTES: usize = 128 << 10;

/// What is done to the memory.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    Read,
    Write,
    Copy,
}

/// Bytes per second over memory that no cache holds, by one core or by both at once. Copied bytes
/// count once.
pub fn bandwidth(cpus: Cpus, both: bool, way: Way, time: Duration) -> Measured {
    let one = move |cpu| PinnedThread::spawn(cpu, "memory", move || go(way, time));
    let mut threads = vec![one(cpus.server).map_err(|error| error.to_string())?];
    if both {
        threads.push(one(cpus.load).map_err(|error| error.to_string())?);
    }
    let (mut rate, mut longest) = (0.0, 0.0_f64);
    for thread in threads {
        let (bytes, seconds) = thread.join().map_err(|_| "a thread panicked")??;
        rate += bytes as f64 / seconds;
        longest = longest.max(seconds);
    }
    Ok((rate, longest, json!({})))
}

fn go(way: Way, time: Duration) -> Result<(u64, f64), String> {
    // Written once, so that every page is there.
    let mut memory = vec![1_u64; BYTES / 8];
    let (half, pieces) = (BYTES / 16, BYTES / PIECE);
    let words = PIECE / 8;
    let (began, mut moved, mut at, mut wrong) = (Instant::now(), 0, 0, false);
    while began.elapsed() < time {
        match way {
            Way::Read => {
                let piece = &memory[at * words..(at + 1) * words];
                let sum: u64 = black_box(piece).iter().fold(0, |sum, word| sum.wrapping_add(*word));
                wrong |= sum != words as u64;
            }
            Way::Write => black_box(&mut memory[at * words..(at + 1) * words]).fill(1),
            Way::Copy => {
                let place = at % (pieces / 2);
                let (from, to) = memory.split_at_mut(half);
                let piece = place * words..(place + 1) * words;
                black_box(&mut to[piece.clone()]).copy_from_slice(black_box(&from[piece]));
            }
        }
        moved += PIECE as u64;
        at = (at + 1) % pieces;
    }
    let seconds = began.elapsed().as_secs_f64();
    if wrong || memory.iter().any(|word| *word != 1) {
        return Err("memory holds what nobody wrote".to_owned());
    }
    Ok((moved, seconds))
}

/// Bytes per second in copies of `bytes` each, between two places that are in the core's cache.
pub fn copies(cpus: Cpus, bytes: usize, time: Duration) -> Measured {
    let copying = move || {
        let from: Vec<u8> = (0..NEAR_BYTES).map(|place| place as u8).collect();
        let mut to = vec![0; NEAR_BYTES];
        let (began, mut rounds) = (Instant::now(), 0_u64);
        while began.elapsed() < time {
            for (to, from) in to.chunks_exact_mut(bytes).zip(from.chunks_exact(bytes)) {
                black_box(to).copy_from_slice(black_box(from));
            }
            rounds += 1;
        }
        let seconds = began.elapsed().as_secs_f64();
        (rounds * NEAR_BYTES as u64, seconds, from == to)
    };
    let thread = PinnedThread::spawn(cpus.server, "copies", copying);
    let thread = thread.map_err(|error| error.to_string())?;
    let (copied, seconds, is_same) = thread.join().map_err(|_| "a thread panicked")?;
    if !is_same {
        return Err("a copy is another".to_owned());
    }
    let rate = copied as f64 / seconds;
    Ok((rate, seconds, json!({"copy_ns": bytes as f64 / rate * 1e9})))
}
