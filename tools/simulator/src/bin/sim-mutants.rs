//! Plants the bugs of `mutants.rs` in copies of the sources, and tells which seed finds each.
//!
//! Most of them are built once, all in one program and each behind a switch; the others one at a
//! time. All seeds must pass in that program with no switch on, and in the one without bugs.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::Parser;
use deltaworks_mutants::bounded;
use deltaworks_mutants::cargo;
use deltaworks_mutants::mutant::Mutant;
use deltaworks_mutants::workshop::{Bench, Workshop};
use deltaworks_simulator::mutants::MUTANTS;

/// How long the seeds of one bug may take.
const DEADLINE: Duration = Duration::from_secs(900);

/// Plants bugs in the server, and shows that the simulator finds each.
#[derive(Debug, Parser)]
#[command(
    name = "sim-mutants",
    after_help = "Examples:
  sim-mutants                    all bugs, 10,000 seeds each at most
  sim-mutants --only resend      those with this in their name; more than once: with any of these
  sim-mutants --part 2/4         the second quarter of them: a night that is too short does the next one
  sim-mutants --seeds 100000     looks longer

Bugs that can be are built together, each behind a switch, the others one at a time. Each has a
line, with its place among them and the time that all took so far, that ends in `found` or `NOT
FOUND`. Exit code: 0 if all were found, 1 if not or if a row does not match the sources, 2 for a
usage error."
)]
struct Options {
    /// Only bugs whose name has this in it, or one of these.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Of those, one part of so many: every N-th, from the K-th on.
    #[arg(long, value_name = "K/N", default_value = "1/1")]
    part: Part,
    /// Seeds for each bug.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    seeds: u64,
    /// Copies of the sources that are built at a time.
    #[arg(long, value_name = "N", default_value_t = 1)]
    benches: usize,
    /// Where the copies are kept; default: beside what is built.
    #[arg(long, value_name = "FOLDER")]
    place: Option<PathBuf>,
}

/// One part of so many.
#[derive(Clone, Copy, Debug)]
struct Part {
    number: usize,
    of: usize,
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/');
        let parts = parts.and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match parts {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            _ => Err("expected a part of so many, such as 2/4".to_owned()),
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let only = &options.only;
    let is_wanted = |row: &&Mutant| {
        only.is_empty() || only.iter().any(|text| row.fault.contains(text.as_str()))
    };
    let Part { number, of } = options.part;
    let rows: Vec<&Mutant> =
        MUTANTS.iter().filter(is_wanted).skip(number - 1).step_by(of).collect();
    if rows.is_empty() {
        eprintln!("no bug of that part has {only:?} in its name");
        return ExitCode::FAILURE;
    }
    match judge_all(&options, &rows) {
        Ok(missed) => {
            println!("{} found, {missed} not found", rows.len() - missed);
            ExitCode::from(u8::from(missed > 0))
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Judges all rows, tells each, and returns how many were not found.
fn judge_all(options: &Options, rows: &[&Mutant]) -> Result<usize, String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let place = options.place.clone().unwrap_or_else(|| top.join("target/sim-mutants"));
    let workshop = Workshop::new(&top, &place, options.benches)
        .map_err(|error| format!("{}: {error}", place.display()))?;
    let must_pass = |program, what| match first_failure(options, program, &place.join("output"))? {
        None => Ok(()),
        Some(seed) => Err(format!("seed {seed} fails with no bug {what}: nothing would be shown")),
    };
    must_pass(Command::new(workshop.prepare(build)?), "planted")?;
    let board = workshop.switchboard(rows, build)?;
    must_pass(board.command(None), "on")?;
    if !board.holds_all(rows.len()) {
        workshop.share(build)?;
    }
    let (mut missed, mut told, began) = (0, 0, Instant::now());
    let places: Vec<usize> = (0..rows.len()).collect();
    workshop.each(
        &places,
        |place| rows[*place].file,
        |bench, place| match board.holds(*place) {
            true => first_failure(options, board.command(Some(*place)), &bench.output()),
            false => judge_alone(options, bench, rows[*place]),
        },
        |place, verdict| {
            let row = rows[*place];
            let (word, what) = match &verdict {
                Ok(Some(seed)) => ("found", format!("seed {seed}")),
                Ok(None) => ("NOT FOUND", String::new()),
                Err(why) => ("NOT FOUND", why.clone()),
            };
            missed += usize::from(!matches!(verdict, Ok(Some(_))));
            told += 1;
            let (all, seconds) = (rows.len(), began.elapsed().as_secs());
            println!("{told:>3}/{all} {seconds:>5} s  {:<82} {what:>10}  {word}", row.fault);
        },
    );
    Ok(missed)
}

fn build(bench: &Bench) -> Result<PathBuf, String> {
    let arguments =
        ["build", "--locked", "--profile", "sim", "-p", "deltaworks-simulator", "--bin", "sim"];
    // What a bug changes is built again each time: that is what must be quick.
    let config = ["--config", "profile.sim.incremental=true"];
    cargo::build(bench.copy.top(), &bench.build, "", &[&arguments[..], &config].concat())
}

/// The first seed that finds a bug that must be planted alone.
fn judge_alone(options: &Options, bench: &Bench, row: &Mutant) -> Result<Option<u64>, String> {
    let _planted = bench.copy.plant(row)?;
    first_failure(options, Command::new(build(bench)?), &bench.output())
}

/// The first seed that fails in the program of `command`, whose words go through the file `output`.
fn first_failure(
    options: &Options,
    mut command: Command,
    output: &Path,
) -> Result<Option<u64>, String> {
    command.args(["--no-shrink", "--json", "--seeds", &format!("0..{}", options.seeds)]);
    let ended = bounded::run(&mut command, DEADLINE, output).map_err(|error| error.to_string())?;
    if ended.status.is_none() {
        return Err("it does not end".to_owned());
    }
    let report: serde_json::Value = serde_json::from_str(&ended.output)
        .map_err(|error| format!("{error}: {}", ended.output))?;
    Ok(report["failures"][0]["seed"].as_u64())
}
