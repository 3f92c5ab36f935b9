//! A document leaves: what its old owner does until another has it.
//!
//! The part of [`Validation`] that gives documents away. All cores are told to go elsewhere; when each
//! has answered, the last batch has come. Then a batch in slices is finished, retirements that had
//! begun end with the document's part in them, and every session core says that it has heard the last
//! word: so what the new owner says comes behind all that this one said. Opens are sent back, for their
//! core to ask the new owner. A worker that takes documents gives none.

use deltaworks_runtime::clock::Now;

use super::control::open_elsewhere;
use super::{ASIDE, Validation};
use crate::document::{DROPPED, LEAVING, LIVE, home};
use crate::handover::{
    CannotTake, HandOver, MOVES_AT_ONCE, MoveOutcome, MoveRefusal, Moved, NoRoom,
};
use crate::mailbox::{Mailboxes, cores_of};
use crate::message::{Message, Open};
use crate::producer::NO_PRODUCER;
use crate::stream::Chain;

/// Producers that may be added between the question and its answer.
const PRODUCERS_MORE: u32 = 2;
/// What a document with a single producer asks for.
pub(super) const PRODUCERS_LEAST: u32 = 1 + PRODUCERS_MORE;
/// Batches that may be added to those whose credit waits, while the document leaves.
const OWED_MORE: u32 = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The new owner has not answered yet.
    Preparing,
    /// These cores have not answered that they go elsewhere.
    Fencing { missing: u64 },
    /// A batch is in slices. Retirements from that number on have no part in the document.
    Finishing { first_job: u64 },
    /// These cores have not heard the last word yet.
    Listening { missing: u64, first_job: u64 },
}

/// Who has a document moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// Somebody who names it, and is told what became of it.
    Somebody,
    /// Who places documents.
    Coordinator,
}

/// A document that leaves.
#[derive(Debug)]
pub(super) struct Leaving {
    slot: u32,
    generation: u32,
    place: u32,
    to: u16,
    asker: Asker,
    stage: Stage,
    producers_max: u32,
    owed_max: u32,
    rerouted_ns: u64,
    last_append_ns: Option<u64>,
}

impl Leaving {
    pub(super) fn is(&self, (slot, generation): (u32, u32)) -> bool {
        (self.slot, self.generation) == (slot, generation)
    }

    pub(super) fn note_append(&mut self, now: Now) {
        self.last_append_ns = Some(now.monotonic_ns);
    }
}

impl Validation {
    /// Begins to give a document to worker `to`, as somebody asks.
    pub(crate) fn move_document(
        &mut self,
        slot: u32,
        generation: u32,
        to: u16,
        boxes: &mut Mailboxes,
    ) -> Result<(), MoveRefusal> {
        self.give_document((slot, generation), to, Asker::Somebody, boxes)
    }

    /// Begins to give a document to worker `to`.
    pub(super) fn give_document(
        &mut self,
        (slot, generation): (u32, u32),
        to: u16,
        asker: Asker,
        boxes: &mut Mailboxes,
    ) -> Result<(), MoveRefusal> {
        let registry = &self.registry;
        let place = registry.live_index(slot, generation).ok_or(MoveRefusal::NotHere)?;
        if usize::from(to) >= boxes.routes.workers() {
            return Err(MoveRefusal::NoSuchWorker);
        }
        if to == registry.worker {
            return Err(MoveRefusal::AlreadyThere);
        }
        if registry.documents[place].flags & DROPPED != 0 {
            return Err(MoveRefusal::Dropped);
        }
        let moves = &mut self.moves;
        if moves.leaving.iter().any(|it| it.slot == slot) || moves.has_just_come(slot) {
            return Err(MoveRefusal::AlreadyMoving);
        }
        if moves.takes() || moves.leaving.len() >= MOVES_AT_ONCE {
            return Err(MoveRefusal::Busy);
        }
        if self.closed & LIVE != 0 {
            return Err(MoveRefusal::Ending);
        }
        let cold = registry.cold[place].as_ref().expect("a live document has a cold part");
        let producers = cold.producer_count + PRODUCERS_MORE;
        let owed = match &cold.waiting {
            Some(waiting) => waiting.owed.len() as u32 + OWED_MORE.min(registry.owed_room()),
            // One that is waited for when the answer comes stays.
            None => 0,
        };
        moves.counts.begun += 1;
        moves.leaving.push(Leaving {
            slot,
            generation,
            place: place as u32,
            to,
            asker,
            stage: Stage::Preparing,
            producers_max: producers,
            owed_max: owed,
            rerouted_ns: 0,
            last_append_ns: None,
        });
        let (from, blocks) = (registry.worker, registry.blocks_of(place));
        let prepare = Message::Prepare { slot, generation, from, producers, owed, blocks };
        boxes.to_worker(to).send(prepare);
        Ok(())
    }

    fn leaving(&mut self, slot: u32, generation: u32) -> Option<&mut Leaving> {
        let mut leaving = self.moves.leaving.iter_mut();
        leaving.find(|it| (it.slot, it.generation) == (slot, generation))
    }

    /// The new owner keeps room: tells all cores, if the document is still as it was said to be.
    pub(super) fn prepared(&mut self, slot: u32, generation: u32, boxes: &mut Mailboxes, now: Now) {
        let place = self
            .registry
            .live_index(slot, generation)
            .filter(|place| self.registry.documents[*place].flags & DROPPED == 0);
        let size = place.map(|place| (self.registry.size_of(place), place));
        let worker = self.registry.worker;
        // Those that have chunks in which it may have images, of their sessions or kept ones.
        let mut parties = self.session_cores | self.keeping_cores;
        if home(slot) != usize::from(worker) {
            parties |= 1 << boxes.routes.core(home(slot) as u16);
        }
        let Some(leaving) = self.leaving(slot, generation) else { return };
        let to = leaving.to;
        let fits = size.filter(|((producers, owed), _)| {
            let owes_no_more = owed.is_none_or(|owed| owed <= leaving.owed_max);
            let is_waited_for = owed.is_some() && leaving.owed_max == 0;
            *producers <= leaving.producers_max && owes_no_more && !is_waited_for
        });
        let Some((_, place)) = fits else {
            boxes.to_worker(to).send(Message::Cancel { slot, generation });
            self.stays(slot, generation, MoveOutcome::Cancelled);
            return;
        };
        leaving.stage = Stage::Fencing { missing: parties };
        leaving.rerouted_ns = now.monotonic_ns;
        self.registry.documents[place].flags |= LEAVING;
        self.retirements.leaves(place as u32, to);
        for core in cores_of(parties) {
            boxes.to(core).send(Message::Reroute { slot, generation, from: worker, to });
        }
    }

    /// The new owner does not take the document. If it has no room, who places documents is told, if it
    /// has asked: nobody shuts a worker by asking for moves by name. A word that finds no room itself is
    /// not missed: the next document is refused, too.
    pub(super) fn cannot_take(
        &mut self,
        (slot, generation): (u32, u32),
        reason: CannotTake,
        no_room: Option<NoRoom>,
        boxes: &mut Mailboxes,
    ) {
        if let Some(&mut Leaving { to: worker, asker: Asker::Coordinator, .. }) =
            self.leaving(slot, generation)
            && let Some(no_room) = no_room
        {
            let mailbox = boxes.to(self.coordinator_core);
            if mailbox.room() > 0 {
                mailbox.send(Message::Full { slot, generation, worker, no_room });
            }
        }
        self.stays(slot, generation, MoveOutcome::Refused(reason));
    }

    fn stays(&mut self, slot: u32, generation: u32, outcome: MoveOutcome) {
        let from = self.registry.worker;
        let leaving = &mut self.moves.leaving;
        let Some(at) = leaving.iter().position(|it| (it.slot, it.generation) == (slot, generation))
        else {
            return;
        };
        let to = leaving.swap_remove(at).to;
        self.moves.counts.refused += 1;
        let moved = Moved { slot, generation, from, to, outcome, pause_ns: None, held: 0 };
        self.moves.tell(moved);
    }

    /// Nothing more of the document comes from `core`.
    pub(super) fn fence(&mut self, core: u16, slot: u32, generation: u32) {
        if let Some(Leaving { stage: Stage::Fencing { missing }, .. }) =
            self.leaving(slot, generation)
        {
            *missing &= !(1 << core);
        }
    }

    /// `core` has handled all that was said about the document.
    pub(super) fn heard(&mut self, core: u16, slot: u32, generation: u32) {
        if let Some(Leaving { stage: Stage::Listening { missing, .. }, .. }) =
            self.leaving(slot, generation)
        {
            *missing &= !(1 << core);
        }
    }

    /// Gives an open back that this worker may answer. If the document at `place` leaves, its session's
    /// core asks the new owner: it has been told to go there.
    pub(super) fn stay_to_open(
        &mut self,
        place: usize,
        open: Box<Open>,
        boxes: &mut Mailboxes,
    ) -> Option<Box<Open>> {
        if self.registry.documents[place].flags & LEAVING == 0 {
            return Some(open);
        }
        self.moves.counts.deferred_opens += 1;
        let document = &self.registry.documents[place];
        open_elsewhere(open, document.slot, document.generation, boxes);
        None
    }

    /// Whether one more batch of a document that leaves may wait for subscriptions: the new owner
    /// keeps room for no more.
    #[cold]
    pub(super) fn may_owe_leaving(&self, place: usize) -> bool {
        let leaving = self.moves.leaving.iter().find(|it| it.place == place as u32);
        leaving.is_none_or(|it| self.registry.owed_of(place) < it.owed_max)
    }

    /// Goes on with documents that leave. What was judged is published.
    pub(super) fn advance_leaving(&mut self, boxes: &mut Mailboxes, now: Now) -> usize {
        let mut work = 0;
        let mut at = 0;
        while at < self.moves.leaving.len() {
            let Leaving { slot, generation, place, stage, .. } = self.moves.leaving[at];
            let next = match stage {
                Stage::Fencing { missing: 0 } => {
                    // All that came the old way has been judged, but for what waits behind a batch
                    // in slices. Whoever retires a chunk from now on asks the new owner, too.
                    let first_job = self.retirements.begun();
                    self.retirements.leave_out(place, first_job);
                    self.close_lane(place as usize, boxes, now);
                    Stage::Finishing { first_job }
                }
                Stage::Finishing { first_job }
                    if self.registry.documents[place as usize].flags & ASIDE == 0 =>
                {
                    self.say_last_word(slot, generation, place as usize, boxes);
                    Stage::Listening { missing: self.session_cores, first_job }
                }
                Stage::Listening { missing: 0, first_job }
                    if self.retirements.are_done_before(first_job) =>
                {
                    self.hand_over(at, boxes);
                    work += 1;
                    continue;
                }
                _ => {
                    at += 1;
                    continue;
                }
            };
            self.moves.leaving[at].stage = next;
            work += 1;
        }
        work
    }

    /// Tells what is still to be told: tails, and acks that merged.
    fn say_last_word(&mut self, slot: u32, generation: u32, place: usize, boxes: &mut Mailboxes) {
        self.publish_tails(boxes);
        let cold = self.registry.cold[place].as_ref();
        let mut producer = cold.map_or(NO_PRODUCER, |cold| cold.producers);
        while producer != NO_PRODUCER {
            self.send_ack(producer, boxes);
            producer = self.registry.producers.get(producer).next;
        }
        let from = self.registry.worker;
        for core in cores_of(self.session_cores) {
            boxes.to(core).send(Message::LastWord { slot, generation, from });
        }
    }

    fn hand_over(&mut self, at: usize, boxes: &mut Mailboxes) {
        let leaving = self.moves.leaving.swap_remove(at);
        let Leaving { place, to, rerouted_ns, last_append_ns, .. } = leaving;
        self.retirements.has_left(place);
        self.moves.counts.with_kept += u64::from(self.registry.keeps_any(place as usize));
        let baggage = self.registry.hand_out(place as usize, to);
        let blocks = self.blocks_along(to);
        let debts = self.moves.lending.hand_on(to, baggage.blocks + blocks.count);
        let from = self.registry.worker;
        let hand_over = HandOver { from, baggage, blocks, debts, last_append_ns, rerouted_ns };
        boxes.to_worker(to).send(Message::HandOver(Box::new(hand_over)));
    }

    /// Free blocks that go along to a worker that has none of its own.
    fn blocks_along(&mut self, to: u16) -> Chain {
        if usize::from(to) < self.registry.shared.homes() {
            return Chain::EMPTY;
        }
        let count = (2 * self.moves.lending.loan()).min(self.registry.blocks.free().div_ceil(2));
        self.registry.blocks.take_chain(count)
    }
}
