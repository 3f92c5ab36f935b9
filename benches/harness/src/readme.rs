//! The README's table of figures: made from the same run as RESULTS.md, put between two marks, and held
//! to it.

use std::fmt::Write as _;

use crate::goal::goals;
use crate::quantity::quantity;
use crate::results::{Results, Series};
use crate::statistics::median;

/// What stands before the table.
pub const BEGIN: &str = "<!-- results: made by `make results` -->";
/// And behind it.
pub const END: &str = "<!-- /results -->";

/// The table, with what it was measured on.
pub fn block(results: &Results) -> String {
    let machine = &results.machine;
    let changed = if machine.is_changed { ", with changes" } else { "" };
    let mut out = format!(
        "{}, {} × {}, Linux {}, commit {}{changed}: medians of {}, all of one run (`{}`).\n\
         [RESULTS.md](RESULTS.md) has every figure with its spread, and the peers\u{2019}.\n\n\
         | what | measured | goal | |\n|---|---|---|---|\n",
        machine.date,
        machine.cpus,
        machine.cpu,
        machine.kernel,
        &machine.commit[..machine.commit.len().min(9)],
        samples(results),
        results.command
    );
    for goal in goals(results) {
        let measured = goal.measured.as_deref().unwrap_or("–");
        let far = match goal.verdict() {
            "not measured" => "not measured".to_owned(),
            verdict => format!("{verdict}: {}", goal.by_how_much()),
        };
        let _ = writeln!(out, "| {} | {measured} | {} | {far} |", goal.what, goal.wanted);
    }
    for (what, series) in beside(results) {
        let measured = quantity(median(&series.values()), &series.unit);
        let _ = writeln!(out, "| {what} | {measured} | | |");
    }
    out
}

/// How many samples each figure has; fewer where a run was ended early, and that it was.
pub(crate) fn samples(results: &Results) -> String {
    if results.is_whole {
        return format!("{} samples", results.samples_each);
    }
    let rounds = results.runs.iter().map(|run| run.round).max().unwrap_or(0);
    format!("{rounds} samples, some of {}, because the run was ended early", rounds + 1)
}

/// Figures without a goal that somebody asks for first.
fn beside(results: &Results) -> Vec<(String, &Series)> {
    let of = |scenario: &str, cell: &[(&str, f64)]| {
        let is_cell =
            |it: &Series| cell.iter().all(|(name, value)| it.number_of_cell(name) == Some(*value));
        results.series.iter().find(|it| {
            it.scenario == scenario
                && it.system == "deltaworksd"
                && is_cell(it)
                && !it.values().is_empty()
        })
    };
    let mut rows = Vec::new();
    for subscribers in [8_u32, 64] {
        let cell = [("subscribers", f64::from(subscribers)), ("payload_bytes", 64.0)];
        let what = format!(
            "1 publisher to {subscribers} subscribers over loopback TCP, 64 B in batches of 32, one core: deliveries"
        );
        rows.extend(of("fan-out", &cell).map(|series| (what, series)));
    }
    let what = "start of the daemon to the first delivery".to_owned();
    rows.extend(of("start-up", &[]).map(|series| (what, series)));
    rows
}

/// `readme` with `block` between its marks.
///
/// # Errors
/// If it has not both of them, in their order.
pub fn put(readme: &str, block: &str) -> Result<String, String> {
    let missing = || format!("README.md has no place for it: {BEGIN} … {END}");
    let (before, rest) = readme.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!("{before}{BEGIN}\n{block}{END}{after}"))
}

/// Figures that `readme` says are measured and that stand nowhere in `results`: a figure is what stands
/// in a table's column `measured`, with its unit.
pub fn not_in_results(readme: &str, results: &str) -> Vec<String> {
    let mut missing = Vec::new();
    let mut column = None;
    for line in readme.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if !line.starts_with('|') {
            column = None;
        } else if let Some(column) = column {
            let cell: &str = cells.get(column).copied().unwrap_or_default();
            let is_rule = cell.starts_with("--") || cell.starts_with(":-");
            if !is_rule && !cell.is_empty() && !results.contains(cell) {
                missing.push(cell.to_owned());
            }
        } else {
            column = cells.iter().position(|cell| *cell == "measured");
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_that_nobody_measured_is_found() {
        let readme = "text 99 M/s\n\n| what | measured | goal |\n|---|---|---|\n| a | 4.7 M/s | 5 |\n| b | 9.9 M/s | 5 |\n\n\
            | measured elsewhere | x |\n|---|---|\n| 1 | 2 |\n";
        assert_eq!(not_in_results(readme, "| x | y | 4.7 M/s |"), ["9.9 M/s"]);
        assert!(not_in_results(readme, "4.7 M/s 9.9 M/s").is_empty());
    }

    /// A run that was ended in its third round has two samples of each figure, and some a third.
    #[test]
    fn samples_of_a_run_that_was_ended_early_are_told_as_such() {
        let mut results = Results { samples_each: 5, is_whole: true, ..Results::default() };
        assert_eq!(samples(&results), "5 samples");
        results.is_whole = false;
        results.runs.push(crate::results::Run { round: 2, ..Default::default() });
        assert_eq!(samples(&results), "2 samples, some of 3, because the run was ended early");
    }

    #[test]
    fn a_block_goes_between_its_marks_or_nowhere() {
        let readme = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let with = put(&readme, "new\n").expect("it has both");
        assert_eq!(with, format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert_eq!(put(&with, "new\n"), Ok(with.clone()), "again it is the same");
        for wrong in ["", BEGIN, END, &format!("{END}{BEGIN}")] {
            assert!(put(wrong, "new").is_err(), "{wrong}");
        }
    }
}
