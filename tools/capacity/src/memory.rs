//! What lies in memory, by kind: no simulation, a sum.

use serde::Serialize;

use crate::costs::{Costs, table_places};
use crate::layout::Layout;
use crate::simulation::{CHUNKS_PER_CORE, Places};
use crate::workload::Workload;

/// Bytes of one kind.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Kind {
    /// What it is.
    pub kind: &'static str,
    /// How many bytes of it.
    pub bytes: f64,
}

/// All kinds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Memory {
    /// By kind.
    pub kinds: Vec<Kind>,
    /// Their sum.
    pub total_bytes: f64,
    /// Batches that windows hold.
    pub images: f64,
}

/// What a workload holds in memory once every chunk has been written, and `written_share` of the documents.
pub fn memory(
    costs: &Costs,
    workload: &Workload,
    layout: &Layout,
    places: &Places,
    written_share: f64,
) -> Memory {
    let it = &costs.memory;
    let serving = (0..layout.seats.len() as u16).filter(|core| places.writes(*core)).count() as f64;
    let chunks = f64::from(workload.chunks_per_core.unwrap_or(CHUNKS_PER_CORE));
    let chunk_share = if places.crosses() { it.crossing_chunk_share } else { it.chunk_share };
    let chunk_bytes = serving * chunks * it.chunk_bytes * chunk_share;
    let images = chunk_bytes / workload.image_bytes();
    let documents = f64::from(workload.documents);
    let subscriptions = documents * f64::from(workload.subscribers);
    let (publishers, readers) = (f64::from(workload.publishers), places.readers() as f64);
    let of_publisher = table_places(documents / publishers);
    let of_reader = table_places(subscriptions / readers.max(1.0));
    let handles = publishers * of_publisher + readers * of_reader;
    let state_bytes = it.document_bytes + written_share * it.written_bytes;
    let kinds = vec![
        Kind { kind: "chunks", bytes: chunk_bytes },
        Kind { kind: "nodes", bytes: images * it.image_bytes },
        Kind { kind: "documents", bytes: documents * state_bytes },
        Kind { kind: "subscriptions", bytes: subscriptions * it.subscription_bytes },
        Kind { kind: "sessions", bytes: (publishers + readers) * it.session_bytes },
        Kind { kind: "handles", bytes: handles * it.handle_bytes },
        Kind { kind: "rings", bytes: layout.ring_messages as f64 * it.message_bytes },
    ];
    let total_bytes = kinds.iter().map(|it| it.bytes).sum();
    Memory { kinds, total_bytes, images }
}
