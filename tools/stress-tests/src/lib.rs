//! Everything that two threads share, hammered by real threads, its content checked.
//!
//! The tests are bounded by operations, not by time: some seconds in all as they stand, and so many
//! times as long as `DELTAWORKS_STRESS` says. This library is what they have in common: rounds,
//! contents, chance, and how to sleep and wake. `mutants` lists the faults that they must find, and
//! `src/bin/planted.rs` holds those that a sanitizer must find, or it was not looking.
#![forbid(unsafe_code)]

pub mod mutants;

pub mod rest;

/// How often a test does what it does `base` times by default.
///
/// # Panics
/// If `DELTAWORKS_STRESS` is there and is no number from 1 to 1,000,000.
pub fn rounds(base: u64) -> u64 {
    let Some(times) = std::env::var_os("DELTAWORKS_STRESS") else { return base };
    let times = times.to_str().and_then(|times| times.parse::<u64>().ok());
    let times = times.filter(|times| (1..=1_000_000).contains(times));
    base * times.expect("DELTAWORKS_STRESS is a number from 1 to 1,000,000")
}

/// What must stand where `number` does: content that follows from a number, and that no other
/// number, no half of one and no poison has.
pub fn content(number: u64) -> u64 {
    let mixed = (number ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ mixed >> 29
}

/// Numbers drawn from a seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(content(seed) | 1)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % end
    }

    /// True once in `count` times.
    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// Stays awake for less than `count` looks of a spinning thread.
    pub fn spin(&mut self, count: u64) {
        (0..self.below(count)).for_each(|_| std::hint::spin_loop());
    }

    /// Pauses once in `count` times, long enough for another thread to fall asleep.
    pub fn pause_one_in(&mut self, count: u64) {
        if self.one_in(count) {
            std::thread::sleep(std::time::Duration::from_micros(self.below(200)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_a_content_of_its_own() {
        let mut contents: Vec<u64> = (0..10_000).map(content).collect();
        contents.sort_unstable();
        contents.dedup();
        assert_eq!(contents.len(), 10_000);
        assert!((0..10_000).all(|number| content(number) != number));
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let draw = |seed| -> Vec<u64> {
            let mut random = Random::new(seed);
            (0..100).map(|_| random.below(10)).collect()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!((0..10).all(|number| draw(3).contains(&number)));
    }
}
