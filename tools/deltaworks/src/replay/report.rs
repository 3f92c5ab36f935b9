//! What a replay found, as one line of JSON or for a person.

use std::fmt;

use crate::quantity::things;
use serde::Serialize;

/// The outcome of a replay. `verified` is true only if nothing at all was wrong.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The trace's file.
    pub trace: String,
    /// The server's address.
    pub server: String,
    /// Publishers.
    pub publishers: usize,
    /// Subscribers.
    pub subscribers: usize,
    /// Documents.
    pub documents: usize,
    /// Deltas acknowledged.
    pub deltas: u64,
    /// Batches acknowledged.
    pub batches: u64,
    /// Bytes of the acknowledged deltas, without headers.
    pub bytes: u64,
    /// Deltas that subscribers have read and checked, together.
    pub deliveries: u64,
    /// From the first batch until the last subscriber had read everything.
    pub seconds: f64,
    /// Deltas acknowledged per second.
    pub deltas_per_second: f64,
    /// Deltas read and checked per second, by all subscribers together.
    pub deliveries_per_second: f64,
    /// Batches that publishers sent again.
    pub resent: u64,
    /// Resends that the server told to be such.
    pub duplicates: u64,
    /// Connections that were made again.
    pub reconnects: u64,
    /// Gaps that the server told.
    pub gaps: u64,
    /// Whether every text is the trace's end, all hashes agree, and no sequence or acknowledgement is
    /// missing or doubled.
    pub verified: bool,
    /// What was wrong, and with whom.
    pub fault: Option<String>,
    /// The hash over (sequence, bytes) of each document, on which all subscribers agree.
    pub hashes: Vec<String>,
}

impl Report {
    /// The rates, from what was counted.
    pub fn rate(&mut self) {
        let per_second = |count: u64| match self.seconds > 0.0 {
            true => count as f64 / self.seconds,
            false => 0.0,
        };
        self.deltas_per_second = per_second(self.deltas);
        self.deliveries_per_second = per_second(self.deliveries);
    }

    /// One line of JSON.
    pub fn json(&self) -> String {
        // Only maps with keys that are no text, and numbers that are none, cannot be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} deltas in {} batches published, {} deliveries, in {:.2} s: {:.0} deltas/s, \
             {:.0} deliveries/s",
            self.deltas,
            self.batches,
            self.deliveries,
            self.seconds,
            self.deltas_per_second,
            self.deliveries_per_second
        )?;
        writeln!(
            f,
            "{} resent, {}, {}, {}",
            self.resent,
            things(self.duplicates, "duplicate"),
            things(self.reconnects, "reconnect"),
            things(self.gaps, "gap")
        )?;
        match &self.fault {
            None if self.verified => f.write_str("verified"),
            None => f.write_str("NOT VERIFIED"),
            Some(fault) => write!(f, "NOT VERIFIED: {fault}"),
        }
    }
}
