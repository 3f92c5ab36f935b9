//! A cache line: there and back between the two cores, one word that each waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use deltaworks_runtime::padded::Padded;
use deltaworks_runtime::pinned::PinnedThread;
use serde_json::json;

use super::Measured;
use crate::system::Cpus;

/// Round trips between two looks at the clock.
const ROUNDS: u64 = 1000;
/// Says that it is over.
const END: u64 = u64::MAX;

/// Nanoseconds of a round trip: the mean, because a look at the clock costs as much as a tenth of it.
pub fn round_trip(cpus: Cpus, time: Duration) -> Measured {
    let word = Arc::new(Padded(AtomicU64::new(0)));
    let other = word.clone();
    // Odd numbers are the answers. Acquire and Release: what each stores is seen whole by the other;
    // each load pairs with the other side's store.
    let answering = PinnedThread::spawn(cpus.load, "answering", move || {
        loop {
            let came = other.load(Ordering::Acquire);
            if came == END {
                return;
            }
            if came % 2 == 1 {
                other.store(came + 1, Ordering::Release);
            } else {
                std::hint::spin_loop();
            }
        }
    });
    let answering = answering.map_err(|error| error.to_string())?;
    let asking = PinnedThread::spawn(cpus.server, "asking", move || {
        let (mut next, began) = (1, Instant::now());
        while began.elapsed() < time {
            for _ in 0..ROUNDS {
                word.store(next, Ordering::Release);
                while word.load(Ordering::Acquire) != next + 1 {
                    std::hint::spin_loop();
                }
                next += 2;
            }
        }
        let seconds = began.elapsed().as_secs_f64();
        word.store(END, Ordering::Release);
        (next / 2, seconds)
    });
    let asking = asking.map_err(|error| error.to_string())?;
    let (trips, seconds) = asking.join().map_err(|_| "a thread panicked")?;
    answering.join().map_err(|_| "a thread panicked")?;
    Ok((seconds * 1e9 / trips as f64, seconds, json!({"trips": trips})))
}
