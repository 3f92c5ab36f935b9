//! The clients of a world, without their sockets: what they write and when, and what each reader must
//! get.
//!
//! A world brings bytes and events to it, and takes bytes from it. Every delta that comes is checked:
//! its document, its sequence, its bytes; every sequence that does not come must be told. It keeps a
//! few numbers for each handle and never waits.

mod settling;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Instant;

use deltaworks_image::Image;
use deltaworks_pipeline::message::Policy;

use super::answers::Answers;
pub use super::client::{
    Account, Document, Handle, Key, OpenedAs, Plan, Role, Session, Side, Speed, Sums,
};
use super::delta::Template;
use super::plant::Plant;
use super::span::Span;

/// Bytes that a greedy writer has ready at a time.
const READY_BYTES: usize = 64 << 10;

/// Bytes of a paced writer that its socket has not taken, above which its timetable is held up.
const UNSENT_BYTES_MAX: usize = 256 << 10;

/// One image in so many has both of its checksums compared; the marks in its deltas always are.
const CHECKED: u64 = 64;

/// How a session is told that what was half sent to it found no more room.
const OVERFLOW: &str = "code: 213,";

/// What is said of a run that goes wrong again and again.
const FAULTS_MAX: usize = 8;

/// All clients of a world.
#[derive(Debug)]
pub struct Fleet {
    /// The documents.
    pub documents: Vec<Document>,
    sessions: Vec<Option<Session>>,
    free: Vec<Key>,
    ready: VecDeque<Key>,
    /// Readers that are slower than others.
    slow: Vec<Key>,
    /// By whose speed the slow are measured; bytes that it got, and how many of these were given.
    pub yardstick: Option<Key>,
    /// Whether the server may end a session of the disturbance because what was half sent to it, or is
    /// awaited of it, finds no more room: it is told so with a number, and is no fault.
    pub may_overflow: bool,
    /// Sessions that were.
    overflowed: Vec<Key>,
    full_bytes: u64,
    given_bytes: u64,
    began: Instant,
    paced: Vec<usize>,
    paced_writers: HashMap<usize, (Key, u32)>,
    interval_ns: u64,
    due: u64,
    /// When everybody stopped to write, if they did.
    paused: Option<Instant>,
    /// Whether the greedy have.
    rests: bool,
    span: Option<Span>,
    images: u64,
    /// What the others got.
    pub others: Sums,
    /// What the disturbance got.
    pub disturbance: Sums,
    /// Images of dear documents, in the order in which documents came: for who compares.
    pub arrivals: Option<Vec<usize>>,
    /// How long batches take from their writing to their answer, if that is asked for, and when those
    /// were written that have none.
    pub answers: Option<Answers>,
    faults: Vec<String>,
    plant: Option<Plant>,
    held: Option<(Key, Vec<u8>)>,
}

impl Fleet {
    /// Nobody, whose timetable begins now.
    pub fn new(plant: Option<Plant>) -> Self {
        Self {
            documents: Vec::new(),
            sessions: Vec::new(),
            free: Vec::new(),
            ready: VecDeque::new(),
            slow: Vec::new(),
            yardstick: None,
            may_overflow: false,
            overflowed: Vec::new(),
            full_bytes: 0,
            given_bytes: 0,
            began: Instant::now(),
            paced: Vec::new(),
            paced_writers: HashMap::new(),
            interval_ns: u64::MAX,
            due: 0,
            paused: None,
            rests: false,
            span: None,
            images: 0,
            others: Sums::default(),
            disturbance: Sums::default(),
            arrivals: None,
            answers: None,
            faults: Vec::new(),
            plant: plant.filter(|it| it.is_of_readers()),
            held: None,
        }
    }

    /// Nanoseconds since it began.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// What was wrong so far.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// Notes what is wrong.
    pub fn fault(&mut self, fault: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }

    /// A new document.
    pub fn document(&mut self, name: String, template: Rc<Template>) -> usize {
        let number = self.documents.len();
        let salt = (number as u32 + 1).wrapping_mul(0x9e37_79b9);
        let (published, batches, turn) = (0, 0, None);
        let id = None;
        self.documents.push(Document { name, template, salt, id, published, batches, turn });
        number
    }

    /// Lets the timetable begin: `rate` batches a second over these documents, each in its turn.
    pub fn pace(&mut self, documents: &[usize], rate: f64) {
        for (turn, document) in documents.iter().enumerate() {
            self.documents[*document].turn = Some(turn);
        }
        self.paced = documents.to_vec();
        self.interval_ns = (1e9 / rate) as u64;
        self.began = Instant::now();
        self.due = 0;
    }

    /// A place for a session of that plan.
    pub fn begin(&mut self, plan: Plan) -> Key {
        let handles = vec![Handle::default(); plan.documents.len()];
        let room_bytes = usize::MAX;
        let session = Session {
            plan,
            handles,
            opened: 0,
            by_id: HashMap::new(),
            last: (u64::MAX, 0),
            out: Vec::new(),
            sent: 0,
            is_ready: false,
            room_bytes,
            turn: 0,
        };
        match self.free.pop() {
            Some(key) => {
                self.sessions[key] = Some(session);
                key
            }
            None => {
                self.sessions.push(Some(session));
                self.sessions.len() - 1
            }
        }
    }

    /// Sessions that the server has ended for want of room, once each.
    pub fn overflowed(&self) -> Vec<Key> {
        self.overflowed.clone()
    }

    /// Forgets a session.
    pub fn end(&mut self, key: Key) {
        self.overflowed.retain(|other| *other != key);
        if self.sessions[key].take().is_some() {
            self.free.push(key);
            self.slow.retain(|other| *other != key);
            self.ready.retain(|other| *other != key);
        }
    }

    /// A session, if it is there.
    #[inline]
    pub fn session(&mut self, key: Key) -> Option<&mut Session> {
        self.sessions.get_mut(key)?.as_mut()
    }

    /// Whether all of a session's documents are open.
    pub fn is_open(&self, key: Key) -> bool {
        self.overflowed.contains(&key)
            || self.sessions[key].as_ref().is_some_and(|it| it.opened == it.handles.len())
    }

    /// A document was opened.
    pub fn opened(&mut self, key: Key, opened: OpenedAs) {
        let Some(session) = self.sessions[key].as_mut() else { return };
        let Some(handle) = session.handles.get_mut(opened.handle as usize) else {
            return self.fault(format!("handle {} was never asked for", opened.handle));
        };
        *handle = Handle {
            is_open: true,
            next: opened.start_sequence,
            start: opened.start_sequence,
            number: opened.producer_sequence,
            acked: opened.producer_sequence,
            balance: opened.credit as i64,
            ..Handle::default()
        };
        session.opened += 1;
        let document = session.plan.documents[opened.handle as usize];
        let is_whole = session.opened == session.handles.len();
        self.documents[document].id = Some(opened.document);
        match session.plan.role {
            Role::Reader { speed, .. } => {
                session.by_id.insert(opened.document, opened.handle);
                if is_whole && speed != Speed::Full {
                    session.room_bytes = 0;
                    if matches!(speed, Speed::OneIn(_)) {
                        self.slow.push(key);
                    }
                }
            }
            Role::Paced => {
                self.paced_writers.insert(document, (key, opened.handle));
            }
            Role::Greedy if is_whole => self.make_ready(key),
            Role::Greedy | Role::Asked => {}
        }
    }

    /// Batches were answered.
    pub fn acked(&mut self, key: Key, handle: u32, number: u64, credit: u64) {
        let known = self.handle(key, handle);
        let Some(known) = known else { return };
        if number < known.acked || number > known.number {
            let (acked, sent) = (known.acked, known.number);
            return self.fault(format!("{number} was answered behind {acked}, of {sent}"));
        }
        let newly = number - known.acked;
        known.acked = number;
        if let Some(answers) = &mut self.answers {
            answers.answered(key, handle, newly);
        }
        self.credit(key, handle, credit);
    }

    /// Credit came.
    pub fn credit(&mut self, key: Key, handle: u32, bytes: u64) {
        let Some(known) = self.handle(key, handle) else { return };
        known.balance += bytes as i64;
        if self.session(key).is_some_and(|it| it.plan.role == Role::Greedy) {
            self.make_ready(key);
        }
    }

    /// Sequences were told not to come.
    pub fn gap(&mut self, key: Key, handle: u32, from: u64, to: u64) {
        if self.is_planted(Plant::Untold) {
            return;
        }
        let Some(session) = self.sessions[key].as_mut() else { return };
        let side = session.plan.side;
        let Some(known) = session.handles.get_mut(handle as usize) else { return };
        if from != known.next || to <= from {
            let next = known.next;
            return self
                .fault(format!("{from}..{to} was told to be missing, where {next} is next"));
        }
        known.next = to;
        known.told += to - from;
        let sums = self.sums(side);
        sums.told += to - from;
        sums.gaps += 1;
    }

    /// The server has ended a subscription, which only one policy allows.
    pub fn closed(&mut self, key: Key, handle: u32) {
        let policy = self.session(key).map(|it| it.plan.role);
        let Some(known) = self.handle(key, handle) else { return };
        known.is_closed = true;
        if !matches!(policy, Some(Role::Reader { policy: Policy::Close, .. })) {
            self.refused(key, "the end of a handle");
        }
    }

    /// Something was told that may not be.
    pub fn refused(&mut self, key: Key, what: &str) {
        if self.overflowed.contains(&key) {
            return;
        }
        let side = self.session(key).map(|it| it.plan.side);
        if self.may_overflow && side == Some(Side::Disturbance) && what.contains(OVERFLOW) {
            return self.overflowed.push(key);
        }
        self.fault(format!("a session ({side:?}) was told {what}"));
    }

    /// A whole image came.
    #[inline]
    pub fn image(&mut self, key: Key, bytes: &[u8]) {
        self.images += 1;
        if self.plant.is_some() || self.held.is_some() {
            self.image_planted(key, bytes);
        } else {
            self.take(key, bytes);
        }
    }

    #[cold]
    fn image_planted(&mut self, key: Key, bytes: &[u8]) {
        if let Some((of, held)) = self.held.take() {
            let id = |bytes| Image::checked_before(bytes).map(|image| image.document());
            let is_next = of == key && id(bytes) == id(&held);
            self.take(key, bytes);
            if is_next {
                self.take(of, &held);
            } else {
                self.held = Some((of, held));
            }
            return;
        }
        let mut copy = bytes.to_vec();
        if self.is_planted(Plant::Missing) {
            return;
        } else if self.is_planted(Plant::Twice) {
            self.take(key, bytes);
        } else if self.is_planted(Plant::Swap) {
            self.held = Some((key, copy));
            return;
        } else if self.is_planted(Plant::Byte) {
            let first = Image::checked_before(bytes).and_then(|image| image.deltas().next());
            let at = first.map_or(0, |delta| delta.as_ptr() as usize - bytes.as_ptr() as usize);
            // The last byte of the first delta's mark.
            copy[at + 16] ^= 1;
        }
        self.take(key, &copy);
    }

    /// Whether this is planted, and now; then it is gone.
    fn is_planted(&mut self, plant: Plant) -> bool {
        let is_now = self.plant == Some(plant)
            && (plant == Plant::Untold || self.images >= super::plant::PLANTED_IMAGE);
        if is_now {
            self.plant = None;
        }
        is_now
    }

    #[inline]
    fn take(&mut self, key: Key, bytes: &[u8]) {
        if let Err(fault) = self.try_take(key, bytes) {
            self.fault(fault);
        }
    }

    #[inline]
    fn try_take(&mut self, key: Key, bytes: &[u8]) -> Result<(), String> {
        let Some(session) = self.sessions[key].as_mut() else { return Ok(()) };
        let Some(image) = Image::checked_before(bytes) else {
            return Err("what came is no image".to_owned());
        };
        if self.images.is_multiple_of(CHECKED) {
            image.verify().map_err(|error| format!("a checksum: {error:?}"))?;
        }
        let id = image.document().to_bits();
        if session.last.0 != id {
            let handle = session.by_id.get(&id);
            let handle = handle.ok_or("an image of a document that was not opened")?;
            session.last = (id, *handle);
        }
        let known = &mut session.handles[session.last.1 as usize];
        let number = session.plan.documents[session.last.1 as usize];
        let document = &self.documents[number];
        let (first, count) = (image.first_sequence(), u64::from(image.count()));
        if first != known.next {
            let (name, next) = (&document.name, known.next);
            return Err(format!("{name}: sequence {first} came for {next}"));
        }
        let mut sequence = first;
        for delta in image.deltas() {
            if !document.template.is_of(delta, sequence, document.salt) {
                return Err(format!("{}: {sequence} is not what was written", document.name));
            }
            sequence += 1;
        }
        if sequence != first + count {
            return Err(format!("{}: {count} deltas are {}", document.name, sequence - first));
        }
        known.next = sequence;
        known.delivered += count;
        let side = session.plan.side;
        if self.yardstick == Some(key) {
            self.full_bytes += bytes.len() as u64;
        }
        if let (Some(turn), Some(span)) = (document.turn, &mut self.span) {
            let batch = (first - 1) / u64::from(document.template.deltas());
            let place = batch * self.paced.len() as u64 + turn as u64;
            if span.has(place) && side == Side::Others {
                let now_ns = self.began.elapsed().as_nanos() as u64;
                span.latency(now_ns.saturating_sub(place * self.interval_ns));
            }
        }
        if let Some(arrivals) = &mut self.arrivals {
            arrivals.push(number);
        }
        self.sums(side).delivered += count;
        Ok(())
    }

    fn sums(&mut self, side: Side) -> &mut Sums {
        match side {
            Side::Others => &mut self.others,
            Side::Disturbance => &mut self.disturbance,
        }
    }

    fn handle(&mut self, key: Key, handle: u32) -> Option<&mut Handle> {
        self.sessions[key].as_mut()?.handles.get_mut(handle as usize)
    }

    /// Writes what is due; returns whether anything was.
    pub fn publish_due(&mut self, now_ns: u64) -> bool {
        let before = self.due;
        while self.paused.is_none()
            && !self.paced.is_empty()
            && self.due * self.interval_ns <= now_ns
        {
            let document = self.paced[(self.due % self.paced.len() as u64) as usize];
            let Some((key, handle)) = self.paced_writers.get(&document).copied() else { break };
            if !self.may_write(key, handle) {
                break;
            }
            if let Some(span) = &mut self.span
                && span.has(self.due)
            {
                span.late(now_ns - self.due * self.interval_ns);
            }
            self.write(key, handle);
            self.due += 1;
        }
        self.due > before
    }

    fn may_write(&mut self, key: Key, handle: u32) -> bool {
        let Some(session) = self.session(key) else { return false };
        let known = session.handles[handle as usize];
        known.is_open && known.balance > 0 && session.out.len() - session.sent < UNSENT_BYTES_MAX
    }

    /// Writes the next batch of a handle to its session's way out.
    pub fn write(&mut self, key: Key, handle: u32) {
        let Some(session) = self.sessions[key].as_mut() else { return };
        let known = &mut session.handles[handle as usize];
        let document = &mut self.documents[session.plan.documents[handle as usize]];
        let Document { template, salt, .. } = &*document;
        known.number += 1;
        known.balance -= template.image_bytes() as i64;
        let first = document.published + 1;
        template.write(&mut session.out, handle, known.number, first, *salt);
        document.published += u64::from(document.template.deltas());
        document.batches += 1;
        if let Some(answers) = &mut self.answers {
            answers.written(key, handle);
        }
        self.make_ready(key);
    }

    /// Adds bytes to a session's way out that are no batch.
    pub fn say(&mut self, key: Key, bytes: &[u8]) {
        if let Some(session) = self.session(key) {
            session.out.extend_from_slice(bytes);
            self.make_ready(key);
        }
    }

    /// The session has something to send, or may write.
    pub fn make_ready(&mut self, key: Key) {
        if let Some(session) = self.sessions[key].as_mut()
            && !core::mem::replace(&mut session.is_ready, true)
        {
            self.ready.push_back(key);
        }
    }

    /// How many sessions have something to send.
    pub fn ready_count(&self) -> usize {
        self.ready.len()
    }

    /// The next session that has something to send.
    pub fn take_ready(&mut self) -> Option<Key> {
        let key = self.ready.pop_front()?;
        self.session(key)?.is_ready = false;
        Some(key)
    }

    /// What the session's socket is to take next; a greedy writer writes it now.
    pub fn unsent(&mut self, key: Key) -> &[u8] {
        let is_paused = self.paused.is_some() || self.rests;
        let is_greedy = self
            .session(key)
            .is_some_and(|it| it.sent == it.out.len() && it.plan.role == Role::Greedy);
        if is_greedy && !is_paused {
            self.write_greedily(key);
        }
        self.sessions[key].as_ref().map_or(&[], |session| &session.out[session.sent..])
    }

    fn write_greedily(&mut self, key: Key) {
        let Some(session) = self.session(key) else { return };
        let handles = session.handles.len();
        let mut idle = 0;
        while idle < handles {
            let Some(session) = self.session(key) else { return };
            let handle = session.turn;
            session.turn = (handle + 1) % handles;
            let known = session.handles[handle];
            if session.out.len() - session.sent >= READY_BYTES {
                break;
            }
            if known.is_open && known.balance > 0 {
                self.write(key, handle as u32);
                idle = 0;
            } else {
                idle += 1;
            }
        }
    }

    /// The socket has taken `count` bytes; whether it may be asked to take more.
    pub fn took(&mut self, key: Key, count: usize) -> bool {
        let is_paused = self.paused.is_some() || self.rests;
        let Some(session) = self.session(key) else { return false };
        session.sent += count;
        if session.sent < session.out.len() {
            return true;
        }
        session.out.clear();
        session.sent = 0;
        let has_credit = session.handles.iter().any(|it| it.is_open && it.balance > 0);
        session.plan.role == Role::Greedy && !is_paused && has_credit
    }

    /// Gives slow readers the room that is theirs by now; those that have more than before.
    pub fn give_room(&mut self, given: &mut Vec<Key>) {
        const STEP_BYTES: u64 = 128 << 10;
        while self.full_bytes - self.given_bytes >= STEP_BYTES {
            self.given_bytes += STEP_BYTES;
            for key in &self.slow {
                let Some(session) = self.sessions[*key].as_mut() else { continue };
                let Role::Reader { speed: Speed::OneIn(part), .. } = session.plan.role else {
                    continue;
                };
                session.room_bytes =
                    session.room_bytes.saturating_add((STEP_BYTES / part) as usize);
                given.push(*key);
            }
        }
    }

    /// A slow or frozen reader takes everything from now on.
    pub fn thaw(&mut self, key: Key) {
        self.slow.retain(|other| *other != key);
        if let Some(session) = self.session(key) {
            session.room_bytes = usize::MAX;
        }
    }

    /// Nobody writes of their own accord until [`Fleet::resume`].
    pub fn pause(&mut self) {
        self.paused = Some(Instant::now());
    }

    /// Everybody writes again; the timetable goes on where it stood.
    pub fn resume(&mut self) {
        if let Some(paused) = self.paused.take() {
            self.began += paused.elapsed();
        }
        self.wake_greedy();
    }

    /// Whether those who write as fast as they may write nothing, until they are told to go on.
    pub fn rest(&mut self, rests: bool) {
        self.rests = rests;
        self.wake_greedy();
    }

    fn wake_greedy(&mut self) {
        for key in self.keys() {
            if self.session(key).is_some_and(|it| it.plan.role == Role::Greedy) {
                self.make_ready(key);
            }
        }
    }

    /// Keys of all sessions.
    pub fn keys(&self) -> Vec<Key> {
        (0..self.sessions.len()).filter(|key| self.sessions[*key].is_some()).collect()
    }

    /// Begins to note the figures of what is due within `length_ns` from now.
    pub fn begin_span(&mut self, length_ns: u64) {
        let now_ns = self.now_ns();
        let at = |ns: u64| ns / self.interval_ns + 1;
        let delivered = self.others.delivered;
        let (from, to) = (at(now_ns), at(now_ns + length_ns));
        self.span = Some(Span::new(from..to, now_ns, delivered, self.disturbance.delivered));
    }

    /// The time of the span is over: what else comes belongs to no rate.
    pub fn end_rates(&mut self) {
        let (now_ns, others, disturbance) =
            (self.now_ns(), self.others.delivered, self.disturbance.delivered);
        if let Some(span) = &mut self.span {
            span.end(now_ns, others, disturbance);
        }
    }

    /// The span, if there is one.
    pub fn span(&mut self) -> Option<&mut Span> {
        self.span.as_mut()
    }

    /// Whether everything that was due in the span has been written and has come to the others.
    pub fn is_span_whole(&self, others: &[Key]) -> bool {
        let Some(span) = &self.span else { return true };
        self.paced.is_empty()
            || span.is_before(self.due) && others.iter().all(|key| self.has_come(*key))
            || !self.faults.is_empty()
    }

    /// Whether a reader has all that its paced documents had when their turn came last.
    fn has_come(&self, key: Key) -> bool {
        let Some(session) = self.sessions[key].as_ref() else { return true };
        let Some(span) = &self.span else { return true };
        session.handles.iter().zip(&session.plan.documents).all(|(handle, document)| {
            let document = &self.documents[*document];
            let Some(turn) = document.turn else { return true };
            let batches = span.batches_of(turn as u64, self.paced.len() as u64);
            handle.next > batches * u64::from(document.template.deltas())
        })
    }

    /// The span, which is over.
    pub fn take_span(&mut self) -> Option<Span> {
        self.span.take()
    }
}
