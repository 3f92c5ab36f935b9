//! What the kernel did not grant, and what to set so that it does.
//!
//! Told by whoever makes the memory, binds it, or makes it present. Each changes speed or its
//! steadiness, never a result.

use core::fmt;

/// A wish about memory that was not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Downgrade {
    /// No huge pages are reserved for programs; transparent ones were asked for instead.
    NoReservedHugePages {
        /// Pages of 2 MiB that would serve all chunks.
        pages: usize,
    },
    /// No transparent huge pages either: every page is small.
    SmallPages,
    /// The memory could not be bound to the node of its core.
    NotBound {
        /// The node that was asked for.
        node: u32,
        /// The system's error number.
        error: i32,
    },
    /// Pages lie on another node than asked, although they were bound or preferred there.
    ElsewhereThanAsked {
        /// The node that was asked for.
        node: u32,
        /// Samples, one every two megabytes, that were found on another.
        samples: usize,
    },
    /// The memory could not be made present before it was needed, so first uses will be slow.
    NotPresent {
        /// Bytes concerned.
        bytes: usize,
        /// The system's error number.
        error: i32,
    },
    /// The memory may be swapped out.
    NotLocked {
        /// Bytes concerned.
        bytes: usize,
        /// What the process may lock in all, at present.
        limit_bytes: u64,
    },
}

impl fmt::Display for Downgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = |number: &i32| std::io::Error::from_raw_os_error(*number);
        match self {
            Self::NoReservedHugePages { pages } => write!(
                f,
                "no reserved huge pages, transparent ones are asked for: to reserve them, \
                 sysctl vm.nr_hugepages={pages}"
            ),
            Self::SmallPages => f.write_str(
                "chunks lie in small pages: echo madvise > \
                 /sys/kernel/mm/transparent_hugepage/enabled",
            ),
            Self::NotBound { node, error: number } => write!(
                f,
                "chunk memory is not bound to NUMA node {node} ({}): allow mbind \
                 (SystemCallFilter=) and the node (cpuset.mems, AllowedMemoryNodes=)",
                error(number)
            ),
            Self::ElsewhereThanAsked { node, samples } => write!(
                f,
                "{samples} pages of chunk memory lie on another NUMA node than {node}: free \
                 memory there, or reserve huge pages per node in \
                 /sys/devices/system/node/node{node}/hugepages"
            ),
            Self::NotPresent { bytes, error: number } => write!(
                f,
                "{} MiB of chunk memory could not be made present ({}): raise the memory \
                 limit (MemoryMax=) or lower the budget",
                bytes.div_ceil(1 << 20),
                error(number)
            ),
            Self::NotLocked { bytes, limit_bytes } => write!(
                f,
                "{} MiB of chunk memory are not locked (limit {} KiB): LimitMEMLOCK=infinity in \
                 the unit, or ulimit -l unlimited",
                bytes.div_ceil(1 << 20),
                limit_bytes >> 10
            ),
        }
    }
}
