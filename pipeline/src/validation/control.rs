//! Control that stands in order with batches: open, close, drop, and what waits behind a slow batch.
//!
//! The part of [`Validation`] that changes who has opened what. Control of a document whose batch
//! is checked in slices waits behind it, so that neither overtakes the other.

use deltaworks_runtime::clock::Now;

use super::{ASIDE, Behind, Stall, Validation};
use crate::collection::BatchCheck;
use crate::document::{ARRIVED, DROPPED, GREW, LANED, LEAVING, STALLED, home};
use crate::mailbox::Mailboxes;
use crate::message::{CloseReason, Message, Open, OpenRefusal, Opened, SessionId};
use crate::producer::{BY_SLOT, NO_PRODUCER};
use crate::registry::{Closing, Evicted};

impl Validation {
    pub(super) fn settle(&mut self, index: usize) {
        let touched = &mut self.touched;
        self.registry.settle(index, |producer| touched.push((index as u32, producer)));
    }

    /// Notes how far the `wait` subscriptions of `core` have come.
    pub(super) fn progress(&mut self, core: u16, (slot, generation): (u32, u32), node: u64) {
        if let Some(index) = self.registry.progress(core, slot, generation, node) {
            self.settle(index);
        }
    }

    /// Whether one more batch of the document at `place` may wait for `wait` subscriptions.
    pub(super) fn may_owe(&self, place: usize) -> bool {
        self.registry.may_owe()
            && (self.registry.documents[place].flags & LEAVING == 0 || self.may_owe_leaving(place))
    }

    /// Opens a document of this home, wherever it is.
    pub(super) fn open(&mut self, open: Box<Open>, boxes: &mut Mailboxes, now: Now) {
        if let Some(index) = self.registry.known(&open.request.name) {
            if let Some(worker) = self.registry.away(index) {
                let document = &self.registry.documents[index];
                let (slot, generation) = (document.slot, document.generation);
                if worker == self.registry.worker {
                    self.open_at(open, slot, generation, boxes, now);
                } else {
                    self.moves.counts.passed_opens += 1;
                    open_elsewhere(open, slot, generation, boxes);
                }
                return;
            }
            // An `open` keeps its place behind batches that wait: its cursor stands after them.
            if self.registry.documents[index].flags & ASIDE != 0 {
                self.set_aside(index, Behind::Open(open));
                return;
            }
            let Some(open) = self.stay_to_open(index, open, boxes) else { return };
            let answer = self.registry.open(&open, now);
            self.answer_open(&open, answer, boxes);
            return;
        }
        let answer = self.registry.open(&open, now);
        self.answer_open(&open, answer, boxes);
    }

    /// Opens a document whose way leads here, as its session's core knows: it is here, on its way here, or
    /// leaves. If it was dropped meanwhile, its name is another's: the home looks again.
    pub(super) fn open_at(
        &mut self,
        open: Box<Open>,
        slot: u32,
        generation: u32,
        boxes: &mut Mailboxes,
        now: Now,
    ) {
        if let Some(expected) = self.moves.expected(slot, generation) {
            expected.hold(Behind::OpenAt { open, slot, generation }, now);
            return;
        }
        let place = self.registry.live_index(slot, generation);
        let place = place.filter(|it| self.registry.documents[*it].flags & DROPPED == 0);
        let Some(place) = place else {
            boxes.to_worker(home(slot) as u16).send(Message::Open(open));
            return;
        };
        if self.registry.documents[place].flags & ASIDE != 0 {
            self.set_aside(place, Behind::OpenAt { open, slot, generation });
            return;
        }
        let Some(open) = self.stay_to_open(place, open, boxes) else { return };
        let answer = self.registry.open_here(place, &open, now);
        self.answer_open(&open, answer, boxes);
    }

    fn answer_open(
        &mut self,
        open: &Open,
        answer: Result<(Opened, Option<Evicted>), OpenRefusal>,
        boxes: &mut Mailboxes,
    ) {
        let core = open.core;
        match answer {
            Ok((opened, evicted)) => {
                // The cursor may stand at nodes of this turn: they are published first.
                self.publish_tails(boxes);
                if let Some(evicted) = evicted {
                    end(evicted, boxes);
                }
                boxes.to(core).send(Message::Opened(Box::new(opened)));
            }
            Err(reason) => boxes.to(core).send(Message::OpenRefused {
                session: open.session,
                handle: open.handle,
                request: open.request.request,
                reason,
            }),
        }
    }

    pub(super) fn close(
        &mut self,
        core: u16,
        mut closing: Closing,
        reason: CloseReason,
        boxes: &mut Mailboxes,
        now: Now,
    ) {
        if let Some(index) = self.registry.live_index(closing.slot, closing.generation)
            && self.registry.documents[index].flags & ASIDE != 0
        {
            self.set_aside(index, Behind::Close(core, closing, reason));
            return;
        }
        if closing.producer == BY_SLOT {
            let SessionId(session) = closing.session;
            let place = self.registry.live_index(closing.slot, closing.generation);
            let writer = |place| self.registry.writer(place, core, session, closing.handle);
            closing.producer = place.and_then(writer).unwrap_or(NO_PRODUCER);
        }
        if closing.producer != NO_PRODUCER {
            self.send_ack(closing.producer, boxes);
        }
        if let Some(index) = self.registry.close(core, &closing, now) {
            self.settle(index);
        }
        let (session, handle) = (closing.session, closing.handle);
        boxes.to(core).send(Message::Closed { session, handle, reason });
        self.free_if_done(closing.slot, closing.generation, boxes);
    }

    fn free_if_done(&mut self, slot: u32, generation: u32, boxes: &mut Mailboxes) {
        if self.registry.free_if_done(slot, generation) {
            self.tell_vacated(boxes);
        }
    }

    /// Unloads documents that nobody has opened for the idle limit; hot ones, too, that were left before
    /// they were seen to be quiet.
    pub(crate) fn unload_idle(&mut self, boxes: &mut Mailboxes, now: Now) {
        let passed_over = if self.lanes.is_idle() { LANED } else { 0 };
        if self.registry.unload_idle(now, passed_over) > 0 {
            self.tell_vacated(boxes);
        }
    }

    pub(super) fn drop_document(&mut self, slot: u32, generation: u32, boxes: &mut Mailboxes) {
        let Some(index) = self.registry.live_index(slot, generation) else { return };
        if self.registry.documents[index].flags & ASIDE != 0 {
            self.set_aside(index, Behind::Drop { slot, generation });
            return;
        }
        let Some(evicted) = self.registry.drop_document(index) else { return };
        let moves = self.registry.documents[index].flags & (LEAVING | ARRIVED) != 0;
        self.moves.counts.dropped += u64::from(moves);
        self.registry.documents[index].flags |= GREW;
        self.touched.push((index as u32, NO_PRODUCER));
        if self.registry.is_guest(index) {
            boxes.to_worker(home(slot) as u16).send(Message::NameFree { slot, generation });
        }
        self.publish_tails(boxes);
        for evicted in evicted {
            end(evicted, boxes);
        }
        self.free_if_done(slot, generation, boxes);
    }

    pub(super) fn wait_behind(&mut self, index: usize, behind: Behind) {
        let stall = self.stalls.iter_mut().find(|stall| stall.index == index);
        let Some(stall) = stall else { unreachable!("a stalled document has a stall") };
        self.aside.push(&mut stall.behind, behind);
    }

    /// Goes on with batches that were set aside: each gets its share in turn.
    pub(super) fn resume_stalls(&mut self, boxes: &mut Mailboxes, now: Now) -> usize {
        let mut turn_steps = self.turn.for_slices();
        let mut work = 0;
        // Stalls in a row that found no machine.
        let mut without = 0;
        while turn_steps > 0 && without < self.stalls.len() {
            let Some(mut stall) = self.stalls.pop_front() else { break };
            if stall.machine.is_none() && self.machines.len() > 1 {
                stall.machine = self.machines.pop();
            }
            let Some(mut machine) = stall.machine.take() else {
                self.stalls.push_back(stall);
                without += 1;
                continue;
            };
            without = 0;
            work += 1;
            let share = self.limits.steps_per_batch.min(turn_steps);
            let mut steps = share;
            let (index, current) = (stall.index, &mut stall.current);
            let judged = match current {
                Some(arrival) => self.judge_stalled(
                    arrival,
                    index,
                    &mut stall.check,
                    &mut machine,
                    &mut steps,
                    boxes,
                    now,
                ),
                None => true,
            };
            turn_steps -= share - steps.min(share);
            self.heat.steps += u64::from(share - steps.min(share));
            if !judged {
                stall.machine = Some(machine);
                self.stalls.push_back(stall);
                continue;
            }
            self.machines.push(machine);
            stall.check = BatchCheck::default();
            stall.current = None;
            self.go_on_behind(stall, boxes, now);
        }
        work
    }

    /// Lets control that stood behind a finished batch through, up to the next batch.
    fn go_on_behind(&mut self, mut stall: Stall, boxes: &mut Mailboxes, now: Now) {
        while let Some(behind) = self.aside.pop(&mut stall.behind, |_| true) {
            // Cleared for each step: what is handled now must not be put behind itself.
            self.registry.documents[stall.index].flags &= !ASIDE;
            if let Behind::Batch(arrival) = behind {
                self.registry.documents[stall.index].flags |= STALLED;
                self.mark_laned(stall.index);
                stall.current = Some(arrival);
                self.stalls.push_back(stall);
                return;
            }
            self.handle_behind(behind, boxes, now);
        }
        self.registry.documents[stall.index].flags &= !ASIDE;
        self.mark_laned(stall.index);
    }

    /// Handles what had to wait.
    pub(super) fn handle_behind(&mut self, behind: Behind, boxes: &mut Mailboxes, now: Now) {
        match behind {
            Behind::Batch(arrival) => self.judge_all(&mut [arrival], boxes, now),
            Behind::Close(core, closing, reason) => self.close(core, closing, reason, boxes, now),
            Behind::Drop { slot, generation } => self.drop_document(slot, generation, boxes),
            Behind::Open(open) => self.open(open, boxes, now),
            Behind::OpenAt { open, slot, generation } => {
                self.open_at(open, slot, generation, boxes, now);
            }
        }
    }
}

fn end(evicted: Evicted, boxes: &mut Mailboxes) {
    let Evicted { core, session, handle, reason } = evicted;
    boxes.to(core).send(Message::End { session, handle, reason });
}

/// Has the session's core ask again, by the way that what the session has sent before goes: an `open`
/// that was passed on from here could come before a batch.
pub(super) fn open_elsewhere(open: Box<Open>, slot: u32, generation: u32, boxes: &mut Mailboxes) {
    boxes.to(open.core).send(Message::OpenElsewhere { open, slot, generation });
}
