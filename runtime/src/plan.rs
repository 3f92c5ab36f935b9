//! The plan: which agent runs on which CPU, which cores share a ring, where chunks live.
//!
//! [`plan`] is a pure function of machine, CPU mask and wishes; no core owns its result, which
//! never changes. It starts nothing and asks the system nothing. Wishes that do not fit the
//! machine are cut down, each told as a [`Note`]; what cannot be planned at all is an error.
//!
//! ```text
//! session core            worker core             fused core
//!   reception   ──ring──▶   validation              all three, and a ring to itself
//!   propagation ◀──ring──
//! ```

pub mod drawing;

mod check;
mod note;
mod placement;

use std::error::Error;
use std::fmt;

use serde::Serialize;

pub use check::PlanFault;
pub use note::Note;

use crate::topology::{Cpu, CpuQuota, CpuSet, Topology};
use placement::Seat;

/// Cores that a plan has at most: rings grow with their square.
pub const CORES_MAX: usize = 512;

/// What is wished of a plan. The defaults suit a machine that does nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanConfig {
    /// Cores that serve sessions; `None` chooses: all on one or two cores, else three in four.
    pub session_cores: Option<u16>,
    /// Cores that own documents; `None` chooses: all on one or two cores, else one in four.
    pub workers: Option<u16>,
    /// Elastic workers, for hot documents: on whole cores that nobody else needs, one each; the others
    /// share the cores of the workers.
    pub elastic_workers: u16,
    /// CPU time that the cgroup grants: bounds what is chosen, not what is wished. None means
    /// no bound.
    pub quota: Option<CpuQuota>,
    /// Messages that a ring holds, 1 and above. 1,024 messages of 64 bytes are 64 KiB a ring.
    pub ring_messages: u32,
    /// Messages that all rings into one core hold together: with many cores each ring gets
    /// smaller. 32,768 messages of 64 bytes are 2 MiB a core. At least [`CORES_MAX`].
    pub inbox_messages_max: u32,
}

impl Default for PlanConfig {
    fn default() -> Self {
        Self {
            session_cores: None,
            workers: None,
            elastic_workers: 0,
            quota: None,
            ring_messages: 1_024,
            inbox_messages_max: 32_768,
        }
    }
}

/// What an agent does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentKind {
    /// Reads sockets into chunks.
    Reception,
    /// Checks and orders the batches of the documents it owns.
    Validation,
    /// Sends streams to the sessions of its core.
    Propagation,
}

impl AgentKind {
    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reception => "reception",
            Self::Validation => "validation",
            Self::Propagation => "propagation",
        }
    }
}

/// One agent of the plan, numbered from 0 within its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PlannedAgent {
    /// What it does.
    pub kind: AgentKind,
    /// Its number within the kind. Reception and propagation of one number share a core.
    pub number: u16,
}

/// One pinned thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedCore {
    /// The CPU it is pinned to, and where that stands.
    pub cpu: Cpu,
    /// What runs on it; never empty.
    pub agents: Vec<PlannedAgent>,
    /// True where the housekeeping thread may run on the same CPU.
    pub shared_with_housekeeping: bool,
    /// True where documents are owned only while they are hot, by an elastic worker that is here alone.
    pub is_elastic: bool,
}

impl PlannedCore {
    /// True if sessions live here: reception and propagation.
    pub fn serves_sessions(&self) -> bool {
        self.runs(AgentKind::Reception)
    }

    /// True if documents are owned here: validation.
    pub fn owns_documents(&self) -> bool {
        self.runs(AgentKind::Validation)
    }

    /// True if an agent of this kind runs here.
    pub fn runs(&self, kind: AgentKind) -> bool {
        self.agents.iter().any(|agent| agent.kind == kind)
    }
}

/// How far apart the two ends of a ring are, from near to far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// One core talks to itself.
    SameCpu,
    /// Two hardware threads of one physical core.
    SameCore,
    /// One L3 group.
    SameL3,
    /// One memory node.
    SameNode,
    /// One package.
    SamePackage,
    /// Across packages.
    Machine,
}

impl Reach {
    /// How far apart two CPUs are.
    pub fn between(a: &Cpu, b: &Cpu) -> Self {
        if a.os_index == b.os_index {
            Self::SameCpu
        } else if a.core == b.core {
            Self::SameCore
        } else if a.l3_group == b.l3_group {
            Self::SameL3
        } else if a.node == b.node {
            Self::SameNode
        } else if a.package == b.package {
            Self::SamePackage
        } else {
            Self::Machine
        }
    }
}

/// One ring: all kinds of message from one core to another, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedRing {
    /// Index in [`Plan::cores`] of the core that pushes.
    pub from: u16,
    /// Index in [`Plan::cores`] of the core that pops.
    pub to: u16,
    /// Messages that it holds.
    pub messages: u32,
    /// How far apart its ends are.
    pub reach: Reach,
}

/// An elastic worker: its place in [`Plan::elastic`] is its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedElastic {
    /// Index in [`Plan::cores`] of the core that does its work.
    pub core: u16,
    /// It shares that core with a worker, whose other documents come first.
    pub shares: bool,
    /// Its share of what the core gives to hot documents, beside that of the other elastic workers
    /// there.
    pub weight: u16,
}

/// Where the chunks of one session core are bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryPlace {
    /// Index in [`Plan::cores`] of the session core whose reception fills them.
    pub core: u16,
    /// The memory node, by the kernel's number.
    pub node: u32,
}

/// Everything that is decided before the first thread starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The pinned threads; their place here is their index.
    pub cores: Vec<PlannedCore>,
    /// One ring for each ordered pair of cores that must talk: every pair with a worker in it,
    /// and a fused core with itself. Session cores do not talk to each other.
    pub rings: Vec<PlannedRing>,
    /// One place for each session core, in the order of the cores.
    pub memory: Vec<MemoryPlace>,
    /// How many cores serve sessions.
    pub session_cores: u16,
    /// How many cores own documents, the elastic ones left out.
    pub workers: u16,
    /// The elastic workers: first those with a core of their own, then those that share one.
    pub elastic: Vec<PlannedElastic>,
    /// Messages that each ring holds.
    pub ring_messages: u32,
    /// CPUs for the one unpinned housekeeping thread: whole idle cores if there are any, else
    /// idle siblings, else the CPUs of the plan.
    pub housekeeping: CpuSet,
    /// What a person should know of this plan.
    pub notes: Vec<Note>,
}

/// Gives the plan for this machine, or why there is none. Allocates; for 512 cores about 10 MB of
/// rings.
///
/// Session cores and workers are spread evenly over one L3 group that holds them all, else over
/// the groups nearest to the largest; one thread a physical core while there are whole cores.
/// From 8 cores on one is left to
/// housekeeping unless the wishes need it. A core does both only where there are fewer CPUs than
/// wished cores.
///
/// # Errors
/// [`PlanError`] if the mask leaves no CPU of the machine, or a wish makes no sense on any.
pub fn plan(topology: &Topology, mask: &CpuSet, config: &PlanConfig) -> Result<Plan, PlanError> {
    if config.session_cores == Some(0) {
        return Err(PlanError::NoSessionCores);
    }
    if config.workers == Some(0) {
        return Err(PlanError::NoWorkers);
    }
    if config.ring_messages == 0 {
        return Err(PlanError::RingOfNothing);
    }
    if (config.inbox_messages_max as usize) < CORES_MAX {
        return Err(PlanError::InboxTooSmall { inbox_messages_max: config.inbox_messages_max });
    }
    let room = placement::Room::of(topology, mask);
    if room.cpus() == 0 {
        return Err(PlanError::NoCpu { mask: mask.clone() });
    }
    let split = placement::Split::choose(&room, config);
    let mut seats = placement::seats(&room, &split);
    seats.extend(placement::elastic_seats(&room, &split, &seats));
    let housekeeping = placement::housekeeping(topology, mask, &seats);
    let mut plan = Plan {
        cores: cores(&seats, &housekeeping),
        rings: vec![],
        memory: vec![],
        session_cores: split.session_cores,
        workers: split.workers,
        elastic: vec![],
        ring_messages: ring_messages(seats.len(), config),
        housekeeping,
        notes: vec![],
    };
    plan.rings = rings(&plan.cores, plan.ring_messages);
    plan.memory = memory(&plan.cores);
    plan.elastic = elastic(&plan.cores, config.elastic_workers);
    plan.notes = note::notes(&plan, topology, mask, config, &room, &split);
    Ok(plan)
}

impl Plan {
    /// The ring from one core to another, if they must talk. Searches in logarithmic time.
    pub fn ring(&self, from: u16, to: u16) -> Option<&PlannedRing> {
        let at = self.rings.binary_search_by_key(&(from, to), |ring| (ring.from, ring.to)).ok()?;
        Some(&self.rings[at])
    }

    /// The index of the core that accepts connections for all: the first that serves sessions.
    pub fn accepting_core(&self) -> Option<u16> {
        self.cores.iter().position(PlannedCore::serves_sessions).map(|core| core as u16)
    }

    /// The memory node of this core's chunks; `None` if it serves no sessions.
    pub fn memory_node(&self, core: u16) -> Option<u32> {
        self.memory.iter().find(|place| place.core == core).map(|place| place.node)
    }
}

/// True if one must be able to push to the other: the way of a batch always has a worker at one
/// end, and a core that does both sends itself what it owns.
fn must_talk(cores: &[PlannedCore], from: usize, to: usize) -> bool {
    let (sender, receiver) = (&cores[from], &cores[to]);
    match from == to {
        true => sender.serves_sessions() && sender.owns_documents(),
        false => sender.owns_documents() || receiver.owns_documents(),
    }
}

fn cores(seats: &[Seat], housekeeping: &CpuSet) -> Vec<PlannedCore> {
    // Workers at which documents are at home have the first numbers.
    let (mut sessions, mut workers) = (0, 0);
    let mut planned = Vec::with_capacity(seats.len());
    for seat in seats {
        let mut agents = Vec::with_capacity(3);
        if seat.serves_sessions {
            agents.push(PlannedAgent { kind: AgentKind::Reception, number: sessions });
        }
        if seat.owns_documents {
            agents.push(PlannedAgent { kind: AgentKind::Validation, number: workers });
            workers += 1;
        }
        if seat.serves_sessions {
            agents.push(PlannedAgent { kind: AgentKind::Propagation, number: sessions });
            sessions += 1;
        }
        let shared_with_housekeeping = housekeeping.contains(seat.cpu.os_index);
        let is_elastic = seat.is_elastic;
        planned.push(PlannedCore { cpu: seat.cpu, agents, shared_with_housekeeping, is_elastic });
    }
    planned
}

/// Each core of its own has one; the others go over the workers' cores in turn, with equal weights.
fn elastic(cores: &[PlannedCore], count: u16) -> Vec<PlannedElastic> {
    let with = |is_elastic: bool| {
        let cores = cores.iter().zip(0_u16..);
        cores.filter(move |(core, _)| core.owns_documents() && core.is_elastic == is_elastic)
    };
    let alone = with(true).map(|(_, core)| PlannedElastic { core, shares: false, weight: 1 });
    let shared = with(false).map(|(_, core)| PlannedElastic { core, shares: true, weight: 1 });
    let shared: Vec<PlannedElastic> = shared.collect();
    alone.chain(shared.into_iter().cycle()).take(usize::from(count)).collect()
}

fn ring_messages(cores: usize, config: &PlanConfig) -> u32 {
    config.ring_messages.min(config.inbox_messages_max / cores as u32)
}

fn rings(cores: &[PlannedCore], messages: u32) -> Vec<PlannedRing> {
    let mut rings = Vec::new();
    for from in 0..cores.len() {
        for to in (0..cores.len()).filter(|to| must_talk(cores, from, *to)) {
            let reach = Reach::between(&cores[from].cpu, &cores[to].cpu);
            rings.push(PlannedRing { from: from as u16, to: to as u16, messages, reach });
        }
    }
    rings
}

fn memory(cores: &[PlannedCore]) -> Vec<MemoryPlace> {
    let with_index = cores.iter().enumerate().filter(|(_, core)| core.serves_sessions());
    with_index
        .map(|(index, core)| MemoryPlace { core: index as u16, node: core.cpu.node })
        .collect()
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError {
    /// The mask allows no CPU that the machine has.
    NoCpu {
        /// The mask.
        mask: CpuSet,
    },
    /// No session core is wished: nobody could connect.
    NoSessionCores,
    /// No worker is wished: nobody would own a document.
    NoWorkers,
    /// Rings of no message are wished.
    RingOfNothing,
    /// Fewer messages are wished for all rings into a core than there may be rings.
    InboxTooSmall {
        /// The wish.
        inbox_messages_max: u32,
    },
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCpu { mask } if mask.is_empty() => write!(f, "the CPU mask is empty"),
            Self::NoCpu { mask } => write!(f, "the machine has none of the CPUs {mask}"),
            Self::NoSessionCores => write!(f, "at least one session core is needed"),
            Self::NoWorkers => write!(f, "at least one worker is needed"),
            Self::RingOfNothing => write!(f, "a ring needs room for one message at least"),
            Self::InboxTooSmall { inbox_messages_max } => write!(
                f,
                "{inbox_messages_max} messages into a core are too few; {CORES_MAX} are needed"
            ),
        }
    }
}

impl Error for PlanError {}

#[cfg(test)]
mod tests {
    use super::*;

    const _: () = assert!(CORES_MAX <= u16::MAX as usize, "an index of a core is a u16");

    #[test]
    fn reach_goes_from_near_to_far() {
        let near = Cpu { os_index: 0, core: 0, smt_rank: 0, l3_group: 0, node: 0, package: 0 };
        let mut far = near;
        let mut seen = vec![Reach::between(&near, &far)];
        for step in 0..5 {
            match step {
                0 => (far.os_index, far.smt_rank) = (1, 1),
                1 => (far.core, far.smt_rank) = (1, 0),
                2 => far.l3_group = 1,
                3 => far.node = 1,
                _ => far.package = 1,
            }
            seen.push(Reach::between(&near, &far));
        }
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
    }
}
