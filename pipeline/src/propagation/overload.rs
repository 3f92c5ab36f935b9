//! What becomes of a subscription that is too far behind, and who is told of it.
//!
//! The part of [`Propagation`] that knows policies. A subscription is judged when its socket, once full,
//! takes something, so one that stands still costs nothing; only `close` looks whenever its document grew.
//! Each drop is counted by policy and session here, and by document at the owner, who is told what has
//! added up since the last time; what finds no room in a ring merges.

use std::collections::BTreeMap;

use super::{Ended, Propagation};
use crate::mailbox::Mailboxes;
use crate::message::{CloseReason, Message, Missed, Policy, SessionId};
use crate::port::SessionPort;
use crate::stream::{Place, Position};
use crate::subscription::Subscription;

/// Deltas that were not sent, by slot and generation, which their owners do not know of yet. At most
/// one entry for each document that is read here.
pub(super) type Missing = BTreeMap<(u32, u32), u64>;

impl Propagation {
    /// Bytes of images that the subscription's cursor has before it, without what is history to it.
    pub(super) fn behind_bytes(&self, entry: &Subscription) -> u64 {
        self.shared.get(entry.slot).appended().bytes_since(entry.position)
    }

    /// Whether that is more than its policy lets it be. One whose socket takes what it is offered is
    /// not behind, whatever a turn brings.
    #[inline]
    pub(super) fn is_too_far_behind(&self, entry: &Subscription) -> bool {
        if !self.outlets[entry.session.0 as usize].is_lagging {
            return false;
        }
        let overload = &self.collections.get(entry.collection).overload;
        self.behind_bytes(entry) > overload.behind_bytes_max(entry.policy)
    }

    /// Does what its policy demands to a subscription that is about to be served; one that followed has a
    /// cursor of its own from here on. Returns whether something was told: what is sent next goes out behind it.
    #[inline]
    pub(super) fn judge(&mut self, place: u32, port: &mut impl SessionPort) -> bool {
        self.catch_up(place);
        let entry = self.subscriptions.peek(place);
        let has_left_window = entry.slow.is_some();
        match entry.policy {
            Policy::Wait => false,
            Policy::Gap => has_left_window && self.tell_gap(place, port),
            Policy::Skip => {
                (has_left_window || self.is_too_far_behind(entry)) && self.skip(place, port)
            }
            Policy::Conflate => {
                (has_left_window && self.tell_gap(place, port)) | self.leave_out(place, port)
            }
            Policy::Close => {
                if self.is_too_far_behind(entry) {
                    self.end_behind(place, port);
                }
                self.subscriptions.peek(place).is_ended()
            }
        }
    }

    /// Moves the cursor to the newest image.
    fn skip(&mut self, place: u32, port: &mut impl SessionPort) -> bool {
        let entry = self.subscriptions.peek(place);
        let shared = self.shared.get(entry.slot);
        let (tail, _) = shared.tail();
        let at = self.nodes.normalise(self.resolve(entry));
        let Some(newest) = tail.checked_sub(1).filter(|newest| *newest > at.node) else {
            return self.tell_gap(place, port);
        };
        // Not while the owner publishes: the next time will do.
        let Some(end) = shared.appended_below(tail) else { return self.tell_gap(place, port) };
        let behind_bytes = self.behind_with_missed(place);
        let to = self.seek(place, at, newest);
        let to = self.nodes.normalise(to);
        let node = self.nodes.node(to.block, to.index);
        let from_sequence = self.nodes.node(at.block, at.index).first_sequence;
        let from = self.forget_missed(place).map_or(from_sequence, |(from, _)| from);
        let entry = self.subscriptions.get(place);
        entry.place = to;
        if to.node >= entry.live_from() {
            entry.position = end.before(u64::from(node.range.bytes()));
        }
        self.tell(place, from, node.first_sequence, behind_bytes, port)
    }

    /// Tells what has left the window before it could be sent.
    fn tell_gap(&mut self, place: u32, port: &mut impl SessionPort) -> bool {
        let behind_bytes = self.behind_with_missed(place);
        let Some((from, to)) = self.forget_missed(place) else { return false };
        self.tell(place, from, to, behind_bytes, port)
    }

    /// Ends a subscription of policy `close`: what it will not get is told, then its handle closes.
    pub(super) fn end_behind(&mut self, place: u32, port: &mut impl SessionPort) {
        let entry = self.subscriptions.peek(place);
        if entry.is_ended() {
            return;
        }
        let behind_bytes = self.behind_bytes(entry);
        let (tail, _) = self.shared.get(entry.slot).tail();
        let at = self.nodes.normalise(self.resolve(entry));
        if at.node >= tail {
            return;
        }
        let from = self.nodes.node(at.block, at.index).first_sequence;
        let newest = self.seek(place, at, tail - 1);
        let to = self.end_of(self.nodes.normalise(newest));
        let entry = self.subscriptions.get(place);
        entry.end();
        let (session, handle) = (entry.session, entry.handle);
        self.tell(place, from, to, behind_bytes, port);
        self.ended.push(Ended { session, handle, reason: CloseReason::Behind });
    }

    /// Ends those that were seen too far behind since the last turn.
    pub(super) fn end_overdue(&mut self, port: &mut impl SessionPort) -> usize {
        let mut overdue = core::mem::take(&mut self.overdue);
        let count = overdue.len();
        for place in overdue.drain(..) {
            // The place may be another subscription's by now.
            if self.subscriptions.peek(place).policy == Policy::Close {
                self.judge(place, port);
            }
        }
        self.overdue = overdue;
        count
    }

    /// Remembers what the window has left behind, up to `position`, until it can be told; if too many
    /// are remembered, it is told at once.
    pub(super) fn note_missed(
        &mut self,
        place: u32,
        (from, to): (u64, u64),
        position: Position,
        port: &mut impl SessionPort,
    ) {
        let entry = self.subscriptions.peek(place);
        if entry.slow.is_none() && self.subscriptions.slow_count() >= self.slow_subscriptions_max {
            self.tell(place, from, to, self.behind_bytes(entry), port);
            return;
        }
        let missed_bytes = position.bytes_since(entry.position);
        let slow = self.subscriptions.slow(place);
        if slow.missed_from == slow.missed_to {
            slow.missed_from = from;
        }
        slow.missed_to = to;
        slow.missed_bytes += missed_bytes;
    }

    /// What it has missed and not been told: told or passed over from now on.
    fn forget_missed(&mut self, place: u32) -> Option<(u64, u64)> {
        let slow = self.subscriptions.get(place).slow.as_deref_mut()?;
        let (from, to) = (slow.missed_from, slow.missed_to);
        (slow.missed_from, slow.missed_bytes) = (to, 0);
        self.subscriptions.calm(place);
        Some((from, to))
    }

    pub(super) fn behind_with_missed(&self, place: u32) -> u64 {
        let entry = self.subscriptions.peek(place);
        let missed_bytes = entry.slow.as_ref().map_or(0, |slow| slow.missed_bytes);
        self.behind_bytes(entry) + missed_bytes
    }

    /// Where node `to` stands, from where another subscription of the document has just looked if that
    /// is nearer than `at`.
    fn seek(&mut self, place: u32, at: Place, to: u64) -> Place {
        let entry = self.subscriptions.peek(place);
        let (slot, generation) = (entry.slot, entry.generation);
        let from = self.passes.nearest(slot, generation, at, to);
        let found = self.nodes.seek(from, to);
        self.passes.note(slot, generation, found);
        found
    }

    /// Tells the session that sequences will not come, and counts them.
    pub(super) fn tell(
        &mut self,
        place: u32,
        from: u64,
        to: u64,
        behind_bytes: u64,
        port: &mut impl SessionPort,
    ) -> bool {
        // Not if only infos are passed: they have no sequence that could be missed.
        if from >= to {
            return false;
        }
        let entry = self.subscriptions.peek(place);
        let (slot, generation, policy) = (entry.slot, entry.generation, entry.policy);
        self.counts.gaps += 1;
        self.counts.missed_deltas[policy as usize] += to - from;
        self.outlets[entry.session.0 as usize].missed_deltas += to - from;
        *self.missing.entry((slot, generation)).or_default() += to - from;
        port.gap(entry.session, entry.handle, Missed { from, to, policy, behind_bytes });
        true
    }

    /// Deltas that the session was told it would not get.
    pub(crate) fn missed_deltas(&self, session: SessionId) -> u64 {
        self.outlets.get(session.0 as usize).map_or(0, |outlet| outlet.missed_deltas)
    }

    /// Tells owners how many deltas of their documents were not sent.
    pub(super) fn tell_missed(&mut self, boxes: &mut Mailboxes) -> usize {
        let before = self.missing.len();
        self.missing.retain(|(slot, generation), deltas| {
            let worker = boxes.routes.worker(*slot, *generation);
            let mailbox = boxes.to_worker(worker);
            if mailbox.room() == 0 {
                return true;
            }
            let (slot, generation, deltas) = (*slot, *generation, *deltas);
            mailbox.send(Message::Missed { slot, generation, deltas });
            false
        });
        before - self.missing.len()
    }

    /// Tells owners how far `wait` subscriptions have come; what finds no room merges here.
    pub(super) fn tell_progress(&mut self, boxes: &mut Mailboxes) -> usize {
        if self.progressed.is_empty() {
            return 0;
        }
        self.progressed.sort_unstable();
        self.progressed.dedup();
        let before = self.progressed.len();
        let mut progressed = core::mem::take(&mut self.progressed);
        progressed.retain(|slot| {
            let Some(node) = self.subscriptions.lowest_waiting(*slot) else { return false };
            let head = self.subscriptions.head(*slot);
            let generation = self.subscriptions.peek(head).generation;
            let worker = boxes.routes.worker(*slot, generation);
            let mailbox = boxes.to_worker(worker);
            if mailbox.room() == 0 {
                return true;
            }
            mailbox.send(Message::Progress { slot: *slot, generation, node });
            false
        });
        let work = before - progressed.len();
        self.progressed = progressed;
        work
    }
}
