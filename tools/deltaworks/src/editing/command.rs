//! `deltaworks editing`: makes an editing trace, or checks one, without any daemon.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{FileError, Recipe, Trace, TraceFault, generate};
use crate::{exit, output};

const EXAMPLES: &str = "\
Examples:
  deltaworks editing generate --out trace.json.gz
  deltaworks editing check trace.json.gz --json

Exit codes:
  0  the trace was made, or its transactions make its end out of its start
  1  the file cannot be read or written, or the trace contradicts itself
  2  the command line is wrong";

const GENERATE_EXAMPLES: &str = "\
Examples:
  deltaworks editing generate --out trace.json.gz
  deltaworks editing generate --seed 7 --transactions 100000 --out long.json --json

Exit codes:
  0  the trace was written
  1  the file cannot be written
  2  the command line is wrong";

const CHECK_EXAMPLES: &str = "\
Examples:
  deltaworks editing check trace.json.gz
  deltaworks editing check trace.json --json

Exit codes:
  0  the trace's transactions make its end out of its start
  1  the file cannot be read, is no trace, or the trace contradicts itself
  2  the command line is wrong";

/// What to do with a trace.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum EditingCommand {
    /// Makes a trace; the same seed gives the same trace
    Generate(GenerateCommand),
    /// Reads a trace and tells whether its transactions make its end out of its start
    Check(CheckCommand),
}

/// Makes a trace; the same seed gives the same trace
#[derive(Debug, Args)]
#[command(after_help = GENERATE_EXAMPLES)]
pub struct GenerateCommand {
    /// Seed of the generator
    #[arg(long, default_value_t = Recipe::default().seed)]
    seed: u64,
    /// Transactions in the trace, at most 4,194,304
    #[arg(long, default_value_t = Recipe::default().transactions,
          value_parser = clap::value_parser!(u32).range(..=4_194_304))]
    transactions: u32,
    /// Code points that the text never exceeds, at most 4,194,304
    #[arg(long, default_value_t = Recipe::default().chars_max,
          value_parser = clap::value_parser!(u32).range(256..=4_194_304))]
    chars_max: u32,
    /// File to write; compressed if its name ends in .gz
    #[arg(long)]
    out: PathBuf,
    /// Prints what was made as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Reads a trace and tells whether its transactions make its end out of its start
#[derive(Debug, Args)]
#[command(after_help = CHECK_EXAMPLES)]
pub struct CheckCommand {
    /// File to read, plain or gzip
    trace: PathBuf,
    /// Prints what was found as one line of JSON
    #[arg(long)]
    json: bool,
}

impl EditingCommand {
    /// Does it.
    pub fn run(self) -> ExitCode {
        let done = match self {
            EditingCommand::Generate(command) => command.generate(),
            EditingCommand::Check(command) => command.check(),
        };
        match done {
            Ok(told) => {
                output::print(told);
                ExitCode::SUCCESS
            }
            Err(error) => {
                output::complain(error);
                exit::failed()
            }
        }
    }
}

impl GenerateCommand {
    fn generate(self) -> Result<String, CommandError> {
        let GenerateCommand { seed, transactions, chars_max, out, json } = self;
        let trace = generate(&Recipe { seed, transactions, chars_max });
        trace.save(&out).map_err(|error| CommandError::File(out.clone(), error))?;
        Ok(tell(&out, &trace, json, ""))
    }
}

impl CheckCommand {
    fn check(self) -> Result<String, CommandError> {
        let path = self.trace;
        let trace = Trace::open(&path).map_err(|error| CommandError::File(path.clone(), error))?;
        trace.verify().map_err(|fault| CommandError::Fault(path.clone(), fault))?;
        Ok(tell(&path, &trace, self.json, ", verified"))
    }
}

/// Why a command on a trace failed, and on which file.
#[derive(Debug)]
pub enum CommandError {
    /// The file could not be read or written as a trace.
    File(PathBuf, FileError),
    /// The trace contradicts itself.
    Fault(PathBuf, TraceFault),
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::File(path, error) => write!(f, "{}: {error}", path.display()),
            CommandError::Fault(path, fault) => write!(f, "{}: {fault}", path.display()),
        }
    }
}

impl std::error::Error for CommandError {}

fn tell(path: &Path, trace: &Trace, json: bool, verdict: &str) -> String {
    let (transactions, patches) = (trace.transactions.len(), trace.patches());
    let chars = trace.end.chars().count();
    let path = path.display();
    if json {
        let told = json!({
            "trace": path.to_string(),
            "transactions": transactions,
            "patches": patches,
            "end_chars": chars,
            "verified": !verdict.is_empty(),
        });
        return told.to_string();
    }
    format!(
        "{path}: {transactions} transactions, {patches} patches, {chars} code points at the end\
         {verdict}"
    )
}
