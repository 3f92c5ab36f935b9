//! What a core does while there is nothing to do: spin, then yield, then park.
//!
//! Spinning answers within a microsecond and costs a whole CPU; parking costs nothing and answers
//! after a wake-up. The budgets say how long each lasts. Decides only; the loop of the core acts.

use crate::clock::Now;

/// How long to stay awake without work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleBudget {
    /// Nanoseconds to look again at once.
    pub spin_ns: u64,
    /// Nanoseconds after that to let other threads of this CPU run between two looks.
    pub yield_ns: u64,
}

impl IdleBudget {
    /// Parks at once: for CPUs that are shared with others.
    pub const SHARED: IdleBudget = IdleBudget { spin_ns: 0, yield_ns: 0 };
}

impl Default for IdleBudget {
    /// 20 µs of spinning and 50 µs of yielding, for a CPU of one's own.
    fn default() -> Self {
        Self { spin_ns: 20_000, yield_ns: 50_000 }
    }
}

/// What to do before the next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There was work: go on.
    Work,
    /// Look again at once.
    Spin,
    /// Let others run, then look again.
    Yield,
    /// Sleep until the doorbell rings or a deadline comes.
    Park,
}

/// How long this core has been without work.
#[derive(Debug)]
pub struct Idle {
    budget: IdleBudget,
    since: Option<Now>,
}

impl Idle {
    /// Nothing is known yet.
    pub const fn new(budget: IdleBudget) -> Self {
        Self { budget, since: None }
    }

    /// What to do after a turn that began at `now` and did so much `work`.
    #[inline]
    pub fn after_turn(&mut self, work: usize, now: Now) -> Step {
        if work > 0 {
            self.since = None;
            return Step::Work;
        }
        let idle_ns = now.since_ns(*self.since.get_or_insert(now));
        if idle_ns < self.budget.spin_ns {
            Step::Spin
        } else if idle_ns < self.budget.spin_ns.saturating_add(self.budget.yield_ns) {
            Step::Yield
        } else {
            Step::Park
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn at(monotonic_ns: u64) -> Now {
        Now { monotonic_ns, unix_us: 0 }
    }

    #[test]
    fn spins_then_yields_then_parks_and_work_starts_anew() {
        let mut idle = Idle::new(IdleBudget { spin_ns: 10, yield_ns: 20 });
        assert_eq!(idle.after_turn(1, at(100)), Step::Work);
        assert_eq!(idle.after_turn(0, at(103)), Step::Spin);
        assert_eq!(idle.after_turn(0, at(112)), Step::Spin);
        assert_eq!(idle.after_turn(0, at(113)), Step::Yield);
        assert_eq!(idle.after_turn(0, at(132)), Step::Yield);
        assert_eq!(idle.after_turn(0, at(133)), Step::Park);
        assert_eq!(idle.after_turn(0, at(900)), Step::Park);
        assert_eq!(idle.after_turn(2, at(901)), Step::Work);
        assert_eq!(idle.after_turn(0, at(902)), Step::Spin);
    }

    #[test]
    fn a_shared_cpu_parks_at_once() {
        let mut idle = Idle::new(IdleBudget::SHARED);
        assert_eq!(idle.after_turn(0, at(5)), Step::Park);
    }
}
