//! Faults that are planted on purpose: a harness that does not see them proves nothing.

use std::time::Instant;

use crate::cpu_time;
use crate::layout::Layout;

/// What is planted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plant {
    /// One payload byte of one image is another when the subscriber reads it.
    PayloadByte,
    /// One bit of one image's time is another: its owner's fields are read by nobody but their checksum.
    HeaderBit,
    /// Two images of different documents have each other's bytes, and the checksums of these.
    Bodies,
    /// One image comes twice.
    Doubled,
    /// Two images of one document come in the wrong order.
    Swap,
    /// One image does not come.
    Missing,
    /// The collection has no schema.
    SkipValidation,
    /// Cores that are to serve sessions alone own documents, too.
    DocumentsStay,
}

impl Plant {
    /// Whether a run of `layout` has what it spoils: only a split has cores that serve sessions alone.
    pub fn is_seen_in(self, layout: Layout) -> bool {
        self != Self::DocumentsStay || layout == Layout::Split
    }
}

/// The image at which a fault is planted, counted over one core's subscribers.
pub const PLANTED_IMAGE: u64 = 100;

/// Steps between two looks of the calibration, and its tries.
const STEPS: u32 = 20_000;
const TRIES: u32 = 20;

/// Turns from one look at the thread's time to the next.
const LOOKED: u64 = 16;

/// A planted loss: work for nothing until it is so many percent of the time that the thread has really
/// run. What others had of the CPU does not count, so that the loss is no larger on a busy machine.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    share: f64,
    step_ns: f64,
    began_ns: u64,
    burnt_ns: f64,
    turns: u64,
}

impl Loss {
    /// A loss of `percent`, from now on.
    pub fn new(percent: f64) -> Self {
        let try_once = |_| {
            let began = Instant::now();
            steps(STEPS);
            began.elapsed().as_nanos() as f64 / f64::from(STEPS)
        };
        // The shortest try is the one that nobody disturbed.
        let step_ns = (0..TRIES).map(try_once).fold(f64::INFINITY, f64::min).max(0.01);
        let began_ns = cpu_time::of_this_thread_ns().unwrap_or(0);
        Self { share: percent / 100.0, step_ns, began_ns, burnt_ns: 0.0, turns: 0 }
    }

    /// A turn has ended: works for nothing, if that is due.
    pub fn turned(&mut self) {
        self.turns += 1;
        if self.turns.is_multiple_of(LOOKED) {
            let ran_ns = cpu_time::of_this_thread_ns().unwrap_or(0).saturating_sub(self.began_ns);
            steps(self.due(ran_ns));
        }
    }

    /// Steps that are due when the thread has run for `ran_ns`, these included.
    fn due(&mut self, ran_ns: u64) -> u32 {
        // What is burnt now is part of the time, too.
        let owed_ns = (ran_ns as f64 * self.share - self.burnt_ns) / (1.0 - self.share).max(0.01);
        let count = (owed_ns / self.step_ns).max(0.0) as u32;
        self.burnt_ns += f64::from(count) * self.step_ns;
        count
    }
}

/// Work that nobody can leave out or do beside.
#[inline(never)]
pub fn steps(count: u32) {
    let mut number = 1_u64;
    for _ in 0..count {
        number = std::hint::black_box(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (number >> 29));
    }
    std::hint::black_box(number);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_burnt_is_its_share_of_the_time_that_the_thread_ran() {
        let mut loss = Loss { share: 0.1, step_ns: 2.0, began_ns: 0, burnt_ns: 0.0, turns: 0 };
        let mut ran_ns = 0;
        for turn in 0..1000_u64 {
            ran_ns += 900 + turn % 7;
            ran_ns += u64::from(loss.due(ran_ns)) * 2;
        }
        let share = loss.burnt_ns / ran_ns as f64;
        assert!((share - 0.1).abs() < 0.001, "{share}");
        assert_eq!(loss.due(ran_ns), 0, "nothing ran meanwhile");
    }
}
