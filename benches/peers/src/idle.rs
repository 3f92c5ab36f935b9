//! Idle sessions: what ten thousand that do nothing cost the server.
//!
//! Each has greeted and reads the same document, channel, subject or topic, and answers what it is
//! asked: deltaworksd pings every 30 s, NATS every two minutes, Redis and Mosquitto never. Bytes are
//! the growth of the process' resident memory; what the kernel takes is the growth of its slabs,
//! in which both ends of every connection stand.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::Options;
use crate::load::{Crowd, Sizes};
use crate::sample::{Metric, Sample, Teller};
use crate::server::{Peer, Server, Wanted, peers};
use crate::system::{self, Cpus};

/// Between the last greeting and the first look at the clock.
const SETTLING: Duration = Duration::from_secs(2);

/// Measures every server once, because one sample takes as long as two pings.
///
/// # Errors
/// If this process may not have so many descriptors.
pub fn run(options: &Options, cpus: Cpus, teller: &mut Teller) -> Result<(), String> {
    let sessions = options.sessions;
    system::raise_descriptors(sessions as u64 + 4096).map_err(|error| error.to_string())?;
    let peers = peers(options, Wanted::Servers, "idle", teller);
    system::pin(cpus.load).map_err(|error| error.to_string())?;
    for peer in &peers {
        teller.tell(&measure(peer, sessions, options, cpus));
    }
    Ok(())
}

fn measure(peer: &Peer, sessions: usize, options: &Options, cpus: Cpus) -> Sample {
    let cell = json!({"sessions": sessions});
    let metric = Metric("cpu-share", "cores", "lower");
    match rest(peer, sessions, options, cpus) {
        Ok(Rested { share, seconds, resident, slab, resident_all, fault }) => {
            let each = |bytes: i64| bytes as f64 / sessions as f64;
            Sample::new("idle", peer.name, &peer.version, &cell, metric, share)
                .numbered(0, seconds)
                .with(&json!({
                    "rss_bytes_per_session": each(resident),
                    "kernel_bytes_per_session": each(slab),
                    "rss_bytes": resident_all,
                }))
                .judged(fault.into_iter().collect())
        }
        Err(fault) => {
            Sample::new("idle", peer.name, &peer.version, &cell, metric, 0.0).judged(vec![fault])
        }
    }
}

struct Rested {
    share: f64,
    seconds: f64,
    resident: i64,
    slab: i64,
    resident_all: u64,
    fault: Option<String>,
}

fn rest(peer: &Peer, sessions: usize, options: &Options, cpus: Cpus) -> Result<Rested, String> {
    let server = Server::start(peer, cpus.server, sessions)?;
    let pid = server.pid();
    let before = (system::settled_bytes(pid), system::slab_bytes());
    let sizes =
        Sizes { publishers: 1, subscribers: sessions, payload_bytes: 64, window_bytes: 1 << 16 };
    let mut crowd = Crowd::connect(server.address, peer.wire, sizes, options.plant)?;
    crowd.rest_for(SETTLING)?;
    let after = (system::resident_bytes(pid), system::slab_bytes());
    let (began, cpu_ns) = (Instant::now(), system::cpu_ns(pid));
    crowd.rest_for(Duration::from_secs_f64(options.idle_seconds))?;
    let seconds = began.elapsed().as_secs_f64();
    let share = (system::cpu_ns(pid) - cpu_ns) as f64 / 1e9 / seconds;
    // All of them are still there: each gets a message.
    let fault = crowd.deliver_one().err();
    Ok(Rested {
        share,
        seconds,
        resident: after.0 as i64 - before.0 as i64,
        slab: after.1 as i64 - before.1 as i64,
        resident_all: after.0,
        fault,
    })
}
