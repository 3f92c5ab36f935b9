//! Plants every fault of the table in a copy of the sources, and wants its stress test to find it.
//!
//! Faults that can be are built together, each behind a switch, and every test must pass with none on;
//! the others are planted one at a time.
//!
//! A line for each row, and last the sum. Exit code 0 only if all were found, by a test that failed:
//! one that hangs, or that does not compile, has shown nothing. An argument keeps to the rows whose
//! tests contain it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use deltaworks_mutants::bounded::{self, Ended};
use deltaworks_mutants::cargo;
use deltaworks_mutants::mutant::Mutant;
use deltaworks_mutants::switchboard::Switchboard;
use deltaworks_mutants::workshop::{Bench, Workshop};
use deltaworks_stress_tests::mutants::{ROWS, Row, Tests};

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
    for tests in [Tests::Stress, Tests::Server] {
        let rows: Vec<&Row> = rows.iter().copied().filter(|row| row.tests == tests).collect();
        if rows.is_empty() {
            continue;
        }
        let faults: Vec<&Mutant> = rows.iter().map(|row| &row.mutant).collect();
        let board = workshop.switchboard(&faults, |bench| build(bench, tests))?;
        controls(&board, &workshop, &rows)?;
        let places: Vec<usize> = (0..rows.len()).collect();
        workshop.each(
            &places,
            |place| rows[*place].mutant.file,
            |bench, place| judge(&board, bench, *place, rows[*place]),
            |place, verdict| {
                let row = rows[*place];
                let is_found = verdict.is_ok();
                *(if is_found { &mut found } else { &mut missed }) += 1;
                let said = verdict.unwrap_or_else(|why| why);
                let word = if is_found { "found" } else { "MISSED" };
                println!("{word:<6} {}: {} [{said}]", row.test, row.mutant.fault);
            },
        );
    }
    println!("{found} found, {missed} missed");
    Ok(missed)
}

/// Every test must pass with no fault on, or nothing would be shown.
fn controls(board: &Switchboard, workshop: &Workshop, rows: &[&Row]) -> Result<(), String> {
    let tests: BTreeSet<&str> = rows.iter().map(|row| row.test).collect();
    let tests: Vec<&str> = tests.into_iter().collect();
    let mut failed = Vec::new();
    workshop.each(
        &tests,
        |_| "",
        |bench, test| run(board.command(None), test, bench),
        |test, ended| match ended.map(|ended| (ended.status, ended.output)) {
            Ok((Some(status), _)) if status.success() => {}
            told => failed.push(format!("{test} fails with no fault on: {told:?}")),
        },
    );
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

fn build(bench: &Bench, tests: Tests) -> Result<PathBuf, String> {
    let arguments: &[&str] = match tests {
        Tests::Server => &["-p", "deltaworks-server", "--lib"],
        Tests::Stress => &["-p", "deltaworks-stress-tests", "--test", "stress"],
    };
    let arguments = [&["test", "--locked", "--no-run"], arguments].concat();
    cargo::build(bench.copy.top(), &bench.build, "", &arguments)
}

fn run(mut command: Command, test: &str, bench: &Bench) -> Result<Ended, String> {
    command.args([test, "--exact", "--test-threads", "1"]).env("RUST_BACKTRACE", "0");
    bounded::run(&mut command, DEADLINE, &bench.output())
        .map_err(|error| format!("starting the test: {error}"))
}

/// What the test says of the fault, or why it has shown nothing.
fn judge(board: &Switchboard, bench: &Bench, place: usize, row: &Row) -> Result<String, String> {
    if board.holds(place) {
        return verdict(&run(board.command(Some(place)), row.test, bench)?);
    }
    let _planted = bench.copy.plant(&row.mutant)?;
    let program =
        build(bench, row.tests).map_err(|errors| format!("does not compile\n{errors}"))?;
    verdict(&run(Command::new(program), row.test, bench)?)
}

fn verdict(ended: &Ended) -> Result<String, String> {
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
