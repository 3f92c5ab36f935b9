//! Makes a failing schedule small: fewer steps, fewer batches, fewer clients.
//!
//! Steps draw from dice of their own, so that taking some out leaves the others what they were. Any
//! failure will do: a small schedule that fails in another way is as good a beginning.

use crate::schedule::{Failure, Schedule};
use crate::setting::Setting;

/// Runs at most: half a minute, when a run takes a millisecond.
const RUNS_MAX: usize = 20_000;

/// A failing schedule that was made as small as it could be.
#[derive(Debug)]
pub struct Shrunk {
    /// The schedule.
    pub schedule: Schedule,
    /// How it fails, with what happens.
    pub failure: Failure,
    /// Runs that it took.
    pub runs: usize,
}

/// Makes `schedule` small; `None` if it does not fail.
pub fn shrink(schedule: &Schedule) -> Option<Shrunk> {
    let failure = schedule.run().err()?;
    let mut search = Search { best: schedule.clone(), runs: 1 };
    search.best.steps.truncate(failure.steps + 1);
    if !search.fails(&search.best.clone()) {
        search.best = schedule.clone();
    }
    loop {
        let before = search.best.clone();
        search.mute_clients();
        search.send_less();
        search.take_steps_out();
        if search.best == before || search.runs >= RUNS_MAX {
            break;
        }
    }
    let failure = search.best.run_with(true).err()?;
    Some(Shrunk { schedule: search.best, failure, runs: search.runs })
}

struct Search {
    best: Schedule,
    runs: usize,
}

impl Search {
    fn fails(&mut self, schedule: &Schedule) -> bool {
        self.runs += 1;
        self.runs <= RUNS_MAX && schedule.run().is_err()
    }

    /// Keeps `schedule` if it still fails.
    fn keep(&mut self, schedule: Schedule) -> bool {
        let fails = self.fails(&schedule);
        if fails {
            self.best = schedule;
        }
        fails
    }

    fn mute_clients(&mut self) {
        for place in 0..Setting::of_seed(self.best.seed).clients.len() {
            let muted = self.best.muted | 1 << place;
            if muted != self.best.muted {
                self.keep(Schedule { muted, ..self.best.clone() });
            }
        }
    }

    fn send_less(&mut self) {
        for batches in [0, self.best.batches / 4, self.best.batches / 2] {
            if batches < self.best.batches && self.keep(Schedule { batches, ..self.best.clone() }) {
                return;
            }
        }
    }

    /// Takes out ever smaller parts of the steps, from the end on.
    fn take_steps_out(&mut self) {
        let mut part = self.best.steps.len().div_ceil(2);
        while part > 0 {
            let mut end = self.best.steps.len();
            while end > 0 {
                let start = end.saturating_sub(part);
                let mut fewer = self.best.clone();
                fewer.steps.drain(start..end);
                self.keep(fewer);
                end = start.min(self.best.steps.len());
            }
            part /= 2;
        }
    }
}
