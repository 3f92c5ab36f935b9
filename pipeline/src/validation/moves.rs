//! What one worker has to do with documents that move: lists, counts, and who is told what.
//!
//! The part of [`Validation`] that keeps documents that [leave](super::leaving) and those that
//! [come](super::coming) together. All lists are bounded by the moves that a worker takes part in at
//! once; what has ended is remembered until it is taken, and the oldest is forgotten.

use std::collections::VecDeque;

use deltaworks_runtime::clock::Now;

use super::Validation;
use super::coming::{Arrived, Expected, HeldRetirement};
use super::leaving::Leaving;
use super::lending::Lending;
use crate::document::{DROPPED, LIVE};
use crate::handover::{MOVED_MAX, MoveCounts, Moved};
use crate::latency::Histogram;
use crate::mailbox::Mailboxes;
use crate::message::Message;

/// Documents that leave, come, or have just come.
#[derive(Debug)]
pub(super) struct Moves {
    pub leaving: Vec<Leaving>,
    pub expected: Vec<Expected>,
    pub arrived: Vec<Arrived>,
    pub held_retirements: VecDeque<HeldRetirement>,
    /// The number of the next document that room is kept for.
    pub serial: u64,
    pub lending: Lending,
    pub moved: VecDeque<Moved>,
    pub counts: MoveCounts,
    /// From an old owner's last append to the new one's first.
    pub pause: Histogram,
    /// How long batches were held.
    pub hold: Histogram,
}

impl Moves {
    /// Of `worker`; each of the `homes` workers that are a home began with `blocks_each` node blocks.
    pub fn new(worker: u16, homes: usize, blocks_each: u32) -> Self {
        Self {
            leaving: Vec::new(),
            expected: Vec::new(),
            arrived: Vec::new(),
            held_retirements: VecDeque::new(),
            serial: 0,
            lending: Lending::new(worker, homes, blocks_each),
            moved: VecDeque::new(),
            counts: MoveCounts::default(),
            pause: Histogram::default(),
            hold: Histogram::default(),
        }
    }

    /// Whether documents are on their way here, or not quite there.
    pub fn takes(&self) -> bool {
        !self.expected.is_empty()
            || !self.held_retirements.is_empty()
            || self.arrived.iter().any(|it| !it.is_noted())
    }

    pub fn has_just_come(&self, slot: u32) -> bool {
        self.arrived.iter().any(|it| it.slot == slot)
    }

    /// The document that is on its way here.
    pub fn expected(&mut self, slot: u32, generation: u32) -> Option<&mut Expected> {
        let mut expected = self.expected.iter_mut();
        expected.find(|it| (it.slot, it.generation) == (slot, generation))
    }

    /// Notes that a document that leaves, or has just come, has grown.
    #[cold]
    pub fn note_append(&mut self, document: (u32, u32), now: Now) {
        let mut leaving = self.leaving.iter_mut();
        if let Some(leaving) = leaving.find(|it| it.is(document)) {
            leaving.note_append(now);
        }
        let mut arrived = self.arrived.iter_mut();
        if let Some(pause_ns) = arrived.find(|it| it.is(document)).and_then(|it| it.end_pause(now))
        {
            self.pause.record(pause_ns);
        }
    }

    /// When it is to be looked whether the first batch of a document that has come still does not.
    pub fn wake_at_ns(&self) -> u64 {
        self.arrived.iter().map(Arrived::awaited_until_ns).min().unwrap_or(u64::MAX)
    }

    /// Whether no document is on its way from here or to here.
    pub fn is_idle(&self) -> bool {
        self.leaving.is_empty() && !self.takes()
    }

    /// Whether there is nothing to go on with.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.leaving.is_empty()
            && self.expected.is_empty()
            && self.arrived.is_empty()
            && self.held_retirements.is_empty()
    }

    /// Remembers what became of a move, until it is taken; the oldest is forgotten.
    pub fn tell(&mut self, moved: Moved) {
        if self.moved.len() >= MOVED_MAX {
            self.moved.pop_front();
        }
        self.moved.push_back(moved);
    }
}

impl Validation {
    /// Handles what is said about a document that moves.
    pub(super) fn handle_move(
        &mut self,
        core: u16,
        message: Message,
        boxes: &mut Mailboxes,
        now: Now,
    ) {
        match message {
            Message::Prepare { slot, generation, from, producers, owed, blocks } => {
                self.prepare((slot, generation), from, (producers, owed, blocks), boxes);
            }
            Message::Prepared { slot, generation } => {
                self.prepared(slot, generation, boxes, now);
            }
            Message::CannotTake { slot, generation, reason, no_room } => {
                self.cannot_take((slot, generation), reason, no_room, boxes);
            }
            Message::Cancel { slot, generation } => self.cancel(slot, generation, boxes, now),
            Message::Fence { slot, generation } => self.fence(core, slot, generation),
            Message::Heard { slot, generation } => self.heard(core, slot, generation),
            Message::HandOver(hand_over) => self.adopt(*hand_over, boxes, now),
            Message::NameFree { slot, generation } => self.registry.free_name(slot, generation),
            Message::SlotFree { slot, generation } => self.registry.free_slot(slot, generation),
            Message::Blocks { chain, worker } => self.take_blocks(chain, worker),
            Message::WantBlocks { worker } => self.lend_blocks(worker, boxes),
            _ => unreachable!("a message for a session core reached a worker"),
        }
    }

    /// A move that has ended here since the last call.
    pub(crate) fn take_moved(&mut self) -> Option<Moved> {
        self.moves.moved.pop_front()
    }

    pub(crate) fn move_counts(&self) -> MoveCounts {
        self.moves.counts
    }

    pub(crate) fn move_pause(&self) -> &Histogram {
        &self.moves.pause
    }

    pub(crate) fn hold_latency(&self) -> &Histogram {
        &self.moves.hold
    }

    pub(crate) fn owed_blocks(&self) -> u64 {
        u64::from(self.moves.lending.debts())
    }

    /// The slot and generation of a document that is here, at home or as a guest.
    pub(crate) fn document_of_name(&self, name: &str) -> Option<(u32, u32)> {
        let registry = &self.registry;
        let at_home = registry.known(name);
        let place = at_home.filter(|place| registry.away(*place).is_none());
        let place = place.or_else(|| registry.guest_of_name(name))?;
        let document = &registry.documents[place];
        (document.flags & (LIVE | DROPPED) == LIVE).then_some((document.slot, document.generation))
    }
}
