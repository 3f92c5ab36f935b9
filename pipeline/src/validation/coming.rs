//! A document comes: what its new owner keeps, holds and makes anew.
//!
//! The part of [`Validation`] that takes documents. From the moment that it keeps room for one, it
//! holds what comes for it, in order, bounded by credit and by handles, and lets go of no chunk that
//! it is asked to retire from then on: the document may have nodes in it. When it has come and its
//! runs are noted, a slice a turn, all of that goes on. A worker that gives documents takes none.

use std::collections::VecDeque;

use deltaworks_image::Image;
use deltaworks_runtime::chunk_memory::ChunkId;
use deltaworks_runtime::clock::Now;

use super::leaving::PRODUCERS_LEAST;
use super::{Arrival, Behind, Validation};
use crate::document::{ARRIVED, LIVE, home};
use crate::handover::{CannotTake, HandOver, MOVES_AT_ONCE, MoveOutcome, Moved, NoRoom};
use crate::mailbox::{Mailboxes, cores_of};
use crate::message::{BatchRefusal, Message, Refusal, SessionId};
use crate::registry::{Registry, Reserved};
use crate::stream::Place;

/// So long is a document's first batch awaited, to tell the pause.
const AWAITED_NS: u64 = 10_000_000;

/// What is held for a document.
#[derive(Debug)]
pub(super) enum Held {
    Behind(Behind),
    Progress { core: u16, node: u64 },
}

/// A document that room is kept for.
#[derive(Debug)]
pub(super) struct Expected {
    pub slot: u32,
    pub generation: u32,
    reserved: Reserved,
    /// With the time at which it came.
    held: VecDeque<(Held, u64)>,
    missed_deltas: u64,
    serial: u64,
}

/// A document that has come.
#[derive(Debug)]
pub(super) struct Arrived {
    pub slot: u32,
    generation: u32,
    place: u32,
    from: u16,
    serial: u64,
    /// Where its nodes are looked at for runs, up to which, and the chunk of the last.
    at: Place,
    end: u64,
    last_chunk: u32,
    /// From when a pause is counted, and until when its end is awaited.
    paused_ns: Option<u64>,
    awaited_until_ns: u64,
    pause_ns: Option<u64>,
    held: u32,
}

impl Arrived {
    pub(super) fn is(&self, (slot, generation): (u32, u32)) -> bool {
        (self.slot, self.generation) == (slot, generation)
    }

    /// Its first batch here: returns how long nobody could append, if that is known.
    pub(super) fn end_pause(&mut self, now: Now) -> Option<u64> {
        let pause_ns = now.monotonic_ns.saturating_sub(self.paused_ns.take()?);
        self.pause_ns = Some(pause_ns);
        Some(pause_ns)
    }

    pub(super) fn awaited_until_ns(&self) -> u64 {
        self.awaited_until_ns
    }

    pub(super) fn is_noted(&self) -> bool {
        self.at.node >= self.end
    }
}

/// A retirement that waits until all documents have come that were expected before it.
#[derive(Debug)]
pub(super) struct HeldRetirement {
    chunk: ChunkId,
    /// The number of the first document that it does not wait for.
    before: u64,
}

impl Expected {
    /// Keeps what came for the document.
    pub(super) fn hold(&mut self, held: Behind, now: Now) {
        self.held.push_back((Held::Behind(held), now.monotonic_ns));
    }

    /// The same of what merges.
    pub(super) fn hold_progress(&mut self, core: u16, node: u64, now: Now) {
        if let Some((Held::Progress { core: of, node: known }, _)) = self.held.back_mut()
            && *of == core
        {
            *known = node;
        } else {
            self.held.push_back((Held::Progress { core, node }, now.monotonic_ns));
        }
    }

    pub(super) fn hold_missed(&mut self, deltas: u64) {
        self.missed_deltas += deltas;
    }
}

impl Validation {
    /// Keeps room for a document of worker `from`, or says why not.
    pub(super) fn prepare(
        &mut self,
        (slot, generation): (u32, u32),
        from: u16,
        (producers, owed, blocks): (u32, u32, u32),
        boxes: &mut Mailboxes,
    ) {
        let pays = usize::from(self.registry.worker) < self.registry.shared.homes();
        let reserved = if self.closed & LIVE != 0 {
            Err(CannotTake::Ending)
        } else if !self.moves.leaving.is_empty() || self.moves.expected.len() >= MOVES_AT_ONCE {
            Err(CannotTake::Busy)
        } else if pays && blocks > self.registry.blocks.free() {
            Err(CannotTake::Nodes)
        } else {
            self.registry.reserve(slot, producers, owed)
        };
        let answer = match reserved {
            Ok(reserved) => {
                let serial = self.moves.serial;
                self.moves.serial += 1;
                let held = VecDeque::new();
                let expected =
                    Expected { slot, generation, reserved, held, missed_deltas: 0, serial };
                self.moves.expected.push(expected);
                Message::Prepared { slot, generation }
            }
            Err(reason) => {
                let no_room = self.no_room(reason, pays);
                Message::CannotTake { slot, generation, reason, no_room }
            }
        };
        boxes.to_worker(from).send(answer);
    }

    /// For whom there is no room, if a document was refused for `reason`. What is busy is not for long.
    fn no_room(&self, reason: CannotTake, pays: bool) -> Option<NoRoom> {
        let Registry { producers, blocks, .. } = &self.registry;
        let is_used_up = producers.room() < PRODUCERS_LEAST || (pays && blocks.free() == 0);
        match reason {
            CannotTake::Busy | CannotTake::Ending => None,
            _ if is_used_up => Some(NoRoom::ForAny),
            CannotTake::Guests => Some(NoRoom::ForGuests),
            CannotTake::Producers | CannotTake::Owed | CannotTake::Nodes => Some(NoRoom::ForThis),
        }
    }

    /// The document does not come. Nobody was told that it would, so nothing is held for it but opens
    /// whose way led to their home, because the document is no more: the home looks again.
    pub(super) fn cancel(&mut self, slot: u32, generation: u32, boxes: &mut Mailboxes, now: Now) {
        let expected = &mut self.moves.expected;
        let at = expected.iter().position(|it| (it.slot, it.generation) == (slot, generation));
        let Some(at) = at else { return };
        let Expected { reserved, held, .. } = expected.swap_remove(at);
        self.registry.give_up(slot, reserved);
        for (held, _) in held {
            match held {
                Held::Behind(Behind::OpenAt { open, slot, generation }) => {
                    self.open_at(open, slot, generation, boxes, now);
                }
                _ => debug_assert!(false, "it was rerouted before there was room"),
            }
        }
    }

    /// Takes an image of a document that was moved.
    pub(super) fn arrive_rerouted(
        &mut self,
        mut arrival: Arrival,
        slot: u32,
        boxes: &mut Mailboxes,
        now: Now,
    ) {
        if let Some(expected) = self.moves.expected.iter_mut().find(|it| it.slot == slot) {
            expected.hold(Behind::Batch(arrival), now);
            return;
        }
        let Some(place) = self.registry.place(slot) else {
            unreachable!("a batch follows its document")
        };
        arrival.place = place as u32;
        self.arrive_by_handle(arrival, boxes, now);
    }

    /// Takes an image whose producer is looked up.
    fn arrive_by_handle(&mut self, mut arrival: Arrival, boxes: &mut Mailboxes, now: Now) {
        // Whoever writes as that producer was changed in order with batches.
        self.judge_arrivals(boxes, now);
        let place = arrival.place as usize;
        let Some(image) = Image::checked_before(arrival.landed.bytes(&self.memory)) else {
            unreachable!("reception passes on whole images")
        };
        let (handle, number) = (image.handle(), image.producer_sequence());
        let SessionId(session) = arrival.session;
        if let Some(producer) = self.registry.writer(place, arrival.core, session, handle) {
            arrival.producer = producer;
            self.arrivals.push(arrival);
            return;
        }
        self.counts.refused(self.registry.documents[place].collection);
        self.answer(arrival.landed.range().chunk());
        boxes.to(arrival.core).send(Message::Refused(Box::new(Refusal {
            session: arrival.session,
            handle,
            producer_sequence: number,
            reason: BatchRefusal::Fenced,
        })));
    }

    /// Takes the document over, and goes on with what was held for it.
    pub(super) fn adopt(&mut self, hand_over: HandOver, boxes: &mut Mailboxes, now: Now) {
        let HandOver { from, baggage, blocks, debts, last_append_ns, rerouted_ns } = hand_over;
        let (slot, generation) = (baggage.document.slot, baggage.document.generation);
        let mut expected = self.moves.expected.iter();
        let at = expected.position(|it| (it.slot, it.generation) == (slot, generation));
        let Some(at) = at else { unreachable!("a document comes where room is kept for it") };
        let Expected { reserved, held, missed_deltas, serial, .. } =
            self.moves.expected.swap_remove(at);
        let place = reserved.place;
        self.moves.lending.take_on(&debts);
        self.registry.adopt(baggage, reserved);
        self.registry.blocks.add_chain(blocks);
        self.registry.missed(slot, generation, missed_deltas);
        self.moves.counts.finished += 1;
        if home(slot) == usize::from(self.registry.worker) {
            self.forget_route(slot, generation, boxes);
        }
        let worker = self.registry.worker;
        self.registry.each_writer(place as usize, |producer, writer| {
            let (session, handle) = (writer.session, writer.handle);
            boxes.to(writer.core).send(Message::Rebind { session, handle, worker, producer });
        });
        let batches = held.iter().filter(|(it, _)| matches!(it, Held::Behind(Behind::Batch(_))));
        let batches = batches.count() as u32;
        self.moves.counts.held_batches += u64::from(batches);
        let document = &self.registry.documents[place as usize];
        self.moves.arrived.push(Arrived {
            slot,
            generation,
            place,
            from,
            serial,
            at: document.window_place(),
            end: document.nodes,
            last_chunk: u32::MAX,
            paused_ns: last_append_ns.or((batches > 0).then_some(rerouted_ns)),
            awaited_until_ns: now.monotonic_ns + AWAITED_NS,
            pause_ns: None,
            held: batches,
        });
        for (held, since_ns) in held {
            self.go_on_with(held, since_ns, (slot, generation, place), boxes, now);
        }
        self.judge_arrivals(boxes, now);
        self.registry.free_if_done(slot, generation);
        self.tell_vacated(boxes);
    }

    fn go_on_with(
        &mut self,
        held: Held,
        since_ns: u64,
        (slot, generation, place): (u32, u32, u32),
        boxes: &mut Mailboxes,
        now: Now,
    ) {
        let behind = match held {
            Held::Progress { core, node } => {
                self.progress(core, (slot, generation), node);
                return;
            }
            Held::Behind(behind) => behind,
        };
        match behind {
            Behind::Batch(arrival) => {
                self.moves.hold.record(now.monotonic_ns.saturating_sub(since_ns));
                self.arrive_by_handle(Arrival { place, ..arrival }, boxes, now);
                return;
            }
            _ => self.judge_arrivals(boxes, now),
        }
        match behind {
            Behind::Batch(_) => {}
            Behind::Close(core, closing, reason) => self.close(core, closing, reason, boxes, now),
            Behind::Drop { slot, generation } => self.drop_document(slot, generation, boxes),
            Behind::Open(open) => self.open(open, boxes, now),
            Behind::OpenAt { open, slot, generation } => {
                self.open_at(open, slot, generation, boxes, now);
            }
        }
    }

    /// Tells session cores that the document is at home, or is no more.
    pub(super) fn forget_route(&mut self, slot: u32, generation: u32, boxes: &mut Mailboxes) {
        for core in cores_of(self.session_cores) {
            boxes.to(core).send(Message::Forget { slot, generation });
        }
    }

    /// Tells homes which of their documents that were here are no more.
    pub(super) fn tell_vacated(&mut self, boxes: &mut Mailboxes) {
        while let Some(vacated) = self.registry.take_vacated() {
            let (slot, generation) = (vacated.slot, vacated.generation);
            boxes.to_worker(home(slot) as u16).send(Message::SlotFree { slot, generation });
            self.forget_route(slot, generation, boxes);
        }
    }

    /// Begins to let go of a chunk, or waits for documents that may have nodes in it.
    pub(super) fn retire(&mut self, chunk: ChunkId) {
        if self.moves.takes() {
            let before = self.moves.serial;
            self.moves.held_retirements.push_back(HeldRetirement { chunk, before });
            self.moves.counts.held_retirements += 1;
        } else {
            self.retirements.begin(chunk);
        }
    }

    /// Notes runs of documents that have come, and lets go on what waited for that.
    pub(super) fn advance_coming(&mut self, now: Now) -> usize {
        let mut budget = self.limits.turn.retirement_entries;
        let full = budget;
        let mut work = 0;
        let mut at = 0;
        while at < self.moves.arrived.len() {
            let arrived = &mut self.moves.arrived[at];
            let place = self.registry.live_index(arrived.slot, arrived.generation);
            if place.is_some() {
                note_runs(arrived, &mut budget, &self.registry, &mut self.retirements);
            }
            let is_awaited =
                arrived.paused_ns.is_some() && now.monotonic_ns < arrived.awaited_until_ns;
            if place.is_some() && (!arrived.is_noted() || is_awaited) {
                at += 1;
                continue;
            }
            if let Some(place) = place {
                self.registry.documents[place].flags &= !ARRIVED;
            }
            work += 1;
            let Arrived { slot, generation, from, pause_ns, held, .. } =
                self.moves.arrived.swap_remove(at);
            let (to, outcome) = (self.registry.worker, MoveOutcome::Moved);
            self.moves.tell(Moved { slot, generation, from, to, outcome, pause_ns, held });
        }
        work + full - budget + self.retire_held()
    }

    fn retire_held(&mut self) -> usize {
        let moves = &mut self.moves;
        let expected = moves.expected.iter().map(|it| it.serial);
        let coming = moves.arrived.iter().filter(|it| !it.is_noted()).map(|it| it.serial);
        let first = expected.chain(coming).min().unwrap_or(u64::MAX);
        let mut count = 0;
        while let Some(held) = moves.held_retirements.pop_front_if(|it| it.before <= first) {
            self.retirements.begin(held.chunk);
            count += 1;
        }
        count
    }
}

/// Notes where runs of the document's nodes begin, for so many nodes.
fn note_runs(
    arrived: &mut Arrived,
    budget: &mut usize,
    registry: &Registry,
    retirements: &mut crate::retirement::Retirements,
) {
    while !arrived.is_noted() && *budget > 0 {
        let at = registry.nodes().normalise(arrived.at);
        let chunk = registry.nodes().node(at.block, at.index).range.chunk().0;
        if chunk != arrived.last_chunk {
            arrived.last_chunk = chunk;
            retirements.touch_again(chunk, arrived.place, at.block, at.index);
        }
        arrived.at = Place { node: at.node + 1, block: at.block, index: at.index + 1 };
        *budget -= 1;
    }
}
