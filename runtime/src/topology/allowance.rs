//! What the system lets this process use: its CPU mask and its CPU quota.
//!
//! Read once at start from procfs and cgroupfs. The mask is the kernel's effective one, so the
//! cpuset of the cgroup is already in it.

use std::error::Error;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use super::{CpuSet, CpuSetError};

/// CPU time per period that a cgroup grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CpuQuota {
    /// Microseconds of CPU time in each period.
    pub quota_us: u64,
    /// Length of the period in microseconds, not 0.
    pub period_us: u64,
}

impl CpuQuota {
    /// Thousandths of a CPU that the quota is worth, rounded down.
    pub fn milli_cpus(&self) -> u64 {
        let milli = u128::from(self.quota_us) * 1_000 / u128::from(self.period_us.max(1));
        u64::try_from(milli).unwrap_or(u64::MAX)
    }

    /// The quota that a `cpu.max` file tells; `None` for `max`, which means no limit, and for a
    /// text that is neither (kernel documentation, cgroup-v2, "CPU Interface Files").
    pub fn parse(cpu_max: &str) -> Option<Self> {
        let mut words = cpu_max.split_ascii_whitespace();
        let quota_us = words.next()?.parse().ok()?;
        let period_us = words.next()?.parse().ok()?;
        (period_us > 0).then_some(Self { quota_us, period_us })
    }
}

/// The CPUs and the CPU time that this process may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Allowance {
    /// CPUs that the kernel lets the process run on.
    pub mask: CpuSet,
    /// The smallest quota of its cgroup and the cgroups above; `None` if none is set.
    pub quota: Option<CpuQuota>,
}

impl Allowance {
    /// What the kernel tells about this process. A few file reads; only cgroup v2 quotas are
    /// seen.
    ///
    /// # Errors
    /// [`AllowanceError`] if the mask cannot be read: there is nothing to plan with. A quota that
    /// cannot be read counts as none.
    pub fn of_this_process() -> Result<Self, AllowanceError> {
        Self::read(Path::new("/"), "self")
    }

    /// The same of the process with this number, or of `self`, on the system below `root`.
    ///
    /// # Errors
    /// As [`of_this_process`](Self::of_this_process).
    pub fn read(root: &Path, process: &str) -> Result<Self, AllowanceError> {
        let process = root.join("proc").join(process);
        let status =
            fs::read_to_string(process.join("status")).map_err(AllowanceError::Unreadable)?;
        let mask = mask_in_status(&status)?;
        Ok(Self { mask, quota: quota_of(root, &process) })
    }
}

/// Why the mask of the process is not known.
#[derive(Debug)]
#[non_exhaustive]
pub enum AllowanceError {
    /// The process's `status` in `/proc` cannot be read.
    Unreadable(io::Error),
    /// It has no line `Cpus_allowed_list`.
    NoMask,
    /// That line is not a CPU list.
    BadMask(CpuSetError),
}

impl fmt::Display for AllowanceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(_) => write!(f, "/proc/self/status cannot be read; is /proc mounted?"),
            Self::NoMask => write!(f, "/proc/self/status has no line Cpus_allowed_list"),
            Self::BadMask(_) => write!(f, "Cpus_allowed_list in /proc/self/status is no CPU list"),
        }
    }
}

impl Error for AllowanceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unreadable(error) => Some(error),
            Self::BadMask(error) => Some(error),
            Self::NoMask => None,
        }
    }
}

fn mask_in_status(status: &str) -> Result<CpuSet, AllowanceError> {
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .ok_or(AllowanceError::NoMask)?;
    list.parse().map_err(AllowanceError::BadMask)
}

fn quota_of(root: &Path, process: &Path) -> Option<CpuQuota> {
    let cgroup = fs::read_to_string(process.join("cgroup")).ok()?;
    let mounts = fs::read_to_string(process.join("mountinfo")).ok()?;
    let (mount, mounted) = cgroup2_mount(&mounts)?;
    let mount = root.join(mount.strip_prefix("/").unwrap_or(&mount));
    smallest_quota(&mount, &below_mount(cgroup2_path(&cgroup)?, &mounted))
}

/// The path of the process in the unified hierarchy: the line of `/proc/self/cgroup` that begins
/// with `0::`.
fn cgroup2_path(cgroup: &str) -> Option<&str> {
    cgroup.lines().find_map(|line| line.strip_prefix("0::"))
}

/// Mount point of the unified hierarchy and the cgroup that is mounted there (fields 5 and 4 of
/// proc_pid_mountinfo(5)).
fn cgroup2_mount(mounts: &str) -> Option<(PathBuf, String)> {
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        if !kind.starts_with("cgroup2 ") {
            return None;
        }
        let mut fields = place.split(' ').skip(3);
        let root = fields.next()?;
        let mount = fields.next()?;
        Some((PathBuf::from(mount), root.to_owned()))
    })
}

/// The part of the cgroup's path below the mount; empty where the path leaves it (`/..`, seen
/// from within a cgroup namespace), because then only the mount itself can be read.
fn below_mount(path: &str, root: &str) -> PathBuf {
    let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
    let below = below.strip_prefix("/").unwrap_or(below);
    match below.components().all(|part| matches!(part, Component::Normal(_))) {
        true => below.to_owned(),
        false => PathBuf::new(),
    }
}

/// The smallest quota from the cgroup up to the mount: each level bounds those below it.
fn smallest_quota(mount: &Path, below: &Path) -> Option<CpuQuota> {
    below
        .ancestors()
        .filter_map(|level| fs::read_to_string(mount.join(level).join("cpu.max")).ok())
        .filter_map(|text| CpuQuota::parse(&text))
        .min_by_key(CpuQuota::milli_cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_is_the_line_of_the_status_file() {
        let status = "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t0-5,7\nMems_allowed:\t1\n";
        assert_eq!(mask_in_status(status).unwrap().to_string(), "0-5,7");
        assert!(matches!(mask_in_status("Name:\tx\n"), Err(AllowanceError::NoMask)));
        let bad = "Cpus_allowed_list:\t0-\n";
        assert!(matches!(mask_in_status(bad), Err(AllowanceError::BadMask(_))));
    }

    #[test]
    fn quotas_are_thousandths_of_a_cpu() {
        let quota = CpuQuota::parse("250000 100000\n").unwrap();
        assert_eq!(quota.milli_cpus(), 2_500);
        assert_eq!(CpuQuota::parse("max 100000\n"), None);
        assert_eq!(CpuQuota::parse("5 0\n"), None);
        assert_eq!(CpuQuota::parse(""), None);
        let most = CpuQuota { quota_us: u64::MAX, period_us: 1 };
        assert_eq!(most.milli_cpus(), u64::MAX);
    }

    #[test]
    fn the_unified_hierarchy_is_found_in_the_mounts() {
        let mounts = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      41 31 0:38 /box /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let (mount, root) = cgroup2_mount(mounts).unwrap();
        assert_eq!(mount, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(below_mount("/box/service", &root), Path::new("service"));
        assert_eq!(below_mount("/elsewhere", &root), Path::new(""));
        assert_eq!(below_mount("/../escape", "/"), Path::new(""));
        assert_eq!(below_mount("/", "/"), Path::new(""));
        assert_eq!(cgroup2_path("9:cpu:/x\n0::/box/service\n"), Some("/box/service"));
    }

    #[test]
    fn the_smallest_quota_on_the_way_up_counts() {
        let mount = std::env::temp_dir().join(format!("deltaworks-quota-{}", std::process::id()));
        let leaf = mount.join("slice/service");
        fs::create_dir_all(&leaf).unwrap();
        assert_eq!(smallest_quota(&mount, Path::new("slice/service")), None);
        fs::write(leaf.join("cpu.max"), "max 100000\n").unwrap();
        fs::write(mount.join("slice/cpu.max"), "150000 50000\n").unwrap();
        let seen = smallest_quota(&mount, Path::new("slice/service")).unwrap();
        assert_eq!(seen.milli_cpus(), 3_000);
        fs::write(leaf.join("cpu.max"), "50000 100000\n").unwrap();
        let seen = smallest_quota(&mount, Path::new("slice/service")).unwrap();
        assert_eq!(seen.milli_cpus(), 500);
        fs::remove_dir_all(&mount).unwrap();
    }
}
