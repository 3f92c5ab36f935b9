//! What a load measured, as one line of JSON or for a person.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::load::Settings;
use super::plot;
use super::publisher::Work;
use crate::quantity::{bytes, count, micros, rate, things};

/// Columns of the text plot's bars.
const PLOT_COLUMNS: usize = 50;

/// A report with the histograms that it is made of, in nanoseconds.
#[derive(Debug)]
pub struct Measured {
    /// The report.
    pub report: Report,
    /// From due to read, of each delta by each subscriber.
    pub deliveries: Histogram<u64>,
    /// From due to accepted, of each batch.
    pub answers: Histogram<u64>,
}

/// One kind of latency in microseconds, counted from when a batch was due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "each field is the quantile that its name says")]
pub struct Latency {
    pub count: u64,
    pub mean_us: f64,
    pub min_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

impl Latency {
    /// What the histogram, in nanoseconds, says.
    pub fn of(histogram: &Histogram<u64>) -> Latency {
        if histogram.is_empty() {
            return Latency::default();
        }
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Latency {
            count: histogram.len(),
            mean_us: histogram.mean() / 1e3,
            min_us: histogram.min() as f64 / 1e3,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max() as f64 / 1e3,
        }
    }
}

/// What was asked of the daemon, and what came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The daemon's address.
    pub server: String,
    /// Publishers.
    pub publishers: usize,
    /// Subscribers.
    pub subscribers: usize,
    /// Documents.
    pub documents: usize,
    /// Bytes of a delta.
    pub delta_bytes: usize,
    /// Deltas in a batch.
    pub batch_deltas: usize,
    /// Seconds before anything is measured.
    pub warm_up_seconds: f64,
    /// Seconds from the end of the warm-up until the last delta was read.
    pub seconds: f64,
    /// Deltas a second that were due.
    pub offered_deltas_per_second: f64,
    /// Deltas a second that were accepted.
    pub deltas_per_second: f64,
    /// Deltas a second that were read, by all subscribers together.
    pub deliveries_per_second: f64,
    /// Deltas that were sent, warm-up included, as are all counts below.
    pub sent_deltas: u64,
    /// Deltas that were accepted.
    pub accepted_deltas: u64,
    /// Deltas that were read and checked, by all subscribers together.
    pub deliveries: u64,
    /// Deltas that were due before the end and could not be sent.
    pub unsent_deltas: u64,
    /// Batches that were sent more than a millisecond after they were due.
    pub late_batches: u64,
    /// Deltas that were refused.
    pub refused_deltas: u64,
    /// Deltas of which nobody knows whether they were applied.
    pub unknown_deltas: u64,
    /// Gaps that subscribers were told.
    pub gaps: u64,
    /// Deltas in them.
    pub missed_deltas: u64,
    /// Batches that publishers sent again.
    pub resent: u64,
    /// Connections that were made again.
    pub reconnects: u64,
    /// How late batches were sent: of this program, not of the daemon, and part of both others.
    pub lateness: Latency,
    /// From due to accepted.
    pub acknowledgement: Latency,
    /// From due to read by a subscriber.
    pub delivery: Latency,
    /// It was ended before its time.
    pub is_interrupted: bool,
    /// Whether every subscriber got every sequence of every document, in order and as it was written, and
    /// as many as were accepted.
    pub verified: bool,
    /// What was wrong first.
    pub fault: Option<String>,
}

impl Report {
    /// What the counters and histograms say.
    pub fn of(settings: &Settings, work: &Work) -> Report {
        let tally = &work.tally;
        let measured_ns = tally.last_ns.get().saturating_sub(work.warm_up_ns);
        let seconds = measured_ns as f64 / 1e9;
        let per_second = |deltas: u64| if seconds > 0.0 { deltas as f64 / seconds } else { 0.0 };
        let due = work.pace.batches() * settings.batch_deltas as u64;
        Report {
            server: settings.server.to_string(),
            publishers: settings.publishers,
            subscribers: settings.subscribers,
            documents: settings.documents,
            delta_bytes: settings.delta_bytes,
            batch_deltas: settings.batch_deltas,
            warm_up_seconds: settings.warm_up.as_secs_f64(),
            seconds,
            offered_deltas_per_second: settings.deltas_per_second,
            deltas_per_second: per_second(tally.accepted_measured.get()),
            deliveries_per_second: per_second(tally.read_measured.get()),
            sent_deltas: tally.sent.get(),
            accepted_deltas: tally.accepted.get(),
            deliveries: tally.read.get(),
            unsent_deltas: due.saturating_sub(tally.sent.get()),
            late_batches: tally.late_batches.get(),
            refused_deltas: tally.refused.get(),
            unknown_deltas: tally.unknown.get(),
            gaps: tally.gaps.get(),
            missed_deltas: tally.missed.get(),
            lateness: Latency::of(&work.lateness.whole()),
            acknowledgement: Latency::of(&work.answers.whole()),
            delivery: Latency::of(&work.deliveries.whole()),
            ..Report::default()
        }
    }

    /// Says whether it is verified; a gap is what no load that is verified has.
    pub fn judge(&mut self) {
        if self.fault.is_none() && self.gaps > 0 {
            self.fault = Some(format!(
                "{} missed in {}",
                things(self.missed_deltas, "delta"),
                things(self.gaps, "gap")
            ));
        }
        let deliveries = self.accepted_deltas * self.subscribers as u64;
        if self.fault.is_none() && self.deliveries != deliveries {
            self.fault =
                Some(format!("{deliveries} deliveries expected, {} came", self.deliveries));
        }
        self.verified = self.fault.is_none();
    }

    /// One line of JSON.
    pub fn json(&self) -> String {
        // Only maps with keys that are no text, and numbers that are none, cannot be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &self.report;
        writeln!(
            f,
            "{}, {}, {}; batches of {} of {}; {:.1} s",
            things(report.publishers as u64, "publisher"),
            things(report.subscribers as u64, "subscriber"),
            things(report.documents as u64, "document"),
            things(report.batch_deltas as u64, "delta"),
            bytes(report.delta_bytes as u64),
            report.seconds
        )?;
        writeln!(
            f,
            "{} deltas/s offered, {} accepted, {} delivered",
            rate(report.offered_deltas_per_second),
            rate(report.deltas_per_second),
            rate(report.deliveries_per_second)
        )?;
        if report.unsent_deltas > 0 {
            let ended = if report.is_interrupted { "it was ended early" } else { "time was up" };
            writeln!(f, "{} not sent: {ended}", things(report.unsent_deltas, "delta"))?;
        }
        writeln!(
            f,
            "{} sent late, {} with {}, {} resent, {}\n",
            things(report.late_batches, "batch"),
            things(report.gaps, "gap"),
            things(report.missed_deltas, "delta"),
            count(report.resent),
            things(report.reconnects, "reconnect")
        )?;
        let heads = ["mean", "p50", "p90", "p99", "p99.9", "max"];
        write!(f, "{:<22}", "since a batch was due")?;
        heads.iter().try_for_each(|head| write!(f, " {head:>8}"))?;
        for (name, latency) in [
            ("sent", report.lateness),
            ("accepted", report.acknowledgement),
            ("delivered", report.delivery),
        ] {
            let Latency { mean_us, p50_us, p90_us, p99_us, p999_us, max_us, .. } = latency;
            write!(f, "\n  {name:<20}")?;
            for value in [mean_us, p50_us, p90_us, p99_us, p999_us, max_us] {
                write!(f, " {:>8}", micros(value))?;
            }
        }
        writeln!(f, "\n")?;
        for line in plot::lines(&self.deliveries, PLOT_COLUMNS) {
            writeln!(f, "{line}")?;
        }
        match (&report.fault, report.is_interrupted) {
            (None, true) => f.write_str("verified, ended early"),
            (None, false) => f.write_str("verified"),
            (Some(fault), _) => write!(f, "NOT VERIFIED: {fault}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_wrong_counts_are_not_verified() {
        let good =
            Report { subscribers: 2, accepted_deltas: 5, deliveries: 10, ..Report::default() };
        let judged = |report: Report| {
            let mut report = report;
            report.judge();
            report
        };
        assert!(judged(good.clone()).verified);
        let gap = judged(Report { gaps: 1, missed_deltas: 3, deliveries: 7, ..good.clone() });
        assert!(!gap.verified && gap.fault.is_some_and(|fault| fault.contains("3 deltas")));
        assert!(!judged(Report { deliveries: 9, ..good.clone() }).verified);
        assert!(!judged(Report { fault: Some("x".to_owned()), ..good }).verified);
    }
}
