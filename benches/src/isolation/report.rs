//! What came out of a scenario: one line of JSON, or some of a table.

use std::fmt::Write;

use serde::Serialize;

use crate::abuse::spread::{Quantiles, Spread};

/// The figures of one span.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Figures {
    /// From a paced batch's time in the table to a reader.
    pub latency: Quantiles,
    /// From that time until it was written: how late the load itself was.
    pub load_late: Quantiles,
    /// One turn of the core's loop, in process with the clients' part.
    pub turn: Quantiles,
    /// The longest of them.
    pub turn_max_us: f64,
    /// Batches whose time was taken, over all readers.
    pub samples: u64,
    /// Deltas a second that the others got.
    pub others_deltas_per_second: f64,
    /// Deltas a second that the disturbance's readers got.
    pub disturbance_deltas_per_second: f64,
    /// The most that was live at the looks of this span.
    pub live_bytes_max: u64,
    /// The part of the span in which the load's thread ran; much below 1, the machine was not ours.
    pub cpu_share: f64,
}

/// The figures without and with the disturbance, one span after the other.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Pair {
    /// Without.
    pub quiet: Figures,
    /// With.
    pub disturbed: Figures,
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
    /// Of deltas that the others got a second.
    pub rate: Spread,
}

impl Ratios {
    /// Over these pairs.
    pub fn of(pairs: &[Pair]) -> Ratios {
        let over = |figure: fn(&Figures) -> f64| {
            let ratio = |pair: &Pair| figure(&pair.disturbed) / figure(&pair.quiet).max(1e-9);
            Spread::of(pairs.iter().map(ratio))
        };
        Ratios {
            p50: over(|it| it.latency.p50_us),
            p99: over(|it| it.latency.p99_us),
            p999: over(|it| it.latency.p999_us),
            rate: over(|it| it.others_deltas_per_second),
        }
    }
}

/// A bound that is stated, and whether the median of the pairs is within it.
#[derive(Clone, Debug, Serialize)]
pub struct Bound {
    /// What is bounded.
    pub what: &'static str,
    /// The bound.
    pub bound: Spread,
    /// What was measured.
    pub measured: Spread,
    /// Pairs within it.
    pub pairs_within: usize,
    /// Whether the median is.
    pub holds: bool,
}

/// What came out of one scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Its name.
    pub scenario: &'static str,
    /// Where it was played: `in_process` or `sockets`.
    pub form: &'static str,
    /// What happens in it.
    pub about: &'static str,
    /// Spans with and without the disturbance.
    pub pairs: usize,
    /// Seconds of each span.
    pub seconds: f64,
    /// Disturbed for one quiet.
    pub ratio: Ratios,
    /// The bounds that are stated for it.
    pub bounds: Vec<Bound>,
    /// The bound of one turn, as the server states it.
    pub turn_bound_us: f64,
    /// What only this scenario has.
    pub more: serde_json::Map<String, serde_json::Value>,
    /// The figures of each pair, as they were taken.
    pub figures: Vec<Pair>,
    /// Deltas whose document, sequence and bytes were checked.
    pub verified_deltas: u64,
    /// Deltas that readers were told not to get.
    pub told_deltas: u64,
    /// Everything that was written came in order or was told, to every reader, and what a scenario
    /// promises beside figures was so.
    pub verified: bool,
    /// What was wrong.
    pub differences: Vec<String>,
}

/// The head of the table.
pub const TABLE_HEAD: &str = "\
scenario                  form            p50     p99   p99.9    rate    quiet p99  disturbed p99   verified
                                            (times the quiet)                 µs             µs";

impl Report {
    /// Lines of the table, and what was wrong.
    pub fn row(&self) -> String {
        let mut text = String::new();
        let Ratios { p50, p99, p999, rate } = &self.ratio;
        let median = |of: fn(&Pair) -> f64| Spread::of(self.figures.iter().map(of)).median;
        let _ = writeln!(
            text,
            "{:<25} {:<11} {:>7.2} {:>7.2} {:>7.2} {:>7.3} {:>12.1} {:>14.1}   {}",
            self.scenario,
            self.form,
            p50.median,
            p99.median,
            p999.median,
            rate.median,
            median(|it| it.quiet.latency.p99_us),
            median(|it| it.disturbed.latency.p99_us),
            self.verified
        );
        let _ = writeln!(
            text,
            "{:>37} {:>7} {:>7} {:>7} {:>7}",
            "from … to",
            range(p50),
            range(p99),
            range(p999),
            range(rate)
        );
        for Bound { what, bound, measured, holds, .. } in &self.bounds {
            let (is, of) = (measured.median, bound.median);
            let _ = writeln!(text, "  {what}: {is:.2}, bound {of:.2}, holds: {holds}");
        }
        for (name, value) in &self.more {
            let _ = writeln!(text, "  {name}: {value}");
        }
        for difference in &self.differences {
            let _ = writeln!(text, "  {difference}");
        }
        text
    }
}

fn range(spread: &Spread) -> String {
    format!("{:.1}…{:.1}", spread.min, spread.max)
}
