//! What an owner tells of its load, and what it does when a document is to go elsewhere.
//!
//! The part of [`Validation`] that measures and obeys. It decides nothing: a decision that does not fit
//! any more, because the document has gone or its lane is taken, is passed over, and the next reports
//! say so.

use deltaworks_runtime::clock::Now;

use super::Validation;
use super::leaving::Asker;
use crate::document::{DROPPED, LEAVING};
use crate::heat::{Mark, Work};
use crate::mailbox::Mailboxes;
use crate::message::Message;
use crate::placement::Decision;
use crate::stages::Tuning;

/// Documents of a worker that is to be emptied that are looked at in a span.
const SWEPT_AT_ONCE: usize = 16;

/// What a worker is to those that place documents.
#[derive(Debug)]
pub(crate) struct Standing {
    /// Where its reports go.
    pub coordinator_core: u16,
    /// The elastic workers that share its core, and their weights.
    pub elastic: Vec<(u16, u16)>,
    /// Node blocks with which each home begins.
    pub blocks_each: u32,
    /// The first chunk of kept images; `u32::MAX` if there is none.
    pub kept_from: u32,
    /// Cores whose worker has some of those, one bit each.
    pub keeping_cores: u64,
}

impl Validation {
    /// When this worker must turn at the latest although nothing comes.
    pub(crate) fn wake_at_ns(&self) -> u64 {
        self.heat.wake_at_ns().min(self.moves.wake_at_ns())
    }

    /// Goes by other numbers from now on.
    pub(crate) fn tune(&mut self, tuning: Tuning) {
        self.registry.tune(tuning);
        self.limits.placement.tune(tuning.placement);
        self.heat.tune(self.limits.placement.thresholds);
    }

    /// Tells nothing more: the worker ends, and nothing is placed elsewhere any more.
    pub(crate) fn stop_measuring(&mut self) {
        self.heat.stop();
    }

    /// Ends a span, and reports it. Returns what was done for lanes: a report that goes to this core itself
    /// waits in its mailbox, and nobody parks beside such a one.
    #[cold]
    pub(super) fn measure(&mut self, boxes: &mut Mailboxes, now: Now) -> usize {
        let work_of_lanes = self.sweep_lanes(boxes, now);
        let registry = &self.registry;
        self.heat.sweep(|from, find| {
            registry.each_place(from, SWEPT_AT_ONCE, |place| {
                let document = &registry.documents[place];
                if registry.live_index(document.slot, document.generation).is_some() {
                    find(document.slot, document.generation);
                }
            })
        });
        let of_collections = self.counts.by_collection();
        let sum =
            |count: fn(&super::CollectionCounts) -> u64| of_collections.iter().map(count).sum();
        let work = Work {
            batches: sum(|counts| counts.accepted_batches),
            deltas: sum(|counts| counts.accepted_deltas),
            steps: self.heat.steps,
        };
        let bytes = sum(|counts| counts.accepted_bytes);
        let registry = &self.registry;
        let mark = |slot, generation| {
            let document = &registry.documents[registry.live_index(slot, generation)?];
            let is_there = document.flags & DROPPED == 0;
            is_there.then_some(Mark {
                next_sequence: document.next_sequence,
                nodes: document.nodes,
                appended: document.appended,
            })
        };
        let report = self.heat.measure(registry.worker, now.monotonic_ns, work, bytes, mark);
        let Some(report) = report else { return work_of_lanes };
        let mailbox = boxes.to(self.coordinator_core);
        if mailbox.room() == 0 {
            self.heat.was_not_told();
            return work_of_lanes;
        }
        mailbox.send(Message::Load(Box::new(report)));
        work_of_lanes
    }

    /// Does what was decided about a document, if it is still here.
    pub(super) fn carry_out(&mut self, decision: &Decision, boxes: &mut Mailboxes, now: Now) {
        let Decision { slot, generation, to, elastic, .. } = *decision;
        let Some(place) = self.registry.live_index(slot, generation) else { return };
        // Whoever gets a document that leaves decides about it; a lane would hold it here.
        if self.registry.documents[place].flags & (DROPPED | LEAVING) != 0 {
            return;
        }
        if to != self.registry.worker {
            // Its lane ends when the last batch has come this way; refused, it stays what it is.
            let begun = self.give_document((slot, generation), to, Asker::Coordinator, boxes);
            self.counts.moves_not_begun += u64::from(begun.is_err());
            return;
        }
        let has_already = self.heat.elastic(slot, generation);
        if elastic.is_some() && has_already == elastic {
            return;
        }
        self.close_lane(place, boxes, now);
        self.heat.set_elastic(slot, generation, None);
        if let Some(number) = elastic {
            self.sweep_lanes(boxes, now);
            if !self.lanes.has(number) || self.give_lane(place, number) {
                self.heat.set_elastic(slot, generation, Some(number));
            }
        }
    }
}
