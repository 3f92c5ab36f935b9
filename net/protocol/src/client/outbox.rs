//! A writer's batches that are not answered yet: what is in flight, and what waits for credit.
//!
//! ```text
//! front │ in flight: sent, numbered, kept for a resend │ waiting: numbered provisionally │ back
//! ```
//!
//! Bounded in bytes: what does not fit is refused to the user, who waits for an answer. Answers come
//! in order, so a batch's refusal is kept with it until the cumulative ack passes.

use std::collections::VecDeque;

use deltaworks_image::builder::{set_handle, set_producer_sequence};

use super::event::{Outcome, Refusal, UnknownReason};
use crate::error_code::ErrorCode;

/// Buffers kept for reuse at most.
const SPARE_MAX: usize = 64;
/// The longest buffer kept for reuse.
const SPARE_BYTES_MAX: usize = 16 << 10;

#[derive(Debug)]
struct Entry {
    image: Vec<u8>,
    number: u64,
    ticket: u64,
    refusal: Option<Box<Refusal>>,
    /// On how many connections it was sent, as far as it matters: 0, 1, or more.
    sent: u8,
}

/// One document's unanswered batches.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    entries: VecDeque<Entry>,
    in_flight: usize,
    bytes: usize,
    next_number: u64,
    next_ticket: u64,
    /// Tickets of what was discarded behind batches that are not answered yet; told behind them.
    discarded: core::ops::Range<u64>,
    /// Up to this number the server had answered when the document was opened again.
    answered_before: u64,
    spare: Vec<Vec<u8>>,
}

/// An answered batch on its way to the user.
pub(crate) struct Answer {
    pub ticket: u64,
    pub outcome: Outcome,
}

impl Outbox {
    pub fn new() -> Outbox {
        Outbox { next_number: 1, next_ticket: 1, ..Outbox::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn has_waiting(&self) -> bool {
        self.in_flight < self.entries.len()
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether `bytes` more may wait: always if nothing does.
    pub fn has_room(&self, bytes: usize, bytes_max: usize) -> bool {
        self.entries.is_empty() || self.bytes + bytes <= bytes_max
    }

    /// The number that the next batch should be built with.
    pub fn next_number(&self) -> u64 {
        self.next_number
    }

    /// A buffer of exactly `bytes`, its content unspecified.
    pub fn buffer(&mut self, bytes: usize) -> Vec<u8> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.resize(bytes, 0);
        buffer
    }

    /// Takes an image that was built with [`next_number`](Self::next_number); returns its ticket.
    pub fn push(&mut self, image: Vec<u8>) -> u64 {
        let (number, ticket) = (self.next_number, self.next_ticket);
        self.next_number = self.next_number.saturating_add(1);
        self.next_ticket += 1;
        self.bytes += image.len();
        self.entries.push_back(Entry { image, number, ticket, refusal: None, sent: 0 });
        ticket
    }

    /// Appends the next waiting batch to `out`; returns its bytes and whether it is a resend.
    pub fn send(&mut self, handle: u32, out: &mut Vec<u8>) -> Option<(usize, bool)> {
        let entry = self.entries.get_mut(self.in_flight)?;
        set_handle(&mut entry.image, handle);
        out.extend_from_slice(&entry.image);
        let is_resend = entry.sent > 0;
        entry.sent = entry.sent.saturating_add(1);
        self.in_flight += 1;
        Some((entry.image.len(), is_resend))
    }

    /// Keeps a refusal until the ack passes; `false` if no batch in flight has the number.
    pub fn refuse(&mut self, number: u64, refusal: Refusal) -> bool {
        let Some(first) = self.entries.front().map(|entry| entry.number) else { return false };
        let Some(index) = number.checked_sub(first) else { return false };
        match self.entries.get_mut(index as usize) {
            Some(entry) if (index as usize) < self.in_flight => {
                entry.refusal = Some(Box::new(refusal));
                true
            }
            _ => false,
        }
    }

    /// Answers everything in flight up to `number`.
    pub fn acknowledge(&mut self, number: u64, sequence: u64, mut answered: impl FnMut(Answer)) {
        while self.in_flight > 0 && self.entries.front().is_some_and(|e| e.number <= number) {
            let Some(entry) = self.pop() else { break };
            let sequence = (entry.number == number && sequence != 0).then_some(sequence);
            let is_last = entry.number == number;
            let is_duplicate = entry.number <= self.answered_before;
            let outcome = match entry.refusal {
                Some(refusal) if forgets(&refusal) => Outcome::Unknown(UnknownReason::Forgotten),
                Some(refusal) => Outcome::Refused(*refusal),
                None if is_duplicate || (is_last && sequence.is_none()) => {
                    Outcome::Duplicate { sequence }
                }
                None => Outcome::Accepted { sequence },
            };
            answered(Answer { ticket: entry.ticket, outcome });
            self.recycle(entry.image);
        }
        self.tell_discarded(answered);
    }

    /// The connection is gone: all that is in flight will be sent again.
    pub fn disconnect(&mut self) {
        self.in_flight = 0;
        for entry in &mut self.entries {
            // A refusal that consumed the number stays true; the others are judged anew.
            entry.refusal = entry.refusal.take().filter(|refusal| consumes(refusal));
        }
    }

    /// The document was opened in an epoch that the batches sent before do not belong to, or for the
    /// first time: answers what was sent, numbers the rest from `last + 1`.
    pub fn renumber(&mut self, last: u64, answered: impl FnMut(Answer)) {
        self.give_up_sent(UnknownReason::EpochChanged, answered);
        self.answered_before = last;
        self.number_from(last.saturating_add(1));
    }

    /// The document was opened again in the same epoch, and the server's producer stands at `last`.
    pub fn resume(&mut self, last: u64, answered: impl FnMut(Answer)) {
        let sent = self.entries.iter().take_while(|entry| entry.sent > 0).count();
        self.answered_before = last;
        if sent == 0 {
            self.number_from(last.saturating_add(1));
        } else if self.entries[0].number > last.saturating_add(1) {
            // The server remembers less than it had answered, so no number can be trusted.
            self.give_up_sent(UnknownReason::Forgotten, answered);
            self.number_from(last.saturating_add(1));
        }
    }

    /// Ends it: what was sent has the `sent` outcome or its refusal, the rest was not sent.
    pub fn end(&mut self, reason: UnknownReason, mut answered: impl FnMut(Answer)) {
        self.give_up_sent(reason, &mut answered);
        while let Some(entry) = self.pop() {
            answered(Answer { ticket: entry.ticket, outcome: Outcome::NotSent });
        }
        self.tell_discarded(answered);
    }

    /// Forgets what was not sent yet; nothing may be pushed any more. Answers come in order, so it
    /// is told behind what was sent.
    pub fn discard_waiting(&mut self, answered: impl FnMut(Answer)) {
        let mut kept = self.in_flight;
        while self.entries.get(kept).is_some_and(|entry| entry.sent > 0) {
            kept += 1;
        }
        if let Some(first) = self.entries.get(kept) {
            self.discarded = first.ticket..self.next_ticket;
            self.bytes -= self.entries.drain(kept..).map(|entry| entry.image.len()).sum::<usize>();
        }
        self.tell_discarded(answered);
    }

    fn tell_discarded(&mut self, mut answered: impl FnMut(Answer)) {
        if self.entries.is_empty() {
            for ticket in core::mem::take(&mut self.discarded) {
                answered(Answer { ticket, outcome: Outcome::NotSent });
            }
        }
    }

    fn give_up_sent(&mut self, reason: UnknownReason, mut answered: impl FnMut(Answer)) {
        while self.entries.front().is_some_and(|entry| entry.sent > 0) {
            let Some(entry) = self.pop() else { break };
            let outcome = match entry.refusal {
                Some(refusal) if entry.sent == 1 && !forgets(&refusal) => {
                    Outcome::Refused(*refusal)
                }
                _ => Outcome::Unknown(reason),
            };
            answered(Answer { ticket: entry.ticket, outcome });
        }
        self.tell_discarded(answered);
    }

    fn number_from(&mut self, first: u64) {
        let mut number = first;
        for entry in &mut self.entries {
            if entry.number != number {
                entry.number = number;
                set_producer_sequence(&mut entry.image, number);
            }
            number = number.saturating_add(1);
        }
        self.next_number = number;
    }

    fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.in_flight = self.in_flight.saturating_sub(1);
        self.bytes -= entry.image.len();
        Some(entry)
    }

    fn recycle(&mut self, image: Vec<u8>) {
        if self.spare.len() < SPARE_MAX && image.capacity() <= SPARE_BYTES_MAX {
            self.spare.push(image);
        }
    }
}

fn forgets(refusal: &Refusal) -> bool {
    refusal.error_code() == Some(ErrorCode::ProducerForgotten)
}

fn consumes(refusal: &Refusal) -> bool {
    let unconsumed = [ErrorCode::SequenceJump, ErrorCode::ProducerFenced, ErrorCode::NotAppended];
    !refusal.error_code().is_some_and(|code| unconsumed.contains(&code))
}
