//! What a core does while there is nothing to do: spin, then yield, then park.
//!
//! Spinning answers within a microsecond and costs a whole CPU; parking costs nothing and answers
//! after a wake-up. The budgets say how long each lasts. A core whose work seldom comes within them
//! parks at once, and tries again now and then: awake it would burn its CPU for nothing. Decides only; the loop
//! of the core acts.

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

/// Of the last eight pauses so many must have ended within the budget, or staying awake does not pay.
const SHORT_PAUSES_LEAST: u32 = 2;

/// A core that parks at once stays awake in every so many pauses, because a pause that it sleeps through
/// lasts as long as its wake-up, too.
const TRIAL_PAUSES: u32 = 16;

/// How long this core has been without work, and how long it was lately.
#[derive(Debug)]
pub struct Idle {
    budget: IdleBudget,
    since: Option<Now>,
    /// A bit for each of the last eight pauses: whether it ended within the budget.
    short: u8,
    /// Pauses since the last trial.
    untried: u32,
}

impl Idle {
    /// Nothing is known yet, so that it stays awake.
    pub const fn new(budget: IdleBudget) -> Self {
        Self { budget, since: None, short: u8::MAX, untried: 0 }
    }

    /// What to do after a turn that began at `now` and did so much `work`.
    #[inline]
    pub fn after_turn(&mut self, work: usize, now: Now) -> Step {
        let awake_ns = self.budget.spin_ns.saturating_add(self.budget.yield_ns);
        if work > 0 {
            if let Some(since) = self.since.take() {
                let is_short = now.since_ns(since) < awake_ns;
                self.short = self.short << 1 | u8::from(is_short);
                // A trial that has paid is followed by another, so that two pay for staying awake.
                if is_short && self.untried == TRIAL_PAUSES {
                    self.untried = TRIAL_PAUSES - 1;
                }
            }
            return Step::Work;
        }
        let since = match self.since {
            Some(since) => since,
            None => self.begin_pause(now),
        };
        let idle_ns = now.since_ns(since);
        if !self.pays() || idle_ns >= awake_ns {
            Step::Park
        } else if idle_ns < self.budget.spin_ns {
            Step::Spin
        } else {
            Step::Yield
        }
    }

    fn begin_pause(&mut self, now: Now) -> Now {
        self.since = Some(now);
        self.untried = if self.untried >= TRIAL_PAUSES { 0 } else { self.untried + 1 };
        now
    }

    /// Whether it is likely enough that work comes before the budget ends, or to be tried.
    fn pays(&self) -> bool {
        self.short.count_ones() >= SHORT_PAUSES_LEAST || self.untried == TRIAL_PAUSES
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

    /// Pauses of `pause_ns` from `start_ns` on, looked at each nanosecond; how many of them began awake.
    fn awake_of(idle: &mut Idle, start_ns: u64, pause_ns: u64, pauses: u64) -> usize {
        let begins_awake = |number: u64| {
            let begin_ns = start_ns + number * (pause_ns + 1);
            let first = idle.after_turn(0, at(begin_ns));
            assert_eq!(idle.after_turn(1, at(begin_ns + pause_ns)), Step::Work);
            first == Step::Spin
        };
        (0..pauses).map(begins_awake).filter(|is_awake| *is_awake).count()
    }

    #[test]
    fn who_waits_for_nothing_parks_at_once_but_for_a_trial_and_learns_again() {
        let mut idle = Idle::new(IdleBudget { spin_ns: 10, yield_ns: 0 });
        assert_eq!(awake_of(&mut idle, 0, 9, 100), 100, "work comes within the budget");
        assert_eq!(awake_of(&mut idle, 10_000, 10, 7), 7, "seven long pauses are not enough");
        let seldom = awake_of(&mut idle, 20_000, 10, 17 * 10);
        assert!((9..=11).contains(&seldom), "one of seventeen is a trial: {seldom}");
        // Two short pauses suffice; those that were slept through count, if they were short.
        assert!(awake_of(&mut idle, 30_000, 9, 2) <= 1);
        assert_eq!(awake_of(&mut idle, 40_000, 9, 100), 100);
        // Every fourth pause is short: two of eight.
        let mut mixed = |start_ns| {
            awake_of(&mut idle, start_ns, 9, 1) + awake_of(&mut idle, start_ns + 100, 50, 3)
        };
        let awake: usize = (0..20).map(|round| mixed(50_000 + 1000 * round)).sum();
        assert_eq!(awake, 80);
    }

    /// Who is woken late sees no short pause but in a trial, however soon work comes.
    #[test]
    fn two_trials_that_pay_bring_a_core_back_that_is_woken_late() {
        let mut idle = Idle::new(IdleBudget { spin_ns: 10, yield_ns: 0 });
        assert_eq!(awake_of(&mut idle, 0, 100, 20), 8, "seven long pauses, and a trial");
        let (mut now_ns, mut awake) = (10_000, 0);
        for _ in 0..100 {
            let is_awake = idle.after_turn(0, at(now_ns)) == Step::Spin;
            now_ns += if is_awake { 1 } else { 30 };
            assert_eq!(idle.after_turn(1, at(now_ns)), Step::Work);
            now_ns += 1;
            awake += usize::from(is_awake);
        }
        assert!(awake > 80, "{awake} of 100 pauses of a nanosecond were stayed awake in");
    }

    #[test]
    fn a_shared_cpu_parks_at_once() {
        let mut idle = Idle::new(IdleBudget::SHARED);
        assert_eq!(idle.after_turn(0, at(5)), Step::Park);
    }
}
