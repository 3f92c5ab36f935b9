//! A service manager for one test: the socket that notifications go to, and what came.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::daemon::Folder;
use crate::wire::PATIENCE;

/// What ends the reader's thread.
const GOOD_BYE: &[u8] = b"GOOD_BYE";

/// Receives the notifications of one daemon.
pub(crate) struct Manager {
    told: Receiver<String>,
    itself: UnixDatagram,
}

impl Manager {
    /// A manager that `program` will tell. It takes what comes at once, as a real one does: the
    /// queue of such a socket is short, and whoever tells more waits.
    pub fn of(program: &mut Command, folder: &Folder) -> Manager {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let itself = UnixDatagram::unbound().expect("a socket");
        itself.connect(&path).expect("it is there");
        program.env("NOTIFY_SOCKET", path);
        let (tell, told) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                let count = socket.recv(&mut bytes).expect("a notification");
                if &bytes[..count] == GOOD_BYE {
                    return;
                }
                // A test that has ended wants no more.
                let _ = tell.send(String::from_utf8(bytes[..count].to_vec()).expect("a text"));
            }
        });
        Manager { told, itself }
    }

    /// The next notification, if one comes within `time`.
    pub fn next_within(&self, time: Duration) -> Option<String> {
        self.told.recv_timeout(time).ok()
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

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.itself.send(GOOD_BYE);
    }
}
