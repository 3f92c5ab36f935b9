//! The daemon under abuse: the built program as a process of its own, in a folder of its own.
//!
//! Belongs to the trial that started it, which ends it by its process id, in order; dropped earlier
//! it is killed. Nothing is left behind but what the system keeps of closed connections.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use deltaworks_runtime::pinned::PinnedThread;

/// How long it may take to start, and to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(60);

/// Its admin socket, in its folder.
const ADMIN: &str = "admin.sock";

/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    folder: PathBuf,
    address: SocketAddr,
}

impl Daemon {
    /// Starts `program` with these options, on `cpu` only if one is given.
    ///
    /// # Errors
    /// If it does not become ready; what it said is told.
    pub fn start(program: &Path, cpu: Option<usize>, options: &[String]) -> Result<Daemon, String> {
        // Relaxed: only a number of one's own.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("deltaworks-abuse-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let log = File::create(folder.join("log")).map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command
            .args(["--tcp", "127.0.0.1:0", "--ready-file"])
            .arg(folder.join("ready"))
            // Neither its port nor its socket may be another daemon's.
            .args(["--http", "", "--admin-socket"])
            .arg(folder.join(ADMIN))
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let spawned = match cpu {
            None => command.spawn(),
            // A process inherits the CPUs of the thread that starts it.
            Some(cpu) => PinnedThread::spawn(cpu, "starter", move || command.spawn())
                .map_err(|error| error.to_string())?
                .join()
                .map_err(|_| "starting the daemon panicked".to_owned())?,
        };
        let child = spawned.map_err(|error| {
            let _ = std::fs::remove_dir_all(&folder);
            format!("{}: {error}", program.display())
        })?;
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut daemon = Daemon { child, folder, address };
        daemon.address = daemon.become_ready()?;
        Ok(daemon)
    }

    fn become_ready(&mut self) -> Result<SocketAddr, String> {
        let began = Instant::now();
        loop {
            // Written aside and renamed, so it is whole when it is there.
            if let Ok(text) = std::fs::read_to_string(self.folder.join("ready")) {
                let told = text.lines().find_map(|line| line.strip_prefix("tcp="));
                return told
                    .and_then(|address| address.parse().ok())
                    .ok_or(format!("the daemon told no TCP address: {text}"));
            }
            let ended = self.child.try_wait().map_err(|error| error.to_string())?;
            if ended.is_some() || began.elapsed() > PATIENCE {
                return Err(format!("the daemon is not ready ({ended:?}): {}", self.log()));
            }
            sleep(LOOK);
        }
    }

    /// Where it accepts TCP connections.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its admin socket, if it serves one.
    pub fn admin(&self) -> Option<PathBuf> {
        Some(self.folder.join(ADMIN)).filter(|path| path.exists())
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Whether it still runs.
    pub fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// If it had ended already, or something was cut or broke.
    pub fn stop(mut self) -> Result<(), String> {
        if !self.lives() {
            return Err(format!("the daemon has ended: {}", self.log()));
        }
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        if !sent.is_ok_and(|status| status.success()) {
            return Err("the daemon could not be asked to end".to_owned());
        }
        let Some(status) = self.wait() else {
            return Err(format!("the daemon does not end: {}", self.log()));
        };
        let log = self.log();
        if status.code() != Some(0) || log.contains("panicked") {
            return Err(format!("the daemon ended with {status}: {log}"));
        }
        Ok(())
    }

    fn wait(&mut self) -> Option<ExitStatus> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            sleep(LOOK);
        }
        None
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Ended already, or ended now.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The daemon that was built beside this program.
///
/// # Errors
/// If there is none.
pub fn beside_this_program() -> Result<PathBuf, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let name = format!("deltaworksd{}", std::env::consts::EXE_SUFFIX);
    let program = this.with_file_name(name);
    if program.exists() {
        return Ok(program);
    }
    Err(format!("{} is not there: build it, or name another with --daemon", program.display()))
}
