//! The sessions of several cores on the caller's thread: no executor, no socket, no clock.
//!
//! For simulators: the caller brings the stages, the connections and the time, says which core
//! turns and which session's task is polled, and wakes what a doorbell would wake. Everything else
//! is what runs on pinned cores: the driver of a session, the way out, the phases of an orderly end.

use std::cell::{Ref, RefCell, RefMut};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc as StdArc;
use std::task::{Context, Poll};

use deltaworks_pipeline::stages::{CoreStages, Tuning};
use deltaworks_protocol::server::Config;
use deltaworks_runtime::clock::{Clock, Now};
use deltaworks_runtime::doorbell::Doorbell;
use deltaworks_runtime::ending::{PhaseWord, Stillness};
use deltaworks_runtime::sync::Arc;

pub use crate::connection::{Connection, Outgoing};

use crate::attendance::Connected;
use crate::peer::Peer;
use crate::session::Driver;
use crate::settings::{Published, Settings, SettingsReader};
use crate::station::{CLOSING, CoreDoor, DRAINING, FAILING, REFUSING, SERVING, Station};
use crate::tally::tally;

/// What the server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It serves.
    Serving,
    /// Nothing is read any more; what was appended goes out.
    Draining,
    /// Nothing is appended any more; what is on its way is refused.
    Refusing,
    /// Sessions are told and ended.
    Closing,
    /// A core was lost: the sessions of the others are told and ended.
    Failing,
}

/// The cores of a server, and how it ends.
pub struct InlineServer<O, C> {
    cores: Vec<InlineCore<O, C>>,
    phase: PhaseWord,
    stillness: Stillness,
}

impl<O, C> fmt::Debug for InlineServer<O, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineServer").field("cores", &self.cores.len()).finish_non_exhaustive()
    }
}

/// One core of it.
struct InlineCore<O, C> {
    station: Rc<RefCell<Station<O, C>>>,
    door: StdArc<CoreDoor>,
}

impl<O: Outgoing, C: Clock + Clone> InlineServer<O, C> {
    /// A server of these stages, each with the doorbell that its core is woken by. At most
    /// `control_bytes_max` bytes of control wait on each core.
    pub fn new(
        stages: Vec<(CoreStages, Doorbell)>,
        protocol: Config,
        tuning: Tuning,
        control_bytes_max: usize,
        clock: &C,
    ) -> Self {
        let phase = PhaseWord::default();
        let published = Arc::new(Published::new(Settings {
            hello_deadline_ms: protocol.hello_deadline_ms,
            ping_interval_ms: protocol.ping_interval_ms,
            ping_timeout_ms: protocol.ping_timeout_ms,
            sessions_per_address_max: usize::MAX,
            tuning,
        }));
        let config = Rc::new(protocol);
        let core = |(stages, doorbell)| {
            let (door, inside) = CoreDoor::new(phase.clone(), doorbell);
            let station = Station::new(
                stages,
                Rc::clone(&config),
                control_bytes_max,
                inside,
                tally(0).0,
                SettingsReader::new(&published),
                clock.clone(),
            );
            InlineCore { station: Rc::new(RefCell::new(station)), door }
        };
        let cores = stages.into_iter().map(core).collect();
        Self { cores, phase, stillness: Stillness::default() }
    }

    /// One turn of `core`; returns how much was done.
    pub fn turn(&mut self, core: usize, now: Now) -> usize {
        self.cores[core].station.borrow_mut().turn(now)
    }

    /// The monotonic time at which `core` must turn although nobody wakes it.
    pub fn wake_at_ns(&self, core: usize) -> u64 {
        self.cores[core].station.borrow().wake_at_ns()
    }

    /// The stages of `core`, to be looked at.
    pub fn stages(&self, core: usize) -> Ref<'_, CoreStages> {
        Ref::map(self.cores[core].station.borrow(), |station| &station.stages)
    }

    /// The same, to be asked for something that is done in its next turn.
    pub fn stages_mut(&mut self, core: usize) -> RefMut<'_, CoreStages> {
        RefMut::map(self.cores[core].station.borrow_mut(), |station| &mut station.stages)
    }

    /// Control that waits in all sessions of `core`, in bytes.
    pub fn control_bytes(&self, core: usize) -> usize {
        self.cores[core].station.borrow().control_bytes()
    }

    /// Enters a phase, and rings all doorbells.
    pub fn enter(&mut self, phase: Phase) {
        let phase = match phase {
            Phase::Serving => SERVING,
            Phase::Draining => DRAINING,
            Phase::Refusing => REFUSING,
            Phase::Closing => CLOSING,
            Phase::Failing => FAILING,
        };
        self.stillness = Stillness::default();
        self.phase.enter(phase, self.cores.iter().map(|core| core.door.doorbell()));
    }

    /// Rings all doorbells.
    pub fn ring_all(&self) {
        self.cores.iter().for_each(|core| core.door.ring());
    }

    /// Whether all cores that end have come to rest, as whoever stops the server looks at them.
    pub fn is_still(&mut self) -> bool {
        let cores = self.cores.iter().map(|core| &core.door.restfulness);
        self.stillness.look(self.phase.get(), cores)
    }

    /// Whether somebody is connected to `core`.
    pub fn has_connections(&self, core: usize) -> bool {
        self.cores[core].door.has_connections()
    }

    /// Connections of `core` that were cut, or would be if it ended now.
    pub fn cut(&self, core: usize) -> usize {
        self.cores[core].door.cut()
    }

    /// A session on `core` over a connection, whose stages' side is `outgoing`.
    pub fn begin<S: Connection>(
        &mut self,
        core: usize,
        connection: S,
        outgoing: O,
    ) -> InlineSession<S, O, C> {
        let InlineCore { station, door } = &self.cores[core];
        let peer = Peer::Unix(None);
        let attendant = door.attendant();
        let station_now = &mut station.borrow_mut();
        let driver =
            Driver::begin(connection, outgoing, (peer, Arc::default()), attendant, station_now);
        InlineSession {
            station: Rc::clone(station),
            driver,
            stage: Stage::Serving,
            _connected: door.connected(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Serving,
    Saying,
    Lingering,
    Done,
}

/// The task of one connection: **`poll` whenever it was woken, until it is ready**.
pub struct InlineSession<S, O, C> {
    station: Rc<RefCell<Station<O, C>>>,
    driver: Driver<S, O>,
    stage: Stage,
    _connected: Connected,
}

impl<S, O, C> fmt::Debug for InlineSession<S, O, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineSession").field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl<S: Connection, O: Outgoing, C: Clock + Clone> InlineSession<S, O, C> {
    /// Goes on as far as the connection allows; `wake` asks that the core turn.
    pub fn poll(&mut self, wake: impl Fn(), context: &mut Context<'_>) -> Poll<()> {
        if self.stage == Stage::Serving {
            if self.driver.poll_serve(&self.station, &wake, context).is_pending() {
                return Poll::Pending;
            }
            self.driver.end(&mut self.station.borrow_mut());
            wake();
            self.stage = Stage::Saying;
        }
        if self.stage == Stage::Saying {
            if self.driver.poll_say(context).is_pending() {
                return Poll::Pending;
            }
            self.driver.settle(true);
            self.stage = Stage::Lingering;
        }
        if self.stage == Stage::Lingering {
            if self.driver.poll_linger(context).is_pending() {
                return Poll::Pending;
            }
            self.stage = Stage::Done;
        }
        Poll::Ready(())
    }

    /// Whether the session has ended, and its peer is still waited for.
    pub fn is_ending(&self) -> bool {
        matches!(self.stage, Stage::Saying | Stage::Lingering)
    }

    /// The time that an ended session's peer is given is over: it is cut off.
    pub fn give_up(&mut self) {
        if self.stage == Stage::Saying {
            self.driver.settle(self.station.borrow().is_serving());
        }
        if self.is_ending() {
            self.stage = Stage::Done;
        }
    }
}
