//! Every scenario of isolation, small, in each form: everything comes in order or is told, to every
//! reader, exactly; the others go on; memory stays flat. No times are judged. And each check is shown
//! something that is wrong.

mod program;

use std::sync::{Arc, Mutex, PoisonError};

use deltaworks_benches::isolation::plant::Plant;
use deltaworks_benches::isolation::report::Report;
use deltaworks_benches::isolation::{Form, IsolationOptions, list, run};
use program::program;

/// One at a time: each fills the machine, and another beside it could keep it from coming to anything.
static PLAYING: Mutex<()> = Mutex::new(());

fn play(scenario: &str, form: Form, plant: Option<Plant>) -> Report {
    let _playing = PLAYING.lock().unwrap_or_else(PoisonError::into_inner);
    let options = IsolationOptions {
        scenario: vec![scenario.to_owned()],
        form: vec![form],
        pairs: 1,
        seconds: 0.1,
        memory_deltas: if form == Form::Sockets { 100_000 } else { 400_000 },
        storm_sessions: 500,
        budget_mib: 32,
        list: false,
        json: true,
        daemon: (form == Form::Sockets).then(|| program().to_owned()),
        is_polite: true,
        plant,
    };
    let reports: Arc<Mutex<Vec<Report>>> = Arc::default();
    let tell = {
        let reports = reports.clone();
        move |report: &Report| reports.lock().expect("nobody panicked").push(report.clone())
    };
    let verified = run(&options, tell).expect("it can be run");
    let mut reports = reports.lock().expect("nobody panicked");
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].verified, verified);
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
    assert!(report.figures[0].disturbed.disturbance_deltas_per_second > 0.0);
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
        assert!(report.figures[0].disturbed.disturbance_deltas_per_second > 0.0);
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
        assert!(report.figures[0].disturbed.disturbance_deltas_per_second > 0.0);
    }
}

#[test]
fn slow_and_frozen_readers_over_sockets() {
    for scenario in ["frozen-reader", "slow-reader", "thousand-frozen", "thousand-slow"] {
        let report = is_sound(scenario, Form::Sockets);
        let memory = &report.more["memory"];
        assert!(memory["deltas"].as_u64() >= Some(10_000), "{memory}");
    }
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

#[test]
fn what_there_is_is_listed_and_what_there_is_not_is_refused() {
    assert!(list().contains("greedy-publisher"));
    let options = IsolationOptions {
        scenario: vec!["nothing".to_owned()],
        form: vec![],
        pairs: 1,
        seconds: 0.1,
        memory_deltas: 1,
        storm_sessions: 1,
        budget_mib: 32,
        list: false,
        json: true,
        daemon: None,
        is_polite: true,
        plant: None,
    };
    assert!(run(&options, |_| ()).unwrap_err().contains("greedy-publisher"));
}
