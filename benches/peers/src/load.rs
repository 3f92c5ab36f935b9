//! The load: publishers and subscribers of one server, all on one thread that never sleeps.
//!
//! ```text
//!  while there is room or something is due: publisher writes 32 messages │ readiness │ every ready
//!  subscriber reads once, and every byte is compared
//! ```
//!
//! The same for every server. Closed loop: a publisher is ahead of the slowest subscriber by a
//! window at most, which nobody's limits reach, so that nothing is lost anywhere. Open loop: what is
//! due by the clock is written, whoever lags.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::payload::{PIPELINED, Reader};
use crate::system::{self, Readiness};
use crate::wire::{Codec, Part, Wire, Writer};

/// Bytes of one read.
const READ_BYTES: usize = 256 << 10;
/// No message of control is longer.
const CONTROL_BYTES_MAX: usize = 4 << 10;
/// Subscribers that greet at the same time.
const WAVE: usize = 64;
/// How long the last deliveries may take.
const REST: Duration = Duration::from_secs(20);
/// The byte that is changed on purpose lies behind so many messages.
const PLANTED_BEHIND: u64 = 100;
/// A latency that is longer counts as this.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

struct Publisher {
    stream: TcpStream,
    writer: Writer,
    sequence: u64,
    out: Vec<u8>,
    unsent: usize,
    heard: Vec<u8>,
}

struct Subscriber {
    stream: TcpStream,
    sequence: u64,
    reader: Reader,
    carried: Vec<u8>,
    answers: Vec<u8>,
}

/// What is connected to one server.
pub struct Crowd {
    codec: Codec,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    readiness: Readiness,
    scratch: Vec<u8>,
    published: u64,
    window: u64,
    /// A byte that is still to be changed.
    plant: bool,
    schedule: Option<Schedule>,
}

/// When each message of an open loop is due.
struct Schedule {
    began: Instant,
    interval_ns: f64,
    /// The first message of it.
    first: u64,
    latencies: Histogram<u64>,
}

/// Who is connected.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Connections that publish.
    pub publishers: usize,
    /// Connections that read.
    pub subscribers: usize,
    /// Bytes of a message's payload.
    pub payload_bytes: usize,
    /// Bytes of payload that are on their way at most.
    pub window_bytes: usize,
}

/// What is offered: too much for a time, then less.
#[derive(Clone, Copy, Debug)]
pub struct Overload {
    /// Messages a second that are too many.
    pub per_second: f64,
    /// How long.
    pub time: Duration,
    /// Messages a second afterwards.
    pub after_per_second: f64,
}

/// How an overload was got over.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recovered {
    /// Messages that were due and not read by everybody when the overload ended.
    pub waited: u64,
    /// From the overload's end until no more waited than come in a millisecond.
    pub seconds: f64,
}

/// What a span of time brought.
#[derive(Clone, Debug)]
pub struct Span {
    /// Messages that subscribers have read, over all of them.
    pub deliveries: u64,
    /// How long it took.
    pub seconds: f64,
    /// CPU time of the server meanwhile.
    pub cpu_ns: u64,
    /// What was wrong.
    pub faults: Vec<String>,
}

impl Crowd {
    /// Connects everybody.
    ///
    /// # Errors
    /// If somebody is not let in.
    pub fn connect(to: SocketAddr, wire: Wire, sizes: Sizes, plant: bool) -> Result<Self, String> {
        let told = |error: std::io::Error| error.to_string();
        let codec = Codec::new(wire, sizes.payload_bytes);
        let block = PIPELINED as u64;
        let window = (sizes.window_bytes / sizes.payload_bytes).max(2 * PIPELINED) as u64;
        let mut crowd = Self {
            scratch: vec![0; codec.message_bytes_max().max(CONTROL_BYTES_MAX) + READ_BYTES],
            codec,
            publishers: Vec::with_capacity(sizes.publishers),
            subscribers: Vec::with_capacity(sizes.subscribers),
            readiness: Readiness::new(256).map_err(told)?,
            published: 0,
            window: window / block * block,
            plant,
            schedule: None,
        };
        while crowd.subscribers.len() < sizes.subscribers {
            let first = crowd.subscribers.len();
            let wave = first..sizes.subscribers.min(first + WAVE);
            for greeted in greet_at_once(&crowd.codec, to, wave) {
                let (stream, sequence) = greeted?;
                crowd.readiness.watch(&stream, crowd.subscribers.len()).map_err(told)?;
                let reader = Reader::new(sizes.publishers);
                let (carried, answers) = (Vec::new(), Vec::new());
                crowd.subscribers.push(Subscriber { stream, sequence, reader, carried, answers });
            }
            // Those that came first may be asked for a sign of life meanwhile.
            crowd.read_ready(0)?;
        }
        for number in 0..sizes.publishers {
            let (stream, writer) = crowd.codec.publisher(to, number)?;
            crowd.readiness.watch(&stream, sizes.subscribers + number).map_err(told)?;
            let (out, heard) = (Vec::new(), Vec::new());
            crowd.publishers.push(Publisher { stream, writer, sequence: 0, out, unsent: 0, heard });
        }
        Ok(crowd)
    }

    /// Publishes as fast as everybody reads, first uncounted, then for `time`. Before and after that
    /// all is read, so that the deliveries that count are those that the server's time went into.
    pub fn close_loop(&mut self, pid: u32, warm_up: Duration, time: Duration) -> Span {
        let fault = self.turn_for(warm_up, Self::fill_window).err();
        self.span(pid, fault, |crowd| crowd.turn_for(time, Self::fill_window))
    }

    /// Publishes a message whenever one is due at `per_second`, for `time` after an uncounted
    /// `warm_up`; then reads the rest. Latencies count from the time at which a message was due.
    pub fn open_loop(
        &mut self,
        pid: u32,
        per_second: f64,
        warm_up: Duration,
        time: Duration,
    ) -> (Span, Histogram<u64>) {
        let fault = self.turn_for(warm_up, Self::fill_window).err();
        let mut latencies = Histogram::new_with_max(LATENCY_NS_MAX, 3).expect("a bound above two");
        let span = self.span(pid, fault, |crowd| {
            crowd.schedule = Some(Schedule {
                began: Instant::now(),
                interval_ns: 1e9 / per_second,
                first: crowd.published,
                latencies: latencies.clone(),
            });
            crowd.turn_for(time, Self::write_due)
        });
        if let Some(schedule) = self.schedule.take() {
            latencies = schedule.latencies;
        }
        (span, latencies)
    }

    /// Offers too much, then less, until nothing waits that need not; then reads the rest.
    pub fn overload(&mut self, pid: u32, overload: Overload) -> (Span, Recovered) {
        let mut recovered = Recovered::default();
        let fault = self.turn_for(Duration::from_millis(200), Self::fill_window).err();
        let span = self.span(pid, fault, |crowd| {
            recovered = crowd.get_over(overload)?;
            Ok(())
        });
        (span, recovered)
    }

    fn get_over(&mut self, overload: Overload) -> Result<Recovered, String> {
        let Overload { per_second, time, after_per_second } = overload;
        let over_s = time.as_secs_f64();
        let (began, first) = (Instant::now(), self.published);
        let few = (after_per_second / 1000.0).max(2.0 * PIPELINED as f64) as u64;
        let mut waited = None;
        loop {
            let at_s = began.elapsed().as_secs_f64();
            let after_s = (at_s - over_s).max(0.0);
            let all = at_s.min(over_s) * per_second + after_s * after_per_second;
            let due = first + all as u64;
            let slowest = self.subscribers.iter().map(|it| it.reader.read).min().unwrap_or(0);
            if at_s > over_s {
                let waits = due - slowest.min(due);
                let waited = *waited.get_or_insert(waits);
                if waits <= few {
                    return Ok(Recovered { waited, seconds: after_s });
                }
                if after_s > REST.as_secs_f64() {
                    return Err(format!("{waits} messages wait {after_s:.0} s after the overload"));
                }
            }
            let may = due.min(slowest + self.window);
            while self.published < may && self.may_publish(0)? {
                let count = (may - self.published).min(PIPELINED as u64);
                self.publish(0, count);
                self.published += count;
                self.flush(0)?;
            }
            self.flush(0)?;
            self.read_ready(0)?;
        }
    }

    /// Reads the rest, lets `work` publish, and reads the rest again.
    fn span(
        &mut self,
        pid: u32,
        fault: Option<String>,
        work: impl FnOnce(&mut Self) -> Result<(), String>,
    ) -> Span {
        let mut faults: Vec<String> = fault.into_iter().collect();
        faults.extend(self.read_rest().err());
        let (began, read, cpu_ns) = (Instant::now(), self.read(), system::cpu_ns(pid));
        if faults.is_empty() {
            faults.extend(work(self).and_then(|()| self.read_rest()).err());
        }
        let seconds = began.elapsed().as_secs_f64();
        let cpu_ns = system::cpu_ns(pid) - cpu_ns;
        Span { deliveries: self.read() - read, seconds, cpu_ns, faults }
    }

    fn turn_for(
        &mut self,
        time: Duration,
        publish: impl Fn(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let began = Instant::now();
        while began.elapsed() < time {
            publish(self)?;
            self.read_ready(0)?;
        }
        Ok(())
    }

    /// Publishes one message, and waits, awake, until everybody has read it; how long that took.
    ///
    /// # Errors
    /// If it does not come, or not as it should.
    pub fn deliver_one(&mut self) -> Result<Duration, String> {
        let began = Instant::now();
        self.publish(0, 1);
        self.published += 1;
        let awaited = self.published * self.subscribers.len() as u64;
        while self.read() < awaited {
            self.flush(0)?;
            self.read_ready(0)?;
            if began.elapsed() > REST {
                return Err("it was not delivered".to_owned());
            }
        }
        Ok(began.elapsed())
    }

    /// Reads and answers what comes for `time`, asleep meanwhile.
    ///
    /// # Errors
    /// If something comes that must not.
    pub fn rest_for(&mut self, time: Duration) -> Result<(), String> {
        let began = Instant::now();
        while began.elapsed() < time {
            self.read_ready(20)?;
        }
        Ok(())
    }

    fn read(&self) -> u64 {
        self.subscribers.iter().map(|it| it.reader.read).sum()
    }

    fn fill_window(&mut self) -> Result<(), String> {
        let slowest = self.subscribers.iter().map(|it| it.reader.read).min().unwrap_or(0);
        let count = self.publishers.len();
        let mut waiting = 0;
        while waiting < count && self.published + PIPELINED as u64 <= slowest + self.window {
            let number = (self.published / PIPELINED as u64) as usize % count;
            let place = (number + waiting) % count;
            if self.may_publish(place)? {
                self.publish(place, PIPELINED as u64);
                self.published += PIPELINED as u64;
                self.flush(place)?;
                waiting = 0;
            } else {
                waiting += 1;
            }
        }
        (0..count).try_for_each(|place| self.flush(place))
    }

    fn write_due(&mut self) -> Result<(), String> {
        let Some(Schedule { began, interval_ns, first, .. }) = self.schedule else { return Ok(()) };
        let due = first + (began.elapsed().as_nanos() as f64 / interval_ns) as u64;
        while self.published < due && self.may_publish(0)? {
            let count = (due - self.published).min(PIPELINED as u64);
            self.publish(0, count);
            self.published += count;
            self.flush(0)?;
        }
        self.flush(0)
    }

    fn may_publish(&mut self, place: usize) -> Result<bool, String> {
        self.flush(place)?;
        let publisher = &self.publishers[place];
        Ok(publisher.out.is_empty() && publisher.writer.credit_bytes > 0)
    }

    fn publish(&mut self, place: usize, count: u64) {
        let Publisher { writer, sequence, out, .. } = &mut self.publishers[place];
        self.codec.publish(out, writer, place, *sequence, count);
        *sequence += count;
    }

    fn flush(&mut self, place: usize) -> Result<(), String> {
        let Publisher { stream, out, unsent, .. } = &mut self.publishers[place];
        while *unsent < out.len() {
            match stream.write(&out[*unsent..]) {
                Ok(count) => *unsent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("publisher {place}: {error}")),
            }
        }
        out.clear();
        *unsent = 0;
        Ok(())
    }

    fn read_rest(&mut self) -> Result<(), String> {
        let began = Instant::now();
        let awaited = self.published;
        while self.subscribers.iter().any(|it| it.reader.read < awaited) {
            (0..self.publishers.len()).try_for_each(|place| self.flush(place))?;
            self.read_ready(0)?;
            if began.elapsed() > REST {
                let read = self.read();
                let all = awaited * self.subscribers.len() as u64;
                return Err(format!("of {all} messages only {read} came"));
            }
        }
        Ok(())
    }

    fn read_ready(&mut self, wait_ms: i32) -> Result<(), String> {
        let count = self.readiness.wait(wait_ms);
        let subscribers = self.subscribers.len();
        for place in 0..count {
            let number = self.readiness.number(place);
            if number < subscribers {
                self.read_one(number).map_err(|error| format!("subscriber {number}: {error}"))?;
            } else {
                let place = number - subscribers;
                self.listen(place).map_err(|error| format!("publisher {place}: {error}"))?;
            }
        }
        Ok(())
    }

    fn read_one(&mut self, number: usize) -> Result<(), String> {
        let Self { codec, subscribers, scratch, plant, schedule, .. } = self;
        let subscriber = &mut subscribers[number];
        let carried = subscriber.carried.len();
        scratch[..carried].copy_from_slice(&subscriber.carried);
        let Some(count) =
            some(subscriber.stream.read(&mut scratch[carried..carried + READ_BYTES]))?
        else {
            return Ok(());
        };
        let mut rest = &mut scratch[..carried + count];
        if *plant && subscriber.reader.read > PLANTED_BEHIND {
            *plant = false;
            // Not at the middle, where a message begins that would then be waited for.
            let place = (rest.len() / 2).saturating_sub(37);
            rest[place] ^= 1;
        }
        let length = codec.payloads().payload_bytes();
        let now_ns = schedule.as_ref().map(|it| it.began.elapsed().as_nanos() as f64);
        loop {
            match codec.part(rest, &mut subscriber.sequence)? {
                Part::Partial => break,
                Part::Control(bytes) => {
                    let mut writer = Writer::idle();
                    codec.hear(&rest[..bytes], &mut writer, &mut subscriber.answers)?;
                    rest = &mut rest[bytes..];
                }
                Part::Delivery { at, payloads, bytes } => {
                    for payload in rest[at..at + payloads * length].chunks_exact(length) {
                        let (_, sequence) = subscriber.reader.take(codec.payloads(), payload)?;
                        if let (Some(schedule), Some(now_ns)) = (schedule.as_mut(), now_ns) {
                            schedule.count(sequence, now_ns);
                        }
                    }
                    rest = &mut rest[bytes..];
                }
            }
        }
        if rest.len() > codec.message_bytes_max().max(CONTROL_BYTES_MAX) {
            return Err(format!("a message begins with {:?}", &rest[..16]));
        }
        subscriber.carried.clear();
        subscriber.carried.extend_from_slice(rest);
        if !subscriber.answers.is_empty() {
            subscriber.stream.write_all(&subscriber.answers).map_err(|error| error.to_string())?;
            subscriber.answers.clear();
        }
        Ok(())
    }

    fn listen(&mut self, place: usize) -> Result<(), String> {
        let Self { codec, publishers, scratch, .. } = self;
        let Publisher { stream, writer, heard, out, .. } = &mut publishers[place];
        let carried = heard.len();
        scratch[..carried].copy_from_slice(heard);
        let Some(count) = some(stream.read(&mut scratch[carried..carried + READ_BYTES]))? else {
            return Ok(());
        };
        let mut rest = &scratch[..carried + count];
        while let Part::Control(bytes) = codec.control(rest) {
            // Behind what is not yet written whole.
            codec.hear(&rest[..bytes], writer, out)?;
            rest = &rest[bytes..];
        }
        heard.clear();
        heard.extend_from_slice(rest);
        self.flush(place)
    }
}

impl Schedule {
    #[inline]
    fn count(&mut self, sequence: u64, now_ns: f64) {
        let due_ns = (sequence - self.first + 1) as f64 * self.interval_ns;
        self.latencies.saturating_record((now_ns - due_ns).max(1.0) as u64);
    }
}

/// Subscribers that greet at the same time, so that a server that answers late answers many.
fn greet_at_once(
    codec: &Codec,
    to: SocketAddr,
    wave: Range<usize>,
) -> Vec<Result<(TcpStream, u64), String>> {
    std::thread::scope(|scope| {
        let greeting: Vec<_> =
            wave.map(|number| scope.spawn(move || codec.subscriber(to, number))).collect();
        let joined = greeting
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a greeting panicked".to_owned())));
        joined.collect()
    })
}

fn some(read: std::io::Result<usize>) -> Result<Option<usize>, String> {
    match read {
        Ok(0) => Err("the connection was closed".to_owned()),
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}
