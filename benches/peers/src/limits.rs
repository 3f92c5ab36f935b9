//! Limits: what the machine allows, against which all other figures are read.
//!
//! Question: how fast would it be if nothing were done but moving the bytes? Memory by one core (and
//! by both), random lines of it, a cache line there and back, rings between two cores, sockets without a protocol, copies
//! of payload, and the disk's syncs. Each on pinned threads, and each checks that it did what it says.

mod cache_line;

mod disk;

mod hop;

mod lines;

mod memory;

mod sockets;

use std::time::Duration;

use serde_json::{Value, json};

use crate::Options;
use crate::sample::{Metric, Sample, Teller};
use crate::system::Cpus;

/// What a limit came to: value, seconds, further figures.
pub type Measured = Result<(f64, f64, Value), String>;

/// Bytes of a read or write at sockets: an image of 32 deltas of 64 bytes, and what a relay reads.
const SOCKET_BYTES: [usize; 2] = [2168, 64 << 10];

/// How long random lines are walked: a look at tens of millions of them.
const LINES_TIME_MAX: Duration = Duration::from_millis(400);

/// Takes the samples of all limits, interleaved.
///
/// # Errors
/// If a thread cannot be pinned.
pub fn run(options: &Options, cpus: Cpus, teller: &mut Teller) -> Result<(), String> {
    let time = Duration::from_secs_f64(options.seconds.min(1.0));
    let bandwidth = Metric("bandwidth", "bytes/s", "higher");
    let is_asked =
        |name: &str| options.peers.is_empty() || options.peers.iter().any(|it| it == name);
    for number in 0..options.samples {
        let mut tell = |name: &str, cell: Value, metric, measure: &dyn Fn() -> Measured| {
            if !is_asked(name) {
                return;
            }
            let (measured, fault) = match measure() {
                Ok(measured) => (measured, None),
                Err(fault) => ((0.0, 0.0, Value::Null), Some(fault)),
            };
            let (value, seconds, more) = measured;
            let sample = Sample::new("limits", name, "", &cell, metric, value).with(&more);
            teller.tell(&sample.numbered(number, seconds).judged(fault.into_iter().collect()));
        };
        for both in [false, true] {
            let cell = || json!({"cores": 1 + u32::from(both)});
            let on = |way| move || memory::bandwidth(cpus, both, way, time);
            tell("memory-read", cell(), bandwidth, &on(memory::Way::Read));
            tell("memory-write", cell(), bandwidth, &on(memory::Way::Write));
            tell("memory-copy", cell(), bandwidth, &on(memory::Way::Copy));
        }
        for bytes in [64, 256, 4096] {
            let cell = json!({"payload_bytes": bytes});
            tell("memcpy", cell, bandwidth, &|| memory::copies(cpus, bytes, time));
        }
        let line = Metric("line", "ns", "lower");
        let time_of_lines = time.min(LINES_TIME_MAX);
        for documents in [10_000, 1_000_000] {
            let cell = |ahead: u32| json!({"documents": documents, "ahead": ahead});
            let of_16 = || lines::random::<16>(cpus, documents, time_of_lines);
            tell("random-lines", cell(16), line, &of_16);
            let of_32 = || lines::random::<32>(cpus, documents, time_of_lines);
            tell("random-lines", cell(32), line, &of_32);
        }
        let round_trip = Metric("round-trip", "ns", "lower");
        tell("cache-line", json!({}), round_trip, &|| cache_line::round_trip(cpus, time));
        for bytes in SOCKET_BYTES {
            let cell = || json!({"write_bytes": bytes});
            let over = |way| move || sockets::stream(cpus, way, bytes, time);
            tell("syscall-tcp", cell(), bandwidth, &over(sockets::Way::Tcp));
            tell("syscall-unix", cell(), bandwidth, &over(sockets::Way::Unix));
            tell("glommio-tcp", cell(), bandwidth, &over(sockets::Way::GlommioTcp));
            tell("glommio-unix", cell(), bandwidth, &over(sockets::Way::GlommioUnix));
        }
        let syncs = Metric("syncs", "1/s", "higher");
        for bytes in [4096, 64 << 10] {
            let cell = json!({"write_bytes": bytes});
            tell("disk-sync", cell, syncs, &|| disk::syncs(bytes, time));
        }
    }
    hop::run(options, cpus, teller);
    Ok(())
}
