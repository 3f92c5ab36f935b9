//! Counters: every word that a reader sees was published once, and never goes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deltaworks_runtime::counters::counters;
use deltaworks_stress_tests::rounds;

const WORDS: usize = 33;
/// Both halves of a word move together.
const STEP: u64 = 1 << 32 | 1;

#[test]
fn a_word_is_never_torn_and_never_goes_back() {
    let (mut writer, reader) = counters::<WORDS>();
    let is_over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (reader, is_over) = (reader.clone(), is_over.clone());
            std::thread::spawn(move || {
                let mut before = [0; WORDS];
                let mut looks = 0_u64;
                loop {
                    let last = is_over.load(Ordering::Acquire);
                    let now = reader.snapshot();
                    for (word, (now, before)) in now.iter().zip(&before).enumerate() {
                        assert_eq!(now >> 32, now & 0xffff_ffff, "word {word} is torn");
                        assert!(now >= before, "word {word} goes back");
                    }
                    before = now;
                    looks += 1;
                    if last {
                        return (before, looks);
                    }
                }
            })
        })
        .collect();
    let turns = rounds(5_000);
    for turn in 0..turns {
        (0..WORDS).for_each(|word| writer.add(word, STEP * (1 + word as u64 % 2)));
        writer.publish();
        if turn % 64 == 0 {
            std::thread::yield_now();
        }
    }
    is_over.store(true, Ordering::Release);
    for reader in readers {
        let (last, looks) = reader.join().expect("a reader");
        println!("counters: {turns} publications, {looks} looks of one reader");
        assert!(looks > 0);
        for (word, value) in last.iter().enumerate() {
            assert_eq!(*value, STEP * (1 + word as u64 % 2) * turns, "the last is seen");
        }
    }
}
