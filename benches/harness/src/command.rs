//! What the harness does when it is asked: subcommands of `throughput`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::driver::{self, BenchOptions, Programs};
use crate::progress::duration;
use crate::results::Results;

/// What is asked.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Every scenario, in turns, into `results.json` and a page.
    Bench(BenchOptions),
}

/// Does it; `false` if something went wrong that was measured.
///
/// # Errors
/// If it cannot be done.
pub fn run(command: &Command) -> Result<bool, String> {
    match command {
        Command::Bench(options) => bench(options),
    }
}

fn write(text: &str) {
    // Whoever listens may have gone.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn bench(options: &BenchOptions) -> Result<bool, String> {
    let entries = options.chosen();
    if options.list {
        entries.iter().for_each(|entry| write(&format!("{}\n", entry.name)));
        return Ok(true);
    }
    if entries.is_empty() {
        return Err("nothing is called like that: see --list".to_owned());
    }
    let programs = Programs { throughput: throughput()?, peers: options.peers.clone() };
    std::fs::create_dir_all(&options.out)
        .map_err(|error| format!("{}: {error}", options.out.display()))?;
    let rounds = options.samples.unwrap_or(options.extent.samples());
    let keep = |results: &Results| keep(results, &options.out);
    let extent = options.extent;
    let results = driver::run(&entries, extent, rounds, &programs, Path::new("."), keep)?;
    if options.json {
        let text = serde_json::to_string(&results).map_err(|error| error.to_string())?;
        write(&format!("{text}\n"));
    }
    let wrong = results.failures.iter().filter(|failure| !failure.is_absent).count();
    eprintln!(
        "{} series in {}, {wrong} failures: {}",
        results.series.len(),
        duration(results.seconds),
        options.out.join("results.json").display()
    );
    Ok(wrong == 0)
}

fn keep(results: &Results, folder: &Path) -> Result<(), String> {
    results.write(&folder.join("results.json"))
}

/// The program that measures: this one, or that which stands beside it.
fn throughput() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    Ok(own.with_file_name("throughput"))
}
