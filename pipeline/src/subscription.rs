//! Subscriptions: cursors into document streams, and what was copied for them.
//!
//! Belongs to one propagation agent. A subscription costs no payload: it is a place in a stream.
//! Only when a chunk is retired under a `wait` subscription are its images copied aside, counted
//! and bounded. At the limit of subscriptions an `open` is refused.

use std::collections::VecDeque;

use deltaworks_runtime::prefetch::prefetch_entry;
use deltaworks_runtime::sync::Arc;
use deltaworks_runtime::zeroed::{Zeroable, ZeroedArray};

use crate::chunk::ImageRange;
use crate::document::{SharedDocument, SharedDocuments, home, index, slot};
use crate::message::{Opened, Policy, SessionId};
use crate::stream::{Place, Position};

/// "No subscription".
pub const NO_SUBSCRIPTION: u32 = u32::MAX;

/// "In no list of those with something to send".
pub const NOT_READY: u32 = u32::MAX - 1;

/// It was closed, or its policy has ended it: nothing more is sent.
const ENDED: u8 = 1;
/// Its policy has something to say before each send.
const SPEAKS: u8 = 2;
/// It has a [`Slow`].
const SLOW: u8 = 4;
/// It waits for its socket, and is left out of its document's list.
const LEFT_OUT: u8 = 8;
/// Its cursor may stand before `live_from`.
const HISTORY: u8 = 16;

/// See [`Slow::missed_to`].
const FOLLOWS: u64 = u64::MAX;

/// Marks where an image lies, in place of the number of a node: neither has that bit.
const LACKS_ONE: u64 = 1 << 63;

/// What only a subscription has that stays behind.
#[derive(Debug, Default)]
pub(crate) struct Slow {
    /// Images copied out of retired chunks, oldest first, and their node numbers.
    pub aside: VecDeque<(u64, Box<[u8]>)>,
    /// Sequences that have left the window and that it has not been told of; empty if equal.
    pub missed_from: u64,
    /// See `missed_from`. While it follows, that is where all who follow in its document stand.
    pub missed_to: u64,
    /// Bytes of their images. While it follows, less what those who followed before it have passed.
    pub missed_bytes: u64,
}

impl Slow {
    /// Whether it follows: where its cursor stands is known when it is needed, and until then no
    /// retirement looks at it.
    #[inline]
    pub fn follows(&self) -> bool {
        self.missed_to == FOLLOWS
    }

    /// It follows from now on, behind `bytes` that others have passed.
    pub fn follow(&mut self, bytes: u64) {
        debug_assert!(self.aside.is_empty(), "what was copied has a place of its own");
        self.missed_to = FOLLOWS;
        self.missed_bytes = self.missed_bytes.wrapping_sub(bytes);
    }

    /// It has followed up to sequence `to`, while those who follow have passed `bytes` in all.
    pub fn catch_up(&mut self, to: u64, bytes: u64) {
        self.missed_to = to;
        self.missed_bytes = self.missed_bytes.wrapping_add(bytes);
    }
}

const _: () = assert!(size_of::<Slow>() == 56 || cfg!(target_pointer_width = "32"));

/// One session's cursor into one document: one cache line.
#[repr(align(64))]
#[derive(Debug)]
pub(crate) struct Subscription {
    pub place: Place,
    /// See [`Self::live_from`]; or, with [`LACKS_ONE`], see [`Self::only_lacks`].
    live_from: u64,
    pub slot: u32,
    pub generation: u32,
    pub session: SessionId,
    pub handle: u32,
    /// Next in the list of its document's subscriptions on this core. One that waits for its socket
    /// may be left out of it: it is in its session's list then.
    next_of_document: u32,
    /// Next in its session's list of those with something to send; [`NOT_READY`] outside of it.
    pub next_ready: u32,
    /// Where in the stream's bytes the cursor stands, or `live_from` as long as that is ahead.
    pub position: Position,
    /// The number of the document's collection.
    pub collection: u16,
    pub policy: Policy,
    /// What keeps it from being sent its document's newest image without a look at anything else.
    flags: u8,
    pub slow: Option<Box<Slow>>,
}

const _: () = assert!(size_of::<Subscription>() == 64);

// SAFETY: integers, `false`, `None` of a box, and the policy whose discriminant is 0; what is boxed
// is taken out before an entry is given up, so nothing needs to be dropped.
#[expect(unsafe_code, reason = "the promise is about bit patterns")]
unsafe impl Zeroable for Subscription {
    fn zeroed() -> Self {
        Self {
            place: Place { node: 0, block: 0, index: 0 },
            live_from: 0,
            slot: 0,
            generation: 0,
            session: SessionId(0),
            handle: 0,
            next_of_document: 0,
            next_ready: 0,
            position: Position::default(),
            collection: 0,
            policy: Policy::Gap,
            flags: 0,
            slow: None,
        }
    }
}

const _: () = assert!(Policy::Gap as u8 == 0);

impl Subscription {
    /// Whether it stays behind, or its policy has something to say before each send.
    #[inline]
    pub fn is_special(&self) -> bool {
        self.flags & (SLOW | SPEAKS) != 0
    }

    /// Whether nothing but how far it has come needs to be known for a send: it is not special, has no history
    /// to be sent, and is in its document's list.
    #[inline(always)]
    pub fn is_plain(&self) -> bool {
        self.flags == 0
    }

    /// Whether it was closed, or its policy has ended it: nothing more is sent.
    #[inline]
    pub fn is_ended(&self) -> bool {
        self.flags & ENDED != 0
    }

    /// Its policy ends it.
    pub fn end(&mut self) {
        self.flags |= ENDED;
    }

    /// Its cursor moves to `to`.
    #[inline]
    pub fn move_to(&mut self, to: Place) {
        self.place = to;
        if to.node >= self.live_from() {
            self.flags &= !HISTORY;
        }
    }

    /// A cursor where the owner said, not in any list yet.
    pub fn new(opened: &Opened) -> Self {
        let speaks = !matches!(opened.policy, Policy::Gap | Policy::Wait);
        let has_history = opened.place.node < opened.live_from;
        Self {
            flags: if speaks { SPEAKS } else { 0 } | if has_history { HISTORY } else { 0 },
            place: opened.place,
            live_from: opened.live_from,
            position: opened.position,
            collection: opened.collection,
            slot: opened.slot,
            generation: opened.generation,
            session: opened.session,
            handle: opened.handle,
            next_of_document: NO_SUBSCRIPTION,
            next_ready: NOT_READY,
            policy: opened.policy,
            slow: None,
        }
    }

    /// Nodes from here on were ordered after it began: what was there before is history. 0 if there is none
    /// before its cursor.
    #[inline]
    pub fn live_from(&self) -> u64 {
        if self.live_from & LACKS_ONE == 0 { self.live_from } else { 0 }
    }

    /// Where the image at its cursor lies, if it is known to lack just that one, which is no history, and to have
    /// nothing to be minded; then its cursor stands in the block that the image's node is in.
    #[inline(always)]
    pub fn only_lacks(&self) -> Option<ImageRange> {
        let is_known = self.live_from & LACKS_ONE != 0;
        is_known.then(|| ImageRange::from_word(self.live_from & !LACKS_ONE))
    }

    /// Notes what [`Self::only_lacks`] tells; it must be looked up where a range does not leave the bit free.
    #[inline(always)]
    pub fn note_only_lacks(&mut self, range: ImageRange) {
        if range.to_word() & LACKS_ONE == 0 {
            self.live_from = range.to_word() | LACKS_ONE;
        }
    }

    /// Forgets it, because more has come or the image goes: what it lacks is looked up.
    #[inline]
    pub fn forget_only_lacks(&mut self) {
        self.live_from = self.live_from();
    }

    /// Whether it is its document's only one here, has been sent all before, and its policy asks nothing when
    /// its document grows.
    #[inline]
    pub fn is_alone_and_caught_up(&self) -> bool {
        self.next_of_document == NO_SUBSCRIPTION
            && self.next_ready == NOT_READY
            && !matches!(self.policy, Policy::Close | Policy::Conflate)
    }

    /// Whether its policy asks nothing before it can be sent to again.
    #[inline]
    pub fn may_follow(&self) -> bool {
        matches!(self.policy, Policy::Gap | Policy::Skip)
    }

    /// Whether it follows: its cursor is where others of its document are.
    #[inline]
    pub fn follows(&self) -> bool {
        self.slow.as_ref().is_some_and(|slow| slow.follows())
    }

    /// Whether it is left out of its document's list.
    #[inline]
    pub fn is_left_out(&self) -> bool {
        self.flags & LEFT_OUT != 0
    }

    /// The next subscription in its document's list.
    #[inline]
    pub fn next_of_document(&self) -> u32 {
        debug_assert!(!self.is_left_out());
        self.next_of_document
    }

    /// Number of the first node that the socket has not taken.
    pub fn taken_up_to(&self) -> u64 {
        self.oldest_aside().map_or(self.place.node, |(node, _)| *node)
    }

    /// The oldest image that was copied for it, and its node number.
    pub fn oldest_aside(&self) -> Option<&(u64, Box<[u8]>)> {
        self.slow.as_ref()?.aside.front()
    }

    /// Bytes copied for it.
    pub fn aside_bytes(&self) -> u64 {
        let copies = self.slow.iter().flat_map(|slow| &slow.aside);
        copies.map(|(_, bytes)| bytes.len() as u64).sum()
    }
}

/// The subscriptions of one core, and which belong to which document.
///
/// Worst-case memory: 64 bytes each, 56 more for those that stay behind, and 4 bytes a document of another
/// core's home that was ever read here.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    entries: ZeroedArray<Subscription>,
    /// Entries that were ever used.
    fresh: u32,
    free: Vec<u32>,
    /// How many have a [`Slow`].
    slow: u32,
    shared: Arc<SharedDocuments>,
    /// The home on this core, whose documents' lists begin in their shared part; [`NO_HOME`] if there is none.
    own_home: u16,
    /// By home worker and place: the first subscription in the document's list, of the other homes.
    heads: Vec<Heads>,
}

/// "No documents are at home on this core".
pub(crate) const NO_HOME: u16 = u16::MAX;

/// Where documents' lists begin, and what is shared of documents.
#[derive(Clone, Copy)]
pub(crate) struct Lists<'a> {
    /// Those that are at home on this core, and the slot of the first.
    own: &'a [SharedDocument],
    own_first: u32,
    shared: &'a SharedDocuments,
    heads: &'a [Heads],
}

impl<'a> Lists<'a> {
    #[inline(always)]
    fn own(&self, slot: u32) -> Option<&'a SharedDocument> {
        self.own.get(slot.wrapping_sub(self.own_first) as usize)
    }

    /// The first subscription in the document's list.
    #[inline(always)]
    pub fn head(&self, slot: u32) -> u32 {
        match self.own(slot) {
            Some(shared) => shared.first_reader(),
            None => self.heads[home(slot)].get(index(slot)),
        }
    }

    /// What is shared of the document.
    #[inline(always)]
    pub fn shared(&self, slot: u32) -> &'a SharedDocument {
        match self.own(slot) {
            Some(shared) => shared,
            None => self.shared.get(slot),
        }
    }
}

/// The first subscriptions in the lists of one home's documents, in huge pages where there are many.
///
/// A word has all bits turned over, so that one that was never written is [`NO_SUBSCRIPTION`].
#[derive(Debug)]
struct Heads(ZeroedArray<u32>);

impl Heads {
    #[inline]
    fn get(&self, index: usize) -> u32 {
        self.0.get(index).map_or(NO_SUBSCRIPTION, |word| !word)
    }

    /// Sets one; returns what it was.
    #[inline]
    fn replace(&mut self, index: usize, place: u32) -> u32 {
        !core::mem::replace(&mut self.0[index], !place)
    }
}

const _: () = assert!(!NO_SUBSCRIPTION == 0);

impl Drop for Subscriptions {
    fn drop(&mut self) {
        for entry in &mut self.entries[..self.fresh as usize] {
            entry.slow = None;
        }
    }
}

impl Subscriptions {
    /// Those of a core, `limit` at most, on which documents of `own_home` are at home.
    pub fn new(shared: Arc<SharedDocuments>, own_home: u16, limit: u32) -> Self {
        let documents = |home| if home == own_home { 0 } else { shared.per_worker() };
        let homes = 0..shared.homes() as u16;
        Self {
            entries: ZeroedArray::new(limit as usize),
            fresh: 0,
            free: Vec::new(),
            slow: 0,
            heads: homes.map(|home| Heads(ZeroedArray::new(documents(home)))).collect(),
            shared,
            own_home,
        }
    }

    /// The subscriptions, and where the lists begin.
    #[inline(always)]
    pub fn apart(&mut self) -> (&mut [Subscription], Lists<'_>) {
        let own_first = if self.own_home == NO_HOME { 0 } else { slot(self.own_home, 0) };
        let own = self.shared.at_home(self.own_home);
        let (shared, heads) = (&*self.shared, &*self.heads);
        (&mut self.entries, Lists { own, own_first, shared, heads })
    }

    /// Sets where the document's list begins; returns where it began.
    #[inline]
    fn replace_head(&mut self, slot: u32, place: u32) -> u32 {
        if home(slot) == usize::from(self.own_home) {
            self.shared.get(slot).replace_first_reader(place)
        } else {
            self.heads[home(slot)].replace(index(slot), place)
        }
    }

    #[inline]
    pub fn get(&mut self, index: u32) -> &mut Subscription {
        &mut self.entries[index as usize]
    }

    #[inline]
    pub fn peek(&self, index: u32) -> &Subscription {
        &self.entries[index as usize]
    }

    /// The same; `None` for [`NO_SUBSCRIPTION`].
    #[inline]
    pub fn find(&self, index: u32) -> Option<&Subscription> {
        self.entries.get(index as usize)
    }

    pub fn used(&self) -> u32 {
        self.fresh - self.free.len() as u32
    }

    /// How many have what only the slow have.
    pub fn slow_count(&self) -> u32 {
        self.slow
    }

    /// What only the slow have; the subscription is one from now on.
    pub fn slow(&mut self, place: u32) -> &mut Slow {
        let entry = &mut self.entries[place as usize];
        entry.flags |= SLOW;
        self.slow += u32::from(entry.slow.is_none());
        entry.slow.get_or_insert_default()
    }

    /// Lets go of it, if nothing is left in it.
    pub fn calm(&mut self, place: u32) {
        let entry = &mut self.entries[place as usize];
        let slow = &mut entry.slow;
        let gone = slow.take_if(|it| it.aside.is_empty() && it.missed_from == it.missed_to);
        if gone.is_some() {
            entry.flags &= !SLOW;
            self.slow -= 1;
        }
    }

    /// Asks for the line of a subscription, if there is one.
    #[inline(always)]
    pub fn prefetch(&self, place: u32) {
        prefetch_entry(&self.entries, place as usize);
    }

    /// The first subscription in the document's list.
    #[inline]
    pub fn head(&self, slot: u32) -> u32 {
        if home(slot) == usize::from(self.own_home) {
            self.shared.get(slot).first_reader()
        } else {
            self.heads[home(slot)].get(index(slot))
        }
    }

    /// Adds a subscription; `None` at the limit.
    pub fn insert(&mut self, subscription: Subscription) -> Option<u32> {
        if self.free.is_empty() && self.fresh as usize >= self.entries.len() {
            return None;
        }
        let slot = subscription.slot;
        let next_of_document = self.head(slot);
        let subscription = Subscription { next_of_document, ..subscription };
        let place = match self.free.pop() {
            Some(place) => {
                self.entries[place as usize] = subscription;
                place
            }
            None => {
                self.entries[self.fresh as usize] = subscription;
                self.fresh += 1;
                self.fresh - 1
            }
        };
        self.replace_head(slot, place);
        Some(place)
    }

    /// Leaves `place`, which waits for its socket, out of its document's list, in which it stands behind
    /// `before`.
    #[inline]
    pub fn leave_out(&mut self, before: u32, place: u32) {
        let entry = &mut self.entries[place as usize];
        entry.flags |= LEFT_OUT;
        let next = core::mem::replace(&mut entry.next_of_document, NO_SUBSCRIPTION);
        if before == NO_SUBSCRIPTION {
            let slot = entry.slot;
            self.replace_head(slot, next);
        } else {
            self.entries[before as usize].next_of_document = next;
        }
    }

    /// Puts it back into its document's list, if it was left out.
    #[inline]
    pub fn put_back(&mut self, place: u32) {
        let entry = &mut self.entries[place as usize];
        if entry.is_left_out() {
            entry.flags &= !LEFT_OUT;
            let slot = entry.slot;
            self.entries[place as usize].next_of_document = self.replace_head(slot, place);
        }
    }

    /// Takes a subscription out of its document's list, in which it is, and frees it.
    pub fn remove(&mut self, place: u32) {
        let entry = &self.entries[place as usize];
        let (slot, next) = (entry.slot, entry.next_of_document);
        let head = self.head(slot);
        if head == place {
            self.replace_head(slot, next);
        } else {
            let mut before = head;
            while self.entries[before as usize].next_of_document != place {
                before = self.entries[before as usize].next_of_document;
            }
            self.entries[before as usize].next_of_document = next;
        }
        let entry = &mut self.entries[place as usize];
        self.slow -= u32::from(entry.slow.take().is_some());
        entry.flags = ENDED;
        self.free.push(place);
    }

    /// The lowest cursor of the document's `wait` subscriptions.
    pub fn lowest_waiting(&self, slot: u32) -> Option<u64> {
        let mut lowest = None;
        let mut place = self.head(slot);
        while place != NO_SUBSCRIPTION {
            let entry = &self.entries[place as usize];
            if entry.policy == Policy::Wait {
                let node = entry.taken_up_to();
                lowest = Some(lowest.map_or(node, |lowest: u64| lowest.min(node)));
            }
            place = entry.next_of_document();
        }
        lowest
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use deltaworks_runtime::chunk_memory::ChunkId;

    #[test]
    fn what_it_lacks_is_told_until_it_is_forgotten() {
        let mut entry = Subscription { live_from: 5, ..Subscription::zeroed() };
        assert_eq!((entry.only_lacks(), entry.live_from()), (None, 5));
        entry.forget_only_lacks();
        assert_eq!(entry.live_from(), 5);
        let largest = ImageRange::new(ChunkId((1 << 29) - 1), (2 << 20) - 8, (1 << 19) - 8);
        for range in [largest, ImageRange::new(ChunkId(0), 0, 64)] {
            entry.note_only_lacks(range);
            // Only noted where the cursor is behind all history.
            assert_eq!((entry.only_lacks(), entry.live_from()), (Some(range), 0));
            entry.forget_only_lacks();
            assert_eq!((entry.only_lacks(), entry.live_from()), (None, 0));
        }
        entry.note_only_lacks(ImageRange::new(ChunkId(1 << 29), 0, 64));
        assert_eq!(entry.only_lacks(), None, "such a range has no room for the mark");
    }

    #[test]
    fn heads_that_were_never_written_lead_to_nobody() {
        let mut heads = Heads(ZeroedArray::new(3));
        assert!((0..4).all(|index| heads.get(index) == NO_SUBSCRIPTION));
        for place in [0, 7, NOT_READY - 1, NO_SUBSCRIPTION] {
            assert_eq!(heads.replace(1, place), NO_SUBSCRIPTION);
            assert_eq!(heads.get(1), place);
            assert_eq!(heads.replace(1, NO_SUBSCRIPTION), place);
        }
        assert!((0..4).all(|index| heads.get(index) == NO_SUBSCRIPTION));
    }
}
