//! hwloc's view of a machine, this one or a described one, turned into a [`Topology`].
//!
//! hwloc is asked once and let go; nothing of it stays in the value.
#![cfg(all(target_os = "linux", not(loom)))]

use std::collections::BTreeMap;

use hwlocality::Topology as Hwloc;
use hwlocality::object::TopologyObject;
use hwlocality::object::types::ObjectType;
use hwlocality::topology::builder::{BuildFlags, TopologyBuilder};

use super::{Cpu, MemoryNode, SyntheticError, Topology, TopologyError};

impl Topology {
    /// The topology of the machine that this process runs on, with the CPUs and nodes that the
    /// cgroup forbids. Reads sysfs through hwloc: milliseconds, allocates.
    ///
    /// # Errors
    /// [`TopologyError::Hwloc`] if hwloc fails, [`TopologyError::TooManyCpus`] and the others if
    /// what it tells does not fit together.
    pub fn of_this_machine() -> Result<Self, TopologyError> {
        let hwloc = TopologyBuilder::new()
            .with_flags(BuildFlags::INCLUDE_DISALLOWED)
            .map_err(|error| TopologyError::Hwloc(Box::new(error)))?
            .build()
            .map_err(|error| TopologyError::Hwloc(Box::new(error)))?;
        from_hwloc(&hwloc)
    }

    /// The topology of a described machine, such as `package:2 numa:4 l3:2 core:8 pu:2`, in
    /// hwloc's notation (hwloc manual, "Synthetic topologies") without attributes.
    ///
    /// # Errors
    /// [`TopologyError::Synthetic`] if the text is not understood or makes too many CPUs.
    pub fn synthetic(description: &str) -> Result<Self, TopologyError> {
        Self::described_cpus(description)?;
        let hwloc = TopologyBuilder::new()
            .from_synthetic(description)
            .map_err(|_| SyntheticError::Refused)?
            .build()
            .map_err(|error| TopologyError::Hwloc(Box::new(error)))?;
        from_hwloc(&hwloc)
    }
}

fn from_hwloc(hwloc: &Hwloc) -> Result<Topology, TopologyError> {
    let nodes = memory_nodes(hwloc);
    let mut cores = Numbers::default();
    let mut groups = Numbers::default();
    let mut packages = Numbers::default();
    let mut threads: BTreeMap<u32, u32> = BTreeMap::new();
    let mut cpus = Vec::new();
    for pu in hwloc.objects_with_type(ObjectType::PU) {
        let Some(os_index) = pu.os_index() else { continue };
        let above = |kind| pu.first_ancestor_with_type(kind).map(TopologyObject::logical_index);
        let package = packages.number((0, above(ObjectType::Package).unwrap_or(0)));
        let node = closest_node(pu, &nodes);
        // A machine that tells no cores (some guests) is taken as one CPU a core, and one that
        // tells no L3 as one cache a memory node: what lies closest together counts as shared.
        let core = match above(ObjectType::Core) {
            Some(core) => cores.number((0, core)),
            None => cores.number((1, pu.logical_index())),
        };
        let l3_group = match above(ObjectType::L3Cache) {
            Some(cache) => groups.number((0, cache)),
            None => groups.number((1 + package as usize, node as usize)),
        };
        let threads = threads.entry(core).or_default();
        let smt_rank = *threads;
        *threads += 1;
        let os_index = narrow(os_index);
        cpus.push(Cpu { os_index, core, smt_rank, l3_group, node, package });
    }
    Topology::new(cpus, nodes.into_iter().map(|seen| seen.node).collect())
}

struct SeenNode<'a> {
    node: MemoryNode,
    object: &'a TopologyObject,
}

fn memory_nodes(hwloc: &Hwloc) -> Vec<SeenNode<'_>> {
    let allowed = hwloc.allowed_nodeset();
    hwloc
        .objects_with_type(ObjectType::NUMANode)
        .filter_map(|object| {
            let os_index = object.os_index()?;
            let node = MemoryNode {
                os_index: narrow(os_index),
                memory_bytes: object.total_memory(),
                allowed: object.nodeset().is_none_or(|set| allowed.includes(&*set)),
            };
            Some(SeenNode { node, object })
        })
        .collect()
}

/// The node with memory that the fewest CPUs share with this one; the lowest number among
/// equals, because a node of fast but small memory beside the main one has the higher number.
fn closest_node(pu: &TopologyObject, nodes: &[SeenNode<'_>]) -> u32 {
    let Some(cpu) = pu.cpuset() else { return 0 };
    nodes
        .iter()
        .filter_map(|seen| {
            let around = seen.object.cpuset()?;
            let distance = (seen.node.memory_bytes == 0, around.weight(), seen.node.os_index);
            around.includes(&*cpu).then_some(distance)
        })
        .min()
        .map_or(0, |(_, _, os_index)| os_index)
}

/// Dense numbers from 0, in the order of first sight.
#[derive(Default)]
struct Numbers(BTreeMap<(usize, usize), u32>);

impl Numbers {
    fn number(&mut self, key: (usize, usize)) -> u32 {
        let next = narrow(self.0.len());
        *self.0.entry(key).or_insert(next)
    }
}

/// What does not fit becomes a number that [`Topology::new`] refuses.
fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_described_machine_has_the_parts_it_names() {
        let machine = Topology::synthetic("package:2 numa:4 l3:2 core:8 pu:2").unwrap();
        assert_eq!(machine.cpus().len(), 256);
        assert_eq!(machine.nodes().len(), 8);
        let last = machine.cpus().last().unwrap();
        assert_eq!(
            (last.core, last.smt_rank, last.l3_group, last.node, last.package),
            (127, 1, 15, 7, 1)
        );
        let in_first_group = machine.cpus().iter().filter(|cpu| cpu.l3_group == 0).count();
        assert_eq!(in_first_group, 16);
    }

    #[test]
    fn without_an_l3_the_memory_node_stands_for_it() {
        let machine = Topology::synthetic("numa:2 core:4 pu:1").unwrap();
        assert_eq!(machine.cpus()[3].l3_group, 0);
        assert_eq!(machine.cpus()[4].l3_group, 1);
        assert_eq!(machine.cpus()[4].node, 1);
    }

    #[test]
    fn without_cores_every_cpu_is_one() {
        let machine = Topology::synthetic("pu:3").unwrap();
        let cores: Vec<u32> = machine.cpus().iter().map(|cpu| cpu.core).collect();
        assert_eq!(cores, [0, 1, 2]);
    }

    #[test]
    fn an_l3_may_span_memory_nodes() {
        let machine = Topology::synthetic("l3:1 numa:2 core:2 pu:1").unwrap();
        assert!(machine.cpus().iter().all(|cpu| cpu.l3_group == 0));
        assert_eq!(machine.cpus()[3].node, 1);
    }

    #[test]
    fn this_machine_is_read_with_every_cpu_that_the_process_may_use() {
        let machine = Topology::of_this_machine().unwrap();
        let allowed = super::super::Allowance::of_this_process().unwrap();
        for cpu in allowed.mask.iter() {
            assert!(machine.cpu(cpu).is_some(), "CPU {cpu} is allowed and not in the topology");
        }
    }
}
