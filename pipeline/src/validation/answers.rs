//! What a turn leaves behind: tails that are published, acks, descriptors that are answered.
//!
//! The part of [`Validation`] that talks to session cores about batches. What finds no room in a ring
//! merges here.

use deltaworks_runtime::chunk_memory::ChunkId;
use deltaworks_runtime::sync::atomic::{Ordering, fence};

use super::Validation;
use crate::document::{DROPPED, GREW, SharedDocument, home, index};
use crate::mailbox::{Mailboxes, cores_of};
use crate::message::{Ack, Message, SessionId};
use crate::producer::{BOUND, KEPT, Producer, TOUCHED};

/// Hears the acknowledgements of its own core's sessions, in order.
pub(crate) trait AckEar {
    /// Tells one.
    fn hear(&mut self, ack: &Ack);
}

impl Validation {
    /// Publishes the tails of documents that grew, and marks them for their agents. This core's own is told
    /// when the turn ends.
    pub(super) fn publish_tails(&mut self, boxes: &mut Mailboxes) {
        let mut own_marks = core::mem::take(&mut self.own_marks);
        self.publish_with(boxes, |slot, _| own_marks.push(slot));
        self.own_marks = own_marks;
    }

    /// The same, where `mark` tells this core's own agent at once: a slot, and what is shared of the document
    /// if it is at home here. In one step where only that agent reads the document.
    #[inline]
    pub(super) fn publish_with(
        &mut self,
        boxes: &mut Mailboxes,
        mut mark: impl FnMut(u32, Option<&SharedDocument>),
    ) {
        if self.published == self.touched.len() {
            return;
        }
        let own = 1 << self.core;
        let registry = &mut self.registry;
        let guests = registry.guests();
        let (shared, at_home) = (&*registry.shared, registry.shared.at_home(registry.worker));
        let documents = &mut *registry.documents;
        let mut elsewhere = core::mem::take(&mut self.elsewhere);
        for &(place, _) in &self.touched[self.published..] {
            let document = &mut documents[place as usize];
            if document.flags & GREW == 0 {
                continue;
            }
            let has_ended = document.flags & DROPPED != 0;
            document.flags &= !GREW;
            let publish = |shared: &SharedDocument| {
                shared.publish(document.nodes, document.appended, has_ended);
            };
            // Two ways, so that nothing is asked twice.
            if let Some(shared) = at_home.get((place as usize).wrapping_sub(guests)) {
                publish(shared);
                if document.readers & own != 0 {
                    mark(document.slot, Some(shared));
                }
            } else {
                publish(shared.get(document.slot));
                if document.readers & own != 0 {
                    mark(document.slot, None);
                }
            }
            // Who is read here alone needs no bitmap, and no fence.
            if document.readers & !own != 0 {
                elsewhere.push(place);
            }
        }
        self.published = self.touched.len();
        if !elsewhere.is_empty() {
            self.mark_elsewhere(&elsewhere, boxes);
            elsewhere.clear();
        }
        self.elsewhere = elsewhere;
    }

    /// Marks documents that grew for the agents of other cores, and has those woken that sleep.
    fn mark_elsewhere(&mut self, places: &[u32], boxes: &mut Mailboxes) {
        let own = 1 << self.core;
        for &place in places {
            let document = &self.registry.documents[place as usize];
            for core in cores_of(document.readers & !own) {
                if let Some(pending) = &self.pending[home(document.slot)][usize::from(core)] {
                    pending.ask(index(document.slot));
                }
            }
        }
        // Between the tails and the tests of the bits; pairs with the fence in `Pending::take`.
        fence(Ordering::SeqCst);
        let mut woken = 0_u64;
        for &place in places {
            let document = &self.registry.documents[place as usize];
            let (slot, mut readers) = (document.slot, document.readers & !own);
            while readers != 0 {
                let core = readers.trailing_zeros() as usize;
                readers &= readers - 1;
                if let Some(pending) = &self.pending[home(slot)][core]
                    && pending.set(index(slot))
                {
                    woken |= 1 << core;
                }
            }
        }
        while woken != 0 {
            boxes.to(woken.trailing_zeros() as u16).nudge();
            woken &= woken - 1;
        }
    }

    #[inline]
    pub(super) fn send_ack(&mut self, index: u32, boxes: &mut Mailboxes) {
        let producer = self.registry.producers.get(index);
        let core = producer.core;
        if let Some(ack) = take_ack(producer) {
            boxes.to(core).send_ack(ack);
        }
    }

    /// Owes the producer's session an ack.
    #[inline]
    pub(super) fn touch(&mut self, index: u32) {
        let producer = self.registry.producers.get(index);
        if producer.flags & TOUCHED == 0 {
            producer.flags |= TOUCHED;
            self.touched.push((producer.place, index));
        }
    }

    /// Counts one descriptor of `chunk` as answered.
    #[inline]
    pub(super) fn answer(&mut self, chunk: ChunkId) {
        let count = &mut self.answered[chunk.0 as usize];
        if *count == 0 {
            self.answered_chunks.push_back(chunk.0);
        }
        *count += 1;
    }

    /// Sends acks and answered counts as far as the rings have room; the rest merges here. What this core's
    /// own sessions are owed is told to `ear`, unless something that comes before it waits for the next turn.
    #[inline]
    pub(super) fn send_answers(
        &mut self,
        boxes: &mut Mailboxes,
        ear: Option<impl AckEar>,
    ) -> usize {
        let (own, mut others) = boxes.apart();
        let mut ear = ear.filter(|_| own.holds_only_batches());
        let own = own.acks();
        let (core, producers) = (self.core, self.registry.producers.entries());
        debug_assert!(self.published == self.touched.len(), "tails are published first");
        let (kept_before, mut kept) = (self.kept, 0);
        let touched = &mut self.touched[..];
        for at in 0..touched.len() {
            let pair = touched[at];
            // A document that was dropped has none.
            let Some(producer) = producers.get_mut(pair.1 as usize) else { continue };
            if producer.core == core {
                if let Some(ack) = take_ack(producer) {
                    match &mut ear {
                        Some(ear) => ear.hear(&ack),
                        None => own.push(ack),
                    }
                }
                continue;
            }
            let mailbox = others.core(producer.core);
            if mailbox.has_room() {
                if let Some(ack) = take_ack(producer) {
                    mailbox.send_ack(ack);
                }
            } else if producer.flags & TOUCHED != 0
                && (at < kept_before || producer.flags & KEPT == 0)
            {
                producer.flags |= KEPT;
                touched[kept] = pair;
                kept += 1;
            }
        }
        let mut work = self.touched.len() - kept;
        self.touched.truncate(kept);
        (self.kept, self.published) = (kept, kept);
        for _ in 0..self.answered_chunks.len() {
            let Some(chunk) = self.answered_chunks.pop_front() else { break };
            let core = self.chunk_cores[chunk as usize];
            if !boxes.to(core).has_room() {
                self.answered_chunks.push_back(chunk);
                continue;
            }
            let count = core::mem::take(&mut self.answered[chunk as usize]);
            boxes.to(core).send(Message::Answered { chunk: ChunkId(chunk), count });
            work += 1;
        }
        work
    }
}

/// What the producer's session is owed, if it is owed something and still there.
#[inline]
fn take_ack(producer: &mut Producer) -> Option<Ack> {
    let is_owed = producer.flags & (TOUCHED | BOUND) == TOUCHED | BOUND;
    producer.flags &= !(TOUCHED | KEPT);
    is_owed.then(|| Ack {
        session: SessionId(producer.session),
        handle: producer.handle,
        producer_sequence: producer.last,
        sequence: producer.last_sequence,
        credit_bytes: core::mem::take(&mut producer.credit_bytes),
        duplicates: core::mem::take(&mut producer.duplicates),
    })
}
