//! A client's session, sans-IO: it outlives connections, and heals them if it may.
//!
//! ```text
//!              ┌──────────── handle_disconnected ◀── any fault ───────────┐
//!              ▼                                                          │
//!        Disconnected ──handle_connected──▶ Greeting ──hello──▶ Running ──┤
//!                                                                         ▼
//!                                              without healing:        Failed
//! ```
//!
//! Owned by one task. What it keeps is bounded: unanswered batches in bytes per document, documents
//! by their number. It never touches a clock or a socket, and never waits.

mod event;

mod outbox;

mod document;

mod intake;

use std::collections::{HashMap, VecDeque};

use deltaworks_image::{BatchBuilder, BuildError, Limits, builder, header::HEADER_BYTES};

pub use event::{
    DocumentKey, Event, Fault, OpenError, OpenedDocument, Outcome, PublishError, Refusal,
    ServerLimits, UnknownReason,
};

use crate::error_code::ErrorCode;
use crate::message::{
    ClientHello, Close, Control, Drop, Open, OpenOptions, PROGRAM_BYTES_MAX, Ping, Pong, bounded,
};
use document::{Document, Phase};

/// How much of one document's waiting batches goes out before another's turn, in bytes.
const TURN_BYTES: usize = 64 << 10;
/// How often time-outs are looked at.
const LOOK_MS: u64 = 250;
/// How often a session pings while its user reads nothing.
const STALL_PING_MS: u64 = 5_000;
const NS_PER_MS: u64 = 1_000_000;

/// What a client does about faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Healing {
    /// A fault ends the connection; the next one resumes and sends again.
    #[default]
    On,
    /// The first fault, gap or double, is the end of the session, told as [`Event::Failed`].
    Off,
}

/// How a client session behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// The program's name, told in hello; at most 64 bytes.
    pub client: String,
    /// What happens at a fault.
    pub healing: Healing,
    /// How long an answer to hello, open or a batch may take (10 s).
    pub answer_timeout_ms: u32,
    /// Bytes of unanswered batches that a document keeps at most (1 MiB).
    pub backlog_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            client: concat!("deltaworks-client/", env!("CARGO_PKG_VERSION")).into(),
            healing: Healing::On,
            answer_timeout_ms: 10_000,
            backlog_bytes_max: 1 << 20,
        }
    }
}

/// What was counted since the session began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Batches sent, resends included.
    pub sent: u64,
    /// Batches sent again after a reconnect.
    pub resent: u64,
    /// Resends that the server told to be such.
    pub duplicates: u64,
    /// Batches that were refused.
    pub refused: u64,
    /// Connections after the first.
    pub reconnects: u64,
    /// Gaps told by the server.
    pub gaps: u64,
    /// Batches that came again and were dropped here.
    pub doubled: u64,
    /// Own batches that were not passed on because echo is off.
    pub suppressed: u64,
    /// Faults, whatever became of them.
    pub faults: u64,
}

/// What an image is to its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Not for the user: control, an echo, a double, or a document that is ending.
    Nothing,
    /// A batch of this document; its first `skip` deltas were wanted by nobody.
    Batch {
        /// The document.
        document: DocumentKey,
        /// Deltas before the subscription's start.
        skip: u32,
    },
    /// An info of this document.
    Info {
        /// The document.
        document: DocumentKey,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Disconnected,
    Greeting,
    Running,
    Failed(Fault),
}

/// A client's session: **`handle_connected`, then `handle_*` for what happens; after each,
/// `poll_event` until `None` and `poll_transmit` until it writes nothing; an error of `handle_*` is
/// given to `handle_disconnected` once the connection is shut**.
#[derive(Debug)]
pub struct Session {
    config: Config,
    state: State,
    limits: Limits,
    server: Option<ServerLimits>,
    documents: Vec<Option<Document>>,
    names: HashMap<Box<str>, u32>,
    by_handle: HashMap<u32, u32>,
    by_id: HashMap<u64, u32>,
    newest_id: Option<(u64, u32)>,
    /// Documents that have something to send, each once.
    ready: VecDeque<u32>,
    control: Vec<u8>,
    pong: Option<u64>,
    events: VecDeque<Event>,
    counters: Counters,
    heard_ns: u64,
    next_look_ns: u64,
    pinged_ns: u64,
    was_connected: bool,
}

impl Session {
    /// A session without connection.
    pub fn new(config: Config) -> Session {
        Session {
            config,
            state: State::Disconnected,
            limits: Limits::DEFAULT,
            server: None,
            documents: Vec::new(),
            names: HashMap::new(),
            by_handle: HashMap::new(),
            by_id: HashMap::new(),
            newest_id: None,
            ready: VecDeque::new(),
            control: Vec::new(),
            pong: None,
            events: VecDeque::new(),
            counters: Counters::default(),
            heard_ns: 0,
            next_look_ns: 0,
            pinged_ns: 0,
            was_connected: false,
        }
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What the server told in its last hello.
    pub fn server_limits(&self) -> Option<ServerLimits> {
        self.server
    }

    /// The limits to build batches with: the server's if known, else the defaults.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether the session has failed for good.
    pub fn is_failed(&self) -> bool {
        matches!(self.state, State::Failed(_))
    }

    /// Why the session failed, if it has.
    pub fn failure(&self) -> Option<&Fault> {
        match &self.state {
            State::Failed(fault) => Some(fault),
            _ => None,
        }
    }

    /// Asks for a document, now or as soon as there is a connection.
    ///
    /// # Errors
    /// What can be told without the server; the server's refusal is [`Event::OpenRefused`].
    pub fn open(
        &mut self,
        now_ns: u64,
        name: &str,
        options: OpenOptions,
    ) -> Result<DocumentKey, OpenError> {
        if self.is_failed() {
            return Err(OpenError::Failed);
        }
        let name_bytes_max =
            self.server.map_or(crate::message::NAME_BYTES_MAX, |s| s.name_bytes_max as usize);
        if name.is_empty() || name.len() > name_bytes_max {
            return Err(OpenError::NameInvalid);
        }
        if options.access.writes() && options.producer == 0 {
            return Err(OpenError::AccessInvalid);
        }
        if let Some(&known) = self.names.get(name) {
            let known = slot(&mut self.documents, DocumentKey(known));
            let is_ending = known.is_some_and(|document| document.is_close_wanted);
            return Err(if is_ending { OpenError::Ending } else { OpenError::AlreadyOpen });
        }
        let document = Document::new(name, options);
        let index = match self.documents.iter().position(Option::is_none) {
            Some(index) => {
                self.documents[index] = Some(document);
                index
            }
            None => {
                self.documents.push(Some(document));
                self.documents.len() - 1
            }
        } as u32;
        self.names.insert(name.into(), index);
        if self.state == State::Running {
            self.ask(now_ns, index);
        }
        Ok(DocumentKey(index))
    }

    /// Takes a batch; returns its ticket, which [`Event::Answered`] will carry. The builder is
    /// empty afterwards.
    ///
    /// # Errors
    /// Why it was not taken; the builder then keeps its deltas.
    pub fn publish(
        &mut self,
        key: DocumentKey,
        batch: &mut BatchBuilder,
    ) -> Result<u64, PublishError> {
        let bytes = batch.image_bytes();
        let max = self.config.backlog_bytes_max;
        let document = writer(&mut self.documents, key, bytes, max)?;
        if batch.is_empty() {
            return Err(PublishError::Build(BuildError::Empty));
        }
        if bytes > self.limits.image_bytes_max as usize {
            return Err(PublishError::Build(BuildError::TooLong(self.limits.image_bytes_max)));
        }
        if batch.count() > self.limits.deltas_per_batch_max as usize {
            let max = self.limits.deltas_per_batch_max;
            return Err(PublishError::Build(BuildError::TooManyDeltas(max)));
        }
        let number = document.outbox.next_number();
        let mut image = document.outbox.buffer(bytes);
        batch.finish_into(&mut image, 0, number).map_err(PublishError::Build)?;
        let ticket = document.outbox.push(image);
        self.make_ready(key.0);
        Ok(ticket)
    }

    /// Takes an info map (CBOR); returns its ticket. Infos are numbered and answered as batches are.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn publish_info(&mut self, key: DocumentKey, map: &[u8]) -> Result<u64, PublishError> {
        let bytes = (HEADER_BYTES + map.len()).next_multiple_of(8);
        let max = self.config.backlog_bytes_max;
        let document = writer(&mut self.documents, key, bytes, max)?;
        let number = document.outbox.next_number();
        let image = builder::info(&self.limits, 0, number, map).map_err(PublishError::Build)?;
        let ticket = document.outbox.push(image);
        self.make_ready(key.0);
        Ok(ticket)
    }

    /// Closes a document: with `flush` once all its batches are answered, else at once, giving up
    /// what was not sent. [`Event::Closed`] follows.
    pub fn close(&mut self, key: DocumentKey, flush: bool) {
        let events = &mut self.events;
        let Some(document) = slot(&mut self.documents, key) else { return };
        if matches!(document.phase, Phase::Ended | Phase::Closing) {
            return;
        }
        document.is_close_wanted = true;
        if !flush {
            document.is_flushing = false;
            document.outbox.discard_waiting(|answer| events.push_back(answer.of(key)));
        }
        if document.phase == Phase::Waiting && document.outbox.is_empty() {
            self.end_document(key.0, ErrorCode::Closed.number(), UnknownReason::SessionFailed);
        } else {
            self.make_ready(key.0);
        }
    }

    /// Asks the server to drop the document, once all its batches are answered.
    ///
    /// # Errors
    /// `NotAWriter` or `Ended`.
    pub fn drop_document(&mut self, key: DocumentKey) -> Result<(), PublishError> {
        let document = writer(&mut self.documents, key, 0, usize::MAX)?;
        document.is_drop_wanted = true;
        self.make_ready(key.0);
        Ok(())
    }

    /// Forgets a document that has ended, so that its key can be used again; one that has not ended
    /// is flushed and closed first, and forgotten behind [`Event::Closed`].
    pub fn forget(&mut self, key: DocumentKey) {
        self.close(key, true);
        let Some(document) = slot(&mut self.documents, key) else { return };
        if document.phase == Phase::Ended {
            self.documents[key.0 as usize] = None;
        } else {
            document.is_forgotten = true;
        }
    }

    /// A connection stands: hello goes out.
    pub fn handle_connected(&mut self, now_ns: u64) {
        if self.is_failed() {
            return;
        }
        self.state = State::Greeting;
        self.heard_ns = now_ns;
        self.next_look_ns = now_ns + LOOK_MS * NS_PER_MS;
        self.counters.reconnects += u64::from(core::mem::replace(&mut self.was_connected, true));
        let client = bounded(&self.config.client, PROGRAM_BYTES_MAX);
        ClientHello { version_min: 1, version_max: 1, client, token: None }
            .encode_to(&mut self.control);
    }

    /// The connection is gone or was shut after a fault. Returns whether to connect again.
    pub fn handle_disconnected(&mut self, fault: Fault) -> bool {
        if self.is_failed() {
            return false;
        }
        self.counters.faults += 1;
        self.control.clear();
        self.pong = None;
        self.by_handle.clear();
        self.by_id.clear();
        self.newest_id = None;
        self.ready.clear();
        if self.config.healing == Healing::Off || !fault.is_healable() {
            self.fail(fault);
            return false;
        }
        self.state = State::Disconnected;
        for index in 0..self.documents.len() as u32 {
            let Some(document) = self.documents[index as usize].as_mut() else { continue };
            document.is_ready = false;
            let is_done = document.is_close_wanted && document.outbox.is_empty();
            if document.phase == Phase::Closing || (is_done && document.phase != Phase::Ended) {
                let reason = UnknownReason::HandleEnded(ErrorCode::Closed.number());
                self.end_document(index, ErrorCode::Closed.number(), reason);
            } else if document.phase != Phase::Ended {
                document.phase = Phase::Waiting;
                document.outbox.disconnect();
            }
        }
        true
    }

    /// Says goodbye: `close` goes out with the next transmission.
    pub fn say_goodbye(&mut self) {
        if self.state == State::Running {
            Close { handle: None }.encode_to(&mut self.control);
        }
    }

    /// Ends the session for good, for a reason of the user's or the transport's.
    pub fn fail(&mut self, fault: Fault) {
        if self.is_failed() {
            return;
        }
        for index in 0..self.documents.len() as u32 {
            if self.documents[index as usize].as_ref().is_some_and(|d| d.phase != Phase::Ended) {
                self.end_document(index, ErrorCode::Closed.number(), UnknownReason::SessionFailed);
            }
        }
        self.events.push_back(Event::Failed(fault.clone()));
        self.state = State::Failed(fault);
    }

    /// The user reads nothing, so nothing was taken off the connection: what is overdue is our own
    /// doing. Puts all time-outs off, and pings now and then, so that the server does not give up.
    pub fn handle_stall(&mut self, now_ns: u64) {
        if self.state != State::Running {
            return;
        }
        for document in self.documents.iter_mut().flatten() {
            document.asked_ns = now_ns;
        }
        self.heard_ns = now_ns;
        self.next_look_ns = now_ns + LOOK_MS * NS_PER_MS;
        if now_ns.saturating_sub(self.pinged_ns) >= STALL_PING_MS * NS_PER_MS {
            self.pinged_ns = now_ns;
            Ping { token: 0 }.encode_to(&mut self.control);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) should be called; `None` without connection.
    pub fn poll_timeout(&self) -> Option<u64> {
        matches!(self.state, State::Greeting | State::Running).then_some(self.next_look_ns)
    }

    /// Looks for answers that are overdue.
    ///
    /// # Errors
    /// `AnswerTimeout`: shut the connection and call `handle_disconnected`.
    pub fn handle_timeout(&mut self, now_ns: u64) -> Result<(), Fault> {
        if self.poll_timeout().is_none_or(|due_ns| now_ns < due_ns) {
            return Ok(());
        }
        self.next_look_ns = now_ns + LOOK_MS * NS_PER_MS;
        let late_ns = u64::from(self.config.answer_timeout_ms) * NS_PER_MS;
        let is_late = |asked_ns: u64| now_ns.saturating_sub(asked_ns) >= late_ns;
        if self.state == State::Greeting && is_late(self.heard_ns) {
            return Err(Fault::AnswerTimeout);
        }
        if let Some(server) = self.server {
            let silent_ns = now_ns.saturating_sub(self.heard_ns);
            if silent_ns >= u64::from(server.ping_timeout_ms.max(1_000)) * NS_PER_MS {
                return Err(Fault::AnswerTimeout);
            }
        }
        let overdue = self.documents.iter().flatten().any(|document| match document.phase {
            Phase::Asking => is_late(document.asked_ns),
            Phase::Open => document.outbox.in_flight() > 0 && is_late(document.asked_ns),
            Phase::Waiting | Phase::Closing | Phase::Ended => false,
        });
        if overdue { Err(Fault::AnswerTimeout) } else { Ok(()) }
    }

    /// The next thing to tell the user.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) would write something.
    pub fn has_transmit(&self) -> bool {
        matches!(self.state, State::Greeting | State::Running)
            && (!self.control.is_empty() || self.pong.is_some() || !self.ready.is_empty())
    }

    /// Appends what is to be sent: control first, then batches within their credit, documents in
    /// turns, until `out` has `bytes_max` bytes or a little more.
    pub fn poll_transmit(&mut self, now_ns: u64, out: &mut Vec<u8>, bytes_max: usize) {
        if !matches!(self.state, State::Greeting | State::Running) {
            return;
        }
        out.append(&mut self.control);
        if let Some(token) = self.pong.take() {
            Pong { token }.encode_to(out);
        }
        while out.len() < bytes_max {
            let Some(index) = self.ready.pop_front() else { break };
            let Some(document) = self.documents[index as usize].as_mut() else { continue };
            document.is_ready = false;
            if document.phase != Phase::Open {
                continue;
            }
            let turn_ends = out.len() + TURN_BYTES;
            if document.outbox.in_flight() == 0 {
                document.asked_ns = now_ns;
            }
            while document.balance > 0 && out.len() < turn_ends.min(bytes_max) {
                let Some((bytes, is_resend)) = document.outbox.send(document.handle, out) else {
                    break;
                };
                document.balance -= bytes as i64;
                self.counters.sent += 1;
                self.counters.resent += u64::from(is_resend);
            }
            if document.may_send() {
                document.is_ready = true;
                self.ready.push_back(index);
            } else if document.outbox.is_empty() || !document.is_flushing {
                if core::mem::take(&mut document.is_drop_wanted) {
                    Drop { handle: document.handle }.encode_to(out);
                }
                if document.is_close_wanted {
                    document.phase = Phase::Closing;
                    Close { handle: Some(document.handle) }.encode_to(out);
                }
            }
        }
    }

    fn ask(&mut self, now_ns: u64, index: u32) {
        let Some(document) = self.documents[index as usize].as_mut() else { return };
        if document.phase == Phase::Waiting {
            document.phase = Phase::Asking;
            document.asked_ns = now_ns;
            Open::new(index, &document.name, document.options_to_ask())
                .encode_to(&mut self.control);
        }
    }

    fn make_ready(&mut self, index: u32) {
        if let Some(document) = self.documents[index as usize].as_mut()
            && !document.is_ready
            && document.phase == Phase::Open
            && (document.may_send() || document.is_close_wanted || document.is_drop_wanted)
        {
            document.is_ready = true;
            self.ready.push_back(index);
        }
    }

    /// The document behind a handle, or `None` if it has just ended.
    fn index_of(&self, handle: u32) -> Option<u32> {
        self.by_handle.get(&handle).copied()
    }

    fn end_document(&mut self, index: u32, code: u16, reason: UnknownReason) {
        let key = DocumentKey(index);
        let events = &mut self.events;
        let Some(document) = slot(&mut self.documents, key) else { return };
        document.outbox.end(reason, |answer| events.push_back(answer.of(key)));
        if document.phase == Phase::Open || document.phase == Phase::Closing {
            self.by_handle.remove(&document.handle);
            self.by_id.remove(&document.id);
            self.newest_id = None;
        }
        document.phase = Phase::Ended;
        self.names.remove(&*document.name);
        if document.is_forgotten {
            self.documents[index as usize] = None;
        }
        events.push_back(Event::Closed { document: key, code });
    }
}

fn slot(documents: &mut [Option<Document>], key: DocumentKey) -> Option<&mut Document> {
    documents.get_mut(key.0 as usize)?.as_mut()
}

/// The document, if it takes a batch of `bytes`.
fn writer(
    documents: &mut [Option<Document>],
    key: DocumentKey,
    bytes: usize,
    backlog_bytes_max: usize,
) -> Result<&mut Document, PublishError> {
    let document = slot(documents, key).ok_or(PublishError::Ended)?;
    if !document.options.access.writes() {
        return Err(PublishError::NotAWriter);
    }
    let is_ending = document.is_close_wanted || document.is_drop_wanted;
    if is_ending || matches!(document.phase, Phase::Ended | Phase::Closing) {
        return Err(PublishError::Ended);
    }
    if !document.outbox.has_room(bytes, backlog_bytes_max) {
        return Err(PublishError::Backlog);
    }
    Ok(document)
}
