//! Doorbells and parking: who sleeps is woken for everything that was left for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use deltaworks_runtime::doorbell::{Wake, doorbell_with};
use deltaworks_runtime::fences::Fences;
use deltaworks_runtime::padded::Padded;
use deltaworks_runtime::pinned::PinnedThread;
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

/// How long each of two stays away from a meeting at most, in looks of a spinning thread.
const SPINS: u64 = 8;

/// Counts its wakes.
struct Wakes(Arc<AtomicU64>);

impl Wake for Wakes {
    fn wake(&self) {
        // Relaxed: read behind `rung`.
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits for a moment, and then leaves the CPU to others, until `word` is `round`.
fn wait_for(word: &AtomicU64, round: u64) {
    let mut looks = 0;
    // Acquire: what the other side did in this round is seen.
    while word.load(Ordering::Acquire) != round {
        looks += 1;
        if looks < 2_000 { std::hint::spin_loop() } else { std::thread::yield_now() }
    }
}

/// One writes its work and looks for a sleeper, the other says that it sleeps and looks for work, at
/// once, again and again: one of the two sees the other. Models know no kernel, so that it fences for
/// the ringers is shown here; this processor lets loads overtake stores all the time.
#[test]
fn who_rings_and_who_falls_asleep_do_not_miss_each_other() {
    let rounds = rounds(10_000);
    for fences in [Fences::lopsided(), Fences::EVEN] {
        on(0, move || meet(fences, rounds));
    }
}

/// Runs `run` on `cpu`, or anywhere if that cannot be had, to its end. Two on one CPU never meet.
fn on(cpu: usize, run: impl FnOnce() + Send + 'static) {
    let is_there = PinnedThread::spawn(cpu, "probe", || ()).is_ok_and(|it| it.join().is_ok());
    if !is_there {
        return run();
    }
    let ended = PinnedThread::spawn(cpu, "meeting", run).map(PinnedThread::join);
    if let Err(panic) = ended.expect("it was there") {
        std::panic::resume_unwind(panic);
    }
}

fn meet(fences: Fences, rounds: u64) {
    let wakes = Arc::new(AtomicU64::new(0));
    let (bell, mut sleeper) = doorbell_with(fences, Wakes(wakes.clone()));
    let words = [(); 4].map(|()| Arc::new(Padded(AtomicU64::new(0))));
    let [begun, near, work, rung] = words.clone();
    let ring = move || {
        let mut random = Random::new(1);
        for round in 1..=rounds {
            wait_for(&begun, round);
            // Both words of the meeting are in both caches now, so that a look is quick and a store slow.
            bell.ring();
            near.store(round, Ordering::Release);
            random.spin(SPINS);
            // Relaxed: the doorbell orders it; this is what is shown.
            work.store(round, Ordering::Relaxed);
            bell.ring();
            rung.store(round, Ordering::Release);
        }
    };
    let ringing = std::thread::spawn(move || on(1, ring));
    let [begun, near, work, rung] = words;
    let mut random = Random::new(2);
    let mut sleeps = 0;
    for round in 1..=rounds {
        let before = wakes.load(Ordering::Relaxed);
        assert_eq!(work.load(Ordering::Relaxed), round - 1);
        begun.store(round, Ordering::Release);
        wait_for(&near, round);
        random.spin(SPINS);
        let sleeps_now = sleeper.may_sleep(|| work.load(Ordering::Relaxed) == round);
        wait_for(&rung, round);
        if sleeps_now {
            let woken = wakes.load(Ordering::Relaxed) - before;
            assert_eq!(woken, 1, "nobody rang in round {round} for what there is: {fences:?}");
            sleeper.woke();
            sleeps += 1;
        }
    }
    ringing.join().expect("who rings");
    println!("doorbell: {rounds} meetings, {sleeps} sleeps, {fences:?}");
}
