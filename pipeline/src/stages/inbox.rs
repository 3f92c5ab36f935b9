//! How what others have sent reaches the stages, shared evenly among the senders.
//!
//! The part of [`CoreStages`] that empties rings and lets sessions be read. A turn takes so many messages and no more, so that
//! no core can lengthen another's turn; what is left comes with the next. It stays in the rings, but for up to
//! 32 lines of each that were taken out and could not be delivered yet, and in order with this core's own.

use deltaworks_runtime::clock::Now;
use deltaworks_runtime::ring::Consumer;

use super::{Coordinator, CoreStages, SessionSide};
use crate::mailbox::{MESSAGES_MAX, Mailboxes, Next, Parcel, Queue};
use crate::message::{Message, SessionId};
use crate::port::SessionPort;
use crate::reception::Around;
use crate::validation::{ARRIVALS_AT_ONCE, Validation};

/// What comes from another core.
pub(super) struct Inbox {
    from: u16,
    ring: Consumer<Parcel>,
    /// What was taken out of the ring, and is delivered next: at most [`ARRIVALS_AT_ONCE`] messages.
    queue: Queue,
    /// In this turn the ring had less than was asked of it.
    is_dry: bool,
}

/// Bytes that may lie outside of a ring, between its two cores: taken out, and not delivered yet.
pub const INBOX_BYTES: u64 = Queue::bytes_max(ARRIVALS_AT_ONCE);

impl Inbox {
    /// That of what core `from` pushes.
    pub fn new(from: u16, ring: Consumer<Parcel>) -> Self {
        Self { from, ring, queue: Queue::default(), is_dry: false }
    }

    /// Whether nothing is left. To be asked behind the doorbell's fence.
    pub fn is_empty(&self) -> bool {
        self.is_delivered() && self.ring.is_empty()
    }

    /// Whether all that was taken out of the ring was delivered.
    pub fn is_delivered(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes some `most` messages out of the ring and asks for what they need, if all before were delivered and
    /// the ring has not been found without more in this turn.
    fn fetch(
        &mut self,
        most: usize,
        sessions: &Option<SessionSide>,
        validation: &Option<Validation>,
    ) {
        let Self { from, ring, queue, is_dry } = self;
        if *is_dry || !queue.is_empty() {
            return;
        }
        queue.clear();
        let most = most.min(ARRIVALS_AT_ONCE).div_ceil(MESSAGES_MAX);
        *is_dry = ring.drain(most, |parcel| parcel.unpack(*from, queue)) < most;
        queue.note();
        if let Some(validation) = validation {
            validation.ask_for_headers(queue.landed());
        }
        if let Some(side) = sessions {
            side.reception.ask_for_handles(queue.owed());
        }
    }
}

impl CoreStages {
    /// Lets sessions that stand in line to be read go on, as far as the next turn has room, and
    /// handles what was set aside of theirs. While this core is behind with what it has taken, those
    /// who sent most wait; but not before half of what a reader gets at once has come.
    pub(super) fn open_turnstile(&mut self, port: &mut impl SessionPort, now: Now) -> usize {
        let is_crowded = self.boxes.waiting() + self.own.len() >= self.waiting_messages_max;
        let Some(side) = self.sessions.as_mut().filter(|_| !self.reading_stopped && !is_crowded)
        else {
            return 0;
        };
        let received_bytes = side.reception.counts().received_bytes;
        let is_in_a_round = side.propagation.is_in_a_round();
        if !is_in_a_round {
            self.before_round_bytes = received_bytes;
        }
        let is_ahead = received_bytes - self.before_round_bytes >= self.ahead_bytes_max;
        let is_behind = !self.own.is_empty() || (is_in_a_round && is_ahead);
        let mut resumed = core::mem::take(&mut self.resumed);
        let work = side.reception.open_turnstile(is_behind, &mut resumed, now);
        for session in resumed.drain(..).map(SessionId) {
            if self.was_set_aside(session) {
                self.handle_input(session, port, now, |reception, around| {
                    reception.take_backlog(session, around);
                });
            }
            if !self.was_set_aside(session) {
                port.resume_reading(session);
            }
        }
        self.resumed = resumed;
        work
    }

    fn was_set_aside(&self, session: SessionId) -> bool {
        self.sessions.as_ref().is_some_and(|side| side.reception.was_set_aside(session))
    }

    /// Takes what has come: of each sender its share of the turn, then what others leave of theirs,
    /// from another ring on in each turn. What rings hold is taken out first, so that its images are on their
    /// way while this core's own are judged.
    pub(super) fn drain_inbox(&mut self, port: &mut impl SessionPort, now: Now) -> usize {
        let Self { core, inbox, own, boxes, sessions, validation, coordinator, .. } = self;
        if own.is_empty() {
            boxes.take_own(own);
        }
        let rings = inbox.len();
        let share = (self.messages_per_turn / (rings + 1)).max(1);
        let mut left = self.messages_per_turn.max(share * (rings + 1));
        let mut work = 0;
        for it in inbox.iter_mut() {
            it.is_dry = false;
            it.fetch(share, sessions, validation);
        }
        for share in [share, usize::MAX] {
            let mut of_share = share.min(left);
            while let Some(most) = room(validation, of_share.min(own.len()), boxes, now) {
                deliver(*core, own, most, sessions, validation, coordinator, boxes, port, now);
                of_share -= most;
                left -= most;
                work += most;
            }
            for place in 0..rings {
                let it = &mut inbox[(self.first_ring + place) % rings];
                let mut of_share = share.min(left);
                loop {
                    it.fetch(of_share, sessions, validation);
                    let there = of_share.min(it.queue.len());
                    let Some(most) = room(validation, there, boxes, now) else { break };
                    let (from, queue) = (it.from, &mut it.queue);
                    deliver(from, queue, most, sessions, validation, coordinator, boxes, port, now);
                    of_share -= most;
                    left -= most;
                    work += most;
                }
            }
        }
        self.first_ring = (self.first_ring + 1) % rings.max(1);
        self.last_inbox = work;
        self.deepest_inbox = work.max(self.deepest_inbox);
        work
    }
}

/// How many of `wanted` messages may be delivered now; `None` if none.
#[inline]
fn room(
    validation: &mut Option<Validation>,
    wanted: usize,
    boxes: &mut Mailboxes,
    now: Now,
) -> Option<usize> {
    if wanted == 0 {
        return None;
    }
    let room = validation.as_mut().map_or(wanted, |it| it.room(boxes, now).min(wanted));
    (room > 0).then_some(room)
}

/// Brings `count` messages of `queue`, which core `from` has sent, to the sides of this core that they are for.
/// The two kinds that come once a batch are taken where they lie, as many as come together.
#[expect(clippy::too_many_arguments, reason = "the parts of a core")]
#[inline(always)]
fn deliver<P: SessionPort>(
    from: u16,
    queue: &mut Queue,
    count: usize,
    sessions: &mut Option<SessionSide>,
    validation: &mut Option<Validation>,
    coordinator: &mut Option<Box<Coordinator>>,
    boxes: &mut Mailboxes,
    port: &mut P,
    now: Now,
) {
    let mut left = count;
    while left > 0 {
        match queue.next(left) {
            Next::Batches(batches) => {
                left -= batches.len();
                if let Some(validation) = validation {
                    validation.judge_row(batches, boxes, now);
                }
            }
            Next::Acks(acks) => {
                left -= acks.len();
                if let Some(side) = sessions {
                    side.reception.acks(acks, port, now);
                }
            }
            Next::Message(message) => {
                left -= 1;
                deliver_message(from, message, sessions, validation, coordinator, boxes, port, now);
            }
            Next::Nothing => return,
        }
    }
}

/// Brings one message to the side of this core that it is for.
#[expect(clippy::too_many_arguments, reason = "the parts of a core")]
fn deliver_message<P: SessionPort>(
    from: u16,
    message: Message,
    sessions: &mut Option<SessionSide>,
    validation: &mut Option<Validation>,
    coordinator: &mut Option<Box<Coordinator>>,
    boxes: &mut Mailboxes,
    port: &mut P,
    now: Now,
) {
    match message {
        Message::Load(report) => {
            if let Some(coordinator) = coordinator {
                coordinator.handle_report(*report);
            }
        }
        Message::Full { slot, generation, worker, no_room } => {
            if let Some(coordinator) = coordinator {
                coordinator.handle_full((slot, generation), worker, no_room, now.monotonic_ns);
            }
        }
        Message::Reroute { slot, generation, from, to } => {
            // All in one step: what is sent from here on goes the new way.
            if let Some(side) = sessions {
                boxes.routes.set(slot, generation, to);
                side.reception.rerouted(from, to);
            }
            if let Some(validation) = validation {
                validation.rerouted((slot, generation), from, to);
            }
            boxes.to_worker(from).send(Message::Fence { slot, generation });
        }
        Message::Freed { chunk, .. }
            if validation.as_ref().is_some_and(|it| it.keeps_in(chunk)) =>
        {
            if let Some(validation) = validation {
                validation.handle(from, message, boxes, now);
            }
        }
        message if message.is_for_worker() => {
            if let Some(validation) = validation {
                validation.handle(from, message, boxes, now);
            }
        }
        message => {
            if let Some(SessionSide { reception, propagation }) = sessions {
                let mut around = Around { port, boxes, propagation, now };
                reception.handle_message(message, &mut around);
            }
        }
    }
}
