//! Two programs run in turns, in pairs: what one has lost against the other.
//!
//! **The rule.** For each scenario the rates of a pair, by CPU time of the threads that did it, give one
//! logarithm of a ratio; which program goes first changes from pair to pair. A scenario has *lost by time* if
//! the estimate of the loss (Hodges and Lehmann) is above the limit, and the loss is above half of the limit
//! with a confidence of 99 % (Wilcoxon's signed ranks). It has *lost by instructions* if it needs more
//! instructions per delta by more than the limit, and time does not show with a confidence of 99 % that less
//! than the limit is lost. Either is enough. Instructions find on any machine what does more work; time
//! finds what waits more, where the machine is quiet enough.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::callgrind::{self, LOOPS, Loop};
use crate::child;
use crate::statistics::shift;

/// The confidence of each bound.
const CONFIDENCE: f64 = 0.99;
/// How long one run may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A program, and what it gets beside the scenario's arguments.
#[derive(Clone, Debug)]
pub struct Side {
    /// `throughput` of some commit.
    pub program: PathBuf,
    /// More arguments.
    pub more: Vec<String>,
    /// A loss that is planted, in percent of its time, or where instructions are counted of these.
    pub planted_percent: f64,
}

/// How it is compared.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The loss that is too much, in percent.
    pub loss_percent: f64,
    /// Pairs of each scenario.
    pub pairs: u32,
    /// Seconds of each run.
    pub seconds: f64,
    /// Whether instructions are counted.
    pub counts_instructions: bool,
}

/// Fewer pairs say nothing with a confidence of 99 %.
pub const PAIRS_MIN: u32 = 7;

/// Pairs end after this, so that a busy machine does not make a comparison much longer than three minutes.
const PAIRS_TIME: Duration = Duration::from_secs(100);

/// What came out of one scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The scenario.
    pub scenario: String,
    /// Rates of the old one by pair, in deltas a second of CPU time.
    pub old: Vec<f64>,
    /// Rates of the new one.
    pub new: Vec<f64>,
    /// The loss by time, in percent; less than zero is a gain.
    pub loss_percent: f64,
    /// It is not below this.
    pub loss_low_percent: f64,
    /// It is not above this.
    pub loss_high_percent: f64,
    /// Instructions per delta of both, where they are counted.
    pub instructions: Option<(f64, f64)>,
    /// Lost by time.
    pub lost_by_time: bool,
    /// Lost by instructions.
    pub lost_by_instructions: bool,
}

impl Verdict {
    /// Whether it has lost.
    pub fn is_lost(&self) -> bool {
        self.lost_by_time || self.lost_by_instructions
    }

    /// The same as a line.
    pub fn row(&self) -> String {
        let mut row = format!(
            "{:<24} time {:+6.2} % ({:+.2} to {:+.2})",
            self.scenario, -self.loss_percent, -self.loss_high_percent, -self.loss_low_percent
        );
        if let Some((old, new)) = self.instructions {
            let _ = write!(
                row,
                "  instructions {old:.1} → {new:.1} a delta ({:+.2} %)",
                (new / old - 1.0) * 100.0
            );
        }
        let lost = match (self.lost_by_time, self.lost_by_instructions) {
            (false, false) => "",
            (true, false) => "  LOST by time",
            (false, true) => "  LOST by instructions",
            (true, true) => "  LOST by both",
        };
        row + lost
    }
}

/// What is played: cores, documents, batch, and the loop whose instructions are counted.
const SCENARIOS: [(u32, u32, u32, Option<Loop>); 3] =
    [(1, 10_000, 1, Some(LOOPS[0])), (1, 10_000, 32, Some(LOOPS[1])), (2, 10_000, 8, None)];

/// Instructions per delta that were counted already, by program, loop and arguments: they are the same at every run,
/// so many comparisons of the same programs need one count.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    known: Vec<(PathBuf, Loop, Vec<String>, f64)>,
}

impl Counts {
    fn per_delta(&mut self, program: &Path, of: Loop, more: &[String]) -> Result<f64, String> {
        self.per_delta_by(program, of, more, || {
            callgrind::count(program, of, more).map(|it| it.per_delta)
        })
    }

    /// What is known, or what `count` says, which is kept.
    fn per_delta_by(
        &mut self,
        program: &Path,
        of: Loop,
        more: &[String],
        count: impl FnOnce() -> Result<f64, String>,
    ) -> Result<f64, String> {
        let same =
            |it: &&(PathBuf, Loop, Vec<String>, f64)| it.0 == program && it.1 == of && it.2 == more;
        if let Some((.., per_delta)) = self.known.iter().find(same) {
            return Ok(*per_delta);
        }
        let per_delta = count()?;
        self.known.push((program.to_owned(), of, more.to_vec(), per_delta));
        Ok(per_delta)
    }
}

/// Compares `new` with `old`; `tell` hears of each scenario. What `counts` knows is not counted again.
///
/// # Errors
/// If either cannot be run.
pub fn compare(
    old: &Side,
    new: &Side,
    rule: Rule,
    counts: &mut Counts,
    mut tell: impl FnMut(&Verdict),
) -> Result<Vec<Verdict>, String> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let scenarios: Vec<_> = SCENARIOS.iter().filter(|it| it.0 as usize <= cpus).collect();
    let mut rates = vec![(Vec::new(), Vec::new()); scenarios.len()];
    if rule.pairs < PAIRS_MIN {
        return Err(format!("{PAIRS_MIN} pairs at least, or nothing can be said"));
    }
    let began = Instant::now();
    for pair in 0..rule.pairs {
        if pair >= PAIRS_MIN && began.elapsed() > PAIRS_TIME {
            break;
        }
        for (scenario, (olds, news)) in scenarios.iter().zip(&mut rates) {
            let first_is_old = pair % 2 == 0;
            let (first, second) = if first_is_old { (old, new) } else { (new, old) };
            let one = rate(first, scenario, rule.seconds)?;
            let other = rate(second, scenario, rule.seconds)?;
            olds.push(if first_is_old { one } else { other });
            news.push(if first_is_old { other } else { one });
        }
    }
    let mut verdicts = Vec::new();
    for ((cores, documents, batch, counted), (olds, news)) in scenarios.into_iter().zip(rates) {
        // A commit from before the region had a name is judged by time alone.
        let instructions = match counted {
            Some(of) if rule.counts_instructions => match count_both(old, new, *of, counts) {
                Ok(both) => Some(both),
                Err(told) => {
                    eprintln!("instructions are not counted: {told}");
                    None
                }
            },
            _ => None,
        };
        let scenario = format!("{cores} core, {documents} × {batch}");
        let verdict = judge(scenario, olds, news, instructions, rule.loss_percent);
        tell(&verdict);
        verdicts.push(verdict);
    }
    Ok(verdicts)
}

/// Instructions per delta of both; what is planted is made as many steps as have its share of them.
fn count_both(old: &Side, new: &Side, of: Loop, counts: &mut Counts) -> Result<(f64, f64), String> {
    let before = counts.per_delta(&old.program, of, &old.more)?;
    let mut more = new.more.clone();
    if new.planted_percent > 0.0 {
        let mut with = |steps: u32| {
            let more = [&new.more[..], &["--plant-steps".to_owned(), steps.to_string()]].concat();
            counts.per_delta(&new.program, of, &more)
        };
        let step = (with(20)? - with(10)?) / 10.0;
        let planted = before * new.planted_percent / (100.0 - new.planted_percent);
        let steps = (planted / step.max(1.0)).round() as u32;
        more.extend(["--plant-steps".to_owned(), steps.to_string()]);
    }
    let after = counts.per_delta(&new.program, of, &more)?;
    Ok((before, after))
}

/// The rule.
pub fn judge(
    scenario: String,
    old: Vec<f64>,
    new: Vec<f64>,
    instructions: Option<(f64, f64)>,
    limit_percent: f64,
) -> Verdict {
    let logarithms: Vec<f64> = old.iter().zip(&new).map(|(old, new)| (new / old).ln()).collect();
    let shift = shift(&logarithms, CONFIDENCE);
    let loss = |logarithm: f64| (1.0 - logarithm.exp()) * 100.0;
    let (loss_percent, low, high) = (loss(shift.estimate), loss(shift.high), loss(shift.low));
    let more_percent = instructions.map_or(0.0, |(old, new)| (1.0 - old / new) * 100.0);
    Verdict {
        scenario,
        old,
        new,
        loss_percent,
        loss_low_percent: low,
        loss_high_percent: high,
        instructions,
        lost_by_time: loss_percent > limit_percent && low > limit_percent / 2.0,
        lost_by_instructions: more_percent > limit_percent && high > limit_percent,
    }
}

#[derive(Deserialize)]
struct Line {
    deltas_per_second: f64,
    cpu_share: f64,
    verified: bool,
}

/// Deltas a second of the threads' own time.
fn rate(
    side: &Side,
    scenario: &(u32, u32, u32, Option<Loop>),
    seconds: f64,
) -> Result<f64, String> {
    let (cores, documents, batch, _) = scenario;
    let arguments = format!(
        "pipeline --json --cores {cores} --documents {documents} --batch {batch} --budget-mib 512 --seconds {seconds}"
    );
    let mut arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
    arguments.extend_from_slice(&side.more);
    if side.planted_percent > 0.0 {
        arguments.extend(["--plant-loss".to_owned(), side.planted_percent.to_string()]);
    }
    let left = child::run(&side.program, &arguments, Path::new("."), LIMIT);
    if let Some(fault) = left.fault {
        return Err(format!("{}: {fault}: {}", side.program.display(), left.complaint));
    }
    let line = left.lines.last().map(String::as_str).unwrap_or_default();
    let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if !line.verified {
        return Err(format!("{}: not verified", side.program.display()));
    }
    Ok(line.deltas_per_second / line.cpu_share.max(0.01))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs of which the new one has `ratio` of the old one's rate, with noise of `noise` that both share
    /// only in part, as on a busy machine.
    fn pairs(ratio: f64, noise: f64, seed: u64) -> (Vec<f64>, Vec<f64>) {
        let mut state = seed;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            (state >> 11) as f64 / (1_u64 << 53) as f64 * 2.0 - 1.0
        };
        let old: Vec<f64> = (0..14).map(|_| 1e7 * (1.0 + noise * random())).collect();
        let new = old.iter().map(|_| 1e7 * ratio * (1.0 + noise * random())).collect();
        (old, new)
    }

    fn lost(ratio: f64, noise: f64, instructions: Option<(f64, f64)>) -> usize {
        let is_lost = |seed: u64| {
            let (old, new) = pairs(ratio, noise, seed * 7919 + 1);
            judge("x".to_owned(), old, new, instructions, 5.0).is_lost()
        };
        (0..200).filter(|seed| is_lost(*seed)).count()
    }

    #[test]
    fn equals_pass_and_a_loss_of_a_tenth_is_found() {
        assert_eq!(lost(1.0, 0.03, None), 0, "on a quiet machine, by time alone");
        assert_eq!(lost(0.9, 0.03, None), 200);
        assert!(lost(1.0, 0.15, None) <= 2, "on a busy one");
        assert_eq!(lost(0.9, 0.15, Some((100.0, 110.0))), 200, "where instructions find it");
    }

    #[test]
    fn either_measure_is_enough_and_time_may_overrule_instructions() {
        let same = Some((100.0, 100.0));
        assert_eq!(lost(0.9, 0.02, same), 200, "what only waits more is found by time");
        assert!(lost(0.9, 0.6, Some((100.0, 110.0))) >= 198, "time says nothing here");
        assert_eq!(lost(1.05, 0.01, Some((100.0, 110.0))), 0, "more instructions, and faster");
        assert_eq!(lost(1.0, 0.03, Some((100.0, 104.0))), 0, "less than the limit");
    }

    #[test]
    fn what_was_counted_is_counted_once_and_nothing_else_is_taken_for_it() {
        let mut counts = Counts::default();
        let mut times = 0;
        let mut count = |program: &str, of: Loop, more: &[&str], says: f64| {
            let more: Vec<String> = more.iter().map(|&it| it.to_owned()).collect();
            counts.per_delta_by(Path::new(program), of, &more, || {
                times += 1;
                Ok(says)
            })
        };
        assert_eq!(count("one", LOOPS[0], &[], 1.0), Ok(1.0));
        assert_eq!(count("one", LOOPS[0], &[], 9.0), Ok(1.0), "known");
        assert_eq!(count("two", LOOPS[0], &[], 2.0), Ok(2.0));
        assert_eq!(count("one", LOOPS[1], &[], 3.0), Ok(3.0));
        assert_eq!(count("one", LOOPS[0], &["--plant-steps", "7"], 4.0), Ok(4.0));
        assert_eq!(times, 4);
        let failed =
            counts.per_delta_by(Path::new("three"), LOOPS[0], &[], || Err("no".to_owned()));
        assert!(failed.is_err());
        let again = counts.per_delta_by(Path::new("three"), LOOPS[0], &[], || Ok(5.0));
        assert_eq!(again, Ok(5.0), "an error is not kept");
    }
}
