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
        Reader::Capacity => capacity(line)?,
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
    // With the peers' payload it stands beside them as well.
    let beside = (entry.cell.get("delta_bytes") == Some(&Value::from(64))).then(|| Series {
        scenario: "in-process".to_owned(),
        system: "deltaworks-checked".to_owned(),
        cell: [("payload_bytes", Value::from(64)), ("batch", entry.cell["batch"].clone())]
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
        metric: "messages".to_owned(),
        ..series.clone()
    });
    let beside =
        beside.map(|series| Told { series, sample: Some(sample.clone()), faults: Vec::new() });
    let told = Told { series, sample: Some(sample), faults: line.differences };
    Ok([Some(told), beside].into_iter().flatten().collect())
}

#[derive(Deserialize)]
struct CapacityLine {
    cell: BTreeMap<String, Value>,
    predicted_deltas_per_second: f64,
    samples: Vec<f64>,
    error: f64,
    round_error: f64,
    predicted_bytes: f64,
    measured_bytes: f64,
    memory_error: f64,
    saturates_first: String,
    cpu_share: f64,
    within: bool,
    verified: bool,
}

/// What was foretold is one sample, and what came of it are those that it was foretold for.
fn capacity(line: &str) -> Result<Vec<Told>, String> {
    let line: CapacityLine = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if line.samples.is_empty() {
        return Err("a forecast without a measurement".to_owned());
    }
    let names = ["cores", "documents", "batch"];
    let cell: BTreeMap<String, Value> =
        line.cell.into_iter().filter(|(name, _)| names.contains(&name.as_str())).collect();
    let told = |(system, role, version): (&str, Role, &str),
                (metric, unit, better): (&str, &str, Better),
                value: f64,
                more: &[(&str, f64)]| {
        let series = Series {
            scenario: "capacity".to_owned(),
            system: system.to_owned(),
            version: version.to_owned(),
            role,
            cell: cell.clone(),
            metric: metric.to_owned(),
            unit: unit.to_owned(),
            better,
            ..Series::default()
        };
        let more = more.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let sample = Sample { value, verified: line.verified, more, ..Sample::default() };
        Told { series, sample: Some(sample), faults: Vec::new() }
    };
    let foretold = ("foretold", Role::Limit, "");
    let measured = ("measured", Role::Ours, "");
    let deltas = ("deltas", "1/s", Better::Higher);
    let bytes = ("live", "bytes", Better::Lower);
    let within = f64::from(u8::from(line.within));
    let errors = [
        ("error", line.error),
        ("round_error", line.round_error),
        ("memory_error", line.memory_error),
        ("is_within", within),
    ];
    let saturates = format!("{} first", line.saturates_first);
    let share = [("cpu_share", line.cpu_share)];
    let mut all = vec![
        told(
            ("foretold", Role::Limit, &saturates),
            deltas,
            line.predicted_deltas_per_second,
            &errors,
        ),
        told(foretold, bytes, line.predicted_bytes, &[]),
        told(measured, bytes, line.measured_bytes, &[]),
    ];
    all.extend(line.samples.iter().map(|value| told(measured, deltas, *value, &share)));
    Ok(all)
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
        "foretold" | "last recorded" | "relay" | "relay-single" | "bare-socket"
        | "bare-eventfd" => Role::Limit,
        "rtrb" => Role::Limit,
        _ if scenario == "limits" || scenario == "relays" => Role::Limit,
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
    fn a_forecast_and_its_measurement_are_series_of_one_cell() {
        let line = r#"{"schema":1,"scenario":"capacity",
            "cell":{"cores":1,"documents":100,"batch":8,"delta_bytes":46,"read_bytes":65536},
            "predicted_deltas_per_second":31.2e6,"measured_deltas_per_second":30.1e6,
            "samples":[29.8e6,30.1e6],"error":0.036,"round_error":0.21,"predicted_bytes":5e6,"measured_bytes":6e6,
            "memory_error":-0.167,"saturates_first":"validation","measured_first":"validation",
            "cpu_share":0.99,"within":false,"verified":true}"#;
        let mut entries = entries(Extent::Quick, 1.0).into_iter();
        let entry = entries.find(|entry| entry.reader == Reader::Capacity).expect("it is run");
        let told = read(&entry, "throughput calibrate", line).expect("a forecast");
        let of = |system: &str, metric: &str| -> Vec<f64> {
            let is_it = |it: &&Told| it.series.system == system && it.series.metric == metric;
            told.iter().filter(is_it).filter_map(|it| Some(it.sample.as_ref()?.value)).collect()
        };
        assert_eq!((of("foretold", "deltas"), of("foretold", "live")), (vec![31.2e6], vec![5e6]));
        assert_eq!(of("measured", "deltas"), [29.8e6, 30.1e6]);
        let foretold = &told[0];
        let more = |name: &str| foretold.sample.as_ref().map(|it| it.more[name]);
        assert_eq!((more("is_within"), more("round_error")), (Some(0.0), Some(0.21)));
        assert_eq!(foretold.series.cell.len(), 3, "the same cell on every machine");
        assert!(read(&entry, "", &line.replace("29.8e6,30.1e6", "")).is_err());
    }

    #[test]
    fn what_is_no_sample_is_refused() {
        for line in ["", "{}", "half a li", r#"{"scenario":"idle","peer":"redis"}"#] {
            assert!(read(&of(Program::Peers), "", line).is_err(), "{line}");
            assert!(read(&of(Program::Throughput), "", line).is_err(), "{line}");
        }
    }
}
