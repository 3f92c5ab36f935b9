//! Documents of other homes that are owned here, and documents of this home that are owned elsewhere.
//!
//! The part of [`Registry`] that knows that home and owner may be two workers. A home keeps a
//! document's name, slot and generation, and counts it; its owner has everything else. Guests have a
//! bounded number of places; without one, a document stays where it is.

use std::collections::BTreeMap;
use std::sync::Arc as StdArc;

use deltaworks_runtime::zeroed::Zeroable;

use super::{Evicted, Registry};
use crate::document::{ARRIVED, ColdDocument, DROPPED, Document, LEAVING, home};
use crate::handover::CannotTake;
use crate::message::{CloseReason, SessionId};
use crate::producer::{BOUND, NO_PRODUCER, Producer, TOUCHED};
use crate::stream::{NO_BLOCK, NODES_PER_BLOCK};

/// Where a document of this home is.
#[derive(Debug)]
pub(crate) struct Away {
    pub worker: u16,
    name: StdArc<str>,
    name_is_free: bool,
}

/// A guest's place that has become free: its home is to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vacated {
    pub slot: u32,
    pub generation: u32,
}

/// Guests, and who is away.
#[derive(Debug, Default)]
pub(super) struct Guests {
    /// Places, by slot.
    places: BTreeMap<u32, u32>,
    free: Vec<u32>,
    /// By place at home.
    away: BTreeMap<u32, Away>,
    pub vacated: Vec<Vacated>,
    /// Where the look for idle guests goes on.
    sweep: u32,
}

impl Guests {
    pub fn new(places: usize) -> Self {
        Self { free: (0..places as u32).rev().collect(), ..Self::default() }
    }
}

/// Everything that a document is to its owner, on its way to the next.
#[derive(Debug)]
pub(crate) struct Baggage {
    pub document: Document,
    pub cold: Box<ColdDocument>,
    /// In the order of the document's list, each with its place at the old owner.
    pub producers: Vec<(u32, Producer)>,
    /// Node blocks that the document holds.
    pub blocks: u32,
}

/// What is kept free for a document that comes.
#[derive(Debug)]
pub(crate) struct Reserved {
    pub place: u32,
    producers: u32,
    pub producer_count: u32,
    pub owed: u32,
}

impl Registry {
    /// The place of a guest.
    pub(super) fn guest_place(&self, slot: u32) -> Option<usize> {
        self.guests_here.places.get(&slot).map(|place| *place as usize)
    }

    /// Whether the place is a guest's.
    pub fn is_guest(&self, place: usize) -> bool {
        place < self.guests
    }

    /// How many documents are owned here.
    pub fn owned(&self) -> u32 {
        self.live - self.guests_here.away.len() as u32 + self.guest_count()
    }

    /// How many of them are guests.
    pub fn guest_count(&self) -> u32 {
        self.guests_here.places.len() as u32
    }

    /// The guest of that name; looks at each.
    pub fn guest_of_name(&self, name: &str) -> Option<usize> {
        let mut places = self.guests_here.places.values().map(|place| *place as usize);
        places.find(|place| self.name(*place) == name)
    }

    /// Where the document at home at `place` is, if it is away or on its way here.
    pub fn away(&self, place: usize) -> Option<u16> {
        // Asked at each open: mostly nobody is away.
        if self.guests_here.away.is_empty() {
            return None;
        }
        self.guests_here.away.get(&(place as u32)).map(|away| away.worker)
    }

    /// The name of a document of this home that is away.
    pub fn away_name(&self, slot: u32, generation: u32) -> Option<StdArc<str>> {
        let place = self.away_place(slot, generation)?;
        self.guests_here.away.get(&place).map(|away| StdArc::clone(&away.name))
    }

    fn away_place(&self, slot: u32, generation: u32) -> Option<u32> {
        let place = self.place(slot).filter(|_| home(slot) == usize::from(self.worker))?;
        let is_away = self.guests_here.away.contains_key(&(place as u32));
        (is_away && self.documents[place].generation == generation).then_some(place as u32)
    }

    /// The document of this home goes to another worker, or comes.
    pub fn rerouted(&mut self, slot: u32, generation: u32, to: u16) {
        if let Some(place) = self.away_place(slot, generation)
            && let Some(away) = self.guests_here.away.get_mut(&place)
        {
            away.worker = to;
        }
    }

    /// Node blocks that the document at `place` holds: all but the last are full.
    pub fn blocks_of(&self, place: usize) -> u32 {
        let document = &self.documents[place];
        if document.head_block == NO_BLOCK {
            return 0;
        }
        let nodes = self.nodes();
        let first = nodes.first_node(document.head_block);
        let last = nodes.first_node(document.tail_block);
        ((last - first) / u64::from(NODES_PER_BLOCK)) as u32 + 1
    }

    /// Its producers, and how many batches wait for subscriptions if it has any of those.
    pub fn size_of(&self, place: usize) -> (u32, Option<u32>) {
        let cold = self.cold[place].as_ref().expect("a live document has a cold part");
        let owed = cold.waiting.as_ref().map(|waiting| waiting.owed.len() as u32);
        (cold.producer_count, owed)
    }

    /// Batches that may still wait for subscriptions here.
    pub fn owed_room(&self) -> u32 {
        self.limits.owed_per_worker_max.saturating_sub(self.owed)
    }

    /// Batches of the document whose credit waits for subscriptions.
    pub fn owed_of(&self, place: usize) -> u32 {
        let waiting = self.cold[place].as_ref().and_then(|cold| cold.waiting.as_ref());
        waiting.map_or(0, |waiting| waiting.owed.len() as u32)
    }

    /// Keeps room for a document.
    ///
    /// # Errors
    /// What there is no room for; then nothing is kept.
    pub fn reserve(
        &mut self,
        slot: u32,
        producers: u32,
        owed: u32,
    ) -> Result<Reserved, CannotTake> {
        if self.owed + owed > self.limits.owed_per_worker_max {
            return Err(CannotTake::Owed);
        }
        let place = match self.place(slot) {
            Some(place) => place as u32,
            None => {
                let place = self.guests_here.free.pop().ok_or(CannotTake::Guests)?;
                self.guests_here.places.insert(slot, place);
                place
            }
        };
        let mut reserved = Reserved { place, producers: NO_PRODUCER, producer_count: 0, owed: 0 };
        for _ in 0..producers {
            let Some(first) = self.producers.insert(reserved.producers, Producer::zeroed()) else {
                self.give_up(slot, reserved);
                return Err(CannotTake::Producers);
            };
            reserved.producers = first;
            reserved.producer_count += 1;
        }
        reserved.owed = owed;
        self.owed += owed;
        Ok(reserved)
    }

    /// Lets go of what was kept.
    pub fn give_up(&mut self, slot: u32, mut reserved: Reserved) {
        while reserved.producers != NO_PRODUCER {
            reserved.producers = self.producers.remove(reserved.producers, reserved.producers);
        }
        self.owed -= reserved.owed;
        self.leave_place(slot, reserved.place);
    }

    fn leave_place(&mut self, slot: u32, place: u32) {
        if self.is_guest(place as usize) {
            self.guests_here.places.remove(&slot);
            self.guests_here.free.push(place);
        }
    }

    /// Takes out everything that the document at `place` is to its owner; it goes to worker `to`.
    pub fn hand_out(&mut self, place: usize, to: u16) -> Baggage {
        let blocks = self.blocks_of(place);
        self.blocks.part_with(blocks);
        let mut cold = self.cold[place].take().expect("a live document has a cold part");
        self.owed -= cold.waiting.as_ref().map_or(0, |waiting| waiting.owed.len() as u32);
        let mut producers = Vec::with_capacity(cold.producer_count as usize);
        while cold.producers != NO_PRODUCER {
            let producer = self.producers.get(cold.producers).clone();
            debug_assert!(producer.flags & TOUCHED == 0, "acks go out before");
            producers.push((cold.producers, producer));
            cold.producers = self.producers.remove(cold.producers, cold.producers);
        }
        let entry = &mut self.documents[place];
        let Document { slot, generation, collection, .. } = *entry;
        let document = core::mem::replace(entry, Document::zeroed());
        // What a home goes on to know.
        (entry.slot, entry.generation, entry.collection) = (slot, generation, collection);
        if self.is_guest(place) {
            self.leave_place(slot, place as u32);
        } else {
            let name_is_free = document.flags & DROPPED != 0;
            let away = Away { worker: to, name: StdArc::clone(&cold.name), name_is_free };
            self.guests_here.away.insert(place as u32, away);
        }
        Baggage { document, cold, producers, blocks }
    }

    /// Makes the document one of this owner's, at the place that was kept.
    pub fn adopt(&mut self, baggage: Baggage, mut reserved: Reserved) {
        let Baggage { document, mut cold, mut producers, blocks } = baggage;
        let place = reserved.place;
        // From the last to the first: each is put in front.
        let mut renamed = Vec::with_capacity(producers.len());
        while let Some((old, producer)) = producers.pop() {
            if reserved.producers != NO_PRODUCER {
                reserved.producers = self.producers.remove(reserved.producers, reserved.producers);
            }
            let producer = Producer { place, ..producer };
            let new = self.producers.insert(cold.producers, producer);
            let Some(new) = new else { unreachable!("places were kept for all of them") };
            cold.producers = new;
            renamed.push((old, new));
        }
        renamed.sort_unstable();
        while reserved.producers != NO_PRODUCER {
            reserved.producers = self.producers.remove(reserved.producers, reserved.producers);
        }
        self.owed -= reserved.owed;
        if let Some(waiting) = &mut cold.waiting {
            for owed in &mut waiting.owed {
                let known = renamed.binary_search_by_key(&owed.producer, |(old, _)| *old);
                // One that was forgotten since: its place is nobody's, and its origin no one's.
                owed.producer = known.map_or(NO_PRODUCER, |known| renamed[known].1);
            }
            waiting.owed.retain(|owed| owed.producer != NO_PRODUCER);
            self.owed += waiting.owed.len() as u32;
        }
        self.blocks.take_over(blocks);
        let entry = &mut self.documents[place as usize];
        *entry = document;
        entry.flags = entry.flags & !LEAVING | ARRIVED;
        // Its runs are noted anew.
        entry.last_chunk = u32::MAX;
        self.cold[place as usize] = Some(cold);
        self.guests_here.away.remove(&place);
    }

    /// The entry of the document's list as which a session's handle writes, if it does.
    pub fn writer(&mut self, place: usize, core: u16, session: u32, handle: u32) -> Option<u32> {
        let mut next = self.cold[place].as_ref()?.producers;
        while next != NO_PRODUCER {
            let producer = self.producers.get(next);
            let is_it = producer.flags & BOUND != 0
                && (producer.core, producer.session, producer.handle) == (core, session, handle);
            if is_it {
                return Some(next);
            }
            next = producer.next;
        }
        None
    }

    /// Shows every handle that writes the document, and its producer.
    pub fn each_writer(&mut self, place: usize, mut show: impl FnMut(u32, Evicted)) {
        let mut next = self.cold[place].as_ref().map_or(NO_PRODUCER, |cold| cold.producers);
        while next != NO_PRODUCER {
            let producer = self.producers.get(next);
            if producer.flags & BOUND != 0 {
                let handle = Evicted {
                    core: producer.core,
                    session: SessionId(producer.session),
                    handle: producer.handle,
                    reason: CloseReason::Silent,
                };
                show(next, handle);
            }
            next = producer.next;
        }
    }

    /// Lets go of a guest's place; its home is told later.
    pub(super) fn vacate(&mut self, place: usize) {
        let Document { slot, generation, .. } = self.documents[place];
        self.leave_place(slot, place as u32);
        self.guests_here.vacated.push(Vacated { slot, generation });
    }

    /// A guest's place that has become free since the last call.
    pub fn take_vacated(&mut self) -> Option<Vacated> {
        self.guests_here.vacated.pop()
    }

    /// A document of this home has been dropped where it is: its name is free.
    pub fn free_name(&mut self, slot: u32, generation: u32) {
        let Some(place) = self.away_place(slot, generation) else { return };
        let Some(away) = self.guests_here.away.get_mut(&place) else { return };
        if !core::mem::replace(&mut away.name_is_free, true) {
            self.names_bytes -= away.name.len() as u64;
            self.directory.remove(&away.name);
        }
    }

    /// A document of this home is no more: its slot is free.
    pub fn free_slot(&mut self, slot: u32, generation: u32) {
        self.free_name(slot, generation);
        let Some(place) = self.away_place(slot, generation) else { return };
        self.guests_here.away.remove(&place);
        self.end_at_home(place as usize);
    }

    /// The next guest to be looked at, if there is one.
    pub(super) fn next_guest(&mut self) -> Option<usize> {
        let guests = &mut self.guests_here;
        let next = guests.places.range(guests.sweep..).next().or(guests.places.iter().next());
        let (slot, place) = next?;
        guests.sweep = slot.wrapping_add(1);
        Some(*place as usize)
    }
}
