//! The program as it is released has nothing that plants faults: not even the variable's name.

/// What only a program with planted faults holds.
const MARKS: [&str; 3] = ["DELTAWORKS_PLANT", "is wedged", "is no fault that can be planted"];

/// Built without the feature it holds no mark, built with it every one: so the search can fail.
#[test]
fn only_a_build_for_tests_can_plant_faults() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_deltaworksd")).expect("the program");
    // The library's search is optimised also where this test is not, and the program is large.
    let program = String::from_utf8_lossy(&program);
    assert!(program.contains("deltaworksd"), "it is the program");
    for mark in MARKS {
        assert_eq!(program.contains(mark), cfg!(feature = "planted_faults"), "{mark}");
    }
}

/// And it does as if the variable were not there.
#[cfg(not(feature = "planted_faults"))]
#[test]
fn a_release_passes_over_the_variable() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_deltaworksd"))
        .args(["--cores", "1", "--print-budget"])
        .env("DELTAWORKS_PLANT", "no such fault")
        .output()
        .expect("the daemon runs");
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}
