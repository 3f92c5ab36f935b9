//! The stages of one core, and how those of several cores are joined.
//!
//! A core may serve sessions (reception and propagation), own documents (validation), or both.
//! Everything here is single-threaded: whoever holds a [`CoreStages`] calls [`CoreStages::turn`]
//! again and again, on a pinned thread, in a test, or inline. A turn takes what is there, up to a
//! bound, never waits, and drains every ring, so that no core can block another.
//!
//! ```text
//!  rings in ─▶ validation, reception ─▶ end of turn: tails, acks, retirements ─▶ propagation ─▶ doorbells
//! ```

mod ear;
mod inbox;
mod joining;
#[cfg(any(feature = "planted_faults", feature = "testing"))]
mod testing;

pub use inbox::INBOX_BYTES;
use inbox::Inbox;
pub use joining::{join, ring_bytes};

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc as StdArc;

use deltaworks_runtime::chunk_memory::ChunkMemory;
use deltaworks_runtime::clock::Now;
use deltaworks_runtime::doorbell::Doorbell;
use deltaworks_runtime::sync::Arc;

use crate::collection::Collections;
use crate::handover::{MoveCounts, MoveRefusal, Moved};
use crate::inventory::{self, DocumentEntry, DocumentMark, SessionEntry};
use crate::kept::{Kept, KeptCounts};
use crate::latency::Histogram;
use crate::limits::Limits;
use crate::mailbox::{Mailboxes, Queue};
use crate::message::{Message, SessionId};
use crate::placement::PlacementTuning;
use crate::placement::coordinator::{Coordinator, PlacementCounts};
use crate::port::{ControlAction, SessionFault, SessionPort};
use crate::propagation::{Propagation, PropagationCounts};
use crate::quota::{Quotas, SharedUse};
use crate::reception::{Around, Reception, ReceptionCounts};
use crate::retirement::Retirements;
use crate::validation::{CollectionCounts, Validation, ValidationCounts};

/// Cores that may serve sessions: readers are a mask of 64 bits.
pub const CORES_MAX: usize = 64;

/// What one core does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CoreRole {
    /// It serves sessions.
    pub serves_sessions: bool,
    /// It owns documents: it is a worker.
    pub owns_documents: bool,
    /// The worker is nobody's home: it owns only documents that are handed to it.
    pub is_elastic: bool,
}

impl CoreRole {
    /// Whether documents are at home here.
    pub fn is_home(self) -> bool {
        self.owns_documents && !self.is_elastic
    }
}

/// What the stages are made from.
#[derive(Debug)]
pub struct Parts {
    /// The cores, by index.
    pub roles: Vec<CoreRole>,
    /// Messages that each ring holds.
    pub ring_capacity: usize,
    /// One region for each core that serves sessions, in their order; and behind them, if collections are
    /// to keep anything, one for each worker that is a home.
    pub memory: Arc<ChunkMemory>,
    /// The collections.
    pub collections: StdArc<Collections>,
    /// The limits, for each core.
    pub limits: Limits,
    /// How to wake each core.
    pub doorbells: Vec<Doorbell>,
    /// Node blocks over all workers; each that is a home begins with the same share.
    pub node_blocks: u32,
    /// What epochs are made from: another number at every start.
    pub epoch_seed: u64,
    /// Whether it is counted how long images take, by stage; a store and some additions a batch.
    pub measures_latency: bool,
}

/// What of the limits can change while documents live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Credit of a handle that is opened from then on, in bytes.
    pub credit_bytes: u32,
    /// A message must be whole this long after its prelude.
    pub message_deadline_ns: u64,
    /// A document that nobody has open for this long is unloaded.
    pub idle_unload_ns: u64,
    /// What sessions, producers and addresses may send from then on.
    pub quotas: Quotas,
    /// When documents are placed elsewhere.
    pub placement: PlacementTuning,
}

impl Tuning {
    /// That of `limits`.
    pub fn of(limits: &Limits) -> Self {
        let Limits { credit_bytes, message_deadline_ns, idle_unload_ns, quotas, .. } = *limits;
        let placement = PlacementTuning::of(&limits.placement);
        Self { credit_bytes, message_deadline_ns, idle_unload_ns, quotas, placement }
    }
}

/// What one core's stages have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reception.
    pub reception: ReceptionCounts,
    /// Validation.
    pub validation: ValidationCounts,
    /// Propagation.
    pub propagation: PropagationCounts,
    /// What was decided here about where documents go; of the first worker's core only.
    pub placement: PlacementCounts,
    /// Chunks that came back to be filled again.
    pub recycled_chunks: u64,
    /// Images that were kept when their chunk went.
    pub kept: KeptCounts,
}

/// Bytes that are live now, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveBytes {
    /// Chunks that are not free.
    pub chunks: u64,
    /// Node blocks that documents hold.
    pub nodes: u64,
    /// Document state.
    pub documents: u64,
    /// Names.
    pub names: u64,
    /// Producers.
    pub producers: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Chunks of kept images that are not free.
    pub kept: u64,
    /// Images copied for slow subscribers.
    pub spills: u64,
    /// Unfinished messages outside of chunks.
    pub carries: u64,
    /// Session state.
    pub sessions: u64,
}

/// Hears where the stages of a turn end, to measure them; `()` hears nothing and costs nothing.
pub trait StageClock {
    /// Rings are drained; what was validated is published and answered.
    fn validated(&mut self);
    /// What subscribers' sockets take has been sent.
    fn propagated(&mut self);
}

impl StageClock for () {
    #[inline]
    fn validated(&mut self) {}
    #[inline]
    fn propagated(&mut self) {}
}

struct SessionSide {
    reception: Reception,
    propagation: Propagation,
}

/// The stages of one core.
pub struct CoreStages {
    core: u16,
    inbox: Vec<Inbox>,
    /// What this core sent to itself, while it is being delivered.
    own: Queue,
    boxes: Mailboxes,
    sessions: Option<SessionSide>,
    validation: Option<Validation>,
    /// Decides where documents go: on the first worker's core.
    coordinator: Option<Box<Coordinator>>,
    /// The core of each worker.
    worker_cores: StdArc<[u16]>,
    reading_stopped: bool,
    waiting_messages_max: usize,
    messages_per_turn: usize,
    /// The ring that is looked at first.
    first_ring: usize,
    /// Sessions that may be read on, while they are told so.
    resumed: Vec<u32>,
    /// What had been received when the last round of readers was over.
    before_round_bytes: u64,
    /// How much may come during a round before those who sent most are not read until it is over.
    ahead_bytes_max: u64,
    deepest_inbox: usize,
    last_inbox: usize,
}

impl core::fmt::Debug for CoreStages {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CoreStages").finish_non_exhaustive()
    }
}

impl CoreStages {
    /// Makes all node blocks of this core present, so that no append waits for the kernel. To be called
    /// by the core, before it turns; what it takes of memory is what the budget counts.
    pub fn prefault_nodes(&self) {
        if let Some(validation) = &self.validation {
            validation.registry.blocks.prefault();
        }
    }

    /// A place for a new session on this core; `None` at the limit, or where none are served.
    pub fn begin_session(&mut self) -> Option<SessionId> {
        let side = self.sessions.as_mut()?;
        let session = side.reception.begin_session()?;
        side.propagation.begin_session(session);
        Some(session)
    }

    /// Has the session share its address's quota with the others that have `address`.
    pub fn set_address(&mut self, session: SessionId, address: Arc<SharedUse>) {
        if let Some(side) = &mut self.sessions {
            side.reception.set_address(session, address);
        }
    }

    /// Where the next bytes of `session` are to be read to; `None` until
    /// [`SessionPort::resume_reading`].
    #[inline]
    pub fn read_room(&mut self, session: SessionId) -> Option<&mut [u8]> {
        let is_crowded = self.boxes.waiting() + self.own.len() >= self.waiting_messages_max;
        let reception = &mut self.sessions.as_mut()?.reception;
        if self.reading_stopped || is_crowded {
            reception.pause(session);
            return None;
        }
        reception.read_room(session)
    }

    /// Takes `count` bytes that were read into that room.
    pub fn received(
        &mut self,
        session: SessionId,
        count: usize,
        port: &mut impl SessionPort,
        now: Now,
    ) {
        self.handle_input(session, port, now, |reception, around| {
            reception.received(session, count, around);
        });
    }

    /// Acts for a session on control that did not come as bytes.
    pub fn act(
        &mut self,
        session: SessionId,
        action: ControlAction,
        port: &mut impl SessionPort,
        now: Now,
    ) {
        self.handle_input(session, port, now, |reception, around| {
            reception.act(session, action, around);
        });
    }

    /// Handles what a session has sent; a panic in it ends that session. One that cannot be laid
    /// to the session, because it was ending already, or one in the ending, goes on to the caller.
    #[inline]
    fn handle_input<P: SessionPort>(
        &mut self,
        session: SessionId,
        port: &mut P,
        now: Now,
        handle: impl FnOnce(&mut Reception, &mut Around<'_, P>),
    ) {
        let Some(side) = &mut self.sessions else { return };
        let (boxes, propagation) = (&mut self.boxes, &mut side.propagation);
        let mut around = Around { port, boxes, propagation, now };
        let handled = catch_unwind(AssertUnwindSafe(|| handle(&mut side.reception, &mut around)));
        if let Err(panic) = handled
            && !side.reception.contain(session, &mut around)
        {
            resume_unwind(panic);
        }
        self.boxes.flush();
    }

    /// The session's socket takes bytes again.
    pub fn writable(&mut self, session: SessionId) {
        if let Some(side) = &mut self.sessions {
            side.propagation.writable(session);
        }
    }

    /// The next bytes for a session whose socket is blocked, to be offered alone; see
    /// [`CoreStages::took`]. Empty if only control is left, which it may have added to.
    pub fn offer(&mut self, session: SessionId, port: &mut impl SessionPort) -> &[u8] {
        self.sessions.as_mut().map_or(&[], |side| side.propagation.offer(session, port))
    }

    /// Whether the session's socket has taken an image in part, or was offered one alone: then
    /// nothing may come before its end.
    pub fn has_half(&self, session: SessionId) -> bool {
        self.sessions.as_ref().is_some_and(|side| side.propagation.has_half(session))
    }

    /// The socket has taken `count` of the bytes that were offered.
    pub fn took(&mut self, session: SessionId, count: usize) {
        if let Some(side) = &mut self.sessions {
            side.propagation.took(session, count);
        }
    }

    /// The port has control messages to send to the session.
    pub fn has_control(&mut self, session: SessionId) {
        if let Some(side) = &mut self.sessions {
            side.propagation.has_control(session);
        }
    }

    /// Ends a session whose connection is gone or is to go; [`SessionPort::forgotten`] follows.
    pub fn end_session(&mut self, session: SessionId, port: &mut impl SessionPort, now: Now) {
        let Some(side) = &mut self.sessions else { return };
        let (boxes, propagation) = (&mut self.boxes, &mut side.propagation);
        side.reception.end_session(session, &mut Around { port, boxes, propagation, now });
        self.boxes.flush();
    }

    /// Goes by other numbers from now on.
    pub fn tune(&mut self, tuning: Tuning) {
        if let Some(side) = &mut self.sessions {
            side.reception.tune(tuning);
        }
        if let Some(validation) = &mut self.validation {
            validation.tune(tuning);
        }
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.tune(tuning.placement);
        }
    }

    /// Begins to move a document of this core to another worker. What becomes of it is told by
    /// [`CoreStages::take_moved`], there if it has come, else here.
    ///
    /// # Errors
    /// Why it cannot be moved now; nothing has happened then.
    pub fn move_document(
        &mut self,
        slot: u32,
        generation: u32,
        to_worker: u16,
    ) -> Result<(), MoveRefusal> {
        if self.reading_stopped {
            return Err(MoveRefusal::Ending);
        }
        let validation = self.validation.as_mut().ok_or(MoveRefusal::NotHere)?;
        validation.move_document(slot, generation, to_worker, &mut self.boxes)?;
        self.boxes.flush();
        Ok(())
    }

    /// The slot and generation of a document that this core owns.
    pub fn document_of_name(&self, name: &str) -> Option<(u32, u32)> {
        self.validation.as_ref()?.document_of_name(name)
    }

    /// A move that has ended here since the last call; of many, the oldest are forgotten.
    pub fn take_moved(&mut self) -> Option<Moved> {
        self.validation.as_mut()?.take_moved()
    }

    /// Moves that this core has had a part in.
    pub fn move_counts(&self) -> MoveCounts {
        self.validation.as_ref().map(Validation::move_counts).unwrap_or_default()
    }

    /// How long nobody could append to documents that were moved here: from their old owner's last
    /// append to the first here. `None` where no document is owned.
    pub fn move_pause(&self) -> Option<&Histogram> {
        self.validation.as_ref().map(Validation::move_pause)
    }

    /// How long batches were held here until their document had come.
    pub fn hold_latency(&self) -> Option<&Histogram> {
        self.validation.as_ref().map(Validation::hold_latency)
    }

    /// How long nothing was appended to hot documents of this core when they were given a lane: from the
    /// last append before it to the first in it, in whole microseconds.
    pub fn lane_pause(&self) -> Option<&Histogram> {
        self.validation.as_ref().map(Validation::lane_pause)
    }

    /// Node blocks that this core owes to others.
    pub fn owed_blocks(&self) -> u64 {
        self.validation.as_ref().map_or(0, Validation::owed_blocks)
    }

    /// Node blocks that this core has, those of documents and those that are free.
    pub fn node_blocks(&self) -> u64 {
        self.validation.as_ref().map_or(0, |it| u64::from(it.registry.blocks.total()))
    }

    /// Documents of other homes that this core owns.
    pub fn guest_count(&self) -> u32 {
        self.validation.as_ref().map_or(0, |validation| validation.registry.guest_count())
    }

    /// No session is read any more: the first step of an orderly end.
    pub fn stop_reading(&mut self) {
        self.reading_stopped = true;
        if let Some(validation) = &mut self.validation {
            validation.stop_measuring();
        }
    }

    /// Nothing is appended any more, and what is on its way is refused: what an orderly end does
    /// with batches that it has no time for.
    pub fn refuse_rest(&mut self) {
        if let Some(validation) = &mut self.validation {
            validation.refuse_rest();
        }
    }

    /// One turn: takes what is there, up to a bound, and returns how much was done.
    pub fn turn(&mut self, port: &mut impl SessionPort, now: Now) -> usize {
        self.turn_timed(port, now, &mut ())
    }

    /// One turn, whose stages `clock` is told of as they end.
    pub fn turn_timed(
        &mut self,
        port: &mut impl SessionPort,
        now: Now,
        clock: &mut impl StageClock,
    ) -> usize {
        let mut work = self.boxes.flush();
        work += self.drain_inbox(port, now);
        if let Some(validation) = &mut self.validation {
            let side = self.sessions.as_mut();
            let (agent, ear) = side.map(|side| side.apart(&self.own, port)).unzip();
            work += validation.end_turn(&mut self.boxes, agent, ear.flatten(), now);
        }
        work += self.place_documents(now);
        self.boxes.flush();
        clock.validated();
        if let Some(side) = &mut self.sessions {
            if let Some(validation) = &mut self.validation {
                side.propagation.take_own_marks(validation.own_marks());
            }
            work += side.propagation.do_work(port, &mut self.boxes);
            // Only what finds no room keeps sessions from being read.
            self.boxes.flush();
            clock.propagated();
        }
        work += self.open_turnstile(port, now);
        if let Some(side) = &mut self.sessions {
            let (boxes, propagation) = (&mut self.boxes, &mut side.propagation);
            let mut around = Around { port, boxes, propagation, now };
            while let Some(ended) = around.propagation.take_ended() {
                side.reception.subscription_ended(ended, &mut around);
            }
            while let Some(session) = around.propagation.take_fault() {
                around.port.fault(session, SessionFault::SpillLimit);
                side.reception.end_session(session, &mut around);
            }
            around.boxes.flush();
            let may_read =
                !self.reading_stopped && around.boxes.waiting() < self.waiting_messages_max;
            work += side.reception.do_work(may_read, &mut around);
        }
        self.boxes.flush();
        self.boxes.ring_doorbells();
        // Who takes a message out of a full ring wakes nobody: whoever waits for room stays awake.
        work + usize::from(self.waits_for_room())
    }

    /// Sends what the coordinator decides. What finds no room shows in the next reports, and is decided
    /// again.
    fn place_documents(&mut self, now: Now) -> usize {
        let Some(coordinator) = self.coordinator.as_mut().filter(|_| !self.reading_stopped) else {
            return 0;
        };
        let mut work = 0;
        while let Some((worker, is_emptied)) = coordinator.next_emptied() {
            let mailbox = self.boxes.to(self.worker_cores[usize::from(worker)]);
            if mailbox.room() == 0 {
                coordinator.tell_emptied_again(worker);
                break;
            }
            mailbox.send(Message::Empty { is_emptied });
            work += 1;
        }
        for decision in coordinator.decide(now.monotonic_ns) {
            let mailbox = self.boxes.to(self.worker_cores[usize::from(decision.from)]);
            if mailbox.room() > 0 {
                mailbox.send(Message::Place(Box::new(decision)));
                work += 1;
            }
        }
        work
    }

    /// Whether something finds no room in a ring, or waits for this core's next turn.
    fn waits_for_room(&self) -> bool {
        self.boxes.waiting() > 0
            || !self.own.is_empty()
            || !self.inbox.iter().all(Inbox::is_delivered)
            || self.validation.as_ref().is_some_and(Validation::waits_for_room)
            || self.sessions.as_ref().is_some_and(|side| side.propagation.waits_for_room())
    }

    /// Whether nothing is left to do before a message, a mark or a socket comes. To be asked
    /// behind the doorbell's fence.
    pub fn may_park(&self) -> bool {
        self.inbox.iter().all(Inbox::is_empty)
            && self.boxes.waiting() == 0
            && self.own.is_empty()
            && self.validation.as_ref().is_none_or(Validation::is_idle)
            && self.sessions.as_ref().is_none_or(|side| {
                side.propagation.is_idle() && (self.reading_stopped || side.reception.is_idle())
            })
    }

    /// When this core must turn at the latest although nothing comes; `u64::MAX` if it need not.
    pub fn wake_at_ns(&self) -> u64 {
        let measuring = self.validation.as_ref().map_or(u64::MAX, Validation::wake_at_ns);
        let coordinator = self.coordinator.as_ref().filter(|_| !self.reading_stopped);
        let deciding = coordinator.map_or(u64::MAX, |it| it.wake_at_ns());
        let side = self.sessions.as_ref().filter(|_| !self.reading_stopped);
        let granting = side.map_or(u64::MAX, |side| side.reception.wake_at_ns());
        measuring.min(deciding).min(granting)
    }

    /// Who decides where documents go; `None` on all cores but the first worker's.
    pub fn coordinator(&self) -> Option<&Coordinator> {
        self.coordinator.as_deref()
    }

    /// See [`CoreStages::coordinator`].
    pub fn coordinator_mut(&mut self) -> Option<&mut Coordinator> {
        self.coordinator.as_deref_mut()
    }

    /// Whether some subscriber of this core has not taken everything.
    pub fn has_backlog(&self) -> bool {
        self.sessions.as_ref().is_some_and(|side| side.propagation.has_backlog())
    }

    /// Whether the session has not taken everything.
    pub fn is_behind(&self, session: SessionId) -> bool {
        self.sessions.as_ref().is_some_and(|side| side.propagation.is_behind(session))
    }

    /// What the stages have counted.
    pub fn counts(&self) -> Counts {
        let side = self.sessions.as_ref();
        let retirements = self.validation.as_ref().map(|it| &it.retirements);
        Counts {
            reception: side.map(|side| side.reception.counts()).unwrap_or_default(),
            validation: self.validation.as_ref().map(|it| it.counts().all()).unwrap_or_default(),
            propagation: side.map(|side| side.propagation.counts()).unwrap_or_default(),
            placement: self.coordinator.as_ref().map(|it| it.counts()).unwrap_or_default(),
            kept: retirements.map(Retirements::kept_counts).unwrap_or_default(),
            recycled_chunks: side.map_or(0, |side| side.reception.pool().recycled()),
        }
    }

    /// What the owner on this core has counted of each collection; empty where none runs.
    pub fn collection_counts(&self) -> &[CollectionCounts] {
        self.validation.as_ref().map_or(&[], |it| it.counts().by_collection())
    }

    /// How long accepted images took from their reception to the beginning of the turn that
    /// ordered them here; `None` where no document is owned.
    pub fn validation_latency(&self) -> Option<&Histogram> {
        self.validation.as_ref().map(|it| &it.counts().latency)
    }

    /// How long images took from the turn that ordered them until a socket of this core had taken
    /// them; `None` where no session is served. See [`Propagation::latency`].
    pub fn propagation_latency(&self) -> Option<&Histogram> {
        self.sessions.as_ref().map(|side| side.propagation.latency())
    }

    /// The most messages that one turn has found in the rings to this core, its own among them,
    /// since this was asked last.
    pub fn take_deepest_inbox(&mut self) -> usize {
        core::mem::take(&mut self.deepest_inbox)
    }

    /// Messages that the last turn found in the rings to this core.
    pub fn last_inbox(&self) -> usize {
        self.last_inbox
    }

    /// Tells the documents of this core at places `from..from + at_most` of its table; returns
    /// where the next slice begins, or `None` behind the last. Some cache misses a document.
    pub fn documents(
        &self,
        from: usize,
        at_most: usize,
        take: impl FnMut(DocumentEntry),
    ) -> Option<usize> {
        self.validation.as_ref()?.documents(from, at_most, take)
    }

    /// The same, of each document no more than how far it has come: one cache miss each.
    pub fn document_marks(
        &self,
        from: usize,
        at_most: usize,
        take: impl FnMut(DocumentMark),
    ) -> Option<usize> {
        self.validation.as_ref()?.document_marks(from, at_most, take)
    }

    /// The name of a document of this core, if that slot still holds it.
    pub fn document_name(&self, slot: u32, generation: u32) -> Option<StdArc<str>> {
        let validation = self.validation.as_ref()?;
        validation.document_name(slot, generation)
    }

    /// Tells the sessions of this core from place `from` on, until they have more than
    /// `handles_at_most` handles together; returns where the next slice begins, or `None` behind
    /// the last.
    pub fn sessions(
        &self,
        from: usize,
        handles_at_most: usize,
        take: impl FnMut(SessionEntry),
    ) -> Option<usize> {
        let SessionSide { reception, propagation } = self.sessions.as_ref()?;
        inventory::sessions(reception, propagation, from, handles_at_most, take)
    }

    /// Chunks of this core, and how many of them are free.
    pub fn chunk_counts(&self) -> (usize, usize) {
        let pool = self.sessions.as_ref().map(|side| side.reception.pool());
        pool.map_or((0, 0), |pool| (pool.count(), pool.free_count()))
    }

    /// Documents that are live on this core.
    pub fn document_count(&self) -> u32 {
        self.validation.as_ref().map_or(0, |validation| validation.registry.owned())
    }

    /// Bytes that are live now.
    pub fn live_bytes(&self) -> LiveBytes {
        let mut live = LiveBytes::default();
        if let Some(side) = &self.sessions {
            let pool = side.reception.pool();
            let used = (pool.count() - pool.free_count()) as u64;
            live.chunks = used * pool.memory().chunk_bytes() as u64;
            live.subscriptions = side.propagation.subscription_bytes();
            live.spills = side.propagation.spill_bytes();
            live.carries = side.reception.carry_bytes();
            live.sessions = side.reception.session_bytes();
        }
        if let Some(validation) = &self.validation {
            let registry = &validation.registry;
            live.nodes = u64::from(registry.blocks.used()) * crate::stream::BLOCK_BYTES as u64;
            live.documents = registry.document_bytes();
            live.names = registry.names_bytes();
            live.producers = registry.producer_bytes();
            live.kept = validation.retirements.kept.as_ref().map_or(0, Kept::live_bytes);
        }
        live
    }

    /// Sessions served here.
    pub fn session_count(&self) -> usize {
        self.sessions.as_ref().map_or(0, |side| side.reception.session_count())
    }
}
