//! The bounds that are stated for scenarios, and whether what was measured is within them.
//!
//! A bound holds if more than half of what was measured is within it. One that is about time decides
//! what the run comes to where nobody but the server has a part in it; elsewhere it is told.

use serde::Serialize;

use super::report::Figures;
use super::scenario::Scenario;
use crate::pairs::Pair;
use crate::spread::Spread;

/// The longest that nobody may append to a document that moves, in microseconds.
pub const PAUSE_US_MAX: f64 = 1_000.0;

/// A bound that is stated, and whether it holds.
#[derive(Clone, Debug, Serialize)]
pub struct Bound {
    /// What is bounded.
    pub what: &'static str,
    /// The bound.
    pub bound: Spread,
    /// What was measured.
    pub measured: Spread,
    /// How much of what was measured is within it: pairs, moves, or looks at memory.
    pub within: usize,
    /// Of so many.
    pub of: usize,
    /// Whether more than half is.
    pub holds: bool,
    /// Whether the exit code hangs on it.
    pub decides: bool,
}

impl Bound {
    /// Of bounds, each with what was measured: the most that it may be.
    pub fn at_most(what: &'static str, measured: &[(f64, f64)], decides: bool) -> Self {
        Self::of(what, measured, decides, |bound, is| is <= bound)
    }

    /// The same: the least.
    pub fn at_least(what: &'static str, measured: &[(f64, f64)], decides: bool) -> Self {
        Self::of(what, measured, decides, |bound, is| is >= bound)
    }

    fn of(
        what: &'static str,
        measured: &[(f64, f64)],
        decides: bool,
        is_within: fn(f64, f64) -> bool,
    ) -> Self {
        let of = measured.len();
        let within = measured.iter().filter(|(bound, is)| is_within(*bound, *is)).count();
        Self {
            what,
            bound: Spread::of(measured.iter().map(|it| it.0)),
            measured: Spread::of(measured.iter().map(|it| it.1)),
            within,
            of,
            holds: within * 2 > of,
            decides,
        }
    }
}

/// The bounds of latency and rate that are stated for a scenario.
pub fn of_pairs(
    scenario: &Scenario,
    turn_bound_us: f64,
    pairs: &[Pair<Figures>],
    decides: bool,
) -> Vec<Bound> {
    let each = |of: &dyn Fn(&Pair<Figures>) -> (f64, f64)| pairs.iter().map(of).collect::<Vec<_>>();
    let p99 = scenario.p99_ratio_max.map(|ratio| {
        let bound = |it: &Pair<Figures>| ratio * it.quiet.latency.p99_us + turn_bound_us;
        let both = each(&|it| (bound(it), it.disturbed.latency.p99_us));
        Bound::at_most("paced p99 in µs, at most twice the quiet one and one turn", &both, decides)
    });
    let rate = scenario.rate_ratio_min.map(|least| {
        let of = |it: &Figures| it.others_deltas_per_second;
        let both = each(&|it| (least, of(&it.disturbed) / of(&it.quiet).max(1e-9)));
        Bound::at_least("the others' rate for the quiet one, at least", &both, decides)
    });
    p99.into_iter().chain(rate).collect()
}

/// The bound of pauses.
pub fn of_pauses(pauses_us: &[f64], decides: bool) -> Bound {
    let both: Vec<(f64, f64)> = pauses_us.iter().map(|it| (PAUSE_US_MAX, *it)).collect();
    Bound::at_most("pause of a move in µs, at most", &both, decides)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolation::scenario;
    use crate::spread::Quantiles;

    fn pair((quiet, disturbed): (f64, f64), (before, with): (f64, f64)) -> Pair<Figures> {
        let figures = |p99_us, others_deltas_per_second| Figures {
            latency: Quantiles { p99_us, ..Quantiles::default() },
            others_deltas_per_second,
            ..Figures::default()
        };
        Pair { quiet: figures(quiet, before), disturbed: figures(disturbed, with) }
    }

    fn holds(scenario: &str, pairs: &[Pair<Figures>]) -> Vec<bool> {
        let all = scenario::all();
        let scenario = all.iter().find(|it| it.name == scenario).expect("a scenario");
        of_pairs(scenario, 50.0, pairs, true).iter().map(|it| it.holds).collect()
    }

    #[test]
    fn a_p99_above_twice_the_quiet_one_and_a_turn_is_a_miss() {
        let [within, beyond] = [(10.0, 69.0), (10.0, 71.0)].map(|p99| pair(p99, (1.0, 1.0)));
        assert_eq!(holds("greedy-publisher", &[within, within, beyond]), [true]);
        assert_eq!(holds("greedy-publisher", &[within, beyond, beyond]), [false]);
        assert_eq!(holds("greedy-publisher", &[within, beyond]), [false], "half is not enough");
        assert_eq!(holds("greedy-publisher", &[]), [false], "nothing was measured");
    }

    #[test]
    fn a_rate_below_nine_tenths_is_a_miss() {
        let [within, beyond] = [(100.0, 91.0), (100.0, 89.0)].map(|rate| pair((1.0, 1.0), rate));
        for scenario in ["frozen-reader", "slow-reader", "thousand-frozen", "thousand-slow"] {
            assert_eq!(holds(scenario, &[within, beyond, within]), [true]);
            assert_eq!(holds(scenario, &[within, beyond, beyond]), [false]);
        }
        assert_eq!(holds("hot-document", &[beyond]), [true; 0], "none is stated");
    }

    #[test]
    fn a_pause_of_a_millisecond_is_a_miss() {
        assert!(of_pauses(&[1000.0, 66.0, 5000.0], true).holds);
        let missed = of_pauses(&[1000.1, 66.0, 5000.0], true);
        assert_eq!((missed.holds, missed.within, missed.of), (false, 1, 3));
        assert!(!of_pauses(&[], true).holds);
    }
}
