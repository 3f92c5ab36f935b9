//! A delta after a pause: what waking a parked server costs, and what of it is the kernel.
//!
//! One publisher, one subscriber, awake; a message every few milliseconds, so that every server
//! sleeps in between. Beside them two bare threads on the server's CPU that do nothing but be woken:
//! one reads a socket and writes another, one reads an eventfd and writes another. What they take is
//! the kernel's part, measured in the same run: `kernel_share` is what the one with sockets took of what
//! the server did, at the median. Above one, the server was let in before a bare thread was.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use deltaworks_runtime::pinned::PinnedThread;
use hdrhistogram::Histogram;
use serde_json::json;

use crate::Options;
use crate::load::{Crowd, Sizes};
use crate::sample::{Metric, Sample, Teller};
use crate::server::{Peer, Server, Wanted, peers};
use crate::system::{self, Cpus};

/// Between two messages: many times what deltaworksd stays awake without work.
const GAP: Duration = Duration::from_millis(5);
/// Messages of a sample before they count.
const UNCOUNTED: usize = 20;

/// Measures every server and both bare threads, the samples interleaved.
///
/// # Errors
/// If the load cannot be pinned.
pub fn run(options: &Options, cpus: Cpus, teller: &mut Teller) -> Result<(), String> {
    let peers = peers(options, Wanted::Servers, "parked", teller);
    system::pin(cpus.load).map_err(|error| error.to_string())?;
    for number in 0..options.samples {
        teller.tell(&sample("bare-eventfd", "", number, bare_eventfd(options, cpus), None));
        let bare = bare_socket(options, cpus);
        let kernel_ns = bare.as_ref().ok().map(|woken| woken.times.value_at_quantile(0.5));
        teller.tell(&sample("bare-socket", "", number, bare, None));
        for peer in &peers {
            let woken = served(peer, options, cpus);
            teller.tell(&sample(peer.name, &peer.version, number, woken, kernel_ns));
        }
    }
    Ok(())
}

struct Woken {
    times: Histogram<u64>,
    seconds: f64,
    cpu_ns: Option<u64>,
}

/// `kernel_ns`: what a bare thread took at the median.
fn sample(
    name: &str,
    version: &str,
    number: u32,
    woken: Result<Woken, String>,
    kernel_ns: Option<u64>,
) -> Sample {
    let cell = json!({"gap_ms": GAP.as_millis() as u64});
    let metric = Metric("p99", "us", "lower");
    match woken {
        Ok(Woken { times, seconds, cpu_ns }) => {
            let us = |quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
            let mut sample = Sample::new("parked", name, version, &cell, metric, us(0.99))
                .numbered(number, seconds)
                .with(&json!({
                    "p50_us": us(0.5),
                    "p90_us": us(0.9),
                    "max_us": times.max() as f64 / 1000.0,
                    "counted": times.len(),
                }));
            if let Some(kernel_ns) = kernel_ns {
                let share = kernel_ns as f64 / times.value_at_quantile(0.5).max(1) as f64;
                sample = sample.with(&json!({ "kernel_share": share }));
            }
            let count = times.len() + UNCOUNTED as u64;
            sample.cpu_ns_per_delivery = cpu_ns.map(|ns| ns as f64 / count as f64);
            sample
        }
        Err(fault) => Sample::new("parked", name, version, &cell, metric, 0.0).judged(vec![fault]),
    }
}

/// Wakes again and again for a sample's time; `wake` returns when the answer is there.
fn woken(
    options: &Options,
    mut wake: impl FnMut() -> Result<Duration, String>,
) -> Result<Woken, String> {
    let mut times = Histogram::new_with_max(60_000_000_000, 3).expect("a bound above two");
    let began = Instant::now();
    let mut count = 0;
    while count < 2 * UNCOUNTED || began.elapsed().as_secs_f64() < options.seconds {
        std::thread::sleep(GAP);
        // The load is awake again, and so are its caches, before anything is timed.
        let awake = Instant::now();
        while awake.elapsed() < Duration::from_micros(50) {
            std::hint::spin_loop();
        }
        let time = wake()?;
        count += 1;
        if count > UNCOUNTED {
            times.saturating_record(time.as_nanos() as u64);
        }
    }
    Ok(Woken { times, seconds: began.elapsed().as_secs_f64(), cpu_ns: None })
}

fn served(peer: &Peer, options: &Options, cpus: Cpus) -> Result<Woken, String> {
    let server = Server::start(peer, cpus.server, 2)?;
    let sizes = Sizes { publishers: 1, subscribers: 1, payload_bytes: 64, window_bytes: 1 << 16 };
    let mut crowd = Crowd::connect(server.address, peer.wire, sizes, options.plant)?;
    let before = system::cpu_ns(server.pid());
    let woken = woken(options, || crowd.deliver_one())?;
    Ok(Woken { cpu_ns: Some(system::cpu_ns(server.pid()) - before), ..woken })
}

fn bare_eventfd(options: &Options, cpus: Cpus) -> Result<Woken, String> {
    let told = |error: std::io::Error| error.to_string();
    let (to, back) = (system::event_descriptor(true), system::event_descriptor(false));
    let (mut to, mut back) = (to.map_err(told)?, back.map_err(told)?);
    let (mut hears, mut answers) = (to.try_clone().map_err(told)?, back.try_clone().map_err(told)?);
    let sleeper = PinnedThread::spawn(cpus.server, "sleeper", move || {
        let mut word = [0; 8];
        // A large number says that it is over.
        while hears.read_exact(&mut word).is_ok() && u64::from_le_bytes(word) == 1 {
            let _ = answers.write_all(&1_u64.to_le_bytes());
        }
    })
    .map_err(|error| error.to_string())?;
    let woken = woken(options, || {
        let began = Instant::now();
        to.write_all(&1_u64.to_le_bytes()).map_err(told)?;
        spin_until_read(&mut back)?;
        Ok(began.elapsed())
    });
    to.write_all(&2_u64.to_le_bytes()).map_err(told)?;
    sleeper.join().map_err(|_| "the sleeper panicked")?;
    woken
}

fn bare_socket(options: &Options, cpus: Cpus) -> Result<Woken, String> {
    let told = |error: std::io::Error| error.to_string();
    let pair = || {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let one = TcpStream::connect(listener.local_addr()?)?;
        let (other, _) = listener.accept()?;
        one.set_nodelay(true)?;
        other.set_nodelay(true)?;
        Ok((one, other))
    };
    let (mut to, mut hears) = pair().map_err(told)?;
    let (mut answers, mut back) = pair().map_err(told)?;
    let sleeper = PinnedThread::spawn(cpus.server, "sleeper", move || {
        let mut some = [0; 256];
        while hears.read(&mut some).is_ok_and(|count| count > 0) {
            let _ = answers.write_all(&some[..64]);
        }
    })
    .map_err(|error| error.to_string())?;
    back.set_nonblocking(true).map_err(told)?;
    let woken = woken(options, || {
        let began = Instant::now();
        to.write_all(&[7; 64]).map_err(told)?;
        spin_until_read(&mut back)?;
        Ok(began.elapsed())
    });
    drop(to);
    sleeper.join().map_err(|_| "the sleeper panicked")?;
    woken
}

fn spin_until_read(from: &mut impl Read) -> Result<(), String> {
    let mut some = [0; 256];
    loop {
        match from.read(&mut some) {
            Ok(0) => return Err("the other end is gone".to_owned()),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
            Err(error) => return Err(error.to_string()),
        }
    }
}
