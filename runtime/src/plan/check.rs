//! What must hold of every plan, as a check that does not know how plans are made.
//!
//! The daemon asserts it before it starts a thread, and the tests ask it about plans that were
//! spoilt on purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;

use super::{AgentKind, Plan, PlannedAgent, PlannedCore, Reach, must_talk};
use crate::topology::{CpuSet, Topology};

/// The first rule that a plan breaks. Cores are told by their index in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanFault {
    /// A core runs no agent.
    CoreIdle {
        /// The core.
        core: u16,
    },
    /// A CPU that the machine does not have, or that stands elsewhere there.
    CpuUnknown {
        /// The CPU.
        cpu: u32,
    },
    /// A CPU that the mask does not allow.
    CpuOutsideMask {
        /// The CPU.
        cpu: u32,
    },
    /// Two threads pinned to one CPU.
    CpuTwice {
        /// The CPU.
        cpu: u32,
    },
    /// An agent that stands on no core.
    AgentMissing {
        /// The agent.
        agent: PlannedAgent,
    },
    /// An agent that stands twice.
    AgentTwice {
        /// The agent.
        agent: PlannedAgent,
    },
    /// An agent with a number that the plan does not count.
    AgentUncounted {
        /// The agent.
        agent: PlannedAgent,
    },
    /// An elastic worker whose core is not what it says, or a core of its own that has none or two, or
    /// one that serves sessions.
    ElasticWrong {
        /// The core.
        core: u16,
    },
    /// Two agents of one kind on one core, or reception without the propagation of its number.
    AgentsDoNotFit {
        /// The core.
        core: u16,
    },
    /// Two hardware threads of one core are busy while a whole core is idle.
    SiblingBusy {
        /// The second busy CPU of the core.
        cpu: u32,
        /// A CPU of a core that is idle.
        idle_cpu: u32,
    },
    /// A ring leaves its L3 group although one group has room for all cores.
    RingLeavesL3 {
        /// The core that pushes.
        from: u16,
        /// The core that pops.
        to: u16,
        /// The L3 group with room.
        l3_group: u32,
    },
    /// An L3 group has less than its share of the workers, rounded down.
    WorkersFarAway {
        /// The L3 group.
        l3_group: u32,
    },
    /// Two cores that must talk have no ring.
    RingMissing {
        /// The core that pushes.
        from: u16,
        /// The core that pops.
        to: u16,
    },
    /// A ring that stands twice, or out of order, or that nobody needs.
    RingNeedless {
        /// The core that pushes.
        from: u16,
        /// The core that pops.
        to: u16,
    },
    /// A ring that holds nothing, or another number than the plan tells, or is nearer or further
    /// than it says.
    RingWrong {
        /// The core that pushes.
        from: u16,
        /// The core that pops.
        to: u16,
    },
    /// A session core without a place for its chunks, or a place without a session core, or two.
    MemoryMisplaced {
        /// The core.
        core: u16,
    },
    /// Chunks bound to another node than that of the reception core.
    MemoryFarAway {
        /// The session core.
        core: u16,
        /// The node of the plan.
        node: u32,
        /// The node of the core.
        nearest: u32,
    },
    /// Housekeeping has no CPU, or one outside the mask.
    HousekeepingOutsideMask,
    /// Housekeeping may run on a busy CPU or its sibling while there are better ones, or a core
    /// says something else of it than is so.
    HousekeepingInTheWay {
        /// The CPU.
        cpu: u32,
    },
}

impl Plan {
    /// Nothing if the plan may be carried out on this machine within this mask. Cost: logarithmic
    /// in CPUs for each core and ring; allocates.
    ///
    /// # Errors
    /// The first [`PlanFault`] that is found.
    pub fn check(&self, topology: &Topology, mask: &CpuSet) -> Result<(), PlanFault> {
        self.check_cpus(topology, mask)?;
        self.check_agents()?;
        self.check_elastic()?;
        self.check_siblings(topology, mask)?;
        self.check_rings()?;
        self.check_l3(topology, mask)?;
        self.check_memory()?;
        self.check_housekeeping(topology, mask)
    }

    fn check_cpus(&self, topology: &Topology, mask: &CpuSet) -> Result<(), PlanFault> {
        let mut used = BTreeSet::new();
        for core in &self.cores {
            let cpu = core.cpu.os_index;
            if topology.cpu(cpu) != Some(&core.cpu) {
                return Err(PlanFault::CpuUnknown { cpu });
            }
            if !mask.contains(cpu) {
                return Err(PlanFault::CpuOutsideMask { cpu });
            }
            if !used.insert(cpu) {
                return Err(PlanFault::CpuTwice { cpu });
            }
        }
        Ok(())
    }

    fn check_agents(&self) -> Result<(), PlanFault> {
        let alone = self.cores.iter().filter(|core| core.is_elastic).count() as u16;
        let counts = [
            (AgentKind::Reception, self.session_cores),
            (AgentKind::Validation, self.workers + alone),
            (AgentKind::Propagation, self.session_cores),
        ];
        let mut seen = BTreeSet::new();
        for (index, core) in self.cores.iter().enumerate() {
            if core.agents.is_empty() {
                return Err(PlanFault::CoreIdle { core: index as u16 });
            }
            for agent in &core.agents {
                if counts.iter().any(|(kind, count)| agent.kind == *kind && agent.number >= *count)
                {
                    return Err(PlanFault::AgentUncounted { agent: *agent });
                }
                if !seen.insert(*agent) {
                    return Err(PlanFault::AgentTwice { agent: *agent });
                }
            }
            let numbers = |kind| {
                let of_kind = core.agents.iter().filter(move |agent| agent.kind == kind);
                of_kind.map(|agent| agent.number).collect::<Vec<u16>>()
            };
            let received = numbers(AgentKind::Reception);
            let together = received == numbers(AgentKind::Propagation);
            if !together || received.len() > 1 || numbers(AgentKind::Validation).len() > 1 {
                return Err(PlanFault::AgentsDoNotFit { core: index as u16 });
            }
        }
        for (kind, count) in counts {
            for agent in (0..count).map(|number| PlannedAgent { kind, number }) {
                if !seen.contains(&agent) {
                    return Err(PlanFault::AgentMissing { agent });
                }
            }
        }
        Ok(())
    }

    fn check_elastic(&self) -> Result<(), PlanFault> {
        let mut alone = vec![0; self.cores.len()];
        for elastic in &self.elastic {
            let core = self.cores.get(usize::from(elastic.core));
            let fits = core.is_some_and(|core| {
                core.owns_documents() && core.is_elastic != elastic.shares && elastic.weight > 0
            });
            if !fits {
                return Err(PlanFault::ElasticWrong { core: elastic.core });
            }
            alone[usize::from(elastic.core)] += usize::from(!elastic.shares);
        }
        for ((core, alone), number) in self.cores.iter().zip(alone).zip(0_u16..) {
            if core.is_elastic && (alone != 1 || core.serves_sessions()) {
                return Err(PlanFault::ElasticWrong { core: number });
            }
        }
        Ok(())
    }

    fn check_siblings(&self, topology: &Topology, mask: &CpuSet) -> Result<(), PlanFault> {
        let mut busy = BTreeSet::new();
        let doubled = self.cores.iter().filter(|core| !busy.insert(core.cpu.core)).last();
        let Some(doubled) = doubled else { return Ok(()) };
        let idle = topology
            .cpus()
            .iter()
            .find(|cpu| mask.contains(cpu.os_index) && !busy.contains(&cpu.core));
        match idle {
            Some(idle) => {
                Err(PlanFault::SiblingBusy { cpu: doubled.cpu.os_index, idle_cpu: idle.os_index })
            }
            None => Ok(()),
        }
    }

    fn check_rings(&self) -> Result<(), PlanFault> {
        let mut rings = self.rings.iter().peekable();
        for from in 0..self.cores.len() {
            for to in (0..self.cores.len()).filter(|to| must_talk(&self.cores, from, *to)) {
                let (from, to) = (from as u16, to as u16);
                let Some(ring) = rings.next_if(|ring| (ring.from, ring.to) == (from, to)) else {
                    // Rings stand in order: what stands here instead came too early or is
                    // needless, unless the missing one stands nowhere.
                    let found = self.rings.iter().any(|ring| (ring.from, ring.to) == (from, to));
                    return Err(match rings.peek().filter(|_| found) {
                        Some(other) => PlanFault::RingNeedless { from: other.from, to: other.to },
                        None => PlanFault::RingMissing { from, to },
                    });
                };
                let ends = (&self.cores[usize::from(from)].cpu, &self.cores[usize::from(to)].cpu);
                let reach = Reach::between(ends.0, ends.1);
                let holds = ring.messages == self.ring_messages && ring.messages > 0;
                if !holds || ring.reach != reach {
                    return Err(PlanFault::RingWrong { from, to });
                }
            }
        }
        match rings.next() {
            Some(ring) => Err(PlanFault::RingNeedless { from: ring.from, to: ring.to }),
            None => Ok(()),
        }
    }

    fn check_l3(&self, topology: &Topology, mask: &CpuSet) -> Result<(), PlanFault> {
        let mut room: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for cpu in topology.cpus().iter().filter(|cpu| mask.contains(cpu.os_index)) {
            room.entry(cpu.l3_group).or_default().insert(cpu.core);
        }
        // Among all cores, and among those that are no elastic worker's: these come first.
        let is_elastic = |core: u16| self.cores[usize::from(core)].is_elastic;
        let steady = self.cores.iter().filter(|core| !core.is_elastic).count();
        for (cores_planned, with_elastic) in [(self.cores.len(), true), (steady, false)] {
            let roomy = room.iter().find(|(_, cores)| cores.len() >= cores_planned);
            let leaves = self.rings.iter().find(|ring| {
                let counts = with_elastic || !(is_elastic(ring.from) || is_elastic(ring.to));
                counts && ring.reach > Reach::SameL3
            });
            if let (Some((l3_group, _)), Some(ring)) = (roomy, leaves) {
                let (from, to, l3_group) = (ring.from, ring.to, *l3_group);
                return Err(PlanFault::RingLeavesL3 { from, to, l3_group });
            }
        }
        let mut groups: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
        for core in self.cores.iter().filter(|core| !core.is_elastic) {
            let (cores, workers) = groups.entry(core.cpu.l3_group).or_default();
            *cores += 1;
            *workers += usize::from(core.owns_documents());
        }
        let all_workers = usize::from(self.workers);
        for (l3_group, (cores, workers)) in groups {
            if workers < cores * all_workers / steady {
                return Err(PlanFault::WorkersFarAway { l3_group });
            }
        }
        Ok(())
    }

    fn check_memory(&self) -> Result<(), PlanFault> {
        let serving = |(_, core): &(usize, &PlannedCore)| core.serves_sessions();
        let mut places = self.memory.iter();
        for (index, core) in self.cores.iter().enumerate().filter(serving) {
            let place = match places.next() {
                Some(place) if usize::from(place.core) == index => place,
                _ => return Err(PlanFault::MemoryMisplaced { core: index as u16 }),
            };
            let (node, nearest) = (place.node, core.cpu.node);
            if node != nearest {
                return Err(PlanFault::MemoryFarAway { core: place.core, node, nearest });
            }
        }
        match places.next() {
            Some(place) => Err(PlanFault::MemoryMisplaced { core: place.core }),
            None => Ok(()),
        }
    }

    fn check_housekeeping(&self, topology: &Topology, mask: &CpuSet) -> Result<(), PlanFault> {
        let known = |cpu| mask.contains(cpu) && topology.cpu(cpu).is_some();
        if self.housekeeping.is_empty() || !self.housekeeping.iter().all(known) {
            return Err(PlanFault::HousekeepingOutsideMask);
        }
        let busy: BTreeSet<u32> = self.cores.iter().map(|core| core.cpu.os_index).collect();
        let busy_cores: BTreeSet<u32> = self.cores.iter().map(|core| core.cpu.core).collect();
        // 0: a core of its own, 1: beside a pinned thread on one core, 2: on its CPU.
        let nuisance = |cpu: u32| {
            let core = topology.cpu(cpu).map(|cpu| cpu.core);
            match busy.contains(&cpu) {
                true => 2,
                false => u8::from(core.is_some_and(|core| busy_cores.contains(&core))),
            }
        };
        let allowed = topology.cpus().iter().map(|cpu| cpu.os_index);
        let least = allowed.filter(|cpu| mask.contains(*cpu)).map(nuisance).min().unwrap_or(2);
        if let Some(cpu) = self.housekeeping.iter().find(|cpu| nuisance(*cpu) > least) {
            return Err(PlanFault::HousekeepingInTheWay { cpu });
        }
        let untrue = |core: &&PlannedCore| {
            core.shared_with_housekeeping != self.housekeeping.contains(core.cpu.os_index)
        };
        match self.cores.iter().find(untrue) {
            Some(core) => Err(PlanFault::HousekeepingInTheWay { cpu: core.cpu.os_index }),
            None => Ok(()),
        }
    }
}

impl fmt::Display for PlanFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CoreIdle { core } => write!(f, "core {core} of the plan runs no agent"),
            Self::CpuUnknown { cpu } => write!(f, "the machine has no such CPU {cpu}"),
            Self::CpuOutsideMask { cpu } => write!(f, "CPU {cpu} is outside the mask"),
            Self::CpuTwice { cpu } => write!(f, "two threads are pinned to CPU {cpu}"),
            Self::AgentMissing { agent } => write!(f, "{agent} stands on no core"),
            Self::AgentTwice { agent } => write!(f, "{agent} stands twice"),
            Self::AgentUncounted { agent } => write!(f, "{agent} is one more than planned"),
            Self::ElasticWrong { core } => {
                write!(f, "core {core} and its elastic workers contradict each other")
            }
            Self::AgentsDoNotFit { core } => {
                write!(f, "the agents of core {core} do not belong together")
            }
            Self::SiblingBusy { cpu, idle_cpu } => {
                write!(f, "CPU {cpu} is a busy sibling while the core of CPU {idle_cpu} is idle")
            }
            Self::RingLeavesL3 { from, to, l3_group } => write!(
                f,
                "the ring from core {from} to core {to} leaves its L3 group, and group {l3_group} \
                 has room for all"
            ),
            Self::WorkersFarAway { l3_group } => {
                write!(f, "L3 group {l3_group} has less than its share of workers")
            }
            Self::RingMissing { from, to } => write!(f, "no ring from core {from} to core {to}"),
            Self::RingNeedless { from, to } => {
                write!(f, "the ring from core {from} to core {to} is one too many")
            }
            Self::RingWrong { from, to } => {
                write!(f, "the ring from core {from} to core {to} tells its size or reach wrongly")
            }
            Self::MemoryMisplaced { core } => {
                write!(f, "the chunks of core {core} have no place, or more than one")
            }
            Self::MemoryFarAway { core, node, nearest } => {
                write!(f, "the chunks of core {core} are on node {node}, not on {nearest}")
            }
            Self::HousekeepingOutsideMask => {
                write!(f, "housekeeping has no CPU, or one outside the mask")
            }
            Self::HousekeepingInTheWay { cpu } => {
                write!(f, "housekeeping is in the way of a pinned thread on CPU {cpu}")
            }
        }
    }
}

impl Error for PlanFault {}

impl fmt::Display for PlannedAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.number)
    }
}
