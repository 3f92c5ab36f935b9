//! Plants every fault of the table in a copy of the sources, and wants its stress test to find it.
//!
//! A line for each row, and last the sum. Exit code 0 only if all were found, by a test that failed:
//! one that hangs, or that does not compile, has shown nothing. An argument keeps to the rows whose
//! tests contain it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use deltaworks_mutants::workshop::{Bench, Workshop};
use deltaworks_mutants::{bounded, cargo};
use deltaworks_stress_tests::mutants::{ROWS, Row};

/// Twice the patience of a test, and more.
const DEADLINE: Duration = Duration::from_secs(240);

fn main() -> ExitCode {
    match all(&std::env::args().nth(1).unwrap_or_default()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("stress-mutants: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// How many rows were not found.
fn all(wanted: &str) -> Result<usize, String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| top.join("target"), PathBuf::from);
    let rows: Vec<&Row> = ROWS.iter().filter(|row| row.test.contains(wanted)).collect();
    if rows.is_empty() {
        return Err(format!("no test is named like {wanted:?}"));
    }
    let workshop = Workshop::new(&top, &target.join("stress-mutants"), 1)
        .map_err(|error| format!("copying the sources: {error}"))?;
    let (mut found, mut missed) = (0, 0);
    workshop.each(
        &rows,
        |row| row.mutant.file,
        |bench, row| judge(bench, row),
        |row, verdict| {
            let is_found = verdict.is_ok();
            *(if is_found { &mut found } else { &mut missed }) += 1;
            let said = verdict.unwrap_or_else(|why| why);
            let word = if is_found { "found" } else { "MISSED" };
            println!("{word:<6} {}: {} [{said}]", row.test, row.mutant.fault);
        },
    );
    println!("{found} found, {missed} missed");
    Ok(missed)
}

/// What the test says of the fault, or why it has shown nothing.
fn judge(bench: &Bench, row: &Row) -> Result<String, String> {
    let _planted = bench.copy.plant(&row.mutant)?;
    let tests: &[&str] = if row.is_of_server {
        &["test", "--locked", "--no-run", "-p", "deltaworks-server", "--lib"]
    } else {
        &["test", "--locked", "--no-run", "-p", "deltaworks-stress-tests", "--test", "stress"]
    };
    let program = cargo::build(bench.copy.top(), &bench.build, "", tests)
        .map_err(|errors| format!("does not compile\n{errors}"))?;
    let mut command = Command::new(program);
    command.args([row.test, "--exact", "--test-threads", "1"]).env("RUST_BACKTRACE", "0");
    let ended = bounded::run(&mut command, DEADLINE, &bench.build.join("output"))
        .map_err(|error| format!("starting the test: {error}"))?;
    let told = || -> Option<&str> {
        let (_, rest) = ended.output.split_once("panicked at ")?;
        rest.lines().nth(1)
    };
    match (ended.status, told()) {
        (Some(status), Some(told)) if !status.success() => {
            Ok(format!("{}; {:.1} s", told.trim(), ended.took.as_secs_f64()))
        }
        (Some(status), _) => Err(format!("{status}")),
        (None, _) => Err(format!("hung for {} s", DEADLINE.as_secs())),
    }
}
