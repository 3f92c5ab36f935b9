//! The kernel: its version, io_uring, its clock, and what it runs on.

use super::finding::{Finding, Setting};
use super::host::{Host, Tried, Unread};

/// The oldest kernel that the executor starts on.
const VERSION_MIN: (u64, u64) = (5, 8);
/// The oldest that is worth running: since then, a ring's memory is not counted as locked, and idle
/// polling costs less.
const VERSION_WANTED: (u64, u64) = (6, 1);
/// Clocks that are read without a system call.
const FAST_CLOCKS: [&str; 5] =
    ["tsc", "arch_sys_counter", "kvm-clock", "hyperv_clocksource_tsc_page", "riscv_clocksource"];
/// Stolen CPU time in hundredths of a per cent since boot that is worth a word.
const STEAL_MAX: u64 = 100;

const VERSION: Setting = Setting {
    name: "kernel",
    wanted: "6.1 or newer, 5.8 at least",
    why: "the executor needs the io_uring of 5.8; later ones count its memory apart and wake faster",
    without: "below 5.8 it does not start",
    now: "",
    lasting: "install a newer kernel of the distribution and boot it",
};

/// The kernel's version.
pub fn version(host: &Host) -> Finding {
    VERSION.judge(host.read("proc/sys/kernel/osrelease"), |release| {
        let mut numbers = release.split(|char: char| !char.is_ascii_digit()).map(str::parse::<u64>);
        let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
            return VERSION.unknown(format!("{release:?} is no version"));
        };
        match (major, minor) {
            found if found < VERSION_MIN => VERSION.problem(release),
            found if found < VERSION_WANTED => VERSION.advice(release),
            _ => VERSION.ok(release),
        }
    })
}

const IO_URING: Setting = Setting {
    name: "io_uring",
    wanted: "allowed: kernel.io_uring_disabled = 0, and no seccomp profile against it",
    why: "each core waits for sockets and doorbells through a ring",
    without: "it does not start",
    now: "sysctl -w kernel.io_uring_disabled=0",
    lasting: "echo 'kernel.io_uring_disabled = 0' > /etc/sysctl.d/60-deltaworks.conf; in a \
              container, a seccomp profile that allows io_uring_setup, _enter and _register",
};

/// Whether the kernel gives rings: what trying says, and what the switch says.
pub fn io_uring(host: &Host) -> Finding {
    // Kernels before 6.6 have no switch.
    let switch = match host.read("proc/sys/kernel/io_uring_disabled") {
        Ok(text) => Some(text.trim().to_owned()),
        Err(Unread::Missing(_)) => None,
        Err(why) => return IO_URING.unknown(why),
    };
    let said = match &switch {
        Some(value) => format!("kernel.io_uring_disabled = {value}"),
        None => "this kernel has no switch for it".to_owned(),
    };
    match (&host.ring, switch.as_deref()) {
        (Tried::Works(seen), _) => IO_URING.ok(format!("{seen}; {said}")),
        (Tried::Fails(why), _) => IO_URING.problem(format!("no ring ({why}); {said}")),
        (Tried::Not, Some("1" | "2")) => IO_URING.problem(said),
        (Tried::Not, Some("0")) => IO_URING.ok(format!("{said}; not tried")),
        (Tried::Not, _) => IO_URING.unknown(format!("{said}; not tried")),
    }
}

const CLOCK_SOURCE: Setting = Setting {
    name: "clock source",
    wanted: "one that is read without a system call, such as tsc",
    why: "every turn of every core reads the clock once",
    without: "each reading costs a system call or a read of a slow device, up to microseconds",
    now: "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource",
    lasting: "clocksource=tsc on the kernel's command line, where tsc is among the available",
};

/// The clock that the kernel uses.
pub fn clock_source(host: &Host) -> Finding {
    let folder = "sys/devices/system/clocksource/clocksource0";
    CLOCK_SOURCE.judge(host.read(&format!("{folder}/current_clocksource")), |current| {
        if FAST_CLOCKS.contains(&current) {
            return CLOCK_SOURCE.ok(current);
        }
        let available = host.read(&format!("{folder}/available_clocksource"));
        let available = available.unwrap_or_default();
        CLOCK_SOURCE.advice(format!("{current} (available: {})", available.trim()))
    })
}

const VIRTUALISATION: Setting = Setting {
    name: "virtualisation",
    wanted: "none, or a guest whose CPUs the host pins and does not share",
    why: "a guest sees no real caches and nodes unless its host shows them",
    without: "placement follows what the host shows; figures vary with the neighbours",
    now: "",
    lasting: "on the host: pin the guest's CPUs (vcpupin), show its topology, back it by huge pages",
};

/// Whether this is a guest: told, and never a fault by itself.
pub fn virtualisation(host: &Host) -> Finding {
    let vendor = host.read("sys/class/dmi/id/sys_vendor").map(|text| text.trim().to_owned());
    let vendor = vendor.map(|vendor| format!(", {vendor}")).unwrap_or_default();
    VIRTUALISATION.judge(host.read("proc/cpuinfo"), |cpuinfo| {
        let is_guest = cpuinfo
            .lines()
            .filter(|line| line.starts_with("flags") || line.starts_with("Features"))
            .any(|line| line.split_ascii_whitespace().any(|flag| flag == "hypervisor"));
        match is_guest {
            true => VIRTUALISATION.ok(format!("a guest{vendor}")),
            false => VIRTUALISATION.ok(format!("no hypervisor is announced{vendor}")),
        }
    })
}

const STEAL: Setting = Setting {
    name: "stolen CPU time",
    wanted: "below 1 %",
    why: "a core that its host takes away stands still with everything on its rings",
    without: "latency has gaps that no setting in this guest removes",
    now: "",
    lasting: "on the host: fewer guests a CPU, or CPUs of this guest's own",
};

/// CPU time that the host gave to others although this guest wanted it, since boot.
pub fn steal(host: &Host) -> Finding {
    STEAL.judge(host.read("proc/stat"), |stat| {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "));
        let fields: Vec<u64> = line
            .unwrap_or_default()
            .split_ascii_whitespace()
            .filter_map(|field| field.parse().ok())
            .collect();
        // user, nice, system, idle, iowait, irq, softirq, steal: proc_stat(5).
        let (Some(&stolen), total) = (fields.get(7), fields.iter().take(8).sum::<u64>()) else {
            return STEAL.unknown("/proc/stat has no eighth field in its line cpu");
        };
        let share = stolen.saturating_mul(10_000) / total.max(1);
        let value = format!("{}.{:02} % since boot", share / 100, share % 100);
        if share > STEAL_MAX { STEAL.advice(value) } else { STEAL.ok(value) }
    })
}
