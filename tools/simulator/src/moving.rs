//! Documents are moved from one owner to another, at random and all the time.
//!
//! The part of [`World`] that asks for moves, and counts what becomes of them. Nobody else in a world
//! knows that documents move: clients and the model judge what they see as ever.

use deltaworks_pipeline::handover::MoveOutcome;

use crate::coverage::Event;
use crate::dice::Dice;
use crate::world::World;

impl World {
    /// Asks some core to give one of its documents to some worker.
    pub(crate) fn move_some(&mut self, dice: &mut Dice) {
        let core = dice.below(self.cores.len());
        let mut documents = Vec::new();
        let stages = self.server.stages(core);
        stages.documents(0, 64, |entry| documents.push((entry.slot, entry.generation)));
        drop(stages);
        let workers = self.setting.roles.iter().filter(|role| role.owns_documents).count();
        let to = dice.below(workers) as u16;
        if documents.is_empty() {
            return;
        }
        let (slot, generation) = dice.pick(&documents);
        let begun = self.server.stages_mut(core).move_document(slot, generation, to);
        // Whoever asks does so in a turn of the core.
        self.cores[core].call().make();
        match begun {
            Ok(()) => {
                self.coverage.count(Event::MoveBegun);
                if self.tells {
                    self.told.push(format!("document {slot:x} is to go to worker {to}"));
                }
            }
            Err(_) => self.coverage.count(Event::MoveRefused),
        }
    }

    /// Takes what became of moves.
    pub(crate) fn count_moved(&mut self, core: usize) {
        loop {
            let moved = self.server.stages_mut(core).take_moved();
            let Some(moved) = moved else { return };
            if self.tells {
                self.told.push(format!("core {core}: {moved:?}"));
            }
            let event = match moved.outcome {
                MoveOutcome::Moved if usize::from(moved.to) == (moved.slot >> 24) as usize => {
                    Event::CameHome
                }
                MoveOutcome::Moved => Event::Moved,
                MoveOutcome::Refused(_) => Event::NotTaken,
                MoveOutcome::Cancelled => Event::MoveCancelled,
            };
            self.coverage.count(event);
            if moved.pause_ns.is_some() {
                self.coverage.count(Event::MovedUnderLoad);
            }
            self.coverage.add(Event::Held, u64::from(moved.held));
        }
    }

    /// Counts what the stages of `core` have counted of moves.
    pub(crate) fn count_moves(&mut self, core: usize) {
        let counts = self.server.stages(core).move_counts();
        self.coverage.add(Event::OpenDeferred, counts.deferred_opens);
        self.coverage.add(Event::RetirementHeld, counts.held_retirements);
        self.coverage.add(Event::DroppedOnTheWay, counts.dropped);
        self.coverage.add(Event::OpenPassedOn, counts.passed_opens);
        self.coverage.add(Event::BlocksLent, counts.lent_blocks);
        self.coverage.add(Event::KeptMoved, counts.with_kept);
    }
}
