//! The machine as a plain value: which CPUs there are, and what each shares with which.
//!
//! No core owns it: it is made once at start and read by [`plan`](crate::plan::plan). It never
//! asks the system after it was made, so a machine of 192 cores is planned on one of two. A
//! machine above [`CPUS_MAX`] CPUs is refused, not cut.
//!
//! ```text
//! package ─┬─ memory node ─┬─ L3 group ─┬─ core ─┬─ CPU (SMT rank 0)
//!          └─ …            └─ …         └─ …     └─ CPU (SMT rank 1)
//! ```

mod allowance;
mod cpu_set;
mod hardware;
mod synthetic;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;

use serde::Serialize;

pub use allowance::{Allowance, AllowanceError, CpuQuota};
pub use cpu_set::{CpuSet, CpuSetError};
pub use synthetic::SyntheticError;

/// CPUs that a topology or a mask may name at most: 8,192, the kernel's own limit on x86-64.
pub const CPUS_MAX: usize = 8_192;

/// One CPU as the kernel counts them (hwloc's processing unit) and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cpu {
    /// The kernel's number of this CPU.
    pub os_index: u32,
    /// The physical core that runs it, counted through the whole machine from 0.
    pub core: u32,
    /// 0 for the first hardware thread of its core, 1 for the second, and so on.
    pub smt_rank: u32,
    /// The CPUs with the same number share an L3 cache (or a memory node, where no L3 is told).
    pub l3_group: u32,
    /// The kernel's number of the memory node that is closest.
    pub node: u32,
    /// The package (socket), counted from 0.
    pub package: u32,
}

/// One memory node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryNode {
    /// The kernel's number of this node.
    pub os_index: u32,
    /// Its memory in bytes; 0 where that is not known.
    pub memory_bytes: u64,
    /// False where the cgroup forbids memory of this node.
    pub allowed: bool,
}

/// CPUs and memory nodes of one machine, checked to fit together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Topology {
    cpus: Vec<Cpu>,
    nodes: Vec<MemoryNode>,
}

impl Topology {
    /// The topology of these parts, CPUs and nodes sorted by the kernel's numbers.
    ///
    /// # Errors
    /// [`TopologyError`] if there is no CPU or there are more than [`CPUS_MAX`], a number stands
    /// twice, a CPU names a node that is not there, or two CPUs of a core disagree on its place.
    pub fn new(mut cpus: Vec<Cpu>, mut nodes: Vec<MemoryNode>) -> Result<Self, TopologyError> {
        if cpus.is_empty() {
            return Err(TopologyError::NoCpu);
        }
        if cpus.len() > CPUS_MAX {
            return Err(TopologyError::TooManyCpus { cpus: cpus.len() });
        }
        cpus.sort_by_key(|cpu| cpu.os_index);
        nodes.sort_by_key(|node| node.os_index);
        if let Some(pair) = nodes.windows(2).find(|pair| pair[0].os_index == pair[1].os_index) {
            return Err(TopologyError::NodeTwice { node: pair[0].os_index });
        }
        let mut cores: BTreeMap<u32, Cpu> = BTreeMap::new();
        let mut seats = BTreeSet::new();
        let mut last = None;
        for cpu in &cpus {
            if cpu.os_index as usize >= CPUS_MAX {
                return Err(TopologyError::TooManyCpus { cpus: cpu.os_index as usize + 1 });
            }
            if last.replace(cpu.os_index) == Some(cpu.os_index) {
                return Err(TopologyError::CpuTwice { cpu: cpu.os_index });
            }
            if nodes.binary_search_by_key(&cpu.node, |node| node.os_index).is_err() {
                return Err(TopologyError::NodeUnknown { cpu: cpu.os_index, node: cpu.node });
            }
            let first = *cores.entry(cpu.core).or_insert(*cpu);
            let together = (first.l3_group, first.node, first.package)
                == (cpu.l3_group, cpu.node, cpu.package);
            if !together || !seats.insert((cpu.core, cpu.smt_rank)) {
                return Err(TopologyError::CoreDivided { core: cpu.core });
            }
        }
        Ok(Self { cpus, nodes })
    }

    /// All CPUs, ascending by the kernel's numbers, those outside the mask too.
    pub fn cpus(&self) -> &[Cpu] {
        &self.cpus
    }

    /// All memory nodes, ascending by the kernel's numbers.
    pub fn nodes(&self) -> &[MemoryNode] {
        &self.nodes
    }

    /// The CPU with this number of the kernel's.
    pub fn cpu(&self, os_index: u32) -> Option<&Cpu> {
        let at = self.cpus.binary_search_by_key(&os_index, |cpu| cpu.os_index).ok()?;
        Some(&self.cpus[at])
    }

    /// The memory node with this number of the kernel's.
    pub fn node(&self, os_index: u32) -> Option<&MemoryNode> {
        let at = self.nodes.binary_search_by_key(&os_index, |node| node.os_index).ok()?;
        Some(&self.nodes[at])
    }

    /// A mask that allows every CPU of the machine. Allocates.
    pub fn all_cpus(&self) -> CpuSet {
        self.cpus.iter().map(|cpu| cpu.os_index).collect()
    }
}

/// Why there is no topology.
#[derive(Debug)]
#[non_exhaustive]
pub enum TopologyError {
    /// No CPU was named.
    NoCpu,
    /// More CPUs than [`CPUS_MAX`], or a number above it.
    TooManyCpus {
        /// How many there would be.
        cpus: usize,
    },
    /// Two CPUs with one number.
    CpuTwice {
        /// The number.
        cpu: u32,
    },
    /// Two memory nodes with one number.
    NodeTwice {
        /// The number.
        node: u32,
    },
    /// A CPU names a memory node that is not there.
    NodeUnknown {
        /// The CPU.
        cpu: u32,
        /// The node it names.
        node: u32,
    },
    /// Two CPUs of one core differ in L3 group, node or package, or have the same SMT rank.
    CoreDivided {
        /// The core.
        core: u32,
    },
    /// The description of a synthetic machine is not understood.
    Synthetic(SyntheticError),
    /// hwloc could not read the machine; its own error is the source.
    Hwloc(Box<dyn Error + Send + Sync>),
}

impl fmt::Display for TopologyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCpu => write!(f, "a machine needs at least one CPU"),
            Self::TooManyCpus { cpus } => {
                write!(f, "{cpus} CPUs are more than the {CPUS_MAX} that can be planned")
            }
            Self::CpuTwice { cpu } => write!(f, "CPU {cpu} is named twice"),
            Self::NodeTwice { node } => write!(f, "memory node {node} is named twice"),
            Self::NodeUnknown { cpu, node } => {
                write!(f, "CPU {cpu} names memory node {node}, which is not there")
            }
            Self::CoreDivided { core } => {
                write!(f, "the CPUs of core {core} do not stand in one place, or share a rank")
            }
            Self::Synthetic(error) => write!(f, "{error}"),
            Self::Hwloc(_) => write!(f, "hwloc could not read the machine"),
        }
    }
}

impl Error for TopologyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Synthetic(error) => Some(error),
            Self::Hwloc(error) => Some(&**error),
            _ => None,
        }
    }
}

impl From<SyntheticError> for TopologyError {
    fn from(error: SyntheticError) -> Self {
        Self::Synthetic(error)
    }
}
