//! What came out of a scenario: one line of JSON, or some of a table.

use std::fmt::Write;

use serde::Serialize;

use super::bounds::Bound;
use crate::pairs::{self, Pair, Ratios};
use crate::playbill::Verdict;
use crate::spread::{Quantiles, Spread};

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

impl pairs::Figures for Figures {
    fn latency(&self) -> Quantiles {
        self.latency
    }

    fn rate(&self) -> f64 {
        self.others_deltas_per_second
    }
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
    /// Whether all of them hold; it does where none is stated.
    pub bound_held: bool,
    /// The bound of one turn, as the server states it.
    pub turn_bound_us: f64,
    /// What only this scenario has.
    pub more: serde_json::Map<String, serde_json::Value>,
    /// The figures of each pair, as they were taken.
    pub figures: Vec<Pair<Figures>>,
    /// Deltas whose document, sequence and bytes were checked.
    pub verified_deltas: u64,
    /// Of these, those of the disturbance's readers, whenever they came.
    pub disturbance_deltas: u64,
    /// Deltas that readers were told not to get.
    pub told_deltas: u64,
    /// Everything that was written came in order or was told, to every reader, and what a scenario
    /// promises beside figures was so.
    pub verified: bool,
    /// What was wrong.
    pub differences: Vec<String>,
}

/// The head of the Markdown table.
pub const MARKDOWN_HEAD: &str = "\
| scenario | form | p50 × | p99 × | p99.9 × | rate × | bounds, and what else was counted |
|---|---|---:|---:|---:|---:|---|";

/// The head of the table.
pub const TABLE_HEAD: &str = "\
scenario                  form            p50     p99   p99.9    rate    quiet p99  disturbed p99   verified
                                            (times the quiet)                 µs             µs";

impl Report {
    /// What it comes to.
    pub fn verdict(&self) -> Verdict {
        if !self.verified {
            return Verdict::NotVerified;
        }
        let is_missed = self.bounds.iter().any(|bound| bound.decides && !bound.holds);
        if is_missed { Verdict::BoundMissed } else { Verdict::Verified }
    }

    /// A row of a Markdown table whose head is [`MARKDOWN_HEAD`].
    pub fn markdown(&self) -> String {
        let [[p50, p99, p999, rate], _] = self.ratio.columns();
        let told = self.bounds.iter().map(|Bound { what, bound, measured, within, of, .. }| {
            let (is, bound) = (measured.median, bound.median);
            format!("{what} {bound:.1}: {is:.1}, {within} of {of} within")
        });
        let mut notes: Vec<String> = told.collect();
        for figure in ["moves", "promotions", "sessions", "slow_batches"] {
            notes.extend(self.more.get(figure).map(|it| format!("{figure} {it}")));
        }
        if let Some(memory) = self.more.get("memory") {
            notes.push(format!("{} bytes a reader", memory["bytes_each_max"]));
        }
        if !self.verified {
            notes.push("**not verified**".to_owned());
        }
        let Self { scenario, form, .. } = self;
        let notes = notes.join("; ");
        format!("| {scenario} | {form} | {p50} | {p99} | {p999} | {rate} | {notes} |\n")
    }

    /// Lines of the table, and what was wrong.
    pub fn row(&self) -> String {
        let mut text = String::new();
        let [[p50, p99, p999, rate], ranges] = self.ratio.columns();
        let median = |of: fn(&Pair<Figures>) -> f64| Spread::of(self.figures.iter().map(of)).median;
        let _ = writeln!(
            text,
            "{:<25} {:<11} {p50:>7} {p99:>7} {p999:>7} {rate:>7} {:>12.1} {:>14.1}   {}",
            self.scenario,
            self.form,
            median(|it| it.quiet.latency.p99_us),
            median(|it| it.disturbed.latency.p99_us),
            self.verified
        );
        let [p50, p99, p999, rate] = ranges;
        let _ = writeln!(text, "{:>37} {p50:>7} {p99:>7} {p999:>7} {rate:>7}", "from … to");
        for Bound { what, bound, measured, within, of, holds, decides } in &self.bounds {
            let (is, bound) = (measured.median, bound.median);
            let told = if *decides { "" } else { " (only told)" };
            let _ = writeln!(
                text,
                "  {what} {bound:.2}: {is:.2}, {within} of {of} within, holds: {holds}{told}"
            );
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
