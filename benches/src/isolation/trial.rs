//! One scenario in one world: spans with and without the disturbance, turn by turn, and what must be
//! true of everybody behind each.
//!
//! Behind a disturbance everybody pauses until every reader has what was written for it, or was told
//! what will not come; then it is compared, exactly.

use std::time::{Duration, Instant};

use deltaworks_pipeline::handover::MoveOutcome;
use serde_json::json;

use super::report::{Bound, Figures, Pair, Ratios, Report};
use super::scenario::{Cast, Disturbance, Disturbing, Done, Scenario, Stage, Stream};
use super::world::{Live, World, play, until};
use crate::abuse::spread::Spread;
use crate::cpu_time;

/// What the others play before anything is measured.
const WARM_UP: Duration = Duration::from_millis(200);

/// How long a disturbance lasts before a span, and the others alone behind it.
const SETTLING: Duration = Duration::from_millis(50);

/// What a reader that does not keep up makes the server hold at most: a half-sent image of the stream,
/// and what it has missed.
const READER_BYTES_MAX: u64 = 2 << 10;

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
    /// Whether the scenario's bounds are stated for this form.
    pub has_bounds: bool,
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
    let (pairs, more) = match played {
        Ok(Played { pairs, more, faults }) => {
            differences.extend(faults);
            (pairs, more)
        }
        Err(fault) => {
            differences.push(fault);
            (Vec::new(), serde_json::Map::new())
        }
    };
    differences.extend(world.finish().err());
    let verified_deltas = others.delivered + disturbance.delivered;
    Ok(Report {
        scenario: scenario.name,
        form: setting.form,
        about: scenario.about,
        pairs: pairs.len(),
        seconds: setting.length.as_secs_f64(),
        ratio: Ratios::of(&pairs),
        bounds: if setting.has_bounds { bounds(scenario, setting, &pairs) } else { Vec::new() },
        turn_bound_us: setting.turn_bound_us,
        more,
        figures: pairs,
        verified_deltas,
        told_deltas: others.told + disturbance.told,
        verified: differences.is_empty() && verified_deltas > 0,
        differences,
    })
}

struct Played {
    pairs: Vec<Pair>,
    more: serde_json::Map<String, serde_json::Value>,
    faults: Vec<String>,
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
        // Whatever drifts falls on both alike.
        let pair = if number % 2 == 0 {
            let quiet = trial.measure(world, None)?;
            Pair { quiet, disturbed: trial.disturbed(world)? }
        } else {
            let disturbed = trial.disturbed(world)?;
            Pair { quiet: trial.measure(world, None)?, disturbed }
        };
        pairs.push(pair);
        moved((number + 1) as f64 / setting.pairs as f64);
    }
    let mut more = serde_json::Map::new();
    let mut faults = Vec::new();
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
            more.insert("memory".to_owned(), json!(memory));
        }
        Disturbance::Moves { round_trips } => {
            let asked = u64::from(2 * round_trips) * setting.pairs as u64;
            let moved = || done.moves.iter().filter(|it| it.outcome == MoveOutcome::Moved);
            let finished = moved().count() as u64;
            let pauses_us = moved().filter_map(|it| Some(it.pause_ns? as f64 / 1e3));
            more.insert("moves".to_owned(), json!(finished));
            more.insert("moves_refused".to_owned(), json!(done.moves.len() as u64 - finished));
            more.insert("pause_us".to_owned(), json!(Spread::of(pauses_us)));
            let held = moved().map(|it| f64::from(it.held));
            more.insert("held_batches".to_owned(), json!(Spread::of(held)));
            if finished < asked {
                faults.push(format!("{finished} of {asked} moves: {:?}", done.moves));
            }
        }
        Disturbance::Hot | Disturbance::Greedy { .. } => {}
    }
    trial.rest(world, None)?;
    Ok(Played { pairs, more, faults })
}

/// What was live while many deltas were published beside readers that do not take them.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
struct Memory {
    /// Deltas that the others got meanwhile.
    deltas: u64,
    /// The most that documents' windows took.
    window_bytes_max: u64,
    /// The most that everything else took, in the first fifth.
    other_bytes_max_early: u64,
    /// The same behind it.
    other_bytes_max_late: u64,
    /// What it may be more: what a reader that takes part of an image, or misses something, holds.
    growth_bytes_max: u64,
}

impl Memory {
    fn look(&mut self, live: Live, is_early: bool) {
        self.window_bytes_max = live.window_bytes.max(self.window_bytes_max);
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
        let most = self.window_bytes_max + early.max(late);
        let is_flat = late <= early + self.growth_bytes_max && most <= budget_bytes;
        (!is_flat).then(|| {
            format!("{early} bytes, then {late}, and {most} in all of a budget of {budget_bytes}")
        })
    }
}

impl Trial<'_> {
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
        let mut tick = |world: &mut dyn World| match &mut disturbing {
            Some(disturbing) => disturbing.tick(world),
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
        let mut disturbing = Disturbing::begin(world, self.scenario.disturbance, &self.stage, 0)?;
        let began = world.fleet().others.delivered;
        let wanted = match self.scenario.others.stream {
            Stream::Full => self.setting.memory_deltas,
            // It would take too long.
            Stream::Paced | Stream::None => self.setting.memory_deltas / 10,
        };
        let mut memory = Memory {
            growth_bytes_max: disturbing.readers() as u64 * READER_BYTES_MAX,
            ..Memory::default()
        };
        let mut looked = 0;
        while memory.deltas < wanted {
            world.step()?;
            disturbing.tick(world)?;
            memory.deltas = world.fleet().others.delivered - began;
            if !world.fleet().faults().is_empty() {
                return Err("it was not whole while memory was looked at".to_owned());
            }
            // Some hundred looks in all, whatever a look costs.
            if memory.deltas >= looked {
                looked = memory.deltas + wanted / 200;
                let is_early = memory.deltas < wanted / 5;
                memory.look(world.live().unwrap_or_default(), is_early);
            }
        }
        self.rest(world, Some(&mut disturbing))?;
        disturbing.end(world);
        world.fleet().resume();
        Ok(memory)
    }
}

fn bounds(scenario: &Scenario, setting: Setting, pairs: &[Pair]) -> Vec<Bound> {
    let mut bounds = Vec::new();
    let mut add = |what, bound: &dyn Fn(&Pair) -> f64, measured: &dyn Fn(&Pair) -> f64, is_most| {
        let within = |it: &&Pair| match is_most {
            true => measured(it) <= bound(it),
            false => measured(it) >= bound(it),
        };
        let pairs_within = pairs.iter().filter(within).count();
        let (limit, is) =
            (Spread::of(pairs.iter().map(bound)), Spread::of(pairs.iter().map(measured)));
        let holds = pairs_within * 2 > pairs.len();
        bounds.push(Bound { what, bound: limit, measured: is, pairs_within, holds });
    };
    if let Some(ratio) = scenario.p99_ratio_max {
        let turn = setting.turn_bound_us;
        add(
            "paced p99 in µs, at most twice the quiet one and one turn",
            &|it| ratio * it.quiet.latency.p99_us + turn,
            &|it| it.disturbed.latency.p99_us,
            true,
        );
    }
    if let Some(ratio) = scenario.rate_ratio_min {
        add(
            "the others' rate for the quiet one, at least",
            &|_| ratio,
            &|it| {
                it.disturbed.others_deltas_per_second / it.quiet.others_deltas_per_second.max(1e-9)
            },
            false,
        );
    }
    bounds
}
