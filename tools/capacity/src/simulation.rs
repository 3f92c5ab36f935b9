//! The simulation: cores that turn, and what waits between them.
//!
//! It plays what the cores' loop does. A turn reads what has come, up to a bound, judges what lies in
//! the rings, and sends what has grown, session by session; what it takes is the sum of what its parts
//! take. Whoever crosses to another core waits there for that core's next turn. Cores are played in the
//! order of their turns' beginnings, so nothing is seen before it was pushed.
//!
//! ```text
//!  arrivals ─▶ source, reception ──▶ [inbox] ─▶ validation ──▶ [session's queue] ─▶ propagation, sink
//!                    a core that is not the owner's: by its inbox, in order of time
//! ```

mod core;
mod places;
mod tally;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::costs::{Costs, Stage};
use crate::layout::Layout;
use crate::random::Random;
use crate::times::Times;
use crate::workload::{Ends, Workload};

pub use self::core::images_of_turn;
use self::core::{Core, Message, What};
pub use places::Places;
use tally::Tally;
pub use tally::{Busy, Outcome};

/// How batches come.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Arrivals {
    /// There is always one more, until what may be on its way is: the machine at its limit.
    Always,
    /// At random (Poisson), so many batches a second over all.
    Random(f64),
}

/// How long a part of a turn takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Spread {
    /// Always its mean.
    #[default]
    Steady,
    /// At random around its mean (exponential): for what is less even than a data path.
    Exponential,
}

/// Chunks of a session core if nobody says otherwise: what the daemon's default budget gives.
pub const CHUNKS_PER_CORE: u32 = 17;

/// A fault in the simulation itself, planted to show that its checks see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plant {
    /// What waits is served last come, first served.
    LastFirst,
    /// Crossing costs nothing.
    FreeCrossing,
    /// Every 16th batch is not sent to its last subscriber.
    Loses,
    /// Arrivals come evenly, not at random.
    EvenArrivals,
}

/// What is played.
#[derive(Clone, Copy, Debug)]
pub struct Game<'a> {
    /// The machine.
    pub layout: &'a Layout,
    /// Who writes and reads what.
    pub places: &'a Places,
    /// What batches cost.
    pub times: &'a Times,
    /// Bounds of a turn, and what sleeping costs.
    pub costs: &'a Costs,
    /// The workload.
    pub workload: &'a Workload,
    /// How batches come.
    pub arrivals: Arrivals,
    /// How long parts of a turn take.
    pub spread: Spread,
    /// Batches that are played; the first fifth is not counted.
    pub batches: u64,
    /// A fault.
    pub plant: Option<Plant>,
}

impl Game<'_> {
    /// Bytes that may be on their way from one core: three quarters of its chunks; at the limit some
    /// turns, so that what comes is soon what goes.
    fn room_bytes(&self) -> f64 {
        if self.arrivals == Arrivals::Always {
            return TURNS_ON_THEIR_WAY
                * self.costs.turn.read_bytes.max(self.workload.image_bytes());
        }
        let chunks = self.workload.chunks_per_core.unwrap_or(CHUNKS_PER_CORE);
        let all = f64::from(chunks) * self.costs.memory.chunk_bytes;
        if all > 0.0 { 0.75 * all } else { f64::INFINITY }
    }
}

/// Turns of reading that are on their way at the limit.
const TURNS_ON_THEIR_WAY: f64 = 8.0;

/// A batch on its way.
#[derive(Clone, Copy, Debug)]
struct Batch {
    document: u32,
    came_ns: f64,
    home: u16,
    deliveries_left: u32,
    /// The batch before it at its core was of the same document, so both lie in one byte range.
    continues: bool,
}

/// The state of all.
struct World<'a> {
    game: Game<'a>,
    cores: Vec<Core>,
    batches: Vec<Batch>,
    /// Which core turns next: by time, then index.
    agenda: BinaryHeap<Reverse<(Nanos, u16)>>,
    pushed: u64,
    /// Room for a list, so that it is made once.
    sessions_found: Vec<u32>,
    /// The turn of its owner in which a document grew last.
    grown_at: Vec<u64>,
    random: Random,
    tally: Tally,
}

/// Time with an order.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Nanos(f64);

impl Eq for Nanos {}
impl PartialOrd for Nanos {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Nanos {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Plays a game to its end, which is when all of its batches were sent to all of their subscribers.
pub fn play(game: Game<'_>) -> Outcome {
    let mut world = World::new(game);
    world.deal_arrivals();
    while let Some(Reverse((at, core))) = world.agenda.pop() {
        if world.cores[usize::from(core)].next_turn_ns == at.0 {
            world.turn(core, at.0);
        }
    }
    let World { cores, tally, batches, .. } = world;
    tally.outcome(&cores, &batches)
}

impl<'a> World<'a> {
    fn new(game: Game<'a>) -> Self {
        let seats = &game.layout.seats;
        let cores: Vec<Core> =
            (0..).zip(seats).map(|(core, seat)| Core::new(core, *seat, game.places)).collect();
        let warm = game.batches / 5;
        Self {
            game,
            cores,
            batches: Vec::with_capacity(game.batches as usize),
            agenda: BinaryHeap::new(),
            pushed: 0,
            sessions_found: Vec::new(),
            grown_at: vec![0; game.workload.documents as usize],
            random: Random::new(game.workload.seed),
            tally: Tally::new(seats.len(), warm, game.batches, game.workload.batch),
        }
    }

    /// Draws all arrivals of an open load; has every core with publishers turn at once otherwise.
    fn deal_arrivals(&mut self) {
        match self.game.arrivals {
            Arrivals::Always => {
                for core in 0..self.cores.len() {
                    if self.game.places.writes(core as u16) {
                        self.schedule(core as u16, 0.0);
                    }
                }
            }
            Arrivals::Random(per_second) => {
                let mean_ns = 1e9 / per_second;
                let mut at_ns = 0.0;
                for _ in 0..self.game.batches {
                    at_ns += match self.game.plant {
                        Some(Plant::EvenArrivals) => mean_ns,
                        _ => mean_ns * self.random.exponential(),
                    };
                    let (home, document) = self.game.places.draw(&mut self.random);
                    let batch = self.begin(document, home, at_ns);
                    self.cores[usize::from(home)].arrivals.push_back(batch);
                }
                let came_ns = |at: u64| self.batches.get(at as usize).map(|it| it.came_ns);
                self.tally.began_ns = came_ns(self.tally.warm).unwrap_or_default();
                self.tally.ended_ns = at_ns;
                for core in 0..self.cores.len() {
                    self.expect(core as u16, 0.0);
                }
            }
        }
    }

    fn begin(&mut self, document: u32, home: u16, came_ns: f64) -> u32 {
        let deliveries_left = self.game.workload.subscribers;
        let last = &mut self.cores[usize::from(home)].last_document;
        let continues = last.replace(document) == Some(document);
        self.batches.push(Batch { document, came_ns, home, deliveries_left, continues });
        self.batches.len() as u32 - 1
    }

    fn schedule(&mut self, core: u16, at_ns: f64) {
        let it = &mut self.cores[usize::from(core)];
        if at_ns < it.next_turn_ns {
            it.next_turn_ns = at_ns;
            self.agenda.push(Reverse((Nanos(at_ns), core)));
        }
    }

    /// Has a core without work turn when something comes: what it knows to come by itself, and what
    /// lies in its inbox.
    fn expect(&mut self, core: u16, idle_since_ns: f64) {
        let it = &self.cores[usize::from(core)];
        let arrival = it.arrivals.front().map(|batch| self.batches[*batch as usize].came_ns);
        let message = it.inbox.peek().map(|Reverse(message)| message.at.0);
        let first = match (arrival, message) {
            (Some(one), Some(other)) => one.min(other),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return,
        };
        let at_ns = self.seen_ns(idle_since_ns, first);
        self.schedule(core, at_ns);
    }

    /// When a core that has been idle sees what comes at `at_ns`.
    fn seen_ns(&self, idle_since_ns: f64, at_ns: f64) -> f64 {
        let wake = &self.game.costs.wake;
        if at_ns <= idle_since_ns {
            return idle_since_ns;
        }
        let sleeps =
            self.game.workload.ends != Ends::Harness && at_ns - idle_since_ns > wake.awake_ns;
        at_ns + if sleeps { wake.parked_ns } else { wake.spinning_ns }
    }

    fn push(&mut self, from: u16, to: u16, at_ns: f64, what: What) {
        self.pushed += 1;
        let order = self.pushed;
        let wake = &self.game.costs.wake;
        let it = &mut self.cores[usize::from(to)];
        it.inbox.push(Reverse(Message { at: Nanos(at_ns), order, from, what }));
        self.tally.inbox(to, it.inbox.len());
        if let Some(since_ns) = it.idle_since_ns {
            let sleeps =
                self.game.workload.ends != Ends::Harness && at_ns - since_ns > wake.awake_ns;
            let next_ns = it.next_turn_ns;
            let seen_ns = self.seen_ns(since_ns, at_ns);
            if sleeps && seen_ns < next_ns {
                self.cores[usize::from(from)].ringing_ns += wake.ring_ns;
            }
            self.schedule(to, seen_ns);
        }
    }

    fn time(&mut self, mean_ns: f64) -> f64 {
        match self.game.spread {
            Spread::Steady => mean_ns,
            Spread::Exponential => mean_ns * self.random.exponential(),
        }
    }

    /// What a batch costs `stage` on `core`, where `other` is at the other end of its way.
    fn batch_ns(&mut self, stage: Stage, core: u16, other: u16) -> f64 {
        let times = self.game.times.stage(stage);
        let mut ns = times.batch_ns;
        if core != other && self.game.plant != Some(Plant::FreeCrossing) {
            ns += times.crossing_ns * self.game.layout.factor(core, other);
        }
        self.time(ns)
    }
}
