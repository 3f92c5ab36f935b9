//! Processors: how they are made, which of them the daemon may use, and what slows them.

use super::finding::{Finding, Setting};
use super::host::{Host, Tried, Unread};

/// CPUs below which none is set apart: housekeeping and load need some, too.
const CPUS_TO_SET_APART: usize = 4;

const TOPOLOGY: Setting = Setting {
    name: "topology",
    wanted: "hwloc reads it",
    why: "agents are placed by caches, siblings and nodes",
    without: "there is no plan, so it does not start",
    now: "",
    lasting: "mount /sys, and in a unit leave ProtectKernelTunables and ProcSubset as packaged",
};

/// Whether the machine can be read by the library that the plan asks.
pub fn topology(host: &Host) -> Finding {
    match &host.topology {
        Tried::Works(seen) => TOPOLOGY.ok(seen),
        Tried::Fails(why) => TOPOLOGY.problem(why),
        Tried::Not => TOPOLOGY.unknown("not tried, because the root is another"),
    }
}

const MASK: Setting = Setting {
    name: "CPU mask",
    wanted: "all CPUs, or those that were meant for the daemon",
    why: "the plan uses the CPUs of the mask alone",
    without: "fewer cores; a daemon of one core does everything on it",
    now: "taskset -c 0-3 deltaworksd",
    lasting: "AllowedCPUs= or CPUAffinity= in the unit",
};

/// CPUs that the process may run on.
pub fn mask(host: &Host) -> Finding {
    let online = match host.list("sys/devices/system/cpu/online") {
        Ok(online) => online,
        Err(why) => return MASK.unknown(why),
    };
    match host.allowance() {
        Ok(allowance) => {
            let value = format!("{} of {online} ({})", allowance.mask, host.whose());
            match allowance.mask.len() < 2 && online.len() > 1 {
                true => MASK.advice(value),
                false => MASK.ok(value),
            }
        }
        Err(why) => MASK.unknown(why),
    }
}

const QUOTA: Setting = Setting {
    name: "CPU quota",
    wanted: "none, or a whole CPU for each core",
    why: "a cgroup that has used its time up is stopped until the next period, in the middle of turns",
    without: "the plan takes as many cores as the quota is worth, and all of them may stand still together",
    now: "",
    lasting: "CPUQuota= (empty) in the unit; in a container, no limit of CPU time but a set of CPUs",
};

/// CPU time that the cgroup grants.
pub fn quota(host: &Host) -> Finding {
    let allowance = match host.allowance() {
        Ok(allowance) => allowance,
        Err(why) => return QUOTA.unknown(why),
    };
    let Some(quota) = allowance.quota else { return QUOTA.ok("none") };
    let milli = quota.milli_cpus();
    let value = format!("{}.{:03} CPUs ({})", milli / 1_000, milli % 1_000, host.whose());
    if milli < host.cores() * 1_000 { QUOTA.advice(value) } else { QUOTA.ok(value) }
}

const SIBLINGS: Setting = Setting {
    name: "SMT siblings",
    wanted: "off, or left idle by others",
    why: "two threads of one core share its caches and units",
    without: "the plan gives whole cores first; what runs on the siblings still costs latency",
    now: "echo off > /sys/devices/system/cpu/smt/control",
    lasting: "nosmt on the kernel's command line",
};

/// Whether CPUs are threads that share a core.
pub fn siblings(host: &Host) -> Finding {
    let active = match host.read("sys/devices/system/cpu/smt/active") {
        Ok(active) => active,
        Err(Unread::Missing(_)) => return SIBLINGS.ok("none that the kernel knows of"),
        Err(why) => return SIBLINGS.unknown(why),
    };
    let control = host.read("sys/devices/system/cpu/smt/control").unwrap_or_default();
    let control = control.trim();
    match active.trim() {
        "0" => SIBLINGS.ok(format!("none at work (control: {control})")),
        "1" => SIBLINGS.advice(format!("at work (control: {control})")),
        other => SIBLINGS.unknown(format!("active says {other:?}")),
    }
}

const ISOLATION: Setting = Setting {
    name: "isolated CPUs",
    wanted: "on machines of four CPUs or more, the daemon's CPUs isolated and without ticks",
    why: "the scheduler puts other threads, and timer ticks, on the cores of the data path",
    without: "latency has a longer tail",
    now: "",
    lasting: "isolcpus=managed_irq,domain,LIST nohz_full=LIST on the kernel's command line, and \
              CPUAffinity=LIST in the unit",
};

/// CPUs that the scheduler leaves to those who ask for them.
pub fn isolation(host: &Host) -> Finding {
    let isolated = match host.list("sys/devices/system/cpu/isolated") {
        Ok(isolated) => isolated,
        Err(why) => return ISOLATION.unknown(why),
    };
    // A kernel without the feature has no such file.
    let tickless = match host.list("sys/devices/system/cpu/nohz_full") {
        Ok(cpus) if cpus.is_empty() => "none".to_owned(),
        Ok(cpus) => cpus.to_string(),
        Err(Unread::Missing(_)) => "not in this kernel".to_owned(),
        Err(why) => why.to_string(),
    };
    let online = host.list("sys/devices/system/cpu/online").map_or(0, |online| online.len());
    match (isolated.is_empty(), online < CPUS_TO_SET_APART) {
        (false, _) => ISOLATION.ok(format!("{isolated}; without ticks: {tickless}")),
        (true, true) => ISOLATION.ok(format!("none; {online} CPUs are too few to set some apart")),
        (true, false) => ISOLATION.advice(format!("none; without ticks: {tickless}")),
    }
}

const GOVERNOR: Setting = Setting {
    name: "CPU governor",
    wanted: "performance",
    why: "cores that wait for a doorbell look idle, and wake at a low frequency",
    without: "the first batches after a pause are slower",
    now: "cpupower frequency-set -g performance",
    lasting: "a unit that runs this at boot, or the profile latency-performance of tuned",
};

/// The governor of each CPU's frequency.
pub fn governor(host: &Host) -> Finding {
    let mut governors = Vec::new();
    for cpu in host.data_cpus().iter() {
        let file = format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
        match host.read(&file) {
            Ok(governor) => governors.push(governor.trim().to_owned()),
            Err(Unread::Missing(_)) => {}
            Err(why) => return GOVERNOR.unknown(why),
        }
    }
    governors.sort();
    governors.dedup();
    match governors.as_slice() {
        [] => GOVERNOR.ok("the kernel does not govern the frequency here"),
        [one] if one == "performance" => GOVERNOR.ok(one),
        several => GOVERNOR.advice(several.join(", ")),
    }
}
