//! Explores every model, then plants every mutant and wants its model to fail.
//!
//! Works on copies of the sources under the target folder, so that a fault never stands in the
//! tree; as many copies as there are cores, each with a build folder of its own. One line for each
//! model, one for each mutant with its verdict, and last the sums.

mod deep;
mod report;
mod run;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::Parser;
use deltaworks_loom_tests::STORIES;
use deltaworks_loom_tests::table::{Model, Mutant};
use deltaworks_mutants::workshop::{Bench, Workshop};
use report::Report;
use run::{Depth, Outcome, build, run};

/// Runs the models of what two cores share, and shows that their mutants are found.
///
/// Exit code 0 only if every model passes and every mutant is found by its model: by an assertion
/// or by loom itself, not by a time-out or a compile error.
#[derive(Parser)]
#[command(
    name = "loom-models",
    after_help = "Examples:
  loom-models                      all models and all mutants
  loom-models doorbell             those of one subject
  loom-models --models-only ring   without mutants
  loom-models --deep --minutes 90  ever higher preemption bounds, for an hour and a half"
)]
struct Options {
    /// Keeps to the models whose names contain this
    #[arg(default_value = "")]
    name: String,
    /// Leaves the mutants out
    #[arg(long)]
    models_only: bool,
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
    let mut report = Report::new(options.json, models.len() + rows);
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
        &models,
        |_| "",
        |bench, model| run(&test, model.name, bench, &Depth::default()),
        |model, outcome| {
            report.model(model, &outcome);
            report.progress("exploring the models");
        },
    );
    let mut broken = Vec::new();
    workshop.each(
        &changes,
        |change| change.mutant.file,
        plant,
        |change, outcomes| {
            match outcomes {
                Ok(outcomes) => {
                    for ((model, mutant), outcome) in change.rows.iter().zip(outcomes) {
                        report.mutant(model, mutant, &outcome);
                    }
                }
                Err(reason) => broken.push(reason),
            }
            report.progress("planting mutants");
        },
    );
    let failed = report.end();
    if broken.is_empty() { Ok(failed) } else { Err(broken.join("\n")) }
}

/// One change of the sources, and the rows that it serves.
struct Change<'a> {
    mutant: &'a Mutant,
    rows: Vec<(&'a Model, &'a Mutant)>,
}

fn changes<'a>(models: &[&'a Model]) -> Vec<Change<'a>> {
    let mut changes: Vec<Change<'a>> = Vec::new();
    for (model, mutant) in
        models.iter().flat_map(|model| model.mutants.iter().map(move |mutant| (*model, mutant)))
    {
        let same = changes.iter_mut().find(|change| change.mutant.is_same_change(mutant));
        match same {
            Some(change) => change.rows.push((model, mutant)),
            None => changes.push(Change { mutant, rows: vec![(model, mutant)] }),
        }
    }
    changes
}

/// What the models say of the source with the change in it. The source is whole again afterwards.
fn plant(bench: &Bench, change: &Change<'_>) -> Result<Vec<Outcome>, String> {
    let _planted = bench.copy.plant(change.mutant)?;
    let test = match build(bench) {
        Ok(test) => test,
        Err(errors) => {
            let not_built = |_: &_| Outcome::NotBuilt { errors: errors.clone() };
            return Ok(change.rows.iter().map(not_built).collect());
        }
    };
    let judge = |(model, _): &(&Model, &Mutant)| run(&test, model.name, bench, &Depth::default());
    Ok(change.rows.iter().map(judge).collect())
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

    #[test]
    fn one_build_serves_the_same_change_of_several_models() {
        const ROW: Mutant = Mutant { fault: "one", file: "a.rs", text: "a", replacement: "b" };
        const OTHER: Mutant = Mutant { text: "c", ..ROW };
        let one = Model { name: "one", mutants: &[ROW, OTHER] };
        let two = Model { name: "two", mutants: &[Mutant { fault: "two", ..ROW }] };
        let changes = changes(&[&one, &two]);
        let served: Vec<usize> = changes.iter().map(|change| change.rows.len()).collect();
        assert_eq!(served, [2, 1]);
    }
}
