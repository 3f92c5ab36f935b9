//! A fence on every running thread of this process, asked for by one of them: membarrier(2).
//!
//! Since Linux 4.14. The kernel interrupts the CPUs on which a thread of this process runs now; a
//! switch of threads is a fence anyway. To register in a process of several threads waits until
//! every CPU has passed a quiet point, so it is best done early; the executor needs it, too.
#![expect(unsafe_code, reason = "membarrier has no safe name")]

/// Commands of linux/membarrier.h.
const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

/// Tells the kernel that this process will ask for fences; whether it grants them. A system call; some
/// 10 ms the first time if there are threads.
pub(crate) fn register_barriers() -> bool {
    membarrier(REGISTER_PRIVATE_EXPEDITED)
}

/// Has every other thread of this process that runs pass a fence before it returns; false if the kernel
/// does not. After [`register_barriers`] was granted, it may want memory that it has not (since 5.4),
/// or a filter for system calls was set.
pub(crate) fn barrier_everywhere() -> bool {
    membarrier(PRIVATE_EXPEDITED)
}

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: numbers only; the call reads and writes no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}
