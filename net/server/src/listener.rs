//! Listening sockets: bound to an address or a name, or inherited from who started the process.
//!
//! Belong to the doorkeeper's thread once the server runs. They never wait: accepting tells
//! `WouldBlock`. When the kernel's queue of one is full, the kernel lets newcomers wait or refuses
//! them; how long the queue may be is the system's limit, `net.core.somaxconn`.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrLike, SockaddrStorage, bind, getsockname,
    getsockopt, listen, setsockopt, socket, sockopt,
};

use crate::peer::{Credentials, Peer};
use crate::unix_socket::{SocketName, listen_at};

/// A listening socket that who started the process has made, and may go on using after it.
#[derive(Debug)]
pub enum Inherited {
    /// For TCP connections.
    Tcp(TcpListener),
    /// For Unix connections.
    Unix(UnixListener),
}

impl Inherited {
    /// What the descriptor is. A few system calls.
    ///
    /// # Errors
    /// If it is no listening stream socket of TCP or of a Unix address.
    pub fn from_descriptor(descriptor: OwnedFd) -> io::Result<Self> {
        let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, why);
        let is_listening = getsockopt(&descriptor, sockopt::AcceptConn)?;
        if !is_listening || getsockopt(&descriptor, sockopt::SockType)? != SockType::Stream {
            return Err(wrong("no listening stream socket"));
        }
        let address: SockaddrStorage = getsockname(descriptor.as_raw_fd())?;
        match address.family() {
            Some(AddressFamily::Inet | AddressFamily::Inet6) => Ok(Self::Tcp(descriptor.into())),
            Some(AddressFamily::Unix) => Ok(Self::Unix(descriptor.into())),
            _ => Err(wrong("neither TCP nor Unix")),
        }
    }
}

/// A socket that connections come from.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Inherited,
    /// Whether it ends with this process.
    is_own: bool,
    name: Option<SocketName>,
    /// Bytes that the kernel keeps of what a connection has not taken; none leaves it to the system.
    send_buffer_bytes: Option<u32>,
}

impl Listener {
    /// Listens at `address` alone: one of IPv6 takes no IPv4 connections. An address that this
    /// process's predecessor has just left can be had.
    pub fn tcp(address: &SocketAddr) -> io::Result<Self> {
        let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
        let bound = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&bound, sockopt::ReuseAddr, &true)?;
        if address.is_ipv6() {
            setsockopt(&bound, sockopt::Ipv6V6Only, &true)?;
        }
        bind(bound.as_raw_fd(), &SockaddrStorage::from(*address))?;
        listen(&bound, Backlog::MAXALLOWABLE)?;
        let socket = TcpListener::from(bound);
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: Inherited::Tcp(socket),
            is_own: true,
            name: None,
            send_buffer_bytes: None,
        })
    }

    /// Listens at `path`; see [`listen_at`].
    pub fn unix(path: &Path, mode: u32, group: Option<u32>) -> io::Result<Self> {
        let (socket, name) = listen_at(path, mode, group)?;
        socket.set_nonblocking(true)?;
        let socket = Inherited::Unix(socket);
        Ok(Self { socket, is_own: true, name: Some(name), send_buffer_bytes: None })
    }

    pub fn inherited(socket: Inherited) -> io::Result<Self> {
        match &socket {
            Inherited::Tcp(socket) => socket.set_nonblocking(true)?,
            Inherited::Unix(socket) => socket.set_nonblocking(true)?,
        }
        Ok(Self { socket, is_own: false, name: None, send_buffer_bytes: None })
    }

    /// The same, whose connections have send buffers of so many bytes; the kernel takes twice as
    /// much, for what it needs itself, and grows them no more.
    pub fn with_send_buffers(mut self, send_buffer_bytes: Option<u32>) -> Self {
        self.send_buffer_bytes = send_buffer_bytes;
        self
    }

    /// Whether nobody listens any more at its address when this process closes it.
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// The TCP address that it has, with the port that the system gave.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Inherited::Tcp(socket) => socket.local_addr().ok(),
            Inherited::Unix(_) => None,
        }
    }

    /// The path that it has. The kernel still tells the name that one of our own was bound to.
    pub fn unix_path(&self) -> Option<PathBuf> {
        match (&self.name, &self.socket) {
            (Some(name), _) => Some(name.path().to_owned()),
            (None, Inherited::Unix(socket)) => {
                socket.local_addr().ok()?.as_pathname().map(Path::to_path_buf)
            }
            (None, Inherited::Tcp(_)) => None,
        }
    }

    /// The next connection, and who is at its other end.
    ///
    /// # Errors
    /// `WouldBlock` if nobody waits; else see accept(2).
    pub fn accept(&self) -> io::Result<(OwnedFd, Peer)> {
        match &self.socket {
            Inherited::Tcp(socket) => {
                let (stream, address) = socket.accept()?;
                // Both are refused by dead connections, whose first read will tell.
                let _ = stream.set_nodelay(true);
                self.bound_sending(&stream);
                Ok((stream.into(), Peer::Tcp(address)))
            }
            Inherited::Unix(socket) => {
                let (stream, _) = socket.accept()?;
                let credentials = Credentials::of(&stream);
                self.bound_sending(&stream);
                Ok((stream.into(), Peer::Unix(credentials)))
            }
        }
    }

    /// Bounds what the kernel keeps of what the peer has not taken. Refused by dead connections.
    fn bound_sending(&self, connection: &impl AsFd) {
        if let Some(bytes) = self.send_buffer_bytes {
            let _ = setsockopt(connection, sockopt::SndBuf, &(bytes as usize));
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Inherited::Tcp(socket) => socket.as_fd(),
            Inherited::Unix(socket) => socket.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            name.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::net::TcpStream;

    #[test]
    fn an_address_of_ipv6_takes_no_connections_of_ipv4() {
        let all = Listener::tcp(&"[::]:0".parse().expect("an address")).expect("a listener");
        let port = all.tcp_address().expect("TCP").port();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        assert_eq!(all.accept().expect_err("nobody waits").kind(), ErrorKind::WouldBlock);
        let _client = TcpStream::connect(("::1", port)).expect("IPv6");
        let (_socket, Peer::Tcp(address)) = all.accept().expect("a connection") else {
            panic!("TCP")
        };
        assert!(address.ip().is_loopback() && address.is_ipv6());
    }

    #[test]
    fn what_is_inherited_is_looked_at() {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let inherited = Inherited::from_descriptor(tcp.into()).expect("TCP");
        assert!(matches!(inherited, Inherited::Tcp(_)));
        let (stream, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let refused = Inherited::from_descriptor(stream.into()).expect_err("does not listen");
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        assert!(Inherited::from_descriptor(datagrams.into()).is_err());
        let file = std::fs::File::open(".").expect("a folder");
        assert!(Inherited::from_descriptor(file.into()).is_err());
    }

    #[test]
    fn what_is_accepted_delays_nothing_and_dies_with_exec() {
        let listener = Listener::tcp(&"127.0.0.1:0".parse().expect("an address")).expect("one");
        let _client = TcpStream::connect(listener.tcp_address().expect("TCP")).expect("served");
        let (socket, _) = listener.accept().expect("a connection");
        assert!(getsockopt(&socket, sockopt::TcpNoDelay).expect("an option"));
        for descriptor in [socket.as_fd(), listener.as_fd()] {
            let flags =
                std::fs::read_to_string(format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd()));
            let flags = flags.expect("it is open");
            let octal = flags.lines().find_map(|line| line.strip_prefix("flags:")).expect("flags");
            let flags = i32::from_str_radix(octal.trim(), 8).expect("a number");
            assert_ne!(flags & libc::O_CLOEXEC, 0, "{octal}");
        }
    }

    #[test]
    fn a_peer_that_takes_nothing_holds_no_more_of_the_kernel_than_was_said() {
        let taken = |listener: Listener| {
            let _client = TcpStream::connect(listener.tcp_address().expect("TCP")).expect("served");
            let (socket, _) = listener.accept().expect("a connection");
            let stream = TcpStream::from(socket);
            stream.set_nonblocking(true).expect("an option");
            let mut taken = 0;
            while let Ok(count) = std::io::Write::write(&mut &stream, &[0; 1 << 16]) {
                taken += count;
            }
            taken
        };
        let listener = || Listener::tcp(&"127.0.0.1:0".parse().expect("an address")).expect("one");
        let (bounded, free) = (listener().with_send_buffers(Some(8192)), listener());
        let (bounded, free) = (taken(bounded), taken(free));
        assert!(bounded * 2 < free, "{bounded} bytes with a bound, {free} without");
    }

    #[test]
    fn a_port_can_be_had_again_while_its_connections_are_remembered() {
        let listener = Listener::tcp(&"127.0.0.1:0".parse().expect("an address")).expect("one");
        let address = listener.tcp_address().expect("TCP");
        let client = TcpStream::connect(address).expect("served");
        drop(listener.accept().expect("a connection"));
        drop(client);
        drop(listener);
        Listener::tcp(&address).expect("the same again");
    }
}
