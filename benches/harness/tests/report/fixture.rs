//! Results that nobody measured, of every scenario: round figures with some noise around them.

use std::collections::BTreeMap;

use deltaworks_harness::machine::Machine;
use deltaworks_harness::results::{Better, FORMAT, Failure, Results, Role, Sample, Series};
use serde_json::{Value, json};

/// Noise that is the same at every run.
struct Noise(u64);

impl Noise {
    /// Around `value`, within a few percent.
    fn around(&mut self, value: f64) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        value * (1.0 + ((self.0 >> 40) as f64 / f64::from(1 << 24) - 0.5) * 0.12)
    }
}

struct Making {
    results: Results,
    noise: Noise,
}

type More<'a> = &'a [(&'a str, f64)];

impl Making {
    fn add(
        &mut self,
        scenario: &str,
        (system, version, role): (&str, &str, Role),
        cell: Value,
        (metric, unit, better): (&str, &str, Better),
        value: f64,
        more: More<'_>,
    ) {
        let cell = cell.as_object().cloned().unwrap_or_default();
        let series = Series {
            scenario: scenario.to_owned(),
            system: system.to_owned(),
            version: version.to_owned(),
            role,
            cell: cell.into_iter().collect(),
            metric: metric.to_owned(),
            unit: unit.to_owned(),
            better,
            command: format!("program {scenario} --json"),
            ..Series::default()
        };
        for round in 0..5 {
            let noisy = |noise: &mut Noise, (name, value): &(&str, f64)| {
                ((*name).to_owned(), noise.around(*value))
            };
            let more = more.iter().map(|it| noisy(&mut self.noise, it));
            let more: BTreeMap<String, f64> = more.collect();
            let sample = Sample {
                value: self.noise.around(value),
                verified: true,
                round: Some(round),
                at_s: f64::from(round) * 100.0,
                seconds: 1.0,
                load: 0.4,
                more,
            };
            self.results.add(series.clone(), Some(sample));
        }
    }
}

const OURS: (&str, &str, Role) = ("deltaworksd", "", Role::Ours);
const SERVERS: [(&str, &str, Role, f64); 7] = [
    ("deltaworksd-single", "", Role::Ours, 4.0),
    ("deltaworksd", "", Role::Ours, 1.0),
    ("nats-debian", "2.9.10", Role::Peer, 7.4),
    ("nats-newest", "2.15.1", Role::Peer, 7.7),
    ("redis", "7.0.15", Role::Peer, 9.3),
    ("mosquitto", "2.0.11", Role::Peer, 200.0),
    ("relay", "", Role::Limit, 0.8),
];
const HIGHER: Better = Better::Higher;
const LOWER: Better = Better::Lower;

/// The results.
pub fn results() -> Results {
    let machine = Machine {
        began_unix_s: 1_795_824_000,
        date: "2026-11-28 00:00 UTC".to_owned(),
        cpu: "A CPU & its <name>".to_owned(),
        cpus: 2,
        caches: "L1 32K, L2 1024K, L3 32768K".to_owned(),
        memory_mib: 24_000,
        hypervisor: "a guest".to_owned(),
        kernel: "6.18.0".to_owned(),
        governor: "performance".to_owned(),
        huge_pages: "madvise".to_owned(),
        commit: "0123456789abcdef".to_owned(),
        is_changed: false,
        rustc: "rustc 1.95.0".to_owned(),
        flags: "release; RUSTFLAGS: none".to_owned(),
        load_began: 0.3,
        load_ended: 1.9,
        stolen_share: 0.002,
        memlock: "8388608".to_owned(),
    };
    let results = Results {
        format: FORMAT,
        command: "throughput bench --extent standard".to_owned(),
        extent: "standard".to_owned(),
        samples_each: 5,
        machine,
        seconds: 2700.0,
        is_whole: true,
        ..Results::default()
    };
    let mut making = Making { results, noise: Noise(7) };
    pipeline(&mut making);
    instructions(&mut making);
    capacity(&mut making);
    rings(&mut making);
    sockets(&mut making);
    quiet(&mut making);
    let mut results = making.results;
    results.add(
        Series {
            scenario: "fan-out".to_owned(),
            system: "centrifugo".to_owned(),
            role: Role::Peer,
            absent: Some("not packaged here".to_owned()),
            ..Series::default()
        },
        None,
    );
    let failure = |entry: &str, is_absent: bool, reason: &str| Failure {
        entry: entry.to_owned(),
        command: "program --json".to_owned(),
        round: 1,
        is_absent,
        reason: reason.to_owned(),
    };
    results.failures.push(failure("peers/mesh", false, "signal: 9 (SIGKILL): out of memory"));
    results.failures.push(failure("peers/fan-in", false, "not verified: 3 images came twice"));
    let wrong = Sample { value: 1.0, verified: false, ..Sample::default() };
    let first = results.series[0].clone();
    results.add(first, Some(wrong));
    results
}

fn pipeline(making: &mut Making) {
    let stages: [(&str, f64); 6] = [
        ("generator_ns", 9.0),
        ("reception_ns", 8.0),
        ("validation_ns", 24.0),
        ("propagation_ns", 6.0),
        ("subscriber_ns", 8.0),
        ("rest_ns", 1.5),
    ];
    for cores in [1_u32, 2] {
        for (documents, slower) in [(1_u32, 0.9), (100, 1.0), (10_000, 1.3), (1_000_000, 3.6)] {
            for (batch, faster) in [(1_u32, 1.0), (8, 2.6), (32, 3.9), (256, 4.6)] {
                if documents < cores {
                    continue;
                }
                for (collection, checking) in [("cbor", 1.0), ("opaque", 1.7), ("rows", 0.8)] {
                    for (law, hot) in [("uniform", 1.0), ("zipf", 1.2)] {
                        let is_usual = collection == "cbor" && law == "uniform";
                        let is_edge = documents >= 10_000 && [1, 32].contains(&batch);
                        if !is_usual && (!is_edge || (collection != "cbor") == (law == "zipf")) {
                            continue;
                        }
                        let rate =
                            17e6 * faster / slower * checking * hot * f64::from(cores).powf(0.85);
                        let scale = 13e6 / rate * f64::from(cores);
                        let more = stages.map(|(name, ns)| (name, ns * scale));
                        let cell = json!({"cores": cores, "documents": documents, "batch": batch,
                            "collection": collection, "law": law, "delta_bytes": 46});
                        let metric = ("deltas", "1/s", HIGHER);
                        making.add(
                            "pipeline",
                            ("deltaworks", "", Role::Ours),
                            cell,
                            metric,
                            rate,
                            &more,
                        );
                    }
                }
            }
        }
    }
}

fn instructions(making: &mut Making) {
    for (collection, batch, count) in [("cbor", 1, 310.0), ("cbor", 32, 96.0), ("rows", 1, 340.0)] {
        let cell = json!({"collection": collection, "documents": 10_000, "batch": batch});
        let metric = ("instructions", "", LOWER);
        let of = ("deltaworks", "-3.1 %", Role::Ours);
        making.add("instructions", of, cell.clone(), metric, count, &[]);
        let of = ("last recorded", "0123456", Role::Limit);
        making.add("instructions", of, cell, metric, count * 1.03, &[]);
    }
}

fn capacity(making: &mut Making) {
    for (batch, rate, error, is_within) in [(1, 5e6, 0.04, 1.0), (32, 31e6, -0.22, 0.0)] {
        let cell = json!({"cores": 1, "documents": 10_000, "batch": batch});
        let foretold = ("foretold", "validation first", Role::Limit);
        let errors = [("error", error), ("round_error", 0.2), ("memory_error", 0.1)];
        let more = [&errors[..], &[("is_within", is_within)]].concat();
        let deltas = ("deltas", "1/s", HIGHER);
        let bytes = ("live", "bytes", LOWER);
        making.add("capacity", foretold, cell.clone(), deltas, rate * (1.0 + error), &more);
        making.add("capacity", foretold, cell.clone(), bytes, 2e7, &[]);
        let measured = ("measured", "", Role::Ours);
        making.add("capacity", measured, cell.clone(), deltas, rate, &[]);
        making.add("capacity", measured, cell, bytes, 2.1e7, &[]);
    }
}

fn rings(making: &mut Making) {
    let systems = [
        ("deltaworks-ring", "", Role::Ours, 210e6),
        ("rtrb", "0.4.1", Role::Limit, 232e6),
        ("disruptor", "4.3.0", Role::Peer, 245e6),
        ("crossbeam", "0.5.15", Role::Peer, 26e6),
        ("flume", "0.11.1", Role::Peer, 14e6),
        ("tokio-mpsc", "1.48.0", Role::Peer, 12e6),
        ("iceoryx2", "0.7.0", Role::Peer, 4e6),
    ];
    for (batch, slower) in [(1, 6.0), (32, 1.0)] {
        for (system, version, role, rate) in systems {
            let cell = json!({"payload_bytes": 64, "batch": batch});
            let metric = ("messages", "1/s", HIGHER);
            making.add("in-process", (system, version, role), cell, metric, rate / slower, &[]);
        }
    }
    for (system, metric, unit, value) in [
        ("memory-read", "bandwidth", "bytes/s", 21e9),
        ("memcpy", "bandwidth", "bytes/s", 12e9),
        ("cache-line", "round-trip", "ns", 241.0),
        ("disk-sync", "syncs", "1/s", 9436.0),
    ] {
        let better = if unit == "ns" { LOWER } else { HIGHER };
        let of = (system, "", Role::Limit);
        making.add("limits", of, json!({}), (metric, unit, better), value, &[]);
    }
}

fn sockets(making: &mut Making) {
    for (system, version, role, cost) in SERVERS {
        let of = (system, version, role);
        for bytes in [64_u32, 256, 4096] {
            for (subscribers, share) in [(1_u32, 3.6), (8, 1.4), (64, 1.0), (1000, 1.05)] {
                let ns = 17.0 * cost.min(190.0) * share + f64::from(bytes) * 0.1;
                let cell =
                    json!({"publishers": 1, "subscribers": subscribers, "payload_bytes": bytes});
                let metric = ("deliveries", "1/s", HIGHER);
                let more = [("cpu_ns_per_delivery", ns)];
                making.add("fan-out", of, cell, metric, 0.98e9 / ns, &more);
            }
        }
        for load in ["half-of-slowest", "half-of-own"] {
            let cell = json!({"load": load, "subscribers": 8, "payload_bytes": 64});
            let metric = ("p99", "us", LOWER);
            making.add(
                "latency",
                of,
                cell,
                metric,
                110.0 + 22.0 * cost.min(40.0),
                &[("p50_us", 40.0)],
            );
        }
        if role != Role::Limit {
            let starting = if system == "redis" { 9.0 } else { 14.0 + cost.min(20.0) };
            let metric = ("first-delivery", "ms", LOWER);
            making.add("start-up", of, json!({}), metric, starting, &[]);
        }
    }
}

fn quiet(making: &mut Making) {
    for (system, version, role, cost) in SERVERS {
        if role == Role::Limit {
            continue;
        }
        let more = [("rss_bytes_per_session", 1900.0 + 900.0 * cost.min(12.0))];
        let metric = ("cpu-share", "share", LOWER);
        let cell = json!({"sessions": 10_000});
        let of = (system, version, role);
        making.add("idle", of, cell, metric, 0.004 + 0.0006 * cost.min(30.0), &more);
    }
    let floor = ("bare-eventfd", "", Role::Limit);
    for (of, us) in [(OURS, 78.0), (floor, 41.0), (("bare-socket", "", Role::Limit), 55.0)] {
        making.add("parked", of, json!({"gap_ms": 5}), ("p99", "us", LOWER), us, &[]);
    }
    for (what, bytes) in [("documents", 402.0), ("subscriptions", 71.0)] {
        for count in [10_000, 100_000, 1_000_000] {
            let of = ("deltaworks", "", Role::Ours);
            let cell = json!({"what": what, "count": count});
            making.add("memory", of, cell, ("bytes-each", "bytes", LOWER), bytes, &[]);
        }
    }
}
