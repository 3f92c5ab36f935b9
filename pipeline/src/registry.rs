//! The documents of one owner: names, slots, producers, and who has opened what.
//!
//! Belongs to one validation worker. Control comes here: open, close, drop, unload; batches only
//! read and write the hot entries. Every table has a limit; at a limit an `open` is refused with
//! its reason and nothing else changes.

use std::collections::HashMap;
use std::sync::Arc as StdArc;

use deltaworks_runtime::clock::Now;
use deltaworks_runtime::sync::Arc;
use deltaworks_runtime::zeroed::ZeroedArray;

use crate::collection::Collections;
use crate::document::{
    ColdDocument, DROPPED, Document, FAILED, LIVE, SharedDocuments, WAITED_FOR, Waiting,
    WaitingAgent, index, slot,
};
use crate::limits::Limits;
use crate::message::{CloseReason, From, Open, OpenRefusal, Opened, Policy, SessionId};
use crate::producer::{BOUND, NO_PRODUCER, OWED, Producer, ProducerTable, TOUCHED, USED};
use crate::stages::Tuning;
use crate::stream::{BlockPool, NO_BLOCK, NodeMemory, Place};

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
        let documents = shared.per_worker();
        let live_of_collection = vec![0; collections.count()];
        Self {
            worker,
            documents: ZeroedArray::new(documents),
            cold: Vec::new(),
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

    /// How many there are.
    pub fn live(&self) -> u32 {
        self.live
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

    /// The live document of `slot`, if the generation is still its own.
    pub fn live_index(&self, slot: u32, generation: u32) -> Option<usize> {
        let index = index(slot);
        let document = self.documents.get(index)?;
        (document.flags & LIVE != 0 && document.generation == generation).then_some(index)
    }

    /// Opens a document for a session, making it if the name is new. Also tells who wrote as the
    /// same producer until now.
    pub fn open(
        &mut self,
        core: u16,
        open: &Open,
        now: Now,
    ) -> Result<(Opened, Option<Evicted>), OpenRefusal> {
        let request = &open.request;
        let name = &request.name;
        if name.is_empty()
            || name.len() > self.limits.name_bytes_max as usize
            || name.chars().any(char::is_control)
        {
            return Err(OpenRefusal::BadName);
        }
        let writes = request.access.write;
        if !(request.access.read || writes) || (writes && request.producer == 0) {
            return Err(OpenRefusal::BadAccess);
        }
        let collection = self.collections.of_name(name).ok_or(OpenRefusal::UnknownCollection)?;
        let overload = &self.collections.get(collection).overload;
        let policy = request.policy.unwrap_or(overload.policy);
        if request.access.read && !overload.allows(policy) {
            return Err(OpenRefusal::PolicyNotAllowed);
        }
        let (index, is_new) = match self.directory.get(name) {
            Some(index) => (*index as usize, false),
            None => (self.make(name.clone(), collection)?, true),
        };
        match self.bind(core, open, index, policy, now) {
            Ok(answer) => Ok(answer),
            Err(refusal) => {
                if is_new {
                    self.free_document(index);
                }
                Err(refusal)
            }
        }
    }

    fn bind(
        &mut self,
        core: u16,
        open: &Open,
        index: usize,
        policy: Policy,
        now: Now,
    ) -> Result<(Opened, Option<Evicted>), OpenRefusal> {
        let request = &open.request;
        let start = self.start_of(index, request.from)?;
        let (producer, evicted) = if request.access.write {
            let (producer, evicted) = self.bind_producer(core, open, index)?;
            (producer, evicted)
        } else {
            (NO_PRODUCER, None)
        };
        let document = &mut self.documents[index];
        let cold = self.cold[index].as_mut().expect("a live document has a cold part");
        cold.handles += 1;
        cold.idle_since_ns = now.monotonic_ns;
        if request.access.read {
            document.readers |= 1 << core;
            match cold.readers.iter_mut().find(|(reader, _)| *reader == core) {
                Some((_, count)) => *count += 1,
                None => cold.readers.push((core, 1)),
            }
            if policy == Policy::Wait {
                document.flags |= WAITED_FOR;
                let waiting = cold.waiting.get_or_insert_default();
                match waiting.agents.iter_mut().find(|agent| agent.core == core) {
                    Some(agent) => {
                        agent.subscriptions += 1;
                        agent.node = agent.node.min(start.place.node);
                    }
                    None => waiting.agents.push(WaitingAgent {
                        core,
                        subscriptions: 1,
                        node: start.place.node,
                    }),
                }
            }
        }
        let (origin, producer_sequence) = if producer == NO_PRODUCER {
            (0, 0)
        } else {
            let producer = self.producers.get(producer);
            (producer.origin, producer.last)
        };
        let collection = self.collections.get(document.collection);
        let opened = Opened {
            session: open.session,
            handle: open.handle,
            request: request.request,
            slot: slot(self.worker, index as u32),
            generation: document.generation,
            worker: self.worker,
            access: request.access,
            policy,
            producer,
            origin,
            producer_sequence,
            epoch: cold.epoch,
            window_start: start.window_start,
            next_sequence: document.next_sequence,
            start_sequence: start.sequence,
            gap_from: start.gap_from,
            place: start.place,
            live_from: document.nodes,
            position: document.appended,
            collection: document.collection,
            info: cold.info.clone(),
            kind: collection.schema.kind_name(),
            credit_bytes_max: collection.limits.credit_bytes,
        };
        Ok((opened, evicted))
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
        self.documents[index].begin(collection);
        self.shared.get(slot(self.worker, index as u32)).reset();
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
        }));
        self.names_bytes += name.len() as u64;
        self.directory.insert(name, index as u32);
        self.live += 1;
        self.live_of_collection[usize::from(collection)] += 1;
        Ok(index)
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

    fn start_of(&self, index: usize, from: From) -> Result<Start, OpenRefusal> {
        let document = &self.documents[index];
        let cold = self.cold[index].as_ref().expect("a live document has a cold part");
        let window = document.window_place();
        let tail = document.tail_place();
        let window_start = self.window_sequence(index);
        let at_window =
            Start { place: window, sequence: window_start, window_start, gap_from: None };
        Ok(match from {
            From::Live => Start { place: tail, sequence: document.next_sequence, ..at_window },
            From::Start => at_window,
            From::Sequence { epoch, .. } if epoch != cold.epoch => at_window,
            From::Sequence { sequence, .. } => {
                let sequence = sequence.max(1);
                if sequence > document.next_sequence {
                    return Err(OpenRefusal::SequenceAhead);
                } else if sequence == document.next_sequence {
                    Start { place: tail, sequence, ..at_window }
                } else if sequence < window_start {
                    Start { gap_from: Some(sequence), ..at_window }
                } else {
                    let place = self.find_sequence(window, tail.node, sequence);
                    Start { place, sequence, ..at_window }
                }
            }
        })
    }

    /// The place of the node that holds `sequence`: whole blocks are passed at a glance.
    fn find_sequence(&self, from: Place, nodes: u64, sequence: u64) -> Place {
        let memory = self.nodes();
        let mut place = memory.normalise(from);
        loop {
            let next = memory.next(place.block);
            if next == NO_BLOCK
                || memory.first_node(next) >= nodes
                || memory.node(next, 0).first_sequence > sequence
            {
                break;
            }
            place = Place { node: memory.first_node(next), block: next, index: 0 };
        }
        loop {
            let after = memory.normalise(Place {
                node: place.node + 1,
                block: place.block,
                index: place.index + 1,
            });
            if after.node >= nodes
                || memory.node(after.block, after.index).first_sequence > sequence
            {
                return place;
            }
            place = after;
        }
    }

    fn bind_producer(
        &mut self,
        core: u16,
        open: &Open,
        index: usize,
    ) -> Result<(u32, Option<Evicted>), OpenRefusal> {
        let identity = open.request.producer;
        let cold = self.cold[index].as_mut().expect("a live document has a cold part");
        if let Some(known) = self.producers.find(cold.producers, identity) {
            let producer = self.producers.get(known);
            let evicted = (producer.flags & BOUND != 0).then_some(Evicted {
                core: producer.core,
                session: SessionId(producer.session),
                handle: producer.handle,
                reason: CloseReason::Fenced,
            });
            if producer.flags & OWED != 0 {
                // That credit was the older handle's: the new one is granted its own.
                producer.flags &= !OWED;
                let owed = cold.waiting.iter_mut().flat_map(|waiting| &mut waiting.owed);
                owed.filter(|owed| owed.producer == known).for_each(|owed| owed.origin = NOBODY);
            }
            producer.session = open.session.0;
            producer.handle = open.handle;
            producer.core = core;
            producer.flags |= BOUND;
            producer.credit_bytes = 0;
            producer.duplicates = 0;
            return Ok((known, evicted));
        }
        let collection = self.collections.get(self.documents[index].collection);
        let own_max = collection.limits.producers_per_document_max;
        if cold.producer_count >= self.limits.producers_per_document_max.min(own_max) {
            let oldest =
                self.producers.oldest_unbound(cold.producers).ok_or(OpenRefusal::ProducerLimit)?;
            cold.floor = cold.floor.max(self.producers.get(oldest).last);
            cold.producers = self.producers.remove(cold.producers, oldest);
            cold.producer_count -= 1;
        }
        let producer = Producer {
            identity,
            last: cold.floor,
            base: cold.floor,
            last_sequence: 0,
            session: open.session.0,
            handle: open.handle,
            origin: cold.next_origin,
            slot: slot(self.worker, index as u32),
            credit_bytes: 0,
            duplicates: 0,
            next: NO_PRODUCER,
            core,
            flags: BOUND | USED,
        };
        let made = self.producers.insert(cold.producers, producer).ok_or(OpenRefusal::Budget)?;
        cold.producers = made;
        cold.producer_count += 1;
        cold.next_origin += 1;
        Ok((made, None))
    }

    /// Lets a handle go. Returns producers to which credit was owed for its sake.
    pub fn close(&mut self, core: u16, closing: &Closing, now: Now) -> bool {
        let Some(index) = self.live_index(closing.slot, closing.generation) else { return false };
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
        credit_is_due
    }

    /// Notes how far the `wait` subscriptions of `core` have come.
    pub fn progress(&mut self, core: u16, slot: u32, generation: u32, node: u64) -> bool {
        let Some(index) = self.live_index(slot, generation) else { return false };
        let cold = self.cold[index].as_mut().expect("a live document has a cold part");
        let Some(waiting) = &mut cold.waiting else { return false };
        let Some(agent) = waiting.agents.iter_mut().find(|agent| agent.core == core) else {
            return false;
        };
        agent.node = node;
        true
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
    pub fn settle(&mut self, slot: u32, mut touched: impl FnMut(u32)) {
        let index = index(slot);
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
    pub fn drop_document(&mut self, slot: u32, generation: u32) -> Option<Vec<Evicted>> {
        let index = self.live_index(slot, generation)?;
        let document = &mut self.documents[index];
        if document.flags & DROPPED != 0 {
            return None;
        }
        document.flags |= DROPPED;
        let cold = self.cold[index].as_mut().expect("a live document has a cold part");
        self.names_bytes -= cold.name.len() as u64;
        self.directory.remove(&cold.name);
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
        if self.documents[index].flags & DROPPED == 0 || cold.handles != 0 {
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
        document.generation = document.generation.wrapping_add(1);
        let mut cold = self.cold[index].take().expect("a live document has a cold part");
        self.owed -= cold.waiting.take().map_or(0, |waiting| waiting.owed.len() as u32);
        while cold.producers != NO_PRODUCER {
            cold.producers = self.producers.remove(cold.producers, cold.producers);
        }
        if !dropped {
            self.names_bytes -= cold.name.len() as u64;
            self.directory.remove(&cold.name);
        }
        self.free.push(index as u32);
        self.live -= 1;
        let collection = self.documents[index].collection;
        self.live_of_collection[usize::from(collection)] -= 1;
    }

    /// Unloads documents that nobody has opened for the idle limit; looks at a bounded number.
    pub fn unload_idle(&mut self, now: Now) -> usize {
        const LOOK_AT_MOST: usize = 64;
        let mut count = 0;
        for _ in 0..LOOK_AT_MOST.min(self.cold.len()) {
            self.sweep = (self.sweep + 1) % self.cold.len();
            let index = self.sweep;
            let Some(cold) = &self.cold[index] else { continue };
            let idle_ns = now.monotonic_ns.saturating_sub(cold.idle_since_ns);
            let busy = self.documents[index].flags & !(LIVE | FAILED) != 0;
            if cold.handles == 0 && !busy && idle_ns >= self.limits.idle_unload_ns {
                self.free_document(index);
                count += 1;
            }
        }
        count
    }
}

/// The origin of no writer: they begin at 1.
const NOBODY: u32 = 0;

/// What the name directory holds for one document: a shared name's pointer and counts, the slot,
/// and a hash table's spare room.
const DIRECTORY_ENTRY_BYTES: usize = 64;

struct Start {
    place: Place,
    sequence: u64,
    window_start: u64,
    gap_from: Option<u64>,
}

/// A 64-bit mixer (the finaliser of SplitMix64).
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}
