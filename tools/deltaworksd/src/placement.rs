//! Which cores the daemon uses, and for what.

use deltaworks_pipeline::stages::{CORES_MAX, CoreRole};
use deltaworks_server::CorePlacement;

/// The cores: every CPU of the process's mask, each serving sessions and owning documents.
pub(crate) fn cores(at_most: Option<u16>) -> Result<Vec<CorePlacement>, String> {
    let available = std::thread::available_parallelism().map_err(|error| error.to_string())?;
    let count = at_most.map_or(CORES_MAX, usize::from).min(CORES_MAX).min(available.get());
    let role = CoreRole { serves_sessions: true, owns_documents: true };
    Ok((0..count).map(|cpu| CorePlacement { cpu: Some(cpu), numa_node: None, role }).collect())
}
