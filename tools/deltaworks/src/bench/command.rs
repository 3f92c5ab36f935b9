//! `deltaworks bench`: what it takes, what it prints, how it ends.

use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};
use deltaworks_client::Endpoint;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use super::chart;
use super::delta::DELTA_BYTES_MIN;
use super::load::{Progress, Settings, run};
use super::report::Measured;
use crate::quantity::count;
use crate::{exit, output};

/// Documents that all clients together have open at most.
const OPEN_MAX: u64 = 65_536;

const EXAMPLES: &str = "\
Examples:
  deltaworks bench
  deltaworks bench --rate 200000 --publishers 4 --subscribers 8 --documents 4 --seconds 30
  deltaworks bench --server unix:/run/deltaworks.sock --batch 1 --rate 5000 --svg latency.svg
  deltaworks bench --json | jq .delivery.p99_us

The loop is open: when each batch is due is fixed before the start, and latencies are counted from
then, so nothing hides how late a slow second made the next. How late this program itself was is told
as 'sent'. Each publisher writes into every document in turn, each subscriber reads all of them and
checks every sequence, its order and its bytes. Documents are new, in a collection of any bytes, and
are dropped at the end. Ctrl-C ends it early with a report. On one machine the load takes CPU time
from the daemon.

Exit codes:
  0  verified: every subscriber got everything that was accepted, in order and as it was written
  1  it could not begin, or the plot cannot be written
  2  the command line is wrong
  3  not verified: a gap, a refusal, a fault; the report says which";

/// Puts a load on a running daemon, measures latency, and verifies what arrives
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchCommand {
    /// Where the daemon listens: tcp:HOST:PORT or unix:PATH
    #[arg(long, value_name = "ADDRESS", default_value = crate::DEFAULT_SERVER)]
    server: Endpoint,
    /// Publishers, each of which writes into every document
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = number(1..=1_024))]
    publishers: u64,
    /// Subscribers, each of which reads every document
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = number(1..=1_024))]
    subscribers: u64,
    /// Documents
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = number(1..=16_384))]
    documents: u64,
    /// Collection of the documents, instead of the default one
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
    /// What happens to a subscriber that falls behind the daemon's memory
    #[arg(long, value_enum, default_value_t = Behind::Gap)]
    policy: Behind,
    /// Bytes of a delta
    #[arg(long, value_name = "BYTES", default_value_t = 128,
          value_parser = number(DELTA_BYTES_MIN as u64..=65_536))]
    delta_bytes: u64,
    /// Deltas in a batch
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = number(1..=4_096))]
    batch: u64,
    /// Deltas a second of all publishers together
    #[arg(long, value_name = "COUNT", default_value_t = 10_000,
          value_parser = number(1..=100_000_000))]
    rate: u64,
    /// Seconds that are measured
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = number(1..=3_600))]
    seconds: u64,
    /// Seconds of the same load before that
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = number(0..=600))]
    warm_up_seconds: u64,
    /// Seconds without anything moving after which it is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = number(1..=3_600))]
    stall_seconds: u64,
    /// Writes a plot of latency over quantiles into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Prints one line of JSON
    #[arg(long)]
    json: bool,
    /// Another way to the daemon, for the last subscriber alone
    #[arg(long, value_name = "ADDRESS", hide = true)]
    subscriber_via: Option<Endpoint>,
}

/// What happens to a subscriber that falls behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Behind {
    /// It misses deltas, and the load is not verified
    Gap,
    /// The publishers are slowed, and their latency grows
    Wait,
}

fn number(range: std::ops::RangeInclusive<u64>) -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(range)
}

impl BenchCommand {
    /// Does it and prints what came of it.
    pub fn run(self) -> ExitCode {
        let open = self.documents * self.publishers.max(self.subscribers);
        if open > OPEN_MAX {
            output::complain(format_args!("{open} documents to open, at most {OPEN_MAX}"));
            return exit::usage();
        }
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                output::complain(format_args!("no threads: {error}"));
                return exit::failed();
            }
        };
        let settings = self.settings();
        let bar = progress(settings.warm_up + settings.length);
        let tell = |progress: Progress| {
            bar.set_position(progress.elapsed.as_millis() as u64);
            let (accepted, read) = (count(progress.accepted), count(progress.read));
            bar.set_message(format!("{accepted} accepted, {read} delivered"));
        };
        let measured = runtime.block_on(async {
            // Taken from here on, so that one that comes early is not lost.
            let mut interrupts =
                signal(SignalKind::interrupt()).map_err(|error| format!("signals: {error}"))?;
            let interrupted = async {
                interrupts.recv().await;
            };
            run(&settings, interrupted, tell).await
        });
        bar.finish_and_clear();
        runtime.shutdown_background();
        match measured {
            Ok(measured) => self.finish(&measured),
            Err(why) => {
                output::complain(why);
                exit::failed()
            }
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            server: self.server.clone(),
            subscriber_via: self.subscriber_via.clone(),
            publishers: self.publishers as usize,
            subscribers: self.subscribers as usize,
            documents: self.documents as usize,
            collection: self.collection.clone(),
            waits: self.policy == Behind::Wait,
            delta_bytes: self.delta_bytes as usize,
            batch_deltas: self.batch as usize,
            deltas_per_second: self.rate as f64,
            length: Duration::from_secs(self.seconds),
            warm_up: Duration::from_secs(self.warm_up_seconds),
            stall: Duration::from_secs(self.stall_seconds),
        }
    }

    fn finish(self, measured: &Measured) -> ExitCode {
        match self.json {
            true => output::print(measured.report.json()),
            false => output::print(measured),
        }
        if let Some(path) = self.svg {
            let written = chart::svg(measured)
                .and_then(|picture| std::fs::write(&path, picture).map_err(|e| e.to_string()));
            if let Err(error) = written {
                output::complain(format_args!("{}: {error}", path.display()));
                return exit::failed();
            }
        }
        if measured.report.verified { ExitCode::SUCCESS } else { exit::not_verified() }
    }
}

/// A bar of milliseconds on a terminal; elsewhere nothing is shown.
fn progress(length: Duration) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {elapsed} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length.as_millis() as u64).with_style(style)
}
