//! What an owner tells of its load, and what it does when a document is to go elsewhere.
//!
//! The part of [`Validation`] that measures and obeys. It decides nothing: a decision that does not fit
//! any more, because the document has gone or its lane is taken, is passed over, and the next reports
//! say so.

use deltaworks_runtime::clock::Now;

use super::Validation;
use crate::document::DROPPED;
use crate::heat::{Mark, Work};
use crate::mailbox::Mailboxes;
use crate::message::Message;
use crate::placement::Decision;

/// What a worker is to those that place documents.
#[derive(Debug)]
pub(crate) struct Standing {
    /// Where its reports go.
    pub coordinator_core: u16,
    /// The elastic workers that share its core, and their weights.
    pub elastic: Vec<(u16, u16)>,
    /// Node blocks with which each home begins.
    pub blocks_each: u32,
}

impl Validation {
    /// When this worker must turn at the latest although nothing comes.
    pub(crate) fn wake_at_ns(&self) -> u64 {
        self.heat.wake_at_ns().min(self.moves.wake_at_ns())
    }

    /// Ends a span, and reports it.
    #[cold]
    pub(super) fn measure(&mut self, boxes: &mut Mailboxes, now: Now) {
        self.sweep_lanes(boxes, now);
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
        if let Some(report) = report {
            boxes.to(self.coordinator_core).send(Message::Load(Box::new(report)));
        }
    }

    /// Does what was decided about a document, if it is still here.
    pub(super) fn carry_out(&mut self, decision: &Decision, boxes: &mut Mailboxes, now: Now) {
        let Decision { slot, generation, to, elastic, .. } = *decision;
        let Some(place) = self.registry.live_index(slot, generation) else { return };
        if self.registry.documents[place].flags & DROPPED != 0 {
            return;
        }
        let has_already = self.heat.elastic(slot, generation);
        if to == self.registry.worker && elastic.is_some() && has_already == elastic {
            return;
        }
        self.close_lane(place, boxes, now);
        self.heat.set_elastic(slot, generation, None);
        if to != self.registry.worker {
            return;
        }
        if let Some(number) = elastic {
            self.sweep_lanes(boxes, now);
            if !self.lanes.has(number) || self.give_lane(place, number) {
                self.heat.set_elastic(slot, generation, Some(number));
            }
        }
    }
}
