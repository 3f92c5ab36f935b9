//! A service manager for one test: the socket that notifications go to, and what came.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::daemon::Folder;
use crate::wire::PATIENCE;

/// Receives the notifications of one daemon.
pub(crate) struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    /// A manager that `program` will tell.
    pub fn of(program: &mut Command, folder: &Folder) -> Manager {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        program.env("NOTIFY_SOCKET", path);
        Manager { socket }
    }

    /// The next notification, if one comes within `time`.
    pub fn next_within(&self, time: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(time)).expect("a time-out");
        let mut bytes = [0; 4096];
        match self.socket.recv(&mut bytes) {
            Ok(count) => Some(String::from_utf8(bytes[..count].to_vec()).expect("a text")),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The next notification that has `line` as a line or its beginning; those before it are
    /// dropped.
    pub fn until(&self, line: &str) -> String {
        let began = Instant::now();
        let mut others = Vec::new();
        while began.elapsed() < PATIENCE {
            match self.next_within(PATIENCE) {
                Some(told) if told.lines().any(|it| it.starts_with(line)) => return told,
                told => others.extend(told),
            }
        }
        panic!("{line} does not come, but {others:?}");
    }

    /// Whether `line` comes within `time`.
    pub fn tells_within(&self, line: &str, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            let rest = until.saturating_duration_since(Instant::now());
            match self.next_within(rest.max(Duration::from_millis(1))) {
                Some(told) if told.lines().any(|it| it == line) => return true,
                Some(_) => {}
                None => return false,
            }
        }
    }
}
