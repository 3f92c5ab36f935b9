//! Recordings: trace events that a viewer opens, held against the format and against themselves.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::http::{admin, start};
use crate::witness::Witness;

/// What is wrong with a recording of `cores` cores: names, times, nesting.
fn faults(told: &Value, cores: usize) -> Vec<String> {
    let mut faults = Vec::new();
    let events = told["traceEvents"].as_array().cloned().unwrap_or_default();
    let mut names = BTreeMap::new();
    let mut slices: BTreeMap<u64, Vec<(f64, f64, String)>> = BTreeMap::new();
    let mut latest: BTreeMap<String, f64> = BTreeMap::new();
    for event in &events {
        let (name, tid) = (event["name"].as_str().unwrap_or(""), event["tid"].as_u64());
        match event["ph"].as_str() {
            Some("M") if name == "thread_name" => {
                names.insert(tid, event["args"]["name"].as_str().unwrap_or("").to_owned());
            }
            Some("M") => {}
            Some("X") => {
                let (Some(start), Some(length)) = (event["ts"].as_f64(), event["dur"].as_f64())
                else {
                    faults.push(format!("a slice without times: {event}"));
                    continue;
                };
                let slice = (start, start + length, name.to_owned());
                slices.entry(tid.unwrap_or(0)).or_default().push(slice);
            }
            Some("C") => {
                let at = event["ts"].as_f64().unwrap_or(-1.0);
                let before = latest.insert(name.to_owned(), at).unwrap_or(0.0);
                if at < before {
                    faults.push(format!("a counter's time falls: {event}"));
                }
            }
            _ => faults.push(format!("an unknown event: {event}")),
        }
    }
    if names.len() != cores || slices.len() != cores {
        faults.push(format!("{names:?} for {cores} cores, slices on {:?}", slices.keys()));
    }
    for (tid, slices) in &slices {
        let mut open: Vec<&(f64, f64, String)> = Vec::new();
        for slice in slices {
            // A hundredth of a nanosecond: times are decimal fractions.
            while open.last().is_some_and(|last| last.1 <= slice.0 + 1e-5) {
                open.pop();
            }
            if let Some(last) = open.last()
                && (slice.0 < last.0 - 1e-5 || slice.1 > last.1 + 1e-5)
            {
                faults.push(format!("{tid}: {slice:?} is not within {last:?}"));
            }
            open.push(slice);
        }
        let starts = slices.iter().map(|slice| slice.0);
        if !starts.clone().zip(starts.skip(1)).all(|(one, next)| one <= next) {
            faults.push(format!("{tid}: times fall"));
        }
    }
    faults.truncate(8);
    faults
}

fn slices<'t>(told: &'t Value, name: &str) -> Vec<&'t Value> {
    let events = told["traceEvents"].as_array().expect("events");
    events.iter().filter(|event| event["ph"] == "X" && event["name"] == name).collect()
}

/// Under traffic every core appears with its turns, stages, reads and sleep; slices nest, times
/// rise. A second recording at the same time is refused.
#[test]
fn a_recording_is_whole_and_opens_in_a_viewer() {
    let daemon = start(&["--cores", "2"]);
    let cores = crate::http::status(&daemon)["cores"].as_array().expect("cores").len();
    let witness = Witness::start(&daemon);
    // Two at once: one is served, the other is told that there is one already.
    let mut both = std::thread::scope(|scope| {
        let ask = || admin(&daemon, "POST", "/v1/trace?seconds=2");
        let both = [scope.spawn(ask), scope.spawn(ask)];
        both.map(|one| one.join().expect("it asks"))
    });
    both.sort_by_key(|one| one.status);
    let [told, refused] = both;
    assert_eq!(refused.status, 409, "{}", refused.body);
    witness.finish();
    assert_eq!(told.status, 200, "{}", told.body);
    let told = told.json();
    assert_eq!(faults(&told, cores), Vec::<String>::new());
    for name in ["turn", "validation", "propagation", "reclamation", "reception", "asleep"] {
        assert!(!slices(&told, name).is_empty(), "no {name}");
    }
    let batches = |event: &&Value| event["args"]["batches"].as_u64() > Some(0);
    assert!(slices(&told, "validation").iter().any(batches), "nothing was validated");
    let sends = |event: &&Value| event["args"]["sends"].as_u64() > Some(0);
    assert!(slices(&told, "propagation").iter().any(sends), "nothing was sent");
    assert_eq!(told["otherData"].as_object().expect("notes").len(), cores);

    // Planted: a slice that leaves its parent, a time that falls, a core that is not there.
    let plant = |change: &dyn Fn(&mut Vec<Value>)| {
        let mut planted = told.clone();
        change(planted["traceEvents"].as_array_mut().expect("events"));
        faults(&planted, cores)
    };
    let is_turn = |event: &Value| event["name"] == "validation";
    let leaves = plant(&|events| {
        let turn = events.iter_mut().find(|event| is_turn(event)).expect("a turn");
        turn["dur"] = 1e12.into();
    });
    assert!(!leaves.is_empty());
    let falls = plant(&|events| {
        let last = events.iter_mut().rfind(|event| is_turn(event)).expect("a turn");
        last["ts"] = 0.into();
    });
    assert!(!falls.is_empty());
    let gone = plant(&|events| events.retain(|event| event["tid"] != 1));
    assert!(!gone.is_empty());
    daemon.stop();
}

/// Without traffic there is little to record, and it ends in time all the same: cores that sleep
/// wake for it.
#[test]
fn a_quiet_daemon_is_recorded_too() {
    let daemon = start(&[]);
    let answer = admin(&daemon, "POST", "/v1/trace?seconds=0.3");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let told = answer.json();
    assert!(!slices(&told, "asleep").is_empty(), "{told}");
    daemon.stop();
}
