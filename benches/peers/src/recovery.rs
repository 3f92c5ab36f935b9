//! Recovery: offered twice what it can take for a while, then half: how long until nothing waits.
//!
//! Question: how long after an overload is what waited delivered, as against the time that so much
//! needs at the least? One publisher, eight subscribers, 64 bytes, capacities as latency has measured
//! them. Nothing is lost: a publisher is ahead of the slowest subscriber by a window at most, and the
//! rest waits with the publisher. Who stays slow once it was overloaded takes longer than the least.

use std::time::Duration;

use serde_json::json;

use crate::Options;
use crate::load::{Crowd, Overload, Recovered, Sizes, Span};
use crate::sample::{Metric, Sample};
use crate::server::{Peer, Server};
use crate::system::Cpus;

/// Overload, as a multiple of the capacity.
const OVER: f64 = 2.0;
/// What is offered after it, as a share of the capacity.
const AFTER: f64 = 0.5;

/// One sample of one peer that takes `capacity` messages a second.
pub fn measure(
    peer: &Peer,
    sizes: Sizes,
    capacity: f64,
    number: u32,
    options: &Options,
    cpus: Cpus,
) -> Sample {
    let (span, recovered) = recover(peer, sizes, capacity, options, cpus).unwrap_or_else(|fault| {
        let span = Span { deliveries: 0, seconds: 0.0, cpu_ns: 0, faults: vec![fault] };
        (span, Recovered::default())
    });
    let least_s = recovered.waited as f64 / (capacity * (1.0 - AFTER)).max(1.0);
    let cell = json!({
        "subscribers": sizes.subscribers, "payload_bytes": sizes.payload_bytes, "overload": "twice",
    });
    let metric = Metric("recovery", "ms", "lower");
    let ms = recovered.seconds * 1e3;
    let mut sample = Sample::new("recovery", peer.name, &peer.version, &cell, metric, ms)
        .numbered(number, span.seconds)
        .with(&json!({
            "least_ms": least_s * 1e3,
            "times_the_least": recovered.seconds / least_s.max(1e-9),
            "waited": recovered.waited,
            "capacity_per_second": capacity,
        }))
        .judged(span.faults);
    sample.cpu_ns_per_delivery =
        (span.deliveries > 0).then(|| span.cpu_ns as f64 / span.deliveries as f64);
    sample
}

fn recover(
    peer: &Peer,
    sizes: Sizes,
    capacity: f64,
    options: &Options,
    cpus: Cpus,
) -> Result<(Span, Recovered), String> {
    if capacity < 1.0 {
        return Err("its capacity is not known".to_owned());
    }
    let server = Server::start(peer, cpus.server, 1 + sizes.subscribers)?;
    let mut crowd = Crowd::connect(server.address, peer.wire, sizes, options.plant)?;
    let overload = Overload {
        per_second: capacity * OVER,
        time: Duration::from_secs_f64(options.seconds.min(1.0) / 2.0),
        after_per_second: capacity * AFTER,
    };
    Ok(crowd.overload(server.pid(), overload))
}
