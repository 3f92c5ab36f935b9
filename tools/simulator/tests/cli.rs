//! The program: what it prints, and how it ends.

use std::process::{Command, Output};

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim")).args(arguments).output().expect("sim runs")
}

#[test]
fn some_seeds_pass_and_are_counted() {
    let output = sim(&["--seeds", "0..8", "--jobs", "2"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("seeds 0..8: 8 passed, 0 failed"), "{text}");
    assert!(text.contains("chunks recycled"), "{text}");
}

#[test]
fn a_report_is_json() {
    let output = sim(&["--seeds", "5..7", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["passed"], 2);
    assert!(report["events"]["Batch"].as_u64() > Some(200), "{report}");
}

/// The last seeds that there are: a range ends there, and is not begun anew.
#[test]
fn a_range_ends_with_the_numbers() {
    let output = sim(&["--seeds", "18446744073709551611..18446744073709551615", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["passed"], 4);
}

#[test]
fn one_seed_is_told() {
    let output = sim(&["--seed", "4", "--tell"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("client 0 connects"), "{text}");
}

#[test]
fn what_is_no_range_is_refused() {
    let output = sim(&["--seeds", "7..7"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the smaller first"));
    for none in [&["--failures", "0"], &["--jobs", "0"], &["--seed", "18446744073709551615"]] {
        assert_eq!(sim(none).status.code(), Some(2), "{none:?}");
    }
    let help = sim(&["--help"]);
    assert!(String::from_utf8_lossy(&help.stdout).contains("sim --seeds 0..1000000"));
}
