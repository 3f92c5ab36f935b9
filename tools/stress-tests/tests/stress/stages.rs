//! Whole stages on real threads with real doorbells: writers, fast and slow readers, readers that
//! come and go, chunks that are used again all the time, and an orderly end.
//!
//! Three threads, one of which only owns documents. Every reader must get a sequence without a hole
//! that it was not told of, each writer's batches in order and once, and the bytes that were
//! written; every writer its answers; and nobody may sleep through what was left for it. Documents
//! move between the two owners all the while, which nobody may notice.

mod core;
mod port;
mod waking;

use std::sync::Arc as StdArc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use deltaworks_pipeline::collection::{
    Collection, CollectionLimits, Collections, Overload, Schema,
};
use deltaworks_pipeline::limits::Limits;
use deltaworks_pipeline::stages::{CoreRole, CoreStages, Parts, join};
use deltaworks_runtime::chunk_memory::{ChunkMemory, RegionSpec};
use deltaworks_runtime::doorbell::{Doorbell, ring_all};
use deltaworks_runtime::sync::Arc;
use deltaworks_stress_tests::rounds;

use self::core::{Core, Told};
use deltaworks_stress_tests::rest::Rest;

/// Documents that are written and read.
pub const DOCUMENTS: u32 = 5;

/// Cores that own documents.
pub const WORKERS: u64 = 2;

/// Writers keep half of their batches until so many documents have moved: so some move while it is
/// written, however few turns that takes.
pub const MOVES_MIN: u64 = 4;

const ROLES: [CoreRole; 3] = [
    CoreRole { serves_sessions: true, owns_documents: true, is_elastic: false },
    CoreRole { serves_sessions: true, owns_documents: false, is_elastic: false },
    CoreRole { serves_sessions: false, owns_documents: true, is_elastic: false },
];

/// Where the cores wait for each other, turning all the while.
pub struct Meeting {
    arrived: AtomicUsize,
    /// A core has failed: nobody waits for it.
    has_failed: AtomicBool,
    /// Documents that were handed from one core to another.
    moves: AtomicU64,
    doorbells: Vec<Doorbell>,
}

impl Meeting {
    fn new(doorbells: &[Doorbell]) -> Self {
        let doorbells = doorbells.to_vec();
        let (arrived, has_failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { arrived, has_failed, moves: AtomicU64::new(0), doorbells }
    }

    /// One more is here.
    pub fn arrive(&self) {
        self.arrived.fetch_add(1, Ordering::AcqRel);
        ring_all(&self.doorbells);
    }

    /// Whether all are, or one never will be.
    pub fn is_over(&self) -> bool {
        self.arrived.load(Ordering::Acquire) == ROLES.len() || self.has_failed()
    }

    /// So many more documents have moved.
    pub fn add_moves(&self, moves: u64) {
        self.moves.fetch_add(moves, Ordering::Relaxed);
    }

    /// Documents that have moved.
    pub fn moves(&self) -> u64 {
        self.moves.load(Ordering::Relaxed)
    }

    /// Whether a core has failed.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    fn fail(&self) {
        self.has_failed.store(true, Ordering::Release);
        ring_all(&self.doorbells);
    }
}

/// Tells all who wait for a core when it fails: otherwise they wait for ever, and nobody is told why.
pub struct Failing(pub StdArc<[Meeting; 3]>);

impl Drop for Failing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.iter().for_each(Meeting::fail);
        }
    }
}

fn collections() -> Collections {
    Collections::new(vec![Collection {
        name: String::new(),
        schema: Schema::Opaque,
        overload: Overload::default(),
        limits: CollectionLimits::default(),
    }])
}

/// The stages of cores with these `roles`, who wake each other with `doorbells`.
fn stages(
    roles: &[CoreRole],
    ring_capacity: usize,
    doorbells: Vec<Doorbell>,
    seed: u64,
) -> Vec<CoreStages> {
    let region = RegionSpec { chunks: 4, numa_node: None };
    let (memory, _) = ChunkMemory::new(&[region; 2], 8 << 10).expect("memory");
    join(Parts {
        roles: roles.to_vec(),
        ring_capacity,
        memory: Arc::new(memory),
        collections: StdArc::new(collections()),
        limits: Limits {
            image_bytes_max: 2 << 10,
            credit_bytes: 4 << 10,
            documents_per_worker_max: 64,
            carry_bytes_per_core_max: 1 << 20,
            ..Limits::default()
        },
        doorbells,
        node_blocks: 1 << 10,
        epoch_seed: seed,
        measures_latency: true,
    })
}

/// Documents move in it if `moves`.
fn run(ring_capacity: usize, batches: u64, seed: u64, moves: bool) -> Told {
    let (rests, doorbells): (Vec<_>, Vec<_>) = ROLES.iter().map(|_| Rest::new()).unzip();
    let meetings: StdArc<[Meeting; 3]> =
        StdArc::new(::core::array::from_fn(|_| Meeting::new(&doorbells)));
    let stages = stages(&ROLES, ring_capacity, doorbells, seed);
    let cores = stages.into_iter().zip(rests).enumerate().map(|(number, (stages, rest))| {
        let core = Core::new(number as u64, stages, rest, meetings.clone(), (batches, seed), moves);
        std::thread::spawn(move || core.run())
    });
    let cores: Vec<_> = cores.collect();
    let told = cores.into_iter().map(|core| core.join().expect("a core"));
    told.fold(Told::default(), Told::and)
}

#[test]
fn whole_stages_keep_order_bytes_and_memory_and_end_in_order() {
    let mut told = Told::default();
    for (seed, (ring_capacity, batches)) in [(1, 3), (4, 15), (256, 60)].into_iter().enumerate() {
        let run = run(ring_capacity, rounds(batches), seed as u64, true);
        assert_eq!(run.ends.len(), DOCUMENTS as usize, "all readers come to the same end: {run:?}");
        told = told.and(run);
    }
    println!("stages: {told:?}");
    // Otherwise nothing was shown.
    assert!(told.images > 0 && told.recycled_chunks > 0 && told.sleeps > 0, "{told:?}");
    assert!(told.gaps > 0 && told.halves > 0 && told.sessions > 20, "{told:?}");
    assert!(told.moves >= 3 * MOVES_MIN, "documents move all the while: {told:?}");
}

/// Each writer takes all documents in turn, and rings hold one message: readers on other cores get
/// each document's batches in order, whatever came between.
#[test]
fn order_per_document_is_kept_with_interleaved_documents() {
    let told = run(1, rounds(4), 11, true);
    assert_eq!(told.ends.len(), DOCUMENTS as usize, "all readers come to the same end: {told:?}");
    assert!(told.images > 0);
}

/// Readers come and go between the batches: what they are told of a handle comes behind its
/// `opened`, gaps stand where they belong, and nothing comes twice.
#[test]
fn order_is_kept_for_control_and_data_interleaved_of_many_documents() {
    let told = run(2, rounds(40), 12, false);
    assert_eq!(told.ends.len(), DOCUMENTS as usize, "all readers come to the same end: {told:?}");
    assert!(told.sessions > 6 && told.gaps > 0, "{told:?}");
}
