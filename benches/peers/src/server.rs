//! The servers: which are there, how each is started on loopback, and how it is ended.
//!
//! Each runs with its defaults but for what the load needs (an address of its own, no files, enough
//! sessions), on one CPU, in a folder of its own that goes with it. It is ended by its process id.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Options;
use crate::payload::PIPELINED;
use crate::sample::Teller;
use crate::system;
use crate::wire::Wire;

/// The threads with which the daemon makes its memory present while it serves.
const PREPARING: &str = "prefault";
/// The file that it writes when it is ready.
const READY: &str = "ready";
/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// Rivals that cannot be had, and why.
const ABSENT: [(&str, &str); 4] = [
    ("centrifugo", "no package registry carries it as a program"),
    ("zenoh", "its router is in no package registry as a program"),
    ("iggy", "its server is in no package registry as a program"),
    ("uwebsockets", "a library: there is no server of its own to measure"),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Program {
    Daemon,
    Nats,
    Redis,
    Mosquitto,
    /// A relay, with how it is called.
    Relay(&'static str),
}

/// Relays that are measured by turns: the one of all other scenarios, with larger reads, and by completions, as it is
/// and with one of its ways changed.
const RELAYS: [(&str, &str); 9] = [
    ("relay", PLAIN_RELAY),
    ("relay-wide", "relay --read-kib 256"),
    ("relay-uring", "ring-relay"),
    ("relay-uring-zero-copy", "ring-relay --send zero-copy"),
    ("relay-uring-calls", "ring-relay --send calls"),
    ("relay-uring-single-shot", "ring-relay --no-multishot"),
    ("relay-uring-unregistered", "ring-relay --no-registered"),
    ("relay-uring-undeferred", "ring-relay --no-deferred"),
    ("relay-uring-busy-poll", "ring-relay --busy-poll-us 50"),
];
const PLAIN_RELAY: &str = "relay";
/// How many of these are looked at if none is named.
const RELAYS_ALWAYS: usize = 4;

/// The first relay, and those that are asked for; if none is named, the first few.
pub fn relays(options: &Options) -> Vec<Peer> {
    let this = std::env::current_exe().unwrap_or_default();
    let is_asked = |place: usize, name: &str| match &options.peers[..] {
        [] => place < RELAYS_ALWAYS,
        asked => place == 0 || asked.iter().any(|it| it == name),
    };
    let asked = RELAYS.into_iter().enumerate().filter(|(place, it)| is_asked(*place, it.0));
    let peer = |(_, (name, words))| Peer {
        name,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        wire: Wire::Image { batch: PIPELINED, is_relay: true },
        program: Program::Relay(words),
        path: this.clone(),
    };
    asked.map(peer).collect()
}

/// A server that is there.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name in the samples.
    pub name: &'static str,
    /// What it says that it is.
    pub version: String,
    /// How it is spoken to.
    pub wire: Wire,
    program: Program,
    path: PathBuf,
}

impl Peer {
    /// Whether each of its batches is one delta, though it knows larger ones.
    pub fn is_single(&self) -> bool {
        matches!(self.wire, Wire::Image { batch: 1, .. })
    }

    /// The same with batches of so many deltas, where a batch is a choice.
    pub fn of_batch(&self, deltas: usize) -> Self {
        let mut peer = self.clone();
        if let Wire::Image { batch, .. } = &mut peer.wire {
            *batch = deltas;
        }
        peer
    }

    /// Whether it only passes on, and knows no names.
    pub fn is_relay(&self) -> bool {
        matches!(self.program, Program::Relay(_))
    }
}

/// What of the peers is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// Each server, and again with batches of one where a batch is a choice.
    Batches,
    /// Each server once.
    Servers,
}

/// The servers that are there; the others are told.
pub fn peers(options: &Options, wanted: Wanted, scenario: &str, teller: &mut Teller) -> Vec<Peer> {
    let is_asked =
        |name: &str| options.peers.is_empty() || options.peers.iter().any(|it| it == name);
    let image = |batch, is_relay| Wire::Image { batch, is_relay };
    let newest = options.venv.join("bin/nats-server");
    let this = std::env::current_exe().unwrap_or_default();
    let of_debian = "not installed: scripts/install-needs --bench";
    let known = [
        (
            "deltaworksd",
            Program::Daemon,
            image(PIPELINED, false),
            Some(options.daemon.clone()),
            "not built: name it with --daemon",
        ),
        (
            "deltaworksd-single",
            Program::Daemon,
            image(1, false),
            Some(options.daemon.clone()),
            "not built: name it with --daemon",
        ),
        ("relay", Program::Relay(PLAIN_RELAY), image(PIPELINED, true), Some(this.clone()), ""),
        ("relay-single", Program::Relay(PLAIN_RELAY), image(1, true), Some(this), ""),
        ("nats-debian", Program::Nats, Wire::Nats, on_path("nats-server"), of_debian),
        ("nats-newest", Program::Nats, Wire::Nats, Some(newest), of_debian),
        ("redis", Program::Redis, Wire::Redis, on_path("redis-server"), of_debian),
        ("mosquitto", Program::Mosquitto, Wire::Mqtt, on_path("mosquitto"), of_debian),
    ];
    let mut there = Vec::new();
    for (name, program, wire, path, why) in known {
        let is_again = name.ends_with("-single") && wanted == Wanted::Servers;
        if !is_asked(name) || is_again {
            continue;
        }
        let found = path.and_then(|path| found(&path));
        match found.and_then(|path| version(program, &path).map(|version| (path, version))) {
            Some((path, version)) => there.push(Peer { name, version, wire, program, path }),
            None => teller.absent(scenario, name, why),
        }
    }
    for (name, why) in ABSENT {
        if is_asked(name) {
            teller.absent(scenario, name, why);
        }
    }
    there
}

/// Where a program is, if it is there: from the root on, because it is started in another folder.
fn found(path: &Path) -> Option<PathBuf> {
    std::path::absolute(path).ok().filter(|path| path.exists())
}

/// Tells what is there.
///
/// # Errors
/// Never today.
pub fn list(options: &Options, teller: &mut Teller) -> Result<(), String> {
    for peer in peers(options, Wanted::Servers, "list", teller) {
        teller.present(peer.name, &peer.version);
    }
    Ok(())
}

fn on_path(program: &str) -> Option<PathBuf> {
    let told = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&told).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(program)).find(|path| path.exists())
}

/// The first number of several parts in what a program says of itself.
fn version(program: Program, path: &Path) -> Option<String> {
    if matches!(program, Program::Relay(_)) {
        return Some(env!("CARGO_PKG_VERSION").to_owned());
    }
    let argument = if program == Program::Mosquitto { "-h" } else { "--version" };
    let told = Command::new(path).arg(argument).output().ok()?;
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    number_in(&text)
}

fn number_in(text: &str) -> Option<String> {
    let words = text.split(|char: char| char.is_whitespace() || "=v:".contains(char));
    let is_number =
        |word: &&str| word.contains('.') && word.starts_with(|char: char| char.is_ascii_digit());
    words.clone().find(is_number).map(str::to_owned)
}

/// A running server.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    /// Held open as long as the relay is to run.
    _input: Option<ChildStdin>,
    folder: PathBuf,
}

impl Server {
    /// Starts `peer` on `cpu` for so many sessions; it accepts connections then, and has got ready.
    ///
    /// # Errors
    /// If it does not start; what it wrote is told.
    pub fn start(peer: &Peer, cpu: usize, sessions: usize) -> Result<Self, String> {
        Self::spawn(peer, cpu, sessions)?.accepting(peer)
    }

    /// Starts `peer` on `cpu` for so many names, a thousand a session.
    ///
    /// # Errors
    /// If it does not start; what it wrote is told.
    pub fn start_for_names(peer: &Peer, cpu: usize, names: usize) -> Result<Self, String> {
        let more = match peer.program {
            Program::Daemon => format!("--documents {} --budget-mib 1024", names + 1000),
            _ => String::new(),
        };
        let more: Vec<String> = more.split_whitespace().map(str::to_owned).collect();
        Self::spawn_with(peer, cpu, 1 + names / 500, &more)?.accepting(peer)
    }

    fn accepting(mut self, peer: &Peer) -> Result<Self, String> {
        let began = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            let ended = self.child.try_wait().map_err(|error| error.to_string())?;
            if ended.is_some() || began.elapsed() > PATIENCE {
                return Err(format!("{} did not start ({ended:?}): {}", peer.name, self.log()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // What it still does to get ready is not what its deliveries cost. The daemon has listened since before it had
        // threads; it writes the file when all of them run.
        let is_written = || peer.program != Program::Daemon || self.folder.join(READY).exists();
        while !is_written() {
            if began.elapsed() > PATIENCE {
                return Err(format!("{} did not get ready: {}", peer.name, self.log()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        while system::has_thread(self.pid(), PREPARING) && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(self)
    }

    /// Starts `peer` and does not wait until it accepts connections.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(peer: &Peer, cpu: usize, sessions: usize) -> Result<Self, String> {
        Self::spawn_with(peer, cpu, sessions, &[])
    }

    fn spawn_with(
        peer: &Peer,
        cpu: usize,
        sessions: usize,
        more: &[String],
    ) -> Result<Self, String> {
        let folder = new_folder().map_err(|error| error.to_string())?;
        let told = |error: std::io::Error| format!("{}: {error}", peer.path.display());
        let port = free_port().map_err(told)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let log = fs::File::create(folder.join("log")).map_err(told)?;
        let mut command = Command::new(&peer.path);
        command.args(arguments(peer.program, port, sessions, &folder).map_err(told)?).args(more);
        command.current_dir(&folder).stdin(Stdio::null()).stderr(log.try_clone().map_err(told)?);
        let is_relay = peer.is_relay();
        if is_relay {
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
        } else {
            command.stdout(log);
        }
        let child = system::start_on(cpu, &mut command).map_err(told)?;
        let mut server = Self { address, child, _input: None, folder };
        if is_relay {
            server._input = server.child.stdin.take();
            let mut line = String::new();
            let out = server.child.stdout.take().ok_or("the relay has no output")?;
            BufReader::new(out).read_line(&mut line).map_err(told)?;
            server.address = line.trim().parse().map_err(|_| "the relay told no address")?;
        }
        Ok(server)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote so far, cut.
    pub fn log(&self) -> String {
        let text = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let from = text.char_indices().rev().nth(2000).map_or(0, |(at, _)| at);
        text[from..].to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self._input.take());
        system::end(&mut self.child);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn new_folder() -> std::io::Result<PathBuf> {
    let began = Instant::now();
    for number in 0_u32.. {
        let name = format!("deltaworks-peers-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if began.elapsed() > PATIENCE => return Err(error),
            Err(_) => {}
        }
    }
    unreachable!("numbers do not end")
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn arguments(
    program: Program,
    port: u16,
    sessions: usize,
    folder: &Path,
) -> std::io::Result<Vec<String>> {
    let text = |words: &str| words.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    Ok(match program {
        Program::Relay(words) => text(words),
        Program::Daemon => {
            let mut arguments = text(&format!("--tcp 127.0.0.1:{port} --cores 1 --log warn"));
            arguments.extend(["--http", "", "--admin-socket", ""].map(str::to_owned));
            arguments.extend(["--ready-file".to_owned(), folder.join(READY).display().to_string()]);
            if sessions > 1000 {
                let most = sessions + 100;
                let more =
                    format!("--sessions {most} --sessions-per-address {most} --budget-mib 512");
                arguments.extend(text(&more));
            }
            arguments
        }
        Program::Nats => text(&format!("-a 127.0.0.1 -p {port}")),
        Program::Redis => {
            let most = sessions + 100;
            let mut arguments = text(&format!(
                "--bind 127.0.0.1 --port {port} --appendonly no --maxclients {most} --dir"
            ));
            arguments.push(folder.to_string_lossy().into_owned());
            arguments.extend(["--save", ""].map(str::to_owned));
            arguments
        }
        Program::Mosquitto => {
            // Without bounds on its queues, it would drop what the others keep; without the user it
            // could not read this file when it is started by root.
            let file = folder.join("mosquitto.conf");
            let user = if fs::metadata("/proc/self").is_ok_and(|it| is_roots(&it)) {
                "user root\n"
            } else {
                ""
            };
            let lines = "allow_anonymous true\npersistence false\nset_tcp_nodelay true\n\
                max_queued_messages 0\nmax_queued_bytes 0\n";
            fs::write(&file, format!("listener {port} 127.0.0.1\n{user}{lines}"))?;
            vec!["-c".to_owned(), file.to_string_lossy().into_owned()]
        }
    })
}

fn is_roots(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    metadata.uid() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_from_here_is_found_from_elsewhere() {
        // Tests run in the crate's folder.
        let path = found(Path::new("src/server.rs")).expect("it is there");
        assert!(path.is_absolute() && path.exists());
        assert_eq!(found(Path::new("src/nobody.rs")), None);
    }

    #[test]
    fn versions_are_found_in_what_programs_say() {
        let texts = [
            ("nats-server: v2.9.10\n", "2.9.10"),
            ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0", "7.0.15"),
            ("mosquitto version 2.0.11\n\nmosquitto is an MQTT v5.0 broker", "2.0.11"),
            ("deltaworksd 0.1.0\n", "0.1.0"),
        ];
        for (text, number) in texts {
            assert_eq!(number_in(text).as_deref(), Some(number));
        }
    }
}
