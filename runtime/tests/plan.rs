//! Plans of machines by name, and what the checker says of plans that were spoilt on purpose.
#![cfg(all(target_os = "linux", not(loom)))]

use deltaworks_runtime::plan::{
    AgentKind, Note, Plan, PlanConfig, PlanError, PlanFault, PlannedAgent, PlannedCore, Reach,
    drawing, plan,
};
use deltaworks_runtime::topology::{CpuQuota, CpuSet, MemoryNode, Topology, TopologyError};

fn machine(description: &str) -> Topology {
    Topology::synthetic(description).expect("the description is good")
}

/// The plan for all CPUs of the machine, checked.
fn planned(topology: &Topology, config: &PlanConfig) -> Plan {
    planned_within(topology, &topology.all_cpus(), config)
}

fn planned_within(topology: &Topology, mask: &CpuSet, config: &PlanConfig) -> Plan {
    let plan = plan(topology, mask, config).expect("there is a plan");
    assert_eq!(plan.check(topology, mask), Ok(()));
    plan
}

fn wished(session_cores: u16, workers: u16) -> PlanConfig {
    PlanConfig {
        session_cores: Some(session_cores),
        workers: Some(workers),
        ..PlanConfig::default()
    }
}

fn cpus(plan: &Plan) -> Vec<u32> {
    plan.cores.iter().map(|core| core.cpu.os_index).collect()
}

fn set(list: &str) -> CpuSet {
    list.parse().expect("a CPU list")
}

#[test]
fn one_core_runs_all_three_agents() {
    let machine = machine("core:1 pu:1");
    let plan = planned(&machine, &PlanConfig::default());
    let kinds: Vec<AgentKind> = plan.cores[0].agents.iter().map(|agent| agent.kind).collect();
    assert_eq!(kinds, [AgentKind::Reception, AgentKind::Validation, AgentKind::Propagation]);
    assert_eq!((plan.cores.len(), plan.rings.len(), plan.memory.len()), (1, 1, 1));
    assert_eq!(plan.rings[0].reach, Reach::SameCpu);
    assert!(plan.cores[0].shared_with_housekeeping);
    assert_eq!(plan.notes, [Note::Fused { cores: 1 }, Note::HousekeepingShares]);
}

#[test]
fn two_cores_run_all_three_agents_each() {
    let machine = machine("core:2 pu:1");
    let plan = planned(&machine, &PlanConfig::default());
    assert_eq!((plan.session_cores, plan.workers), (2, 2));
    assert!(plan.cores.iter().all(|core| core.serves_sessions() && core.owns_documents()));
    assert_eq!(plan.rings.len(), 4, "every ordered pair and each core with itself");
    assert_eq!(plan.accepting_core(), Some(0));
}

#[test]
fn four_cores_keep_the_stages_apart() {
    let machine = machine("core:4 pu:1");
    let plan = planned(&machine, &PlanConfig::default());
    assert_eq!((plan.session_cores, plan.workers, plan.cores.len()), (3, 1, 4));
    assert!(plan.cores.iter().all(|core| core.serves_sessions() != core.owns_documents()));
    assert_eq!(plan.rings.len(), 6, "three session cores to the worker and back");
    let worker = plan.cores.iter().position(PlannedCore::owns_documents).unwrap() as u16;
    for core in (0..4).filter(|core| *core != worker) {
        assert!(plan.ring(core, worker).is_some() && plan.ring(worker, core).is_some());
        assert_eq!(plan.memory_node(core), Some(0));
    }
    assert_eq!(plan.memory_node(worker), None, "a worker has no chunks");
}

#[test]
fn eight_cores_leave_the_first_to_housekeeping() {
    let machine = machine("core:8 pu:1");
    let plan = planned(&machine, &PlanConfig::default());
    assert_eq!((plan.session_cores, plan.workers), (5, 2));
    assert_eq!(cpus(&plan), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(plan.housekeeping, set("0"));
    assert!(!plan.cores.iter().any(|core| core.shared_with_housekeeping));
    assert_eq!(plan.notes, []);
}

#[test]
fn sixty_four_cores_put_workers_into_every_l3_group() {
    let machine = machine("package:2 numa:2 l3:2 core:8 pu:1");
    let plan = planned(&machine, &PlanConfig::default());
    assert_eq!((plan.session_cores, plan.workers), (47, 16));
    assert_eq!(plan.housekeeping, set("0"), "the first core is left, although groups are filled");
    for group in 0..8 {
        let here = plan.cores.iter().filter(|core| core.cpu.l3_group == group);
        let workers = here.filter(|core| core.owns_documents()).count();
        assert!((1..=3).contains(&workers), "{workers} workers in group {group}");
    }
    for (index, core) in plan.cores.iter().enumerate().filter(|(_, core)| core.serves_sessions()) {
        assert_eq!(plan.memory_node(index as u16), Some(core.cpu.node));
    }
}

#[test]
fn one_hundred_and_ninety_two_cores_keep_their_inboxes_bounded() {
    let machine = machine("package:2 numa:4 l3:3 core:8 pu:2");
    assert_eq!(machine.cpus().len(), 384);
    let config = PlanConfig::default();
    let plan = planned(&machine, &config);
    assert_eq!(plan.cores.len(), 191);
    for to in 0..191 {
        let into = plan.rings.iter().filter(|ring| ring.to == to);
        let messages: u32 = into.map(|ring| ring.messages).sum();
        assert!(messages <= config.inbox_messages_max);
    }
    let first_threads = plan.cores.iter().all(|core| core.cpu.smt_rank == 0);
    assert!(first_threads, "no sibling is busy");
}

#[test]
fn more_cores_than_a_plan_holds_are_left_idle() {
    let machine = machine("package:64 core:64 pu:1");
    let plan = planned(&machine, &PlanConfig::default());
    assert!(plan.cores.len() <= deltaworks_runtime::plan::CORES_MAX);
    assert!(plan.ring_messages >= 1);
}

#[test]
fn siblings_stay_idle_while_whole_cores_are_left() {
    let machine = machine("core:4 pu:2");
    let plan = planned(&machine, &PlanConfig::default());
    assert_eq!(cpus(&plan), [0, 2, 4, 6]);
    assert_eq!(plan.housekeeping, set("1,3,5,7"), "idle siblings, as no core is idle");
    let crowded = planned(&machine, &wished(5, 1));
    assert_eq!(crowded.cores.len(), 6);
    assert!(crowded.notes.contains(&Note::SiblingsBusy { cores: 2 }));
}

#[test]
fn one_core_with_two_threads_is_one_core() {
    let machine = machine("core:1 pu:2");
    let plan = planned(&machine, &PlanConfig::default());
    assert_eq!((cpus(&plan), &plan.housekeeping), (vec![0], &set("1")));
}

#[test]
fn holes_in_the_mask_are_not_used() {
    let machine = machine("package:2 l3:1 core:4 pu:2");
    let mask = set("1,4-5,9,15");
    let plan = planned_within(&machine, &mask, &PlanConfig::default());
    assert!(plan.cores.iter().all(|core| mask.contains(core.cpu.os_index)));
    assert_eq!(plan.cores.len(), 4, "four cores have a CPU in the mask, one of them two");
    assert!(plan.housekeeping.iter().all(|cpu| mask.contains(cpu)));
    let beyond = planned_within(&machine, &set("3,99"), &PlanConfig::default());
    assert_eq!(cpus(&beyond), [3]);
    assert!(beyond.notes.contains(&Note::MaskBeyondMachine { cpus: set("99") }));
}

#[test]
fn fewer_cores_than_agents_are_fused_and_told() {
    let machine = machine("core:3 pu:1");
    let plan = planned(&machine, &wished(2, 2));
    assert_eq!(plan.cores.len(), 3);
    assert!(plan.notes.contains(&Note::Fused { cores: 1 }));
    let plan = planned(&machine, &wished(7, 4));
    assert_eq!((plan.session_cores, plan.workers, plan.cores.len()), (3, 3, 3));
    let kind = AgentKind::Reception;
    assert!(plan.notes.contains(&Note::FewerThanWished { kind, wished: 7, planned: 3 }));
    let kind = AgentKind::Validation;
    assert!(plan.notes.contains(&Note::FewerThanWished { kind, wished: 4, planned: 3 }));
}

#[test]
fn a_wish_for_one_role_leaves_the_other_to_be_chosen() {
    let machine = machine("core:8 pu:1");
    let sessions = PlanConfig { session_cores: Some(3), ..PlanConfig::default() };
    let plan = planned(&machine, &sessions);
    assert_eq!((plan.session_cores, plan.workers), (3, 1));
    let workers = PlanConfig { workers: Some(4), ..PlanConfig::default() };
    let plan = planned(&machine, &workers);
    assert_eq!((plan.session_cores, plan.workers), (3, 4));
    let all = PlanConfig { session_cores: Some(8), ..PlanConfig::default() };
    let plan = planned(&machine, &all);
    assert_eq!((plan.session_cores, plan.workers, plan.cores.len()), (8, 8, 8));
}

#[test]
fn a_small_plan_takes_the_smallest_l3_group_that_holds_it() {
    let machine = machine("package:2 l3:2 core:4 pu:1");
    let mask = set("0-3,4-6,8-15");
    let plan = planned_within(&machine, &mask, &wished(2, 1));
    assert_eq!(cpus(&plan), [4, 5, 6]);
    assert!(plan.rings.iter().all(|ring| ring.reach <= Reach::SameL3));
}

fn elastic(session_cores: u16, workers: u16, elastic_workers: u16) -> PlanConfig {
    PlanConfig { elastic_workers, ..wished(session_cores, workers) }
}

#[test]
fn hot_documents_get_the_cores_that_are_left_and_the_rest_share() {
    let big = machine("core:16 pu:2");
    let plan = planned(&big, &elastic(4, 2, 24));
    let alone: Vec<u16> = (6..15).collect();
    let of = |shares: bool| {
        let some = plan.elastic.iter().filter(move |elastic| elastic.shares == shares);
        some.map(|elastic| elastic.core).collect::<Vec<u16>>()
    };
    assert_eq!(of(false), alone, "all but one, which is housekeeping's");
    assert!(alone.iter().all(|core| plan.cores[usize::from(*core)].is_elastic));
    let workers: Vec<u16> =
        (0..6).filter(|at| plan.cores[usize::from(*at)].owns_documents()).collect();
    let shared = of(true);
    assert_eq!(shared.len(), 15);
    assert_eq!(shared[..4], [workers[0], workers[1], workers[0], workers[1]]);
    assert!(plan.elastic.iter().all(|elastic| elastic.weight == 1));
    assert!(plan.cores.iter().all(|core| core.cpu.smt_rank == 0), "no siblings");
    assert_eq!(plan.workers, 2, "those at which documents are at home");
    // Without a spare core all share; fewer take fewer cores.
    let small = planned(
        &machine("core:2 pu:1"),
        &PlanConfig { elastic_workers: 24, ..PlanConfig::default() },
    );
    assert_eq!((small.cores.len(), small.elastic.len()), (2, 24));
    assert!(small.elastic.iter().all(|elastic| elastic.shares));
    let few = planned(&big, &elastic(4, 2, 3));
    assert_eq!((few.cores.len(), few.elastic.len()), (9, 3));
    // They stand in the group of the others, as far as it goes.
    let groups = machine("package:2 l3:2 core:4 pu:1");
    let plan = planned(&groups, &elastic(1, 1, 2));
    assert!(plan.cores.iter().all(|core| core.cpu.l3_group == plan.cores[0].cpu.l3_group));
    let plan = planned(&groups, &elastic(2, 1, 5));
    let near = plan.cores.iter().filter(|core| core.cpu.package == plan.cores[0].cpu.package);
    assert_eq!((plan.cores.len(), near.count()), (8, 8), "the package before the machine");
}

#[test]
fn elastic_workers_that_contradict_the_plan_are_found_out() {
    let machine = machine("core:8 pu:1");
    let good = planned(&machine, &elastic(2, 1, 5));
    let own = good.elastic.iter().position(|elastic| !elastic.shares).expect("one is alone");
    let core = good.elastic[own].core;
    type Spoil<'a> = &'a dyn Fn(&mut Plan);
    let spoilt: [(&str, Spoil<'_>); 5] = [
        ("a core of its own without a worker", &|plan| plan.elastic.retain(|it| it.shares)),
        ("two alone on one core", &|plan| plan.elastic.push(plan.elastic[own])),
        ("alone on a core that it shares", &|plan| plan.elastic[own].shares = true),
        ("no share at all", &|plan| plan.elastic[own].weight = 0),
        ("sharing a session core", &|plan| plan.elastic[own].core = 0),
    ];
    for (what, spoil) in spoilt {
        let mut plan = good.clone();
        spoil(&mut plan);
        let fault = plan.check(&machine, &machine.all_cpus());
        assert!(matches!(fault, Err(PlanFault::ElasticWrong { .. })), "{what}: {fault:?} {core}");
    }
}

#[test]
fn groups_of_one_package_are_taken_together() {
    let machine = machine("package:2 numa:2 l3:2 core:2 pu:1");
    let plan = planned(&machine, &wished(5, 2));
    let packages: Vec<u32> = plan.cores.iter().map(|core| core.cpu.package).collect();
    assert!(packages.iter().all(|package| *package == packages[0]), "{packages:?}");
}

#[test]
fn a_quota_bounds_what_is_chosen_and_is_told() {
    let machine = machine("core:16 pu:1");
    let quota = Some(CpuQuota { quota_us: 450_000, period_us: 100_000 });
    let config = PlanConfig { quota, ..PlanConfig::default() };
    let plan = planned(&machine, &config);
    assert_eq!(plan.cores.len(), 4);
    let note = Note::QuotaBounds { quota_milli_cpus: 4_500, whole_cores: 16 };
    assert!(plan.notes.contains(&note));
    let plan = planned(&machine, &PlanConfig { quota, ..wished(6, 2) });
    assert_eq!(plan.cores.len(), 8, "a wish is followed");
    let note = Note::QuotaExceeded { quota_milli_cpus: 4_500, threads: 8 };
    assert!(plan.notes.contains(&note));
    let little = Some(CpuQuota { quota_us: 20_000, period_us: 100_000 });
    let plan = planned(&machine, &PlanConfig { quota: little, ..PlanConfig::default() });
    assert_eq!(plan.cores.len(), 1);
    let ample = Some(CpuQuota { quota_us: 1_600_000, period_us: 100_000 });
    let plan = planned(&machine, &PlanConfig { quota: ample, ..PlanConfig::default() });
    assert_eq!((plan.cores.len(), plan.notes.len()), (15, 0));
}

#[test]
fn memory_of_a_forbidden_node_is_told() {
    let free = machine("numa:2 core:2 pu:1");
    let nodes: Vec<MemoryNode> = free
        .nodes()
        .iter()
        .map(|node| MemoryNode { allowed: node.os_index == 0, ..*node })
        .collect();
    let bound = Topology::new(free.cpus().to_vec(), nodes).unwrap();
    let plan = planned(&bound, &PlanConfig::default());
    assert!(plan.notes.contains(&Note::NodeForbidden { node: 1 }));
}

#[test]
fn rings_of_one_message_can_be_planned() {
    let machine = machine("core:4 pu:1");
    let config = PlanConfig { ring_messages: 1, ..PlanConfig::default() };
    assert!(planned(&machine, &config).rings.iter().all(|ring| ring.messages == 1));
}

#[test]
fn what_cannot_be_planned_is_an_error() {
    let machine = machine("core:4 pu:1");
    let all = machine.all_cpus();
    let default = PlanConfig::default();
    let refused = |mask: &CpuSet, config: &PlanConfig| plan(&machine, mask, config).unwrap_err();
    for mask in [CpuSet::new(), set("4-9")] {
        assert_eq!(refused(&mask, &default), PlanError::NoCpu { mask: mask.clone() });
    }
    let config = PlanConfig { session_cores: Some(0), ..default.clone() };
    assert_eq!(refused(&all, &config), PlanError::NoSessionCores);
    let config = PlanConfig { workers: Some(0), ..default.clone() };
    assert_eq!(refused(&all, &config), PlanError::NoWorkers);
    let config = PlanConfig { ring_messages: 0, ..default.clone() };
    assert_eq!(refused(&all, &config), PlanError::RingOfNothing);
    let config = PlanConfig { inbox_messages_max: 511, ..default };
    assert_eq!(refused(&all, &config), PlanError::InboxTooSmall { inbox_messages_max: 511 });
}

#[test]
fn this_machine_can_be_planned() {
    let machine = Topology::of_this_machine().unwrap();
    let allowed = deltaworks_runtime::topology::Allowance::of_this_process().unwrap();
    let config = PlanConfig { quota: allowed.quota, ..PlanConfig::default() };
    planned_within(&machine, &allowed.mask, &config);
}

#[test]
fn parts_that_do_not_fit_make_no_topology() {
    let good = machine("numa:2 core:2 pu:2");
    let (cpus, nodes) = (good.cpus().to_vec(), good.nodes().to_vec());
    let spoilt = |spoil: &dyn Fn(&mut Vec<_>, &mut Vec<_>)| {
        let (mut cpus, mut nodes) = (cpus.clone(), nodes.clone());
        spoil(&mut cpus, &mut nodes);
        Topology::new(cpus, nodes).unwrap_err()
    };
    assert!(matches!(spoilt(&|cpus, _| cpus.clear()), TopologyError::NoCpu));
    let error = spoilt(&|cpus, _| cpus[1].os_index = 0);
    assert!(matches!(error, TopologyError::CpuTwice { cpu: 0 }));
    let error = spoilt(&|cpus, _| cpus[1].os_index = 8_192);
    assert!(matches!(error, TopologyError::TooManyCpus { cpus: 8_193 }));
    let error = spoilt(&|_, nodes| nodes[1].os_index = 0);
    assert!(matches!(error, TopologyError::NodeTwice { node: 0 }));
    let error = spoilt(&|_, nodes| nodes.truncate(1));
    assert!(matches!(error, TopologyError::NodeUnknown { cpu: 4, node: 1 }));
    let error = spoilt(&|cpus, _| cpus[1].l3_group = 7);
    assert!(matches!(error, TopologyError::CoreDivided { core: 0 }));
    let error = spoilt(&|cpus, _| cpus[1].smt_rank = 0);
    assert!(matches!(error, TopologyError::CoreDivided { core: 0 }));
}

/// Each rule of the checker, broken in a plan that was good before.
#[test]
fn every_spoilt_plan_is_found_out() {
    // Cores 0..3 in one L3 group of four, a second group of four behind it; session cores and a
    // worker with one idle core left in the group.
    let machine = machine("package:2 numa:1 l3:1 core:4 pu:2");
    let mask = set("0-15");
    let good = planned_within(&machine, &mask, &wished(2, 1));
    assert_eq!(cpus(&good), [2, 4, 6]);
    let worker = good.cores.iter().position(PlannedCore::owns_documents).unwrap();
    assert_eq!(worker, 2);
    let cpu = |os_index: u32| *machine.cpu(os_index).unwrap();
    let agent = |kind, number| PlannedAgent { kind, number };
    type Spoil<'a> = Box<dyn Fn(&mut Plan) + 'a>;
    let cases: Vec<(&str, Spoil<'_>, PlanFault)> = vec![
        (
            "two agents on one CPU by two threads",
            Box::new(|plan| plan.cores[1].cpu = plan.cores[0].cpu),
            PlanFault::CpuTwice { cpu: 2 },
        ),
        (
            "a CPU that the machine has elsewhere",
            Box::new(|plan| plan.cores[0].cpu.node = 1),
            PlanFault::CpuUnknown { cpu: 2 },
        ),
        (
            "an agent in the place of another",
            Box::new(|plan| plan.cores[worker].agents = vec![agent(AgentKind::Reception, 1)]),
            PlanFault::AgentTwice { agent: agent(AgentKind::Reception, 1) },
        ),
        (
            "a core without agents",
            Box::new(|plan| plan.cores[worker].agents.clear()),
            PlanFault::CoreIdle { core: 2 },
        ),
        (
            "a worker that is counted and not there",
            Box::new(|plan| plan.workers = 2),
            PlanFault::AgentMissing { agent: agent(AgentKind::Validation, 1) },
        ),
        (
            "a worker that is there and not counted",
            Box::new(|plan| plan.workers = 0),
            PlanFault::AgentUncounted { agent: agent(AgentKind::Validation, 0) },
        ),
        (
            "reception and propagation apart",
            Box::new(|plan| {
                let propagation = plan.cores[0].agents.pop().unwrap();
                plan.cores[worker].agents.push(propagation);
            }),
            PlanFault::AgentsDoNotFit { core: 0 },
        ),
        (
            "a busy sibling",
            Box::new(|plan| plan.cores[1].cpu = cpu(3)),
            PlanFault::SiblingBusy { cpu: 3, idle_cpu: 0 },
        ),
        (
            "a core in the other L3 group",
            Box::new(|plan| {
                plan.cores[worker].cpu = cpu(8);
                for ring in &mut plan.rings {
                    ring.reach = Reach::Machine;
                }
            }),
            PlanFault::RingLeavesL3 { from: 0, to: 2, l3_group: 0 },
        ),
        (
            "a ring left out",
            Box::new(|plan| {
                let _ = plan.rings.remove(0);
            }),
            PlanFault::RingMissing { from: 0, to: 2 },
        ),
        (
            "the last ring left out",
            Box::new(|plan| {
                let _ = plan.rings.pop();
            }),
            PlanFault::RingMissing { from: 2, to: 1 },
        ),
        (
            "a ring twice",
            Box::new(|plan| plan.rings.insert(0, plan.rings[0])),
            PlanFault::RingNeedless { from: 0, to: 2 },
        ),
        (
            "a ring between session cores",
            Box::new(|plan| {
                let mut ring = plan.rings[0];
                ring.to = 1;
                plan.rings.push(ring);
            }),
            PlanFault::RingNeedless { from: 0, to: 1 },
        ),
        (
            "a ring of no message",
            Box::new(|plan| plan.rings[1].messages = 0),
            PlanFault::RingWrong { from: 1, to: 2 },
        ),
        (
            "a ring that says that it is nearer",
            Box::new(|plan| plan.rings[1].reach = Reach::SameCpu),
            PlanFault::RingWrong { from: 1, to: 2 },
        ),
        (
            "chunks on the wrong node",
            Box::new(|plan| plan.memory[1].node = 1),
            PlanFault::MemoryFarAway { core: 1, node: 1, nearest: 0 },
        ),
        (
            "chunks without a place",
            Box::new(|plan| {
                let _ = plan.memory.pop();
            }),
            PlanFault::MemoryMisplaced { core: 1 },
        ),
        (
            "chunks for a worker",
            Box::new(|plan| {
                let mut place = plan.memory[0];
                place.core = 2;
                plan.memory.push(place);
            }),
            PlanFault::MemoryMisplaced { core: 2 },
        ),
        (
            "no CPU for housekeeping",
            Box::new(|plan| plan.housekeeping = CpuSet::new()),
            PlanFault::HousekeepingOutsideMask,
        ),
        (
            "housekeeping on a sibling while cores are idle",
            Box::new(|plan| {
                let _ = plan.housekeeping.insert(3);
            }),
            PlanFault::HousekeepingInTheWay { cpu: 3 },
        ),
        (
            "a core that hides that it is shared",
            Box::new(|plan| plan.cores[1].shared_with_housekeeping = true),
            PlanFault::HousekeepingInTheWay { cpu: 4 },
        ),
    ];
    for (name, spoil, fault) in &cases {
        let mut spoilt = good.clone();
        spoil(&mut spoilt);
        assert_eq!(spoilt.check(&machine, &mask), Err(*fault), "{name}");
    }
    let narrow = set("0-3,6-15");
    let outside = PlanFault::CpuOutsideMask { cpu: 4 };
    assert_eq!(good.check(&machine, &narrow), Err(outside));
}

#[test]
fn workers_heaped_in_one_l3_group_are_found_out() {
    let machine = machine("package:2 l3:1 core:4 pu:1");
    let mask = machine.all_cpus();
    let mut plan = planned(&machine, &wished(4, 4));
    // Sorted by role, all session cores come to stand in the first group.
    let mut agents: Vec<Vec<PlannedAgent>> =
        plan.cores.iter().map(|core| core.agents.clone()).collect();
    agents.sort();
    for (core, agents) in plan.cores.iter_mut().zip(agents) {
        core.agents = agents;
    }
    plan.rings = rings_by_hand(&plan);
    let fault = plan.check(&machine, &mask).unwrap_err();
    assert!(matches!(fault, PlanFault::WorkersFarAway { .. }), "{fault:?}");
}

/// What the rings of these cores must be, told anew: every pair with a worker in it.
fn rings_by_hand(plan: &Plan) -> Vec<deltaworks_runtime::plan::PlannedRing> {
    let mut rings = Vec::new();
    for (from, sender) in plan.cores.iter().enumerate() {
        for (to, receiver) in plan.cores.iter().enumerate() {
            if from != to && (sender.owns_documents() || receiver.owns_documents()) {
                rings.push(deltaworks_runtime::plan::PlannedRing {
                    from: from as u16,
                    to: to as u16,
                    messages: plan.ring_messages,
                    reach: Reach::between(&sender.cpu, &receiver.cpu),
                });
            }
        }
    }
    rings
}

#[test]
fn a_drawing_shows_every_cpu_and_stays_within_its_width() {
    for description in ["core:1 pu:1", "core:8 pu:2", "package:2 numa:4 l3:3 core:8 pu:2"] {
        let machine = machine(description);
        let plan = planned(&machine, &PlanConfig::default());
        let drawing = drawing::draw(&plan, &machine);
        for line in drawing.lines() {
            assert!(line.chars().count() <= drawing::WIDTH_COLUMNS_MAX, "{line}");
        }
        for kind in ["reception", "validation", "propagation"] {
            assert!(drawing.contains(kind) || drawing.contains("all three"), "{drawing}");
        }
        let picture = drawing.split("\n\n").nth(1).expect("the machine is the second part");
        // The part of each row behind the names, up to the legend.
        let is_legend =
            |row: &&str| row.get(2..4).is_some_and(|start| start.ends_with(' ') && start != "  ");
        let rows = picture.lines().take_while(|row| !is_legend(row));
        let rows: String = rows.flat_map(|row| row.chars().skip(30)).collect();
        let letters = rows.chars().filter(|letter| "SWFh.".contains(*letter)).count();
        assert_eq!(letters, machine.cpus().len(), "{drawing}");
        let busy = rows.chars().filter(|letter| "SWF".contains(*letter)).count();
        assert_eq!(busy, plan.cores.len(), "{drawing}");
    }
}

#[test]
fn the_drawing_of_four_cores_reads_like_this() {
    let machine = machine("core:4 pu:2");
    let plan = planned(&machine, &wished(2, 1));
    let drawn = "\
3 pinned threads on 8 CPUs: 2 session cores and 1 worker, 4 rings

  package 0 · node 0 · L3 0   hh S. S. W.
  S reception + propagation, W validation, h housekeeping, . unused

  core 0 · CPU 2              reception 0, propagation 0
  core 1 · CPU 4              reception 1, propagation 1
  core 2 · CPU 6              validation 0

  rings                       4 within an L3 group; 1024 messages each
  memory node 0               chunks of CPUs 2, 4

  housekeeping                unpinned, on CPUs 0-1
";
    assert_eq!(drawing::draw(&plan, &machine), drawn);
}

#[test]
fn elastic_workers_are_drawn() {
    let machine = machine("core:8 pu:1");
    let drawn = drawing::draw(&planned(&machine, &elastic(2, 1, 6)), &machine);
    let expected = "\
  package 0 · node 0 · L3 0   h S S W E E E E
  S reception + propagation, W validation, E one hot document, h housekeeping
";
    assert!(drawn.contains(expected), "{drawn}");
    let expected = "\
  elastic workers             4 alone, on CPUs 4-7; 2 share the cores of
                              workers, by weight 1 each, behind their other
                              documents
";
    assert!(drawn.contains(expected), "{drawn}");
}

#[test]
fn a_plan_is_told_as_json() {
    let machine = machine("core:2 pu:1");
    let plan = planned(&machine, &wished(1, 1));
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["cores"][0]["cpu"]["os_index"], 0);
    assert_eq!(json["cores"][0]["agents"][0]["kind"], "reception");
    assert_eq!(json["rings"][0]["reach"], "same_l3");
    assert_eq!(json["memory"][0]["node"], 0);
    assert_eq!(json["housekeeping"], "0-1");
    assert_eq!(json["notes"][0]["note"], "housekeeping_shares");
    let json = serde_json::to_value(&machine).unwrap();
    assert_eq!(json["cpus"][1]["core"], 1);
}
