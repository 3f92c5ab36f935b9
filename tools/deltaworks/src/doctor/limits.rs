//! What the system lets the process have: locked memory, descriptors, threads.

use super::finding::{Finding, Setting};
use super::host::Host;

/// Locked bytes that the executor asks for before it starts a core.
const LOCKED_BYTES_PER_CORE: u64 = 512 << 10;
/// The number of CAP_IPC_LOCK in linux/capability.h.
const CAP_IPC_LOCK: u32 = 14;
/// Descriptors with which nothing starts: sockets, rings and doorbells of a few cores.
const OPEN_FILES_MIN: u64 = 64;
/// Descriptors for as many sessions as a daemon of the default budget takes.
const OPEN_FILES_WANTED: u64 = 65_536;
/// Threads beside the cores: signals, housekeeping, the executor's own.
const THREADS_BESIDE: u64 = 8;

const LOCKED_MEMORY: Setting = Setting {
    name: "locked memory",
    wanted: "unlimited, or 512 KiB a core and the budget",
    why: "rings lie in locked memory on older kernels, and chunks are locked so that none is swapped out",
    without: "below 512 KiB it does not start; below the budget chunks are not locked",
    now: "ulimit -l unlimited",
    lasting: "LimitMEMLOCK=infinity in the unit (the packaged one has it), or a line in \
              /etc/security/limits.d for shells",
};

/// The limit on locked memory against what cores and chunks need.
pub fn locked_memory(host: &Host) -> Finding {
    let limit = match host.limit("Max locked memory") {
        Ok(limit) => limit,
        Err(why) => return LOCKED_MEMORY.unknown(why),
    };
    let whose = host.whose();
    let Some(soft) = limit.soft else {
        return LOCKED_MEMORY.ok(format!("unlimited ({whose})"));
    };
    let needed = host.cores() * LOCKED_BYTES_PER_CORE + host.budget_bytes();
    let value = format!(
        "{} KiB, {} KiB needed for {} cores and the budget ({whose})",
        soft >> 10,
        needed >> 10,
        host.cores()
    );
    if soft < LOCKED_BYTES_PER_CORE {
        // The executor looks at the limit, whatever the process may do beyond it.
        LOCKED_MEMORY.problem(value)
    } else if soft >= needed {
        LOCKED_MEMORY.ok(value)
    } else if host.has_capability(CAP_IPC_LOCK) {
        LOCKED_MEMORY.ok(format!("{value}; CAP_IPC_LOCK lifts the limit"))
    } else {
        LOCKED_MEMORY.advice(value)
    }
}

const OPEN_FILES: Setting = Setting {
    name: "open files",
    wanted: "65,536 at least: one a session, and some for each core",
    why: "each session is a descriptor",
    without: "connections beyond it wait until others end",
    now: "ulimit -n 524288",
    lasting: "LimitNOFILE=524288 in the unit, or a line in /etc/security/limits.d for shells",
};

/// The limit on descriptors.
pub fn open_files(host: &Host) -> Finding {
    let limit = match host.limit("Max open files") {
        Ok(limit) => limit,
        Err(why) => return OPEN_FILES.unknown(why),
    };
    let Some(soft) = limit.soft else { return OPEN_FILES.ok("unlimited") };
    let hard = limit.hard.map_or_else(|| "no limit".to_owned(), |hard| hard.to_string());
    let value = format!("{soft}, may be raised to {hard} ({})", host.whose());
    match soft {
        0..OPEN_FILES_MIN => OPEN_FILES.problem(value),
        OPEN_FILES_MIN..OPEN_FILES_WANTED => OPEN_FILES.advice(value),
        _ => OPEN_FILES.ok(value),
    }
}

const PROCESSES: Setting = Setting {
    name: "threads",
    wanted: "a thread a core and eight more, for all processes of the user together",
    why: "each core is a pinned thread",
    without: "a core that gets no thread keeps the daemon from starting",
    now: "ulimit -u 4096",
    lasting: "LimitNPROC=infinity and TasksMax=infinity in the unit, or a line in \
              /etc/security/limits.d",
};

/// The limit on threads of the user.
pub fn processes(host: &Host) -> Finding {
    let limit = match host.limit("Max processes") {
        Ok(limit) => limit,
        Err(why) => return PROCESSES.unknown(why),
    };
    let Some(soft) = limit.soft else { return PROCESSES.ok("unlimited") };
    let needed = host.cores() + THREADS_BESIDE;
    let value = format!("{soft}, {needed} needed ({})", host.whose());
    // What other processes of the user have is counted, too.
    match soft {
        _ if soft < needed => PROCESSES.problem(value),
        _ if soft < 8 * needed => PROCESSES.advice(value),
        _ => PROCESSES.ok(value),
    }
}
