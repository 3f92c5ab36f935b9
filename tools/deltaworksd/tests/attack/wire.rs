//! A small client over blocking sockets that may send anything, and checks all that it receives.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use deltaworks_image::{BatchBuilder, Image, Kind, Limits, Prelude, check_prelude};
use deltaworks_protocol::Control;
use deltaworks_protocol::ServerMessage;
use deltaworks_protocol::message::{
    Access, ClientHello, Close, Drop, Open, OpenOptions, Ping, Policy, Pong, Start, split_control,
};

use crate::daemon::Daemon;

/// How long anything may take before it counts as a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A connection of either kind.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub fn tcp(daemon: &Daemon) -> Stream {
        Stream::over_tcp(TcpStream::connect(daemon.tcp()).expect("a TCP connection"))
    }

    /// A connection that is there already.
    pub fn over_tcp(stream: TcpStream) -> Stream {
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream.set_write_timeout(Some(PATIENCE)).expect("a time-out");
        Stream::Tcp(stream)
    }

    pub fn unix(daemon: &Daemon) -> Stream {
        Stream::over_unix(UnixStream::connect(daemon.unix()).expect("a Unix connection"))
    }

    /// A connection that is there already.
    pub fn over_unix(stream: UnixStream) -> Stream {
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream.set_write_timeout(Some(PATIENCE)).expect("a time-out");
        Stream::Unix(stream)
    }

    /// Sends all of it; whether the server took it.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = match self {
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Unix(stream) => stream.write_all(bytes),
        };
        match sent {
            Ok(()) => true,
            Err(error) if is_end(error.kind()) => false,
            Err(error) => panic!("the server takes nothing: {error}"),
        }
    }

    /// Some bytes; `None` at the end.
    fn receive(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let received = match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        };
        match received {
            Ok(0) => None,
            Ok(count) => Some(count),
            Err(error) if is_end(error.kind()) => None,
            Err(error) => panic!("the server says nothing: {error}"),
        }
    }

    pub fn into_descriptor(self) -> OwnedFd {
        match self {
            Stream::Tcp(stream) => stream.into(),
            Stream::Unix(stream) => stream.into(),
        }
    }
}

fn is_end(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected)
}

/// What the server told, as values of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Hello { image_bytes_max: u32, deltas_max: u32 },
    Opened(Opened),
    Ack { handle: u32, number: u64, sequence: u64, credit: u64, duplicates: u32 },
    Error(Refusal),
    Gap { handle: u32, from: u64, to: u64, policy: u8, behind_bytes: u64 },
    Credit { handle: u32, bytes: u64 },
    Ping(u64),
    Pong(u64),
    Closed { handle: Option<u32>, code: u16 },
    Batch(Batch),
    Info { first_sequence: u64, map: Vec<u8> },
    End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub request: u32,
    pub handle: u32,
    pub document: u64,
    pub epoch: u64,
    pub next_sequence: u64,
    pub credit: u64,
    pub producer_sequence: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Refusal {
    pub code: u16,
    pub text: String,
    pub handle: Option<u32>,
    pub request: Option<u32>,
    pub number: Option<u64>,
    pub delta: Option<u32>,
    pub instance_path: Option<String>,
    pub schema_path: Option<String>,
    pub offset: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Slot and generation, as in `opened`.
    pub document: u64,
    pub first_sequence: u64,
    pub number: u64,
    pub deltas: Vec<Vec<u8>>,
}

/// One connection, its hello said or not.
pub(crate) struct Peer {
    stream: Stream,
    buffer: Vec<u8>,
    start: usize,
    requests: u32,
}

impl Peer {
    /// A connection that has said nothing.
    pub fn silent(stream: Stream) -> Peer {
        Peer { stream, buffer: Vec::new(), start: 0, requests: 0 }
    }

    /// A connection whose hello was answered.
    pub fn over(stream: Stream) -> Peer {
        let mut peer = Peer::silent(stream);
        assert!(peer.say(&HELLO));
        let told = peer.next();
        assert!(matches!(told, Told::Hello { .. }), "{told:?}");
        peer
    }

    pub fn unix(daemon: &Daemon) -> Peer {
        Peer::over(Stream::unix(daemon))
    }

    pub fn tcp(daemon: &Daemon) -> Peer {
        Peer::over(Stream::tcp(daemon))
    }

    /// Sends a control message; whether the server took it.
    pub fn say(&mut self, message: &impl Control) -> bool {
        self.stream.send(&encoded(message))
    }

    /// Sends any bytes; whether the server took them.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.send(bytes)
    }

    pub fn publish(&mut self, handle: u32, number: u64, deltas: &[&[u8]]) -> bool {
        self.send(&batch(handle, number, deltas))
    }

    pub fn close(&mut self, handle: u32) {
        assert!(self.say(&Close { handle: Some(handle) }));
    }

    pub fn drop_document(&mut self, handle: u32) {
        assert!(self.say(&Drop { handle }));
    }

    pub fn into_stream(self) -> Stream {
        self.stream
    }

    /// Asks for a document; the request's number.
    pub fn ask(&mut self, name: &str, options: OpenOptions) -> u32 {
        self.requests += 1;
        let request = self.requests;
        assert!(self.say(&Open::new(request, name, options)));
        request
    }

    /// Opens a document, which must be granted next.
    pub fn open(&mut self, name: &str, options: OpenOptions) -> Opened {
        let request = self.ask(name, options);
        match self.next() {
            Told::Opened(opened) if opened.request == request => opened,
            told => panic!("{name} is not opened: {told:?}"),
        }
    }

    pub fn write(&mut self, name: &str, producer: u64) -> Opened {
        self.open(name, writing(producer))
    }

    pub fn read(&mut self, name: &str, start: Start, policy: Policy) -> Opened {
        self.open(name, reading(start, policy))
    }

    /// The next message, checked; waits for it, but not for ever.
    pub fn next(&mut self) -> Told {
        let mut pings = 0;
        loop {
            match self.next_unanswered() {
                Told::Ping(token) => {
                    // Answered as every client does; that the server asked is no news.
                    self.say(&Pong { token });
                    pings += 1;
                    assert!(pings < 3, "the server says nothing but ping");
                }
                told => return told,
            }
        }
    }

    /// The next message, also if it is a ping, which is left without an answer.
    pub fn next_unanswered(&mut self) -> Told {
        loop {
            if let Some(told) = self.take() {
                return told;
            }
            self.buffer.drain(..core::mem::take(&mut self.start));
            let mut piece = [0; 16 << 10];
            match self.stream.receive(&mut piece) {
                Some(count) => self.buffer.extend_from_slice(&piece[..count]),
                None => return Told::End,
            }
        }
    }

    /// Bytes that were received and are no whole message.
    pub fn left_over(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Everything up to the end of the connection, which must come.
    pub fn rest(&mut self) -> Vec<Told> {
        let began = Instant::now();
        let mut all = Vec::new();
        loop {
            match self.next() {
                Told::End => return all,
                told => all.push(told),
            }
            assert!(began.elapsed() < PATIENCE, "no end after {:?}", all.last());
        }
    }

    /// The acknowledgement that covers `number`; what came before it is returned, too.
    pub fn until_acked(&mut self, of: u32, up_to: u64) -> Vec<Told> {
        let mut all = Vec::new();
        loop {
            let told = self.next();
            let is_last = matches!(&told,
                Told::Ack { handle, number, .. } if *handle == of && *number >= up_to);
            assert_ne!(told, Told::End, "before the acknowledgement, after {all:?}");
            all.push(told);
            if is_last {
                return all;
            }
        }
    }

    /// The session is ended by `code`: told as error, then as closed, then the connection ends.
    /// What came before is returned.
    pub fn expect_end(&mut self, code: u16) -> Vec<Told> {
        let mut all = self.rest();
        assert_eq!(self.left_over(), 0, "the last message is whole");
        let closed = all.pop();
        assert_eq!(closed, Some(Told::Closed { handle: None, code }), "after {all:?}");
        let error = all.pop();
        let is_told =
            matches!(&error, Some(Told::Error(it)) if it.code == code && !it.text.is_empty());
        assert!(is_told, "{error:?} is not {code}");
        all
    }

    /// An answered ping: the session lives, and everything sent before was taken.
    pub fn is_alive(&mut self) -> Vec<Told> {
        self.requests += 1;
        let token = u64::from(self.requests) << 32;
        assert!(self.say(&Ping { token }));
        let mut all = Vec::new();
        loop {
            match self.next() {
                Told::Pong(answer) => {
                    assert_eq!(answer, token);
                    return all;
                }
                Told::End => panic!("the session has ended: {all:?}"),
                told => all.push(told),
            }
        }
    }

    /// Sends the rest of a batch; how many acknowledgements came before the answered ping.
    pub fn is_alive_behind(&mut self, rest: &[u8]) -> usize {
        assert!(self.send(rest));
        let told = self.is_alive();
        let more = |it: &&Told| matches!(it, Told::Ack { .. });
        let count = told.iter().filter(more).count();
        if count > 0 { count } else { usize::from(matches!(self.next(), Told::Ack { .. })) }
    }

    fn take(&mut self) -> Option<Told> {
        let rest = &self.buffer[self.start..];
        let prelude = check_prelude(rest.first_chunk()?, &Limits::HARD).expect("a prelude");
        let message = rest.get(..prelude.bytes as usize)?;
        let told = told(prelude, message);
        self.start += prelude.bytes as usize;
        Some(told)
    }
}

fn told(prelude: Prelude, message: &[u8]) -> Told {
    if prelude.kind.is_image() {
        return told_image(message);
    }
    let (kind, body) = split_control(message, &Limits::HARD).expect("a control message");
    match ServerMessage::decode(kind, body).expect("a message of a server") {
        ServerMessage::Hello(it) => {
            Told::Hello { image_bytes_max: it.batch_bytes_max, deltas_max: it.deltas_per_batch_max }
        }
        ServerMessage::Opened(it) => Told::Opened(Opened {
            request: it.request,
            handle: it.handle,
            document: it.document,
            epoch: it.epoch,
            next_sequence: it.next_sequence,
            credit: it.credit,
            producer_sequence: it.producer_sequence,
        }),
        ServerMessage::Ack(it) => Told::Ack {
            handle: it.handle,
            number: it.producer_sequence,
            sequence: it.sequence,
            credit: it.credit,
            duplicates: it.duplicates,
        },
        ServerMessage::Error(it) => Told::Error(Refusal {
            code: it.code,
            text: it.text.to_owned(),
            handle: it.handle,
            request: it.request,
            number: it.producer_sequence,
            delta: it.delta,
            instance_path: it.instance_path.map(str::to_owned),
            schema_path: it.schema_path.map(str::to_owned),
            offset: it.offset,
        }),
        ServerMessage::Gap(it) => Told::Gap {
            handle: it.handle,
            from: it.from,
            to: it.to,
            policy: it.policy,
            behind_bytes: it.behind_bytes,
        },
        ServerMessage::Credit(it) => Told::Credit { handle: it.handle, bytes: it.bytes },
        ServerMessage::Ping(it) => Told::Ping(it.token),
        ServerMessage::Pong(it) => Told::Pong(it.token),
        ServerMessage::Closed(it) => Told::Closed { handle: it.handle, code: it.code },
    }
}

fn told_image(message: &[u8]) -> Told {
    let image = Image::parse(message).expect("a whole image");
    image.verify().expect("both checksums agree");
    let first_sequence = image.first_sequence();
    if image.kind() == Kind::Info {
        return Told::Info { first_sequence, map: image.info_map().to_vec() };
    }
    let document = image.document();
    Told::Batch(Batch {
        document: u64::from(document.slot) | u64::from(document.generation) << 32,
        first_sequence,
        number: image.producer_sequence(),
        deltas: image.deltas().map(<[u8]>::to_vec).collect(),
    })
}

/// The hello of these tests.
pub(crate) const HELLO: ClientHello<'static> =
    ClientHello { version_min: 1, version_max: 1, client: "attack", token: None };

pub(crate) fn encoded(message: &impl Control) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode_to(&mut bytes);
    bytes
}

/// A batch's image; its limits are the format's, not the server's.
pub(crate) fn batch(handle: u32, number: u64, deltas: &[&[u8]]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Limits::HARD);
    for delta in deltas {
        builder.append(delta).expect("a delta");
    }
    builder.finish(handle, number).expect("a batch")
}

pub(crate) fn writing(producer: u64) -> OpenOptions {
    OpenOptions {
        access: Access::Write,
        start: Start::Live,
        policy: Policy::Gap,
        producer,
        echo: true,
    }
}

pub(crate) fn reading(start: Start, policy: Policy) -> OpenOptions {
    OpenOptions { access: Access::Read, start, policy, producer: 0, echo: true }
}
