//! The built program: each line is a sample, what is right is verified, and a byte that was changed
//! on the way is found by every kind of load.

use std::process::{Command, Output};

use serde_json::Value;

fn peers(arguments: &str) -> (Output, Vec<Value>) {
    let run = Command::new(env!("CARGO_BIN_EXE_peers"))
        .args(["--json", "--samples", "1", "--seconds", "0.1"])
        .args(arguments.split_whitespace())
        .output()
        .expect("the program was built");
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("a line is an object"));
    let lines = lines.collect();
    (run, lines)
}

#[test]
fn the_relay_passes_everything_on_and_a_changed_byte_is_found() {
    for scenario in ["--quick fan-out", "--quick fan-in", "--quick mesh", "latency"] {
        let arguments = format!("--peers relay {scenario}");
        let (run, lines) = peers(&arguments);
        assert_eq!(run.status.code(), Some(0), "{scenario}: {lines:?}");
        assert!(!lines.is_empty());
        for line in &lines {
            assert_eq!(line["verified"], true, "{line}");
            assert!(line["value"].as_f64().is_some_and(|value| value > 0.0), "{line}");
            assert!(line["cpu_ns_per_delivery"].as_f64().is_some_and(|ns| ns > 0.0), "{line}");
        }
        let (run, lines) = peers(&format!("--plant {arguments}"));
        assert_eq!(run.status.code(), Some(1), "{scenario}: {lines:?}");
        assert!(lines.iter().any(|line| line["verified"] == false), "{lines:?}");
    }
}

#[test]
fn every_relay_passes_everything_on_and_a_changed_byte_is_found_at_each() {
    let ways = ["wide", "uring", "uring-zero-copy", "uring-calls", "uring-single-shot"];
    let more = ["uring-unregistered", "uring-undeferred", "uring-busy-poll"];
    let names: Vec<String> = ways.iter().chain(&more).map(|it| format!("relay-{it}")).collect();
    let arguments = format!("--quick --peers {} relays", names.join(","));
    let (run, lines) = peers(&arguments);
    assert_eq!(run.status.code(), Some(0), "{lines:?}");
    for name in &names {
        let of = |metric: &str| {
            let is_it = |line: &&Value| line["peer"] == name.as_str() && line["metric"] == metric;
            lines.iter().filter(is_it).filter(|it| it["value"].as_f64() > Some(0.0)).count()
        };
        assert_eq!((of("cpu-per-delivery"), of("cpu-ratio")), (3, 3), "{name}: {lines:?}");
    }
    let (run, lines) = peers(&format!("--plant {arguments}"));
    assert_eq!(run.status.code(), Some(1), "{lines:?}");
    for name in &names {
        let is_found = |line: &&Value| line["peer"] == name.as_str() && line["verified"] == false;
        assert_eq!(lines.iter().filter(is_found).count(), 3, "{name}: {lines:?}");
    }
}

#[test]
fn every_way_between_two_threads_is_verified() {
    let (run, lines) = peers("in-process");
    assert_eq!(run.status.code(), Some(0), "{lines:?}");
    let names =
        ["rtrb", "deltaworks-ring", "crossbeam", "flume", "tokio-mpsc", "disruptor", "iceoryx2"];
    for name in names {
        assert!(
            lines.iter().any(|line| line["peer"] == name && line["verified"] == true),
            "{name}"
        );
    }
}

#[test]
fn random_lines_are_counted_for_both_tables() {
    let (run, lines) = peers("--peers random-lines limits");
    assert_eq!(run.status.code(), Some(0), "{lines:?}");
    let of_cell = |line: &Value, name: &str| line["cell"][name].as_u64().unwrap_or_default();
    let cells: Vec<(u64, u64)> =
        lines.iter().map(|it| (of_cell(it, "documents"), of_cell(it, "ahead"))).collect();
    assert_eq!(cells, [(10_000, 16), (10_000, 32), (1_000_000, 16), (1_000_000, 32)]);
    for line in &lines {
        assert!(line["verified"] == true && line["unit"] == "ns", "{line}");
        assert!(line["value"].as_f64().is_some_and(|ns| ns > 0.0), "{line}");
    }
}

#[test]
fn what_is_not_there_is_told_and_is_no_fault() {
    let (run, lines) = peers("--peers deltaworksd,centrifugo --daemon nowhere fan-in");
    assert_eq!(run.status.code(), Some(0));
    let absent: Vec<&str> = lines.iter().filter_map(|line| line["absent"].as_str()).collect();
    assert_eq!(absent.len(), 2, "{lines:?}");
    let (run, _) = peers("");
    assert_eq!(run.status.code(), Some(2), "a scenario must be named");
}
