//! What came out of a scenario: one line of JSON, or one of a table.

use std::fmt::Write;

use serde::Serialize;

use super::crowd::Tally;
use super::gauge::Holdings;
use super::spread::{Quantiles, Spread};

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

/// The same span's figures without and with the disturbance, one after the other.
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
    /// Of deltas delivered a second.
    pub throughput: Spread,
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
            throughput: over(|it| it.deltas_per_second),
        }
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
    pub figures: Vec<Pair>,
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
scenario              connections     p50     p99   p99.9  through-   during: sessions,   told
                                    (times the quiet)      put       resident MiB";

impl Report {
    /// Two lines of the table, and what was wrong.
    pub fn row(&self) -> String {
        let mut text = String::new();
        let Ratios { p50, p99, p999, throughput } = &self.ratio;
        let told = self.hostile.told.iter().map(|(code, count)| format!("{code}: {count}"));
        let told: Vec<String> = told.collect();
        let sessions = self.during.sessions.map_or("-".to_owned(), |it| it.to_string());
        let _ = writeln!(
            text,
            "{:<21} {:>11} {:>7.2} {:>7.2} {:>7.2} {:>9.3} {sessions:>10} {:>8.1}   {}",
            self.scenario,
            self.hostile.connections,
            p50.median,
            p99.median,
            p999.median,
            throughput.median,
            self.during.resident_bytes as f64 / f64::from(1 << 20),
            if told.is_empty() { "-".to_owned() } else { told.join(", ") },
        );
        let _ = writeln!(
            text,
            "{:>33} {:>7} {:>7} {:>7} {:>9}   verified: {}",
            "from … to",
            range(p50),
            range(p99),
            range(p999),
            range(throughput),
            self.verified
        );
        for difference in &self.differences {
            let _ = writeln!(text, "  {difference}");
        }
        text
    }
}

fn range(spread: &Spread) -> String {
    format!("{:.1}…{:.1}", spread.min, spread.max)
}
