//! What every client must see: plain maps, kept by what clients said and heard.
//!
//! It knows nothing of cores, rings, chunks or cursors. A document is one life of a name: a slot, a
//! generation and an epoch. What a client hears is laid beside what all others have heard of the same
//! document, and beside what its writers sent; where the two differ, it panics with what is wrong.

use std::collections::{BTreeMap, BTreeSet};

use deltaworks_image::{Image, Kind};

use crate::content::{Content, Source};
use crate::setting::{Name, Setting};

/// Who wrote a batch, and its number: the same through all resends.
pub type Key = (u64, u64);

/// One life of a document.
#[derive(Debug)]
pub struct Document {
    /// Its place among the names.
    pub name: usize,
    /// Its epoch.
    pub epoch: u64,
    check: crate::setting::Check,
    contents: BTreeMap<Key, Content>,
    /// Whose a writer's number is.
    origins: BTreeMap<u32, u64>,
    /// The highest number that was sent, and that was answered, by producer.
    sent: BTreeMap<u64, u64>,
    answered: BTreeMap<u64, u64>,
    /// Where batches stand, and what stands at a sequence.
    places: BTreeMap<Key, u64>,
    order: BTreeMap<u64, (Key, u32)>,
    refused: BTreeMap<Key, u16>,
    /// Where its window has begun while chunks were retired.
    window_starts: BTreeSet<u64>,
    /// Sequences at which somebody was told that a gap begins or ends.
    edges: BTreeSet<u64>,
    /// Somebody asked for its drop.
    pub is_dropped: bool,
    /// Somebody was told that it was dropped: then everybody must be.
    pub was_ended: bool,
    /// Where its stream ended, as a reader was told.
    end: Option<u64>,
}

/// All documents, all lives.
#[derive(Debug)]
pub struct Model {
    names: Vec<Name>,
    delta_bytes: usize,
    image_bytes_max: u32,
    documents: BTreeMap<u64, Document>,
    /// How many times a producer has asked to write a name: above one it may be fenced off.
    claims: BTreeMap<(usize, u64), u32>,
    /// Batches that were sent, resends included.
    pub batches_sent: usize,
}

impl Model {
    /// A world in which nobody has said anything.
    pub fn new(setting: &Setting) -> Self {
        Self {
            names: setting.names.clone(),
            delta_bytes: setting.delta_bytes,
            image_bytes_max: setting.limits.image_bytes_max,
            documents: BTreeMap::new(),
            claims: BTreeMap::new(),
            batches_sent: 0,
        }
    }

    /// Whether anybody was told of a document.
    pub fn knows(&self, id: u64) -> bool {
        self.documents.contains_key(&id)
    }

    /// The document of an identity that was told.
    pub fn document(&mut self, id: u64) -> &mut Document {
        self.documents.get_mut(&id).expect("a document that was opened")
    }

    /// Notes that a producer asks to write a name.
    pub fn claim(&mut self, name: usize, producer: u64) {
        *self.claims.entry((name, producer)).or_default() += 1;
    }

    /// Whether a writer of the name may have been fenced off by another of the same identity.
    pub fn may_be_fenced(&self, name: usize, producer: u64) -> bool {
        self.claims.get(&(name, producer)).is_some_and(|claims| *claims > 1)
    }

    /// Whether somebody asked for the drop of a life of this name.
    pub fn was_dropped(&self, name: usize) -> bool {
        self.documents.values().any(|document| document.name == name && document.is_dropped)
    }

    /// The newest life of a name, and the last number of a producer that was answered there.
    pub fn last_answered(&self, name: usize, producer: u64) -> Option<(u64, u64)> {
        let lives = self.documents.iter().rev().filter(|(_, document)| document.name == name);
        let mut answered =
            lives.filter_map(|(id, document)| Some((*id, *document.answered.get(&producer)?)));
        answered.next()
    }

    /// A session was told what `id` is.
    pub fn opened(&mut self, id: u64, name: usize, epoch: u64) -> &mut Document {
        let check = self.names[name].check;
        let document = self.documents.entry(id).or_insert_with(|| Document {
            name,
            epoch,
            check,
            contents: BTreeMap::new(),
            origins: BTreeMap::new(),
            sent: BTreeMap::new(),
            answered: BTreeMap::new(),
            places: BTreeMap::new(),
            order: BTreeMap::new(),
            refused: BTreeMap::new(),
            window_starts: BTreeSet::new(),
            edges: BTreeSet::new(),
            is_dropped: false,
            was_ended: false,
            end: None,
        });
        assert_eq!((document.name, document.epoch), (name, epoch), "an id means one life");
        document
    }

    /// A document's window begins at `sequence`, whoever was told of it.
    pub fn window_starts(&mut self, id: u64, sequence: u64) {
        if let Some(document) = self.documents.get_mut(&id) {
            document.window_starts.insert(sequence);
        }
    }

    /// The content of a batch.
    pub fn content(&mut self, id: u64, key: Key) -> &Content {
        let (delta_bytes, image_bytes_max) = (self.delta_bytes, self.image_bytes_max);
        self.document(id).content(key, delta_bytes, image_bytes_max)
    }

    /// Notes that a batch is sent, and gives its image.
    pub fn send(&mut self, id: u64, key: Key) -> &[u8] {
        self.batches_sent += 1;
        let sent = self.document(id).sent.entry(key.0).or_default();
        *sent = key.1.max(*sent);
        &self.content(id, key).image
    }

    /// Where the newest values of a document stand from `start` to `end`: of as much of its end as
    /// anybody knows, values that a batch behind them replaces left out.
    pub fn newest(&mut self, id: u64, start: u64, end: u64) -> Vec<u64> {
        let known: Vec<(u64, Key, u32)> =
            self.document(id).order.iter().map(|(at, (key, count))| (*at, *key, *count)).collect();
        let (mut next, mut replaced, mut newest) = (end, BTreeSet::new(), Vec::new());
        for (at, key, count) in known.into_iter().rev() {
            if at < start || at + u64::from(count) != next {
                break;
            }
            next = at;
            let values = self.content(id, key).values.clone();
            // A value that has no key is never replaced.
            let is_newest = values.iter().any(|value| value.is_none_or(|it| replaced.insert(it)));
            replaced.extend(values.into_iter().flatten());
            newest.extend(is_newest.then_some(at));
        }
        newest
    }

    /// A reader got an image, behind `previous` if it has read of the document before without a
    /// gap since. Returns whose it is and how many deltas it holds.
    pub fn image(&mut self, id: u64, image: &Image<'_>, previous: Option<Key>) -> (Key, u32) {
        assert_eq!(image.verify(), Ok(()), "both checksums agree");
        let document = self.document(id);
        let producer = *document.origins.get(&image.origin()).expect("somebody wrote it");
        let key = (producer, image.producer_sequence());
        assert!(
            key.1 <= document.sent.get(&producer).copied().unwrap_or(0),
            "batch {key:?} was never sent"
        );
        let content = self.content(id, key);
        assert!(content.kept() == &image.bytes()[40..], "the bytes of {key:?} are the writer's");
        assert_eq!(content.is_info, image.kind() == Kind::Info);
        let count = content.count;
        self.place(id, key, image.first_sequence());
        if let Some(previous) = previous.filter(|previous| previous.0 == key.0) {
            assert!(previous.1 < key.1, "{key:?} comes behind {previous:?}");
        }
        (key, count)
    }

    /// A batch has its place.
    fn place(&mut self, id: u64, key: Key, first: u64) {
        let content = self.content(id, key);
        let count = content.count;
        assert_eq!(content.refusal, None, "{key:?} must be refused, and was accepted");
        let document = self.document(id);
        assert!(!document.refused.contains_key(&key), "{key:?} was refused, and has a place");
        let known = *document.places.entry(key).or_insert(first);
        assert_eq!(known, first, "{key:?} was accepted once, and has one place");
        let mut before = document.places.range((key.0, 0)..key).next_back();
        assert!(before.is_none_or(|(_, at)| *at <= first), "{key:?} stands before {before:?}");
        before = document.places.range((key.0, key.1 + 1)..(key.0, u64::MAX)).next();
        assert!(
            before.is_none_or(|(_, at)| *at >= first + u64::from(count)),
            "{before:?} overtook"
        );
        if count == 0 {
            return;
        }
        let at = *document.order.entry(first).or_insert((key, count));
        assert_eq!(at, (key, count), "one batch at sequence {first}");
        if let Some((at, (other, count))) = document.order.range(..first).next_back() {
            assert!(at + u64::from(*count) <= first, "{key:?} lies over {other:?}");
        }
        let edge = document.edges.range(first + 1..first + u64::from(count)).next();
        assert_eq!(edge, None, "a gap begins or ends inside of {key:?}");
        if let Some((at, (other, _))) = document.order.range(first + 1..).next() {
            assert!(first + u64::from(count) <= *at, "{key:?} lies over {other:?}");
        }
    }

    /// A writer was told that all its numbers up to `to` are answered; those above `from` it was
    /// not told before. `sequence` is where the last stands, or 0; `is_resent`: the last may have
    /// been answered to an earlier session.
    pub fn acked(
        &mut self,
        id: u64,
        producer: u64,
        (from, to): (u64, u64),
        sequence: u64,
        is_resent: bool,
    ) {
        for number in from + 1..=to {
            let key = (producer, number);
            let must_be_refused = self.content(id, key).refusal.is_some();
            let document = self.document(id);
            let was_refused = document.refused.contains_key(&key);
            assert!(was_refused || !must_be_refused, "{key:?} must be refused, and was answered");
        }
        let document = self.document(id);
        let sent = document.sent.get(&producer).copied().unwrap_or(0);
        assert!(to <= sent || from == to, "{to} of {producer} was answered, {sent} was sent last");
        let answered = document.answered.entry(producer).or_default();
        *answered = to.max(*answered);
        if sequence != 0 {
            self.place(id, (producer, to), sequence);
        } else if to > 0 && !is_resent {
            let refused = document.refused.contains_key(&(producer, to));
            assert!(refused, "{to} of {producer} was answered without sequence or refusal");
        }
    }

    /// A writer was told that a batch is refused; `is_consumed`: its number is answered so.
    pub fn refused(&mut self, id: u64, key: Key, code: u16, delta: Option<u32>, is_consumed: bool) {
        let expected = self.content(id, key).refusal;
        if let 400 | 401 | 407 | 410 = code {
            assert_eq!(expected, Some((code, delta)), "{key:?} was refused for {code}");
        }
        if is_consumed {
            let document = self.document(id);
            assert!(!document.places.contains_key(&key), "{key:?} has a place, and was refused");
            let known = *document.refused.entry(key).or_insert(code);
            assert_eq!(known, code, "{key:?} was refused once");
        }
    }

    /// How many deltas the documents that are left must and may hold, and the batches among them:
    /// those that were acknowledged, and those of which nobody heard.
    pub fn expected_next(&mut self, id: u64) -> (u64, u64) {
        let keys: Vec<Key> = {
            let document = self.document(id);
            let numbers = |(producer, sent): (&u64, &u64)| {
                let producer = *producer;
                (1..=*sent).map(move |number| (producer, number))
            };
            document.sent.iter().flat_map(numbers).collect()
        };
        let (mut least, mut most) = (1, 1);
        for key in keys {
            let content = self.content(id, key);
            let (count, refusal) = (u64::from(content.count), content.refusal);
            let document = self.document(id);
            if refusal.is_some() || document.refused.contains_key(&key) {
                continue;
            }
            most += count;
            if document.places.contains_key(&key) {
                least += count;
            }
        }
        (least, most)
    }
}

impl Document {
    fn content(&mut self, key: Key, delta_bytes: usize, image_bytes_max: u32) -> &Content {
        let source = Source {
            check: self.check,
            epoch: self.epoch,
            producer: key.0,
            delta_bytes,
            image_bytes_max,
        };
        self.contents.entry(key).or_insert_with(|| Content::of(&source, key.1))
    }

    /// A writer was told its number in images, and the last of its batches that was answered.
    pub fn bound(&mut self, producer: u64, origin: u32, last: u64) {
        let known = *self.origins.entry(origin).or_insert(producer);
        assert_eq!(known, producer, "an origin means one producer");
        let highest = self.sent.values().copied().max().unwrap_or(0);
        assert!(last <= highest, "{last} was answered, {highest} was sent last by anybody");
    }

    /// A reader was told that what stands between two sequences was left out: whole batches.
    pub fn left_out(&mut self, from: u64, to: u64) {
        for edge in [from, to] {
            if let Some((at, (key, count))) = self.order.range(..edge).next_back() {
                assert!(
                    at + u64::from(*count) <= edge,
                    "a gap has its edge {edge} inside of {key:?}"
                );
            }
            self.edges.insert(edge);
        }
    }

    /// Whether the window has begun between two sequences.
    pub fn windows_within(&self, from: u64, to: u64) -> bool {
        self.window_starts.range(from + 1..to).next().is_some()
    }

    /// Whether an info may stand at `sequence`: one was sent, and is there or nobody knows where.
    pub fn may_have_info_at(&self, sequence: u64) -> bool {
        let sent = self.contents.iter().filter(|(key, _)| self.was_sent(**key));
        let mut infos = sent.filter(|(_, content)| content.is_info && content.refusal.is_none());
        infos.any(|(key, _)| self.places.get(key).is_none_or(|at| *at == sequence))
    }

    /// Whether a batch of this number was sent.
    pub fn was_sent(&self, key: Key) -> bool {
        self.sent.get(&key.0).is_some_and(|sent| key.1 <= *sent)
    }

    /// Whether some info's image that was sent holds `map`.
    pub fn has_info(&self, map: &[u8]) -> bool {
        let sent = self.contents.iter().filter(|(key, _)| self.was_sent(**key));
        let mut infos = sent.filter(|(_, content)| content.is_info && content.refusal.is_none());
        infos.any(|(_, content)| content.kept()[16..].starts_with(map))
    }

    /// A reader of a dropped document has read its stream to the end.
    pub fn ended(&mut self, next: u64) {
        assert!(self.is_dropped, "nobody dropped it");
        let end = *self.end.get_or_insert(next);
        assert_eq!(end, next, "all readers get the stream to the same end");
        let last = self.order.last_key_value().map_or(1, |(at, (_, count))| at + u64::from(*count));
        assert!(last <= end, "the stream ends at {end}, and something stands at {last}");
    }

    /// Checks the part of the stream from `from` to `to` that an auditor has read: nothing lies
    /// between what is known.
    pub fn assert_whole(&self, from: u64, to: u64) {
        let mut next = from;
        for (at, (key, count)) in self.order.range(from..to) {
            assert_eq!(*at, next, "nothing lies before {key:?}");
            next = at + u64::from(*count);
        }
        assert_eq!(next, to, "the stream goes on to its end");
    }

    /// Producers that wrote, with the last of their numbers that was answered.
    pub fn answered(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.answered.iter().map(|(producer, last)| (*producer, *last))
    }

    /// Batches with a place, by producer.
    pub fn writers(&self) -> BTreeSet<u64> {
        self.places.keys().map(|key| key.0).collect()
    }
}
