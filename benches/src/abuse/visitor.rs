//! One hostile connection: a non-blocking socket that plays a script, and hears why it was ended.
//!
//! Belongs to its crowd, which lets it do one small step at a time. It never waits, and keeps what
//! the server said only until a message is whole.

use std::io::{self, ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use deltaworks_image::{Kind, Limits};
use deltaworks_protocol::ServerMessage;
use deltaworks_protocol::message::split_control;
use socket2::{Domain, Protocol, Socket, Type};

use crate::relay::whole_messages;

/// Bytes of one write or read at most, so that a step stays short.
pub const STEP_BYTES: usize = 64 << 10;

/// A connection that is not accepted for this long is given up.
const CONNECT_NS: Duration = Duration::from_secs(10);

/// Bytes of unread messages that are kept to find their borders; more than any control message.
const INBOX_BYTES_MAX: usize = 1 << 20;

/// What a hostile connection does, one after the other; behind the last it closes.
#[derive(Clone, Debug)]
pub enum Act {
    /// Sends this as fast as it is taken.
    Send(Rc<[u8]>),
    /// Sends this again and again without end, and reads what comes.
    Flood(Rc<[u8]>),
    /// Sends this, `piece` bytes every `every`; listens meanwhile.
    Trickle {
        /// What is sent.
        bytes: Rc<[u8]>,
        /// Bytes at once.
        piece: usize,
        /// Time between two pieces.
        every: Duration,
    },
    /// Reads until a message of this kind has come.
    Await(Kind),
    /// Reads until the server ends the connection.
    ReadToEnd,
    /// Reads `bytes` every `every`, without end.
    ReadSlowly {
        /// Bytes at once.
        bytes: usize,
        /// Time between two reads.
        every: Duration,
    },
    /// Neither reads nor sends any more.
    Hold,
    /// Sends no more, and says so.
    ShutWrite,
    /// Ends with a reset.
    Reset,
}

/// How a visit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The script was played to its end.
    Played,
    /// The server ended the session with this number.
    Told(u16),
    /// The server ended the connection, and no number came.
    Untold,
    /// It was not accepted in time, or the system had no port left.
    Unreached,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There was nothing to do.
    Idle,
    /// Something was done.
    Moved,
    /// The visit is over.
    Over(End),
}

/// One connection and its place in its script.
#[derive(Debug)]
pub struct Visitor {
    socket: Socket,
    script: Rc<[Act]>,
    at: usize,
    /// Bytes sent of what the act sends.
    sent: usize,
    /// When the act's next piece is due, or connecting is given up.
    due: Instant,
    is_connected: bool,
    inbox: Vec<u8>,
    /// Kinds that have come, a bit each.
    heard: u32,
    told: Option<u16>,
}

impl Visitor {
    /// A connection to `to` from the loopback address `from`, on its way; with a small receive
    /// buffer if it is not going to read.
    ///
    /// # Errors
    /// If the system gives no socket or no port.
    pub fn connect(
        to: SocketAddr,
        from: Ipv4Addr,
        receive_bytes: Option<usize>,
        script: Rc<[Act]>,
        now: Instant,
    ) -> io::Result<Visitor> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.bind(&SocketAddr::new(IpAddr::V4(from), 0).into())?;
        match socket.connect(&to.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        let due = now + CONNECT_NS;
        let (inbox, script) = (Vec::new(), script);
        Ok(Visitor {
            socket,
            script,
            at: 0,
            sent: 0,
            due,
            is_connected: false,
            inbox,
            heard: 0,
            told: None,
        })
    }

    /// Whether its script ends with the server's end of the connection.
    pub fn awaits_its_end(&self) -> bool {
        matches!(self.script.last(), Some(Act::ReadToEnd))
    }

    /// Does a little; `scratch` has [`STEP_BYTES`].
    pub fn step(&mut self, now: Instant, scratch: &mut [u8]) -> Step {
        if !self.is_connected {
            if self.socket.peer_addr().is_ok() {
                self.is_connected = true;
                self.due = now;
                return Step::Moved;
            }
            let is_over = now >= self.due || !matches!(self.socket.take_error(), Ok(None));
            return if is_over { Step::Over(End::Unreached) } else { Step::Idle };
        }
        let Some(act) = self.script.get(self.at).cloned() else {
            return Step::Over(self.told.map_or(End::Played, End::Told));
        };
        match act {
            Act::Send(bytes) => self.send(&bytes, now, scratch),
            Act::Flood(bytes) => self.flood(&bytes, scratch),
            Act::Trickle { bytes, piece, every } => {
                self.trickle(&bytes, piece, every, now, scratch)
            }
            Act::Await(kind) if self.heard & bit(kind) != 0 => self.next(now),
            Act::Await(_) => self.read(scratch),
            Act::ReadToEnd => self.read(scratch),
            Act::ReadSlowly { .. } if now < self.due => Step::Idle,
            Act::ReadSlowly { bytes, every } => {
                self.due = now + every;
                let bytes = bytes.min(scratch.len());
                self.read(&mut scratch[..bytes])
            }
            Act::Hold => Step::Idle,
            // What the server has ended already cannot be shut.
            Act::ShutWrite => match self.socket.shutdown(Shutdown::Write) {
                Ok(()) => self.next(now),
                Err(_) => self.read_the_end(scratch),
            },
            Act::Reset => {
                // Without lingering, closing resets; if it is refused, the end is a plain one.
                let _ = self.socket.set_linger(Some(Duration::ZERO));
                Step::Over(End::Played)
            }
        }
    }

    fn next(&mut self, now: Instant) -> Step {
        self.at += 1;
        self.sent = 0;
        self.due = now;
        Step::Moved
    }

    fn send(&mut self, bytes: &[u8], now: Instant, scratch: &mut [u8]) -> Step {
        let end = bytes.len().min(self.sent + STEP_BYTES);
        match (&self.socket).write(&bytes[self.sent..end]) {
            Ok(count) => {
                self.sent += count;
                if self.sent == bytes.len() { self.next(now) } else { Step::Moved }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.listen(scratch),
            Err(_) => self.read_the_end(scratch),
        }
    }

    fn flood(&mut self, bytes: &[u8], scratch: &mut [u8]) -> Step {
        let end = bytes.len().min(self.sent + STEP_BYTES);
        let sent = match (&self.socket).write(&bytes[self.sent..end]) {
            Ok(count) => {
                self.sent = (self.sent + count) % bytes.len();
                Step::Moved
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Step::Idle,
            Err(_) => return self.read_the_end(scratch),
        };
        match self.read(scratch) {
            Step::Idle => sent,
            step => step,
        }
    }

    fn trickle(
        &mut self,
        bytes: &[u8],
        piece: usize,
        every: Duration,
        now: Instant,
        scratch: &mut [u8],
    ) -> Step {
        match self.listen(scratch) {
            Step::Idle if now >= self.due => {}
            step => return step,
        }
        let end = bytes.len().min(self.sent + piece);
        match (&self.socket).write(&bytes[self.sent..end]) {
            Ok(count) => {
                self.sent += count;
                self.due = now + every;
                if self.sent == bytes.len() { self.next(now) } else { Step::Moved }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Step::Idle,
            Err(_) => self.read_the_end(scratch),
        }
    }

    /// Reads what is there; the end of the connection may come with it.
    fn read(&mut self, scratch: &mut [u8]) -> Step {
        match (&self.socket).read(scratch) {
            Ok(0) => Step::Over(self.ended()),
            Ok(count) => {
                self.hear(&scratch[..count]);
                Step::Moved
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Step::Idle,
            Err(_) => Step::Over(self.ended()),
        }
    }

    /// Looks whether the server has ended the session, if it said anything.
    fn listen(&mut self, scratch: &mut [u8]) -> Step {
        let mut first = [MaybeUninit::uninit()];
        match self.socket.peek(&mut first) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Step::Idle,
            _ => self.read(scratch),
        }
    }

    /// The server takes no more: what it said before that is still there.
    fn read_the_end(&mut self, scratch: &mut [u8]) -> Step {
        loop {
            match self.read(scratch) {
                Step::Moved => {}
                Step::Idle => return Step::Over(self.ended()),
                over => return over,
            }
        }
    }

    fn ended(&self) -> End {
        self.told.map_or(End::Untold, End::Told)
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
        let whole = whole_messages(&self.inbox);
        let mut rest = &self.inbox[..whole];
        while let Some(prelude) = rest.first_chunk::<4>() {
            let (message, after) = rest.split_at(u32::from_le_bytes(*prelude) as usize);
            rest = after;
            let kind = message.get(4).and_then(|kind| Kind::from_number(*kind));
            self.heard |= kind.map_or(0, bit);
            let Ok((kind, body)) = split_control(message, &Limits::HARD) else { continue };
            if let Ok(ServerMessage::Closed(closed)) = ServerMessage::decode(kind, body)
                && closed.handle.is_none()
            {
                self.told = Some(closed.code);
            }
        }
        self.inbox.drain(..whole);
        if self.inbox.len() > INBOX_BYTES_MAX {
            self.inbox = Vec::new();
        }
        if self.inbox.is_empty() {
            self.inbox = Vec::new();
        }
    }
}

fn bit(kind: Kind) -> u32 {
    1 << kind.number()
}
