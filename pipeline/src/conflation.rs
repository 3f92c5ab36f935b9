//! Conflation: which images of a document still hold the newest value of some key.
//!
//! One index a document and agent, while a `conflate` subscription of it is too far behind. It is fed
//! with images in their order; one is *superseded* when each of its deltas has been replaced by a
//! later one. Images that it has not seen are not, so that an index that lags behind the stream
//! leaves out too little, never too much. Bounded by its caller's budget: an index that has grown
//! too large is dropped, and nothing is superseded any more.

mod key;

use std::collections::HashMap;

use deltaworks_image::Image;
pub use key::ConflationKey;
use key::{Change, changes};

use crate::stream::Place;

/// Properties of one record that are told apart at most; an update of another one stays.
const PARTS_MAX: usize = 256;

/// What an entry costs beside its key: hash table, lengths, node numbers.
const ENTRY_BYTES: usize = 96;

#[derive(Debug, Default)]
struct Record {
    /// The node with its newest whole value.
    whole: Option<u64>,
    /// Properties that were changed since, and the nodes with their newest values.
    parts: Vec<(Box<[u8]>, u64)>,
}

/// The index of one document.
#[derive(Debug)]
pub(crate) struct Newest {
    first: u64,
    /// The number of the document's collection.
    pub collection: u16,
    /// Where the first image stands that it has not seen.
    pub next: Place,
    records: HashMap<Box<[u8]>, Record>,
    /// How many of its values nothing has replaced, by node; none: superseded.
    values: HashMap<u64, u32>,
    key_bytes: usize,
}

impl Newest {
    /// An index of a document of that collection, from `place` on.
    pub fn new(collection: u16, place: Place) -> Self {
        Self {
            first: place.node,
            collection,
            next: place,
            records: HashMap::new(),
            values: HashMap::new(),
            key_bytes: 0,
        }
    }

    /// Bytes that it takes, about.
    pub fn bytes(&self) -> u64 {
        let entries = self.records.len() + self.values.len();
        (self.key_bytes + entries * ENTRY_BYTES) as u64
    }

    /// Whether the image of that node holds no newest value any more.
    #[inline]
    pub fn is_superseded(&self, node: u64) -> bool {
        (self.first..self.next.node).contains(&node) && !self.values.contains_key(&node)
    }

    /// Takes the image of the next node in; the caller moves [`Newest::next`] on. One pass over it.
    pub fn take(&mut self, key: &ConflationKey, image: &Image<'_>) {
        let node = self.next.node;
        if image.count() == 0 {
            // An info replaces the one before; no key is empty.
            self.replace(&[], node);
        }
        for delta in image.deltas() {
            changes(key, delta, |change| match change {
                Change::Whole { key } => self.replace(key, node),
                Change::Part { key, property } => self.replace_part(key, property, node),
                Change::Unknown => *self.values.entry(node).or_default() += 1,
            });
        }
    }

    fn record(&mut self, key: &[u8]) -> &mut Record {
        if !self.records.contains_key(key) {
            self.key_bytes += key.len();
            self.records.insert(key.into(), Record::default());
        }
        let Some(record) = self.records.get_mut(key) else { unreachable!("inserted above") };
        record
    }

    fn replace(&mut self, key: &[u8], node: u64) {
        let record = self.record(key);
        let (whole, parts) = (record.whole.replace(node), core::mem::take(&mut record.parts));
        *self.values.entry(node).or_default() += 1;
        for (property, part) in parts {
            self.key_bytes -= property.len() + ENTRY_BYTES;
            self.lose(part);
        }
        if let Some(whole) = whole {
            self.lose(whole);
        }
    }

    fn replace_part(&mut self, key: &[u8], property: &[u8], node: u64) {
        let record = self.record(key);
        let known = record.parts.iter().position(|(name, _)| **name == *property);
        let before = known.map(|known| core::mem::replace(&mut record.parts[known].1, node));
        if known.is_none() && record.parts.len() < PARTS_MAX {
            record.parts.push((property.into(), node));
            self.key_bytes += property.len() + ENTRY_BYTES;
        }
        *self.values.entry(node).or_default() += 1;
        if let Some(before) = before {
            self.lose(before);
        }
    }

    fn lose(&mut self, node: u64) {
        if let Some(values) = self.values.get_mut(&node) {
            *values -= 1;
            if *values == 0 {
                self.values.remove(&node);
            }
        }
    }
}
