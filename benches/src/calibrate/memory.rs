//! What lies in memory, from what was live at most in the samples.

use deltaworks_capacity::costs::MemoryCost;
use deltaworks_capacity::popularity::different;
use deltaworks_pipeline::stages::ring_bytes;

use super::cell::Sample;
use super::fit::Rows;
use crate::sizing::CHUNK_BYTES;

/// Costs of memory that the samples support.
pub fn fit(samples: &[Sample]) -> MemoryCost {
    let (mut documents, mut subscriptions) = (Rows::default(), Rows::default());
    let (mut sessions, mut nodes) = (Rows::default(), Rows::default());
    let mut chunks = [Rows::default(), Rows::default()];
    for sample in samples {
        let (live, count) = (&sample.live, f64::from(sample.cell.documents));
        let state = (live.documents + live.names + live.producers) as f64;
        documents.add(&[count], state, state.max(1.0));
        subscriptions.add(&[count], live.subscriptions as f64, count);
        let of_sessions = live.sessions as f64;
        sessions.add(&[sample.sessions, sample.handle_places], of_sessions, of_sessions);
        let all = sample.chunks * CHUNK_BYTES as f64;
        chunks[usize::from(sample.crossing > 0.0)].add(&[all], live.chunks as f64, all);
        // Only what was written is in a window, and only what was written often is in all of it.
        let written = sample.batches * sample.cell.image_bytes();
        let images = written.min(live.chunks as f64) / sample.cell.image_bytes();
        let of_nodes = (live.nodes as f64).max(1.0);
        nodes.add(&[images, different(count, sample.batches)], of_nodes, of_nodes);
    }
    let one = |rows: &Rows, at: usize| rows.costs().get(at).copied().unwrap_or_default();
    let [alone, crossing] = chunks.map(|rows| one(&rows, 0));
    MemoryCost {
        chunk_bytes: CHUNK_BYTES as f64,
        chunk_share: alone,
        crossing_chunk_share: if crossing > 0.0 { crossing } else { alone },
        document_bytes: one(&documents, 0),
        written_bytes: one(&nodes, 1),
        subscription_bytes: one(&subscriptions, 0),
        session_bytes: one(&sessions, 0),
        handle_bytes: one(&sessions, 1),
        image_bytes: one(&nodes, 0),
        message_bytes: ring_bytes(1, MESSAGES) as f64 / MESSAGES as f64,
    }
}

/// Messages of the ring that a message's bytes are taken from.
const MESSAGES: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::super::cell::Cell;
    use super::*;
    use crate::pipeline::Live;
    use deltaworks_capacity::costs::table_places;

    /// What a run of these sizes comes to.
    fn sample(cores: usize, documents: u32, batch: u32, batches: f64) -> Sample {
        let cell = Cell::new(cores, documents, batch);
        let count = f64::from(documents);
        let chunks = 8.0 * cores as f64;
        let share = if cores > 1 { 1.0 } else { 0.75 };
        let chunk_bytes = share * chunks * CHUNK_BYTES as f64;
        let images = (chunk_bytes / cell.image_bytes()).min(batches);
        let handle_places = 2.0 * table_places(count);
        Sample {
            crossing: if cores > 1 { 0.5 } else { 0.0 },
            batches,
            chunks,
            sessions: 2.0,
            handle_places,
            live: Live {
                chunks: chunk_bytes as u64,
                nodes: (18.0 * images + 110.0 * different(count, batches)) as u64,
                documents: (288.0 * count) as u64,
                names: (6.0 * count) as u64,
                producers: (64.0 * count) as u64,
                subscriptions: (64.0 * count) as u64,
                sessions: (2.0 * 152.0 + 64.0 * handle_places) as u64,
                ..Live::default()
            },
            ..Sample::nothing(cell)
        }
    }

    #[test]
    fn sizes_that_were_put_in_come_out() {
        let samples: Vec<Sample> =
            [(1, 1, 1), (1, 1000, 16), (1, 300_000, 2), (2, 2000, 1), (2, 60_000, 64)]
                .into_iter()
                .flat_map(|(cores, documents, batch)| {
                    [2e5, 9e5].map(|batches| sample(cores, documents, batch, batches))
                })
                .collect();
        let found = fit(&samples);
        let near = |is: f64, must: f64| (is / must - 1.0).abs() < 0.02;
        assert!(near(found.document_bytes, 358.0) && near(found.subscription_bytes, 64.0));
        assert!(near(found.session_bytes, 152.0) && near(found.handle_bytes, 64.0), "{found:?}");
        assert!(near(found.written_bytes, 110.0) && near(found.image_bytes, 18.0), "{found:?}");
        assert!(near(found.chunk_share, 0.75) && near(found.crossing_chunk_share, 1.0));
        // A run whose documents are larger is seen.
        let mut spoilt = samples;
        spoilt.iter_mut().for_each(|it| it.live.documents *= 3);
        assert!(!near(fit(&spoilt).document_bytes, 358.0));
    }
}
