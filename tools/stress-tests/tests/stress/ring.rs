//! Rings: every value once, in order and whole, however it is pushed and taken.

use deltaworks_runtime::ring::{Consumer, Producer, ring};
use deltaworks_stress_tests::{Random, content, rounds};

/// On the heap, so that a slot that is read twice is freed twice.
type Value = Box<[u64; 2]>;

fn value(number: u64) -> Value {
    Box::new([number, content(number)])
}

/// Pushes `0..values`, one by one or in runs.
fn push(mut producer: Producer<Value>, values: u64, mut random: Random) {
    let mut next = 0;
    while next < values {
        if random.one_in(2) {
            match producer.push(value(next)) {
                Ok(()) => next += 1,
                Err(_) => std::thread::yield_now(),
            }
            continue;
        }
        let mut run = next..values.min(next + 1 + random.below(5));
        let pushed = producer.push_all(&mut run.by_ref().map(value));
        if pushed == 0 {
            std::thread::yield_now();
        }
        next += pushed as u64;
        assert_eq!(run.start, next, "no value is taken that is not pushed");
    }
}

/// Takes until the producer is gone, one by one or in runs; how many there were.
fn take(mut consumer: Consumer<Value>, mut random: Random) -> u64 {
    let mut next = 0;
    let mut see = |value: &Value| {
        assert_eq!(**value, [next, content(next)], "the value number {next}");
        next += 1;
    };
    loop {
        let is_last = consumer.is_abandoned();
        let taken = match random.below(3) {
            0 => consumer.pop().iter().map(&mut see).count(),
            1 => consumer.drain(1 + random.below(4) as usize, |value| see(&value)),
            _ => consumer.peek().map(|value| value[0]).map_or(0, |peeked| {
                let value = consumer.pop().expect("what was peeked at stays");
                assert_eq!(value[0], peeked);
                see(&value);
                1
            }),
        };
        if taken == 0 && is_last && consumer.is_empty() {
            return next;
        }
        if taken == 0 {
            std::thread::yield_now();
        }
    }
}

#[test]
fn every_value_arrives_once_in_order_and_whole() {
    for (capacity, values) in [(1, 100), (2, 300), (3, 300), (64, 20_000)] {
        let values = rounds(values);
        let (producer, consumer) = ring(capacity);
        let pushing = std::thread::spawn(move || push(producer, values, Random::new(1)));
        assert_eq!(take(consumer, Random::new(capacity as u64)), values);
        pushing.join().expect("the producer");
        println!("ring: {values} values through {capacity} slots");
    }
}

#[test]
fn an_end_that_goes_leaves_nothing_behind() {
    for round in 0..rounds(150) {
        let mut random = Random::new(round);
        let alive = std::sync::Arc::new(());
        let (mut producer, mut consumer) = ring(1 + random.below(3) as usize);
        let (pushes, pops) = (random.below(6), random.below(6));
        let shared = alive.clone();
        let pushing = std::thread::spawn(move || {
            (0..pushes).filter(|_| producer.push(shared.clone()).is_ok()).count()
        });
        let popped = (0..pops).filter(|_| consumer.pop().is_some()).count();
        drop(consumer);
        let pushed = pushing.join().expect("the producer");
        assert!(popped <= pushed);
        assert_eq!(std::sync::Arc::strong_count(&alive), 1, "each is dropped once");
    }
}
