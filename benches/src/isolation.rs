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

pub mod bounds;

pub mod trial;

pub mod report;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deltaworks_pipeline::limits::TURN_BOUND_US;
use deltaworks_runtime::pinned::PinnedThread;

use inside::Inside;
use plant::Plant;
use report::Report;
use scenario::{Disturbance, Scenario};
use sockets::{Sockets, Terms};
use trial::Setting;
use world::World;

use crate::playbill::{self, Playbill, Verdict, play_all};

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
    /// Scenarios, and how they are told.
    #[command(flatten)]
    pub playbill: Playbill,
    /// Only in this form; may be given again.
    #[arg(long, value_enum)]
    pub form: Vec<Form>,
    /// Length of a span.
    #[arg(long, default_value_t = 1.0, value_parser = playbill::seconds)]
    pub seconds: f64,
    /// Deltas over which memory is looked at, where readers are slow.
    #[arg(long, value_name = "DELTAS", default_value_t = 10_000_000)]
    pub memory_deltas: u64,
    /// Readers that do not keep up, where there are a thousand.
    #[arg(long, value_name = "READERS", value_parser = clap::value_parser!(u32).range(2..=20_000))]
    pub readers: Option<u32>,
    /// Sessions that come and go in a storm.
    #[arg(long, value_name = "SESSIONS", default_value_t = 5_000,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub storm_sessions: u32,
    /// Memory for everything that clients can make grow: 256 unless said, but 64 for a thousand readers over
    /// sockets, since each reads all that the windows hold when it goes on.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(32..=65_536))]
    pub budget_mib: Option<u32>,
    /// A row of a Markdown table for each scenario and form.
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
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
  throughput isolation --scenario thousand-frozen --readers 10000 --form in_process
  throughput isolation --json > isolation.jsonl
  throughput isolation --form in_process --markdown

How long: ten scenarios in two forms, each five pairs of spans of a second and, where readers are slow, 10,000,000
deltas behind them: some five minutes on a calm machine, twice as long on a busy one.

Each line of JSON has `verified`, `bounds` (each with the bound, what was measured, and whether it holds) and
`bound_held`: whether all of them do, which is so where none is stated. A bound holds if more than half of
the pairs are within it. Bounds of time decide the exit code in process; over sockets they are told only,
because the operating system shares in it. Those of memory decide in both.

Exit codes:
  0  every scenario was verified: everything that was written came in order or was told, to every
     reader; and the bounds held
  1  one was not verified
  2  it could not be run
  3  all were verified, but a bound was missed: of the greedy publisher, the others' rate, the pause of
     a move, or memory";

/// The scenarios and what they do, a line each.
pub fn list() -> String {
    playbill::list(&scenario::all())
}

/// Runs the scenarios one after the other, and gives each report to `tell` when it is there; what all
/// of it comes to.
///
/// # Errors
/// If it cannot be run here.
pub fn run(
    options: &IsolationOptions,
    tell: impl Fn(&Report) + Send + 'static,
) -> Result<Verdict, String> {
    let cpus = core_affinity::get_core_ids().unwrap_or_default();
    // Relaxed: only a number of one's own. Runs at once, as tests have them, take turns.
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let Some(cpu) = cpus.iter().rev().cycle().nth(run % cpus.len().max(1)) else {
        return Err("no CPU is told".to_owned());
    };
    options.playbill.check(&scenario::all())?;
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
) -> Result<Verdict, String> {
    let all = scenario::all().into_iter().filter(|it| options.playbill.has(it));
    let mut scenarios: Vec<_> = all.map(|it| it.with_readers(options.readers)).collect();
    for scenario in &mut scenarios {
        if let Disturbance::Storm { sessions } = &mut scenario.disturbance {
            *sessions = options.storm_sessions;
        }
    }
    let forms = [Form::InProcess, Form::Sockets];
    let forms = forms.into_iter().filter(|it| options.form.is_empty() || options.form.contains(it));
    let trials = forms.flat_map(|form| scenarios.iter().map(move |scenario| (form, scenario)));
    let trials: Vec<_> = trials.collect();
    let name = |(form, scenario): &(Form, &Scenario)| format!("{} {}", form.name(), scenario.name);
    let play = |(form, scenario): &(Form, &Scenario), moved: &mut dyn FnMut(f64)| {
        let report = play(options, *form, other, scenario, moved)?;
        let verdict = report.verdict();
        Ok((report, verdict))
    };
    play_all(&trials, name, play, tell)
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
        pairs: options.playbill.pairs as usize,
        length: Duration::from_secs_f64(options.seconds),
        memory_deltas: options.memory_deltas,
        turn_bound_us: f64::from(TURN_BOUND_US),
        time_decides: form == Form::InProcess,
        plant: options.plant,
    };
    let budget_mib = options.budget_mib.unwrap_or(scenario.budget_mib(form == Form::Sockets));
    let sessions = scenario.sessions();
    let world: Box<dyn World> = match form {
        Form::InProcess if scenario.has_moves() => {
            let cpu = other.ok_or("two CPUs are needed, one for each worker")?;
            Box::new(Inside::start_with_other(cpu, budget_mib, options.plant)?)
        }
        Form::InProcess => Box::new(Inside::start(budget_mib, sessions, options.plant)?),
        Form::Sockets => {
            let program = options.playbill.program()?;
            let cpu = other.filter(|_| !options.is_polite);
            let terms = Terms { budget_mib, sessions, options: scenario.daemon_options() };
            Box::new(Sockets::start(&program, cpu, terms, options.plant)?)
        }
    };
    trial::run(scenario, world, setting, moved)
}
