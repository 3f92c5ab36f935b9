//! `ring_hop`: how long does a message of 64 bytes take from one end of a ring to the other?
//!
//! Nanoseconds per message, amortised over a stream of them: `one_core` pushes and pops on one
//! thread, `cross_core` streams to a pinned consumer that spins. Not measured: the latency of one
//! message alone (see `wake`), and what the messages say.

use std::hint::{black_box, spin_loop};
use std::time::{Duration, Instant};

use criterion::Criterion;
use deltaworks_runtime::pinned::PinnedThread;
use deltaworks_runtime::ring::ring;

use crate::pair::two_cpus;

type Message = [u64; 8];

const CAPACITY: usize = 4096;

fn message(number: u64) -> Message {
    [number, 2, 3, 4, 5, 6, 7, 8]
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring_hop");
    for run in [1, 64] {
        let (mut producer, mut consumer) = ring::<Message>(CAPACITY);
        let mut hop = |first: u64| {
            let mut sum = 0;
            producer.push_all(&mut (first..first + run).map(message));
            consumer.drain(CAPACITY, |message| sum += message[0]);
            sum
        };
        assert_eq!(hop(1), (1..=run).sum::<u64>());
        group.bench_function(format!("one_core_runs_of_{run}"), |bencher| {
            bencher.iter_custom(|iterations| {
                let began = Instant::now();
                for first in 0..iterations.div_ceil(run) {
                    black_box(hop(black_box(first)));
                }
                began.elapsed()
            });
        });
    }
    if let Some((_, other)) = two_cpus("ring_hop across cores") {
        for run in [1, 64] {
            assert!(cross(other, 10_000, run) > Duration::ZERO);
            group.bench_function(format!("cross_core_runs_of_{run}"), |bencher| {
                bencher.iter_custom(|iterations| cross(other, iterations, run));
            });
        }
    }
    group.finish();
}

/// The time in which `count` messages reach the other core; asserts that all came, in order.
fn cross(other: usize, count: u64, run: u64) -> Duration {
    let (mut producer, mut consumer) = ring::<Message>(CAPACITY);
    let take = move || {
        let mut next = 0;
        while next < count {
            let taken = consumer.drain(CAPACITY, |message| {
                assert_eq!(message[0], next, "in order");
                next += 1;
            });
            if taken == 0 {
                spin_loop();
            }
        }
        Instant::now()
    };
    let thread = PinnedThread::spawn(other, "consumer", take).expect("a CPU that is there");
    let began = Instant::now();
    let mut first = 0;
    while first < count {
        let mut messages = (first..count.min(first + run)).map(message);
        let pushed = producer.push_all(&mut messages) as u64;
        first += pushed;
        if pushed == 0 {
            spin_loop();
        }
    }
    thread.join().expect("every message came") - began
}
