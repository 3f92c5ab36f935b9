//! What sleeping costs, and what a look at sockets does: a core with an agent that does nothing else.

use std::hint::spin_loop;
use std::time::{Duration, Instant};

use deltaworks_capacity::costs::WakeCost;
use deltaworks_runtime::agent::Agent;
use deltaworks_runtime::clock::Now;
use deltaworks_runtime::core::{Core, CoreConfig, CoreCounter, LocalCore, core_doorbell};
use deltaworks_runtime::doorbell::Doorbell;
use deltaworks_runtime::idle::IdleBudget;
use deltaworks_runtime::ring::{Consumer, Producer, ring};

/// Round trips of each kind.
const TRIPS: usize = 200;
/// Long enough to be asleep when the next message comes.
const PAUSE: Duration = Duration::from_micros(300);
/// Time between two looks of a core that seldom looks; it counts its turns when it looks.
const SELDOM_NS: u64 = 1_000_000;
/// How long looks are counted.
const LOOKING: Duration = Duration::from_millis(100);

/// What sleeping costs between two CPUs; nothing where there is only one.
///
/// # Errors
/// If a core cannot be had.
pub fn measure(cpus: &[usize]) -> Result<WakeCost, String> {
    let IdleBudget { spin_ns, yield_ns } = IdleBudget::default();
    let awake_ns = (spin_ns + yield_ns) as f64;
    let [_, other, ..] = cpus[..] else { return Ok(WakeCost { awake_ns, ..WakeCost::default() }) };
    let spins = IdleBudget { spin_ns: 10_000_000_000, yield_ns: 0 };
    let awake = trips(other, spins, Duration::ZERO)?;
    let asleep = trips(other, IdleBudget::SHARED, PAUSE)?;
    let way_back_ns = awake.round_ns / 2.0;
    Ok(WakeCost {
        awake_ns,
        parked_ns: (asleep.round_ns - way_back_ns).max(0.0),
        spinning_ns: way_back_ns,
        ring_ns: (asleep.ring_ns - awake.ring_ns).max(0.0),
    })
}

/// Nanoseconds of one look at sockets without any ready: turns that all look, against turns that do not.
///
/// # Errors
/// If a core cannot be had.
pub fn look_ns(cpu: usize) -> Result<f64, String> {
    let turn_ns = |io_interval_ns: u64| -> Result<f64, String> {
        let mut config = CoreConfig::new(Some(cpu), "looks");
        config.io_interval_ns = io_interval_ns;
        let core = spawn(config, Busy)?;
        let counters = core.counters();
        let turns = || counters.snapshot()[CoreCounter::Turns as usize];
        std::thread::sleep(LOOKING / 4);
        let (began, before) = (Instant::now(), turns());
        std::thread::sleep(LOOKING);
        let (ns, after) = (began.elapsed().as_nanos() as f64, turns());
        core.stop();
        core.join().map_err(|error| format!("{error:?}"))?;
        Ok(ns / (after - before).max(1) as f64)
    };
    Ok((turn_ns(0)? - turn_ns(SELDOM_NS)?).max(0.0))
}

struct Busy;

impl Agent for Busy {
    fn do_work(&mut self, _: Now) -> usize {
        1
    }
}

struct Echo {
    from: Consumer<u64>,
    to: Producer<u64>,
}

impl Agent for Echo {
    fn do_work(&mut self, _: Now) -> usize {
        let to = &mut self.to;
        self.from.drain(16, |value| {
            to.push(value + 1).expect("one is on its way at a time");
        })
    }
}

fn spawn(config: CoreConfig, agent: impl Agent + Send + 'static) -> Result<Core, String> {
    let (_, sleeper) = core_doorbell().map_err(|error| error.to_string())?;
    let main = move |local: LocalCore| async move { local.run(agent).await };
    Core::spawn(config, sleeper, main).map_err(|error| format!("{error:?}"))
}

struct Trips {
    round_ns: f64,
    ring_ns: f64,
}

fn trips(cpu: usize, idle: IdleBudget, pause: Duration) -> Result<Trips, String> {
    let (doorbell, sleeper) = core_doorbell().map_err(|error| error.to_string())?;
    let (mut to, from_here) = ring(16);
    let (to_here, mut from) = ring(16);
    let mut config = CoreConfig::new(Some(cpu), "echo");
    config.idle = idle;
    let echo = Echo { from: from_here, to: to_here };
    let main = move |local: LocalCore| async move { local.run(echo).await };
    let core = Core::spawn(config, sleeper, main).map_err(|error| format!("{error:?}"))?;
    let (mut rounds, mut rings) = (Vec::new(), Vec::new());
    for value in 0..TRIPS as u64 {
        std::thread::sleep(pause);
        let (round, ring) = trip(&mut to, &mut from, &doorbell, value)?;
        rounds.push(round);
        rings.push(ring);
    }
    core.stop();
    core.join().map_err(|error| format!("{error:?}"))?;
    Ok(Trips { round_ns: undisturbed(rounds), ring_ns: undisturbed(rings) })
}

fn trip(
    to: &mut Producer<u64>,
    from: &mut Consumer<u64>,
    doorbell: &Doorbell,
    value: u64,
) -> Result<(f64, f64), String> {
    let began = Instant::now();
    to.push(value).map_err(|_| "a ring of 16 is full".to_owned())?;
    doorbell.ring();
    let rang_ns = began.elapsed().as_nanos() as f64;
    loop {
        if let Some(answer) = from.pop() {
            let round_ns = began.elapsed().as_nanos() as f64;
            return if answer == value + 1 {
                Ok((round_ns, rang_ns))
            } else {
                Err(format!("{value} was answered by {answer}"))
            };
        }
        spin_loop();
    }
}

/// One in ten is faster: what others on the CPUs have disturbed is left out.
fn undisturbed(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 10).copied().unwrap_or_default()
}
