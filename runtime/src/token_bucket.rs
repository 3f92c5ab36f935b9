//! A rate in one word: how much may be taken now, so that no more is taken over time.
//!
//! The word is the time at which the bucket will be full again. Taking moves it on by what the amount
//! takes to flow in; it may stand at most the burst ahead of now. So nothing has to be refilled, no
//! clock is read, and a rate may change at any time. [`TokenBucket`] belongs to one thread,
//! [`SharedBucket`] to whoever has it; what is taken out of it at once is many bytes' credit, so it is
//! touched some hundred times a second. It never waits: what is not there is not given.

use crate::sync::atomic::{AtomicU64, Ordering};

/// Parts of a nanosecond in which time is kept: 36 years fit.
const PARTS_PER_NS: u64 = 16;
const PARTS_PER_SECOND: u128 = 1_000_000_000 * PARTS_PER_NS as u128;

/// How much flows in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So much a second; none: there is no bound.
    pub per_second: Option<u64>,
    /// What may be taken at once is what flows in in so many nanoseconds.
    pub burst_ns: u64,
}

impl Rate {
    /// No bound.
    pub const NONE: Self = Self { per_second: None, burst_ns: 0 };

    /// What may be taken at once at most.
    pub fn burst(&self) -> u64 {
        self.amount(self.burst_ns.saturating_mul(PARTS_PER_NS))
    }

    /// What flows in in a time, rounded down.
    fn amount(&self, parts: u64) -> u64 {
        let Some(per_second) = self.per_second else { return u64::MAX };
        let amount = u128::from(parts) * u128::from(per_second) / PARTS_PER_SECOND;
        amount.try_into().unwrap_or(u64::MAX)
    }

    /// The time in which an amount flows in, rounded up.
    fn time(&self, amount: u64) -> u64 {
        let Some(per_second) = self.per_second else { return 0 };
        let parts = u128::from(amount) * PARTS_PER_SECOND;
        parts.div_ceil(u128::from(per_second.max(1))).try_into().unwrap_or(u64::MAX)
    }

    /// What may be taken of a bucket that will be full at `full_at`.
    fn available(&self, full_at: u64, now_ns: u64) -> u64 {
        if self.per_second.is_none() {
            return u64::MAX;
        }
        let ahead = full_at.saturating_sub(now_ns.saturating_mul(PARTS_PER_NS));
        self.amount(self.burst_ns.saturating_mul(PARTS_PER_NS).saturating_sub(ahead))
    }

    /// When a bucket will be full behind the taking of `amount`.
    fn behind(&self, full_at: u64, amount: u64, now_ns: u64) -> u64 {
        full_at.max(now_ns.saturating_mul(PARTS_PER_NS)).saturating_add(self.time(amount))
    }
}

/// A bucket of one thread; full at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenBucket {
    full_at: u64,
}

impl TokenBucket {
    /// What may be taken now.
    #[inline]
    pub fn available(&self, rate: &Rate, now_ns: u64) -> u64 {
        rate.available(self.full_at, now_ns)
    }

    /// Takes `amount`, also if that is more than there is: then nothing is available for longer.
    #[inline]
    pub fn take(&mut self, amount: u64, rate: &Rate, now_ns: u64) {
        if rate.per_second.is_some() {
            self.full_at = rate.behind(self.full_at, amount, now_ns);
        }
    }

    /// Gives back what was taken and not used; never more is there than the burst.
    #[inline]
    pub fn give_back(&mut self, amount: u64, rate: &Rate) {
        self.full_at = self.full_at.saturating_sub(rate.time(amount));
    }
}

/// A bucket of several threads; full at first.
///
/// | word | written by | read by |
/// |---|---|---|
/// | `full_at` | whoever takes, by exchange | the same |
#[derive(Debug)]
pub struct SharedBucket {
    full_at: AtomicU64,
}

impl Default for SharedBucket {
    fn default() -> Self {
        Self { full_at: AtomicU64::new(0) }
    }
}

impl SharedBucket {
    /// Takes as much of `wanted` as there is, and returns how much that was.
    pub fn take_up_to(&self, wanted: u64, rate: &Rate, now_ns: u64) -> u64 {
        if rate.per_second.is_none() {
            return wanted;
        }
        // Relaxed, all of them: a count of its own, which publishes nothing.
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let taken = wanted.min(rate.available(full_at, now_ns));
            if taken == 0 {
                return 0;
            }
            let next = rate.behind(full_at, taken, now_ns);
            match self.full_at.compare_exchange(full_at, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return taken,
                Err(other) => full_at = other,
            }
        }
    }

    /// Takes `amount`, also if that is more than there is.
    pub fn take(&self, amount: u64, rate: &Rate, now_ns: u64) {
        if rate.per_second.is_none() {
            return;
        }
        // Relaxed: as in `take_up_to`.
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let next = rate.behind(full_at, amount, now_ns);
            match self.full_at.compare_exchange(full_at, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(other) => full_at = other,
            }
        }
    }

    /// Gives back what was taken and not used; never more is there than the burst.
    pub fn give_back(&self, amount: u64, rate: &Rate) {
        let time = rate.time(amount);
        if time == 0 {
            return;
        }
        // Relaxed: as in `take_up_to`. A word that others have moved on since stays right: times add up
        // in any order. The rate may be lower than it was when the amount was taken.
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let next = full_at.saturating_sub(time);
            match self.full_at.compare_exchange(full_at, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => break,
                Err(other) => full_at = other,
            }
        }
    }

    /// What may be taken now.
    pub fn available(&self, rate: &Rate, now_ns: u64) -> u64 {
        // Relaxed: as in `take_up_to`.
        rate.available(self.full_at.load(Ordering::Relaxed), now_ns)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: Some(1_000), burst_ns: 500_000_000 };

    #[test]
    fn no_more_is_taken_than_the_burst_and_what_flows_in() {
        for per_second in [1, 7, 1_000, 123_457, 10_000_000_000] {
            let rate = Rate { per_second: Some(per_second), burst_ns: 250_000_000 };
            let (mut bucket, shared) = (TokenBucket::default(), SharedBucket::default());
            let (mut taken, mut of_shared, mut now_ns) = (0, 0, 1_000_000_000);
            let began_ns = now_ns;
            for step in 0..5_000_u64 {
                let amount = bucket.available(&rate, now_ns).min(step % 97 * per_second / 1_000);
                bucket.take(amount, &rate, now_ns);
                taken += amount;
                of_shared += shared.take_up_to(step % 89 * per_second / 1_000, &rate, now_ns);
                let flowed = u128::from(now_ns - began_ns) * u128::from(per_second) / 1_000_000_000;
                let most = u128::from(rate.burst()) + flowed + 1;
                assert!(u128::from(taken) <= most && u128::from(of_shared) <= most, "{step}");
                now_ns += step % 11 * 1_000_000;
            }
            let flowed = (now_ns - began_ns) / 1_000 * per_second / 1_000_000;
            assert!(per_second < 1_000 || taken > flowed / 2, "{taken} of {flowed}");
        }
    }

    #[test]
    fn a_debt_is_paid_before_anything_is_given() {
        let mut bucket = TokenBucket::default();
        assert_eq!(bucket.available(&RATE, 0), 500);
        bucket.take(1_500, &RATE, 0);
        assert_eq!(bucket.available(&RATE, 1_000_000_000), 0);
        assert_eq!(bucket.available(&RATE, 1_100_000_000), 100);
        assert_eq!(bucket.available(&RATE, u64::MAX / PARTS_PER_NS), 500, "no more than the burst");
    }

    #[test]
    fn what_is_given_back_is_there_again_once() {
        let shared = SharedBucket::default();
        assert_eq!(shared.take_up_to(400, &RATE, 5_000), 400);
        shared.give_back(300, &RATE);
        assert_eq!(shared.take_up_to(1_000, &RATE, 5_000), 400);
        assert_eq!(shared.take_up_to(1, &RATE, 5_000), 0);
        shared.take(100, &RATE, 5_000);
        assert_eq!(shared.available(&RATE, 5_000 + 150_000_000), 50);
    }

    #[test]
    fn giving_back_at_a_lower_rate_fills_the_bucket_and_no_more() {
        let slow = Rate { per_second: Some(1), burst_ns: 10_000_000_000 };
        let (mut own, shared) = (TokenBucket::default(), SharedBucket::default());
        own.take(400, &RATE, 5_000);
        shared.take(400, &RATE, 5_000);
        own.give_back(400, &slow);
        shared.give_back(400, &slow);
        assert_eq!((own.available(&slow, 5_000), shared.available(&slow, 5_000)), (10, 10));
    }

    #[test]
    fn no_rate_is_no_bound() {
        let shared = SharedBucket::default();
        assert_eq!(shared.take_up_to(u64::MAX, &Rate::NONE, 1), u64::MAX);
        let mut bucket = TokenBucket::default();
        bucket.take(u64::MAX, &Rate::NONE, 1);
        assert_eq!(bucket.available(&Rate::NONE, 1), u64::MAX);
    }
}
