//! Fan-out, fan-in and mesh: how many deliveries a second, and what each costs the server.
//!
//! Question: what does a delivery cost the server's process in CPU time, with the same load for all?
//! One document, channel, subject or topic. Publishers write 32 messages at a time;
//! batches of one are looked at with the smallest payload alone. Not measured: a network, several
//! cores of a server, subscribers that differ. Where the load is what is slowest
//! (`server_busy` below one), the rate is a lower bound; the cost is still the server's, at that rate.

use std::time::Duration;

use serde_json::json;

use crate::Options;
use crate::load::{Crowd, Sizes, Span};
use crate::sample::{Metric, Sample, Teller};
use crate::server::{Peer, Server, Wanted, peers};
use crate::system::{self, Cpus};

/// Which crowd.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// One publisher.
    Out,
    /// One subscriber.
    In,
    /// Several of both.
    Mesh,
}

/// Publishers, subscribers, bytes of a payload.
type Cell = (usize, usize, usize);

impl Shape {
    fn name(self) -> &'static str {
        match self {
            Shape::Out => "fan-out",
            Shape::In => "fan-in",
            Shape::Mesh => "mesh",
        }
    }

    fn cells(self, quick: bool) -> Vec<Cell> {
        let cells: Vec<Cell> = match self {
            Shape::Out => [64, 256, 4096]
                .into_iter()
                .flat_map(|bytes| [1, 8, 64, 1000].map(|subscribers| (1, subscribers, bytes)))
                .collect(),
            Shape::In => vec![(8, 1, 64), (64, 1, 64)],
            Shape::Mesh => vec![(8, 8, 64), (32, 32, 64)],
        };
        let is_quick =
            |cell: &Cell| matches!(cell, (1, 8 | 64, 64 | 256) | (8, 1, 64) | (8, 8, 64));
        cells.into_iter().filter(|cell| !quick || is_quick(cell)).collect()
    }
}

/// Measures every cell, the peers' samples interleaved.
///
/// # Errors
/// If the load cannot be pinned.
pub fn run(shape: Shape, options: &Options, cpus: Cpus, teller: &mut Teller) -> Result<(), String> {
    system::raise_descriptors(4096).map_err(|error| error.to_string())?;
    let peers = peers(options, Wanted::Batches, shape.name(), teller);
    system::pin(cpus.load).map_err(|error| error.to_string())?;
    for cell in shape.cells(options.quick) {
        for number in 0..options.samples {
            for peer in peers.iter().filter(|peer| !peer.is_single() || cell.2 == 64) {
                teller.tell(&measure(shape, peer, cell, number, options, cpus));
            }
        }
    }
    Ok(())
}

/// One sample of one peer: a server of its own, ended afterwards.
fn measure(
    shape: Shape,
    peer: &Peer,
    cell: Cell,
    number: u32,
    options: &Options,
    cpus: Cpus,
) -> Sample {
    let (publishers, subscribers, payload_bytes) = cell;
    let told = json!({
        "publishers": publishers, "subscribers": subscribers, "payload_bytes": payload_bytes,
    });
    let sizes =
        Sizes { publishers, subscribers, payload_bytes, window_bytes: options.window_bytes };
    let time = Duration::from_secs_f64(options.seconds);
    let span = carry(peer, sizes, time, options.plant, cpus).unwrap_or_else(|fault| Span {
        deliveries: 0,
        seconds: 0.0,
        cpu_ns: 0,
        faults: vec![fault],
    });
    let per_second = span.deliveries as f64 / span.seconds.max(1e-9);
    let metric = Metric("deliveries", "1/s", "higher");
    let cpu_ns = span.cpu_ns as f64;
    let mut sample = Sample::new(shape.name(), peer.name, &peer.version, &told, metric, per_second)
        .numbered(number, span.seconds)
        .with(&json!({
            "server_busy": cpu_ns / 1e9 / span.seconds.max(1e-9),
            "payload_bytes_per_second": per_second * payload_bytes as f64,
        }))
        .judged(span.faults);
    sample.cpu_ns_per_delivery = (span.deliveries > 0).then(|| cpu_ns / span.deliveries as f64);
    sample
}

/// Starts `peer`, loads it in a closed loop for `time`, and ends it.
pub fn carry(
    peer: &Peer,
    sizes: Sizes,
    time: Duration,
    plant: bool,
    cpus: Cpus,
) -> Result<Span, String> {
    let server = Server::start(peer, cpus.server, sizes.publishers + sizes.subscribers)?;
    let mut crowd = Crowd::connect(server.address, peer.wire, sizes, plant)?;
    let mut span = crowd.close_loop(server.pid(), Duration::from_millis(300), time);
    if !span.faults.is_empty() {
        span.faults.push(server.log());
    }
    Ok(span)
}
