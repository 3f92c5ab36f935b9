//! What a panic in the judging of a batch costs: that batch and its document, nobody else.
//!
//! The part of [`Validation`] that goes on behind a panic. Up to the line of `append` that takes
//! the image away from its arrival, a batch has changed nothing that anybody else looks at; so a
//! batch that panics before it is refused, its document is quarantined, and the machine that may
//! be half changed is replaced. What is being judged is noted for a whole group: what runs between two
//! of its batches is laid to the one that was begun last. A panic behind that line, outside of a group,
//! or in here is not contained: it ends the core. Each round takes one batch more, so nothing goes in circles.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use deltaworks_image::Image;
use deltaworks_runtime::clock::Now;

use super::{Arrival, Machine, Validation};
use crate::chunk::Landed;
use crate::collection::BatchCheck;
use crate::document::{DROPPED, FAILED, LIVE};
use crate::mailbox::Mailboxes;
use crate::message::BatchRefusal;

impl Validation {
    /// Judges all of `arrivals`, over and over from behind the one that panicked.
    pub(super) fn judge_all(
        &mut self,
        arrivals: &mut [Arrival],
        mailboxes: &mut Mailboxes,
        now: Now,
    ) {
        let mut begun = 0;
        loop {
            let judged = catch_unwind(AssertUnwindSafe(|| {
                self.judge_groups(arrivals, &mut begun, mailboxes, now);
            }));
            self.end_row();
            let Err(panic) = judged else { return };
            // The machine in use went with the stack.
            self.machines.push(Box::default());
            let Some(arrival) = begun.checked_sub(1).map(|place| &mut arrivals[place]) else {
                resume_unwind(panic);
            };
            self.contain(arrival, panic, mailboxes);
        }
    }

    /// Judges the batch of a stall for `steps`; a panic counts as a verdict.
    #[expect(clippy::too_many_arguments, reason = "the parts of a stall that are taken out")]
    pub(super) fn judge_stalled(
        &mut self,
        arrival: &mut Arrival,
        index: usize,
        check: &mut BatchCheck,
        machine: &mut Machine,
        steps: &mut u32,
        mailboxes: &mut Mailboxes,
        now: Now,
    ) -> bool {
        self.is_judging = true;
        let judged = catch_unwind(AssertUnwindSafe(|| {
            self.judge_with(arrival, index, check, machine, steps, None, mailboxes, now)
        }));
        match judged {
            Ok(judged) => {
                self.is_judging = false;
                judged
            }
            Err(panic) => {
                *machine = Machine::default();
                self.contain(arrival, panic, mailboxes);
                true
            }
        }
    }

    fn contain(
        &mut self,
        arrival: &mut Arrival,
        panic: Box<dyn Any + Send>,
        mailboxes: &mut Mailboxes,
    ) {
        if !core::mem::take(&mut self.is_judging) || arrival.landed.is_nothing() {
            resume_unwind(panic);
        }
        let Some(image) = Image::checked_before(arrival.landed.bytes(&self.memory)) else {
            resume_unwind(panic);
        };
        let number = image.producer_sequence();
        let chunk = arrival.landed.range().chunk();
        self.registry.documents[arrival.place as usize].flags |= FAILED;
        self.counts.failed_batches += 1;
        self.refuse(arrival, number, BatchRefusal::Failed, mailboxes);
        arrival.landed = Landed::nothing();
        self.answer(chunk);
    }

    /// Nothing is appended any more: what is still on its way is refused.
    pub(crate) fn refuse_rest(&mut self) {
        // Every document is live, so every document is closed to batches.
        self.closed |= LIVE;
    }

    /// Why a document takes no batch.
    #[cold]
    pub(super) fn why_closed(flags: u16) -> BatchRefusal {
        if flags & DROPPED != 0 {
            BatchRefusal::Dropped
        } else if flags & FAILED != 0 {
            BatchRefusal::Failed
        } else {
            BatchRefusal::NotAppended
        }
    }
}
