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

pub mod stream;

pub mod trial;

pub mod visitor;

use std::path::Path;
use std::time::Duration;

use deltaworks_runtime::pinned::PinnedThread;

use report::Report;
use scenario::Scenario;
use trial::Setting;

use crate::playbill::{self, Playbill, Verdict, play_all};

/// Subscribers of the others' stream.
const SUBSCRIBERS: usize = 2;

/// What is run.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct AbuseOptions {
    /// Scenarios, and how they are told.
    #[command(flatten)]
    pub playbill: Playbill,
    /// Length of a span; scenarios that wait for a deadline take longer.
    #[arg(long, default_value_t = 2.0, value_parser = playbill::seconds)]
    pub seconds: f64,
    /// Batches a second in the others' timetable, of four deltas of 46 bytes.
    #[arg(long, value_name = "BATCHES", default_value_t = 2000,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// Hostile connections at once, in place of the scenario's own number.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=15_000))]
    pub connections: Option<u32>,
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

/// The scenarios and what they do, a line each.
pub fn list() -> String {
    playbill::list(&scenario::all())
}

/// Runs the scenarios one after the other, and gives each report to `tell` when it is there; what all
/// of it comes to.
///
/// # Errors
/// If the machine has not two CPUs, or there is no daemon to start.
pub fn run(
    options: &AbuseOptions,
    tell: impl Fn(&Report) + Send + 'static,
) -> Result<Verdict, String> {
    let cpus = core_affinity::get_core_ids().unwrap_or_default();
    let [serving, loading, ..] = cpus[..] else {
        return Err("two CPUs are needed, one for the daemon and one for the load".to_owned());
    };
    options.playbill.check(&scenario::all())?;
    let program = options.playbill.program()?;
    let options = options.clone();
    let work = move || run_all(&options, &program, serving.id, tell);
    let thread = PinnedThread::spawn(loading.id, "load", work).map_err(|it| it.to_string())?;
    thread.join().map_err(|_| "the load panicked".to_owned())?
}

fn run_all(
    options: &AbuseOptions,
    program: &Path,
    cpu: usize,
    tell: impl Fn(&Report),
) -> Result<Verdict, String> {
    // Scripts are shared within a thread, so the scenarios are made on it.
    let mut scenarios = scenario::all();
    scenarios.retain(|it| options.playbill.has(it));
    let play = |scenario: &Scenario, moved: &mut dyn FnMut(f64)| {
        let seconds = options.seconds.max(scenario.seconds_min);
        let setting = Setting {
            program,
            daemon_cpu: Some(cpu),
            options: &["--cores", "1"],
            pairs: options.playbill.pairs as usize,
            length: Duration::from_secs_f64(seconds),
            rate: f64::from(options.rate),
            subscribers: SUBSCRIBERS,
            size: options.connections.map_or(scenario.size, |it| it as usize),
            is_polite: false,
        };
        let report = trial::run(scenario, &setting, moved)?;
        let verdict = Verdict::from(report.verified);
        Ok((report, verdict))
    };
    play_all(&scenarios, |it| it.name.to_owned(), play, tell)
}
