//! What tests and simulators do to the stages of a core, and look at.
//!
//! The part of [`CoreStages`] that a release lacks.

#[cfg(feature = "testing")]
use deltaworks_runtime::clock::Now;

use super::CoreStages;

impl CoreStages {
    /// Plants a panic in these stages.
    #[cfg(any(feature = "planted_faults", feature = "testing"))]
    pub fn plant(&mut self, panic: crate::planted::PlantedPanic) {
        if let Some(side) = &mut self.sessions {
            side.reception.planted.plant(panic.clone());
        }
        if let Some(validation) = &mut self.validation {
            validation.planted.plant(panic);
        }
    }

    /// Plants a fault: of so many copies for slow subscribers, the count of one is never given
    /// back.
    #[cfg(feature = "testing")]
    pub fn plant_spill_leak(&mut self, one_in: u64) {
        if let Some(side) = &mut self.sessions {
            side.propagation.leaks_one_in = Some(one_in);
        }
    }

    /// Plants a fault: subscriptions that wait for their sockets are looked at each time.
    #[cfg(feature = "testing")]
    pub fn plant_looks(&mut self) {
        if let Some(side) = &mut self.sessions {
            side.propagation.looks_at_all = true;
        }
    }

    /// Subscriptions that were looked at because their documents grew or chunks went.
    #[cfg(feature = "testing")]
    pub fn looks(&self) -> u64 {
        self.sessions.as_ref().map_or(0, |side| side.propagation.looks)
    }

    /// From now on a recycled chunk, also one of kept images, is filled with `byte`: who reads it still, reads nonsense.
    #[cfg(feature = "testing")]
    pub fn poison_recycled(&mut self, byte: u8) {
        if let Some(side) = &mut self.sessions {
            side.reception.pool_mut().poison_recycled(byte);
        }
        if let Some(kept) = self.validation.as_mut().and_then(|it| it.retirements.kept.as_mut()) {
            kept.pool_mut().poison_recycled(byte);
        }
    }

    /// Unloads what is idle now, not only at the next sweep.
    #[cfg(feature = "testing")]
    pub fn unload_idle(&mut self, now: Now) {
        if let Some(validation) = &mut self.validation {
            validation.unload_idle(&mut self.boxes, now);
        }
    }

    /// Messages that a full ring did not take, and what this core has told itself.
    #[cfg(feature = "testing")]
    pub fn waiting_messages(&self) -> usize {
        self.boxes.waiting()
    }

    /// What waits at this worker behind batches in slices and in lanes, those batches with it.
    #[cfg(feature = "testing")]
    pub fn set_aside_count(&self) -> usize {
        self.validation.as_ref().map_or(0, crate::validation::Validation::set_aside_count)
    }

    /// Entries of handles that credit is withheld from.
    #[cfg(feature = "testing")]
    pub fn withholding_entries(&self) -> usize {
        self.sessions.as_ref().map_or(0, |side| side.reception.withholding_entries())
    }

    /// Whether messages or marks wait for this core, or it owes an answer: it must not sleep then.
    #[cfg(feature = "testing")]
    pub fn has_unheard(&self) -> bool {
        !self.inbox.iter().all(super::Inbox::is_empty)
            || self.boxes.waiting() > 0
            || self.validation.as_ref().is_some_and(|validation| !validation.is_idle())
            || self.sessions.as_ref().is_some_and(|side| !side.propagation.is_clear())
    }

    /// Chunks of this core whose retirement has begun and not ended.
    #[cfg(feature = "testing")]
    pub fn retiring_chunks(&self) -> usize {
        self.sessions.as_ref().map_or(0, |side| side.reception.pool().retiring())
    }
}
