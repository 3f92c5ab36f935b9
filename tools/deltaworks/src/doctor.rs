//! The doctor: each host setting that matters, what it is, what it should be, why, and how to set it.
//!
//! ```text
//! /proc, /sys below a root ─▶ Host ─▶ one check a setting ─▶ Finding ─▶ text or JSON, exit code
//! running daemon's status ──▶ '- its limits, CPUs and budget instead of this shell's
//! ```
//!
//! Owned by the command line. It changes nothing, and guesses nothing: what cannot be read is unknown.

pub mod command;
pub mod finding;
pub mod host;
pub mod kernel;
pub mod limits;
pub mod memory;
pub mod network;
pub mod processors;

use finding::Finding;
use host::Host;

/// A check of one setting.
pub type Check = fn(&Host) -> Finding;

/// Every check, in the order in which they are told: what keeps a daemon from running comes first.
pub const CHECKS: [Check; 25] = [
    kernel::version,
    kernel::io_uring,
    limits::locked_memory,
    limits::open_files,
    limits::processes,
    processors::topology,
    processors::mask,
    processors::quota,
    processors::siblings,
    processors::isolation,
    processors::governor,
    kernel::clock_source,
    kernel::virtualisation,
    kernel::steal,
    memory::available,
    memory::reserved_huge_pages,
    memory::transparent_huge_pages,
    memory::defragmentation,
    memory::numa_balancing,
    memory::swap,
    network::interrupts,
    network::interrupt_balancer,
    network::busy_poll,
    network::listen_backlog,
    network::socket_buffers,
];

/// What every check finds on this host.
pub fn examine(host: &Host) -> Vec<Finding> {
    CHECKS.iter().map(|check| check(host)).collect()
}
