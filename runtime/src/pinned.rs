//! Pinned threads without an executor: for generators, benches and cores without sockets.
//!
//! Owns its CPU as far as the system lets it; has no I/O but what its function does. For agents,
//! give it the loop of `agent_loop`, which parks through the same doorbell as every core.

use crate::platform;
use crate::sync::thread::JoinHandle;
use crate::topology::{Allowance, CpuSet};
use core_affinity::CoreId;
use std::fmt;
use std::io;

/// A thread that runs on one CPU only.
#[derive(Debug)]
pub struct PinnedThread<T> {
    thread: JoinHandle<Option<T>>,
}

impl<T: Send + 'static> PinnedThread<T> {
    /// A thread named `name` that runs `work` on `cpu`. Returns when it is pinned.
    ///
    /// # Errors
    /// If the system gives no thread, or not on that CPU; `work` has not run then.
    pub fn spawn(
        cpu: usize,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Self, NotPinned> {
        let (pinned, is_pinned) = std::sync::mpsc::sync_channel(1);
        let builder = std::thread::Builder::new().name(name.to_owned());
        let thread = builder.spawn(move || {
            let done = core_affinity::set_for_current(CoreId { id: cpu });
            let _ = pinned.send(done);
            done.then(work)
        });
        let thread = thread.map_err(NotPinned::Thread)?;
        if is_pinned.recv() != Ok(true) {
            let _ = thread.join();
            return Err(NotPinned::Cpu(cpu));
        }
        Ok(Self { thread })
    }

    /// What `work` came to.
    ///
    /// # Errors
    /// The panic of `work`, as `std::thread::JoinHandle` gives it.
    pub fn join(self) -> std::thread::Result<T> {
        self.thread.join().map(|result| result.expect("pinned, so it ran"))
    }

    /// Whether `work` has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Lets the calling thread run on any of `cpus` and on no other: for a thread that is not pinned
/// and is to leave the pinned ones alone. One system call.
///
/// # Errors
/// If the set is empty, or holds no CPU that this process may use.
pub fn confine(cpus: &CpuSet) -> io::Result<()> {
    platform::confine(cpus.iter().map(|cpu| cpu as usize))
}

/// Lets the calling thread run only on those CPUs of a memory node on which this process may run, so
/// that pages which it touches first lie there. A few file reads and a system call.
///
/// # Errors
/// If the system does not tell the node's CPUs, or this process may use none of them: the thread runs
/// where it did.
pub fn confine_to_node(node: u32) -> io::Result<()> {
    let told = std::fs::read_to_string(format!("/sys/devices/system/node/node{node}/cpulist"))?;
    let of_node: CpuSet = told.parse().map_err(io::Error::other)?;
    let allowed = Allowance::of_this_process().map_err(io::Error::other)?.mask;
    confine(&of_node.iter().filter(|cpu| allowed.contains(*cpu)).collect())
}

/// Has the calling thread run behind whoever else wants its CPU, for work that nobody waits for: with
/// the lowest share there is, and without being let in when it wakes. Two system calls.
///
/// # Errors
/// If the system refuses: the thread runs as it did.
pub fn yield_to_others() -> io::Result<()> {
    platform::yield_to_others()
}

/// Why a pinned thread does not run.
#[derive(Debug)]
pub enum NotPinned {
    /// The system gives no thread.
    Thread(io::Error),
    /// The system does not let this process run on that CPU.
    Cpu(usize),
}

impl fmt::Display for NotPinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thread(error) => {
                write!(f, "no thread ({error}): raise TasksMax= or ulimit -u")
            }
            Self::Cpu(cpu) => {
                write!(f, "no thread on CPU {cpu}: is it there, and in the mask of this process?")
            }
        }
    }
}

impl std::error::Error for NotPinned {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Agent;
    use crate::agent_loop::run;
    use crate::clock::{Now, SystemClock};
    use crate::doorbell::doorbell;
    use crate::ending::PhaseWord;
    use crate::idle::IdleBudget;
    use crate::parking::parker;
    use crate::ring::{Consumer, ring};

    fn first_cpu() -> usize {
        core_affinity::get_core_ids().unwrap()[0].id
    }

    #[test]
    fn a_pinned_thread_runs_on_its_cpu_only() {
        let cpu = first_cpu();
        let work = || core_affinity::get_core_ids().unwrap();
        let cpus = PinnedThread::spawn(cpu, "pinned", work).unwrap().join().unwrap();
        assert_eq!(cpus.iter().map(|cpu| cpu.id).collect::<Vec<_>>(), [cpu]);
    }

    #[test]
    fn a_confined_thread_has_the_cpus_that_were_named() {
        let cpu = first_cpu();
        let confined = std::thread::spawn(move || {
            confine(&[cpu as u32].into_iter().collect()).unwrap();
            let cpus = core_affinity::get_core_ids().unwrap();
            assert!(confine(&CpuSet::new()).is_err(), "no CPU at all");
            cpus.iter().map(|cpu| cpu.id).collect::<Vec<_>>()
        });
        assert_eq!(confined.join().unwrap(), [cpu]);
    }

    #[test]
    fn a_thread_of_a_node_has_no_cpu_that_the_process_has_not() {
        let thread = std::thread::spawn(|| {
            let ids = || -> CpuSet {
                core_affinity::get_core_ids().unwrap().iter().map(|cpu| cpu.id as u32).collect()
            };
            let before = ids();
            assert!(confine_to_node(1_000_000).is_err(), "no such node");
            assert_eq!(ids(), before);
            match confine_to_node(0) {
                Ok(()) => assert!(ids().iter().all(|cpu| before.contains(cpu))),
                Err(error) => eprintln!("this system does not tell: {error}"),
            }
        });
        thread.join().unwrap();
    }

    #[test]
    fn a_cpu_that_is_not_there_is_refused_and_nothing_runs() {
        let refused = PinnedThread::spawn(1_000, "nowhere", || panic!("ran")).unwrap_err();
        assert!(refused.to_string().contains("CPU 1000"), "{refused}");
    }

    struct Sum(Consumer<u64>, u64);

    impl Agent for Sum {
        fn do_work(&mut self, _: Now) -> usize {
            self.0.drain(16, |value| self.1 += value)
        }
    }

    #[test]
    fn an_agent_on_a_plain_thread_parks_and_is_rung() {
        let (mut producer, consumer) = ring(8);
        let (mut parker, unparker) = parker();
        let (bell, mut sleeper) = doorbell(unparker);
        let phase = PhaseWord::default();
        let looked_at = phase.clone();
        let work = move || {
            let mut sum = Sum(consumer, 0);
            let mut clock = SystemClock::new();
            run(&mut sum, &mut clock, IdleBudget::SHARED, &mut sleeper, &mut parker, &looked_at);
            sum.1
        };
        let thread = PinnedThread::spawn(first_cpu(), "sum", work).unwrap();
        for value in 1..=1_000 {
            while producer.push(value).is_err() {
                std::thread::yield_now();
            }
            bell.ring();
        }
        while producer.free_slots() < producer.capacity() {
            std::thread::yield_now();
        }
        phase.enter(1, [&bell]);
        assert_eq!(thread.join().unwrap(), 500_500);
    }
}
