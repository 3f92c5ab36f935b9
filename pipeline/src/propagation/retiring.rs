//! What an agent does before it answers a retirement: cursors move, half-sent images are copied.
//!
//! The part of [`Propagation`] that lets go of chunks. Copies are counted and bounded; a session
//! whose copies find no room is ended with its number.

use deltaworks_image::Image;
use deltaworks_runtime::chunk_memory::ChunkId;

use super::rounds::SIDE_BY_SIDE;
use super::{Half, Propagation};
use crate::chunk::published;
use crate::mailbox::{Mailboxes, cores_of};
use crate::message::{Message, Policy, SessionId};
use crate::port::SessionPort;
use crate::stream::{Place, Position};
use crate::subscription::{NO_SUBSCRIPTION, Subscription};

/// Documents of which it is remembered where the last subscription came to.
const PASSES: usize = 64;

/// Where a cursor came that was moved to its window's start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passed {
    slot: u32,
    generation: u32,
    pub place: Place,
    pub position: Position,
    /// The first sequence there.
    sequence: u64,
}

impl Passed {
    /// Whether it is of that document, and at that node.
    fn is(&self, slot: u32, generation: u32, node: u64) -> bool {
        (self.slot, self.generation, self.place.node) == (slot, generation, node)
    }
}

/// Where all subscriptions of a document stand that follow: one cursor for all of them.
#[derive(Clone, Copy, Debug)]
struct Followed {
    at: Passed,
    /// Bytes of live images that it has passed since there were any.
    bytes: u64,
    /// How many follow, at least one.
    followers: u32,
}

/// Where the last subscription came, by document: thousands of slow ones cost one walk.
#[derive(Debug)]
pub(super) struct Passes {
    /// At the window's start.
    to_window: [Option<Passed>; PASSES],
    /// Near the newest node.
    to_newest: [Option<(u32, u32, Place)>; PASSES],
    /// At the window's start, and moved with it. A document that finds another here has no followers:
    /// its cursors are moved one by one.
    followed: [Option<Followed>; PASSES],
}

impl Default for Passes {
    fn default() -> Self {
        Self { to_window: [None; PASSES], to_newest: [None; PASSES], followed: [None; PASSES] }
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

    /// Where others have come, perhaps of another document than that in `slot`.
    fn known(&self, slot: u32) -> [Option<Passed>; 2] {
        let number = slot as usize % PASSES;
        [self.followed[number].map(|it| it.at), self.to_window[number]]
    }

    /// Where a subscription stands that follows; `None` if it does not.
    pub fn followed(&self, entry: &Subscription) -> Option<&Passed> {
        let followed = &self.followed[entry.slot as usize % PASSES];
        followed.as_ref().filter(|_| entry.follows()).map(|followed| &followed.at)
    }

    /// Lets a subscription follow that stands at `passed` and remembers what it has missed, if it can.
    fn follow(&mut self, entry: &mut Subscription, passed: Passed) {
        let Some(slow) = entry.slow.as_deref_mut() else { return };
        let followed = &mut self.followed[passed.slot as usize % PASSES];
        let followed = followed.get_or_insert(Followed { at: passed, bytes: 0, followers: 0 });
        if followed.at.is(passed.slot, passed.generation, passed.place.node) {
            followed.followers += 1;
            slow.follow(followed.bytes);
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
        let mut within_reach = core::mem::take(&mut self.within_reach);
        for sessions in within_reach.chunks(SIDE_BY_SIDE) {
            self.ask_ahead(sessions.iter());
            for session in sessions.iter().copied() {
                let outlet = &self.outlets[session as usize];
                if outlet.is_open && !outlet.is_blocked && outlet.first_ready != NO_SUBSCRIPTION {
                    // Served first, if the socket takes it.
                    self.send_before_retiring(SessionId(session), port);
                }
            }
        }
        self.lead_followers(|slot| routes.concerns(slot, worker));
        within_reach.retain(|session| {
            let session = *session;
            let mut next = self.outlets[session as usize].first_ready;
            let mut all_follow = true;
            while next != NO_SUBSCRIPTION {
                self.note_looks(1);
                let entry = self.subscriptions.get(next);
                entry.forget_only_lacks();
                let after = entry.next_ready;
                if routes.concerns(self.subscriptions.peek(next).slot, worker) {
                    self.clear_of_window(next, port);
                }
                all_follow &= self.subscriptions.peek(next).follows();
                next = after;
            }
            if let Half::InChunk { range, slot, node, .. } = self.outlets[session as usize].half
                && routes.concerns(slot, worker)
                && (range.chunk() == chunk || node < self.shared.get(slot).window_start())
            {
                self.copy_half(SessionId(session));
            }
            let outlet = &mut self.outlets[session as usize];
            // One that follows, and whose socket takes more, is served first the next time.
            let may_take =
                outlet.is_open && !outlet.is_blocked && outlet.first_ready != NO_SUBSCRIPTION;
            outlet.is_within_reach =
                !all_follow || may_take || matches!(outlet.half, Half::InChunk { .. });
            outlet.is_within_reach
        });
        debug_assert!(self.within_reach.is_empty(), "nobody becomes ready meanwhile");
        self.within_reach = within_reach;
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
        if entry.follows() {
            return;
        }
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
        let may_follow = entry.may_follow() && start >= entry.live_from();
        if may_follow && !self.looks_at_all() {
            let entry = self.subscriptions.get(place);
            self.passes.follow(entry, passed);
        }
        self.list(session, false);
    }

    /// Moves those who follow in documents that this `concerns`, all at once. Costs a load for each node
    /// that has left the window.
    fn lead_followers(&mut self, concerns: impl Fn(u32) -> bool) {
        for number in 0..PASSES {
            let Some(Followed { at, .. }) = self.passes.followed[number] else { continue };
            if !concerns(at.slot) {
                continue;
            }
            let start = self.shared.get(at.slot).window_start();
            let from = self.nodes.normalise(at.place);
            let (place, bytes, sequence) = match from.node < start {
                true => self.walk(from, start, 0),
                false => (from, 0, at.sequence),
            };
            if let Some(followed) = &mut self.passes.followed[number] {
                let position = at.position.after(bytes);
                followed.at = Passed { place, position, sequence, ..at };
                followed.bytes += bytes;
            }
        }
    }

    /// Lets a subscription that follows have a cursor of its own again.
    #[inline]
    pub(super) fn catch_up(&mut self, place: u32) {
        let entry = self.subscriptions.get(place);
        let Some(slow) = entry.slow.as_deref_mut().filter(|slow| slow.follows()) else { return };
        let there = &mut self.passes.followed[entry.slot as usize % PASSES];
        let Some(followed) = there else { return debug_assert!(false, "somebody is followed") };
        slow.catch_up(followed.at.sequence, followed.bytes);
        (entry.place, entry.position) = (followed.at.place, followed.at.position);
        followed.followers -= 1;
        if followed.followers == 0 {
            *there = None;
        }
    }

    /// What lies at node `start` of a subscription whose cursor is at `at`, before it. Costs a load
    /// each node between, unless another subscription of the document has just come there.
    fn pass(&mut self, place: u32, at: Place, start: u64) -> Passed {
        let entry = self.subscriptions.peek(place);
        let (slot, generation, live_from) = (entry.slot, entry.generation, entry.live_from());
        let known = self.passes.known(slot).into_iter().flatten();
        let mut known = known.filter(|it| it.is(slot, generation, start) && start >= live_from);
        if let Some(passed) = known.next() {
            return passed;
        }
        let position = entry.position;
        let (place, bytes, sequence) = self.walk(at, start, live_from);
        let passed = Passed { slot, generation, place, position: position.after(bytes), sequence };
        if start >= live_from {
            self.passes.to_window[slot as usize % PASSES] = Some(passed);
        }
        passed
    }

    /// What lies at node `start`, which is behind `at`: the place, the bytes between that are not before
    /// `live_from`, and the sequence.
    fn walk(&self, mut at: Place, start: u64, live_from: u64) -> (Place, u64, u64) {
        let (mut bytes, mut last) = (0, at);
        while at.node < start {
            at = self.nodes.normalise(at);
            if at.node >= live_from {
                let range = self.nodes.node(at.block, at.index).range;
                bytes += u64::from(range.bytes());
            }
            last = at;
            at.node += 1;
            at.index += 1;
        }
        let (place, sequence) = (self.nodes.normalise(at), self.end_of(last));
        (place, bytes, sequence)
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
