//! Faults that are planted on purpose: a harness that does not see them proves nothing.

use std::time::Instant;

/// What is planted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plant {
    /// One payload byte of one image is another when the subscriber reads it.
    PayloadByte,
    /// Two images of one document come in the wrong order.
    Swap,
    /// One image does not come.
    Missing,
    /// The collection has no schema.
    SkipValidation,
}

/// The image at which a fault is planted, counted over one core's subscribers.
pub const PLANTED_IMAGE: u64 = 100;

/// Steps between two looks of the calibration, and its tries.
const STEPS: u32 = 20_000;
const TRIES: u32 = 20;

/// A planted loss: after each turn so much work for nothing as makes the turn longer by some percent.
/// What a step takes is measured when nothing disturbs it, and a turn in which somebody else had the CPU
/// counts as twice the usual one at most, so that the loss is no larger on a busy machine.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    share: f64,
    step_ns: f64,
    usual_ns: f64,
    owed_ns: f64,
}

impl Loss {
    /// A loss of `percent`.
    pub fn new(percent: f64) -> Self {
        let try_once = |_| {
            let began = Instant::now();
            steps(STEPS);
            began.elapsed().as_nanos() as f64 / f64::from(STEPS)
        };
        let step_ns = (0..TRIES).map(try_once).fold(f64::INFINITY, f64::min);
        // What takes 1 / (1 - share) as long has lost so much of its rate.
        let share = percent / (100.0 - percent).max(1.0);
        Self { share, step_ns: step_ns.max(0.01), usual_ns: 0.0, owed_ns: 0.0 }
    }

    /// Works for nothing after a turn from `began_ns` to `ended_ns`.
    pub fn burn(&mut self, began_ns: u64, ended_ns: u64) {
        let turn_ns = ended_ns.saturating_sub(began_ns) as f64;
        if self.usual_ns == 0.0 {
            self.usual_ns = turn_ns;
        }
        let turn_ns = turn_ns.min(2.0 * self.usual_ns);
        self.usual_ns += (turn_ns - self.usual_ns) / 64.0;
        self.owed_ns += turn_ns * self.share;
        let count = (self.owed_ns / self.step_ns) as u32;
        steps(count);
        self.owed_ns -= f64::from(count) * self.step_ns;
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
    fn what_is_burnt_follows_the_turns_and_no_outlier() {
        let mut loss = Loss { share: 0.1, step_ns: 1.0, usual_ns: 0.0, owed_ns: 0.0 };
        for _ in 0..100 {
            loss.burn(0, 1005);
        }
        assert!((loss.usual_ns - 1005.0).abs() < 1e-6);
        assert!((0.0..1.0).contains(&loss.owed_ns), "{loss:?}");
        loss.burn(0, 1_000_000_000);
        assert!(loss.usual_ns < 1100.0, "{loss:?}");
    }
}
