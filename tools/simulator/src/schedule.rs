//! A schedule: a seed's steps, which can be made fewer, and what became of running them.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::coverage::{Coverage, Event};
use crate::dice::Dice;
use crate::setting::Setting;
use crate::world::World;

/// What is to happen in a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Which world.
    pub seed: u64,
    /// Clients that never connect, one bit each.
    pub muted: u64,
    /// Batches that are sent at least.
    pub batches: usize,
    /// The steps, each by the number that decides it.
    pub steps: Vec<u64>,
    /// A fault is planted: the count of every third copy for a slow reader is never given back. For
    /// tests of the simulator itself.
    pub leaks: bool,
}

/// What was wrong, and what happened before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was wrong.
    pub why: String,
    /// Steps that were taken before it was seen; all, if it was seen at the end.
    pub steps: usize,
    /// What happened, if it was asked for.
    pub told: Vec<String>,
}

thread_local! {
    /// The first panic of the world that this thread runs.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

impl Schedule {
    /// The schedule of a seed.
    pub fn of_seed(seed: u64) -> Self {
        let setting = Setting::of_seed(seed);
        let mut dice = Dice::new(seed);
        let steps = (0..setting.steps).map(|_| dice.next()).collect();
        Self { seed, muted: 0, batches: setting.batches, steps, leaks: false }
    }

    /// Runs it.
    ///
    /// # Errors
    /// What was wrong.
    pub fn run(&self) -> Result<Coverage, Failure> {
        self.run_with(false).map(|(coverage, _)| coverage)
    }

    /// Runs it, and tells what happens if `tells`.
    ///
    /// # Errors
    /// What was wrong.
    pub fn run_with(&self, tells: bool) -> Result<(Coverage, Vec<String>), Failure> {
        PANIC.set(None);
        let mut world = None;
        let mut taken = 0;
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let world = world.insert(World::new(self.seed, self.muted, tells, self.leaks));
            world.setting.batches = self.batches;
            for step in &self.steps {
                world.step(*step);
                taken += 1;
            }
            world.end(self.seed);
        }));
        // A panic that the server has contained is a failure, too.
        let panic = PANIC.take();
        if ran.is_ok() && panic.is_none() {
            return Ok(world.map(|world| (world.coverage, world.told)).unwrap_or_default());
        }
        let told = world.as_mut().map(|world| std::mem::take(&mut world.told)).unwrap_or_default();
        let why = panic.unwrap_or_else(|| "a panic without words".to_owned());
        // A world that has failed may not be fit to be taken down.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(world)));
        Err(Failure { why, steps: taken, told })
    }

    /// Runs a seed's whole schedule, and holds it to its size.
    ///
    /// # Errors
    /// What was wrong.
    pub fn run_whole(seed: u64) -> Result<Coverage, Failure> {
        let coverage = Self::of_seed(seed).run()?;
        let (steps, batches) = (coverage.of(Event::Step), coverage.of(Event::Batch));
        if steps < 1_000 || batches < 100 {
            let why = format!("only {steps} steps and {batches} batches");
            return Err(Failure { why, steps: steps as usize, told: Vec::new() });
        }
        Ok(coverage)
    }
}

/// From now on a panic is kept for whoever runs the world on its thread, and not printed.
pub fn keep_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("a panic without words");
        let place = panic.location().map(|at| format!(" ({}:{})", at.file(), at.line()));
        PANIC.with_borrow_mut(|first| {
            first.get_or_insert_with(|| format!("{text}{}", place.unwrap_or_default()));
        });
    }));
}
