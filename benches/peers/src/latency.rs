//! Latency in an open loop: from the time at which a message was due until each subscriber has it.
//!
//! Question: how long does a delivery take at a rate that everybody can bear, and at a tenth, half and
//! nine tenths of what each can? One publisher, eight subscribers, 64 bytes. A message that is due while the publisher
//! is held up counts from when it was due, so no wait is left out. What each can is measured first,
//! in the same run, in a closed loop with 32 messages a write. Publisher and subscribers share a
//! thread, which is in every peer's figure alike. With the same capacities it is looked how long each
//! feels an overload: see `recovery`.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::json;

use crate::Options;
use crate::fan;
use crate::load::{Crowd, Sizes, Span};
use crate::recovery;
use crate::sample::{Metric, Sample, Teller};
use crate::server::{Peer, Server, Wanted, peers};
use crate::system::{self, Cpus};

const SUBSCRIBERS: usize = 8;
const WARM_UP: Duration = Duration::from_millis(200);

/// Rates, as a share of what a peer can.
const OF_OWN: [(&str, f64); 3] =
    [("tenth-of-own", 0.1), ("half-of-own", 0.5), ("nine-tenths-of-own", 0.9)];
/// Looks at half of what a peer can for each at the other loads, all peers by turns: one pause of the host is
/// the slowest hundredth of a second.
const HALF_LOOKS: u32 = 3;
/// Looks at what a peer can, of which the best counts.
const LOOKS: u32 = 2;

/// Measures capacities, then latencies at four rates and recovery, the samples interleaved.
///
/// # Errors
/// If the load cannot be pinned.
pub fn run(options: &Options, cpus: Cpus, teller: &mut Teller) -> Result<(), String> {
    let peers = peers(options, Wanted::Servers, "latency", teller);
    system::pin(cpus.load).map_err(|error| error.to_string())?;
    let sizes = Sizes {
        publishers: 1,
        subscribers: SUBSCRIBERS,
        payload_bytes: 64,
        window_bytes: options.window_bytes,
    };
    let capacities: Vec<f64> =
        peers.iter().map(|peer| capacity(peer, sizes, options, cpus)).collect();
    let slowest = capacities.iter().copied().filter(|it| *it > 0.0).fold(f64::MAX, f64::min);
    for number in 0..options.samples {
        for look in 0..HALF_LOOKS {
            for (peer, capacity) in peers.iter().zip(&capacities) {
                let half_of_slowest = ("half-of-slowest", slowest / 2.0);
                let of_own = OF_OWN.map(|(load, share)| (load, capacity * share));
                for (load, rate) in [half_of_slowest].into_iter().chain(of_own) {
                    if look == 0 || load.starts_with("half") {
                        let number = number * HALF_LOOKS + look;
                        let load = (load, rate, *capacity);
                        teller.tell(&measure(peer, sizes, load, number, options, cpus));
                    }
                }
            }
        }
        for (peer, capacity) in peers.iter().zip(&capacities) {
            teller.tell(&recovery::measure(peer, sizes, *capacity, number, options, cpus));
        }
    }
    Ok(())
}

/// Messages that `peer` takes from one publisher in a second: the best of some samples.
fn capacity(peer: &Peer, sizes: Sizes, options: &Options, cpus: Cpus) -> f64 {
    let time = Duration::from_secs_f64(options.seconds.min(0.5));
    let spans = (0..LOOKS).filter_map(|_| fan::carry(peer, sizes, time, false, cpus).ok());
    let rates = spans
        .filter(|span| span.faults.is_empty())
        .map(|span| span.deliveries as f64 / span.seconds / sizes.subscribers as f64);
    rates.fold(0.0, f64::max)
}

fn measure(
    peer: &Peer,
    sizes: Sizes,
    (load, rate, capacity): (&str, f64, f64),
    number: u32,
    options: &Options,
    cpus: Cpus,
) -> Sample {
    let (span, latencies) = paced(peer, sizes, rate, options, cpus).unwrap_or_else(|fault| {
        let span = Span { deliveries: 0, seconds: 0.0, cpu_ns: 0, faults: vec![fault] };
        (span, Histogram::new_with_max(60_000_000_000, 3).expect("a bound above two"))
    });
    let cell = json!({"subscribers": sizes.subscribers, "payload_bytes": sizes.payload_bytes, "load": load});
    let us = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
    let metric = Metric("p99", "us", "lower");
    let mut sample = Sample::new("latency", peer.name, &peer.version, &cell, metric, us(0.99))
        .numbered(number, span.seconds)
        .with(&json!({
            "p50_us": us(0.5),
            "p90_us": us(0.9),
            "p999_us": us(0.999),
            "max_us": latencies.max() as f64 / 1000.0,
            "offered_per_second": rate,
            "capacity_per_second": capacity,
            "server_busy": span.cpu_ns as f64 / 1e9 / span.seconds.max(1e-9),
            "counted": latencies.len(),
        }))
        .judged(span.faults);
    sample.cpu_ns_per_delivery =
        (span.deliveries > 0).then(|| span.cpu_ns as f64 / span.deliveries as f64);
    sample
}

fn paced(
    peer: &Peer,
    sizes: Sizes,
    rate: f64,
    options: &Options,
    cpus: Cpus,
) -> Result<(Span, Histogram<u64>), String> {
    if rate < 1.0 {
        return Err("its capacity is not known".to_owned());
    }
    let server = Server::start(peer, cpus.server, 1 + sizes.subscribers)?;
    let mut crowd = Crowd::connect(server.address, peer.wire, sizes, options.plant)?;
    let time = Duration::from_secs_f64(options.seconds);
    Ok(crowd.open_loop(server.pid(), rate, WARM_UP, time))
}
