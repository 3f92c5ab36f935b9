//! How long images take, by stage: histograms in plain integers of one core.
//!
//! A histogram belongs to the agent that counts in it. Times come from outside; this file reads no
//! clock. It never grows: what is longer than [`LONGEST_NS`] counts into the last bucket, and
//! [`Histogram::max_ns`] still tells how long it was.
//!
//! ```text
//! 0 64 128 …  512  576 … 960  1024  1152 …   eight buckets to each doubling: none is wider than
//! └── 64 ns each ──┘  └─ 64 ─┘    └─ 128 ─▶   an eighth of where it begins
//! ```

/// Bits of a time that no bucket tells apart.
const UNIT_BITS: u32 = 6;
/// Bits below the highest that choose the bucket: eight buckets to each doubling.
const FRACTION_BITS: u32 = 3;
/// Buckets to each doubling.
const FRACTIONS: usize = 1 << FRACTION_BITS;
/// Doublings behind the first, linear part.
const DOUBLINGS: usize = 27;

/// Buckets of a histogram.
pub const BUCKETS: usize = FRACTIONS * (DOUBLINGS + 1);

/// Where the last bucket ends: 68 seconds.
pub const LONGEST_NS: u64 = 1 << (UNIT_BITS + FRACTION_BITS + DOUBLINGS as u32);

/// Times that one agent has counted. 1.8 KiB; counting one is a shift, three additions and a
/// comparison.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    sum_ns: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], sum_ns: 0, max_ns: 0 }
    }
}

impl Histogram {
    /// Counts a time.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.record_many(ns, 1);
    }

    /// Counts the same time so many times; at least once.
    #[inline]
    pub fn record_many(&mut self, ns: u64, times: u64) {
        self.counts[bucket_of(ns)] += times;
        self.sum_ns = self.sum_ns.wrapping_add(ns.wrapping_mul(times));
        self.max_ns = self.max_ns.max(ns);
    }

    /// How many times fell into each bucket.
    pub fn counts(&self) -> &[u64; BUCKETS] {
        &self.counts
    }

    /// All times together; wraps at 2⁶⁴ ns.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// The longest time.
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }
}

/// The bucket that `ns` falls into.
#[inline]
pub fn bucket_of(ns: u64) -> usize {
    let units = ns >> UNIT_BITS;
    // The 1 gives the linear part, which has no doubling, that of the row behind it: none.
    let doubling = (units >> FRACTION_BITS | 1).ilog2();
    let linear = usize::from(units >> FRACTION_BITS != 0);
    let fraction = (units >> doubling) as usize & (FRACTIONS - 1);
    ((doubling as usize + linear) * FRACTIONS + fraction).min(BUCKETS - 1)
}

/// Where bucket `bucket` ends: the first nanosecond that is not in it.
pub fn bucket_end_ns(bucket: usize) -> u64 {
    bucket_start_ns(bucket + 1)
}

fn bucket_start_ns(bucket: usize) -> u64 {
    let (row, fraction) = (bucket / FRACTIONS, (bucket % FRACTIONS) as u64);
    let units = match row.checked_sub(1) {
        None => fraction,
        Some(doubling) => (FRACTIONS as u64 + fraction) << doubling,
    };
    units << UNIT_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_the_bucket_that_says_so_and_no_bucket_is_wider_than_an_eighth() {
        let mut ns = 0_u64;
        while ns < LONGEST_NS {
            let bucket = bucket_of(ns);
            let (start, end) = (bucket_start_ns(bucket), bucket_end_ns(bucket));
            assert!((start..end).contains(&ns), "{ns} in {bucket}: {start}..{end}");
            assert!(end - start <= (start / 8).max(1 << UNIT_BITS), "{start}..{end}");
            ns += 1 + ns / 37;
        }
        assert_eq!(bucket_end_ns(BUCKETS - 1), LONGEST_NS);
        assert_eq!(bucket_of(LONGEST_NS - 1), BUCKETS - 1);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        let starts = (0..=BUCKETS).map(bucket_start_ns);
        assert!(starts.clone().zip(starts.skip(1)).all(|(one, next)| one < next));
    }

    #[test]
    fn what_is_counted_is_told() {
        let mut histogram = Histogram::default();
        histogram.record_many(100, 2);
        for ns in [0, 5_000_000, 1 << 40] {
            histogram.record(ns);
        }
        assert_eq!(histogram.counts().iter().sum::<u64>(), 5);
        assert_eq!(histogram.counts()[bucket_of(100)], 2);
        assert_eq!(histogram.counts()[BUCKETS - 1], 1);
        assert_eq!(histogram.sum_ns(), 200 + 5_000_000 + (1 << 40));
        assert_eq!(histogram.max_ns(), 1 << 40);
    }
}
