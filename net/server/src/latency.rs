//! Latencies as people read them: the histograms of all cores together, and what they amount to.
//!
//! Made on the thread that asks, from what cores have published. A quantile is the end of the bucket
//! that it falls into: never less than the true one, and at most an eighth more (or 64 ns, if that
//! is more). Fixed in size.

use deltaworks_pipeline::latency::{BUCKETS, bucket_end_ns};
use serde::Serialize;

/// The way of an image through the server in stages that add up: when one ends, the next begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// From the read that brought the image's last byte, to the beginning of the turn that gave it
    /// its sequence. Short by what of that turn had passed: up to a turn's length, under load a
    /// few hundred microseconds, which the next stage counts instead.
    Validation,
    /// From there to the return of the send that gave the image to a subscriber's socket: the last
    /// image of each send, if it was ordered since its subscription began. In microseconds.
    Propagation,
}

impl Stage {
    /// The stages in the order of an image's way.
    pub const ALL: [Stage; 2] = [Stage::Validation, Stage::Propagation];

    /// The word that people see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Validation => "validation",
            Self::Propagation => "propagation",
        }
    }
}

/// What one stage took, over all cores, since the start.
#[derive(Clone, Debug)]
pub struct Latency {
    /// The stage.
    pub stage: Stage,
    /// How long it took.
    pub times: Times,
}

/// The same in figures.
#[derive(Clone, Debug, Serialize)]
pub struct LatencyReport {
    /// The stage.
    pub stage: Stage,
    /// How long it took.
    #[serde(flatten)]
    pub times: TimesReport,
}

impl Latency {
    /// In figures.
    pub fn report(&self) -> LatencyReport {
        LatencyReport { stage: self.stage, times: self.times.report() }
    }
}

/// Times over all cores, since the start.
#[derive(Clone, Debug)]
pub struct Times {
    /// How many by bucket; see [`deltaworks_pipeline::latency`].
    pub buckets: [u64; BUCKETS],
    /// All of them together, in nanoseconds.
    pub sum_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// The same in figures.
#[derive(Clone, Debug, Serialize)]
pub struct TimesReport {
    /// How many times were counted.
    pub count: u64,
    /// Their mean.
    pub mean_us: f64,
    /// What half of them did not exceed.
    pub p50_us: f64,
    /// What nine in ten did not exceed.
    pub p90_us: f64,
    /// What 99 in a hundred did not exceed.
    pub p99_us: f64,
    /// What 999 in a thousand did not exceed.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
}

impl Default for Times {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], sum_ns: 0, max_ns: 0 }
    }
}

impl Times {
    /// Adds what another core has counted.
    pub fn add(&mut self, (buckets, sum_ns, max_ns): ([u64; BUCKETS], u64, u64)) {
        for (all, more) in self.buckets.iter_mut().zip(buckets) {
            *all += more;
        }
        self.sum_ns = self.sum_ns.wrapping_add(sum_ns);
        self.max_ns = self.max_ns.max(max_ns);
    }

    /// How many times were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The time that a share of `quantile` of all did not exceed, in nanoseconds; 0 of none.
    pub fn quantile_ns(&self, quantile: f64) -> u64 {
        let rank = ((self.count() as f64 * quantile).ceil() as u64).max(1);
        let mut below = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            below += count;
            if below >= rank {
                // The last bucket has no end: what is in it may be longer than any bucket.
                let is_last = bucket == BUCKETS - 1;
                return if is_last { self.max_ns } else { bucket_end_ns(bucket).min(self.max_ns) };
            }
        }
        0
    }

    /// In figures.
    pub fn report(&self) -> TimesReport {
        let count = self.count();
        let us = |ns: u64| ns as f64 / 1_000.0;
        TimesReport {
            count,
            mean_us: us(self.sum_ns) / count.max(1) as f64,
            p50_us: us(self.quantile_ns(0.5)),
            p90_us: us(self.quantile_ns(0.9)),
            p99_us: us(self.quantile_ns(0.99)),
            p999_us: us(self.quantile_ns(0.999)),
            max_us: us(self.max_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deltaworks_pipeline::latency::Histogram;

    fn of(times_ns: impl IntoIterator<Item = u64>) -> Times {
        let mut histogram = Histogram::default();
        times_ns.into_iter().for_each(|ns| histogram.record(ns));
        let mut times = Times::default();
        times.add((*histogram.counts(), histogram.sum_ns(), histogram.max_ns()));
        times
    }

    #[test]
    fn quantiles_are_never_short_and_at_most_an_eighth_long() {
        let latency = of((1..=100_000).map(|step| step * 1_000));
        for quantile in [0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let truth = (quantile * 100_000.0_f64).ceil() * 1_000.0;
            let told = latency.quantile_ns(quantile) as f64;
            assert!(told >= truth && told <= truth * 1.125, "{quantile}: {told} for {truth}");
        }
        assert_eq!(latency.report().count, 100_000);
        assert!((latency.report().mean_us - 50_000.5).abs() < 0.01);
    }

    #[test]
    fn nothing_and_more_than_a_histogram_holds_are_told_as_what_they_are() {
        let none = Times::default().report();
        assert_eq!((none.count, none.p50_us, none.mean_us), (0, 0.0, 0.0));
        let long = of([1 << 50]);
        assert_eq!(long.quantile_ns(0.5), 1 << 50);
        let mut both = of([1_000; 3]);
        both.add((of([9_000]).buckets, 9_000, 9_000));
        assert_eq!((both.count(), both.sum_ns, both.max_ns), (4, 12_000, 9_000));
    }
}
