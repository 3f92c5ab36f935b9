//! Explores every model, then plants every mutant and wants its model to fail.
//!
//! Works on copies of the sources under the target folder, so that a fault never stands in the
//! tree; as many copies as there are cores, each with a build folder of its own. The models are
//! explored as they ship. Most mutants are built once, all in one program and each behind a switch,
//! the others one at a time. One line for each model, one for each mutant with its verdict, one for
//! each model that passes in that program with no mutant on, and last the sums.

mod deep;
mod mutants;
mod report;
mod run;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::Parser;
use deltaworks_loom_tests::STORIES;
use deltaworks_loom_tests::table::Model;
use deltaworks_mutants::workshop::Workshop;
use mutants::changes;
use report::Report;
use run::{Depth, build, model, run};

/// Runs the models of what two cores share, and shows that their mutants are found.
///
/// Exit code 0 only if every model passes and every mutant is found by its model: by an assertion
/// or by loom itself, not by a time-out or a compile error. Mutants that can be are built together,
/// each behind a switch; with none on, the models are explored in that program, too.
#[derive(Parser)]
#[command(
    name = "loom-models",
    after_help = "Examples:
  loom-models                      all models and all mutants
  loom-models doorbell             those of one subject
  loom-models --models-only ring   without mutants
  loom-models --mutants-only       mutants without the models: what a change of their rows needs
  loom-models --deep --minutes 90  ever higher preemption bounds, for an hour and a half"
)]
struct Options {
    /// Keeps to the models whose names contain this
    #[arg(default_value = "")]
    name: String,
    /// Leaves the mutants out
    #[arg(long)]
    models_only: bool,
    /// Leaves the models out, but for what shows that mutants are not found by accident
    #[arg(long, conflicts_with = "models_only")]
    mutants_only: bool,
    /// Explores the models with ever higher preemption bounds, without mutants
    #[arg(long)]
    deep: bool,
    /// Ends a deep exploration after so many minutes
    #[arg(long, value_name = "N", default_value_t = 480, requires = "deep")]
    minutes: u64,
    /// Copies of the sources that are worked on at once [default: one for each core]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Prints one JSON object a line
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match all(&Options::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("loom-models: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// How many models failed and mutants live.
fn all(options: &Options) -> Result<usize, String> {
    let top =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("this crate has no workspace")?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| top.join("target"), PathBuf::from);
    let named = |model: &&Model| model.name.contains(&options.name);
    let models: Vec<&Model> = STORIES.iter().copied().flatten().filter(named).collect();
    if models.is_empty() {
        return Err(format!("no model is named like {:?}", options.name));
    }
    check_rows(top)?;

    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = options.workers.unwrap_or(cores);
    let workshop = Workshop::new(top, &target.join("loom-models"), workers)
        .map_err(|error| format!("copying the sources: {error}"))?;
    let changes = if options.models_only { Vec::new() } else { changes(&models) };
    let rows: usize = changes.iter().map(|change| change.rows.len()).sum();
    let explored = if options.mutants_only { 0 } else { models.len() };
    let mut report = Report::new(options.json, explored + rows);
    report.progress("building the models");
    let test = workshop.prepare(build).map_err(|told| format!("the models:\n{told}"))?;
    same_models(&test)?;
    if options.deep {
        let at_most = Duration::from_secs(60 * options.minutes);
        deep::explore(&workshop, &test, &models, at_most, &mut report);
        return Ok(report.end());
    }

    report.progress("exploring the models");
    workshop.each(
        &models[..explored],
        |_| "",
        |bench, it| run(model(Command::new(&test), it.name), bench, &Depth::default()),
        |model, outcome| {
            report.model(model, &outcome);
            report.progress("exploring the models");
        },
    );
    if changes.is_empty() {
        return Ok(report.end());
    }
    let judged = mutants::judge_all(&workshop, &changes, &mut report);
    let failed = report.end();
    judged.map(|()| failed)
}

/// Every row must match exactly once, also those that are not asked for, so that none rots.
fn check_rows(top: &Path) -> Result<(), String> {
    let mut faults = Vec::new();
    for model in STORIES.iter().copied().flatten() {
        if model.mutants.is_empty() {
            faults.push(format!("{} has no mutant", model.name));
        }
        for mutant in model.mutants {
            let applied = std::fs::read_to_string(top.join(mutant.file))
                .map_err(|error| format!("{}: {error}", mutant.file))
                .and_then(|whole| mutant.apply(&whole));
            faults.extend(applied.err().map(|fault| format!("{}: {fault}", model.name)));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

/// The tables and the tests must name the same models, so that none is forgotten.
fn same_models(test: &Path) -> Result<(), String> {
    let listed = Command::new(test)
        .args(["--list", "--format", "terse"])
        .output()
        .map_err(|error| format!("listing the models: {error}"))?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let tests: BTreeSet<_> =
        listed.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let rows: BTreeSet<_> = STORIES.iter().copied().flatten().map(|model| model.name).collect();
    let odd: Vec<_> = tests.symmetric_difference(&rows).copied().collect();
    if odd.is_empty() {
        Ok(())
    } else {
        Err(format!("in the tests or the tables, not both: {odd:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_matches_once() {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        check_rows(&top).unwrap();
    }
}
