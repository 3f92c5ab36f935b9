//! The harness without the benches: reads what was kept, draws the page and the tables, compares. Builds in
//! seconds; what it measures is done by the `throughput` that stands beside it.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use deltaworks_harness::command::{Command, run};

/// Runs, keeps, shows and compares; exit code 1 if something was wrong or lost, 2 if it could not be done.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    match run(&Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::from(2)
        }
    }
}
