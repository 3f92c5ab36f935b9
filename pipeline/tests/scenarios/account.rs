//! The account of a subscription: whatever its policy, what was sent and told is all that was published.

use super::world::received;
use deltaworks_pipeline::inline::Event;

/// What one subscription was sent and told: together everything, in order, nothing twice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    handle: u32,
    slot: u32,
    /// The sequence that must come next, as a delta or as one that is told to be missing.
    pub next: u64,
    /// Deltas that came.
    pub delivered: u64,
    /// Deltas that were told as missing.
    pub told: u64,
}

impl Account {
    pub fn new(handle: u32, slot: u32, next: u64) -> Self {
        Self { handle, slot, next, delivered: 0, told: 0 }
    }

    /// Enters what the session was told and sent.
    pub fn take(&mut self, events: &[Event]) {
        for event in events {
            if let Event::Gap { handle, from, to, .. } = event
                && *handle == self.handle
            {
                assert_eq!(*from, self.next, "told where it stood");
                assert!(to > from);
                self.told += to - from;
                self.next = *to;
            }
            for (slot, sequence, _) in received(core::slice::from_ref(event)) {
                if slot == self.slot {
                    assert_eq!(sequence, self.next, "nothing is missing silently or comes twice");
                    self.delivered += 1;
                    self.next += 1;
                }
            }
        }
    }
}
