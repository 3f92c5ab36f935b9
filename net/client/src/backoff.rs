//! Pauses between reconnects: twice as long each time, up to a maximum, with jitter.
//!
//! Half of a pause is fixed and half is random, so that clients that lost their server together do
//! not come back together.

use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
    random: u64,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration, seed: u64) -> Backoff {
        let min = min.min(max);
        Backoff { min, max, next: min, random: seed | 1 }
    }

    /// The next pause.
    pub(crate) fn pause(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(self.max);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let share = (self.random >> 40) as f64 / (1u64 << 24) as f64;
        whole / 2 + (whole / 2).mul_f64(share)
    }

    /// A connection did well: the next pause is short again.
    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_maximum_and_differ() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(50), ms(5_000), 7);
        let mut whole = ms(50);
        let mut pauses = Vec::new();
        for _ in 0..20 {
            let pause = backoff.pause();
            assert!(pause >= whole / 2 && pause <= whole, "{pause:?} of {whole:?}");
            whole = (whole * 2).min(ms(5_000));
            pauses.push(pause);
        }
        let mut late = pauses.split_off(10);
        late.dedup();
        assert_eq!(late.len(), 10, "jitter");
        backoff.reset();
        assert!(backoff.pause() <= ms(50));
    }
}
