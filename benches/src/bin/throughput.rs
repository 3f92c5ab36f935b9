//! How fast the data path is: `throughput pipeline` runs all stages on pinned cores, `throughput tcp`
//! a whole server over loopback TCP, against raw TCP.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use deltaworks_benches::pipeline::{self, Options, Report};
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
}

fn main() -> ExitCode {
    let verified = match Arguments::parse().mode {
        Mode::Pipeline(options) => pipeline::run(&options).map(|report| {
            tell(&report, options.json, print_pipeline);
            report.verified
        }),
        Mode::Tcp(options) => tcp::run(&options).map(|report| {
            tell(&report, options.json, print_tcp);
            report.verified
        }),
    };
    match verified {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("throughput: {error}");
            ExitCode::from(2)
        }
    }
}

fn tell<R: Serialize>(report: &R, json: bool, print: fn(&R)) {
    match serde_json::to_string(report) {
        Ok(line) if json => println!("{line}"),
        Ok(_) => print(report),
        Err(error) => eprintln!("throughput: {error}"),
    }
}

fn print_tcp(report: &TcpReport) {
    let TcpReport { publishers, subscribers, documents, batch, delta_bytes, .. } = report;
    println!(
        "{publishers} publishers, {subscribers} subscribers, {documents} documents, batches of \
         {batch} × {delta_bytes} bytes"
    );
    let print = |name: &str, way: &Way| {
        println!(
            "{name}: {:.2} M deliveries/s, {:.2} M published/s, {:.0} MB/s read, {:.2} s, verified: {}",
            way.deliveries_per_second / 1e6,
            way.published_per_second / 1e6,
            way.bytes_per_second / 1e6,
            way.seconds,
            way.verified
        );
        way.faults.iter().for_each(|fault| println!("  {fault}"));
    };
    print("server     ", &report.server);
    print("raw glommio", &report.relay);
    println!("ratio {:.2}", report.ratio);
}

fn print_pipeline(report: &Report) {
    let Report { cores, documents, batch, delta_bytes, seconds, .. } = report;
    println!(
        "{:.2} M deltas/s (CPU {:.0} %)   {cores} core(s), {documents} documents, batches of {batch} × \
         {delta_bytes} bytes, {seconds:.2} s, {} collection",
        report.deltas_per_second / 1e6,
        report.cpu_share * 100.0,
        report.collection
    );
    let ns = &report.stage_ns;
    println!(
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
    println!(
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
    println!(
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
    println!("verified: {}", report.verified);
    report.differences.iter().for_each(|difference| println!("  {difference}"));
}
