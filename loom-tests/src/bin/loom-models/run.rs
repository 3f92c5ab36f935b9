//! Building the models under `cfg(loom)`, and running one of them within a time.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use deltaworks_mutants::workshop::Bench;
use deltaworks_mutants::{bounded, cargo};

/// What a model may take before it counts as hanging. The longest takes 40 s on a machine of its own.
pub(crate) const DEADLINE: Duration = Duration::from_secs(300);

/// How a run ended.
pub(crate) enum Outcome {
    /// All was well.
    Passed { explored: Explored, took: Duration },
    /// An assertion or the explorer itself found a fault, and said so.
    Failed { said: String, took: Duration, output: String },
    /// It did not end in time.
    Hung { output: String },
    /// It ended in another way, which proves nothing.
    Odd { reason: String, output: String },
    /// The source does not compile.
    NotBuilt { errors: String },
}

/// What a model says that it explored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Explored {
    pub(crate) executions: u64,
    /// The most preemptions in one execution; `None` where there is no bound.
    pub(crate) bound: Option<u32>,
    /// Not stopped by time.
    pub(crate) is_whole: bool,
}

/// How a run differs from the usual.
#[derive(Default)]
pub(crate) struct Depth {
    pub(crate) preemptions: Option<u32>,
    pub(crate) at_most: Option<Duration>,
}

impl Outcome {
    /// What a person needs to see of a run that was to pass.
    pub(crate) fn output(&self) -> Option<&str> {
        match self {
            Outcome::Passed { .. } => None,
            Outcome::Failed { output, .. }
            | Outcome::Hung { output }
            | Outcome::Odd { output, .. }
            | Outcome::NotBuilt { errors: output } => Some(output),
        }
    }

    /// How long it ran, if it ended.
    pub(crate) fn took(&self) -> Duration {
        match self {
            Outcome::Passed { took, .. } | Outcome::Failed { took, .. } => *took,
            _ => Duration::ZERO,
        }
    }

    pub(crate) fn is_passed(&self) -> bool {
        matches!(self, Outcome::Passed { .. })
    }

    /// Whether all was well as far as it was explored. A story may ask at its end for what happens only
    /// in the whole of it: that is no finding where time has stopped it before.
    pub(crate) fn is_well_so_far(&self) -> bool {
        match self {
            Outcome::Passed { .. } => true,
            Outcome::Failed { output, .. } => explored(output).is_some_and(|it| !it.is_whole),
            _ => false,
        }
    }

    pub(crate) fn is_failed(&self) -> bool {
        matches!(self, Outcome::Failed { .. })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Passed { explored, took } => {
                write!(f, "{:>8} executions {:>6.1} s", explored.executions, took.as_secs_f64())
            }
            Outcome::Failed { said, took, .. } => write!(f, "{said}; {:.1} s", took.as_secs_f64()),
            Outcome::Hung { .. } => write!(f, "hung for {} s", DEADLINE.as_secs()),
            Outcome::Odd { reason, .. } => f.write_str(reason),
            Outcome::NotBuilt { .. } => f.write_str("does not compile"),
        }
    }
}

/// The test program, or the compiler's errors.
pub(crate) fn build(bench: &Bench) -> Result<PathBuf, String> {
    let arguments = [
        "test",
        "--locked",
        "--profile",
        "loom",
        "-p",
        "deltaworks-loom-tests",
        "--lib",
        "--no-run",
    ];
    cargo::build(bench.copy.top(), &bench.build, "--cfg loom", &arguments)
}

/// The call of a test program that runs one model.
pub(crate) fn model(mut program: Command, name: &str) -> Command {
    program.args([name, "--exact", "--nocapture", "--test-threads", "1"]);
    program
}

/// Runs one model to its end, or to the deadline.
pub(crate) fn run(mut command: Command, bench: &Bench, depth: &Depth) -> Outcome {
    command.env("RUST_BACKTRACE", "0");
    // loom's own variables could end an exploration early, and it would look whole.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LOOM_") {
            command.env_remove(name);
        }
    }
    if let Some(preemptions) = depth.preemptions {
        command.env("LOOM_MAX_PREEMPTIONS", preemptions.to_string());
    }
    if let Some(at_most) = depth.at_most {
        command.env("LOOM_MAX_DURATION", at_most.as_secs().to_string());
    }
    let deadline = DEADLINE + depth.at_most.unwrap_or_default();
    match bounded::run(&mut command, deadline, &bench.output()) {
        Ok(ended) => judge(ended),
        Err(error) => {
            Outcome::Odd { reason: format!("starting the model: {error}"), output: String::new() }
        }
    }
}

fn judge(ended: bounded::Ended) -> Outcome {
    let bounded::Ended { status, output, took } = ended;
    let odd = |reason: String, output: String| Outcome::Odd { reason, output };
    match status {
        None => Outcome::Hung { output },
        Some(_) if !output.contains("running 1 test") => odd("no such test".to_owned(), output),
        Some(status) if status.success() => match explored(&output) {
            Some(explored) => Outcome::Passed { explored, took },
            None => odd("says nothing of executions".to_owned(), output),
        },
        // A fault found while another thread of the model unwinds ends in an abort; what was
        // found first stands in the output all the same.
        Some(status) => match said(&output) {
            Some(said) => Outcome::Failed { said, took, output },
            None => odd(status.to_string(), output),
        },
    }
}

/// Reads what `explore` prints.
fn explored(output: &str) -> Option<Explored> {
    let (_, rest) = output.split_once("explored ")?;
    let line = rest.lines().next()?;
    let (executions, rest) = line.split_once(" executions, ")?;
    let (bound, extent) = rest.split_once(", ")?;
    let bound = match bound.strip_prefix("bound ") {
        Some(most) => Some(most.parse().ok()?),
        None => None,
    };
    Some(Explored { executions: executions.parse().ok()?, bound, is_whole: extent == "whole" })
}

/// The first panic's message. One about too many branches is no finding: the model went astray.
fn said(output: &str) -> Option<String> {
    let (_, rest) = output.split_once("panicked at ")?;
    let message = rest.lines().nth(1)?.trim();
    if message.is_empty() || message.contains("exceeded maximum number of branches") {
        return None;
    }
    // loom lists the threads behind a semicolon.
    let message = message.split("; threads").next().unwrap_or(message);
    Some(message.chars().take(90).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_finding_counts_as_a_failure() {
        let panicked =
            |message| format!("running 1 test\nthread 'x' panicked at a.rs:1:2:\n{message}\n");
        assert_eq!(said(&panicked("deadlock; threads = [1]")).as_deref(), Some("deadlock"));
        assert_eq!(said(&panicked("Model exceeded maximum number of branches. This")), None);
        assert_eq!(said("running 1 test\nSIGSEGV"), None);
    }

    #[test]
    fn what_was_explored_is_read() {
        let read = explored("test a ... explored 31 executions, bound 2, in part\nok");
        assert_eq!(read, Some(Explored { executions: 31, bound: Some(2), is_whole: false }));
        let read = explored("explored 7 executions, every order, whole\n");
        assert_eq!(read, Some(Explored { executions: 7, bound: None, is_whole: true }));
        assert_eq!(explored("ok"), None);
    }

    #[test]
    fn what_is_asked_of_the_whole_is_no_finding_in_a_part() {
        let failed = |output: &str| Outcome::Failed {
            said: "at the end".to_owned(),
            took: DEADLINE,
            output: output.to_owned(),
        };
        assert!(failed("explored 3 executions, bound 2, in part\npanicked").is_well_so_far());
        assert!(!failed("explored 3 executions, bound 2, whole\npanicked").is_well_so_far());
        assert!(!failed("panicked").is_well_so_far());
    }

    #[test]
    fn a_deadline_is_no_failure() {
        let ended = |output: &str| bounded::Ended {
            status: None,
            output: output.to_owned(),
            took: DEADLINE,
        };
        assert!(matches!(judge(ended("running 1 test")), Outcome::Hung { .. }));
    }
}
