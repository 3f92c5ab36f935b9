//! How many validation steps a turn has left, and so how many batches it may still take.
//!
//! Belongs to one worker. What batches will need is not known before they are checked, so it goes by
//! what those before them needed; it is asked again every few batches. It never reads a clock. When
//! nothing is left, batches stay where they are until the next turn, in order.

use super::ARRIVALS_AT_ONCE;

/// Batches that are taken without asking, at least: their lines are asked for together.
const ROOM_MIN: u32 = 8;

/// Steps that a batch gets when the turn has none left.
const STEPS_MIN: u32 = 64;

/// The steps of a turn.
#[derive(Debug)]
pub(super) struct TurnSteps {
    per_turn: u32,
    left: u32,
    /// What a batch has needed, in sixteenths; rises fast and falls slowly.
    needed: u32,
}

impl TurnSteps {
    /// Turns of so many steps.
    pub fn new(per_turn: u32) -> Self {
        Self { per_turn, left: per_turn, needed: 16 }
    }

    /// A turn begins.
    pub fn begin(&mut self) {
        self.left = self.per_turn;
    }

    /// How many steps a batch may take that would get `share`, behind others whose `taken` steps were not
    /// told: behind the last of the turn only so few that small ones pass, and the others are set aside.
    #[inline]
    pub fn share(&self, share: u32, taken: u32) -> u32 {
        if self.left > taken { share } else { share.min(STEPS_MIN) }
    }

    /// A batch has needed so many steps.
    #[inline]
    pub fn take(&mut self, steps: u32) {
        self.left = self.left.saturating_sub(steps);
        self.learn(steps);
    }

    /// So many batches have needed so many steps together; no one of them as many as would be set aside. What
    /// is learnt is as if each had needed as many as the others.
    pub fn take_all(&mut self, steps: u32, batches: u32) {
        self.left = self.left.saturating_sub(steps);
        for _ in 0..batches {
            let before = self.needed;
            self.learn(steps / batches);
            if self.needed == before {
                break;
            }
        }
    }

    #[inline]
    fn learn(&mut self, steps: u32) {
        let now = steps.max(1) * 16;
        if now > self.needed {
            self.needed += (now - self.needed).div_ceil(4);
        } else if self.needed - now >= 16 {
            self.needed -= (self.needed - now) / 16;
        }
    }

    /// How many steps batches that are checked in slices may take: half of a turn at least.
    pub fn for_slices(&self) -> u32 {
        self.left.max(self.per_turn / 2)
    }

    /// Whether fewer batches fit a turn than are judged together.
    #[inline]
    pub fn is_dense(&self) -> bool {
        u64::from(self.needed) * ARRIVALS_AT_ONCE as u64 > u64::from(self.per_turn) * 16
    }

    /// How many batches may be taken.
    #[inline]
    pub fn room(&self) -> usize {
        if self.left == 0 {
            return 0;
        }
        let room = self.left.saturating_mul(16) / self.needed.max(1);
        (room.clamp(ROOM_MIN, ARRIVALS_AT_ONCE as u32)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_takes_as_many_batches_as_its_steps_allow() {
        let mut turn = TurnSteps::new(4096);
        let mut taken = |needs: u32, turns: u32| {
            let mut taken = 0;
            for _ in 0..turns {
                turn.begin();
                while turn.room() > 0 {
                    for _ in 0..turn.room() {
                        turn.take(needs);
                        taken += 1;
                    }
                }
            }
            taken / turns
        };
        assert!((4096..=4096 + ARRIVALS_AT_ONCE as u32).contains(&taken(1, 50)));
        let dense = taken(512, 50);
        assert!((8..=24).contains(&dense), "{dense}");
    }

    /// That is so of equal batches alone: of others the mean is learnt, which their order does not change.
    #[test]
    fn equal_batches_that_are_taken_together_count_as_one_after_another() {
        let (mut one, mut all) = (TurnSteps::new(4096), TurnSteps::new(4096));
        for (steps, batches) in [(40, 16), (3, 16), (1, 100), (9, 1), (0, 5), (64, 128), (1, 0)] {
            for _ in 0..batches {
                one.take(steps);
            }
            all.take_all(steps * batches, batches);
            assert_eq!((one.left, one.needed, one.room()), (all.left, all.needed, all.room()));
        }
    }
}
