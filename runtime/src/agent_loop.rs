//! The loop of a plain thread: turns an agent, idles, sleeps, and ends when it is told.
//!
//! Belongs to the thread that calls it. It sleeps only when its last look found neither work nor an
//! end, and is woken by the doorbell. Cores that wait for sockets have a loop of the same steps
//! around their executor, in `core`.

use crate::agent::Agent;
use crate::clock::Clock;
use crate::doorbell::Sleeper;
use crate::ending::PhaseWord;
use crate::idle::{Idle, IdleBudget, Step};
use crate::parking::Parker;
use crate::sync::hint::spin_loop;
use crate::sync::thread::yield_now;
use std::time::Duration;

/// Runs `agent` on the calling thread until `phase` is no longer 0; who enters another rings the
/// doorbell of `sleeper`.
pub fn run(
    agent: &mut impl Agent,
    clock: &mut impl Clock,
    budget: IdleBudget,
    sleeper: &mut Sleeper,
    parker: &mut Parker,
    phase: &PhaseWord,
) {
    let mut idle = Idle::new(budget);
    while phase.get() == 0 {
        let now = clock.now();
        let work = agent.do_work(now);
        match idle.after_turn(work, now) {
            Step::Work => {}
            Step::Spin => spin_loop(),
            Step::Yield => yield_now(),
            Step::Park => {
                let now = clock.now();
                let found = || agent.do_work(now) > 0 || phase.get() != 0;
                if sleeper.may_sleep(found) {
                    agent.before_sleep();
                    let sleep_ns = agent.wake_at_ns().saturating_sub(now.monotonic_ns);
                    match agent.wake_at_ns() {
                        u64::MAX => parker.park(),
                        _ => parker.park_timeout(Duration::from_nanos(sleep_ns)),
                    }
                    sleeper.woke();
                    agent.after_sleep();
                }
            }
        }
    }
}
