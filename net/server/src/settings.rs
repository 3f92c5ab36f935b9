//! What can change while the server runs: published once by who changes it, taken by each core.
//!
//! Belongs to who started the server. A change is seen by each core within a quarter of a second
//! and by the doorkeeper at the next connection; nothing waits for it. Sessions that are connected
//! keep the deadlines that their hello told.

use deltaworks_pipeline::stages::Tuning;
use deltaworks_runtime::sync::Arc;
use deltaworks_runtime::versioned::{Versioned, VersionedReader};

use crate::station::CoreDoor;

/// The settings of a server that can change while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A hello must come this long after the connection.
    pub hello_deadline_ms: u32,
    /// A session that is silent for this long is pinged.
    pub ping_interval_ms: u32,
    /// A session that is silent for this long is ended.
    pub ping_timeout_ms: u32,
    /// Sessions of one address at most; those that are connected stay.
    pub sessions_per_address_max: usize,
    /// What the stages take.
    pub tuning: Tuning,
}

/// The settings, where all threads of the server see them.
pub(crate) type Published = Versioned<Settings>;

/// One reader's view.
pub(crate) type SettingsReader = VersionedReader<Settings>;

/// The right to change the settings of a running server.
#[derive(Clone)]
pub struct SettingsHandle {
    pub(crate) published: Arc<Published>,
    pub(crate) doors: Vec<std::sync::Arc<CoreDoor>>,
}

impl std::fmt::Debug for SettingsHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SettingsHandle").field("published", &self.published).finish()
    }
}

impl SettingsHandle {
    /// The settings that were published last.
    pub fn settings(&self) -> Settings {
        self.published.get()
    }

    /// Publishes others, and wakes the cores that sleep.
    pub fn publish(&self, settings: Settings) {
        self.published.publish(settings);
        self.doors.iter().for_each(|door| door.ring());
    }
}

#[cfg(test)]
mod stress;
