//! `deltaworks trace`: makes a trace, or checks one, without any daemon.

use std::fmt;
use std::path::PathBuf;

use clap::Subcommand;

use super::{FileError, Recipe, Trace, TraceFault, generate};

/// What to do with a trace.
#[derive(Debug, Subcommand)]
pub enum TraceCommand {
    /// Makes a trace; the same seed gives the same trace
    Generate {
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
    },
    /// Reads a trace and tells whether its transactions make its end out of its start
    Check {
        /// File to read, plain or gzip
        trace: PathBuf,
    },
}

impl TraceCommand {
    /// Does it; what comes back is for a person.
    ///
    /// # Errors
    /// What is wrong with the file or the trace.
    pub fn run(self) -> Result<String, CommandError> {
        match self {
            TraceCommand::Generate { seed, transactions, chars_max, out } => {
                let trace = generate(&Recipe { seed, transactions, chars_max });
                let told = tell(&trace);
                trace.save(&out).map_err(|error| CommandError::File(out.clone(), error))?;
                Ok(format!("{}: {told}", out.display()))
            }
            TraceCommand::Check { trace: path } => {
                let trace =
                    Trace::open(&path).map_err(|error| CommandError::File(path.clone(), error))?;
                trace.verify().map_err(|fault| CommandError::Fault(path.clone(), fault))?;
                Ok(format!("{}: {}, verified", path.display(), tell(&trace)))
            }
        }
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

fn tell(trace: &Trace) -> String {
    format!(
        "{} transactions, {} patches, {} code points at the end",
        trace.transactions.len(),
        trace.patches(),
        trace.end.chars().count()
    )
}
