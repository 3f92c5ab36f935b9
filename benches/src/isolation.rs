//! `throughput isolation`: the greedy, the slow and the hot beside others that must not feel them.
//!
//! Question: what does one of them cost the others, and does everybody get what was written for them,
//! in order, or is told what will not come? Each figure is a ratio of two spans of the same run, with
//! the disturbance and without it, taken in turn. Paced writers keep to a timetable that waits for
//! nobody, so a server that stalls is charged for every batch that was due meanwhile.
//! In process the clients and the stages share one thread: what the clients cost is in every turn.
//! Over sockets the daemon has one CPU and the load another: the operating system's part is in it.
//! Not measured: a network, and hosts with many cores.
//!
//! ```text
//! timetable ─▶ fleet ─▶ world: stages, or sockets and the daemon ─▶ fleet: order, bytes, told ─▶ spans ─▶ ratios
//! ```

pub mod delta;

pub mod plant;

pub mod span;

pub mod answers;

pub mod client;

pub mod fleet;

pub mod world;

pub mod worker;

pub mod inside;

pub mod sockets;

pub mod scenario;

pub mod trial;

pub mod report;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deltaworks_pipeline::limits::TURN_BOUND_US;
use deltaworks_runtime::pinned::PinnedThread;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use inside::Inside;
use plant::Plant;
use report::Report;
use scenario::{Disturbance, Scenario};
use sockets::Sockets;
use trial::Setting;
use world::World;

use crate::abuse::daemon;

/// Where a scenario is played.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Form {
    /// The stages and all clients on one pinned thread; the bounds are stated for this.
    InProcess,
    /// The daemon on one CPU, and its clients on another.
    Sockets,
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Self::InProcess => "in_process",
            Self::Sockets => "sockets",
        }
    }
}

/// What is run.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct IsolationOptions {
    /// Only this scenario; may be given again.
    #[arg(long, value_name = "NAME")]
    pub scenario: Vec<String>,
    /// Only in this form; may be given again.
    #[arg(long, value_enum)]
    pub form: Vec<Form>,
    /// Spans with and without the disturbance, in turn.
    #[arg(long, value_name = "COUNT", default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub pairs: u32,
    /// Length of a span.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub seconds: f64,
    /// Deltas over which memory is looked at, where readers are slow.
    #[arg(long, value_name = "DELTAS", default_value_t = 10_000_000)]
    pub memory_deltas: u64,
    /// Sessions that come and go in a storm.
    #[arg(long, value_name = "SESSIONS", default_value_t = 5_000,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub storm_sessions: u32,
    /// Memory for everything that clients can make grow.
    #[arg(long, value_name = "MIB", default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(32..=65_536))]
    pub budget_mib: u32,
    /// The scenarios and what they do; nothing is run.
    #[arg(long)]
    pub list: bool,
    /// A line of JSON for each scenario and form, in place of a table.
    #[arg(long)]
    pub json: bool,
    /// The daemon's program; without it the one beside this program.
    #[arg(long, value_name = "PATH")]
    pub daemon: Option<PathBuf>,
    /// The daemon takes whatever CPU it finds: for tests, which share the machine.
    #[arg(long, hide = true)]
    pub is_polite: bool,
    /// A fault to be planted: nothing may then be verified.
    #[arg(long, value_enum, hide = true)]
    pub plant: Option<Plant>,
}

const EXAMPLES: &str = "\
Examples:
  throughput isolation --list
  throughput isolation
  throughput isolation --scenario greedy-publisher --form in_process --pairs 9 --seconds 2
  throughput isolation --json > isolation.jsonl

Exit codes:
  0  every scenario was verified: everything that was written came in order or was told, to every
     reader; whether the bounds hold is told beside it
  1  one was not
  2  it could not be run";

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    let range = 0.05..=600.0;
    if range.contains(&seconds) { Ok(seconds) } else { Err("0.05 to 600".to_owned()) }
}

/// The scenarios and what they do, a line each.
pub fn list() -> String {
    let line = |it: &Scenario| format!("{:<20} {}\n", it.name, it.about);
    scenario::all().iter().map(line).collect()
}

/// Runs the scenarios one after the other, and gives each report to `tell` when it is there; whether
/// all were verified.
///
/// # Errors
/// If it cannot be run here.
pub fn run(
    options: &IsolationOptions,
    tell: impl Fn(&Report) + Send + 'static,
) -> Result<bool, String> {
    let cpus = core_affinity::get_core_ids().unwrap_or_default();
    // Relaxed: only a number of one's own. Runs at once, as tests have them, take turns.
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let Some(cpu) = cpus.iter().rev().cycle().nth(run % cpus.len().max(1)) else {
        return Err("no CPU is told".to_owned());
    };
    let names: Vec<&str> = scenario::all().iter().map(|it| it.name).collect();
    if let Some(name) = options.scenario.iter().find(|name| !names.contains(&name.as_str())) {
        return Err(format!("there is no scenario {name:?}, but {}", names.join(", ")));
    }
    let other = cpus.iter().map(|it| it.id).find(|it| *it != cpu.id);
    let options = options.clone();
    let work = move || run_all(&options, other, tell);
    let thread = PinnedThread::spawn(cpu.id, "load", work).map_err(|it| it.to_string())?;
    thread.join().map_err(|_| "the load panicked".to_owned())?
}

fn run_all(
    options: &IsolationOptions,
    other: Option<usize>,
    tell: impl Fn(&Report),
) -> Result<bool, String> {
    let is_wanted =
        |name: &str| options.scenario.is_empty() || options.scenario.iter().any(|it| it == name);
    let mut scenarios = scenario::all();
    scenarios.retain(|it| is_wanted(it.name));
    for scenario in &mut scenarios {
        if let Disturbance::Storm { sessions } = &mut scenario.disturbance {
            *sessions = options.storm_sessions;
        }
    }
    let forms = [Form::InProcess, Form::Sockets];
    let forms = forms.into_iter().filter(|it| options.form.is_empty() || options.form.contains(it));
    let trials = forms.flat_map(|form| scenarios.iter().map(move |scenario| (form, scenario)));
    // The daemon has one CPU, and so one worker.
    let trials: Vec<_> =
        trials.filter(|(form, it)| *form == Form::InProcess || !it.needs_other_worker()).collect();
    let bar = bar(trials.len());
    let mut are_verified = true;
    for (form, scenario) in trials {
        bar.set_message(scenario.name);
        let from = bar.position();
        let mut moved = |part: f64| bar.set_position(from + (part * BAR_STEPS as f64) as u64);
        let report = play(options, form, other, scenario, &mut moved)
            .map_err(|error| format!("{} {}: {error}", form.name(), scenario.name))?;
        bar.set_position(from + BAR_STEPS);
        are_verified &= report.verified;
        bar.suspend(|| tell(&report));
    }
    bar.finish_and_clear();
    Ok(are_verified)
}

fn play(
    options: &IsolationOptions,
    form: Form,
    other: Option<usize>,
    scenario: &Scenario,
    moved: &mut dyn FnMut(f64),
) -> Result<Report, String> {
    let setting = Setting {
        form: form.name(),
        pairs: options.pairs as usize,
        length: Duration::from_secs_f64(options.seconds),
        memory_deltas: options.memory_deltas,
        turn_bound_us: f64::from(TURN_BOUND_US),
        has_bounds: form == Form::InProcess,
    };
    let world: Box<dyn World> = match form {
        Form::InProcess if scenario.needs_other_worker() => {
            let cpu = other.ok_or("two CPUs are needed, one for each worker")?;
            Box::new(Inside::start_with_other(cpu, options.budget_mib, options.plant)?)
        }
        Form::InProcess => Box::new(Inside::start(options.budget_mib, options.plant)?),
        Form::Sockets => {
            let program = match &options.daemon {
                Some(program) => program.clone(),
                None => daemon::beside_this_program()?,
            };
            let cpu = other.filter(|_| !options.is_polite);
            Box::new(Sockets::start(&program, cpu, options.budget_mib, options.plant)?)
        }
    };
    trial::run(scenario, world, setting, moved)
}

/// Steps of the bar for each scenario.
const BAR_STEPS: u64 = 100;

/// On standard error; nothing where that is no terminal.
fn bar(scenarios: usize) -> ProgressBar {
    let length = scenarios as u64 * BAR_STEPS;
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(2));
    let style = ProgressStyle::with_template("{msg:>20} {wide_bar} {percent:>3} % {eta:>5}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
