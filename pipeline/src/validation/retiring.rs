//! Chunks that are let go of, as a worker tells others: agents, chunks' cores, other owners.
//!
//! The part of [`Validation`] that carries out what [`Retirements`](crate::retirement::Retirements) ask
//! for, and that retires chunks of kept images as a reception core retires its own.

use deltaworks_runtime::chunk_memory::ChunkId;

use super::Validation;
use crate::kept::Kept;
use crate::mailbox::{Mailboxes, cores_of};
use crate::message::Message;
use crate::retirement::Notice;

impl Validation {
    /// Goes on with retirements, and begins one of a kept chunk if room is wanted. What was judged is published.
    pub(super) fn advance_retirements(&mut self, boxes: &mut Mailboxes) -> usize {
        if self.retirements.is_idle() {
            return 0;
        }
        let worker = self.registry.worker;
        let chunk_cores = &self.chunk_cores;
        if let Some(kept) = &mut self.retirements.kept {
            // The others' answers may wait until what leaves here has come to them.
            kept.waits_for_others = self.moves.leaving.is_empty();
        }
        let work = self.retirements.advance(&mut self.registry, |notice| match notice {
            Notice::AskAgents(chunk, mut agents) => {
                while agents != 0 {
                    let core = agents.trailing_zeros() as u16;
                    agents &= agents - 1;
                    boxes.to(core).send(Message::Retiring { chunk, worker });
                }
            }
            Notice::Freed(chunk) => {
                let core = chunk_cores[chunk.0 as usize];
                boxes.to(core).send(Message::Freed { chunk, worker });
            }
        });
        work + self.retire_kept(boxes)
    }

    /// Begins to let go of the oldest chunk of kept images, if room is wanted: every worker that may have
    /// documents with images in it is asked, and this one asks itself.
    fn retire_kept(&mut self, boxes: &mut Mailboxes) -> usize {
        let begun = self.retirements.kept.as_mut().and_then(Kept::begin_retirement);
        let Some((chunk, workers)) = begun else { return 0 };
        let worker = self.registry.worker;
        for other in cores_of(workers & !(1 << worker)) {
            boxes.to_worker(other).send(Message::Retire { chunk });
        }
        self.retire(chunk);
        self.retirements.look_again();
        1
    }

    /// Whether `chunk` is one of this worker's, of kept images.
    pub(crate) fn keeps_in(&self, chunk: ChunkId) -> bool {
        self.retirements.kept.as_ref().is_some_and(|kept| kept.owns(chunk))
    }

    /// A document has gone from worker `from` to worker `to`.
    pub(crate) fn rerouted(&mut self, (slot, generation): (u32, u32), from: u16, to: u16) {
        self.registry.rerouted(slot, generation, to);
        if let Some(kept) = &mut self.retirements.kept {
            kept.rerouted(from, to);
        }
    }
}
