//! A core's outgoing rings, and what waits for room in them.
//!
//! One ring per ordered pair of cores, and a plain queue from a core to itself; what a full ring does not take stays here, in order, and
//! is pushed at the next turn. Nothing waits, nothing is dropped. What may wait is bounded by
//! what may be on its way: batches by credit, opens by the handles of the sessions, retirements
//! by the number of chunks.

mod own;

pub(crate) use own::{Next, OwnQueue};

use std::collections::VecDeque;

use deltaworks_runtime::doorbell::Doorbell;
use deltaworks_runtime::ring::Producer;

use crate::chunk::Landed;
use crate::message::{Ack, Arrival, Message, SessionId};
use crate::routes::Routes;

/// The worker of a core that owns no documents.
pub(crate) const NO_WORKER: u16 = u16::MAX;

/// The way to one core.
#[derive(Debug)]
pub struct Mailbox {
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// To another core.
    Ring { ring: Producer<Message>, doorbell: Doorbell, waiting: VecDeque<Message>, unrung: bool },
    /// To this core itself: taken at its next turn, in order, like a ring that is never full.
    Own(u16, OwnQueue),
    /// To a core that this one has nothing to tell: neither owns documents.
    None,
}

impl Mailbox {
    /// A mailbox over a ring and the doorbell of its reader.
    pub fn new(ring: Producer<Message>, doorbell: Doorbell) -> Self {
        Self { way: Way::Ring { ring, doorbell, waiting: VecDeque::new(), unrung: false } }
    }

    /// A mailbox that nothing is sent through.
    pub fn none() -> Self {
        Self { way: Way::None }
    }

    /// The mailbox of `core` to itself.
    pub fn own(core: u16) -> Self {
        Self { way: Way::Own(core, OwnQueue::default()) }
    }

    /// Sends `message`, behind everything sent before.
    #[inline(always)]
    pub fn send(&mut self, message: Message) {
        match &mut self.way {
            Way::Own(_, queue) => queue.push(message),
            _ => self.send_across(message),
        }
    }

    /// Sends a [`Message::Batch`], which this core itself need not take apart.
    #[inline]
    pub(crate) fn send_batch(&mut self, landed: Landed, session: SessionId, producer: u32) {
        match &mut self.way {
            Way::Own(core, queue) => {
                let core = *core;
                queue.push_batch(Arrival { landed, core, session, producer, place: 0 });
            }
            _ => self.send_across(Message::Batch { landed, session, producer }),
        }
    }

    /// Sends a [`Message::Ack`], which this core itself need not take apart.
    #[inline]
    pub(crate) fn send_ack(&mut self, ack: Ack) {
        match &mut self.way {
            Way::Own(_, queue) => queue.acks().push(ack),
            _ => self.send_across(Message::Ack(ack)),
        }
    }

    fn send_across(&mut self, message: Message) {
        let Way::Ring { ring, waiting, unrung, .. } = &mut self.way else {
            unreachable!("session cores do not talk to each other")
        };
        *unrung = true;
        if !waiting.is_empty() {
            waiting.push_back(message);
        } else if let Err(message) = ring.push(message) {
            waiting.push_back(message);
        }
    }

    /// Whether a message would go out at once. Seldom looks at the reader's line, so it may be asked for
    /// each message.
    #[inline]
    pub fn has_room(&mut self) -> bool {
        match &mut self.way {
            Way::Own(..) => true,
            Way::None => false,
            Way::Ring { ring, waiting, .. } => waiting.is_empty() && ring.has_room(),
        }
    }

    /// How many messages would go out at once.
    #[inline]
    pub fn room(&self) -> usize {
        match &self.way {
            Way::Own(..) => usize::MAX,
            Way::None => 0,
            Way::Ring { ring, waiting, .. } if waiting.is_empty() => ring.free_slots(),
            Way::Ring { .. } => 0,
        }
    }

    /// Messages that wait for room, or for this core's next turn.
    pub fn waiting(&self) -> usize {
        match &self.way {
            Way::Own(_, queue) => queue.len(),
            Way::None => 0,
            Way::Ring { waiting, .. } => waiting.len(),
        }
    }

    /// Pushes what waits, as far as there is room; returns how many went.
    #[inline]
    pub fn flush(&mut self) -> usize {
        let Way::Ring { ring, waiting, unrung, .. } = &mut self.way else { return 0 };
        let mut count = 0;
        while let Some(message) = waiting.pop_front() {
            if let Err(message) = ring.push(message) {
                waiting.push_front(message);
                break;
            }
            count += 1;
            *unrung = true;
        }
        count
    }

    /// Asks that the reader be woken at the end of the turn, without a message.
    #[inline]
    pub fn nudge(&mut self) {
        if let Way::Ring { unrung, .. } = &mut self.way {
            *unrung = true;
        }
    }

    /// Wakes the reader if it sleeps and something went out this turn.
    #[inline]
    pub fn ring_doorbell(&mut self) {
        if let Way::Ring { doorbell, unrung, .. } = &mut self.way
            && *unrung
        {
            *unrung = false;
            doorbell.ring();
        }
    }
}

/// The ways to all cores, by core index, this core's own included.
#[derive(Debug)]
pub struct Mailboxes {
    /// By core; this core's own is apart.
    boxes: Vec<Mailbox>,
    own: Mailbox,
    own_core: u16,
    /// The worker of this core; [`NO_WORKER`] if it has none.
    own_worker: u16,
    /// Where documents are that are not at home.
    pub(crate) routes: Routes,
}

impl Mailboxes {
    /// Mailboxes in order of core index; `own` is the core that they belong to.
    pub fn new(mut boxes: Vec<Mailbox>, own: usize, routes: Routes) -> Self {
        let own_core = own as u16;
        let own = core::mem::replace(&mut boxes[own], Mailbox::none());
        let mut workers = 0..routes.workers() as u16;
        let own_worker = workers.find(|worker| routes.core(*worker) == own_core);
        Self { boxes, own, own_core, own_worker: own_worker.unwrap_or(NO_WORKER), routes }
    }

    /// The core that they belong to.
    pub fn own_core(&self) -> u16 {
        self.own_core
    }

    /// The worker that runs on it; [`NO_WORKER`] if none does.
    #[inline]
    pub(crate) fn own_worker(&self) -> u16 {
        self.own_worker
    }

    /// The way to the core of `worker`.
    #[inline]
    pub fn to_worker(&mut self, worker: u16) -> &mut Mailbox {
        let core = self.routes.core(worker);
        self.to(core)
    }

    /// The way to `core`.
    #[inline]
    pub fn to(&mut self, core: u16) -> &mut Mailbox {
        if core == self.own_core { &mut self.own } else { &mut self.boxes[core as usize] }
    }

    /// This core's queue to itself, and the ways to the others, for who sends much at once.
    #[inline]
    pub(crate) fn apart(&mut self) -> (&mut OwnQueue, Others<'_>) {
        let Way::Own(_, queue) = &mut self.own.way else {
            unreachable!("a core has a queue to itself")
        };
        (queue, Others { boxes: &mut self.boxes, routes: &self.routes })
    }

    /// Exchanges what this core has sent to itself for the empty `emptied`.
    #[inline]
    pub(crate) fn take_own(&mut self, emptied: &mut OwnQueue) {
        emptied.clear();
        if let Way::Own(_, queue) = &mut self.own.way {
            queue.note();
            core::mem::swap(queue, emptied);
        }
    }

    /// Pushes what waits in all of them.
    pub fn flush(&mut self) -> usize {
        self.boxes.iter_mut().map(Mailbox::flush).sum()
    }

    /// Wakes every core that something was sent to since the last call.
    pub fn ring_doorbells(&mut self) {
        self.boxes.iter_mut().for_each(Mailbox::ring_doorbell);
    }

    /// Messages that wait, over all.
    pub fn waiting(&self) -> usize {
        self.own.waiting() + self.boxes.iter().map(Mailbox::waiting).sum::<usize>()
    }
}

/// The ways to other cores.
#[derive(Debug)]
pub(crate) struct Others<'a> {
    boxes: &'a mut [Mailbox],
    routes: &'a Routes,
}

impl Others<'_> {
    /// The way to the core of `worker`.
    #[inline]
    pub fn worker(&mut self, worker: u16) -> &mut Mailbox {
        self.core(self.routes.core(worker))
    }

    /// The way to `core`, which is another.
    #[inline]
    pub fn core(&mut self, core: u16) -> &mut Mailbox {
        &mut self.boxes[usize::from(core)]
    }
}

/// The cores of a mask, one bit each.
pub(crate) fn cores_of(mut cores: u64) -> impl Iterator<Item = u16> {
    core::iter::from_fn(move || {
        let core = (cores != 0).then(|| cores.trailing_zeros() as u16);
        cores &= cores.wrapping_sub(1);
        core
    })
}
