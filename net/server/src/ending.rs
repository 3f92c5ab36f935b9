//! How a server ends: in order, out of time, or because a core was lost.
//!
//! Belongs to the thread that stops the server, which waits here and only here. Every wait has an
//! end: a core that does not answer any more is left behind, and its sessions count as cut.
//!
//! | phase | what the cores do | until |
//! |---|---|---|
//! | draining | read nothing; append, acknowledge and send what there is | all is done, or the time is up |
//! | refusing | append nothing: what is still on its way is refused (408) | all are quiet, 2 s at most |
//! | closing | end every session (200); last words are said | all connections are closed, 3 s at most |
//! | failing | instead of all these, if a core is lost: end every session (299) | the same |

use std::thread;
use std::time::{Duration, Instant};

use deltaworks_runtime::core::Core;
use deltaworks_runtime::ending::Stillness;

use crate::doorkeeper::Doorkeeper;
use crate::server::{Server, Stopped};
use crate::station::{CLOSING, DRAINING, ENDED, FAILING, REFUSING};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(1);
/// How long the refusals of what was not appended may take.
const REFUSALS: Duration = Duration::from_secs(2);
/// How long last words may take; whoever has not taken them by then is cut.
const LAST_WORDS: Duration = Duration::from_millis(3_000);
/// How long both may take when the end is wanted at once.
const AT_ONCE: Duration = Duration::from_millis(500);
/// How long a core may take for its last turn.
const LAST_TURN: Duration = Duration::from_secs(2);

/// How draining ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Drained {
    Complete,
    TimeUp,
    AtOnce,
    Failed,
}

impl Server {
    /// Ends in order within about `drain` and the time for last words: see the module's
    /// documentation. `cut` is asked again and again, and ends the draining at once when it says
    /// so. If a core has failed, or fails meanwhile, all that is left is to tell the sessions.
    pub fn stop(mut self, drain: Duration, cut: impl FnMut() -> bool) -> Stopped {
        let drained = self.drain(Instant::now() + drain, cut);
        let last_words = if drained == Drained::AtOnce { AT_ONCE } else { LAST_WORDS };
        match drained {
            Drained::Complete => {}
            Drained::TimeUp => self.refuse_rest(REFUSALS),
            Drained::AtOnce => self.refuse_rest(AT_ONCE),
            Drained::Failed => self.enter(FAILING),
        }
        if drained != Drained::Failed {
            self.enter(CLOSING);
        }
        let patience = Instant::now() + last_words;
        while self.has_connections() && Instant::now() < patience {
            thread::sleep(LOOK);
        }
        // Before the cores end, and with them their counts.
        let sessions = self.doors.iter().map(|door| door.cut()).sum();
        let has_failed = self.has_failed();
        self.end_cores();
        self.enter(ENDED);
        if let Some(doorkeeper) = self.doorkeeper.take() {
            doorkeeper.join();
        }
        if let Some(prefault) = self.prefault.take() {
            prefault.join();
        }
        if drained == Drained::Failed || has_failed {
            Stopped::Failed
        } else if drained == Drained::Complete && sessions == 0 {
            Stopped::Complete
        } else {
            Stopped::Cut { sessions }
        }
    }

    fn drain(&mut self, deadline: Instant, mut cut: impl FnMut() -> bool) -> Drained {
        self.enter(DRAINING);
        let mut stillness = Stillness::default();
        loop {
            if self.has_failed() {
                return Drained::Failed;
            }
            if cut() {
                return Drained::AtOnce;
            }
            if Instant::now() >= deadline {
                return Drained::TimeUp;
            }
            if self.comes_to_rest(&mut stillness) {
                return Drained::Complete;
            }
        }
    }

    fn refuse_rest(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        self.enter(REFUSING);
        let mut stillness = Stillness::default();
        while Instant::now() < deadline && !self.has_failed() && !self.comes_to_rest(&mut stillness)
        {
        }
    }

    /// Whether nothing is on its way any more. If something is, all are rung and given a moment.
    fn comes_to_rest(&self, stillness: &mut Stillness) -> bool {
        let cores = self.doors.iter().map(|door| &door.restfulness);
        if stillness.look(self.phase.get(), cores) {
            return true;
        }
        self.doors.iter().for_each(|door| door.ring());
        thread::sleep(LOOK);
        false
    }

    pub(crate) fn enter(&self, phase: u8) {
        self.phase.enter(phase, self.doors.iter().map(|door| door.doorbell()));
        self.doorkeeper.iter().for_each(Doorkeeper::ring);
    }

    fn has_connections(&self) -> bool {
        self.doors.iter().any(|door| door.has_connections())
    }

    /// Ends all cores; one that does not end is left behind with the process.
    pub(crate) fn end_cores(&mut self) {
        self.cores.iter().for_each(Core::stop);
        let patience = Instant::now() + LAST_TURN;
        while !self.cores.iter().all(Core::is_finished) && Instant::now() < patience {
            thread::sleep(LOOK);
        }
        for (index, core) in self.cores.drain(..).enumerate() {
            if core.is_finished() {
                // A core that panicked has told why on standard error.
                let _ = core.join();
            } else {
                tracing::error!(core = index, "a core does not end; it is left behind");
            }
        }
    }
}
