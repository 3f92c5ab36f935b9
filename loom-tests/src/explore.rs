//! How a model is explored: in every order, or in every order with few preemptions.
//!
//! One weakness of the explorer is to be known when a story is written: of each word it remembers
//! only the last access. A thread that loads a word just before it stores into it hides the loads of
//! others from it, and orders are not tried. So whoever alone writes a word keeps a copy of it, and
//! does not read it back; a count of executions that seems small, and a mutant that lives, are signs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use loom::model::Builder;
use loom::thread::JoinHandle;

/// Steps of one execution that are no sign of an endless loop.
const STEPS_MAX: usize = 20_000;

/// Executions between two looks at the time that LOOM_MAX_DURATION gives.
const EXECUTIONS_PER_LOOK: usize = 256;

/// loom hands the size on to a library that counts in words.
const STACK_WORDS: usize = 1 << 16;

/// Tries every order of a story.
pub(crate) fn every_order(story: impl Fn() + Send + Sync + 'static) {
    explore(None, story);
}

/// Tries every order of a story in which at most `preemptions` times a thread is stopped that
/// could go on. LOOM_MAX_PREEMPTIONS raises that.
pub(crate) fn few_preemptions(preemptions: usize, story: impl Fn() + Send + Sync + 'static) {
    let raised = Builder::new().preemption_bound.unwrap_or(0);
    explore(Some(preemptions.max(raised)), story);
}

fn explore(preemption_bound: Option<usize>, story: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = preemption_bound;
    builder.max_branches = STEPS_MAX;
    builder.checkpoint_interval = EXECUTIONS_PER_LOOK;
    let executions = Arc::new(AtomicU64::new(0));
    let counted = executions.clone();
    let story = Arc::new(story);
    let start = Instant::now();
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let story = story.clone();
        spawn(move || story()).join().unwrap();
    });
    // The runner shows it, so that a model that explores too little is seen.
    let executions = executions.load(Ordering::Relaxed);
    // loom looks at the time in front of each so-manieth execution only, and ends there if at all.
    let is_at_look = (executions + 1).is_multiple_of(EXECUTIONS_PER_LOOK as u64);
    let is_stopped = is_at_look && builder.max_duration.is_some_and(|most| start.elapsed() >= most);
    let bound = preemption_bound.map_or("every order".to_owned(), |most| format!("bound {most}"));
    let extent = if is_stopped { "in part" } else { "whole" };
    println!("explored {executions} executions, {bound}, {extent}");
}

/// A thread of a story, with stack enough for the stages: loom's own have 32 KiB.
pub(crate) fn spawn<R: Send + 'static>(body: impl FnOnce() -> R + Send + 'static) -> JoinHandle<R> {
    let builder = loom::thread::Builder::new().stack_size(STACK_WORDS);
    builder.spawn(body).expect("a thread of a model costs nothing of the system's")
}
