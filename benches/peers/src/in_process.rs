//! In process: what passes between two pinned threads, 64 bytes at a time.
//!
//! Question: what does handing a message to another core cost, if nothing is checked, ordered among
//! several or kept? Both ends stay awake and try again; every ring has 4,096 places. Not measured:
//! several producers or consumers, and what a sleeping consumer costs.

mod buses;

mod channels;

mod rings;

use std::time::{Duration, Instant};

use deltaworks_runtime::pinned::PinnedThread;
use serde_json::json;

use crate::Options;
use crate::sample::{Metric, Sample, Teller};
use crate::system::Cpus;

/// Words of a message.
pub const WORDS: usize = 8;
/// A message.
pub type Message = [u64; WORDS];

/// Why Aeron is not measured.
pub const AERON_ABSENT: &str =
    "its C driver builds with CMake 3.30 and libclang, which is more than a build here asks for";

/// Places of every ring.
pub const CAPACITY: usize = 4096;

/// The sequence of the message behind the last one.
const END: u64 = u64::MAX - WORDS as u64;

/// How long the last message may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many messages are sent between two looks at the clock.
pub const LOOK: u64 = 4096;

/// The message with this sequence.
#[inline]
pub fn message(sequence: u64) -> Message {
    std::array::from_fn(|word| sequence + word as u64)
}

/// The message that says that no more will come.
pub fn end() -> Message {
    message(END)
}

/// What the receiving end has taken.
#[derive(Debug, Default)]
pub struct Taken {
    next: u64,
    began: Option<Instant>,
    fault: Option<String>,
    is_over: bool,
    looks: u64,
    waits_since: Option<Instant>,
}

impl Taken {
    /// Takes a message, which must be the next one.
    #[inline]
    pub fn take(&mut self, message: &Message) {
        let sequence = message[0];
        if sequence == self.next && message[WORDS - 1] == sequence + WORDS as u64 - 1 {
            self.next += 1;
        } else {
            self.end_with(sequence);
        }
    }

    /// Whether the last message has come, or a wrong one.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Notes when the first message came, and now and then whether any comes still; to be called
    /// whenever one may have come.
    #[inline]
    pub fn look(&mut self, time: Duration) {
        self.looks += 1;
        if self.began.is_none() && self.next > 0 {
            self.began = Some(Instant::now());
        }
        if self.looks.is_multiple_of(1 << 20) {
            self.end_late(time);
        }
    }

    #[cold]
    fn end_late(&mut self, time: Duration) {
        let since = *self.waits_since.get_or_insert_with(Instant::now);
        if since.elapsed() > time + PATIENCE {
            self.fault = Some("the end did not come".to_owned());
            self.is_over = true;
        }
    }

    /// How many came, in how many seconds, and what was wrong.
    pub fn done(self) -> (u64, f64, Option<String>) {
        (self.next, self.began.map_or(0.0, |it| it.elapsed().as_secs_f64()), self.fault)
    }

    #[cold]
    fn end_with(&mut self, sequence: u64) {
        if sequence != END && self.fault.is_none() {
            self.fault = Some(format!("{sequence} came, not {}", self.next));
        }
        self.is_over = true;
    }
}

/// Passes messages for `time` from a thread on one CPU to one on the other: how many a second.
///
/// The ends are made on their threads, because some may not move.
pub fn pass<S, R>(
    cpus: Cpus,
    time: Duration,
    batch: u64,
    make_sender: impl FnOnce() -> S + Send + 'static,
    make_receiver: impl FnOnce() -> R + Send + 'static,
) -> Passed
where
    S: FnMut(u64, u64),
    R: FnMut(&mut Taken),
{
    let (ready, is_ready) = std::sync::mpsc::channel();
    let receiving = PinnedThread::spawn(cpus.load, "receiver", move || {
        let mut receive = make_receiver();
        let mut taken = Taken::default();
        let _ = ready.send(());
        while !taken.is_over() {
            receive(&mut taken);
            taken.look(time);
        }
        taken.done()
    })
    .map_err(|error| error.to_string())?;
    let (all_taken, is_taken) = std::sync::mpsc::channel::<()>();
    let sending = PinnedThread::spawn(cpus.server, "sender", move || {
        let mut send = make_sender();
        let _ = is_ready.recv();
        let began = Instant::now();
        let mut sent = 0;
        while began.elapsed() < time {
            for _ in 0..LOOK / batch {
                send(sent, batch);
                sent += batch;
            }
        }
        send(END, 1);
        // The end stays until the other has taken everything.
        let _ = is_taken.recv();
        sent
    })
    .map_err(|error| error.to_string())?;
    let panicked = |_| "an end panicked".to_owned();
    let (taken, seconds, fault) = receiving.join().map_err(panicked)?;
    drop(all_taken);
    let sent = sending.join().map_err(panicked)?;
    let mut faults: Vec<String> = fault.into_iter().collect();
    if faults.is_empty() && taken != sent {
        faults.push(format!("{taken} of {sent} came"));
    }
    Ok((taken as f64 / seconds.max(1e-9), seconds, faults))
}

/// A rival: its name, its version, the batches that it knows, and how it passes messages.
pub type Rival = (&'static str, &'static str, &'static [u64], Pass);

/// How many messages passed in a second, how long it took, what was wrong.
pub type Passed = Result<(f64, f64, Vec<String>), String>;

/// Passes messages in batches for a time.
pub type Pass = fn(Cpus, Duration, u64) -> Passed;

/// Measures every rival, the samples interleaved.
///
/// # Errors
/// If a thread cannot be pinned.
pub fn run(options: &Options, cpus: Cpus, teller: &mut Teller) -> Result<(), String> {
    let rivals: Vec<Rival> =
        rings::RIVALS.into_iter().chain(channels::RIVALS).chain(buses::RIVALS).collect();
    pass_all("in-process", &rivals, options, cpus, teller)?;
    if options.peers.is_empty() || options.peers.iter().any(|it| it == "aeron") {
        teller.absent("in-process", "aeron", AERON_ABSENT);
    }
    Ok(())
}

/// The rings alone, which are limits as well: rtrb, and ours over it.
pub fn ring_rivals() -> [Rival; 2] {
    rings::RIVALS
}

/// Takes the samples of `rivals`, interleaved.
pub fn pass_all(
    scenario: &'static str,
    rivals: &[Rival],
    options: &Options,
    cpus: Cpus,
    teller: &mut Teller,
) -> Result<(), String> {
    let time = Duration::from_secs_f64(options.seconds);
    let is_asked =
        |name: &str| options.peers.is_empty() || options.peers.iter().any(|it| it == name);
    for number in 0..options.samples {
        for (name, version, batches, pass) in rivals.iter().filter(|it| is_asked(it.0)) {
            for batch in *batches {
                let passed = pass(cpus, time, *batch);
                let (rate, seconds, faults) =
                    passed.unwrap_or_else(|fault| (0.0, 0.0, vec![fault]));
                let cell = json!({"payload_bytes": size_of::<Message>(), "batch": batch});
                let metric = Metric("messages", "1/s", "higher");
                let sample = Sample::new(scenario, name, version, &cell, metric, rate);
                let hop = json!({"hop_ns": 1e9 / rate.max(1.0)});
                teller.tell(&sample.numbered(number, seconds).with(&hop).judged(faults));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_repeated_or_torn_message_is_told() {
        let taken = |messages: &[Message]| {
            let mut taken = Taken::default();
            messages.iter().for_each(|message| taken.take(message));
            taken.done()
        };
        let (zero, one, two) = (message(0), message(1), message(2));
        assert_eq!(taken(&[zero, one, end()]).2, None);
        assert_eq!(taken(&[zero, one, end()]).0, 2);
        assert!(taken(&[zero, two]).2.is_some());
        assert!(taken(&[zero, zero]).2.is_some());
        let mut torn = one;
        torn[WORDS - 1] += 1;
        assert!(taken(&[zero, torn]).2.is_some());
    }
}
