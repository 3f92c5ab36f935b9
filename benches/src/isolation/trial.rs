//! One scenario in one world: spans with and without the disturbance, turn by turn, and what must be
//! true of everybody behind each.
//!
//! Behind a disturbance everybody pauses until every reader has what was written for it, or was told
//! what will not come; then it is compared, exactly.

use std::time::{Duration, Instant};

use serde_json::json;

use super::bounds::{self, Bound};
use super::client::{Key, Plan, Role, Side, Speed};
use super::delta::Template;
use super::plant::{GROWTH_READERS, Plant, STALL, UNFINISHED};
use super::report::{Figures, Report};
use super::scenario::{Cast, Disturbance, Disturbing, Done, Scenario, Stage, Stream, be_quiet};
use super::world::{Live, Move, World, play, until};
use crate::cpu_time;
use crate::pairs::{Pair, Ratios};
use crate::spread::Spread;

/// What the others play before anything is measured.
const WARM_UP: Duration = Duration::from_millis(200);

/// How long a disturbance lasts before a span, and the others alone behind it.
const SETTLING: Duration = Duration::from_millis(50);

/// What a reader that does not keep up makes the server hold at most: a half-sent image of the stream,
/// and what it has missed.
const READER_BYTES_MAX: u64 = 2 << 10;

/// What is carried for the writer of the stream at most: the rest of one read, of which the server makes no
/// more than this.
const CARRIED_BYTES_MAX: u64 = 256 << 10;

/// How a scenario is run.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// `in_process` or `sockets`.
    pub form: &'static str,
    /// Spans with and without the disturbance.
    pub pairs: usize,
    /// Each span.
    pub length: Duration,
    /// Deltas over which memory is looked at, where readers are slow.
    pub memory_deltas: u64,
    /// The bound of one turn that the server states.
    pub turn_bound_us: f64,
    /// Whether bounds of time decide here, or are told only.
    pub time_decides: bool,
    /// A fault to be planted.
    pub plant: Option<Plant>,
}

/// Runs `scenario` in `world`; `moved` is told the part that is done, from 0 to 1.
///
/// # Errors
/// If it could not be run. What the server did wrong stands in the report.
pub fn run(
    scenario: &Scenario,
    mut world: Box<dyn World>,
    setting: Setting,
    moved: &mut dyn FnMut(f64),
) -> Result<Report, String> {
    let played = play_all(scenario, world.as_mut(), setting, moved);
    let fleet = world.fleet();
    let mut differences = fleet.faults().to_vec();
    let (others, disturbance) = (fleet.others, fleet.disturbance);
    let Played { pairs, more, faults, bounds } = played.unwrap_or_else(|fault| {
        let faults = vec![fault];
        Played { faults, ..Played::default() }
    });
    differences.extend(faults);
    differences.extend(world.finish().err());
    let verified_deltas = others.delivered + disturbance.delivered;
    Ok(Report {
        scenario: scenario.name,
        form: setting.form,
        about: scenario.about,
        pairs: pairs.len(),
        seconds: setting.length.as_secs_f64(),
        ratio: Ratios::of(&pairs),
        bound_held: bounds.iter().all(|bound| bound.holds),
        bounds,
        turn_bound_us: setting.turn_bound_us,
        more,
        figures: pairs,
        verified_deltas,
        disturbance_deltas: disturbance.delivered,
        told_deltas: others.told + disturbance.told,
        verified: differences.is_empty() && verified_deltas > 0,
        differences,
    })
}

#[derive(Default)]
struct Played {
    pairs: Vec<Pair<Figures>>,
    more: serde_json::Map<String, serde_json::Value>,
    faults: Vec<String>,
    bounds: Vec<Bound>,
}

struct Trial<'a> {
    scenario: &'a Scenario,
    setting: Setting,
    cast: Cast,
    stage: Stage,
    done: Done,
}

fn play_all(
    scenario: &Scenario,
    world: &mut dyn World,
    setting: Setting,
    moved: &mut dyn FnMut(f64),
) -> Result<Played, String> {
    let cast = Cast::enter(world, scenario.others)?;
    let stage = Stage::set(world, scenario.disturbance, &cast)?;
    play(world, WARM_UP.min(setting.length), |_| Ok(()))?;
    let mut trial = Trial { scenario, setting, cast, stage, done: Done::default() };
    let mut pairs = Vec::new();
    for number in 0..setting.pairs {
        let pair = Pair::take(number, |is_disturbed| match is_disturbed {
            true => trial.disturbed(world),
            false => trial.quiet(world),
        });
        pairs.push(pair?);
        moved((number + 1) as f64 / setting.pairs as f64);
    }
    let mut more = serde_json::Map::new();
    let mut faults = Vec::new();
    let mut bounds =
        bounds::of_pairs(scenario, setting.turn_bound_us, &pairs, setting.time_decides);
    let done = core::mem::take(&mut trial.done);
    match scenario.disturbance {
        Disturbance::Validation => {
            more.insert("slow_batches".to_owned(), json!(done.dear_batches));
            more.insert("overtaken_by_a_later_batch".to_owned(), json!(done.overtakes));
            if done.dear_batches == 0 || done.overtakes != done.dear_batches {
                let Done { dear_batches, overtakes, .. } = done;
                faults.push(format!("{overtakes} of {dear_batches} slow batches were overtaken"));
            }
        }
        Disturbance::Storm { sessions } => {
            more.insert("sessions".to_owned(), json!(done.sessions));
            if done.sessions != u64::from(sessions) * setting.pairs as u64 {
                faults.push(format!("{} sessions have come and gone", done.sessions));
            }
        }
        Disturbance::Readers { .. } => {
            let memory = trial.memory(world)?;
            faults.extend(memory.fault(world.budget_bytes()));
            bounds.extend(memory.bounds());
            more.insert("memory".to_owned(), json!(memory));
        }
        Disturbance::Moves { round_trips } => {
            let is_placed = world.placed()?.is_some();
            let in_a_span = if is_placed { 1 } else { u64::from(2 * round_trips) };
            let asked = in_a_span * setting.pairs as u64;
            let moved = || done.moves.iter().filter(|it: &&Move| it.has_moved);
            let finished = moved().count() as u64;
            let pauses_us: Vec<f64> = moved().filter_map(|it| it.pause_us).collect();
            let held = Spread::of(moved().map(|it| it.held as f64));
            let [of_moves, of_held] = match is_placed {
                true => ["promotions", "laned_batches"],
                false => ["moves", "held_batches"],
            };
            more.insert(of_moves.to_owned(), json!(finished));
            more.insert("moves_refused".to_owned(), json!(done.moves.len() as u64 - finished));
            more.insert("pause_us".to_owned(), json!(Spread::of(pauses_us.iter().copied())));
            more.insert(of_held.to_owned(), json!(held));
            bounds.push(bounds::of_pauses(&pauses_us, setting.time_decides));
            if finished < asked {
                faults.push(format!("{finished} of {asked} moves: {:?}", done.moves));
            }
        }
        Disturbance::Hot | Disturbance::Greedy { .. } => {}
    }
    trial.rest(world, None)?;
    Ok(Played { pairs, more, faults, bounds })
}

/// What was live while many deltas were published beside readers that do not take them.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
struct Memory {
    /// Deltas of the stream that were written meanwhile.
    deltas: u64,
    /// Readers that do not keep up.
    readers: u64,
    /// Everything but documents' windows, before these came.
    other_bytes_before: u64,
    /// The same at the last look.
    other_bytes_after: u64,
    /// Subscriptions that came with these readers and copies for all readers, at most.
    reader_bytes_max: u64,
    /// The same for each of these readers.
    bytes_each_max: u64,
    /// What it may be: so much for each of all readers.
    reader_bytes_limit: u64,
    /// The most that documents' windows took.
    window_bytes_max: u64,
    /// The most that everything else took, in the first fifth.
    other_bytes_max_early: u64,
    /// The same behind it.
    other_bytes_max_late: u64,
    /// The most that was carried for writers, which no reader has a part in.
    carried_bytes_max: u64,
    /// What it may be more: what a reader that takes part of an image, or misses something, holds.
    growth_bytes_max: u64,
}

impl Memory {
    /// What is live before the readers come.
    fn before(readers: usize, others: usize, live: Live) -> Self {
        let of_readers = |count: usize| count as u64 * READER_BYTES_MAX;
        Self {
            readers: readers as u64,
            other_bytes_before: live.other_bytes,
            reader_bytes_limit: of_readers(readers + others),
            growth_bytes_max: of_readers(readers),
            ..Self::default()
        }
    }

    fn look(&mut self, live: Live, is_early: bool, reader_bytes_before: u64) {
        let of_readers = live.reader_bytes.saturating_sub(reader_bytes_before);
        self.reader_bytes_max = self.reader_bytes_max.max(of_readers);
        self.bytes_each_max = self.reader_bytes_max.div_ceil(self.readers.max(1));
        self.other_bytes_after = live.other_bytes;
        self.window_bytes_max = live.window_bytes.max(self.window_bytes_max);
        self.carried_bytes_max = live.carried_bytes.max(self.carried_bytes_max);
        let most = match is_early {
            true => &mut self.other_bytes_max_early,
            false => &mut self.other_bytes_max_late,
        };
        *most = live.other_bytes.max(*most);
    }

    fn fault(&self, budget_bytes: u64) -> Option<String> {
        let Self { other_bytes_max_early: early, other_bytes_max_late: late, .. } = *self;
        if early == 0 || late == 0 {
            return Some("nobody told what was live".to_owned());
        }
        let most = self.window_bytes_max + self.carried_bytes_max + early.max(late);
        let is_beyond = most > budget_bytes;
        is_beyond.then(|| format!("{most} bytes were live, of a budget of {budget_bytes}"))
    }

    /// Memory is flat, and a reader costs what is stated. Of counts, so they decide everywhere.
    fn bounds(&self) -> [Bound; 3] {
        let late_max = (self.other_bytes_max_early + self.growth_bytes_max) as f64;
        let flat = (late_max, self.other_bytes_max_late as f64);
        let carried = (CARRIED_BYTES_MAX as f64, self.carried_bytes_max as f64);
        let each = (self.reader_bytes_limit as f64, self.reader_bytes_max as f64);
        let is_flat = "bytes beside windows, behind a fifth of the deltas, at most";
        let is_small = "bytes for readers, at most 2 KiB for each";
        let is_carried = "bytes carried for writers, at most the rest of a read";
        [
            Bound::at_most(is_flat, &[flat], true),
            Bound::at_most(is_small, &[each], true),
            Bound::at_most(is_carried, &[carried], true),
        ]
    }
}

/// Writers that stop in the middle of a message.
fn unfinished(world: &mut dyn World) -> Result<Vec<Key>, String> {
    let (count, bytes) = UNFINISHED;
    let mut image = Vec::new();
    Template::new(bytes, 1)?.write(&mut image, 0, 1, 1, 0);
    let plan = Plan { side: Side::Disturbance, role: Role::Asked, documents: Vec::new() };
    let stops = |_| {
        let writer = world.connect(plan.clone())?;
        world.fleet().say(writer, &image[..bytes]);
        Ok(writer)
    };
    (0..count).map(stops).collect()
}

impl Trial<'_> {
    fn quiet(&mut self, world: &mut dyn World) -> Result<Figures, String> {
        be_quiet(world, self.scenario.disturbance)?;
        self.measure(world, None)
    }

    /// A span in which it is disturbed, and after it the account of everybody.
    fn disturbed(&mut self, world: &mut dyn World) -> Result<Figures, String> {
        let length_ns = (SETTLING + self.setting.length).as_nanos() as u64;
        let mut disturbing =
            Disturbing::begin(world, self.scenario.disturbance, &self.stage, length_ns)?;
        play(world, SETTLING, |world| disturbing.tick(world))?;
        let figures = self.measure(world, Some(&mut disturbing))?;
        let mut broken = Ok(());
        until(world, "the end of the disturbance", |world| {
            broken = core::mem::replace(&mut broken, Ok(())).and_then(|()| disturbing.tick(world));
            broken.is_err() || disturbing.is_done()
        })?;
        broken?;
        self.rest(world, Some(&mut disturbing))?;
        let Done { moves, sessions, dear_batches, overtakes } = disturbing.end(world);
        self.done.moves.extend(moves);
        self.done.sessions += sessions;
        self.done.dear_batches += dear_batches;
        self.done.overtakes += overtakes;
        world.fleet().resume();
        play(world, SETTLING, |_| Ok(()))?;
        Ok(figures)
    }

    /// Everybody pauses until all has come or was told, and that is compared.
    fn rest(
        &mut self,
        world: &mut dyn World,
        disturbing: Option<&mut Disturbing>,
    ) -> Result<(), String> {
        world.fleet().pause();
        // First the writers: what is answered has been ordered.
        let keys = world.fleet().keys();
        if let Some(disturbing) = disturbing {
            disturbing.thaw(world);
        }
        until(world, "everything read and told", |world| {
            keys.iter().all(|key| world.fleet().is_settled(*key))
        })?;
        for key in keys {
            world.fleet().settle(key);
        }
        Ok(())
    }

    fn measure(
        &mut self,
        world: &mut dyn World,
        mut disturbing: Option<&mut Disturbing>,
    ) -> Result<Figures, String> {
        let stalls = self.setting.plant == Some(Plant::Stall);
        let mut tick = |world: &mut dyn World| match &mut disturbing {
            Some(disturbing) => {
                if stalls {
                    std::thread::sleep(STALL);
                }
                disturbing.tick(world)
            }
            None => Ok(()),
        };
        let ran_ns = cpu_time::of_this_thread_ns();
        let began = Instant::now();
        world.fleet().begin_span(self.setting.length.as_nanos() as u64);
        play(world, self.setting.length, &mut tick)?;
        world.fleet().end_rates();
        let cpu_share = cpu_time::share(ran_ns, began.elapsed().as_nanos() as u64);
        let readers = &self.cast.readers;
        let mut broken = Ok(());
        until(world, "the end of a span", |world| {
            broken = core::mem::replace(&mut broken, Ok(())).and_then(|()| tick(world));
            broken.is_err() || world.fleet().is_span_whole(readers)
        })?;
        broken?;
        let figures = world.fleet().take_span().map(|span| span.figures()).unwrap_or_default();
        Ok(Figures { cpu_share, ..figures })
    }

    /// What is live while the others get many deltas.
    fn memory(&mut self, world: &mut dyn World) -> Result<Memory, String> {
        let before = world.live().unwrap_or_default();
        let mut disturbing = Disturbing::begin(world, self.scenario.disturbance, &self.stage, 0)?;
        let began = self.stage.published(world);
        let wanted = match self.scenario.others.stream {
            Stream::Full => self.setting.memory_deltas,
            // It would take too long.
            Stream::Paced | Stream::None => self.setting.memory_deltas / 10,
        };
        let mut memory = Memory::before(disturbing.readers(), self.cast.readers.len(), before);
        // However long a look takes, there is one of each kind.
        memory.look(world.live().unwrap_or_default(), true, before.reader_bytes);
        let mut looked = 0;
        let mut grows = self.setting.plant == Some(Plant::Growth);
        let mut stops = self.setting.plant == Some(Plant::Unfinished);
        while memory.deltas < wanted {
            world.step()?;
            disturbing.tick(world)?;
            memory.deltas = self.stage.published(world) - began;
            if !world.fleet().faults().is_empty() {
                return Err("it was not whole while memory was looked at".to_owned());
            }
            // Some hundred looks in all, whatever a look costs.
            if memory.deltas >= looked {
                looked = memory.deltas + wanted / 200;
                let is_early = memory.deltas < wanted / 5;
                memory.look(world.live().unwrap_or_default(), is_early, before.reader_bytes);
            }
            if memory.deltas >= wanted / 2 && core::mem::take(&mut grows) {
                disturbing.read(world, GROWTH_READERS, Speed::Frozen)?;
            }
            if memory.deltas >= wanted / 2 && core::mem::take(&mut stops) {
                let writers = unfinished(world)?;
                until(world, "messages that are not whole", |world| {
                    memory.look(world.live().unwrap_or_default(), false, before.reader_bytes);
                    let (count, bytes) = UNFINISHED;
                    memory.carried_bytes_max >= (count * bytes) as u64
                })?;
                writers.into_iter().for_each(|writer| world.disconnect(writer));
            }
        }
        memory.look(world.live().unwrap_or_default(), false, before.reader_bytes);
        self.rest(world, Some(&mut disturbing))?;
        disturbing.end(world);
        world.fleet().resume();
        Ok(memory)
    }
}
