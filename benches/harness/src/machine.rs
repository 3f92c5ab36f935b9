//! What the samples were taken on: hardware, kernel, settings that change speed, commit and compiler.
//!
//! Read from files and from programs that every builder has; what cannot be read is told as unknown,
//! never guessed.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// What cannot be read.
pub const UNKNOWN: &str = "unknown";

/// The machine and the build.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// When the run began, in seconds since 1970.
    pub began_unix_s: u64,
    /// The same as a date.
    pub date: String,
    /// The CPU's name.
    pub cpu: String,
    /// CPUs that are on.
    pub cpus: usize,
    /// Caches of the first CPU, smallest first.
    pub caches: String,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Whether it is a guest, and of what.
    pub hypervisor: String,
    /// The kernel's release.
    pub kernel: String,
    /// Who chooses the frequency.
    pub governor: String,
    /// When large pages are used.
    pub huge_pages: String,
    /// The commit.
    pub commit: String,
    /// Files differ from it.
    pub is_changed: bool,
    /// The compiler.
    pub rustc: String,
    /// How the programs were built.
    pub flags: String,
    /// Threads that wanted to run when the run began.
    pub load_began: f64,
    /// And when it ended.
    pub load_ended: f64,
    /// Time that the host gave to others, as a share of all CPU time of the run.
    pub stolen_share: f64,
    /// The limit of locked memory, which io_uring and huge pages meet.
    pub memlock: String,
}

impl Machine {
    /// This machine, and the build of `workspace`.
    pub fn here(workspace: &Path) -> Self {
        let cpuinfo = text("/proc/cpuinfo");
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let is_guest = field("flags").is_some_and(|flags| flags.contains(" hypervisor"));
        let vendor = text("/sys/class/dmi/id/sys_vendor");
        let began_unix_s =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self {
            began_unix_s,
            date: date_of(began_unix_s),
            cpu: field("model name").unwrap_or_else(|| UNKNOWN.to_owned()),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            caches: caches(),
            memory_mib: memory_mib(),
            hypervisor: match (is_guest, vendor.trim()) {
                (false, _) => "none seen".to_owned(),
                (true, "") => "a guest".to_owned(),
                (true, vendor) => format!("a guest of {vendor}"),
            },
            kernel: or_unknown(text("/proc/sys/kernel/osrelease")),
            governor: match text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").trim() {
                "" => "none told (the host's business)".to_owned(),
                governor => governor.to_owned(),
            },
            huge_pages: chosen(&text("/sys/kernel/mm/transparent_hugepage/enabled")),
            commit: or_unknown(told(workspace, "git", &["rev-parse", "HEAD"])),
            is_changed: !told(workspace, "git", &["status", "--porcelain"]).trim().is_empty(),
            rustc: or_unknown(told(workspace, "rustc", &["--version"])),
            flags: flags(),
            load_began: load(),
            load_ended: 0.0,
            stolen_share: 0.0,
            memlock: limit("Max locked memory"),
        }
    }

    /// The first figures of the commit, with a plus where files differ from it.
    pub fn commit_short(&self) -> String {
        let end = self.commit.len().min(9);
        format!("{}{}", &self.commit[..end], if self.is_changed { "+" } else { "" })
    }
}

/// Threads that want to run, averaged over a minute.
pub fn load() -> f64 {
    text("/proc/loadavg").split(' ').next().and_then(|it| it.parse().ok()).unwrap_or(0.0)
}

/// CPU time of the whole machine, and what of it the host gave to others; in ticks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ticks {
    all: u64,
    stolen: u64,
}

impl Ticks {
    /// Until now.
    pub fn now() -> Self {
        let stat = text("/proc/stat");
        let first = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = first.split_whitespace().skip(1).flat_map(str::parse).collect();
        // Guests' time is in user time already.
        Self { all: ticks.iter().take(8).sum(), stolen: ticks.get(7).copied().unwrap_or(0) }
    }

    /// The share that was stolen since `began`.
    pub fn stolen_share_since(self, began: Self) -> f64 {
        let all = self.all.saturating_sub(began.all).max(1);
        self.stolen.saturating_sub(began.stolen) as f64 / all as f64
    }
}

/// The day of a second since 1970, in the calendar that is used everywhere (by days of eras of 400
/// years that begin in March).
pub fn date_of(unix_s: u64) -> String {
    let days = unix_s / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let of_day = unix_s % 86_400;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", of_day / 3600, of_day / 60 % 60)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn or_unknown(text: String) -> String {
    match text.trim() {
        "" => UNKNOWN.to_owned(),
        text => text.to_owned(),
    }
}

fn told(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

/// What stands in brackets among choices.
fn chosen(text: &str) -> String {
    let inside = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inside.map_or_else(|| UNKNOWN.to_owned(), |(choice, _)| choice.to_owned())
}

fn caches() -> String {
    let of = |index: u32, file: &str| {
        text(&format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{file}")).trim().to_owned()
    };
    let all = (0..8).filter(|index| !of(*index, "size").is_empty());
    let all = all.filter(|index| of(*index, "type") != "Instruction");
    let all: Vec<String> =
        all.map(|index| format!("L{} {}", of(index, "level"), of(index, "size"))).collect();
    or_unknown(all.join(", "))
}

fn memory_mib() -> u64 {
    let meminfo = text("/proc/meminfo");
    let first = meminfo.lines().next().unwrap_or_default();
    first.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn limit(name: &str) -> String {
    let limits = text("/proc/self/limits");
    let line = limits.lines().find_map(|line| line.strip_prefix(name));
    or_unknown(line.and_then(|line| line.split_whitespace().next()).unwrap_or("").to_owned())
}

fn flags() -> String {
    let profile = if cfg!(debug_assertions) { "dev: figures mean nothing" } else { "release" };
    let features = [
        ("avx2", cfg!(target_feature = "avx2")),
        ("avx512f", cfg!(target_feature = "avx512f")),
        ("sse4.2", cfg!(target_feature = "sse4.2")),
    ];
    let features: Vec<&str> = features.iter().filter(|it| it.1).map(|it| it.0).collect();
    let features =
        if features.is_empty() { "the target's own".to_owned() } else { features.join(" ") };
    let rustflags = std::env::var("RUSTFLAGS").unwrap_or_default();
    let rustflags = if rustflags.is_empty() { "none" } else { &rustflags };
    format!("{profile}; CPU features compiled for: {features}; RUSTFLAGS: {rustflags}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(date_of(0), "1970-01-01 00:00 UTC");
        assert_eq!(date_of(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date_of(951_868_799), "2000-02-29 23:59 UTC");
        assert_eq!(date_of(1_795_824_000 + 3661), "2026-11-28 01:01 UTC");
    }

    #[test]
    fn this_machine_is_told() {
        let machine = Machine::here(Path::new(env!("CARGO_MANIFEST_DIR")));
        assert!(machine.cpus > 0 && machine.memory_mib > 0 && machine.kernel != UNKNOWN);
        assert!(machine.began_unix_s > 1_700_000_000);
        assert_eq!(chosen("always [madvise] never"), "madvise");
        let now = Ticks::now();
        assert!((0.0..=1.0).contains(&Ticks::now().stolen_share_since(now)));
    }
}
