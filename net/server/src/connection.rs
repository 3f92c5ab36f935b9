//! What a session's driver asks of its connection, and the executor's stream that does it.
//!
//! Belongs to the core of the session. Nothing here waits: what cannot be done now wakes the task
//! later. The driver is generic over it, so that seeds can run it over a connection that is short,
//! full, interrupted, lacking or reset whenever they like.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use glommio::timer::Timer;

use crate::socket::send_vectored;

/// How long a socket is left alone when the system lacks something for it.
const SOON: Duration = Duration::from_millis(1);

/// A connection as the task of its session has it.
pub trait Connection {
    /// Reads into `room`; 0 is the end.
    fn poll_receive(
        &mut self,
        room: &mut [u8],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>>;

    /// Sends as much of `bytes` as is taken.
    fn poll_send(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Poll<io::Result<usize>>;

    /// Says that nothing more will be sent.
    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Wakes the task after a short while.
    fn wake_soon(&mut self, context: &mut Context<'_>);
}

/// The same connection as the stages of its core have it.
pub trait Outgoing {
    /// Sends as much of `slices`, in order, as is taken at once.
    ///
    /// # Errors
    /// If nothing is taken. A socket that is full, interrupted, or lacks memory or buffers is tried
    /// again; any other error is the end.
    fn send(&self, slices: &[&[u8]]) -> io::Result<usize>;
}

/// Whether the connection is still there although a call has failed: full, interrupted, or the
/// system is short of memory or of buffers.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, OutOfMemory, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted | OutOfMemory)
        || error.raw_os_error() == Some(libc::ENOBUFS)
}

/// A socket of the executor. Its type names TCP, but does nothing that a Unix socket does not do;
/// and only that type tells its descriptor.
pub(crate) struct Socket {
    stream: TcpStream,
    soon: Option<Timer>,
}

impl Socket {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, soon: None }
    }

    /// The stages' side; for as long as the session is open, which is no longer than this.
    pub fn outgoing(&self) -> Descriptor {
        Descriptor(self.stream.as_raw_fd())
    }
}

impl Connection for Socket {
    #[inline]
    fn poll_receive(
        &mut self,
        room: &mut [u8],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(context, room)
    }

    #[inline]
    fn poll_send(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context)
    }

    fn wake_soon(&mut self, context: &mut Context<'_>) {
        let timer = self.soon.insert(Timer::new(SOON));
        if pin!(timer).poll(context).is_ready() {
            context.waker().wake_by_ref();
        }
    }
}

/// The descriptor of a [`Socket`].
#[derive(Debug)]
pub(crate) struct Descriptor(RawFd);

impl Outgoing for Descriptor {
    #[inline]
    fn send(&self, slices: &[&[u8]]) -> io::Result<usize> {
        send_vectored(self.0, slices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_passes_and_a_loss_does_not() {
        for code in [libc::EAGAIN, libc::EINTR, libc::ENOBUFS, libc::ENOMEM] {
            assert!(is_passing(&io::Error::from_raw_os_error(code)), "{code}");
        }
        for code in [libc::EPIPE, libc::ECONNRESET, libc::EBADF, libc::ETIMEDOUT, libc::ENOTCONN] {
            assert!(!is_passing(&io::Error::from_raw_os_error(code)), "{code}");
        }
    }
}
