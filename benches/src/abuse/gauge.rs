//! What the daemon holds and costs, seen from outside: the system's account of its process, and
//! what it tells of itself over its admin socket.
//!
//! Read between two spans, never inside one: reading ten thousand descriptors takes milliseconds.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

/// An answer of the admin socket may take this long, and be this long.
const PATIENCE: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// What the daemon held at one moment.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Holdings {
    /// Resident memory.
    pub resident_bytes: u64,
    /// Open file descriptors: one a connection, and some of its own.
    pub descriptors: usize,
    /// Sessions, as it tells; absent without an admin socket.
    pub sessions: Option<u64>,
    /// What clients made it hold, by kind, as it tells.
    pub live_bytes: Option<BTreeMap<String, u64>>,
    /// What all kinds together may come to, as it tells.
    pub budget_bytes: Option<u64>,
}

/// Time that the daemon's threads have run, and have waited for a CPU, since they began.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTime {
    /// Ran.
    pub ran_ns: u64,
    /// Could have run, but had no CPU.
    pub waited_ns: u64,
}

/// Where one daemon's figures are.
#[derive(Clone, Debug)]
pub struct Gauge {
    process: PathBuf,
    admin: Option<PathBuf>,
}

impl Gauge {
    /// The gauge of a process, and of its admin socket if it has one.
    pub fn new(pid: u32, admin: Option<PathBuf>) -> Gauge {
        Gauge { process: Path::new("/proc").join(pid.to_string()), admin }
    }

    /// What it holds now.
    ///
    /// # Errors
    /// If the process is gone, or its admin socket does not answer.
    pub fn holdings(&self) -> Result<Holdings, String> {
        let mut holdings = Holdings {
            resident_bytes: self.status_bytes("VmRSS:")?,
            descriptors: self.descriptors()?,
            ..Holdings::default()
        };
        if let Some(admin) = &self.admin {
            let status = status(admin)?;
            holdings.sessions = status["sessions"].as_u64();
            holdings.budget_bytes = status["budget_bytes"].as_u64();
            holdings.live_bytes = serde_json::from_value(status["live_bytes"].clone()).ok();
        }
        Ok(holdings)
    }

    /// What the daemon tells of itself.
    ///
    /// # Errors
    /// If it has no admin socket, or that does not answer.
    pub fn status(&self) -> Result<Value, String> {
        status(self.admin.as_ref().ok_or("the daemon has no admin socket")?)
    }

    /// Open file descriptors.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn descriptors(&self) -> Result<usize, String> {
        let entries = std::fs::read_dir(self.process.join("fd"));
        Ok(entries.map_err(|error| error.to_string())?.count())
    }

    /// The most that was resident since it began.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn resident_bytes_max(&self) -> Result<u64, String> {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, key: &str) -> Result<u64, String> {
        let path = self.process.join("status");
        let status = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|it| it.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.map(|kib| kib << 10).ok_or(format!("the system does not tell {key}"))
    }

    /// What its threads have run and waited, as far as the system tells.
    pub fn cpu_time(&self) -> CpuTime {
        let mut time = CpuTime::default();
        let Ok(threads) = std::fs::read_dir(self.process.join("task")) else { return time };
        for thread in threads.flatten() {
            // A thread that has ended since is not counted.
            let text = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            let mut words = text.split_whitespace().map(|word| word.parse().unwrap_or(0));
            time.ran_ns += words.next().unwrap_or(0);
            time.waited_ns += words.next().unwrap_or(0);
        }
        time
    }
}

/// `GET /v1/status` over the admin socket.
fn status(admin: &Path) -> Result<Value, String> {
    let told = |error: std::io::Error| format!("{}: {error}", admin.display());
    let mut stream = UnixStream::connect(admin).map_err(told)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(told)?;
    let request = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).map_err(told)?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).map_err(told)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).map_err(|error| format!("{}: {error}: {answer}", admin.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_account_of_this_process_is_read() {
        let gauge = Gauge::new(std::process::id(), None);
        let before = gauge.holdings().expect("it runs");
        assert!(before.resident_bytes > 100_000 && before.descriptors > 2);
        assert!(gauge.resident_bytes_max().expect("it runs") >= before.resident_bytes / 2);
        assert!(gauge.cpu_time().ran_ns > 0);
        assert!(Gauge::new(u32::MAX, None).holdings().is_err());
    }
}
