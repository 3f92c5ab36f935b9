//! How fast the data path is: `throughput pipeline` runs all stages on pinned cores.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use deltaworks_benches::pipeline::{Options, Report, run};

/// Measures the data path and verifies what it did.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// All stages on pinned cores, from the chunk's tail to every document's subscriber.
    Pipeline(Options),
}

fn main() -> ExitCode {
    let Mode::Pipeline(options) = Arguments::parse().mode;
    let report = match run(&options) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("throughput: {error}");
            return ExitCode::from(2);
        }
    };
    if options.json {
        match serde_json::to_string(&report) {
            Ok(line) => println!("{line}"),
            Err(error) => eprintln!("throughput: {error}"),
        }
    } else {
        print(&report);
    }
    if report.verified { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(report: &Report) {
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
