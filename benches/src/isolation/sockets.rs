//! The world of sockets: the daemon as a process of its own, and every client a TCP connection that
//! this thread serves in turn.
//!
//! It never waits for a socket. Readers that take nothing are not read, and their receive buffers are
//! small, so that what they do not take stays with the daemon. Connections come from many loopback
//! addresses, because the daemon bounds what one may have.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Instant;

use deltaworks_image::{Kind, Limits};
use deltaworks_pipeline::message::Policy as PipelinePolicy;
use deltaworks_protocol::message::{
    Access, ClientHello, Open, OpenOptions, Policy, Pong, Start, split_control,
};
use deltaworks_protocol::{Control, ServerMessage};
use socket2::{Domain, Protocol, Socket, Type};

use super::delta::{DEAR, DEAR_SCHEMA, KEY, WAITED};
use super::fleet::{Fleet, Key, OpenedAs, Plan, Role, Speed};
use super::plant::Plant;
use super::world::{Live, Move, Placed, World};
use crate::abuse::daemon::Daemon;
use crate::abuse::gauge::Gauge;
use crate::payload;
use crate::relay::whole_messages;

/// Bytes of one read or write.
const STEP_BYTES: usize = 64 << 10;

/// Sessions that come from one address.
const SESSIONS_PER_ADDRESS: usize = 500;

/// The receive buffer of a reader that is slow; the system doubles it.
const SLOW_RECEIVE_BYTES: usize = 4 << 10;

/// What the daemon's kernel keeps for each session that does not read.
const SEND_BUFFER_BYTES: &str = "65536";

/// Slow readers that are looked at in a step.
const SLOW_LOOKS: usize = 32;

/// Documents of a session that has many.
const DOCUMENTS_PER_SESSION: usize = 100;

/// What the daemon is given.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Memory for everything that clients can make grow.
    pub budget_mib: u32,
    /// Sessions that there is place for.
    pub sessions: u32,
    /// Its options beside.
    pub options: &'a [&'a str],
}

/// One connection.
struct Line {
    socket: Socket,
    is_connected: bool,
    /// The beginning of a message that is not whole.
    kept: Vec<u8>,
    is_listed: bool,
}

/// The daemon, and its clients.
pub struct Sockets {
    daemon: Option<Daemon>,
    folder: PathBuf,
    gauge: Gauge,
    fleet: Fleet,
    /// By key.
    lines: Vec<Option<Line>>,
    /// Those that are read in every step.
    listed: Vec<Key>,
    /// Slow readers that were given room.
    given: VecDeque<Key>,
    newly_given: Vec<Key>,
    scratch: Vec<u8>,
    pongs: Vec<u8>,
    connections: usize,
    last: Instant,
    budget_bytes: u64,
}

impl Sockets {
    /// Starts the daemon, on `cpu` only if one is given.
    ///
    /// # Errors
    /// If it does not become ready.
    pub fn start(
        program: &Path,
        cpu: Option<usize>,
        terms: Terms<'_>,
        plant: Option<Plant>,
    ) -> Result<Self, String> {
        let folder = configuration()?;
        let Terms { budget_mib, sessions, options } = terms;
        let (of_budget, of_sessions) = (budget_mib.to_string(), sessions.to_string());
        let path = folder.join("deltaworksd.toml").display().to_string();
        let all = ["--cores", "1", "--send-buffer-bytes", SEND_BUFFER_BYTES, "--config", &path];
        // Who reads nothing answers no ping, for as long as the load takes.
        let patient = ["--ping-interval-seconds", "1800", "--ping-timeout-seconds", "3600"];
        let sized = ["--budget-mib", &of_budget, "--sessions", &of_sessions];
        let options: Vec<String> =
            [&all, &sized[..], &patient, options].concat().into_iter().map(str::to_owned).collect();
        let daemon = Daemon::start(program, cpu, &options).inspect_err(|_| {
            let _ = std::fs::remove_dir_all(&folder);
        })?;
        let gauge = Gauge::new(daemon.pid(), daemon.admin());
        Ok(Self {
            daemon: Some(daemon),
            folder,
            gauge,
            fleet: Fleet::new(plant),
            lines: Vec::new(),
            listed: Vec::new(),
            given: VecDeque::new(),
            newly_given: Vec::new(),
            scratch: vec![0; STEP_BYTES],
            pongs: Vec::new(),
            connections: 0,
            last: Instant::now(),
            budget_bytes: u64::from(budget_mib) << 20,
        })
    }

    fn line(&mut self, key: Key) -> Option<&mut Line> {
        self.lines.get_mut(key)?.as_mut()
    }

    /// Sends what the session has to send; whether the socket took all of it.
    fn send(&mut self, key: Key) {
        let Some(Some(line)) = self.lines.get_mut(key) else { return };
        if !line.is_connected {
            line.is_connected = line.socket.peer_addr().is_ok();
        }
        if !line.is_connected {
            return self.fleet.make_ready(key);
        }
        let unsent = self.fleet.unsent(key);
        let count = unsent.len().min(STEP_BYTES);
        if count == 0 {
            return;
        }
        match (&line.socket).write(&unsent[..count]) {
            Ok(count) => {
                if self.fleet.took(key, count) {
                    self.fleet.make_ready(key);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.fleet.make_ready(key),
            Err(error) => self.fleet.refused(key, &format!("the end of its connection: {error}")),
        }
    }

    /// Reads once, no more than the session takes; whether there may be more.
    fn read(&mut self, key: Key) -> bool {
        let Some(Some(line)) = self.lines.get_mut(key) else { return false };
        let Some(session) = self.fleet.session(key) else { return false };
        let room_bytes = session.room_bytes.min(self.scratch.len());
        if !line.is_connected || room_bytes == 0 {
            return false;
        }
        let count = match (&line.socket).read(&mut self.scratch[..room_bytes]) {
            Ok(0) => {
                self.fleet.refused(key, "the end of its connection");
                return false;
            }
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => {
                self.fleet.refused(key, &format!("the end of its connection: {error}"));
                return false;
            }
        };
        if session.room_bytes != usize::MAX {
            session.room_bytes -= count;
        }
        let mut kept = core::mem::take(&mut line.kept);
        let came = &self.scratch[..count];
        let mut rest = if kept.is_empty() {
            came
        } else {
            kept.extend_from_slice(came);
            &kept
        };
        let whole = whole_messages(rest);
        let (mut messages, part) = rest.split_at(whole);
        rest = part;
        while let Some(prelude) = messages.first_chunk::<4>() {
            let (message, after) = messages.split_at(u32::from_le_bytes(*prelude) as usize);
            messages = after;
            if message.get(4) == Some(&Kind::Batch.number()) {
                self.fleet.image(key, message);
            } else if let Err(fault) = hear(&mut self.fleet, &mut self.pongs, key, message) {
                self.fleet.refused(key, &fault);
            }
        }
        line.kept = rest.to_vec();
        if !self.pongs.is_empty() {
            self.fleet.say(key, &self.pongs);
            self.pongs.clear();
        }
        true
    }

    /// Readers that do not take everything are read only when they have room.
    fn unlist(&mut self) {
        let Self { listed, lines, fleet, .. } = self;
        listed.retain(|key| {
            let Some(Some(line)) = lines.get_mut(*key) else { return false };
            let is_open = fleet.is_open(*key);
            let is_slow = fleet.session(*key).is_none_or(|it| it.room_bytes != usize::MAX);
            line.is_listed = !(is_open && is_slow);
            line.is_listed
        });
    }
}

/// Takes a control message.
fn hear(fleet: &mut Fleet, pongs: &mut Vec<u8>, key: Key, message: &[u8]) -> Result<(), String> {
    let (kind, body) =
        split_control(message, &Limits::DEFAULT).map_err(|error| format!("{error:?}"))?;
    match ServerMessage::decode(kind, body).map_err(|code| format!("{code:?}"))? {
        ServerMessage::Hello(_) => {}
        ServerMessage::Opened(opened) => fleet.opened(
            key,
            OpenedAs {
                handle: opened.handle,
                document: opened.document,
                start_sequence: opened.start_sequence,
                producer_sequence: opened.producer_sequence,
                credit: opened.credit,
            },
        ),
        ServerMessage::Ack(ack) => fleet.acked(key, ack.handle, ack.producer_sequence, ack.credit),
        ServerMessage::Credit(credit) => fleet.credit(key, credit.handle, credit.bytes),
        ServerMessage::Gap(gap) => fleet.gap(key, gap.handle, gap.from, gap.to),
        ServerMessage::Closed(closed) if closed.handle.is_some() => {
            closed.handle.into_iter().for_each(|handle| fleet.closed(key, handle));
        }
        ServerMessage::Ping(ping) => Pong { token: ping.token }.encode_to(pongs),
        other => return Err(format!("{other:?}")),
    }
    Ok(())
}

/// A folder with the configuration: the collections that the other world has, too.
fn configuration() -> Result<PathBuf, String> {
    // Relaxed: only a number of one's own.
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!("deltaworks-isolation-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    let plain = "kind = \"cbor\"\nschema = \"plain.json\"\n";
    let toml = format!(
        "[collections.\"\"]\n{plain}conflate_key = \"{KEY}\"\n\
         [collections.{WAITED}]\n{plain}wait_allowed = true\n\
         [collections.{DEAR}]\nkind = \"cbor\"\nschema = \"dear.json\"\n"
    );
    let files = [
        ("deltaworksd.toml", toml.as_str()),
        ("plain.json", payload::SCHEMA),
        ("dear.json", DEAR_SCHEMA),
    ];
    let write = || {
        std::fs::create_dir_all(&folder)?;
        files.iter().try_for_each(|(name, text)| std::fs::write(folder.join(name), text))
    };
    write().map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder)
}

fn policy(policy: PipelinePolicy) -> Policy {
    match policy {
        PipelinePolicy::Gap => Policy::Gap,
        PipelinePolicy::Wait => Policy::Wait,
        PipelinePolicy::Skip => Policy::Skip,
        PipelinePolicy::Conflate => Policy::Conflate,
        PipelinePolicy::Close => Policy::Close,
    }
}

impl World for Sockets {
    fn fleet(&mut self) -> &mut Fleet {
        &mut self.fleet
    }

    fn connect(&mut self, plan: Plan) -> Result<Key, String> {
        let told = |error: std::io::Error| error.to_string();
        let Some(daemon) = &self.daemon else { return Err("the daemon has ended".to_owned()) };
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).map_err(told)?;
        socket.set_nonblocking(true).map_err(told)?;
        socket.set_tcp_nodelay(true).map_err(told)?;
        if matches!(plan.role, Role::Reader { speed: Speed::Frozen | Speed::OneIn(_), .. }) {
            socket.set_recv_buffer_size(SLOW_RECEIVE_BYTES).map_err(told)?;
        }
        let host = 2 + (self.connections / SESSIONS_PER_ADDRESS % 200) as u8;
        self.connections += 1;
        let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 1, host)), 0);
        socket.bind(&from.into()).map_err(told)?;
        match socket.connect(&daemon.address().into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error.to_string()),
        }
        let mut out = Vec::new();
        let hello =
            ClientHello { version_min: 1, version_max: 1, client: "throughput", token: None };
        hello.encode_to(&mut out);
        for (request, document) in (0..).zip(&plan.documents) {
            let (access, policy, producer) = match plan.role {
                Role::Reader { policy: of, .. } => (Access::Read, policy(of), 0),
                _ => (Access::Write, Policy::OfCollection, 1),
            };
            let options = OpenOptions { access, start: Start::Live, policy, producer, echo: true };
            let name = &self.fleet.documents[*document].name;
            Open::new(request, name, options).encode_to(&mut out);
        }
        let key = self.fleet.begin(plan);
        if self.lines.len() <= key {
            self.lines.resize_with(key + 1, || None);
        }
        self.lines[key] =
            Some(Line { socket, is_connected: false, kept: Vec::new(), is_listed: true });
        self.listed.push(key);
        self.fleet.say(key, &out);
        Ok(key)
    }

    fn disconnect(&mut self, key: Key) {
        self.fleet.end(key);
        self.lines[key] = None;
        self.listed.retain(|other| *other != key);
    }

    fn has_room(&mut self, key: Key) {
        let is_unbounded = self.fleet.session(key).is_some_and(|it| it.room_bytes == usize::MAX);
        let Some(line) = self.line(key) else { return };
        if !is_unbounded {
            self.given.push_back(key);
        } else if !core::mem::replace(&mut line.is_listed, true) {
            self.listed.push(key);
        }
    }

    fn step(&mut self) -> Result<(), String> {
        let now_ns = self.fleet.now_ns();
        self.fleet.publish_due(now_ns);
        for _ in 0..self.fleet.ready_count() {
            let Some(key) = self.fleet.take_ready() else { break };
            self.send(key);
        }
        for place in 0..self.listed.len() {
            self.read(self.listed[place]);
        }
        self.unlist();
        let mut newly_given = core::mem::take(&mut self.newly_given);
        self.fleet.give_room(&mut newly_given);
        self.given.extend(newly_given.drain(..));
        self.newly_given = newly_given;
        for _ in 0..SLOW_LOOKS {
            let Some(key) = self.given.pop_front() else { break };
            self.read(key);
        }
        let now = Instant::now();
        let turn_ns = (now - self.last).as_nanos() as u64;
        self.last = now;
        if let Some(span) = self.fleet.span() {
            span.turn(turn_ns);
        }
        let Some(daemon) = &mut self.daemon else { return Err("the daemon has ended".to_owned()) };
        if !self.fleet.faults().is_empty() && !daemon.lives() {
            return Err(format!("the daemon has ended: {}", daemon.log()));
        }
        Ok(())
    }

    fn documents_per_session(&self) -> usize {
        DOCUMENTS_PER_SESSION
    }

    fn live(&mut self) -> Option<Live> {
        let mut live = Live::default();
        for (kind, bytes) in self.gauge.holdings().ok()?.live_bytes? {
            match kind.as_str() {
                "chunks" | "nodes" => live.window_bytes += bytes,
                "carries" => live.carried_bytes += bytes,
                _ => live.other_bytes += bytes,
            }
            if matches!(kind.as_str(), "subscriptions" | "spills") {
                live.reader_bytes += bytes;
            }
        }
        Some(live)
    }

    fn move_document(&mut self, _: u64, _: bool) -> Result<bool, String> {
        Err("the daemon has one worker here".to_owned())
    }

    fn take_moved(&mut self) -> Option<Move> {
        None
    }

    fn placed(&mut self) -> Result<Option<Placed>, String> {
        let status = self.gauge.status()?;
        let cores = status["cores"].as_array().ok_or("the daemon tells of no cores")?;
        let sum = |figure: &str| cores.iter().filter_map(|core| core[figure].as_u64()).sum();
        let pause = &status["moves"]["lane_pause"];
        let pauses = pause["count"].as_u64().ok_or("the daemon tells of no pauses")?;
        Ok(Some(Placed {
            promoted: sum("promoted_documents"),
            pauses,
            pauses_us: pause["mean_us"].as_f64().unwrap_or_default() * pauses as f64,
            laned_batches: sum("laned_batches"),
        }))
    }

    fn budget_bytes(&self) -> u64 {
        self.budget_bytes
    }

    fn finish(mut self: Box<Self>) -> Result<(), String> {
        for key in self.fleet.keys() {
            self.disconnect(key);
        }
        self.daemon.take().map_or(Ok(()), Daemon::stop)
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
