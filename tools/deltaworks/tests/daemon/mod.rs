//! A daemon for one test: the real program, in a folder of its own, killed with the value.

#[path = "../../../../benches/tests/program/mod.rs"]
mod program;

use std::fs::File;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::folder::Folder;
use program::program;

/// How long a daemon may take to start, or to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// A running daemon.
pub struct Daemon {
    child: Child,
    /// Its folder; tests put their files there, too.
    pub folder: Folder,
    tcp: String,
}

impl Daemon {
    /// A daemon on a Unix socket and a TCP port of its own, with these options more.
    pub fn start(options: &[&str]) -> Daemon {
        let folder = Folder::new();
        let ready = folder.join("ready");
        let log = File::create(folder.join("log")).expect("a log");
        let mut child = Command::new(program())
            .args(["--tcp", "127.0.0.1:0", "--unix"])
            .arg(folder.join("socket"))
            .arg("--ready-file")
            .arg(&ready)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the daemon starts");
        let began = Instant::now();
        while !ready.exists() {
            let ended = child.try_wait().expect("its state");
            let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            assert!(ended.is_none(), "the daemon ended with {ended:?}: {}", log());
            if began.elapsed() > PATIENCE {
                let _ = child.kill();
                panic!("the daemon is not ready: {}", log());
            }
            sleep(LOOK);
        }
        let told = std::fs::read_to_string(&ready).expect("the ready file");
        let tcp = told.lines().find_map(|line| line.strip_prefix("tcp=")).expect("a TCP address");
        assert!(told.contains(&format!("pid={}\n", child.id())), "{told}");
        let tcp = tcp.to_owned();
        Daemon { child, folder, tcp }
    }

    /// The addresses as the command line takes them: TCP, then Unix.
    pub fn addresses(&self) -> [String; 2] {
        [format!("tcp:{}", self.tcp), format!("unix:{}", self.folder.join("socket").display())]
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Ends it in order, and asserts that it did.
    pub fn stop(mut self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success());
        let status = wait(&mut self.child);
        assert!(status.is_some_and(|status| status.success()), "{status:?}: {}", self.log());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Ended already, or ended now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The status of a program that ends in time.
fn wait(child: &mut Child) -> Option<ExitStatus> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait().expect("its state") {
            return Some(status);
        }
        sleep(LOOK);
    }
    None
}
