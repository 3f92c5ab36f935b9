//! One number for everything that input can make grow, divided by kind.
//!
//! The budget bounds what clients can fill: chunks and what hangs on them take what the tables
//! leave. Limits that count (documents, handles, sessions …) scale with the budget; every row of
//! the worst case says what happens when it is full. The program itself and its libraries come on
//! top.

use deltaworks_pipeline::kept::KEPT_CHUNKS_MIN;
use deltaworks_pipeline::limits::Limits;
use deltaworks_pipeline::placement::PlacementLimits;
use deltaworks_pipeline::stages::{INBOX_BYTES, ring_bytes};
use deltaworks_pipeline::stream::BLOCK_BYTES;
use deltaworks_pipeline::{ASIDE_BYTES, MACHINE_BYTES, MACHINES};

/// The budget at which the limits are those of [`Limits::default`].
pub const BUDGET_BYTES: u64 = 256 << 20;

/// The budget of each core that serves sessions, if that makes more.
pub const BUDGET_BYTES_PER_SESSION_CORE: u64 = 64 << 20;

/// The smallest budget that leaves room for two chunks a core.
pub const BUDGET_BYTES_MIN: u64 = 32 << 20;

/// Bytes of the smallest image: header, one length, one byte, padding.
const IMAGE_BYTES_MIN: u64 = 64;

/// Bytes of a document's state: shared, hot and cold part, its entry in the directory, its marks.
const DOCUMENT_BYTES: u64 = 32 + 64 + 200 + 64 + 1;

/// Bytes of a producer, a subscription, what one has more that has missed something, a handle, a session without handles, a waiting message,
/// an owed credit, the run of nodes of one document in one chunk.
const PRODUCER_BYTES: u64 = 64;
/// A worker's place for a document of another worker: its hot part, and the pointer to its cold one.
const GUEST_PLACE_BYTES: u64 = 64 + 8;
const SUBSCRIPTION_BYTES: u64 = 80;
const SLOW_BYTES: u64 = 64;
/// A document's place in the table of first subscriptions that each core which serves sessions has.
const FIRST_SUBSCRIPTION_BYTES: u64 = 4;
const HANDLE_BYTES: u64 = 144;
const SESSION_BYTES: u64 = 2048;
const MESSAGE_BYTES: u64 = 64;
const OWED_BYTES: u64 = 24;
const RUN_BYTES: u64 = 8;
/// What may wait aside at all workers together, for each core that serves sessions.
const ASIDE_PER_SESSION_CORE: u64 = 16_384;

/// Messages that each core may have waiting, whatever a worker's queue leaves: below it a core would
/// pause at every turn.
const WAITING_MESSAGES_MIN: u64 = 256;

/// The default of [`SizingRequest::worker_queue_messages`].
pub const WORKER_QUEUE_MESSAGES: u32 = 10_000;

const CONTROL_BYTES: u64 = 8 << 20;
const RINGS_BYTES: u64 = 4 << 20;

/// What is asked of [`size`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizingRequest {
    /// The budget; none: the default for so many cores.
    pub budget_bytes: Option<u64>,
    /// All cores.
    pub cores: u32,
    /// Cores that serve sessions.
    pub session_cores: u32,
    /// Cores that own documents.
    pub workers: u32,
    /// Cores that own documents only while they are hot.
    pub elastic_cores: u32,
    /// Documents of other homes that each of these may own.
    pub guests_per_worker: u32,
    /// Documents at most; none: what the budget scales to, 100,000 at [`BUDGET_BYTES`].
    pub documents: Option<u32>,
    /// Sessions at most; none: what the budget scales to, 4,096 at [`BUDGET_BYTES`].
    pub sessions: Option<u32>,
    /// Messages that wait for one worker over all its rings together: in the rings, and with the
    /// cores that they come from. A budget below [`BUDGET_BYTES`] holds less, in proportion.
    pub worker_queue_messages: u32,
    /// Messages that each ring holds; none: at most 4,096, and half of a worker's queue over all
    /// its rings.
    pub ring_capacity: Option<u32>,
    /// Bytes of a chunk.
    pub chunk_bytes: u64,
    /// Bytes of the budget for kept images, with their nodes; 0 for none.
    pub kept_bytes: u64,
}

/// One row of the worst case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What grows.
    pub kind: &'static str,
    /// Bytes of each.
    pub each_bytes: u64,
    /// How many at most.
    pub count: u64,
    /// What happens when it is full.
    pub when_full: &'static str,
}

impl Row {
    /// Bytes at most.
    pub fn bytes(&self) -> u64 {
        self.each_bytes * self.count
    }
}

/// How a budget is divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizing {
    /// The budget.
    pub budget_bytes: u64,
    /// Limits of each core's stages.
    pub limits: Limits,
    /// Chunks of each core that serves sessions.
    pub chunks_per_core: u32,
    /// Chunks in which each worker that is a home keeps images; 0 for none.
    pub kept_chunks_per_home: u32,
    /// Node blocks over all workers.
    pub node_blocks: u32,
    /// Messages that each ring holds.
    pub ring_capacity: usize,
    /// Control messages that wait in all sessions of a core, in bytes.
    pub control_bytes_per_core_max: usize,
    /// The worst case, by kind.
    pub rows: Vec<Row>,
}

impl Sizing {
    /// Bytes of the worst case, over all kinds.
    pub fn worst_case_bytes(&self) -> u64 {
        self.rows.iter().map(Row::bytes).sum()
    }
}

/// The budget does not hold what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSmall {
    /// The budget.
    pub budget_bytes: u64,
    /// What it would have to be.
    pub needed_bytes: u64,
}

impl std::fmt::Display for TooSmall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let (has, needs) = (mib(self.budget_bytes), mib(self.needed_bytes));
        write!(f, "a budget of {has} MiB is too small: {needs} MiB are needed at least")
    }
}

impl std::error::Error for TooSmall {}

/// Divides a budget.
///
/// # Errors
/// If it leaves less than two chunks a core.
pub fn size(request: SizingRequest) -> Result<Sizing, TooSmall> {
    let session_cores = u64::from(request.session_cores.max(1));
    let workers = u64::from(request.workers.max(1));
    let owners = workers + u64::from(request.elastic_cores);
    let budget_bytes = request
        .budget_bytes
        .unwrap_or(BUDGET_BYTES.max(BUDGET_BYTES_PER_SESSION_CORE * session_cores));
    let scaled = |at_default: u64| at_default * budget_bytes.min(BUDGET_BYTES) / BUDGET_BYTES;
    let documents = request.documents.map_or(scaled(100_000), u64::from).max(1);
    // What belongs to documents and sessions grows with an asked number of documents, too.
    let related = |at_default: u64| scaled(at_default).max(2 * documents);
    let producers = related(200_000);
    let subscriptions = related(200_000);
    let slow = related(200_000) / 4;
    let handles = related(200_000);
    let sessions = request.sessions.map_or(scaled(4096), u64::from).max(1);
    let owed = scaled(100_000);
    let names_bytes = 64 * documents;
    let (spills, carries) = (scaled(12 << 20), scaled(4 << 20));
    let control = scaled(CONTROL_BYTES);
    let cores = request.cores.max(1) as usize;
    let queue = scaled(u64::from(request.worker_queue_messages)).max(1);
    let ring_capacity = ring_capacity(&request, queue);
    let rings = ring_bytes(cores, ring_capacity as usize);
    // What a worker's rings do not hold of its queue waits with the cores that it comes from.
    let waiting = queue
        .saturating_sub(ring_capacity * cores as u64)
        .max(WAITING_MESSAGES_MIN * session_cores);
    let aside = (scaled(ASIDE_PER_SESSION_CORE) * session_cores / owners).max(128);
    // Lanes leave half of it to batches that are checked in slices.
    let lanes = scaled(u64::from(Limits::default().placement.lane_waiting_max)).min(aside / 2);
    // Hash alone spreads documents over workers: an eighth more on each.
    let spread = |over_all: u64| (over_all + over_all / 8).div_ceil(workers);

    let mut rows = vec![
        row("documents", DOCUMENT_BYTES, documents + documents / 8, "open refused (306)"),
        row(
            "guest places",
            GUEST_PLACE_BYTES,
            u64::from(request.guests_per_worker) * owners,
            "document stays where it is",
        ),
        row("names", 1, names_bytes, "open refused (309)"),
        row("producers", PRODUCER_BYTES, producers, "oldest forgotten, or open refused (308, 309)"),
        row("subscriptions", SUBSCRIPTION_BYTES, subscriptions, "open refused (309)"),
        row("slow subscriptions", SLOW_BYTES, slow, "each miss told at once"),
        row(
            "first subscriptions",
            FIRST_SUBSCRIPTION_BYTES,
            spread(documents) * workers * session_cores,
            "cannot be: one a document",
        ),
        row("handles", HANDLE_BYTES, handles, "open refused (307, 309)"),
        row("sessions", SESSION_BYTES, sessions, "connection refused (207)"),
        row("control", 1, control, "session ended (214)"),
        row("spills", 1, spills, "session ended (213)"),
        row("carries", 1, carries, "session ended (212)"),
        row(
            "check machines",
            MACHINE_BYTES as u64,
            MACHINES as u64 * owners,
            "slow batches wait their turn",
        ),
        row("ring slots", 1, rings, "messages wait with their sender"),
        row("taken out of rings", INBOX_BYTES, (cores * (cores - 1)) as u64, "stays in the ring"),
        row("waiting messages", MESSAGE_BYTES, waiting, "reading pauses"),
        row("owed credit", OWED_BYTES, owed, "batch refused (406)"),
        row("set aside", ASIDE_BYTES as u64, aside * owners, "worker takes no messages"),
    ];
    let fixed: u64 = rows.iter().map(Row::bytes).sum();
    let blocks_of_documents = documents + documents / 8;
    let fixed = fixed + blocks_of_documents * BLOCK_BYTES as u64;
    let images = request.chunk_bytes / IMAGE_BYTES_MIN;
    let blocks_per_chunk = images.div_ceil(7);
    let with_chunk =
        request.chunk_bytes + images * RUN_BYTES + blocks_per_chunk * BLOCK_BYTES as u64;
    let kept_each = match request.kept_bytes {
        0 => 0,
        bytes => (bytes / with_chunk / workers).max(u64::from(KEPT_CHUNKS_MIN)),
    };
    let kept = kept_each * workers;
    let fixed = fixed + kept * with_chunk;
    let chunks_per_core = budget_bytes.saturating_sub(fixed) / with_chunk / session_cores;
    if chunks_per_core < 2 {
        let needed_bytes = fixed + 2 * session_cores * with_chunk;
        return Err(TooSmall { budget_bytes, needed_bytes });
    }
    let chunks = chunks_per_core * session_cores;
    let node_blocks = (chunks + kept) * blocks_per_chunk + blocks_of_documents;
    rows.insert(0, row("chunks", request.chunk_bytes, chunks, "credit withheld, reading pauses"));
    rows.insert(1, row("node blocks", BLOCK_BYTES as u64, node_blocks, "batch refused (406)"));
    let runs = (chunks + kept) * images;
    rows.insert(2, row("runs in chunks", RUN_BYTES, runs, "cannot be: one an image"));
    rows.insert(3, row("kept chunks", request.chunk_bytes, kept, "the oldest kept images go"));

    let defaults = Limits::default();
    let per_core = |over_all: u64| over_all / session_cores;
    let limits = Limits {
        guests_per_worker_max: request.guests_per_worker,
        documents_per_worker_max: spread(documents) as u32,
        names_bytes_per_worker_max: names_bytes / workers,
        producers_per_worker_max: (producers / owners) as u32,
        subscriptions_per_core_max: per_core(subscriptions) as u32,
        slow_subscriptions_per_core_max: per_core(slow) as u32,
        handles_per_core_max: per_core(handles) as u32,
        sessions_per_core_max: per_core(sessions).max(1) as u32,
        waiting_messages_max: per_core(waiting) as u32,
        owed_per_worker_max: (owed / owners) as u32,
        aside_per_worker_max: aside as u32,
        spill_bytes_per_core_max: per_core(spills),
        carry_bytes_per_core_max: per_core(carries),
        image_bytes_max: defaults.image_bytes_max.min((request.chunk_bytes / 4) as u32),
        placement: PlacementLimits { lane_waiting_max: lanes as u32, ..defaults.placement },
        ..defaults
    };
    Ok(Sizing {
        budget_bytes,
        limits,
        chunks_per_core: chunks_per_core as u32,
        kept_chunks_per_home: kept_each as u32,
        node_blocks: node_blocks as u32,
        ring_capacity: ring_capacity as usize,
        control_bytes_per_core_max: per_core(control) as usize,
        rows,
    })
}

/// Messages of each ring: as wished, else what [`RINGS_BYTES`] leave; never more than a worker's queue
/// over all its rings, and half of it without a wish.
fn ring_capacity(request: &SizingRequest, queue: u64) -> u64 {
    let cores = u64::from(request.cores.max(1));
    match request.ring_capacity {
        Some(wished) => u64::from(wished).min(queue / cores).max(1),
        None => {
            let room = (RINGS_BYTES / (MESSAGE_BYTES * cores * cores)).clamp(64, 4096);
            room.min(queue / 2 / cores).max(1)
        }
    }
}

fn row(kind: &'static str, each_bytes: u64, count: u64, when_full: &'static str) -> Row {
    Row { kind, each_bytes, count, when_full }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(cores: u32) -> SizingRequest {
        SizingRequest {
            budget_bytes: None,
            cores,
            session_cores: cores,
            workers: cores,
            elastic_cores: 0,
            guests_per_worker: 256,
            documents: None,
            sessions: None,
            worker_queue_messages: WORKER_QUEUE_MESSAGES,
            ring_capacity: None,
            chunk_bytes: 2 << 20,
            kept_bytes: 0,
        }
    }

    /// The rings into a worker and what waits for them hold what its queue is to hold.
    #[test]
    fn a_workers_queue_is_its_rings_and_what_waits_for_them() {
        for cores in [1, 2, 8, 64] {
            for (queue, ring_capacity) in
                [(100_000, None), (100_000, Some(1)), (50_000, Some(1 << 20)), (1 << 20, None)]
            {
                let request = SizingRequest {
                    budget_bytes: Some(8 << 30),
                    worker_queue_messages: queue,
                    ring_capacity,
                    ..request(cores)
                };
                let sizing = size(request).expect("enough");
                let in_rings = sizing.ring_capacity as u32 * cores;
                let waiting = sizing.limits.waiting_messages_max * cores;
                let rounding = cores + WAITING_MESSAGES_MIN as u32 * cores;
                assert!(in_rings <= queue, "{cores} cores, {queue}: {in_rings}");
                assert!(in_rings + waiting <= queue + rounding, "{cores} cores, {queue}");
                assert!(in_rings + waiting + rounding >= queue, "{cores} cores, {queue}");
                assert!(ring_capacity != Some(1) || sizing.ring_capacity == 1);
            }
        }
    }

    #[test]
    fn the_worst_case_is_within_the_budget() {
        for cores in [1, 2, 4, 8, 16, 64] {
            let sizing = size(request(cores)).expect("the default budget is enough");
            let (worst, budget) = (sizing.worst_case_bytes(), sizing.budget_bytes);
            assert!(worst <= budget, "{cores} cores: {worst} > {budget}: {sizing:#?}");
            assert!(worst > budget / 10 * 8, "{cores} cores leave {worst} of {budget}");
            let firsts = sizing.rows.iter().find(|row| row.kind == "first subscriptions");
            let places = sizing.limits.documents_per_worker_max * cores;
            assert_eq!(firsts.expect("a row").count, u64::from(places * cores));
        }
        for (cores, elastic_cores) in [(3_u32, 1), (40, 24), (64, 15)] {
            let few = (cores - elastic_cores).div_ceil(2);
            let request =
                SizingRequest { session_cores: few, workers: few, elastic_cores, ..request(cores) };
            let sizing = size(request).expect("the default budget is enough");
            assert!(sizing.worst_case_bytes() <= sizing.budget_bytes, "{sizing:#?}");
            let guests = sizing.rows.iter().find(|row| row.kind == "guest places").expect("a row");
            assert_eq!(
                guests.count,
                u64::from(sizing.limits.guests_per_worker_max * (few + elastic_cores))
            );
        }
        for mib in [64, 256, 1024] {
            let budget_bytes = Some(mib << 20);
            let sizing = size(SizingRequest { budget_bytes, ..request(2) }).expect("enough");
            assert!(sizing.worst_case_bytes() <= mib << 20);
        }
    }

    #[test]
    fn a_budget_that_is_too_small_says_what_it_would_have_to_be() {
        let small = SizingRequest { budget_bytes: Some(8 << 20), ..request(2) };
        let too_small = size(small).expect_err("too small");
        let enough = SizingRequest { budget_bytes: Some(too_small.needed_bytes), ..small };
        // Limits scale with the budget, so what is needed then may be a little more.
        assert!(size(enough).is_ok() || too_small.needed_bytes < BUDGET_BYTES);
    }

    #[test]
    fn documents_cost_what_is_said() {
        let few = size(request(2)).expect("enough");
        let documents = few.rows.iter().find(|row| row.kind == "documents").expect("a row");
        assert!(documents.each_bytes <= 512);
    }
}
