//! Faults on purpose, one for each kind that a sanitizer is to find: a run of `scripts/sanitize` that
//! does not end badly here was not looking.
//!
//! `planted race | use-after-free | leak | uninitialised | guarded`. The last is no fault: who reports it
//! does not understand the locks that are used here.
#![expect(unsafe_code, reason = "the faults are what is wanted")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

struct Unguarded(std::cell::UnsafeCell<u64>);

// SAFETY: there is none: that is the fault.
unsafe impl Sync for Unguarded {}

static WORD: Unguarded = Unguarded(std::cell::UnsafeCell::new(0));
static IS_PUBLISHED: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("race") => race(),
        Some("use-after-free") => use_after_free(),
        Some("leak") => leak(),
        Some("uninitialised") => uninitialised(),
        Some("guarded") => guarded(),
        _ => return ExitCode::from(2),
    }
    ExitCode::SUCCESS
}

/// A word is published by a flag that publishes nothing: Relaxed where Release and Acquire belong.
fn race() {
    let writing = std::thread::spawn(|| {
        // SAFETY: there is none: that is the fault.
        unsafe { *WORD.0.get() = 7 };
        IS_PUBLISHED.store(true, Ordering::Relaxed);
    });
    while !IS_PUBLISHED.load(Ordering::Relaxed) {
        std::thread::yield_now();
    }
    // SAFETY: there is none: that is the fault.
    println!("{}", unsafe { *WORD.0.get() });
    writing.join().expect("it does not panic");
}

fn use_after_free() {
    let word = Box::into_raw(Box::new(std::hint::black_box(7_u64)));
    // SAFETY: made by `into_raw` above, and freed once.
    drop(unsafe { Box::from_raw(word) });
    // SAFETY: there is none: that is the fault.
    println!("{}", unsafe { std::ptr::read_volatile(word) });
}

fn leak() {
    let mut words = vec![std::hint::black_box(7_u64); 100];
    std::hint::black_box(words.as_mut_ptr());
    std::mem::forget(words);
    // What lies on the stack below must not name the words any more.
    std::hint::black_box([0_u64; 512]);
}

fn uninitialised() {
    let word = Box::<u64>::new_uninit();
    // SAFETY: there is none: that is the fault.
    let word = unsafe { std::ptr::read_volatile(word.as_ptr()) };
    // A branch hangs on it: only then does it matter.
    println!("{}", if word == 7 { "seven" } else { "another" });
}

/// Two threads take turns at a word, under the standard library's lock.
fn guarded() {
    let word = Mutex::new(0_u64);
    let add = || {
        for _ in 0..1_000 {
            *word.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            std::thread::yield_now();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(add);
        scope.spawn(add);
    });
    println!("{}", word.into_inner().unwrap_or_else(PoisonError::into_inner));
}
