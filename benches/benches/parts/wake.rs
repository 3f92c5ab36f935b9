//! `wake`: how long until another core's agent has seen a message and answered it?
//!
//! Nanoseconds there and back, between this thread, which spins, and a core: `busy` when the core's
//! agents all have work, `spinning` when they have none and the core has not given up yet, `parked`
//! when it sleeps in its executor and is rung. Not measured: many cores at once, and a CPU that the
//! system has put to a deeper sleep than this machine's.

use std::hint::spin_loop;
use std::time::{Duration, Instant};

use criterion::Criterion;
use deltaworks_runtime::agent::Agent;
use deltaworks_runtime::clock::Now;
use deltaworks_runtime::core::{Core, CoreConfig, LocalCore, core_doorbell};
use deltaworks_runtime::doorbell::Doorbell;
use deltaworks_runtime::idle::IdleBudget;
use deltaworks_runtime::ring::{Consumer, Producer, ring};

use crate::pair::two_cpus;

/// How long a busy agent works in each turn.
const WORK: Duration = Duration::from_micros(1);

struct Echo {
    from: Consumer<u64>,
    to: Producer<u64>,
    is_busy: bool,
}

impl Agent for Echo {
    fn do_work(&mut self, _: Now) -> usize {
        let to = &mut self.to;
        let answered = self.from.drain(16, |value| {
            to.push(value + 1).expect("one is on its way at a time");
        });
        if self.is_busy {
            let began = Instant::now();
            while began.elapsed() < WORK {
                spin_loop();
            }
        }
        answered + usize::from(self.is_busy)
    }
}

struct Other {
    core: Core,
    to: Producer<u64>,
    from: Consumer<u64>,
    doorbell: Doorbell,
}

impl Other {
    fn start(cpu: usize, idle: IdleBudget, is_busy: bool) -> Self {
        let (doorbell, sleeper) = core_doorbell().expect("two descriptors");
        let (to, from_here) = ring(16);
        let (to_here, from) = ring(16);
        let mut config = CoreConfig::new(Some(cpu), "echo");
        config.idle = idle;
        let echo = Echo { from: from_here, to: to_here, is_busy };
        let main = move |local: LocalCore| async move { local.run(echo).await };
        let core = Core::spawn(config, sleeper, main).expect("a core");
        Self { core, to, from, doorbell }
    }

    fn round_trip(&mut self, value: u64) -> Duration {
        let began = Instant::now();
        self.to.push(value).expect("one is on its way at a time");
        self.doorbell.ring();
        loop {
            if let Some(answer) = self.from.pop() {
                assert_eq!(answer, value + 1);
                return began.elapsed();
            }
            spin_loop();
        }
    }
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let Some((_, other)) = two_cpus("wake") else { return };
    let spins = IdleBudget { spin_ns: 10_000_000_000, yield_ns: 0 };
    let regimes = [
        ("busy", spins, true, Duration::ZERO),
        ("spinning", spins, false, Duration::ZERO),
        // Long enough to be asleep when the next message comes.
        ("parked", IdleBudget::SHARED, false, Duration::from_micros(300)),
    ];
    let mut group = criterion.benchmark_group("wake");
    for (regime, idle, is_busy, pause) in regimes {
        let mut core = Other::start(other, idle, is_busy);
        assert!(core.round_trip(1) > Duration::ZERO);
        group.bench_function(regime, |bencher| {
            bencher.iter_custom(|iterations| {
                let mut took = Duration::ZERO;
                for value in 0..iterations {
                    std::thread::sleep(pause);
                    took += core.round_trip(value);
                }
                took
            });
        });
        core.core.stop();
        core.core.join().expect("the core ends in order");
    }
    group.finish();
}
