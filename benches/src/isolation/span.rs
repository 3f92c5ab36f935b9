//! A part of the timetable, and what was measured of it.

use std::ops::Range;

use hdrhistogram::Histogram;

use crate::spread::Quantiles;

/// The longest that is told apart, in nanoseconds; what takes longer counts as this.
const LONGEST_NS: u64 = 60_000_000_000;

/// What was measured.
#[derive(Debug)]
pub struct Span {
    places: Range<u64>,
    latency: Histogram<u64>,
    late: Histogram<u64>,
    turns: Histogram<u64>,
    began_ns: u64,
    ended_ns: u64,
    others: Range<u64>,
    disturbance: Range<u64>,
    live_bytes_max: u64,
}

/// An empty histogram of nanoseconds.
pub(super) fn histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, LONGEST_NS, 3) {
        Ok(histogram) => histogram,
        Err(_) => unreachable!("bounds that a histogram has"),
    }
}

impl Span {
    /// Of these places in the timetable.
    pub fn new(places: Range<u64>, began_ns: u64, others: u64, disturbance: u64) -> Self {
        Self {
            places,
            latency: histogram(),
            late: histogram(),
            turns: histogram(),
            began_ns,
            ended_ns: began_ns,
            others: others..others,
            disturbance: disturbance..disturbance,
            live_bytes_max: 0,
        }
    }

    /// Whether it has that place.
    #[inline]
    pub fn has(&self, place: u64) -> bool {
        self.places.contains(&place)
    }

    /// Whether it ends before that place.
    pub fn is_before(&self, place: u64) -> bool {
        self.places.end <= place
    }

    /// Batches that the document of that turn, of so many, has up to the end.
    pub fn batches_of(&self, turn: u64, turns: u64) -> u64 {
        self.places.end.saturating_sub(turn).div_ceil(turns)
    }

    /// How long a batch took from its time in the table to a reader.
    #[inline]
    pub fn latency(&mut self, ns: u64) {
        self.latency.saturating_record(ns);
    }

    /// How long after its time in the table a batch was written: the load's own part.
    pub fn late(&mut self, ns: u64) {
        self.late.saturating_record(ns);
    }

    /// How long a turn took, with the load's part.
    #[inline]
    pub fn turn(&mut self, ns: u64) {
        self.turns.saturating_record(ns);
    }

    /// What was live.
    pub fn live(&mut self, bytes: u64) {
        self.live_bytes_max = self.live_bytes_max.max(bytes);
    }

    /// Its time is over.
    pub fn end(&mut self, now_ns: u64, others: u64, disturbance: u64) {
        self.ended_ns = now_ns;
        self.others.end = others;
        self.disturbance.end = disturbance;
    }

    /// The figures.
    pub fn figures(&self) -> super::report::Figures {
        let seconds = (self.ended_ns - self.began_ns) as f64 / 1e9;
        let rate = |of: &Range<u64>| (of.end - of.start) as f64 / seconds.max(1e-9);
        super::report::Figures {
            latency: quantiles(&self.latency),
            load_late: quantiles(&self.late),
            turn: quantiles(&self.turns),
            turn_max_us: self.turns.max() as f64 / 1e3,
            samples: self.latency.len(),
            others_deltas_per_second: rate(&self.others),
            disturbance_deltas_per_second: rate(&self.disturbance),
            live_bytes_max: self.live_bytes_max,
            cpu_share: 0.0,
        }
    }
}

/// Its quantiles.
pub(super) fn quantiles(histogram: &Histogram<u64>) -> Quantiles {
    let at = |share: f64| histogram.value_at_quantile(share) as f64 / 1e3;
    if histogram.is_empty() {
        return Quantiles::default();
    }
    Quantiles { p50_us: at(0.5), p99_us: at(0.99), p999_us: at(0.999) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_turn() {
        let span = Span::new(3..8, 0, 0, 0);
        assert!(span.has(3) && span.has(7) && !span.has(8) && span.is_before(8));
        // Places 0..8 of three documents: 0 3 6, 1 4 7, 2 5.
        assert_eq!([0, 1, 2].map(|turn| span.batches_of(turn, 3)), [3, 3, 2]);
    }

    #[test]
    fn figures_are_those_of_the_span() {
        let mut span = Span::new(0..10, 1_000_000_000, 100, 7);
        (1..=1000).for_each(|us| span.latency(us * 1000));
        span.end(3_000_000_000, 300, 7);
        let figures = span.figures();
        assert!((figures.latency.p99_us - 990.0).abs() < 1.0, "{figures:?}");
        assert_eq!(figures.others_deltas_per_second, 100.0);
        assert_eq!(figures.disturbance_deltas_per_second, 0.0);
    }
}
