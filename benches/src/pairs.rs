//! Spans with and without a disturbance, taken in turn, and what it did to the figures.
//!
//! Arithmetic only: a ratio is of two spans of one run, one right behind the other.

use serde::Serialize;

use crate::spread::{Quantiles, Spread};

/// What is compared of a span.
pub trait Figures {
    /// How long deliveries took.
    fn latency(&self) -> Quantiles;

    /// Deltas a second that those got who must not feel it.
    fn rate(&self) -> f64;
}

/// The figures without and with the disturbance, one span after the other.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Pair<F> {
    /// Without.
    pub quiet: F,
    /// With.
    pub disturbed: F,
}

impl<F> Pair<F> {
    /// Takes the pair of this number: every other one begins with the disturbance, so that whatever
    /// drifts falls on both alike. `take` is told whether it is disturbed.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn take<E>(number: usize, mut take: impl FnMut(bool) -> Result<F, E>) -> Result<Self, E> {
        if number.is_multiple_of(2) {
            let quiet = take(false)?;
            Ok(Self { quiet, disturbed: take(true)? })
        } else {
            let disturbed = take(true)?;
            Ok(Self { quiet: take(false)?, disturbed })
        }
    }
}

/// With for one without, over all pairs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ratios {
    /// Of the median latency.
    pub p50: Spread,
    /// Of the latency that one delivery in a hundred exceeds.
    pub p99: Spread,
    /// Of the latency that one in a thousand exceeds.
    pub p999: Spread,
    /// Of the deltas a second.
    pub rate: Spread,
}

impl Ratios {
    /// Over these pairs.
    pub fn of<F: Figures>(pairs: &[Pair<F>]) -> Ratios {
        let over = |figure: fn(&F) -> f64| {
            let ratio = |pair: &Pair<F>| figure(&pair.disturbed) / figure(&pair.quiet).max(1e-9);
            Spread::of(pairs.iter().map(ratio))
        };
        Ratios {
            p50: over(|it| it.latency().p50_us),
            p99: over(|it| it.latency().p99_us),
            p999: over(|it| it.latency().p999_us),
            rate: over(F::rate),
        }
    }

    /// The columns of a table: the medians, and from the least to the greatest.
    pub fn columns(&self) -> [[String; 4]; 2] {
        let Self { p50, p99, p999, rate } = self;
        let figure = |it: &Spread| format!("{:.2}", it.median);
        let medians = [figure(p50), figure(p99), figure(p999), format!("{:.3}", rate.median)];
        let range = |it: &Spread| format!("{:.1}…{:.1}", it.min, it.max);
        [medians, [p50, p99, p999, rate].map(range)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Span(f64);

    impl Figures for Span {
        fn latency(&self) -> Quantiles {
            Quantiles { p50_us: self.0, p99_us: 2.0 * self.0, p999_us: 3.0 }
        }
        fn rate(&self) -> f64 {
            1000.0 / self.0
        }
    }

    #[test]
    fn a_pair_is_taken_in_turn_and_compared() {
        let mut order = Vec::new();
        let mut pairs = Vec::new();
        for number in 0..2 {
            let pair = Pair::take(number, |is_disturbed| {
                order.push(is_disturbed);
                Ok::<_, ()>(Span(if is_disturbed { 20.0 } else { 10.0 }))
            });
            pairs.push(pair.expect("it was taken"));
        }
        assert_eq!(order, [false, true, true, false]);
        let ratios = Ratios::of(&pairs);
        assert_eq!((ratios.p50.median, ratios.p99.max, ratios.p999.min), (2.0, 2.0, 1.0));
        assert_eq!(ratios.columns()[0], ["2.00", "2.00", "1.00", "0.500"]);
    }

    #[test]
    fn what_cannot_be_taken_ends_the_pair() {
        let mut taken = 0;
        let pair = Pair::<Span>::take(1, |_| {
            taken += 1;
            Err("gone")
        });
        assert_eq!((pair.err(), taken), (Some("gone"), 1));
    }
}
