//! The scenarios: who the others are, and what disturbs them.
//!
//! Data, and what a disturbance does between two steps. It is begun behind a quiet span and ended in
//! front of the next one.

use std::rc::Rc;
use std::time::{Duration, Instant};

use deltaworks_pipeline::message::Policy;

use super::delta::{DEAR, Template};
use super::fleet::{Key, Plan, Role, Side, Speed};
use super::world::{Move, Placed, World, until};
use crate::playbill::Billed;

/// Documents that a reader of the others has.
const DOCUMENTS_PER_READER: usize = 100;

/// Between two looks at what the daemon has placed.
const LOOK: Duration = Duration::from_millis(20);

/// The thresholds of the daemon where documents are placed by their heat, below what the busiest machine
/// still does; and so long a document must be quiet.
const HEAT: [&str; 6] =
    ["--promotion-threshold", "5000", "--demotion-threshold", "1000", "--idle-timeout", "1"];

/// One scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What happens, for a person.
    pub about: &'static str,
    /// The others.
    pub others: Others,
    /// What disturbs them.
    pub disturbance: Disturbance,
    /// The most that the others' p99 may be for the quiet one, beside one turn; in process.
    pub p99_ratio_max: Option<f64>,
    /// The least that the others' rate may be for the quiet one; in process.
    pub rate_ratio_min: Option<f64>,
}

/// Those who must not feel it.
#[derive(Clone, Copy, Debug)]
pub struct Others {
    /// Paced documents, with batches of one delta of 46 bytes.
    pub documents: usize,
    /// Batches a second, over all of them.
    pub rate: f64,
    /// A document with two readers whose rate is told: written in batches of 32 as fast as they are
    /// taken, or so many a second.
    pub stream: Stream,
}

/// See [`Others::stream`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Stream {
    /// There is none.
    None,
    /// As fast as it is taken.
    Full,
    /// The paced document is it.
    Paced,
}

/// What disturbs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disturbance {
    /// A document that is written and read as fast as it goes, by two readers.
    Hot,
    /// A session that writes as fast as it is read.
    Greedy {
        /// Bytes of each delta.
        delta_bytes: usize,
        /// Deltas of each batch.
        deltas: u32,
    },
    /// Readers of the stream.
    Readers {
        /// That take nothing.
        frozen: usize,
        /// That take a hundredth.
        slow: usize,
    },
    /// A document whose batches are dear to check, and a quick one of the same session.
    Validation,
    /// The stream moves to a worker of its own and back, so often in a span; or the server is let find
    /// out by itself that it is hot, once.
    Moves {
        /// How often there and back.
        round_trips: u32,
    },
    /// Sessions that come, open a document, and go.
    Storm {
        /// How many in a span.
        sessions: u32,
    },
}

impl Scenario {
    /// Whether documents move in it: in process that takes two workers, and so two cores.
    pub fn has_moves(&self) -> bool {
        matches!(self.disturbance, Disturbance::Moves { .. })
    }

    /// The daemon's options for it.
    pub fn daemon_options(&self) -> &'static [&'static str] {
        if self.has_moves() { &HEAT } else { &[] }
    }

    /// The server's memory for it, in MiB, unless another is asked for.
    pub fn budget_mib(&self, over_sockets: bool) -> u32 {
        match self.disturbance {
            // Who has stood still reads what is left of a window when it goes on: over sockets that is
            // 14 GB for a thousand of them with this, and 70 GB with the other.
            Disturbance::Readers { frozen, slow } if over_sockets && frozen + slow > 1 => 64,
            _ => 256,
        }
    }

    /// The same scenario with so many readers, where it has a thousand.
    pub fn with_readers(mut self, readers: Option<u32>) -> Self {
        if let (Some(readers), Disturbance::Readers { frozen, slow }) =
            (readers, &mut self.disturbance)
        {
            [frozen, slow].into_iter().filter(|it| **it > 1).for_each(|it| *it = readers as usize);
        }
        self
    }

    /// Sessions that there must be place for.
    pub fn sessions(&self) -> u32 {
        match self.disturbance {
            Disturbance::Readers { frozen, slow } => SESSIONS.max((frozen + slow) as u32 + 500),
            _ => SESSIONS,
        }
    }
}

/// Sessions that there is place for, unless a scenario needs more.
pub const SESSIONS: u32 = 2_500;

impl Billed for Scenario {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    let paced = |documents, rate| Others { documents, rate, stream: Stream::None };
    let stream = Others { documents: 10, rate: 2_000.0, stream: Stream::Full };
    let scenario = |name, about, others, disturbance| Scenario {
        name,
        about,
        others,
        disturbance,
        p99_ratio_max: None,
        rate_ratio_min: None,
    };
    let readers = |name, about, others, frozen, slow| Scenario {
        rate_ratio_min: Some(0.9),
        ..scenario(name, about, others, Disturbance::Readers { frozen, slow })
    };
    vec![
        scenario(
            "hot-document",
            "one document at full speed with two readers, beside 1,000 paced ones",
            paced(1000, 20_000.0),
            Disturbance::Hot,
        ),
        scenario(
            "promotion",
            "a document at full speed beside 1,000 paced ones moves to a worker of its own and back; over \
             sockets it is promoted to an elastic worker on the daemon's one CPU",
            Others { stream: Stream::Full, ..paced(1000, 20_000.0) },
            Disturbance::Moves { round_trips: 2 },
        ),
        readers(
            "frozen-reader",
            "a reader of a stream at full speed that takes nothing, beside two that take all",
            stream,
            1,
            0,
        ),
        readers(
            "slow-reader",
            "a reader of a stream at full speed that takes a hundredth of it",
            stream,
            0,
            1,
        ),
        readers(
            "thousand-frozen",
            "1,000 readers of a stream at full speed that take nothing",
            stream,
            1000,
            0,
        ),
        readers(
            "thousand-slow",
            "1,000 readers that take a hundredth of a paced stream each: ten times as much as one",
            Others { documents: 1, rate: 4_000.0, stream: Stream::Paced },
            0,
            1000,
        ),
        Scenario {
            p99_ratio_max: Some(2.0),
            ..scenario(
                "greedy-publisher",
                "a session that sends batches of 32 × 46 bytes as fast as it may, beside 100 paced ones",
                paced(100, 20_000.0),
                Disturbance::Greedy { delta_bytes: 46, deltas: 32 },
            )
        },
        scenario(
            "greedy-long-deltas",
            "the same with deltas of 64 KiB",
            paced(100, 20_000.0),
            Disturbance::Greedy { delta_bytes: 65_536, deltas: 1 },
        ),
        scenario(
            "slow-validation",
            "batches that take some 10 ms to check, without end, and behind each a quick one of the same session",
            paced(100, 20_000.0),
            Disturbance::Validation,
        ),
        scenario(
            "connection-storm",
            "5,000 sessions in a span that come, open a document and go, beside a paced stream",
            paced(100, 20_000.0),
            Disturbance::Storm { sessions: 5_000 },
        ),
    ]
}

/// The others, as they were made.
#[derive(Debug, Default)]
pub struct Cast {
    /// Their readers.
    pub readers: Vec<Key>,
    stream: Option<usize>,
}

impl Cast {
    /// Lets the others come, and begins their timetable.
    ///
    /// # Errors
    /// If they are not let in.
    pub fn enter(world: &mut dyn World, others: Others) -> Result<Self, String> {
        let mut cast = Self::default();
        let is_stream = others.stream == Stream::Paced;
        let paced = Rc::new(Template::new(46, if is_stream { 32 } else { 1 })?);
        let fleet = world.fleet();
        let documents: Vec<usize> = (0..others.documents)
            .map(|number| fleet.document(format!("paced-{number}"), paced.clone()))
            .collect();
        if is_stream {
            cast.stream = documents.first().copied();
        }
        if others.stream == Stream::Full {
            let template = Rc::new(Template::new(46, 32)?);
            cast.stream = Some(fleet.document("stream".to_owned(), template));
        }
        let side = Side::Others;
        let speed = Speed::Full;
        let reader = |documents| {
            let role = Role::Reader { policy: Policy::Gap, speed };
            Plan { side, role, documents }
        };
        for documents in documents.chunks(DOCUMENTS_PER_READER) {
            cast.readers.push(world.connect(reader(documents.to_vec()))?);
        }
        if let Some(stream) = cast.stream {
            let of_stream = 2 - usize::from(is_stream);
            for _ in 0..of_stream {
                cast.readers.push(world.connect(reader(vec![stream]))?);
            }
            world.fleet().yardstick = cast.readers.last().copied();
        }
        let mut writers = Vec::new();
        for documents in documents.chunks(world.documents_per_session()) {
            let plan = Plan { side, role: Role::Paced, documents: documents.to_vec() };
            writers.push(world.connect(plan)?);
        }
        let all: Vec<Key> = writers.into_iter().chain(cast.readers.iter().copied()).collect();
        until(world, "open documents", |world| all.iter().all(|key| world.fleet().is_open(*key)))?;
        if others.stream == Stream::Full {
            let plan =
                Plan { side, role: Role::Greedy, documents: cast.stream.into_iter().collect() };
            world.connect(plan)?;
        }
        world.fleet().pace(&documents, others.rate);
        Ok(cast)
    }
}

/// A disturbance while it lasts.
#[derive(Debug)]
pub struct Disturbing {
    disturbance: Disturbance,
    keys: Vec<Key>,
    readers: Vec<Key>,
    documents: Vec<usize>,
    /// Of a storm: who is there, how many have come, and when the next is due.
    came: u32,
    interval_ns: u64,
    began_ns: u64,
    /// Of dear batches: how many were written, and how many quick ones came first.
    dear_batches: u64,
    overtakes: u64,
    /// Of moves: those that have ended, whether one is asked for, and whether the document is away.
    moves: Vec<Move>,
    is_asked: bool,
    is_away: bool,
    /// Of a promotion: what had been placed before it, and when the server is asked next.
    before: Option<Placed>,
    asks_at: Instant,
    ends_at_ns: u64,
}

/// What a disturbance came to, over all spans.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Moves.
    pub moves: Vec<Move>,
    /// Sessions of storms.
    pub sessions: u64,
    /// Dear batches.
    pub dear_batches: u64,
    /// Of these, those that a later quick batch of the same session overtook.
    pub overtakes: u64,
}

/// Documents of disturbances: made once, whoever opens them.
#[derive(Clone, Debug, Default)]
pub struct Stage {
    documents: Vec<usize>,
}

impl Stage {
    /// Makes what `disturbance` needs.
    ///
    /// # Errors
    /// If there are no such deltas.
    pub fn set(
        world: &mut dyn World,
        disturbance: Disturbance,
        cast: &Cast,
    ) -> Result<Self, String> {
        let fleet = world.fleet();
        let mut document = |name: &str, delta_bytes, deltas| {
            let template = Rc::new(Template::new(delta_bytes, deltas)?);
            Ok::<_, String>(fleet.document(name.to_owned(), template))
        };
        let documents = match disturbance {
            Disturbance::Hot => vec![document("hot", 46, 32)?],
            Disturbance::Greedy { delta_bytes, deltas } => {
                vec![document("greedy", delta_bytes, deltas)?]
            }
            Disturbance::Readers { .. } | Disturbance::Moves { .. } => {
                cast.stream.into_iter().collect()
            }
            Disturbance::Validation => {
                let quick = document("quick", 46, 1)?;
                let dear = Rc::new(Template::dear());
                vec![fleet.document(format!("{DEAR}/d"), dear), quick]
            }
            Disturbance::Storm { .. } => vec![document("lobby", 46, 1)?],
        };
        Ok(Self { documents })
    }

    /// Deltas that were written to its documents, ever.
    pub fn published(&self, world: &mut dyn World) -> u64 {
        let fleet = world.fleet();
        self.documents.iter().map(|document| fleet.documents[*document].published).sum()
    }
}

/// Waits until the server has promoted a document, or none; what it has placed by then.
fn until_promoted(world: &mut dyn World, is_promoted: bool) -> Result<Placed, String> {
    let (mut placed, mut failed) = (Placed::default(), None);
    let mut asks_at = Instant::now();
    until(world, if is_promoted { "a promotion" } else { "a demotion" }, |world| {
        if Instant::now() < asks_at {
            return false;
        }
        asks_at = Instant::now() + LOOK;
        match world.placed() {
            Ok(told) => placed = told.unwrap_or_default(),
            Err(error) => failed = Some(error),
        }
        failed.is_some() || (placed.promoted > 0) == is_promoted
    })?;
    failed.map_or(Ok(placed), Err)
}

/// Waits for what a quiet span needs: where documents are placed by their heat, the stream has been
/// promoted by then.
///
/// # Errors
/// If it does not come to that.
pub fn be_quiet(world: &mut dyn World, disturbance: Disturbance) -> Result<(), String> {
    if matches!(disturbance, Disturbance::Moves { .. }) && world.placed()?.is_some() {
        until_promoted(world, true)?;
    }
    Ok(())
}

impl Disturbing {
    /// Lets it begin; a storm comes within `length_ns`.
    ///
    /// # Errors
    /// If it is not let in.
    pub fn begin(
        world: &mut dyn World,
        disturbance: Disturbance,
        stage: &Stage,
        length_ns: u64,
    ) -> Result<Self, String> {
        let mut it = Self {
            disturbance,
            keys: Vec::new(),
            readers: Vec::new(),
            documents: stage.documents.clone(),
            came: 0,
            interval_ns: 0,
            began_ns: world.fleet().now_ns(),
            dear_batches: 0,
            overtakes: 0,
            moves: Vec::new(),
            is_asked: false,
            is_away: false,
            before: None,
            asks_at: Instant::now(),
            ends_at_ns: 0,
        };
        match disturbance {
            Disturbance::Hot => {
                it.read(world, 2, Speed::Full)?;
                it.write(world, Role::Greedy)?;
            }
            Disturbance::Greedy { .. } => {
                it.read(world, 1, Speed::Full)?;
                it.write(world, Role::Greedy)?;
            }
            Disturbance::Readers { frozen, slow } => {
                it.read(world, frozen, Speed::Frozen)?;
                it.read(world, slow, Speed::OneIn(100))?;
            }
            Disturbance::Validation => {
                it.read(world, 1, Speed::Full)?;
                it.write(world, Role::Asked)?;
                world.fleet().arrivals = Some(it.documents.clone());
            }
            Disturbance::Moves { .. } if world.placed()?.is_some() => {
                world.fleet().rest(true);
                it.before = Some(until_promoted(world, false)?);
                world.fleet().rest(false);
                it.ends_at_ns = world.fleet().now_ns() + length_ns;
            }
            Disturbance::Moves { round_trips } => {
                it.interval_ns = length_ns / u64::from(2 * round_trips.max(1) + 1);
            }
            Disturbance::Storm { sessions } => {
                it.interval_ns = length_ns / u64::from(sessions.max(1));
            }
        }
        it.began_ns = world.fleet().now_ns();
        Ok(it)
    }

    /// Lets readers come.
    ///
    /// # Errors
    /// If they are not let in.
    pub fn read(
        &mut self,
        world: &mut dyn World,
        count: usize,
        speed: Speed,
    ) -> Result<(), String> {
        let mut keys = Vec::new();
        for number in 0..count {
            let role = Role::Reader { policy: Policy::Gap, speed };
            let documents = self.documents.clone();
            keys.push(world.connect(Plan { side: Side::Disturbance, role, documents })?);
            // Little by little: opens are bounded, too.
            if number % 16 == 15 {
                world.step()?;
            }
        }
        until(world, "open readers", |world| keys.iter().all(|key| world.fleet().is_open(*key)))?;
        self.readers.extend_from_slice(&keys);
        self.keys.extend(keys);
        Ok(())
    }

    fn write(&mut self, world: &mut dyn World, role: Role) -> Result<(), String> {
        let documents = self.documents.clone();
        let key = world.connect(Plan { side: Side::Disturbance, role, documents })?;
        until(world, "open writers", |world| world.fleet().is_open(key))?;
        self.keys.push(key);
        Ok(())
    }

    /// What it does between two steps.
    ///
    /// # Errors
    /// If something broke.
    pub fn tick(&mut self, world: &mut dyn World) -> Result<(), String> {
        match self.disturbance {
            Disturbance::Validation => {
                self.check_arrivals(world);
                let Some(writer) = self.keys.last().copied() else { return Ok(()) };
                let fleet = world.fleet();
                if fleet.is_settled(writer) && self.readers.iter().all(|key| fleet.is_settled(*key))
                {
                    self.dear_batches += 1;
                    fleet.write(writer, 0);
                    fleet.write(writer, 1);
                }
            }
            Disturbance::Moves { .. } if self.ends_at_ns > 0 => self.await_promotion(world)?,
            Disturbance::Moves { round_trips } => self.go_on_moving(world, 2 * round_trips)?,
            Disturbance::Storm { sessions } => {
                self.leave(world);
                let since_ns = world.fleet().now_ns().saturating_sub(self.began_ns);
                let due = since_ns / self.interval_ns.max(1);
                if self.came < sessions && u64::from(self.came) <= due {
                    self.came += 1;
                    let role = Role::Reader { policy: Policy::Gap, speed: Speed::Full };
                    let (side, documents) = (Side::Disturbance, self.documents.clone());
                    self.keys.push(world.connect(Plan { side, role, documents })?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether it has done all that it is to do.
    pub fn is_done(&self) -> bool {
        match self.disturbance {
            Disturbance::Storm { sessions } => self.came == sessions && self.keys.is_empty(),
            Disturbance::Validation => self.dear_batches > 0,
            Disturbance::Moves { .. } if self.ends_at_ns > 0 => !self.moves.is_empty(),
            Disturbance::Moves { round_trips } => {
                self.came >= 2 * round_trips && !self.is_asked && !self.is_away
            }
            _ => true,
        }
    }

    /// Hears what became of a move, and asks for the next when it is due.
    fn go_on_moving(&mut self, world: &mut dyn World, most: u32) -> Result<(), String> {
        while let Some(moved) = world.take_moved() {
            self.is_asked = false;
            self.is_away ^= moved.has_moved;
            self.moves.push(moved);
        }
        let fleet = world.fleet();
        let due_ns = self.began_ns + u64::from(self.came + 1) * self.interval_ns;
        let id = self.documents.first().and_then(|document| fleet.documents[*document].id);
        let (Some(id), true) = (id, !self.is_asked && fleet.now_ns() >= due_ns) else {
            return Ok(());
        };
        // A move that was refused leaves it where it is: it must be at home in the end.
        if (self.came < most || self.is_away) && world.move_document(id, !self.is_away)? {
            self.is_asked = true;
            self.came += 1;
        }
        Ok(())
    }

    /// Hears that the stream was promoted, once the span is over: asking takes the load's time.
    fn await_promotion(&mut self, world: &mut dyn World) -> Result<(), String> {
        let Some(before) = self.before else { return Ok(()) };
        if world.fleet().now_ns() < self.ends_at_ns || Instant::now() < self.asks_at {
            return Ok(());
        }
        self.asks_at = Instant::now() + LOOK;
        let now = world.placed()?.unwrap_or_default();
        let pauses = now.pauses - before.pauses;
        if pauses > 0 && now.promoted > 0 {
            self.moves.push(Move {
                has_moved: true,
                pause_us: Some((now.pauses_us - before.pauses_us) / pauses as f64),
                held: now.laned_batches - before.laned_batches,
            });
            self.before = None;
        }
        Ok(())
    }

    /// Those of a storm that have opened go.
    fn leave(&mut self, world: &mut dyn World) {
        let has_opened = |key: &Key, world: &mut dyn World| world.fleet().is_open(*key);
        let mut place = 0;
        while place < self.keys.len() {
            if has_opened(&self.keys[place], world) {
                world.disconnect(self.keys.swap_remove(place));
            } else {
                place += 1;
            }
        }
    }

    /// A quick batch that was sent behind a dear one must come before it.
    fn check_arrivals(&mut self, world: &mut dyn World) {
        let [dear, quick] = self.documents[..] else { return };
        let Some(arrivals) = &mut world.fleet().arrivals else { return };
        let mut before = None;
        for document in arrivals.drain(..) {
            if document == dear && before == Some(quick) {
                self.overtakes += 1;
            }
            if document == dear || document == quick {
                before = Some(document);
            }
        }
        // What came last is looked at again with what comes next.
        arrivals.extend(before);
    }

    /// How many readers it has.
    pub fn readers(&self) -> usize {
        self.readers.len()
    }

    /// Lets its readers take everything.
    pub fn thaw(&mut self, world: &mut dyn World) {
        for key in &self.readers {
            world.fleet().thaw(*key);
            world.has_room(*key);
        }
    }

    /// Ends it; what it came to.
    pub fn end(mut self, world: &mut dyn World) -> Done {
        self.check_arrivals(world);
        world.fleet().arrivals = None;
        for key in self.keys {
            world.disconnect(key);
        }
        let Self { dear_batches, overtakes, moves, .. } = self;
        Done { moves, sessions: u64::from(self.came), dear_batches, overtakes }
    }
}

#[cfg(test)]
mod tests;
