//! A core's outgoing rings, and what waits for room in them.
//!
//! One ring per ordered pair of cores; what a full ring does not take stays here, in order, and
//! is pushed at the next turn. Nothing waits, nothing is dropped. What may wait is bounded by
//! what may be on its way: batches by credit, opens by the handles of the sessions, retirements
//! by the number of chunks.

use std::collections::VecDeque;

use deltaworks_runtime::doorbell::Doorbell;
use deltaworks_runtime::ring::Producer;

use crate::message::Message;

/// The way to one other core.
#[derive(Debug)]
pub struct Mailbox {
    ring: Producer<Message>,
    doorbell: Doorbell,
    waiting: VecDeque<Message>,
    unrung: bool,
}

impl Mailbox {
    /// A mailbox over a ring and the doorbell of its reader.
    pub fn new(ring: Producer<Message>, doorbell: Doorbell) -> Self {
        Self { ring, doorbell, waiting: VecDeque::new(), unrung: false }
    }

    /// Sends `message`, behind everything sent before.
    #[inline]
    pub fn send(&mut self, message: Message) {
        self.unrung = true;
        if !self.waiting.is_empty() {
            self.waiting.push_back(message);
        } else if let Err(message) = self.ring.push(message) {
            self.waiting.push_back(message);
        }
    }

    /// How many messages would go out at once.
    #[inline]
    pub fn room(&self) -> usize {
        if self.waiting.is_empty() { self.ring.free_slots() } else { 0 }
    }

    /// Messages that wait for room.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Pushes what waits, as far as there is room; returns how many went.
    #[inline]
    pub fn flush(&mut self) -> usize {
        let mut count = 0;
        while let Some(message) = self.waiting.pop_front() {
            if let Err(message) = self.ring.push(message) {
                self.waiting.push_front(message);
                break;
            }
            count += 1;
            self.unrung = true;
        }
        count
    }

    /// Asks that the reader be woken at the end of the turn, without a message.
    #[inline]
    pub fn nudge(&mut self) {
        self.unrung = true;
    }

    /// Wakes the reader if it sleeps and something went out this turn.
    #[inline]
    pub fn ring_doorbell(&mut self) {
        if self.unrung {
            self.unrung = false;
            self.doorbell.ring();
        }
    }
}

/// The ways to all cores, by core index, this core's own included.
#[derive(Debug)]
pub struct Mailboxes {
    boxes: Vec<Mailbox>,
}

impl Mailboxes {
    /// Mailboxes in order of core index.
    pub fn new(boxes: Vec<Mailbox>) -> Self {
        Self { boxes }
    }

    /// The way to `core`.
    #[inline]
    pub fn to(&mut self, core: u16) -> &mut Mailbox {
        &mut self.boxes[core as usize]
    }

    /// Pushes what waits in all of them.
    pub fn flush(&mut self) -> usize {
        self.boxes.iter_mut().map(Mailbox::flush).sum()
    }

    /// Wakes every core that something was sent to since the last call.
    pub fn ring_doorbells(&mut self) {
        self.boxes.iter_mut().for_each(Mailbox::ring_doorbell);
    }

    /// Messages that wait for room, over all.
    pub fn waiting(&self) -> usize {
        self.boxes.iter().map(Mailbox::waiting).sum()
    }
}
