//! All that one core serves: its stages, the way out of its sessions, and the connections that
//! were handed to it.
//!
//! Belongs to one core; its loop turns it, the tasks of its sockets use it in between. It never
//! waits, and no borrow of it lives across an await.

use std::cell::RefCell;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use deltaworks_pipeline::message::SessionId;
use deltaworks_pipeline::quota::SharedUse;
use deltaworks_pipeline::stages::CoreStages;
use deltaworks_protocol::ErrorCode;
use deltaworks_protocol::server::Config;
use deltaworks_runtime::agent::Agent;
use deltaworks_runtime::clock::{Clock, Now, SystemClock};
use deltaworks_runtime::core::LocalCore;
use deltaworks_runtime::doorbell::Doorbell;
use deltaworks_runtime::ending::{PhaseWord, Restfulness, Resting, restfulness};
use deltaworks_runtime::letterbox::Letterbox;
use deltaworks_runtime::sync::Arc as SharedArc;
use deltaworks_runtime::sync::atomic::{AtomicUsize, Ordering};
use glommio::net::TcpStream;

use crate::admission::Seat;
use crate::attendance::{Attendance, Attendant, Connected};
use crate::connection::{Descriptor, Outgoing};
use crate::deadlines::Deadlines;
use crate::desk::{Desk, QuestionBox, question_box};
use crate::outlet::{Outlet, SocketSession};
use crate::peer::Peer;
use crate::planted::CorePlants;
use crate::recording::Recorder;
use crate::session::serve;
use crate::settings::SettingsReader;
use crate::tally::Tally;

/// Time between two looks at the sessions' deadlines.
const DEADLINE_LOOK_NS: u64 = 250_000_000;

/// Sessions that are looked at in one turn, at most.
const LOOKS_PER_TURN: usize = 256;

/// Sessions that are pinged or ended in one turn because their time is up, at most.
const DUE_PER_TURN: usize = 64;

/// The server serves.
pub(crate) const SERVING: u8 = 0;
/// Nothing is read any more; what was appended goes out.
pub(crate) const DRAINING: u8 = 1;
/// Nothing is appended any more; what is on its way is refused.
pub(crate) const REFUSING: u8 = 2;
/// Sessions are told and ended.
pub(crate) const CLOSING: u8 = 3;
/// A core was lost: the sessions of the others are told and ended.
pub(crate) const FAILING: u8 = 4;
/// All cores have ended.
pub(crate) const ENDED: u8 = 5;

/// A connection that was admitted, on its way to its core.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub connection: OwnedFd,
    pub peer: Peer,
    /// Given back when the session has ended.
    pub seat: Seat,
    connected: Connected,
    attendant: Attendant,
}

/// What other threads may know of and give to a core: control only, never data.
///
/// | word | written by | read by |
/// |---|---|---|
/// | phase | who stops the server | every core, each turn; the doorkeeper, when rung |
/// | sessions | its core | the doorkeeper, to find the least loaded |
/// | restfulness | its core, from draining on | who stops the server |
/// | accepted | the doorkeeper | its core |
/// | questions | whoever asks out of band | its core |
pub(crate) struct CoreDoor {
    pub phase: PhaseWord,
    pub sessions: AtomicUsize,
    pub restfulness: Restfulness,
    attendance: Arc<Attendance>,
    accepted: Letterbox<Arrival>,
    /// What others ask of this core.
    pub questions: QuestionBox,
    doorbell: Doorbell,
}

/// The core's own side of its door.
pub(crate) struct Inside {
    pub door: Arc<CoreDoor>,
    resting: Resting,
}

impl CoreDoor {
    /// A door, and what its core needs of it.
    pub fn new(phase: PhaseWord, doorbell: Doorbell) -> (Arc<Self>, Inside) {
        let (resting, restfulness) = restfulness();
        let door = Arc::new(Self {
            phase,
            sessions: AtomicUsize::new(0),
            restfulness,
            attendance: Arc::default(),
            // As many as have a seat.
            accepted: Letterbox::new(usize::MAX),
            questions: question_box(),
            doorbell,
        });
        (Arc::clone(&door), Inside { door, resting })
    }

    /// Sessions served and about to be.
    pub fn load(&self) -> usize {
        // Relaxed: a balance, not a promise.
        self.sessions.load(Ordering::Relaxed) + self.accepted.waiting()
    }

    pub fn hand_over(&self, connection: OwnedFd, peer: Peer, seat: Seat) {
        // Counted from here on, so that it is never on its way without being counted.
        let connected = Connected::new(&self.attendance);
        let attendant = self.attendant();
        let arrival = Arrival { connection, peer, seat, connected, attendant };
        // There is room for all that have a seat.
        let _ = self.accepted.put(arrival);
        self.ring();
    }

    /// What counts one more connection as owed its last words.
    pub fn attendant(&self) -> Attendant {
        Attendant::new(&self.attendance)
    }

    /// Whether somebody is connected, or about to be.
    pub fn has_connections(&self) -> bool {
        self.attendance.connections() > 0
    }

    /// Connections that were cut, or would be if the core ended now.
    pub fn cut(&self) -> usize {
        self.attendance.cut()
    }

    pub fn ring(&self) {
        self.doorbell.ring();
    }

    /// How to wake the core.
    pub fn doorbell(&self) -> &Doorbell {
        &self.doorbell
    }

    /// One more connection of this core, until what is returned goes.
    #[cfg(feature = "simulation")]
    pub fn connected(&self) -> Connected {
        Connected::new(&self.attendance)
    }
}

/// What one core serves.
pub(crate) struct Station<O, C> {
    pub stages: CoreStages,
    outlet: Outlet<O, C>,
    clock: C,
    door: Arc<CoreDoor>,
    resting: Resting,
    settings: SettingsReader,
    next_look_ns: u64,
    /// Whose time may be up.
    deadlines: Deadlines,
    phase: u8,
    counted_sessions: usize,
    tally: Tally,
    desk: Desk,
    /// There while somebody wants a recording.
    recorder: Option<Box<Recorder>>,
    /// When the last turn began, if it had work.
    busy_since_ns: Option<u64>,
}

/// The station of a core that runs.
pub(crate) type SocketStation = Station<Descriptor, SystemClock>;

impl<O: Outgoing, C: Clock + Clone> Station<O, C> {
    /// A station that nobody is connected to.
    pub fn new(
        stages: CoreStages,
        config: Rc<Config>,
        control_bytes_max: usize,
        Inside { door, resting }: Inside,
        tally: Tally,
        settings: SettingsReader,
        clock: C,
    ) -> Self {
        Self {
            stages,
            outlet: Outlet::new(config, control_bytes_max, clock.clone()),
            clock,
            door,
            resting,
            settings,
            next_look_ns: 0,
            deadlines: Deadlines::default(),
            phase: SERVING,
            counted_sessions: 0,
            tally,
            desk: Desk::default(),
            recorder: None,
            busy_since_ns: None,
        }
    }

    pub fn now(&mut self) -> Now {
        self.clock.now()
    }

    /// The socket's side of a session to be.
    pub fn session(
        &self,
        outgoing: O,
        peer: Peer,
        attendant: Attendant,
        now: Now,
    ) -> SocketSession<O> {
        self.outlet.session(outgoing, peer, attendant, now)
    }

    /// A place for a session.
    ///
    /// # Errors
    /// The number to refuse it with: the places are taken, or the server ends.
    pub fn begin(
        &mut self,
        session: Rc<RefCell<SocketSession<O>>>,
        address: SharedArc<SharedUse>,
    ) -> Result<SessionId, ErrorCode> {
        if self.phase != SERVING {
            return Err(ErrorCode::ShuttingDown);
        }
        let id = self.stages.begin_session().ok_or(ErrorCode::SessionLimit)?;
        self.stages.set_address(id, address);
        self.outlet.begin(id, session);
        self.deadlines.begin(id);
        self.count_sessions();
        Ok(id)
    }

    /// Takes bytes that were read for a session.
    pub fn received(&mut self, id: SessionId, count: usize) {
        let now = self.now();
        if let Some(session) = self.outlet.get(id) {
            let mut session = session.borrow_mut();
            session.protocol.handle_activity(now.monotonic_ns);
            session.received_bytes += count as u64;
        }
        self.stages.received(id, count, &mut self.outlet, now);
        self.pass_on_control();
        if let Some(recorder) = &mut self.recorder {
            recorder.read(now.monotonic_ns, id.0, count);
        }
    }

    /// What a full socket is to be offered alone; see [`CoreStages::offer`].
    pub fn offer(&mut self, id: SessionId) -> &[u8] {
        self.stages.offer(id, &mut self.outlet)
    }

    /// Ends a session whose task has ended, unless its place is already another's.
    pub fn end_own(&mut self, id: SessionId, session: &Rc<RefCell<SocketSession<O>>>) {
        if self.outlet.get(id).is_some_and(|known| Rc::ptr_eq(known, session)) {
            self.end(id);
        }
    }

    /// Ends a session; safe to repeat.
    fn end(&mut self, id: SessionId) {
        let now = self.now();
        self.stages.end_session(id, &mut self.outlet, now);
        self.count_sessions();
    }

    /// Tells others how many sessions there are, when that has changed.
    fn count_sessions(&mut self) {
        let count = self.stages.session_count();
        if count != self.counted_sessions {
            self.counted_sessions = count;
            // Relaxed: a balance, not a promise.
            self.door.sessions.store(count, Ordering::Relaxed);
        }
    }

    /// Control that waits in all sessions.
    #[cfg(any(test, feature = "simulation"))]
    pub fn control_bytes(&self) -> usize {
        self.outlet.control_bytes()
    }

    /// Whether the server has not begun to end.
    pub fn is_serving(&self) -> bool {
        self.phase == SERVING
    }

    fn pass_on_control(&mut self) -> usize {
        let work = self.outlet.with_control.len();
        for id in self.outlet.with_control.drain(..) {
            self.stages.has_control(id);
        }
        for id in core::mem::take(&mut self.outlet.overdrawn) {
            self.outlet.end(id, ErrorCode::BacklogLimit);
            self.end(id);
        }
        work
    }

    pub fn turn(&mut self, now: Now) -> usize {
        self.count_busy(now);
        self.enter_phase();
        let mut work = match &mut self.recorder {
            None => self.stages.turn(&mut self.outlet, now),
            Some(recorder) => recorder.turn(&mut self.stages, &mut self.outlet, now),
        };
        work += self.pass_on_control();
        // A session's place is freed by its owners' last words, in whatever turn those come.
        self.count_sessions();
        if now.monotonic_ns >= self.next_look_ns {
            self.take_settings();
            self.look_at_deadlines(now);
        }
        if self.phase != SERVING {
            let has_time = self.phase == DRAINING;
            let is_behind = has_time && self.stages.has_backlog();
            let is_quiet = self.stages.may_park() && !is_behind;
            let quiet_in = if is_quiet { self.phase } else { SERVING };
            self.resting.turned(work > 0, quiet_in);
        }
        if work > 0 {
            self.busy_since_ns = Some(now.monotonic_ns);
        }
        if self.tally.is_due(now.monotonic_ns) {
            self.publish(now);
        }
        work
    }

    /// Counts the time since the last turn, if that had work.
    fn count_busy(&mut self, now: Now) {
        if let Some(since_ns) = self.busy_since_ns.take() {
            self.tally.turn_took(now.monotonic_ns.saturating_sub(since_ns));
        }
    }

    /// When the core must turn although nobody rings: the next look at deadlines or loads, the end of a
    /// recording.
    pub fn wake_at_ns(&self) -> u64 {
        let has_sessions = self.stages.session_count() > 0;
        let look_ns = if has_sessions { self.next_look_ns } else { u64::MAX };
        let look_ns = look_ns.min(self.stages.wake_at_ns());
        look_ns.min(self.recorder.as_ref().map_or(u64::MAX, |it| it.until_ns()))
    }

    /// Answers a slice of what is asked, and ends a recording whose time is over.
    fn answer(&mut self, now: Now) -> usize {
        let Self { desk, door, stages, outlet, recorder, .. } = self;
        let work = desk.answer(&door.questions, stages, outlet, recorder, now);
        if let Some(recorder) =
            self.recorder.take_if(|recorder| recorder.until_ns() <= now.monotonic_ns)
        {
            recorder.finish(now);
        }
        work
    }

    /// Lets others see what was counted.
    fn publish(&mut self, now: Now) {
        self.tally.publish(&mut self.stages, self.outlet.control_bytes(), now.monotonic_ns);
    }

    fn enter_phase(&mut self) {
        let phase = self.door.phase.get();
        if phase == self.phase {
            return;
        }
        self.phase = phase;
        self.stages.stop_reading();
        match phase {
            REFUSING => self.stages.refuse_rest(),
            CLOSING => self.end_all(ErrorCode::ShuttingDown),
            FAILING => self.end_all(ErrorCode::Internal),
            _ => {}
        }
    }

    fn end_all(&mut self, code: ErrorCode) {
        for id in self.outlet.ids() {
            if let Some(session) = self.outlet.get(id)
                && self.stages.is_behind(id)
            {
                session.borrow().attendant.is_cut();
            }
            self.outlet.end(id, code);
            self.end(id);
        }
    }

    /// Takes what was published since; sessions that have begun keep what they were told.
    pub fn take_settings(&mut self) {
        let Some(settings) = self.settings.news() else { return };
        let mut config = Config::clone(&self.outlet.config);
        config.hello_deadline_ms = settings.hello_deadline_ms;
        config.ping_interval_ms = settings.ping_interval_ms;
        config.ping_timeout_ms = settings.ping_timeout_ms;
        self.outlet.config = Rc::new(config);
        self.stages.tune(settings.tuning);
    }

    /// Goes on with the look at deadlines where the last turn left it. Thousands whose time is up
    /// together must not hold up a turn, nor make thousands of tasks ready in one.
    fn look_at_deadlines(&mut self, now: Now) {
        let (mut compares, mut looks, mut dealt_with) = (0, 0, 0);
        while looks < LOOKS_PER_TURN
            && dealt_with < DUE_PER_TURN
            && let Some(id) = self.deadlines.next(now.monotonic_ns, &mut compares)
        {
            looks += 1;
            dealt_with += usize::from(self.look_at_deadline(id, now));
        }
        if self.deadlines.has_come_round() {
            self.next_look_ns = now.monotonic_ns + DEADLINE_LOOK_NS;
        }
    }

    /// Pings or ends a session whose time is up; whether it is.
    fn look_at_deadline(&mut self, id: SessionId, now: Now) -> bool {
        let Some(session) = self.outlet.get(id) else {
            self.deadlines.forget(id);
            return false;
        };
        let mut session = session.borrow_mut();
        let config = Rc::clone(&session.config);
        let Some(due_ns) = session.protocol.poll_timeout(&config) else {
            self.deadlines.forget(id);
            return false;
        };
        if due_ns > now.monotonic_ns {
            self.deadlines.looked(id, due_ns, &config, now.monotonic_ns);
            return false;
        }
        session.protocol.handle_timeout(&config, now.monotonic_ns);
        let code = session.protocol.ended_by();
        let has_transmit = session.protocol.has_transmit();
        drop(session);
        if let Some(code) = code {
            self.outlet.end(id, code);
            self.end(id);
        } else if has_transmit {
            self.stages.has_control(id);
        }
        true
    }
}

/// The loop's side of a station: turns it, and starts the tasks of new connections.
pub(crate) struct StationAgent {
    pub station: Rc<RefCell<SocketStation>>,
    pub core: LocalCore,
    pub door: Arc<CoreDoor>,
    pub planted: CorePlants,
}

impl Agent for StationAgent {
    fn do_work(&mut self, now: Now) -> usize {
        self.planted.before_turn(now);
        let mut work = 0;
        while let Some(arrival) = self.door.accepted.take() {
            let Arrival { connection, peer, seat, connected, attendant } = arrival;
            let (station, core) = (Rc::clone(&self.station), self.core.clone());
            work += 1;
            station.borrow_mut().take_settings();
            let connection = adopt(connection);
            self.core.spawn(async move {
                serve(connection, peer, seat.used(), attendant, station, core).await;
                drop((connected, seat));
            });
        }
        let mut station = self.station.borrow_mut();
        work += station.answer(now);
        work + station.turn(now)
    }

    fn wake_at_ns(&self) -> u64 {
        self.station.borrow().wake_at_ns().min(self.planted.wake_at_ns())
    }

    fn before_sleep(&mut self) {
        let mut station = self.station.borrow_mut();
        let now = station.now();
        station.count_busy(now);
        station.publish(now);
        if let Some(recorder) = &mut station.recorder {
            recorder.falls_asleep();
        }
    }

    fn after_sleep(&mut self) {
        if let Some(recorder) = &mut self.station.borrow_mut().recorder {
            recorder.wakes_up();
        }
    }
}

/// The executor's stream, TCP or Unix: its type names TCP, but does nothing that a Unix socket
/// does not do; and only that type tells its descriptor.
#[expect(unsafe_code, reason = "glommio takes streams over by descriptor only")]
fn adopt(connection: OwnedFd) -> TcpStream {
    // SAFETY: into_raw_fd gives the descriptor's ownership away, and glommio takes it.
    unsafe { TcpStream::from_raw_fd(connection.into_raw_fd()) }
}
