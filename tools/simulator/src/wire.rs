//! A connection: bytes on their way in both directions, and all that can go wrong with them.
//!
//! Both ends are on one thread. What the client has said is on its way until a step lets some of it
//! arrive, and may be cut anywhere; what the server says stands in a buffer of bounded room until the
//! client takes it. Calls at the server's end fail as those of a kernel do. What the server does with
//! an end that it has let go is a fault, and panics.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use deltaworks_server::inline::{Connection, Outgoing};

use crate::dice::Dice;

/// How a connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// By a reset: what was on its way is gone, and every call tells so.
    Reset,
    /// The client is gone: what had arrived is read, and what is written breaks the pipe.
    Gone,
}

/// Bytes in a row, taken from the front.
#[derive(Debug, Default)]
struct Pipe {
    bytes: Vec<u8>,
    start: usize,
}

impl Pipe {
    fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The first `count` bytes, which are gone afterwards.
    fn take(&mut self, count: usize) -> &[u8] {
        self.start += count;
        &self.bytes[self.start - count..self.start]
    }
}

/// What both ends share.
#[derive(Debug)]
pub struct Wire {
    dice: Dice,
    /// How often, of a hundred calls, something goes wrong that passes.
    trouble: u32,
    /// From the client: what of it has arrived at the server is the front.
    inbound: Pipe,
    arrived: usize,
    outbound: Pipe,
    /// What the buffer towards the client holds.
    room: usize,
    loss: Option<Loss>,
    /// The client has said that it will send no more.
    is_left: bool,
    is_finished: bool,
    is_released: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    soon: Option<Waker>,
}

/// A wire, from either end.
pub type SharedWire = Rc<RefCell<Wire>>;

impl Wire {
    /// A connection that was just made.
    pub fn new(dice: Dice, trouble: u32, room: usize) -> SharedWire {
        Rc::new(RefCell::new(Self {
            dice,
            trouble,
            inbound: Pipe::default(),
            arrived: 0,
            outbound: Pipe::default(),
            room,
            loss: None,
            is_left: false,
            is_finished: false,
            is_released: false,
            reader: None,
            writer: None,
            soon: None,
        }))
    }

    /// The client says something.
    pub fn say(&mut self, bytes: &[u8]) {
        if self.loss.is_none() && !self.is_left {
            self.inbound.push(bytes);
        }
    }

    /// Bytes of the client's that the server has not read.
    pub fn unread(&self) -> usize {
        self.inbound.len()
    }

    /// Bytes of the server's that the client has not taken.
    pub fn untaken(&self) -> usize {
        self.outbound.len()
    }

    /// Whether the server finds no room.
    pub fn is_full(&self) -> bool {
        self.outbound.len() >= self.room
    }

    /// How the connection was lost, if it was.
    pub fn loss(&self) -> Option<Loss> {
        self.loss
    }

    /// Whether the server has let its end go.
    pub fn is_released(&self) -> bool {
        self.is_released
    }

    /// Whether the server has said that it will send no more.
    pub fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// The client closes: it says no more, and has taken what it wanted.
    pub fn leave(&mut self) {
        self.is_left = true;
    }

    /// Changes what the buffer towards the client holds.
    pub fn set_room(&mut self, room: usize) {
        self.room = room;
    }

    /// From now on nothing goes wrong that passes.
    pub fn calm(&mut self) {
        self.trouble = 0;
    }

    /// Some of what is on its way to the server arrives; returns whether any did.
    pub fn arrive(&mut self, count: usize) -> bool {
        let before = self.arrived;
        self.arrived = self.inbound.len().min(before + count);
        self.arrived > before
    }

    /// Loses the connection.
    pub fn lose(&mut self, loss: Loss) {
        self.loss = Some(loss);
        if loss == Loss::Reset {
            self.inbound = Pipe::default();
            self.outbound = Pipe::default();
            self.arrived = 0;
        } else {
            // What had not arrived never will.
            let unarrived = self.inbound.len() - self.arrived;
            self.inbound.bytes.truncate(self.inbound.bytes.len() - unarrived);
        }
    }

    /// Tells the server's task what a kernel would: that it may read, write, or that the short
    /// while is over. Returns whether there was anything to tell.
    pub fn notify(&mut self) -> bool {
        let can_read = self.arrived > 0 || self.is_at_end();
        let can_write = !self.is_full() || self.loss.is_some();
        let woken = [
            self.reader.take_if(|_| can_read),
            self.writer.take_if(|_| can_write),
            self.soon.take(),
        ];
        let any = woken.iter().any(Option::is_some);
        woken.into_iter().flatten().for_each(Waker::wake);
        any
    }

    /// The client takes at most `count` bytes: `take` sees them.
    pub fn take(&mut self, count: usize, take: impl FnOnce(&[u8])) -> usize {
        let count = self.outbound.len().min(count);
        take(self.outbound.take(count));
        count
    }

    fn is_at_end(&self) -> bool {
        self.loss.is_some() || (self.is_left && self.inbound.len() == 0)
    }

    fn passing(&mut self, errors: &[i32]) -> Option<io::Error> {
        if self.trouble == 0 || !self.dice.says(self.trouble) {
            return None;
        }
        Some(io::Error::from_raw_os_error(self.dice.pick(errors)))
    }

    fn write(&mut self, slices: &[&[u8]]) -> io::Result<usize> {
        assert!(!self.is_released, "the descriptor may be another connection's by now");
        assert!(!self.is_finished, "something goes out behind the end");
        match self.loss {
            Some(Loss::Reset) => return Err(io::Error::from_raw_os_error(libc::ECONNRESET)),
            Some(Loss::Gone) => return Err(io::Error::from_raw_os_error(libc::EPIPE)),
            None => {}
        }
        let errors = [libc::EAGAIN, libc::EAGAIN, libc::EINTR, libc::ENOBUFS];
        if let Some(error) = self.passing(&errors) {
            return Err(error);
        }
        let all: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut count = all.min(self.room.saturating_sub(self.outbound.len()));
        if count == 0 && all > 0 {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        if count > 1 && self.trouble > 0 && self.dice.says(self.trouble) {
            count = 1 + self.dice.below(count);
        }
        let mut left = count;
        for slice in slices {
            let part = left.min(slice.len());
            self.outbound.push(&slice[..part]);
            left -= part;
        }
        Ok(count)
    }
}

/// The server's end, as its task has it.
#[derive(Debug)]
pub struct Socket(pub SharedWire);

impl Connection for Socket {
    fn poll_receive(
        &mut self,
        room: &mut [u8],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.0.borrow_mut();
        assert!(!room.is_empty(), "a read without room would look like the end");
        if wire.loss == Some(Loss::Reset) {
            return Poll::Ready(Err(io::Error::from_raw_os_error(libc::ECONNRESET)));
        }
        if let Some(error) = wire.passing(&[libc::EAGAIN, libc::EAGAIN, libc::EINTR]) {
            if error.kind() != io::ErrorKind::WouldBlock {
                return Poll::Ready(Err(error));
            }
            wire.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        if wire.arrived == 0 {
            if wire.is_at_end() {
                return Poll::Ready(Ok(0));
            }
            wire.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = room.len().min(wire.arrived);
        wire.arrived -= count;
        room[..count].copy_from_slice(wire.inbound.take(count));
        Poll::Ready(Ok(count))
    }

    fn poll_send(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut wire = self.0.borrow_mut();
        assert!(!bytes.is_empty());
        match wire.write(&[bytes]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wire.writer = Some(context.waker().clone());
                Poll::Pending
            }
            result => Poll::Ready(result),
        }
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().is_finished = true;
        Poll::Ready(Ok(()))
    }

    fn wake_soon(&mut self, context: &mut Context<'_>) {
        self.0.borrow_mut().soon = Some(context.waker().clone());
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut wire = self.0.borrow_mut();
        wire.is_released = true;
        if wire.inbound.len() > 0 {
            // Unread bytes: a reset, which takes along what has not reached the client.
            wire.lose(Loss::Reset);
        }
    }
}

/// The server's end, as the stages have it.
#[derive(Debug)]
pub struct Out(pub SharedWire);

impl Outgoing for Out {
    fn send(&self, slices: &[&[u8]]) -> io::Result<usize> {
        self.0.borrow_mut().write(slices)
    }
}
