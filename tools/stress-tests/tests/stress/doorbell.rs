//! Doorbells and parking: who sleeps is woken for everything that was left for it.

use deltaworks_runtime::ring::{Consumer, ring};
use deltaworks_stress_tests::{Random, content, rounds};

use deltaworks_stress_tests::rest::{Rest, wait_until};

const PRODUCERS: usize = 2;

#[test]
fn a_sleeper_gets_everything_from_all_who_ring() {
    let values = rounds(2_000);
    let (rest, bell) = Rest::new();
    let mut rest = rest.dithering();
    let (producers, mut consumers): (Vec<_>, Vec<Consumer<u64>>) =
        (0..PRODUCERS).map(|_| ring(2)).unzip();
    let pushing = producers.into_iter().enumerate().map(|(number, mut producer)| {
        let bell = bell.clone();
        std::thread::spawn(move || {
            let mut random = Random::new(number as u64);
            for value in 0..values {
                while producer.push(content(value)).is_err() {
                    std::thread::yield_now();
                }
                bell.ring();
                if random.one_in(8) {
                    // Nobody rings after this: if the wake is lost, it stays lost.
                    wait_until(|| producer.free_slots() == producer.capacity());
                }
                random.pause_one_in(50);
            }
        })
    });
    let pushing: Vec<_> = pushing.collect();
    let mut taken = [0_u64; PRODUCERS];
    let mut turn = || {
        let mut work = 0;
        for (consumer, next) in consumers.iter_mut().zip(&mut taken) {
            work += consumer.drain(4, |value| {
                assert_eq!(value, content(*next), "in order");
                *next += 1;
            });
        }
        (work, taken.iter().all(|next| *next == values))
    };
    loop {
        let (work, is_over) = turn();
        if is_over {
            break;
        }
        if work == 0 {
            rest.unless(|| turn().0 > 0);
        }
    }
    pushing.into_iter().for_each(|thread| thread.join().expect("a producer"));
    println!("doorbell: {values} values of each of {PRODUCERS}, {} sleeps", rest.sleeps());
    assert!(rest.sleeps() > 0, "it never slept, so nothing was shown");
}
