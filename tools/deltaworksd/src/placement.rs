//! Which cores the daemon uses, and for what: the plan for this machine and this process.

use deltaworks_pipeline::stages::{CORES_MAX, CoreRole};
use deltaworks_runtime::plan::{Plan, PlanConfig, plan};
use deltaworks_runtime::topology::{Allowance, CpuSet, Topology};
use deltaworks_server::CorePlacement;

/// The cores that the plan found, and what a person should be told of it.
#[derive(Debug)]
pub(crate) struct Placement {
    pub cores: Vec<CorePlacement>,
    pub notes: Vec<String>,
}

/// Plans for at most `at_most` CPUs of this process's mask.
pub(crate) fn place(at_most: Option<u16>) -> Result<Placement, String> {
    let topology = Topology::of_this_machine().map_err(|error| format!("topology: {error}"))?;
    let allowance = Allowance::of_this_process().map_err(|error| format!("CPU mask: {error}"))?;
    let count = at_most.map_or(CORES_MAX, usize::from).clamp(1, CORES_MAX);
    let mask: CpuSet = allowance.mask.iter().take(count).collect();
    let config = PlanConfig { quota: allowance.quota, ..PlanConfig::default() };
    let plan = plan(&topology, &mask, &config).map_err(|error| format!("plan: {error}"))?;
    plan.check(&topology, &mask)
        .map_err(|fault| format!("the plan contradicts itself: {fault}"))?;
    let notes = plan.notes.iter().map(ToString::to_string).collect();
    Ok(Placement { cores: cores_of(&plan), notes })
}

fn cores_of(plan: &Plan) -> Vec<CorePlacement> {
    let cores = plan.cores.iter().enumerate();
    cores
        .map(|(index, core)| CorePlacement {
            cpu: Some(core.cpu.os_index as usize),
            numa_node: plan.memory_node(index as u16),
            role: CoreRole {
                serves_sessions: core.serves_sessions(),
                owns_documents: core.owns_documents(),
            },
        })
        .collect()
}
