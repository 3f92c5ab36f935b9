//! What the harness does when it is asked: subcommands of `throughput`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::compare::{CalibrateOptions, CompareOptions, calibrate, compare};
use crate::driver::{self, BenchOptions, Moment, Programs};
use crate::instructions::{self, InstructionsOptions};
use crate::page::page;
use crate::progress::duration;
use crate::readme;
use crate::results::Results;
use crate::tables::tables;

/// What is asked.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Every scenario, in turns, into `results.json` and a page.
    Bench(BenchOptions),
    /// The page of a run that was kept.
    Report {
        /// Its `results.json`.
        results: PathBuf,
        /// Where the page goes; by default beside it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// The tables of a run that was kept, as RESULTS.md.
    Results {
        /// Its `results.json`.
        results: PathBuf,
        /// Puts the README's table, made of the same run, between its marks in this file, and prints nothing.
        #[arg(long, value_name = "FILE")]
        readme: Option<PathBuf>,
    },
    /// Instructions per delta of the hot loops, beside what was last recorded.
    Instructions(InstructionsOptions),
    /// Two programs, run in pairs, or two kept runs: fails if the new one has lost too much.
    Compare(CompareOptions),
    /// Whether `compare` passes equals and finds a planted loss, as often as it is tried.
    CalibrateGuard(CalibrateOptions),
}

/// Does it; `false` if something went wrong that was measured.
///
/// # Errors
/// If it cannot be done.
pub fn run(command: &Command) -> Result<bool, String> {
    match command {
        Command::Bench(options) => bench(options),
        Command::Report { results, out } => {
            let beside = results.with_file_name("report.html");
            report(&Results::read(results)?, out.as_ref().unwrap_or(&beside)).map(|()| true)
        }
        Command::Results { results, readme: None } => {
            write(&tables(&Results::read(results)?));
            Ok(true)
        }
        Command::Results { results, readme: Some(to) } => {
            let told = |error: std::io::Error| format!("{}: {error}", to.display());
            let text = std::fs::read_to_string(to).map_err(told)?;
            let text = readme::put(&text, &readme::block(&Results::read(results)?))?;
            std::fs::write(to, text).map_err(told)?;
            Ok(true)
        }
        Command::Instructions(options) => {
            instructions::run(options, &throughput()?, |text| write(&text))
        }
        Command::Compare(options) => compare(options, |text| write(&text)),
        Command::CalibrateGuard(options) => calibrate(options, &throughput()?, |text| write(&text)),
    }
}

fn write(text: &str) {
    // Whoever listens may have gone.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn bench(options: &BenchOptions) -> Result<bool, String> {
    let entries = options.chosen();
    let rounds = options.samples.unwrap_or(options.extent.samples());
    if options.list {
        entries.iter().for_each(|entry| write(&format!("{}\n", entry.name)));
        eprint!("{}", driver::plan(&entries, rounds, None));
        return Ok(true);
    }
    if entries.is_empty() {
        return Err("nothing is called like that: see --list".to_owned());
    }
    let programs = Programs { throughput: throughput()?, peers: options.peers.clone() };
    std::fs::create_dir_all(&options.out)
        .map_err(|error| format!("{}: {error}", options.out.display()))?;
    let kept = options.out.join("results.json");
    let begun = match options.resume && kept.exists() {
        true => Some(Results::read(&kept)?),
        false => None,
    };
    eprint!("{}", driver::plan(&entries, rounds, begun.as_ref()));
    let keep = |results: &Results, moment: Moment| match moment {
        Moment::Child => results.write(&kept),
        Moment::Round => {
            results.write(&kept)?;
            report(results, &options.out.join("report.html"))
        }
    };
    let (extent, here) = (options.extent, Path::new("."));
    let results = driver::run(&entries, extent, rounds, &programs, here, begun, keep)?;
    if options.json {
        let text = serde_json::to_string(&results).map_err(|error| error.to_string())?;
        write(&format!("{text}\n"));
    }
    let wrong = results.failures.iter().filter(|failure| !failure.is_absent).count();
    eprintln!(
        "{} series in {}, {wrong} failures: {}",
        results.series.len(),
        duration(results.seconds),
        options.out.join("report.html").display()
    );
    Ok(wrong == 0)
}

fn report(results: &Results, to: &Path) -> Result<(), String> {
    std::fs::write(to, page(results)).map_err(|error| format!("{}: {error}", to.display()))
}

/// The program that measures: this one, or that which stands beside it.
fn throughput() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    Ok(own.with_file_name("throughput"))
}
