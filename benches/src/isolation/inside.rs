//! The world without sockets: all clients and the stages of one core on this thread, and as many more
//! cores that own documents as are asked for, each on a pinned thread of its own.
//!
//! A client's bytes are copied into the room that reception gives, as a socket would; when there is
//! none, the session waits until it is told to go on, as a socket's task does. The sizes are those
//! that the daemon would have.

use std::sync::Arc as StdArc;
use std::time::Instant;

use deltaworks_image::PRELUDE_BYTES;
use deltaworks_image::prelude::IMAGE_BYTES_HARD_MAX;
use deltaworks_pipeline::collection::{
    Collection, CollectionLimits, Collections, Overload, Schema,
};
use deltaworks_pipeline::handover::{MoveOutcome, MoveRefusal};
use deltaworks_pipeline::message::{
    Access, Ack, CloseReason, From, Missed, OpenRefusal, OpenRequest, Opened, Refusal, SessionId,
};
use deltaworks_pipeline::port::{ControlAction, Sent, SessionFault, SessionPort};
use deltaworks_pipeline::stages::{CoreRole, CoreStages, LiveBytes, Parts, join};
use deltaworks_runtime::chunk_memory::{ChunkMemory, RegionId, RegionSpec};
use deltaworks_runtime::clock::{Clock, Now, SystemClock};
use deltaworks_runtime::doorbell::{Wake, doorbell};
use deltaworks_schema::{Kind, Schema as TypedSchema};
use deltaworks_server::sizing::{Sizing, SizingRequest, WORKER_QUEUE_MESSAGES, size};

use super::delta::{DEAR, DEAR_SCHEMA};
use super::fleet::{Fleet, Key, OpenedAs, Plan, Role};
use super::plant::Plant;
use super::scenario::SESSIONS;
use super::worker::{Worked, Worker};
use super::world::{Live, Move, Placed, World};
use crate::payload;
use crate::sizing::CHUNK_BYTES;

/// One turn in so many looks at what is live.
const LOOKED: u64 = 256;

/// Documents that there is place for.
const DOCUMENTS: u32 = 2_000;

struct NeverSleeps;

impl Wake for NeverSleeps {
    fn wake(&self) {}
}

/// What a reader was told that belongs between images.
#[derive(Clone, Copy, Debug)]
struct Told {
    handle: u32,
    from: u64,
    to: u64,
}

#[derive(Debug, Default)]
struct Line {
    key: Option<Key>,
    told: Vec<Told>,
    partial: Vec<u8>,
    is_blocked: bool,
    waits_for_room: bool,
}

/// The clients as the stages see them.
pub(super) struct Port {
    fleet: Fleet,
    /// By session.
    lines: Vec<Line>,
    woken: Vec<SessionId>,
    clock: SystemClock,
}

/// What a world is made of.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    /// CPUs of the cores that only own documents.
    pub others: &'a [usize],
    /// Whether the caller's core owns documents, too.
    pub owns_documents: bool,
    /// Memory for everything that clients can make grow.
    pub budget_mib: u32,
    /// Sessions that there is place for.
    pub sessions: u32,
    /// A worker's queue, if it is not to be the daemon's.
    pub queue: Option<Queue>,
}

/// A worker's queue that is what bounds a publisher: credit does not, and no turn is shared.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    /// Messages, half of them in the ring at most, as in the daemon.
    pub messages: u32,
    /// Deltas that a batch may have.
    pub deltas_per_batch_max: u32,
}

impl Queue {
    fn apply(self, sizing: &mut Sizing) {
        sizing.ring_capacity = (self.messages as usize / 2).clamp(1, RING_MESSAGES_MAX);
        let limits = &mut sizing.limits;
        limits.waiting_messages_max = (self.messages - sizing.ring_capacity as u32).max(1);
        limits.deltas_per_batch_max = self.deltas_per_batch_max;
        limits.image_bytes_max = IMAGE_BYTES_HARD_MAX;
        limits.credit_bytes = u32::MAX;
        limits.turn.reception_cost = 1 << 24;
        limits.turn.quantum_cost = 1 << 24;
    }
}

/// Messages that a ring holds at most, as in the daemon.
const RING_MESSAGES_MAX: usize = 4096;

/// The stages, and their clients.
pub struct Inside {
    stages: CoreStages,
    port: Port,
    /// By key.
    sessions: Vec<Option<SessionId>>,
    clock: SystemClock,
    turns: u64,
    given: Vec<Key>,
    last: Instant,
    workers: Vec<Worker>,
    /// What they came to, once it is over.
    pub worked: Vec<Worked>,
    /// Time in which somebody who had something to send found no room.
    pub blocked_ns: u64,
    blocked_since: Option<Instant>,
    budget_bytes: u64,
}

/// The collections of every world: deltas of a schema, and deltas that are dear to check.
///
/// # Errors
/// If a schema cannot be compiled.
pub fn collections() -> Result<Collections, String> {
    let collection = |name: &str, json| {
        let schema = TypedSchema::compile(Kind::Cbor, json);
        Ok::<_, String>(Collection {
            name: name.to_owned(),
            schema: Schema::Typed(schema.map_err(|error| format!("{error:?}"))?),
            overload: Overload::default(),
            limits: CollectionLimits::default(),
        })
    };
    Ok(Collections::new(vec![collection("", payload::SCHEMA)?, collection(DEAR, DEAR_SCHEMA)?]))
}

impl Inside {
    /// One core, on the caller's thread, that does everything.
    ///
    /// # Errors
    /// If the system does not give what is needed.
    pub fn start(budget_mib: u32, sessions: u32, plant: Option<Plant>) -> Result<Self, String> {
        let others = &[];
        let shape = Shape { others, owns_documents: true, budget_mib, sessions, queue: None };
        Self::join(shape, plant)
    }

    /// The same, and a worker on a core of its own that owns what is moved to it.
    ///
    /// # Errors
    /// If the system does not give what is needed.
    pub fn start_with_other(
        cpu: usize,
        budget_mib: u32,
        plant: Option<Plant>,
    ) -> Result<Self, String> {
        let (others, sessions) = (&[cpu], SESSIONS);
        let shape = Shape { others, owns_documents: true, budget_mib, sessions, queue: None };
        Self::join(shape, plant)
    }

    /// A core on the caller's thread, and those that only own documents on CPUs of their own.
    ///
    /// # Errors
    /// If the system does not give what is needed.
    pub fn join(shape: Shape<'_>, plant: Option<Plant>) -> Result<Self, String> {
        let Shape { others, owns_documents, budget_mib, sessions, queue } = shape;
        let cores = 1 + others.len();
        // Beside a core that owns documents, another is nobody's home.
        let elastic_cores = if owns_documents { others.len() as u32 } else { 0 };
        let sizing = size(SizingRequest {
            budget_bytes: Some(u64::from(budget_mib) << 20),
            cores: cores as u32,
            session_cores: 1,
            workers: (others.len() as u32 - elastic_cores) + u32::from(owns_documents),
            elastic_cores,
            guests_per_worker: 256,
            documents: Some(DOCUMENTS),
            sessions: Some(sessions),
            worker_queue_messages: WORKER_QUEUE_MESSAGES,
            ring_capacity: None,
            chunk_bytes: CHUNK_BYTES as u64,
            kept_bytes: 0,
        });
        let mut sizing: Sizing = sizing.map_err(|error| error.to_string())?;
        if let Some(queue) = queue {
            queue.apply(&mut sizing);
        }
        // Documents move when they are asked to, and not by themselves.
        sizing.limits.placement.thresholds.promotion = 0;
        sizing.limits.placement.balance_percent = 0;
        let region = RegionSpec { chunks: sizing.chunks_per_core, numa_node: None };
        let (memory, _) =
            ChunkMemory::new(&[region], CHUNK_BYTES).map_err(|error| error.to_string())?;
        let memory = deltaworks_runtime::sync::Arc::new(memory);
        memory.prefault(RegionId(0));
        let mut roles = vec![CoreRole { serves_sessions: true, owns_documents, is_elastic: false }];
        let is_elastic = elastic_cores > 0;
        roles.resize(cores, CoreRole { serves_sessions: false, owns_documents: true, is_elastic });
        let mut all = join(Parts {
            roles,
            ring_capacity: sizing.ring_capacity,
            memory,
            collections: StdArc::new(collections()?),
            limits: sizing.limits,
            doorbells: (0..cores).map(|_| doorbell(NeverSleeps).0).collect(),
            node_blocks: sizing.node_blocks,
            epoch_seed: 1,
            measures_latency: true,
        })
        .into_iter();
        let stages = all.next().ok_or("no core")?;
        let mut workers = Vec::new();
        for (stages, cpu) in all.zip(others) {
            workers.push(Worker::start(stages, *cpu, plant)?);
        }
        let clock = SystemClock::new();
        let port = Port::new(plant);
        Ok(Self {
            stages,
            port,
            sessions: Vec::new(),
            clock,
            turns: 0,
            given: Vec::new(),
            last: Instant::now(),
            workers,
            worked: Vec::new(),
            blocked_ns: 0,
            blocked_since: None,
            budget_bytes: sizing.budget_bytes,
        })
    }

    fn feed(&mut self, key: Key, now: Now) {
        let Some(session) = self.sessions[key] else { return };
        let line = &mut self.port.lines[session.0 as usize];
        if line.waits_for_room {
            return;
        }
        if let Some(since) = self.blocked_since.take() {
            self.blocked_ns += since.elapsed().as_nanos() as u64;
        }
        // As a socket's task does: until there is nothing, or reception says that it is enough.
        loop {
            let unsent = self.port.fleet.unsent(key);
            if unsent.is_empty() {
                return;
            }
            let Some(room) = self.stages.read_room(session) else {
                self.port.lines[session.0 as usize].waits_for_room = true;
                self.blocked_since.get_or_insert_with(Instant::now);
                return;
            };
            let count = room.len().min(unsent.len());
            room[..count].copy_from_slice(&unsent[..count]);
            let has_more = self.port.fleet.took(key, count);
            self.stages.received(session, count, &mut self.port, now);
            if !has_more {
                return;
            }
        }
    }

    /// Ends all sessions, and then the other cores.
    ///
    /// # Errors
    /// If one panicked.
    pub fn stop(&mut self) -> Result<(), String> {
        for key in self.port.fleet.keys() {
            self.disconnect(key);
        }
        let began = Instant::now();
        while self.stages.session_count() > 0 && began.elapsed() < super::world::PATIENCE {
            self.step()?;
        }
        for worker in self.workers.drain(..) {
            self.worked.push(worker.end()?);
        }
        Ok(())
    }

    /// The stages of the caller's core.
    pub fn stages(&self) -> &CoreStages {
        &self.stages
    }

    fn note(&mut self) {
        let now = Instant::now();
        let turn_ns = (now - self.last).as_nanos() as u64;
        self.last = now;
        self.turns += 1;
        let is_looked = self.turns.is_multiple_of(LOOKED);
        let live = if is_looked { live(self.stages.live_bytes()) } else { Live::default() };
        if let Some(span) = self.port.fleet.span() {
            span.turn(turn_ns);
            span.live(live.all_bytes());
        }
    }
}

fn live(bytes: LiveBytes) -> Live {
    let LiveBytes { documents, names, producers, subscriptions, spills, carries, .. } = bytes;
    let other_bytes = documents + names + producers + subscriptions + spills;
    Live {
        window_bytes: bytes.chunks + bytes.nodes,
        other_bytes: other_bytes + bytes.sessions,
        carried_bytes: carries,
        reader_bytes: subscriptions + spills,
    }
}

impl World for Inside {
    fn fleet(&mut self) -> &mut Fleet {
        &mut self.port.fleet
    }

    fn connect(&mut self, plan: Plan) -> Result<Key, String> {
        let session = self.stages.begin_session().ok_or("there is no place for a session")?;
        let role = plan.role;
        let documents = plan.documents.clone();
        let key = self.port.fleet.begin(plan);
        if self.sessions.len() <= key {
            self.sessions.resize(key + 1, None);
        }
        self.sessions[key] = Some(session);
        let place = session.0 as usize;
        if self.port.lines.len() <= place {
            self.port.lines.resize_with(place + 1, Line::default);
        }
        self.port.lines[place] = Line { key: Some(key), ..Line::default() };
        let now = self.clock.now();
        for (request, document) in (0..).zip(documents) {
            let (access, policy) = match role {
                Role::Reader { policy, .. } => (Access { read: true, write: false }, Some(policy)),
                _ => (Access { read: false, write: true }, None),
            };
            let request = OpenRequest {
                request,
                name: self.port.fleet.documents[document].name.as_str().into(),
                access,
                from: From::Live,
                policy,
                producer: u64::from(access.write),
            };
            self.stages.act(session, ControlAction::Open(request), &mut self.port, now);
        }
        Ok(key)
    }

    fn disconnect(&mut self, key: Key) {
        let Some(session) = self.sessions[key].take() else { return };
        self.port.lines[session.0 as usize].key = None;
        self.port.fleet.end(key);
        let now = self.clock.now();
        self.stages.end_session(session, &mut self.port, now);
    }

    fn has_room(&mut self, key: Key) {
        let Some(session) = self.sessions[key] else { return };
        let line = &mut self.port.lines[session.0 as usize];
        if core::mem::take(&mut line.is_blocked) {
            self.stages.writable(session);
        }
    }

    fn step(&mut self) -> Result<(), String> {
        let now_ns = self.port.fleet.now_ns();
        self.port.fleet.publish_due(now_ns);
        let now = self.clock.now();
        for _ in 0..self.port.fleet.ready_count() {
            let Some(key) = self.port.fleet.take_ready() else { break };
            self.feed(key, now);
        }
        self.stages.turn(&mut self.port, now);
        for session in core::mem::take(&mut self.port.woken) {
            self.stages.has_control(session);
        }
        let mut given = core::mem::take(&mut self.given);
        self.port.fleet.give_room(&mut given);
        for key in given.drain(..) {
            self.has_room(key);
        }
        self.given = given;
        self.note();
        Ok(())
    }

    fn documents_per_session(&self) -> usize {
        1
    }

    fn live(&mut self) -> Option<Live> {
        Some(live(self.stages.live_bytes()))
    }

    fn move_document(&mut self, document: u64, to_other: bool) -> Result<bool, String> {
        let (slot, generation) = (document as u32, (document >> 32) as u32);
        let worker = self.workers.first().ok_or("there is no other worker")?;
        if !to_other {
            return worker.give(slot, generation, 0).map(|()| true);
        }
        match self.stages.move_document(slot, generation, 1) {
            Ok(()) => Ok(true),
            Err(MoveRefusal::AlreadyMoving | MoveRefusal::Busy) => Ok(false),
            Err(refusal) => Err(format!("the document is not moved: {refusal:?}")),
        }
    }

    fn take_moved(&mut self) -> Option<Move> {
        let told = self.stages.take_moved();
        let moved = told.or_else(|| self.workers.first().and_then(Worker::take_moved))?;
        Some(Move {
            has_moved: moved.outcome == MoveOutcome::Moved,
            pause_us: moved.pause_ns.map(|ns| ns as f64 / 1e3),
            held: u64::from(moved.held),
        })
    }

    fn placed(&mut self) -> Result<Option<Placed>, String> {
        Ok(None)
    }

    fn budget_bytes(&self) -> u64 {
        self.budget_bytes
    }

    fn finish(mut self: Box<Self>) -> Result<(), String> {
        self.stop()?;
        let live = self.stages.live_bytes();
        let left = (live.subscriptions, live.spills, live.carries, self.stages.session_count());
        if left == (0, 0, 0, 0) {
            return Ok(());
        }
        Err(format!("bytes of subscriptions, spills and carries, and sessions, are left: {left:?}"))
    }
}

impl Port {
    /// Nobody.
    pub(super) fn new(plant: Option<Plant>) -> Self {
        let (fleet, clock) = (Fleet::new(plant), SystemClock::new());
        Self { fleet, lines: Vec::new(), woken: Vec::new(), clock }
    }

    #[inline]
    fn key(&self, session: SessionId) -> Option<Key> {
        self.lines.get(session.0 as usize)?.key
    }

    fn refuse(&mut self, session: SessionId, what: &str) {
        if let Some(key) = self.key(session) {
            self.fleet.refused(key, what);
        }
    }

    /// Takes bytes of images as a socket with so much room does.
    #[inline]
    fn take(&mut self, session: SessionId, key: Key, bytes: &[u8]) -> usize {
        let Some(client) = self.fleet.session(key) else { return bytes.len() };
        let count = bytes.len().min(client.room_bytes);
        if client.room_bytes != usize::MAX {
            client.room_bytes -= count;
        }
        let line = &mut self.lines[session.0 as usize];
        let mut kept = core::mem::take(&mut line.partial);
        let mut rest = &bytes[..count];
        if !kept.is_empty() {
            kept.extend_from_slice(rest);
            rest = &kept;
        }
        while let Some(prelude) = rest.first_chunk::<PRELUDE_BYTES>() {
            let length = u32::from_le_bytes([prelude[0], prelude[1], prelude[2], prelude[3]]);
            let length = length as usize;
            if length < PRELUDE_BYTES {
                self.refuse(session, "a message that is shorter than its prelude");
                rest = &[];
                break;
            }
            let Some((image, after)) = rest.split_at_checked(length) else { break };
            self.fleet.image(key, image);
            rest = after;
        }
        self.lines[session.0 as usize].partial = rest.to_vec();
        count
    }

    fn hear(&mut self, session: SessionId, key: Key) {
        for Told { handle, from, to } in core::mem::take(&mut self.lines[session.0 as usize].told) {
            self.fleet.gap(key, handle, from, to);
        }
    }
}

impl SessionPort for Port {
    fn control(&mut self, session: SessionId, _: u8, _: &[u8], _: Now) -> ControlAction {
        self.refuse(session, "control");
        ControlAction::End
    }
    fn opened(&mut self, opened: &Opened, credit: u64) {
        let Some(key) = self.key(opened.session) else { return };
        let id = u64::from(opened.generation) << 32 | u64::from(opened.slot);
        let opened = OpenedAs {
            handle: opened.handle,
            document: id,
            start_sequence: opened.start_sequence,
            producer_sequence: opened.producer_sequence,
            credit,
        };
        self.fleet.opened(key, opened);
    }
    fn open_refused(&mut self, session: SessionId, _: u32, reason: OpenRefusal) {
        self.refuse(session, &format!("{reason:?}"));
    }
    #[inline]
    fn ack(&mut self, ack: &Ack) {
        if let Some(key) = self.key(ack.session) {
            let credit = u64::from(ack.credit_bytes);
            self.fleet.acked(key, ack.handle, ack.producer_sequence, credit);
        }
    }
    fn refused(&mut self, refusal: &Refusal) {
        self.refuse(refusal.session, &format!("{:?}", refusal.reason));
    }
    fn gap(&mut self, session: SessionId, handle: u32, missed: Missed) {
        let Missed { from, to, .. } = missed;
        self.lines[session.0 as usize].told.push(Told { handle, from, to });
        self.woken.push(session);
    }
    fn credit(&mut self, session: SessionId, handle: u32, bytes: u64) {
        if let Some(key) = self.key(session) {
            self.fleet.credit(key, handle, bytes);
        }
    }
    fn closed(&mut self, session: SessionId, _: u32, reason: CloseReason) {
        self.refuse(session, &format!("{reason:?}"));
    }
    fn fault(&mut self, session: SessionId, fault: SessionFault) {
        self.refuse(session, &format!("{fault:?}"));
    }
    fn remainder(&mut self, _: SessionId, _: &[u8]) {}
    fn resume_reading(&mut self, session: SessionId) {
        let line = &mut self.lines[session.0 as usize];
        line.waits_for_room = false;
        if let Some(key) = line.key {
            self.fleet.make_ready(key);
        }
    }
    fn forgotten(&mut self, _: SessionId) {}
    #[inline]
    fn send(&mut self, session: SessionId, half: &[u8], parts: &[&[u8]]) -> Sent {
        let whole = Sent {
            half_bytes: half.len(),
            parts_bytes: parts.iter().map(|part| part.len()).sum(),
            blocked: false,
        };
        let Some(key) = self.key(session) else { return whole };
        let mut sent = Sent { half_bytes: self.take(session, key, half), ..Sent::default() };
        sent.blocked = sent.half_bytes < half.len();
        if !sent.blocked {
            self.hear(session, key);
            for part in parts {
                let count = self.take(session, key, part);
                sent.parts_bytes += count;
                if count < part.len() {
                    sent.blocked = true;
                    break;
                }
            }
        }
        self.lines[session.0 as usize].is_blocked = sent.blocked;
        sent
    }
    fn sent_at_us(&mut self) -> u64 {
        self.clock.now().unix_us
    }
}
