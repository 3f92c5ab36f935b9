//! How a child's lines become samples: reports of this workspace's own programs, and samples that a
//! program tells one a line.
//!
//! A line of samples is an object: `scenario`, `peer` (the system), `version`, `cell`, `metric`,
//! `value`, `unit`, `better`, `verified`, `faults`, `seconds`, `cpu_ns_per_delivery`, `more`; or
//! `scenario`, `peer` and `absent`, which says why a system could not be had.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::entry::{Entry, Reader};
use crate::results::{Better, Role, Sample, Series};

/// What one line said.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Whose figure it is.
    pub series: Series,
    /// The figure; `None` if its system is absent.
    pub sample: Option<Sample>,
    /// What was wrong.
    pub faults: Vec<String>,
}

/// Reads one line of a child of `entry`; several series can come of it.
///
/// # Errors
/// If it is not what the entry promises.
pub fn read(entry: &Entry, command: &str, line: &str) -> Result<Vec<Told>, String> {
    let mut told = match entry.reader {
        Reader::Pipeline => pipeline(entry, line)?,
        Reader::Samples => sample(line)?,
    };
    for it in &mut told {
        command.clone_into(&mut it.series.command);
    }
    Ok(told)
}

#[derive(Deserialize)]
struct PipelineLine {
    deltas_per_second: f64,
    cpu_share: f64,
    verified: bool,
    differences: Vec<String>,
    seconds: f64,
    stage_ns: BTreeMap<String, f64>,
    generator_alone_ns: f64,
    images_per_send: f64,
    crossing_share: f64,
}

fn pipeline(entry: &Entry, line: &str) -> Result<Vec<Told>, String> {
    let line: PipelineLine = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let mut more = BTreeMap::from([
        ("cpu_share".to_owned(), line.cpu_share),
        ("images_per_send".to_owned(), line.images_per_send),
        ("crossing_share".to_owned(), line.crossing_share),
        ("generator_alone_ns".to_owned(), line.generator_alone_ns),
    ]);
    more.extend(line.stage_ns.into_iter().map(|(stage, ns)| (format!("{stage}_ns"), ns)));
    let series = Series {
        scenario: "pipeline".to_owned(),
        system: "deltaworks".to_owned(),
        role: Role::Ours,
        cell: entry.cell.clone(),
        metric: "deltas".to_owned(),
        unit: "1/s".to_owned(),
        better: Better::Higher,
        ..Series::default()
    };
    let sample = Sample {
        value: line.deltas_per_second,
        verified: line.verified,
        seconds: line.seconds,
        more,
        ..Sample::default()
    };
    Ok(vec![Told { series, sample: Some(sample), faults: line.differences }])
}

#[derive(Deserialize)]
struct SampleLine {
    scenario: String,
    peer: String,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    absent: Option<String>,
    #[serde(default)]
    cell: BTreeMap<String, Value>,
    #[serde(default)]
    metric: String,
    value: Option<f64>,
    #[serde(default)]
    unit: String,
    #[serde(default)]
    better: Better,
    #[serde(default)]
    verified: bool,
    #[serde(default)]
    faults: Vec<String>,
    #[serde(default)]
    seconds: f64,
    cpu_ns_per_delivery: Option<f64>,
    #[serde(default)]
    more: BTreeMap<String, Option<f64>>,
}

fn sample(line: &str) -> Result<Vec<Told>, String> {
    let line: SampleLine = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let mut more: BTreeMap<String, f64> =
        line.more.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    more.extend(line.cpu_ns_per_delivery.map(|ns| ("cpu_ns_per_delivery".to_owned(), ns)));
    let series = Series {
        role: role_of(&line.scenario, &line.peer),
        scenario: line.scenario,
        system: line.peer,
        version: line.version.unwrap_or_default(),
        cell: line.cell,
        metric: line.metric,
        unit: line.unit,
        better: line.better,
        absent: line.absent,
        ..Series::default()
    };
    let sample = match (line.value, &series.absent) {
        (Some(value), _) if value.is_finite() => Some(Sample {
            value,
            verified: line.verified,
            seconds: line.seconds,
            more,
            ..Sample::default()
        }),
        (_, Some(_)) => None,
        _ => return Err("neither a value nor a reason why there is none".to_owned()),
    };
    Ok(vec![Told { series, sample, faults: line.faults }])
}

/// The floors of each scenario are named like systems.
fn role_of(scenario: &str, system: &str) -> Role {
    match system {
        _ if system.starts_with("deltaworks") => Role::Ours,
        "last recorded" | "relay" | "relay-single" | "bare-socket" | "bare-eventfd" => Role::Limit,
        "rtrb" => Role::Limit,
        _ if scenario == "limits" => Role::Limit,
        _ => Role::Peer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Extent, Program, entries};

    fn of(program: Program) -> Entry {
        let mut all = entries(Extent::Quick, 1.0).into_iter();
        all.find(|entry| entry.program == program).expect("both are run")
    }

    #[test]
    fn a_sample_a_line_is_read_as_it_is_told() {
        let line = r#"{"schema":1,"scenario":"fan-out","peer":"nats-debian","version":"2.9.10",
            "cell":{"subscribers":64,"payload_bytes":64},"metric":"deliveries","value":8850000.0,
            "unit":"1/s","better":"higher","cpu_ns_per_delivery":112.3,"verified":true,"faults":[],
            "sample":0,"seconds":1.002,"more":{"server_busy":0.99,"unknown":null}}"#;
        let told = read(&of(Program::Peers), "peers fan-out", line).expect("a sample");
        let Told { series, sample, .. } = &told[0];
        assert_eq!((series.role, series.version.as_str()), (Role::Peer, "2.9.10"));
        assert_eq!(series.number_of_cell("subscribers"), Some(64.0));
        let sample = sample.as_ref().expect("a value");
        assert_eq!((sample.value, sample.more["cpu_ns_per_delivery"]), (8.85e6, 112.3));
        assert!(sample.more.len() == 2 && series.command == "peers fan-out");
        let absent = r#"{"scenario":"fan-out","peer":"centrifugo","absent":"not packaged"}"#;
        let told = read(&of(Program::Peers), "", absent).expect("a reason");
        assert!(told[0].sample.is_none() && told[0].series.absent.is_some());
    }

    #[test]
    fn what_is_no_sample_is_refused() {
        for line in ["", "{}", "half a li", r#"{"scenario":"idle","peer":"redis"}"#] {
            assert!(read(&of(Program::Peers), "", line).is_err(), "{line}");
            assert!(read(&of(Program::Throughput), "", line).is_err(), "{line}");
        }
    }
}
