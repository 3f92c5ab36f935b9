//! Where the pinned threads go: how many of which role, on which CPUs.

use std::collections::{BTreeMap, BTreeSet};

use super::{CORES_MAX, PlanConfig};
use crate::topology::{Cpu, CpuSet, Topology};

/// Whole cores from which one is left to housekeeping. Below, one core is too much of the
/// machine; from here on it costs an eighth at most, and interrupts have a place to go.
const CORES_WITH_HOUSEKEEPING_MIN: usize = 8;

/// One worker for so many cores. A session core pays for the system calls of every delivery and
/// a worker only for checking and appending, so most cores serve sessions.
const CORES_PER_WORKER: usize = 4;

/// The physical cores that the mask leaves, with their CPUs inside it.
pub(super) struct Room {
    /// Each inner list is one core, its CPUs by SMT rank; cores in the order of their number.
    cores: Vec<Vec<Cpu>>,
}

impl Room {
    /// The room that this mask leaves on this machine.
    pub(super) fn of(topology: &Topology, mask: &CpuSet) -> Self {
        let mut cores: BTreeMap<u32, Vec<Cpu>> = BTreeMap::new();
        for cpu in topology.cpus().iter().filter(|cpu| mask.contains(cpu.os_index)) {
            cores.entry(cpu.core).or_default().push(*cpu);
        }
        let mut cores: Vec<Vec<Cpu>> = cores.into_values().collect();
        cores.iter_mut().for_each(|core| core.sort_by_key(|cpu| cpu.smt_rank));
        Self { cores }
    }

    /// How many CPUs there are.
    pub(super) fn cpus(&self) -> usize {
        self.cores.iter().map(Vec::len).sum()
    }

    /// The core that the kernel's own work and most interrupts like.
    fn first_core(&self) -> Option<u32> {
        self.cores.iter().min_by_key(|core| core[0].os_index).map(|core| core[0].core)
    }

    /// How many physical cores have at least one CPU.
    pub(super) fn whole_cores(&self) -> usize {
        self.cores.len()
    }
}

/// How many pinned threads have which role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) session_cores: u16,
    pub(super) workers: u16,
    /// Pinned threads: less than the sum of the two where some have both roles.
    pub(super) threads: usize,
    /// Elastic workers that get a core of their own: one more thread each.
    pub(super) elastic: usize,
}

impl Split {
    /// The split of this room that the wishes and the quota lead to.
    pub(super) fn choose(room: &Room, config: &PlanConfig) -> Self {
        let cpus_max = room.cpus().min(CORES_MAX);
        let free = cores_to_choose_from(room, config);
        let wished = |wish: Option<u16>| wish.map(|wish| usize::from(wish).min(cpus_max));
        let (sessions, workers) = match (wished(config.session_cores), wished(config.workers)) {
            (Some(sessions), Some(workers)) => (sessions, workers),
            (Some(sessions), None) => match free.saturating_sub(sessions) {
                0 => (sessions, sessions),
                left => (sessions, sessions.div_ceil(CORES_PER_WORKER - 1).min(left)),
            },
            (None, Some(workers)) => match free.saturating_sub(workers) {
                0 => (workers, workers),
                left => (left, workers),
            },
            // Measured: two cores carry more fused than split (docs/LAYOUTS.md).
            (None, None) if free <= 2 => (free, free),
            (None, None) => {
                let workers = free.div_ceil(CORES_PER_WORKER);
                (free - workers, workers)
            }
        };
        // Two chosen counts may both be `free` on a small machine: then every core has both
        // roles, although the siblings would hold them apart.
        let fused = (config.session_cores.is_none() || config.workers.is_none())
            && sessions == workers
            && sessions + workers > free;
        let threads = if fused { sessions } else { (sessions + workers).min(cpus_max) };
        let elastic = free.saturating_sub(threads).min(usize::from(config.elastic_workers));
        Self { session_cores: sessions as u16, workers: workers as u16, threads, elastic }
    }
}

/// Whole cores that a choice may use: within the quota, and from eight on without one that is
/// left to housekeeping.
pub(super) fn cores_to_choose_from(room: &Room, config: &PlanConfig) -> usize {
    let whole = room.whole_cores().min(CORES_MAX);
    let left = if whole >= CORES_WITH_HOUSEKEEPING_MIN { whole - 1 } else { whole };
    let quota = config.quota.map_or(usize::MAX, |quota| {
        usize::try_from(quota.milli_cpus() / 1_000).unwrap_or(usize::MAX)
    });
    left.min(quota).max(1)
}

/// One CPU of the plan and what is done there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    pub(super) cpu: Cpu,
    pub(super) serves_sessions: bool,
    pub(super) owns_documents: bool,
    /// Documents are owned only while they are hot.
    pub(super) is_elastic: bool,
}

/// The seats of the plan, L3 group by L3 group, with the roles spread evenly over them, so that a
/// session core finds a worker in its own group where the numbers allow it.
pub(super) fn seats(room: &Room, split: &Split) -> Vec<Seat> {
    let cpus = chosen_cpus(room, split.threads, split.elastic);
    let (threads, workers) = (cpus.len(), usize::from(split.workers));
    // Every seat without a worker serves sessions; what is wished beyond that falls on seats
    // with one.
    let both = usize::from(split.session_cores) - (threads - workers);
    let mut worker = 0;
    let mut seats = Vec::with_capacity(threads);
    for (at, cpu) in cpus.into_iter().enumerate() {
        let owns_documents = is_marked(at, workers, threads);
        let serves_sessions = !owns_documents || is_marked(worker, both, workers);
        worker += usize::from(owns_documents);
        seats.push(Seat { cpu, serves_sessions, owns_documents, is_elastic: false });
    }
    seats
}

/// The seats of elastic workers with a core of their own: whole cores that are left, nearest to the
/// others first, and the first core of the machine last.
pub(super) fn elastic_seats(room: &Room, split: &Split, seats: &[Seat]) -> Vec<Seat> {
    let Some(near) = seats.first().map(|seat| seat.cpu) else { return vec![] };
    let busy: BTreeSet<u32> = seats.iter().map(|seat| seat.cpu.core).collect();
    let first = room.first_core();
    let mut idle: Vec<Cpu> = room.cores.iter().map(|core| core[0]).collect();
    idle.retain(|cpu| !busy.contains(&cpu.core));
    idle.sort_by_key(|cpu| {
        let far = (cpu.package != near.package, cpu.node != near.node);
        (cpu.l3_group != near.l3_group, far, Some(cpu.core) == first, cpu.os_index)
    });
    let seat = |cpu| Seat { cpu, serves_sessions: false, owns_documents: true, is_elastic: true };
    idle.into_iter().take(split.elastic).map(seat).collect()
}

/// CPUs for the unpinned thread: of whole idle cores, else idle siblings, else all of the plan's
/// mask.
pub(super) fn housekeeping(topology: &Topology, mask: &CpuSet, seats: &[Seat]) -> CpuSet {
    let busy: CpuSet = seats.iter().map(|seat| seat.cpu.os_index).collect();
    let busy_cores: BTreeSet<u32> = seats.iter().map(|seat| seat.cpu.core).collect();
    let allowed = || topology.cpus().iter().filter(|cpu| mask.contains(cpu.os_index));
    let idle_cores: CpuSet =
        allowed().filter(|cpu| !busy_cores.contains(&cpu.core)).map(|cpu| cpu.os_index).collect();
    if !idle_cores.is_empty() {
        return idle_cores;
    }
    let siblings: CpuSet =
        allowed().map(|cpu| cpu.os_index).filter(|cpu| !busy.contains(*cpu)).collect();
    if siblings.is_empty() { busy } else { siblings }
}

/// Marks `marked` of `of` places, as evenly as whole numbers allow: any run of places has its
/// share, give or take one.
fn is_marked(place: usize, marked: usize, of: usize) -> bool {
    (place + 1) * marked / of > place * marked / of
}

/// The CPUs to use, group by group: first threads of cores first, siblings only when every core
/// is busy. If one group has room for `more` besides, it is such a one.
fn chosen_cpus(room: &Room, threads: usize, more: usize) -> Vec<Cpu> {
    let mut groups: BTreeMap<u32, Vec<&Vec<Cpu>>> = BTreeMap::new();
    for core in &room.cores {
        groups.entry(core[0].l3_group).or_default().push(core);
    }
    // The kernel's own work and most interrupts like the first core, so it is used last.
    let first = room.first_core();
    for cores in groups.values_mut() {
        cores.sort_by_key(|core| (Some(core[0].core) == first, core[0].os_index));
    }
    let order = group_order(&groups, threads, more);
    if order.len() > 1 && threads < room.whole_cores() {
        groups.values_mut().for_each(|cores| cores.retain(|core| Some(core[0].core) != first));
    }
    let mut siblings = threads.saturating_sub(room.whole_cores());
    let mut left = threads.min(room.whole_cores());
    let mut seats_by_group: Vec<Vec<Cpu>> = Vec::new();
    for group in &order {
        let mut chosen: Vec<Cpu> = groups[group].iter().take(left).map(|core| core[0]).collect();
        left -= chosen.len();
        chosen.sort_by_key(|cpu| cpu.os_index);
        seats_by_group.push(chosen);
    }
    let ranks = room.cores.iter().map(Vec::len).max().unwrap_or(0);
    for rank in 1..ranks {
        for (group, chosen) in order.iter().zip(&mut seats_by_group) {
            let more = groups[group].iter().filter_map(|core| core.get(rank).copied());
            let before = chosen.len();
            chosen.extend(more.take(siblings));
            siblings -= chosen.len() - before;
        }
    }
    seats_by_group.into_iter().flatten().collect()
}

/// The L3 groups in the order of use. One that holds all threads goes alone, the smallest such, if it can
/// be with room for `more` besides;
/// else the largest comes first and after it, again and again, the one nearest to it.
fn group_order(groups: &BTreeMap<u32, Vec<&Vec<Cpu>>>, threads: usize, more: usize) -> Vec<u32> {
    let holds_all = groups.iter().filter(|(_, cores)| cores.len() >= threads);
    let best = |(group, cores): &(&u32, &Vec<&Vec<Cpu>>)| {
        (cores.len() < threads + more, cores.len(), **group)
    };
    if let Some((group, _)) = holds_all.min_by_key(best) {
        return vec![*group];
    }
    let size_first = |group: &u32| (usize::MAX - groups[group].len(), *group);
    let Some(start) = groups.keys().copied().min_by_key(size_first) else { return vec![] };
    let home = groups[&start][0][0];
    let mut order: Vec<u32> = groups.keys().copied().collect();
    order.sort_by_key(|group| {
        let there = groups[group][0][0];
        let far = (there.package != home.package, there.node != home.node);
        (*group != start, far, size_first(group))
    });
    order
}
