//! What a core has, for whoever asks: its documents and its sessions, listed in slices.
//!
//! The asking side keeps the place where the next slice begins, so nothing is remembered here and
//! nothing costs anything while nobody asks. A slice is bounded by its caller; what comes and goes
//! between two slices is listed or not, but never twice by the same core. Nothing is changed by
//! looking.

use std::sync::Arc;

use deltaworks_image::Image;

use crate::chunk::published;
use crate::document::LIVE;
use crate::message::{Policy, SessionId};
use crate::propagation::Propagation;
use crate::reception::Reception;
use crate::stream::NO_BLOCK;
use crate::subscription::NO_SUBSCRIPTION;
use crate::validation::Validation;

/// A document, as its owner knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentEntry {
    /// Its name.
    pub name: Arc<str>,
    /// The number of its collection.
    pub collection: u16,
    /// The worker that owns it.
    pub worker: u16,
    /// The elastic worker that it has; a hot one has it.
    pub elastic: Option<u16>,
    /// Whether its home is another worker.
    pub is_guest: bool,
    /// Its slot.
    pub slot: u32,
    /// The slot's generation.
    pub generation: u32,
    /// Its epoch.
    pub epoch: u64,
    /// The sequence that its next delta will have.
    pub next_sequence: u64,
    /// The sequence of the first delta that memory still holds; the next one if it holds none.
    pub window_start: u64,
    /// When the newest image in memory was ordered, in microseconds since the Unix epoch; 0 if
    /// there is none.
    pub last_image_us: u64,
    /// Subscriptions.
    pub subscribers: u32,
    /// Producers that a session writes as.
    pub writers: u32,
    /// Deltas that subscriptions were told they would not get.
    pub missed_deltas: u64,
    /// Bytes of its images that were kept when their chunk went, and are in its window.
    pub kept_bytes: u64,
}

/// How far a document has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentMark {
    /// Its slot.
    pub slot: u32,
    /// The slot's generation.
    pub generation: u32,
    /// The sequence that its next delta will have.
    pub next_sequence: u64,
}

/// A session, as its core knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEntry {
    /// Its place on the core.
    pub session: SessionId,
    /// Handles that it has open.
    pub handles: u32,
    /// What it reads.
    pub readings: Vec<Reading>,
    /// Documents that it only writes, four at most.
    pub writings: Vec<(u32, u32)>,
    /// Deltas that it was told it would not get.
    pub missed_deltas: u64,
    /// Times that a quota has withheld credit from it.
    pub throttled: u64,
}

/// A subscription: how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The document's slot.
    pub slot: u32,
    /// The slot's generation.
    pub generation: u32,
    /// What happens to it when it falls behind.
    pub policy: Policy,
    /// Images that the socket has not taken.
    pub backlog_nodes: u64,
    /// Bytes of those of them that were ordered since the subscription began.
    pub backlog_bytes: u64,
    /// The sequence of the first delta of these; `None` if there is nothing left.
    pub next_sequence: Option<u64>,
}

/// Documents written that an entry names.
const WRITINGS_MAX: usize = 4;

impl Validation {
    /// Tells the documents at so many places of the table: first those at home here, then guests.
    /// Returns where the next slice begins, or `None` behind the last.
    pub(crate) fn documents(
        &self,
        from: usize,
        at_most: usize,
        mut take: impl FnMut(DocumentEntry),
    ) -> Option<usize> {
        self.registry.each_place(from, at_most, |place| {
            if let Some(entry) = self.document(place) {
                take(entry);
            }
        })
    }

    fn document(&self, place: usize) -> Option<DocumentEntry> {
        let registry = &self.registry;
        let (cold, document) = (registry.cold[place].as_ref()?, &registry.documents[place]);
        if document.flags & LIVE == 0 {
            return None;
        }
        Some(DocumentEntry {
            name: Arc::clone(&cold.name),
            collection: document.collection,
            worker: registry.worker,
            elastic: self.heat.elastic(document.slot, document.generation),
            is_guest: registry.is_guest(place),
            slot: document.slot,
            generation: document.generation,
            epoch: cold.epoch,
            next_sequence: document.next_sequence,
            window_start: registry.window_sequence(place),
            last_image_us: self.last_image_us(place),
            subscribers: cold.readers.iter().map(|(_, count)| *count).sum(),
            writers: registry.producers.bound(cold.producers),
            missed_deltas: cold.missed_deltas,
            kept_bytes: cold.kept_bytes,
        })
    }

    fn last_image_us(&self, place: usize) -> u64 {
        let document = &self.registry.documents[place];
        let holds_any = document.nodes > document.window_start && document.tail_index > 0;
        if !holds_any || document.tail_block == NO_BLOCK {
            return 0;
        }
        let node = self.registry.nodes().node(document.tail_block, document.tail_index - 1);
        let image = Image::checked_before(published(self.memory(), node.range));
        image.map_or(0, |image| image.time_us())
    }

    /// The same as [`Validation::documents`], of each document no more than how far it has come.
    pub(crate) fn document_marks(
        &self,
        from: usize,
        at_most: usize,
        mut take: impl FnMut(DocumentMark),
    ) -> Option<usize> {
        let registry = &self.registry;
        registry.each_place(from, at_most, |place| {
            let document = &registry.documents[place];
            if document.flags & LIVE != 0 {
                take(DocumentMark {
                    slot: document.slot,
                    generation: document.generation,
                    next_sequence: document.next_sequence,
                });
            }
        })
    }

    /// The name of the document of that slot, if it is still the same.
    pub(crate) fn document_name(&self, slot: u32, generation: u32) -> Option<Arc<str>> {
        let Some(place) = self.registry.live_index(slot, generation) else {
            return self.registry.away_name(slot, generation);
        };
        self.registry.cold[place].as_ref().map(|cold| Arc::clone(&cold.name))
    }
}

/// Tells the sessions from place `from` on, until they have more than `handles_at_most` handles
/// together; returns where the next slice begins, or `None` behind the last.
pub(crate) fn sessions(
    reception: &Reception,
    propagation: &Propagation,
    from: usize,
    handles_at_most: usize,
    mut take: impl FnMut(SessionEntry),
) -> Option<usize> {
    let (mut place, mut seen) = (from, 0);
    while place < reception.session_places() {
        if seen >= handles_at_most {
            return Some(place);
        }
        let mut entry = SessionEntry {
            session: SessionId(place as u32),
            handles: 0,
            readings: Vec::new(),
            writings: Vec::new(),
            missed_deltas: propagation.missed_deltas(SessionId(place as u32)),
            throttled: reception.throttled(SessionId(place as u32)),
        };
        let is_there = reception.each_open_handle(entry.session, |handle| {
            seen += 1;
            entry.handles += 1;
            if handle.subscription != NO_SUBSCRIPTION {
                entry.readings.push(propagation.reading(handle.subscription));
            } else if entry.writings.len() < WRITINGS_MAX {
                entry.writings.push((handle.slot, handle.generation));
            }
        });
        if is_there {
            take(entry);
        }
        seen += 1;
        place += 1;
    }
    None
}
