//! Runs many seeds on several threads, and keeps the first failures.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::coverage::Coverage;
use crate::schedule::{Failure, Schedule, keep_panics};

/// Seeds that a thread takes at a time.
const SEEDS_AT_ONCE: u64 = 16;

/// What became of a range of seeds.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Seeds that passed.
    pub passed: u64,
    /// Those that failed, in order; if the run ended at the first, the lowest that was seen.
    pub failures: Vec<(u64, Failure)>,
    /// What happened in those that passed.
    pub coverage: Coverage,
}

/// Runs `seeds` on `jobs` threads, until `failures_max` have failed; `progress` is told how many were
/// run since it was told last. Each seed is run as if it were alone.
///
/// # Panics
/// If a thread cannot be had.
pub fn run(
    seeds: Range<u64>,
    jobs: usize,
    failures_max: usize,
    progress: impl Fn(u64) + Sync,
) -> Outcome {
    keep_panics();
    let next = AtomicU64::new(seeds.start);
    let is_over = AtomicBool::new(false);
    let outcome = Mutex::new(Outcome::default());
    let work = || {
        while !is_over.load(Ordering::Relaxed) {
            // Relaxed: a counter of its own. It stays at the end, also at that of all numbers.
            let taken = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |first| {
                (first < seeds.end).then(|| seeds.end.min(first.saturating_add(SEEDS_AT_ONCE)))
            });
            let Ok(first) = taken else { return };
            let mut part = Outcome::default();
            for seed in first..seeds.end.min(first.saturating_add(SEEDS_AT_ONCE)) {
                match Schedule::run_whole(seed) {
                    Ok(coverage) => {
                        part.passed += 1;
                        part.coverage += &coverage;
                    }
                    Err(failure) => part.failures.push((seed, failure)),
                }
            }
            progress(part.passed + part.failures.len() as u64);
            let mut whole = outcome.lock().expect("no thread panics with it");
            whole.passed += part.passed;
            whole.coverage += &part.coverage;
            whole.failures.extend(part.failures);
            if whole.failures.len() >= failures_max {
                is_over.store(true, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(work);
        }
    });
    let mut outcome = outcome.into_inner().expect("all threads have ended");
    outcome.failures.sort_by_key(|(seed, _)| *seed);
    outcome
}
