//! The rest of the chunk memory, made present while the server already serves.
//!
//! A thread for each memory node goes through the node's regions one after another, from the
//! server's start until their chunks are there: some tenths of a second, most of it the kernel's
//! clearing. It runs on CPUs of its node only, so that pages lie there also where the kernel does not
//! bind them, and behind whoever else wants to run there, cores first of all. The first chunk of
//! each region was made present by its core. A core that needs a chunk before its thread has come
//! to it clears it itself, which is slower once and never wrong.

use std::collections::BTreeMap;
use std::thread::JoinHandle;

use deltaworks_runtime::chunk_memory::{ChunkMemory, RegionId, RegionSpec};
use deltaworks_runtime::ending::PhaseWord;
use deltaworks_runtime::pinned::{confine_to_node, yield_to_others};
use deltaworks_runtime::sync::Arc;
use tracing::warn;

use crate::observer::Observer;
use crate::station::SERVING;

/// The threads that do it.
pub(crate) struct Prefault(Vec<JoinHandle<()>>);

impl Prefault {
    /// Begins for all `regions`, which are those of `memory`; stops when the server does not serve any
    /// more. What is not granted is logged, and told by `observer`.
    pub fn begin(
        memory: &Arc<ChunkMemory>,
        regions: &[RegionSpec],
        phase: &PhaseWord,
        observer: &Observer,
    ) -> Self {
        let begun = by_node(regions).into_iter().map(|(node, regions)| {
            let (memory, phase) = (Arc::clone(memory), phase.clone());
            let observer = observer.clone();
            let name = node.map_or("prefault".to_owned(), |node| format!("prefault{node}"));
            let begun = std::thread::Builder::new().name(name).spawn(move || {
                // Both change only where pages lie and whom this disturbs: what the system
                // refuses of it is no reason to leave chunks absent.
                let _ = yield_to_others();
                let _ = node.map(confine_to_node);
                for region in regions {
                    for downgrade in memory.prefault_rest(region, || phase.get() == SERVING) {
                        if observer.note(&downgrade) {
                            warn!("{downgrade}");
                        }
                    }
                }
            });
            // Without a thread, cores clear what they need.
            begun.inspect_err(|lack| {
                warn!("chunks are made present only as they are needed: no thread for it: {lack}");
            })
        });
        Self(begun.filter_map(Result::ok).collect())
    }

    /// Waits until all have ended: a chunk's time, once the phase has changed.
    pub fn join(self) {
        for thread in self.0 {
            // A panic has told why on standard error.
            let _ = thread.join();
        }
    }
}

/// The regions of each node, and of none.
fn by_node(regions: &[RegionSpec]) -> BTreeMap<Option<u32>, Vec<RegionId>> {
    let mut by_node = BTreeMap::<_, Vec<_>>::new();
    for (region, spec) in (0..).map(RegionId).zip(regions) {
        by_node.entry(spec.numa_node).or_default().push(region);
    }
    by_node
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_one_thread_for_all_of_its_regions() {
        let on = |numa_node| RegionSpec { chunks: 2, numa_node };
        let regions = [on(Some(1)), on(Some(0)), on(None), on(Some(1))];
        let of_nodes: Vec<_> = by_node(&regions).into_iter().collect();
        let told = [
            (None, vec![RegionId(2)]),
            (Some(0), vec![RegionId(1)]),
            (Some(1), vec![RegionId(0), RegionId(3)]),
        ];
        assert_eq!(of_nodes, told);
    }
}
