//! The documents of one owner: names, slots, producers, and who has opened what.
//!
//! A document has a place in its owner's tables: in front those of guests, whose home is another
//! worker, then those of the documents that are at home here.
//!
//! Belongs to one validation worker. Control comes here: open, close, drop, unload; batches only
//! read and write the hot entries. Every table has a limit; at a limit an `open` is refused with
//! its reason and nothing else changes.

mod guests;
mod opening;

use guests::Guests;
pub(crate) use guests::{Baggage, Reserved};

use std::collections::HashMap;
use std::sync::Arc as StdArc;

use deltaworks_runtime::clock::Now;
use deltaworks_runtime::prefetch::{prefetch_in_entry, prefetch_to_write};
use deltaworks_runtime::sync::Arc;
use deltaworks_runtime::zeroed::ZeroedArray;

use crate::collection::Collections;
use crate::document::{
    ARRIVED, ColdDocument, DROPPED, Document, FAILED, LEAVING, LIVE, SLOT_INDEX_BITS,
    SharedDocuments, WAITED_FOR, Waiting, home, index, slot,
};
use crate::limits::Limits;
use crate::message::{CloseReason, OpenRefusal, Policy, SessionId};
use crate::producer::{BOUND, NO_PRODUCER, OWED, Producer, ProducerTable, TOUCHED};
use crate::stages::Tuning;
use crate::stream::{BlockPool, NO_BLOCK, NodeMemory};

/// A handle whose session must let go of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Evicted {
    pub core: u16,
    pub session: SessionId,
    pub handle: u32,
    pub reason: CloseReason,
}

/// What a handle gives back when it closes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closing {
    pub slot: u32,
    pub generation: u32,
    pub session: SessionId,
    pub handle: u32,
    pub producer: u32,
    pub reader: Option<Policy>,
}

/// The documents of one owner.
#[derive(Debug)]
pub(crate) struct Registry {
    pub worker: u16,
    pub shared: Arc<SharedDocuments>,
    /// Places for guests, in front.
    guests: usize,
    guests_here: Guests,
    pub documents: ZeroedArray<Document>,
    pub cold: Vec<Option<Box<ColdDocument>>>,
    pub collections: StdArc<Collections>,
    pub producers: ProducerTable,
    pub blocks: BlockPool,
    directory: HashMap<StdArc<str>, u32>,
    free: Vec<u32>,
    live: u32,
    /// How many of them belong to each collection.
    live_of_collection: Vec<u32>,
    names_bytes: u64,
    limits: Limits,
    epoch_seed: u64,
    epochs: u64,
    sweep: usize,
    owed: u32,
}

impl Registry {
    pub fn new(
        worker: u16,
        shared: Arc<SharedDocuments>,
        collections: StdArc<Collections>,
        blocks: BlockPool,
        limits: Limits,
        epoch_seed: u64,
    ) -> Self {
        let guests = limits.guests_per_worker_max as usize;
        let is_home = usize::from(worker) < shared.homes();
        let at_home = if is_home { shared.per_worker() } else { 0 };
        let live_of_collection = vec![0; collections.count()];
        Self {
            worker,
            guests,
            guests_here: Guests::new(guests),
            documents: ZeroedArray::new(guests + at_home),
            cold: (0..guests).map(|_| None).collect(),
            collections,
            producers: ProducerTable::new(limits.producers_per_worker_max),
            blocks,
            directory: HashMap::new(),
            free: Vec::new(),
            live: 0,
            live_of_collection,
            names_bytes: 0,
            limits,
            epoch_seed,
            epochs: 0,
            sweep: 0,
            owed: 0,
            shared,
        }
    }

    /// Places for guests: the documents that are at home here have theirs behind these.
    #[inline]
    pub fn guests(&self) -> usize {
        self.guests
    }

    /// Bytes of their names.
    pub fn names_bytes(&self) -> u64 {
        self.names_bytes
    }

    /// Bytes of state of the documents, without payload, nodes and names.
    pub fn document_bytes(&self) -> u64 {
        let each = size_of::<Document>()
            + size_of::<crate::document::SharedDocument>()
            + size_of::<ColdDocument>()
            + DIRECTORY_ENTRY_BYTES;
        u64::from(self.live) * each as u64
    }

    /// Bytes of the producers that are remembered.
    pub fn producer_bytes(&self) -> u64 {
        u64::from(self.producers.used()) * size_of::<Producer>() as u64
    }

    /// The document of `name`, if there is one.
    pub fn known(&self, name: &str) -> Option<usize> {
        self.directory.get(name).map(|index| *index as usize)
    }

    /// The name of a live document.
    pub fn name(&self, index: usize) -> &str {
        self.cold[index].as_ref().map_or("", |cold| &cold.name)
    }

    #[inline]
    pub fn nodes(&self) -> &NodeMemory {
        self.blocks.memory()
    }

    /// The place of `slot`, if it is at home here or a guest.
    #[inline]
    pub fn place(&self, slot: u32) -> Option<usize> {
        if home(slot) == usize::from(self.worker) {
            Some(self.guests + index(slot))
        } else {
            self.guest_place(slot)
        }
    }

    /// Asks for the lines of what batches of the documents at `places` read and write first.
    #[inline(always)]
    pub fn prefetch(&self, places: impl Iterator<Item = u32>) {
        let documents = &*self.documents;
        // A guest's is asked for by nobody: guests are few and hot.
        let (at_home, guests) = (self.shared.at_home(self.worker), self.guests);
        for place in places {
            let place = place as usize;
            prefetch_in_entry(documents, place, 0);
            if let Some(shared) = at_home.get(place.wrapping_sub(guests)) {
                // Agents of other cores have it.
                prefetch_to_write(shared);
            }
        }
    }

    /// Shows `at_most` places that may hold documents, from number `from` on: those at home here,
    /// then those of guests. Returns where to go on.
    pub fn each_place(
        &self,
        from: usize,
        at_most: usize,
        mut show: impl FnMut(usize),
    ) -> Option<usize> {
        let at_home = self.cold.len() - self.guests;
        let mut at = from;
        for _ in 0..at_most {
            if at < FIRST_GUEST && at >= at_home {
                at = FIRST_GUEST;
            }
            if at < FIRST_GUEST {
                show(self.guests + at);
            } else if at - FIRST_GUEST < self.guests {
                show(at - FIRST_GUEST);
            } else {
                return None;
            }
            at += 1;
        }
        (at - at.min(FIRST_GUEST) < self.guests).then_some(at)
    }

    /// The live document of `slot`, if the generation is still its own.
    pub fn live_index(&self, slot: u32, generation: u32) -> Option<usize> {
        let index = self.place(slot)?;
        let document = self.documents.get(index)?;
        (document.flags & LIVE != 0 && document.generation == generation).then_some(index)
    }

    /// Whether a place still holds that document.
    pub fn is_live(&self, place: usize, slot: u32, generation: u32) -> bool {
        let document = &self.documents[place];
        let is_it = (document.slot, document.generation) == (slot, generation);
        document.flags & LIVE != 0 && is_it
    }

    /// Goes by other numbers from now on.
    pub(crate) fn tune(&mut self, tuning: Tuning) {
        self.limits.idle_unload_ns = tuning.idle_unload_ns;
    }

    fn make(&mut self, name: StdArc<str>, collection: u16) -> Result<usize, OpenRefusal> {
        if self.live >= self.limits.documents_per_worker_max {
            return Err(OpenRefusal::DocumentLimit);
        }
        let of_collection = self.live_of_collection[usize::from(collection)];
        if of_collection >= self.collections.get(collection).limits.documents_per_worker_max {
            return Err(OpenRefusal::DocumentLimit);
        }
        if self.names_bytes + name.len() as u64 > self.limits.names_bytes_per_worker_max {
            return Err(OpenRefusal::Budget);
        }
        let index = match self.free.pop() {
            Some(index) => index as usize,
            None => {
                if self.cold.len() >= self.documents.len() {
                    return Err(OpenRefusal::DocumentLimit);
                }
                self.cold.push(None);
                self.cold.len() - 1
            }
        };
        self.epochs += 1;
        let slot = slot(self.worker, (index - self.guests) as u32);
        self.documents[index].begin(slot, collection);
        self.shared.get(slot).reset();
        self.cold[index] = Some(Box::new(ColdDocument {
            name: name.clone(),
            epoch: mix(self.epoch_seed ^ mix(self.epochs << 8 | u64::from(self.worker))),
            info: None,
            handles: 0,
            readers: Vec::new(),
            waiting: None,
            producers: NO_PRODUCER,
            producer_count: 0,
            next_origin: 1,
            floor: 0,
            missed_deltas: 0,
            idle_since_ns: 0,
            kept_to: 0,
            kept_bytes: 0,
        }));
        self.names_bytes += name.len() as u64;
        self.directory.insert(name, index as u32);
        self.live += 1;
        self.live_of_collection[usize::from(collection)] += 1;
        Ok(index)
    }

    /// Whether the window of the document at `index` has kept images in it.
    pub fn keeps_any(&self, index: usize) -> bool {
        let cold = self.cold[index].as_ref();
        cold.is_some_and(|cold| self.documents[index].window_start < cold.kept_to)
    }

    /// The sequence of the first delta that the document's window holds; the next if it holds none.
    pub fn window_sequence(&self, index: usize) -> u64 {
        let document = &self.documents[index];
        if document.window_start == document.nodes {
            return document.next_sequence;
        }
        let place = self.nodes().normalise(document.window_place());
        self.nodes().node(place.block, place.index).first_sequence
    }

    /// Lets a handle go. Returns the document's place if credit was owed for its sake.
    pub fn close(&mut self, core: u16, closing: &Closing, now: Now) -> Option<usize> {
        let index = self.live_index(closing.slot, closing.generation)?;
        let document = &mut self.documents[index];
        let cold = self.cold[index].as_mut().expect("a live document has a cold part");
        debug_assert!(cold.handles > 0);
        cold.handles -= 1;
        cold.idle_since_ns = now.monotonic_ns;
        if closing.producer != NO_PRODUCER {
            let producer = self.producers.get(closing.producer);
            if producer.flags & BOUND != 0
                && producer.core == core
                && producer.session == closing.session.0
                && producer.handle == closing.handle
            {
                producer.flags &= !BOUND;
            }
        }
        let mut credit_is_due = false;
        if let Some(policy) = closing.reader {
            if let Some(place) = cold.readers.iter().position(|(reader, _)| *reader == core) {
                cold.readers[place].1 -= 1;
                if cold.readers[place].1 == 0 {
                    cold.readers.swap_remove(place);
                    document.readers &= !(1 << core);
                }
            }
            if policy == Policy::Wait
                && let Some(waiting) = &mut cold.waiting
                && let Some(place) = waiting.agents.iter().position(|agent| agent.core == core)
            {
                credit_is_due = true;
                waiting.agents[place].subscriptions -= 1;
                if waiting.agents[place].subscriptions == 0 {
                    waiting.agents.swap_remove(place);
                }
            }
        }
        credit_is_due.then_some(index)
    }

    /// Notes how far the `wait` subscriptions of `core` have come. Returns the document's place if it
    /// is waited for.
    pub fn progress(&mut self, core: u16, slot: u32, generation: u32, node: u64) -> Option<usize> {
        let index = self.live_index(slot, generation)?;
        let cold = self.cold[index].as_mut().expect("a live document has a cold part");
        let waiting = cold.waiting.as_mut()?;
        let agent = waiting.agents.iter_mut().find(|agent| agent.core == core)?;
        agent.node = node;
        Some(index)
    }

    /// Notes that subscriptions were not sent so many deltas.
    pub fn missed(&mut self, slot: u32, generation: u32, deltas: u64) {
        if let Some(index) = self.live_index(slot, generation)
            && let Some(cold) = &mut self.cold[index]
        {
            cold.missed_deltas += deltas;
        }
    }

    /// Gives back the credit of batches that every `wait` subscription has taken: calls
    /// `touched` for each producer that is owed an answer.
    pub fn settle(&mut self, index: usize, mut touched: impl FnMut(u32)) {
        let Some(cold) = self.cold[index].as_mut() else { return };
        let Some(waiting) = &mut cold.waiting else { return };
        let taken = waiting.agents.iter().map(|agent| agent.node).min().unwrap_or(u64::MAX);
        while let Some(owed) = waiting.owed.front() {
            if owed.node >= taken {
                break;
            }
            let producer = self.producers.get(owed.producer);
            if producer.flags & BOUND != 0 && producer.origin == owed.origin {
                producer.credit_bytes += owed.bytes;
                if producer.flags & TOUCHED == 0 {
                    producer.flags |= TOUCHED;
                    touched(owed.producer);
                }
            }
            self.owed -= 1;
            waiting.owed.pop_front();
        }
        if waiting.agents.is_empty() {
            cold.waiting = None;
            self.documents[index].flags &= !WAITED_FOR;
        }
    }

    /// Whether one more batch may wait for `wait` subscriptions.
    pub fn may_owe(&self) -> bool {
        self.owed < self.limits.owed_per_worker_max
    }

    /// Whether the batch just appended must be taken by `wait` subscriptions before its credit
    /// comes back; notes it if so.
    pub fn owes(&mut self, index: usize, node: u64, producer: u32, origin: u32, bytes: u32) {
        let cold: &mut ColdDocument =
            self.cold[index].as_mut().expect("a live document has a cold part");
        let waiting: &mut Waiting = cold.waiting.get_or_insert_default();
        self.owed += 1;
        self.producers.get(producer).flags |= OWED;
        waiting.owed.push_back(crate::document::Owed { node, producer, origin, bytes });
    }

    /// Marks a document as dropped: its name is free at once, its stream ends. Lists the handles
    /// that have no subscription to learn it from.
    pub fn drop_document(&mut self, index: usize) -> Option<Vec<Evicted>> {
        let document = &mut self.documents[index];
        if document.flags & DROPPED != 0 {
            return None;
        }
        document.flags |= DROPPED;
        let is_guest = self.is_guest(index);
        let cold = self.cold[index].as_mut().expect("a live document has a cold part");
        if !is_guest {
            self.names_bytes -= cold.name.len() as u64;
            self.directory.remove(&cold.name);
        }
        let mut evicted = Vec::new();
        let mut producer = cold.producers;
        while producer != NO_PRODUCER {
            let entry = self.producers.get(producer);
            if entry.flags & BOUND != 0 {
                evicted.push(Evicted {
                    core: entry.core,
                    session: SessionId(entry.session),
                    handle: entry.handle,
                    reason: CloseReason::Dropped,
                });
            }
            producer = entry.next;
        }
        Some(evicted)
    }

    /// Frees a dropped document whose last handle has gone. `true` if it did.
    pub fn free_if_done(&mut self, slot: u32, generation: u32) -> bool {
        let Some(index) = self.live_index(slot, generation) else { return false };
        let cold = self.cold[index].as_ref().expect("a live document has a cold part");
        if self.documents[index].flags & (DROPPED | LEAVING) != DROPPED || cold.handles != 0 {
            return false;
        }
        self.free_document(index);
        true
    }

    fn free_document(&mut self, index: usize) {
        let document = &mut self.documents[index];
        let dropped = document.flags & DROPPED != 0;
        debug_assert!(document.readers == 0);
        if document.head_block != NO_BLOCK {
            self.blocks.give_back(document.head_block, NO_BLOCK);
        }
        document.flags = 0;
        let mut cold = self.cold[index].take().expect("a live document has a cold part");
        self.owed -= cold.waiting.take().map_or(0, |waiting| waiting.owed.len() as u32);
        while cold.producers != NO_PRODUCER {
            cold.producers = self.producers.remove(cold.producers, cold.producers);
        }
        if self.is_guest(index) {
            self.vacate(index);
            return;
        }
        if !dropped {
            self.names_bytes -= cold.name.len() as u64;
            self.directory.remove(&cold.name);
        }
        self.end_at_home(index);
    }

    /// The slot at `index` may be another document's.
    fn end_at_home(&mut self, index: usize) {
        let document = &mut self.documents[index];
        document.generation = document.generation.wrapping_add(1);
        self.free.push(index as u32);
        self.live -= 1;
        self.live_of_collection[usize::from(document.collection)] -= 1;
    }

    /// Unloads documents that nobody has opened for the idle limit; looks at a bounded number. A
    /// document that has a flag stays, but for those of `passed_over`.
    pub fn unload_idle(&mut self, now: Now, passed_over: u16) -> usize {
        const LOOK_AT_MOST: usize = 64;
        const GUESTS_AT_ONCE: u32 = 8;
        let mut count = 0;
        let at_home = self.cold.len() - self.guests;
        for _ in 0..LOOK_AT_MOST.min(at_home) {
            self.sweep = (self.sweep + 1) % at_home;
            count += self.unload_if_idle(self.guests + self.sweep, now, passed_over);
        }
        for _ in 0..GUESTS_AT_ONCE.min(self.guest_count()) {
            let Some(guest) = self.next_guest() else { break };
            count += self.unload_if_idle(guest, now, passed_over);
        }
        count
    }

    fn unload_if_idle(&mut self, index: usize, now: Now, passed_over: u16) -> usize {
        let Some(cold) = &self.cold[index] else { return 0 };
        let idle_ns = now.monotonic_ns.saturating_sub(cold.idle_since_ns);
        let busy = self.documents[index].flags & !(LIVE | FAILED | ARRIVED | passed_over) != 0;
        if cold.handles != 0 || busy || idle_ns < self.limits.idle_unload_ns {
            return 0;
        }
        self.free_document(index);
        1
    }
}

/// The number of the first guest's place, for whoever lists them: behind all that may be at home.
const FIRST_GUEST: usize = 1 << SLOT_INDEX_BITS;

/// What the name directory holds for one document: a shared name's pointer and counts, the slot,
/// and a hash table's spare room.
const DIRECTORY_ENTRY_BYTES: usize = 64;

/// A 64-bit mixer (the finaliser of SplitMix64).
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}
