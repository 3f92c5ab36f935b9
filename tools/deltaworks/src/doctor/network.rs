//! The network: where interrupts are served, polling, backlog and buffers.

use deltaworks_runtime::topology::CpuSet;

use super::finding::{Finding, Setting};
use super::host::{Host, Unread};

/// CPUs below which interrupts have no CPU of their own.
const CPUS_TO_SET_APART: usize = 4;
/// A listener's backlog that takes a storm of reconnecting sessions.
const BACKLOG_WANTED: u64 = 1_024;
/// The largest buffer of a socket that a distant, fast reader fills: 100 ms at 320 Mbit/s.
const BUFFER_BYTES_WANTED: u64 = 4 << 20;

const INTERRUPTS: Setting = Setting {
    name: "NIC interrupts",
    wanted: "on CPUs that the daemon's cores do not use, of the same node",
    why: "an interrupt takes its CPU away from the core that is pinned there",
    without: "turns are interrupted while packets come",
    now: "echo LIST > /proc/irq/NUMBER/smp_affinity_list",
    lasting: "IRQBALANCE_BANNED_CPULIST=LIST in /etc/default/irqbalance, or a unit that runs this at boot",
};

/// CPUs that serve the interrupts of network devices, against the daemon's.
pub fn interrupts(host: &Host) -> Finding {
    let devices = host.network_devices();
    if devices.is_empty() {
        return INTERRUPTS.ok("no network device, only virtual interfaces");
    }
    let interrupts = match host.read("proc/interrupts") {
        Ok(interrupts) => interrupts,
        Err(why) => return INTERRUPTS.unknown(why),
    };
    let numbers: Vec<u64> =
        devices.iter().flat_map(|name| interrupts_of(host, name, &interrupts)).collect();
    if numbers.is_empty() {
        return INTERRUPTS
            .unknown(format!("/proc/interrupts names none of {}", devices.join(", ")));
    }
    let mut serving = CpuSet::new();
    for number in &numbers {
        let effective = host.list(&format!("proc/irq/{number}/effective_affinity_list"));
        let list = match effective {
            Ok(list) if !list.is_empty() => Ok(list),
            _ => host.list(&format!("proc/irq/{number}/smp_affinity_list")),
        };
        match list {
            Ok(list) => {
                for cpu in list.iter() {
                    serving.insert(cpu);
                }
            }
            Err(why) => return INTERRUPTS.unknown(why),
        }
    }
    let data = host.data_cpus();
    let value = format!(
        "{} interrupts of {} on CPUs {serving}; the daemon's are {data}",
        numbers.len(),
        devices.join(", ")
    );
    let online = host.list("sys/devices/system/cpu/online").map_or(0, |online| online.len());
    if !serving.iter().any(|cpu| data.contains(cpu)) {
        INTERRUPTS.ok(value)
    } else if online < CPUS_TO_SET_APART {
        INTERRUPTS.ok(format!("{value}; too few CPUs to set some apart"))
    } else {
        INTERRUPTS.advice(value)
    }
}

/// Numbers of the interrupts whose names begin with the interface's or its device's.
fn interrupts_of(host: &Host, interface: &str, interrupts: &str) -> Vec<u64> {
    let device = host.link_name(&format!("sys/class/net/{interface}/device"));
    let is_own = |name: &str| {
        let begins = |with: &str| {
            name.strip_prefix(with)
                .is_some_and(|rest| !rest.starts_with(|char: char| char.is_ascii_alphanumeric()))
        };
        begins(interface) || device.as_deref().is_some_and(begins)
    };
    interrupts
        .lines()
        .filter(|line| line.split_ascii_whitespace().last().is_some_and(is_own))
        .filter_map(|line| line.trim_start().split_once(':')?.0.parse().ok())
        .collect()
}

const BALANCER: Setting = Setting {
    name: "irqbalance",
    wanted: "not running, or kept off the daemon's CPUs",
    why: "it moves interrupts onto whichever CPU looks idle, as a parked core does",
    without: "interrupts wander onto the cores of the data path",
    now: "systemctl stop irqbalance",
    lasting: "systemctl disable irqbalance, or IRQBALANCE_BANNED_CPULIST= in /etc/default/irqbalance",
};

/// Whether the balancer runs.
pub fn interrupt_balancer(host: &Host) -> Finding {
    let mut processes = host.names("proc");
    processes.retain(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    if processes.is_empty() {
        return BALANCER.unknown("no process can be seen in /proc");
    }
    let runs = processes.iter().any(|process| {
        host.read(&format!("proc/{process}/comm")).is_ok_and(|name| name.trim() == "irqbalance")
    });
    if runs { BALANCER.advice("running") } else { BALANCER.ok("not running") }
}

const BUSY_POLL: Setting = Setting {
    name: "busy polling",
    wanted: "net.core.busy_read of some 50 µs where packets come from a network device",
    why: "a reader that polls the device's queue spares the interrupt",
    without: "each wake from the network costs an interrupt, some microseconds",
    now: "sysctl -w net.core.busy_read=50 net.core.busy_poll=50",
    lasting: "printf 'net.core.busy_read = 50\\nnet.core.busy_poll = 50\\n' > \
              /etc/sysctl.d/64-deltaworks.conf",
};

/// How long reads poll the device before they sleep.
pub fn busy_poll(host: &Host) -> Finding {
    let [read, poll] =
        ["busy_read", "busy_poll"].map(|name| host.number(&format!("proc/sys/net/core/{name}")));
    let (read, poll) = match (read, poll) {
        (Ok(read), Ok(poll)) => (read, poll),
        (Err(Unread::Missing(_)), _) | (_, Err(Unread::Missing(_))) => {
            return BUSY_POLL.advice("not in this kernel");
        }
        (Err(why), _) | (_, Err(why)) => return BUSY_POLL.unknown(why),
    };
    let value = format!("busy_read {read} µs, busy_poll {poll} µs");
    match (read > 0, host.network_devices().is_empty()) {
        (true, _) => BUSY_POLL.ok(value),
        (false, true) => BUSY_POLL.ok(format!("{value}; no network device")),
        (false, false) => BUSY_POLL.advice(value),
    }
}

const BACKLOG: Setting = Setting {
    name: "listen backlog",
    wanted: "net.core.somaxconn of 1,024 at least",
    why: "connections that come faster than they are accepted wait there",
    without: "in a storm of connections some are tried again by their clients, a second later",
    now: "sysctl -w net.core.somaxconn=4096",
    lasting: "echo 'net.core.somaxconn = 4096' > /etc/sysctl.d/65-deltaworks.conf",
};

/// Connections that may wait to be accepted.
pub fn listen_backlog(host: &Host) -> Finding {
    match host.number("proc/sys/net/core/somaxconn") {
        Ok(value) if value >= BACKLOG_WANTED => BACKLOG.ok(value.to_string()),
        Ok(value) => BACKLOG.advice(value.to_string()),
        Err(why) => BACKLOG.unknown(why),
    }
}

const BUFFERS: Setting = Setting {
    name: "socket buffers",
    wanted: "at most 4 MiB or more in net.ipv4.tcp_rmem and tcp_wmem",
    why: "the kernel grows a socket's buffers up to it for readers that are far away",
    without: "distant subscribers get less than their line carries",
    now: "sysctl -w net.ipv4.tcp_rmem='4096 131072 6291456' net.ipv4.tcp_wmem='4096 16384 4194304'",
    lasting: "the same two lines in /etc/sysctl.d/66-deltaworks.conf",
};

/// The largest buffers that sockets grow to.
pub fn socket_buffers(host: &Host) -> Finding {
    let most = |name: &str| -> Result<u64, Unread> {
        let path = format!("proc/sys/net/ipv4/{name}");
        let text = host.read(&path)?;
        let most = text.split_ascii_whitespace().nth(2).and_then(|word| word.parse().ok());
        most.ok_or_else(|| Unread::Failed(path, format!("{:?}", text.trim())))
    };
    match (most("tcp_rmem"), most("tcp_wmem")) {
        (Ok(read), Ok(write)) => {
            let value = format!("read {} KiB, write {} KiB at most", read >> 10, write >> 10);
            match read.min(write) >= BUFFER_BYTES_WANTED {
                true => BUFFERS.ok(value),
                false => BUFFERS.advice(value),
            }
        }
        (Err(why), _) | (_, Err(why)) => BUFFERS.unknown(why),
    }
}
