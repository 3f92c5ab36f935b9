//! `throughput tcp`: the server on one core, the load on another, loopback TCP between them; and
//! the same load through raw glommio TCP in the same run.
//!
//! Question: what do checking, ordering, keeping and answering cost on top of moving bytes between
//! sockets with the same executor? Not measured: a network, more than one core of the server,
//! latency. The load shares the machine's memory bandwidth, and at small batches it is what is
//! slowest: then the figure is its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use deltaworks_pipeline::collection::{
    Collection, CollectionLimits, Collections, Overload, Schema,
};
use deltaworks_pipeline::limits::Limits;
use deltaworks_pipeline::message::Policy;
use deltaworks_pipeline::stages::CoreRole;
use deltaworks_protocol::server::Config as ProtocolConfig;
use deltaworks_runtime::idle::IdleBudget;
use deltaworks_runtime::pinned::PinnedThread;
use deltaworks_schema::{Kind, Schema as TypedSchema};
use deltaworks_server::sizing::{SizingRequest, WORKER_QUEUE_MESSAGES, size};
use deltaworks_server::{AccessConfig, CorePlacement, Server, ServerConfig};
use serde::Serialize;

use crate::generator::Generator;
use crate::load::{Carried, Peer, carry};
use crate::payload::{self, PAYLOADS, Payloads};
use crate::relay::Relay;
use crate::script::{Law, Script};
use crate::sizing::CHUNK_BYTES;

/// Credit of each handle; a publisher has no more than this on its way over all documents.
const CREDIT_BYTES: u32 = 1 << 20;

/// What is run.
#[derive(Clone, Debug, clap::Args)]
pub struct TcpOptions {
    /// Connections that publish to every document.
    #[arg(long, default_value_t = 1)]
    pub publishers: usize,
    /// Connections that read every document.
    #[arg(long, default_value_t = 8)]
    pub subscribers: usize,
    /// Documents.
    #[arg(long, default_value_t = 8)]
    pub documents: u32,
    /// Bytes of each delta.
    #[arg(long, default_value_t = 46)]
    pub delta_bytes: usize,
    /// Deltas of each batch.
    #[arg(long, default_value_t = 32)]
    pub batch: u32,
    /// How long is published.
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// Does not count how long images take, to show what counting costs.
    #[arg(long)]
    pub no_latency: bool,
    /// Records the server's turns meanwhile, to show what a recording costs.
    #[arg(long)]
    pub record: bool,
    /// The result as one line of JSON.
    #[arg(long)]
    pub json: bool,
}

/// One way that the load was carried.
#[derive(Clone, Debug, Serialize)]
pub struct Way {
    /// Deltas that subscribers have read, over all of them, per second.
    pub deliveries_per_second: f64,
    /// Deltas published per second.
    pub published_per_second: f64,
    /// Bytes that subscribers have read per second.
    pub bytes_per_second: f64,
    /// From the first write to the last read.
    pub seconds: f64,
    /// Every subscriber has read everything once, in order.
    pub verified: bool,
    /// What was wrong.
    pub faults: Vec<String>,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct TcpReport {
    /// Through the server.
    pub server: Way,
    /// Through raw glommio TCP.
    pub relay: Way,
    /// Deliveries of the server for one of the relay.
    pub ratio: f64,
    /// Both were.
    pub verified: bool,
    /// Connections that publish.
    pub publishers: usize,
    /// Connections that read.
    pub subscribers: usize,
    /// Documents.
    pub documents: u32,
    /// Bytes of a delta.
    pub delta_bytes: usize,
    /// Deltas of a batch.
    pub batch: u32,
}

/// Runs both ways, one after the other.
///
/// # Errors
/// If the machine has not two CPUs, or what is asked for cannot be had.
pub fn run(options: &TcpOptions) -> Result<TcpReport, String> {
    let cpus = core_affinity::get_core_ids().unwrap_or_default();
    let [serving, loading, ..] = cpus[..] else {
        return Err("two CPUs are needed, one for the server and one for the load".to_owned());
    };
    let TcpOptions { publishers, subscribers, documents, batch, .. } = *options;
    if publishers == 0 || subscribers == 0 || documents == 0 || batch == 0 {
        return Err("one publisher, subscriber, document and delta at least".to_owned());
    }
    let payloads = Arc::new(Payloads::new(options.delta_bytes, batch as usize)?);
    let generators: Vec<Generator> = (0..publishers as u64)
        .map(|seed| Script::new(seed, Law::Uniform, documents, PAYLOADS).without_rare())
        .map(|script| Generator::new(script, payloads.clone(), documents))
        .collect();
    let image_bytes = generators[0].image_bytes();
    if image_bytes > Limits::default().image_bytes_max as usize {
        return Err(format!("a batch of {image_bytes} bytes is longer than an image may be"));
    }
    let time = Duration::from_secs_f64(options.seconds);
    let carried = |to: SocketAddr, peer: Peer| {
        let names: Vec<String> = (0..documents).map(|number| format!("d{number}")).collect();
        let generators = generators.clone();
        let work = move || carry(to, peer, &names, generators, subscribers, time);
        let thread = PinnedThread::spawn(loading.id, "load", work);
        let thread = thread.map_err(|error| error.to_string())?;
        thread.join().map_err(|_| "the load panicked".to_owned())?
    };

    let relay = Relay::start(serving.id, publishers, subscribers).map_err(|it| it.to_string())?;
    let by_relay = carried(relay.address, Peer::Relay)?;
    // Its subscribers have left; whether it saw that before it ended says nothing.
    let _ = relay.join();

    let server = start_server(serving.id, !options.no_latency)?;
    if options.record {
        let observer = server.observer();
        // Ends with its time, or with the server; the cost is the cores', not the text's.
        std::thread::spawn(move || {
            drop(futures_lite::future::block_on(observer.record(2 * time)));
        });
    }
    let peer = Peer::Server { credit_bytes: u64::from(CREDIT_BYTES) };
    let address = server.tcp().first().copied().ok_or("the server has no address")?;
    let by_server = carried(address, peer);
    server.stop(Duration::from_secs(5), || false);
    let (server, relay) = (way(by_server?, subscribers), way(by_relay, subscribers));
    Ok(TcpReport {
        ratio: server.deliveries_per_second / relay.deliveries_per_second,
        verified: server.verified && relay.verified,
        server,
        relay,
        publishers,
        subscribers,
        documents,
        delta_bytes: options.delta_bytes,
        batch,
    })
}

fn way(carried: Carried, subscribers: usize) -> Way {
    let per_second = |count: u64| count as f64 / carried.seconds.max(1e-9);
    Way {
        deliveries_per_second: per_second(carried.published.deltas * subscribers as u64),
        published_per_second: per_second(carried.published.deltas),
        bytes_per_second: per_second(carried.published.bytes * subscribers as u64),
        seconds: carried.seconds,
        verified: carried.faults.is_empty() && carried.published.images > 0,
        faults: carried.faults,
    }
}

fn start_server(cpu: usize, measures_latency: bool) -> Result<Server, String> {
    let sizing = size(SizingRequest {
        budget_bytes: None,
        cores: 1,
        session_cores: 1,
        workers: 1,
        elastic_cores: 0,
        guests_per_worker: 256,
        documents: None,
        sessions: None,
        worker_queue_messages: WORKER_QUEUE_MESSAGES,
        ring_capacity: None,
        chunk_bytes: CHUNK_BYTES as u64,
        kept_bytes: 0,
    })
    .map_err(|error| error.to_string())?;
    let schema = TypedSchema::compile(Kind::Cbor, payload::SCHEMA);
    let schema = Schema::Typed(schema.map_err(|error| format!("{error:?}"))?);
    let collection = Collection {
        name: String::new(),
        schema,
        overload: Overload::default().with(Policy::Wait, true),
        limits: CollectionLimits::default(),
    };
    let role = CoreRole { serves_sessions: true, owns_documents: true, is_elastic: false };
    let limits = Limits { credit_bytes: CREDIT_BYTES, ..sizing.limits };
    Server::start(ServerConfig {
        cores: vec![CorePlacement { cpu: Some(cpu), numa_node: None, role }],
        tcp: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
        unix: Vec::new(),
        access: AccessConfig::default(),
        collections: Collections::new(vec![collection]),
        limits,
        chunks_per_core: sizing.chunks_per_core,
        kept_chunks_per_home: sizing.kept_chunks_per_home,
        chunk_bytes: CHUNK_BYTES,
        node_blocks: sizing.node_blocks,
        ring_capacity: sizing.ring_capacity,
        control_bytes_per_core_max: sizing.control_bytes_per_core_max,
        idle: IdleBudget::default(),
        protocol: ProtocolConfig::default(),
        epoch_seed: 1,
        budget_bytes: sizing.budget_bytes,
        measures_latency,
    })
    .map_err(|error| error.to_string())
}
