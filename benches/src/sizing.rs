//! How large everything is made for a run: documents, chunks and node blocks within one budget.
//!
//! The same kinds as the daemon divides its budget by; a run whose worst case exceeds the budget is
//! refused before it begins.

use deltaworks_pipeline::limits::Limits;
use deltaworks_pipeline::stages::ring_bytes;
use deltaworks_pipeline::stream::{BLOCK_BYTES, NODES_PER_BLOCK};

/// Bytes of a chunk.
pub const CHUNK_BYTES: usize = 2 << 20;

/// Messages that each ring holds.
pub const RING_CAPACITY: usize = 4096;

/// Chunks of a core if nobody says otherwise: little enough to stay near the cache.
const CHUNKS: u64 = 8;

/// State of a document: shared, hot and cold part, directory, mark, name.
const DOCUMENT_BYTES: u64 = 32 + 64 + 176 + 64 + 1 + 32;
/// A producer, a subscription, and two handles (the writer's and the reader's).
const OPENED_BYTES: u64 = 64 + 80 + 2 * 80;

/// What a run asks for.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Cores, each with sessions and documents.
    pub cores: usize,
    /// Documents over all cores.
    pub documents: u32,
    /// Bytes of each image.
    pub image_bytes: usize,
    /// Chunks of each core, if said.
    pub chunks: Option<u32>,
    /// The budget.
    pub budget_mib: u64,
}

/// How large everything is.
#[derive(Clone, Debug)]
pub struct Sizing {
    /// Chunks of each core.
    pub chunks: u32,
    /// Node blocks over all workers.
    pub node_blocks: u32,
    /// Limits of each core.
    pub limits: Limits,
    /// Bytes at most, over all kinds.
    pub worst_case_bytes: u64,
}

/// Divides the budget.
///
/// # Errors
/// If the budget is too small.
pub fn size(request: Request) -> Result<Sizing, String> {
    let cores = request.cores as u64;
    let documents = u64::from(request.documents);
    let per_core = documents.div_ceil(cores);
    let chunks = u64::from(request.chunks.unwrap_or(CHUNKS as u32));
    let images = chunks * cores * (CHUNK_BYTES / request.image_bytes + 1) as u64;
    // Each document's first and last block may be partly used.
    let node_blocks = images.div_ceil(u64::from(NODES_PER_BLOCK)) + 2 * documents;
    let runs_bytes = images * 8;
    let worst_case_bytes = chunks * cores * CHUNK_BYTES as u64
        + node_blocks * BLOCK_BYTES as u64
        + runs_bytes
        + documents * (DOCUMENT_BYTES + OPENED_BYTES)
        + ring_bytes(request.cores, RING_CAPACITY);
    if worst_case_bytes > request.budget_mib << 20 {
        return Err(format!(
            "a budget of {} MiB is too small: {} documents and {chunks} chunks a core need {} MiB",
            request.budget_mib,
            request.documents,
            worst_case_bytes.div_ceil(1 << 20)
        ));
    }
    let of_core = per_core as u32;
    let limits = Limits {
        handles_per_session_max: of_core.max(1024),
        handles_per_core_max: 2 * of_core,
        documents_per_worker_max: of_core,
        names_bytes_per_worker_max: per_core * 32,
        producers_per_worker_max: of_core,
        subscriptions_per_core_max: of_core,
        // What is on its way is bounded by the chunks.
        credit_bytes: u32::MAX,
        ..Limits::default()
    };
    let node_blocks = node_blocks as u32;
    Ok(Sizing { chunks: chunks as u32, node_blocks, limits, worst_case_bytes })
}
