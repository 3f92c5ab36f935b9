//! The harness, once around, small: entries are run, samples are kept, and what is absent is named.
//! No times are judged.

use std::path::PathBuf;
use std::process::Command;

use deltaworks_harness::results::Results;

#[test]
fn a_run_keeps_every_sample_and_names_what_is_absent() {
    let folder: PathBuf =
        std::env::temp_dir().join(format!("deltaworks-bench-{}", std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_throughput"))
        .args(["bench", "--extent", "quick", "--samples", "2", "--seconds", "0.05", "--json"])
        .args(["--only", "pipeline/1-core/cbor/uniform/10000x", "--only", "peers/idle"])
        .args(["--peers", "no-such-program", "--out"])
        .arg(&folder)
        .output()
        .expect("it was built for this test");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let results = Results::read(&folder.join("results.json")).expect("it was written");
    std::fs::remove_dir_all(folder).expect("it is there");
    assert!(results.is_whole && results.series.len() == 2, "{results:#?}");
    for series in &results.series {
        assert_eq!(series.values().len(), 2, "{said}");
        assert!(series.samples.iter().all(|it| it.more.contains_key("validation_ns")));
    }
    assert_eq!(results.failures.len(), 1, "once, not in every round");
    assert!(results.failures[0].is_absent && results.failures[0].entry == "peers/idle");
    let told: Results = serde_json::from_slice(&output.stdout).expect("the same as JSON");
    assert_eq!(told, results);
}
