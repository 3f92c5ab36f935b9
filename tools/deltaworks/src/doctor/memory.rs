//! Memory: how much there is, huge pages of both kinds, balancing among nodes, swapping.

use super::finding::{Finding, Setting};
use super::host::{Host, Unread};

/// Bytes of a huge page as chunks want them.
const HUGE_PAGE_BYTES: u64 = 2 << 20;
/// The highest swappiness with which the kernel swaps only in need.
const SWAPPINESS_MAX: u64 = 10;

const AVAILABLE: Setting = Setting {
    name: "memory",
    wanted: "more available than the budget of the daemon",
    why: "chunk memory is made present while the daemon begins to serve",
    without: "it runs with less memory present, and the kernel may end it under load",
    now: "",
    lasting: "budget_mib in deltaworksd.toml, or --budget-mib",
};

/// Available memory against the budget.
pub fn available(host: &Host) -> Finding {
    AVAILABLE.judge(host.read("proc/meminfo"), |meminfo| {
        let (Some(total), Some(available)) =
            (meminfo_bytes(meminfo, "MemTotal:"), meminfo_bytes(meminfo, "MemAvailable:"))
        else {
            return AVAILABLE.unknown("/proc/meminfo has no MemTotal and MemAvailable");
        };
        let budget = host.budget_bytes();
        let value = format!(
            "{} MiB of {} MiB available, the budget is {} MiB",
            available >> 20,
            total >> 20,
            budget >> 20
        );
        // What a running daemon has made present is not available any more, and need not be.
        let is_enough = match host.daemon() {
            Some(_) => total > budget,
            None => available > budget,
        };
        if is_enough { AVAILABLE.ok(value) } else { AVAILABLE.advice(value) }
    })
}

const RESERVED: Setting = Setting {
    name: "reserved huge pages",
    wanted: "as many pages of 2 MiB as the chunks fill, at most the budget",
    why: "one entry of the TLB reaches 2 MiB of chunks instead of 4 KiB",
    without: "transparent huge pages are asked for instead",
    now: "",
    lasting: "",
};

/// Huge pages that are set aside for programs.
pub fn reserved_huge_pages(host: &Host) -> Finding {
    let pages = match host.number("proc/sys/vm/nr_hugepages") {
        Ok(pages) => pages,
        Err(Unread::Missing(_)) => return RESERVED.advice("this kernel has no huge pages"),
        Err(why) => return RESERVED.unknown(why),
    };
    let wanted = host.budget_bytes().div_ceil(HUGE_PAGE_BYTES);
    let free = host.read("proc/meminfo").ok().and_then(|meminfo| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix("HugePages_Free:"))?;
        line.trim().parse::<u64>().ok()
    });
    let free = free.map(|free| format!(", {free} free")).unwrap_or_default();
    let value = format!("{pages} pages{free}; the whole budget is {wanted}");
    let is_enough = pages >= wanted;
    let finding = if is_enough { RESERVED.ok(value) } else { RESERVED.advice(value) };
    finding.with_now(format!("sysctl -w vm.nr_hugepages={wanted}")).with_lasting(format!(
        "echo 'vm.nr_hugepages = {wanted}' > /etc/sysctl.d/61-deltaworks.conf"
    ))
}

const TRANSPARENT: Setting = Setting {
    name: "transparent huge pages",
    wanted: "madvise or always",
    why: "chunks ask for them where no huge pages are reserved",
    without: "chunks lie in pages of 4 KiB",
    now: "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
    lasting: "transparent_hugepage=madvise on the kernel's command line",
};

/// Whether memory that asks for huge pages gets them.
pub fn transparent_huge_pages(host: &Host) -> Finding {
    let file = "sys/kernel/mm/transparent_hugepage/enabled";
    TRANSPARENT.judge(host.read(file), |text| match chosen(text) {
        Some(mode @ ("madvise" | "always")) => TRANSPARENT.ok(mode),
        Some(mode) => TRANSPARENT.advice(mode),
        None => TRANSPARENT.unknown(format!("/{file} says {text:?}")),
    })
}

const DEFRAGMENTATION: Setting = Setting {
    name: "huge page defragmentation",
    wanted: "madvise or defer+madvise",
    why: "chunks may wait for the kernel to make huge pages; other memory should not",
    without: "with never or defer chunks may begin in small pages; with always all programs stall",
    now: "echo madvise > /sys/kernel/mm/transparent_hugepage/defrag",
    lasting: "echo 'w /sys/kernel/mm/transparent_hugepage/defrag - - - - madvise' > \
              /etc/tmpfiles.d/deltaworks-thp.conf",
};

/// Whether memory that asks for huge pages waits for them to be made.
pub fn defragmentation(host: &Host) -> Finding {
    let file = "sys/kernel/mm/transparent_hugepage/defrag";
    DEFRAGMENTATION.judge(host.read(file), |text| match chosen(text) {
        Some(mode @ ("madvise" | "defer+madvise")) => DEFRAGMENTATION.ok(mode),
        Some(mode) => DEFRAGMENTATION.advice(mode),
        None => DEFRAGMENTATION.unknown(format!("/{file} says {text:?}")),
    })
}

const BALANCING: Setting = Setting {
    name: "NUMA balancing",
    wanted: "off on machines of several nodes",
    why: "memory is bound to its core's node already; the balancer takes pages away to see who uses them",
    without: "faults in the middle of turns",
    now: "sysctl -w kernel.numa_balancing=0",
    lasting: "echo 'kernel.numa_balancing = 0' > /etc/sysctl.d/62-deltaworks.conf",
};

/// Whether the kernel moves pages among nodes by itself.
pub fn numa_balancing(host: &Host) -> Finding {
    let nodes = host.nodes();
    match host.number("proc/sys/kernel/numa_balancing") {
        Ok(0) => BALANCING.ok(format!("off; NUMA nodes: {nodes}")),
        Ok(_) if nodes < 2 => BALANCING.ok("on, but there is one NUMA node"),
        Ok(mode) => BALANCING.advice(format!("{mode}; NUMA nodes: {nodes}")),
        Err(Unread::Missing(_)) => BALANCING.ok(format!("not in this kernel; NUMA nodes: {nodes}")),
        Err(why) => BALANCING.unknown(why),
    }
}

const SWAP: Setting = Setting {
    name: "swap",
    wanted: "none, or vm.swappiness at most 10",
    why: "what is read from a disk in the middle of a turn stops a core for milliseconds",
    without: "memory that is not locked may be swapped out while it is idle",
    now: "sysctl -w vm.swappiness=1",
    lasting: "echo 'vm.swappiness = 1' > /etc/sysctl.d/63-deltaworks.conf, or MemorySwapMax=0 in the \
              unit",
};

/// Whether there is something to swap to, and how readily.
pub fn swap(host: &Host) -> Finding {
    let places = match host.read("proc/swaps") {
        Ok(text) => text.lines().skip(1).filter(|line| !line.trim().is_empty()).count(),
        Err(Unread::Missing(_)) => return SWAP.ok("not in this kernel"),
        Err(why) => return SWAP.unknown(why),
    };
    if places == 0 {
        return SWAP.ok("none");
    }
    match host.number("proc/sys/vm/swappiness") {
        Ok(value @ 0..=SWAPPINESS_MAX) => SWAP.ok(format!("{places}, swappiness {value}")),
        Ok(value) => SWAP.advice(format!("{places}, swappiness {value}")),
        Err(why) => SWAP.unknown(why),
    }
}

/// The word in brackets.
fn chosen(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(word, _)| word)
}

fn meminfo_bytes(meminfo: &str, label: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(label))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
