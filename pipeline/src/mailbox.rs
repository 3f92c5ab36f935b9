//! A core's outgoing rings, and what waits for room in them.
//!
//! One ring per ordered pair of cores, and a plain queue from a core to itself; what a full ring does not take stays here, in order, and
//! is pushed at the next turn. Nothing waits, nothing is dropped. What may wait is bounded by
//! what may be on its way: batches by credit, opens by the handles of the sessions, retirements
//! by the number of chunks.

use std::collections::VecDeque;

use deltaworks_runtime::doorbell::Doorbell;
use deltaworks_runtime::ring::Producer;

use crate::message::Message;
use crate::routes::Routes;

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
    Own(Vec<Message>),
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

    /// A core's mailbox to itself.
    pub fn own() -> Self {
        Self { way: Way::Own(Vec::new()) }
    }

    /// Sends `message`, behind everything sent before.
    #[inline(always)]
    pub fn send(&mut self, message: Message) {
        match &mut self.way {
            Way::Own(messages) => messages.push(message),
            _ => self.send_across(message),
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
            Way::Own(_) => true,
            Way::None => false,
            Way::Ring { ring, waiting, .. } => waiting.is_empty() && ring.has_room(),
        }
    }

    /// How many messages would go out at once.
    #[inline]
    pub fn room(&self) -> usize {
        match &self.way {
            Way::Own(_) => usize::MAX,
            Way::None => 0,
            Way::Ring { ring, waiting, .. } if waiting.is_empty() => ring.free_slots(),
            Way::Ring { .. } => 0,
        }
    }

    /// Messages that wait for room, or for this core's next turn.
    pub fn waiting(&self) -> usize {
        match &self.way {
            Way::Own(messages) => messages.len(),
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
    boxes: Vec<Mailbox>,
    own: usize,
    /// Where documents are that are not at home.
    pub(crate) routes: Routes,
}

impl Mailboxes {
    /// Mailboxes in order of core index; `own` is the core that they belong to.
    pub fn new(boxes: Vec<Mailbox>, own: usize, routes: Routes) -> Self {
        Self { boxes, own, routes }
    }

    /// The core that they belong to.
    pub fn own_core(&self) -> u16 {
        self.own as u16
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
        &mut self.boxes[core as usize]
    }

    /// Exchanges what this core has sent to itself for the empty `emptied`.
    #[inline]
    pub fn take_own(&mut self, emptied: &mut Vec<Message>) {
        debug_assert!(emptied.is_empty());
        if let Way::Own(messages) = &mut self.boxes[self.own].way {
            core::mem::swap(messages, emptied);
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
        self.boxes.iter().map(Mailbox::waiting).sum()
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
