//! What bounds a figure: the limits of the same run, turned into the figure's own unit, so that they
//! stand in its picture.
//!
//! Each is a series of its own, sample by sample from the limit's. They are made when a page or a
//! table is, and are never kept: `results.json` holds what was measured.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::results::{Better, Results, Role, Sample, Series};
use crate::statistics::median;

/// Bytes of an image's header, and of a delta's length in it.
const HEADER_BYTES: f64 = 56.0;
const LENGTH_BYTES: f64 = 2.0;

/// Bytes of an image of `batch` deltas.
pub fn image_bytes(batch: f64, delta_bytes: f64) -> f64 {
    let bytes = HEADER_BYTES + batch * (LENGTH_BYTES + delta_bytes);
    (bytes / 8.0).ceil() * 8.0
}

/// The results with what bounds them behind.
#[must_use]
pub fn with_bounds(results: &Results) -> Results {
    let mut whole = results.clone();
    let mut bounds = memory(results);
    bounds.extend(lines(results));
    bounds.extend(both_cores(results));
    bounds.extend(cache_line(results));
    bounds.extend(sockets(results));
    whole.series.extend(bounds);
    whole
}

type CellOf<'a> = &'a [(&'a str, Value)];

/// A series of `scenario` out of those of a limit.
fn of_limit(
    limit: &Series,
    name: &str,
    scenario: (&str, &str, &str, Better),
    cell: CellOf<'_>,
    value: impl Fn(f64) -> (f64, Option<f64>),
) -> Series {
    let (scenario, metric, unit, better) = scenario;
    let of = |sample: &Sample| {
        let (value, cpu_ns) = value(sample.value);
        let more: BTreeMap<String, f64> =
            cpu_ns.map(|ns| ("cpu_ns_per_delivery".to_owned(), ns)).into_iter().collect();
        Sample { value, more, ..sample.clone() }
    };
    Series {
        scenario: scenario.to_owned(),
        system: name.to_owned(),
        role: Role::Limit,
        cell: cell.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        metric: metric.to_owned(),
        unit: unit.to_owned(),
        better,
        command: limit.command.clone(),
        samples: limit.samples.iter().map(of).collect(),
        is_bound: true,
        ..Series::default()
    }
}

fn limit<'a>(results: &'a Results, system: &str, cell: &[(&str, f64)]) -> Option<&'a Series> {
    let is_it = |it: &&Series| {
        let is_cell = |(name, value): &(&str, f64)| it.number_of_cell(name) == Some(*value);
        it.scenario == "limits" && it.system == system && cell.iter().all(is_cell)
    };
    results.series.iter().find(|it| is_it(it) && !it.values().is_empty())
}

/// The different cells of a scenario, by some of their values.
fn cells(results: &Results, scenario: &str, names: &[&str]) -> Vec<Vec<f64>> {
    let of = |it: &Series| names.iter().map(|name| it.number_of_cell(name)).collect();
    let all = results.series.iter().filter(|it| it.scenario == scenario && it.absent.is_none());
    let mut cells: Vec<Vec<f64>> = all.filter_map(of).collect();
    cells.sort_by(|one, other| one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal));
    cells.dedup();
    cells
}

/// Each byte of an image is written once and read once at the least.
fn memory(results: &Results) -> Vec<Series> {
    let names = ["cores", "batch", "delta_bytes"];
    let of = |cell: Vec<f64>| {
        let [cores, batch, delta_bytes] = cell[..] else { return None };
        let limit = limit(results, "memory-copy", &[("cores", cores)])?;
        let bytes = image_bytes(batch, delta_bytes) / batch;
        let named = [
            ("cores", Value::from(cores as u32)),
            ("batch", Value::from(batch as u32)),
            ("delta_bytes", Value::from(delta_bytes as u32)),
        ];
        let deltas = ("pipeline", "deltas", "1/s", Better::Higher);
        Some(of_limit(limit, MEMORY, deltas, &named, |rate| (rate / bytes, None)))
    };
    cells(results, "pipeline", &names).into_iter().filter_map(of).collect()
}

/// Lines of state that one batch touches at random at the least, by what they are of: read off the code of the
/// stages. What a core touches again at once counts once, and so do neighbours, which come together. Lines of the
/// image are not here: they lie in a row.
pub const LINES_OF_BATCH: [(&str, u32); 8] = [
    ("the writer's word of the load", 1),
    ("handle: reception finds document and owner, the answer gives credit", 1),
    ("document: the owner's state", 1),
    ("producer: the batch's number", 1),
    ("what all may read of the document: its tail, and the head of its list of subscriptions", 1),
    ("block of nodes, whose head is beside the node that is written", 1),
    ("subscription: its cursor", 1),
    ("the reader's word of the load", 1),
];

/// Lines of state that a document's images in one chunk touch once more, all together, when the chunk is retired.
///
/// No block: where a run is all that is left of its document, nothing is asked of it.
pub const LINES_OF_RUN: [(&str, u32); 2] = [("document", 1), ("the line of its tail", 1)];

/// Bytes of a chunk.
const CHUNK_BYTES: f64 = 2.0 * 1024.0 * 1024.0;

/// Lines of a batch, and its share of those of retirement: of many images in a chunk, a document has several.
fn lines_of_batch(documents: f64, image_bytes: f64) -> f64 {
    let sum = |lines: &[(&str, u32)]| f64::from(lines.iter().map(|it| it.1).sum::<u32>());
    let images = CHUNK_BYTES / image_bytes;
    let runs_a_batch = documents * (1.0 - (-images / documents).exp()) / images;
    sum(&LINES_OF_BATCH) + sum(&LINES_OF_RUN) * runs_a_batch
}

/// What bounds batches by the lines of state that they touch.
pub const LINES: &str = "lines alone";

/// As fast as its lines come, if all are asked for in time and nothing else is done.
fn lines(results: &Results) -> Vec<Series> {
    let names = ["cores", "documents", "batch", "delta_bytes"];
    let of = |cell: Vec<f64>| {
        let [1.0, documents, batch, delta_bytes] = cell[..] else { return None };
        let of_depth =
            |ahead| limit(results, "random-lines", &[("documents", documents), ("ahead", ahead)]);
        // As many ahead as is best here.
        let limit = [16.0, 32.0]
            .into_iter()
            .filter_map(of_depth)
            .min_by(|one, other| median(&one.values()).total_cmp(&median(&other.values())))?;
        let named = [
            ("cores", Value::from(1)),
            ("documents", Value::from(documents as u32)),
            // Documents are drawn alike: under another law fewer are touched, and those are near.
            ("law", Value::from("uniform")),
            ("batch", Value::from(batch as u32)),
            ("delta_bytes", Value::from(delta_bytes as u32)),
        ];
        let deltas = ("pipeline", "deltas", "1/s", Better::Higher);
        let count = lines_of_batch(documents, image_bytes(batch, delta_bytes));
        let rate = |ns: f64| (batch * 1e9 / (ns * count), None);
        Some(of_limit(limit, LINES, deltas, &named, rate))
    };
    cells(results, "pipeline", &names).into_iter().filter_map(of).collect()
}

/// What bounds the data path by memory.
pub const MEMORY: &str = "memory alone";
/// What bounds two cores.
pub const TWICE: &str = "twice one core";
/// What bounds deliveries over TCP.
pub const BARE_TCP: &str = "bare TCP";

/// Two cores can do twice what one does.
fn both_cores(results: &Results) -> Vec<Series> {
    let ours =
        results.series.iter().filter(|it| it.scenario == "pipeline" && it.role == Role::Ours);
    let ones = ours.filter(|it| it.number_of_cell("cores") == Some(1.0) && !it.values().is_empty());
    let of = |one: &Series| {
        let mut cell = one.cell.clone();
        cell.insert("cores".to_owned(), Value::from("twice one core"));
        let cell: Vec<(&str, Value)> =
            cell.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let deltas = ("two-cores", "deltas", "1/s", Better::Higher);
        of_limit(one, TWICE, deltas, &cell, |rate| (rate * 2.0, None))
    };
    ones.map(of).collect()
}

/// A message of 64 bytes is a cache line: that goes over once at the least.
fn cache_line(results: &Results) -> Vec<Series> {
    let Some(limit) = limit(results, "cache-line", &[]) else { return Vec::new() };
    let cell = [("payload_bytes", Value::from(64)), ("batch", Value::from(1))];
    let messages = ("in-process", "messages", "1/s", Better::Higher);
    let name = "a cache line at a time";
    vec![of_limit(limit, name, messages, &cell, |ns| (2e9 / ns, None))]
}

/// The payload's bytes through one connection, and nothing else, in writes of 64 KiB.
fn sockets(results: &Results) -> Vec<Series> {
    let names = ["publishers", "subscribers", "payload_bytes"];
    let mut bounds = Vec::new();
    for cell in cells(results, "fan-out", &names) {
        let [publishers, subscribers, bytes] = cell[..] else { continue };
        for (system, name) in [("syscall-tcp", BARE_TCP), ("glommio-tcp", "bare glommio")] {
            let Some(limit) = limit(results, system, &[("write_bytes", 65_536.0)]) else {
                continue;
            };
            let named = [
                ("publishers", Value::from(publishers as u32)),
                ("subscribers", Value::from(subscribers as u32)),
                ("payload_bytes", Value::from(bytes as u32)),
            ];
            let deliveries = ("fan-out", "deliveries", "1/s", Better::Higher);
            bounds.push(of_limit(limit, name, deliveries, &named, |rate| {
                (rate / bytes, Some(bytes / rate * 1e9))
            }));
        }
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_the_bytes_that_it_has() {
        for batch in [1, 8, 32, 256] {
            for bytes in [46, 64] {
                let told = deltaworks_image::builder::image_bytes(batch, batch * bytes);
                assert_eq!(image_bytes(batch as f64, bytes as f64), told as f64);
            }
        }
    }

    #[test]
    fn lines_of_retirement_are_shared_by_the_images_of_a_document_in_a_chunk() {
        let of = |documents, bytes| (lines_of_batch(documents, bytes) * 100.0).round() / 100.0;
        // 20,165 images: of one document, of some 8,700, of nearly as many as there are images.
        assert_eq!([1.0, 10_000.0, 1e6].map(|it| of(it, 104.0)), [8.0, 8.86, 9.98]);
        // Few long images are of different documents; more than one run a batch there never is.
        assert_eq!(of(1e6, CHUNK_BYTES / 2.0), 10.0);
    }

    #[test]
    fn limits_become_bounds_in_the_unit_of_what_they_bound() {
        let series = |scenario: &str, system: &str, cell: Value, value: f64| Series {
            scenario: scenario.to_owned(),
            system: system.to_owned(),
            cell: cell.as_object().cloned().unwrap_or_default().into_iter().collect(),
            samples: vec![Sample { value, verified: true, ..Sample::default() }],
            ..Series::default()
        };
        use serde_json::json;
        let results = Results {
            series: vec![
                series("limits", "memory-copy", json!({"cores": 1}), 10.4e9),
                series("limits", "random-lines", json!({"documents": 100, "ahead": 16}), 25.0),
                series("limits", "random-lines", json!({"documents": 100, "ahead": 32}), 20.0),
                series("limits", "random-lines", json!({"documents": 99, "ahead": 32}), 1.0),
                series("limits", "syscall-tcp", json!({"write_bytes": 65_536}), 6.4e9),
                series("limits", "cache-line", json!({}), 200.0),
                series(
                    "pipeline",
                    "deltaworks",
                    json!({"cores": 1, "batch": 1, "delta_bytes": 46, "documents": 100}),
                    5e6,
                ),
                series(
                    "fan-out",
                    "redis",
                    json!({"publishers": 1, "subscribers": 8, "payload_bytes": 64}),
                    3e6,
                ),
            ],
            ..Results::default()
        };
        let whole = with_bounds(&results);
        assert_eq!(whole.series[..8], results.series[..], "what was measured stays where it is");
        let bounds: BTreeMap<&str, f64> =
            whole.series[8..].iter().map(|it| (it.system.as_str(), it.values()[0])).collect();
        // Lines of 20 ns.
        let by_lines = 1e9 / (20.0 * lines_of_batch(100.0, 104.0));
        let wanted = [
            ("a cache line at a time", 10e6),
            (BARE_TCP, 100e6),
            (LINES, by_lines),
            (MEMORY, 100e6),
            (TWICE, 10e6),
        ];
        assert_eq!(bounds, BTreeMap::from(wanted));
        let tcp = whole.series.iter().find(|it| it.system == BARE_TCP).expect("a bound");
        assert_eq!(tcp.more("cpu_ns_per_delivery"), [10.0]);
        assert!(whole.series[8..].iter().all(|it| it.is_bound && it.role == Role::Limit));
        let lines = whole.series.iter().find(|it| it.system == LINES).expect("a bound");
        assert_eq!(lines.of_cell("law").as_deref(), Some("uniform"), "it is none of another law");
        // Without limits nothing is bounded, and nothing is made up.
        let none = Results { series: results.series[7..].to_vec(), ..Results::default() };
        assert_eq!(with_bounds(&none).series.len(), 1);
    }
}
