//! Which cores the daemon uses, and for what: the plan for this machine and this process.

use deltaworks_pipeline::stages::{CORES_MAX, CoreRole};
use deltaworks_runtime::plan::{Plan, PlanConfig, PlanError, plan};
use deltaworks_runtime::topology::{Allowance, CpuQuota, CpuSet, Topology};
use deltaworks_server::CorePlacement;

use crate::config::Config;
use crate::quantity::counted;

/// The cores that the plan found, and what a person should be told of it.
#[derive(Debug)]
pub struct Placement {
    /// The cores, by index.
    pub cores: Vec<CorePlacement>,
    /// Where the housekeeping thread may run.
    pub housekeeping: CpuSet,
    /// What a person should know: wishes that were scaled down, cores that do everything.
    pub notes: Vec<String>,
}

/// Cores that are wished, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// Cores that own documents.
    pub core_workers: u16,
    /// Cores that serve sessions.
    pub propagation_workers: u16,
    /// Elastic workers, on cores that are left or shared ones.
    pub elastic_workers: u16,
}

/// The placement on the CPUs that this process may use.
///
/// # Errors
/// A sentence, if the machine cannot be read or planned for.
pub fn place(config: &Config) -> Result<Placement, String> {
    let topology = Topology::of_this_machine().map_err(|error| format!("topology: {error}"))?;
    let allowance = Allowance::of_this_process().map_err(|error| format!("CPU mask: {error}"))?;
    let count = config.cores.map_or(CORES_MAX, usize::from).clamp(1, CORES_MAX);
    let mask: CpuSet = allowance.mask.iter().take(count).collect();
    let wishes = Wishes {
        core_workers: config.core_workers,
        propagation_workers: config.propagation_workers,
        elastic_workers: config.max_elastic_workers,
    };
    let plan = plan_within(&topology, &mask, allowance.quota, wishes)
        .map_err(|error| format!("plan: {error}"))?;
    plan.check(&topology, &mask)
        .map_err(|fault| format!("the plan contradicts itself: {fault}"))?;
    let mut notes = scaled_down(&plan, wishes);
    notes.extend(plan.notes.iter().map(ToString::to_string));
    Ok(Placement { cores: cores_of(&plan), housekeeping: plan.housekeeping, notes })
}

/// The plan that has at most the wished cores of each role.
///
/// Wishes that fit the cores together are taken as they are. Otherwise the plan divides the cores as
/// it would without wishes; where that is more than one of them, it is cut to it and the rest is
/// divided anew.
fn plan_within(
    topology: &Topology,
    mask: &CpuSet,
    quota: Option<CpuQuota>,
    wishes: Wishes,
) -> Result<Plan, PlanError> {
    let elastic_workers = wishes.elastic_workers;
    let mut config = PlanConfig { quota, elastic_workers, ..PlanConfig::default() };
    let free = plan(topology, mask, &config)?;
    let (workers, sessions) = (wishes.core_workers, wishes.propagation_workers);
    if usize::from(workers) + usize::from(sessions) <= free.cores.len() {
        config.workers = Some(workers);
        config.session_cores = Some(sessions);
        return plan(topology, mask, &config);
    }
    let mut planned = free;
    while planned.workers > workers || planned.session_cores > sessions {
        if planned.workers > workers {
            config.workers = Some(workers);
        } else {
            config.session_cores = Some(sessions);
        }
        planned = plan(topology, mask, &config)?;
    }
    Ok(planned)
}

fn scaled_down(plan: &Plan, wishes: Wishes) -> Vec<String> {
    let cores = plan.cores.len();
    let pairs = [
        ("core_workers", wishes.core_workers, plan.workers),
        ("propagation_workers", wishes.propagation_workers, plan.session_cores),
    ];
    let scaled = pairs.into_iter().filter(|(_, wished, planned)| wished > planned);
    scaled
        .map(|(key, wished, planned)| {
            format!(
                "{key} {wished} is scaled down to {planned}: the plan has {}",
                counted(cores, "core")
            )
        })
        .collect()
}

fn cores_of(plan: &Plan) -> Vec<CorePlacement> {
    let cores = plan.cores.iter();
    cores
        .map(|core| CorePlacement {
            cpu: Some(core.cpu.os_index as usize),
            // Also of a worker without sessions, for the images that it keeps.
            numa_node: Some(core.cpu.node),
            role: CoreRole {
                serves_sessions: core.serves_sessions(),
                owns_documents: core.owns_documents(),
                is_elastic: core.is_elastic,
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use deltaworks_pipeline::placement::elastic_places;

    use super::*;

    /// Workers, session cores and threads on a machine of so many cores.
    fn planned(cores: u32, core_workers: u16, propagation_workers: u16) -> (u16, u16, usize) {
        let topology =
            Topology::synthetic(&format!("numa:1 l3:1 core:{cores} pu:1")).expect("a description");
        let wishes = Wishes { core_workers, propagation_workers, elastic_workers: 0 };
        let plan = plan_within(&topology, &topology.all_cpus(), None, wishes).expect("a plan");
        plan.check(&topology, &topology.all_cpus()).expect("a plan without contradictions");
        (plan.workers, plan.session_cores, plan.cores.len())
    }

    /// The plan and the stages number elastic workers alike, and mean the same cores.
    #[test]
    fn the_stages_place_elastic_workers_as_the_plan_says() {
        for (cores, elastic_workers, alone) in [(64, 24, 15), (64, 3, 3), (2, 24, 0), (8, 5, 0)] {
            let topology = Topology::synthetic(&format!("numa:1 l3:1 core:{cores} pu:1"))
                .expect("a description");
            let wishes = Wishes { core_workers: 32, propagation_workers: 16, elastic_workers };
            let plan = plan_within(&topology, &topology.all_cpus(), None, wishes).expect("a plan");
            let roles: Vec<CoreRole> = cores_of(&plan).iter().map(|core| core.role).collect();
            let with = |pick: fn(&CoreRole) -> bool| {
                let roles = roles.iter().enumerate();
                roles.filter(move |(_, role)| pick(role)).map(|(core, _)| core)
            };
            let workers: Vec<usize> =
                with(|role| role.is_home()).chain(with(|role| role.is_elastic)).collect();
            let own_cores = with(|role| role.is_elastic).count() as u16;
            assert_eq!(own_cores, alone, "{cores} cores");
            let places = elastic_places(plan.workers, own_cores, elastic_workers);
            assert_eq!(places.len(), plan.elastic.len());
            for (place, planned) in places.iter().zip(&plan.elastic) {
                assert_eq!(workers[usize::from(place.worker)], usize::from(planned.core));
                assert_eq!(place.has_own_core, !planned.shares);
                assert_eq!(place.weight, planned.weight);
            }
        }
    }

    #[test]
    fn every_core_has_its_memory_on_its_node() {
        let topology = Topology::synthetic("numa:2 l3:1 core:8 pu:1").expect("a description");
        let wishes = Wishes { core_workers: 4, propagation_workers: 8, elastic_workers: 2 };
        let plan = plan_within(&topology, &topology.all_cpus(), None, wishes).expect("a plan");
        let cores = cores_of(&plan);
        assert!(cores.iter().any(|core| core.role.is_home() && !core.role.serves_sessions));
        for (core, planned) in cores.iter().zip(&plan.cores) {
            assert_eq!(core.numa_node, Some(planned.cpu.node));
        }
    }

    #[test]
    fn wishes_that_fit_are_taken_and_others_are_scaled_down() {
        assert_eq!(planned(64, 32, 16), (32, 16, 48), "the machine that the defaults are for");
        assert_eq!(planned(2, 32, 16), (2, 2, 2), "both cores do both");
        assert_eq!(planned(8, 32, 16), (2, 5, 7), "as the plan would without wishes");
        assert_eq!(planned(8, 3, 4), (3, 4, 7), "as wished");
        assert_eq!(planned(8, 1, 16), (1, 6, 7), "one worker, the rest serves");
        assert_eq!(planned(8, 16, 1).1, 1);
        assert_eq!(planned(2, 1, 1), (1, 1, 2));
        assert_eq!(planned(1, 1, 1), (1, 1, 1));
        for cores in [1, 2, 3, 5, 8, 16, 40, 64] {
            for (workers, sessions) in [(1, 1), (1, 9), (9, 1), (2, 3), (32, 16), (512, 512)] {
                let (planned_workers, planned_sessions, _) = planned(cores, workers, sessions);
                assert!(planned_workers <= workers && planned_sessions <= sessions);
                assert!(planned_workers > 0 && planned_sessions > 0);
            }
        }
    }
}
