//! One child process: started, read line by line, and ended if it takes too long.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(5);

/// Bytes of what a child complains that are kept.
const COMPLAINT_BYTES: usize = 600;

/// What a child left.
#[derive(Clone, Debug)]
pub struct Left {
    /// Its lines on standard output.
    pub lines: Vec<String>,
    /// The end of what it wrote to standard error.
    pub complaint: String,
    /// How it ended, in words; `None` if well.
    pub fault: Option<String>,
    /// Its exit code, if it ended by itself.
    pub code: Option<i32>,
}

/// Runs `program` with `arguments` in `folder`, for `time` at most.
pub fn run(program: &Path, arguments: &[String], folder: &Path, time: Duration) -> Left {
    let mut left = Left { lines: Vec::new(), complaint: String::new(), fault: None, code: None };
    let child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            left.fault = Some(format!("{}: {error}", program.display()));
            return left;
        }
    };
    let out = child.stdout.take().map(|mut pipe| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.read_to_end(&mut bytes);
            bytes
        })
    });
    let complaints = child.stderr.take().map(|mut pipe| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.read_to_end(&mut bytes);
            bytes
        })
    });
    let began = Instant::now();
    left.fault = loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                left.code = status.code();
                break (!status.success()).then(|| status.to_string());
            }
            Ok(None) if began.elapsed() > time => {
                let _ = child.kill();
                let _ = child.wait();
                break Some(format!("ended after {} s, which was its limit", time.as_secs()));
            }
            Ok(None) => std::thread::sleep(LOOK),
            Err(error) => break Some(error.to_string()),
        }
    };
    let text = |thread: Option<std::thread::JoinHandle<Vec<u8>>>| {
        let bytes = thread.and_then(|thread| thread.join().ok()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    left.lines = text(out).lines().map(str::to_owned).collect();
    let complaint = text(complaints);
    let complaint = complaint.trim();
    let mut from = complaint.len().saturating_sub(COMPLAINT_BYTES);
    while !complaint.is_char_boundary(from) {
        from += 1;
    }
    left.complaint = complaint[from..].to_owned();
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, time: Duration) -> Left {
        let arguments = ["-c".to_owned(), script.to_owned()];
        run(Path::new("sh"), &arguments, Path::new("."), time)
    }

    #[test]
    fn who_ends_well_who_ends_ill_and_who_does_not_end() {
        let long = Duration::from_secs(60);
        let well = shell("echo one; echo two", long);
        assert_eq!((well.lines, well.fault), (vec!["one".to_owned(), "two".to_owned()], None));
        let ill = shell("echo half; echo why >&2; exit 3", long);
        assert_eq!(ill.lines, ["half"]);
        assert!(ill.fault.is_some_and(|told| told.contains('3')) && ill.complaint == "why");
        assert_eq!(ill.code, Some(3));
        let endless = shell("echo begun; exec sleep 600", Duration::from_millis(300));
        assert_eq!(endless.lines, ["begun"]);
        assert!(endless.fault.is_some_and(|told| told.contains("limit")));
        let missing = run(Path::new("./no-such-program"), &[], Path::new("."), long);
        assert!(missing.fault.is_some());
    }
}
