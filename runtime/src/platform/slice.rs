//! How long a thread runs before the system lets others have its CPU: asked for, so that who wakes
//! up with little to do need not wait until a neighbour's long slice is over.
//!
//! Since 6.12 the kernel takes a wish from any thread. A thread that asks for shorter slices than
//! its neighbour's is let in as soon as it wakes; it gets no more of the CPU for it. Older kernels
//! leave everything as it is. And the other way round: a thread whose work can wait stands back.
#![expect(unsafe_code, reason = "sched_getattr and sched_setattr have no safe name")]

use core::mem::size_of;
use std::io;

/// What the kernel takes at least, in nanoseconds: some turns of a busy core.
const SLICE_NS: u64 = 100_000;

/// The level that gets the least, as nice(2) has it.
const NICE_LOWEST: i32 = 19;

/// Asks for the shortest slices for the calling thread, if it is scheduled as most are. Two system
/// calls. Policy and nice level stay.
///
/// # Errors
/// If the system refuses: then latency beside busy neighbours is what it was.
pub(crate) fn ask_for_short_slices() -> io::Result<()> {
    let mut wish = attributes()?;
    if !matches!(wish.sched_policy as i32, libc::SCHED_OTHER | libc::SCHED_BATCH) {
        // Whoever chose another policy has made a better wish.
        return Ok(());
    }
    wish.sched_runtime = SLICE_NS;
    set(&wish)
}

/// Gives the calling thread the lowest share of a CPU, and no right to be let in when it wakes. Two
/// system calls.
///
/// # Errors
/// If the system refuses: it runs as before.
pub(crate) fn yield_to_others() -> io::Result<()> {
    let mut wish = attributes()?;
    // Not idle in the kernel's sense: beside a core that never sleeps that would be a standstill.
    wish.sched_policy = libc::SCHED_BATCH as u32;
    wish.sched_priority = 0;
    wish.sched_nice = NICE_LOWEST;
    set(&wish)
}

/// Has the calling thread scheduled by `wish`.
fn set(wish: &libc::sched_attr) -> io::Result<()> {
    // SAFETY: the structure is ours, and says how long it is; 0 is the calling thread.
    match unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const *wish, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How the calling thread is scheduled.
fn attributes() -> io::Result<libc::sched_attr> {
    let bytes = size_of::<libc::sched_attr>();
    // SAFETY: a structure of numbers; all-zero is one.
    let mut told: libc::sched_attr = unsafe { core::mem::zeroed() };
    // SAFETY: the structure is ours and as long as is said; 0 is the calling thread.
    match unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut told, bytes, 0) } {
        0 => Ok(told),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_get_shorter_and_nothing_else_changes() {
        let thread = std::thread::spawn(|| {
            let asked = attributes().and_then(|before| ask_for_short_slices().map(|()| before));
            let before = match asked {
                Ok(before) => before,
                Err(error) => return eprintln!("the system does not let threads ask: {error}"),
            };
            if !matches!(before.sched_policy as i32, libc::SCHED_OTHER | libc::SCHED_BATCH) {
                return eprintln!("policy {}: nothing is asked for", before.sched_policy);
            }
            let after = attributes().expect("told");
            assert_eq!(
                (after.sched_policy, after.sched_nice, after.sched_priority),
                (before.sched_policy, before.sched_nice, before.sched_priority)
            );
            // Kernels that know no wish tell 0 of both.
            assert!(after.sched_runtime == SLICE_NS || before.sched_runtime == 0);
        });
        thread.join().expect("the wish changes nothing else");
    }

    #[test]
    fn who_yields_has_the_lowest_share() {
        let thread = std::thread::spawn(|| {
            if let Err(error) = yield_to_others() {
                return eprintln!("the system does not let threads yield: {error}");
            }
            let after = attributes().expect("told");
            assert_eq!(after.sched_policy, libc::SCHED_BATCH as u32);
            assert_eq!(after.sched_nice, NICE_LOWEST);
        });
        thread.join().expect("the wish changes nothing else");
    }
}
