//! The doctor on made-up hosts: one where all is well, and one planted fault for each of its checks.

mod folder;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use deltaworks::doctor::finding::{Finding, Status};
use deltaworks::doctor::host::{Host, Tried};
use deltaworks::doctor::{CHECKS, examine};
use deltaworks::status::{self, Core};
use folder::{Folder, deltaworks};
use serde_json::Value;

const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units     \n\
Max processes             96365                96365                processes \n\
Max open files            524288               524288               files     \n\
Max locked memory         unlimited            unlimited            bytes     \n";

const INTERRUPTS: &str = "
            CPU0  CPU1  CPU2  CPU3
  38:  0  6503  0  0  PCI-MSIX-0000:00:03.0  1-edge  virtio2-input.0
  39:  4758  0  0  0  PCI-MSIX-0000:00:03.0  2-edge  virtio2-output.0
  41:  2245  0  0  0  PCI-MSIX-0000:00:04.0  1-edge  virtio25-rx
 NMI:  0  0  0  0  Non-maskable interrupts\n";

/// A host of four CPUs, of which the process may use two, on which everything is as it should be.
const GOOD: [(&str, &str); 37] = [
    ("proc/sys/kernel/osrelease", "6.18.5-amd64\n"),
    ("proc/sys/kernel/io_uring_disabled", "0\n"),
    ("proc/self/limits", LIMITS),
    ("proc/self/status", "Name:\tx\nCapEff:\t0000000000000000\nCpus_allowed_list:\t2-3\n"),
    ("proc/self/cgroup", "0::/box\n"),
    ("proc/self/mountinfo", "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
    ("sys/fs/cgroup/box/cpu.max", "max 100000\n"),
    ("sys/devices/system/cpu/online", "0-3\n"),
    ("sys/devices/system/cpu/isolated", "2-3\n"),
    ("sys/devices/system/cpu/nohz_full", "2-3\n"),
    ("sys/devices/system/cpu/smt/active", "0\n"),
    ("sys/devices/system/cpu/smt/control", "off\n"),
    ("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "performance\n"),
    ("sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "performance\n"),
    ("sys/devices/system/node/has_memory", "0-1\n"),
    ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
    ("sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet\n"),
    ("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu sse2\n"),
    ("proc/stat", "cpu  100 0 100 9000 0 0 0 0 0 0\ncpu0 1 1 1 1\n"),
    ("proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable: 6000000 kB\nHugePages_Free: 128\n"),
    ("proc/sys/vm/nr_hugepages", "128\n"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
    ("sys/kernel/mm/transparent_hugepage/defrag", "always defer [defer+madvise] madvise never\n"),
    ("proc/sys/kernel/numa_balancing", "0\n"),
    ("proc/swaps", "Filename Type Size Used Priority\n"),
    ("proc/sys/vm/swappiness", "60\n"),
    ("proc/interrupts", INTERRUPTS),
    ("proc/irq/38/effective_affinity_list", "0\n"),
    ("proc/irq/39/effective_affinity_list", "\n"),
    ("proc/irq/39/smp_affinity_list", "0-1\n"),
    ("proc/irq/41/effective_affinity_list", "2\n"),
    ("proc/17/comm", "sshd\n"),
    ("proc/sys/net/core/busy_read", "50\n"),
    ("proc/sys/net/core/busy_poll", "50\n"),
    ("proc/sys/net/core/somaxconn", "4096\n"),
    ("proc/sys/net/ipv4/tcp_rmem", "4096 131072 6291456\n"),
    ("proc/sys/net/ipv4/tcp_wmem", "4096 16384 4194304\n"),
];

/// A planted fault: the check that must see it, its verdict, a word of the value, and the files.
type Planted = (&'static str, Status, &'static str, &'static [(&'static str, &'static str)]);

const PLANTED: [Planted; 39] = [
    ("kernel", Status::Problem, "5.4", &[("proc/sys/kernel/osrelease", "5.4.0-1\n")]),
    ("kernel", Status::Advice, "5.15", &[("proc/sys/kernel/osrelease", "5.15.2\n")]),
    ("kernel", Status::Unknown, "version", &[("proc/sys/kernel/osrelease", "rolling\n")]),
    ("io_uring", Status::Problem, "= 2", &[("proc/sys/kernel/io_uring_disabled", "2\n")]),
    (
        "locked memory",
        Status::Problem,
        "64 KiB",
        &[("proc/self/limits", "Max locked memory 65536 65536 bytes\n")],
    ),
    (
        "locked memory",
        Status::Advice,
        "263168 KiB needed",
        &[("proc/self/limits", "Max locked memory 8388608 8388608 bytes\n")],
    ),
    (
        "open files",
        Status::Problem,
        "32",
        &[("proc/self/limits", "Max open files 32 4096 files\n")],
    ),
    (
        "open files",
        Status::Advice,
        "1024",
        &[("proc/self/limits", "Max open files 1024 4096 files\n")],
    ),
    (
        "threads",
        Status::Problem,
        "4, 10 needed",
        &[("proc/self/limits", "Max processes 4 4 processes\n")],
    ),
    (
        "threads",
        Status::Advice,
        "40, 10 needed",
        &[("proc/self/limits", "Max processes 40 40 processes\n")],
    ),
    ("threads", Status::Unknown, "no line", &[("proc/self/limits", "\n")]),
    ("CPU mask", Status::Advice, "3 of 0-3", &[("proc/self/status", "Cpus_allowed_list:\t3\n")]),
    ("CPU mask", Status::Unknown, "Cpus_allowed", &[("proc/self/status", "Name:\tx\n")]),
    ("CPU quota", Status::Advice, "1.500 CPUs", &[("sys/fs/cgroup/cpu.max", "150000 100000\n")]),
    ("SMT siblings", Status::Advice, "at work", &[("sys/devices/system/cpu/smt/active", "1\n")]),
    ("isolated CPUs", Status::Advice, "none", &[("sys/devices/system/cpu/isolated", "\n")]),
    (
        "CPU governor",
        Status::Advice,
        "performance, powersave",
        &[("sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "powersave\n")],
    ),
    (
        "clock source",
        Status::Advice,
        "hpet (available: tsc hpet)",
        &[("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n")],
    ),
    ("stolen CPU time", Status::Advice, "9.80 %", &[("proc/stat", "cpu 1 0 1 900 0 0 18 100\n")]),
    ("stolen CPU time", Status::Unknown, "eighth", &[("proc/stat", "cpu 1 0 1 9000\n")]),
    (
        "memory",
        Status::Advice,
        "97 MiB",
        &[("proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable: 100000 kB\n")],
    ),
    ("memory", Status::Unknown, "MemTotal", &[("proc/meminfo", "MemFree: 1 kB\n")]),
    ("reserved huge pages", Status::Advice, "100 pages", &[("proc/sys/vm/nr_hugepages", "100")]),
    (
        "transparent huge pages",
        Status::Advice,
        "never",
        &[("sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n")],
    ),
    (
        "transparent huge pages",
        Status::Unknown,
        "says",
        &[("sys/kernel/mm/transparent_hugepage/enabled", "never\n")],
    ),
    (
        "huge page defragmentation",
        Status::Advice,
        "always",
        &[("sys/kernel/mm/transparent_hugepage/defrag", "[always] defer madvise never\n")],
    ),
    ("NUMA balancing", Status::Advice, "nodes: 2", &[("proc/sys/kernel/numa_balancing", "1\n")]),
    (
        "swap",
        Status::Advice,
        "swappiness 60",
        &[("proc/swaps", "Filename\n/swapfile file 1 0 -2\n")],
    ),
    (
        "NIC interrupts",
        Status::Advice,
        "2 interrupts of eth0 on CPUs 0-2",
        &[("proc/irq/38/effective_affinity_list", "2\n")],
    ),
    ("NIC interrupts", Status::Unknown, "names none", &[("proc/interrupts", "CPU0\n")]),
    ("irqbalance", Status::Advice, "running", &[("proc/18/comm", "irqbalance\n")]),
    ("busy polling", Status::Advice, "busy_read 0", &[("proc/sys/net/core/busy_read", "0\n")]),
    ("busy polling", Status::Unknown, "no number", &[("proc/sys/net/core/busy_read", "x\n")]),
    ("listen backlog", Status::Advice, "128", &[("proc/sys/net/core/somaxconn", "128\n")]),
    (
        "socket buffers",
        Status::Advice,
        "write 208 KiB",
        &[("proc/sys/net/ipv4/tcp_wmem", "4096 16384 212992\n")],
    ),
    ("socket buffers", Status::Unknown, "tcp_rmem", &[("proc/sys/net/ipv4/tcp_rmem", "4096\n")]),
    // A guest is told, and is no fault.
    ("virtualisation", Status::Ok, "a guest", &[("proc/cpuinfo", "flags : fpu hypervisor\n")]),
    // What is less than wanted where nothing better can be had.
    (
        "isolated CPUs",
        Status::Ok,
        "too few",
        &[("sys/devices/system/cpu/isolated", "\n"), ("sys/devices/system/cpu/online", "0-1\n")],
    ),
    (
        "NUMA balancing",
        Status::Ok,
        "one NUMA node",
        &[("proc/sys/kernel/numa_balancing", "1\n"), ("sys/devices/system/node/has_memory", "0\n")],
    ),
];

/// The good host with these files instead, below a folder.
fn host(folder: &Folder, files: &[(&str, &str)]) -> Host {
    let root = folder.join("root");
    for (path, text) in GOOD.iter().chain(files) {
        let file = root.join(path);
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs::write(file, text).expect("written");
    }
    for (name, device) in [("eth0", Some("../../../virtio2")), ("lo", None)] {
        let interface = root.join("sys/class/net").join(name);
        fs::create_dir_all(&interface).expect("made");
        if let Some(device) = device {
            symlink(device, interface.join("device")).expect("linked");
        }
    }
    let mut host = Host::below(root, None);
    host.topology = Tried::Works("4 CPUs".to_owned());
    host
}

fn found(host: &Host, name: &str) -> Finding {
    let mut findings = examine(host);
    findings.retain(|finding| finding.name == name);
    assert_eq!(findings.len(), 1, "one check is called {name:?}");
    findings.remove(0)
}

#[test]
fn a_host_where_all_is_well_is_told_so() {
    let folder = Folder::new();
    for finding in examine(&host(&folder, &[])) {
        assert_eq!(finding.status, Status::Ok, "{finding:?}");
        assert!(!finding.value.is_empty(), "{finding:?}");
        assert!(!finding.wanted.is_empty() && !finding.why.is_empty(), "{finding:?}");
        assert!(!finding.without.is_empty() && !finding.lasting.is_empty(), "{finding:?}");
    }
}

#[test]
fn each_planted_fault_is_seen_by_its_check() {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (name, status, value, files) in PLANTED {
        let finding = found(&host(&Folder::new(), files), name);
        assert_eq!(finding.status, status, "{files:?}: {finding:?}");
        assert!(finding.value.contains(value), "{value:?} is not in {finding:?}");
        if status != Status::Unknown {
            seen.insert(name);
        }
    }
    // What was tried, and no file tells.
    let folder = Folder::new();
    let good = host(&folder, &[]);
    let tried = |ring: Tried, topology: Tried| {
        let mut host = good.clone();
        (host.ring, host.topology) = (ring, topology);
        host
    };
    let works = || Tried::Works("seen".to_owned());
    let fails = || Tried::Fails("Operation not permitted".to_owned());
    let forbidden = found(&tried(fails(), works()), "io_uring");
    assert_eq!(forbidden.status, Status::Problem, "a profile forbids what the switch allows");
    assert!(forbidden.value.contains("not permitted); kernel.io_uring_disabled = 0"));
    assert_eq!(found(&tried(works(), works()), "io_uring").status, Status::Ok);
    assert_eq!(found(&tried(works(), fails()), "topology").status, Status::Problem);
    seen.insert("topology");
    let checks: Vec<Finding> = examine(&good);
    assert_eq!(checks.len(), CHECKS.len());
    let untried: Vec<&str> =
        checks.iter().map(|check| check.name).filter(|name| !seen.contains(name)).collect();
    assert_eq!(untried, [""; 0], "each check has a planted fault");
}

#[test]
fn what_cannot_be_read_is_unknown_and_never_a_guess() {
    let folder = Folder::new();
    let host = Host::below(folder.join("nothing"), None);
    for finding in examine(&host) {
        // Where the lack of a file has one meaning, that is told; nothing else is said.
        let tells = ["does not exist here", "not tried", "no process", "not in this kernel"];
        let none = ["none that the kernel", "not govern", "no network device", "no huge pages"];
        let is_told = |words: &[&str]| words.iter().any(|word| finding.value.contains(word));
        assert!(
            is_told(&tells) || is_told(&none) || finding.status == Status::Unknown,
            "{finding:?}"
        );
        assert_ne!(finding.status, Status::Problem, "{finding:?}");
    }
    let version = found(&host, "kernel");
    assert_eq!(version.status, Status::Unknown);
    assert!(version.value.contains("/proc/sys/kernel/osrelease does not exist"), "{version:?}");
}

#[test]
fn a_running_daemon_s_limits_cpus_and_budget_count() {
    let folder = Folder::new();
    let files = [
        ("proc/77/limits", "Max locked memory 8388608 8388608 bytes\n"),
        ("proc/77/status", "CapEff:\t0000000000004000\nCpus_allowed_list:\t0-3\n"),
    ];
    let root = host(&folder, &files).root().to_owned();
    let core = |cpu| Core { cpu: Some(cpu), ..Core::default() };
    let daemon = status::Status {
        pid: 77,
        budget_bytes: 1 << 30,
        cores: vec![core(0), core(2)],
        ..status::Status::default()
    };
    let host = Host::below(root, Some(daemon));
    let locked = found(&host, "locked memory");
    assert_eq!(locked.status, Status::Ok, "CAP_IPC_LOCK lifts it: {locked:?}");
    assert!(locked.value.contains("1049600 KiB needed for 2 cores"), "{locked:?}");
    assert!(locked.value.contains("of the daemon, process 77"), "{locked:?}");
    let interrupts = found(&host, "NIC interrupts");
    assert_eq!(interrupts.status, Status::Advice, "the daemon has a core on CPU 0: {interrupts:?}");
    let pages = found(&host, "reserved huge pages");
    assert_eq!(pages.now, "sysctl -w vm.nr_hugepages=512", "{pages:?}");
}

#[test]
fn the_command_tells_it_in_text_and_json_with_exit_codes() {
    let run = |files: &[(&str, &str)], options: &[&str]| {
        let folder = Folder::new();
        let root = host(&folder, files).root().to_owned();
        let mut arguments = vec!["doctor", "--root", path(&root)];
        arguments.extend(options);
        let output = deltaworks(&arguments);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        (output.status.code(), text)
    };
    let (code, text) = run(&[], &["--strict"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("ok        kernel                     6.18.5-amd64\n"), "{text}");
    assert!(!text.contains("wanted"), "{text}");
    let (code, text) = run(&[], &["--all"]);
    assert_eq!((code, text.matches("  wanted ").count()), (Some(0), CHECKS.len()), "{text}");

    let swap = ("proc/swaps", "Filename\n/swapfile file 1 0 -2\n");
    let (code, text) = run(&[swap], &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("advice    swap"), "{text}");
    assert!(text.contains("now      sysctl -w vm.swappiness=1"), "{text}");
    assert_eq!(run(&[swap], &["--strict"]).0, Some(3));

    let old = ("proc/sys/kernel/osrelease", "4.19.0\n");
    let (code, json) = run(&[old], &["--json"]);
    assert_eq!(code, Some(1), "{json}");
    let report: Value = serde_json::from_str(&json).expect("one line of JSON");
    assert_eq!(report["status"], "problem");
    assert_eq!(report["findings"][0]["name"], "kernel");
    assert_eq!(report["findings"][0]["status"], "problem");
    assert_eq!(report["findings"].as_array().map(Vec::len), Some(CHECKS.len()));
}

#[test]
fn this_host_is_examined_without_an_error() {
    let folder = Folder::new();
    let socket = folder.join("none.sock");
    let output = deltaworks(&["doctor", "--json", "--admin", path(&socket)]);
    let code = output.status.code();
    let report: Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    // A test ran the daemon on this machine, or could: nothing keeps it from running.
    assert_eq!(code, Some(0), "{report}");
    assert!(report["daemon_error"].as_str().is_some_and(|why| why.contains("none.sock")));
    let rings = &report["findings"][1];
    assert!(rings["value"].as_str().is_some_and(|it| it.contains("a ring was made")), "{rings}");
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
