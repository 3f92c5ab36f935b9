//! How a thread of these tests sleeps: as a core does, and not for ever.

use std::time::{Duration, Instant};

use deltaworks_runtime::doorbell::{Doorbell, Sleeper, doorbell};
use deltaworks_runtime::parking::{Parker, parker};

/// Nobody that is woken waits so long, not even under a sanitizer on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits, and leaves the CPU to others, until `is_so`.
///
/// # Panics
/// If it does not become so although whoever should see to it had the time to fail first.
pub fn wait_until(is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < 2 * PATIENCE, "waited in vain");
        std::thread::yield_now();
    }
}

/// A sleeper and its parker.
#[derive(Debug)]
pub struct Rest {
    sleeper: Sleeper,
    parker: Parker,
    sleeps: u64,
}

impl Rest {
    /// A sleeper with its doorbell.
    pub fn new() -> (Self, Doorbell) {
        let (parker, unparker) = parker();
        let (bell, sleeper) = doorbell(unparker);
        (Self { sleeper, parker, sleeps: 0 }, bell)
    }

    /// Sleeps until it is rung, unless `look` finds something to do.
    ///
    /// # Panics
    /// If nobody rings: a wake was lost.
    pub fn unless(&mut self, look: impl FnOnce() -> bool) {
        if self.sleeper.may_sleep(look) {
            let began = Instant::now();
            self.parker.park_timeout(PATIENCE);
            assert!(began.elapsed() < PATIENCE, "nobody rang: a wake was lost");
            self.sleeper.woke();
            self.sleeps += 1;
        }
    }

    /// How often it has slept.
    pub fn sleeps(&self) -> u64 {
        self.sleeps
    }
}
