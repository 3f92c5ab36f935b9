//! What an agent does before it answers a retirement: cursors move, half-sent images are copied.
//!
//! The part of [`Propagation`] that lets go of chunks. Copies are counted and bounded; a session
//! whose copies find no room is ended with its number.

use deltaworks_image::Image;
use deltaworks_runtime::chunk_memory::ChunkId;

use super::{Half, Propagation};
use crate::chunk::published;
use crate::document::home;
use crate::mailbox::Mailboxes;
use crate::message::{Message, Policy, SessionId};
use crate::port::SessionPort;
use crate::stream::Place;
use crate::subscription::NO_SUBSCRIPTION;

impl Propagation {
    /// Lets go of what `worker` has moved out of its windows, and answers.
    pub(crate) fn retire(
        &mut self,
        chunk: ChunkId,
        worker: u16,
        port: &mut impl SessionPort,
        boxes: &mut Mailboxes,
    ) {
        // Every cursor that stands before a tail is in a ready list afterwards.
        while self.take_marks(worker as usize, usize::MAX) > 0 {}
        for session in 0..self.outlets.len() as u32 {
            let outlet = &self.outlets[session as usize];
            if outlet.is_open && !outlet.is_blocked && outlet.first_ready != NO_SUBSCRIPTION {
                // Served first, if the socket takes it.
                self.send(SessionId(session), port);
            }
        }
        for session in 0..self.outlets.len() as u32 {
            let mut next = self.outlets[session as usize].first_ready;
            while next != NO_SUBSCRIPTION {
                let after = self.subscriptions.peek(next).next_ready;
                if home(self.subscriptions.peek(next).slot) == worker as usize {
                    self.clear_of_window(next, port);
                }
                next = after;
            }
            if let Half::InChunk { range, slot, node, .. } = self.outlets[session as usize].half
                && home(slot) == worker as usize
                && (range.chunk() == chunk || node < self.shared.get(slot).window_start())
            {
                self.copy_half(SessionId(session));
            }
        }
        boxes.to(self.worker_cores[worker as usize]).send(Message::Released { chunk });
    }

    /// Moves a cursor that stands before its window, by its policy.
    fn clear_of_window(&mut self, place: u32, port: &mut impl SessionPort) {
        let entry = self.subscriptions.peek(place);
        let (slot, policy, session) = (entry.slot, entry.policy, entry.session);
        let start = self.shared.get(slot).window_start();
        let at = self.nodes.normalise(self.resolve(entry));
        if at.node >= start || !self.outlets[session.0 as usize].is_open {
            let at = if at.node < start { self.nodes.seek(at, start) } else { at };
            self.subscriptions.get(place).place = at;
            return;
        }
        let to = self.nodes.seek(at, start);
        match policy {
            Policy::Gap => {
                let from_sequence = self.nodes.node(at.block, at.index).first_sequence;
                let to_sequence = self.end_of(self.nodes.seek(at, start - 1));
                // Not if only infos are passed: they have no sequence that could be missed.
                if from_sequence < to_sequence {
                    let handle = self.subscriptions.peek(place).handle;
                    self.counts.gaps += 1;
                    port.gap(session, handle, from_sequence, to_sequence);
                }
            }
            Policy::Wait => self.copy_aside(place, at, start),
        }
        self.subscriptions.get(place).place = to;
        self.list(session);
    }

    /// The sequence behind the node at `place`, which no retirement answered yet has passed.
    fn end_of(&self, place: Place) -> u64 {
        let node = self.nodes.node(place.block, place.index);
        let count =
            Image::checked_before(published(&self.memory, node.range)).map_or(0, |it| it.count());
        node.first_sequence + u64::from(count)
    }

    /// Copies the images of a `wait` subscription that are about to go.
    fn copy_aside(&mut self, place: u32, from: Place, to: u64) {
        let mut at = from;
        while at.node < to {
            at = self.nodes.normalise(at);
            let range = self.nodes.node(at.block, at.index).range;
            let bytes: Box<[u8]> = published(&self.memory, range).into();
            self.spill_bytes += bytes.len() as u64;
            self.counts.spilled_images += 1;
            let aside = &mut self.subscriptions.get(place).aside;
            aside.get_or_insert_default().push_back((at.node, bytes));
            at.node += 1;
            at.index += 1;
        }
        self.check_spills(self.subscriptions.peek(place).session);
    }

    pub(super) fn copy_half(&mut self, session: SessionId) {
        let outlet = &mut self.outlets[session.0 as usize];
        let Half::InChunk { range, sent, .. } = outlet.half else { return };
        let bytes: Box<[u8]> = published(&self.memory, range)[sent as usize..].into();
        self.spill_bytes += bytes.len() as u64;
        self.counts.spilled_images += 1;
        outlet.half = Half::Copied { bytes, sent: 0 };
        self.check_spills(session);
    }

    /// Notes that a session must end if its copies find no room. It is told at the end of the
    /// turn, together with its end: until then it is sent to as before.
    fn check_spills(&mut self, session: SessionId) {
        if self.spill_bytes > self.spill_bytes_max
            && self.outlets[session.0 as usize].is_open
            && !self.faults.contains(&session)
        {
            self.faults.push(session);
        }
    }
}
