//! What a person should know of a plan: where it is less than wished, and why.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::placement::{Room, Split, cores_to_choose_from};
use super::{AgentKind, Plan, PlanConfig};
use crate::topology::{CpuSet, Topology};

/// One remark on a plan that works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "note", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Note {
    /// More agents of a kind were wished than there are CPUs to pin them to.
    FewerThanWished {
        /// The kind: reception stands for session cores.
        kind: AgentKind,
        /// How many were wished.
        wished: u16,
        /// How many there are.
        planned: u16,
    },
    /// Some cores run all three agents.
    Fused {
        /// How many.
        cores: u16,
    },
    /// The cgroup's quota makes the plan smaller than the mask would allow.
    QuotaBounds {
        /// Thousandths of a CPU that the quota is worth.
        quota_milli_cpus: u64,
        /// Whole cores in the mask.
        whole_cores: u32,
    },
    /// There are more pinned threads than the quota pays for: the kernel will stop them in turn.
    QuotaExceeded {
        /// Thousandths of a CPU that the quota is worth.
        quota_milli_cpus: u64,
        /// Pinned threads.
        threads: u16,
    },
    /// Hardware threads of one core are both busy.
    SiblingsBusy {
        /// How many cores have more than one busy thread.
        cores: u16,
    },
    /// Housekeeping has no CPU of its own.
    HousekeepingShares,
    /// The cgroup forbids memory on a node where chunks belong; they will lie elsewhere.
    NodeForbidden {
        /// The node.
        node: u32,
    },
    /// The mask allows CPUs that the machine does not have.
    MaskBeyondMachine {
        /// Those CPUs.
        cpus: CpuSet,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FewerThanWished { kind, wished, planned } => {
                let what = match kind {
                    AgentKind::Validation => "workers",
                    AgentKind::Reception | AgentKind::Propagation => "session cores",
                };
                write!(f, "{wished} {what} were wished, {planned} fit the CPUs of the mask")
            }
            Self::Fused { cores } => {
                write!(f, "{cores} cores run reception, validation and propagation")
            }
            Self::QuotaBounds { quota_milli_cpus, whole_cores } => write!(
                f,
                "the CPU quota of {} bounds the plan on {whole_cores} cores; raise cpu.max of the \
                 cgroup to use more",
                Milli(*quota_milli_cpus)
            ),
            Self::QuotaExceeded { quota_milli_cpus, threads } => write!(
                f,
                "{threads} pinned threads share a CPU quota of {} and will be throttled; raise \
                 cpu.max of the cgroup or plan fewer cores",
                Milli(*quota_milli_cpus)
            ),
            Self::SiblingsBusy { cores } => {
                write!(f, "{cores} cores have more than one busy hardware thread")
            }
            Self::HousekeepingShares => {
                write!(f, "housekeeping shares the CPUs of the pinned threads")
            }
            Self::NodeForbidden { node } => write!(
                f,
                "the cgroup forbids memory node {node}, so chunks lie further away; allow it in \
                 cpuset.mems"
            ),
            Self::MaskBeyondMachine { cpus } => {
                write!(f, "the mask allows CPUs {cpus}, which the machine does not have")
            }
        }
    }
}

/// Thousandths of a CPU, written as CPUs.
struct Milli(u64);

impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} CPUs", self.0 / 1_000, self.0 % 1_000)
    }
}

pub(super) fn notes(
    plan: &Plan,
    topology: &Topology,
    mask: &CpuSet,
    config: &PlanConfig,
    room: &Room,
    split: &Split,
) -> Vec<Note> {
    let mut notes = Vec::new();
    let wishes = [
        (AgentKind::Reception, config.session_cores, split.session_cores),
        (AgentKind::Validation, config.workers, split.workers),
    ];
    for (kind, wish, planned) in wishes {
        if let Some(wished) = wish.filter(|wished| *wished > planned) {
            notes.push(Note::FewerThanWished { kind, wished, planned });
        }
    }
    let fused = plan.cores.iter().filter(|core| core.serves_sessions() && core.owns_documents());
    match fused.count() {
        0 => {}
        cores => notes.push(Note::Fused { cores: cores as u16 }),
    }
    notes.extend(quota_note(plan, config, room));
    let physical: BTreeSet<u32> = plan.cores.iter().map(|core| core.cpu.core).collect();
    let crowded = physical.iter().filter(|physical| {
        plan.cores.iter().filter(|core| core.cpu.core == **physical).count() > 1
    });
    match crowded.count() {
        0 => {}
        cores => notes.push(Note::SiblingsBusy { cores: cores as u16 }),
    }
    if plan.cores.iter().any(|core| core.shared_with_housekeeping) {
        notes.push(Note::HousekeepingShares);
    }
    let nodes: BTreeSet<u32> = plan.memory.iter().map(|place| place.node).collect();
    let forbidden = |node: &u32| topology.node(*node).is_some_and(|node| !node.allowed);
    notes.extend(nodes.into_iter().filter(forbidden).map(|node| Note::NodeForbidden { node }));
    let beyond: CpuSet = mask.iter().filter(|cpu| topology.cpu(*cpu).is_none()).collect();
    if !beyond.is_empty() {
        notes.push(Note::MaskBeyondMachine { cpus: beyond });
    }
    notes
}

/// The quota is noted where it makes the plan smaller and where it does not pay for the plan.
fn quota_note(plan: &Plan, config: &PlanConfig, room: &Room) -> Option<Note> {
    let quota_milli_cpus = config.quota?.milli_cpus();
    let threads = plan.cores.len();
    if quota_milli_cpus < threads as u64 * 1_000 {
        return Some(Note::QuotaExceeded { quota_milli_cpus, threads: threads as u16 });
    }
    let without_quota = PlanConfig { quota: None, ..config.clone() };
    let bounds = (config.session_cores.is_none() || config.workers.is_none())
        && cores_to_choose_from(room, config) < cores_to_choose_from(room, &without_quota);
    let whole_cores = room.whole_cores() as u32;
    bounds.then_some(Note::QuotaBounds { quota_milli_cpus, whole_cores })
}
