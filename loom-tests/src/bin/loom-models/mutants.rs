//! Mutants: most of them in one program, each behind a switch, the others planted one at a time.
//!
//! The program is that of the models, so it must pass them with no fault on: a *control* explores it
//! for longer than any mutant of the model took to be found, and tells if that was only a part.

use std::collections::BTreeMap;
use std::time::Duration;

use deltaworks_loom_tests::table::{Model, Mutant};
use deltaworks_mutants::switchboard::Switchboard;
use deltaworks_mutants::workshop::{Bench, Workshop};

use crate::report::Report;
use crate::run::{Depth, Outcome, build, model, run};

/// One change of the sources, and the rows that it serves.
pub(crate) struct Change<'a> {
    /// Its place among all.
    place: usize,
    mutant: &'a Mutant,
    pub(crate) rows: Vec<(&'a Model, &'a Mutant)>,
}

/// All changes that these models must find.
pub(crate) fn changes<'a>(models: &[&'a Model]) -> Vec<Change<'a>> {
    let mut changes: Vec<Change<'a>> = Vec::new();
    for (model, mutant) in
        models.iter().flat_map(|model| model.mutants.iter().map(move |mutant| (*model, mutant)))
    {
        let place = changes.len();
        let same = changes.iter_mut().find(|change| change.mutant.is_same_change(mutant));
        match same {
            Some(change) => change.rows.push((model, mutant)),
            None => changes.push(Change { place, mutant, rows: vec![(model, mutant)] }),
        }
    }
    changes
}

/// Judges every change by its models, and tells each.
///
/// # Errors
/// If the program with the switches is not to be had, or a change cannot be planted.
pub(crate) fn judge_all(
    workshop: &Workshop,
    changes: &[Change<'_>],
    report: &mut Report,
) -> Result<(), String> {
    report.progress("building all mutants behind switches");
    let mutants: Vec<&Mutant> = changes.iter().map(|change| change.mutant).collect();
    let board = workshop.switchboard(&mutants, build)?;
    if !board.holds_all(mutants.len()) {
        workshop.share(build)?;
    }

    report.progress("judging mutants");
    let (mut broken, mut longest) = (Vec::new(), BTreeMap::new());
    workshop.each(
        changes,
        |change| change.mutant.file,
        |bench, change| judge(&board, bench, change),
        |change, outcomes| {
            let outcomes = outcomes.unwrap_or_else(|reason| {
                broken.push(reason);
                Vec::new()
            });
            let is_alone = !board.holds(change.place);
            for ((model, mutant), outcome) in change.rows.iter().zip(outcomes) {
                report.mutant((model, mutant), is_alone, &outcome);
                if !is_alone {
                    let longest = longest.entry(model.name).or_insert(Duration::ZERO);
                    *longest = outcome.took().max(*longest);
                }
            }
            report.progress("judging mutants");
        },
    );

    let controls: Vec<(&str, Duration)> = longest.into_iter().collect();
    report.expect(controls.len());
    report.progress("exploring with no mutant on");
    workshop.each(
        &controls,
        |_| "",
        |bench, (name, longest)| run(model(board.command(None), name), bench, &beyond(*longest)),
        |(name, _), outcome| report.control(name, &outcome),
    );
    if broken.is_empty() { Ok(()) } else { Err(broken.join("\n")) }
}

/// Twice as long as what was found latest took to be found, and a second more, in whole seconds.
fn beyond(longest: Duration) -> Depth {
    Depth { at_most: Some(2 * longest + Duration::from_secs(1)), ..Depth::default() }
}

/// What the models say of the change. If it is planted alone, the source is whole again afterwards.
fn judge(board: &Switchboard, bench: &Bench, change: &Change<'_>) -> Result<Vec<Outcome>, String> {
    let judge = |command: &dyn Fn() -> std::process::Command| {
        let rows = change.rows.iter();
        rows.map(|(it, _)| run(model(command(), it.name), bench, &Depth::default())).collect()
    };
    if board.holds(change.place) {
        return Ok(judge(&|| board.command(Some(change.place))));
    }
    let _planted = bench.copy.plant(change.mutant)?;
    match build(bench) {
        Ok(test) => Ok(judge(&|| std::process::Command::new(&test))),
        Err(errors) => {
            let not_built = |_: &_| Outcome::NotBuilt { errors: errors.clone() };
            Ok(change.rows.iter().map(not_built).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_build_serves_the_same_change_of_several_models() {
        const ROW: Mutant = Mutant { fault: "one", file: "a.rs", text: "a", replacement: "b" };
        const OTHER: Mutant = Mutant { text: "c", ..ROW };
        let one = Model { name: "one", mutants: &[ROW, OTHER] };
        let two = Model { name: "two", mutants: &[Mutant { fault: "two", ..ROW }] };
        let changes = changes(&[&one, &two]);
        let served: Vec<usize> = changes.iter().map(|change| change.rows.len()).collect();
        assert_eq!(served, [2, 1]);
        assert_eq!([changes[0].place, changes[1].place], [0, 1]);
    }

    #[test]
    fn a_control_goes_beyond_what_was_found() {
        let at_most = |ms| beyond(Duration::from_millis(ms)).at_most.unwrap().as_secs();
        assert_eq!([at_most(0), at_most(10), at_most(999), at_most(9_600)], [1, 1, 2, 20]);
    }
}
