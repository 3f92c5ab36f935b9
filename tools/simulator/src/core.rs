//! The cores: which are awake, and what wakes those that sleep.
//!
//! A core sleeps as the shipping loop does: it says so at its doorbell, takes one more turn, and
//! sleeps if that found nothing. From then on only its doorbell, its own tasks and its deadline bring
//! it back, so a wake that is lost is a stall.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deltaworks_runtime::clock::Now;
use deltaworks_runtime::doorbell::{Doorbell, Sleeper, Wake, doorbell_with};
use deltaworks_runtime::fences::Fences;

use crate::coverage::{Coverage, Event};

/// Whether somebody has asked a core to turn. All of it is on one thread: Relaxed everywhere.
#[derive(Clone, Debug, Default)]
pub struct Call(Arc<AtomicBool>);

impl Call {
    /// Asks.
    pub fn make(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }

    fn is_made(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

struct Bell {
    call: Call,
    rung: Call,
}

impl Wake for Bell {
    fn wake(&self) {
        self.call.make();
        self.rung.make();
    }
}

/// The loop of one core.
#[derive(Debug)]
pub struct CoreLoop {
    sleeper: Sleeper,
    sleeps: bool,
    call: Call,
    /// The call came by the doorbell.
    rung: Call,
}

impl CoreLoop {
    /// A core that is awake, and its doorbell.
    pub fn new() -> (Self, Doorbell) {
        let (call, rung) = (Call::default(), Call::default());
        // One thread: nobody has to be fenced for.
        let (bell, sleeper) =
            doorbell_with(Fences::EVEN, Bell { call: call.clone(), rung: rung.clone() });
        (Self { sleeper, sleeps: false, call, rung }, bell)
    }

    /// What the tasks of this core ask it with.
    pub fn call(&self) -> Call {
        self.call.clone()
    }

    /// Whether it sleeps and nobody has called.
    pub fn sleeps(&self) -> bool {
        self.sleeps && !self.call.is_made()
    }

    /// Goes once round the loop; returns how much was done.
    pub fn go_round(
        &mut self,
        now: Now,
        wake_at_ns: u64,
        may_park: bool,
        coverage: &mut Coverage,
        mut turn: impl FnMut() -> usize,
    ) -> usize {
        if self.sleeps {
            let is_due = now.monotonic_ns >= wake_at_ns;
            if !self.call.is_made() && !is_due {
                return 0;
            }
            if self.call.is_made() {
                coverage.count(Event::Slept);
            } else {
                coverage.count(Event::SleptOverTimer);
            }
            if self.rung.take() {
                coverage.count(Event::MessageToSleeper);
            }
            self.sleeper.woke();
            self.sleeps = false;
        }
        self.call.take();
        let work = turn();
        if work > 0 || self.call.is_made() || !may_park {
            return work;
        }
        let call = &self.call;
        let mut last_look = 0;
        self.sleeps = self.sleeper.may_sleep(|| {
            last_look = turn();
            last_look > 0 || call.is_made()
        });
        last_look
    }
}
