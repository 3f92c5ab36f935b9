//! `throughput compare OLD NEW`: two programs, run in pairs, or two runs that were kept.
//!
//! Kept runs were not taken in turns, so a change of the machine between them looks like one of the
//! program: a series has *changed* only if all samples of one run lie on one side of all of the other
//! (of five against five that happens by chance once in 126) and the medians differ by more than the limit.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::callgrind;
use crate::pairs::{self, Counts, Rule, Side, Verdict};
use crate::progress::duration;
use crate::quantity::quantity;
use crate::results::{Better, Results, Series};
use crate::statistics::{median, span};

/// What is compared, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct CompareOptions {
    /// A built `throughput`, or a `results.json`.
    pub old: PathBuf,
    /// The same of what is judged.
    pub new: PathBuf,
    /// When something is lost.
    #[command(flatten)]
    pub rule: RuleOptions,
    /// What the new program gets, too.
    #[arg(long, value_name = "ARGUMENTS", hide = true)]
    pub new_gets: Option<String>,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// When something is lost, and how hard it is looked.
#[derive(Clone, Debug, clap::Args)]
pub struct RuleOptions {
    /// The loss that is too much, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0)]
    pub loss: f64,
    /// Pairs of each scenario.
    #[arg(long, default_value_t = 10)]
    pub pairs: u32,
    /// Seconds of each run.
    #[arg(long, default_value_t = 0.35)]
    pub seconds: f64,
    /// Judges by time alone.
    #[arg(long)]
    pub no_instructions: bool,
}

impl RuleOptions {
    fn rule(&self) -> Rule {
        Rule {
            loss_percent: self.loss,
            pairs: self.pairs,
            seconds: self.seconds,
            counts_instructions: !self.no_instructions && callgrind::is_there(),
        }
    }
}

/// Compares; `false` if too much is lost.
///
/// # Errors
/// If what is named cannot be read or run.
pub fn compare(options: &CompareOptions, mut tell: impl FnMut(String)) -> Result<bool, String> {
    let is_kept = |path: &Path| path.extension().is_some_and(|it| it == "json");
    if is_kept(&options.old) && is_kept(&options.new) {
        let (old, new) = (Results::read(&options.old)?, Results::read(&options.new)?);
        let changes = changes(&old, &new, options.rule.loss);
        for change in &changes {
            tell(line(change, options.json, Change::row));
        }
        let lost = changes.iter().filter(|it| it.is_loss).count();
        let both = new.series.iter().filter(|it| old.series.iter().any(|other| other.is_same(it)));
        if !options.json {
            tell(format!("{} series in both, {lost} have lost\n", both.count()));
        }
        return Ok(lost == 0);
    }
    let side = |program: &Path, more: &str| Side {
        program: program.to_owned(),
        more: more.split_whitespace().map(str::to_owned).collect(),
        planted_percent: 0.0,
    };
    let old = side(&options.old, "");
    let new = side(&options.new, options.new_gets.as_deref().unwrap_or_default());
    let rule = options.rule.rule();
    if !rule.counts_instructions && !options.rule.no_instructions {
        tell("valgrind is not installed: judged by time alone\n".to_owned());
    }
    let mut counts = Counts::default();
    let verdicts = pairs::compare(&old, &new, rule, &mut counts, |it| {
        tell(line(it, options.json, Verdict::row));
    })?;
    Ok(!verdicts.iter().any(Verdict::is_lost))
}

fn line<T: Serialize>(it: &T, json: bool, row: fn(&T) -> String) -> String {
    match serde_json::to_string(it) {
        Ok(line) if json => line + "\n",
        _ => row(it) + "\n",
    }
}

/// A series that has changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Which.
    pub series: String,
    /// The old median.
    pub old: f64,
    /// The new one.
    pub new: f64,
    /// In what.
    pub unit: String,
    /// How much better, in percent; less than zero is worse.
    pub better_percent: f64,
    /// Whether it is worse.
    pub is_loss: bool,
}

impl Change {
    /// The same as a line.
    pub fn row(&self) -> String {
        let verdict = if self.is_loss { "LOST" } else { "better" };
        let (old, new) = (quantity(self.old, &self.unit), quantity(self.new, &self.unit));
        format!("{verdict} {:+.1} %  {}: {old} → {new}", self.better_percent, self.series)
    }
}

/// What differs between two kept runs, the worst first.
pub fn changes(old: &Results, new: &Results, limit_percent: f64) -> Vec<Change> {
    let pair = |series: &Series| old.series.iter().find(|it| it.is_same(series)).cloned();
    let mut changes: Vec<Change> = new
        .series
        .iter()
        .filter_map(|series| change(&pair(series)?, series, limit_percent))
        .collect();
    changes.sort_by(|one, other| one.better_percent.total_cmp(&other.better_percent));
    changes
}

fn change(old: &Series, new: &Series, limit_percent: f64) -> Option<Change> {
    let (olds, news) = (old.values(), new.values());
    let ((old_least, old_most), (new_least, new_most)) = (span(&olds), span(&news));
    let is_apart = new_least > old_most || new_most < old_least;
    if olds.len() < 3 || news.len() < 3 || !is_apart {
        return None;
    }
    let (before, after) = (median(&olds), median(&news));
    let ratio = if new.better == Better::Higher { after / before } else { before / after };
    let better_percent = (ratio - 1.0) * 100.0;
    (better_percent.abs() > limit_percent).then(|| Change {
        series: new.key(),
        old: before,
        new: after,
        unit: new.unit.clone(),
        better_percent,
        is_loss: better_percent < 0.0,
    })
}

/// How often the rule is tried.
#[derive(Clone, Debug, clap::Args)]
pub struct CalibrateOptions {
    /// A built `throughput`; by default this one.
    pub program: Option<PathBuf>,
    /// How often each way: so many comparisons with itself, and as many with a loss. One takes a
    /// minute or so, so 20 take forty minutes.
    #[arg(long, default_value_t = 20)]
    pub runs: u32,
    /// The loss that is planted, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0)]
    pub planted: f64,
    /// When something is lost.
    #[command(flatten)]
    pub rule: RuleOptions,
}

/// Compares `own` with itself, and with itself and a planted loss, in turns; `false` unless every one is
/// judged rightly. Instructions are counted once for each program and plant.
///
/// # Errors
/// If it cannot be run.
pub fn calibrate(
    options: &CalibrateOptions,
    own: &Path,
    mut tell: impl FnMut(String),
) -> Result<bool, String> {
    let program = options.program.as_deref().unwrap_or(own);
    let side =
        |planted_percent| Side { program: program.to_owned(), more: Vec::new(), planted_percent };
    let (old, same, slower) = (side(0.0), side(0.0), side(options.planted));
    let rule = options.rule.rule();
    let all_began = std::time::Instant::now();
    let (mut passed, mut found, mut found_by_time, mut found_by_instructions) = (0, 0, 0, 0);
    let (mut longest_s, mut counts) = (0.0_f64, Counts::default());
    for round in 1..=options.runs {
        for (name, new) in [("itself", &same), ("itself with a loss", &slower)] {
            let began = std::time::Instant::now();
            let verdicts = pairs::compare(&old, new, rule, &mut counts, |_| {})?;
            longest_s = longest_s.max(began.elapsed().as_secs_f64());
            let is_lost = verdicts.iter().any(Verdict::is_lost);
            if name == "itself" {
                passed += u32::from(!is_lost);
            } else {
                found += u32::from(is_lost);
                found_by_time += u32::from(verdicts.iter().any(|it| it.lost_by_time));
                found_by_instructions +=
                    u32::from(verdicts.iter().any(|it| it.lost_by_instructions));
            }
            let load = crate::machine::load();
            tell(format!(
                "{round}: against {name}, load {load:.1}: {}\n",
                if is_lost { "lost" } else { "passed" }
            ));
            verdicts.iter().for_each(|it| tell(format!("    {}\n", it.row())));
        }
        let each_s = all_began.elapsed().as_secs_f64() / f64::from(round);
        let left_s = each_s * f64::from(options.runs - round);
        if left_s > 0.0 {
            eprintln!("{round} of {} each way, about {} left", options.runs, duration(left_s));
        }
    }
    let times = options.runs;
    tell(format!(
        "the same against itself passed {passed} of {times}; a planted loss of {} % was found {found} of {times} \
         (by time {found_by_time}, by instructions {found_by_instructions}); the longest took {longest_s:.0} s\n",
        options.planted
    ));
    Ok(passed == times && found == times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Sample;

    fn results(values: &[f64], better: Better) -> Results {
        let sample = |value: &f64| Sample { value: *value, verified: true, ..Sample::default() };
        let series = Series {
            better,
            unit: "1/s".to_owned(),
            samples: values.iter().map(sample).collect(),
            ..Series::default()
        };
        Results { series: vec![series], ..Results::default() }
    }

    #[test]
    fn kept_runs_differ_only_where_their_samples_lie_apart() {
        let of = |old: &[f64], new: &[f64], better| {
            changes(&results(old, better), &results(new, better), 5.0)
        };
        let old = [100.0, 101.0, 99.0, 100.0, 100.0];
        let lost = of(&old, &[89.0, 90.0, 91.0, 90.0, 90.0], Better::Higher);
        assert!(lost.len() == 1 && lost[0].is_loss && lost[0].row().contains("LOST -10.0 %"));
        let gained = of(&old, &[89.0, 90.0, 91.0, 90.0, 90.0], Better::Lower);
        assert!(gained.len() == 1 && !gained[0].is_loss);
        assert!(
            of(&old, &[89.0, 90.0, 99.5, 90.0, 90.0], Better::Higher).is_empty(),
            "one overlaps"
        );
        assert!(of(&old, &[97.0, 96.0, 96.5, 97.5, 97.0], Better::Higher).is_empty(), "too little");
        assert!(of(&old, &[50.0, 50.0], Better::Higher).is_empty(), "too few");
    }
}
