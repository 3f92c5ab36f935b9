//! One world: the cores of a server, its clients, and the steps that move them.
//!
//! The server is what ships: the stages of several cores over real rings and doorbells, the way out,
//! the driver of each session. What is simulated is what lies around it: connections, clients, time,
//! and who runs next.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use deltaworks_pipeline::stages::{CORES_MAX, Parts, Tuning, join};
use deltaworks_pipeline::stream::BLOCK_BYTES;
use deltaworks_protocol::message::Access;
use deltaworks_protocol::server::Config;
use deltaworks_runtime::chunk_memory::{ChunkMemory, RegionSpec};
use deltaworks_runtime::clock::{Clock, Now};
use deltaworks_runtime::sync::Arc as SharedArc;
use deltaworks_server::inline::{InlineServer, InlineSession};

use crate::client::{Around, Client};
use crate::core::CoreLoop;
use crate::coverage::{Coverage, Event};
use crate::dice::{Dice, mix};
use crate::model::Model;
use crate::setting::{Setting, TURN_NS};
use crate::wire::{Loss, Out, SharedWire, Socket, Wire};

/// What recycled chunks are filled with.
const POISON: u8 = 0xdb;
/// As long as a core waits between two looks at what quotas allow.
const QUOTA_WAIT_NS: u64 = 2_000_000;
/// Turns in which cores that are left alone must come to rest.
const SETTLE_TURNS: usize = 4_000;

/// A clock that the world moves.
#[derive(Clone, Debug, Default)]
pub struct WorldClock(Rc<Cell<Now>>);

impl Clock for WorldClock {
    fn now(&mut self) -> Now {
        self.0.get()
    }
}

/// Whether a task is to be polled.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The server's side of a connection.
struct Link {
    core: usize,
    wire: SharedWire,
    session: InlineSession<Socket, Out, WorldClock>,
    flag: Arc<Flag>,
    waker: Waker,
}

/// One world.
pub struct World {
    /// What it is like.
    pub setting: Setting,
    pub(crate) clock: WorldClock,
    pub(crate) server: InlineServer<Out, WorldClock>,
    pub(crate) cores: Vec<CoreLoop>,
    links: Vec<Link>,
    pub(crate) clients: Vec<Client>,
    pub(crate) model: Model,
    /// What has happened.
    pub coverage: Coverage,
    /// What happened last, if somebody looks.
    pub told: Vec<String>,
    pub(crate) tells: bool,
    /// Clients that never connect, one bit each.
    muted: u64,
    /// By core, as they were counted last.
    recycled: Vec<u64>,
    spilled: Vec<u64>,
    kept: Vec<u64>,
    /// The server accepts nobody any more.
    pub(crate) is_ending: bool,
}

impl World {
    /// The world of a seed, in which the clients of `muted` never connect; `leaks` plants a fault.
    pub fn new(seed: u64, muted: u64, tells: bool, leaks: bool) -> Self {
        let setting = Setting::of_seed(seed);
        let (cores, bells): (Vec<_>, Vec<_>) =
            setting.roles.iter().map(|_| CoreLoop::new()).unzip();
        let clock = WorldClock::default();
        let core_count = setting.roles.len();
        let serving = setting.session_cores().count();
        let mut regions = vec![RegionSpec { chunks: setting.chunks, numa_node: None }; serving];
        if setting.kept_chunks > 0 {
            let homes = setting.roles.iter().filter(|role| role.is_home());
            regions
                .extend(homes.map(|_| RegionSpec { chunks: setting.kept_chunks, numa_node: None }));
        }
        let memory = ChunkMemory::new(&regions, setting.chunk_bytes);
        let (memory, _) = memory.unwrap_or_else(|error| panic!("chunk memory: {error}"));
        let mut stages = join(Parts {
            roles: setting.roles.clone(),
            ring_capacity: setting.ring_capacity,
            memory: SharedArc::new(memory),
            collections: Arc::new(setting.collections()),
            limits: setting.limits.clone(),
            doorbells: bells.clone(),
            node_blocks: setting.node_blocks,
            epoch_seed: seed,
            measures_latency: seed.is_multiple_of(2),
        });
        for stages in &mut stages {
            stages.poison_recycled(POISON);
            if leaks {
                stages.plant_spill_leak(3);
            }
        }
        let mut protocol = Config::default();
        protocol.limits.image_bytes_max = setting.limits.image_bytes_max;
        let server = InlineServer::new(
            stages.into_iter().zip(bells).collect(),
            protocol,
            Tuning::of(&setting.limits),
            setting.control_bytes_max,
            &clock,
        );
        let conducts = setting.clients.iter().enumerate();
        let clients = conducts.map(|(place, conduct)| Client::new(place, *conduct)).collect();
        let mut world = Self {
            model: Model::new(&setting),
            setting,
            clock,
            server,
            cores,
            links: Vec::new(),
            clients,
            coverage: Coverage::default(),
            told: Vec::new(),
            tells,
            muted,
            recycled: vec![0; core_count],
            spilled: vec![0; core_count],
            kept: vec![0; core_count],
            is_ending: false,
        };
        let mut dice = Dice::new(mix(seed));
        for place in 0..world.clients.len() {
            world.connect(place, &mut dice);
        }
        world
    }

    /// One thing that happens, whatever it is: decided by `word`.
    pub fn step(&mut self, word: u64) {
        let mut dice = Dice::new(word);
        self.coverage.count(Event::Step);
        let client = dice.below(self.clients.len());
        match dice.below(1_000) {
            0..=19 => self.move_some(&mut dice),
            20..=399 => {
                let core = dice.below(self.cores.len());
                self.turn(core);
            }
            400..=629 => self.poll_some(&mut dice),
            630..=769 => self.take(client, &mut dice),
            770..=929 => self.act(client, &mut dice),
            930..=949 => self.connect(client, &mut dice),
            950..=956 => self.lose(client, &mut dice),
            957..=969 => self.change_room(client, &mut dice),
            970..=979 => self.settle(),
            980..=985 => self.pass_time(dice.pick(&[100, 1_000, 30_000]) * TURN_NS),
            _ => self.unload(),
        }
    }

    /// The same, but for what would change who is connected.
    pub(crate) fn step_quietly(&mut self, word: u64) {
        let mut dice = Dice::new(word);
        match dice.below(3) {
            0 if dice.says(20) => self.move_some(&mut dice),
            0 => self.poll_some(&mut dice),
            1 => {
                let core = dice.below(self.cores.len());
                self.turn(core);
            }
            _ => {
                let client = dice.below(self.clients.len());
                self.take(client, &mut dice);
            }
        }
    }

    pub(crate) fn now(&self) -> Now {
        self.clock.0.get()
    }

    pub(crate) fn pass_time(&mut self, ns: u64) {
        let Now { monotonic_ns, unix_us } = self.now();
        self.clock.0.set(Now { monotonic_ns: monotonic_ns + ns, unix_us: unix_us + ns / 1_000 });
    }

    /// Once round the loop of `core`; returns how much was done.
    pub(crate) fn turn(&mut self, core: usize) -> usize {
        self.pass_time(TURN_NS);
        let now = self.now();
        let wake_at_ns = self.server.wake_at_ns(core);
        let server = &mut self.server;
        let work = self.cores[core]
            .go_round(now, wake_at_ns, true, &mut self.coverage, || server.turn(core, now));
        if self.tells && work > 0 {
            self.told.push(format!("core {core} turns: {work}"));
        }
        self.count_moved(core);
        self.look_behind(core);
        self.assert_bounds(core);
        work
    }

    /// Counts what the turn of `core` has done besides.
    fn look_behind(&mut self, core: usize) {
        let stages = self.server.stages(core);
        let counts = stages.counts();
        if stages.waiting_messages() > 0 {
            self.coverage.count(Event::RingFull);
        }
        let is_retiring = stages.retiring_chunks() > 0;
        if is_retiring {
            let model = &mut self.model;
            stages.documents(0, 64, |entry| {
                let id = u64::from(entry.slot) | u64::from(entry.generation) << 32;
                model.window_starts(id, entry.window_start);
            });
        }
        drop(stages);
        if is_retiring && self.clients.iter().any(|client| !client.asked.is_empty()) {
            self.coverage.count(Event::OpenWhileRetiring);
        }
        let recycled = std::mem::replace(&mut self.recycled[core], counts.recycled_chunks);
        if counts.recycled_chunks > recycled
            && self.links.iter().any(|it| it.wire.borrow().is_full())
        {
            self.coverage.count(Event::RecycledUnderSlow);
        }
        let kept = std::mem::replace(&mut self.kept[core], counts.kept.images);
        if counts.kept.images > kept && self.links.iter().any(|it| it.wire.borrow().is_full()) {
            self.coverage.count(Event::KeptUnderSlow);
        }
        let spilled = std::mem::replace(&mut self.spilled[core], counts.propagation.spilled_images);
        let copies = counts.propagation.spilled_images - spilled;
        if copies == 0 || self.setting.waits > 0 {
            return;
        }
        // Each session has at most one half-sent image.
        let halves = self.links.iter().filter(|link| link.core == core).count() as u64;
        if !self.setting.conflates {
            self.coverage.count(Event::HalfCopied);
        } else if copies > halves {
            self.coverage.count(Event::ConflateCopied);
        }
    }

    fn poll_some(&mut self, dice: &mut Dice) {
        if self.links.is_empty() {
            return;
        }
        let place = dice.below(self.links.len());
        let unread = self.links[place].wire.borrow().unread();
        let count = if dice.says(50) { unread } else { dice.below(unread + 1) };
        self.links[place].wire.borrow_mut().arrive(count);
        self.poll(place);
    }

    /// Tells a task what its connection can, and polls it if it was woken; whether it was.
    fn poll(&mut self, place: usize) -> bool {
        let link = &mut self.links[place];
        link.wire.borrow_mut().notify();
        if !link.flag.0.swap(false, Ordering::Relaxed) {
            return false;
        }
        let call = self.cores[link.core].call();
        let mut context = Context::from_waker(&link.waker);
        if link.session.poll(|| call.make(), &mut context) == Poll::Ready(()) {
            self.links.swap_remove(place);
        }
        true
    }

    /// The connections whose end is waited for are cut off.
    pub(crate) fn give_up_ended(&mut self) {
        for link in &mut self.links {
            if link.session.is_ending() {
                link.session.give_up();
                link.flag.0.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Connections that the server still has.
    pub(crate) fn link_count(&self) -> usize {
        self.links.len()
    }

    pub(crate) fn with_client<R>(
        &mut self,
        place: usize,
        dice: &mut Dice,
        act: impl FnOnce(&mut Client, &mut Around<'_>) -> R,
    ) -> R {
        let Self { setting, clients, model, coverage, told, tells, .. } = self;
        act(
            &mut clients[place],
            &mut Around { setting, model, coverage, dice, told, tells: *tells },
        )
    }

    fn take(&mut self, place: usize, dice: &mut Dice) {
        if dice.says(self.clients[place].conduct.sloth) {
            return;
        }
        let count = if dice.says(50) { usize::MAX } else { dice.below(3_000) };
        self.with_client(place, dice, |client, around| client.take(count, around));
    }

    fn act(&mut self, place: usize, dice: &mut Dice) {
        self.with_client(place, dice, Client::act);
        let is_dropping = self.told_drop();
        if is_dropping {
            self.coverage.count(Event::DropWhileOpening);
        }
    }

    /// Whether a name that somebody dropped is being asked for.
    fn told_drop(&self) -> bool {
        let mut asked = self.clients.iter().flat_map(|client| client.asked.values());
        asked.any(|asked| self.model.was_dropped(asked.name))
    }

    pub(crate) fn connect(&mut self, place: usize, dice: &mut Dice) {
        let client = &self.clients[place];
        if client.wire.is_some() || self.muted & 1 << place != 0 || self.is_ending {
            return;
        }
        let conduct = client.conduct;
        let cores: Vec<usize> = self.setting.session_cores().collect();
        let core = dice.pick(&cores);
        let wire = Wire::new(Dice::new(dice.next()), conduct.trouble, conduct.room);
        if self.tells {
            self.told.push(format!("client {place} connects to core {core}"));
        }
        self.link(core, &wire);
        self.with_client(place, dice, |client, around| client.connect(wire, around));
    }

    fn link(&mut self, core: usize, wire: &SharedWire) {
        debug_assert!(core < CORES_MAX);
        let session = self.server.begin(core, Socket(Rc::clone(wire)), Out(Rc::clone(wire)));
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&flag));
        self.links.push(Link { core, wire: Rc::clone(wire), session, flag, waker });
        self.cores[core].call().make();
    }

    fn lose(&mut self, place: usize, dice: &mut Dice) {
        if dice.says(self.setting.losses) {
            let loss = dice.pick(&[Loss::Reset, Loss::Gone]);
            self.with_client(place, dice, |client, around| client.lose(loss, around));
        }
    }

    fn change_room(&mut self, place: usize, dice: &mut Dice) {
        if let Some(wire) = &self.clients[place].wire {
            wire.borrow_mut().set_room(dice.pick(&[0, 40, 500, 4 << 10, 64 << 10]));
        }
    }

    /// Unloading is part of the owners' turns; here only time passes, more than idleness may take.
    fn unload(&mut self) {
        self.pass_time(self.setting.limits.idle_unload_ns.min(400 * TURN_NS));
    }

    /// Cores run on their own until all sleep: what one has told another is taken then.
    pub(crate) fn settle(&mut self) {
        for _ in 0..SETTLE_TURNS {
            let mut is_resting = true;
            for core in 0..self.cores.len() {
                if !self.cores[core].sleeps() {
                    self.turn(core);
                    is_resting &= self.cores[core].sleeps();
                }
            }
            if is_resting && (0..self.cores.len()).all(|core| self.cores[core].sleeps()) {
                return self.assert_nothing_waits();
            }
        }
        panic!("the cores do not come to rest");
    }

    /// Nothing that a sleeping core would have to do waits for it.
    fn assert_nothing_waits(&self) {
        for core in 0..self.cores.len() {
            let stages = self.server.stages(core);
            let (waiting, retiring) = (stages.waiting_messages(), stages.retiring_chunks());
            assert!(
                !stages.has_unheard(),
                "core {core} sleeps, and has work; {waiting} messages, {retiring} chunks retiring"
            );
        }
    }

    /// What is bounded is within its bounds when a turn of `core` has ended.
    fn assert_bounds(&self, core: usize) {
        let limits = &self.setting.limits;
        let stages = self.server.stages(core);
        let live = stages.live_bytes();
        assert!(live.spills <= limits.spill_bytes_per_core_max, "spills: {}", live.spills);
        assert!(live.carries <= limits.carry_bytes_per_core_max, "carries: {}", live.carries);
        let held = stages.set_aside_count();
        let is_held = stages.move_counts().held_batches > 0;
        assert!(held <= limits.aside_per_worker_max as usize || is_held, "set aside: {held}");
        let guests = stages.guest_count();
        assert!(guests <= limits.guests_per_worker_max, "{guests} guests");
        assert!(stages.document_count() - guests <= limits.documents_per_worker_max);
        assert!(live.names <= limits.names_bytes_per_worker_max, "names: {}", live.names);
        assert!(stages.session_count() <= limits.sessions_per_core_max as usize);
        let nodes_max = u64::from(self.setting.node_blocks) * BLOCK_BYTES as u64;
        assert!(live.nodes <= nodes_max, "nodes: {}", live.nodes);
    }

    /// Whether somebody is owed credit, and quotas may have it withheld.
    fn waits_for_quotas(&self) -> bool {
        let owed = |client: &Client| client.is_owed_credit(&self.setting);
        self.setting.has_quotas() && !self.is_ending && self.clients.iter().any(owed)
    }

    /// Everybody goes on until nothing is left to do: connections are calm, and clients take all.
    ///
    /// # Panics
    /// If it does not come to rest.
    pub(crate) fn rest(&mut self, dice: &mut Dice, publishes: bool) {
        for _ in 0..SETTLE_TURNS {
            let mut is_resting = true;
            for core in 0..self.cores.len() {
                if !self.cores[core].sleeps() {
                    self.turn(core);
                    is_resting = false;
                }
            }
            let mut place = 0;
            while place < self.links.len() {
                let before = self.links.len();
                let mut wire = self.links[place].wire.borrow_mut();
                wire.calm();
                wire.set_room(64 << 10);
                wire.arrive(usize::MAX / 2);
                drop(wire);
                is_resting &= !self.poll(place);
                place += usize::from(self.links.len() == before);
            }
            for place in 0..self.clients.len() {
                let take = |client: &mut Client, around: &mut Around<'_>| {
                    let had = client.wire.is_some();
                    let taken = client.take(usize::MAX, around);
                    taken > 0 || had != client.wire.is_some()
                };
                is_resting &= !self.with_client(place, dice, take);
                if publishes && self.model.batches_sent < self.setting.batches {
                    is_resting &= self.with_client(place, dice, Client::publish) == 0;
                }
            }
            self.coverage.add(Event::Step, (self.cores.len() + self.clients.len()) as u64);
            if is_resting && self.cores.iter().all(CoreLoop::sleeps) {
                self.assert_nothing_waits();
                if !self.waits_for_quotas() {
                    return;
                }
                // What quotas withhold comes with time, whatever else rests.
                self.pass_time(QUOTA_WAIT_NS);
                for core in 0..self.cores.len() {
                    self.turn(core);
                }
            }
        }
        panic!("the world does not come to rest");
    }

    /// Connects a client that is not, and has it write its first document.
    pub(crate) fn connect_writer(&mut self, place: usize, dice: &mut Dice) {
        self.connect(place, dice);
        let name = self.clients[place].conduct.documents.trailing_zeros() as usize;
        if self.clients[place].is_staying() {
            let open = |client: &mut Client, around: &mut Around<'_>| {
                client.open_as(name, Access::Write, around);
            };
            self.with_client(place, dice, open);
        }
    }
}
