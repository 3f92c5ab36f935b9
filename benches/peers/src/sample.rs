//! A sample: one figure of one peer in one cell, as a line of JSON or of a table.
//!
//! `(scenario, peer, cell, metric)` names a series, and a series has as many samples as were taken.
//! What is absent is told in the same place, with its reason. A fault in what was delivered makes
//! the whole run fail, whatever the figure is.

use std::io::Write as _;

use serde::Serialize;
use serde_json::{Map, Value, json};

/// Changes when a field changes its meaning.
const SCHEMA: u32 = 1;

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    schema: u32,
    /// What was measured.
    pub scenario: &'static str,
    /// Who.
    pub peer: String,
    /// In which version.
    pub version: String,
    /// The row's parameters.
    pub cell: Map<String, Value>,
    /// What the value is.
    pub metric: &'static str,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// `higher` or `lower`.
    pub better: &'static str,
    /// CPU time of the server's process for each delivery, where there is a server.
    pub cpu_ns_per_delivery: Option<f64>,
    /// Count, order and bytes were right.
    pub verified: bool,
    /// What was wrong.
    pub faults: Vec<String>,
    /// The number of the sample in its series.
    pub sample: u32,
    /// How long it took.
    pub seconds: f64,
    /// Further figures, each with its unit at the end of its name.
    pub more: Map<String, Value>,
}

/// What a figure is: its name, its unit and which way is better.
#[derive(Clone, Copy, Debug)]
pub struct Metric(pub &'static str, pub &'static str, pub &'static str);

impl Sample {
    /// A verified sample; what differs is set afterwards.
    pub fn new(
        scenario: &'static str,
        peer: &str,
        version: &str,
        cell: &Value,
        metric: Metric,
        value: f64,
    ) -> Self {
        Self {
            schema: SCHEMA,
            scenario,
            peer: peer.to_owned(),
            version: version.to_owned(),
            cell: cell.as_object().cloned().unwrap_or_default(),
            metric: metric.0,
            value,
            unit: metric.1,
            better: metric.2,
            cpu_ns_per_delivery: None,
            verified: true,
            faults: Vec::new(),
            sample: 0,
            seconds: 0.0,
            more: Map::new(),
        }
    }

    /// The same with its number and length.
    #[must_use]
    pub fn numbered(self, sample: u32, seconds: f64) -> Self {
        Self { sample, seconds, ..self }
    }

    /// The same with what was wrong, if anything.
    #[must_use]
    pub fn judged(self, faults: Vec<String>) -> Self {
        Self { verified: faults.is_empty(), faults, ..self }
    }

    /// The same with these figures beside.
    #[must_use]
    pub fn with(mut self, more: &Value) -> Self {
        self.more.extend(more.as_object().cloned().unwrap_or_default());
        self
    }
}

/// Writes samples as they come.
pub struct Teller {
    json: bool,
    is_verified: bool,
}

impl Teller {
    /// Nothing was told yet.
    pub fn new(json: bool) -> Self {
        Self { json, is_verified: true }
    }

    /// Writes a sample.
    pub fn tell(&mut self, sample: &Sample) {
        self.is_verified &= sample.verified;
        let line = if self.json { serde_json::to_string(sample).ok() } else { Some(row(sample)) };
        write(line);
    }

    /// Writes that `peer` is not there, and why.
    pub fn absent(&mut self, scenario: &str, peer: &str, why: &str) {
        write(Some(if self.json {
            json!({"schema": SCHEMA, "scenario": scenario, "peer": peer, "absent": why, "verified": true})
                .to_string()
        } else {
            format!("{scenario:<17} {peer:<20} absent: {why}")
        }));
    }

    /// Writes that `peer` is there.
    pub fn present(&mut self, peer: &str, version: &str) {
        write(Some(if self.json {
            json!({"schema": SCHEMA, "scenario": "list", "peer": peer, "version": version})
                .to_string()
        } else {
            format!("{:<17} {peer:<20} {version}", "list")
        }));
    }

    /// Whether all samples were.
    pub fn is_verified(&self) -> bool {
        self.is_verified
    }
}

fn write(line: Option<String>) {
    if let Some(line) = line {
        let mut out = std::io::stdout().lock();
        // Whoever does not read any more has what was wanted.
        let _ = out.write_all((line + "\n").as_bytes());
        let _ = out.flush();
    }
}

fn row(sample: &Sample) -> String {
    let text = |map: &Map<String, Value>| {
        let parts = map.iter().map(|(name, value)| match value.as_f64() {
            Some(number) if value.is_f64() => format!("{name} {number:.3}"),
            _ => format!("{name} {}", value.to_string().trim_matches('"')),
        });
        parts.collect::<Vec<_>>().join(", ")
    };
    let cpu = sample.cpu_ns_per_delivery.map_or(String::new(), |ns| format!(" cpu {ns:.1} ns,"));
    let faults =
        if sample.verified { String::new() } else { format!(" NOT VERIFIED {:?}", sample.faults) };
    format!(
        "{:<17} {:<20} {:<44} {} {:.4e} {},{cpu} {}{faults}",
        sample.scenario,
        format!("{} {}", sample.peer, sample.version),
        text(&sample.cell),
        sample.metric,
        sample.value,
        sample.unit,
        text(&sample.more)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_makes_the_run_fail_and_stands_in_the_line() {
        let metric = Metric("deliveries", "1/s", "higher");
        let good = Sample::new("fan-out", "a", "1", &json!({"subscribers": 8}), metric, 2.0);
        let mut teller = Teller::new(true);
        teller.tell(&good);
        teller.absent("fan-out", "b", "not to be had");
        assert!(teller.is_verified());
        let bad = good.judged(vec!["lost".to_owned()]);
        let line = serde_json::to_value(&bad).expect("JSON");
        assert_eq!((&line["verified"], &line["faults"][0]), (&json!(false), &json!("lost")));
        assert_eq!(line["cell"]["subscribers"], 8);
        teller.tell(&bad);
        assert!(!teller.is_verified());
    }
}
