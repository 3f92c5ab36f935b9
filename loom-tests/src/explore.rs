//! How a model is explored: in every order, or in every order with few preemptions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tries every order of a story.
pub(crate) fn every_order(story: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = None;
    explore(builder, story);
}

/// Tries every order of a story in which at most `preemptions` times a thread is stopped that
/// could go on. LOOM_MAX_PREEMPTIONS raises that.
pub(crate) fn few_preemptions(preemptions: usize, story: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.max(Some(preemptions));
    explore(builder, story);
}

/// Steps of one execution that are no sign of an endless loop.
const STEPS_MAX: usize = 20_000;

/// loom hands the size on to a library that counts in words.
const STACK_WORDS: usize = 1 << 16;

fn explore(mut builder: loom::model::Builder, story: impl Fn() + Send + Sync + 'static) {
    let executions = Arc::new(AtomicU64::new(0));
    let counted = executions.clone();
    builder.max_branches = STEPS_MAX;
    let story = Arc::new(story);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let story = story.clone();
        spawn(move || story()).join().unwrap();
    });
    // The runner shows it, so that a model that explores too little is seen.
    println!("explored {} executions", executions.load(Ordering::Relaxed));
}

/// A thread of a story, with stack enough for the stages: loom's own have 32 KiB.
pub(crate) fn spawn<R: Send + 'static>(
    body: impl FnOnce() -> R + Send + 'static,
) -> loom::thread::JoinHandle<R> {
    let builder = loom::thread::Builder::new().stack_size(STACK_WORDS);
    builder.spawn(body).expect("a thread of a model costs nothing of the system's")
}
