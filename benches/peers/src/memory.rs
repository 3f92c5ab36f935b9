//! Memory: what a server holds for each document that is open, and for each subscription.
//!
//! Sessions of a thousand each open so many documents, channels, subjects or topics, all of different
//! names; the figure is the growth of the process' resident memory by one, a thousandth of a session
//! included. Others than deltaworksd have no documents: with them only subscriptions count. With
//! deltaworksd the documents are open for writing first, then each gets a delta, then they are
//! subscribed to; what is sent lies in chunks that are in memory from the beginning or come with it.

use std::net::TcpStream;

use serde_json::json;

use crate::Options;
use crate::sample::{Metric, Sample, Teller};
use crate::server::{Peer, Server, Wanted, peers};
use crate::system::{self, Cpus};
use crate::wire::{Names, Wire};

/// Names that one session has.
const EACH: usize = 1000;

/// Measures every server, the samples interleaved.
///
/// # Errors
/// If this process may not have so many descriptors.
pub fn run(options: &Options, cpus: Cpus, teller: &mut Teller) -> Result<(), String> {
    system::raise_descriptors(4096).map_err(|error| error.to_string())?;
    let peers = peers(options, Wanted::Servers, "memory", teller);
    system::pin(cpus.load).map_err(|error| error.to_string())?;
    let counts: &[usize] = if options.quick { &[10_000] } else { &[10_000, 100_000] };
    for number in 0..options.samples {
        for count in counts {
            // A relay keeps no names.
            for peer in peers.iter().filter(|peer| !peer.is_relay()) {
                tell(peer, *count, number, grow(peer, *count, cpus), teller);
            }
        }
    }
    Ok(())
}

type Grown = (&'static str, f64);

fn tell(
    peer: &Peer,
    count: usize,
    number: u32,
    grown: Result<Vec<Grown>, String>,
    teller: &mut Teller,
) {
    let metric = Metric("bytes-each", "bytes", "lower");
    let sample = |what: &str, value: f64| {
        let cell = json!({"what": what, "count": count});
        Sample::new("memory", peer.name, &peer.version, &cell, metric, value).numbered(number, 0.0)
    };
    match grown {
        Ok(grown) => grown.iter().for_each(|(what, each)| teller.tell(&sample(what, *each))),
        Err(fault) => teller.tell(&sample("subscription", 0.0).judged(vec![fault])),
    }
}

fn grow(peer: &Peer, count: usize, cpus: Cpus) -> Result<Vec<Grown>, String> {
    let server = Server::start_for_names(peer, cpus.server, count)?;
    let resident = || system::settled_bytes(server.pid()) as f64;
    let mut before = resident();
    let mut each = |what: &'static str| {
        let now = resident();
        let grown = (now - before) / count as f64;
        before = now;
        (what, grown)
    };
    let sessions = count.div_ceil(EACH);
    let names =
        |session: usize| Names { first: session * EACH, count: EACH.min(count - session * EACH) };
    let mut grown = Vec::new();
    let mut writers: Vec<(TcpStream, Vec<u32>)> = Vec::new();
    if matches!(peer.wire, Wire::Image { .. }) {
        for session in 0..sessions {
            writers.push(names(session).open_to_write(server.address)?);
        }
        grown.push(each("document"));
        for (stream, handles) in &mut writers {
            Names::write_one_each(stream, handles)?;
        }
        grown.push(each("first delta of a document"));
    }
    let mut readers = Vec::with_capacity(sessions);
    for session in 0..sessions {
        readers.push(names(session).subscribe(peer.wire, server.address)?);
    }
    grown.push(each("subscription"));
    Ok(grown)
}
