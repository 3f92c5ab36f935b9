//! Propagation: the agent that brings each document's stream to the sessions of its core.
//!
//! It takes the marks of documents that grew, and hands byte ranges of their images to sockets:
//! one vectored send a session and wake, straight from chunk memory. A slow subscriber is a
//! cursor that stands; nobody waits for it. Before it answers a retirement it moves cursors that
//! stand too far back, by their policy, and copies what a socket has taken half.
//! It never waits and never writes what it reads.
//!
//! ```text
//! marks ─▶ subscriptions ─▶ sessions with something to send ─▶ [half][control][images …] ─▶ socket
//! ```

mod aside;
mod conflating;
mod counts;
mod marks;
mod newest;
mod offer;
mod overload;
mod retiring;
mod rounds;
mod settling;

use conflating::Conflations;
pub use counts::PropagationCounts;
use newest::Newest;
use overload::Missing;
use retiring::Passes;
use rounds::{Rounds, Tray};

use deltaworks_runtime::chunk_memory::ChunkMemory;
use deltaworks_runtime::sync::Arc;

use crate::chunk::{ImageRange, published, published_run};
use crate::collection::Collections;
use crate::document::SharedDocuments;
use crate::latency::Histogram;
use crate::limits::{Limits, TurnBounds};
use crate::mailbox::Mailboxes;
use crate::message::{CloseReason, Opened, Policy, SessionId};
use crate::pending::Pending;
use crate::port::SessionPort;
use crate::stream::{NO_BLOCK, NodeMemory, Place};
use crate::subscription::{NO_SUBSCRIPTION, NOT_READY, Slow, Subscription, Subscriptions};

/// Byte ranges of one send.
const PARTS: usize = 64;

/// What a socket has taken only half of.
#[derive(Debug)]
enum Half {
    None,
    InChunk {
        range: ImageRange,
        sent: u32,
        slot: u32,
        node: u64,
    },
    /// What was left of it when it was copied.
    Copied {
        bytes: Box<[u8]>,
        sent: usize,
    },
}

#[derive(Debug)]
struct Outlet {
    half: Half,
    first_ready: u32,
    last_ready: u32,
    /// Stands in one of the lines of sessions to be sent to.
    is_listed: bool,
    is_blocked: bool,
    is_open: bool,
    /// Stands in the list of those that a retirement looks at.
    is_within_reach: bool,
    /// Its socket has not taken everything since it was full.
    is_lagging: bool,
    /// Deltas that it was told it would not get.
    missed_deltas: u64,
}

impl Outlet {
    /// Whether it is to be put into a line of sessions to be sent to.
    #[inline]
    fn is_to_list(&self) -> bool {
        !self.is_listed && !self.is_blocked && self.is_open
    }
}

/// A handle whose subscription has come to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub session: SessionId,
    pub handle: u32,
    pub reason: CloseReason,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    subscription: u32,
    /// The first of its parts.
    part: usize,
    nodes: u64,
    bytes: usize,
    /// Those of images ordered since the subscription began.
    live_bytes: u64,
    after: Place,
    /// The last image, if it was ordered since the subscription began.
    newest: Option<ImageRange>,
    /// The stream goes on, or ends, behind what was gathered.
    more: bool,
}

/// The agent.
#[derive(Debug)]
pub struct Propagation {
    shared: Arc<SharedDocuments>,
    nodes: Arc<NodeMemory>,
    memory: Arc<ChunkMemory>,
    /// By home worker: the marks of its documents for this agent, and where to go on.
    pending: Vec<(Arc<Pending>, usize)>,
    worker_cores: std::sync::Arc<[u16]>,
    collections: std::sync::Arc<Collections>,
    subscriptions: Subscriptions,
    outlets: Vec<Outlet>,
    /// Sessions that a retirement has to look at, each once: all that have a cursor before a tail that
    /// does not follow, or that may be sent to, or a half-sent image in a chunk.
    within_reach: Vec<u32>,
    rounds: Rounds,
    marks: Vec<u32>,
    /// What one send is made of, while it is made; and by part the subscription whose newest image it is.
    groups: Vec<Group>,
    newest_of: [u32; PARTS],
    progressed: Vec<u32>,
    ended: Vec<Ended>,
    missing: Missing,
    passes: Passes,
    /// Subscriptions that were seen too far behind for their policy.
    overdue: Vec<u32>,
    conflations: Conflations,
    spill_bytes: u64,
    spill_bytes_max: u64,
    slow_subscriptions_max: u32,
    faults: Vec<SessionId>,
    bounds: TurnBounds,
    counts: PropagationCounts,
    /// From the turn that ordered an image to the socket that has taken it.
    latency: Histogram,
    /// A planted fault: of so many copies given back, the count of one is forgotten.
    #[cfg(feature = "testing")]
    pub(crate) leaks_one_in: Option<u64>,
    #[cfg(feature = "testing")]
    copies_given_back: u64,
    /// A planted fault: nobody is left out of a document's list, and nobody follows.
    #[cfg(feature = "testing")]
    pub(crate) looks_at_all: bool,
    /// Subscriptions that were looked at because their documents grew or chunks went.
    #[cfg(feature = "testing")]
    pub(crate) looks: u64,
}

impl Propagation {
    pub(crate) fn new(
        (shared, own_home): (Arc<SharedDocuments>, u16),
        nodes: Arc<NodeMemory>,
        memory: Arc<ChunkMemory>,
        pending: Vec<Arc<Pending>>,
        worker_cores: std::sync::Arc<[u16]>,
        collections: std::sync::Arc<Collections>,
        limits: &Limits,
    ) -> Self {
        let most = limits.subscriptions_per_core_max;
        let subscriptions = Subscriptions::new(Arc::clone(&shared), own_home, most);
        Self {
            shared,
            nodes,
            memory,
            subscriptions,
            pending: pending.into_iter().map(|marks| (marks, 0)).collect(),
            worker_cores,
            collections,
            outlets: Vec::new(),
            within_reach: Vec::new(),
            rounds: Rounds::default(),
            marks: Vec::with_capacity(limits.turn.marks_per_owner + 64),
            groups: Vec::with_capacity(PARTS),
            newest_of: [NO_SUBSCRIPTION; PARTS],
            progressed: Vec::new(),
            ended: Vec::new(),
            missing: Missing::default(),
            passes: Passes::default(),
            overdue: Vec::new(),
            conflations: Conflations::default(),
            spill_bytes: 0,
            spill_bytes_max: limits.spill_bytes_per_core_max,
            slow_subscriptions_max: limits.slow_subscriptions_per_core_max,
            faults: Vec::new(),
            bounds: limits.turn,
            counts: PropagationCounts::default(),
            latency: Histogram::default(),
            #[cfg(feature = "testing")]
            leaks_one_in: None,
            #[cfg(feature = "testing")]
            copies_given_back: 0,
            #[cfg(feature = "testing")]
            looks_at_all: false,
            #[cfg(feature = "testing")]
            looks: 0,
        }
    }

    /// Bytes of the subscriptions of this core.
    pub fn subscription_bytes(&self) -> u64 {
        let slow_bytes = u64::from(self.subscriptions.slow_count()) * size_of::<Slow>() as u64;
        u64::from(self.subscriptions.used()) * size_of::<Subscription>() as u64 + slow_bytes
    }

    /// Bytes copied out of chunks that sockets have not taken yet.
    pub fn spill_bytes(&self) -> u64 {
        self.spill_bytes + self.conflations.bytes()
    }

    /// Whether no owner has marked a document. Meant for the look before parking.
    pub fn is_clear(&self) -> bool {
        self.pending.iter().all(|(marks, _)| marks.is_clear())
    }

    /// Whether nothing can be sent now: what is left waits for sockets.
    pub fn is_idle(&self) -> bool {
        self.rounds.is_idle()
            && self.is_clear()
            && self.progressed.is_empty()
            && self.missing.is_empty()
            && self.conflations.is_idle()
    }

    /// Whether progress, or counts of what was missed, found no room in a ring.
    pub(crate) fn waits_for_room(&self) -> bool {
        !self.progressed.is_empty() || !self.missing.is_empty()
    }

    /// Whether some session still has something to be sent.
    pub fn has_backlog(&self) -> bool {
        (0..self.outlets.len() as u32).any(|session| self.is_behind(SessionId(session)))
    }

    /// Whether the session still has something to be sent.
    pub fn is_behind(&self, session: SessionId) -> bool {
        let Some(outlet) = self.outlets.get(session.0 as usize) else { return false };
        outlet.is_open
            && (outlet.first_ready != NO_SUBSCRIPTION || !matches!(outlet.half, Half::None))
    }

    pub(crate) fn begin_session(&mut self, session: SessionId) {
        let place = session.0 as usize;
        while self.outlets.len() <= place {
            self.outlets.push(Outlet {
                half: Half::None,
                first_ready: NO_SUBSCRIPTION,
                last_ready: NO_SUBSCRIPTION,
                is_listed: false,
                is_blocked: false,
                is_open: false,
                is_within_reach: false,
                is_lagging: false,
                missed_deltas: 0,
            });
        }
        let outlet = &mut self.outlets[place];
        outlet.is_open = true;
        outlet.is_blocked = false;
        outlet.is_lagging = false;
        outlet.missed_deltas = 0;
    }

    /// Nothing more is sent to the session; its subscriptions end one by one afterwards.
    pub(crate) fn end_session(&mut self, session: SessionId, port: &mut impl SessionPort) {
        let outlet = &mut self.outlets[session.0 as usize];
        outlet.is_open = false;
        match core::mem::replace(&mut outlet.half, Half::None) {
            Half::None => {}
            // Also one that was offered and not begun: control that waits stands behind it.
            Half::InChunk { range, sent, .. } => {
                port.remainder(session, &published(&self.memory, range)[sent as usize..]);
            }
            Half::Copied { bytes, sent } => {
                self.spill_bytes -= bytes.len() as u64;
                port.remainder(session, &bytes[sent..]);
            }
        }
    }

    /// The session has control messages to send.
    #[inline]
    pub fn has_control(&mut self, session: SessionId) {
        self.list(session, true);
    }

    /// The session's socket takes bytes again.
    pub fn writable(&mut self, session: SessionId) {
        if let Some(outlet) = self.outlets.get_mut(session.0 as usize) {
            outlet.is_blocked = false;
            if outlet.first_ready != NO_SUBSCRIPTION {
                // What its socket takes before a chunk goes, it does not miss.
                self.come_within_reach(session);
            }
            self.list(session, false);
        }
    }

    /// Whether the session has a subscription of the document. One step for each that the document
    /// has on this core or the session has not been sent all of.
    pub(crate) fn reads(&self, session: SessionId, slot: u32) -> bool {
        let mut next = self.subscriptions.head(slot);
        while next != NO_SUBSCRIPTION {
            let entry = self.subscriptions.peek(next);
            if entry.session == session {
                return true;
            }
            next = entry.next_of_document();
        }
        // One that waits for its socket may be left out there.
        next = self.outlets[session.0 as usize].first_ready;
        while next != NO_SUBSCRIPTION {
            let entry = self.subscriptions.peek(next);
            if entry.slot == slot {
                return true;
            }
            next = entry.next_ready;
        }
        false
    }

    /// Adds a subscription where the owner says; `None` at the limit.
    pub(crate) fn subscribe(&mut self, opened: &Opened) -> Option<u32> {
        let subscription = Subscription::new(opened);
        let place = self.subscriptions.insert(subscription)?;
        // The owner's mark may have come before: look once.
        self.make_ready(place, true);
        if opened.policy == Policy::Wait {
            // One that stood further back may have ended while this one was on its way.
            self.tell_progress_of(opened.slot);
        }
        Some(place)
    }

    /// Has the owner told how far the `wait` subscriptions of a document have come.
    pub(crate) fn tell_progress_of(&mut self, slot: u32) {
        self.progressed.push(slot);
    }

    /// Ends a subscription. What the socket took half is copied first.
    pub(crate) fn unsubscribe(&mut self, place: u32) {
        self.catch_up(place);
        let entry = self.subscriptions.get(place);
        let was_ready = entry.next_ready != NOT_READY;
        let (slot, generation, session) = (entry.slot, entry.generation, entry.session);
        self.spill_bytes -= entry.aside_bytes();
        if matches!(self.outlets[session.0 as usize].half, Half::InChunk { slot: of, .. } if of == slot)
        {
            self.copy_half(session);
        }
        if was_ready {
            self.unlink_ready(session, place);
        }
        if self.subscriptions.peek(place).policy == Policy::Wait {
            self.progressed.push(slot);
        }
        self.subscriptions.remove(place);
        self.conflations.look_at((slot, generation));
    }

    #[inline]
    fn make_ready(&mut self, place: u32, is_quick: bool) {
        let entry = self.subscriptions.get(place);
        if entry.next_ready == NOT_READY {
            entry.next_ready = NO_SUBSCRIPTION;
            let session = entry.session;
            self.append_ready(session, place, is_quick);
        }
    }

    /// Puts a subscription that is in no list to the end of its session's.
    #[inline(always)]
    fn append_ready(&mut self, session: SessionId, place: u32, is_quick: bool) {
        self.come_within_reach(session);
        let outlet = &mut self.outlets[session.0 as usize];
        let last = core::mem::replace(&mut outlet.last_ready, place);
        let is_to_list = outlet.is_to_list();
        if last == NO_SUBSCRIPTION {
            outlet.first_ready = place;
        } else {
            self.subscriptions.get(last).next_ready = place;
        }
        if is_to_list {
            self.list(session, is_quick);
        }
    }

    /// Has retirements look at the session.
    #[inline(always)]
    fn come_within_reach(&mut self, session: SessionId) {
        let outlet = &mut self.outlets[session.0 as usize];
        if !outlet.is_within_reach {
            outlet.is_within_reach = true;
            self.within_reach.push(session.0);
        }
    }

    fn pop_ready(&mut self, session: u32) -> Option<u32> {
        let outlet = &mut self.outlets[session as usize];
        let place = outlet.first_ready;
        if place == NO_SUBSCRIPTION {
            return None;
        }
        let entry = self.subscriptions.get(place);
        entry.forget_only_lacks();
        outlet.first_ready = core::mem::replace(&mut entry.next_ready, NOT_READY);
        if outlet.first_ready == NO_SUBSCRIPTION {
            outlet.last_ready = NO_SUBSCRIPTION;
        }
        self.subscriptions.put_back(place);
        Some(place)
    }

    fn unlink_ready(&mut self, session: SessionId, place: u32) {
        let mut kept = Vec::new();
        while let Some(ready) = self.pop_ready(session.0) {
            if ready != place {
                kept.push(ready);
            }
        }
        for ready in kept {
            self.make_ready(ready, false);
        }
    }

    /// Takes marks and sends. Returns how much was done.
    pub(crate) fn do_work(&mut self, port: &mut impl SessionPort, boxes: &mut Mailboxes) -> usize {
        let mut work = 0;
        for home in 0..self.pending.len() {
            work += self.take_marks(home, self.bounds.marks_per_owner);
        }
        work += self.end_overdue(port) + self.advance_conflations();
        work += self.send_to_listed(port);
        work + self.tell_progress(boxes) + self.tell_missed(boxes)
    }

    /// A handle whose subscription has come to its end.
    pub(crate) fn take_ended(&mut self) -> Option<Ended> {
        self.ended.pop()
    }

    /// Sessions that must end because no room was left to copy for them.
    pub(crate) fn take_fault(&mut self) -> Option<SessionId> {
        while let Some(session) = self.faults.pop() {
            if self.outlets[session.0 as usize].is_open {
                return Some(session);
            }
        }
        None
    }

    fn send_once<'m>(
        &mut self,
        session: SessionId,
        tray: &mut Tray<'m>,
        port: &mut impl SessionPort,
    ) -> (usize, bool) {
        let Tray { memory, parts, send_bytes, .. } = tray;
        let (memory, send_bytes) = (*memory, *send_bytes);
        let mut part_count = 0;
        // A copied image of a `wait` subscription goes alone.
        if let Some(place) = self.next_aside(session) {
            self.tell_before_aside(place, port);
        }
        if let Some(place) = self.next_aside(session) {
            return self.send_aside(session, place, port);
        }
        let mut groups = core::mem::take(&mut self.groups);
        groups.clear();
        let mut usual = Newest::default();
        let (mut groups_bytes, mut newest) = (0, None);
        if !matches!(self.outlets[session.0 as usize].half, Half::Copied { .. }) {
            loop {
                if self.gather_newest(session, memory, parts, &mut part_count, &mut usual) {
                    newest = usual.last;
                }
                if part_count == PARTS || groups.len() == PARTS {
                    break;
                }
                let Some(place) = self.pop_ready(session.0) else { break };
                let entry = self.subscriptions.peek(place);
                if entry.is_special() {
                    if entry.oldest_aside().is_some() {
                        self.make_ready(place, false);
                        break;
                    }
                    self.judge(place, port);
                }
                if self.subscriptions.peek(place).is_ended() {
                    continue;
                }
                let group = self.gather(place, send_bytes, memory, parts, &mut part_count);
                if group.nodes != 0 {
                    self.newest_of[group.part..part_count].fill(NO_SUBSCRIPTION);
                    groups_bytes += group.bytes;
                    newest = group.newest;
                    groups.push(group);
                } else if group.more {
                    // More is to be left out than one look passes over.
                    self.make_ready(place, false);
                    break;
                }
            }
        }
        let half: &[u8] = match &self.outlets[session.0 as usize].half {
            Half::None => &[],
            Half::InChunk { range, sent, .. } => &published(memory, *range)[*sent as usize..],
            Half::Copied { bytes, sent, .. } => &bytes[*sent..],
        };
        let half_length = half.len();
        let sent = port.send(session, half, &parts[..part_count]);
        self.counts.sends += 1;
        self.counts.delivered_bytes += (sent.half_bytes + sent.parts_bytes) as u64;
        self.settle_half(session, half_length, sent.half_bytes);
        let images = if sent.parts_bytes == usual.bytes + groups_bytes {
            usual.images + self.settle_groups(session, &groups, groups_bytes).0
        } else {
            self.group_newest(&mut groups, part_count);
            let (images, last) = self.settle_groups(session, &groups, sent.parts_bytes);
            newest = last;
            images
        };
        self.groups = groups;
        self.counts.delivered_images += images as u64;
        if let Some(newest) = newest {
            self.measure(published(memory, newest), port);
        }
        let goes_on = self.settle_outlet(session, sent.blocked);
        (images + usize::from(half_length > 0), goes_on)
    }

    /// Notes whether the socket took everything; whether more may be sent at once.
    fn settle_outlet(&mut self, session: SessionId, is_blocked: bool) -> bool {
        let outlet = &mut self.outlets[session.0 as usize];
        outlet.is_blocked = is_blocked;
        let is_behind = outlet.first_ready != NO_SUBSCRIPTION || !matches!(outlet.half, Half::None);
        let was_lagging = outlet.is_lagging;
        outlet.is_lagging = is_behind && (is_blocked || was_lagging);
        if was_lagging && !is_behind {
            self.conflations.look_at_all();
        }
        !is_blocked && is_behind
    }

    /// Collects byte ranges from the cursor on, whole images of `send_bytes` at most, or one that is longer;
    /// neighbours in memory become one part.
    #[inline]
    fn gather<'a>(
        &mut self,
        place: u32,
        send_bytes: u32,
        memory: &'a ChunkMemory,
        parts: &mut [&'a [u8]; PARTS],
        part_count: &mut usize,
    ) -> Group {
        let entry = self.subscriptions.peek(place);
        let (tail, ended) = self.shared.get(entry.slot).tail();
        let mut at = self.resolve(entry);
        let part = *part_count;
        let mut run: Option<(ImageRange, u32)> = None;
        let mut newest = None;
        let conflation = self.conflation(entry);
        let (first, mut bytes, mut history_bytes) = (at.node, 0_u32, 0);
        let images_per_send = self.bounds.images_per_send;
        while at.node < tail && at.node - first < images_per_send {
            if conflation.is_some_and(|newest| newest.is_superseded(at.node)) {
                break;
            }
            at = self.nodes.normalise(at);
            let range = self.nodes.node(at.block, at.index).range;
            if at.node != first && bytes.saturating_add(range.bytes()) > send_bytes {
                break;
            }
            match &mut run {
                Some((start, length))
                    if start.chunk() == range.chunk()
                        && start.offset_bytes() + *length == range.offset_bytes() =>
                {
                    *length += range.bytes();
                }
                Some((start, length)) => {
                    if *part_count + 2 > PARTS {
                        break;
                    }
                    parts[*part_count] = published_run(memory, *start, *length);
                    *part_count += 1;
                    run = Some((range, range.bytes()));
                }
                None => run = Some((range, range.bytes())),
            }
            newest = (at.node >= entry.live_from()).then_some(range);
            bytes += range.bytes();
            if newest.is_none() {
                history_bytes = bytes;
            }
            at.node += 1;
            at.index += 1;
        }
        if let Some((start, length)) = run {
            parts[*part_count] = published_run(memory, start, length);
            *part_count += 1;
        }
        let (session, handle) = (entry.session, entry.handle);
        let nodes = at.node - first;
        if nodes == 0 && ended {
            self.ended.push(Ended { session, handle, reason: CloseReason::Dropped });
        }
        let more = at.node < tail || (ended && nodes > 0);
        let live_bytes = u64::from(bytes - history_bytes);
        let bytes = bytes as usize;
        Group { subscription: place, part, nodes, bytes, live_bytes, after: at, newest, more }
    }

    /// The cursor, once the stream that it waited for has begun.
    #[inline]
    fn resolve(&self, entry: &Subscription) -> Place {
        let mut place = entry.place;
        if place.block == NO_BLOCK {
            let shared = self.shared.get(entry.slot);
            if shared.tail().0 > 0 {
                place.block = shared.first_block();
            }
        }
        place
    }
}
