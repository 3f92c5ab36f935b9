//! The host as the checks see it: files below a root, what was tried, and what a running daemon told.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use deltaworks_runtime::topology::{Allowance, CpuSet, Topology};

use crate::status::Status;

/// Budget of a daemon that was told none, at least: as its sizing has it.
const BUDGET_BYTES_MIN: u64 = 256 << 20;
/// The same for each core.
const BUDGET_BYTES_PER_CORE: u64 = 64 << 20;

/// What came of trying something that no file tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// It works; what was seen.
    Works(String),
    /// It does not; why.
    Fails(String),
    /// Nobody tried, because the root is not this system's.
    Not,
}

/// Why a file of the system tells nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It does not exist.
    Missing(String),
    /// It exists and cannot be read.
    Failed(String, String),
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unread::Missing(path) => write!(f, "/{path} does not exist here"),
            Unread::Failed(path, why) => write!(f, "/{path} cannot be read: {why}"),
        }
    }
}

/// A limit of a process; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What holds now.
    pub soft: Option<u64>,
    /// What the process may raise it to.
    pub hard: Option<u64>,
}

/// What the checks look at.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
    /// The process whose limits count: the daemon's number, or `self`.
    process: String,
    daemon: Option<Status>,
    /// Whether the kernel gives a ring of io_uring.
    pub ring: Tried,
    /// Whether hwloc reads this machine.
    pub topology: Tried,
}

impl Host {
    /// This host, with what a running daemon told of itself.
    pub fn this(daemon: Option<Status>) -> Host {
        Host {
            ring: try_ring(),
            topology: try_topology(),
            ..Host::below(PathBuf::from("/"), daemon)
        }
    }

    /// The files below `root` alone: nothing is tried.
    pub fn below(root: PathBuf, daemon: Option<Status>) -> Host {
        let process = match &daemon {
            Some(status) if status.pid != 0 => status.pid.to_string(),
            _ => "self".to_owned(),
        };
        Host { root, process, daemon, ring: Tried::Not, topology: Tried::Not }
    }

    /// The running daemon.
    pub fn daemon(&self) -> Option<&Status> {
        self.daemon.as_ref()
    }

    /// Whose limits, mask and quota are looked at.
    pub fn whose(&self) -> String {
        match &self.daemon {
            Some(status) => format!("of the daemon, process {}", status.pid),
            None => "of this shell".to_owned(),
        }
    }

    /// The text of a file; `path` has no slash at its start.
    ///
    /// # Errors
    /// Why there is none.
    pub fn read(&self, path: &str) -> Result<String, Unread> {
        fs::read_to_string(self.root.join(path)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Unread::Missing(path.to_owned()),
            _ => Unread::Failed(path.to_owned(), error.to_string()),
        })
    }

    /// The number in a file.
    ///
    /// # Errors
    /// Why there is none.
    pub fn number(&self, path: &str) -> Result<u64, Unread> {
        let text = self.read(path)?;
        let text = text.trim();
        text.parse().map_err(|_| Unread::Failed(path.to_owned(), format!("{text:?} is no number")))
    }

    /// The names in a folder, sorted; none where it does not exist.
    pub fn names(&self, path: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.root.join(path)) else { return Vec::new() };
        let name = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
        let mut names: Vec<String> = entries.filter_map(name).collect();
        names.sort();
        names
    }

    /// The last part of what a link points to.
    pub fn link_name(&self, path: &str) -> Option<String> {
        let target = fs::read_link(self.root.join(path)).ok()?;
        target.file_name()?.to_str().map(str::to_owned)
    }

    /// A file of the process whose limits count.
    ///
    /// # Errors
    /// Why there is none.
    pub fn read_of_process(&self, name: &str) -> Result<String, Unread> {
        self.read(&format!("proc/{}/{name}", self.process))
    }

    /// The limit that `proc/*/limits` calls `label`.
    ///
    /// # Errors
    /// Why it is not known.
    pub fn limit(&self, label: &str) -> Result<Limit, Unread> {
        let text = self.read_of_process("limits")?;
        let place = format!("proc/{}/limits", self.process);
        let failed = |why: String| Unread::Failed(place.clone(), why);
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(label))
            .ok_or_else(|| failed(format!("no line {label:?}")))?;
        let mut words = line.split_ascii_whitespace();
        let mut next = || match words.next() {
            Some("unlimited") => Ok(None),
            Some(word) => word.parse().map(Some).map_err(|_| failed(format!("{word:?}"))),
            None => Err(failed(format!("nothing behind {label:?}"))),
        };
        Ok(Limit { soft: next()?, hard: next()? })
    }

    /// Whether the process has this capability, by its number.
    pub fn has_capability(&self, number: u32) -> bool {
        let Ok(status) = self.read_of_process("status") else { return false };
        status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .is_some_and(|mask| mask >> number & 1 == 1)
    }

    /// CPUs and CPU time that the process may use.
    ///
    /// # Errors
    /// Why they are not known.
    pub fn allowance(&self) -> Result<Allowance, Unread> {
        Allowance::read(&self.root, &self.process).map_err(|error| {
            Unread::Failed(format!("proc/{}/status", self.process), error.to_string())
        })
    }

    /// A list of CPUs or nodes in a file, such as `0-3,8`.
    ///
    /// # Errors
    /// Why there is none.
    pub fn list(&self, path: &str) -> Result<CpuSet, Unread> {
        let text = self.read(path)?;
        match text.trim() {
            "" | "(null)" => Ok(CpuSet::new()),
            list => list.parse().map_err(|_| Unread::Failed(path.to_owned(), format!("{list:?}"))),
        }
    }

    /// CPUs of the daemon's cores: the running one's, or all that a new one could take.
    pub fn data_cpus(&self) -> CpuSet {
        let mut cpus = CpuSet::new();
        for cpu in self.daemon.iter().flat_map(|status| &status.cores).filter_map(|core| core.cpu) {
            cpus.insert(cpu);
        }
        match cpus.is_empty() {
            true => self.allowance().map(|allowance| allowance.mask).unwrap_or(cpus),
            false => cpus,
        }
    }

    /// Cores that the daemon has, or would have; at least 1.
    pub fn cores(&self) -> u64 {
        let told = self.daemon.as_ref().map_or(0, |status| status.cores.len());
        (if told > 0 { told } else { self.data_cpus().len() }).max(1) as u64
    }

    /// Bytes that the daemon may use for what clients make grow, or would by default.
    pub fn budget_bytes(&self) -> u64 {
        match self.daemon.as_ref().map(|status| status.budget_bytes) {
            Some(bytes) if bytes > 0 => bytes,
            _ => BUDGET_BYTES_MIN.max(self.cores() * BUDGET_BYTES_PER_CORE),
        }
    }

    /// NUMA nodes with memory; 1 where the kernel knows of none.
    pub fn nodes(&self) -> usize {
        let nodes = self.list("sys/devices/system/node/has_memory");
        nodes.map_or(1, |nodes| nodes.len().max(1))
    }

    /// Network interfaces behind which there is a device.
    pub fn network_devices(&self) -> Vec<String> {
        let mut names = self.names("sys/class/net");
        names.retain(|name| {
            fs::symlink_metadata(self.root.join(format!("sys/class/net/{name}/device"))).is_ok()
        });
        names
    }

    /// The root, for messages.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// Asks for a small ring, and gives it back.
fn try_ring() -> Tried {
    match io_uring::IoUring::new(8) {
        Ok(_) => Tried::Works("a ring was made".to_owned()),
        Err(error) => Tried::Fails(error.to_string()),
    }
}

fn try_topology() -> Tried {
    match Topology::of_this_machine() {
        Ok(topology) => Tried::Works(format!(
            "{} CPUs, {} NUMA nodes",
            topology.cpus().len(),
            topology.nodes().len()
        )),
        Err(error) => Tried::Fails(error.to_string()),
    }
}
