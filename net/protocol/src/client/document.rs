//! One document as a client session sees it: where its stream stands, and what it may send.
//!
//! ```text
//! Waiting ──open──▶ Asking ──opened──▶ Open ──close──▶ Closing ──closed──▶ Ended
//!    ▲                 └── refused ──────┼─── closed ─────────────────────────▲
//!    └────────────── disconnected ───────┘
//! ```

use super::event::{DocumentKey, Event};
use super::outbox::{Answer, Outbox};
use crate::message::{OpenOptions, Opened, Start};

/// Numbers by which a document's own batches were known; more are forgotten, oldest first.
const ORIGINS: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// For a connection.
    Waiting,
    Asking,
    Open,
    Closing,
    Ended,
}

#[derive(Debug)]
pub(crate) struct Document {
    pub name: Box<str>,
    pub options: OpenOptions,
    pub phase: Phase,
    pub handle: u32,
    pub id: u64,
    /// The epoch of the last `opened`; `None` before the first.
    pub epoch: Option<u64>,
    /// The next sequence wanted.
    pub cursor: u64,
    /// The first batch may begin before the cursor, because a subscription starts at a whole batch.
    pub may_start_inside: bool,
    pub balance: i64,
    pub outbox: Outbox,
    /// When the oldest thing that waits for an answer was asked, or the last answer came.
    pub asked_ns: u64,
    pub is_ready: bool,
    pub is_close_wanted: bool,
    pub is_flushing: bool,
    pub is_drop_wanted: bool,
    pub is_forgotten: bool,
    origins: [u32; ORIGINS],
}

impl Document {
    pub fn new(name: &str, options: OpenOptions) -> Document {
        Document {
            name: name.into(),
            options,
            phase: Phase::Waiting,
            handle: 0,
            id: 0,
            epoch: None,
            cursor: 0,
            may_start_inside: false,
            balance: 0,
            outbox: Outbox::new(),
            asked_ns: 0,
            is_ready: false,
            is_close_wanted: false,
            is_flushing: true,
            is_drop_wanted: false,
            is_forgotten: false,
            origins: [0; ORIGINS],
        }
    }

    /// The options of the next `open`: after the first, the stream goes on where it stood.
    pub fn options_to_ask(&self) -> OpenOptions {
        let start = match self.epoch {
            Some(epoch) => Start::Sequence { sequence: self.cursor, epoch },
            None => self.options.start,
        };
        OpenOptions { start, ..self.options }
    }

    /// Takes what `opened` tells of the stream.
    pub fn opened(&mut self, opened: &Opened<'_>) {
        let asked = match self.options_to_ask().start {
            Start::Sequence { sequence, epoch } if epoch == opened.epoch => Some(sequence.max(1)),
            _ => None,
        };
        if self.epoch != Some(opened.epoch) {
            self.origins = [0; ORIGINS];
        }
        // A start that has left the window is told as a gap behind this message.
        self.cursor = asked.unwrap_or(opened.start_sequence);
        self.may_start_inside = true;
        self.epoch = Some(opened.epoch);
        self.id = opened.document;
        if opened.origin != 0 && self.origins[0] != opened.origin {
            self.origins.rotate_right(1);
            self.origins[0] = opened.origin;
        }
    }

    /// Whether a batch of this origin is our own.
    pub fn is_own(&self, origin: u32) -> bool {
        origin != 0 && self.origins.contains(&origin)
    }

    pub fn grant(&mut self, bytes: u64) {
        self.balance = self.balance.saturating_add(bytes.min(i64::MAX as u64) as i64);
    }

    pub fn may_send(&self) -> bool {
        self.balance > 0 && self.outbox.has_waiting()
    }
}

impl Answer {
    pub fn of(self, document: DocumentKey) -> Event {
        Event::Answered { document, ticket: self.ticket, outcome: self.outcome }
    }
}
