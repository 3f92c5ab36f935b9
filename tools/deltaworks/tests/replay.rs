//! Replays through the real daemon: what must verify, and every way in which it must not.
//!
//! Each test has a daemon of its own. Faults are planted by a proxy before one subscriber, whose client
//! heals nothing, or before one publisher, whose client heals everything.

mod daemon;
mod folder;
mod proxy;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use daemon::Daemon;
use folder::{Folder, deltaworks};
use proxy::{Proxy, Tamper, Way};
use serde_json::Value;

/// What lets subscribers of the default collection make its publishers wait.
const WAIT: [&str; 2] = ["--collection", "=opaque,wait_allowed=true"];

/// A trace with combining and astral characters, and its transactions.
const TRANSACTIONS: u64 = 1_500;

fn generated(folder: &Folder) -> PathBuf {
    let path = folder.join("trace.json.gz");
    let transactions = TRANSACTIONS.to_string();
    let out = path.to_string_lossy().into_owned();
    let arguments = ["editing", "generate", "--seed", "11", "--transactions", &transactions];
    let made = deltaworks(&[&arguments[..], &["--out", &out]].concat());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    path
}

/// Runs a replay; its exit code and the report, which is the last line.
fn replay(trace: &Path, server: &str, options: &[&str]) -> (i32, Value) {
    let trace = trace.to_string_lossy().into_owned();
    report(&deltaworks(&[&["replay", &trace, "--server", server, "--json"], options].concat()))
}

fn report(output: &Output) -> (i32, Value) {
    let printed = String::from_utf8_lossy(&output.stdout);
    let told = || format!("{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    let line = printed.lines().next_back().unwrap_or_else(|| panic!("no report: {}", told()));
    let report = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {}", told()));
    (output.status.code().unwrap_or_else(|| panic!("ended by a signal: {}", told())), report)
}

fn assert_verified((code, report): &(i32, Value), deltas: u64, subscribers: u64) {
    assert_eq!(*code, 0, "{report}");
    assert_eq!(report["verified"], true, "{report}");
    assert_eq!(report["fault"], Value::Null, "{report}");
    assert_eq!(report["deltas"], deltas, "{report}");
    assert_eq!(report["deliveries"], deltas * subscribers, "{report}");
    assert!(report["bytes"].as_u64() > Some(deltas * 6), "{report}");
    assert!(report["seconds"].as_f64() > Some(0.0), "{report}");
    assert!(report["deltas_per_second"].as_f64() > Some(0.0), "{report}");
}

/// The fault of a replay that is not verified.
fn fault_of((code, report): &(i32, Value)) -> String {
    assert_eq!(*code, 3, "{report}");
    assert_eq!(report["verified"], false, "{report}");
    report["fault"].as_str().unwrap_or_else(|| panic!("no fault in {report}")).to_owned()
}

#[test]
fn a_generated_trace_arrives_over_tcp_and_unix_sockets() {
    let daemon = Daemon::start(&WAIT);
    let trace = generated(&daemon.folder);
    for server in daemon.addresses() {
        let options = ["--publishers", "3", "--subscribers", "4", "--documents", "2"];
        let replayed = replay(&trace, &server, &options);
        assert_verified(&replayed, TRANSACTIONS * 6, 4);
        let (_, report) = replayed;
        assert_eq!(report["resent"], 0, "{report}");
        assert_eq!(report["reconnects"], 0, "{report}");
        assert_eq!(report["hashes"].as_array().map(Vec::len), Some(2), "{report}");
    }
    daemon.stop();
}

/// A collection that does not allow `wait`, as the default one, is told with the key that allows it.
#[test]
fn without_wait_a_replay_says_which_key_allows_it() {
    let daemon = Daemon::start(&[]);
    let trace = generated(&daemon.folder);
    let [tcp, _] = daemon.addresses();
    let fault = fault_of(&replay(&trace, &tcp, &[]));
    assert!(fault.contains("304") && fault.contains("wait_allowed = true"), "{fault}");
    let load = ["bench", "--server", &tcp, "--policy", "wait", "--seconds", "1"];
    let refused = deltaworks(&load);
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("304") && told.contains("wait_allowed = true"), "{told}");
    daemon.stop();
}

#[test]
fn a_trace_arrives_through_little_memory_and_rings_of_one() {
    let options = [
        "--chunk-bytes",
        "65536",
        "--ring-capacity",
        "1",
        "--credit-bytes",
        "8192",
        "--cores",
        "2",
    ];
    let daemon = Daemon::start(&[&WAIT[..], &options].concat());
    let trace = generated(&daemon.folder);
    let options = ["--publishers", "2", "--subscribers", "2", "--documents", "2", "--batch", "7"];
    let [tcp, _] = daemon.addresses();
    assert_verified(&replay(&trace, &tcp, &options), TRANSACTIONS * 4, 2);
    daemon.stop();
}

#[test]
fn traces_that_people_typed_arrive() {
    let traces = typed_traces();
    if traces.is_empty() {
        return;
    }
    let daemon = Daemon::start(&WAIT);
    for trace in traces {
        for server in daemon.addresses() {
            let options = ["--publishers", "2", "--subscribers", "2", "--documents", "1"];
            let (code, report) = replay(&trace, &server, &options);
            assert_eq!((code, &report["verified"]), (0, &Value::Bool(true)), "{report}");
            assert!(report["deltas"].as_u64() > Some(10_000), "{report}");
        }
    }
    daemon.stop();
}

/// The traces that people typed, or none, visibly.
fn typed_traces() -> Vec<PathBuf> {
    let data = std::env::var_os("DELTAWORKS_TEST_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let folder = data.join("traces");
    let mut found: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map(|entries| entries.map(|entry| entry.expect("readable").path()).collect())
        .unwrap_or_default();
    found.retain(|path| path.to_string_lossy().contains(".json"));
    found.sort();
    if found.is_empty() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "no traces in {folder:?}");
        eprintln!("SKIPPED: no traces in {}", folder.display());
    }
    found
}

/// A replay with a proxy before the last of three subscribers.
fn replay_to_a_spoilt_subscriber(tamper: Tamper) -> (i32, Value) {
    let daemon = Daemon::start(&WAIT);
    let trace = generated(&daemon.folder);
    let [tcp, unix] = daemon.addresses();
    let proxy = Proxy::start(&tcp, Way::ToClient, tamper, 20);
    let way = proxy.address();
    let options = [
        "--publishers",
        "2",
        "--subscribers",
        "3",
        "--documents",
        "2",
        "--batch",
        "16",
        "--stall-seconds",
        "3",
        "--subscriber-via",
        &way,
    ];
    let replayed = replay(&trace, &unix, &options);
    assert!(proxy.has_acted(), "{tamper:?} has not happened: {replayed:?}");
    daemon.stop();
    replayed
}

#[test]
fn a_proxy_that_spoils_nothing_is_not_noticed() {
    let replayed = replay_to_a_spoilt_subscriber(Tamper::Nothing);
    assert_verified(&replayed, TRANSACTIONS * 4, 3);
}

/// Asserts that the fault is named, and with whom.
fn assert_named(tamper: Tamper, words: &str) {
    let fault = fault_of(&replay_to_a_spoilt_subscriber(tamper));
    assert!(fault.starts_with("subscriber 2, document "), "{tamper:?}: {fault}");
    assert!(fault.contains(words), "{tamper:?}: {fault}");
}

#[test]
fn a_batch_that_a_subscriber_misses_is_named() {
    assert_named(Tamper::Drop, "missing or swapped: sequence ");
}

#[test]
fn a_stream_that_falls_silent_is_named() {
    assert_named(Tamper::Silence, "missing");
}

#[test]
fn a_batch_that_a_subscriber_gets_twice_is_named() {
    assert_named(Tamper::Double, "doubled: sequence ");
}

#[test]
fn batches_that_are_swapped_are_named() {
    assert_named(Tamper::Swap, "missing or swapped: sequence ");
}

#[test]
fn a_flipped_bit_is_named_by_the_checksum() {
    assert_named(Tamper::Flip, "the payload CRC does not fit");
}

#[test]
fn a_flipped_bit_under_a_good_checksum_is_seen_in_texts_or_hashes() {
    let fault = fault_of(&replay_to_a_spoilt_subscriber(Tamper::FlipAndMend));
    assert!(fault.starts_with("subscriber 2, document "), "{fault}");
    let is_named = fault.contains("differs from the trace's end")
        || fault.contains("differs from the first subscriber's");
    assert!(is_named, "{fault}");
}

#[test]
fn a_subscribers_lost_connection_is_named() {
    assert_named(Tamper::Cut, "disconnected");
}

/// A replay with a proxy before the last of two publishers, which must verify.
fn replay_from_a_spoilt_publisher(way: Way, tamper: Tamper) -> Value {
    let daemon = Daemon::start(&WAIT);
    let trace = generated(&daemon.folder);
    let [tcp, unix] = daemon.addresses();
    let proxy = Proxy::start(&tcp, way, tamper, 20);
    let through = proxy.address();
    let options = [
        "--publishers",
        "2",
        "--subscribers",
        "2",
        "--documents",
        "2",
        "--batch",
        "16",
        "--publisher-via",
        &through,
    ];
    let replayed = replay(&trace, &unix, &options);
    assert!(proxy.has_acted(), "{tamper:?} has not happened: {replayed:?}");
    assert_verified(&replayed, TRANSACTIONS * 4, 2);
    daemon.stop();
    replayed.1
}

fn number(report: &Value, field: &str) -> u64 {
    report[field].as_u64().unwrap_or_else(|| panic!("no {field} in {report}"))
}

#[test]
fn a_publishers_lost_batch_is_sent_again() {
    let report = replay_from_a_spoilt_publisher(Way::ToServer, Tamper::Drop);
    assert!(number(&report, "resent") > 0 && number(&report, "reconnects") > 0, "{report}");
}

#[test]
fn a_publishers_batch_lost_with_its_connection_is_sent_again() {
    let report = replay_from_a_spoilt_publisher(Way::ToServer, Tamper::Cut);
    assert!(number(&report, "resent") > 0 && number(&report, "reconnects") == 1, "{report}");
}

#[test]
fn a_publishers_batch_whose_answer_is_lost_is_applied_once() {
    let report = replay_from_a_spoilt_publisher(Way::ToServer, Tamper::CutBehind);
    assert!(number(&report, "resent") + number(&report, "duplicates") > 0, "{report}");
    assert_eq!(number(&report, "reconnects"), 1, "{report}");
}

#[test]
fn a_publishers_doubled_batch_is_applied_once() {
    let report = replay_from_a_spoilt_publisher(Way::ToServer, Tamper::Double);
    assert!(number(&report, "resent") + number(&report, "duplicates") > 0, "{report}");
}

#[test]
fn a_publishers_spoilt_batch_is_sent_again() {
    let report = replay_from_a_spoilt_publisher(Way::ToServer, Tamper::Flip);
    assert!(number(&report, "resent") > 0 && number(&report, "reconnects") > 0, "{report}");
}

#[test]
fn a_daemon_that_is_killed_ends_the_replay_unverified() {
    let daemon = Daemon::start(&WAIT);
    let trace = generated(&daemon.folder).to_string_lossy().into_owned();
    // Silence keeps the replay from finishing before the daemon dies.
    let [tcp, _] = daemon.addresses();
    let proxy = Proxy::start(&tcp, Way::ToServer, Tamper::Silence, 20);
    let through = proxy.address();
    let child = Command::new(env!("CARGO_BIN_EXE_deltaworks"))
        .args(["replay", &trace, "--server", &tcp, "--publisher-via", &through, "--json"])
        .args(["--publishers", "2", "--subscribers", "2", "--documents", "2", "--batch", "16"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command line runs");
    while !proxy.has_acted() {
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(daemon);
    let fault = fault_of(&report(&child.wait_with_output().expect("it ends")));
    assert!(fault.contains("disconnected"), "{fault}");
}

#[test]
fn what_cannot_begin_is_told_with_its_own_exit_code() {
    let folder = Folder::new();
    let trace = generated(&folder);
    let nobody = format!("unix:{}", folder.join("nobody").display());
    let fault = fault_of(&replay(&trace, &nobody, &[]));
    assert!(fault.starts_with("subscriber 0: not started: no connection"), "{fault}");

    let (code, report) = replay(&folder.join("missing.json"), &nobody, &[]);
    assert_eq!((code, &report["verified"]), (1, &Value::Bool(false)), "{report}");

    let wrong = folder.join("wrong.json");
    let json = r#"{"startContent":"","endContent":"b","txns":[{"patches":[[0,0,"a"]]}]}"#;
    std::fs::write(&wrong, json).expect("written");
    let (code, report) = replay(&wrong, &nobody, &[]);
    assert_eq!(code, 1, "{report}");
    assert!(report["fault"].as_str().is_some_and(|fault| fault.contains("differs")), "{report}");

    let trace = trace.to_string_lossy().into_owned();
    for wrong in [
        &["--publishers", "0"][..],
        &["--server", "nowhere"],
        &["--publishers", "1000", "--subscribers", "1000"],
        &["--unknown"],
    ] {
        let output = deltaworks(&[&["replay", &trace], wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(!output.stderr.is_empty(), "{wrong:?}");
    }
}
