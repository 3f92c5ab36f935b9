//! One scenario against one daemon: spans with and without the disturbance, turn by turn, and what
//! must be true of it afterwards.
//!
//! Runs on the load's thread. The others' stream goes on through all of it, so it is verified while
//! the hostile come and go, too; only spans are measured. Every wait is bounded.

use std::path::Path;
use std::time::{Duration, Instant};

use super::crowd::{Crowd, Tally};
use super::daemon::Daemon;
use super::gauge::{CpuTime, Gauge, Holdings};
use super::ledger::DELTAS;
use super::report::{Figures, Report};
use super::scenario::Scenario;
use super::stream::Stream;
use crate::cpu_time;
use crate::pairs::{Pair, Ratios};
use crate::spread::Quantiles;

/// What the stream plays before anything is measured.
const WARM_UP: Duration = Duration::from_millis(500);

/// How long the server may take to end those who wait for it, and to give back what they held.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at what is given back.
const LOOK: Duration = Duration::from_millis(50);

/// The pause of a load that leaves its CPU to others.
const PAUSE: Duration = Duration::from_micros(50);

/// Kinds of bytes that only those who are connected hold.
const HELD_WHILE_CONNECTED: [&str; 4] = ["subscriptions", "spills", "carries", "control"];

/// How a scenario is run.
#[derive(Clone, Debug)]
pub struct Setting<'a> {
    /// The daemon's program.
    pub program: &'a Path,
    /// The daemon's CPU; without one it takes what it finds.
    pub daemon_cpu: Option<usize>,
    /// The daemon's options, beside those of the scenario.
    pub options: &'a [&'a str],
    /// Spans with and without the disturbance.
    pub pairs: usize,
    /// Each span.
    pub length: Duration,
    /// Batches a second in the others' timetable.
    pub rate: f64,
    /// Their subscribers.
    pub subscribers: usize,
    /// Hostile connections at once.
    pub size: usize,
    /// The load sleeps when it has nothing to do; a measurement must not.
    pub is_polite: bool,
}

/// Runs `scenario`; `moved` is told the part that is done, from 0 to 1.
///
/// # Errors
/// If it could not be run. What the daemon did wrong stands in the report.
pub fn run(
    scenario: &Scenario,
    setting: &Setting<'_>,
    moved: &mut dyn FnMut(f64),
) -> Result<Report, String> {
    let options = setting.options.iter().chain(scenario.options);
    let options: Vec<String> = options.map(|option| (*option).to_owned()).collect();
    let mut daemon = Daemon::start(setting.program, setting.daemon_cpu, &options)?;
    let gauge = Gauge::new(daemon.pid(), daemon.admin());
    let stream = Stream::open(daemon.address(), setting.subscribers, setting.rate)?;
    let mut trial = Trial {
        scenario,
        setting,
        gauge,
        address: daemon.address(),
        stream,
        before: Holdings::default(),
        during: Holdings::default(),
        after: Holdings::default(),
        tally: Tally::default(),
        differences: Vec::new(),
    };
    trial.play(WARM_UP, None);
    trial.before = trial.gauge.holdings()?;
    let mut pairs = Vec::new();
    for number in 0..setting.pairs {
        let pair = Pair::take(number, |is_disturbed| {
            Ok::<_, String>(if is_disturbed { trial.disturbed() } else { trial.measure(None) })
        });
        pairs.push(pair?);
        moved((number + 1) as f64 / setting.pairs as f64);
        if !trial.stream.faults().is_empty() || !daemon.lives() {
            break;
        }
    }
    let resident_bytes_max = trial.gauge.resident_bytes_max().unwrap_or_default();
    let Trial { stream, before, during, after, tally, mut differences, .. } = trial;
    differences.extend(wrong_endings(scenario, &tally));
    differences.extend(not_given_back(&before, &after));
    differences.extend(beyond_the_budget(&during));
    let (verified_deltas, faults) = match stream.finish(PATIENCE) {
        Ok(deltas) => (deltas, Vec::new()),
        Err(faults) => (0, faults),
    };
    differences.extend(faults);
    differences.extend(daemon.stop().err());
    Ok(Report {
        scenario: scenario.name.to_owned(),
        about: scenario.about.to_owned(),
        pairs: pairs.len(),
        seconds: setting.length.as_secs_f64(),
        batches_per_second: setting.rate,
        ratio: Ratios::of(&pairs),
        figures: pairs,
        hostile: tally,
        before,
        during,
        after,
        resident_bytes_max,
        verified_deltas,
        verified: differences.is_empty() && verified_deltas > 0,
        differences,
    })
}

struct Trial<'a> {
    scenario: &'a Scenario,
    setting: &'a Setting<'a>,
    gauge: Gauge,
    address: std::net::SocketAddr,
    stream: Stream,
    before: Holdings,
    during: Holdings,
    after: Holdings,
    tally: Tally,
    differences: Vec<String>,
}

impl<'a> Trial<'a> {
    /// A span in which the hostile come, and after it what is left of them.
    fn disturbed(&mut self) -> Figures {
        let (scenario, size) = (self.scenario, self.setting.size);
        let mut crowd = Crowd::new(scenario, self.address, size, Instant::now());
        let figures = self.measure(Some(&mut crowd));
        let began = Instant::now();
        while !crowd.has_come() && began.elapsed() < PATIENCE && self.is_sound() {
            self.play(LOOK, Some(&mut crowd));
        }
        self.during = self.gauge.holdings().unwrap_or_default();
        crowd.close();
        let began = Instant::now();
        while crowd.standing() > 0 && began.elapsed() < PATIENCE && self.is_sound() {
            self.play(LOOK, Some(&mut crowd));
        }
        if crowd.standing() > 0 {
            self.differences.push(format!("{} were not ended by the server", crowd.standing()));
        }
        crowd.send_home();
        self.tally.add(crowd.tally());
        let began = Instant::now();
        loop {
            match self.gauge.holdings() {
                Ok(holdings) => self.after = holdings,
                Err(fault) => {
                    self.differences.push(format!("the daemon is gone: {fault}"));
                    break;
                }
            }
            // What the daemon tells of itself is some time old, and a descriptor may be that of the
            // question before.
            let is_given_back = not_given_back(&self.before, &self.after).is_empty();
            if is_given_back || began.elapsed() > PATIENCE || !self.is_sound() {
                break;
            }
            self.play(LOOK, None);
        }
        figures
    }

    fn is_sound(&self) -> bool {
        self.stream.faults().is_empty()
    }

    fn measure(&mut self, mut crowd: Option<&mut Crowd<'a>>) -> Figures {
        let began = Instant::now();
        let length = self.setting.length;
        self.stream.begin_span(began, length);
        let (cpu, ran_ns) = (self.gauge.cpu_time(), cpu_time::of_this_thread_ns());
        let delivered = self.stream.delivered();
        self.play(length, crowd.as_deref_mut());
        let wall_ns = began.elapsed().as_nanos() as u64;
        let delivered = self.stream.delivered() - delivered;
        let cpu_share = cpu_time::share(ran_ns, wall_ns);
        let CpuTime { ran_ns, waited_ns } = self.gauge.cpu_time();
        let part = |ns: u64| ns as f64 / wall_ns.max(1) as f64;
        let began = Instant::now();
        while !self.stream.is_span_whole() && began.elapsed() < PATIENCE {
            self.play(LOOK, crowd.as_deref_mut());
        }
        let mut span = self.stream.take_span();
        Figures {
            latency: Quantiles::of(&mut span.latency_ns),
            load_late: Quantiles::of(&mut span.late_ns),
            deltas_per_second: (delivered * DELTAS) as f64 * 1e9 / wall_ns.max(1) as f64,
            daemon_cpu: part(ran_ns.saturating_sub(cpu.ran_ns)),
            daemon_waited: part(waited_ns.saturating_sub(cpu.waited_ns)),
            cpu_share,
        }
    }

    /// Lets the stream, and the crowd if there is one, go on for `length`.
    fn play(&mut self, length: Duration, mut crowd: Option<&mut Crowd<'a>>) {
        let end = Instant::now() + length;
        loop {
            let now = Instant::now();
            if now >= end {
                return;
            }
            let mut has_worked = self.stream.pump(now);
            if let Some(crowd) = &mut crowd {
                has_worked |= crowd.step(Instant::now());
            }
            match has_worked {
                true => {}
                false if self.setting.is_polite => std::thread::sleep(PAUSE),
                false => std::hint::spin_loop(),
            }
        }
    }
}

/// Numbers that nobody should have been told, and ends without one.
pub fn wrong_endings(scenario: &Scenario, tally: &Tally) -> Vec<String> {
    let mut wrong: Vec<String> = tally
        .told
        .iter()
        .filter(|(code, _)| !scenario.told.contains(code))
        .map(|(code, count)| format!("{count} connections were told {code}"))
        .collect();
    if tally.untold > 0 && !scenario.may_be_untold {
        wrong.push(format!("{} connections were ended and told no number", tally.untold));
    }
    if tally.unreached > 0 {
        wrong.push(format!("{} connections were not accepted in time", tally.unreached));
    }
    if tally.connections == 0 {
        wrong.push("nobody came".to_owned());
    }
    wrong
}

/// What the hostile held and the daemon did not give back when they had gone.
pub fn not_given_back(before: &Holdings, after: &Holdings) -> Vec<String> {
    let mut kept = Vec::new();
    if after.descriptors > before.descriptors {
        kept.push(format!("{} descriptors, {} before", after.descriptors, before.descriptors));
    }
    if after.sessions != before.sessions {
        kept.push(format!("{:?} sessions, {:?} before", after.sessions, before.sessions));
    }
    if let (Some(live), Some(were)) = (&after.live_bytes, &before.live_bytes) {
        for kind in HELD_WHILE_CONNECTED {
            let of = |all: &std::collections::BTreeMap<String, u64>| all.get(kind).copied();
            if of(live) > of(were) {
                kept.push(format!("{:?} bytes of {kind}, {:?} before", of(live), of(were)));
            }
        }
    }
    kept
}

/// What the hostile made the daemon hold beyond what it says that they may.
pub fn beyond_the_budget(during: &Holdings) -> Option<String> {
    let budget_bytes = during.budget_bytes?;
    let live_bytes: u64 = during.live_bytes.as_ref()?.values().sum();
    let told = || format!("{live_bytes} bytes live, of a budget of {budget_bytes}");
    (live_bytes > budget_bytes).then(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abuse::scenario;

    #[test]
    fn a_wrong_end_is_seen() {
        let all = scenario::all();
        let bad_crc = all.iter().find(|it| it.name == "bad-crc").expect("a scenario");
        let sound = Tally { connections: 2, told: [(113, 2)].into(), ..Tally::default() };
        assert_eq!(wrong_endings(bad_crc, &sound), Vec::<String>::new());
        for tally in [
            Tally { told: [(113, 1), (299, 1)].into(), ..sound.clone() },
            Tally { untold: 1, ..sound.clone() },
            Tally { unreached: 1, ..sound.clone() },
            Tally { connections: 0, ..sound },
        ] {
            assert_eq!(wrong_endings(bad_crc, &tally).len(), 1, "{tally:?}");
        }
    }

    #[test]
    fn what_is_kept_is_seen() {
        let before = Holdings {
            descriptors: 20,
            sessions: Some(3),
            live_bytes: Some([("spills".to_owned(), 0), ("chunks".to_owned(), 9)].into()),
            ..Holdings::default()
        };
        assert_eq!(not_given_back(&before, &before), Vec::<String>::new());
        let more_chunks = [("spills".to_owned(), 0), ("chunks".to_owned(), 99)];
        let windows_may_grow = Holdings { live_bytes: Some(more_chunks.into()), ..before.clone() };
        assert_eq!(not_given_back(&before, &windows_may_grow), Vec::<String>::new());
        for after in [
            Holdings { descriptors: 21, ..before.clone() },
            Holdings { sessions: Some(4), ..before.clone() },
            Holdings { live_bytes: Some([("spills".to_owned(), 1)].into()), ..before.clone() },
        ] {
            assert_eq!(not_given_back(&before, &after).len(), 1, "{after:?}");
        }
    }

    #[test]
    fn more_than_the_budget_is_seen() {
        let live = [("chunks".to_owned(), 60), ("spills".to_owned(), 40)];
        let within = Holdings {
            live_bytes: Some(live.into()),
            budget_bytes: Some(100),
            ..Holdings::default()
        };
        assert_eq!(beyond_the_budget(&within), None);
        assert!(beyond_the_budget(&Holdings { budget_bytes: Some(99), ..within }).is_some());
    }
}
