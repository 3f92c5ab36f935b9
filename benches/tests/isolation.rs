//! Every scenario of isolation, small, in each form: everything comes in order or is told, to every
//! reader, exactly; the others go on; memory stays flat. No times are judged. And each check is shown
//! something that is wrong.

mod program;

use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deltaworks_benches::isolation::plant::Plant;
use deltaworks_benches::isolation::report::Report;
use deltaworks_benches::isolation::{Form, IsolationOptions, list, run};
use deltaworks_benches::playbill::Playbill;
use program::program;
use serde_json::Value;

/// One at a time: each fills the machine, and another beside it could keep it from coming to anything.
static PLAYING: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    PLAYING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn play(scenario: &str, form: Form, plant: Option<Plant>) -> Report {
    let _playing = alone();
    let options = IsolationOptions {
        playbill: Playbill {
            scenario: vec![scenario.to_owned()],
            pairs: 1,
            list: false,
            json: true,
            daemon: (form == Form::Sockets).then(|| program().to_owned()),
        },
        form: vec![form],
        seconds: 0.1,
        memory_deltas: if form == Form::Sockets { 50_000 } else { 200_000 },
        readers: None,
        storm_sessions: 500,
        budget_mib: Some(32),
        markdown: false,
        is_polite: true,
        plant,
    };
    let reports: Arc<Mutex<Vec<Report>>> = Arc::default();
    let tell = {
        let reports = reports.clone();
        move |report: &Report| reports.lock().expect("nobody panicked").push(report.clone())
    };
    let verdict = run(&options, tell).expect("it can be run");
    let mut reports = reports.lock().expect("nobody panicked");
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].verdict(), verdict);
    reports.remove(0)
}

/// It is verified, and the others got what was written for them, with and without the disturbance.
fn is_sound(scenario: &str, form: Form) -> Report {
    let report = play(scenario, form, None);
    assert!(report.verified, "{scenario}: {:#?}", report.differences);
    assert!(report.verified_deltas > 100, "{}", report.verified_deltas);
    for pair in &report.figures {
        for figures in [pair.quiet, pair.disturbed] {
            // Not that anything came within the span: where the machine is busy all of it comes later.
            assert!(figures.samples > 0, "{figures:?}");
        }
    }
    serde_json::to_string(&report).expect("it can be told");
    report
}

#[test]
fn a_hot_document_in_process() {
    let report = is_sound("hot-document", Form::InProcess);
    assert!(report.disturbance_deltas > 0);
}

#[test]
fn a_document_that_moves_in_process() {
    if core_affinity::get_core_ids().unwrap_or_default().len() < 2 {
        eprintln!("skipped: two CPUs are needed");
        return;
    }
    let report = is_sound("promotion", Form::InProcess);
    assert!(report.more["moves"].as_u64() >= Some(4), "{:?}", report.more);
}

#[test]
fn greedy_publishers_in_process() {
    for scenario in ["greedy-publisher", "greedy-long-deltas"] {
        let report = is_sound(scenario, Form::InProcess);
        assert!(report.disturbance_deltas > 0);
    }
}

#[test]
fn slow_and_frozen_readers_in_process() {
    for scenario in ["frozen-reader", "slow-reader", "thousand-frozen", "thousand-slow"] {
        let report = is_sound(scenario, Form::InProcess);
        let memory = &report.more["memory"];
        assert!(memory["deltas"].as_u64() >= Some(10_000), "{memory}");
        assert!(report.told_deltas > 0 || scenario == "thousand-slow", "the window was left");
    }
}

#[test]
fn slow_batches_are_overtaken_in_process() {
    let report = is_sound("slow-validation", Form::InProcess);
    assert!(report.more["slow_batches"].as_u64() > Some(0));
}

#[test]
fn a_storm_of_sessions_in_process() {
    assert_eq!(is_sound("connection-storm", Form::InProcess).more["sessions"], 500);
}

#[test]
fn the_hot_and_the_greedy_over_sockets() {
    for scenario in ["hot-document", "greedy-publisher", "greedy-long-deltas"] {
        let report = is_sound(scenario, Form::Sockets);
        assert!(report.disturbance_deltas > 0);
    }
}

#[test]
fn slow_and_frozen_readers_over_sockets() {
    for scenario in ["frozen-reader", "slow-reader", "thousand-frozen", "thousand-slow"] {
        let report = is_sound(scenario, Form::Sockets);
        let memory = &report.more["memory"];
        // Each of them to two readers at least.
        assert!(memory["deltas"].as_u64() >= Some(5_000), "{memory}");
    }
}

#[test]
fn a_document_that_is_promoted_over_sockets() {
    let report = is_sound("promotion", Form::Sockets);
    assert_eq!(report.more["promotions"], 1, "{:?}", report.more);
    assert!(report.more["pause_us"]["max"].as_f64() > Some(0.0), "{:?}", report.more);
    assert!(report.more["laned_batches"]["min"].as_f64() > Some(0.0), "{:?}", report.more);
    assert!(report.bounds.iter().all(|it| !it.decides), "they are told only");
}

#[test]
fn slow_batches_and_storms_over_sockets() {
    let report = is_sound("slow-validation", Form::Sockets);
    assert!(report.more["slow_batches"].as_u64() > Some(0));
    assert_eq!(is_sound("connection-storm", Form::Sockets).more["sessions"], 500);
}

#[test]
fn every_planted_fault_is_seen() {
    for plant in [Plant::Missing, Plant::Twice, Plant::Swap, Plant::Byte, Plant::Untold] {
        let scenario = if plant == Plant::Untold { "thousand-frozen" } else { "greedy-publisher" };
        let report = play(scenario, Form::InProcess, Some(plant));
        assert!(!report.verified && !report.differences.is_empty(), "{plant:?}: {report:#?}");
    }
}

/// The exit code of the program behind a scenario, and what it told.
fn told(scenario: &str, plant: Option<&str>) -> (Option<i32>, Value) {
    let _playing = alone();
    let mut command = Command::new(env!("CARGO_BIN_EXE_throughput"));
    command.args(["isolation", "--json", "--form", "in_process", "--scenario", scenario]);
    command.args(["--pairs", "1", "--seconds", "0.3", "--memory-deltas", "400000"]);
    command.args(["--budget-mib", "32"]);
    command.args(plant.map(|it| ["--plant", it]).into_iter().flatten());
    let output = command.output().expect("it was built");
    let told = String::from_utf8_lossy(&output.stdout);
    let report = serde_json::from_str(&told);
    let error = String::from_utf8_lossy(&output.stderr);
    (output.status.code(), report.unwrap_or_else(|fault| panic!("{fault}: {told} {error}")))
}

/// Nothing is lost, but it takes too long, is too little or too much: a code of its own.
#[test]
fn a_missed_bound_has_an_exit_code_of_its_own() {
    let (code, report) = told("hot-document", None);
    assert_eq!((code, &report["bound_held"]), (Some(0), &true.into()), "none is stated: {report}");
    let two_cpus = core_affinity::get_core_ids().unwrap_or_default().len() > 1;
    for (scenario, plant, missed) in [
        ("greedy-publisher", "stall", &["paced p99"][..]),
        ("slow-reader", "stall", &["the others' rate"]),
        ("promotion", "pause", &["pause of a move"]),
        ("frozen-reader", "growth", &["bytes beside windows", "bytes for readers"]),
        ("frozen-reader", "unfinished", &["bytes carried for writers"]),
    ] {
        if scenario == "promotion" && !two_cpus {
            eprintln!("skipped: two CPUs are needed");
            continue;
        }
        let (code, report) = told(scenario, Some(plant));
        assert_eq!(code, Some(3), "{scenario} {plant}: {report}");
        assert_eq!((&report["bound_held"], &report["verified"]), (&false.into(), &true.into()));
        let bounds = report["bounds"].as_array().expect("bounds");
        for missed in missed {
            let is_it = |it: &&Value| it["what"].as_str().is_some_and(|it| it.starts_with(missed));
            let bound = bounds.iter().find(is_it);
            let bound = bound.unwrap_or_else(|| panic!("{missed}: {report}"));
            let held = (&bound["holds"], &bound["decides"]);
            assert_eq!(held, (&false.into(), &true.into()), "{bound}");
        }
    }
    assert_eq!(told("greedy-publisher", Some("missing")).0, Some(1), "what is lost is worse");
}

#[test]
fn what_there_is_is_listed_and_what_there_is_not_is_refused() {
    assert!(list().contains("greedy-publisher"));
    let options = IsolationOptions {
        playbill: Playbill {
            scenario: vec!["nothing".to_owned()],
            pairs: 1,
            list: false,
            json: true,
            daemon: None,
        },
        form: vec![],
        seconds: 0.1,
        memory_deltas: 1,
        readers: None,
        storm_sessions: 1,
        budget_mib: Some(32),
        markdown: false,
        is_polite: true,
        plant: None,
    };
    assert!(run(&options, |_| ()).unwrap_err().contains("greedy-publisher"));
}
