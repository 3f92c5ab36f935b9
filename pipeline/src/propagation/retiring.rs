//! What an agent does before it answers a retirement: cursors move, half-sent images are copied.
//!
//! The part of [`Propagation`] that lets go of chunks. Copies are counted and bounded; a session
//! whose copies find no room is ended with its number.

use deltaworks_image::Image;
use deltaworks_runtime::chunk_memory::ChunkId;

use super::{Half, Propagation};
use crate::chunk::published;
use crate::mailbox::{Mailboxes, cores_of};
use crate::message::{Message, Policy, SessionId};
use crate::port::SessionPort;
use crate::stream::{Place, Position};
use crate::subscription::NO_SUBSCRIPTION;

/// Documents of which it is remembered where the last subscription came to.
const PASSES: usize = 64;

/// Where a cursor came that was moved to its window's start.
#[derive(Clone, Copy, Debug)]
struct Passed {
    slot: u32,
    generation: u32,
    place: Place,
    position: Position,
    /// The first sequence there.
    sequence: u64,
}

/// Where the last subscription came, by document: thousands of slow ones cost one walk.
#[derive(Debug)]
pub(super) struct Passes {
    /// At the window's start.
    to_window: [Option<Passed>; PASSES],
    /// Near the newest node.
    to_newest: [Option<(u32, u32, Place)>; PASSES],
}

impl Default for Passes {
    fn default() -> Self {
        Self { to_window: [None; PASSES], to_newest: [None; PASSES] }
    }
}

impl Passes {
    /// The last place noted of the document if it is between `at` and node `to`, else `at`. It is
    /// behind the window's start as `at` is, so its block is there.
    pub fn nearest(&self, slot: u32, generation: u32, at: Place, to: u64) -> Place {
        match self.to_newest[slot as usize % PASSES] {
            Some((of, in_generation, place))
                if (of, in_generation) == (slot, generation)
                    && (at.node..=to).contains(&place.node) =>
            {
                place
            }
            _ => at,
        }
    }

    /// Notes that a subscription of the document came to `place`.
    pub fn note(&mut self, slot: u32, generation: u32, place: Place) {
        self.to_newest[slot as usize % PASSES] = Some((slot, generation, place));
    }
}

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
        let at_home = if usize::from(worker) < self.pending.len() { 1 << worker } else { 0 };
        for home in cores_of(boxes.routes.homes_away() | at_home) {
            while self.take_marks(usize::from(home), usize::MAX) > 0 {}
        }
        let routes = &boxes.routes;
        for session in 0..self.outlets.len() as u32 {
            let outlet = &self.outlets[session as usize];
            if outlet.is_open && !outlet.is_blocked && outlet.first_ready != NO_SUBSCRIPTION {
                // Served first, if the socket takes it.
                self.send_before_retiring(SessionId(session), port);
            }
        }
        for session in 0..self.outlets.len() as u32 {
            let mut next = self.outlets[session as usize].first_ready;
            while next != NO_SUBSCRIPTION {
                let after = self.subscriptions.peek(next).next_ready;
                if routes.concerns(self.subscriptions.peek(next).slot, worker) {
                    self.clear_of_window(next, port);
                }
                next = after;
            }
            if let Half::InChunk { range, slot, node, .. } = self.outlets[session as usize].half
                && routes.concerns(slot, worker)
                && (range.chunk() == chunk || node < self.shared.get(slot).window_start())
            {
                self.copy_half(SessionId(session));
            }
        }
        let shared = &self.shared;
        let window_start = |slot| shared.get(slot).window_start();
        let concerns = |slot| routes.concerns(slot, worker);
        self.conflations.leave_behind(concerns, &self.nodes, window_start);
        boxes.to(self.worker_cores[worker as usize]).send(Message::Released { chunk });
    }

    /// Moves a cursor that stands before its window, by its policy. What it has missed it is told
    /// when its socket takes something: until then it merges with what it misses next.
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
        let from_sequence = self.nodes.node(at.block, at.index).first_sequence;
        let passed = self.pass(place, at, start);
        match policy {
            Policy::Wait => self.copy_aside(place, at, start),
            Policy::Close => self.end_behind(place, port),
            Policy::Conflate => {
                let missed = ((from_sequence, passed.sequence), passed.position);
                self.copy_newest(place, at, start, missed, port);
            }
            Policy::Gap | Policy::Skip => {
                let missed = (from_sequence, passed.sequence);
                self.note_missed(place, missed, passed.position, port);
            }
        }
        let entry = self.subscriptions.get(place);
        entry.place = passed.place;
        entry.position = passed.position;
        self.list(session, false);
    }

    /// What lies at node `start` of a subscription whose cursor is at `at`, before it. Costs a load
    /// each node between, unless another subscription of the document has just come there.
    fn pass(&mut self, place: u32, mut at: Place, start: u64) -> Passed {
        let entry = self.subscriptions.peek(place);
        let (slot, generation, live_from) = (entry.slot, entry.generation, entry.live_from);
        let known = self.passes.to_window[slot as usize % PASSES];
        if let Some(passed) = known
            && (passed.slot, passed.generation, passed.place.node) == (slot, generation, start)
            && start >= live_from
        {
            return passed;
        }
        let mut position = entry.position;
        let mut last = at;
        while at.node < start {
            at = self.nodes.normalise(at);
            if at.node >= live_from {
                let range = self.nodes.node(at.block, at.index).range;
                position = position.after(u64::from(range.bytes()));
            }
            last = at;
            at.node += 1;
            at.index += 1;
        }
        let (place, sequence) = (self.nodes.normalise(at), self.end_of(last));
        let passed = Passed { slot, generation, place, position, sequence };
        if start >= live_from {
            self.passes.to_window[slot as usize % PASSES] = Some(passed);
        }
        passed
    }

    /// The sequence behind the node at `place`, which no retirement answered yet has passed.
    pub(super) fn end_of(&self, place: Place) -> u64 {
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
            let slow = self.subscriptions.slow(place);
            slow.aside.push_back((at.node, bytes));
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

    /// Notes that a session must end if its copies find no room, also not in place of the indices. It is
    /// told at the end of the turn, together with its end: until then it is sent to as before.
    fn check_spills(&mut self, session: SessionId) {
        if self.spill_bytes() > self.spill_bytes_max {
            self.conflations.forget_all();
        }
        if self.spill_bytes > self.spill_bytes_max
            && self.outlets[session.0 as usize].is_open
            && !self.faults.contains(&session)
        {
            self.faults.push(session);
        }
    }
}
