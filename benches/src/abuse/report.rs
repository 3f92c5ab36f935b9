//! What came out of a scenario: one line of JSON, or one of a table.

use std::fmt::Write;

use serde::Serialize;

use super::crowd::Tally;
use super::gauge::Holdings;
use crate::pairs::{self, Pair, Ratios};
use crate::spread::Quantiles;

/// The others' figures in one span.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Figures {
    /// From a batch's time in the table to a subscriber.
    pub latency: Quantiles,
    /// From that time to the publisher's buffer: how late the load itself was.
    pub load_late: Quantiles,
    /// Deltas delivered a second, over all subscribers, within the span.
    pub deltas_per_second: f64,
    /// The part of a CPU that the daemon ran.
    pub daemon_cpu: f64,
    /// The part of the span in which the daemon waited for its CPU.
    pub daemon_waited: f64,
    /// The part of the span in which the load's thread ran; much below 1, the machine was not ours.
    pub cpu_share: f64,
}

impl pairs::Figures for Figures {
    fn latency(&self) -> Quantiles {
        self.latency
    }

    fn rate(&self) -> f64 {
        self.deltas_per_second
    }
}

/// What came out of one scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Its name.
    pub scenario: String,
    /// What happens in it.
    pub about: String,
    /// Spans with and without the disturbance.
    pub pairs: usize,
    /// Seconds of each span.
    pub seconds: f64,
    /// Batches that the timetable has a second.
    pub batches_per_second: f64,
    /// Disturbed for one quiet.
    pub ratio: Ratios,
    /// The figures of each pair, as they were taken.
    pub figures: Vec<Pair<Figures>>,
    /// What became of the hostile connections, over all pairs.
    pub hostile: Tally,
    /// What the daemon held before anybody came.
    pub before: Holdings,
    /// What it held at the end of the last disturbance, while that stood.
    pub during: Holdings,
    /// What it held when they had gone.
    pub after: Holdings,
    /// The most that was resident since it began.
    pub resident_bytes_max: u64,
    /// Deltas whose order and bytes were checked, over all subscribers.
    pub verified_deltas: u64,
    /// The others' stream was whole, the daemon lived and ended in order, what the hostile held came
    /// back, and they were told the right numbers.
    pub verified: bool,
    /// What was wrong.
    pub differences: Vec<String>,
}

/// The head of the table.
pub const TABLE_HEAD: &str = "\
scenario              connections     p50     p99   p99.9      rate   during: sessions,   told
                                    (times the quiet)                resident MiB";

impl Report {
    /// Two lines of the table, and what was wrong.
    pub fn row(&self) -> String {
        let mut text = String::new();
        let [medians, ranges] = self.ratio.columns();
        let told = self.hostile.told.iter().map(|(code, count)| format!("{code}: {count}"));
        let told: Vec<String> = told.collect();
        let sessions = self.during.sessions.map_or("-".to_owned(), |it| it.to_string());
        let [p50, p99, p999, rate] = medians;
        let _ = writeln!(
            text,
            "{:<21} {:>11} {p50:>7} {p99:>7} {p999:>7} {rate:>9} {sessions:>10} {:>8.1}   {}",
            self.scenario,
            self.hostile.connections,
            self.during.resident_bytes as f64 / f64::from(1 << 20),
            if told.is_empty() { "-".to_owned() } else { told.join(", ") },
        );
        let [p50, p99, p999, rate] = ranges;
        let _ = writeln!(
            text,
            "{:>33} {p50:>7} {p99:>7} {p999:>7} {rate:>9}   verified: {}",
            "from … to", self.verified
        );
        for difference in &self.differences {
            let _ = writeln!(text, "  {difference}");
        }
        text
    }
}
