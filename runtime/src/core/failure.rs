//! Why a core could not start, or how it ended.

use glommio::GlommioError;
use std::fmt;
use std::io;

/// A core that does not run.
#[derive(Debug)]
pub enum CoreFailure {
    /// The system gives no thread.
    Thread(io::Error),
    /// The process may lock too little memory for the executor's queues.
    LockedMemory {
        /// What it may lock in all.
        limit_bytes: u64,
    },
    /// The executor could not be made.
    Executor {
        /// The CPU that it was to be pinned to.
        cpu: Option<usize>,
        /// The system's reason.
        error: io::Error,
    },
    /// An agent, a task or `main` panicked, with this message.
    Panicked(String),
}

/// Bytes that the executor wants to be allowed to lock before it starts.
const LOCKED_BYTES_MIN: u64 = 512 << 10;

impl CoreFailure {
    pub(super) fn from_executor(error: GlommioError<()>, cpu: Option<usize>) -> Self {
        let limit_bytes = crate::platform::memlock_limit_bytes();
        let error = io::Error::from(error);
        if limit_bytes < LOCKED_BYTES_MIN || error.raw_os_error() == Some(libc::ENOMEM) {
            return Self::LockedMemory { limit_bytes };
        }
        Self::Executor { cpu, error }
    }
}

/// What a panic said.
pub(super) fn panic_message(panic: Box<dyn std::any::Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => panic
            .downcast_ref::<&str>()
            .map_or_else(|| "no message".to_owned(), |message| (*message).to_owned()),
    }
}

impl fmt::Display for CoreFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thread(error) => {
                write!(f, "no thread for a core ({error}): raise TasksMax= or ulimit -u")
            }
            Self::LockedMemory { limit_bytes } => write!(
                f,
                "a core needs {} KiB of locked memory for its io_uring queues, the limit is {} \
                 KiB: LimitMEMLOCK=infinity in the unit, or ulimit -l unlimited",
                LOCKED_BYTES_MIN >> 10,
                limit_bytes >> 10
            ),
            Self::Executor { cpu, error } => {
                match cpu {
                    Some(cpu) => write!(f, "no core on CPU {cpu} ({error})")?,
                    None => write!(f, "no core ({error})")?,
                }
                match error.raw_os_error() {
                    Some(libc::EPERM | libc::ENOSYS) => f.write_str(
                        ": io_uring is forbidden here: sysctl kernel.io_uring_disabled=0, or a \
                         seccomp profile that allows it",
                    ),
                    Some(libc::EMFILE | libc::ENFILE) => {
                        f.write_str(": raise LimitNOFILE= or ulimit -n")
                    }
                    _ => f.write_str(": is the CPU in the mask of this process?"),
                }
            }
            Self::Panicked(message) => write!(f, "a core ended by a panic: {message}"),
        }
    }
}

impl std::error::Error for CoreFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Thread(error) | Self::Executor { error, .. } => Some(error),
            Self::LockedMemory { .. } | Self::Panicked(_) => None,
        }
    }
}
