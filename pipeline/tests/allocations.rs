//! No stage allocates for a batch: once everything has grown to its size, images come, are ordered, read
//! and their chunks used again without a call of the allocator.
//!
//! An allocator that counts stands below this program alone, and a clock between the stages tells whose
//! calls they were. Not in here: opens, refusals, and the report of load that an owner sends ten
//! times a second. Each stage is also shown an allocation that is seen.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use deltaworks_image::{BatchBuilder, Limits as ImageLimits};
use deltaworks_pipeline::collection::{
    Collection, CollectionLimits, Collections, Overload, Schema,
};
use deltaworks_pipeline::limits::Limits;
use deltaworks_pipeline::message::{
    Access, Ack, CloseReason, From, Missed, OpenRefusal, OpenRequest, Opened, Refusal, SessionId,
};
use deltaworks_pipeline::port::{ControlAction, Sent, SessionFault, SessionPort};
use deltaworks_pipeline::reception::worker_of_name;
use deltaworks_pipeline::stages::{CoreRole, CoreStages, Parts, StageClock, join};
use deltaworks_runtime::chunk_memory::{ChunkMemory, RegionSpec};
use deltaworks_runtime::clock::Now;
use deltaworks_runtime::doorbell::{Wake, doorbell};
use deltaworks_schema::{Kind, Schema as TypedSchema};

/// Documents that each core's session writes and reads.
const DOCUMENTS: u32 = 100;
/// Images of one read.
const IMAGES_PER_READ: u32 = 40;
/// Turns until everything has its size: chunks have been used again some ten times.
const TURNS_BEFORE: u32 = 2_000;
/// Turns in which nothing may be allocated.
const TURNS: u32 = 1_000;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counted;

#[global_allocator]
static COUNTED: Counted = Counted;

// SAFETY: the system's allocator does everything; counting in a plain cell of the thread, which is made
// without an allocation and needs no drop, changes nothing of it.
#[expect(unsafe_code, reason = "an allocator is unsafe to implement")]
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Allocations by stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Allocations {
    reception: u64,
    validation: u64,
    propagation: u64,
    rest: u64,
    seen: u64,
}

impl Allocations {
    fn lap(&mut self) -> u64 {
        let now = ALLOCATIONS.get();
        now - core::mem::replace(&mut self.seen, now)
    }
}

impl StageClock for Allocations {
    fn validated(&mut self) {
        self.validation += self.lap();
    }
    fn propagated(&mut self) {
        self.propagation += self.lap();
    }
}

/// Where an allocation is planted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Plant {
    Nowhere,
    Reception,
    Validation,
    Propagation,
}

fn allocate() {
    std::hint::black_box(Box::new(7_u64));
}

/// Reads everything, and counts it.
struct Port {
    plant: Plant,
    opened: u32,
    read_bytes: usize,
    credit_bytes: u64,
    bad: u32,
    /// One in four is not taken whole: then the socket is full until the next turn.
    sends: u32,
}

impl SessionPort for Port {
    fn control(&mut self, _: SessionId, _: u8, _: &[u8], _: Now) -> ControlAction {
        ControlAction::Done
    }
    fn opened(&mut self, _: &Opened, _: u64) {
        self.opened += 1;
    }
    fn open_refused(&mut self, _: SessionId, _: u32, _: OpenRefusal) {
        self.bad += 1;
    }
    fn ack(&mut self, ack: &Ack) {
        self.credit_bytes += u64::from(ack.credit_bytes);
        if self.plant == Plant::Validation {
            allocate();
        }
    }
    fn refused(&mut self, _: &Refusal) {
        self.bad += 1;
    }
    fn gap(&mut self, _: SessionId, _: u32, _: Missed) {
        self.bad += 1;
    }
    fn credit(&mut self, _: SessionId, _: u32, bytes: u64) {
        self.credit_bytes += bytes;
    }
    fn closed(&mut self, _: SessionId, _: u32, _: CloseReason) {
        self.bad += 1;
    }
    fn fault(&mut self, _: SessionId, _: SessionFault) {
        self.bad += 1;
    }
    fn remainder(&mut self, _: SessionId, _: &[u8]) {
        self.bad += 1;
    }
    fn resume_reading(&mut self, _: SessionId) {}
    fn forgotten(&mut self, _: SessionId) {}
    fn send(&mut self, _: SessionId, half: &[u8], parts: &[&[u8]]) -> Sent {
        self.sends += 1;
        // What waits for a socket is sent before a chunk goes, too: that is no time of propagation's.
        let may_fill = self.plant != Plant::Propagation && parts.len() > 1;
        let blocked = may_fill && self.sends.is_multiple_of(4);
        let taken = if blocked { &parts[..parts.len() / 2] } else { parts };
        let parts_bytes = taken.iter().map(|part| part.len()).sum();
        self.read_bytes += half.len() + parts_bytes;
        if self.plant == Plant::Propagation {
            allocate();
        }
        Sent { half_bytes: half.len(), parts_bytes, blocked }
    }
    fn sent_at_us(&mut self) -> u64 {
        0
    }
}

struct NeverSleeps;

impl Wake for NeverSleeps {
    fn wake(&self) {}
}

/// A core, its session that writes and reads, and what that has written.
struct Driven {
    stages: CoreStages,
    session: SessionId,
    port: Port,
    /// By document: the last number.
    numbers: Vec<u64>,
    next: u32,
    written: Vec<u8>,
    written_bytes: u64,
    allocations: Allocations,
}

impl Driven {
    /// Writes what one read brings, and turns; allocations of the stages alone are counted.
    fn turn(&mut self, writes: bool, now: Now) {
        if writes {
            self.write();
        }
        self.allocations.seen = ALLOCATIONS.get();
        self.stages.writable(self.session);
        if let Some(room) = self.stages.read_room(self.session)
            && !self.written.is_empty()
        {
            let count = room.len().min(self.written.len());
            room[..count].copy_from_slice(&self.written[..count]);
            self.stages.received(self.session, count, &mut self.port, now);
            self.written.drain(..count);
            if self.port.plant == Plant::Reception {
                allocate();
            }
        }
        self.allocations.reception += self.allocations.lap();
        self.stages.turn_timed(&mut self.port, now, &mut self.allocations);
        self.allocations.rest += self.allocations.lap();
    }

    /// The images of the next documents, in turn: whole, so that a read cuts none off.
    fn write(&mut self) {
        if !self.written.is_empty() {
            return;
        }
        for _ in 0..IMAGES_PER_READ {
            let document = self.next % DOCUMENTS;
            self.next += 1;
            let number = &mut self.numbers[document as usize];
            *number += 1;
            let mut image = BatchBuilder::new(ImageLimits::default());
            image.append(b"\xa1\x61a\x19\x12\x34").expect("a delta that is short enough");
            let image = image.finish(document, *number).expect("a batch");
            self.written.extend(image);
        }
        self.written_bytes += self.written.len() as u64;
    }
}

/// Cores whose sessions have opened their documents, every other one of which another core owns.
fn driven(cores: usize, plant: Plant) -> Vec<Driven> {
    let schema = r#"{"properties": {"a": {"type": "uint32"}}}"#;
    let collection = Collection {
        name: String::new(),
        schema: Schema::Typed(TypedSchema::compile(Kind::Cbor, schema).expect("a schema")),
        overload: Overload::default(),
        limits: CollectionLimits::default(),
    };
    let region = RegionSpec { chunks: 4, numa_node: None };
    let (memory, _) = ChunkMemory::new(&vec![region; cores], 64 << 10).expect("chunks");
    let all = join(Parts {
        roles: vec![
            CoreRole { serves_sessions: true, owns_documents: true, is_elastic: false };
            cores
        ],
        ring_capacity: 1024,
        memory: deltaworks_runtime::sync::Arc::new(memory),
        collections: Arc::new(Collections::new(vec![collection])),
        limits: Limits {
            image_bytes_max: 16 << 10,
            documents_per_worker_max: 1 << 10,
            ..Limits::default()
        },
        doorbells: (0..cores).map(|_| doorbell(NeverSleeps).0).collect(),
        node_blocks: 1 << 12,
        epoch_seed: 1,
        measures_latency: true,
    });
    let drive = |(core, mut stages): (usize, CoreStages)| {
        let session = stages.begin_session().expect("room for a session");
        let port = Port {
            plant: Plant::Nowhere,
            opened: 0,
            read_bytes: 0,
            credit_bytes: 0,
            bad: 0,
            sends: 0,
        };
        let numbers = vec![0; DOCUMENTS as usize];
        let mut driven = Driven {
            stages,
            session,
            port,
            numbers,
            next: 0,
            written: Vec::new(),
            written_bytes: 0,
            allocations: Allocations::default(),
        };
        for document in 0..DOCUMENTS {
            let owner = (core + document as usize % 2) % cores;
            let names = (0..).map(|salt| format!("{core}-{document}-{salt}"));
            let name = names.into_iter().find(|name| worker_of_name(name, cores) == owner);
            let action = ControlAction::Open(OpenRequest {
                request: document,
                name: name.expect("a name for every owner").into(),
                access: Access { read: true, write: true },
                from: From::Live,
                policy: None,
                producer: 1,
            });
            driven.stages.act(session, action, &mut driven.port, Now::default());
        }
        driven
    };
    let mut all: Vec<Driven> = all.into_iter().enumerate().map(drive).collect();
    for turn in 0..TURNS_BEFORE {
        let writes = all.iter().all(|driven| driven.port.opened == DOCUMENTS);
        assert!(writes || turn < 100, "all documents open soon");
        all.iter_mut().for_each(|driven| driven.turn(writes, at(turn)));
    }
    for driven in &mut all {
        driven.port.plant = plant;
        driven.allocations = Allocations::default();
    }
    all
}

/// The time of a turn: so short a step that no span of the measuring of load ends.
fn at(turn: u32) -> Now {
    Now { monotonic_ns: 1_000_000 + u64::from(turn) * 1_000, unix_us: 1_000 + u64::from(turn) }
}

/// What the stages of all cores have allocated while batches came.
fn allocations(cores: usize, plant: Plant) -> Allocations {
    let mut all = driven(cores, plant);
    let recycled: u64 = all.iter().map(|driven| driven.stages.counts().recycled_chunks).sum();
    for turn in TURNS_BEFORE..TURNS_BEFORE + TURNS {
        all.iter_mut().for_each(|driven| driven.turn(true, at(turn)));
    }
    let sum = all.iter().fold(Allocations::default(), |sum, driven| {
        let of = driven.allocations;
        Allocations {
            reception: sum.reception + of.reception,
            validation: sum.validation + of.validation,
            propagation: sum.propagation + of.propagation,
            rest: sum.rest + of.rest,
            seen: 0,
        }
    });
    // It has been the path of real batches, chunks and their retirement among it.
    let again: u64 = all.iter().map(|driven| driven.stages.counts().recycled_chunks).sum();
    assert!(again >= recycled + 10, "chunks are used again: {recycled}, {again}");
    for turn in 0..100 {
        all.iter_mut().for_each(|driven| driven.turn(false, at(TURNS_BEFORE + TURNS + turn)));
    }
    for driven in &all {
        assert_eq!(driven.port.bad, 0);
        assert_eq!(driven.port.read_bytes as u64, driven.written_bytes, "all is read");
        assert_eq!(driven.port.credit_bytes, driven.written_bytes, "all is answered");
    }
    sum
}

#[test]
fn a_batch_costs_no_allocation_in_any_stage() {
    for cores in [1, 2] {
        assert_eq!(allocations(cores, Plant::Nowhere), Allocations::default(), "{cores} cores");
    }
}

#[test]
fn an_allocation_in_any_stage_is_seen_there() {
    let of = |plant| allocations(1, plant);
    let nothing = Allocations::default();
    let seen = of(Plant::Reception);
    assert!(seen.reception > 0 && Allocations { reception: 0, ..seen } == nothing, "{seen:?}");
    let seen = of(Plant::Validation);
    assert!(seen.validation > 0 && Allocations { validation: 0, ..seen } == nothing, "{seen:?}");
    let seen = of(Plant::Propagation);
    assert!(seen.propagation > 0 && Allocations { propagation: 0, ..seen } == nothing, "{seen:?}");
}
