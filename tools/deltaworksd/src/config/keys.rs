//! Every key of the daemon, in the order of the printed file.
//!
//! One row a key: this is the only place where a name, a default, a unit, a range or a worst case
//! stands. Keys without an effect are here, too, and say why.

use std::net::SocketAddr;
use std::path::PathBuf;

use deltaworks_pipeline::limits::CREDIT_FLOOR_BYTES;
use deltaworks_runtime::chunk_memory::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN};

use super::collection::CollectionTable;
use super::key::Change::{Reload, Restart};
use super::key::Effect::{NotYet, Void, Works};
use super::key::keys;
use super::value::Range::{Any, PowerOfTwo, Whole};
use super::value::{Mode, OrOff};
use crate::logging::LogFilter;

/// 16 TiB.
const BUDGET_MIB_MAX: u64 = 1 << 24;
/// Slots of 64 bytes, in each of the rings.
const RING_CAPACITY_MAX: u64 = 1 << 20;
/// A minute: who wants no sleep at all gets it.
const SPIN_US_MAX: u64 = 60_000_000;
/// 1 GiB.
const CREDIT_BYTES_MAX: u64 = 1 << 30;
/// A year.
const SECONDS_MAX: u64 = 365 * 86_400;
/// What 32 bits of milliseconds hold: 49 days.
const TIMEOUT_SECONDS_MAX: u64 = 4_294_967;
/// 1 GiB of waiting messages.
const QUEUE_MAX: u64 = 1 << 24;

/// More than any machine takes.
const RATE_MAX: u64 = 1 << 40;

const BOUND: &str = "sockets are bound at the start";
const SIZED: &str = "memory is divided at the start";
const PLANNED: &str = "cores are planned at the start";
const TAKEN: &str = "cores take it when they start";
const IS_VOID: &str = "it has no effect";
const NO_CHANNELS: &str = "WebRTC channels are not built";

keys! {
    /// The configuration of the daemon: one field a key.
    pub struct Config, table KEYS;

    "Where connections are accepted" {
        /// Listens for TCP connections here; port 0 takes a free one.
        /// "auto" is 127.0.0.1:7710, and nothing if `unix` names a socket.
        tcp: Option<Vec<SocketAddr>> = None;
            unit "ADDRESS:PORT, or a list of them";
            range Any;
            memory "none";
            Restart(BOUND), Works;

        /// Listens for connections on these Unix sockets.
        /// "auto" is deltaworks.sock in the folder RUNTIME_DIRECTORY that a service manager gives,
        /// and nothing without one.
        unix: Option<Vec<PathBuf>> = None;
            unit "PATH, or a list of them";
            range Any;
            memory "none";
            Restart(BOUND), Works;

        /// Permissions of the Unix sockets.
        unix_mode: Mode = Mode(0o660);
            unit "octal digits";
            range Any;
            memory "none";
            Restart(BOUND), Works;

        /// Group of the Unix sockets, whose members may connect; "" leaves the daemon's own.
        unix_group: OrOff<String> = OrOff(None);
            unit "GROUP";
            range Any;
            memory "none";
            Restart(BOUND), Works;

        /// Allows addresses other than loopback, although nobody is asked who they are and nothing
        /// is encrypted.
        insecure: bool = false;
            unit "true or false";
            range Any;
            memory "none";
            Restart(BOUND), Works;

        /// Serves metrics, health and a status page by HTTP here, read only; "" is off.
        http: OrOff<SocketAddr> = OrOff(Some(SocketAddr::from(([127, 0, 0, 1], 7711))));
            unit "ADDRESS:PORT";
            range Any;
            memory "bounded by the housekeeping thread";
            Restart(BOUND), Works;

        /// Serves `deltaworks docs`, `top` and the like on this Unix socket; "" is off.
        /// "auto" is admin.sock in RUNTIME_DIRECTORY, else in XDG_RUNTIME_DIR/deltaworks, else off.
        admin_socket: Option<OrOff<PathBuf>> = None;
            unit "PATH";
            range Any;
            memory "bounded by the housekeeping thread";
            Restart(BOUND), Works;

        /// Writes the addresses and the process id here once connections are accepted; "" is off.
        ready_file: OrOff<PathBuf> = OrOff(None);
            unit "PATH";
            range Any;
            memory "none";
            Restart("it is written once, at the start"), Works;
    }

    "How much clients can make grow" {
        /// Memory for everything that clients can make grow.
        /// "auto" is 256, or 64 for each core that serves sessions if that is more.
        budget_mib: Option<u64> = None;
            unit "MiB";
            range Whole(1, BUDGET_MIB_MAX);
            memory "itself; --print-budget shows how it is divided";
            Restart(SIZED), Works;

        /// Of the budget, what documents keep of their newest bytes (`keep_bytes` of a collection) may take, with
        /// its nodes. Less than half of it is sure to stay; beyond that the oldest goes. "auto" is an eighth of
        /// the budget if a collection keeps anything, else nothing. Each worker has its share, four chunks at least.
        kept_mib: Option<u64> = None;
            unit "MiB";
            range Whole(1, BUDGET_MIB_MAX);
            memory "itself; of the budget";
            Restart(SIZED), Works;

        /// Documents at most; beyond that an open is refused (306).
        /// "auto" is 100,000 at 256 MiB, and less for less.
        documents: Option<u32> = None;
            unit "documents";
            range Whole(1, u32::MAX as u64);
            memory "at most 512 bytes each without payload, names and producers; of the budget";
            Restart(SIZED), Works;

        /// Sessions at most; beyond that a connection is refused (207).
        /// "auto" is 4,096 at 256 MiB, and less for less.
        sessions: Option<u32> = None;
            unit "sessions";
            range Whole(1, 1 << 20);
            memory "2 KiB each without handles; of the budget";
            Restart(SIZED), Works;

        /// Sessions from one address at most; beyond that a connection is refused (208).
        sessions_per_address: u32 = 1024;
            unit "sessions";
            range Whole(1, 1 << 20);
            memory "none beyond `sessions`";
            Reload, Works;

        /// Documents that one session may have open at a time; beyond that an open is refused (307).
        documents_per_session: u32 = 1024;
            unit "documents";
            range Whole(1, 1 << 20);
            memory "none beyond handles, which the budget bounds";
            Restart("it is told in hello"), Works;

        /// What the kernel keeps for each session that does not read. It bounds what one subscriber
        /// gets over a long way: this much in a round trip.
        /// "auto" lets the system grow it, for TCP to the last number of net.ipv4.tcp_wmem.
        send_buffer_bytes: Option<u32> = None;
            unit "bytes";
            range Whole(4096, 1 << 30);
            memory "twice as much a session in the kernel, outside of the budget; \
                \"auto\": 4 MiB a session on most systems";
            Restart(BOUND), Works;

        /// Credit of each writer of a document: what may be on its way at once.
        credit_bytes: u32 = 256 << 10;
            unit "bytes";
            range Whole(CREDIT_FLOOR_BYTES as u64, CREDIT_BYTES_MAX);
            memory "chunks of the budget, which withhold it when they run short";
            Reload, Works;

        /// Batches that wait for one worker, over all its rings together; beyond that the cores
        /// that they come from read no more until they have gone. Up to four that one session has sent on
        /// end share a slot of a ring, and count as one there. A budget below 256 MiB holds less, in
        /// proportion.
        worker_queue_size: u32 = 10_000;
            unit "batches";
            range Whole(1_024, QUEUE_MAX);
            memory "64 bytes each, 0.6 MiB; of the budget";
            Restart(SIZED), Works;

        /// Slots of a ring between two cores: each holds a message, or up to four batches or two
        /// acknowledgements; 1 is slow and right, for tests.
        /// "auto" is at most 4,096, half of `worker_queue_size` over all rings of a worker.
        ring_capacity: Option<u32> = None;
            unit "slots";
            range Whole(1, RING_CAPACITY_MAX);
            memory "64 bytes each for each pair of cores, of the budget";
            Restart(SIZED), Works;

        /// Bytes of a chunk; small ones recycle soon, for tests.
        chunk_bytes: usize = 2 << 20;
            unit "bytes";
            range PowerOfTwo(CHUNK_BYTES_MIN as u64, CHUNK_BYTES_MAX as u64);
            memory "two a core at least; of the budget";
            Restart(SIZED), Works;
    }

    "What clients may send" {
        /// Bytes of batches that each session may send. It is granted no more credit than that; whoever sends beyond its
        /// credit is ended (211). 0 is no bound, here and below.
        session_bytes_per_second: u64 = 0;
            unit "bytes a second";
            range Whole(0, RATE_MAX);
            memory "none beyond sessions";
            Reload, Works;

        /// Deltas that each session may send. While more have come, no credit is granted.
        session_deltas_per_second: u64 = 0;
            unit "deltas a second";
            range Whole(0, RATE_MAX);
            memory "none beyond sessions";
            Reload, Works;

        /// Bytes of batches that each producer of a document may send.
        producer_bytes_per_second: u64 = 0;
            unit "bytes a second";
            range Whole(0, RATE_MAX);
            memory "none beyond handles";
            Reload, Works;

        /// Deltas that each producer of a document may send. While more have come, no credit is granted.
        producer_deltas_per_second: u64 = 0;
            unit "deltas a second";
            range Whole(0, RATE_MAX);
            memory "none beyond handles";
            Reload, Works;

        /// Bytes of batches that all sessions of one address may send together, whichever cores they are on.
        address_bytes_per_second: u64 = 0;
            unit "bytes a second";
            range Whole(0, RATE_MAX);
            memory "none beyond sessions";
            Reload, Works;

        /// Deltas that all sessions of one address may send together. While more have come, no credit is
        /// granted.
        address_deltas_per_second: u64 = 0;
            unit "deltas a second";
            range Whole(0, RATE_MAX);
            memory "none beyond sessions";
            Reload, Works;

        /// The burst of these: what flows in in this time may be sent at once, and no first credit is
        /// more.
        quota_burst_ms: u64 = 1_000;
            unit "milliseconds";
            range Whole(1, 3_600_000);
            memory "none";
            Reload, Works;
    }

    "How long things may take" {
        /// A connection must say hello in this time, or is closed (204).
        /// Connections that stand keep this and the next two as they were told.
        hello_deadline_seconds: u32 = 5;
            unit "seconds";
            range Whole(1, TIMEOUT_SECONDS_MAX);
            memory "none";
            Reload, Works;

        /// A session that is silent for this long is pinged. Above 60, proxies in between may cut it before.
        ping_interval_seconds: u32 = 30;
            unit "seconds";
            range Whole(1, TIMEOUT_SECONDS_MAX);
            memory "none";
            Reload, Works;

        /// A session that is silent for this long is ended (205); more than the ping interval.
        ping_timeout_seconds: u32 = 75;
            unit "seconds";
            range Whole(1, TIMEOUT_SECONDS_MAX);
            memory "none";
            Reload, Works;

        /// A message must be whole this long after its beginning, or its session is ended (206).
        message_deadline_seconds: u64 = 10;
            unit "seconds";
            range Whole(1, SECONDS_MAX);
            memory "none";
            Reload, Works;

        /// A document that nobody has open is unloaded after this time, and its history goes.
        idle_unload_seconds: u64 = 300;
            unit "seconds";
            range Whole(0, SECONDS_MAX);
            memory "none beyond `documents`";
            Reload, Works;

        /// How long an orderly end may take after SIGTERM; sessions that are behind then are cut.
        drain_seconds: u64 = 20;
            unit "seconds";
            range Whole(0, SECONDS_MAX);
            memory "none";
            Reload, Works;
    }

    "Cores" {
        /// Cores at most. "auto" is all that the process may use.
        cores: Option<u16> = None;
            unit "cores";
            range Whole(1, u16::MAX as u64);
            memory "rings grow with its square; of the budget";
            Restart(PLANNED), Works;

        /// Cores that own documents, which check and order batches. Together with
        /// `propagation_workers` scaled down to the cores that there are, which is told.
        core_workers: u16 = 32;
            unit "cores";
            range Whole(1, 512);
            memory "see `cores`";
            Restart(PLANNED), Works;

        /// Cores that serve sessions, which receive batches and send streams. Scaled down like
        /// `core_workers`.
        propagation_workers: u16 = 16;
            unit "cores";
            range Whole(1, 512);
            memory "64 MiB of the budget each beyond the fourth, if that is \"auto\"";
            Restart(PLANNED), Works;

        /// Elastic workers, for hot documents: each has one document at most. On cores that are left
        /// over they have one each; the others share the cores of `core_workers`, where their document
        /// waits behind the others and gets a bounded share of each turn. 0 promotes nothing.
        max_elastic_workers: u16 = 24;
            unit "workers";
            range Whole(0, 512);
            memory "8,192 waiting batches of 64 bytes for each of `core_workers`; of the budget";
            Restart(PLANNED), Works;

        /// Documents of other homes that a worker may own; beyond that a document stays where it is.
        guests_per_worker: u32 = 256;
            unit "documents";
            range Whole(1, 1 << 16);
            memory "72 bytes each for every core that owns documents; of the budget";
            Restart(SIZED), Works;

        /// A document with more deltas a second than this, for two tenths of a second, gets an elastic
        /// worker; 0 promotes nothing.
        promotion_threshold: u64 = 1_000_000;
            unit "deltas a second";
            range Whole(0, u64::MAX >> 1);
            memory "none";
            Reload, Works;

        /// A document with an elastic worker and less deltas a second than this is quiet; see
        /// `idle_timeout`.
        demotion_threshold: u64 = 10_000;
            unit "deltas a second";
            range Whole(0, u64::MAX >> 1);
            memory "none";
            Reload, Works;

        /// A document that was quiet for this long on end gives its elastic worker back.
        idle_timeout: u64 = 5;
            unit "seconds";
            range Whole(0, SECONDS_MAX);
            memory "none";
            Reload, Works;

        /// From which load on, in percent of the least loaded worker's, documents move away from the
        /// most loaded one; 0 leaves them where they are. Workers that differ by less than a tenth of a
        /// core are let be.
        balance_percent: u32 = 150;
            unit "percent";
            range Whole(0, 10_000);
            memory "none";
            Reload, Works;

        /// Documents that may change their worker in a second, for whatever reason; 0 moves none unasked.
        moves_per_second: u32 = 10;
            unit "documents";
            range Whole(0, 1_000);
            memory "none beyond the guests of `core_workers`";
            Reload, Works;

        /// How long a core stays awake without work, where that has paid lately.
        spin_us: u64 = 20;
            unit "microseconds";
            range Whole(0, SPIN_US_MAX);
            memory "none";
            Restart(TAKEN), Works;
    }

    "What is told" {
        /// What is logged: a level (error, warn, info, debug, trace), or levels by module, such as
        /// "info,deltaworks_server=debug".
        log: LogFilter = LogFilter::default();
            unit "levels";
            range Any;
            memory "none";
            Reload, Works;
    }

    "Accepted, but without an effect" {
        /// Deltas that wait for one propagation worker.
        propagation_queue_size: u32 = 100_000;
            unit "deltas";
            range Whole(1, QUEUE_MAX);
            memory "none";
            Restart(IS_VOID), Void("a document's stream is the queue, nothing is queued again");

        /// Whether each document has a channel of its own.
        channel_per_document: bool = true;
            unit "true or false";
            range Any;
            memory "none";
            Restart(IS_VOID), NotYet(NO_CHANNELS);

        /// Channels of one client at most.
        max_channels_per_client: u16 = 100;
            unit "channels";
            range Whole(1, u16::MAX as u64);
            memory "none";
            Restart(IS_VOID), NotYet(NO_CHANNELS);
    }

    also {
        /// The collections, by name.
        collections: CollectionTable
    }
}
