//! Start-up: from starting a server's process until the first message of a publisher has reached a
//! subscriber, greetings included. The program's file is in memory after the first sample.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Options;
use crate::load::{Crowd, Sizes};
use crate::sample::{Metric, Sample, Teller};
use crate::server::{Peer, Server, Wanted, peers};
use crate::system::{self, Cpus};

const PATIENCE: Duration = Duration::from_secs(20);

/// Measures every server, the samples interleaved.
///
/// # Errors
/// If the load cannot be pinned.
pub fn run(options: &Options, cpus: Cpus, teller: &mut Teller) -> Result<(), String> {
    let peers = peers(options, Wanted::Servers, "start-up", teller);
    system::pin(cpus.load).map_err(|error| error.to_string())?;
    for number in 0..options.samples {
        for peer in &peers {
            let metric = Metric("first-delivery", "ms", "lower");
            let (ms, fault) = match first_delivery(peer, options, cpus) {
                Ok(time) => (time.as_secs_f64() * 1e3, None),
                Err(fault) => (0.0, Some(fault)),
            };
            let empty = Value::Object(serde_json::Map::new());
            let sample = Sample::new("start-up", peer.name, &peer.version, &empty, metric, ms);
            let sample = sample.with(&json!({}));
            teller.tell(&sample.numbered(number, ms / 1e3).judged(fault.into_iter().collect()));
        }
    }
    Ok(())
}

fn first_delivery(peer: &Peer, options: &Options, cpus: Cpus) -> Result<Duration, String> {
    let began = Instant::now();
    let server = Server::spawn(peer, cpus.server, 2)?;
    let sizes = Sizes { publishers: 1, subscribers: 1, payload_bytes: 64, window_bytes: 1 << 16 };
    loop {
        match Crowd::connect(server.address, peer.wire, sizes, options.plant) {
            Ok(mut crowd) => {
                crowd.deliver_one()?;
                return Ok(began.elapsed());
            }
            Err(fault) if began.elapsed() > PATIENCE => return Err(fault),
            Err(_) => std::thread::sleep(Duration::from_micros(200)),
        }
    }
}
