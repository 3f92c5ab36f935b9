//! Validation: the agent that owns documents, decides what is accepted, and gives sequences.
//!
//! One per worker core. It alone writes its documents' state and stamps their images. A batch is
//! judged by its number, checked against the collection's schema under a budget of steps, stamped
//! and appended as one node; tails are published once a turn.
//! It never waits: a batch that needs more steps than its share is set aside with those behind it
//! of the same document, and answers that find no room in a ring stay here, where they merge.
//!
//! ```text
//! arrivals ─▶ number known? ─▶ schema ─▶ stamp, node ─▶ tail, pending bit ─▶ agents
//!                 │               │                        │
//!                 └── resend      └── refusal              └── ack, credit, chunk answered
//! ```

mod alike;
mod answers;
mod aside;
mod coming;
mod contain;
mod control;
mod counts;
mod groups;
mod lanes;
mod leaving;
mod lending;
mod moves;
mod placing;
mod retiring;
mod touched;
mod turn_steps;
mod usual;

pub(crate) use answers::AckEar;
pub use aside::ASIDE_BYTES;
use aside::{Aside, Line};
use counts::Counting;
pub use counts::{CollectionCounts, ValidationCounts};
use lanes::Lanes;
use moves::Moves;
pub(crate) use placing::Standing;

use touched::Touched;
use turn_steps::TurnSteps;
use usual::Row;

use std::collections::VecDeque;

use deltaworks_image::{Image, Kind, Stamp, received_ns, stamp};
use deltaworks_runtime::chunk_memory::ChunkMemory;
use deltaworks_runtime::clock::Now;
use deltaworks_runtime::sync::Arc;

use crate::chunk::Landed;
use crate::collection::{BatchCheck, Machine, Outcome};
use crate::document::{
    ARRIVED, DROPPED, Document, FAILED, GREW, LANED, LEAVING, STALLED, SharedDocuments, WAITED_FOR,
};
use crate::heat::Heat;
use crate::limits::Limits;
use crate::mailbox::Mailboxes;
use crate::message::{Arrival, BatchRefusal, CloseReason, Message, Open, Refusal};
use crate::pending::Pending;
use crate::planted::PlantedPanics;
use crate::producer::{BOUND, NO_PRODUCER, Numbered, Producer, TOUCHED};
use crate::propagation::Propagation;
use crate::registry::{Closing, Registry};
use crate::retirement::Retirements;
use crate::stream::{BlockPool, NO_BLOCK, NODES_PER_BLOCK, Node};

/// Batches whose lines are asked for together.
pub(crate) const ARRIVALS_AT_ONCE: usize = 128;

/// Bytes of the smallest image.
const IMAGE_BYTES_MIN: usize = 64;

/// Machines of one worker by default: for arrivals, and for batches that are validated in slices. A model makes
/// them anew for each of its executions, so it has two.
pub const MACHINES: usize = if cfg!(loom) { 2 } else { 65 };

/// Bytes of one of them, without what only tests need.
pub const MACHINE_BYTES: usize = size_of::<deltaworks_schema::Machine>();

/// The bitmaps of agents, by home worker of the documents and by core.
pub(crate) type Marks = std::sync::Arc<[Vec<Option<Arc<Pending>>>]>;

/// What comes for a document with one of these flags must wait.
const ASIDE: u16 = STALLED | LANED;

/// What waits behind a batch that is validated in slices, or in a lane, in order.
#[derive(Debug)]
enum Behind {
    Batch(Arrival),
    Close(u16, Closing, CloseReason),
    Drop { slot: u32, generation: u32 },
    Open(Box<Open>),
    OpenAt { open: Box<Open>, slot: u32, generation: u32 },
}

/// What an image's header says to its owner.
#[derive(Clone, Copy)]
struct Fields {
    number: u64,
    count: u32,
    is_info: bool,
}

#[derive(Debug)]
struct Stall {
    index: usize,
    /// `None` only between two batches.
    current: Option<Arrival>,
    check: BatchCheck,
    machine: Option<Box<Machine>>,
    behind: Line,
}

/// The agent.
#[derive(Debug)]
pub struct Validation {
    pub(crate) registry: Registry,
    memory: Arc<ChunkMemory>,
    /// The core of each chunk's reception.
    chunk_cores: std::sync::Arc<[u16]>,
    /// By home worker, and for each core the bitmap of its agent; `None` where no agent runs.
    pending: Marks,
    /// The core that this runs on, and the slots of documents that grew before the turn's end: its own agent is
    /// told without a bitmap, because no other core is involved.
    core: u16,
    own_marks: Vec<u32>,
    /// Cores with an agent, one bit each.
    session_cores: u64,
    /// Cores whose worker has chunks of kept images.
    keeping_cores: u64,
    moves: Moves,
    pub(crate) retirements: Retirements,
    /// Machines that check nothing now; one is kept for arrivals.
    machines: Vec<Box<Machine>>,
    arrivals: Vec<Arrival>,
    /// Places of documents that grew in this turn, and of producers that are owed an ack: a pair for each batch
    /// that was appended. What of both is still to be done is told by their flags.
    touched: Touched,
    /// How many of them were published, and how many in front are of an earlier turn.
    published: usize,
    kept: usize,
    /// Empty, but while tails are published.
    elsewhere: Vec<u32>,
    answered: Vec<u32>,
    answered_chunks: VecDeque<u32>,
    row: Row,
    stalls: VecDeque<Stall>,
    aside: Aside,
    turn: TurnSteps,
    limits: Limits,
    counts: Counting,
    pub(crate) heat: Heat,
    lanes: Lanes,
    coordinator_core: u16,
    turns: u32,
    /// A document with one of these flags takes no batch.
    closed: u16,
    /// A group, or the batch of a stall, is being judged: a panic is laid to the batch that was begun last.
    is_judging: bool,
    pub(crate) planted: PlantedPanics,
}

impl Validation {
    pub(crate) fn new(
        core: u16,
        registry: Registry,
        memory: Arc<ChunkMemory>,
        chunk_cores: std::sync::Arc<[u16]>,
        pending: Marks,
        standing: &Standing,
        limits: Limits,
    ) -> Self {
        let chunks = chunk_cores.len();
        let counts = Counting::new(registry.collections.count());
        let with_agent = pending[0].iter().enumerate().filter(|(_, marks)| marks.is_some());
        let session_cores = with_agent.fold(0, |cores, (core, _)| cores | 1 << core);
        let moves = Moves::new(registry.worker, registry.shared.homes(), standing.blocks_each);
        let images = memory.chunk_bytes() / IMAGE_BYTES_MIN;
        let kept_from = standing.kept_from;
        Self {
            registry,
            session_cores,
            keeping_cores: standing.keeping_cores,
            moves,
            memory,
            chunk_cores,
            pending,
            core,
            own_marks: Vec::with_capacity(2 * ARRIVALS_AT_ONCE),
            retirements: Retirements::new(
                chunks,
                kept_from,
                images,
                limits.turn.retirement_entries,
            ),
            machines: (0..limits.machines_per_worker).map(|_| Box::default()).collect(),
            arrivals: Vec::with_capacity(ARRIVALS_AT_ONCE),
            touched: Touched::with_room(2 * ARRIVALS_AT_ONCE),
            published: 0,
            kept: 0,
            elsewhere: Vec::with_capacity(2 * ARRIVALS_AT_ONCE),
            answered: vec![0; chunks],
            answered_chunks: VecDeque::new(),
            row: Row::default(),
            stalls: VecDeque::new(),
            aside: Aside::new(limits.aside_per_worker_max),
            heat: Heat::new(limits.placement.thresholds),
            lanes: Lanes::new(&standing.elastic, &limits.placement),
            coordinator_core: standing.coordinator_core,
            turn: TurnSteps::new(limits.steps_per_turn),
            limits,
            counts,
            turns: 0,
            closed: DROPPED | FAILED,
            is_judging: false,
            planted: PlantedPanics::default(),
        }
    }

    /// The memory of images.
    pub(crate) fn memory(&self) -> &ChunkMemory {
        &self.memory
    }

    /// What was counted.
    pub(crate) fn counts(&self) -> &Counting {
        &self.counts
    }

    /// Whether nothing is left to do before a message comes.
    pub fn is_idle(&self) -> bool {
        self.arrivals.is_empty()
            && self.stalls.is_empty()
            && self.lanes.is_idle()
            && self.touched.is_empty()
            && self.answered_chunks.is_empty()
            && self.retirements.only_waits()
            && self.moves.is_idle()
    }

    /// How many messages may be delivered before this is asked again; 0: none in this turn.
    #[inline]
    pub(crate) fn room(&mut self, boxes: &mut Mailboxes, now: Now) -> usize {
        if self.turn.is_dense() {
            self.judge_arrivals(boxes, now);
        }
        let room = self.turn.room();
        if self.aside.left(self.stalls.len() + self.arrivals.len()) < room {
            return self.room_aside(room, boxes, now);
        }
        room
    }

    /// The same when all that may come could find no place to wait: nothing more is taken than could.
    #[cold]
    fn room_aside(&mut self, room: usize, boxes: &mut Mailboxes, now: Now) -> usize {
        self.judge_arrivals(boxes, now);
        let left = self.aside.left(self.stalls.len());
        self.counts.full_asides += u64::from(left == 0);
        left.min(room)
    }

    /// What waits here behind batches in slices and in lanes, with those batches.
    #[cfg(feature = "testing")]
    pub(crate) fn set_aside_count(&self) -> usize {
        self.aside.used() + self.stalls.len()
    }

    /// Whether answers found no room in a ring.
    pub(crate) fn waits_for_room(&self) -> bool {
        !self.touched.is_empty() || !self.answered_chunks.is_empty()
    }

    /// Asks for the headers of images that other cores have received, before they are judged.
    pub(crate) fn ask_for_headers(&self, arrivals: &[Arrival]) {
        for arrival in arrivals {
            arrival.landed.prefetch_header(&self.memory);
        }
    }

    /// Judges images that one core has sent, in order behind those that came before. They stay where
    /// they lie, and no right to write into an image stays with them.
    pub(crate) fn judge_row(
        &mut self,
        arrivals: &mut [Arrival],
        mailboxes: &mut Mailboxes,
        now: Now,
    ) {
        self.judge_arrivals(mailboxes, now);
        self.judge_all(arrivals, mailboxes, now);
        debug_assert!(arrivals.iter().all(|it| it.landed.is_nothing()), "they stay in their list");
        self.keep_lanes_bounded(mailboxes, now);
    }

    /// Slots of documents that grew before the turn's end and that this core's own agent reads; the caller
    /// empties it each turn.
    #[inline]
    pub(crate) fn own_marks(&mut self) -> &mut Vec<u32> {
        &mut self.own_marks
    }

    /// Judges what has arrived, in order. The lines that batches need are asked for in groups, in
    /// three steps, because each step tells the address of the next; while a group is judged, the
    /// lines of the three behind it are on their way.
    pub(crate) fn judge_arrivals(&mut self, mailboxes: &mut Mailboxes, now: Now) {
        if self.arrivals.is_empty() {
            return;
        }
        let mut arrivals = core::mem::take(&mut self.arrivals);
        self.judge_all(&mut arrivals, mailboxes, now);
        arrivals.clear();
        self.arrivals = arrivals;
        self.keep_lanes_bounded(mailboxes, now);
    }

    /// Judges one batch, whose check has come to `outcome` if that is known; `false` if its steps ran out before
    /// the verdict. Behind a verdict nothing is left in the arrival: its chunk is answered, and may be filled anew.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of self that the caller has taken out"
    )]
    fn judge_with(
        &mut self,
        arrival: &mut Arrival,
        index: usize,
        check: &mut BatchCheck,
        machine: &mut Machine,
        steps: &mut u32,
        outcome: Option<Outcome>,
        mailboxes: &mut Mailboxes,
        now: Now,
    ) -> bool {
        let Some(image) = Image::checked_before(arrival.landed.bytes(&self.memory)) else {
            unreachable!("reception passes on whole images")
        };
        let fields = Fields {
            number: image.producer_sequence(),
            count: image.count(),
            is_info: image.kind() == Kind::Info,
        };
        let number = fields.number;
        let producer = self.registry.producers.get(arrival.producer);
        let document = &self.registry.documents[index];
        let is_writer = producer.flags & BOUND != 0
            && producer.session == arrival.session.0
            && producer.core == arrival.core
            && producer.handle == image.handle();
        let verdict = if !is_writer {
            Err(BatchRefusal::Fenced)
        } else {
            match producer.judge(number) {
                Numbered::Next if document.flags & self.closed != 0 => {
                    Err(Self::why_closed(document.flags))
                }
                Numbered::Next => {
                    let collections = &self.registry.collections;
                    let outcome = outcome.unwrap_or_else(|| {
                        self.planted.check(|| self.registry.name(index));
                        if fields.is_info {
                            collections.check_info(image.info_map(), machine)
                        } else {
                            let collection = collections.get(document.collection);
                            collection.check(&image, machine, check, steps)
                        }
                    });
                    match outcome {
                        Outcome::Valid => Ok(()),
                        Outcome::OutOfSteps => return false,
                        Outcome::Invalid(refusal) => Err(refusal),
                    }
                }
                Numbered::Resent { sequence } => {
                    producer.duplicates += 1;
                    producer.credit_bytes += arrival.landed.range().bytes();
                    if number == producer.last {
                        producer.last_sequence = sequence;
                    }
                    self.counts.duplicate_batches += 1;
                    self.touch(arrival.producer);
                    let chunk = arrival.landed.range().chunk();
                    arrival.landed = Landed::nothing();
                    self.answer(chunk);
                    return true;
                }
                Numbered::Jump { expected } => Err(BatchRefusal::SequenceJump { expected }),
                Numbered::Forgotten => Err(BatchRefusal::ProducerForgotten),
            }
        };
        let chunk = arrival.landed.range().chunk();
        let verdict = match verdict {
            Ok(()) => self.append(arrival, index, fields, now),
            Err(refusal) => Err(refusal),
        };
        if let Err(reason) = verdict {
            self.refuse(arrival, number, reason, mailboxes);
            arrival.landed = Landed::nothing();
        }
        self.answer(chunk);
        true
    }

    /// Stamps the image and makes it the document's newest node.
    fn append(
        &mut self,
        arrival: &mut Arrival,
        index: usize,
        fields: Fields,
        now: Now,
    ) -> Result<(), BatchRefusal> {
        if self.registry.documents[index].flags & WAITED_FOR != 0 && !self.may_owe(index) {
            return Err(BatchRefusal::Budget);
        }
        let registry = &mut self.registry;
        let document = &mut registry.documents[index];
        let producer = registry.producers.get(arrival.producer);
        let is_full = document.tail_block == NO_BLOCK || document.tail_index == NODES_PER_BLOCK;
        if is_full && !lengthen(document, &mut registry.blocks, &registry.shared) {
            self.moves.lending.run_short();
            return Err(BatchRefusal::Budget);
        }
        let image = arrival.landed.bytes_mut(&self.memory);
        let info = if fields.is_info {
            Image::checked_before(image).map(|image| image.info_map().into())
        } else {
            None
        };
        let received_ns = received_ns(image);
        if received_ns != 0 {
            self.counts.took(now.monotonic_ns.saturating_sub(received_ns));
        }
        stamp(
            image,
            Stamp {
                document: document.id(),
                first_sequence: document.next_sequence,
                time_us: now.unix_us,
                origin: producer.origin,
            },
        );
        let range = arrival.landed.range();
        let node = Node { range, first_sequence: document.next_sequence };
        registry.blocks.write(document.tail_block, document.tail_index, node);
        if document.last_chunk != range.chunk().0 {
            document.last_chunk = range.chunk().0;
            self.retirements.touch(
                range.chunk().0,
                arrival.place,
                document.tail_block,
                document.tail_index,
            );
        }
        let cold = &registry.cold;
        self.planted.append(|| cold[index].as_ref().map_or("", |cold| &cold.name));
        // From here on the batch stands: before it a panic is laid to it, behind it nothing may
        // panic. What was written so far lies behind the document's last node.
        self.touched.push((arrival.place, arrival.producer));
        stand(arrival, document, producer, &fields, range.bytes());
        warm(&mut self.heat, document, fields.count);
        if info.is_some()
            && let Some(Some(cold)) = registry.cold.get_mut(index)
        {
            cold.info = info;
        }
        if document.flags & (LEAVING | ARRIVED) != 0 {
            self.moves.note_append((document.slot, document.generation), now);
        }
        self.counts.accepted(document.collection, 1, fields.count, u64::from(range.bytes()));
        if document.flags & WAITED_FOR == 0 {
            producer.credit_bytes += range.bytes();
        } else {
            let (node, origin) = (document.nodes - 1, producer.origin);
            registry.owes(index, node, arrival.producer, origin, range.bytes());
        }
        Ok(())
    }

    fn refuse(
        &mut self,
        arrival: &Arrival,
        number: u64,
        reason: BatchRefusal,
        mailboxes: &mut Mailboxes,
    ) {
        let handle = Image::checked_before(arrival.landed.bytes(&self.memory))
            .map_or(u32::MAX, |image| image.handle());
        let producer = self.registry.producers.get(arrival.producer);
        // A batch that failed may have been stamped over: its writer's handle is known all the same.
        let handle = if reason == BatchRefusal::Failed { producer.handle } else { handle };
        let place = producer.place as usize;
        if !matches!(reason, BatchRefusal::Fenced) {
            producer.credit_bytes += arrival.landed.range().bytes();
            // A refused batch consumes its number, except where the number itself is wrong.
            if producer.judge(number) == Numbered::Next {
                producer.last = number;
                producer.last_sequence = 0;
            }
            self.touch(arrival.producer);
        }
        self.counts.refused(self.registry.documents[place].collection);
        mailboxes.to(arrival.core).send(Message::Refused(Box::new(Refusal {
            session: arrival.session,
            handle,
            producer_sequence: number,
            reason,
        })));
    }

    /// Handles control from the session cores.
    pub(crate) fn handle(&mut self, core: u16, message: Message, boxes: &mut Mailboxes, now: Now) {
        self.judge_arrivals(boxes, now);
        match message {
            Message::Open(open) => self.open(open, boxes, now),
            Message::OpenAt { open, slot, generation } => {
                self.open_at(open, slot, generation, boxes, now);
            }
            Message::Rerouted { landed, session, slot } => {
                let arrival = Arrival { landed, core, session, producer: NO_PRODUCER, place: 0 };
                self.arrive_rerouted(arrival, slot, boxes, now);
            }
            Message::Close { slot, generation, session, handle, producer, reader, reason } => {
                let closing = Closing { slot, generation, session, handle, producer, reader };
                match self.moves.expected(slot, generation) {
                    Some(it) => it.hold(Behind::Close(core, closing, reason), now),
                    None => self.close(core, closing, reason, boxes, now),
                }
            }
            Message::Drop { slot, generation } => match self.moves.expected(slot, generation) {
                Some(it) => it.hold(Behind::Drop { slot, generation }, now),
                None => self.drop_document(slot, generation, boxes),
            },
            Message::Retire { chunk } => self.retire(chunk),
            Message::Released { chunk } => self.retirements.released(chunk, core),
            Message::Freed { chunk, worker } => {
                if let Some(kept) = &mut self.retirements.kept {
                    kept.freed(chunk, worker);
                    self.retirements.look_again();
                }
            }
            Message::Progress { slot, generation, node } => {
                match self.moves.expected(slot, generation) {
                    Some(it) => it.hold_progress(core, node, now),
                    None => self.progress(core, (slot, generation), node),
                }
            }
            Message::Missed { slot, generation, deltas } => {
                match self.moves.expected(slot, generation) {
                    Some(it) => it.hold_missed(deltas),
                    None => self.registry.missed(slot, generation, deltas),
                }
            }
            Message::Place(decision) => self.carry_out(&decision, boxes, now),
            Message::Empty { is_emptied } => self.heat.set_emptied(is_emptied),
            message => self.handle_move(core, message, boxes, now),
        }
    }

    /// Ends a turn: judges, publishes, answers; tells this core's own sessions at once, if it has some.
    /// Returns how much was done.
    pub(crate) fn end_turn(
        &mut self,
        boxes: &mut Mailboxes,
        agent: Option<&mut Propagation>,
        ear: Option<impl AckEar>,
        now: Now,
    ) -> usize {
        let mut work = self.arrivals.len();
        self.judge_arrivals(boxes, now);
        work += self.resume_stalls(boxes, now);
        self.turn.begin();
        work += self.serve_lanes(boxes, now);
        self.turn.begin();
        work += self.settle_blocks(boxes);
        match agent {
            Some(agent) => {
                let mut marking = agent.mark_own();
                self.publish_with(boxes, |slot, shared| marking.mark(slot, shared));
                marking.finish();
            }
            None => self.publish_tails(boxes),
        }
        self.counts.end_run();
        work += self.send_answers(boxes, ear);
        if !self.moves.is_empty() {
            work += self.advance_leaving(boxes, now) + self.advance_coming(now);
        }
        work += self.advance_retirements(boxes);
        self.turns = self.turns.wrapping_add(1);
        if self.turns.is_multiple_of(self.limits.turn.turns_between_sweeps) {
            self.unload_idle(boxes, now);
        }
        if self.heat.is_due(now.monotonic_ns) {
            work += self.measure(boxes, now);
        }
        work
    }
}

/// What a batch whose node and stamp are written changes of its document and its producer, which are noted as touched.
/// Does not panic; behind it the image is nobody's to write.
#[inline(always)]
fn stand(
    arrival: &mut Arrival,
    document: &mut Document,
    producer: &mut Producer,
    fields: &Fields,
    image_bytes: u32,
) {
    core::mem::replace(&mut arrival.landed, Landed::nothing()).publish();
    producer.last = fields.number;
    producer.last_sequence = document.next_sequence;
    document.grow(fields.count, image_bytes);
    document.flags |= GREW;
    producer.flags |= TOUCHED;
}

/// Counts a batch of so many deltas among those that make a document hot.
#[inline(always)]
fn warm(heat: &mut Heat, document: &Document, deltas: u32) {
    if heat.accepts(deltas) {
        heat.find(document.slot, document.generation);
    }
}

/// Gives a document whose last block is full, or that has none, a block for its next node; `false` if there
/// is none left.
#[inline(never)]
fn lengthen(document: &mut Document, blocks: &mut BlockPool, shared: &SharedDocuments) -> bool {
    let Some(block) = blocks.take(document.slot, document.nodes) else { return false };
    if document.tail_block == NO_BLOCK {
        document.head_block = block;
        shared.get(document.slot).set_first_block(block);
    } else {
        blocks.link(document.tail_block, block);
    }
    document.tail_block = block;
    document.tail_index = 0;
    true
}
