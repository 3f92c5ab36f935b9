//! Quantiles of a span, and what a disturbance did to them: the median over pairs, with its spread.
//!
//! Arithmetic only. A quantile is the sample at its rank, never a guess between two.

use serde::Serialize;

/// Quantiles of one span, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half are below.
    pub p50_us: f64,
    /// One in a hundred is above.
    pub p99_us: f64,
    /// One in a thousand is above.
    pub p999_us: f64,
}

impl Quantiles {
    /// Of these samples; all zero if there are none.
    pub fn of(samples_ns: &mut [u64]) -> Quantiles {
        samples_ns.sort_unstable();
        let at = |share: f64| {
            let rank = (samples_ns.len() as f64 * share).ceil() as usize;
            samples_ns.get(rank.saturating_sub(1)).map_or(0.0, |ns| *ns as f64 / 1000.0)
        };
        Quantiles { p50_us: at(0.5), p99_us: at(0.99), p999_us: at(0.999) }
    }
}

/// A figure over all pairs: the median, the least and the greatest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one; of an even number, the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of these figures; all zero if there are none.
    pub fn of(figures: impl Iterator<Item = f64>) -> Spread {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let count = figures.len();
        let (Some(min), Some(max)) = (figures.first(), figures.last()) else {
            return Spread::default();
        };
        let median = f64::midpoint(figures[(count - 1) / 2], figures[count / 2]);
        Spread { median, min: *min, max: *max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples_at_their_ranks() {
        let mut samples: Vec<u64> = (1..=1000).rev().map(|it| it * 1000).collect();
        let all = Quantiles::of(&mut samples);
        assert_eq!(all, Quantiles { p50_us: 500.0, p99_us: 990.0, p999_us: 999.0 });
        assert_eq!(Quantiles::of(&mut [7000]).p999_us, 7.0);
        assert_eq!(Quantiles::of(&mut []), Quantiles::default());
    }

    #[test]
    fn a_spread_has_its_median_between_its_ends() {
        let odd = Spread::of([3.0, 1.0, 2.0].into_iter());
        assert_eq!(odd, Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0].into_iter()).median, 2.5);
        assert_eq!(Spread::of(std::iter::empty()), Spread::default());
    }
}
