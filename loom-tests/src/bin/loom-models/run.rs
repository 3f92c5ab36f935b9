//! Building the models under `cfg(loom)`, and running one of them within a time.

use crate::copy::Copy;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a model may take before it counts as hanging.
const DEADLINE: Duration = Duration::from_secs(120);

/// How a run ended.
pub(crate) enum Outcome {
    /// Every order was tried, and all was well.
    Passed { executions: u64, took: Duration },
    /// An assertion or the explorer itself found a fault, and said so.
    Failed { said: String, took: Duration, output: String },
    /// It did not end in time.
    Hung { output: String },
    /// It ended in another way, which proves nothing.
    Odd { reason: String, output: String },
    /// The source does not compile.
    NotBuilt { errors: String },
}

impl Outcome {
    /// Prints what a person needs to see of a run that was to pass.
    pub(crate) fn show(&self) {
        match self {
            Outcome::Passed { .. } => {}
            Outcome::Failed { output, .. }
            | Outcome::Hung { output }
            | Outcome::Odd { output, .. }
            | Outcome::NotBuilt { errors: output } => eprintln!("{output}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Passed { executions, took } => {
                write!(f, "{executions:>8} executions {:>6.1} s", took.as_secs_f64())
            }
            Outcome::Failed { said, took, .. } => write!(f, "{said}; {:.1} s", took.as_secs_f64()),
            Outcome::Hung { .. } => write!(f, "hung for {} s", DEADLINE.as_secs()),
            Outcome::Odd { reason, .. } => f.write_str(reason),
            Outcome::NotBuilt { .. } => f.write_str("does not compile"),
        }
    }
}

/// The test program, or the compiler's errors.
pub(crate) fn build(copy: &Copy, work: &Path) -> Result<PathBuf, String> {
    let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["test", "--locked", "--profile", "loom", "-p", "deltaworks-loom-tests", "--lib"])
        .args(["--no-run", "--message-format", "json-render-diagnostics"])
        .current_dir(&copy.top)
        .env("CARGO_TARGET_DIR", work.join("build"))
        .env("RUSTFLAGS", "--cfg loom")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .map_err(|error| format!("starting cargo: {error}"))?;
    if !built.status.success() {
        return Err(String::from_utf8_lossy(&built.stderr).into_owned());
    }
    let messages = String::from_utf8_lossy(&built.stdout);
    let mut programs = messages.lines().filter_map(|line| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        rest.split_once('"').map(|(path, _)| PathBuf::from(path))
    });
    programs.next_back().ok_or_else(|| "cargo names no test program".to_owned())
}

/// Runs one model to its end, or to the deadline.
pub(crate) fn run(test: &Path, model: &str, work: &Path) -> Outcome {
    let odd = |reason: String| Outcome::Odd { reason, output: String::new() };
    let path = work.join("output");
    let start = Instant::now();
    let ended = File::create(&path).and_then(|file| {
        let mut child = Command::new(test)
            .args([model, "--exact", "--nocapture", "--test-threads", "1"])
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()?;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            if start.elapsed() > DEADLINE {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let took = start.elapsed();
    let output = String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).into_owned();
    match ended {
        Err(error) => odd(format!("starting the model: {error}")),
        Ok(None) => Outcome::Hung { output },
        Ok(Some(_)) if !output.contains("running 1 test") => odd("no such test".to_owned()),
        Ok(Some(status)) if status.success() => match executions(&output) {
            Some(executions) => Outcome::Passed { executions, took },
            None => odd("says nothing of executions".to_owned()),
        },
        // A fault found while another thread of the model unwinds ends in an abort; what was
        // found first stands in the output all the same.
        Ok(Some(status)) => match said(&output) {
            Some(said) => Outcome::Failed { said, took, output },
            None => Outcome::Odd { reason: format!("{status}"), output },
        },
    }
}

fn executions(output: &str) -> Option<u64> {
    let (_, rest) = output.split_once("explored ")?;
    rest.split(' ').next()?.parse().ok()
}

/// The first panic's message. One about too many branches is no finding: the model went astray.
fn said(output: &str) -> Option<String> {
    let (_, rest) = output.split_once("panicked at ")?;
    let message = rest.lines().nth(1)?.trim();
    if message.is_empty() || message.contains("exceeded maximum number of branches") {
        return None;
    }
    Some(message.chars().take(90).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_finding_counts_as_a_failure() {
        let panicked =
            |message| format!("running 1 test\nthread 'x' panicked at a.rs:1:2:\n{message}\n");
        assert_eq!(said(&panicked("deadlock; threads")).as_deref(), Some("deadlock; threads"));
        assert_eq!(said(&panicked("Model exceeded maximum number of branches. This")), None);
        assert_eq!(said("running 1 test\nSIGSEGV"), None);
        assert_eq!(executions("test a ... explored 31 executions\nok"), Some(31));
        assert_eq!(executions("ok"), None);
    }
}
