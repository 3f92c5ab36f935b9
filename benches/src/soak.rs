//! `throughput soak`: random publishers and subscribers of all policies against the daemon, for as long
//! as asked, and an account of every subscriber.
//!
//! Question: published = delivered + told as dropped, for each subscriber, exactly? Readers come and go
//! at random; some take everything, some a hundredth, some nothing. At every reckoning all writers
//! pause, whoever stood still reads on, and when everything has come or was told, each subscription's
//! deltas are compared with what was written for it. Nothing is timed, and no rate is judged.
//!
//! ```text
//! chance ─▶ connect, thaw, leave ─▶ fleet ◀─▶ sockets ◀─▶ daemon
//!                 every round: pause ─▶ all settled? ─▶ account, by policy
//! ```

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use deltaworks_pipeline::message::Policy;
use deltaworks_runtime::pinned::PinnedThread;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::abuse::daemon;
use crate::isolation::client::{Key, Plan, Role, Side, Speed};
use crate::isolation::delta::{Template, WAITED};
use crate::isolation::plant::Plant;
use crate::isolation::scenario::SESSIONS;
use crate::isolation::sockets::{Sockets, Terms};
use crate::isolation::world::{World, play, until};
use crate::script::Random;

/// Documents that keep to the timetable, those that are written as fast as they are taken, and those
/// whose readers may make them wait.
const PACED: usize = 8;
/// See [`PACED`].
const GREEDY: usize = 2;
/// See [`PACED`].
const WAITED_FOR: usize = 2;

/// Batches a second of the timetable.
const RATE: f64 = 2_000.0;

/// Between two strokes of chance.
const STROKE: Duration = Duration::from_millis(20);

/// What is run.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct SoakOptions {
    /// How long; it ends behind the reckoning that this falls into.
    #[arg(long, default_value_t = 60.0, value_parser = minutes)]
    pub minutes: f64,
    /// Seconds between two reckonings.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = seconds)]
    pub round: f64,
    /// Readers at most, at once.
    #[arg(long, value_name = "COUNT", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub readers: u32,
    /// What chance is drawn from.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Memory for everything that clients can make grow: little, so that windows are left soon.
    #[arg(long, value_name = "MIB", default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(32..=65_536))]
    pub budget_mib: u32,
    /// The daemon's program; without it the one beside this program.
    #[arg(long, value_name = "PATH")]
    pub daemon: Option<PathBuf>,
    /// The daemon takes whatever CPU it finds: for tests, which share the machine.
    #[arg(long, hide = true)]
    pub is_polite: bool,
    /// The result as one line of JSON.
    #[arg(long)]
    pub json: bool,
    /// A fault to be planted: the run must then not be verified.
    #[arg(long, value_enum, hide = true)]
    pub plant: Option<Plant>,
}

const EXAMPLES: &str = "\
Examples:
  throughput soak --minutes 1
  throughput soak --minutes 60 --json > soak.json
  make soak-isolation MINUTES=60

Exit codes:
  0  every subscription was verified: what was written for it came in order or was told as dropped
  1  one was not
  2  it could not be run";

fn minutes(text: &str) -> Result<f64, String> {
    within(text, 0.001, 1e6)
}

fn seconds(text: &str) -> Result<f64, String> {
    within(text, 0.05, 3600.0)
}

fn within(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (least..=most).contains(&number) { Ok(number) } else { Err(format!("{least} to {most}")) }
}

/// What subscriptions of one policy came to, over all reckonings and leavings.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct OfPolicy {
    /// Subscriptions that were reckoned with, each as often as it was.
    pub reckoned: u64,
    /// Of these, those that the server had closed.
    pub closed: u64,
    /// Deltas that were written for them since they had begun.
    pub published: u64,
    /// Deltas that came.
    pub delivered: u64,
    /// Deltas that were told as dropped.
    pub told: u64,
}

/// What came out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// How long it ran.
    pub seconds: f64,
    /// Reckonings.
    pub reckonings: u64,
    /// Sessions that came.
    pub connected: u64,
    /// Sessions that left at once, in the middle of something.
    pub left: u64,
    /// Sessions that the server ended with its number for it, because what was half sent to them or
    /// awaited of them found no more room; what came until then was in order, and nobody else's.
    pub overflowed: u64,
    /// Readers that stood still or were slow, and then read on.
    pub thawed: u64,
    /// Deltas written, over all documents.
    pub published: u64,
    /// Deltas that came and were checked, over all readers.
    pub delivered: u64,
    /// Deltas that were told as dropped.
    pub told: u64,
    /// By policy: `published` is `delivered` and `told`, for each subscription and so for all.
    pub policies: std::collections::BTreeMap<&'static str, OfPolicy>,
    /// Every subscription was whole.
    pub verified: bool,
    /// What was wrong.
    pub differences: Vec<String>,
}

/// Runs it.
///
/// # Errors
/// If it cannot be run here.
pub fn run(options: &SoakOptions) -> Result<Report, String> {
    let cpus = core_affinity::get_core_ids().unwrap_or_default();
    let Some(loading) = cpus.last() else { return Err("no CPU is told".to_owned()) };
    let is_free = |cpu: &usize| *cpu != loading.id && !options.is_polite;
    let serving = cpus.iter().map(|it| it.id).find(is_free);
    let options = options.clone();
    let work = move || soak(&options, serving);
    let thread = PinnedThread::spawn(loading.id, "load", work).map_err(|it| it.to_string())?;
    thread.join().map_err(|_| "the load panicked".to_owned())?
}

/// On standard error; nothing where that is no terminal.
fn bar(minutes: f64) -> ProgressBar {
    let length = (minutes * 60.0) as u64;
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(2));
    let style = ProgressStyle::with_template("{msg} {wide_bar} {percent:>3} % {eta:>5}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

struct Soak {
    random: Random,
    /// By kind of document.
    plain: Vec<usize>,
    waited: Vec<usize>,
    readers: Vec<Key>,
    readers_max: usize,
    report: Report,
}

fn soak(options: &SoakOptions, cpu: Option<usize>) -> Result<Report, String> {
    let program = match &options.daemon {
        Some(program) => program.clone(),
        None => daemon::beside_this_program()?,
    };
    let budget_mib = options.budget_mib;
    let terms = Terms { budget_mib, sessions: SESSIONS, options: &[] };
    let mut world = Sockets::start(&program, cpu, terms, options.plant)?;
    let mut soak = Soak::enter(&mut world, options)?;
    let bar = bar(options.minutes);
    let (began, end) = (Instant::now(), Duration::from_secs_f64(options.minutes * 60.0));
    let round = Duration::from_secs_f64(options.round);
    let played = loop {
        let played = soak.round(&mut world, round);
        bar.set_position(began.elapsed().as_secs());
        bar.set_message(format!("{} reckonings", soak.report.reckonings));
        let is_sound = played.is_ok() && world.fleet().faults().is_empty();
        if !is_sound || began.elapsed() >= end {
            break played;
        }
    };
    bar.finish_and_clear();
    let mut report = soak.report;
    report.seconds = began.elapsed().as_secs_f64();
    let fleet = world.fleet();
    report.published = fleet.documents.iter().map(|it| it.published).sum();
    report.delivered = fleet.others.delivered + fleet.disturbance.delivered;
    report.told = fleet.others.told + fleet.disturbance.told;
    report.differences.extend(played.err());
    report.differences.extend_from_slice(fleet.faults());
    report.differences.extend(Box::new(world).finish().err());
    report.verified =
        report.differences.is_empty() && report.reckonings > 0 && report.delivered > 0;
    Ok(report)
}

impl Soak {
    /// Writers of all documents, and a reader that takes everything of each.
    fn enter(world: &mut Sockets, options: &SoakOptions) -> Result<Self, String> {
        world.fleet().may_overflow = true;
        let few = Rc::new(Template::new(46, 4)?);
        let many = Rc::new(Template::new(46, 32)?);
        let fleet = world.fleet();
        let mut documents = |name: &str, count, template: &Rc<Template>| -> Vec<usize> {
            let name_of = |number| format!("{name}-{number}");
            (0..count).map(|number| fleet.document(name_of(number), template.clone())).collect()
        };
        let paced = documents("paced", PACED, &few);
        let greedy = documents("greedy", GREEDY, &many);
        let waited = documents(&format!("{WAITED}/d"), WAITED_FOR, &many);
        let side = Side::Others;
        let role = Role::Reader { policy: Policy::Gap, speed: Speed::Full };
        let plain: Vec<usize> = paced.iter().chain(&greedy).copied().collect();
        let yardstick = world.connect(Plan { side, role, documents: greedy.clone() })?;
        world.fleet().yardstick = Some(yardstick);
        let mut writers = vec![yardstick];
        writers.push(world.connect(Plan { side, role: Role::Paced, documents: paced.clone() })?);
        for document in greedy.iter().chain(&waited) {
            let documents = vec![*document];
            writers.push(world.connect(Plan { side, role: Role::Greedy, documents })?);
        }
        until(world, "open documents", |world| {
            writers.iter().all(|key| world.fleet().is_open(*key))
        })?;
        world.fleet().pace(&paced, RATE);
        Ok(Self {
            random: Random(options.seed),
            plain,
            waited,
            readers: vec![yardstick],
            readers_max: options.readers as usize + 1,
            report: Report::default(),
        })
    }

    /// Chance for a while, and then a reckoning.
    fn round(&mut self, world: &mut Sockets, length: Duration) -> Result<(), String> {
        let mut next = Instant::now();
        play(world, length, |world| {
            if Instant::now() >= next {
                next = Instant::now() + STROKE;
                self.stroke(world)?;
            }
            Ok(())
        })?;
        self.reckon(world)?;
        world.fleet().resume();
        Ok(())
    }

    /// Lets go of sessions that the server has ended for want of room.
    fn let_go(&mut self, world: &mut dyn World) {
        for key in world.fleet().overflowed() {
            self.readers.retain(|other| *other != key);
            world.disconnect(key);
            self.report.overflowed += 1;
        }
    }

    fn stroke(&mut self, world: &mut dyn World) -> Result<(), String> {
        self.let_go(world);
        match self.random.below(10) {
            0..4 => self.connect(world),
            4 => {
                // The first is the yardstick, which stays.
                if self.readers.len() > 1 {
                    let place = 1 + self.random.below(self.readers.len() as u64 - 1) as usize;
                    world.disconnect(self.readers.swap_remove(place));
                    self.report.left += 1;
                }
                Ok(())
            }
            5 => {
                let place = self.random.below(self.readers.len() as u64) as usize;
                self.thaw(world, self.readers[place]);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn connect(&mut self, world: &mut dyn World) -> Result<(), String> {
        if self.readers.len() >= self.readers_max {
            return Ok(());
        }
        let policy = Policy::ALL[self.random.below(Policy::ALL.len() as u64) as usize];
        let speed = match self.random.below(10) {
            0..3 => Speed::Frozen,
            3..6 => Speed::OneIn(100),
            _ => Speed::Full,
        };
        let of = if policy == Policy::Wait { &self.waited } else { &self.plain };
        let first = self.random.below(of.len() as u64) as usize;
        let count = 1 + self.random.below(3) as usize;
        let documents = of.iter().cycle().skip(first).take(count.min(of.len())).copied().collect();
        let role = Role::Reader { policy, speed };
        self.readers.push(world.connect(Plan { side: Side::Disturbance, role, documents })?);
        self.report.connected += 1;
        Ok(())
    }

    fn thaw(&mut self, world: &mut dyn World, key: Key) {
        if world.fleet().is_open(key)
            && world.fleet().session(key).is_some_and(|it| it.room_bytes != usize::MAX)
        {
            self.report.thawed += 1;
            world.fleet().thaw(key);
            world.has_room(key);
        }
    }

    /// Compares, for every subscription, what was written with what came and what was told.
    fn reckon(&mut self, world: &mut Sockets) -> Result<(), String> {
        let readers = self.readers.clone();
        until(world, "open readers", |world| readers.iter().all(|it| world.fleet().is_open(*it)))?;
        self.let_go(world);
        let readers = self.readers.clone();
        world.fleet().pause();
        for key in &readers {
            self.thaw(world, *key);
        }
        let keys = world.fleet().keys();
        until(world, "everything read and told", |world| {
            keys.iter().all(|key| world.fleet().is_settled(*key))
        })?;
        self.let_go(world);
        for key in keys {
            world.fleet().settle(key);
        }
        for key in readers {
            let Some(session) = world.fleet().session(key) else { continue };
            let Role::Reader { policy, .. } = session.plan.role else { continue };
            let sum = self.report.policies.entry(policy.name()).or_default();
            for account in world.fleet().accounts(key) {
                sum.reckoned += 1;
                sum.closed += u64::from(account.is_closed);
                sum.published += account.published;
                sum.delivered += account.delivered;
                sum.told += account.told;
            }
        }
        self.report.reckonings += 1;
        Ok(())
    }
}

/// Some lines for a person.
pub fn describe(report: &Report) -> String {
    let mut text = format!(
        "{:.0} s, {} reckonings, {} sessions came, {} left at once, {} found no room, {} read on\n\
         {} deltas published; {} came and {} were told as dropped, over all readers\n",
        report.seconds,
        report.reckonings,
        report.connected,
        report.left,
        report.overflowed,
        report.thawed,
        report.published,
        report.delivered,
        report.told
    );
    for (policy, of) in &report.policies {
        let OfPolicy { reckoned, closed, published, delivered, told } = of;
        text += &format!(
            "{policy:<9} {reckoned:>7} reckoned with ({closed} closed): {published} = {delivered} + {told}\n"
        );
    }
    text += &format!("verified: {}\n", report.verified);
    for difference in &report.differences {
        text += &format!("  {difference}\n");
    }
    text
}
