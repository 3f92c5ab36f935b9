//! A program that is run within a time.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often it is looked whether the program has ended.
const LOOK: Duration = Duration::from_millis(5);

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its status; `None` if it was killed at the deadline.
    pub status: Option<ExitStatus>,
    /// What it wrote, to either stream.
    pub output: String,
    /// How long it ran.
    pub took: Duration,
}

/// Runs `command` without input to its end, or kills it after `deadline`. What it writes goes
/// through the file `output`, so that it never waits for a reader.
///
/// # Errors
/// If it cannot be started or looked after.
pub fn run(command: &mut Command, deadline: Duration, output: &Path) -> io::Result<Ended> {
    let file = File::create(output)?;
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if start.elapsed() > deadline {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(LOOK);
    };
    let took = start.elapsed();
    let output = String::from_utf8_lossy(&fs::read(output)?).into_owned();
    Ok(Ended { status, output, took })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_ends_or_is_killed() {
        let output = std::env::temp_dir().join(format!("mutants-bounded-{}", std::process::id()));
        let shell = |script: &str, deadline_ms| {
            let deadline = Duration::from_millis(deadline_ms);
            run(Command::new("sh").args(["-c", script]), deadline, &output).unwrap()
        };
        let ended = shell("echo out; echo err >&2; exit 3", 60_000);
        assert_eq!(ended.status.unwrap().code(), Some(3));
        assert_eq!(ended.output, "out\nerr\n");
        let killed = shell("exec sleep 60", 50);
        assert!(killed.status.is_none() && killed.took < Duration::from_secs(30));
        fs::remove_file(output).unwrap();
    }
}
