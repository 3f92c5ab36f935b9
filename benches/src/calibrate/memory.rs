//! What lies in memory, from what was live at most in the samples.

use deltaworks_capacity::costs::MemoryCost;
use deltaworks_pipeline::stages::ring_bytes;

use super::cell::Sample;
use super::fit::Rows;
use crate::sizing::CHUNK_BYTES;

/// Costs of memory that the samples support.
pub fn fit(samples: &[Sample]) -> MemoryCost {
    let (mut documents, mut subscriptions) = (Rows::default(), Rows::default());
    let (mut sessions, mut nodes, mut chunks) = (Rows::default(), Rows::default(), Rows::default());
    for sample in samples {
        let (live, count) = (&sample.live, f64::from(sample.cell.documents));
        let state = (live.documents + live.names + live.producers) as f64;
        documents.add(&[count], state, state.max(1.0));
        subscriptions.add(&[count], live.subscriptions as f64, count);
        // A document has a handle of its writer and one of its reader.
        sessions.add(&[sample.sessions, 2.0 * count], live.sessions as f64, live.sessions as f64);
        let all = sample.chunks * CHUNK_BYTES as f64;
        chunks.add(&[all], live.chunks as f64, all);
        // Only what was written is in a window, and only what was written often is in all of it.
        let written = sample.batches * sample.cell.image_bytes();
        let images = written.min(live.chunks as f64) / sample.cell.image_bytes();
        nodes.add(&[images, count], live.nodes as f64, (live.nodes as f64).max(1.0));
    }
    let one = |rows: &Rows, at: usize| rows.costs().get(at).copied().unwrap_or_default();
    MemoryCost {
        chunk_bytes: CHUNK_BYTES as f64,
        chunk_share: one(&chunks, 0),
        document_bytes: one(&documents, 0) + one(&nodes, 1) + one(&sessions, 1),
        subscription_bytes: one(&subscriptions, 0) + one(&sessions, 1),
        session_bytes: one(&sessions, 0),
        image_bytes: one(&nodes, 0),
        message_bytes: ring_bytes(1, MESSAGES) as f64 / MESSAGES as f64,
    }
}

/// Messages of the ring that a message's bytes are taken from.
const MESSAGES: usize = 1 << 16;
