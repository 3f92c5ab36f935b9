//! What can change while the server runs: published once by who changes it, taken by each core.
//!
//! Belongs to who started the server. A change is seen by each core within a quarter of a second
//! and by the doorkeeper at the next connection; nothing waits for it. Sessions that are connected
//! keep the deadlines that their hello told.

use std::sync::{Mutex, PoisonError};

use deltaworks_pipeline::stages::Tuning;
use deltaworks_runtime::sync::Arc;
use deltaworks_runtime::sync::atomic::{AtomicU64, Ordering};

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
#[derive(Debug)]
pub(crate) struct Published {
    /// Counts changes.
    version: AtomicU64,
    /// The lock is taken once a change and reader, and never on the data path.
    settings: Mutex<Settings>,
}

impl Published {
    pub fn new(settings: Settings) -> Self {
        Self { version: AtomicU64::new(0), settings: Mutex::new(settings) }
    }

    fn publish(&self, settings: Settings) {
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = settings;
        // Release: pairs with the Acquire in `news`; the lock orders the settings anyway.
        self.version.fetch_add(1, Ordering::Release);
    }
}

/// One reader's view.
#[derive(Debug)]
pub(crate) struct SettingsReader {
    published: Arc<Published>,
    seen: u64,
}

impl SettingsReader {
    pub fn new(published: &Arc<Published>) -> Self {
        Self { published: Arc::clone(published), seen: 0 }
    }

    /// The settings, if they have changed since they were asked for.
    pub fn news(&mut self) -> Option<Settings> {
        // Acquire: pairs with the Release in `publish`.
        let version = self.published.version.load(Ordering::Acquire);
        if version == self.seen {
            return None;
        }
        self.seen = version;
        Some(*self.published.settings.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

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
        *self.published.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes others, and wakes the cores that sleep.
    pub fn publish(&self, settings: Settings) {
        self.published.publish(settings);
        self.doors.iter().for_each(|door| door.ring());
    }
}

#[cfg(test)]
mod stress;

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(ping_interval_ms: u32) -> Settings {
        let tuning = Tuning { credit_bytes: 1, message_deadline_ns: 1, idle_unload_ns: 1 };
        Settings {
            hello_deadline_ms: 1,
            ping_interval_ms,
            ping_timeout_ms: 9,
            sessions_per_address_max: 1,
            tuning,
        }
    }

    #[test]
    fn each_reader_sees_a_change_once() {
        let published = Arc::new(Published::new(settings(1)));
        let mut readers = [SettingsReader::new(&published), SettingsReader::new(&published)];
        assert!(readers.iter_mut().all(|reader| reader.news().is_none()));
        published.publish(settings(2));
        published.publish(settings(3));
        for reader in &mut readers {
            assert_eq!(reader.news(), Some(settings(3)));
            assert_eq!(reader.news(), None);
        }
    }
}
