//! Who is at the other end of a connection, as the kernel tells it.
//!
//! Read once, when the connection is accepted, and never trusted for more than limits and lines
//! in a log: an address may be shared, and a process may have handed its socket on. It never asks
//! the peer itself.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, sockopt};

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Of a TCP connection: where it comes from.
    Tcp(SocketAddr),
    /// Of a Unix connection: who connected; none if the kernel would not say.
    Unix(Option<Credentials>),
}

/// Who connected to a Unix socket, at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The process; 0 if it lives where this one cannot see it.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl Credentials {
    /// Those of the peer of a connected Unix socket. One system call.
    pub(crate) fn of(socket: impl AsFd) -> Option<Self> {
        let told = getsockopt(&socket, sockopt::PeerCredentials).ok()?;
        let pid = u32::try_from(told.pid()).unwrap_or(0);
        Some(Self { pid, uid: told.uid(), gid: told.gid() })
    }
}

impl Peer {
    /// `tcp` or `unix`.
    pub fn transport(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Unix(_) => "unix",
        }
    }

    /// Whose sessions are counted together.
    pub(crate) fn origin(&self) -> Origin {
        match self {
            Self::Tcp(address) => match address.ip().to_canonical() {
                IpAddr::V4(address) => Origin::V4(address.octets()),
                IpAddr::V6(address) => {
                    let [net @ .., _, _, _, _, _, _, _, _] = address.octets();
                    Origin::V6(net)
                }
            },
            Self::Unix(credentials) => Origin::User(credentials.map(|it| it.uid)),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(Some(Credentials { pid, uid, gid })) => {
                write!(f, "pid {pid} uid {uid} gid {gid}")
            }
            Self::Unix(None) => f.write_str("unknown"),
        }
    }
}

/// Peers whose sessions are counted together: an IPv4 address, an IPv6 network of 64 bits, because
/// one machine has all of its addresses, or a user of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    V4([u8; 4]),
    V6([u8; 8]),
    User(Option<u32>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn origin(address: &str) -> Origin {
        Peer::Tcp(address.parse().expect("an address")).origin()
    }

    #[test]
    fn one_machine_is_one_origin_whatever_address_it_uses() {
        assert_eq!(origin("192.0.2.1:1"), origin("192.0.2.1:2"));
        assert_ne!(origin("192.0.2.1:1"), origin("192.0.2.2:1"));
        assert_eq!(origin("192.0.2.1:1"), origin("[::ffff:192.0.2.1]:1"));
        assert_eq!(origin("[2001:db8:0:1::1]:1"), origin("[2001:db8:0:1:2:3:4:5]:9"));
        assert_ne!(origin("[2001:db8:0:1::1]:1"), origin("[2001:db8:0:2::1]:1"));
    }

    #[test]
    fn the_kernel_tells_who_holds_the_other_end() {
        let (ours, _theirs) = UnixStream::pair().expect("a socket pair");
        let told = Credentials::of(&ours).expect("credentials");
        assert_eq!(told.pid, std::process::id());
        assert_eq!(told.uid, nix::unistd::getuid().as_raw());
        let peer = Peer::Unix(Some(told));
        assert_eq!(peer.origin(), Origin::User(Some(told.uid)));
        assert_eq!(peer.to_string(), format!("pid {} uid {} gid {}", told.pid, told.uid, told.gid));
        assert_eq!((peer.transport(), Peer::Unix(None).to_string()), ("unix", "unknown".into()));
    }
}
