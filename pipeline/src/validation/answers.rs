//! What a turn leaves behind: tails that are published, acks, descriptors that are answered.
//!
//! The part of [`Validation`] that talks to session cores about batches. What finds no room in a ring
//! merges here.

use deltaworks_runtime::chunk_memory::ChunkId;
use deltaworks_runtime::sync::atomic::{Ordering, fence};

use super::Validation;
use crate::document::{DROPPED, GREW, home, index};
use crate::mailbox::Mailboxes;
use crate::message::{Ack, Message, SessionId};
use crate::producer::{BOUND, Producer, TOUCHED};

impl Validation {
    /// Publishes the tails of documents that grew, and marks them for their agents: in one step where only
    /// this core's own reads them.
    pub(super) fn publish_tails(&mut self, boxes: &mut Mailboxes) {
        if self.grew.is_empty() {
            return;
        }
        let own = 1 << self.core;
        let registry = &mut self.registry;
        let guests = registry.guests();
        let (shared, at_home) = (&*registry.shared, registry.shared.at_home(registry.worker));
        let documents = &mut *registry.documents;
        let mut elsewhere = 0;
        for at in 0..self.grew.len() {
            let place = self.grew[at];
            let document = &mut documents[place as usize];
            let has_ended = document.flags & DROPPED != 0;
            document.flags &= !GREW;
            let shared = match at_home.get((place as usize).wrapping_sub(guests)) {
                Some(shared) => shared,
                None => shared.get(document.slot),
            };
            shared.publish(document.nodes, document.appended, has_ended);
            if document.readers & own != 0 {
                self.own_marks.push(document.slot);
            }
            // Who is read here alone needs no bitmap, and no fence.
            if document.readers & !own != 0 {
                self.grew[elsewhere] = place;
                elsewhere += 1;
            }
        }
        self.grew.truncate(elsewhere);
        if self.grew.is_empty() {
            return;
        }
        // Between the tails and the tests of the bits; pairs with the fence in `Pending::take`.
        fence(Ordering::SeqCst);
        let mut woken = 0_u64;
        for &place in &self.grew {
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
        self.grew.clear();
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
            self.owed_acks.push(index);
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

    /// Sends acks and answered counts as far as the rings have room; the rest merges here.
    pub(super) fn send_answers(&mut self, boxes: &mut Mailboxes) -> usize {
        let (own, mut others) = boxes.apart();
        let own = own.acks();
        let (core, producers) = (self.core, &mut self.registry.producers);
        let mut owed = core::mem::take(&mut self.owed_acks);
        let mut kept = 0;
        for place in 0..owed.len() {
            let producer = producers.get(owed[place]);
            if producer.core == core {
                if let Some(ack) = take_ack(producer) {
                    own.push(ack);
                }
                continue;
            }
            let mailbox = others.core(producer.core);
            if !mailbox.has_room() {
                owed[kept] = owed[place];
                kept += 1;
            } else if let Some(ack) = take_ack(producer) {
                mailbox.send_ack(ack);
            }
        }
        let mut work = owed.len() - kept;
        owed.truncate(kept);
        self.owed_acks = owed;
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
    producer.flags &= !TOUCHED;
    is_owed.then(|| Ack {
        session: SessionId(producer.session),
        handle: producer.handle,
        producer_sequence: producer.last,
        sequence: producer.last_sequence,
        credit_bytes: core::mem::take(&mut producer.credit_bytes),
        duplicates: core::mem::take(&mut producer.duplicates),
    })
}
