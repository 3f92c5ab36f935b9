//! Membarrier(2), registered early: the executor registers for it before its first sleep, and in a
//! process of several threads that waits until every CPU has passed a quiet point.
#![expect(unsafe_code, reason = "membarrier has no safe name")]

/// `MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED` of linux/membarrier.h.
const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

/// Registers the process; to register again costs nothing. One system call. A kernel that refuses
/// does so when the executor asks, too, which then goes another way.
pub(crate) fn register_barriers() {
    // SAFETY: a command without addresses; it changes what the kernel notes of the process.
    unsafe { libc::syscall(libc::SYS_membarrier, REGISTER_PRIVATE_EXPEDITED, 0) };
}
