//! How a thread of these tests sleeps: as a core does, and not for ever.

use std::time::{Duration, Instant};

use deltaworks_runtime::doorbell::{Doorbell, Sleeper, doorbell};
use deltaworks_runtime::parking::{Parker, parker};

use crate::Random;

/// Nobody that is woken waits so long, not even under a sanitizer on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits, and leaves the CPU to others, until `is_so`.
///
/// # Panics
/// If it does not become so although whoever should see to it had the time to fail first.
pub fn wait_until(mut is_so: impl FnMut() -> bool) {
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
    dithers: Option<Random>,
}

impl Rest {
    /// A sleeper with its doorbell.
    pub fn new() -> (Self, Doorbell) {
        let (parker, unparker) = parker();
        let (bell, sleeper) = doorbell(unparker);
        (Self { sleeper, parker, sleeps: 0, dithers: None }, bell)
    }

    /// From now on it is stopped, now and then, where a ringer may come in between.
    pub fn dithering(mut self) -> Self {
        self.dithers = Some(Random::new(7));
        self
    }

    fn dither(&mut self) {
        if let Some(random) = &mut self.dithers {
            random.pause_one_in(4);
        }
    }

    /// Sleeps until it is rung, unless `look` finds something to do.
    ///
    /// # Panics
    /// If nobody rings for so long that a wake must have been lost, and there is something to do.
    pub fn unless(&mut self, mut look: impl FnMut() -> bool) {
        self.dither();
        if self.sleeper.may_sleep(&mut look) {
            self.dither();
            let began = Instant::now();
            self.parker.park_timeout(PATIENCE);
            let is_late = began.elapsed() >= PATIENCE;
            assert!(!is_late || !look(), "nobody rang for what there is: a wake was lost");
            self.sleeper.woke();
            self.sleeps += 1;
        }
    }

    /// How often it has slept.
    pub fn sleeps(&self) -> u64 {
        self.sleeps
    }
}
