//! How a model is explored: in every order, or in every order with few preemptions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tries every order of a story.
pub(crate) fn every_order(story: impl Fn() + Send + Sync + 'static) {
    explore(loom::model::Builder::new(), story);
}

/// Tries every order of a story in which at most `preemptions` times a thread is stopped that
/// could go on. LOOM_MAX_PREEMPTIONS raises that.
pub(crate) fn few_preemptions(preemptions: usize, story: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.max(Some(preemptions));
    explore(builder, story);
}

fn explore(builder: loom::model::Builder, story: impl Fn() + Send + Sync + 'static) {
    let executions = Arc::new(AtomicU64::new(0));
    let counted = executions.clone();
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        story();
    });
    // The runner shows it, so that a model that explores too little is seen.
    println!("explored {} executions", executions.load(Ordering::Relaxed));
}
