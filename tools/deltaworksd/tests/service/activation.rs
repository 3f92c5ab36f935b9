//! Sockets that the service manager hands over.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use crate::daemon::{Daemon, Folder, SMALL, WAIT, program};
use crate::wire::{Peer, Stream, Told};
use crate::witness::Witness;

/// Becomes the daemon, with its input and its output as descriptors 3 and 4. `$$` is the process id
/// that the daemon keeps.
const LAUNCH: &str = "exec 3<&0 4<&1 0</dev/null 1>/dev/null; \
                      LISTEN_PID=${FOR:-$$} exec \"$0\" \"$@\"";

/// The program, to be started with these two descriptors.
fn launch(first: OwnedFd, second: OwnedFd, names: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", LAUNCH])
        .arg(program().get_program())
        .stdin(first)
        .stdout(second)
        .env("LISTEN_FDS", "2")
        .env("LISTEN_FDNAMES", names);
    command
}

/// Both kinds are served under their names; what they are is not closed with the daemon, so whoever
/// connects in between is served by the next one.
#[test]
fn sockets_that_are_handed_over_are_served_and_outlive_the_daemon() {
    let folder = Folder::new();
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let path = folder.join("handed");
    let unix = UnixListener::bind(&path).expect("a listener");
    let address = tcp.local_addr().expect("an address");
    let start = |folder: Folder| {
        let (first, second) = (tcp.try_clone().expect("a copy"), unix.try_clone().expect("a copy"));
        let mut command = launch(first.into(), second.into(), "web:local");
        command.args(SMALL);
        Daemon::start_bare(command, folder)
    };
    let over_unix = || Stream::over_unix(UnixStream::connect(&path).expect("a connection"));

    let daemon = start(Folder::new());
    assert_eq!(daemon.tcp(), address.to_string(), "and not the default one");
    assert!(daemon.log().contains("\"web\"") && daemon.log().contains("\"local\""));
    Peer::tcp(&daemon).is_alive();
    Peer::over(over_unix()).is_alive();
    daemon.stop();

    // Nobody serves; the kernel takes the connections all the same.
    let mut early = Peer::silent(Stream::over_tcp(TcpStream::connect(address).expect("queued")));
    assert!(early.say(&crate::wire::HELLO));
    let mut early_unix = Peer::silent(over_unix());
    let daemon = start(Folder::new());
    assert!(matches!(early.next(), Told::Hello { .. }));
    assert!(early_unix.say(&crate::wire::HELLO));
    assert!(matches!(early_unix.next(), Told::Hello { .. }));
    daemon.stop();
    assert!(path.exists(), "the name is not the daemon's");
}

/// What is given besides is listened on, too.
#[test]
fn addresses_of_ones_own_are_served_besides() {
    let folder = Folder::new();
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = tcp.local_addr().expect("an address");
    let unix = UnixListener::bind(folder.join("handed")).expect("a listener");
    let mut command = launch(tcp.into(), unix.into(), "a:b");
    command.args(SMALL).args(WAIT);
    command.args(["--tcp", "127.0.0.1:0", "--unix"]).arg(folder.join("socket"));
    let daemon = Daemon::start_bare(command, folder);
    let witness = Witness::start(&daemon);
    assert_ne!(daemon.tcp(), address.to_string());
    Peer::over(Stream::over_tcp(TcpStream::connect(address).expect("served"))).is_alive();
    witness.finish();
    daemon.stop();
}

/// Sockets for another process are left alone.
#[test]
fn sockets_of_another_process_are_left_alone() {
    let folder = Folder::new();
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = tcp.local_addr().expect("an address").to_string();
    let unix = UnixListener::bind(folder.join("handed")).expect("a listener");
    let mut command = launch(tcp.into(), unix.into(), "a:b");
    command.env("FOR", "1").args(SMALL).args(["--tcp", "127.0.0.1:0"]);
    let daemon = Daemon::start_bare(command, folder);
    assert_ne!(daemon.tcp(), address);
    Peer::tcp(&daemon).is_alive();
    daemon.stop();
}

/// What sessions cannot come from, and what everybody could reach, is refused before anything is
/// served.
#[test]
fn what_cannot_be_served_is_refused() {
    let folder = Folder::new();
    let unix = || -> OwnedFd {
        let name = format!("s{}", std::fs::read_dir(folder.join("")).expect("a folder").count());
        UnixListener::bind(folder.join(&name)).expect("a listener").into()
    };
    let refused = |first: OwnedFd, names: &str| {
        let mut command = launch(first, unix(), names);
        let output = command.args(SMALL).stderr(Stdio::piped()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let everybody = || TcpListener::bind("0.0.0.0:0").expect("a listener").into();
    let told = refused(everybody(), "open:b");
    assert!(told.contains("\"open\"") && told.contains("insecure"), "{told}");
    let told = refused(File::open("/dev/null").expect("a file").into(), "file:b");
    assert!(told.contains("\"file\""), "{told}");
    // Three names for two sockets.
    refused(unix(), "a:b:c");
}
