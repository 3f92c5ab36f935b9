//! What a client's handles and its connection share, behind one lock that is never held over a wait.
//!
//! The connection's task moves messages in and out; handles put batches in and take events out. Each
//! document has one queue of events and one of tickets, bounded by the options.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use deltaworks_protocol::client::{
    self as protocol, DocumentKey, Fault, OpenedDocument, Outcome, Received, Refusal, Session,
    UnknownReason,
};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::batch::{Batch, Info};
use crate::document::Event;

/// Shared by the connection's task and all handles.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Something is to be sent, or the client is to end.
    pub(crate) work: Notify,
    /// A queue that had stopped the reading has room again.
    pub(crate) room: Notify,
    /// The session's state changed: connected, or failed.
    pub(crate) change: Notify,
    began: Instant,
    unread_bytes_max: usize,
}

/// What the lock guards.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) session: Session,
    pub(crate) slots: Vec<Option<Slot>>,
    pub(crate) is_connected: bool,
    pub(crate) is_quitting: bool,
    /// Documents whose queue is full.
    pub(crate) full: usize,
}

/// A document's queues.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) opened: Option<OpenedDocument>,
    pub(crate) refused: Option<Refusal>,
    pub(crate) ended: Option<u16>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) unread_bytes: usize,
    pub(crate) is_full: bool,
    pub(crate) tickets: VecDeque<oneshot::Sender<Outcome>>,
    pub(crate) signals: Arc<Signals>,
    /// Nobody has a handle any more; only tickets may wait.
    pub(crate) is_forgotten: bool,
}

/// How waiting users of a document are woken.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// An event came, or the document was opened or ended.
    pub(crate) event: Notify,
    /// A batch was answered, or the document ended.
    pub(crate) answer: Notify,
}

impl Slot {
    pub(crate) fn new() -> Slot {
        Slot {
            opened: None,
            refused: None,
            ended: None,
            events: VecDeque::new(),
            unread_bytes: 0,
            is_full: false,
            tickets: VecDeque::new(),
            signals: Arc::default(),
            is_forgotten: false,
        }
    }
}

impl Shared {
    pub(crate) fn new(session: Session, unread_bytes_max: usize) -> Shared {
        let state =
            State { session, slots: Vec::new(), is_connected: false, is_quitting: false, full: 0 };
        Shared {
            state: Mutex::new(state),
            work: Notify::new(),
            room: Notify::new(),
            change: Notify::new(),
            began: Instant::now(),
            unread_bytes_max,
        }
    }

    /// The lock. A panic of a user's while holding it is impossible, so poison tells nothing.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nanoseconds since the client began.
    pub(crate) fn now_ns(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// The instant that is `at_ns` after the client began.
    pub(crate) fn instant(&self, at_ns: u64) -> Instant {
        self.began + std::time::Duration::from_nanos(at_ns)
    }

    /// Puts a received image into its document's queue.
    pub(crate) fn receive(&self, state: &mut State, received: Received, bytes: Bytes) {
        match received {
            Received::Nothing => {}
            Received::Batch { document, skip } => {
                self.push(state, document, Event::Batch(Batch::new(bytes, skip)));
            }
            Received::Info { document } => {
                self.push(state, document, Event::Info(Info::new(bytes)));
            }
        }
    }

    /// Puts an event into its document's queue; a queue that is too long stops the reading.
    fn push(&self, state: &mut State, document: DocumentKey, event: Event) {
        let Some(slot) = state.slot(document) else { return };
        if slot.is_forgotten {
            return;
        }
        slot.unread_bytes += charge(&event);
        slot.events.push_back(event);
        if slot.events.len() == 1 {
            slot.signals.event.notify_one();
        }
        if slot.unread_bytes > self.unread_bytes_max && !slot.is_full {
            slot.is_full = true;
            state.full += 1;
        }
    }

    /// Takes a document's next event; lets reading go on when its queue is half empty.
    pub(crate) fn take(&self, state: &mut State, document: DocumentKey) -> Option<Event> {
        let slot = state.slot(document)?;
        let event = slot.events.pop_front()?;
        slot.unread_bytes -= charge(&event);
        if slot.is_full && slot.unread_bytes <= self.unread_bytes_max / 2 {
            slot.is_full = false;
            state.full -= 1;
            if state.full == 0 {
                self.room.notify_one();
            }
        }
        Some(event)
    }

    /// Hands the session's events to whom they concern.
    pub(crate) fn deliver(&self, state: &mut State) {
        while let Some(event) = state.session.poll_event() {
            match event {
                protocol::Event::Connected(_) => {
                    state.is_connected = true;
                    self.change.notify_waiters();
                }
                protocol::Event::Failed(_) => self.change.notify_waiters(),
                protocol::Event::Opened(document, opened) => {
                    if let Some(slot) = state.slot(document) {
                        slot.opened = Some(*opened);
                        slot.signals.event.notify_one();
                    }
                }
                protocol::Event::OpenRefused(document, refusal) => {
                    if let Some(slot) = state.slot(document) {
                        slot.refused = Some(*refusal);
                    }
                }
                protocol::Event::Answered { document, outcome, .. } => {
                    if let Some(slot) = state.slot(document) {
                        if let Some(ticket) = slot.tickets.pop_front() {
                            // Nobody waits for a ticket that was dropped.
                            let _ = ticket.send(outcome);
                        }
                        slot.signals.answer.notify_waiters();
                    }
                }
                protocol::Event::Gap { document, from, to, policy, behind_bytes } => {
                    self.push(state, document, Event::Gap { from, to, policy, behind_bytes });
                }
                protocol::Event::EpochChanged { document, epoch, sequence } => {
                    self.push(state, document, Event::EpochChanged { epoch, sequence });
                }
                protocol::Event::Closed { document, code } => {
                    let event = match state.session.failure().cloned() {
                        Some(fault) => Event::Failed(fault),
                        None => Event::Closed { code },
                    };
                    let Some(slot) = state.slot(document) else { continue };
                    if slot.is_forgotten {
                        state.slots[document.0 as usize] = None;
                        // Somebody may wait to open the same name.
                        self.change.notify_waiters();
                        continue;
                    }
                    slot.ended = Some(code);
                    slot.signals.answer.notify_waiters();
                    self.push(state, document, event);
                }
            }
        }
    }

    /// Forgets a document: nobody has a handle of it any more.
    pub(crate) fn forget(&self, document: DocumentKey) {
        let mut state = self.lock();
        let Some(slot) = state.slot(document) else { return };
        slot.is_forgotten = true;
        slot.events = VecDeque::new();
        slot.unread_bytes = 0;
        let (was_full, has_ended) = (slot.is_full, slot.ended.is_some());
        slot.is_full = false;
        if has_ended {
            state.slots[document.0 as usize] = None;
        }
        if was_full {
            state.full -= 1;
            self.room.notify_one();
        }
        state.session.forget(document);
        self.deliver(&mut state);
        self.work.notify_one();
    }

    /// Ends everything with a fault.
    pub(crate) fn fail(&self, fault: Fault) {
        let mut state = self.lock();
        state.session.fail(fault);
        self.deliver(&mut state);
        self.change.notify_waiters();
    }
}

impl State {
    pub(crate) fn slot(&mut self, document: DocumentKey) -> Option<&mut Slot> {
        self.slots.get_mut(document.0 as usize)?.as_mut()
    }
}

/// What an unread event counts: its image, and its place in the queue.
fn charge(event: &Event) -> usize {
    const PLACE_BYTES: usize = 64;
    PLACE_BYTES
        + match event {
            Event::Batch(batch) => batch.bytes().len(),
            Event::Info(info) => info.image().bytes().len(),
            _ => 0,
        }
}

/// What a ticket says when nobody is left to answer it.
pub(crate) const UNANSWERED: Outcome = Outcome::Unknown(UnknownReason::SessionFailed);
