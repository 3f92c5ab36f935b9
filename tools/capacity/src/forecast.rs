//! The forecast: rate, latency and memory of a machine, the stage that is full first, and what all of
//! that assumes.

use serde::Serialize;

use crate::costs::{Costs, Origin, Stage};
use crate::layout::{Layout, Penalty};
use crate::memory::{self, Memory};
use crate::popularity::first_share;
use crate::simulation::{
    Arrivals, Busy, Game, Outcome, Places, Plant, Spread, images_of_turn, play,
};
use crate::times::Times;
use crate::workload::{Ends, Law, Workload};

/// Shares of the limit at which latency is told, if no rate is asked for.
const SHARES: [f64; 3] = [0.1, 0.5, 0.9];
/// Steps of a simulation, about: a second of time at most.
const STEPS: u64 = 3_000_000;
/// Batches of a simulation at least.
const BATCHES_MIN: u64 = 2_000;
/// Turns that each core has in a simulation at its limit, at least.
const TURNS: u64 = 12;
/// A document of so many deltas a second is given to an elastic worker, as the daemon's default is.
const PROMOTION_DELTAS_PER_SECOND: f64 = 1e6;
/// How often the share of first batches is found from a rate, and the rate from it.
const ROUNDS: u32 = 3;
/// Cores of a machine that the stages run on today.
const STAGE_CORES_MAX: usize = 64;
/// An offered rate above this share of the limit has no steady latency.
const STEADY_SHARE: f64 = 0.98;

/// What is asked beside machine, workload and costs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Question {
    /// Steps of each simulation, about: batches, and deliveries of them.
    pub steps: u64,
    /// How long parts of a turn take.
    pub spread: Spread,
    /// A fault in the simulation.
    pub plant: Option<Plant>,
}

impl Default for Question {
    fn default() -> Self {
        Self { steps: STEPS, spread: Spread::Steady, plant: None }
    }
}

/// How full a stage or a core is, as shares of a core's time.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct StageShare {
    /// The stage.
    pub stage: Stage,
    /// Its share on the core that has most of it.
    pub most: f64,
    /// Its sum over all cores.
    pub cores: f64,
}

/// What is full first.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Bottleneck {
    /// The stage that takes most of the fullest core.
    pub stage: Stage,
    /// That core's index in the plan.
    pub core: u16,
    /// What else that core does.
    pub role: &'static str,
    /// How full that core is with what grows with the load.
    pub core_share: f64,
    /// How full the next role's fullest core is, if there is another role.
    pub next: Option<(&'static str, f64)>,
}

/// What the machine can do at most.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Limit {
    /// Deltas that come a second.
    pub deltas_per_second: f64,
    /// Batches of these.
    pub batches_per_second: f64,
    /// Deltas that subscribers get a second, over all.
    pub deliveries_per_second: f64,
    /// What keeps it from more.
    pub saturates_first: Bottleneck,
    /// By stage.
    pub stages: Vec<StageShare>,
    /// Images of one send on average.
    pub images_per_send: f64,
    /// Documents that were given to elastic cores.
    pub hot_documents: usize,
}

/// What a rate is like.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct AtRate {
    /// Deltas that are offered a second.
    pub deltas_per_second: f64,
    /// The share of the limit.
    pub limit_share: f64,
    /// Whether the machine keeps up; if not, latency is that of a queue that grows.
    pub is_steady: bool,
    /// From arrival to the end of the send, in microseconds.
    pub latency_us: Latency,
    /// How full the fullest core is.
    pub core_share_max: f64,
    /// How long windows reach back at this rate, in seconds.
    pub history_seconds: f64,
}

/// Quantiles, in microseconds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Latency {
    /// The mean.
    pub mean: f64,
    /// Half are faster.
    pub p50: f64,
    /// One in a hundred is slower.
    pub p99: f64,
    /// One in a thousand is slower.
    pub p999: f64,
}

/// All that is foretold.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Forecast {
    /// Cores of the plan.
    pub cores: usize,
    /// Those that serve sessions, own documents, and wait for hot ones.
    pub roles: (usize, usize, usize),
    /// Memory nodes of these cores.
    pub nodes: usize,
    /// What was asked.
    pub workload: Workload,
    /// Where costs are from.
    pub costs: Origin,
    /// What is assumed of what is far away.
    pub penalty: Penalty,
    /// The most.
    pub limit: Limit,
    /// At some rates.
    pub rates: Vec<AtRate>,
    /// What lies in memory.
    pub memory: Memory,
    /// Batches of each simulation.
    pub simulated_batches: u64,
    /// In sentences.
    pub assumes: Vec<String>,
}

/// The forecast of a workload on a machine.
///
/// Some seconds at most. The same for the same inputs.
///
/// # Errors
/// If costs or workload make no sense, or the machine cannot serve.
pub fn forecast(
    layout: &Layout,
    workload: &Workload,
    costs: &Costs,
    question: Question,
) -> Result<Forecast, String> {
    costs.check()?;
    workload.check()?;
    let count = |is_one: fn(&crate::layout::Seat) -> bool| layout.cores(is_one).len();
    let serving = count(|seat| seat.serves_sessions);
    let workers = count(|seat| seat.owns_documents);
    if serving == 0 || workers == 0 {
        return Err("a machine needs a core for sessions and one for documents".to_owned());
    }
    let mut machine = Machine::new(layout, workload, costs, question);
    let limit = machine.limit();
    let memory = machine.memory(&limit, workload.seconds);
    let asked = match workload.rate {
        Some(rate) => vec![rate],
        None => SHARES.map(|share| share * limit.deltas_per_second).to_vec(),
    };
    let rates = asked
        .into_iter()
        .map(|rate| {
            let outcome = machine.run(Arrivals::Random(rate / f64::from(workload.batch)));
            at_rate(rate, workload, &limit, &memory, &outcome)
        })
        .collect();
    let mut nodes: Vec<u32> = layout.seats.iter().map(|seat| seat.node).collect();
    nodes.sort_unstable();
    nodes.dedup();
    Ok(Forecast {
        cores: layout.seats.len(),
        roles: (serving, workers, count(|seat| seat.is_elastic)),
        nodes: nodes.len(),
        workload: workload.clone(),
        costs: costs.origin.clone(),
        penalty: layout.penalty,
        assumes: assumes(layout, workload, costs, question, nodes.len()),
        limit,
        rates,
        memory,
        simulated_batches: machine.batches,
    })
}

/// What the machine can do at most, and holds in memory when it has done so for `held_seconds`, or for long
/// (`None`); without latency: quicker.
///
/// # Errors
/// As for the whole forecast.
pub fn limit_of(
    layout: &Layout,
    workload: &Workload,
    costs: &Costs,
    question: Question,
    held_seconds: Option<f64>,
) -> Result<(Limit, Memory), String> {
    costs.check()?;
    workload.check()?;
    let mut machine = Machine::new(layout, workload, costs, question);
    let limit = machine.limit();
    let memory = machine.memory(&limit, held_seconds);
    Ok((limit, memory))
}

/// What all simulations of a forecast share.
struct Machine<'a> {
    layout: &'a Layout,
    workload: &'a Workload,
    costs: &'a Costs,
    question: Question,
    times: Times,
    places: Places,
    batches: u64,
}

impl<'a> Machine<'a> {
    fn new(
        layout: &'a Layout,
        workload: &'a Workload,
        costs: &'a Costs,
        question: Question,
    ) -> Self {
        Self {
            layout,
            workload,
            costs,
            question,
            times: Times::of(costs, workload, layout, 0.0),
            places: Places::new(layout, workload),
            batches: batches(layout, workload, costs, question.steps),
        }
    }

    fn run(&self, arrivals: Arrivals) -> Outcome {
        let Self { layout, workload, costs, times, places, batches, .. } = self;
        let Question { spread, plant, .. } = self.question;
        let batches = *batches;
        play(Game { layout, places, times, costs, workload, arrivals, spread, batches, plant })
    }

    /// What lies in memory after so long at the limit; `None`: after so long that every document was written.
    fn memory(&self, limit: &Limit, seconds: Option<f64>) -> Memory {
        let documents = f64::from(self.workload.documents);
        let share = |seconds| 1.0 - first_share(documents, seconds * limit.batches_per_second);
        let written_share = seconds.map_or(1.0, share);
        memory::memory(self.costs, self.workload, self.layout, &self.places, written_share)
    }

    /// The most; then again with what follows from it: first batches, and hot documents.
    fn limit(&mut self) -> Limit {
        let mut most = self.run(Arrivals::Always);
        for _ in 0..self.workload.seconds.map_or(0, |_| ROUNDS) {
            let drawn = self.workload.seconds.unwrap_or_default() * most.batches_per_second;
            let share = first_share(f64::from(self.workload.documents), drawn);
            self.times = Times::of(self.costs, self.workload, self.layout, share);
            most = self.run(Arrivals::Always);
        }
        let rate = most.deltas_per_second;
        let hot = self.places.promote(self.layout, rate, PROMOTION_DELTAS_PER_SECOND);
        if hot > 0 {
            most = self.run(Arrivals::Always);
        }
        limit(self.layout, self.workload, &most, hot)
    }
}

/// Batches that are enough for every core to turn some times, in bounded time.
fn batches(layout: &Layout, workload: &Workload, costs: &Costs, steps: u64) -> u64 {
    let most = steps / (2 + u64::from(workload.subscribers));
    let per_turn = images_of_turn(&costs.turn, workload.image_bytes(), workload.batch);
    let turns = layout.seats.len() as u64 * TURNS * per_turn;
    turns.max(steps / 20).min(most).max(BATCHES_MIN)
}

fn limit(layout: &Layout, workload: &Workload, most: &Outcome, hot_documents: usize) -> Limit {
    let of_stage = |stage: Stage| {
        let shares = most.busy.iter().map(|it| it.stages[stage as usize]);
        StageShare { stage, most: shares.clone().fold(0.0, f64::max), cores: shares.sum() }
    };
    Limit {
        deltas_per_second: most.deltas_per_second,
        batches_per_second: most.batches_per_second,
        deliveries_per_second: most.deltas_per_second * f64::from(workload.subscribers),
        saturates_first: bottleneck(layout, most),
        stages: Stage::ALL.map(of_stage).to_vec(),
        images_per_send: most.images_per_send,
        hot_documents,
    }
}

fn bottleneck(layout: &Layout, most: &Outcome) -> Bottleneck {
    let fullest = |is_one: &dyn Fn(usize) -> bool| {
        let cores = (0..layout.seats.len()).filter(|core| is_one(*core));
        cores.max_by(|one, other| most.busy[*one].work().total_cmp(&most.busy[*other].work()))
    };
    let core = fullest(&|_| true).unwrap_or_default();
    let role = layout.seats[core].role();
    let next = fullest(&|core| layout.seats[core].role() != role);
    Bottleneck {
        stage: most.busy[core].heaviest(),
        core: core as u16,
        role,
        core_share: most.busy[core].work(),
        next: next.map(|core| (layout.seats[core].role(), most.busy[core].work())),
    }
}

fn at_rate(
    rate: f64,
    workload: &Workload,
    limit: &Limit,
    memory: &Memory,
    outcome: &Outcome,
) -> AtRate {
    let us = |quantile: f64| outcome.latency.value_at_quantile(quantile) as f64 / 1e3;
    let limit_share = rate / limit.deltas_per_second;
    AtRate {
        deltas_per_second: rate,
        limit_share,
        is_steady: limit_share < STEADY_SHARE,
        latency_us: Latency {
            mean: outcome.latency_mean_ns / 1e3,
            p50: us(0.5),
            p99: us(0.99),
            p999: us(0.999),
        },
        core_share_max: outcome.busy.iter().map(Busy::work).fold(0.0, f64::max),
        history_seconds: memory.images / (rate / f64::from(workload.batch)),
    }
}

fn assumes(
    layout: &Layout,
    workload: &Workload,
    costs: &Costs,
    question: Question,
    nodes: usize,
) -> Vec<String> {
    let Penalty { other_l3, other_node } = layout.penalty;
    let origin = &costs.origin;
    let mut all = vec![
        format!(
            "Every core is as fast as one of those that were measured ({}), and has its caches to itself.",
            if origin.cpu.is_empty() { "unnamed" } else { &origin.cpu }
        ),
        "Memory bandwidth is not the limit, and cores do not slow each other down beyond what two of them did."
            .to_owned(),
        "Batches come at random (Poisson), each for one document drawn by the law; nobody sends in bursts."
            .to_owned(),
        "Sockets take what they are sent; nobody is slow, nothing is refused or resent.".to_owned(),
    ];
    if layout.seats.len() > 2 {
        all.push(format!(
            "Crossing costs {other_l3} times as much between L3 groups, and {other_node} times between \
             memory nodes: stated, not measured ({nodes} nodes here)."
        ));
    }
    if layout.seats.len() > STAGE_CORES_MAX {
        all.push(format!(
            "The stages run on {STAGE_CORES_MAX} cores at most today; what is beyond is arithmetic."
        ));
    }
    all.push(match workload.ends {
        Ends::Tcp => {
            "Sockets cost what bare system calls on loopback cost here, on the core that makes \
                      them; no network card, no interrupts of one."
                .to_owned()
        }
        Ends::Harness => "Both ends are the harness's, and run on the same cores.".to_owned(),
        Ends::Free => "Reading and sending cost nothing.".to_owned(),
    });
    if workload.law == Law::Zipf {
        all.push(
            "What is hot is hot all the time; a moved document's pause is not in it.".to_owned(),
        );
    }
    all.push(match question.spread {
        Spread::Steady => {
            "Parts of a turn take their mean time each; nothing else interrupts.".to_owned()
        }
        Spread::Exponential => {
            "Parts of a turn take a random time each (exponential): a bad case.".to_owned()
        }
    });
    if !origin.note.is_empty() {
        all.push(format!("Of the costs: {}", origin.note));
    }
    all
}
