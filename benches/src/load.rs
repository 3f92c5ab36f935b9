//! The load: publishers and subscribers on TCP sockets, all on one thread that never sleeps.
//!
//! It plays scripts through generators, as the harness without sockets does, respects credit, and
//! reads whatever comes. Each subscriber must get every image of every publisher once, and each
//! document's sequences without gap where there are any.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use deltaworks_image::{Image, Kind, Limits};
use deltaworks_protocol::message::{
    Access, ClientHello, Open, OpenOptions, Policy, Pong, Start, split_control,
};
use deltaworks_protocol::{Control, ServerMessage};

use crate::generator::Generator;
use crate::hash::fold;
use crate::relay::{PUBLISHER, SUBSCRIBER, whole_messages};

/// Bytes of one write at most.
const WRITE_BYTES: usize = 64 << 10;
/// Bytes of one read at most.
const READ_BYTES: usize = 256 << 10;
/// Time after the last write in which everything must have come.
const REST: Duration = Duration::from_secs(15);
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// What is at the other end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// The server, with the credit of each handle.
    Server {
        /// Bytes.
        credit_bytes: u64,
    },
    /// The relay, which asks for nothing and answers nothing.
    Relay,
}

/// What a subscriber must have read, or has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Images.
    pub images: u64,
    /// Deltas in them.
    pub deltas: u64,
    /// Their bytes.
    pub bytes: u64,
    /// A sum over what the writers put into them.
    pub sum: u64,
}

impl Tally {
    #[inline]
    fn count(&mut self, image: &Image<'_>) {
        let written = u64::from(image.payload_crc()) << 32 | u64::from(image.count());
        self.images += 1;
        self.deltas += u64::from(image.count());
        self.bytes += image.bytes().len() as u64;
        self.sum = self.sum.wrapping_add(fold(written ^ MULTIPLIER, image.producer_sequence()));
    }
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Carried {
    /// What every subscriber must have read.
    pub published: Tally,
    /// From the first write to the last read.
    pub seconds: f64,
    /// What was wrong; empty if nothing.
    pub faults: Vec<String>,
}

struct Publisher {
    stream: TcpStream,
    generator: Generator,
    buffer: Vec<u8>,
    unsent: usize,
    outstanding_bytes: u64,
    credit_bytes: u64,
    control: Inbox,
}

struct Subscriber {
    stream: TcpStream,
    inbox: Inbox,
    tally: Tally,
    next: HashMap<u64, u64>,
}

/// Bytes that have come, of which the last message may not be whole.
pub(crate) struct Inbox {
    buffer: Vec<u8>,
    filled: usize,
}

impl Inbox {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { buffer: vec![0; bytes], filled: 0 }
    }

    /// Reads once, and gives whole messages to `take`; `false` if nothing came.
    pub(crate) fn read(
        &mut self,
        stream: &mut TcpStream,
        mut take: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<bool, String> {
        let count = match stream.read(&mut self.buffer[self.filled..]) {
            Ok(0) => return Err("the connection was closed".to_owned()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.to_string()),
        };
        self.filled += count;
        let whole = whole_messages(&self.buffer[..self.filled]);
        let mut rest = &self.buffer[..whole];
        while let Some(prelude) = rest.first_chunk::<4>() {
            let (message, after) = rest.split_at(u32::from_le_bytes(*prelude) as usize);
            take(message)?;
            rest = after;
        }
        self.buffer.copy_within(whole..self.filled, 0);
        self.filled -= whole;
        Ok(true)
    }
}

/// Connects one publisher for each of `generators` and `subscribers` subscribers, publishes for
/// `time`, and reads until everything has come.
///
/// # Errors
/// If a connection cannot be had or is not answered as it should be.
pub fn carry(
    to: SocketAddr,
    peer: Peer,
    names: &[String],
    generators: Vec<Generator>,
    subscribers: usize,
    time: Duration,
) -> Result<Carried, String> {
    let readers: Result<Vec<_>, String> =
        (0..subscribers).map(|_| Subscriber::connect(to, peer, names)).collect();
    let mut readers = readers?;
    let writers: Result<Vec<_>, String> = generators
        .into_iter()
        .zip(1..)
        .map(|(generator, number)| Publisher::connect(to, peer, names, generator, number))
        .collect();
    let mut writers = writers?;

    let mut published = Tally::default();
    let mut faults = Vec::new();
    let began = Instant::now();
    let mut heard = began;
    loop {
        let is_over = began.elapsed() >= time;
        for writer in &mut writers {
            let credit_bytes = writer.credit_bytes;
            let may = writer.outstanding_bytes + WRITE_BYTES as u64 <= credit_bytes;
            if !is_over && may && writer.unsent == writer.buffer.len() {
                writer.generate(&mut published);
            }
            faults.extend(writer.write().err());
            if peer != Peer::Relay {
                faults.extend(writer.listen().err());
            }
        }
        for reader in &mut readers {
            match reader.read() {
                Ok(true) => heard = Instant::now(),
                Ok(false) => {}
                Err(fault) => faults.push(fault),
            }
        }
        let is_written = writers.iter().all(|writer| writer.unsent == writer.buffer.len());
        let is_answered = peer == Peer::Relay || writers.iter().all(|it| it.outstanding_bytes == 0);
        let is_read = readers.iter().all(|reader| reader.tally.images >= published.images);
        if is_over && is_written && is_answered && is_read {
            break;
        }
        if !faults.is_empty() || began.elapsed() > time + REST {
            faults.push("it did not come to an end".to_owned());
            break;
        }
    }
    for (number, reader) in readers.iter().enumerate() {
        if reader.tally != published {
            faults.push(format!("subscriber {number}: {:?}, not {published:?}", reader.tally));
        }
    }
    Ok(Carried { published, seconds: (heard - began).as_secs_f64(), faults })
}

impl Publisher {
    fn connect(
        to: SocketAddr,
        peer: Peer,
        names: &[String],
        generator: Generator,
        number: u64,
    ) -> Result<Self, String> {
        let mut stream = connect(to)?;
        let credit_bytes = match peer {
            Peer::Server { credit_bytes } => {
                open_all(&mut stream, names, Access::Write, Policy::Wait, number)?;
                credit_bytes
            }
            Peer::Relay => {
                stream.write_all(&[PUBLISHER]).map_err(told)?;
                u64::MAX
            }
        };
        stream.set_nonblocking(true).map_err(told)?;
        Ok(Self {
            stream,
            generator,
            buffer: Vec::new(),
            unsent: 0,
            outstanding_bytes: 0,
            credit_bytes,
            control: Inbox::new(READ_BYTES),
        })
    }

    fn generate(&mut self, published: &mut Tally) {
        let length = WRITE_BYTES.max(self.generator.image_bytes());
        self.buffer.resize(length, 0);
        let count = self.generator.fill(&mut self.buffer);
        self.buffer.truncate(count);
        self.unsent = 0;
        if self.credit_bytes != u64::MAX {
            self.outstanding_bytes += count as u64;
        }
        for image in self.buffer.chunks_exact(self.generator.image_bytes()) {
            Image::checked_before(image).iter().for_each(|image| published.count(image));
        }
    }

    fn write(&mut self) -> Result<(), String> {
        while self.unsent < self.buffer.len() {
            match self.stream.write(&self.buffer[self.unsent..]) {
                Ok(count) => self.unsent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(told(error)),
            }
        }
        Ok(())
    }

    fn listen(&mut self) -> Result<(), String> {
        let mut returned = 0;
        let mut pongs = Vec::new();
        self.control.read(&mut self.stream, |message| {
            match control(message)? {
                ServerMessage::Ack(ack) => returned += ack.credit,
                ServerMessage::Credit(credit) => returned += credit.bytes,
                ServerMessage::Ping(ping) => Pong { token: ping.token }.encode_to(&mut pongs),
                other => return Err(format!("a publisher was told {other:?}")),
            }
            Ok(())
        })?;
        self.outstanding_bytes = self.outstanding_bytes.saturating_sub(returned);
        if pongs.is_empty() { Ok(()) } else { self.stream.write_all(&pongs).map_err(told) }
    }
}

impl Subscriber {
    fn connect(to: SocketAddr, peer: Peer, names: &[String]) -> Result<Self, String> {
        let mut stream = connect(to)?;
        match peer {
            Peer::Server { .. } => {
                open_all(&mut stream, names, Access::Read, Policy::Wait, 0)?;
            }
            Peer::Relay => stream.write_all(&[SUBSCRIBER]).map_err(told)?,
        }
        stream.set_nonblocking(true).map_err(told)?;
        let inbox = Inbox::new(2 * READ_BYTES);
        Ok(Self { stream, inbox, tally: Tally::default(), next: HashMap::new() })
    }

    fn read(&mut self) -> Result<bool, String> {
        let Self { stream, inbox, tally, next } = self;
        let mut pongs = Vec::new();
        let came = inbox.read(stream, |message| {
            let Some(image) = Image::checked_before(message) else {
                return match control(message)? {
                    ServerMessage::Ping(ping) => {
                        Pong { token: ping.token }.encode_to(&mut pongs);
                        Ok(())
                    }
                    other => Err(format!("a subscriber was told {other:?}")),
                };
            };
            tally.count(&image);
            let sequence = image.first_sequence();
            // The relay stamps nothing.
            if sequence > 0 {
                let next = next.entry(image.document().to_bits()).or_insert(1);
                if *next != sequence {
                    return Err(format!("sequence {sequence} came for {next}"));
                }
                *next += u64::from(image.count());
            }
            Ok(())
        })?;
        if !pongs.is_empty() {
            stream.write_all(&pongs).map_err(told)?;
        }
        Ok(came)
    }
}

pub(crate) fn connect(to: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(to).map_err(told)?;
    stream.set_nodelay(true).map_err(told)?;
    stream.set_read_timeout(Some(REST)).map_err(told)?;
    Ok(stream)
}

/// Says hello and opens every document, whose handles must be their numbers; the credit of each.
pub(crate) fn open_all(
    stream: &mut TcpStream,
    names: &[String],
    access: Access,
    policy: Policy,
    producer: u64,
) -> Result<Vec<u64>, String> {
    let mut out = Vec::new();
    let hello = ClientHello { version_min: 1, version_max: 1, client: "throughput", token: None };
    hello.encode_to(&mut out);
    for (request, name) in (0..).zip(names) {
        let options = OpenOptions { access, start: Start::Live, policy, producer, echo: true };
        Open::new(request, name, options).encode_to(&mut out);
    }
    stream.write_all(&out).map_err(told)?;
    let mut inbox = Inbox::new(READ_BYTES);
    let mut credits = vec![0; names.len()];
    let mut opened = 0;
    while opened < names.len() {
        inbox.read(stream, |message| match control(message)? {
            ServerMessage::Hello(_) => Ok(()),
            ServerMessage::Opened(answer) if answer.handle == answer.request => {
                credits[answer.handle as usize] = answer.credit;
                opened += 1;
                Ok(())
            }
            other => Err(format!("an open was answered by {other:?}")),
        })?;
    }
    Ok(credits)
}

pub(crate) fn control(message: &[u8]) -> Result<ServerMessage<'_>, String> {
    let (kind, body): (Kind, _) =
        split_control(message, &Limits::DEFAULT).map_err(|error| format!("{error:?}"))?;
    ServerMessage::decode(kind, body).map_err(|code| format!("{code:?}"))
}

fn told(error: io::Error) -> String {
    error.to_string()
}
