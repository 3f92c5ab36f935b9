//! The pulse of a server: whether each of its cores still turns.
//!
//! Belongs to whoever watches, on any thread, also while the server drains. It reads counters and
//! rings doorbells; it never waits, takes no lock, and touches nothing of the data path.

use std::sync::Arc;

use deltaworks_runtime::core::{CORE_COUNTERS, CoreCounter};
use deltaworks_runtime::counters::CounterReader;

use crate::station::CoreDoor;

/// Every core's counter of turns, and its bell.
///
/// **Ring, give the cores time, then look**: a core without work sleeps and has no reason to turn
/// until it is rung.
#[derive(Clone)]
pub struct Pulse {
    pub(crate) cores: Vec<(CounterReader<CORE_COUNTERS>, Arc<CoreDoor>)>,
}

impl std::fmt::Debug for Pulse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pulse({:?})", self.turns())
    }
}

impl Pulse {
    /// Wakes every core that sleeps; each turns at least once and says so. A system call for each
    /// sleeper.
    pub fn ring(&self) {
        self.cores.iter().for_each(|(_, door)| door.ring());
    }

    /// The turns of each core since its start, as last told: before it sleeps, and at every look
    /// at its sockets. Allocates.
    pub fn turns(&self) -> Vec<u64> {
        self.cores.iter().map(|(counters, _)| counters.get(CoreCounter::Turns as usize)).collect()
    }
}
