//! Rivals and limits: what others do with the same load, and what the machine allows, beside
//! deltaworks in one run.
//!
//! ```text
//!  one CPU: load (publishers, subscribers, every byte compared) ◀─loopback TCP─▶ a server: other CPU
//! ```
//!
//! Prints one JSON object per line and sample, or a table. Nothing here ships, and the workspace
//! does not build it. A rival that is not there is told with its reason, never passed over.
#![deny(unsafe_code)]

mod sample;

mod system;

mod payload;

mod wire;

mod relay;

mod ring_relay;

mod server;

mod load;

mod fan;

mod relays;

mod latency;

mod recovery;

mod idle;

mod memory;

mod start_up;

mod parked;

mod in_process;

mod between;

mod limits;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::sample::Teller;
use crate::system::Cpus;

/// Measures rivals and limits; exit code 0 only if all that was delivered is verified.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// What to measure, in this order; `all` is every one.
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
    #[command(subcommand)]
    part: Option<Part>,
}

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// One line of JSON for each sample.
    #[arg(long)]
    json: bool,
    /// Samples of each cell and peer, interleaved.
    #[arg(long, default_value_t = 5)]
    samples: u32,
    /// Seconds of a sample.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Seconds of a sample of idle sessions: whole ping intervals of the daemon's (30 s), so that each
    /// session is pinged as often as that.
    #[arg(long, default_value_t = 60.0)]
    idle_seconds: f64,
    /// Sessions that are idle.
    #[arg(long, default_value_t = 10_000)]
    sessions: usize,
    /// Few cells, two samples of half a second at most, and 30 s for idle sessions: one ping.
    #[arg(long)]
    quick: bool,
    /// Only these peers.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// The daemon.
    #[arg(long, default_value = "target/release/deltaworksd")]
    daemon: PathBuf,
    /// Where the servers of PyPI are installed.
    #[arg(long, default_value = "benches/peers/target/venv")]
    venv: PathBuf,
    /// Bytes of payload that a publisher may be ahead of the slowest subscriber.
    #[arg(long, default_value_t = 256 << 10)]
    window_bytes: usize,
    /// Changes one byte of what a subscriber reads: the run must then fail.
    #[arg(long)]
    plant: bool,
}

#[derive(Subcommand)]
enum Part {
    /// The relay, as a process of its own: prints its address, and ends with its standard input.
    Relay(relay::Ways),
    /// The same by completions.
    RingRelay(ring_relay::Ways),
    /// The other end of a measurement between processes.
    Between(between::OtherEnd),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Scenario {
    /// What is there, in which version.
    List,
    /// Memory, cache lines, rings, sockets, disk.
    Limits,
    /// Two threads: channels, rings, buses.
    InProcess,
    /// Two processes.
    BetweenProcesses,
    /// One publisher, many subscribers.
    FanOut,
    /// Many publishers, one subscriber.
    FanIn,
    /// Many publishers, many subscribers.
    Mesh,
    /// The relay by readiness and by completions, by turns.
    Relays,
    /// Open loop, from the scheduled time; and how long an overload is felt.
    Latency,
    /// Sessions that do nothing.
    Idle,
    /// Bytes of a document and of a subscription.
    Memory,
    /// From starting the process to the first delivery.
    StartUp,
    /// A delta after a pause.
    Parked,
    /// All of these.
    All,
}

const ALL: [Scenario; 12] = [
    Scenario::Limits,
    Scenario::InProcess,
    Scenario::BetweenProcesses,
    Scenario::FanOut,
    Scenario::FanIn,
    Scenario::Mesh,
    Scenario::Relays,
    Scenario::Latency,
    Scenario::Memory,
    Scenario::StartUp,
    Scenario::Parked,
    Scenario::Idle,
];

fn main() -> ExitCode {
    let Arguments { mut options, scenarios, part } = Arguments::parse();
    let outcome = match part {
        Some(Part::Relay(ways)) => relay::serve(ways).map(|()| true),
        Some(Part::RingRelay(ways)) => ring_relay::serve(ways).map(|()| true),
        Some(Part::Between(end)) => between::other_end(&end).map(|()| true),
        None => {
            if options.quick {
                options.samples = options.samples.min(2);
                options.seconds = options.seconds.min(0.5);
                options.idle_seconds = options.idle_seconds.min(30.0);
            }
            measure(&options, &scenarios)
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::from(2)
        }
    }
}

fn measure(options: &Options, scenarios: &[Scenario]) -> Result<bool, String> {
    if scenarios.is_empty() {
        return Err("which scenario? --help tells them".to_owned());
    }
    let cpus = Cpus::two()?;
    let mut teller = Teller::new(options.json);
    for scenario in scenarios {
        match scenario {
            Scenario::All => {
                ALL.iter().try_for_each(|each| run(*each, options, cpus, &mut teller))?;
            }
            each => run(*each, options, cpus, &mut teller)?,
        }
    }
    Ok(teller.is_verified())
}

fn run(
    scenario: Scenario,
    options: &Options,
    cpus: Cpus,
    teller: &mut Teller,
) -> Result<(), String> {
    match scenario {
        Scenario::List => server::list(options, teller),
        Scenario::Limits => limits::run(options, cpus, teller),
        Scenario::InProcess => in_process::run(options, cpus, teller),
        Scenario::BetweenProcesses => between::run(options, cpus, teller),
        Scenario::FanOut | Scenario::FanIn | Scenario::Mesh => {
            let shape = match scenario {
                Scenario::FanOut => fan::Shape::Out,
                Scenario::FanIn => fan::Shape::In,
                _ => fan::Shape::Mesh,
            };
            fan::run(shape, options, cpus, teller)
        }
        Scenario::Relays => relays::run(options, cpus, teller),
        Scenario::Latency => latency::run(options, cpus, teller),
        Scenario::Memory => memory::run(options, cpus, teller),
        Scenario::Idle => idle::run(options, cpus, teller),
        Scenario::StartUp => start_up::run(options, cpus, teller),
        Scenario::Parked => parked::run(options, cpus, teller),
        Scenario::All => Ok(()),
    }
}
