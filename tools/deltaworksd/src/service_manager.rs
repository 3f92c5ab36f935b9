//! What the service manager is told: ready, reloading, stopping, and a status for people.
//!
//! Belongs to the main thread. Speaks systemd's protocol of notifications, a datagram each to the
//! socket that NOTIFY_SOCKET names; without it nothing is sent. It waits for no answer, only, when
//! the manager's queue is full, for the manager to take what was told before. A datagram that cannot
//! be sent is told in the log, once.

use std::time::{Duration, Instant};

use deltaworks_server::Server;
use sd_notify::NotifyState;
use tracing::warn;

use crate::quantity::counted;

/// Between two statuses, if they differ.
const STATUS_PAUSE: Duration = Duration::from_secs(5);

/// What ending takes beyond `drain_seconds`: last words and the cores' ends.
const ENDING: Duration = Duration::from_secs(10);

/// The daemon's side of its service manager.
#[derive(Debug)]
pub struct ServiceManager {
    status: String,
    next_status: Instant,
    has_failed: bool,
}

impl Default for ServiceManager {
    fn default() -> Self {
        Self { status: String::new(), next_status: Instant::now(), has_failed: false }
    }
}

impl ServiceManager {
    /// Connections are accepted.
    pub fn ready(&mut self, server: &Server) {
        self.status = status(server);
        let status = std::mem::take(&mut self.status);
        self.tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
        self.status = status;
        self.next_status = Instant::now() + STATUS_PAUSE;
    }

    /// The configuration is read again; [`ready`](Self::ready) must follow.
    pub fn reloading(&mut self) {
        // Without the time, a manager that asked for the reload would not know which one this is.
        match NotifyState::monotonic_usec_now() {
            Ok(time) => self.tell(&[NotifyState::Reloading, time]),
            Err(_) => self.tell(&[NotifyState::Reloading]),
        }
    }

    /// A status now and then, if there is a new one. To be called often.
    pub fn tick(&mut self, server: &Server) {
        let now = Instant::now();
        if now < self.next_status {
            return;
        }
        self.next_status = now + STATUS_PAUSE;
        let status = status(server);
        if status != self.status {
            self.tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }

    /// The daemon ends, which takes as long as `drain` and a little more, whatever the manager's own
    /// patience is.
    pub fn stopping(&mut self, drain: Duration, sessions: usize) {
        let takes_us = u32::try_from((drain + ENDING).as_micros()).unwrap_or(u32::MAX);
        let status = format!("Ending in order; {}", counted(sessions, "session"));
        self.tell(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(takes_us),
            NotifyState::Status(&status),
        ]);
    }

    fn tell(&mut self, states: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(states)
            && !std::mem::replace(&mut self.has_failed, true)
        {
            warn!("the service manager cannot be told: {error}");
        }
    }
}

fn status(server: &Server) -> String {
    let sessions = counted(server.session_count(), "session");
    let counts = server.accept_counts();
    let refused = counts.refused_sessions + counts.refused_address + counts.refused_descriptors;
    format!(
        "Serving {sessions}; {} accepted, {refused} refused; documents are in memory only",
        counts.accepted
    )
}
