//! A plain HTTP client over TCP and the admin socket: one request, one connection.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::daemon::{Daemon, Folder, SMALL};
use crate::wire::PATIENCE;

/// A small daemon that answers HTTP and has an admin socket, with these options more.
pub(crate) fn start(options: &[&str]) -> Daemon {
    start_in(Folder::new(), options)
}

/// The same in a folder that holds something already.
pub(crate) fn start_in(folder: Folder, options: &[&str]) -> Daemon {
    let admin = folder.join("admin.sock");
    let admin = admin.to_str().expect("a path in text").to_owned();
    let own = ["--http", "127.0.0.1:0", "--admin-socket", &admin];
    Daemon::start_in(folder, &[&SMALL[..], &own, options].concat())
}

/// Where it answers HTTP.
pub(crate) fn address(daemon: &Daemon) -> String {
    let ready = std::fs::read_to_string(daemon.unix().with_file_name("ready"));
    let ready = ready.expect("the ready file");
    ready.lines().find_map(|line| line.strip_prefix("http=")).expect("an address").to_owned()
}

/// Where its admin socket is.
pub(crate) fn admin_path(daemon: &Daemon) -> PathBuf {
    daemon.unix().with_file_name("admin.sock")
}

/// An answer: status, head, body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// What comes back for these bytes, until the other end closes.
pub(crate) fn exchange(mut stream: impl Read + Write, request: &[u8]) -> Vec<u8> {
    // Whoever has answered early may have closed: what it said is what counts.
    let _ = stream.write_all(request);
    let mut told = Vec::new();
    let _ = stream.read_to_end(&mut told);
    told
}

fn parse(told: &[u8]) -> Answer {
    let text = String::from_utf8(told.to_vec()).expect("an answer in text");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let is_chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    let body = if is_chunked { unchunked(body) } else { body.to_owned() };
    Answer { status, head: head.to_lowercase(), body }
}

fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n").expect("the size of a chunk");
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            return body;
        }
        body.push_str(&after[..size]);
        rest = after[size..].strip_prefix("\r\n").expect("the end of a chunk");
    }
}

/// A connection to the housekeeping address.
pub(crate) fn connect(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(address(daemon)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream.set_write_timeout(Some(PATIENCE)).expect("a time-out");
    stream
}

/// Asks the housekeeping address.
pub(crate) fn get(daemon: &Daemon, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    parse(&exchange(connect(daemon), request.as_bytes()))
}

/// Asks the admin socket.
pub(crate) fn admin(daemon: &Daemon, method: &str, path: &str) -> Answer {
    admin_at(&admin_path(daemon), method, path)
}

/// Asks the admin socket that is there.
pub(crate) fn admin_at(socket: &Path, method: &str, path: &str) -> Answer {
    let stream = UnixStream::connect(socket).expect("the admin socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    parse(&exchange(stream, request.as_bytes()))
}

/// The daemon's status.
pub(crate) fn status(daemon: &Daemon) -> Value {
    let answer = admin(daemon, "GET", "/v1/status");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// The sum of a figure over all cores.
pub(crate) fn over_cores(status: &Value, figure: &str) -> u64 {
    let cores = status["cores"].as_array().expect("cores");
    cores.iter().map(|core| core[figure].as_u64().expect(figure)).sum()
}
