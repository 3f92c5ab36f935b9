//! A daemon for one test: the real program in a folder of its own, ended by its process id.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::wire::PATIENCE;

/// Between two looks.
pub(crate) const LOOK: Duration = Duration::from_millis(5);

/// What keeps a daemon small: 64 KiB chunks, images of 16 KiB at most, few documents.
pub(crate) const SMALL: [&str; 6] =
    ["--budget-mib", "40", "--chunk-bytes", "65536", "--documents", "2000"];

/// What lets subscribers of the default collection make its publishers wait.
pub(crate) const WAIT: [&str; 2] = ["--collection", "=opaque,wait_allowed=true"];

/// A folder that is removed with this value.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let name = format!("deltaworksd-attack-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A file with this text; its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.join(name);
        std::fs::write(&path, text).expect("a file in the folder");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program, not started.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deltaworksd"));
    command.stdin(Stdio::null());
    command
}

/// A running daemon.
pub(crate) struct Daemon {
    child: Child,
    folder: Folder,
    tcp: String,
}

impl Daemon {
    /// A small daemon with these options more.
    pub fn start(options: &[&str]) -> Daemon {
        Daemon::start_in(Folder::new(), &[&SMALL, options].concat())
    }

    /// A daemon with exactly these options and a default collection that allows `wait`, in `folder`.
    pub fn start_in(folder: Folder, options: &[&str]) -> Daemon {
        Daemon::start_as(program(), folder, options)
    }

    /// The same by a command of one's own, with its environment.
    pub fn start_as(mut program: Command, folder: Folder, options: &[&str]) -> Daemon {
        program.args(["--tcp", "127.0.0.1:0", "--unix"]).arg(folder.join("socket"));
        program.args(WAIT).args(options).stdout(Stdio::null());
        Daemon::start_bare(program, folder)
    }

    /// A daemon by exactly this command, but for its log and its ready file, which go to `folder`.
    pub fn start_bare(mut program: Command, folder: Folder) -> Daemon {
        let ready = folder.join("ready");
        let log = File::create(folder.join("log")).expect("a log");
        program.arg("--ready-file").arg(&ready).stderr(log);
        let mut child = program.spawn().expect("the daemon starts");
        let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        let began = Instant::now();
        while !ready.exists() {
            let ended = child.try_wait().expect("its state");
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

    pub fn tcp(&self) -> &str {
        &self.tcp
    }

    pub fn unix(&self) -> PathBuf {
        self.folder.join("socket")
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let (signal, pid) = (format!("-{name}"), self.child.id().to_string());
        let sent = Command::new("kill").args([signal, pid]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let began = Instant::now();
        while began.elapsed() < 2 * PATIENCE {
            if let Some(status) = self.child.try_wait().expect("its state") {
                return status;
            }
            sleep(LOOK);
        }
        panic!("the daemon does not end: {}", self.log());
    }

    /// Ends it in order, and asserts that nothing was cut.
    pub fn stop(mut self) {
        self.terminate();
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{}", self.log());
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
        assert!(log.contains("everything was delivered"), "{log}");
    }

    fn process(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(file)
    }

    /// Resident memory.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(self.process("status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib << 10
    }

    /// Open file descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(self.process("fd")).expect("it runs").count()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Ended already, or ended now, with what it said if a test failed.
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks again and again until `is_so`; fails with `what` after a while.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "not in time: {what}");
        sleep(LOOK);
    }
}
