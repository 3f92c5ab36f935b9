//! Loads on the real daemon: what must verify, what must not, and how each ends itself.

mod daemon;
mod folder;
mod proxy;

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use daemon::Daemon;
use folder::deltaworks;
use proxy::{Proxy, Tamper, Way};
use serde_json::Value;

/// What lets subscribers of the default collection make its publishers wait.
const WAIT: [&str; 2] = ["--collection", "=opaque,wait_allowed=true"];

/// How long a program may take to be ready for a signal.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two writers, three readers, two documents.
const SMALL: [&str; 9] =
    ["bench", "--json", "--publishers", "2", "--subscribers", "3", "--documents", "2", "--server"];
/// A second of what any machine can do.
const EASY: [&str; 4] = ["--rate", "2000", "--seconds", "1"];

fn bench(server: &str, options: &[&str]) -> (Option<i32>, Value) {
    report(&deltaworks(&[&SMALL[..], &[server], options].concat()))
}

fn report(output: &Output) -> (Option<i32>, Value) {
    let printed = String::from_utf8_lossy(&output.stdout);
    let told = || format!("{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    let report = serde_json::from_str(&printed).unwrap_or_else(|why| panic!("{why}: {}", told()));
    (output.status.code(), report)
}

fn number(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("{name}: {report}"))
}

#[test]
fn everything_accepted_is_delivered_to_everybody_and_measured() {
    let daemon = Daemon::start(&[]);
    for server in daemon.addresses() {
        let svg = daemon.folder.join("latency.svg");
        let svg = svg.to_str().expect("UTF-8");
        let options = ["--batch", "8", "--delta-bytes", "100", "--svg", svg];
        let (code, report) = bench(&server, &[&EASY[..], &options].concat());
        assert_eq!(code, Some(0), "{report}");
        assert_eq!(report["verified"], true, "{report}");
        assert_eq!(report["fault"], Value::Null, "{report}");
        // Two seconds with the warm-up; what a busy machine could not send in time is told.
        let (accepted, unsent) =
            (number(&report, "accepted_deltas"), number(&report, "unsent_deltas"));
        assert_eq!(accepted + unsent, 4_000, "{report}");
        assert_eq!(number(&report, "sent_deltas"), accepted, "{report}");
        assert_eq!(number(&report, "deliveries"), accepted * 3, "{report}");
        let [deliveries, answers] =
            ["delivery", "acknowledgement"].map(|name| number(&report[name], "count"));
        assert!(deliveries > 0 && deliveries == answers * 8 * 3, "{report}");
        for kind in ["lateness", "acknowledgement", "delivery"] {
            let of = |name: &str| report[kind][name].as_f64().expect("microseconds");
            let names = ["min_us", "p50_us", "p90_us", "p99_us", "p999_us", "max_us"];
            assert!(names.windows(2).all(|pair| of(pair[0]) <= of(pair[1])), "{report}");
        }
        let picture = std::fs::read_to_string(svg).expect("a picture");
        assert!(picture.contains("2 publishers, 3 subscribers, 2 documents"), "{picture}");
        std::fs::remove_file(svg).expect("removed");
    }
    daemon.stop();
}

#[test]
fn a_person_reads_rates_latencies_and_a_plot() {
    let daemon = Daemon::start(&[]);
    let [tcp, _] = daemon.addresses();
    let options = ["bench", "--server", &tcp, "--rate", "500", "--seconds", "1", "--batch", "1"];
    let output = deltaworks(&options);
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{told}");
    for part in ["500 deltas/s offered, ", "since a batch was due", "p99.9", " │", "\nverified\n"]
    {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
    assert!(output.stderr.is_empty(), "no progress where there is no terminal");
    daemon.stop();
}

#[test]
fn planted_faults_are_not_verified() {
    let daemon = Daemon::start(&[]);
    let [tcp, _] = daemon.addresses();
    for tamper in [
        Tamper::Drop,
        Tamper::Double,
        Tamper::Swap,
        Tamper::Flip,
        Tamper::FlipAndMend,
        Tamper::Cut,
        Tamper::CutBehind,
    ] {
        let proxy = Proxy::start(&tcp, Way::ToClient, tamper, 20);
        let way = proxy.address();
        let options = ["--warm-up-seconds", "0", "--subscriber-via", &way];
        let (code, report) = bench(&tcp, &[&EASY[..], &options].concat());
        assert!(proxy.has_acted(), "{tamper:?}: {report}");
        assert_eq!(code, Some(3), "{tamper:?}: {report}");
        assert_eq!(report["verified"], false, "{tamper:?}: {report}");
        let fault = report["fault"].as_str().expect("a fault");
        assert!(fault.starts_with("subscriber 2"), "{tamper:?}: {fault}");
        // A checksum that fits hides the change from everybody but who compares bytes.
        let is_compared = fault.ends_with("is not as it was written");
        assert_eq!(is_compared, tamper == Tamper::FlipAndMend, "{tamper:?}: {fault}");
    }
}

#[test]
fn a_proxy_that_spoils_nothing_is_not_noticed() {
    let daemon = Daemon::start(&[]);
    let [tcp, _] = daemon.addresses();
    let proxy = Proxy::start(&tcp, Way::ToClient, Tamper::Nothing, 20);
    let (code, report) =
        bench(&tcp, &[&EASY[..], &["--subscriber-via", &proxy.address()]].concat());
    assert_eq!((code, &report["verified"]), (Some(0), &Value::Bool(true)), "{report}");
}

#[test]
fn deltas_that_nobody_delivers_end_it_with_a_fault() {
    let daemon = Daemon::start(&[]);
    let [tcp, _] = daemon.addresses();
    let proxy = Proxy::start(&tcp, Way::ToClient, Tamper::Silence, 20);
    let way = proxy.address();
    let options = ["--subscriber-via", &way, "--stall-seconds", "2"];
    let (code, report) = bench(&tcp, &[&EASY[..], &options].concat());
    assert_eq!(code, Some(3), "{report}");
    // The client, or the load itself: whoever waits less.
    assert!(report["fault"].as_str().is_some_and(|fault| !fault.is_empty()), "{report}");
    assert_eq!(report["verified"], false, "{report}");
}

#[test]
fn more_than_can_be_sent_ends_in_time_and_is_told() {
    let daemon = Daemon::start(&WAIT);
    let [tcp, _] = daemon.addresses();
    let load = ["--rate", "100000000", "--seconds", "1", "--batch", "64"];
    let options = ["--warm-up-seconds", "0", "--policy", "wait"];
    let (code, report) = bench(&tcp, &[&load[..], &options].concat());
    assert_eq!((code, &report["verified"]), (Some(0), &Value::Bool(true)), "{report}");
    assert!(number(&report, "unsent_deltas") > 0, "{report}");
    assert!(number(&report, "late_batches") > 0, "{report}");
    assert_eq!(report["is_interrupted"], false, "{report}");
    daemon.stop();
}

#[test]
fn an_interrupt_ends_it_early_with_a_verified_report() {
    let daemon = Daemon::start(&[]);
    let [tcp, _] = daemon.addresses();
    let load = Command::new(env!("CARGO_BIN_EXE_deltaworks"))
        .args(["bench", "--json", "--rate", "100", "--seconds", "600", "--server", &tcp])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command line runs");
    wait_until_it_takes_interrupts(&load);
    let sent = Command::new("kill").args(["-INT", &load.id().to_string()]).status();
    assert!(sent.expect("kill runs").success());
    let (code, report) = report(&load.wait_with_output().expect("its output"));
    assert_eq!((code, &report["verified"]), (Some(0), &Value::Bool(true)), "{report}");
    assert_eq!(report["is_interrupted"], true, "{report}");
    assert!(number(&report, "unsent_deltas") > 50_000, "{report}");
    daemon.stop();
}

/// Until the mask of caught signals has SIGINT's bit: proc_pid_status(5).
fn wait_until_it_takes_interrupts(load: &Child) {
    let path = format!("/proc/{}/status", load.id());
    let began = Instant::now();
    loop {
        let status = std::fs::read_to_string(&path).expect("it runs");
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let mask = u64::from_str_radix(mask.expect("a mask").trim(), 16).expect("hexadecimal");
        if mask & 2 != 0 {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{status}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_cannot_begin_says_why() {
    let none = deltaworks(&["bench", "--server", "unix:/nonexistent/socket"]);
    assert_eq!(none.status.code(), Some(1));
    let told = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(told.starts_with("deltaworks: unix:/nonexistent/socket: "), "{told}");
    let many = ["--subscribers", "1024", "--documents", "16384"];
    assert_eq!(deltaworks(&[&["bench"], &many[..]].concat()).status.code(), Some(2));
    assert_eq!(deltaworks(&["bench", "--delta-bytes", "23"]).status.code(), Some(2));
}
