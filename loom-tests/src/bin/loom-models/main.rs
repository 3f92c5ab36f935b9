//! Explores every model, then plants every mutant and wants its model to fail.
//!
//! Works on a copy of the sources under the target folder, so that a fault never stands in the
//! tree. One line for each model, one for each mutant ending in `dead` or `ALIVE`, and last the
//! sums. Exit code 0 only if every model passed and every mutant is dead. An argument keeps to the
//! models whose names contain it.

mod copy;
mod run;

use copy::Copy;
use deltaworks_loom_tests::STORIES;
use deltaworks_loom_tests::table::{Model, Mutant};
use run::{Outcome, build, run};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    match all(&wanted) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("loom-models: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// How many models failed and mutants live.
fn all(wanted: &str) -> Result<usize, String> {
    let top =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("this crate has no workspace")?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| top.join("target"), Into::into);
    let work = target.join("loom-models");
    let copy = Copy::of(top, &work.join("source")).map_err(|error| format!("copying: {error}"))?;
    let models: Vec<&Model> =
        STORIES.iter().copied().flatten().filter(|model| model.name.contains(wanted)).collect();
    if models.is_empty() {
        return Err(format!("no model is named like {wanted:?}"));
    }
    let (mut passed, mut failed) = (0, 0);
    let mut count = |is_good: bool| if is_good { passed += 1 } else { failed += 1 };

    let test =
        build(&copy, &work).map_err(|errors| format!("the models do not build\n{errors}"))?;
    same_models(&test)?;
    for model in &models {
        let outcome = run(&test, model.name, &work);
        println!("model   {:<72} {outcome}", model.name);
        if !matches!(outcome, Outcome::Passed { .. }) {
            outcome.show();
        }
        count(matches!(outcome, Outcome::Passed { .. }));
    }
    for model in &models {
        for mutant in model.mutants {
            let outcome = plant(&copy, &work, model, mutant)?;
            let is_dead = matches!(outcome, Outcome::Failed { .. });
            let verdict = if is_dead { "dead" } else { "ALIVE" };
            println!("mutant  {}: {} [{outcome}] {verdict}", model.name, mutant.fault);
            if matches!(outcome, Outcome::NotBuilt { .. }) {
                outcome.show();
            }
            count(is_dead);
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed)
}

/// What the model says of the source with the mutant in it. The source is whole again afterwards.
fn plant(copy: &Copy, work: &Path, model: &Model, mutant: &Mutant) -> Result<Outcome, String> {
    let told = |error| format!("{} ({}): {error}", mutant.fault, mutant.file);
    let planted = copy.replace_once(mutant.file, mutant.text, mutant.replacement).map_err(told)?;
    let outcome = match build(copy, work) {
        Ok(test) => run(&test, model.name, work),
        Err(errors) => Outcome::NotBuilt { errors },
    };
    planted.restore().map_err(|error| told(error.to_string()))?;
    Ok(outcome)
}

/// The tables and the tests must name the same models, so that none is forgotten.
fn same_models(test: &Path) -> Result<(), String> {
    let listed = std::process::Command::new(test)
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
