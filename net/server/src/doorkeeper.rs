//! The doorkeeper: the thread that accepts connections, admits or refuses them, and hands each to
//! the least loaded core.
//!
//! Not pinned, and none of the cores: while it accepts, no document waits. It never reads what a
//! session says. What it has is bounded: seats by [`Admission`], refused connections that linger
//! by [`Farewell`], connections of one look by [`ACCEPTS_PER_LOOK`].
//!
//! ```text
//!  listeners ─poll─▶ accept ┬ no descriptor left: the spare one, told 215, closed
//!                           ├ limit reached: told 207 or 208, lingers shortly
//!                           └ admitted: peer and seat go along to a core's door
//! ```
//!
//! accept(2) asks for a descriptor before it looks whether anybody waits. Without one, those who
//! wait would keep the listeners ready, and the thread in a circle. So one descriptor is kept
//! spare: it is given up for as long as a connection is told that there is none. When that fails,
//! or memory is short, the listeners are not looked at for [`PAUSE`].

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use deltaworks_protocol::ErrorCode;
use deltaworks_protocol::server::{Config, Session};
use deltaworks_runtime::counters::{CounterReader, CounterWriter, counters};
use deltaworks_runtime::ending::PhaseWord;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use tracing::{debug, info, warn};

use crate::admission::Admission;
use crate::farewell::Farewell;
use crate::listener::Listener;
use crate::peer::Peer;
use crate::settings::SettingsReader;
use crate::station::{CoreDoor, ENDED, SERVING};

/// Connections accepted from one listener before the others are looked at.
const ACCEPTS_PER_LOOK: usize = 64;
/// How long listeners are left alone when accepting fails for want of something.
const PAUSE: Duration = Duration::from_millis(100);
/// Connections that are told of the end when listening ends, at most.
const LAST_ACCEPTS: usize = 4096;
/// Between two lines in the log about the same thing.
const LOG_PAUSE: Duration = Duration::from_secs(1);

/// What became of connections, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AcceptCounts {
    /// Calls of accept(2), with whatever result.
    pub attempts: u64,
    /// Connections that were admitted.
    pub accepted: u64,
    /// Connections refused because of the limit of sessions (207).
    pub refused_sessions: u64,
    /// Connections refused because of the limit of their address (208).
    pub refused_address: u64,
    /// Connections refused because no descriptor was left (215).
    pub refused_descriptors: u64,
    /// Connections that were gone before they were accepted.
    pub aborted: u64,
    /// How often accepting paused because something was lacking.
    pub pauses: u64,
}

#[derive(Clone, Copy)]
enum Count {
    Attempts,
    Accepted,
    RefusedSessions,
    RefusedAddress,
    RefusedDescriptors,
    Aborted,
    Pauses,
}
const COUNTS: usize = 7;

/// The running doorkeeper.
#[derive(Debug)]
pub(crate) struct Doorkeeper {
    thread: JoinHandle<()>,
    bell: Arc<EventFd>,
    counts: AcceptReader,
}

/// What became of connections, to be read from any thread.
#[derive(Clone, Debug)]
pub(crate) struct AcceptReader(CounterReader<COUNTS>);

impl AcceptReader {
    /// The latest that was published, as of one look.
    pub fn counts(&self) -> AcceptCounts {
        let counts = self.0.snapshot();
        let count = |it: Count| counts[it as usize];
        AcceptCounts {
            attempts: count(Count::Attempts),
            accepted: count(Count::Accepted),
            refused_sessions: count(Count::RefusedSessions),
            refused_address: count(Count::RefusedAddress),
            refused_descriptors: count(Count::RefusedDescriptors),
            aborted: count(Count::Aborted),
            pauses: count(Count::Pauses),
        }
    }
}

impl Doorkeeper {
    /// Starts to accept. `phase` says when to end; [`ring`](Self::ring) after it has changed.
    ///
    /// # Errors
    /// If no thread or descriptor can be had.
    pub fn spawn(
        listeners: Vec<Listener>,
        admission: Admission,
        settings: SettingsReader,
        doors: Vec<Arc<CoreDoor>>,
        phase: PhaseWord,
        config: &Config,
    ) -> io::Result<Self> {
        let (door, counts) = Door::new(listeners, admission, settings, doors, phase, config)?;
        let bell = Arc::clone(&door.bell);
        let named = std::thread::Builder::new().name("doorkeeper".to_owned());
        let thread = named.spawn(move || door.keep())?;
        Ok(Self { thread, bell, counts: AcceptReader(counts) })
    }

    /// Makes it look at the phase.
    pub fn ring(&self) {
        // It fails only when so many rings wait that one more says nothing.
        let _ = self.bell.write(1);
    }

    /// Whether its thread has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// What became of connections.
    pub fn counts(&self) -> AcceptCounts {
        self.counts.counts()
    }

    /// The same for other threads.
    pub fn counts_reader(&self) -> AcceptReader {
        self.counts.clone()
    }

    /// Waits until its thread has ended, which the phase must have told it.
    pub fn join(self) {
        self.ring();
        // A panic has told why on standard error.
        let _ = self.thread.join();
    }
}

/// The thread's own.
struct Door {
    listeners: Vec<Listener>,
    admission: Admission,
    settings: SettingsReader,
    doors: Vec<Arc<CoreDoor>>,
    phase: PhaseWord,
    words: Words,
    spare: Option<OwnedFd>,
    bell: Arc<EventFd>,
    farewell: Farewell,
    /// When listeners are looked at again, after something was lacking.
    resumes: Option<Instant>,
    counts: CounterWriter<COUNTS>,
    refusals: Rate,
    faults: Rate,
}

impl Door {
    fn new(
        listeners: Vec<Listener>,
        admission: Admission,
        settings: SettingsReader,
        doors: Vec<Arc<CoreDoor>>,
        phase: PhaseWord,
        config: &Config,
    ) -> io::Result<(Self, CounterReader<COUNTS>)> {
        let (writer, counts) = counters();
        let door = Self {
            listeners,
            admission,
            settings,
            doors,
            phase,
            words: Words::new(config),
            spare: Some(spare()?),
            bell: Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?),
            farewell: Farewell::default(),
            resumes: None,
            counts: writer,
            refusals: Rate::default(),
            faults: Rate::default(),
        };
        Ok((door, counts))
    }

    fn keep(mut self) {
        loop {
            match self.phase.get() {
                SERVING => {}
                ENDED => return,
                _ => self.close(),
            }
            self.look();
            self.counts.publish();
        }
    }

    /// Waits for something to happen, and handles it.
    fn look(&mut self) {
        let now = Instant::now();
        if self.resumes.is_some_and(|at| at <= now) {
            self.resumes = None;
        }
        let listening = if self.resumes.is_none() { self.listeners.len() } else { 0 };
        let due = [self.resumes, self.farewell.next_deadline()].into_iter().flatten().min();
        let timeout = due.map_or(PollTimeout::NONE, |due| {
            // A millisecond more, so that it is due then.
            let wait_ms = due.saturating_duration_since(now).as_millis() + 1;
            PollTimeout::try_from(wait_ms).unwrap_or(PollTimeout::MAX)
        });
        let bell = [self.bell.as_fd()];
        let listeners = self.listeners.iter().take(listening).map(AsFd::as_fd);
        let sockets = bell.into_iter().chain(listeners).chain(self.farewell.sockets());
        let mut polled: Vec<_> =
            sockets.map(|socket| PollFd::new(socket, PollFlags::POLLIN)).collect();
        if let Err(error) = poll(&mut polled, timeout)
            && error != Errno::EINTR
        {
            // Memory is short. Not in a circle.
            std::thread::sleep(PAUSE);
        }
        let ready: Vec<bool> = polled.iter().map(|it| it.any().unwrap_or(true)).collect();
        drop(polled);
        if ready[0] {
            let _ = self.bell.read();
        }
        for place in 0..listening {
            if ready[1 + place] && self.resumes.is_none() {
                self.accept_from(place);
            }
        }
        self.farewell.hear(|place| ready.get(1 + listening + place).copied().unwrap_or(false), now);
    }

    fn accept_from(&mut self, place: usize) {
        for _ in 0..ACCEPTS_PER_LOOK {
            self.count(Count::Attempts);
            match self.listeners[place].accept() {
                Ok((connection, peer)) => self.admit(connection, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => match Fault::of(&error) {
                    Fault::Connection => self.count(Count::Aborted),
                    Fault::Descriptors => return self.refuse_without_descriptor(place, &error),
                    Fault::Lack => return self.pause(&error),
                },
            }
        }
    }

    fn admit(&mut self, connection: OwnedFd, peer: Peer) {
        if let Some(settings) = self.settings.news() {
            self.admission.limit_origins(settings.sessions_per_address_max);
        }
        let code = match self.admission.admit(&peer) {
            Ok(seat) => {
                self.count(Count::Accepted);
                debug!(transport = peer.transport(), %peer, "connection accepted");
                if let Some(door) = self.doors.iter().min_by_key(|door| door.load()) {
                    door.hand_over(connection, peer, seat);
                }
                return;
            }
            Err(code) => code,
        };
        self.count(match code {
            ErrorCode::AddressLimit => Count::RefusedAddress,
            _ => Count::RefusedSessions,
        });
        let now = Instant::now();
        if let Some(unsaid) = self.refusals.is_due(now) {
            let (number, transport) = (code.number(), peer.transport());
            info!(number, transport, %peer, unsaid, "connection refused: {}", code.name());
        }
        self.farewell.tell(connection, self.words.of(code), now);
    }

    /// Gives the spare descriptor up for as long as one connection is told that there is none.
    fn refuse_without_descriptor(&mut self, place: usize, lack: &io::Error) {
        if self.spare.take().is_none() {
            return self.pause(lack);
        }
        self.count(Count::Attempts);
        let accepted = self.listeners[place].accept();
        match accepted {
            Ok((connection, peer)) => {
                self.count(Count::RefusedDescriptors);
                if let Some(unsaid) = self.faults.is_due(Instant::now()) {
                    let number = ErrorCode::DescriptorLimit.number();
                    warn!(number, %peer, unsaid, "connection refused: {lack}");
                }
                let words = self.words.of(ErrorCode::DescriptorLimit);
                Farewell::tell_and_close(connection, words);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => match Fault::of(&error) {
                Fault::Connection => self.count(Count::Aborted),
                Fault::Descriptors | Fault::Lack => self.pause(&error),
            },
        }
        // Whoever took it in between gives it back some time; until then there are pauses.
        self.spare = spare().ok();
    }

    fn pause(&mut self, lack: &io::Error) {
        self.count(Count::Pauses);
        let now = Instant::now();
        if let Some(unsaid) = self.faults.is_due(now) {
            warn!(unsaid, "no connection can be accepted now: {lack}");
        }
        self.resumes = Some(now + PAUSE);
        if self.spare.is_none() {
            self.spare = spare().ok();
        }
    }

    /// Ends listening. Who waits at a socket of our own is told so; at an inherited one, the next
    /// process accepts them.
    fn close(&mut self) {
        for listener in std::mem::take(&mut self.listeners) {
            if !listener.is_own() {
                continue;
            }
            for _ in 0..LAST_ACCEPTS {
                self.count(Count::Attempts);
                let Ok((connection, _)) = listener.accept() else { break };
                let words = self.words.of(ErrorCode::ShuttingDown);
                self.farewell.tell(connection, words, Instant::now());
            }
        }
        self.resumes = None;
    }

    fn count(&mut self, count: Count) {
        self.counts.add(count as usize, 1);
    }
}

/// A descriptor to be given up when there is no other.
fn spare() -> io::Result<OwnedFd> {
    Ok(EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?.into())
}

/// What accept(2) failed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// One connection, which is gone; or a signal.
    Connection,
    /// No descriptor is left, in this process or in the system.
    Descriptors,
    /// Memory, or something that is not known: the same would come again.
    Lack,
}

impl Fault {
    fn of(error: &io::Error) -> Self {
        match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
            Errno::EMFILE | Errno::ENFILE => Self::Descriptors,
            // Those of the connection that accept(2) passes on, and of a firewall.
            Errno::ECONNABORTED
            | Errno::EINTR
            | Errno::EPERM
            | Errno::EPROTO
            | Errno::ENOPROTOOPT
            | Errno::EOPNOTSUPP
            | Errno::ENETDOWN
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::EHOSTUNREACH
            | Errno::ENONET => Self::Connection,
            _ => Self::Lack,
        }
    }
}

/// What a refused connection is told, encoded once.
struct Words(Vec<(ErrorCode, Vec<u8>)>);

impl Words {
    fn new(config: &Config) -> Self {
        let codes = [
            ErrorCode::SessionLimit,
            ErrorCode::AddressLimit,
            ErrorCode::DescriptorLimit,
            ErrorCode::ShuttingDown,
        ];
        let encoded = |code| {
            let mut session = Session::new(0);
            let mut words = Vec::new();
            session.handle_fault(code);
            session.poll_transmit(config, &mut words);
            (code, words)
        };
        Self(codes.map(encoded).into())
    }

    fn of(&self, code: ErrorCode) -> &[u8] {
        self.0.iter().find(|(of, _)| *of == code).map_or(&[], |(_, words)| words)
    }
}

/// At most one line a second.
#[derive(Debug, Default)]
struct Rate {
    said: Option<Instant>,
    unsaid: u64,
}

impl Rate {
    /// Whether to say it now, and how often it was not said since it was said last.
    fn is_due(&mut self, now: Instant) -> Option<u64> {
        if self.said.is_some_and(|said| now < said + LOG_PAUSE) {
            self.unsaid += 1;
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Published, Settings};
    use deltaworks_pipeline::limits::Limits;
    use deltaworks_pipeline::stages::Tuning;
    use deltaworks_runtime::sync::Arc as SharedArc;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    #[test]
    fn faults_are_told_apart() {
        let fault = |errno: Errno| Fault::of(&io::Error::from_raw_os_error(errno as i32));
        assert_eq!(fault(Errno::EMFILE), Fault::Descriptors);
        assert_eq!(fault(Errno::ENFILE), Fault::Descriptors);
        assert_eq!(fault(Errno::ECONNABORTED), Fault::Connection);
        assert_eq!(fault(Errno::ENOBUFS), Fault::Lack);
        assert_eq!(fault(Errno::ENOMEM), Fault::Lack);
        // What is not known must not be tried in a circle.
        assert_eq!(fault(Errno::EBADF), Fault::Lack);
        assert_eq!(Fault::of(&io::Error::other("none of the system's")), Fault::Lack);
    }

    fn with_one_who_waits() -> (Door, CounterReader<COUNTS>, TcpStream) {
        let listener = Listener::tcp(&"127.0.0.1:0".parse().expect("an address")).expect("one");
        let address = listener.tcp_address().expect("TCP");
        let (limits, config) = (Limits::default(), Config::default());
        let settings = SettingsReader::new(&SharedArc::new(Published::new(Settings {
            hello_deadline_ms: config.hello_deadline_ms,
            ping_interval_ms: config.ping_interval_ms,
            ping_timeout_ms: config.ping_timeout_ms,
            sessions_per_address_max: 10,
            tuning: Tuning::of(&limits),
        })));
        let phase = PhaseWord::default();
        let admission = Admission::new(10, 10);
        let made = Door::new(vec![listener], admission, settings, vec![], phase, &config);
        let (door, counts) = made.expect("a door");
        (door, counts, TcpStream::connect(address).expect("queued"))
    }

    #[test]
    fn whoever_waits_while_something_is_lacking_is_accepted_after_a_pause() {
        let (mut door, counts, _waiting) = with_one_who_waits();
        let count = |door: &mut Door, it: Count| {
            door.counts.publish();
            counts.get(it as usize)
        };
        door.pause(&Errno::ENOBUFS.into());
        door.look();
        let counted = (count(&mut door, Count::Pauses), count(&mut door, Count::Attempts));
        assert_eq!(counted, (1, 0), "nobody is looked at");
        // The time of the pause is over, or it was when the last look ended.
        door.resumes = None;
        door.look();
        let counted = (count(&mut door, Count::Accepted), count(&mut door, Count::Attempts));
        assert_eq!(counted, (1, 2), "one came, and nobody is left");
    }

    #[test]
    fn the_spare_descriptor_tells_a_newcomer_and_comes_back() {
        let (mut door, _, mut waiting) = with_one_who_waits();
        waiting.write_all(b"a hello that nobody reads").expect("queued");
        door.refuse_without_descriptor(0, &Errno::EMFILE.into());
        let mut told = Vec::new();
        waiting.read_to_end(&mut told).expect("no reset");
        assert_eq!(told, door.words.of(ErrorCode::DescriptorLimit));
        assert!(door.spare.is_some() && door.resumes.is_none());
        // Without it there is a pause, in which it is sought again.
        door.spare = None;
        door.refuse_without_descriptor(0, &Errno::EMFILE.into());
        assert!(door.spare.is_some() && door.resumes.is_some());
    }

    #[test]
    fn a_line_a_second_says_how_many_were_not_said() {
        let mut rate = Rate::default();
        let now = Instant::now();
        assert_eq!(rate.is_due(now), Some(0));
        assert_eq!(rate.is_due(now), None);
        assert_eq!(rate.is_due(now + LOG_PAUSE / 2), None);
        assert_eq!(rate.is_due(now + LOG_PAUSE), Some(2));
    }

    #[test]
    fn every_refusal_has_its_words() {
        let words = Words::new(&Config::default());
        for (code, said) in &words.0 {
            assert!(said.len() > 16, "{code:?}");
        }
        assert_ne!(words.of(ErrorCode::SessionLimit), words.of(ErrorCode::AddressLimit));
        assert!(words.of(ErrorCode::Internal).is_empty());
    }
}
