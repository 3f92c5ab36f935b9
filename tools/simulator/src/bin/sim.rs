//! Runs the simulator: seeds, one seed, or a schedule that was made small.

use std::io::{self, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use deltaworks_simulator::coverage::{Coverage, EVENTS};
use deltaworks_simulator::runner::{Outcome, run};
use deltaworks_simulator::schedule::{Failure, Schedule, keep_panics};
use deltaworks_simulator::shrink::shrink;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

/// Seeds that must have shown every event.
const SEEDS_FOR_COVERAGE: u64 = 10_000;
/// Lines of what happened that are shown of a failing schedule.
const LINES_SHOWN: usize = 200;

/// Runs the whole server on one thread, under seeds, and holds it against a model.
#[derive(Debug, Parser)]
#[command(
    name = "sim",
    after_help = "Examples:
  sim                        seeds 0 to 9999, and a table of what happened in them
  sim --seeds 0..1000000     a million seeds, on all cores
  sim --seed 189             one seed again; if it fails, its schedule is made small and shown
  sim --seed 189 --tell      everything that happens in it
  sim --seeds 0..10000 --json --no-shrink

Exit code: 0 if every seed passed, 1 if one failed or some event never happened, 2 for a usage error."
)]
struct Options {
    /// Runs one seed alone, the greatest number excepted.
    #[arg(long, value_name = "N", conflicts_with = "seeds",
        value_parser = clap::value_parser!(u64).range(..u64::MAX))]
    seed: Option<u64>,
    /// Runs these seeds: the first, and the one behind the last.
    #[arg(long, value_name = "A..B", value_parser = range, default_value = "0..10000")]
    seeds: Range<u64>,
    /// Threads.
    #[arg(long, value_name = "N", default_value_t = cores())]
    jobs: NonZeroUsize,
    /// Ends when so many seeds have failed.
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::MIN)]
    failures: NonZeroUsize,
    /// Does not make failing schedules small.
    #[arg(long)]
    no_shrink: bool,
    /// With --seed: tells everything that happens, whether it fails or not.
    #[arg(long, requires = "seed")]
    tell: bool,
    /// Reports as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match options.seed {
        Some(seed) if options.tell => tell(seed),
        Some(seed) => run_range(&options, seed..seed + 1),
        None => run_range(&options, options.seeds.clone()),
    };
    // A reader that has gone wants no more.
    result.unwrap_or(ExitCode::FAILURE)
}

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let numbers = text
        .split_once("..")
        .and_then(|(first, end)| Some((first.parse::<u64>().ok()?, end.parse::<u64>().ok()?)));
    match numbers {
        Some((first, end)) if first < end => Ok(first..end),
        _ => Err("two numbers, the smaller first: 0..10000".to_owned()),
    }
}

fn tell(seed: u64) -> io::Result<ExitCode> {
    keep_panics();
    let mut out = io::stdout().lock();
    let (told, code) = match Schedule::of_seed(seed).run_with(true) {
        Ok((_, told)) => (told, ExitCode::SUCCESS),
        Err(Failure { why, mut told, .. }) => {
            told.push(format!("FAILED: {why}"));
            (told, ExitCode::FAILURE)
        }
    };
    told.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    Ok(code)
}

fn run_range(options: &Options, seeds: Range<u64>) -> io::Result<ExitCode> {
    let count = seeds.end - seeds.start;
    let began = Instant::now();
    let bar = progress_bar(count, options.json);
    let outcome =
        run(seeds.clone(), options.jobs.get(), options.failures.get(), |done| bar.inc(done));
    bar.finish_and_clear();
    let seconds = began.elapsed().as_secs_f64();
    let missing = if count >= SEEDS_FOR_COVERAGE { outcome.coverage.missing() } else { Vec::new() };
    let is_fine = outcome.passed == count && missing.is_empty();
    if options.json {
        report_json(&seeds, seconds, &outcome, &missing)?;
    } else {
        report(&seeds, seconds, &outcome, &missing)?;
        for (seed, _) in outcome.failures.iter().take(options.failures.get()) {
            if !options.no_shrink {
                report_shrunk(*seed)?;
            }
        }
    }
    Ok(if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn progress_bar(count: u64, is_json: bool) -> ProgressBar {
    if is_json || count < 100 || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} seeds, {per_sec}, {eta} left");
    ProgressBar::new(count).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn report(seeds: &Range<u64>, seconds: f64, outcome: &Outcome, missing: &[&str]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let Range { start, end } = seeds;
    if end - start > 1 || outcome.failures.is_empty() {
        table(&mut out, &outcome.coverage)?;
    }
    for (seed, failure) in &outcome.failures {
        writeln!(out, "seed {seed} fails behind step {}: {}", failure.steps, failure.why)?;
    }
    for event in missing {
        writeln!(out, "never happened: {event}")?;
    }
    let (passed, failed) = (outcome.passed, outcome.failures.len());
    writeln!(out, "seeds {start}..{end}: {passed} passed, {failed} failed, {seconds:.1} s")
}

fn table(out: &mut impl Write, coverage: &Coverage) -> io::Result<()> {
    for (event, text) in EVENTS {
        writeln!(out, "{:>12}  {text}", coverage.of(*event))?;
    }
    Ok(())
}

fn report_json(
    seeds: &Range<u64>,
    seconds: f64,
    outcome: &Outcome,
    missing: &[&str],
) -> io::Result<()> {
    let events: serde_json::Map<String, serde_json::Value> = EVENTS
        .iter()
        .map(|(event, _)| (format!("{event:?}"), outcome.coverage.of(*event).into()))
        .collect();
    let failures: Vec<_> = outcome
        .failures
        .iter()
        .map(|(seed, failure)| json!({"seed": seed, "steps": failure.steps, "why": failure.why}))
        .collect();
    let report = json!({
        "seeds": [seeds.start, seeds.end],
        "passed": outcome.passed,
        "failures": failures,
        "never_happened": missing,
        "events": events,
        "seconds": seconds,
    });
    writeln!(io::stdout().lock(), "{report}")
}

fn report_shrunk(seed: u64) -> io::Result<()> {
    let whole = Schedule::of_seed(seed);
    let mut out = io::stdout().lock();
    let Some(shrunk) = shrink(&whole) else {
        return writeln!(out, "seed {seed} passes when it is run again: it is not replayed");
    };
    let schedule = &shrunk.schedule;
    writeln!(
        out,
        "seed {seed}, made small in {} runs: {} of {} steps, {} batches at least, clients {:b} mute",
        shrunk.runs,
        schedule.steps.len(),
        whole.steps.len(),
        schedule.batches,
        schedule.muted,
    )?;
    let told = &shrunk.failure.told;
    for line in &told[told.len().saturating_sub(LINES_SHOWN)..] {
        writeln!(out, "  {line}")?;
    }
    writeln!(out, "  FAILED: {}", shrunk.failure.why)
}
