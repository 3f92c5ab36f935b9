//! Handles: what a session has open, from `open` to the owner's last word.
//!
//! The part of [`Reception`] that deals with control. A handle belongs to its session; its place
//! is given again only when the owner has said that nothing of it is on its way.

use deltaworks_runtime::clock::Now;
use deltaworks_runtime::huge_pages;
use deltaworks_runtime::prefetch::prefetch_entry;

use super::{Around, Handle, Partial, Reception, Session, State, worker_of_name};
use crate::chunk::Landed;
use crate::limits::CREDIT_FLOOR_BYTES;
use crate::mailbox::Mailboxes;
use crate::message::{
    Ack, CloseReason, Message, Missed, Open, OpenRefusal, OpenRequest, Opened, Policy, SessionId,
};
use crate::port::{ControlAction, SessionFault, SessionPort};
use crate::producer::{BY_SLOT, NO_PRODUCER};
use crate::propagation::Ended;
use crate::quota::Used;
use crate::routes::Routes;
use crate::subscription::NO_SUBSCRIPTION;

/// What an open handle stands for.
pub(crate) struct OpenHandle {
    pub slot: u32,
    pub generation: u32,
    /// Its subscription, if it reads.
    pub subscription: u32,
}

impl Handle {
    /// Looks where its document is now. Its producer's place there is not known until the owner has
    /// told it; until then it looks again each time.
    #[cold]
    pub(super) fn look(&mut self, routes: &Routes) {
        let worker = routes.worker(self.slot, self.generation);
        if worker != self.worker && self.producer != NO_PRODUCER {
            self.producer = BY_SLOT;
        }
        self.worker = worker;
        self.routed_at = match self.producer {
            BY_SLOT => routes.version().wrapping_sub(1),
            _ => routes.version(),
        };
    }

    /// Sends an image to where that is.
    #[cold]
    pub(super) fn send(&self, landed: Landed, session: SessionId, boxes: &mut Mailboxes) {
        let mailbox = boxes.to_worker(self.worker);
        match self.producer {
            BY_SLOT => mailbox.send(Message::Rerouted { landed, session, slot: self.slot }),
            producer => mailbox.send_batch(landed, session, producer),
        }
    }
}

impl Reception {
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

    pub(super) fn try_act<P: SessionPort>(
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
                    State::Closing(_) => self.handle(id, handle)?.state = State::Closing(true),
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
                        let worker = around.boxes.routes.worker(slot, generation);
                        around.boxes.to_worker(worker).send(Message::Drop { slot, generation });
                    }
                    State::Open => return Err(SessionFault::NotAWriter { handle: number }),
                    State::Closing(_) | State::Dead => {}
                    State::Free | State::Opening(_) => {
                        return Err(SessionFault::UnknownHandle { handle: number });
                    }
                }
            }
            ControlAction::End => self.end_session(id, around),
        }
        Ok(())
    }

    /// Shows each handle that `id` has open, with what it reads or writes; `false` if there is no
    /// such session.
    pub(crate) fn each_open_handle(&self, id: SessionId, mut show: impl FnMut(OpenHandle)) -> bool {
        let session = &self.sessions[id.0 as usize];
        for handle in session.handles.iter().filter(|handle| handle.state == State::Open) {
            let Handle { slot, generation, subscription, .. } = *handle;
            show(OpenHandle { slot, generation, subscription });
        }
        session.is_used
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
        self.planted.opening(&request.name);
        let session = &mut self.sessions[id.0 as usize];
        let mut entry = Handle {
            state: State::Opening(false),
            access: request.access,
            policy: request.policy.unwrap_or_default(),
            slot: 0,
            generation: 0,
            worker: 0,
            producer: NO_PRODUCER,
            subscription: NO_SUBSCRIPTION,
            routed_at: 0,
            balance_bytes: 0,
            withheld_bytes: 0,
            used: Used::default(),
            collection: 0,
            is_listed: false,
            quotas_at: 0,
        };
        if self.open_handles >= self.limits.handles_per_core_max {
            around.port.open_refused(id, request.request, OpenRefusal::Budget);
            return;
        }
        let handle = match session.free_handles.pop() {
            Some(handle) => {
                // What its last producer used of a quota is used.
                entry.used = session.handles[handle as usize].used;
                entry.is_listed = session.handles[handle as usize].is_listed;
                session.handles[handle as usize] = entry;
                handle
            }
            None if session.handles.len() < self.limits.handles_per_session_max as usize => {
                self.handle_places -= session.handles.capacity();
                huge_pages::grow(&mut session.handles);
                session.handles.push(entry);
                self.handle_places += session.handles.capacity();
                session.handles.len() as u32 - 1
            }
            None => {
                around.port.open_refused(id, request.request, OpenRefusal::HandleLimit);
                return;
            }
        };
        session.open_handles += 1;
        self.open_handles += 1;
        let core = self.worker_cores[worker_of_name(&request.name, self.homes)];
        let open = Open { core: around.boxes.own_core(), session: id, handle, request };
        around.boxes.to(core).send(Message::Open(Box::new(open)));
    }

    /// A document goes from worker `from` to worker `to`: whoever is asked to let go of a chunk for
    /// the one is asked for the other, too.
    pub(crate) fn rerouted(&mut self, from: u16, to: u16) {
        self.pool.count_with(from, to);
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
        let reader = (handle.subscription != NO_SUBSCRIPTION).then_some(handle.policy);
        if reader.is_some() {
            // First, so that a panic leaves a handle that is open and can be closed again.
            around.propagation.unsubscribe(handle.subscription);
            handle.subscription = NO_SUBSCRIPTION;
        }
        handle.state = State::Closing(false);
        if handle.routed_at != around.boxes.routes.version() {
            handle.look(&around.boxes.routes);
        }
        let worker = handle.worker;
        let message = Message::Close {
            slot: handle.slot,
            generation: handle.generation,
            session: id,
            handle: number,
            producer: handle.producer,
            reader,
            reason,
        };
        around.boxes.to_worker(worker).send(message);
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
        self.turnstile.forget(&mut session.visitor, id.0);
        match core::mem::replace(&mut session.partial, Partial::None) {
            Partial::None => {}
            Partial::Carried(bytes) | Partial::Backlog(bytes) => {
                self.carry_bytes -= bytes.len() as u64;
            }
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
                State::Free | State::Closing(_) | State::Dead => {}
            }
        }
        self.forget_if_done(id, around.port);
    }

    fn forget_if_done(&mut self, id: SessionId, port: &mut impl SessionPort) {
        let session = &mut self.sessions[id.0 as usize];
        if session.is_ending && session.open_handles == 0 && session.is_used {
            session.is_used = false;
            self.handle_places -= session.handles.capacity();
            let listed = session.handles.iter().filter(|handle| handle.is_listed).count();
            session.handles = Vec::new();
            session.free_handles = Vec::new();
            session.is_paused = false;
            self.leave_listed(id, listed);
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
            Message::Rebind { session, handle, worker, producer } => {
                let handle = &mut self.sessions[session.0 as usize].handles[handle as usize];
                handle.worker = worker;
                handle.producer = producer;
                handle.routed_at = around.boxes.routes.version();
            }
            Message::OpenElsewhere { open, slot, generation } => {
                // The way that batches and closes go: none of them is overtaken.
                let worker = around.boxes.routes.worker(slot, generation);
                around.boxes.to_worker(worker).send(Message::OpenAt { open, slot, generation });
            }
            Message::LastWord { slot, generation, from } => {
                around.boxes.to_worker(from).send(Message::Heard { slot, generation });
            }
            Message::Forget { slot, generation } => {
                around.boxes.routes.forget(slot, generation);
            }
            _ => unreachable!("a message for a worker reached a session core"),
        }
    }

    fn opened<P: SessionPort>(&mut self, opened: &Opened, around: &mut Around<'_, P>) {
        let id = opened.session;
        let handle = &mut self.sessions[id.0 as usize].handles[opened.handle as usize];
        let is_to_close = handle.state == State::Opening(true);
        handle.state = State::Open;
        handle.slot = opened.slot;
        handle.generation = opened.generation;
        handle.worker = opened.worker;
        handle.producer = opened.producer;
        handle.routed_at = around.boxes.routes.version();
        handle.policy = opened.policy;
        handle.collection = opened.collection;
        let mut granted = 0;
        if opened.access.write {
            granted = self.first_credit(opened, around.now);
        }
        if opened.access.read
            && let Err(reason) = self.subscribe(opened, around)
        {
            let handle = &mut self.sessions[id.0 as usize].handles[opened.handle as usize];
            // Its owner reckons with a reader that waits where this one would have begun.
            around.propagation.tell_progress_of(opened.slot);
            // The client never learns of it: acks that come still are for nobody.
            handle.state = State::Opening(true);
            let message = Message::Close {
                slot: opened.slot,
                generation: opened.generation,
                session: id,
                handle: opened.handle,
                producer: opened.producer,
                reader: Some(opened.policy),
                reason: CloseReason::Silent,
            };
            around.boxes.to_worker(opened.worker).send(message);
            if !is_to_close {
                around.port.open_refused(id, opened.request, reason);
            }
            return;
        }
        if is_to_close {
            self.close_handle(id, opened.handle, CloseReason::Asked, around);
            return;
        }
        around.port.opened(opened, granted);
        if let Some(from) = opened.gap_from.filter(|_| opened.access.read) {
            let to = opened.start_sequence;
            let missed = Missed { from, to, policy: Policy::Gap, behind_bytes: 0 };
            around.port.gap(id, opened.handle, missed);
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
    fn ack(&mut self, mut ack: Ack, port: &mut impl SessionPort, now: Now) {
        let Some(handle) = hearer(&mut self.sessions, &ack) else { return };
        if self.pool.is_short() && handle.balance_bytes > i64::from(CREDIT_FLOOR_BYTES) {
            let is_first = handle.withheld_bytes == 0 && ack.credit_bytes > 0;
            handle.withheld_bytes += u64::from(ack.credit_bytes);
            ack.credit_bytes = 0;
            if is_first {
                self.counts.withheld_credits += 1;
                self.list(ack.session, ack.handle);
            }
            port.ack(&ack);
            return;
        }
        if self.has_quotas {
            self.grant_of_ack(&mut ack, now);
            port.ack(&ack);
            return;
        }
        handle.balance_bytes += i64::from(ack.credit_bytes);
        port.ack(&ack);
    }

    /// Whether all credit that comes back may be granted now.
    #[inline]
    pub(crate) fn grants_all(&self) -> bool {
        !self.has_quotas && !self.pool.is_short()
    }

    /// Tells an acknowledgement, where all credit that comes back may be granted.
    #[inline(always)]
    pub(crate) fn ack_plainly(&mut self, ack: &Ack, port: &mut impl SessionPort) {
        if let Some(handle) = hearer(&mut self.sessions, ack) {
            handle.balance_bytes += i64::from(ack.credit_bytes);
            port.ack(ack);
        }
    }

    /// Asks for the handles that acknowledgements are for, before they are told.
    pub(crate) fn ask_for_handles(&self, acks: &[Ack]) {
        for ack in acks {
            let session = &self.sessions[ack.session.0 as usize];
            prefetch_entry(&session.handles, ack.handle as usize);
        }
    }

    /// Tells acknowledgements, in order.
    #[inline]
    pub(crate) fn acks(&mut self, acks: &[Ack], port: &mut impl SessionPort, now: Now) {
        if self.grants_all() {
            acks.iter().for_each(|ack| self.ack_plainly(ack, port));
        } else {
            acks.iter().for_each(|ack| self.ack(*ack, port, now));
        }
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

    /// A subscription has come to its end: that of its stream, or the one that its policy makes.
    pub(crate) fn subscription_ended<P: SessionPort>(
        &mut self,
        ended: Ended,
        around: &mut Around<'_, P>,
    ) {
        let Ended { session, handle, reason } = ended;
        if self.sessions[session.0 as usize].handles[handle as usize].state == State::Open {
            self.close_handle(session, handle, reason, around);
        }
    }

    fn closed(
        &mut self,
        id: SessionId,
        number: u32,
        reason: CloseReason,
        port: &mut impl SessionPort,
    ) {
        if self.has_quotas {
            self.give_back(id, number);
        }
        let session = &mut self.sessions[id.0 as usize];
        session.open_handles -= 1;
        self.open_handles -= 1;
        if session.is_ending {
            self.forget_if_done(id, port);
            return;
        }
        let both_closed = session.handles[number as usize].state == State::Closing(true);
        match reason {
            CloseReason::Dropped | CloseReason::Fenced | CloseReason::Behind if !both_closed => {
                session.handles[number as usize].state = State::Dead;
            }
            _ => self.free_handle(id, number),
        }
        if reason != CloseReason::Silent {
            port.closed(id, number, reason);
        }
    }
}

/// The handle that an acknowledgement is for, if its client still wants to hear of it.
#[inline]
fn hearer<'a>(sessions: &'a mut [Session], ack: &Ack) -> Option<&'a mut Handle> {
    let session = &mut sessions[ack.session.0 as usize];
    let handle = session.handles.get_mut(ack.handle as usize)?;
    let hears = !session.is_ending && matches!(handle.state, State::Open | State::Closing(_));
    hears.then_some(handle)
}
