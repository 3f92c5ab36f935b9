//! A connection in memory that does to its session whatever a seed likes: short reads and writes,
//! a full socket, interruptions, lack of memory and of buffers, a reset, an end.
//!
//! For tests of the driver. Both ends are in one thread; what the server's end calls after it
//! was closed is a fault of the driver, and panics. Bounded by the room that the peer leaves.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::connection::{Connection, Outgoing};

/// Numbers from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ value >> 31
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Yes in `percent` of a hundred.
    pub fn says(&mut self, percent: u32) -> bool {
        self.next() % 100 < u64::from(percent)
    }
}

/// How a connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// By a reset: reading tells so, writing too.
    Reset,
    /// The peer closed, and what is written to it afterwards breaks the pipe.
    Closed,
}

/// What both ends share.
#[derive(Debug)]
pub(crate) struct Wire {
    pub dice: Dice,
    /// How often, of a hundred calls, something goes wrong that passes.
    pub trouble: u32,
    /// What the peer has sent and the server has not read.
    pub inbound: VecDeque<u8>,
    /// What the server has sent and the peer has not taken.
    pub outbound: Vec<u8>,
    /// What may lie there.
    pub room: usize,
    pub loss: Option<Loss>,
    /// The peer has closed in order: it has said all, and taken all.
    pub is_left: bool,
    /// The server has said that it will send no more.
    pub is_finished: bool,
    /// The server has let its end go.
    pub is_released: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    soon: Option<Waker>,
}

impl Wire {
    pub fn new(dice: Dice, trouble: u32, room: usize) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            dice,
            trouble,
            inbound: VecDeque::new(),
            outbound: Vec::new(),
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

    /// Tells the server's task what a kernel would: that it may read, write, or that the short
    /// while is over.
    pub fn notify(&mut self) {
        let can_read = !self.inbound.is_empty() || self.is_left || self.loss.is_some();
        let can_write = self.outbound.len() < self.room || self.loss.is_some();
        let woken = [
            self.reader.take_if(|_| can_read),
            self.writer.take_if(|_| can_write),
            self.soon.take(),
        ];
        woken.into_iter().flatten().for_each(Waker::wake);
    }

    fn passing(&mut self, errors: &[i32]) -> Option<io::Error> {
        if !self.dice.says(self.trouble) {
            return None;
        }
        Some(io::Error::from_raw_os_error(errors[self.dice.below(errors.len())]))
    }

    /// Takes some of `bytes`, or says why not.
    fn write(&mut self, slices: &[&[u8]]) -> io::Result<usize> {
        match self.loss {
            Some(Loss::Reset) => return Err(io::Error::from_raw_os_error(libc::ECONNRESET)),
            Some(Loss::Closed) => return Err(io::Error::from_raw_os_error(libc::EPIPE)),
            None => {}
        }
        let errors = [libc::EAGAIN, libc::EINTR, libc::ENOBUFS, libc::ENOMEM];
        if let Some(error) = self.passing(&errors) {
            return Err(error);
        }
        let all: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut count = all.min(self.room.saturating_sub(self.outbound.len()));
        if count == 0 && all > 0 {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        if count > 1 && self.dice.says(self.trouble * 2) {
            count = 1 + self.dice.below(count);
        }
        let mut left = count;
        for slice in slices {
            let part = left.min(slice.len());
            self.outbound.extend_from_slice(&slice[..part]);
            left -= part;
        }
        Ok(count)
    }
}

/// The server's end, as its task has it.
pub(crate) struct FakeSocket(pub Rc<RefCell<Wire>>);

impl Connection for FakeSocket {
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
        if let Some(error) = wire.passing(&[libc::EAGAIN, libc::EINTR, libc::ENOMEM]) {
            if error.kind() != io::ErrorKind::WouldBlock {
                return Poll::Ready(Err(error));
            }
            wire.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        if wire.inbound.is_empty() {
            if wire.is_left || wire.loss.is_some() {
                return Poll::Ready(Ok(0));
            }
            wire.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let mut count = room.len().min(wire.inbound.len());
        if wire.dice.says(50) {
            let few = if wire.dice.says(50) { count.min(20) } else { count };
            count = 1 + wire.dice.below(few);
        }
        for byte in &mut room[..count] {
            *byte = wire.inbound.pop_front().expect("counted");
        }
        Poll::Ready(Ok(count))
    }

    fn poll_send(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut wire = self.0.borrow_mut();
        assert!(!bytes.is_empty() && !wire.is_finished);
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

impl Drop for FakeSocket {
    fn drop(&mut self) {
        let mut wire = self.0.borrow_mut();
        assert!(!wire.is_released, "a descriptor is closed once");
        wire.is_released = true;
        if !wire.inbound.is_empty() {
            // A reset, which takes along what has not reached the peer.
            wire.outbound.clear();
        }
    }
}

/// The server's end, as the stages have it.
#[derive(Debug)]
pub(crate) struct FakeOutgoing(pub Rc<RefCell<Wire>>);

impl Outgoing for FakeOutgoing {
    fn send(&self, slices: &[&[u8]]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        assert!(!wire.is_released, "the descriptor may be another connection's by now");
        assert!(!wire.is_finished, "something goes out behind the end");
        wire.write(slices)
    }
}
