//! What `conflate` leaves out: images each of whose values a later one replaces.
//!
//! The part of [`Propagation`] that keeps an index of each document with a `conflate` subscription that
//! is too far behind. Indices are fed a bounded number of deltas a turn; what they have not seen yet is
//! sent. What leaves the window with a newest value in it is copied. Copies and indices share the
//! room for spills: where that is used up, a subscription is told what it misses instead.

use std::collections::BTreeMap;

use deltaworks_image::Image;

use super::Propagation;
use crate::chunk::published;
use crate::conflation::Newest;
use crate::message::Policy;
use crate::port::SessionPort;
use crate::stream::{NodeMemory, Place, Position};
use crate::subscription::{NO_SUBSCRIPTION, Subscription};

/// Deltas that all indices of a core take in together in one turn, about.
const DELTAS_PER_TURN: u32 = 512;
/// Deltas that an index takes in at once before a chunk is let go of, about.
const DELTAS_PER_RETIREMENT: u32 = 16_384;
/// Superseded images that one subscription passes over before others come.
const LEFT_OUT_AT_ONCE: u64 = 4_096;

/// The indices of one core.
#[derive(Debug, Default)]
pub(super) struct Conflations {
    /// By slot and generation.
    of: BTreeMap<(u32, u32), Newest>,
    /// Bytes of all of them.
    bytes: u64,
    /// Documents whose index may see more, or may not be needed any more.
    waiting: Vec<(u32, u32)>,
}

impl Conflations {
    /// Whether there is nothing to do about any.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> u64 {
        debug_assert_eq!(self.bytes, self.of.values().map(Newest::bytes).sum::<u64>());
        self.bytes
    }

    /// Forgets one, if it is there.
    fn forget(&mut self, document: (u32, u32)) {
        if let Some(newest) = self.of.remove(&document) {
            self.bytes -= newest.bytes();
        }
    }

    /// The document has grown, or a subscription of it has ended.
    pub fn look_at(&mut self, document: (u32, u32)) {
        if self.of.contains_key(&document) && !self.waiting.contains(&document) {
            self.waiting.push(document);
        }
    }

    /// A session has taken everything: whether each is still needed is asked soon.
    pub fn look_at_all(&mut self) {
        self.waiting.clear();
        self.waiting.extend(self.of.keys());
    }

    /// Forgets all of them: what they would have left out is sent.
    pub fn forget_all(&mut self) {
        self.of.clear();
        self.bytes = 0;
        self.waiting.clear();
    }

    /// Lets go of what a worker has moved out of its windows: indices of documents that it `concerns` and that stand there are forgotten, and
    /// one at the end of a block goes on to the next, because its own is given back.
    pub fn leave_behind(
        &mut self,
        concerns: impl Fn(u32) -> bool,
        nodes: &NodeMemory,
        window_start: impl Fn(u32) -> u64,
    ) {
        let bytes = &mut self.bytes;
        self.of.retain(|(slot, _), newest| {
            if !concerns(*slot) {
                return true;
            }
            newest.next = nodes.normalise(newest.next);
            let is_kept = newest.next.node >= window_start(*slot);
            *bytes -= if is_kept { 0 } else { newest.bytes() };
            is_kept
        });
    }
}

impl Propagation {
    /// The index by which images are left out for the subscription now.
    #[inline]
    pub(super) fn conflation(&self, entry: &Subscription) -> Option<&Newest> {
        if entry.policy != Policy::Conflate || !self.is_too_far_behind(entry) {
            return None;
        }
        self.conflations.of.get(&(entry.slot, entry.generation))
    }

    /// Makes sure that there is an index from the subscription's cursor on, and that it sees more.
    pub(super) fn conflate(&mut self, place: u32) {
        let entry = self.subscriptions.peek(place);
        let document = (entry.slot, entry.generation);
        let (at, collection) = (self.resolve(entry), entry.collection);
        self.conflations.of.entry(document).or_insert_with(|| Newest::new(collection, at));
        self.conflations.look_at(document);
    }

    /// Lets indices see more, and forgets those that nobody needs.
    pub(super) fn advance_conflations(&mut self) -> usize {
        let mut budget = DELTAS_PER_TURN;
        let waiting = core::mem::take(&mut self.conflations.waiting);
        let count = waiting.len();
        for document in waiting {
            if !self.is_conflated(document) {
                self.conflations.forget(document);
            } else if !self.feed(document, &mut budget) {
                self.conflations.waiting.push(document);
            }
        }
        count
    }

    /// Whether a `conflate` subscription of the document has not taken everything.
    fn is_conflated(&self, (slot, generation): (u32, u32)) -> bool {
        let mut next = self.subscriptions.head(slot);
        while next != NO_SUBSCRIPTION {
            let entry = self.subscriptions.peek(next);
            if entry.policy == Policy::Conflate
                && entry.generation == generation
                && (entry.slow.is_some() || self.is_too_far_behind(entry))
            {
                return true;
            }
            next = entry.next_of_document();
        }
        false
    }

    /// Lets the document's index see more; whether it has seen all. One that finds no room is
    /// forgotten.
    fn feed(&mut self, document: (u32, u32), budget: &mut u32) -> bool {
        let (tail, _) = self.shared.get(document.0).tail();
        let Some(newest) = self.conflations.of.get_mut(&document) else { return true };
        let overload = &self.collections.get(newest.collection).overload;
        let Some(key) = &overload.key else { return true };
        let bytes_before = newest.bytes();
        while newest.next.node < tail && *budget > 0 {
            newest.next = self.nodes.normalise(newest.next);
            let range = self.nodes.node(newest.next.block, newest.next.index).range;
            if let Some(image) = Image::checked_before(published(&self.memory, range)) {
                *budget = budget.saturating_sub(image.count().max(1));
                newest.take(key, &image);
            }
            newest.next.node += 1;
            newest.next.index += 1;
        }
        let has_seen_all = newest.next.node == tail;
        let bytes = newest.bytes();
        self.conflations.bytes = self.conflations.bytes - bytes_before + bytes;
        if self.spill_bytes() > self.spill_bytes_max {
            self.conflations.forget(document);
            return true;
        }
        has_seen_all
    }

    fn is_superseded(&self, document: (u32, u32), node: u64) -> bool {
        self.conflations.of.get(&document).is_some_and(|newest| newest.is_superseded(node))
    }

    /// Passes over superseded images in front of the cursor. Whether something was told.
    pub(super) fn leave_out(&mut self, place: u32, port: &mut impl SessionPort) -> bool {
        let entry = self.subscriptions.peek(place);
        let Some(newest) = self.conflation(entry) else { return false };
        let (tail, _) = self.shared.get(entry.slot).tail();
        let start = self.nodes.normalise(self.resolve(entry));
        let (mut at, mut position) = (start, entry.position);
        let end = tail.min(start.node + LEFT_OUT_AT_ONCE);
        while at.node < end && newest.is_superseded(at.node) {
            let range = self.nodes.node(at.block, at.index).range;
            if at.node >= entry.live_from() {
                position = position.after(u64::from(range.bytes()));
            }
            at.node += 1;
            at.index += 1;
            at = self.nodes.normalise(at);
        }
        // What supersedes an image stands behind it and before the tail, so the newest never is.
        if at.node == start.node || at.node == tail {
            return false;
        }
        let from = self.nodes.node(start.block, start.index).first_sequence;
        let to = self.nodes.node(at.block, at.index).first_sequence;
        let behind_bytes = self.behind_bytes(entry);
        let entry = self.subscriptions.get(place);
        (entry.place, entry.position) = (at, position);
        self.tell(place, from, to, behind_bytes, port)
    }

    /// Copies what is about to go and holds a newest value; the rest is missed. `missed` is all that
    /// goes, and where it ends.
    pub(super) fn copy_newest(
        &mut self,
        place: u32,
        from: Place,
        to: u64,
        (missed, position): ((u64, u64), Position),
        port: &mut impl SessionPort,
    ) {
        let entry = self.subscriptions.peek(place);
        let document = (entry.slot, entry.generation);
        let has_room =
            entry.slow.is_some() || self.subscriptions.slow_count() < self.slow_subscriptions_max;
        self.conflate(place);
        self.feed(document, &mut { DELTAS_PER_RETIREMENT });
        self.forget_superseded(place);
        self.note_missed(place, missed, position, port);
        let mut at = from;
        while has_room && at.node < to && self.conflations.of.contains_key(&document) {
            at = self.nodes.normalise(at);
            let range = self.nodes.node(at.block, at.index).range;
            let fits = self.spill_bytes() + u64::from(range.bytes()) <= self.spill_bytes_max;
            if fits && !self.is_superseded(document, at.node) {
                let bytes: Box<[u8]> = published(&self.memory, range).into();
                self.spill_bytes += bytes.len() as u64;
                self.counts.spilled_images += 1;
                self.subscriptions.slow(place).aside.push_back((at.node, bytes));
            }
            at.node += 1;
            at.index += 1;
        }
    }

    /// Lets go of copies that have been superseded since.
    fn forget_superseded(&mut self, place: u32) {
        let entry = self.subscriptions.get(place);
        if entry.policy != Policy::Conflate {
            return;
        }
        let newest = self.conflations.of.get(&(entry.slot, entry.generation));
        let (Some(newest), Some(slow)) = (newest, &mut entry.slow) else { return };
        let sum = |slow: &crate::subscription::Slow| -> u64 {
            slow.aside.iter().map(|(_, bytes)| bytes.len() as u64).sum()
        };
        let before = sum(slow);
        slow.aside.retain(|(node, _)| !newest.is_superseded(*node));
        self.spill_bytes -= before - sum(slow);
    }

    /// Tells what a `conflate` subscription has missed before its oldest copied image, which is sent
    /// next. Whether something was told.
    pub(super) fn tell_before_aside(&mut self, place: u32, port: &mut impl SessionPort) -> bool {
        self.forget_superseded(place);
        let behind_bytes = self.behind_with_missed(place);
        let Some(slow) = &mut self.subscriptions.get(place).slow else { return false };
        let Some((_, oldest)) = slow.aside.front() else { return false };
        let Some(image) = Image::checked_before(oldest) else { return false };
        let (from, to) = (slow.missed_from, image.first_sequence());
        if from == slow.missed_to || from >= to {
            return false;
        }
        slow.missed_from = to;
        self.tell(place, from, to, behind_bytes, port)
    }
}
