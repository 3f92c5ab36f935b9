//! The others: one publisher that keeps to a timetable and subscribers of its document, whose
//! stream must stay whole, and how long each batch took from its time in the table to each of them.
//!
//! Belongs to the load's thread; it never waits. The timetable does not wait for answers either, so
//! a server that stalls is charged for every batch that was due meanwhile.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use deltaworks_image::{BatchBuilder, Image, Kind, Limits};
use deltaworks_protocol::message::{Access, Policy, Pong};
use deltaworks_protocol::{Control, ServerMessage};

use super::ledger::{DELTAS, Ledger, content, first_sequence};
use crate::load::{Inbox, connect, control, open_all};

/// The document that all read.
pub const DOCUMENT: &str = "stream";

/// Bytes written but not taken by the socket, at most.
const UNSENT_BYTES_MAX: usize = 256 << 10;

/// Bytes of a reader's buffer.
const READ_BYTES: usize = 256 << 10;

struct Reader {
    stream: TcpStream,
    inbox: Inbox,
    ledger: Ledger,
}

/// The publisher and its subscribers.
pub struct Stream {
    publisher: TcpStream,
    inbox: Inbox,
    readers: Vec<Reader>,
    out: Vec<u8>,
    sent: usize,
    balance: i64,
    began: Instant,
    interval: Duration,
    published: u64,
    acked: u64,
    delivered: u64,
    span: Span,
    is_ending: bool,
    faults: Vec<String>,
}

/// Batches of a part of the timetable, and how long they took.
#[derive(Clone, Debug, Default)]
pub struct Span {
    from: u64,
    to: u64,
    /// From the time in the table to each reader.
    pub latency_ns: Vec<u64>,
    /// From the time in the table to the publisher's buffer: the load's own part.
    pub late_ns: Vec<u64>,
}

/// What is said of a stream that has gone on for long enough to be told.
const FAULTS_MAX: usize = 8;

impl Stream {
    /// Connects and opens; the timetable begins now, with `rate` batches a second.
    ///
    /// # Errors
    /// If it is not granted.
    pub fn open(to: SocketAddr, subscribers: usize, rate: f64) -> Result<Stream, String> {
        let mut readers = Vec::new();
        for _ in 0..subscribers {
            let mut stream = connect(to)?;
            open_all(&mut stream, &[DOCUMENT.to_owned()], Access::Read, Policy::Gap, 0)?;
            stream.set_nonblocking(true).map_err(|error| error.to_string())?;
            let inbox = Inbox::new(READ_BYTES);
            readers.push(Reader { stream, inbox, ledger: Ledger::default() });
        }
        let mut publisher = connect(to)?;
        let names = [DOCUMENT.to_owned()];
        let credits = open_all(&mut publisher, &names, Access::Write, Policy::Gap, 1)?;
        publisher.set_nonblocking(true).map_err(|error| error.to_string())?;
        Ok(Stream {
            publisher,
            inbox: Inbox::new(READ_BYTES),
            readers,
            out: Vec::new(),
            sent: 0,
            balance: credits.iter().sum::<u64>() as i64,
            began: Instant::now(),
            interval: Duration::from_secs_f64(1.0 / rate),
            published: 0,
            acked: 0,
            delivered: 0,
            span: Span::default(),
            is_ending: false,
            faults: Vec::new(),
        })
    }

    /// What was wrong so far; empty if nothing.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// Batches delivered so far, over all subscribers.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Deltas that were verified so far, over all subscribers.
    pub fn verified_deltas(&self) -> u64 {
        self.delivered * DELTAS
    }

    /// Begins to note how long batches take whose time in the table lies within `length` from now.
    pub fn begin_span(&mut self, now: Instant, length: Duration) {
        let at = |time: Duration| (time.as_nanos() / self.interval.as_nanos().max(1)) as u64 + 1;
        let since = now - self.began;
        let (from, to) = (at(since), at(since + length));
        self.span = Span { from, to, ..Span::default() };
        let batches = (to - from) as usize;
        self.span.latency_ns.reserve(batches * self.readers.len());
        self.span.late_ns.reserve(batches);
    }

    /// Whether every batch of the span has come to every subscriber, or the stream is broken.
    pub fn is_span_whole(&self) -> bool {
        let has = |reader: &Reader| reader.ledger.batches() >= self.span.to;
        self.readers.iter().all(has) || !self.faults.is_empty()
    }

    /// The span that was begun last.
    pub fn take_span(&mut self) -> Span {
        core::mem::take(&mut self.span)
    }

    /// Publishes what is due, sends and reads what it can; whether anything was done.
    pub fn pump(&mut self, now: Instant) -> bool {
        if self.faults.len() >= FAULTS_MAX {
            return false;
        }
        let published = self.publish(now);
        let sent = self.send();
        let listened = self.listen();
        let read = self.read();
        [sent, listened, read].into_iter().fold(published, |moved, step| match step {
            Ok(has_worked) => moved | has_worked,
            Err(fault) => {
                self.faults.push(fault);
                moved
            }
        })
    }

    /// Publishes no more, and waits until all that was published has come.
    ///
    /// # Errors
    /// What was wrong, then or before.
    pub fn finish(mut self, patience: Duration) -> Result<u64, Vec<String>> {
        let began = Instant::now();
        self.is_ending = true;
        while self.faults.is_empty() {
            self.pump(Instant::now());
            let is_read = self.readers.iter().all(|it| it.ledger.batches() == self.published);
            if is_read && self.acked == self.published && self.sent == self.out.len() {
                break;
            }
            if began.elapsed() > patience {
                let came: Vec<u64> = self.readers.iter().map(|it| it.ledger.batches()).collect();
                let (published, acked) = (self.published, self.acked);
                self.faults.push(format!(
                    "{published} batches published, {acked} acknowledged, {came:?} came"
                ));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        if self.faults.is_empty() { Ok(self.verified_deltas()) } else { Err(self.faults) }
    }

    fn publish(&mut self, now: Instant) -> bool {
        let before = self.published;
        while !self.is_ending && self.balance > 0 && self.out.len() - self.sent < UNSENT_BYTES_MAX {
            let due = self.due(self.published);
            if due > now {
                break;
            }
            let image = image(self.published);
            self.balance -= image.len() as i64;
            self.out.extend_from_slice(&image);
            if (self.span.from..self.span.to).contains(&self.published) {
                self.span.late_ns.push((now - due).as_nanos() as u64);
            }
            self.published += 1;
        }
        self.published > before
    }

    fn due(&self, batch: u64) -> Instant {
        self.began + Duration::from_nanos(self.interval.as_nanos() as u64 * batch)
    }

    fn send(&mut self) -> Result<bool, String> {
        if self.sent == self.out.len() {
            return Ok(false);
        }
        match self.publisher.write(&self.out[self.sent..]) {
            Ok(count) => self.sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(format!("the publisher: {error}")),
        }
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
        Ok(true)
    }

    fn listen(&mut self) -> Result<bool, String> {
        let Self { publisher, inbox, balance, acked, out, .. } = self;
        inbox.read(publisher, |message| {
            match control(message)? {
                ServerMessage::Ack(ack) => {
                    let (number, sequence) = (ack.producer_sequence, ack.sequence);
                    if number <= *acked || sequence != first_sequence(number - 1) {
                        return Err(format!("{acked} was acknowledged, then {number}: {sequence}"));
                    }
                    *acked = number;
                    *balance += ack.credit as i64;
                }
                ServerMessage::Credit(credit) => *balance += credit.bytes as i64,
                ServerMessage::Ping(ping) => Pong { token: ping.token }.encode_to(out),
                other => return Err(format!("the publisher was told {other:?}")),
            }
            Ok(())
        })
    }

    fn read(&mut self) -> Result<bool, String> {
        let mut has_read = false;
        let (began, interval_ns) = (self.began, self.interval.as_nanos() as u64);
        for (number, reader) in self.readers.iter_mut().enumerate() {
            let Reader { stream, inbox, ledger } = reader;
            let (span, delivered) = (&mut self.span, &mut self.delivered);
            let mut pongs = Vec::new();
            let came = inbox.read(stream, |message| {
                let is_image = message.get(4).is_some_and(|kind| *kind == Kind::Batch.number());
                if !is_image {
                    return match control(message)? {
                        ServerMessage::Ping(ping) => {
                            Pong { token: ping.token }.encode_to(&mut pongs);
                            Ok(())
                        }
                        other => Err(format!("was told {other:?}")),
                    };
                }
                let image = Image::parse(message).map_err(|error| format!("{error:?}"))?;
                image.verify().map_err(|error| format!("{error:?}"))?;
                let batch = ledger.take(image.first_sequence(), image.deltas())?;
                *delivered += 1;
                if (span.from..span.to).contains(&batch) {
                    let due = began + Duration::from_nanos(interval_ns * batch);
                    span.latency_ns.push(due.elapsed().as_nanos() as u64);
                }
                Ok(())
            });
            has_read |= came.map_err(|fault| format!("subscriber {number}: {fault}"))?;
            if !pongs.is_empty() {
                stream
                    .write_all(&pongs)
                    .map_err(|error| format!("subscriber {number}: {error}"))?;
            }
        }
        Ok(has_read)
    }
}

/// The batch of this number, for handle 0.
fn image(number: u64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Limits::DEFAULT);
    let first = first_sequence(number);
    for sequence in first..first + DELTAS {
        builder.append(&content(sequence)).expect("a delta within the limits");
    }
    builder.finish(0, number + 1).expect("a batch within the limits")
}
