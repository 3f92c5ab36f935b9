//! `deltaworks replay`: what it takes, what it prints, how it ends.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use deltaworks_client::Endpoint;

use super::report::Report;
use super::{Settings, replay};
use crate::editing::Trace;
use crate::{exit, output};

/// Lanes that all subscribers together rebuild at most: each holds a text.
const LANES_MAX: usize = 65_536;

const EXAMPLES: &str = "\
Examples:
  deltaworks replay trace.json.gz
  deltaworks replay trace.json --server unix:/run/deltaworks.sock --publishers 4 \\
      --subscribers 8 --documents 4 --json

Every publisher writes the whole trace into every document, each in a lane of its own; every
subscriber reads every document, rebuilds every lane and hashes (sequence, bytes) in order.
Subscribers heal nothing: a lost connection, a gap or a bad checksum there is a fault.

Exit codes:
  0  verified: every text is the trace's end, all hashes agree, nothing is missing or doubled
  1  the trace cannot be read, or contradicts itself
  2  the command line is wrong
  3  not verified; the report's fault says why";

/// Replays an editing trace through a running server and verifies what arrives
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReplayCommand {
    /// Trace to replay, plain or gzip
    trace: PathBuf,
    /// Where the server listens: tcp:HOST:PORT or unix:PATH
    #[arg(long, value_name = "ADDRESS", default_value = crate::DEFAULT_SERVER)]
    server: Endpoint,
    /// Publishers, each with a lane of its own in every document
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = count(1_024))]
    publishers: u64,
    /// Subscribers, each of which reads every document
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = count(1_024))]
    subscribers: u64,
    /// Documents
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = count(1_024))]
    documents: u64,
    /// Deltas in a batch at most
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = count(4_096))]
    batch: u64,
    /// Collection of the documents, instead of the default one
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
    /// Seconds without any progress after which the replay is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = count(3_600))]
    stall_seconds: u64,
    /// Prints one line of JSON as the last line
    #[arg(long)]
    json: bool,
    /// Another way to the server, for the last subscriber alone
    #[arg(long, value_name = "ADDRESS", hide = true)]
    subscriber_via: Option<Endpoint>,
    /// Another way to the server, for the last publisher alone
    #[arg(long, value_name = "ADDRESS", hide = true)]
    publisher_via: Option<Endpoint>,
}

fn count(max: u64) -> clap::builder::RangedU64ValueParser {
    clap::builder::RangedU64ValueParser::new().range(1..=max)
}

impl ReplayCommand {
    /// Does it and prints what came of it.
    pub fn run(self) -> ExitCode {
        let lanes = self.publishers * self.subscribers * self.documents;
        if lanes > LANES_MAX as u64 {
            output::complain(format_args!("{lanes} lanes to rebuild, at most {LANES_MAX}"));
            return exit::usage();
        }
        let named = Report { trace: self.trace.display().to_string(), ..Report::default() };
        let trace = match self.read_trace() {
            Ok(trace) => trace,
            Err(fault) => {
                return self.finish(Report { fault: Some(fault), ..named }, exit::failed());
            }
        };
        let settings = self.settings();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                let fault = Some(format!("no threads: {error}"));
                return self.finish(Report { fault, ..named }, exit::failed());
            }
        };
        let report = runtime.block_on(replay(Arc::new(trace), &settings, output::print));
        runtime.shutdown_background();
        let code = if report.verified { ExitCode::SUCCESS } else { exit::not_verified() };
        self.finish(Report { trace: named.trace, ..report }, code)
    }

    fn read_trace(&self) -> Result<Trace, String> {
        let place = self.trace.display();
        let trace = Trace::open(&self.trace).map_err(|error| format!("{place}: {error}"))?;
        trace.verify().map_err(|fault| format!("{place}: {fault}"))?;
        Ok(trace)
    }

    fn settings(&self) -> Settings {
        Settings {
            server: self.server.clone(),
            subscriber_via: self.subscriber_via.clone(),
            publisher_via: self.publisher_via.clone(),
            publishers: self.publishers as usize,
            subscribers: self.subscribers as usize,
            documents: self.documents as usize,
            batch_deltas: self.batch as usize,
            collection: self.collection.clone(),
            stall: Duration::from_secs(self.stall_seconds),
        }
    }

    fn finish(&self, report: Report, code: ExitCode) -> ExitCode {
        match (self.json, &report.fault) {
            (true, _) => output::print(report.json()),
            (false, Some(fault)) if report.deltas == 0 => output::complain(fault),
            (false, _) => output::print(report),
        }
        code
    }
}
