//! The one system call that the executor does not offer: a vectored send that never waits.
//!
//! Belongs to the core of the session. Up to [`SLICES`] byte ranges leave in one call, straight
//! from chunk memory; what the kernel does not take stays with the caller.
#![expect(unsafe_code, reason = "sendmsg(2) takes raw pointers")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

/// Byte ranges in one send.
pub(crate) const SLICES: usize = 66;

/// Sends as much of `slices`, in order, as the socket takes at once; returns how many bytes went.
///
/// # Errors
/// `WouldBlock` if it takes nothing now; any other error means that the connection is gone.
pub(crate) fn send_vectored(fd: RawFd, slices: &[&[u8]]) -> io::Result<usize> {
    let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; SLICES];
    let mut count = 0;
    for slice in slices.iter().filter(|slice| !slice.is_empty()).take(SLICES) {
        vectors[count] =
            libc::iovec { iov_base: slice.as_ptr().cast_mut().cast(), iov_len: slice.len() };
        count += 1;
    }
    if count == 0 {
        return Ok(0);
    }
    // SAFETY: all-zero is a valid msghdr: no name, no control data, no flags.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = vectors.as_mut_ptr();
    message.msg_iovlen = count as _;
    loop {
        // SAFETY: the vectors name `count` slices that are borrowed for this call, which only
        // reads them and returns before the borrows end.
        let sent = unsafe { libc::sendmsg(fd, &message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
        if sent >= 0 {
            return Ok(sent as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Sends all of `bytes` at once, or fails: for a few words to a socket that has had none.
///
/// # Errors
/// `WouldBlock` if it does not take all of them; any other error means that the connection is gone.
pub(crate) fn send_once(socket: &impl AsFd, bytes: &[u8]) -> io::Result<()> {
    let sent = send_vectored(socket.as_fd().as_raw_fd(), &[bytes])?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn slices_leave_in_order_and_a_full_socket_says_so() {
        let (sender, mut receiver) = UnixStream::pair().expect("a socket pair");
        let big = vec![7; 1 << 20];
        let sent = send_vectored(sender.as_raw_fd(), &[b"ab", b"", b"c", &big]).expect("sends");
        assert!(sent > 3 && sent < big.len());
        let full = send_vectored(sender.as_raw_fd(), &[&big]);
        assert_eq!(full.expect_err("full").kind(), io::ErrorKind::WouldBlock);
        let mut start = [0; 4];
        receiver.read_exact(&mut start).expect("reads");
        assert_eq!(&start, b"abc\x07");
        drop(receiver);
        let gone = send_vectored(sender.as_raw_fd(), &[b"x"]).expect_err("gone");
        assert_ne!(gone.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(send_vectored(sender.as_raw_fd(), &[b""]).expect("nothing to send"), 0);
    }
}
