//! The way out of one core: control messages encoded, images handed to sockets by range.
//!
//! Belongs to the core of its sessions and implements [`SessionPort`] for its stages. Bytes of
//! images are never copied here. What is told to a session waits in its control buffer, bounded:
//! acknowledgements merge while the socket is blocked, and a session that asks more than it reads
//! answers for is ended with its number.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::Waker;

use deltaworks_image::Kind;
use deltaworks_pipeline::inventory::SessionEntry;
use deltaworks_pipeline::message::{
    Access, Ack, BatchRefusal, CloseReason, From, Missed, OpenRefusal, OpenRequest, Opened, Policy,
    Refusal, SessionId,
};
use deltaworks_pipeline::port::{ControlAction, Sent, SessionFault, SessionPort};
use deltaworks_protocol::message as wire;
use deltaworks_protocol::server::{Config, Request, Session as Protocol};
use deltaworks_protocol::{Control, ErrorCode};
use deltaworks_runtime::clock::{Clock, Now};

use crate::attendance::Attendant;
use crate::connection::{Outgoing, is_passing};
use crate::desk::SocketEntry;
use crate::mutant::{Mutant, is_planted};
use crate::peer::Peer;
use crate::socket::SLICES;

/// Control bytes that a session may leave unread.
pub(crate) const CONTROL_BYTES_MAX: usize = 256 << 10;
/// A buffer larger than this is given back once it is empty.
const CONTROL_BYTES_KEPT: usize = 16 << 10;

/// One session as its socket's task and the stages see it.
#[derive(Debug)]
pub(crate) struct SocketSession<O> {
    pub protocol: Protocol,
    /// What its hello tells and its deadlines are: those of when it began.
    pub config: Rc<Config>,
    pub peer: Peer,
    pub attendant: Attendant,
    outgoing: O,
    control: Vec<u8>,
    control_sent: usize,
    /// What of it is counted in the core's sum.
    counted: usize,
    control_bytes: Rc<Cell<usize>>,
    acks: Vec<Ack>,
    /// Wakes the socket's task.
    pub waker: Option<Waker>,
    /// The socket took less than it was given; its task waits until it takes more.
    pub is_blocked: bool,
    /// The connection is gone.
    pub is_broken: bool,
    began_ns: u64,
    pub received_bytes: u64,
    /// Of images only.
    pub delivered_bytes: u64,
}

impl<O> SocketSession<O> {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Brings the core's sum up to date with this session's buffer.
    fn count_control(&mut self) {
        let now = self.control.len();
        self.control_bytes.set(self.control_bytes.get() + now - self.counted);
        self.counted = now;
    }

    /// Control that has not gone out.
    pub fn unsent(&self) -> &[u8] {
        &self.control[self.control_sent..]
    }

    /// Whether a control message has gone out in part: nothing may come before its rest.
    pub fn is_in_control(&self) -> bool {
        self.control_sent > 0
    }

    /// The socket has taken `count` bytes of control.
    pub fn control_took(&mut self, count: usize) {
        self.control_sent += count;
        if self.control_sent < self.control.len() && is_planted(Mutant::ByteLost) {
            self.control_sent += 1;
        }
        if self.control_sent == self.control.len() {
            self.control_sent = 0;
            self.control.clear();
            if self.control.capacity() > CONTROL_BYTES_KEPT {
                self.control = Vec::new();
            }
            self.count_control();
        }
    }

    /// Encodes what has merged, and what the protocol itself has to say.
    pub fn encode_owed(&mut self) {
        if self.acks.is_empty() && !self.protocol.has_transmit() {
            return;
        }
        for ack in core::mem::take(&mut self.acks) {
            encode_ack(&ack, &mut self.control);
        }
        if self.protocol.has_transmit() {
            self.protocol.poll_transmit(&self.config, &mut self.control);
        }
        self.count_control();
    }

    /// Takes back a message that a panic has left half encoded: what is counted is whole.
    fn forget_unfinished(&mut self) {
        self.control.truncate(self.counted);
    }

    /// Gives up what nobody reads: only the rest of a message that has gone out in part stays, so
    /// that whoever reads again finds whole messages.
    fn forget_unsent(&mut self) {
        self.acks = Vec::new();
        let mut kept = 0;
        while kept < self.control_sent {
            let Some(prelude) = self.control[kept..].first_chunk::<4>() else { return };
            kept += (u32::from_le_bytes(*prelude) as usize).max(1);
        }
        self.control.truncate(kept);
        self.control.shrink_to(CONTROL_BYTES_KEPT);
        self.count_control();
    }

    /// Gives up all of it: the session has ended, and what was left has been said, or not.
    pub fn forget_control(&mut self) {
        self.acks = Vec::new();
        self.control = Vec::new();
        self.control_sent = 0;
        self.count_control();
    }

    fn ack(&mut self, ack: &Ack) {
        // Behind acknowledgements that have merged and not been encoded yet.
        let is_next = self.acks.is_empty() || is_planted(Mutant::AcksOvertake);
        if !self.is_blocked && is_next {
            encode_ack(ack, &mut self.control);
            return;
        }
        match self.acks.iter_mut().find(|owed| owed.handle == ack.handle) {
            Some(owed) => {
                owed.producer_sequence = ack.producer_sequence;
                owed.sequence = ack.sequence;
                owed.credit_bytes += ack.credit_bytes;
                owed.duplicates += ack.duplicates;
            }
            None => self.acks.push(*ack),
        }
    }
}

impl<O> std::ops::Drop for SocketSession<O> {
    fn drop(&mut self) {
        self.forget_control();
    }
}

fn encode_ack(ack: &Ack, out: &mut Vec<u8>) {
    let Ack { handle, producer_sequence, sequence, credit_bytes, duplicates, .. } = *ack;
    let credit = u64::from(credit_bytes);
    wire::Ack { handle, producer_sequence, sequence, credit, duplicates }.encode_to(out);
}

/// The sessions of one core, by their place.
#[derive(Debug)]
pub(crate) struct Outlet<O, C> {
    pub config: Rc<Config>,
    sessions: Vec<Option<Rc<RefCell<SocketSession<O>>>>>,
    /// Control that waits in all sessions, at most.
    control_bytes_max: usize,
    control_bytes: Rc<Cell<usize>>,
    /// Tells when a socket took images.
    clock: C,
    /// Sessions with new control; the stages are to be told.
    pub with_control: Vec<SessionId>,
    /// Sessions that have left too much unread.
    pub overdrawn: Vec<SessionId>,
}

impl<O, C> Outlet<O, C> {
    pub fn new(config: Rc<Config>, control_bytes_max: usize, clock: C) -> Self {
        Self {
            config,
            sessions: Vec::new(),
            control_bytes_max,
            control_bytes: Rc::default(),
            clock,
            with_control: Vec::new(),
            overdrawn: Vec::new(),
        }
    }

    /// A session whose control is counted with that of its core.
    pub fn session(
        &self,
        outgoing: O,
        peer: Peer,
        attendant: Attendant,
        now: Now,
    ) -> SocketSession<O> {
        SocketSession {
            protocol: Protocol::new(now.monotonic_ns),
            config: Rc::clone(&self.config),
            peer,
            attendant,
            outgoing,
            control: Vec::new(),
            control_sent: 0,
            counted: 0,
            control_bytes: Rc::clone(&self.control_bytes),
            acks: Vec::new(),
            waker: None,
            is_blocked: false,
            is_broken: false,
            began_ns: now.monotonic_ns,
            received_bytes: 0,
            delivered_bytes: 0,
        }
    }

    /// What a session's socket adds to its entry; `None` if it has gone.
    pub fn socket_entry(&self, core: usize, entry: SessionEntry, now: Now) -> Option<SocketEntry> {
        let session = self.get(entry.session)?.borrow();
        Some(SocketEntry {
            core,
            entry,
            transport: session.peer.transport(),
            peer: session.peer.to_string(),
            began_ns: session.began_ns,
            at_ns: now.monotonic_ns,
            received_bytes: session.received_bytes,
            delivered_bytes: session.delivered_bytes,
            is_blocked: session.is_blocked,
        })
    }

    pub fn begin(&mut self, id: SessionId, session: Rc<RefCell<SocketSession<O>>>) {
        let place = id.0 as usize;
        if self.sessions.len() <= place {
            self.sessions.resize_with(place + 1, || None);
        }
        self.sessions[place] = Some(session);
    }

    /// Control that waits in all sessions, in bytes.
    pub fn control_bytes(&self) -> usize {
        self.control_bytes.get()
    }

    /// The sessions that have not been forgotten.
    pub fn ids(&self) -> Vec<SessionId> {
        let used = self.sessions.iter().enumerate().filter(|(_, session)| session.is_some());
        used.map(|(place, _)| SessionId(place as u32)).collect()
    }

    pub fn get(&self, id: SessionId) -> Option<&Rc<RefCell<SocketSession<O>>>> {
        self.sessions.get(id.0 as usize)?.as_ref()
    }

    fn tell(&mut self, id: SessionId, message: &impl Control) {
        self.with(id, |session| {
            session.encode_owed();
            message.encode_to(&mut session.control);
        });
    }

    fn with(&mut self, id: SessionId, change: impl FnOnce(&mut SocketSession<O>)) {
        let Some(session) = self.sessions.get(id.0 as usize).and_then(Option::as_ref) else {
            return;
        };
        let mut session = session.borrow_mut();
        change(&mut session);
        session.count_control();
        let is_overdrawn = session.unsent().len() > CONTROL_BYTES_MAX;
        drop(session);
        self.with_control.push(id);
        if is_overdrawn {
            self.overdrawn.push(id);
        } else if self.control_bytes.get() > self.control_bytes_max && self.overdrawn.is_empty() {
            // Who leaves most unread pays for the core's room, not who happens to be answered.
            self.overdrawn.extend(self.most_unread());
        }
    }

    /// The session with the most unread control that has not ended.
    fn most_unread(&self) -> Option<SessionId> {
        let sessions = self.sessions.iter().enumerate();
        let unread = sessions.filter_map(|(place, session)| {
            let session = session.as_ref()?.borrow();
            (!session.protocol.is_ended()).then(|| (session.unsent().len(), place))
        });
        unread.max().map(|(_, place)| SessionId(place as u32))
    }

    /// Ends a session at which the server failed.
    fn end_failed(&mut self, id: SessionId) {
        if let Some(session) = self.get(id) {
            session.borrow_mut().forget_unfinished();
        }
        self.end(id, ErrorCode::Internal);
    }

    /// Ends a session by number; its task sends what is left.
    pub fn end(&mut self, id: SessionId, code: ErrorCode) {
        self.with(id, |session| {
            if code == ErrorCode::BacklogLimit && !session.protocol.is_ended() {
                session.forget_unsent();
            }
            session.protocol.handle_fault(code);
            session.encode_owed();
            session.wake();
        });
    }
}

impl<O: Outgoing, C: Clock> SessionPort for Outlet<O, C> {
    fn control(&mut self, id: SessionId, kind: u8, body: &[u8], now: Now) -> ControlAction {
        let Some(kind) = Kind::from_number(kind) else { return ControlAction::Done };
        // At once: what one read asks may be answered by many times its bytes.
        if self.get(id).is_some_and(|it| it.borrow().unsent().len() > CONTROL_BYTES_MAX) {
            self.end(id, ErrorCode::BacklogLimit);
            return ControlAction::End;
        }
        let mut action = ControlAction::Done;
        self.with(id, |session| {
            let config = Rc::clone(&session.config);
            let request = session.protocol.handle_message(&config, now.monotonic_ns, kind, body);
            action = match request {
                Request::None => ControlAction::Done,
                Request::Open { request, name, options } => {
                    ControlAction::Open(open_request(request, name, &options))
                }
                Request::RefuseOpen { request, code } => {
                    let mut error = wire::ErrorMessage::new(code, code.advice());
                    error.request = Some(request);
                    session.encode_owed();
                    error.encode_to(&mut session.control);
                    ControlAction::Done
                }
                Request::Close { handle } => ControlAction::Close { handle },
                Request::Drop { handle } => ControlAction::Drop { handle },
                Request::End => ControlAction::End,
            };
            // Hello and pong stay owed until something else is said or the socket takes bytes: of
            // many pings in one read only the newest is answered.
            if session.protocol.is_ended() {
                session.encode_owed();
                session.wake();
            }
        });
        action
    }

    fn opened(&mut self, opened: &Opened, credit_bytes: u64) {
        let message = wire::Opened {
            request: opened.request,
            handle: opened.handle,
            document: u64::from(opened.slot) | u64::from(opened.generation) << 32,
            epoch: opened.epoch,
            window_start: opened.window_start,
            next_sequence: opened.next_sequence,
            start_sequence: opened.start_sequence,
            credit: credit_bytes,
            origin: opened.origin,
            producer_sequence: opened.producer_sequence,
            info: opened.info.as_deref(),
            kind: opened.kind,
            policy: opened.access.read.then(|| wire_policy(opened.policy).number()).flatten(),
        };
        self.tell(opened.session, &message);
    }

    fn open_refused(&mut self, id: SessionId, request: u32, reason: OpenRefusal) {
        let code = open_refusal_code(reason);
        let mut error = wire::ErrorMessage::new(code, code.advice());
        error.request = Some(request);
        self.tell(id, &error);
    }

    fn ack(&mut self, ack: &Ack) {
        self.with(ack.session, |session| session.ack(ack));
    }

    fn refused(&mut self, refusal: &Refusal) {
        let code = refusal_code(&refusal.reason);
        let (expected, reason);
        let mut text = code.advice();
        if let BatchRefusal::SequenceJump { expected: number } = refusal.reason {
            expected = format!("expected {number}");
            text = &expected;
        }
        let mut error = wire::ErrorMessage::new(code, text);
        error.handle = Some(refusal.handle);
        error.producer_sequence = Some(refusal.producer_sequence);
        if let BatchRefusal::Invalid { delta, error: place } = &refusal.reason {
            reason = place.code.to_string();
            error.text = wire::bounded(&reason, wire::TEXT_BYTES_MAX);
            error.delta = Some(*delta);
            error.offset = Some(place.offset_bytes);
            error = error.at(&place.instance_path, &place.schema_path);
        }
        self.tell(refusal.session, &error);
    }

    fn gap(&mut self, id: SessionId, handle: u32, missed: Missed) {
        let Missed { from, to, policy, behind_bytes } = missed;
        let policy = wire_policy(policy).number().unwrap_or_default();
        self.tell(id, &wire::Gap { handle, from, to, policy, behind_bytes });
    }

    fn credit(&mut self, id: SessionId, handle: u32, bytes: u64) {
        self.tell(id, &wire::Credit { handle, bytes });
    }

    fn closed(&mut self, id: SessionId, handle: u32, reason: CloseReason) {
        let code = match reason {
            CloseReason::Asked | CloseReason::Silent => ErrorCode::Closed,
            CloseReason::Dropped => ErrorCode::ClosedByDrop,
            CloseReason::Fenced => ErrorCode::ClosedByFence,
            CloseReason::Behind => ErrorCode::ClosedByPolicy,
        };
        self.tell(id, &wire::Closed::new(Some(handle), code, code.meaning()));
    }

    fn fault(&mut self, id: SessionId, fault: SessionFault) {
        let is_greeting = self.get(id).is_some_and(|it| it.borrow().protocol.is_greeting());
        let code = match fault {
            SessionFault::Internal => return self.end_failed(id),
            // No handle can be known yet: what is wrong is that an image came first.
            SessionFault::UnknownHandle { .. } if is_greeting => ErrorCode::HelloExpected,
            fault => fault_code(fault),
        };
        self.end(id, code);
    }

    fn remainder(&mut self, id: SessionId, bytes: &[u8]) {
        if let Some(session) = self.get(id) {
            let mut session = session.borrow_mut();
            debug_assert!(session.control_sent == 0, "a half-sent image comes before control");
            session.control.splice(0..0, bytes.iter().copied());
            session.count_control();
        }
    }

    fn resume_reading(&mut self, id: SessionId) {
        if let Some(session) = self.get(id) {
            session.borrow_mut().wake();
        }
    }

    fn forgotten(&mut self, id: SessionId) {
        if let Some(session) = self.sessions[id.0 as usize].take() {
            session.borrow_mut().wake();
        }
    }

    fn send(&mut self, id: SessionId, half: &[u8], parts: &[&[u8]]) -> Sent {
        let blocked = Sent { half_bytes: 0, parts_bytes: 0, blocked: true };
        let Some(session) = self.sessions[id.0 as usize].as_ref() else { return blocked };
        let mut session = session.borrow_mut();
        if session.is_broken || session.is_blocked {
            return blocked;
        }
        session.encode_owed();
        let mut slices: [&[u8]; SLICES] = [&[]; SLICES];
        slices[0] = half;
        slices[1] = session.unsent();
        if is_planted(Mutant::ControlInImage) {
            slices.swap(0, 1);
        }
        slices[2..2 + parts.len()].copy_from_slice(parts);
        let all: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut rest = match session.outgoing.send(&slices) {
            Ok(count) => count,
            Err(error) => {
                session.is_broken = !is_passing(&error)
                    || (is_planted(Mutant::LackIsFatal)
                        && error.kind() != io::ErrorKind::WouldBlock);
                0
            }
        };
        let is_short = rest < all;
        let half_bytes = rest.min(half.len());
        rest -= half_bytes;
        let control_bytes = rest.min(session.unsent().len());
        rest -= control_bytes;
        session.delivered_bytes += (half_bytes + rest) as u64;
        if control_bytes > 0 {
            session.control_took(control_bytes);
        }
        if is_short {
            session.is_blocked = true;
            session.wake();
        }
        Sent { half_bytes, parts_bytes: rest, blocked: is_short }
    }

    fn sent_at_us(&mut self) -> u64 {
        self.clock.now().unix_us
    }
}

fn open_request(request: u32, name: &str, options: &wire::OpenOptions) -> OpenRequest {
    let access = Access { read: options.access.reads(), write: options.access.writes() };
    OpenRequest {
        request,
        name: name.into(),
        access,
        from: match options.start {
            wire::Start::Live => From::Live,
            wire::Start::Window => From::Start,
            wire::Start::Sequence { sequence, epoch } => From::Sequence { sequence, epoch },
        },
        policy: match options.policy {
            wire::Policy::OfCollection => None,
            wire::Policy::Gap => Some(Policy::Gap),
            wire::Policy::Wait => Some(Policy::Wait),
            wire::Policy::Skip => Some(Policy::Skip),
            wire::Policy::Conflate => Some(Policy::Conflate),
            wire::Policy::Close => Some(Policy::Close),
        },
        producer: options.producer,
    }
}

fn wire_policy(policy: Policy) -> wire::Policy {
    match policy {
        Policy::Gap => wire::Policy::Gap,
        Policy::Wait => wire::Policy::Wait,
        Policy::Skip => wire::Policy::Skip,
        Policy::Conflate => wire::Policy::Conflate,
        Policy::Close => wire::Policy::Close,
    }
}

fn open_refusal_code(reason: OpenRefusal) -> ErrorCode {
    match reason {
        OpenRefusal::BadName => ErrorCode::NameInvalid,
        OpenRefusal::UnknownCollection => ErrorCode::CollectionUnknown,
        OpenRefusal::DocumentLimit => ErrorCode::DocumentLimit,
        OpenRefusal::HandleLimit => ErrorCode::HandleLimit,
        OpenRefusal::PolicyNotAllowed => ErrorCode::PolicyNotAllowed,
        OpenRefusal::BadAccess => ErrorCode::AccessInvalid,
        OpenRefusal::SequenceAhead => ErrorCode::SequenceAhead,
        OpenRefusal::ProducerLimit => ErrorCode::ProducerLimit,
        OpenRefusal::AlreadyOpen => ErrorCode::AlreadyOpen,
        OpenRefusal::Budget => ErrorCode::OpenOverBudget,
    }
}

fn refusal_code(reason: &BatchRefusal) -> ErrorCode {
    match reason {
        BatchRefusal::Invalid { error, .. } if error.code.is_malformed() => {
            ErrorCode::DeltaMalformed
        }
        BatchRefusal::Invalid { .. } => ErrorCode::DeltaInvalid,
        BatchRefusal::SequenceJump { .. } => ErrorCode::SequenceJump,
        BatchRefusal::ProducerForgotten => ErrorCode::ProducerForgotten,
        BatchRefusal::Fenced => ErrorCode::ProducerFenced,
        BatchRefusal::Dropped => ErrorCode::DocumentDropped,
        BatchRefusal::Budget => ErrorCode::BatchOverBudget,
        BatchRefusal::BadInfo => ErrorCode::InfoInvalid,
        BatchRefusal::BeyondCollection => ErrorCode::BatchBeyondCollection,
        BatchRefusal::NotAppended => ErrorCode::NotAppended,
        BatchRefusal::Failed => ErrorCode::BatchFailed,
    }
}

fn fault_code(fault: SessionFault) -> ErrorCode {
    match fault {
        SessionFault::Malformed(error) => error.into(),
        SessionFault::UnknownHandle { .. } => ErrorCode::HandleUnknown,
        SessionFault::NotAWriter { .. } => ErrorCode::NotAWriter,
        SessionFault::CreditExceeded { .. } => ErrorCode::CreditExceeded,
        SessionFault::MessageDeadline => ErrorCode::MessageDeadline,
        SessionFault::CarryLimit => ErrorCode::CarryLimit,
        SessionFault::SpillLimit => ErrorCode::SpillLimit,
        SessionFault::Internal => ErrorCode::Internal,
    }
}
