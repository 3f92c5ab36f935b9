//! `throughput abuse`: hostile connections beside a well-behaved stream, against the built daemon.
//!
//! Question: what does somebody hostile cost the others, and does anything break? The daemon is a
//! process of its own on one CPU; the stream and the hostile share a thread on another, which never
//! sleeps. Each figure is a ratio of two spans of the same run, with the disturbance and without it,
//! taken in turn. Not measured: a network, more than one core of the server, hosts that are hostile
//! together; what the load's own thread adds is told beside it.
//!
//! ```text
//! stream: timetable ─▶ publisher ─▶ daemon ─▶ subscribers: order, bytes, time ─▶ spans ─▶ ratios
//! crowd: scripts ─▶ connections ─▶ daemon ─▶ numbers told ─▶ tally
//! ```

pub mod crowd;

pub mod daemon;

pub mod gauge;

pub mod ledger;

pub mod report;

pub mod scenario;

pub mod spread;

pub mod stream;

pub mod trial;

pub mod visitor;

use std::path::PathBuf;
use std::time::Duration;

use deltaworks_runtime::pinned::PinnedThread;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use report::Report;
use trial::Setting;

/// Subscribers of the others' stream.
const SUBSCRIBERS: usize = 2;

/// What is run.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct AbuseOptions {
    /// Only this scenario; may be given again.
    #[arg(long, value_name = "NAME")]
    pub scenario: Vec<String>,
    /// Spans with and without the disturbance, in turn.
    #[arg(long, value_name = "COUNT", default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub pairs: u32,
    /// Length of a span; scenarios that wait for a deadline take longer.
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub seconds: f64,
    /// Batches a second in the others' timetable, of four deltas of 46 bytes.
    #[arg(long, value_name = "BATCHES", default_value_t = 2000,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// Hostile connections at once, in place of the scenario's own number.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=15_000))]
    pub connections: Option<u32>,
    /// The daemon's program; without it the one beside this program.
    #[arg(long, value_name = "PATH")]
    pub daemon: Option<PathBuf>,
    /// The scenarios and what they do; nothing is run.
    #[arg(long)]
    pub list: bool,
    /// A line of JSON for each scenario, in place of a table.
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  throughput abuse --list
  throughput abuse
  throughput abuse --scenario deaf --scenario slow --pairs 9 --seconds 5
  throughput abuse --json > abuse.jsonl

Everything stays on loopback. The daemon is started for each scenario and ended behind it.

Exit codes:
  0  every scenario was verified: the others' stream was whole, and the daemon gave back what the
     hostile had held
  1  one was not
  2  it could not be run";

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    let range = 0.1..=600.0;
    if range.contains(&seconds) { Ok(seconds) } else { Err("0.1 to 600".to_owned()) }
}

/// The scenarios and what they do, a line each.
pub fn list() -> String {
    let line = |it: &scenario::Scenario| format!("{:<22} {}\n", it.name, it.about);
    scenario::all().iter().map(line).collect()
}

/// Runs the scenarios one after the other, and gives each report to `tell` when it is there; whether
/// all were verified.
///
/// # Errors
/// If the machine has not two CPUs, or there is no daemon to start.
pub fn run(
    options: &AbuseOptions,
    tell: impl Fn(&Report) + Send + 'static,
) -> Result<bool, String> {
    let cpus = core_affinity::get_core_ids().unwrap_or_default();
    let [serving, loading, ..] = cpus[..] else {
        return Err("two CPUs are needed, one for the daemon and one for the load".to_owned());
    };
    let names: Vec<&str> = scenario::all().iter().map(|it| it.name).collect();
    if let Some(name) = options.scenario.iter().find(|name| !names.contains(&name.as_str())) {
        return Err(format!("there is no scenario {name:?}, but {}", names.join(", ")));
    }
    let program = match &options.daemon {
        Some(program) => program.clone(),
        None => daemon::beside_this_program()?,
    };
    let options = options.clone();
    let work = move || run_all(&options, &program, serving.id, tell);
    let thread = PinnedThread::spawn(loading.id, "load", work).map_err(|it| it.to_string())?;
    thread.join().map_err(|_| "the load panicked".to_owned())?
}

fn run_all(
    options: &AbuseOptions,
    program: &std::path::Path,
    cpu: usize,
    tell: impl Fn(&Report),
) -> Result<bool, String> {
    let wanted =
        |name: &str| options.scenario.is_empty() || options.scenario.iter().any(|it| it == name);
    // Scripts are shared within a thread, so the scenarios are made on it.
    let scenarios: Vec<_> = scenario::all().into_iter().filter(|it| wanted(it.name)).collect();
    let bar = bar(scenarios.len());
    let mut are_verified = true;
    for scenario in &scenarios {
        bar.set_message(scenario.name);
        let seconds = options.seconds.max(scenario.seconds_min);
        let setting = Setting {
            program,
            daemon_cpu: Some(cpu),
            options: &["--cores", "1"],
            pairs: options.pairs as usize,
            length: Duration::from_secs_f64(seconds),
            rate: f64::from(options.rate),
            subscribers: SUBSCRIBERS,
            size: options.connections.map_or(scenario.size, |it| it as usize),
            is_polite: false,
        };
        let from = bar.position();
        let mut moved = |part: f64| bar.set_position(from + (part * BAR_STEPS as f64) as u64);
        let report = trial::run(scenario, &setting, &mut moved)
            .map_err(|error| format!("{}: {error}", scenario.name))?;
        bar.set_position(from + BAR_STEPS);
        are_verified &= report.verified;
        bar.suspend(|| tell(&report));
    }
    bar.finish_and_clear();
    Ok(are_verified)
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
