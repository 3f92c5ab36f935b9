//! The relay once more, by completions: what io_uring saves of moving the same bytes.
//!
//! ```text
//!  publisher ──multishot receive──▶ provided buffers ──a send for each subscriber, one enter──▶ subscribers
//! ```
//!
//! One thread and one ring that only it submits to, work of completions deferred until it asks, registered
//! descriptors. What has come goes out as one wave: a send for each subscriber, all handed over in one call, which
//! waits for their results and for what comes next. A slow subscriber stops all, as at the other relay. The
//! kernel fills buffers of 64 KiB that it picks itself, and they are sent from where they lie. For one publisher: a
//! second one is turned away. Each of these ways can be left out, so that it is seen what it brings.
#![expect(unsafe_code, reason = "requests carry addresses that the kernel reads later")]

mod provided;

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{Fd, Napi};
use io_uring::{IoUring, cqueue, opcode};

use self::provided::{BUFFERS, GROUP, Piece, Provided};

/// Places for requests: a send for each of so many subscribers, and some more.
const REQUESTS: u32 = 2048;
/// Connections at most: as many as may have a registered descriptor.
const CONNECTIONS: usize = 1024;

/// Which of the ring's ways are gone.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Ways {
    /// How it is sent.
    #[arg(long, value_enum, default_value_t = Sending::Ring)]
    send: Sending,
    /// Ways to leave out.
    #[arg(long)]
    no_multishot: bool,
    /// Descriptors by their number in the process.
    #[arg(long)]
    no_registered: bool,
    /// Completions whenever the kernel likes, by any thread.
    #[arg(long)]
    no_deferred: bool,
    /// So long the kernel looks at the network's queues before it sleeps; 0 is not at all.
    #[arg(long, default_value_t = 0)]
    busy_poll_us: u32,
}

/// How a wave is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Sending {
    /// A system call for each subscriber.
    Calls,
    /// All in one submission.
    Ring,
    /// The same, from the pages themselves where the kernel can.
    ZeroCopy,
}

/// What a completion is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Of {
    Door,
    End,
    Greeting,
    Receipt,
    Sent,
}

/// A completion's word: what it is of, its wave, its connection.
fn word(of: Of, wave: usize, number: usize) -> u64 {
    (of as u64) << 56 | (wave as u64) << 28 | number as u64
}

fn told(word: u64) -> (Of, usize, usize) {
    let of = match word >> 56 {
        0 => Of::Door,
        1 => Of::End,
        2 => Of::Greeting,
        3 => Of::Receipt,
        _ => Of::Sent,
    };
    let below = (1 << 28) - 1;
    (of, (word >> 28 & below) as usize, (word & below) as usize)
}

enum Connection {
    Unknown(TcpStream),
    Subscriber(TcpStream),
    Publisher(TcpStream),
}

/// What goes to all subscribers at once.
struct Wave {
    pieces: Vec<Piece>,
    slices: Vec<libc::iovec>,
    head: Box<libc::msghdr>,
    bytes: usize,
    /// Sends that still need the pieces.
    needed: usize,
}

struct Relay {
    ring: IoUring,
    ways: Ways,
    provided: Provided,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    has_publisher: bool,
    /// The publisher's receipts have to be asked for again.
    is_mute: Option<usize>,
    came: Vec<Piece>,
    waves: Vec<Wave>,
    /// Sends without a result.
    sending: usize,
}

/// Serves until nobody holds the standard input any more.
///
/// # Errors
/// If the system refuses what it needs.
pub fn serve(ways: Ways) -> Result<(), String> {
    let relay = Relay::new(ways).map_err(|error| format!("io_uring: {error}"))?;
    relay.turn_forever().map_err(|error| error.to_string())
}

impl Relay {
    fn new(ways: Ways) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        if !ways.no_deferred {
            builder.setup_single_issuer().setup_defer_taskrun();
        }
        let ring: IoUring = builder.build(REQUESTS)?;
        if !ways.no_registered {
            ring.submitter().register_files_sparse(CONNECTIONS as u32)?;
        }
        if ways.busy_poll_us > 0 {
            let mut napi = Napi::new().set_busy_poll_timeout(ways.busy_poll_us);
            ring.submitter().register_napi(&mut napi)?;
        }
        let provided = Provided::new(&ring.submitter())?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            ring,
            ways,
            provided,
            listener,
            connections: Vec::new(),
            has_publisher: false,
            is_mute: None,
            came: Vec::new(),
            waves: Vec::new(),
            sending: 0,
        })
    }

    fn turn_forever(mut self) -> io::Result<()> {
        println!("{}", self.listener.local_addr()?);
        io::stdout().flush()?;
        let readable = libc::POLLIN as u32;
        let door = opcode::PollAdd::new(Fd(self.listener.as_raw_fd()), readable).multi(true);
        self.push(door.build().user_data(word(Of::Door, 0, 0)))?;
        let end = opcode::PollAdd::new(Fd(io::stdin().as_raw_fd()), readable);
        self.push(end.build().user_data(word(Of::End, 0, 0)))?;
        let mut completions: Vec<cqueue::Entry> = Vec::new();
        loop {
            // Without the results of all sends there is nothing to do; with them alone only if something came.
            let wanted = self.sending + usize::from(self.came.is_empty());
            match self.ring.submit_and_wait(wanted.max(1)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            completions.extend(self.ring.completion());
            for completion in completions.drain(..) {
                let (of, wave, number) = told(completion.user_data());
                match of {
                    Of::Door => self.let_in()?,
                    Of::End => return Ok(()),
                    Of::Greeting => self.greet(number)?,
                    Of::Receipt => self.receive(number, completion.result(), completion.flags()),
                    Of::Sent => self.sent(wave, number, completion.result(), completion.flags()),
                }
            }
            if self.sending == 0 && !self.came.is_empty() {
                self.pass_on()?;
            }
            if let Some(number) = self.is_mute.take() {
                self.listen(number)?;
            }
        }
    }

    fn push(&mut self, entry: Entry) -> io::Result<()> {
        // SAFETY: what a request points to are provided buffers, which live as long as the process, and the head and
        // slices of a wave, which stay as they are until its last send has completed.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.ring.submit()?;
        }
        Ok(())
    }

    /// A request's descriptor, and the flag that says which kind of number it is.
    fn descriptor(&self, number: usize, stream: &TcpStream) -> (Fd, Flags) {
        if self.ways.no_registered {
            (Fd(stream.as_raw_fd()), Flags::empty())
        } else {
            (Fd(number as i32), Flags::FIXED_FILE)
        }
    }

    fn let_in(&mut self) -> io::Result<()> {
        while let Ok((stream, _)) = self.listener.accept() {
            let number = self.connections.len();
            if number == CONNECTIONS {
                return Ok(());
            }
            // It blocks, or the kernel would not wait for room or bytes itself.
            stream.set_nodelay(true)?;
            if !self.ways.no_registered {
                let raw = [stream.as_raw_fd()];
                self.ring.submitter().register_files_update(number as u32, &raw)?;
            }
            let poll = opcode::PollAdd::new(Fd(stream.as_raw_fd()), libc::POLLIN as u32);
            self.connections.push(Some(Connection::Unknown(stream)));
            self.push(poll.build().user_data(word(Of::Greeting, 0, number)))?;
        }
        Ok(())
    }

    fn greet(&mut self, number: usize) -> io::Result<()> {
        let Some(Connection::Unknown(mut stream)) = self.connections[number].take() else {
            return Ok(());
        };
        let mut role = [0];
        if stream.read_exact(&mut role).is_err() || stream.write_all(b"k").is_err() {
            return self.forget(number);
        }
        if role == *b"s" {
            self.connections[number] = Some(Connection::Subscriber(stream));
            return Ok(());
        }
        if self.has_publisher {
            return self.forget(number);
        }
        self.has_publisher = true;
        self.connections[number] = Some(Connection::Publisher(stream));
        self.listen(number)
    }

    fn forget(&mut self, number: usize) -> io::Result<()> {
        if !self.ways.no_registered {
            self.ring.submitter().register_files_update(number as u32, &[-1])?;
        }
        self.has_publisher &= !matches!(self.connections[number], Some(Connection::Publisher(_)));
        self.connections[number] = None;
        Ok(())
    }

    fn listen(&mut self, number: usize) -> io::Result<()> {
        let Some(Connection::Publisher(stream)) = &self.connections[number] else { return Ok(()) };
        let (descriptor, flags) = self.descriptor(number, stream);
        let receive = if self.ways.no_multishot {
            // A provided buffer's own length is the most that is read.
            let receive = opcode::Recv::new(descriptor, std::ptr::null_mut(), 0);
            receive.buf_group(GROUP).build().flags(flags | Flags::BUFFER_SELECT)
        } else {
            opcode::RecvMulti::new(descriptor, GROUP).build().flags(flags)
        };
        self.push(receive.user_data(word(Of::Receipt, 0, number)))
    }

    fn receive(&mut self, number: usize, result: i32, flags: u32) {
        if let (Some(buffer), true) = (cqueue::buffer_select(flags), result > 0) {
            self.came.push(Piece { buffer, bytes: result as usize });
        }
        let is_over = result <= 0 && result != -libc::ENOBUFS;
        if is_over {
            // What was sent before goes on; with the connection its place is free again.
            let _ = self.forget(number);
        } else if !cqueue::more(flags) {
            self.is_mute = Some(number);
        }
    }

    /// Sends what has come to every subscriber.
    fn pass_on(&mut self) -> io::Result<()> {
        let free = self.waves.iter().position(|wave| wave.needed == 0);
        let place = free.unwrap_or(self.waves.len());
        if free.is_none() {
            self.waves.push(Wave::new());
        }
        self.waves[place].fill(&mut self.came, &self.provided);
        if self.ways.send == Sending::Calls {
            self.call(&self.waves[place]);
        } else {
            let head: *const libc::msghdr = &*self.waves[place].head;
            for number in 0..self.connections.len() {
                let Some(Connection::Subscriber(stream)) = &self.connections[number] else {
                    continue;
                };
                let (descriptor, flags) = self.descriptor(number, stream);
                // All of it or an error: the kernel waits for room by itself.
                let whole = libc::MSG_WAITALL as u32;
                let send = if self.ways.send == Sending::ZeroCopy {
                    opcode::SendMsgZc::new(descriptor, head).flags(whole).build()
                } else {
                    opcode::SendMsg::new(descriptor, head).flags(whole).build()
                };
                self.push(send.flags(flags).user_data(word(Of::Sent, place, number)))?;
                self.waves[place].needed += 1;
            }
        }
        self.sending = self.waves[place].needed;
        if self.sending == 0 {
            self.provided.give_back(&self.waves[place].pieces);
        }
        Ok(())
    }

    fn call(&self, wave: &Wave) {
        let pieces: Vec<&[u8]> = wave.pieces.iter().map(|it| self.provided.bytes(*it)).collect();
        for connection in self.connections.iter().flatten() {
            let Connection::Subscriber(stream) = connection else { continue };
            let mut slices: Vec<IoSlice<'_>> =
                pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            let (mut stream, mut rest) = (stream, &mut slices[..]);
            while !rest.is_empty() {
                match stream.write_vectored(rest) {
                    Ok(count) => IoSlice::advance_slices(&mut rest, count),
                    // It has left.
                    Err(_) => break,
                }
            }
        }
    }

    fn sent(&mut self, place: usize, number: usize, result: i32, flags: u32) {
        if !cqueue::notif(flags) {
            self.sending -= 1;
            if result != self.waves[place].bytes as i32 {
                // It has left.
                let _ = self.forget(number);
            }
        }
        // Zero copy tells the result first, and later that the pages are free.
        if !cqueue::more(flags) {
            let wave = &mut self.waves[place];
            wave.needed -= 1;
            if wave.needed == 0 {
                self.provided.give_back(&wave.pieces);
            }
        }
    }
}

impl Wave {
    fn new() -> Self {
        // SAFETY: an all-zero head is a valid one: no address, no slices.
        let head = Box::new(unsafe { std::mem::zeroed() });
        let slices = Vec::with_capacity(BUFFERS);
        Self { pieces: Vec::with_capacity(BUFFERS), slices, head, bytes: 0, needed: 0 }
    }

    fn fill(&mut self, came: &mut Vec<Piece>, provided: &Provided) {
        self.pieces.clear();
        self.pieces.append(came);
        self.slices.clear();
        self.slices.extend(self.pieces.iter().map(|piece| {
            let bytes = provided.bytes(*piece);
            libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
        }));
        self.bytes = self.pieces.iter().map(|piece| piece.bytes).sum();
        self.head.msg_iov = self.slices.as_mut_ptr();
        self.head.msg_iovlen = self.slices.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_tells_what_was_put_into_it() {
        for of in [Of::Door, Of::End, Of::Greeting, Of::Receipt, Of::Sent] {
            for (wave, number) in [(0, 0), (BUFFERS, CONNECTIONS), (1, 7)] {
                assert_eq!(told(word(of, wave, number)), (of, wave, number));
            }
        }
    }
}
