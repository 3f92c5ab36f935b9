//! Moves that somebody asks for: what comes of them, and who waits for that.
//!
//! The stages move a document and tell the end on one of two cores: that of the new owner if it has
//! come, else that of the old. Whoever asks waits on both; what a core keeps for that is bounded by
//! 64 moves, and nothing while nobody asks.

use std::fmt;
use std::sync::Arc;

use deltaworks_pipeline::handover::{CannotTake, MoveOutcome, MoveRefusal, Moved};
use deltaworks_pipeline::stages::CoreStages;
use deltaworks_runtime::answer::Teller;
use serde::Serialize;

/// Moves whose end is waited for on one core, at most.
const WAITING_MAX: usize = 64;

/// Whether a worker may have documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// It may.
    No,
    /// It is given none, and who says this empties it.
    Begin,
    /// It is given none, and the balancer moves away what begins there.
    Keep,
}

/// A document, and the worker that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// Its slot.
    pub slot: u32,
    /// The slot's generation.
    pub generation: u32,
    /// Its owner.
    pub worker: u16,
}

/// A document of a worker.
#[derive(Clone, Debug)]
pub struct OwnedDocument {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is.
    pub at: Whereabouts,
    /// The worker that its name leads to.
    pub home_worker: u16,
}

/// A move that was asked for and has come to a good end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MoveReport {
    /// The document.
    pub document: String,
    /// Its owner before.
    pub from: u16,
    /// Its owner now.
    pub to: u16,
    /// Whether it was there already: then nothing was done.
    pub was_there: bool,
    /// From the old owner's last append to the new one's first; none if nobody was writing.
    pub pause_us: Option<f64>,
    /// Batches that the new owner held until the document had come.
    pub held_batches: u32,
}

/// Why a document was not moved; it has the owner that it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveFailure {
    /// No document has that name.
    NoSuchDocument,
    /// No worker has that number.
    NoSuchWorker,
    /// It is being moved, or has just come.
    AlreadyMoving,
    /// It was dropped.
    Dropped,
    /// Its owner takes documents itself, or gives as many as it may.
    OwnerBusy,
    /// The server is ending.
    Ending,
    /// The other worker gives documents itself, or takes as many as it may.
    TargetBusy,
    /// The other worker has no place for a guest.
    TargetGuests,
    /// The other worker has no room for its producers.
    TargetProducers,
    /// The other worker has no room for credit that waits for subscriptions.
    TargetCredit,
    /// The other worker has not as many node blocks.
    TargetNodes,
    /// It was dropped, has ended or has grown beyond what was asked for, while it was prepared.
    Cancelled,
    /// It has not come in time; it may still come.
    NotInTime,
    /// The other worker is drained.
    TargetDrained,
    /// A core is busy with what was asked before.
    Unanswered,
    /// No other worker takes documents.
    NoTarget,
}

impl MoveFailure {
    /// All of them.
    pub const ALL: [MoveFailure; 16] = [
        Self::NoSuchDocument,
        Self::NoSuchWorker,
        Self::AlreadyMoving,
        Self::Dropped,
        Self::OwnerBusy,
        Self::Ending,
        Self::TargetBusy,
        Self::TargetGuests,
        Self::TargetProducers,
        Self::TargetCredit,
        Self::TargetNodes,
        Self::Cancelled,
        Self::NotInTime,
        Self::TargetDrained,
        Self::Unanswered,
        Self::NoTarget,
    ];

    /// Its number, which is never another's: 601 and above.
    pub fn number(self) -> u16 {
        601 + self as u16
    }

    /// Whether it may go when it is asked for again a little later.
    pub fn is_passing(self) -> bool {
        matches!(self, Self::AlreadyMoving | Self::OwnerBusy | Self::TargetBusy | Self::Unanswered)
    }
}

impl fmt::Display for MoveFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchDocument => "No document has that name.",
            Self::NoSuchWorker => "No worker has that number.",
            Self::AlreadyMoving => "The document is being moved, or has just come.",
            Self::Dropped => "The document was dropped.",
            Self::OwnerBusy => "Its owner takes documents now, or gives as many as it may.",
            Self::Ending => "The server is ending.",
            Self::TargetBusy => "That worker gives documents now, or takes as many as it may.",
            Self::TargetGuests => "That worker has no place for a guest.",
            Self::TargetProducers => "That worker has no room for the document's producers.",
            Self::TargetCredit => {
                "That worker has no room for credit that waits for the document's subscriptions."
            }
            Self::TargetNodes => "That worker has not as many node blocks as the document.",
            Self::Cancelled => "The document was dropped, ended or grew while it was prepared.",
            Self::NotInTime => "The document has not come in time; it may still come.",
            Self::TargetDrained => "That worker is drained.",
            Self::Unanswered => "A core is busy with what was asked before.",
            Self::NoTarget => "No other worker takes documents.",
        })
    }
}

impl std::error::Error for MoveFailure {}

impl From<CannotTake> for MoveFailure {
    fn from(reason: CannotTake) -> Self {
        match reason {
            CannotTake::Busy => Self::TargetBusy,
            CannotTake::Guests => Self::TargetGuests,
            CannotTake::Producers => Self::TargetProducers,
            CannotTake::Owed => Self::TargetCredit,
            CannotTake::Nodes => Self::TargetNodes,
            CannotTake::Ending => Self::Ending,
        }
    }
}

/// A document, and the worker that it is to go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MoveOrder {
    pub slot: u32,
    pub generation: u32,
    pub to: u16,
}

/// What a core says of a move that it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MoveTold {
    /// It did not begin.
    Refused(MoveRefusal),
    /// It has ended here.
    Ended(Moved),
}

impl MoveTold {
    /// The move, or why there was none; `None` if another core has to say.
    pub fn verdict(self) -> Option<Result<Option<Moved>, MoveFailure>> {
        Some(match self {
            Self::Refused(MoveRefusal::NotHere) => return None,
            Self::Refused(MoveRefusal::AlreadyThere) => Ok(None),
            Self::Refused(MoveRefusal::NoSuchWorker) => Err(MoveFailure::NoSuchWorker),
            Self::Refused(MoveRefusal::AlreadyMoving) => Err(MoveFailure::AlreadyMoving),
            Self::Refused(MoveRefusal::Dropped) => Err(MoveFailure::Dropped),
            Self::Refused(MoveRefusal::Busy) => Err(MoveFailure::OwnerBusy),
            Self::Refused(MoveRefusal::Ending) => Err(MoveFailure::Ending),
            Self::Ended(moved) => match moved.outcome {
                MoveOutcome::Moved => Ok(Some(moved)),
                MoveOutcome::Refused(reason) => Err(reason.into()),
                MoveOutcome::Cancelled => Err(MoveFailure::Cancelled),
            },
        })
    }
}

/// Who waits on one core for the end of moves.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    waiting: Vec<(MoveOrder, Teller<MoveTold>)>,
}

impl Waiting {
    /// Waits for the end of a move that has not begun; of more than [`WAITING_MAX`] the new one is
    /// told nothing.
    pub fn wait(&mut self, order: MoveOrder, teller: Teller<MoveTold>, stages: &mut CoreStages) {
        // What has ended before is no end of this one.
        self.tell_ended(stages);
        self.waiting.retain(|(_, teller)| teller.tell(Vec::new()));
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push((order, teller));
        }
    }

    /// Begins a move, and waits for its end, or tells why it does not begin.
    pub fn begin(&mut self, order: MoveOrder, teller: Teller<MoveTold>, stages: &mut CoreStages) {
        self.tell_ended(stages);
        match stages.move_document(order.slot, order.generation, order.to) {
            Ok(()) => self.wait(order, teller, stages),
            Err(refusal) => {
                teller.tell(vec![MoveTold::Refused(refusal)]);
            }
        }
    }

    /// Tells whom it concerns what has ended; nothing while nobody waits.
    #[inline]
    pub fn tell(&mut self, stages: &mut CoreStages) -> usize {
        if self.waiting.is_empty() { 0 } else { self.tell_ended(stages) }
    }

    fn tell_ended(&mut self, stages: &mut CoreStages) -> usize {
        let mut work = 0;
        while let Some(moved) = stages.take_moved() {
            let Moved { slot, generation, to, .. } = moved;
            let ended = MoveOrder { slot, generation, to };
            self.waiting.retain(|(order, teller)| {
                let is_it = *order == ended;
                if is_it {
                    teller.tell(vec![MoveTold::Ended(moved)]);
                }
                !is_it
            });
            work += 1;
        }
        work
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_failure_has_a_number_and_a_sentence_of_its_own() {
        let numbers: BTreeSet<u16> = MoveFailure::ALL.iter().map(|it| it.number()).collect();
        let sentences: BTreeSet<String> =
            MoveFailure::ALL.iter().map(ToString::to_string).collect();
        assert_eq!((numbers.len(), sentences.len()), (MoveFailure::ALL.len(), numbers.len()));
        assert_eq!(numbers.iter().copied().collect::<Vec<_>>(), (601..617).collect::<Vec<_>>());
        let documented = include_str!("../../../docs/PLACEMENT.md");
        for failure in MoveFailure::ALL {
            let row = format!("| {} | {failure} |", failure.number());
            assert!(documented.contains(&row), "docs/PLACEMENT.md lacks {row}");
        }
    }
}
