//! Cores of a story: the shipping stages, each core turned by a thread of the model.
//!
//! ```text
//!  client ─▶ Core (sessions) ──rings, bits, doorbells──▶ Core (documents) ──▶ … ─▶ client
//! ```
//!
//! What a daemon wraps around the stages is small here: a core that finds nothing to do parks by
//! the doorbell's protocol, and its sockets are a [`Client`] that keeps what it was sent and
//! checks every image. A core ends when the story says so, as a daemon's does: a word and a ring.

use std::collections::VecDeque;
use std::sync::Arc as StdArc;

use deltaworks_image::{BatchBuilder, Image, Limits as ImageLimits};
use deltaworks_pipeline::collection::{
    Collection, CollectionLimits, Collections, Overload, Schema,
};
use deltaworks_pipeline::limits::Limits;
use deltaworks_pipeline::message::{
    Access, Ack, CloseReason, From, Missed, OpenRefusal, OpenRequest, Opened, Policy, Refusal,
    SessionId,
};
use deltaworks_pipeline::port::{ControlAction, Sent, SessionFault, SessionPort};
use deltaworks_pipeline::stages::{CoreRole, CoreStages, Parts, join};
use deltaworks_runtime::chunk_memory::{ChunkMemory, RegionSpec};
use deltaworks_runtime::clock::Now;
use deltaworks_runtime::doorbell::{Doorbell, Sleeper, doorbell};
use deltaworks_runtime::parking::{Parker, parker};
use deltaworks_runtime::sync::Arc;
use deltaworks_runtime::sync::atomic::{AtomicBool, Ordering};
use deltaworks_runtime::sync::thread::{JoinHandle, yield_now};

use crate::explore::spawn;

/// Bytes of every image of the stories: one delta of one byte.
pub(crate) const IMAGE_BYTES: usize = 64;

const NOW: Now = Now { monotonic_ns: 1, unix_us: 1 };

/// Serves sessions.
pub(crate) const SESSIONS: CoreRole =
    CoreRole { serves_sessions: true, owns_documents: false, is_elastic: false };
/// Owns documents.
pub(crate) const DOCUMENTS: CoreRole =
    CoreRole { serves_sessions: false, owns_documents: true, is_elastic: false };

/// Serves sessions, and owns what it is given: nobody's home.
pub(crate) const ELASTIC: CoreRole =
    CoreRole { serves_sessions: true, owns_documents: true, is_elastic: true };

/// Does both, as all cores of a small machine do.
pub(crate) const ALL: CoreRole =
    CoreRole { serves_sessions: true, owns_documents: true, is_elastic: false };

/// How small the stages are made.
pub(crate) struct Sizes {
    pub(crate) chunks: u32,
    pub(crate) images_per_chunk: usize,
    pub(crate) ring_capacity: usize,
    pub(crate) node_blocks: u32,
    pub(crate) documents: u32,
    /// Whether a batch takes its owner two turns to check.
    pub(crate) is_slow: bool,
    /// Chunks in which each owner keeps every document's newest image; none, or three at least.
    pub(crate) kept_chunks: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            chunks: 2,
            images_per_chunk: 2,
            ring_capacity: 8,
            node_blocks: 2,
            documents: 1,
            is_slow: false,
            kept_chunks: 0,
        }
    }
}

/// The cores of these roles, joined.
pub(crate) fn cores(roles: &[CoreRole], sizes: &Sizes) -> Vec<Core> {
    let regions: Vec<_> = roles
        .iter()
        .filter(|role| role.serves_sessions)
        .map(|_| RegionSpec { chunks: sizes.chunks, numa_node: None })
        .chain(
            (roles.iter().filter(|role| role.is_home() && sizes.kept_chunks > 0))
                .map(|_| RegionSpec { chunks: sizes.kept_chunks, numa_node: None }),
        )
        .collect();
    let chunk_bytes = sizes.images_per_chunk * IMAGE_BYTES;
    let (memory, _) = ChunkMemory::new(&regions, chunk_bytes).unwrap();
    let mut sleepers = Vec::new();
    let mut doorbells = Vec::new();
    for _ in roles {
        let (parker, unparker) = parker();
        let (bell, sleeper) = doorbell(unparker);
        doorbells.push(bell);
        sleepers.push((sleeper, parker));
    }
    let limits = Limits {
        image_bytes_max: IMAGE_BYTES as u32,
        deltas_per_batch_max: 1,
        handles_per_core_max: 4,
        sessions_per_core_max: 2,
        documents_per_worker_max: sizes.documents,
        guests_per_worker_max: 1,
        producers_per_worker_max: 4,
        subscriptions_per_core_max: 2,
        steps_per_batch: if sizes.is_slow { 1 } else { 8 },
        steps_per_turn: if sizes.is_slow { 2 } else { 64 },
        ..Limits::default()
    };
    let stages = join(Parts {
        roles: roles.to_vec(),
        ring_capacity: sizes.ring_capacity,
        memory: Arc::new(memory),
        collections: collections(sizes.kept_chunks > 0),
        limits,
        doorbells: doorbells.clone(),
        node_blocks: sizes.node_blocks,
        epoch_seed: 1,
        measures_latency: false,
    });
    stages
        .into_iter()
        .zip(sleepers)
        .zip(doorbells)
        .map(|((stages, (sleeper, parker)), bell)| Core {
            stages,
            client: Client::default(),
            sleeper,
            parker,
            end: End { bell, is_set: Arc::new(AtomicBool::new(false)) },
        })
        .collect()
}

/// One collection of any bytes, at a price of three steps each, whose documents keep an image or none. Made
/// once: it is read only, and no part of what is explored.
fn collections(keeps: bool) -> StdArc<Collections> {
    static ALL: [std::sync::OnceLock<StdArc<Collections>>; 2] =
        [const { std::sync::OnceLock::new() }; 2];
    let keep_bytes = if keeps { IMAGE_BYTES as u32 } else { 0 };
    let make = || {
        StdArc::new(Collections::new(vec![Collection {
            name: String::new(),
            schema: Schema::Busy { steps_per_delta: 3 },
            overload: Overload::default().with(Policy::Wait, true),
            limits: CollectionLimits { keep_bytes, ..CollectionLimits::default() },
        }]))
    };
    ALL[usize::from(keeps)].get_or_init(make).clone()
}

/// Ends a core that runs.
#[derive(Clone)]
pub(crate) struct End {
    bell: Doorbell,
    is_set: Arc<AtomicBool>,
}

impl End {
    pub(crate) fn tell(&self) {
        self.is_set.store(true, Ordering::Release);
        self.bell.ring();
    }
}

/// One core.
pub(crate) struct Core {
    pub(crate) stages: CoreStages,
    pub(crate) client: Client,
    sleeper: Sleeper,
    parker: Parker,
    end: End,
}

impl Core {
    /// How to end this core once it runs on a thread of its own.
    pub(crate) fn end(&self) -> End {
        self.end.clone()
    }

    /// Runs on a thread of its own until it is told to end.
    pub(crate) fn spawn(mut self) -> JoinHandle<()> {
        spawn(move || self.run())
    }

    /// Runs until it is told to end.
    pub(crate) fn run(&mut self) {
        let is_set = self.end.is_set.clone();
        self.run_until(|_| is_set.load(Ordering::Acquire));
    }

    /// Turns, and parks where there is nothing to do, until `is_done`, which is asked after each
    /// turn and by the last look before parking.
    pub(crate) fn run_until(&mut self, is_done: impl Fn(&Self) -> bool) {
        loop {
            let work = self.turn();
            if is_done(self) {
                return;
            }
            if work == 1 && self.stages.last_inbox() == 0 {
                // What waits for room in a ring counts as work: its reader has to go on.
                yield_now();
            }
            if work > 0 {
                continue;
            }
            let Self { stages, sleeper, end, .. } = self;
            if sleeper.may_sleep(|| !stages.may_park() || end.is_set.load(Ordering::Acquire)) {
                self.parker.park();
                self.sleeper.woke();
            } else {
                // Somebody else has to go on: a full ring is emptied by its reader.
                yield_now();
            }
        }
    }

    /// One turn; returns how much was done.
    pub(crate) fn turn(&mut self) -> usize {
        let work = self.stages.turn(&mut self.client, NOW);
        let woken = core::mem::take(&mut self.client.woken);
        for session in &woken {
            self.stages.has_control(*session);
        }
        work + woken.len()
    }

    pub(crate) fn connect(&mut self) -> SessionId {
        self.stages.begin_session().expect("the stories have places for their sessions")
    }

    /// Asks for the story's document, to write it.
    pub(crate) fn open_to_write(&mut self, session: SessionId) {
        self.open(session, Access { read: false, write: true }, From::Live, Policy::Gap);
    }

    /// Asks for the story's document, to read it.
    pub(crate) fn open_to_read(&mut self, session: SessionId, from: From, policy: Policy) {
        self.open(session, Access { read: true, write: false }, from, policy);
    }

    pub(crate) fn open(&mut self, session: SessionId, access: Access, from: From, policy: Policy) {
        let (name, policy) = ("d".into(), Some(policy));
        let request = OpenRequest { request: 0, name, access, from, policy, producer: 1 };
        self.act(session, ControlAction::Open(request));
    }

    /// Asks for a second document, to write it.
    pub(crate) fn open_another_to_write(&mut self, session: SessionId) {
        let (name, access) = ("e".into(), Access { read: false, write: true });
        let (from, policy) = (From::Live, None);
        let request = OpenRequest { request: 0, name, access, from, policy, producer: 1 };
        self.act(session, ControlAction::Open(request));
    }

    pub(crate) fn act(&mut self, session: SessionId, action: ControlAction) {
        self.stages.act(session, action, &mut self.client, NOW);
    }

    /// Asks worker `to` whether it takes the story's document; false if that is not to be asked now.
    pub(crate) fn may_give_to(&mut self, to: u16) -> bool {
        let known = self.stages.document_of_name("d");
        known.is_some_and(|(slot, generation)| {
            self.stages.move_document(slot, generation, to).is_ok()
        })
    }

    /// The same, and lets the first of `others` answer: the move is about to begin.
    pub(crate) fn give_to(&mut self, to: u16, others: &mut [Core]) {
        assert!(self.may_give_to(to));
        others[0].turn();
    }

    /// Whether a document has come to this core.
    pub(crate) fn was_given(&self) -> bool {
        self.stages.move_counts().finished > 0
    }

    /// The session's connection is gone.
    pub(crate) fn end_session(&mut self, session: SessionId) {
        self.stages.end_session(session, &mut self.client, NOW);
    }

    /// The session's socket takes everything from now on.
    pub(crate) fn take_all(&mut self, session: SessionId) {
        self.client.room_bytes = usize::MAX;
        self.stages.writable(session);
    }

    /// Sends batch `number` through `handle`, whose one delta is the byte `number`; `false` if the
    /// core does not read now.
    pub(crate) fn publish(&mut self, session: SessionId, handle: u32, number: u64) -> bool {
        self.publish_byte(session, handle, number, number as u8)
    }

    /// Sends batch `number` through `handle`, whose one delta is `byte`; `false` if the core does
    /// not read now.
    pub(crate) fn publish_byte(
        &mut self,
        session: SessionId,
        handle: u32,
        number: u64,
        byte: u8,
    ) -> bool {
        let mut builder = BatchBuilder::new(ImageLimits::default());
        builder.append(&[byte]).expect("one byte is a delta");
        let image = builder.finish(handle, number).expect("one delta is a batch");
        let Some(room) = self.stages.read_room(session) else { return false };
        room[..IMAGE_BYTES].copy_from_slice(&image);
        self.stages.received(session, IMAGE_BYTES, &mut self.client, NOW);
        true
    }

    /// The same as [`Core::publish`], as soon as the core has a chunk to read into.
    pub(crate) fn publish_when_read(&mut self, session: SessionId, handle: u32, number: u64) {
        while !self.publish(session, handle, number) {
            self.client.may_read = false;
            self.run_until(|core| core.client.may_read);
        }
        self.turn();
    }
}

/// Turns cores on the caller's thread until nothing happens: what comes before a story.
pub(crate) fn settle(cores: &mut [Core]) {
    while cores.iter_mut().map(Core::turn).sum::<usize>() > 0 {}
}

/// Turns a core, and lets another thread go on after each turn.
pub(crate) fn turns(core: &mut Core, count: usize) {
    for _ in 0..count {
        core.turn();
        yield_now();
    }
}

/// What a client was told or sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The handle is open: which document (slot and generation), and its first sequence.
    Opened { handle: u32, document: (u32, u32), start: u64 },
    /// Batches up to this one are answered.
    Ack(u64),
    /// Sequences from the first to before the second will not come.
    Gap(u64, u64),
    /// The handle is closed.
    Closed(u32, CloseReason),
    /// An image with this sequence, whose delta is this byte.
    Image(u64, u8),
    /// Something that is no part of the stories.
    Odd,
}

/// The far end of all sessions of one core, whose sockets together take `room_bytes` more.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) events: Vec<(SessionId, Event)>,
    pub(crate) room_bytes: usize,
    pub(crate) may_read: bool,
    control: VecDeque<(SessionId, Event)>,
    woken: Vec<SessionId>,
    partial: Vec<u8>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            events: Vec::new(),
            room_bytes: usize::MAX,
            may_read: true,
            control: VecDeque::new(),
            woken: Vec::new(),
            partial: Vec::new(),
        }
    }
}

impl Client {
    /// What `session` was told or sent, in order.
    pub(crate) fn of(&self, session: SessionId) -> impl DoubleEndedIterator<Item = Event> + '_ {
        self.events.iter().filter(move |(of, _)| *of == session).map(|(_, event)| *event)
    }

    /// The sequence behind what `session` got or was told to be missing, of the document that it
    /// opened last. Checks that none is out of place, and that each has its own byte.
    pub(crate) fn next_sequence(&self, session: SessionId) -> u64 {
        self.of(session).fold(0, |next, event| match event {
            Event::Opened { start, .. } => start,
            Event::Image(sequence, delta) => {
                assert_eq!((sequence, u64::from(delta)), (next, next), "in order, and its own");
                next + 1
            }
            Event::Gap(from, to) => {
                assert_eq!(from, next, "a gap begins behind what came");
                to
            }
            _ => next,
        })
    }

    pub(crate) fn is_closed(&self, session: SessionId, reason: CloseReason) -> bool {
        self.of(session).any(|event| matches!(event, Event::Closed(_, why) if why == reason))
    }

    fn tell(&mut self, session: SessionId, event: Event) {
        self.control.push_back((session, event));
        self.woken.push(session);
    }

    fn take(&mut self, session: SessionId, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room_bytes);
        if self.room_bytes != usize::MAX {
            self.room_bytes -= count;
        }
        self.partial.extend_from_slice(&bytes[..count]);
        while self.partial.len() >= IMAGE_BYTES {
            let rest = self.partial.split_off(IMAGE_BYTES);
            let image = core::mem::replace(&mut self.partial, rest);
            let image = Image::parse(&image).expect("an image arrives whole");
            image.verify().expect("as its writer and its owner made it");
            let delta = image.deltas().next().expect("with its delta");
            self.events.push((session, Event::Image(image.first_sequence(), delta[0])));
        }
        count
    }
}

impl SessionPort for Client {
    fn control(&mut self, _: SessionId, _: u8, _: &[u8], _: Now) -> ControlAction {
        ControlAction::Done
    }
    fn opened(&mut self, opened: &Opened, _: u64) {
        let document = (opened.slot, opened.generation);
        let (handle, start) = (opened.handle, opened.start_sequence);
        self.tell(opened.session, Event::Opened { handle, document, start });
    }
    fn open_refused(&mut self, session: SessionId, _: u32, _: OpenRefusal) {
        self.tell(session, Event::Odd);
    }
    fn ack(&mut self, ack: &Ack) {
        self.tell(ack.session, Event::Ack(ack.producer_sequence));
    }
    fn refused(&mut self, refusal: &Refusal) {
        self.tell(refusal.session, Event::Odd);
    }
    fn gap(&mut self, session: SessionId, _: u32, missed: Missed) {
        self.tell(session, Event::Gap(missed.from, missed.to));
    }
    fn credit(&mut self, _: SessionId, _: u32, _: u64) {}
    fn closed(&mut self, session: SessionId, handle: u32, reason: CloseReason) {
        self.tell(session, Event::Closed(handle, reason));
    }
    fn fault(&mut self, session: SessionId, _: SessionFault) {
        self.events.push((session, Event::Odd));
    }
    fn remainder(&mut self, session: SessionId, bytes: &[u8]) {
        self.room_bytes = usize::MAX;
        self.take(session, bytes);
    }
    fn resume_reading(&mut self, _: SessionId) {
        self.may_read = true;
    }
    fn forgotten(&mut self, _: SessionId) {}
    fn send(&mut self, session: SessionId, half: &[u8], parts: &[&[u8]]) -> Sent {
        let half_bytes = self.take(session, half);
        let mut sent = Sent { half_bytes, parts_bytes: 0, blocked: half_bytes < half.len() };
        if sent.blocked {
            return sent;
        }
        self.events.extend(self.control.drain(..));
        for part in parts {
            let count = self.take(session, part);
            sent.parts_bytes += count;
            sent.blocked = count < part.len();
            if sent.blocked {
                break;
            }
        }
        sent
    }
}
