//! The rest of the chunk memory, made present while the server already serves.
//!
//! A thread for each region, not pinned, from the server's start until its chunks are there: some
//! tenths of a second, most of it the kernel's clearing. The first chunk of each region was made
//! present by its core. A core that needs a chunk before its thread has come to it clears it itself,
//! which is slower once and never wrong.

use std::thread::JoinHandle;

use deltaworks_runtime::chunk_memory::{ChunkMemory, RegionId};
use deltaworks_runtime::ending::PhaseWord;
use deltaworks_runtime::sync::Arc;
use tracing::warn;

use crate::observer::Observer;
use crate::station::SERVING;

/// The threads that do it.
pub(crate) struct Prefault(Vec<JoinHandle<()>>);

impl Prefault {
    /// Begins for all regions; stops when the server does not serve any more. What is not granted is
    /// logged, and told by `observer`.
    pub fn begin(memory: &Arc<ChunkMemory>, phase: &PhaseWord, observer: &Observer) -> Self {
        let regions = (0..memory.regions()).map(RegionId);
        let begun = regions.map(|region| {
            let (memory, phase) = (Arc::clone(memory), phase.clone());
            let observer = observer.clone();
            let named = std::thread::Builder::new().name(format!("prefault{}", region.0));
            named.spawn(move || {
                for downgrade in memory.prefault_rest(region, || phase.get() == SERVING) {
                    if observer.note(&downgrade) {
                        warn!("{downgrade}");
                    }
                }
            })
        });
        // Without a thread, cores clear what they need.
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
