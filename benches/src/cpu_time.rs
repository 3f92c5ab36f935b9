//! How long a thread really ran: on a machine that is shared, the wall clock counts others' work.

use nix::sys::resource::{UsageWho, getrusage};

/// Nanoseconds that the calling thread has run; `None` where the system does not tell. Reads a
/// small file.
pub fn of_this_thread_ns() -> Option<u64> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    told.split_whitespace().next()?.parse().ok()
}

/// How often the calling thread was put aside for another, or slept; 0 where the system does not tell. A
/// system call.
pub fn switches_of_this_thread() -> u64 {
    let told = getrusage(UsageWho::RUSAGE_THREAD);
    told.map_or(0, |it| {
        (it.involuntary_context_switches() + it.voluntary_context_switches()) as u64
    })
}

/// The part of `wall_ns` that the thread has run since `began_ns`, at most 1.
pub fn share(began_ns: Option<u64>, wall_ns: u64) -> f64 {
    let ran_ns = began_ns.zip(of_this_thread_ns()).map(|(began, ended)| ended - began);
    ran_ns.map_or(1.0, |ran_ns| (ran_ns as f64 / wall_ns.max(1) as f64).min(1.0))
}
