//! Where the daemon listens: loopback of both families, names that were left behind or are in use.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Stdio;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrStorage, bind, connect, socket,
};

use crate::daemon::{Daemon, Folder, SMALL, program};
use crate::wire::{Peer, Stream};

/// A connection to `to` that comes from another address of this machine.
pub(crate) fn from_address(from: &str, to: &str) -> TcpStream {
    let stream = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
    let stream = stream.expect("a socket");
    let from: SocketAddr = format!("{from}:0").parse().expect("an address");
    let to: SocketAddr = to.parse().expect("an address");
    let (SocketAddr::V4(from), to) = (from, SockaddrStorage::from(to)) else { panic!("IPv4") };
    bind(stream.as_raw_fd(), &SockaddrIn::from(from)).expect("it is this machine's");
    connect(stream.as_raw_fd(), &to).expect("a connection");
    TcpStream::from(stream)
}

/// IPv6's loopback needs no permission.
#[test]
fn ipv6_loopback_is_served() {
    let folder = Folder::new();
    let mut command = program();
    command.args(SMALL).args(["--tcp", "[::1]:0"]);
    let daemon = Daemon::start_bare(command, folder);
    assert!(daemon.tcp().starts_with("[::1]:"), "{}", daemon.tcp());
    Peer::tcp(&daemon).is_alive();
    daemon.stop();
}

/// A port can be had again at once, although connections of the last daemon are remembered.
#[test]
fn an_address_can_be_had_again_at_once() {
    let mut daemon = Daemon::start(&[]);
    let address = daemon.tcp().to_owned();
    let mut peer = Peer::tcp(&daemon);
    daemon.terminate();
    // The daemon closes first, so its side is the one that remembers.
    peer.expect_end(200);
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    drop(peer);
    let mut command = program();
    command.args(SMALL).args(["--tcp", &address]);
    let daemon = Daemon::start_bare(command, Folder::new());
    Peer::tcp(&daemon).is_alive();
    daemon.stop();
}

/// A name that a killed daemon left behind is replaced; one that somebody listens on is not.
#[test]
fn a_name_left_behind_is_replaced_and_one_in_use_is_not() {
    let folder = Folder::new();
    let path = folder.join("s");
    let command = || {
        let mut command = program();
        command.args(SMALL).args(["--tcp", "127.0.0.1:0", "--unix"]).arg(&path);
        command
    };
    let connect = || Stream::over_unix(std::os::unix::net::UnixStream::connect(&path).expect("s"));
    let killed = Daemon::start_bare(command(), Folder::new());
    Peer::over(connect()).is_alive();
    drop(killed);
    assert!(path.exists(), "killed, it left its name behind");
    let daemon = Daemon::start_bare(command(), Folder::new());
    Peer::over(connect()).is_alive();
    let output = command().stdout(Stdio::null()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("in use"), "{output:?}");
    Peer::over(connect()).is_alive();
    daemon.stop();
    assert!(!path.exists(), "its name is gone");
}
