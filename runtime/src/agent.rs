//! An agent is a stage's unit of work; a duty cycle runs the agents of one core in turn.
//!
//! The loop around it owns pinning, time, idling and counters, so the same agents run pinned to
//! several cores, fused on one, or inline on a test's thread. An agent never waits: what it
//! cannot push it keeps, bounded, and tries at its next turn.

use crate::clock::Now;

/// A unit of work that belongs to one core.
pub trait Agent {
    /// Does what is there to do, up to a bound of the agent's own, and says how much it did: zero
    /// only if nothing was there. Called again soon after anything but zero, and at the latest
    /// when the core's doorbell rings or [`Agent::wake_at_ns`] has come.
    fn do_work(&mut self, now: Now) -> usize;

    /// The monotonic time at which to be called although nobody rings: a deadline. Asked before
    /// the core sleeps. By default never.
    fn wake_at_ns(&self) -> u64 {
        u64::MAX
    }

    /// The core goes to sleep: its last look found nothing. By default that is nobody's business.
    fn before_sleep(&mut self) {}

    /// The core has slept, and turns again.
    fn after_sleep(&mut self) {}
}

impl<A: Agent + ?Sized> Agent for &mut A {
    fn do_work(&mut self, now: Now) -> usize {
        (**self).do_work(now)
    }

    fn wake_at_ns(&self) -> u64 {
        (**self).wake_at_ns()
    }

    fn before_sleep(&mut self) {
        (**self).before_sleep();
    }

    fn after_sleep(&mut self) {
        (**self).after_sleep();
    }
}

impl<A: Agent + ?Sized> Agent for Box<A> {
    fn do_work(&mut self, now: Now) -> usize {
        (**self).do_work(now)
    }

    fn wake_at_ns(&self) -> u64 {
        (**self).wake_at_ns()
    }

    fn before_sleep(&mut self) {
        (**self).before_sleep();
    }

    fn after_sleep(&mut self) {
        (**self).after_sleep();
    }
}

/// Several agents as one: each has one turn in a turn, in the order in which they were added.
#[derive(Default)]
pub struct DutyCycle<'a> {
    agents: Vec<Box<dyn Agent + 'a>>,
}

impl<'a> DutyCycle<'a> {
    /// A cycle of no agent.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with `agent` behind the others.
    #[must_use]
    pub fn with(mut self, agent: impl Agent + 'a) -> Self {
        self.agents.push(Box::new(agent));
        self
    }
}

impl Agent for DutyCycle<'_> {
    fn do_work(&mut self, now: Now) -> usize {
        self.agents.iter_mut().fold(0, |done, agent| done.saturating_add(agent.do_work(now)))
    }

    fn wake_at_ns(&self) -> u64 {
        self.agents.iter().map(|agent| agent.wake_at_ns()).min().unwrap_or(u64::MAX)
    }

    fn before_sleep(&mut self) {
        self.agents.iter_mut().for_each(|agent| agent.before_sleep());
    }

    fn after_sleep(&mut self) {
        self.agents.iter_mut().for_each(|agent| agent.after_sleep());
    }
}

impl core::fmt::Debug for DutyCycle<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "DutyCycle({} agents)", self.agents.len())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::cell::RefCell;

    struct Named<'a>(&'static str, usize, &'a RefCell<Vec<&'static str>>);

    impl Agent for Named<'_> {
        fn do_work(&mut self, _: Now) -> usize {
            self.2.borrow_mut().push(self.0);
            self.1
        }

        fn wake_at_ns(&self) -> u64 {
            self.1 as u64
        }
    }

    #[test]
    fn a_cycle_gives_every_agent_one_turn_in_order() {
        let turns = RefCell::new(Vec::new());
        let mut cycle = DutyCycle::new()
            .with(Named("reception", 3, &turns))
            .with(Named("validation", usize::MAX, &turns))
            .with(Named("propagation", 0, &turns));
        assert_eq!(cycle.do_work(Now::default()), usize::MAX);
        assert_eq!(cycle.wake_at_ns(), 0);
        drop(cycle);
        assert_eq!(turns.into_inner(), ["reception", "validation", "propagation"]);
    }

    #[test]
    fn an_empty_cycle_does_nothing_forever() {
        let mut cycle = DutyCycle::new();
        assert_eq!((cycle.do_work(Now::default()), cycle.wake_at_ns()), (0, u64::MAX));
    }
}
