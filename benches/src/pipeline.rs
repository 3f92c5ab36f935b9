//! `throughput pipeline`: all stages on pinned cores, without sockets.
//!
//! Question: how many deltas a second does the data path take from the chunk's tail to each
//! document's one subscriber, everything that a delta passes being on: checksum, number, schema,
//! stamp, node, mark, drain, reclamation. Not measured: the kernel, sockets, control encoding, and
//! memory that is touched for the first time: chunks and node blocks are made present before.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deltaworks_image::DocumentId;
use deltaworks_pipeline::collection::{
    Collection, CollectionLimits, Collections, Overload, Schema,
};
use deltaworks_pipeline::message::SessionId;
use deltaworks_pipeline::stages::{Parts, join};
use deltaworks_runtime::chunk_memory::{ChunkMemory, RegionId, RegionSpec};
use deltaworks_runtime::doorbell::{Wake, doorbell};
use deltaworks_runtime::pinned::PinnedThread;
use deltaworks_schema::{Kind, Schema as TypedSchema};
use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::core::{Core, Meeting, Outcome, StageTimes};
use crate::cpu_time;
use crate::distance::Probe;
use crate::generator::Generator;
use crate::layout::{Layout, homes};
use crate::payload::{self, Form, PAYLOADS, Payloads};
use crate::plant::Plant;
use crate::script::{Law, Script};
use crate::sizing::{CHUNK_BYTES, RING_CAPACITY, Request, size};
use crate::subscriber::Subscriber;
use crate::windows::{Steady, Windows, steady};

/// How long the generator is measured alone.
const ALONE: Duration = Duration::from_millis(200);

/// What is run.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Pinned cores (1 or 2, and more where there are more).
    #[arg(long, default_value_t = 1)]
    pub cores: usize,
    /// What each of them does: sessions and documents, or one of the two (of two cores).
    #[arg(long, value_enum, default_value_t = Layout::Fused)]
    pub layout: Layout,
    /// Documents over all cores.
    #[arg(long, default_value_t = 10_000)]
    pub documents: u32,
    /// Bytes of each delta.
    #[arg(long, default_value_t = 46)]
    pub delta_bytes: usize,
    /// Deltas of each batch.
    #[arg(long, default_value_t = 1)]
    pub batch: u32,
    /// How long batches are written.
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// How many batches each core writes at least, in place of a time.
    #[arg(long)]
    pub batches: Option<u64>,
    /// How documents are drawn.
    #[arg(long, value_enum, default_value_t = Law::Uniform)]
    pub law: Law,
    /// What the collection checks.
    #[arg(long, value_enum, default_value_t = Form::Cbor)]
    pub collection: Form,
    /// Memory for everything that input can grow.
    #[arg(long, default_value_t = 256)]
    pub budget_mib: u64,
    /// Chunks of each core with sessions.
    #[arg(long)]
    pub chunks: Option<u32>,
    /// Bytes of one read at most.
    #[arg(long, default_value_t = 64 << 10)]
    pub read_bytes: usize,
    /// Documents that one reading session has open; by default as many as clients may.
    #[arg(long, default_value_t = 1024)]
    pub handles_per_reader: usize,
    /// What the script is drawn from.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Does not count how long images take, to show what counting costs.
    #[arg(long)]
    pub no_latency: bool,
    /// The result as one line of JSON.
    #[arg(long)]
    pub json: bool,
    /// A fault to be planted: the run must then not be verified.
    #[arg(long, value_enum, hide = true)]
    pub plant: Option<Plant>,
    /// Loses so many percent of the rate on purpose: a guard must then find it.
    #[arg(long, value_name = "PERCENT", hide = true)]
    pub plant_loss: Option<f64>,
    /// Works so many steps for nothing at each delta, for a loss that is counted in instructions.
    #[arg(long, value_name = "STEPS", default_value_t = 0, hide = true)]
    pub plant_steps: u32,
    /// Also tells of the windows that nobody disturbed, and does not measure the generator alone.
    #[arg(skip)]
    pub in_windows: bool,
}

/// Nanoseconds per accepted delta and core.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StageNs {
    /// Writing images.
    pub generator: f64,
    /// Prelude, checksum, handle, ring.
    pub reception: f64,
    /// Ring, number, schema, stamp, node, tails, own marks, answers.
    pub validation: f64,
    /// Marks of other cores, subscriptions, gathering.
    pub propagation: f64,
    /// The subscribers' reading and comparing.
    pub subscriber: f64,
    /// Retirement, credit, idle turns.
    pub rest: f64,
}

/// The most that was live over all cores, in bytes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Live {
    /// Chunks that are not free.
    pub chunks: u64,
    /// Node blocks.
    pub nodes: u64,
    /// Document state.
    pub documents: u64,
    /// Names.
    pub names: u64,
    /// Producers.
    pub producers: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Copies for slow subscribers.
    pub spills: u64,
    /// Unfinished messages.
    pub carries: u64,
    /// Session state.
    pub sessions: u64,
    /// All of them.
    pub total: u64,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Accepted deltas that subscribers have read, per second of the timed region.
    pub deltas_per_second: f64,
    /// The part of the timed region in which the cores' threads ran: on a quiet machine 1. Where it
    /// is less, others had the CPUs, and every time here is too long by that.
    pub cpu_share: f64,
    /// Everything happened as the account says.
    pub verified: bool,
    /// What differs, if not.
    pub differences: Vec<String>,
    /// Cores.
    pub cores: usize,
    /// What they did.
    pub layout: Layout,
    /// Documents.
    pub documents: u32,
    /// Bytes of a delta.
    pub delta_bytes: usize,
    /// Deltas of a batch.
    pub batch: u32,
    /// How documents were drawn.
    pub law: Law,
    /// The timed region, until the last answer.
    pub seconds: f64,
    /// The account.
    pub account: Account,
    /// The collection's kind.
    pub collection: &'static str,
    /// How far two cores were from each other right before and right behind the timed region: a message
    /// there and back.
    pub distance_ns: (f64, f64),
    /// Batches whose document another core owns, as a share.
    pub crossing_share: f64,
    /// Nanoseconds of a core per accepted delta, by stage.
    pub stage_ns: StageNs,
    /// The generator without the stages, per delta.
    pub generator_alone_ns: f64,
    /// Chunks of each core with sessions.
    pub chunks_per_core: u32,
    /// Times that a chunk came back to be filled again.
    pub recycled_chunks: u64,
    /// Times that reading paused for want of a chunk.
    pub paused_reads: u64,
    /// Turns of all cores.
    pub turns: u64,
    /// Images of one send on average.
    pub images_per_send: f64,
    /// The most that was live.
    pub live_bytes: Live,
    /// The most that may be live.
    pub worst_case_bytes: u64,
    /// Whether it was counted how long images take.
    pub measures_latency: bool,
    /// What was done in the windows that nobody disturbed, if that was asked and there were some.
    #[serde(skip)]
    pub steady: Option<Steady>,
}

struct NeverSleeps;

impl Wake for NeverSleeps {
    fn wake(&self) {}
}

/// The collection of the run: without a schema if that is the fault that is planted.
fn collection(form: Form, plant: Option<Plant>) -> Result<Collection, String> {
    let typed = |kind| {
        let schema = TypedSchema::compile(kind, payload::SCHEMA);
        schema.map(Schema::Typed).map_err(|error| format!("{error:?}"))
    };
    let schema = match form {
        _ if plant == Some(Plant::SkipValidation) => Schema::Opaque,
        Form::Opaque => Schema::Opaque,
        Form::Cbor => typed(Kind::Cbor)?,
        Form::Rows => typed(Kind::Rows)?,
    };
    Ok(Collection {
        name: String::new(),
        schema,
        overload: Overload::default(),
        limits: CollectionLimits::default(),
    })
}

/// The session that a core without sessions writes by: none has that number.
const NOBODY: SessionId = SessionId(u32::MAX);

/// Runs, and compares with the account.
///
/// # Errors
/// If what is asked for cannot be run on this machine or within the budget.
///
/// # Panics
/// If a core's thread does.
pub fn run(options: &Options) -> Result<Report, String> {
    let Options { cores, layout, batch, documents, .. } = *options;
    let cpus = core_affinity::get_core_ids().unwrap_or_default();
    if cores == 0 || cpus.len() < cores {
        return Err(format!("{} CPUs are there for {cores} cores", cpus.len()));
    }
    if options.documents < cores as u32 || batch == 0 || batch > 4096 {
        return Err("a document a core at least, and batches of 1 to 4,096 deltas".to_owned());
    }
    if !layout.fits(cores) {
        return Err("cores are split in sessions and documents if there are two".to_owned());
    }
    if options.plant.is_some_and(|plant| !plant.is_seen_in(layout)) {
        return Err(
            "documents can stay only in a split: --plant documents-stay asks for --layout split"
                .to_owned(),
        );
    }
    let form = options.collection;
    let payloads = Arc::new(Payloads::of(form, options.delta_bytes, batch as usize)?);
    let of_core = |core: usize| layout.used_at(core, cores, documents);
    let script = |core: usize| {
        let seed = options.seed << 8 | core as u64;
        // A core without sessions has a script, too, of which nothing is played.
        let script = Script::new(seed, options.law, of_core(core).max(1), PAYLOADS);
        if form == Form::Opaque { script.without_failing() } else { script }
    };
    let generator = |core| Generator::new(script(core), payloads.clone(), of_core(core));
    let image_bytes = generator(0).image_bytes();
    let serving = layout.serving(cores);
    let request = Request {
        cores: serving,
        documents,
        image_bytes,
        chunks: options.chunks,
        budget_mib: options.budget_mib,
    };
    let sizing = size(request)?;
    if image_bytes > sizing.limits.image_bytes_max as usize {
        return Err(format!("a batch of {image_bytes} bytes is longer than an image may be"));
    }
    let generator_alone_ns = if options.in_windows { 0.0 } else { alone_ns(generator(0), batch) };

    let collection = collection(form, options.plant)?;
    let kind = collection.schema.kind_name();
    let region = RegionSpec { chunks: sizing.chunks, numa_node: None };
    let (memory, _) =
        ChunkMemory::new(&vec![region; serving], CHUNK_BYTES).map_err(|error| error.to_string())?;
    let memory = deltaworks_runtime::sync::Arc::new(memory);
    let roles = layout.roles(cores, options.plant);
    let homes = homes(&roles);
    let all = join(Parts {
        roles,
        ring_capacity: RING_CAPACITY,
        memory: memory.clone(),
        collections: Arc::new(Collections::new(vec![collection])),
        limits: sizing.limits.clone(),
        doorbells: (0..cores).map(|_| doorbell(NeverSleeps).0).collect(),
        node_blocks: sizing.node_blocks,
        epoch_seed: options.seed,
        measures_latency: !options.no_latency,
    });
    let meetings: Arc<[Meeting; 2]> = Arc::default();
    let mut probes: Vec<Probe> = if cores == 2 { Probe::both().into() } else { Vec::new() };
    probes.reverse();
    let mut threads = Vec::new();
    for (core, mut stages) in all.into_iter().enumerate() {
        let used = of_core(core);
        let serves = core < serving;
        let no_room = || "no room for a session".to_owned();
        let writer = serves.then(|| stages.begin_session().ok_or_else(no_room)).transpose()?;
        let readers = (used as usize).div_ceil(options.handles_per_reader.max(1));
        let readers: Option<Vec<_>> = (0..readers).map(|_| stages.begin_session()).collect();
        let per_worker = sizing.limits.documents_per_worker_max as usize;
        // Planted at one core only: the others' sums must not hide it.
        let plant = options.plant.filter(|_| core == 0);
        let writes = writer.unwrap_or(NOBODY);
        let mut subscriber =
            Subscriber::new(writes, used, homes.len(), per_worker, &payloads, plant);
        if !options.no_latency {
            subscriber.measure_latency();
        }
        let core = Core {
            stages,
            writer,
            readers: readers.ok_or_else(no_room)?,
            names: layout.names(core, cores, documents, options.plant),
            generator: generator(core),
            subscriber,
            cores,
            serving,
            meetings: meetings.clone(),
            seconds: options.seconds,
            batches: options.batches,
            read_bytes: options.read_bytes.max(64),
            probe: probes.pop(),
            windows: options.in_windows.then(|| Windows::of(options.seconds)),
            loss_percent: options.plant_loss,
            steps_per_delta: options.plant_steps,
        };
        let number = threads.len();
        let memory = memory.clone();
        let run = move || {
            if serves {
                memory.prefault(RegionId(number as u32));
            }
            core.stages.prefault_nodes();
            core.run()
        };
        let thread = PinnedThread::spawn(cpus[number].id, &format!("core-{number}"), run);
        threads.push(thread.map_err(|error| error.to_string())?);
    }
    let outcomes: Vec<Outcome> =
        threads.into_iter().map(|thread| thread.join().expect("a core panicked")).collect();
    let accounts = outcomes
        .iter()
        .enumerate()
        .map(|(core, outcome)| Account::of(script(core), outcome.batches, &payloads, &outcome.ids));
    let account = accounts.fold(Account::default(), Account::and);
    let mut report = report(options, &outcomes, account, &homes);
    report.generator_alone_ns = generator_alone_ns;
    report.chunks_per_core = sizing.chunks;
    report.worst_case_bytes = sizing.worst_case_bytes;
    report.measures_latency = !options.no_latency;
    report.collection = kind;
    if options.in_windows {
        let windows: Vec<Windows> = outcomes.into_iter().map(|it| it.windows).collect();
        report.steady = steady(&windows, options.documents);
    }
    Ok(report)
}

/// Nanoseconds per delta of a generator that writes to as much memory as a small pool has.
fn alone_ns(mut generator: Generator, batch: u32) -> f64 {
    let mut memory = vec![0_u8; 8 * CHUNK_BYTES];
    let ran_ns = cpu_time::of_this_thread_ns();
    let began = Instant::now();
    let mut at = 0;
    while began.elapsed() < ALONE {
        let end = (at + (64 << 10)).min(memory.len());
        generator.fill(&mut memory[at..end]);
        at = end % memory.len();
    }
    std::hint::black_box(&memory);
    let wall_ns = began.elapsed().as_nanos() as u64;
    let ns = wall_ns as f64 * cpu_time::share(ran_ns, wall_ns);
    ns / (generator.batches() * u64::from(batch)) as f64
}

/// What a look at the clock takes, which is in every measured time once.
fn clock_ns() -> f64 {
    const LOOKS: u32 = 10_000;
    let began = Instant::now();
    for _ in 0..LOOKS {
        std::hint::black_box(Instant::now());
    }
    began.elapsed().as_nanos() as f64 / f64::from(LOOKS)
}

fn report(options: &Options, outcomes: &[Outcome], account: Account, homes: &[usize]) -> Report {
    let sum = |of: &dyn Fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    let mut differences = Vec::new();
    let mut compare = |what: &str, is: u64, must: u64| {
        if is != must {
            differences.push(format!("{what}: {is}, must be {must}"));
        }
    };
    let must = account;
    compare("accepted", sum(&|it| it.counts.validation.accepted_batches), must.accepted_batches);
    compare("deltas", sum(&|it| it.counts.validation.accepted_deltas), must.accepted_deltas);
    compare("refused", sum(&|it| it.counts.validation.refused_batches), must.refused_batches);
    compare("resent", sum(&|it| it.counts.validation.duplicate_batches), must.duplicate_batches);
    compare("images read", sum(&|it| it.heard.images), must.accepted_batches);
    compare("deltas read", sum(&|it| it.heard.deltas), must.accepted_deltas);
    compare("refusals told", sum(&|it| it.heard.refused), must.refused_batches);
    compare("resends told", sum(&|it| it.heard.duplicates), must.duplicate_batches);
    compare("faults", sum(&|it| it.heard.faults), 0);
    compare("gaps", sum(&|it| it.counts.propagation.gaps), 0);
    let hash = outcomes.iter().fold(0_u64, |all, it| all.wrapping_add(it.heard.hash));
    compare("hash", hash, must.hash);
    compare("cores at rest", sum(&|it| u64::from(it.is_at_rest)), outcomes.len() as u64);
    for (core, outcome) in outcomes.iter().enumerate() {
        let must = options.layout.owned_at(core, options.cores, options.documents);
        compare(&format!("documents owned by core {core}"), outcome.documents, must);
    }

    let began = outcomes.iter().map(|it| it.span.0).min();
    let ended = outcomes.iter().map(|it| it.span.1).max();
    let seconds = began.zip(ended).map_or(0.0, |(began, ended)| (ended - began).as_secs_f64());
    let deltas = sum(&|it| it.heard.deltas).max(1) as f64;
    let mut times = StageTimes::default();
    for outcome in outcomes {
        times.add(&outcome.times);
    }
    let images = sum(&|it| it.counts.propagation.delivered_images);
    Report {
        deltas_per_second: deltas / seconds,
        cpu_share: outcomes.iter().map(|it| it.cpu_share).sum::<f64>() / outcomes.len() as f64,
        verified: differences.is_empty(),
        differences,
        cores: options.cores,
        layout: options.layout,
        documents: options.documents,
        delta_bytes: options.delta_bytes,
        batch: options.batch,
        law: options.law,
        seconds,
        account,
        collection: "",
        distance_ns: outcomes[0].distance_ns,
        crossing_share: crossing_share(outcomes, homes),
        stage_ns: stage_ns(&times, deltas),
        generator_alone_ns: 0.0,
        chunks_per_core: 0,
        recycled_chunks: sum(&|it| it.counts.recycled_chunks),
        paused_reads: sum(&|it| it.counts.reception.paused_reads),
        turns: sum(&|it| it.times.turns),
        images_per_send: images as f64 / sum(&|it| it.counts.propagation.sends).max(1) as f64,
        live_bytes: live(outcomes),
        worst_case_bytes: 0,
        measures_latency: true,
        steady: None,
    }
}

/// The times of `deltas` deltas, by stage.
pub fn stage_ns(times: &StageTimes, deltas: f64) -> StageNs {
    let sampled = times.reading_deltas as f64;
    let clocks_ns = times.reading_sends as f64 * clock_ns();
    let reading_ns = times.reading_ns as f64 - clocks_ns;
    let subscriber = reading_ns.max(0.0) / sampled.max(1.0);
    let unsampled = (deltas - sampled).max(1.0);
    let with_reading = times.propagation_ns as f64 / unsampled;
    StageNs {
        generator: times.generator_ns as f64 / deltas,
        reception: times.reception_ns as f64 / deltas,
        validation: times.validation_ns as f64 / deltas,
        propagation: (with_reading - subscriber).max(0.0),
        subscriber,
        rest: times.rest_ns as f64 / deltas,
    }
}

/// Images that other cores than the writer's own have validated cannot be told from counts of one
/// side; documents are drawn evenly, so the share of slots with another home stands for it.
fn crossing_share(outcomes: &[Outcome], homes: &[usize]) -> f64 {
    let all: usize = outcomes.iter().map(|it| it.ids.len()).sum();
    let crossing = |(core, outcome): (usize, &Outcome)| {
        let elsewhere = |id: &&DocumentId| {
            homes.get(deltaworks_pipeline::document::home(id.slot)).is_none_or(|home| *home != core)
        };
        outcome.ids.iter().filter(elsewhere).count()
    };
    outcomes.iter().enumerate().map(crossing).sum::<usize>() as f64 / all.max(1) as f64
}

fn live(outcomes: &[Outcome]) -> Live {
    let mut live = Live::default();
    for outcome in outcomes {
        let of = &outcome.live;
        live.chunks += of.chunks;
        live.nodes += of.nodes;
        live.documents += of.documents;
        live.names += of.names;
        live.producers += of.producers;
        live.subscriptions += of.subscriptions;
        live.spills += of.spills;
        live.carries += of.carries;
        live.sessions += of.sessions;
        live.total += of.chunks
            + of.nodes
            + of.documents
            + of.names
            + of.producers
            + of.subscriptions
            + of.spills
            + of.carries
            + of.sessions;
    }
    live
}
