//! The mailbox of a core under stress: every question that was put is answered once and in order,
//! and the core need not look while nobody asks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use deltaworks_stress_tests::rest::{PATIENCE, Rest};
use deltaworks_stress_tests::{Random, rounds};
use futures_lite::future::block_on;

use super::*;
use deltaworks_runtime::answer::Answer;

const ASKERS: u32 = 3;

#[test]
fn every_question_is_answered_once_and_in_order() {
    let questions = rounds(700) as u32;
    let mailbox = question_box();
    let (rest, bell) = Rest::new();
    let mut rest = rest.dithering();
    let ended = AtomicUsize::new(0);
    thread::scope(|scope| {
        for asker in 0..ASKERS {
            let (mailbox, bell, ended) = (&mailbox, bell.clone(), &ended);
            scope.spawn(move || {
                let mut random = Random::new(u64::from(asker));
                for number in 0..questions {
                    let answer = Answer::default();
                    let wanted: Arc<[(u32, u32)]> = Arc::new([(asker, number)]);
                    let began = Instant::now();
                    while mailbox
                        .put(Question::Names(Arc::clone(&wanted), answer.teller()))
                        .is_err()
                    {
                        assert!(began.elapsed() < PATIENCE, "nobody takes questions");
                        thread::yield_now();
                    }
                    bell.ring();
                    let told = block_on(answer);
                    let told: Vec<_> =
                        told.iter().map(|(asker, number, _)| (*asker, *number)).collect();
                    assert_eq!(told, *wanted, "what was asked is told, once");
                    random.pause_one_in(20);
                }
                ended.fetch_add(1, Ordering::Release);
                bell.ring();
            });
        }
        let mut next = [0; ASKERS as usize];
        let mut turn = || {
            let Some(Question::Names(wanted, teller)) = mailbox.take() else { return false };
            for (asker, number) in wanted.iter().copied() {
                assert_eq!(next[asker as usize], number, "in order");
                next[asker as usize] += 1;
                assert!(teller.tell(vec![(asker, number, Arc::from("name"))]), "it is wanted");
            }
            true
        };
        let is_over = || ended.load(Ordering::Acquire) == ASKERS as usize;
        while !is_over() {
            if !turn() {
                rest.unless(|| turn() || is_over());
            }
        }
        assert_eq!(next, [questions; ASKERS as usize]);
    });
}
