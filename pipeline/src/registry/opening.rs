//! Who opens a document: where a subscription begins, and which producer a writer is.
//!
//! The part of [`Registry`] that answers `open`. What is refused has changed nothing.

use deltaworks_runtime::clock::Now;

use super::{Evicted, Registry};
use crate::document::{WAITED_FOR, WaitingAgent};
use crate::message::{CloseReason, From, Open, OpenRefusal, Opened, Policy, SessionId};
use crate::producer::{BOUND, NO_PRODUCER, OWED, Producer, USED};
use crate::stream::{NO_BLOCK, Place};

/// The origin of no writer: they begin at 1.
const NOBODY: u32 = 0;

impl Registry {
    /// Opens a document for a session, making it if the name is new. Also tells who wrote as the
    /// same producer until now.
    pub fn open(
        &mut self,
        open: &Open,
        now: Now,
    ) -> Result<(Opened, Option<Evicted>), OpenRefusal> {
        let (collection, policy) = self.check(open)?;
        let name = &open.request.name;
        let (index, is_new) = match self.directory.get(name) {
            Some(index) => (*index as usize, false),
            None => (self.make(name.clone(), collection)?, true),
        };
        match self.bind(open, index, policy, now) {
            Ok(answer) => Ok(answer),
            Err(refusal) => {
                if is_new {
                    self.free_document(index);
                }
                Err(refusal)
            }
        }
    }

    /// The same of a document that is here, at home or as a guest.
    pub fn open_here(
        &mut self,
        index: usize,
        open: &Open,
        now: Now,
    ) -> Result<(Opened, Option<Evicted>), OpenRefusal> {
        let (_, policy) = self.check(open)?;
        self.bind(open, index, policy, now)
    }

    /// Its collection and policy, if it asks for what it may.
    fn check(&self, open: &Open) -> Result<(u16, Policy), OpenRefusal> {
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
        Ok((collection, policy))
    }

    fn bind(
        &mut self,
        open: &Open,
        index: usize,
        policy: Policy,
        now: Now,
    ) -> Result<(Opened, Option<Evicted>), OpenRefusal> {
        let (core, request) = (open.core, &open.request);
        let start = self.start_of(index, request.from)?;
        let (producer, evicted) = if request.access.write {
            let (producer, evicted) = self.bind_producer(open, index)?;
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
            slot: document.slot,
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
        open: &Open,
        index: usize,
    ) -> Result<(u32, Option<Evicted>), OpenRefusal> {
        let (core, identity) = (open.core, open.request.producer);
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
            place: index as u32,
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
}

struct Start {
    place: Place,
    sequence: u64,
    window_start: u64,
    gap_from: Option<u64>,
}
