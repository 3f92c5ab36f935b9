//! What is settled before the first thread starts: cores, sizes, addresses, collections.
//!
//! Made from a configuration, this machine and the schema files; it binds nothing. `--check` makes
//! one and throws it away.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use deltaworks_pipeline::collection::Collections;
use deltaworks_pipeline::limits::Limits;
use deltaworks_protocol::server::Config as ProtocolConfig;
use deltaworks_runtime::idle::IdleBudget;
use deltaworks_server::sizing::{
    BUDGET_BYTES, BUDGET_BYTES_PER_SESSION_CORE, Sizing, SizingRequest, size,
};
use deltaworks_server::{AccessConfig, CorePlacement, Inherited, ServerConfig};

use crate::collections;
use crate::config::Config;
use crate::exit::Failure;
use crate::placement::{self, Placement};

/// All that a server is started from.
#[derive(Debug)]
pub struct Arrangement {
    /// The cores, and what a person should know of them.
    pub placement: Placement,
    /// How the budget is divided.
    pub sizing: Sizing,
    /// The collections, compiled.
    pub collections: Collections,
    /// The group of Unix sockets.
    pub unix_group: Option<u32>,
}

impl Arrangement {
    /// The arrangement for this machine.
    ///
    /// # Errors
    /// If the machine cannot be read, or the configuration does not fit it: everything that is
    /// wrong with the latter.
    pub fn new(config: &Config) -> Result<Self, Failure> {
        let (placement, sizing) = sizes(config)?;
        let mut faults = Vec::new();
        let workers = placement.cores.iter().filter(|core| core.role.is_home()).count();
        let collections = collections::load(&config.collections, workers);
        let collections = collections.map_err(|told| faults.extend(told));
        let unix_group = config.unix_group.0.as_deref().map(group).transpose();
        let unix_group = unix_group.map_err(|told| faults.push(told));
        match (collections, unix_group) {
            (Ok(collections), Ok(unix_group)) => {
                Ok(Self { placement, sizing, collections, unix_group })
            }
            _ => Err(Failure::usage(faults.join("\n"))),
        }
    }

    /// What a server is started from. Sockets that were handed over stand for those that the
    /// configuration would choose by itself; what it names is listened on besides.
    pub fn into_server_config(
        self,
        config: &Config,
        inherited: Vec<(String, Inherited)>,
    ) -> ServerConfig {
        let sizing = self.sizing;
        let mut placement = sizing.limits.placement;
        placement.elastic_workers_max = config.max_elastic_workers;
        placement.tune(config.placement());
        let limits = Limits {
            credit_bytes: config.credit_bytes,
            handles_per_session_max: config.documents_per_session,
            quotas: config.quotas(),
            message_deadline_ns: config.message_deadline_seconds * 1_000_000_000,
            idle_unload_ns: config.idle_unload_seconds * 1_000_000_000,
            placement,
            ..sizing.limits
        };
        let mut protocol = ProtocolConfig::default();
        protocol.limits.image_bytes_max = limits.image_bytes_max;
        protocol.limits.deltas_per_batch_max = limits.deltas_per_batch_max;
        protocol.documents_per_session_max = limits.handles_per_session_max;
        protocol.name_bytes_max = limits.name_bytes_max;
        protocol.hello_deadline_ms = config.hello_deadline_seconds * 1000;
        protocol.ping_interval_ms = config.ping_interval_seconds * 1000;
        protocol.ping_timeout_ms = config.ping_timeout_seconds * 1000;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (tcp, unix) = if inherited.is_empty() {
            (config.tcp_addresses(), config.unix_paths(runtime_folder()))
        } else {
            (config.tcp.clone().unwrap_or_default(), config.unix.clone().unwrap_or_default())
        };
        ServerConfig {
            cores: self.placement.cores,
            tcp,
            unix,
            access: AccessConfig {
                sessions_per_address_max: config.sessions_per_address as usize,
                unix_mode: config.unix_mode.0,
                unix_group: self.unix_group,
                send_buffer_bytes: config.send_buffer_bytes,
                inherited,
            },
            collections: self.collections,
            limits,
            chunks_per_core: sizing.chunks_per_core,
            kept_chunks_per_home: sizing.kept_chunks_per_home,
            chunk_bytes: config.chunk_bytes,
            node_blocks: sizing.node_blocks,
            ring_capacity: sizing.ring_capacity,
            control_bytes_per_core_max: sizing.control_bytes_per_core_max,
            idle: IdleBudget { spin_ns: config.spin_us * 1000, yield_ns: 0 },
            protocol,
            epoch_seed: now.as_nanos() as u64 ^ u64::from(std::process::id()) << 40,
            budget_bytes: sizing.budget_bytes,
            measures_latency: true,
        }
    }
}

/// The cores and the sizes alone.
///
/// # Errors
/// As [`Arrangement::new`].
pub fn sizes(config: &Config) -> Result<(Placement, Sizing), Failure> {
    let placement = placement::place(config).map_err(Failure::not_started)?;
    let cores = &placement.cores;
    let count = |pick: fn(&CorePlacement) -> bool| cores.iter().filter(|it| pick(it)).count();
    let session_cores = count(|core| core.role.serves_sessions) as u64;
    let sizing = size(SizingRequest {
        budget_bytes: config.budget_mib.map(|mib| mib << 20),
        cores: cores.len() as u32,
        session_cores: count(|core| core.role.serves_sessions) as u32,
        workers: count(|core| core.role.is_home()) as u32,
        elastic_cores: count(|core| core.role.is_elastic) as u32,
        guests_per_worker: config.guests_per_worker,
        documents: config.documents,
        sessions: config.sessions,
        worker_queue_messages: config.worker_queue_size,
        ring_capacity: config.ring_capacity,
        chunk_bytes: config.chunk_bytes as u64,
        kept_bytes: kept_bytes(config, session_cores),
    })
    .map_err(Failure::usage)?;
    Ok((placement, sizing))
}

/// Bytes of the budget for what documents keep; none if no collection keeps anything.
fn kept_bytes(config: &Config, session_cores: u64) -> u64 {
    if config.collections.values().all(|collection| collection.keep_bytes == 0) {
        return 0;
    }
    let budget_bytes = config.budget_mib.map_or_else(
        || BUDGET_BYTES.max(BUDGET_BYTES_PER_SESSION_CORE * session_cores),
        |mib| mib << 20,
    );
    config.kept_mib.map_or(budget_bytes / 8, |mib| mib << 20)
}

/// The number of a group of this machine, by its name or itself.
fn group(name: &str) -> Result<u32, String> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let found = nix::unistd::Group::from_name(name)
        .map_err(|error| format!("unix_group: {name:?} cannot be looked up: {error}"))?;
    found
        .map(|group| group.gid.as_raw())
        .ok_or_else(|| format!("unix_group: this machine has no group {name:?}"))
}

/// The folder for sockets that a service manager gives; the first, if it gives several.
pub fn runtime_folder() -> Option<PathBuf> {
    let folders = std::env::var("RUNTIME_DIRECTORY").ok()?;
    let first = folders.split(':').next().filter(|folder| !folder.is_empty())?;
    Some(PathBuf::from(first))
}
