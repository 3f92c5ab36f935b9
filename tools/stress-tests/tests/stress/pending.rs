//! Pending bitmaps: no document is left behind, neither by the agent that takes marks while they
//! are set, nor by one that sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use deltaworks_pipeline::pending::Pending;
use deltaworks_runtime::doorbell::Doorbell;
use deltaworks_runtime::sync::atomic::fence;
use deltaworks_stress_tests::{Random, rounds};

use deltaworks_stress_tests::rest::{Rest, wait_until};

struct Shared {
    pending: Pending,
    /// How far each document has come.
    tails: Vec<AtomicU64>,
    /// How far the agent has come, over all documents.
    seen: AtomicU64,
    is_over: AtomicBool,
}

/// Lets documents grow as an owner does: tails, fence, marks, doorbell. How far each has come.
fn own(shared: &Shared, bell: &Doorbell, turns: u64) -> Vec<u64> {
    let mut random = Random::new(3);
    let mut grown = vec![0; shared.tails.len()];
    for _ in 0..turns {
        let grew: Vec<usize> = (0..1 + random.below(6))
            .map(|_| random.below(shared.tails.len() as u64) as usize)
            .collect();
        for document in &grew {
            grown[*document] += 1;
            shared.tails[*document].store(grown[*document], Ordering::Release);
        }
        fence(Ordering::SeqCst);
        let marked = grew.iter().filter(|document| shared.pending.set(**document)).count();
        if marked > 0 {
            bell.ring();
        }
        if random.one_in(8) {
            // Nobody rings after this: if the wake is lost, it stays lost.
            let all: u64 = grown.iter().sum();
            wait_until(|| shared.seen.load(Ordering::Acquire) == all);
        }
        random.pause_one_in(50);
    }
    shared.is_over.store(true, Ordering::Release);
    bell.ring();
    grown
}

/// Follows as an agent does. How far each document has come.
fn follow(shared: &Shared, rest: &mut Rest) -> Vec<u64> {
    let mut random = Random::new(4);
    let mut seen = vec![0; shared.tails.len()];
    let (mut found, mut position) = (Vec::new(), 0);
    loop {
        let is_last = shared.is_over.load(Ordering::Acquire);
        shared.pending.take(&mut position, 1 + random.below(8) as usize, &mut found);
        if found.is_empty() {
            if is_last && shared.pending.is_clear() {
                return seen;
            }
            rest.unless(|| !shared.pending.is_clear() || shared.is_over.load(Ordering::Acquire));
        }
        for document in found.drain(..) {
            let tail = shared.tails[document as usize].load(Ordering::Acquire);
            let before = std::mem::replace(&mut seen[document as usize], tail);
            assert!(tail >= before, "document {document} goes back");
            shared.seen.fetch_add(tail - before, Ordering::Release);
        }
    }
}

fn nobody_is_left_behind(documents: usize) {
    let shared = Arc::new(Shared {
        pending: Pending::new(documents),
        tails: (0..documents).map(|_| AtomicU64::new(0)).collect(),
        seen: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
    });
    let (rest, bell) = Rest::new();
    let mut rest = rest.dithering();
    let owned = shared.clone();
    let owner = std::thread::spawn(move || own(&owned, &bell, rounds(2_000)));
    let seen = follow(&shared, &mut rest);
    assert!(owner.join().expect("the owner") == seen, "a document is left behind");
    let marks: u64 = seen.iter().sum();
    println!("pending: {marks} marks of {documents} documents, {} sleeps", rest.sleeps());
    assert!(rest.sleeps() > 0, "it never slept, so nothing was shown");
}

#[test]
fn no_document_of_a_few_is_left_behind() {
    nobody_is_left_behind(70);
}

#[test]
fn no_document_of_many_is_left_behind() {
    nobody_is_left_behind(70_000);
}
