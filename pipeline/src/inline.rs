//! All stages on the caller's thread: no thread, no clock, no socket, no file.
//!
//! For tests, browsers and simulators: the caller says what time it is, when each core turns, how
//! much each peer's socket takes, and sees what each peer was told, in order. Everything is
//! bounded as it is on pinned cores; what a peer has been sent stays here until it is taken.

use std::collections::VecDeque;
use std::sync::Arc as StdArc;

use deltaworks_image::{BatchBuilder, Image, Limits as ImageLimits, PRELUDE_BYTES};
use deltaworks_runtime::chunk_memory::{ChunkMemory, RegionSpec};
use deltaworks_runtime::clock::Now;
use deltaworks_runtime::doorbell::{Wake, doorbell};
use deltaworks_runtime::sync::Arc;

use crate::collection::Collections;
use crate::handover::{MoveRefusal, Moved};
use crate::limits::Limits;
use crate::message::{
    Ack, CloseReason, Missed, OpenRefusal, OpenRequest, Opened, Policy, Refusal, SessionId,
};
use crate::placement::coordinator::Coordinator;
use crate::port::{ControlAction, Sent, SessionFault, SessionPort};
use crate::quota::SharedUse;
use crate::stages::{CoreRole, CoreStages, Counts, LiveBytes, Parts, Tuning, join};

/// What the inline form is made from.
#[derive(Debug)]
pub struct InlineConfig {
    /// The cores, by index; they take turns in this order.
    pub roles: Vec<CoreRole>,
    /// Chunks of each core that serves sessions.
    pub chunks: u32,
    /// Chunks of each home in which documents keep their newest bytes; 0, or four at least.
    pub kept_chunks: u32,
    /// Bytes of a chunk, a power of two.
    pub chunk_bytes: usize,
    /// Messages that each ring holds.
    pub ring_capacity: usize,
    /// Node blocks over all workers.
    pub node_blocks: u32,
    /// The collections.
    pub collections: Collections,
    /// The limits.
    pub limits: Limits,
    /// What epochs are made from.
    pub epoch_seed: u64,
}

impl InlineConfig {
    /// `cores` cores that each do everything, small chunks, and these collections.
    pub fn fused(cores: usize, collections: Collections) -> Self {
        Self {
            roles: vec![
                CoreRole { serves_sessions: true, owns_documents: true, is_elastic: false };
                cores
            ],
            chunks: 4,
            kept_chunks: 0,
            chunk_bytes: 64 << 10,
            ring_capacity: 64,
            node_blocks: 1 << 14,
            collections,
            limits: Limits {
                image_bytes_max: 16 << 10,
                documents_per_worker_max: 1 << 10,
                ..Limits::default()
            },
            epoch_seed: 1,
        }
    }
}

/// A session of the inline form.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Peer {
    core: usize,
    session: SessionId,
}

/// What a peer was told or sent.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A document was opened, with this credit.
    Opened(Box<Opened>, u64),
    /// An open was refused.
    OpenRefused(u32, OpenRefusal),
    /// Batches were answered.
    Ack(Ack),
    /// A batch was refused.
    Refused(Refusal),
    /// Sequences will not come.
    Gap {
        /// The handle.
        handle: u32,
        /// First missing.
        from: u64,
        /// First that follows.
        to: u64,
        /// What left them out.
        policy: Policy,
        /// How far behind it was.
        behind_bytes: u64,
    },
    /// Credit outside of an acknowledgement.
    Credit(u32, u64),
    /// A handle is closed.
    Closed(u32, CloseReason),
    /// The session ends.
    Fault(SessionFault),
    /// An image.
    Image(Vec<u8>),
}

#[derive(Debug, Default)]
struct Outbox {
    control: VecDeque<Event>,
    events: VecDeque<Event>,
    partial: Vec<u8>,
    room_bytes: usize,
    is_blocked: bool,
    is_ended: bool,
    is_forgotten: bool,
}

/// What a peer has sent and the server not read yet.
#[derive(Debug, Default)]
struct Input {
    bytes: VecDeque<u8>,
    /// Bytes that were read.
    read: u64,
    /// Control, behind so many bytes.
    actions: VecDeque<(u64, ControlAction)>,
}

impl Input {
    /// Bytes before the next action.
    fn readable_bytes(&self) -> usize {
        let next = self.actions.front().map_or(u64::MAX, |(at, _)| at - self.read);
        self.bytes.len().min(next.try_into().unwrap_or(usize::MAX))
    }
}

impl Outbox {
    fn take(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room_bytes);
        self.room_bytes -= if self.room_bytes == usize::MAX { 0 } else { count };
        self.partial.extend_from_slice(&bytes[..count]);
        while let Some(prelude) = self.partial.first_chunk::<PRELUDE_BYTES>() {
            let length = u32::from_le_bytes([prelude[0], prelude[1], prelude[2], prelude[3]]);
            if self.partial.len() < length as usize {
                break;
            }
            let rest = self.partial.split_off(length as usize);
            let image = core::mem::replace(&mut self.partial, rest);
            self.events.push_back(Event::Image(image));
        }
        count
    }
}

#[derive(Debug, Default)]
struct InlinePort {
    outboxes: Vec<Outbox>,
    woken: Vec<SessionId>,
    now_us: u64,
}

impl InlinePort {
    fn tell(&mut self, session: SessionId, event: Event) {
        self.outboxes[session.0 as usize].control.push_back(event);
        self.woken.push(session);
    }
}

impl SessionPort for InlinePort {
    fn control(&mut self, _: SessionId, _: u8, _: &[u8], _: Now) -> ControlAction {
        ControlAction::Done // typed control comes through `Inline`
    }
    fn opened(&mut self, opened: &Opened, credit_bytes: u64) {
        self.tell(opened.session, Event::Opened(Box::new(opened.clone()), credit_bytes));
    }
    fn open_refused(&mut self, session: SessionId, request: u32, reason: OpenRefusal) {
        self.tell(session, Event::OpenRefused(request, reason));
    }
    fn ack(&mut self, ack: &Ack) {
        self.tell(ack.session, Event::Ack(*ack));
    }
    fn refused(&mut self, refusal: &Refusal) {
        self.tell(refusal.session, Event::Refused(refusal.clone()));
    }
    fn gap(&mut self, session: SessionId, handle: u32, missed: Missed) {
        let Missed { from, to, policy, behind_bytes } = missed;
        self.tell(session, Event::Gap { handle, from, to, policy, behind_bytes });
    }
    fn credit(&mut self, session: SessionId, handle: u32, bytes: u64) {
        self.tell(session, Event::Credit(handle, bytes));
    }
    fn closed(&mut self, session: SessionId, handle: u32, reason: CloseReason) {
        self.tell(session, Event::Closed(handle, reason));
    }
    fn fault(&mut self, session: SessionId, fault: SessionFault) {
        // The session's way out is closed by now: told at once.
        let outbox = &mut self.outboxes[session.0 as usize];
        let control = core::mem::take(&mut outbox.control);
        outbox.events.extend(control);
        outbox.events.push_back(Event::Fault(fault));
        outbox.is_ended = true;
    }
    fn remainder(&mut self, _: SessionId, _: &[u8]) {}
    fn resume_reading(&mut self, _: SessionId) {}
    fn forgotten(&mut self, session: SessionId) {
        self.outboxes[session.0 as usize].is_forgotten = true;
    }
    fn send(&mut self, session: SessionId, half: &[u8], parts: &[&[u8]]) -> Sent {
        let outbox = &mut self.outboxes[session.0 as usize];
        let half_bytes = outbox.take(half);
        let mut sent = Sent { half_bytes, parts_bytes: 0, blocked: half_bytes < half.len() };
        if !sent.blocked {
            let control = core::mem::take(&mut outbox.control);
            outbox.events.extend(control);
            for part in parts {
                let count = outbox.take(part);
                sent.parts_bytes += count;
                sent.blocked = count < part.len();
                if sent.blocked {
                    break;
                }
            }
        }
        outbox.is_blocked = sent.blocked;
        sent
    }
    fn sent_at_us(&mut self) -> u64 {
        self.now_us
    }
}

#[derive(Debug)]
struct NoWake;

impl Wake for NoWake {
    fn wake(&self) {}
}

/// The stages of all cores, turned by the caller.
#[derive(Debug)]
pub struct Inline {
    stages: Vec<CoreStages>,
    ports: Vec<InlinePort>,
    inputs: Vec<(Peer, Input)>,
    tuning: Tuning,
    now: Now,
}

impl Inline {
    /// Joins the stages.
    ///
    /// # Panics
    /// If the memory asked for is refused, or the configuration contradicts itself.
    pub fn new(config: InlineConfig) -> Self {
        let regions: Vec<_> = config
            .roles
            .iter()
            .filter(|role| role.serves_sessions)
            .map(|_| RegionSpec { chunks: config.chunks, numa_node: None })
            .chain(
                (config.roles.iter().filter(|role| role.is_home() && config.kept_chunks > 0))
                    .map(|_| RegionSpec { chunks: config.kept_chunks, numa_node: None }),
            )
            .collect();
        let memory = ChunkMemory::new(&regions, config.chunk_bytes);
        let (memory, _) = memory.unwrap_or_else(|error| panic!("chunk memory: {error}"));
        let cores = config.roles.len();
        let tuning = Tuning::of(&config.limits);
        let stages = join(Parts {
            roles: config.roles,
            ring_capacity: config.ring_capacity,
            memory: Arc::new(memory),
            collections: StdArc::new(config.collections),
            limits: config.limits,
            doorbells: (0..cores).map(|_| doorbell(NoWake).0).collect(),
            node_blocks: config.node_blocks,
            epoch_seed: config.epoch_seed,
            measures_latency: true,
        });
        let ports = (0..cores).map(|_| InlinePort::default()).collect();
        Self { stages, ports, inputs: Vec::new(), tuning, now: Now::default() }
    }

    /// A session on `core`, whose socket takes everything; `None` at the limit.
    pub fn connect(&mut self, core: usize) -> Option<Peer> {
        let session = self.stages[core].begin_session()?;
        let outboxes = &mut self.ports[core].outboxes;
        if outboxes.len() <= session.0 as usize {
            outboxes.resize_with(session.0 as usize + 1, Outbox::default);
        }
        outboxes[session.0 as usize] = Outbox { room_bytes: usize::MAX, ..Outbox::default() };
        let peer = Peer { core, session };
        // What the session that had this place before left unread is not the new one's.
        self.inputs.retain(|(other, _)| *other != peer);
        self.inputs.push((peer, Input::default()));
        Some(peer)
    }

    /// Has the peer share the quota of an address with all others that have it.
    pub fn set_address(&mut self, peer: Peer, address: &Arc<SharedUse>) {
        self.stages[peer.core].set_address(peer.session, Arc::clone(address));
    }

    /// Opens a document.
    pub fn open(&mut self, peer: Peer, request: OpenRequest) {
        self.act(peer, ControlAction::Open(request));
    }

    /// Closes a handle.
    pub fn close(&mut self, peer: Peer, handle: u32) {
        self.act(peer, ControlAction::Close { handle });
    }

    /// Drops the document of a handle.
    pub fn drop_document(&mut self, peer: Peer, handle: u32) {
        self.act(peer, ControlAction::Drop { handle });
    }

    /// Acts as if `peer` had sent a control message, behind all bytes that it has sent.
    fn act(&mut self, peer: Peer, action: ControlAction) {
        if let Some((_, input)) = self.inputs.iter_mut().find(|(other, _)| *other == peer) {
            input.actions.push_back((input.read + input.bytes.len() as u64, action));
        }
        while self.feed(peer) {}
    }

    /// The peer's connection is gone.
    pub fn disconnect(&mut self, peer: Peer) {
        self.inputs.retain(|(other, _)| *other != peer);
        self.stages[peer.core].end_session(peer.session, &mut self.ports[peer.core], self.now);
    }

    /// Whether nothing of the peer's session is left.
    pub fn is_forgotten(&self, peer: Peer) -> bool {
        self.ports[peer.core].outboxes[peer.session.0 as usize].is_forgotten
    }

    /// Sends raw bytes, as they would come from a socket.
    pub fn send(&mut self, peer: Peer, bytes: &[u8]) {
        if let Some((_, input)) = self.inputs.iter_mut().find(|(other, _)| *other == peer) {
            input.bytes.extend(bytes);
        }
        while self.feed(peer) {}
    }

    /// Sends one batch.
    ///
    /// # Panics
    /// If the deltas are no batch: none, an empty one, or beyond the limits of an image.
    pub fn publish(&mut self, peer: Peer, handle: u32, producer_sequence: u64, deltas: &[&[u8]]) {
        let image = batch(handle, producer_sequence, deltas);
        self.send(peer, &image);
    }

    /// How many bytes the peer's socket takes from now on before it blocks.
    pub fn set_room(&mut self, peer: Peer, room_bytes: usize) {
        let outbox = &mut self.ports[peer.core].outboxes[peer.session.0 as usize];
        outbox.room_bytes = room_bytes;
        if outbox.is_blocked && room_bytes > 0 {
            outbox.is_blocked = false;
            self.stages[peer.core].writable(peer.session);
        }
    }

    /// Bytes that the server has not read from the peer yet.
    pub fn unread_bytes(&self, peer: Peer) -> usize {
        self.inputs
            .iter()
            .find(|(other, _)| *other == peer)
            .map_or(0, |(_, input)| input.bytes.len())
    }

    fn feed(&mut self, peer: Peer) -> bool {
        let place = self.inputs.iter().position(|(other, _)| *other == peer);
        place.is_some_and(|place| self.feed_at(place))
    }

    fn feed_at(&mut self, place: usize) -> bool {
        let (peer, input) = &mut self.inputs[place];
        let peer = *peer;
        let port = &mut self.ports[peer.core];
        if port.outboxes[peer.session.0 as usize].is_ended {
            *input = Input::default(); // nobody reads from a session that was ended
        }
        if let Some((_, action)) = input.actions.pop_front_if(|(at, _)| *at == input.read) {
            self.stages[peer.core].act(peer.session, action, port, self.now);
            return true;
        }
        if input.bytes.is_empty() {
            return false;
        }
        let Some(room) = self.stages[peer.core].read_room(peer.session) else { return false };
        let count = room.len().min(input.readable_bytes());
        let (front, back) = input.bytes.as_slices();
        let from_front = count.min(front.len());
        room[..from_front].copy_from_slice(&front[..from_front]);
        room[from_front..count].copy_from_slice(&back[..count - from_front]);
        input.bytes.drain(..count);
        input.read += count as u64;
        self.stages[peer.core].received(peer.session, count, port, self.now);
        true
    }

    /// One turn of `core`; returns how much was done.
    pub fn turn_core(&mut self, core: usize) -> usize {
        let mut work = 0;
        for place in 0..self.inputs.len() {
            work += usize::from(self.inputs[place].0.core == core && self.feed_at(place));
        }
        self.ports[core].now_us = self.now.unix_us;
        work += self.stages[core].turn(&mut self.ports[core], self.now);
        for session in core::mem::take(&mut self.ports[core].woken) {
            self.stages[core].has_control(session);
            work += 1;
        }
        work
    }

    /// One turn of every core.
    pub fn turn(&mut self) -> usize {
        (0..self.stages.len()).map(|core| self.turn_core(core)).sum()
    }

    /// Turns until nothing happens any more.
    ///
    /// # Panics
    /// After 100,000 turns: something goes in circles.
    pub fn run(&mut self) {
        for _ in 0..100_000 {
            if self.turn() == 0 && self.stages.iter().all(CoreStages::may_park) {
                return;
            }
        }
        panic!("the stages do not come to rest");
    }

    /// Lets time pass.
    pub fn advance_ns(&mut self, ns: u64) {
        self.now.monotonic_ns += ns;
        self.now.unix_us += ns / 1_000;
    }

    /// Takes what the peer was told and sent since the last call, in order.
    pub fn events(&mut self, peer: Peer) -> Vec<Event> {
        self.ports[peer.core].outboxes[peer.session.0 as usize].events.drain(..).collect()
    }

    /// Plants a panic on `core`.
    #[cfg(feature = "testing")]
    pub fn plant(&mut self, core: usize, panic: crate::planted::PlantedPanic) {
        self.stages[core].plant(panic);
    }

    /// What every core goes by, as [`CoreStages::tune`] changed it last, or as at the start.
    pub fn tuning(&self) -> Tuning {
        self.tuning
    }

    /// [`CoreStages::tune`] on every core.
    pub fn tune(&mut self, tuning: Tuning) {
        self.tuning = tuning;
        self.stages.iter_mut().for_each(|stages| stages.tune(tuning));
    }

    /// [`CoreStages::stop_reading`] and [`CoreStages::refuse_rest`] on every core.
    pub fn refuse_rest(&mut self) {
        for stages in &mut self.stages {
            stages.stop_reading();
            stages.refuse_rest();
        }
    }

    /// Plants [`CoreStages::plant_spill_leak`] on `core`.
    #[cfg(feature = "testing")]
    pub fn plant_spill_leak(&mut self, core: usize, one_in: u64) {
        self.stages[core].plant_spill_leak(one_in);
    }

    /// Plants [`CoreStages::plant_looks`] on `core`.
    #[cfg(feature = "testing")]
    pub fn plant_looks(&mut self, core: usize) {
        self.stages[core].plant_looks();
    }

    /// [`CoreStages::poison_recycled`] on every core.
    #[cfg(feature = "testing")]
    pub fn poison_recycled(&mut self, byte: u8) {
        self.stages.iter_mut().for_each(|stages| stages.poison_recycled(byte));
    }

    /// [`CoreStages::unload_idle`] on every core.
    #[cfg(feature = "testing")]
    pub fn unload_idle(&mut self) {
        self.stages.iter_mut().for_each(|stages| stages.unload_idle(self.now));
    }

    /// [`CoreStages::move_document`] on `core`.
    ///
    /// # Errors
    /// Why it cannot be moved now.
    pub fn move_document(
        &mut self,
        core: usize,
        slot: u32,
        generation: u32,
        to_worker: u16,
    ) -> Result<(), MoveRefusal> {
        self.stages[core].move_document(slot, generation, to_worker)
    }

    /// [`CoreStages::take_moved`] on `core`.
    pub fn take_moved(&mut self, core: usize) -> Option<Moved> {
        self.stages[core].take_moved()
    }

    /// What `core` has counted.
    pub fn counts(&self, core: usize) -> Counts {
        self.stages[core].counts()
    }

    /// The stages of `core`, to be looked at.
    pub fn stages(&self, core: usize) -> &CoreStages {
        &self.stages[core]
    }

    /// Who decides where documents go.
    pub fn coordinator_mut(&mut self) -> Option<&mut Coordinator> {
        self.stages.iter_mut().find_map(CoreStages::coordinator_mut)
    }

    /// Bytes that are live on `core`.
    pub fn live_bytes(&self, core: usize) -> LiveBytes {
        self.stages[core].live_bytes()
    }
}

/// A batch's image.
///
/// # Panics
/// If the deltas are no batch.
pub fn batch(handle: u32, producer_sequence: u64, deltas: &[&[u8]]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(ImageLimits::default());
    for delta in deltas {
        builder.append(delta).unwrap_or_else(|error| panic!("delta: {error:?}"));
    }
    builder.finish(handle, producer_sequence).unwrap_or_else(|error| panic!("batch: {error:?}"))
}

/// The deltas of a received image, with their sequences.
pub fn deltas(image: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let Ok(image) = Image::parse(image) else { return Vec::new() };
    (image.first_sequence()..).zip(image.deltas().map(<[u8]>::to_vec)).collect()
}
