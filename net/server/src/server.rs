//! The server: its cores, its listeners, and an orderly end.
//!
//! Starting joins the stages of all cores and gives each its thread; the doorkeeper accepts and
//! hands every connection to the least loaded before its first read. Stopping drains: nothing is
//! read any more, what was appended reaches the subscribers that take it, sessions are told, cores
//! end.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use deltaworks_pipeline::collection::Collections;
use deltaworks_pipeline::limits::Limits;
use deltaworks_pipeline::stages::{CoreRole, Parts, Tuning, join};
use deltaworks_protocol::server::Config as ProtocolConfig;
use deltaworks_runtime::chunk_memory::{ChunkMemory, Downgrade, RegionId, RegionSpec};
use deltaworks_runtime::clock::SystemClock;
use deltaworks_runtime::core::{
    Core, CoreConfig, CoreFailure, CoreSleeper, LocalCore, core_doorbell_with,
};
use deltaworks_runtime::doorbell::Doorbell;
use deltaworks_runtime::ending::PhaseWord;
use deltaworks_runtime::fences::Fences;
use deltaworks_runtime::idle::IdleBudget;
use deltaworks_runtime::sync::Arc as SharedArc;

use crate::admission::Admission;
use crate::doorkeeper::{AcceptCounts, Doorkeeper};
use crate::listener::{Inherited, Listener};
use crate::observer::{Observed, Observer};
use crate::planted::{CorePlants, Plants};
use crate::prefault::Prefault;
use crate::settings::{Published, Settings, SettingsHandle, SettingsReader};
use crate::station::{CoreDoor, Inside, Station, StationAgent};
use crate::tally::{Tally, tally};

/// One core of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorePlacement {
    /// The CPU to be pinned to; none leaves the thread to the system.
    pub cpu: Option<usize>,
    /// The NUMA node of its CPU, where chunks that it has belong; none leaves them to the system.
    pub numa_node: Option<u32>,
    /// What it does.
    pub role: CoreRole,
}

/// Who may connect.
#[derive(Debug)]
pub struct AccessConfig {
    /// Sessions of one IPv4 address, of one IPv6 network of 64 bits, or of one user of this
    /// machine on Unix sockets, at most.
    pub sessions_per_address_max: usize,
    /// Permissions of Unix sockets: who may write to them may connect.
    pub unix_mode: u32,
    /// The group of Unix sockets; none leaves it to the system.
    pub unix_group: Option<u32>,
    /// Bytes of a connection's send buffer in the kernel, outside of the budget: the kernel takes
    /// twice as many at most. None lets the system grow it, to some megabytes for TCP.
    pub send_buffer_bytes: Option<u32>,
    /// Listening sockets of who started this process, each with its name.
    pub inherited: Vec<(String, Inherited)>,
}

impl Default for AccessConfig {
    fn default() -> Self {
        Self {
            sessions_per_address_max: 1024,
            unix_mode: 0o660,
            unix_group: None,
            send_buffer_bytes: None,
            inherited: Vec::new(),
        }
    }
}

/// What a server is made from.
#[derive(Debug)]
pub struct ServerConfig {
    /// The cores, by index; one at least serves sessions, one at least owns documents.
    pub cores: Vec<CorePlacement>,
    /// Where to listen for TCP connections.
    pub tcp: Vec<SocketAddr>,
    /// Where to listen for Unix connections; a stale socket file is replaced.
    pub unix: Vec<PathBuf>,
    /// Who may connect.
    pub access: AccessConfig,
    /// The collections.
    pub collections: Collections,
    /// Limits of the stages.
    pub limits: Limits,
    /// Chunks of each core that serves sessions.
    pub chunks_per_core: u32,
    /// Chunks in which each core that is a home keeps images; 0, or four at least.
    pub kept_chunks_per_home: u32,
    /// Bytes of a chunk.
    pub chunk_bytes: usize,
    /// Node blocks over all workers.
    pub node_blocks: u32,
    /// Messages that each ring holds.
    pub ring_capacity: usize,
    /// Control messages that wait in all sessions of a core, in bytes.
    pub control_bytes_per_core_max: usize,
    /// How long cores stay awake without work.
    pub idle: IdleBudget,
    /// What clients are told, and how long they are waited for.
    pub protocol: ProtocolConfig,
    /// What epochs are made from: another number at every start.
    pub epoch_seed: u64,
    /// What the limits were computed from; told in reports.
    pub budget_bytes: u64,
    /// Whether it is counted how long images take.
    pub measures_latency: bool,
}

impl ServerConfig {
    /// Sessions at most, over all cores.
    pub fn sessions_max(&self) -> usize {
        let serving = self.cores.iter().filter(|core| core.role.serves_sessions).count();
        self.limits.sessions_per_core_max as usize * serving
    }
}

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// Chunk memory was refused.
    Memory(String),
    /// A core could not be had.
    Core(CoreFailure),
    /// A listener could not be had.
    Listen {
        /// The address or path.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// No file descriptor was left for a doorbell.
    Doorbell(io::Error),
    /// No thread or file descriptor was left for the doorkeeper.
    Doorkeeper(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(why) => write!(f, "chunk memory: {why}"),
            Self::Core(failure) => write!(f, "core: {failure}"),
            Self::Listen { address, error } => write!(f, "listen on {address}: {error}"),
            Self::Doorbell(error) => write!(f, "doorbell: {error}"),
            Self::Doorkeeper(error) => write!(f, "doorkeeper: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// How a stop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Everything that was appended reached every subscriber that was connected.
    Complete,
    /// It had no time, or a session did not read its last words.
    Cut {
        /// Sessions to which something did not go out that was meant for them.
        sessions: usize,
    },
    /// A core was lost. The sessions of the others were told.
    Failed,
}

/// A running server.
pub struct Server {
    pub(crate) cores: Vec<Core>,
    pub(crate) doors: Vec<Arc<CoreDoor>>,
    pub(crate) doorkeeper: Option<Doorkeeper>,
    published: SharedArc<Published>,
    pub(crate) phase: PhaseWord,
    tcp: Vec<SocketAddr>,
    unix: Vec<PathBuf>,
    downgrades: Vec<Downgrade>,
    observer: Observer,
    pub(crate) prefault: Option<Prefault>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("tcp", &self.tcp).field("unix", &self.unix).finish()
    }
}

impl Server {
    /// A server that accepts connections when this returns.
    ///
    /// # Errors
    /// If memory, threads, descriptors or addresses cannot be had; nothing is left running then.
    pub fn start(config: ServerConfig) -> Result<Self, StartError> {
        Self::start_with(config, Plants::default())
    }

    /// The same with faults planted, for tests.
    ///
    /// # Errors
    /// As [`Server::start`].
    #[cfg(feature = "planted_faults")]
    pub fn start_planted(config: ServerConfig, plants: Plants) -> Result<Self, StartError> {
        Self::start_with(config, plants)
    }

    fn start_with(config: ServerConfig, plants: Plants) -> Result<Self, StartError> {
        let serving: Vec<usize> = (0..config.cores.len())
            .filter(|core| config.cores[*core].role.serves_sessions)
            .collect();
        let regions: Vec<RegionSpec> = serving
            .iter()
            .map(|core| RegionSpec {
                chunks: config.chunks_per_core,
                numa_node: config.cores[*core].numa_node,
            })
            .collect();
        // Behind them, those in which each home keeps images, on its node, too.
        let keeping: Vec<usize> = (0..config.cores.len())
            .filter(|core| config.kept_chunks_per_home > 0 && config.cores[*core].role.is_home())
            .collect();
        let kept_regions = keeping.iter().map(|core| RegionSpec {
            chunks: config.kept_chunks_per_home,
            numa_node: config.cores[*core].numa_node,
        });
        let regions: Vec<RegionSpec> = regions.into_iter().chain(kept_regions).collect();
        let (memory, mut downgrades) = ChunkMemory::new(&regions, config.chunk_bytes)
            .map_err(|error| StartError::Memory(error.to_string()))?;
        let memory = SharedArc::new(memory);

        let per_address_max = config.access.sessions_per_address_max;
        let admission = Admission::new(config.sessions_max(), per_address_max);
        let settings = Settings {
            hello_deadline_ms: config.protocol.hello_deadline_ms,
            ping_interval_ms: config.protocol.ping_interval_ms,
            ping_timeout_ms: config.protocol.ping_timeout_ms,
            sessions_per_address_max: per_address_max,
            tuning: Tuning::of(&config.limits),
        };
        let listeners = listen(&config.tcp, &config.unix, config.access)?;
        let tcp = listeners.iter().filter_map(Listener::tcp_address).collect();
        let unix = listeners.iter().filter_map(Listener::unix_path).collect();

        let mut sleepers = Vec::new();
        let mut doorbells = Vec::new();
        let fences = Fences::for_cores(config.cores.len());
        for _ in &config.cores {
            let (bell, sleeper) = core_doorbell_with(fences).map_err(StartError::Doorbell)?;
            doorbells.push(bell);
            sleepers.push(sleeper);
        }
        let phase = PhaseWord::default();
        let door = |bell: &Doorbell| CoreDoor::new(phase.clone(), bell.clone());
        let (doors, inside): (Vec<_>, Vec<_>) = doorbells.iter().map(door).unzip();
        let labels: Vec<_> = config.collections.labels().collect();
        let stages = join(Parts {
            roles: config.cores.iter().map(|core| core.role).collect(),
            ring_capacity: config.ring_capacity,
            memory: SharedArc::clone(&memory),
            collections: Arc::new(config.collections),
            limits: config.limits,
            doorbells,
            node_blocks: config.node_blocks,
            epoch_seed: config.epoch_seed,
            measures_latency: config.measures_latency,
        });

        let (told, tells) = std::sync::mpsc::channel();
        let mut server = Self {
            cores: vec![],
            doors,
            doorkeeper: None,
            published: SharedArc::new(Published::new(settings)),
            phase,
            tcp,
            unix,
            downgrades: vec![],
            observer: Observer::new(vec![], vec![], 0, &[], None),
            prefault: None,
        };
        let mut observed = Vec::new();
        let cores = stages.into_iter().zip(sleepers).zip(inside);
        for (index, ((mut stages, sleeper), inside)) in cores.enumerate() {
            let placement = config.cores[index];
            let own =
                serving.iter().chain(&keeping).enumerate().filter(|(_, core)| **core == index);
            let regions = own.map(|(region, _)| RegionId(region as u32)).collect();
            let (tally, tally_read) = tally(labels.len());
            let planted = plants.clone().into_core(index, &mut stages);
            let of_core = OfCore {
                stages,
                planted,
                protocol: config.protocol.clone(),
                control_bytes_max: config.control_bytes_per_core_max,
                inside,
                tally,
                memory: SharedArc::clone(&memory),
                regions,
                told: told.clone(),
                settings: SettingsReader::new(&server.published),
            };
            let mut core = CoreConfig::new(placement.cpu, format!("core{index}"));
            core.idle = config.idle;
            match spawn(core, sleeper, of_core) {
                Ok(core) => {
                    observed.push(Observed {
                        placement,
                        door: Arc::clone(&server.doors[index]),
                        tally: tally_read,
                        counters: core.counters(),
                    });
                    server.cores.push(core);
                }
                Err(failure) => {
                    server.end_cores();
                    return Err(StartError::Core(failure));
                }
            }
        }
        drop(told);
        // Every core tells once for each of its regions that it can begin.
        for _ in 0..memory.regions() {
            downgrades.extend(tells.recv().unwrap_or_default());
        }
        downgrades.sort_by_key(ToString::to_string);
        downgrades.dedup_by_key(|downgrade| downgrade.to_string());
        server.downgrades = downgrades;
        let doors = serving.iter().map(|core| Arc::clone(&server.doors[*core])).collect();
        let phase = server.phase.clone();
        let settings = SettingsReader::new(&server.published);
        match Doorkeeper::spawn(listeners, admission, settings, doors, phase, &config.protocol) {
            Ok(doorkeeper) => server.doorkeeper = Some(doorkeeper),
            Err(error) => {
                server.end_cores();
                return Err(StartError::Doorkeeper(error));
            }
        }
        let accepts = server.doorkeeper.as_ref().map(Doorkeeper::counts_reader);
        let (budget_bytes, downgrades) = (config.budget_bytes, &server.downgrades);
        server.observer = Observer::new(observed, labels, budget_bytes, downgrades, accepts);
        server.prefault = Some(Prefault::begin(&memory, &regions, &server.phase, &server.observer));
        Ok(server)
    }

    /// Where TCP connections are accepted, with the ports that the system gave.
    pub fn tcp(&self) -> &[SocketAddr] {
        &self.tcp
    }

    /// Where Unix connections are accepted.
    pub fn unix(&self) -> &[PathBuf] {
        &self.unix
    }

    /// What the system did not grant before the server served, each once.
    pub fn downgrades(&self) -> &[Downgrade] {
        &self.downgrades
    }

    /// A look at this server for other threads.
    pub fn observer(&self) -> Observer {
        self.observer.clone()
    }

    /// Sessions that are connected now.
    pub fn session_count(&self) -> usize {
        self.doors.iter().map(|door| door.load()).sum()
    }

    /// Whether a core or the doorkeeper has ended although nobody stopped the server.
    pub fn has_failed(&self) -> bool {
        self.cores.iter().any(Core::is_finished)
            || self.doorkeeper.as_ref().is_some_and(Doorkeeper::is_finished)
    }

    /// What became of connections, since the start.
    pub fn accept_counts(&self) -> AcceptCounts {
        self.doorkeeper.as_ref().map(Doorkeeper::counts).unwrap_or_default()
    }

    /// The right to change what can change while the server runs.
    pub fn settings(&self) -> SettingsHandle {
        SettingsHandle { published: SharedArc::clone(&self.published), doors: self.doors.clone() }
    }
}

/// What a core's thread is given.
struct OfCore {
    stages: deltaworks_pipeline::stages::CoreStages,
    planted: CorePlants,
    protocol: ProtocolConfig,
    control_bytes_max: usize,
    inside: Inside,
    tally: Tally,
    memory: SharedArc<ChunkMemory>,
    regions: Vec<RegionId>,
    told: std::sync::mpsc::Sender<Vec<Downgrade>>,
    settings: SettingsReader,
}

fn spawn(config: CoreConfig, sleeper: CoreSleeper, given: OfCore) -> Result<Core, CoreFailure> {
    Core::spawn(config, sleeper, move |core: LocalCore| async move {
        for region in given.regions {
            // The first chunk is first touched by the pinned thread, so its pages come from its node;
            // `Prefault` touches the others.
            let _ = given.told.send(given.memory.prefault_first(region));
        }
        drop(given.told);
        let door = Arc::clone(&given.inside.door);
        let protocol = Rc::new(given.protocol);
        let station = Station::new(
            given.stages,
            protocol,
            given.control_bytes_max,
            given.inside,
            given.tally,
            given.settings,
            SystemClock::new(),
        );
        let station = Rc::new(RefCell::new(station));
        let planted = given.planted;
        core.run(StationAgent { station, core: core.clone(), door, planted }).await;
    })
}

/// Binds everything that is to be listened on, and takes over what is inherited.
fn listen(
    tcp: &[SocketAddr],
    unix: &[PathBuf],
    access: AccessConfig,
) -> Result<Vec<Listener>, StartError> {
    let mut listeners = Vec::new();
    for address in tcp {
        let failed = |error| StartError::Listen { address: address.to_string(), error };
        listeners.push(Listener::tcp(address).map_err(failed)?);
    }
    for path in unix {
        let failed = |error| StartError::Listen { address: path.display().to_string(), error };
        let listener = Listener::unix(path, access.unix_mode, access.unix_group);
        listeners.push(listener.map_err(failed)?);
    }
    for (name, socket) in access.inherited {
        let failed = |error| StartError::Listen { address: name, error };
        listeners.push(Listener::inherited(socket).map_err(failed)?);
    }
    let bytes = access.send_buffer_bytes;
    Ok(listeners.into_iter().map(|listener| listener.with_send_buffers(bytes)).collect())
}
