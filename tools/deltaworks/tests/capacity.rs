//! `deltaworks plan --capacity`, as it is typed: files in, text or a line of JSON out.

mod folder;

use std::process::Output;

use folder::{Folder, deltaworks};
use serde_json::Value;

/// The example that the documentation tells of.
const COSTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/costs-example.json");

const WORKLOAD: &str = "\
documents = 2000
law = \"zipf\"
batch = 8
publishers = 40
subscribers = 4
";

fn ask(workload: &str, more: &[&str]) -> Output {
    let folder = Folder::new();
    let file = folder.join("chat.toml");
    std::fs::write(&file, workload).expect("a file");
    let file = file.to_str().expect("a path that is text");
    let typed = ["plan", "--capacity", "--costs", COSTS, "--workload", file];
    deltaworks(&[&typed, more].concat())
}

#[test]
fn a_machine_that_is_not_here_is_foretold() {
    let large = ["--synthetic", "package:2 numa:1 l3:2 core:8 pu:1", "--remote-penalty", "3"];
    let told = ask(WORKLOAD, &large);
    let text = String::from_utf8(told.stdout).expect("text");
    assert!(told.status.success(), "{text}");
    for must in ["at most", "full first", "p99", "memory", "This assumes:", "3 times between"] {
        assert!(text.contains(must), "{must}: {text}");
    }
    let line = |more: &[&str]| -> Value {
        let told = ask(WORKLOAD, &[&large[..], &["--json"], more].concat());
        serde_json::from_slice(&told.stdout).expect("one line of JSON")
    };
    let (one, other, third) = (line(&[]), line(&[]), line(&["--seed", "9"]));
    assert_eq!(one, other, "the same seed gives the same answer");
    assert_ne!(one["limit"], third["limit"]);
    assert!(one["limit"]["deltas_per_second"].as_f64().is_some_and(|rate| rate > 0.0));
    assert!(one["limit"]["saturates_first"]["stage"].is_string());
    assert!(one["costs"]["note"].as_str().is_some_and(|note| note.contains("example")));
}

#[test]
fn what_is_wrong_is_told() {
    let told = ask("document = 5\n", &[]);
    let error = String::from_utf8_lossy(&told.stderr).into_owned();
    assert_eq!(told.status.code(), Some(1), "{error}");
    assert!(error.contains("chat.toml") && error.contains("document"), "{error}");
    // Neither goes without the others.
    for typed in
        [&["plan", "--capacity"][..], &["plan", "--costs", COSTS], &["plan", "--seed", "1"]]
    {
        assert_eq!(deltaworks(typed).status.code(), Some(2), "{typed:?}");
    }
}
