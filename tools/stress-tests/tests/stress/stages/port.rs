//! The clients of one core, as the stages see them, and what they make sure of.

use std::collections::BTreeMap;

use deltaworks_image::{Image, PRELUDE_BYTES};
use deltaworks_pipeline::message::{
    Ack, CloseReason, Missed, OpenRefusal, Opened, Refusal, SessionId,
};
use deltaworks_pipeline::port::{ControlAction, Sent, SessionFault, SessionPort};
use deltaworks_runtime::clock::Now;
use deltaworks_stress_tests::content;

use super::DOCUMENTS;

/// How a reader's socket takes bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Speed {
    /// All at once.
    Fast,
    /// As there is room, which comes seldom.
    Slow,
}

/// A handle of a session.
#[derive(Default)]
struct Handle {
    document: u32,
    /// Of a writer: numbers given, answered, and the credit left.
    number: u64,
    answered: u64,
    credit_bytes: i64,
    /// Of a reader: what must come next, and the last number of each writer.
    next: u64,
    numbers: BTreeMap<u64, u64>,
}

struct Session {
    is_writer: bool,
    speed: Speed,
    room_bytes: usize,
    is_blocked: bool,
    handles: BTreeMap<u32, Handle>,
    /// By document: slot and generation; by these, the handle.
    readers: BTreeMap<u64, u32>,
    partial: Vec<u8>,
    /// Gaps that are told in front of the next image: handle, from, to.
    control: Vec<(u32, u64, u64)>,
}

/// All clients of a core.
pub struct Port {
    core: u64,
    sessions: BTreeMap<u32, Session>,
    pub is_ending: bool,
    pub images: u64,
    pub gaps: u64,
    pub halves: u64,
}

impl Port {
    pub fn new(core: u64) -> Self {
        let sessions = BTreeMap::new();
        Self { core, sessions, is_ending: false, images: 0, gaps: 0, halves: 0 }
    }

    pub fn begin(&mut self, session: SessionId, speed: Speed, is_writer: bool) {
        let new = Session {
            is_writer,
            speed,
            room_bytes: 0,
            is_blocked: false,
            handles: BTreeMap::new(),
            readers: BTreeMap::new(),
            partial: Vec::new(),
            control: Vec::new(),
        };
        assert!(self.sessions.insert(session.0, new).is_none(), "a place is given once");
    }

    pub fn sessions(&self) -> Vec<SessionId> {
        self.sessions.keys().map(|session| SessionId(*session)).collect()
    }

    pub fn blocked(&self) -> Vec<SessionId> {
        let blocked = self.sessions.iter().filter(|(_, session)| session.is_blocked);
        blocked.map(|(session, _)| SessionId(*session)).collect()
    }

    pub fn make_room(&mut self, session: SessionId, bytes: usize) {
        if let Some(session) = self.sessions.get_mut(&session.0) {
            session.room_bytes = bytes;
            session.is_blocked = false;
        }
    }

    fn writer(&mut self) -> Option<&mut Session> {
        self.sessions.values_mut().find(|session| session.is_writer)
    }

    /// Where the writer writes next: document, handle and number; `None` without credit, or when
    /// `batches` are written everywhere.
    pub fn next_batch(&mut self, batches: u64) -> Option<(u32, u32, u64)> {
        let writer = self.writer()?;
        let may = |handle: &&mut Handle| handle.number < batches && handle.credit_bytes > 0;
        let handles = writer.handles.iter_mut().map(|(id, handle)| (*id, handle));
        let (id, handle) =
            handles.filter(|(_, handle)| may(handle)).min_by_key(|(_, handle)| handle.number)?;
        handle.number += 1;
        Some((handle.document, id, handle.number))
    }

    pub fn spend(&mut self, handle: u32, bytes: usize) {
        let writer = self.writer().expect("who writes is there");
        writer.handles.get_mut(&handle).expect("it is open").credit_bytes -= bytes as i64;
    }

    /// Whether the writer has all its answers.
    pub fn is_answered(&self, batches: u64) -> bool {
        self.sessions.values().filter(|session| session.is_writer).all(|writer| {
            writer.handles.len() == DOCUMENTS as usize
                && writer.handles.values().all(|handle| handle.answered == batches)
        })
    }

    /// Whether every session has opened every document.
    pub fn is_opened(&self) -> bool {
        self.sessions.values().all(|session| session.handles.len() == DOCUMENTS as usize)
    }

    fn handle(&mut self, session: SessionId, handle: u32) -> Option<&mut Handle> {
        self.sessions.get_mut(&session.0)?.handles.get_mut(&handle)
    }

    /// A whole image for a reader.
    fn read(&mut self, session: u32, bytes: &[u8]) {
        let image = Image::parse(bytes).expect("an image");
        image.verify().expect("its checksums");
        let id = image.document().to_bits();
        let reader = self.sessions.get_mut(&session).expect("who reads is there");
        let handle = reader.readers.get(&id).expect("a document that was opened");
        let handle = reader.handles.get_mut(handle).expect("an open handle");
        let first = image.first_sequence();
        assert!(first == handle.next, "core {}: {first} came for {}", self.core, handle.next);
        handle.next = first + u64::from(image.count());
        for (number, delta) in image.deltas().enumerate() {
            let word = |place: usize| {
                let bytes = delta[place * 8..].first_chunk().expect("four words and more");
                u64::from_le_bytes(*bytes)
            };
            let (writer, batch) = (word(0), word(2));
            assert_eq!((word(1), word(3)), (u64::from(handle.document), number as u64));
            assert_eq!(batch, image.producer_sequence());
            let seed = content(writer << 48 | batch << 16 | number as u64);
            for place in 4..delta.len() / 8 {
                assert_eq!(word(place), content(seed ^ (place as u64 - 4)), "the bytes of a batch");
            }
            let last = handle.numbers.insert(writer, batch).unwrap_or(0);
            assert!(batch == last && number > 0 || batch > last, "{batch} came behind {last}");
        }
        self.images += 1;
    }

    /// Says what was to be said behind a whole image.
    fn say(&mut self, session: SessionId) {
        let Some(reader) = self.sessions.get_mut(&session.0) else { return };
        for (handle, from, to) in reader.control.drain(..) {
            let Some(handle) = reader.handles.get_mut(&handle) else { continue };
            assert!(from == handle.next && to > from, "{from}..{to} is told for {}", handle.next);
            handle.next = to;
        }
    }

    /// How far the readers have come in each document.
    pub fn ends(&mut self) -> Vec<(u32, u64)> {
        self.sessions().into_iter().for_each(|session| self.say(session));
        let readers = self.sessions.values().filter(|session| !session.is_writer);
        let handles = readers.flat_map(|reader| reader.handles.values());
        let mut ends: Vec<_> = handles.map(|handle| (handle.document, handle.next)).collect();
        ends.sort_unstable();
        ends.dedup();
        ends
    }

    fn take(&mut self, session: SessionId, bytes: &[u8]) -> usize {
        let reader = self.sessions.get_mut(&session.0).expect("who reads is there");
        let count = match reader.speed {
            Speed::Fast => bytes.len(),
            Speed::Slow => bytes.len().min(reader.room_bytes),
        };
        reader.room_bytes -= count.min(reader.room_bytes);
        self.halves += u64::from(count > 0 && count < bytes.len());
        let mut partial = std::mem::take(&mut reader.partial);
        partial.extend_from_slice(&bytes[..count]);
        let mut rest = partial.as_slice();
        while let Some(prelude) = rest.first_chunk::<PRELUDE_BYTES>() {
            let length = u32::from_le_bytes([prelude[0], prelude[1], prelude[2], prelude[3]]);
            let Some((image, after)) = rest.split_at_checked(length as usize) else { break };
            self.read(session.0, image);
            rest = after;
        }
        let rest = rest.to_vec();
        self.sessions.get_mut(&session.0).expect("who reads is there").partial = rest;
        count
    }
}

impl SessionPort for Port {
    fn control(&mut self, _: SessionId, kind: u8, _: &[u8], _: Now) -> ControlAction {
        panic!("control of kind {kind} was never sent");
    }
    fn opened(&mut self, opened: &Opened, credit_bytes: u64) {
        let Some(session) = self.sessions.get_mut(&opened.session.0) else { return };
        let id = u64::from(opened.generation) << 32 | u64::from(opened.slot);
        session.readers.insert(id, opened.handle);
        let handle = Handle {
            document: opened.request,
            number: opened.producer_sequence,
            credit_bytes: credit_bytes as i64,
            next: opened.start_sequence,
            ..Handle::default()
        };
        assert!(session.handles.insert(opened.handle, handle).is_none(), "a handle is given once");
    }
    fn open_refused(&mut self, _: SessionId, request: u32, reason: OpenRefusal) {
        panic!("document {request} was refused: {reason:?}");
    }
    fn ack(&mut self, ack: &Ack) {
        assert_eq!(ack.duplicates, 0, "nothing was sent twice");
        if let Some(handle) = self.handle(ack.session, ack.handle) {
            assert!(ack.producer_sequence >= handle.answered, "answers are cumulative");
            handle.answered = ack.producer_sequence;
            handle.credit_bytes += i64::from(ack.credit_bytes);
        }
    }
    fn refused(&mut self, refusal: &Refusal) {
        panic!("a batch was refused: {refusal:?}");
    }
    fn gap(&mut self, session: SessionId, handle: u32, missed: Missed) {
        self.gaps += 1;
        if let Some(session) = self.sessions.get_mut(&session.0) {
            session.control.push((handle, missed.from, missed.to));
        }
    }
    fn credit(&mut self, session: SessionId, handle: u32, bytes: u64) {
        if let Some(handle) = self.handle(session, handle) {
            handle.credit_bytes += bytes as i64;
        }
    }
    fn closed(&mut self, _: SessionId, _: u32, reason: CloseReason) {
        assert!(self.is_ending, "nothing was closed: {reason:?}");
    }
    fn fault(&mut self, _: SessionId, fault: SessionFault) {
        panic!("a session is at fault: {fault:?}");
    }
    fn remainder(&mut self, session: SessionId, bytes: &[u8]) {
        // The end of the image that was taken in part.
        let reader = self.sessions.get_mut(&session.0).expect("who reads is there");
        let mut image = std::mem::take(&mut reader.partial);
        image.extend_from_slice(bytes);
        self.read(session.0, &image);
    }
    fn resume_reading(&mut self, _: SessionId) {}
    fn forgotten(&mut self, session: SessionId) {
        self.sessions.remove(&session.0).expect("it was there");
    }
    fn send(&mut self, session: SessionId, half: &[u8], parts: &[&[u8]]) -> Sent {
        let mut sent = Sent { half_bytes: self.take(session, half), ..Sent::default() };
        sent.blocked = sent.half_bytes < half.len();
        if !sent.blocked {
            self.say(session);
        }
        for part in parts {
            if sent.blocked {
                break;
            }
            let count = self.take(session, part);
            sent.parts_bytes += count;
            sent.blocked = count < part.len();
        }
        if let Some(reader) = self.sessions.get_mut(&session.0) {
            reader.is_blocked = sent.blocked;
        }
        sent
    }
}
