//! Reception: from a session's bytes to landed images on their way to the owner.
//!
//! Belongs to the core of its sessions. Bytes are read straight into the free tail of a chunk;
//! whole images stay where they landed, the cut-off end of a read is carried over and copied
//! once, and a long message gets contiguous room as soon as its prelude is known. Wire format,
//! checksum, handle and credit are checked in place.
//! When chunks or carries are used up it grants no credit, then reads no more; it never drops.
//!
//! ```text
//! read_room ─▶ socket fills it ─▶ received ─▶ prelude ─▶ checksum ─▶ handle, credit ─▶ ring
//!                                    └▶ control ─▶ port        └▶ cut-off end ─▶ carry
//! ```

use std::collections::VecDeque;

use deltaworks_image::{self as image, Inbound, Kind, PRELUDE_BYTES};
use deltaworks_runtime::clock::Now;

use crate::chunk::{ChunkPool, Landed, Reservation};
use crate::limits::{CREDIT_FLOOR_BYTES, Limits, RESERVE_ABOVE_BYTES};
use crate::mailbox::Mailboxes;
use crate::message::{Access, SessionId};
use crate::message::{Ack, CloseReason, Message, Open, OpenRefusal, OpenRequest, Opened, Policy};
use crate::port::{ControlAction, SessionFault, SessionPort};
use crate::producer::NO_PRODUCER;
use crate::propagation::Propagation;
use crate::subscription::NO_SUBSCRIPTION;

/// Room that a read gets at least.
const READ_BYTES_MIN: u32 = 4096;
/// Room that a read gets at most, so that one session does not fill a chunk in one turn.
const READ_BYTES_MAX: usize = 256 << 10;
/// Time between two looks for overdue messages.
const DEADLINE_LOOK_NS: u64 = 250_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Free,
    /// The owner has not answered yet; `true`: to be closed when it does.
    Opening(bool),
    Open,
    /// The owner has been told; its answer frees the handle or leaves it dead.
    Closing,
    /// Closed by the server; stays until the client closes it, too.
    Dead,
}

#[derive(Debug)]
struct Handle {
    state: State,
    access: Access,
    policy: Policy,
    slot: u32,
    generation: u32,
    worker: u16,
    producer: u32,
    subscription: u32,
    /// What may still be sent.
    balance_bytes: i64,
    /// Credit that came back while chunks were short.
    withheld_bytes: u64,
}

#[derive(Debug)]
enum Partial {
    None,
    /// The beginning of a message; behind 8 bytes its length is known.
    Carried(Vec<u8>),
    /// A long message, filling its room in a chunk.
    Reserved {
        reservation: Reservation,
        filled: u32,
    },
    /// A long message that had to leave its chunk, or found no room in one.
    Aside {
        buffer: Vec<u8>,
        filled: usize,
    },
}

#[derive(Debug)]
struct Session {
    is_used: bool,
    is_ending: bool,
    is_paused: bool,
    open_handles: u32,
    handles: Vec<Handle>,
    free_handles: Vec<u32>,
    partial: Partial,
    partial_since_ns: u64,
}

/// What reception has counted since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceptionCounts {
    /// Bytes received.
    pub received_bytes: u64,
    /// Images passed on.
    pub received_images: u64,
    /// Bytes that were copied because a message was cut off.
    pub carried_bytes: u64,
    /// Times a session could not be read for want of a chunk.
    pub paused_reads: u64,
    /// Times credit was withheld for want of chunks.
    pub withheld_credits: u64,
    /// Chunks retired.
    pub retired_chunks: u64,
}

/// What reception works with besides itself: all of the same core.
pub(crate) struct Around<'a, P> {
    pub port: &'a mut P,
    pub boxes: &'a mut Mailboxes,
    pub propagation: &'a mut Propagation,
    pub now: Now,
}

/// The agent.
#[derive(Debug)]
pub struct Reception {
    pool: ChunkPool,
    sessions: Vec<Session>,
    free_sessions: Vec<u32>,
    paused: VecDeque<u32>,
    withholding: VecDeque<(SessionId, u32)>,
    reserved_bytes: u64,
    carry_bytes: u64,
    open_handles: u32,
    worker_cores: std::sync::Arc<[u16]>,
    image_limits: image::Limits,
    limits: Limits,
    next_look_ns: u64,
    counts: ReceptionCounts,
}

impl Reception {
    pub(crate) fn new(
        pool: ChunkPool,
        worker_cores: std::sync::Arc<[u16]>,
        image_limits: image::Limits,
        limits: Limits,
    ) -> Self {
        assert!(image_limits.image_bytes_max <= pool.chunk_bytes(), "an image must fit a chunk");
        Self {
            pool,
            sessions: Vec::new(),
            free_sessions: Vec::new(),
            paused: VecDeque::new(),
            withholding: VecDeque::new(),
            reserved_bytes: 0,
            carry_bytes: 0,
            open_handles: 0,
            worker_cores,
            image_limits,
            limits,
            next_look_ns: 0,
            counts: ReceptionCounts::default(),
        }
    }

    /// What was counted.
    pub fn counts(&self) -> ReceptionCounts {
        self.counts
    }

    /// The chunks of this core.
    pub fn pool(&self) -> &ChunkPool {
        &self.pool
    }

    /// Bytes of unfinished messages kept outside of chunks.
    pub fn carry_bytes(&self) -> u64 {
        self.carry_bytes
    }

    /// Sessions of this core.
    pub fn session_count(&self) -> usize {
        self.sessions.len() - self.free_sessions.len()
    }

    /// Bytes of session state.
    pub fn session_bytes(&self) -> u64 {
        let handles: usize = self.sessions.iter().map(|session| session.handles.capacity()).sum();
        (self.sessions.len() * size_of::<Session>() + handles * size_of::<Handle>()) as u64
    }

    /// A place for a new session; `None` at the limit.
    pub fn begin_session(&mut self) -> Option<SessionId> {
        let place = match self.free_sessions.pop() {
            Some(place) => place,
            None if self.sessions.len() < self.limits.sessions_per_core_max as usize => {
                self.sessions.push(Session {
                    is_used: false,
                    is_ending: false,
                    is_paused: false,
                    open_handles: 0,
                    handles: Vec::new(),
                    free_handles: Vec::new(),
                    partial: Partial::None,
                    partial_since_ns: 0,
                });
                self.sessions.len() as u32 - 1
            }
            None => return None,
        };
        let session = &mut self.sessions[place as usize];
        session.is_used = true;
        session.is_ending = false;
        session.is_paused = false;
        Some(SessionId(place))
    }

    /// Room for the next read of `session`: in its unfinished message, or at a chunk's tail.
    /// `None` when there is none; [`SessionPort::resume_reading`] tells when to ask again.
    pub fn read_room(&mut self, id: SessionId) -> Option<&mut [u8]> {
        let session = &mut self.sessions[id.0 as usize];
        if session.is_ending || session.is_paused {
            return None;
        }
        let carried = match &session.partial {
            Partial::Carried(bytes) => bytes.len() as u32,
            _ => 0,
        };
        let is_aside_full = matches!(&session.partial,
            Partial::Aside { buffer, filled } if buffer.len() == *filled);
        let needs_tail = matches!(session.partial, Partial::None | Partial::Carried(_));
        let long = match &session.partial {
            Partial::Carried(bytes) => announced(bytes).filter(|long| *long > RESERVE_ABOVE_BYTES),
            _ => None,
        };
        // A long message waits for room of its own; a complete one for a place to land.
        let is_stuck = is_aside_full
            || long.is_some()
            || (needs_tail && {
                let least = carried + READ_BYTES_MIN.min(self.pool.chunk_bytes() / 2);
                !self.pool.ensure_tail(least)
            });
        if is_stuck {
            self.pause(id);
            return None;
        }
        match &mut self.sessions[id.0 as usize].partial {
            Partial::None => {
                let tail = self.pool.tail();
                let length = tail.len().min(READ_BYTES_MAX);
                Some(&mut tail[..length])
            }
            Partial::Carried(bytes) => {
                let tail = &mut self.pool.tail()[bytes.len()..];
                let length = tail.len().min(READ_BYTES_MAX);
                Some(&mut tail[..length])
            }
            Partial::Reserved { reservation, filled } => {
                Some(&mut self.pool.reserved(reservation)[*filled as usize..])
            }
            Partial::Aside { buffer, filled } => Some(&mut buffer[*filled..]),
        }
    }

    pub(crate) fn pause(&mut self, id: SessionId) {
        let session = &mut self.sessions[id.0 as usize];
        if !session.is_paused {
            session.is_paused = true;
            self.paused.push_back(id.0);
            self.counts.paused_reads += 1;
        }
    }

    /// Takes the `count` bytes that were read into the room that [`Reception::read_room`] gave.
    pub(crate) fn received<P: SessionPort>(
        &mut self,
        id: SessionId,
        count: usize,
        around: &mut Around<'_, P>,
    ) {
        self.counts.received_bytes += count as u64;
        if self.sessions[id.0 as usize].is_ending {
            return;
        }
        if let Err(fault) = self.take(id, count, around) {
            around.port.fault(id, fault);
            self.end_session(id, around);
        }
    }

    fn take<P: SessionPort>(
        &mut self,
        id: SessionId,
        count: usize,
        around: &mut Around<'_, P>,
    ) -> Result<(), SessionFault> {
        let session = &mut self.sessions[id.0 as usize];
        match &mut session.partial {
            Partial::None => self.take_messages(id, count, around),
            Partial::Carried(bytes) => {
                let carried = bytes.len();
                let tail = self.pool.tail();
                // The prelude may lie in both: the room before the new bytes is the carry's.
                let known = carried.min(PRELUDE_BYTES);
                let mut prelude = [0; PRELUDE_BYTES];
                prelude[..known].copy_from_slice(&bytes[..known]);
                let total = if carried + count >= PRELUDE_BYTES {
                    let rest = &tail[carried..carried + PRELUDE_BYTES - known];
                    prelude[known..].copy_from_slice(rest);
                    let prelude = image::check_prelude(&prelude, &self.image_limits);
                    Some(prelude.map_err(SessionFault::Malformed)?.bytes as usize)
                } else {
                    None
                };
                let is_short =
                    |total| carried + count < total && total <= RESERVE_ABOVE_BYTES as usize;
                if total.is_none_or(is_short) {
                    // Still cut off: only what is new is copied.
                    bytes.extend_from_slice(&tail[carried..carried + count]);
                    self.counts.carried_bytes += count as u64;
                    return self.charge_carry(count);
                }
                tail[..carried].copy_from_slice(bytes);
                self.carry_bytes -= carried as u64;
                session.partial = Partial::None;
                self.take_messages(id, carried + count, around)
            }
            Partial::Reserved { reservation, filled } => {
                *filled += count as u32;
                if *filled < reservation.bytes() {
                    return Ok(());
                }
                let reservation = *reservation;
                session.partial = Partial::None;
                self.reserved_bytes -= u64::from(reservation.bytes());
                let checked = check(self.pool.reserved(&reservation), &self.image_limits);
                let landed = self.pool.land_reserved(reservation);
                self.pass_on(id, checked?, landed, around.boxes)
            }
            Partial::Aside { filled, .. } => {
                *filled += count;
                self.land_aside(id, around.boxes)
            }
        }
    }

    /// Takes the messages that stand in the first `available` bytes of the tail.
    fn take_messages<P: SessionPort>(
        &mut self,
        id: SessionId,
        available: usize,
        around: &mut Around<'_, P>,
    ) -> Result<(), SessionFault> {
        let mut left = available;
        // Control is left in place until an image follows: at the end it costs no room.
        let mut passed = 0;
        while let Some(prelude) = self.pool.tail()[passed..passed + left].first_chunk() {
            let prelude = image::check_prelude(prelude, &self.image_limits);
            let prelude = prelude.map_err(SessionFault::Malformed)?;
            let bytes = prelude.bytes as usize;
            if bytes > left {
                break;
            }
            let message = &self.pool.tail()[passed..passed + bytes];
            if matches!(prelude.kind, Kind::Batch | Kind::Info) {
                let inbound = check(message, &self.image_limits)?;
                self.pool.skip(passed as u32);
                passed = 0;
                let landed = self.pool.land(prelude.bytes);
                self.pass_on(id, inbound, landed, around.boxes)?;
            } else {
                let body = &message[PRELUDE_BYTES..bytes - usize::from(prelude.padding)];
                let action = around.port.control(id, prelude.kind.number(), body, around.now);
                passed += bytes;
                self.try_act(id, action, around)?;
                if self.sessions[id.0 as usize].is_ending {
                    return Ok(());
                }
            }
            left -= bytes;
        }
        self.carry_over(id, passed, left, around.now)
    }

    /// Keeps the `left` bytes behind `passed` of the tail: a message that has not arrived whole.
    fn carry_over(
        &mut self,
        id: SessionId,
        passed: usize,
        left: usize,
        now: Now,
    ) -> Result<(), SessionFault> {
        if left == 0 {
            return Ok(());
        }
        self.sessions[id.0 as usize].partial_since_ns = now.monotonic_ns;
        let long = announced(&self.pool.tail()[passed..passed + left])
            .filter(|total| *total > RESERVE_ABOVE_BYTES);
        if let Some(total) = long
            && self.may_reserve(total)
        {
            // In place, if the chunk has the room; else the beginning moves to the next chunk.
            let rest = &self.pool.tail()[passed..];
            let moved = (rest.len() < total as usize).then(|| rest[..left].to_vec());
            if moved.is_none() {
                self.pool.skip(passed as u32);
            }
            if let Some(reservation) = self.pool.reserve(total) {
                if let Some(beginning) = moved {
                    self.pool.reserved(&reservation)[..left].copy_from_slice(&beginning);
                    self.counts.carried_bytes += left as u64;
                }
                self.reserved_bytes += u64::from(total);
                self.sessions[id.0 as usize].partial =
                    Partial::Reserved { reservation, filled: left as u32 };
                return Ok(());
            }
        }
        let carried = self.pool.tail()[passed..passed + left].to_vec();
        self.sessions[id.0 as usize].partial = Partial::Carried(carried);
        self.counts.carried_bytes += left as u64;
        self.charge_carry(left)
    }

    fn may_reserve(&self, total: u32) -> bool {
        let quarter = self.pool.count() as u64 * u64::from(self.pool.chunk_bytes()) / 4;
        self.reserved_bytes == 0 || self.reserved_bytes + u64::from(total) <= quarter
    }

    fn charge_carry(&mut self, bytes: usize) -> Result<(), SessionFault> {
        self.carry_bytes += bytes as u64;
        if self.carry_bytes > self.limits.carry_bytes_per_core_max {
            return Err(SessionFault::CarryLimit);
        }
        Ok(())
    }

    /// Checks handle and credit, and sends the descriptor to the owner.
    #[inline]
    fn pass_on(
        &mut self,
        id: SessionId,
        inbound: Inbound,
        landed: Landed,
        boxes: &mut Mailboxes,
    ) -> Result<(), SessionFault> {
        let number = inbound.handle;
        let session = &mut self.sessions[id.0 as usize];
        let Some(handle) = session.handles.get_mut(number as usize) else {
            return Err(SessionFault::UnknownHandle { handle: number });
        };
        match handle.state {
            State::Open => {}
            // On its way when the server closed the handle: told with `closed`, taken by nobody.
            State::Closing | State::Dead => return Ok(()),
            State::Free | State::Opening(_) => {
                return Err(SessionFault::UnknownHandle { handle: number });
            }
        }
        if !handle.access.write {
            return Err(SessionFault::NotAWriter { handle: number });
        }
        if handle.balance_bytes <= 0 {
            return Err(SessionFault::CreditExceeded { handle: number });
        }
        let range = landed.range();
        handle.balance_bytes -= i64::from(range.bytes());
        self.pool.sent(range, handle.worker);
        self.counts.received_images += 1;
        let producer = handle.producer;
        let core = self.worker_cores[handle.worker as usize];
        boxes.to(core).send(Message::Batch { landed, session: id, producer });
        Ok(())
    }

    fn land_aside(&mut self, id: SessionId, boxes: &mut Mailboxes) -> Result<(), SessionFault> {
        let session = &mut self.sessions[id.0 as usize];
        let Partial::Aside { buffer, filled } = &mut session.partial else { return Ok(()) };
        if *filled < buffer.len() || !self.pool.ensure_tail(buffer.len() as u32) {
            return Ok(());
        }
        let buffer = core::mem::take(buffer);
        session.partial = Partial::None;
        self.carry_bytes -= buffer.len() as u64;
        self.counts.carried_bytes += buffer.len() as u64;
        let inbound = check(&buffer, &self.image_limits)?;
        self.pool.tail()[..buffer.len()].copy_from_slice(&buffer);
        let landed = self.pool.land(buffer.len() as u32);
        self.pass_on(id, inbound, landed, boxes)
    }

    /// Does what a control message asks; ends the session if it may not ask that.
    pub(crate) fn act<P: SessionPort>(
        &mut self,
        id: SessionId,
        action: ControlAction,
        around: &mut Around<'_, P>,
    ) {
        if let Err(fault) = self.try_act(id, action, around) {
            around.port.fault(id, fault);
            self.end_session(id, around);
        }
    }

    fn try_act<P: SessionPort>(
        &mut self,
        id: SessionId,
        action: ControlAction,
        around: &mut Around<'_, P>,
    ) -> Result<(), SessionFault> {
        match action {
            ControlAction::Done => {}
            ControlAction::Open(request) => self.open(id, request, around),
            ControlAction::Close { handle } => {
                let state = self.handle(id, handle)?.state;
                match state {
                    State::Open => self.close_handle(id, handle, CloseReason::Asked, around),
                    State::Dead => {
                        self.free_handle(id, handle);
                        around.port.closed(id, handle, CloseReason::Asked);
                    }
                    // The server is closing it: the answer that is coming serves both.
                    State::Closing => {}
                    State::Free | State::Opening(_) => {
                        return Err(SessionFault::UnknownHandle { handle });
                    }
                }
            }
            ControlAction::Drop { handle: number } => {
                let handle = self.handle(id, number)?;
                match handle.state {
                    State::Open if handle.access.write => {
                        let (slot, generation) = (handle.slot, handle.generation);
                        let worker = handle.worker;
                        let core = self.worker_cores[worker as usize];
                        around.boxes.to(core).send(Message::Drop { slot, generation });
                    }
                    State::Open => return Err(SessionFault::NotAWriter { handle: number }),
                    State::Closing | State::Dead => {}
                    State::Free | State::Opening(_) => {
                        return Err(SessionFault::UnknownHandle { handle: number });
                    }
                }
            }
            ControlAction::End => self.end_session(id, around),
        }
        Ok(())
    }

    fn handle(&mut self, id: SessionId, handle: u32) -> Result<&mut Handle, SessionFault> {
        let handles = &mut self.sessions[id.0 as usize].handles;
        handles.get_mut(handle as usize).ok_or(SessionFault::UnknownHandle { handle })
    }

    /// Asks the owner to open a document for a session.
    pub(crate) fn open<P: SessionPort>(
        &mut self,
        id: SessionId,
        request: OpenRequest,
        around: &mut Around<'_, P>,
    ) {
        let session = &mut self.sessions[id.0 as usize];
        let entry = Handle {
            state: State::Opening(false),
            access: request.access,
            policy: request.policy,
            slot: 0,
            generation: 0,
            worker: 0,
            producer: NO_PRODUCER,
            subscription: NO_SUBSCRIPTION,
            balance_bytes: 0,
            withheld_bytes: 0,
        };
        let is_full = self.open_handles >= self.limits.handles_per_core_max;
        let handle = match session.free_handles.pop() {
            _ if is_full => {
                around.port.open_refused(id, request.request, OpenRefusal::Budget);
                return;
            }
            Some(handle) => {
                session.handles[handle as usize] = entry;
                handle
            }
            None if session.handles.len() < self.limits.handles_per_session_max as usize => {
                session.handles.push(entry);
                session.handles.len() as u32 - 1
            }
            None => {
                around.port.open_refused(id, request.request, OpenRefusal::HandleLimit);
                return;
            }
        };
        session.open_handles += 1;
        self.open_handles += 1;
        let core = self.worker_cores[worker_of_name(&request.name, self.worker_cores.len())];
        let open = Open { session: id, handle, request };
        around.boxes.to(core).send(Message::Open(Box::new(open)));
    }

    /// Tells the owner that a handle lets go; ends its subscription.
    fn close_handle<P: SessionPort>(
        &mut self,
        id: SessionId,
        number: u32,
        reason: CloseReason,
        around: &mut Around<'_, P>,
    ) {
        let handle = &mut self.sessions[id.0 as usize].handles[number as usize];
        debug_assert!(handle.state == State::Open);
        handle.state = State::Closing;
        let reader = (handle.subscription != NO_SUBSCRIPTION).then_some(handle.policy);
        if reader.is_some() {
            let subscription = core::mem::replace(&mut handle.subscription, NO_SUBSCRIPTION);
            around.propagation.unsubscribe(subscription, around.port);
        }
        let message = Message::Close {
            slot: handle.slot,
            generation: handle.generation,
            session: id,
            handle: number,
            producer: handle.producer,
            reader,
            reason,
        };
        around.boxes.to(self.worker_cores[handle.worker as usize]).send(message);
    }

    fn free_handle(&mut self, id: SessionId, number: u32) {
        let session = &mut self.sessions[id.0 as usize];
        session.handles[number as usize].state = State::Free;
        session.free_handles.push(number);
    }

    /// Ends a session: its unfinished message goes, its handles close, then its place is free.
    pub(crate) fn end_session<P: SessionPort>(
        &mut self,
        id: SessionId,
        around: &mut Around<'_, P>,
    ) {
        let session = &mut self.sessions[id.0 as usize];
        if session.is_ending || !session.is_used {
            return;
        }
        session.is_ending = true;
        match core::mem::replace(&mut session.partial, Partial::None) {
            Partial::None => {}
            Partial::Carried(bytes) => self.carry_bytes -= bytes.len() as u64,
            Partial::Reserved { reservation, .. } => {
                self.reserved_bytes -= u64::from(reservation.bytes());
                self.pool.release(reservation);
            }
            Partial::Aside { buffer, .. } => self.carry_bytes -= buffer.len() as u64,
        }
        around.propagation.end_session(id, around.port);
        for number in 0..self.sessions[id.0 as usize].handles.len() as u32 {
            let handle = &mut self.sessions[id.0 as usize].handles[number as usize];
            match &mut handle.state {
                State::Open => self.close_handle(id, number, CloseReason::Asked, around),
                State::Opening(is_to_close) => *is_to_close = true,
                State::Free | State::Closing | State::Dead => {}
            }
        }
        self.forget_if_done(id, around.port);
    }

    fn forget_if_done(&mut self, id: SessionId, port: &mut impl SessionPort) {
        let session = &mut self.sessions[id.0 as usize];
        if session.is_ending && session.open_handles == 0 && session.is_used {
            session.is_used = false;
            session.handles = Vec::new();
            session.free_handles = Vec::new();
            session.is_paused = false;
            self.paused.retain(|paused| *paused != id.0);
            self.free_sessions.push(id.0);
            port.forgotten(id);
        }
    }

    /// Handles what owners answer.
    pub(crate) fn handle_message<P: SessionPort>(
        &mut self,
        message: Message,
        around: &mut Around<'_, P>,
    ) {
        match message {
            Message::Ack(ack) => self.ack(ack, around.port),
            Message::Answered { chunk, count } => self.pool.answered(chunk, count),
            Message::Refused(refusal) => {
                if !self.sessions[refusal.session.0 as usize].is_ending {
                    around.port.refused(&refusal);
                }
            }
            Message::Opened(opened) => self.opened(&opened, around),
            Message::OpenRefused { session, handle, request, reason } => {
                self.free_handle(session, handle);
                self.sessions[session.0 as usize].open_handles -= 1;
                self.open_handles -= 1;
                if self.sessions[session.0 as usize].is_ending {
                    self.forget_if_done(session, around.port);
                } else {
                    around.port.open_refused(session, request, reason);
                }
            }
            Message::Freed { chunk, worker } => {
                self.pool.freed(chunk, worker);
            }
            Message::Retiring { chunk, worker } => {
                around.propagation.retire(chunk, worker, around.port, around.boxes);
            }
            Message::End { session, handle, reason } => self.end(session, handle, reason, around),
            Message::Closed { session, handle, reason } => {
                self.closed(session, handle, reason, around.port);
            }
            _ => unreachable!("a message for a worker reached a session core"),
        }
    }

    fn opened<P: SessionPort>(&mut self, opened: &Opened, around: &mut Around<'_, P>) {
        let id = opened.session;
        let is_short = self.pool.is_short();
        let handle = &mut self.sessions[id.0 as usize].handles[opened.handle as usize];
        let is_to_close = handle.state == State::Opening(true);
        handle.state = State::Open;
        handle.slot = opened.slot;
        handle.generation = opened.generation;
        handle.worker = opened.worker;
        handle.producer = opened.producer;
        let mut granted = 0;
        if opened.access.write {
            granted = self.limits.credit_bytes;
            if is_short {
                granted = granted.min(CREDIT_FLOOR_BYTES);
            }
            handle.balance_bytes = i64::from(granted);
            handle.withheld_bytes = u64::from(self.limits.credit_bytes - granted);
            if handle.withheld_bytes > 0 {
                self.withholding.push_back((id, opened.handle));
                self.counts.withheld_credits += 1;
            }
        }
        if opened.access.read
            && let Err(reason) = self.subscribe(opened, around)
        {
            let handle = &mut self.sessions[id.0 as usize].handles[opened.handle as usize];
            handle.state = State::Closing;
            let message = Message::Close {
                slot: opened.slot,
                generation: opened.generation,
                session: id,
                handle: opened.handle,
                producer: opened.producer,
                reader: Some(opened.policy),
                reason: CloseReason::Silent,
            };
            around.boxes.to(self.worker_cores[opened.worker as usize]).send(message);
            if !is_to_close {
                around.port.open_refused(id, opened.request, reason);
            }
            return;
        }
        if is_to_close {
            self.close_handle(id, opened.handle, CloseReason::Asked, around);
            return;
        }
        around.port.opened(opened, u64::from(granted));
        if let Some(from) = opened.gap_from {
            around.port.gap(id, opened.handle, from, opened.start_sequence);
        }
    }

    /// Images name the document, not the handle: a session reads a document once.
    fn subscribe<P: SessionPort>(
        &mut self,
        opened: &Opened,
        around: &mut Around<'_, P>,
    ) -> Result<(), OpenRefusal> {
        if around.propagation.reads(opened.session, opened.slot) {
            return Err(OpenRefusal::AlreadyOpen);
        }
        let subscription = around.propagation.subscribe(opened).ok_or(OpenRefusal::Budget)?;
        let handles = &mut self.sessions[opened.session.0 as usize].handles;
        handles[opened.handle as usize].subscription = subscription;
        Ok(())
    }

    /// Tells an acknowledgement, with the credit that may be granted now.
    #[inline]
    pub(crate) fn ack(&mut self, mut ack: Ack, port: &mut impl SessionPort) {
        let session = &mut self.sessions[ack.session.0 as usize];
        let Some(handle) = session.handles.get_mut(ack.handle as usize) else { return };
        if session.is_ending || !matches!(handle.state, State::Open | State::Closing) {
            return;
        }
        if self.pool.is_short() && handle.balance_bytes > i64::from(CREDIT_FLOOR_BYTES) {
            if handle.withheld_bytes == 0 && ack.credit_bytes > 0 {
                self.withholding.push_back((ack.session, ack.handle));
                self.counts.withheld_credits += 1;
            }
            handle.withheld_bytes += u64::from(ack.credit_bytes);
            ack.credit_bytes = 0;
        }
        handle.balance_bytes += i64::from(ack.credit_bytes);
        port.ack(&ack);
    }

    /// The owner asks to end a handle. One that reads learns of a drop from its stream's end.
    fn end<P: SessionPort>(
        &mut self,
        id: SessionId,
        number: u32,
        reason: CloseReason,
        around: &mut Around<'_, P>,
    ) {
        let handle = &self.sessions[id.0 as usize].handles[number as usize];
        let learns_later = reason == CloseReason::Dropped && handle.subscription != NO_SUBSCRIPTION;
        if handle.state == State::Open && !learns_later {
            self.close_handle(id, number, reason, around);
        }
    }

    /// A dropped document's stream has been sent to its end.
    pub(crate) fn stream_ended<P: SessionPort>(
        &mut self,
        id: SessionId,
        number: u32,
        around: &mut Around<'_, P>,
    ) {
        if self.sessions[id.0 as usize].handles[number as usize].state == State::Open {
            self.close_handle(id, number, CloseReason::Dropped, around);
        }
    }

    fn closed(
        &mut self,
        id: SessionId,
        number: u32,
        reason: CloseReason,
        port: &mut impl SessionPort,
    ) {
        let session = &mut self.sessions[id.0 as usize];
        session.open_handles -= 1;
        self.open_handles -= 1;
        if session.is_ending {
            self.forget_if_done(id, port);
            return;
        }
        match reason {
            CloseReason::Asked | CloseReason::Silent => self.free_handle(id, number),
            CloseReason::Dropped | CloseReason::Fenced => {
                session.handles[number as usize].state = State::Dead;
            }
        }
        if reason != CloseReason::Silent {
            port.closed(id, number, reason);
        }
    }

    /// Retires chunks, gives withheld credit, resumes reading, and looks for overdue messages.
    pub(crate) fn do_work<P: SessionPort>(
        &mut self,
        may_read: bool,
        around: &mut Around<'_, P>,
    ) -> usize {
        let mut work = self.retire_chunks(around);
        if !self.withholding.is_empty() && !self.pool.is_short() {
            work += self.give_withheld(around.port);
        }
        if may_read && !self.paused.is_empty() {
            work += self.resume_paused(around);
        }
        if around.now.monotonic_ns >= self.next_look_ns {
            self.next_look_ns = around.now.monotonic_ns + DEADLINE_LOOK_NS;
            self.end_overdue(around);
        }
        work
    }

    fn retire_chunks<P: SessionPort>(&mut self, around: &mut Around<'_, P>) -> usize {
        if !self.pool.wants_retirement() {
            return 0;
        }
        if self.pool.oldest_has_reservations() {
            self.clear_oldest(around);
        }
        let mut work = 0;
        while let Some((chunk, mut owners)) = self.pool.begin_retirement() {
            self.counts.retired_chunks += 1;
            work += 1;
            while owners != 0 {
                let worker = owners.trailing_zeros() as usize;
                owners &= owners - 1;
                around.boxes.to(self.worker_cores[worker]).send(Message::Retire { chunk });
            }
        }
        work
    }

    /// Moves messages that are still arriving out of the chunk that is next to be retired.
    fn clear_oldest<P: SessionPort>(&mut self, around: &mut Around<'_, P>) {
        for place in 0..self.sessions.len() as u32 {
            let session = &mut self.sessions[place as usize];
            let Partial::Reserved { reservation, filled } = session.partial else { continue };
            if !self.pool.is_in_oldest(&reservation) {
                continue;
            }
            let mut buffer = vec![0; reservation.bytes() as usize];
            let arrived = filled as usize;
            buffer[..arrived].copy_from_slice(&self.pool.reserved(&reservation)[..arrived]);
            self.pool.release(reservation);
            self.reserved_bytes -= u64::from(reservation.bytes());
            self.counts.carried_bytes += arrived as u64;
            let bytes = buffer.len();
            session.partial = Partial::Aside { buffer, filled: arrived };
            if let Err(fault) = self.charge_carry(bytes) {
                around.port.fault(SessionId(place), fault);
                self.end_session(SessionId(place), around);
            }
        }
    }

    fn give_withheld(&mut self, port: &mut impl SessionPort) -> usize {
        let work = self.withholding.len();
        while let Some((id, number)) = self.withholding.pop_front() {
            let session = &mut self.sessions[id.0 as usize];
            let Some(handle) = session.handles.get_mut(number as usize) else { continue };
            if handle.state != State::Open || handle.withheld_bytes == 0 {
                continue;
            }
            let bytes = core::mem::take(&mut handle.withheld_bytes);
            handle.balance_bytes += bytes as i64;
            port.credit(id, number, bytes);
        }
        work
    }

    /// Gives paused sessions room, oldest first; those that still find none stay in line.
    fn resume_paused<P: SessionPort>(&mut self, around: &mut Around<'_, P>) -> usize {
        let mut work = 0;
        for _ in 0..self.paused.len() {
            let Some(place) = self.paused.pop_front() else { break };
            let id = SessionId(place);
            if self.sessions[place as usize].is_ending {
                continue;
            }
            if !self.find_room(id, around) {
                self.paused.push_back(place);
                continue;
            }
            let session = &mut self.sessions[place as usize];
            session.is_paused = false;
            // The time that the server did not read is not the client's.
            session.partial_since_ns = around.now.monotonic_ns;
            around.port.resume_reading(id);
            work += 1;
        }
        work
    }

    fn find_room<P: SessionPort>(&mut self, id: SessionId, around: &mut Around<'_, P>) -> bool {
        let session = &mut self.sessions[id.0 as usize];
        match &session.partial {
            Partial::None | Partial::Reserved { .. } => self.pool.ensure_tail(READ_BYTES_MIN),
            Partial::Carried(bytes) => {
                let carried = bytes.len() as u32;
                let Some(total) = announced(bytes).filter(|it| *it > RESERVE_ABOVE_BYTES) else {
                    return self.pool.ensure_tail(carried + READ_BYTES_MIN);
                };
                if !self.may_reserve(total) {
                    return false;
                }
                let Some(reservation) = self.pool.reserve(total) else { return false };
                let session = &mut self.sessions[id.0 as usize];
                let Partial::Carried(bytes) = core::mem::replace(
                    &mut session.partial,
                    Partial::Reserved { reservation, filled: carried },
                ) else {
                    return false;
                };
                self.pool.reserved(&reservation)[..bytes.len()].copy_from_slice(&bytes);
                self.reserved_bytes += u64::from(total);
                self.carry_bytes -= bytes.len() as u64;
                true
            }
            Partial::Aside { buffer, filled } if *filled < buffer.len() => true,
            Partial::Aside { buffer, .. } => {
                if !self.pool.ensure_tail(buffer.len() as u32) {
                    return false;
                }
                if let Err(fault) = self.land_aside(id, around.boxes) {
                    around.port.fault(id, fault);
                    self.end_session(id, around);
                }
                true
            }
        }
    }

    fn end_overdue<P: SessionPort>(&mut self, around: &mut Around<'_, P>) {
        for place in 0..self.sessions.len() as u32 {
            let session = &self.sessions[place as usize];
            let waits = !matches!(session.partial, Partial::None) && !session.is_paused;
            let age_ns = around.now.monotonic_ns.saturating_sub(session.partial_since_ns);
            if waits && session.is_used && age_ns > self.limits.message_deadline_ns {
                around.port.fault(SessionId(place), SessionFault::MessageDeadline);
                self.end_session(SessionId(place), around);
            }
        }
    }
}

/// The length that a message's beginning announces, if its prelude is there.
fn announced(beginning: &[u8]) -> Option<u32> {
    let prelude: &[u8; PRELUDE_BYTES] = beginning.first_chunk()?;
    Some(u32::from_le_bytes([prelude[0], prelude[1], prelude[2], prelude[3]]))
}

#[inline]
fn check(message: &[u8], limits: &image::Limits) -> Result<Inbound, SessionFault> {
    let is_batch = message.get(4) == Some(&Kind::Batch.number());
    let checked = if is_batch {
        image::check_batch(message, limits)
    } else {
        image::check_info(message, limits)
    };
    checked.map_err(SessionFault::Malformed)
}

/// The worker that answers for `name`: all cores come to the same one.
pub fn worker_of_name(name: &str, workers: usize) -> usize {
    // FNV-1a, finished by a mixer: stable over versions and machines.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (crate::registry::mix(hash) % workers as u64) as usize
}
