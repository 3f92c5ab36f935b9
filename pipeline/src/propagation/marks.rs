//! Marks: what an agent does when documents have grown.
//!
//! The part of [`Propagation`] that finds the subscriptions of a document. It sends nothing. Each mark
//! costs a look at every subscription in the document's list; who waits for its socket is not in it.

use deltaworks_runtime::prefetch::{prefetch, prefetch_entry};

use super::Propagation;
use super::newest::find_newest;
use super::rounds::QUICK_READERS;
use crate::document::{SharedDocument, slot};
use crate::message::Policy;
use crate::stream::Place;
use crate::subscription::{NO_SUBSCRIPTION, NOT_READY};

/// Documents whose lines are asked for together.
const GROUP: usize = 16;

/// Marks of this core's own worker, taken as it publishes tails. A document's readers are put into their
/// sessions' lists a group of marks later, when the line of the first of them has come.
pub(crate) struct OwnMarks<'a> {
    agent: &'a mut Propagation,
    /// Where documents' lists begin: a group that has been asked for, and the one that is being.
    heads: [u32; 2 * GROUP],
    count: usize,
}

impl OwnMarks<'_> {
    /// A document has grown: its slot, and what is shared of it if it is at home on this core.
    #[inline(always)]
    pub fn mark(&mut self, slot: u32, shared: Option<&SharedDocument>) {
        let subscriptions = &self.agent.subscriptions;
        let head = match shared {
            Some(shared) => shared.first_reader(),
            None => subscriptions.head(slot),
        };
        subscriptions.prefetch(head);
        let count = self.count;
        self.heads[count] = head;
        self.count = count + 1;
        if count + 1 == 2 * GROUP {
            self.make_group_ready();
        }
    }

    /// No other has.
    pub fn finish(mut self) {
        if self.count > GROUP {
            self.make_group_ready();
        }
        self.agent.make_own_ready(&self.heads[..self.count]);
    }

    /// Puts the readers of the first group's documents into their sessions' lists; the second takes its place.
    #[inline(never)]
    fn make_group_ready(&mut self) {
        self.agent.make_own_ready(&self.heads[..GROUP]);
        self.heads.copy_within(GROUP.., 0);
        self.count -= GROUP;
    }
}

impl Propagation {
    pub(super) fn take_marks(&mut self, home: usize, at_most: usize) -> usize {
        let (pending, position) = &mut self.pending[home];
        let mut marks = core::mem::take(&mut self.marks);
        pending.take(position, at_most, &mut marks);
        self.make_marked_ready(slot(home as u16, 0), &marks);
        let work = marks.len();
        marks.clear();
        self.marks = marks;
        work
    }

    /// Takes marks that this core's own worker has made before the end of its turn, which need no bitmap:
    /// slots.
    pub(crate) fn take_own_marks(&mut self, marks: &mut Vec<u32>) {
        self.make_marked_ready(0, marks);
        marks.clear();
    }

    /// Takes those of its end, one by one, as tails are published.
    #[inline]
    pub(crate) fn mark_own(&mut self) -> OwnMarks<'_> {
        OwnMarks { agent: self, heads: [NO_SUBSCRIPTION; 2 * GROUP], count: 0 }
    }

    /// Puts the documents' subscriptions into their sessions' lists; a mark and `first` together are
    /// a slot. Lines are asked for in groups, a step ahead, because each tells the address of the next.
    fn make_marked_ready(&mut self, first: u32, marks: &[u32]) {
        let mut asked: (&[u32], [u32; GROUP]) = (&[], [NO_SUBSCRIPTION; GROUP]);
        for group in marks.chunks(GROUP).chain([&[][..]]) {
            let mut heads = [NO_SUBSCRIPTION; GROUP];
            let (entries, lists) = self.subscriptions.apart();
            for (mark, head) in group.iter().zip(&mut heads) {
                *head = lists.head(first | *mark);
                prefetch_entry(entries, *head as usize);
                prefetch(lists.shared(first | *mark));
            }
            let (marks, heads_asked) = asked;
            self.make_heads_ready::<false, false>(&heads_asked[..marks.len()]);
            asked = (group, heads);
        }
    }

    /// The same of this core's own documents, whose lists began with `heads` a short time ago.
    #[inline(always)]
    fn make_own_ready(&mut self, heads: &[u32]) {
        if self.rounds.is_behind() {
            self.make_heads_ready::<true, true>(heads);
        } else {
            self.make_heads_ready::<true, false>(heads);
        }
    }

    /// The same of any; whose tail and newest node this core itself has just written, if they are its `OWN`. If
    /// sessions are sent to `LATER`, those will be far then, so it is noted what is to be sent.
    #[inline(always)]
    fn make_heads_ready<const OWN: bool, const LATER: bool>(&mut self, heads: &[u32]) {
        let mut done = self.make_usual_ready::<OWN, LATER>(heads);
        while let Some(head) = heads.get(done) {
            if *head != NO_SUBSCRIPTION {
                // Looked up again: who waits may have been left out since.
                let slot = self.subscriptions.peek(*head).slot;
                self.make_readers_ready(self.subscriptions.head(slot));
            }
            done += 1;
            done += self.make_usual_ready::<OWN, LATER>(&heads[done..]);
        }
    }

    /// Puts subscriptions into their sessions' lists, as long as each is the only one of its document, had been
    /// sent all before, and its session stands in line already. Returns how many were so.
    ///
    /// The first of a list stays its first while it is one of these: who is left out has not been sent all.
    #[inline(always)]
    fn make_usual_ready<const OWN: bool, const LATER: bool>(&mut self, heads: &[u32]) -> usize {
        let Self { subscriptions, outlets, nodes, .. } = self;
        let (entries, lists) = subscriptions.apart();
        let outlets = &mut outlets[..];
        let mut count = 0;
        for &place in heads {
            // Nobody's place is that of no subscription.
            let Some(entry) = entries.get_mut(place as usize) else { break };
            let outlet = &mut outlets[entry.session.0 as usize];
            if !(entry.is_alone_and_caught_up() && outlet.is_listed && outlet.is_within_reach) {
                break;
            }
            let last = core::mem::replace(&mut outlet.last_ready, place);
            entry.next_ready = NO_SUBSCRIPTION;
            if !OWN {
                nodes.prefetch(entry.place.block, entry.place.index);
            } else if LATER && let Some((at, range)) = find_newest(entry, lists, nodes) {
                entry.place = at;
                entry.note_only_lacks(range);
            }
            match entries.get_mut(last as usize) {
                Some(last) => last.next_ready = place,
                None => outlet.first_ready = place,
            }
            count += 1;
        }
        self.note_looks(count);
        count
    }

    /// Puts the subscriptions in one document's list, from the first on, into their sessions' lists. Who
    /// has not been sent yet what was there before waits in his: he is left out of the document's until
    /// he is served, so that it costs nothing that thousands of sockets take nothing.
    #[inline(always)]
    fn make_readers_ready(&mut self, mut next: u32) {
        let looks_at_all = self.looks_at_all();
        let (mut before, mut readers) = (NO_SUBSCRIPTION, 0);
        while next != NO_SUBSCRIPTION {
            self.note_looks(1);
            let entry = self.subscriptions.get(next);
            let (session, following) = (entry.session, entry.next_of_document());
            let Place { block, index, .. } = entry.place;
            let may_be_behind = matches!(entry.policy, Policy::Close | Policy::Conflate);
            entry.forget_only_lacks();
            if entry.next_ready == NOT_READY {
                entry.next_ready = NO_SUBSCRIPTION;
                self.append_ready(session, next, readers < QUICK_READERS);
            } else if entry.may_follow() && !looks_at_all {
                self.subscriptions.leave_out(before, next);
                next = following;
                continue;
            }
            if may_be_behind && self.is_too_far_behind(self.subscriptions.peek(next)) {
                self.is_behind_its_policy(next);
            }
            self.nodes.prefetch(block, index);
            readers += 1;
            before = next;
            next = following;
        }
    }

    /// Does what is to be done at once for a subscription that is too far behind.
    #[cold]
    fn is_behind_its_policy(&mut self, place: u32) {
        match self.subscriptions.peek(place).policy {
            Policy::Close => self.overdue.push(place),
            Policy::Conflate => self.conflate(place),
            _ => {}
        }
    }

    #[inline]
    pub(super) fn note_looks(&mut self, count: usize) {
        #[cfg(feature = "testing")]
        {
            self.looks += count as u64;
        }
        #[cfg(not(feature = "testing"))]
        let _ = count;
    }

    /// Whether it is planted that a subscription costs a look each time, whatever its socket does.
    #[inline]
    pub(super) fn looks_at_all(&self) -> bool {
        #[cfg(feature = "testing")]
        return self.looks_at_all;
        #[cfg(not(feature = "testing"))]
        false
    }
}
