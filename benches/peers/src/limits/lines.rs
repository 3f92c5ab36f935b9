//! Lines: what a line of a large table costs that is asked for in time, read and written at random.
//!
//! This is what state by document costs at the least, however little is done with it: the table is as
//! large as what a batch touches of so many documents, in huge pages where the kernel gives them.

use std::time::{Duration, Instant};

use deltaworks_runtime::pinned::PinnedThread;
use deltaworks_runtime::prefetch::prefetch_to_write;
use deltaworks_runtime::zeroed::ZeroedArray;
use serde_json::json;

use super::Measured;
use crate::system::Cpus;

/// Words of a line.
const LINE_WORDS: usize = 8;
/// Lines that a document's state takes where batches touch it: handle, document, producer and subscription
/// one each, what all may read of it half of one, a block of nodes two, and words of lists and of the load.
const DOCUMENT_LINES: usize = 7;
/// Lines between two looks at the clock.
const PIECE: u64 = 4096;

/// Nanoseconds of a random line in a table for `documents` documents, where `AHEAD` lines are asked for
/// before the first of them is touched.
pub fn random<const AHEAD: usize>(cpus: Cpus, documents: usize, time: Duration) -> Measured {
    let walking = move || walk::<AHEAD>(documents * DOCUMENT_LINES, time);
    let thread = PinnedThread::spawn(cpus.server, "lines", walking);
    let thread = thread.map_err(|error| error.to_string())?;
    let (touched, counted, seconds) = thread.join().map_err(|_| "a thread panicked")?;
    if touched != counted {
        return Err(format!("{touched} lines were touched, {counted} are counted"));
    }
    let table_bytes = documents * DOCUMENT_LINES * LINE_WORDS * 8;
    Ok((
        seconds * 1e9 / touched as f64,
        seconds,
        json!({"lines": touched, "table_bytes": table_bytes}),
    ))
}

/// Touches lines for `time`: how many, how many the table holds afterwards, and the seconds.
fn walk<const AHEAD: usize>(lines: usize, time: Duration) -> (u64, u64, f64) {
    let mut table: ZeroedArray<u64> = ZeroedArray::new(lines * LINE_WORDS);
    table.prefault(0..table.len());
    let mut next = draws(lines);
    let mut asked = [0; AHEAD];
    for at in &mut asked {
        *at = next();
        prefetch_to_write(&table[*at]);
    }
    let (began, mut touched) = (Instant::now(), 0);
    while began.elapsed() < time {
        for _ in 0..PIECE {
            let at = &mut asked[touched as usize % AHEAD];
            table[*at] += 1;
            *at = next();
            prefetch_to_write(&table[*at]);
            touched += 1;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    (touched, table.iter().step_by(LINE_WORDS).sum(), seconds)
}

/// First words of random lines: a counter, multiplied and folded.
fn draws(lines: usize) -> impl FnMut() -> usize {
    let mut counter = 0_u64;
    move || {
        counter = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let product = u128::from(counter) * u128::from(counter ^ 0xd6e8_feb8_6659_fd93);
        let random = product as u64 ^ (product >> 64) as u64;
        ((u128::from(random) * lines as u128) >> 64) as usize * LINE_WORDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_that_is_touched_is_counted_and_they_lie_everywhere() {
        let (touched, counted, seconds) = walk::<16>(1000, Duration::from_millis(1));
        assert!(touched >= PIECE && touched == counted && seconds > 0.0);
        let mut next = draws(1000);
        let mut seen = [0_u32; 1000];
        for _ in 0..100_000 {
            let at = next();
            assert!(at.is_multiple_of(LINE_WORDS));
            seen[at / LINE_WORDS] += 1;
        }
        assert!(seen.iter().all(|it| (40..200).contains(it)), "{seen:?}");
    }
}
