//! Properties of plans over random machines, masks and wishes. The rules are told here once more
//! and not taken from the checker, so that the one can be wrong without the other.
#![cfg(not(loom))]

use std::collections::{BTreeMap, BTreeSet};

use deltaworks_runtime::plan::{AgentKind, Plan, PlanConfig, drawing, plan};
use deltaworks_runtime::topology::{Cpu, CpuQuota, CpuSet, MemoryNode, Topology};
use proptest::prelude::*;

/// A machine of uneven parts: packages with nodes with L3 groups with cores of one to three
/// threads, the kernel's numbers shuffled over all of them.
fn machines() -> impl Strategy<Value = Topology> {
    let core = 1_usize..=3;
    let group = prop::collection::vec(core, 1..=6);
    let node = prop::collection::vec(group, 1..=3);
    let package = prop::collection::vec(node, 1..=2);
    let machine = prop::collection::vec(package, 1..=3);
    machine
        .prop_flat_map(|packages| {
            let cpus = packages.iter().flatten().flatten().flatten().sum::<usize>() as u32;
            let numbers: Vec<u32> = (0..cpus).map(|cpu| cpu * 2).collect();
            (Just(packages), Just(numbers).prop_shuffle())
        })
        .prop_map(|(packages, numbers)| build(&packages, numbers))
}

fn build(packages: &[Vec<Vec<Vec<usize>>>], numbers: Vec<u32>) -> Topology {
    let mut numbers = numbers.into_iter();
    let (mut cpus, mut nodes) = (Vec::new(), Vec::new());
    let (mut core, mut l3_group, mut node) = (0, 0, 0);
    for (package, node_parts) in (0..).zip(packages) {
        for groups in node_parts {
            nodes.push(MemoryNode { os_index: node, memory_bytes: 1 << 30, allowed: true });
            for cores in groups {
                for threads in cores {
                    for smt_rank in 0..*threads as u32 {
                        let os_index = numbers.next().expect("one number a CPU");
                        cpus.push(Cpu { os_index, core, smt_rank, l3_group, node, package });
                    }
                    core += 1;
                }
                l3_group += 1;
            }
            node += 1;
        }
    }
    Topology::new(cpus, nodes).expect("the parts fit together")
}

/// A machine and a mask that leaves it at least one CPU, and may name others.
fn machines_with_masks() -> impl Strategy<Value = (Topology, CpuSet)> {
    machines().prop_flat_map(|machine| {
        let cpus: Vec<u32> = machine.cpus().iter().map(|cpu| cpu.os_index).collect();
        let count = cpus.len();
        let some = prop::sample::subsequence(cpus, 1..=count);
        let mask = (some, prop::collection::vec(0_u32..200, 0..3))
            .prop_map(|(some, stray)| some.into_iter().chain(stray).collect::<CpuSet>());
        (Just(machine), mask)
    })
}

fn configs() -> impl Strategy<Value = PlanConfig> {
    let wish = || prop::option::of(1_u16..40);
    let quota = prop::option::of(
        (1_u64..3_000_000).prop_map(|quota_us| CpuQuota { quota_us, period_us: 100_000 }),
    );
    (wish(), wish(), 0_u16..30, quota, 1_u32..5_000).prop_map(
        |(session_cores, workers, elastic_workers, quota, ring_messages)| PlanConfig {
            session_cores,
            workers,
            elastic_workers,
            quota,
            ring_messages,
            ..PlanConfig::default()
        },
    )
}

fn allowed<'a>(machine: &'a Topology, mask: &'a CpuSet) -> impl Iterator<Item = &'a Cpu> {
    machine.cpus().iter().filter(|cpu| mask.contains(cpu.os_index))
}

/// How many elastic workers have a core of their own.
fn alone(plan: &Plan) -> u16 {
    plan.cores.iter().filter(|core| core.is_elastic).count() as u16
}

/// Each elastic worker has a core alone, or shares one with a worker; none shares while a whole core
/// is left over, beside that of housekeeping.
fn elastic_workers_stand(
    plan: &Plan,
    config: &PlanConfig,
    whole_cores: usize,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(plan.elastic.len(), usize::from(config.elastic_workers));
    let mut on_core = vec![0; plan.cores.len()];
    for elastic in &plan.elastic {
        let core = &plan.cores[usize::from(elastic.core)];
        prop_assert!(core.owns_documents() && core.is_elastic != elastic.shares);
        prop_assert!(!core.is_elastic || !core.serves_sessions());
        on_core[usize::from(elastic.core)] += 1;
    }
    let counts = |is_elastic: bool| {
        let cores = plan.cores.iter().zip(&on_core);
        cores.filter(move |(core, _)| core.owns_documents() && core.is_elastic == is_elastic)
    };
    prop_assert!(counts(true).all(|(_, count)| *count == 1));
    let shared: Vec<i32> = counts(false).map(|(_, count)| *count).collect();
    prop_assert!(
        shared.iter().max().zip(shared.iter().min()).is_some_and(|(max, min)| max - min <= 1)
    );
    let shares = plan.elastic.iter().any(|elastic| elastic.shares);
    let has_spare = config.quota.is_none() && plan.cores.len() + 1 < whole_cores.min(512);
    prop_assert!(!(shares && has_spare), "{} of {whole_cores} cores", plan.cores.len());
    Ok(())
}

fn agents_stand_once(plan: &Plan) -> Result<(), TestCaseError> {
    let mut counts: BTreeMap<(AgentKind, u16), usize> = BTreeMap::new();
    for agent in plan.cores.iter().flat_map(|core| &core.agents) {
        *counts.entry((agent.kind, agent.number)).or_default() += 1;
    }
    prop_assert!(counts.values().all(|count| *count == 1));
    let of_kind =
        |kind| counts.keys().filter(move |(of, _)| *of == kind).map(|(_, number)| *number);
    for (kind, expected) in [
        (AgentKind::Reception, plan.session_cores),
        (AgentKind::Validation, plan.workers + alone(plan)),
        (AgentKind::Propagation, plan.session_cores),
    ] {
        prop_assert!(of_kind(kind).eq(0..expected), "{kind:?}");
    }
    Ok(())
}

fn ring_ends_are_near(
    plan: &Plan,
    room: &BTreeMap<u32, BTreeSet<u32>>,
) -> Result<(), TestCaseError> {
    let steady: Vec<_> = plan.cores.iter().filter(|core| !core.is_elastic).collect();
    let groups: BTreeSet<u32> = steady.iter().map(|core| core.cpu.l3_group).collect();
    let has_room = |count: usize| room.values().any(|cores| cores.len() >= count);
    if has_room(steady.len()) {
        prop_assert_eq!(groups.len(), 1, "one group had room for them");
    }
    if has_room(plan.cores.len()) {
        let all = plan.cores.iter().map(|core| core.cpu.l3_group).collect::<BTreeSet<u32>>();
        prop_assert_eq!(all.len(), 1, "one group had room for all");
    }
    for group in groups {
        let here = steady.iter().filter(|core| core.cpu.l3_group == group);
        let (cores, workers) = here.fold((0, 0), |(cores, workers), core| {
            (cores + 1, workers + usize::from(core.owns_documents()))
        });
        let share = cores * usize::from(plan.workers) / steady.len();
        prop_assert!(workers == share || workers == share + 1, "{workers} of {share}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn plans_keep_the_rules((machine, mask) in machines_with_masks(), config in configs()) {
        let plan = plan(&machine, &mask, &config).expect("one CPU is enough for a plan");
        agents_stand_once(&plan)?;

        let used: BTreeSet<u32> = plan.cores.iter().map(|core| core.cpu.os_index).collect();
        prop_assert_eq!(used.len(), plan.cores.len(), "no CPU twice");
        prop_assert!(used.iter().all(|cpu| mask.contains(*cpu)), "no CPU outside the mask");

        let mut room: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for cpu in allowed(&machine, &mask) {
            room.entry(cpu.l3_group).or_default().insert(cpu.core);
        }
        ring_ends_are_near(&plan, &room)?;

        let busy_cores: BTreeSet<u32> = plan.cores.iter().map(|core| core.cpu.core).collect();
        let whole_cores: usize = room.values().map(BTreeSet::len).sum();
        elastic_workers_stand(&plan, &config, whole_cores)?;
        if busy_cores.len() < plan.cores.len() {
            prop_assert_eq!(busy_cores.len(), whole_cores, "a sibling is busy, a core idle");
        }

        for (index, core) in plan.cores.iter().enumerate() {
            let node = core.serves_sessions().then_some(core.cpu.node);
            prop_assert_eq!(plan.memory_node(index as u16), node);
        }
        for (from, sender) in plan.cores.iter().enumerate() {
            for (to, receiver) in plan.cores.iter().enumerate() {
                let talk = match from == to {
                    true => sender.agents.len() == 3,
                    false => sender.owns_documents() || receiver.owns_documents(),
                };
                prop_assert_eq!(plan.ring(from as u16, to as u16).is_some(), talk);
            }
        }
        prop_assert_eq!(plan.check(&machine, &mask), Ok(()));
    }

    #[test]
    fn a_plan_depends_on_nothing_but_its_arguments(
        (machine, mask) in machines_with_masks(),
        config in configs(),
    ) {
        prop_assert_eq!(plan(&machine, &mask, &config), plan(&machine, &mask, &config));
    }

    #[test]
    fn a_moved_core_is_found_out(
        (machine, mask) in machines_with_masks(),
        config in configs(),
        which in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
    ) {
        let mut plan = plan(&machine, &mask, &config).expect("one CPU is enough for a plan");
        let core = which.index(plan.cores.len());
        let others: Vec<&Cpu> = machine
            .cpus()
            .iter()
            .filter(|cpu| plan.cores.iter().any(|core| core.cpu == **cpu) || !mask.contains(cpu.os_index))
            .filter(|cpu| **cpu != plan.cores[core].cpu)
            .collect();
        prop_assume!(!others.is_empty());
        plan.cores[core].cpu = *others[to.index(others.len())];
        prop_assert!(plan.check(&machine, &mask).is_err());
    }

    #[test]
    fn chunks_on_another_node_are_found_out(
        (machine, mask) in machines_with_masks(),
        config in configs(),
        which in any::<prop::sample::Index>(),
        by in 1_u32..4,
    ) {
        let mut plan = plan(&machine, &mask, &config).expect("one CPU is enough for a plan");
        let place = which.index(plan.memory.len());
        plan.memory[place].node += by;
        prop_assert!(plan.check(&machine, &mask).is_err());
    }

    #[test]
    fn drawings_stay_within_their_width(
        (machine, mask) in machines_with_masks(),
        config in configs(),
    ) {
        let plan = plan(&machine, &mask, &config).expect("one CPU is enough for a plan");
        for line in drawing::draw(&plan, &machine).lines() {
            prop_assert!(line.chars().count() <= drawing::WIDTH_COLUMNS_MAX, "{}", line);
        }
    }

    #[test]
    fn lists_of_cpus_are_read_back(cpus in prop::collection::btree_set(0_u32..8_192, 0..50)) {
        let set: CpuSet = cpus.iter().copied().collect();
        prop_assert_eq!(set.to_string().parse::<CpuSet>(), Ok(set));
    }

    #[test]
    fn no_text_upsets_the_reader_of_cpu_lists(text in "[0-9,:/ \\-x]{0,40}") {
        if let Ok(set) = text.parse::<CpuSet>() {
            prop_assert_eq!(set.to_string().parse::<CpuSet>(), Ok(set));
        }
    }
}

#[cfg(target_os = "linux")]
proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn described_machines_have_the_cpus_that_were_described(
        words in prop::collection::vec(
            (prop::sample::select(vec!["package", "die", "numa", "l3", "l2", "l1", "core"]), 0_usize..5),
            0..6,
        ),
        threads in 1_usize..4,
    ) {
        let text: String = words.iter().map(|(level, count)| format!("{level}:{count} ")).collect();
        let cpus = words.iter().map(|(_, count)| count).product::<usize>() * threads;
        if let Ok(machine) = Topology::synthetic(&format!("{text}pu:{threads}")) {
            prop_assert_eq!(machine.cpus().len(), cpus);
            let plan = plan(&machine, &machine.all_cpus(), &PlanConfig::default());
            prop_assert_eq!(plan.expect("a plan").check(&machine, &machine.all_cpus()), Ok(()));
        }
    }
}
