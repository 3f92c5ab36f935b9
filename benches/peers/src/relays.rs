//! Relays by turns: does it pay to ask the kernel by io_uring for what is received and sent?
//!
//! Question: what CPU time does a delivery take at the relay that waits for readiness and makes a call for each
//! read and write, and what at the one that hands over all of a wake at once? One publisher, the load of the
//! fan-out. Within a sample all take their turn on the same cell, each other sample and cell in the other order, and
//! the ratio is of one sample's turns. Two things change at once by completions: what is asked at once, and how much
//! is taken off a socket at once; so there is also the first relay with reads as large as all of the other's
//! buffers together need to be (`relay-wide`). Work that the kernel gives to threads of its own counts, because they are the
//! process's. Not measured: a network's card, whose queues the kernel could poll and whose memory it could send
//! from; loopback has neither.

use std::time::Duration;

use serde_json::json;

use crate::Options;
use crate::fan;
use crate::load::{Sizes, Span};
use crate::sample::{Metric, Sample, Teller};
use crate::server::{Peer, relays};
use crate::system::{self, Cpus};

/// Subscribers, bytes of a payload, deltas of a batch.
type Cell = (usize, usize, usize);

const CELLS: [Cell; 3] = [(8, 64, 32), (64, 64, 32), (8, 4096, 32)];
/// Those that are looked at, too, where relays are named.
const MORE_CELLS: [Cell; 8] = [
    (1, 64, 32),
    (1, 64, 1),
    (8, 64, 1),
    (64, 64, 1),
    (8, 256, 32),
    (64, 256, 32),
    (1, 4096, 32),
    (64, 4096, 32),
];

/// Measures every cell.
///
/// # Errors
/// If the load cannot be pinned.
pub fn run(options: &Options, cpus: Cpus, teller: &mut Teller) -> Result<(), String> {
    system::raise_descriptors(4096).map_err(|error| error.to_string())?;
    system::pin(cpus.load).map_err(|error| error.to_string())?;
    let relays = relays(options);
    let more = if options.peers.is_empty() || options.quick { &[][..] } else { &MORE_CELLS[..] };
    for (place, cell) in CELLS.iter().chain(more).enumerate() {
        for number in 0..options.samples {
            let mut order: Vec<usize> = (0..relays.len()).collect();
            if (place + number as usize) % 2 == 1 {
                order.reverse();
            }
            let mut spans = vec![None; relays.len()];
            for place in order {
                let relay = relays[place].of_batch(cell.2);
                spans[place] = Some(carry(&relay, *cell, options, cpus));
            }
            let spans: Vec<Span> = spans.into_iter().flatten().collect();
            for (relay, span) in relays.iter().zip(&spans) {
                tell(relay, *cell, number, (span, &spans[0]), teller);
            }
        }
    }
    Ok(())
}

fn carry(relay: &Peer, cell: Cell, options: &Options, cpus: Cpus) -> Span {
    let (subscribers, payload_bytes, _) = cell;
    let sizes =
        Sizes { publishers: 1, subscribers, payload_bytes, window_bytes: options.window_bytes };
    let time = Duration::from_secs_f64(options.seconds);
    fan::carry(relay, sizes, time, options.plant, cpus).unwrap_or_else(|fault| Span {
        deliveries: 0,
        seconds: 0.0,
        cpu_ns: 0,
        faults: vec![fault],
    })
}

/// What a delivery took, and for those by completions its ratio to the first relay's of the same turn.
fn tell(relay: &Peer, cell: Cell, number: u32, spans: (&Span, &Span), teller: &mut Teller) {
    let (span, first) = spans;
    let (subscribers, payload_bytes, batch) = cell;
    let told = json!({"subscribers": subscribers, "payload_bytes": payload_bytes, "batch": batch});
    let ns = |span: &Span| span.cpu_ns as f64 / span.deliveries.max(1) as f64;
    let metric = Metric("cpu-per-delivery", "ns", "lower");
    let seconds = span.seconds.max(1e-9);
    let sample = Sample::new("relays", relay.name, &relay.version, &told, metric, ns(span))
        .numbered(number, span.seconds)
        .with(&json!({
            "server_busy": span.cpu_ns as f64 / 1e9 / seconds,
            "deliveries_per_second": span.deliveries as f64 / seconds,
        }))
        .judged(span.faults.clone());
    teller.tell(&sample);
    if !std::ptr::eq(span, first) && first.deliveries > 0 && span.deliveries > 0 {
        let metric = Metric("cpu-ratio", "times", "lower");
        let ratio = ns(span) / ns(first);
        let sample = Sample::new("relays", relay.name, &relay.version, &told, metric, ratio);
        teller.tell(&sample.numbered(number, span.seconds).judged(span.faults.clone()));
    }
}
