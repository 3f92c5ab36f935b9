//! How fast the data path is: `throughput pipeline` runs all stages on pinned cores, `throughput tcp`
//! a whole server over loopback TCP, against raw TCP; `throughput abuse` the daemon beside hostile
//! connections, `throughput isolation` what the greedy, the slow and the hot cost others;
//! `throughput calibrate` what its stages cost, and whether forecasts made from it come true;
//! `throughput layouts` which split of the stages over two cores carries most,
//! `throughput queues` what a worker's queue buys, and `throughput soak` accounts for every subscriber.
//! `throughput bench` runs all that has figures to tell, in turns, and keeps every sample.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use deltaworks_benches::abuse::report::{Report as AbuseReport, TABLE_HEAD};
use deltaworks_benches::abuse::{self, AbuseOptions};
use deltaworks_benches::calibrate::check::TABLE_HEAD as CALIBRATE_TABLE_HEAD;
use deltaworks_benches::calibrate::{self, CalibrateOptions};
use deltaworks_benches::isolation::report::{
    MARKDOWN_HEAD, Report as IsolationReport, TABLE_HEAD as ISOLATION_TABLE_HEAD,
};
use deltaworks_benches::isolation::{self, IsolationOptions};
use deltaworks_benches::layouts::{self, LayoutsOptions, TABLE_HEAD as LAYOUTS_TABLE_HEAD};
use deltaworks_benches::pipeline::{self, Options, Report};
use deltaworks_benches::playbill::{Playbill, Verdict};
use deltaworks_benches::queues::{self, Cell, QueuesOptions, TABLE_HEAD as QUEUES_TABLE_HEAD};
use deltaworks_benches::soak::{self, SoakOptions};
use deltaworks_benches::tcp::{self, TcpOptions, TcpReport, Way};
use serde::Serialize;

/// Measures the data path and verifies what it did; exit code 0 only if it is verified.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// All stages on pinned cores, from the chunk's tail to every document's subscriber.
    Pipeline(Options),
    /// A server on one core and its clients on another, against raw TCP in the same run.
    Tcp(TcpOptions),
    /// Hostile connections beside a well-behaved stream, against the built daemon.
    Abuse(AbuseOptions),
    /// The greedy, the slow and the hot beside others that must not feel them.
    Isolation(IsolationOptions),
    /// A worker's queue of every length, with messages of every size.
    Queues(QueuesOptions),
    /// What each stage costs here, for forecasts of other machines; and whether these come true.
    Calibrate(CalibrateOptions),
    /// Two cores with sessions and documents each, or one with each, by turns.
    Layouts(LayoutsOptions),
    /// Random publishers and subscribers of all policies, and an account of every subscriber.
    Soak(SoakOptions),
    #[command(flatten)]
    Harness(deltaworks_harness::command::Command),
}

fn main() -> ExitCode {
    let verdict = match Arguments::parse().mode {
        Mode::Pipeline(options) => pipeline::run(&options).map(|report| {
            tell(&report, options.json, describe_pipeline);
            report.verified.into()
        }),
        Mode::Tcp(options) => tcp::run(&options).map(|report| {
            tell(&report, options.json, describe_tcp);
            report.verified.into()
        }),
        Mode::Harness(command) => deltaworks_harness::command::run(&command).map(Verdict::from),
        Mode::Abuse(options) => run_abuse(&options),
        Mode::Isolation(options) => run_isolation(&options),
        Mode::Calibrate(options) => run_calibrate(&options).map(Into::into),
        Mode::Layouts(options) => {
            let json = options.json;
            if !json {
                let _ = std::io::stdout().write_all(format!("{LAYOUTS_TABLE_HEAD}\n").as_bytes());
            }
            let row = |told: &layouts::Told| told.row() + "\n";
            layouts::run(&options, move |told| tell(told, json, row)).map(Verdict::from)
        }
        Mode::Soak(options) => soak::run(&options).map(|report| {
            tell(&report, options.json, soak::describe);
            report.verified.into()
        }),
        Mode::Queues(options) => {
            let json = options.json;
            if !json {
                let _ = std::io::stdout().write_all(format!("{QUEUES_TABLE_HEAD}\n").as_bytes());
            }
            queues::run(&options, move |cell| tell(cell, json, Cell::row)).map(Verdict::from)
        }
    };
    match verdict {
        Ok(verdict) => verdict.into(),
        Err(error) => {
            eprintln!("throughput: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether something is to be played: else the list is told. A table begins with its head.
fn begins(playbill: &Playbill, list: fn() -> String, head: &str) -> bool {
    let text = match (playbill.list, playbill.json) {
        (true, _) => list(),
        (false, true) => String::new(),
        (false, false) => format!("{head}\n"),
    };
    let _ = std::io::stdout().write_all(text.as_bytes());
    !playbill.list
}

/// Tells each report as soon as it is there.
fn run_abuse(options: &AbuseOptions) -> Result<Verdict, String> {
    if !begins(&options.playbill, abuse::list, TABLE_HEAD) {
        return Ok(Verdict::Verified);
    }
    let json = options.playbill.json;
    abuse::run(options, move |report| tell(report, json, AbuseReport::row))
}

/// Tells each report as soon as it is there.
fn run_isolation(options: &IsolationOptions) -> Result<Verdict, String> {
    let (head, row): (_, fn(&IsolationReport) -> String) = match options.markdown {
        true => (MARKDOWN_HEAD, IsolationReport::markdown),
        false => (ISOLATION_TABLE_HEAD, IsolationReport::row),
    };
    if !begins(&options.playbill, isolation::list, head) {
        return Ok(Verdict::Verified);
    }
    let json = options.playbill.json;
    isolation::run(options, move |report| tell(report, json, row))
}

fn run_calibrate(options: &CalibrateOptions) -> Result<bool, String> {
    let calibrated = calibrate::run(options)?;
    let mut text = String::new();
    let json = |error: serde_json::Error| error.to_string();
    match (options.json, options.check) {
        (true, true) => {
            for checked in &calibrated.checked {
                text += &(serde_json::to_string(checked).map_err(json)? + "\n");
            }
        }
        (true, false) => text = serde_json::to_string(&calibrated.costs).map_err(json)? + "\n",
        (false, _) => {
            text += &calibrate::describe(&calibrated.costs);
            if options.check {
                text += &format!("\n{CALIBRATE_TABLE_HEAD}\n");
                text.extend(calibrated.checked.iter().map(calibrate::check::Checked::row));
            }
        }
    }
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(calibrated.is_within())
}

/// Writes the report for whoever still reads.
fn tell<R: Serialize>(report: &R, json: bool, describe: fn(&R) -> String) {
    let text = match serde_json::to_string(report) {
        Ok(line) if json => line + "\n",
        Ok(_) => describe(report),
        Err(error) => format!("throughput: {error}\n"),
    };
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn describe_tcp(report: &TcpReport) -> String {
    let mut text = String::new();
    let TcpReport { publishers, subscribers, documents, batch, delta_bytes, .. } = report;
    let _ = writeln!(
        text,
        "{publishers} publishers, {subscribers} subscribers, {documents} documents, batches of \
         {batch} × {delta_bytes} bytes"
    );
    let mut describe = |name: &str, way: &Way| {
        let _ = writeln!(
            text,
            "{name}: {:.2} M deliveries/s, {:.2} M published/s, {:.0} MB/s read, {:.2} s, verified: {}",
            way.deliveries_per_second / 1e6,
            way.published_per_second / 1e6,
            way.bytes_per_second / 1e6,
            way.seconds,
            way.verified
        );
        for fault in &way.faults {
            let _ = writeln!(text, "  {fault}");
        }
    };
    describe("server     ", &report.server);
    describe("raw glommio", &report.relay);
    let _ = writeln!(text, "ratio {:.2}", report.ratio);
    text
}

fn describe_pipeline(report: &Report) -> String {
    let mut text = String::new();
    let Report { cores, documents, batch, delta_bytes, seconds, .. } = report;
    let _ = writeln!(
        text,
        "{:.2} M deltas/s (CPU {:.0} %)   {cores} core(s), {documents} documents, batches of {batch} × \
         {delta_bytes} bytes, {seconds:.2} s, {} collection",
        report.deltas_per_second / 1e6,
        report.cpu_share * 100.0,
        report.collection
    );
    let ns = &report.stage_ns;
    let _ = writeln!(
        text,
        "ns per delta and core: generator {:.1} (alone {:.1}), reception {:.1}, validation {:.1}, \
         propagation {:.1}, subscriber {:.1}, rest {:.1}",
        ns.generator,
        report.generator_alone_ns,
        ns.reception,
        ns.validation,
        ns.propagation,
        ns.subscriber,
        ns.rest
    );
    let account = &report.account;
    let _ = writeln!(
        text,
        "batches: {} accepted, {} refused, {} resent; {} chunks a core, recycled {} times, {} \
         pauses; {:.1} images a send; {:.0} % of documents cross",
        account.accepted_batches,
        account.refused_batches,
        account.duplicate_batches,
        report.chunks_per_core,
        report.recycled_chunks,
        report.paused_reads,
        report.images_per_send,
        report.crossing_share * 100.0
    );
    let live = &report.live_bytes;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let _ = writeln!(
        text,
        "live MiB: chunks {:.1}, nodes {:.1}, documents {:.1}, names {:.1}, producers {:.1}, \
         subscriptions {:.1}, sessions {:.1}, in all {:.1} of at most {:.1}",
        mib(live.chunks),
        mib(live.nodes),
        mib(live.documents),
        mib(live.names),
        mib(live.producers),
        mib(live.subscriptions),
        mib(live.sessions),
        mib(live.total),
        mib(report.worst_case_bytes)
    );
    if report.cores == 2 {
        let (before, behind) = report.distance_ns;
        let layout = report.layout.name();
        let _ = writeln!(
            text,
            "{layout}; a message there and back: {before:.0} ns, {behind:.0} behind"
        );
    }
    let _ = writeln!(text, "verified: {}", report.verified);
    for difference in &report.differences {
        let _ = writeln!(text, "  {difference}");
    }
    text
}
