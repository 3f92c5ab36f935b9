//! What a simulation counts: time by core and stage, latency, what waited.

use hdrhistogram::Histogram;

use crate::costs::Stage;

use super::Batch;
use super::core::Core;

/// What one core did, as shares of the counted time.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Busy {
    /// By stage: what its batches, sends and deltas took, without what each turn takes anyway.
    pub stages: [f64; Stage::ALL.len()],
    /// What turns took anyway, in those with work.
    pub turns: f64,
}

impl Busy {
    /// All that grows with the load.
    pub fn work(&self) -> f64 {
        self.stages.iter().sum()
    }

    /// The stage that takes most.
    pub fn heaviest(&self) -> Stage {
        let most = |one: &&Stage, other: &&Stage| {
            self.stages[**one as usize].total_cmp(&self.stages[**other as usize])
        };
        Stage::ALL.iter().max_by(most).copied().unwrap_or(Stage::Upkeep)
    }
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The counted time.
    pub seconds: f64,
    /// Batches that came in it, per second.
    pub batches_per_second: f64,
    /// Deltas of these.
    pub deltas_per_second: f64,
    /// From a batch's arrival to the end of a send with it, in nanoseconds: one for each subscriber.
    pub latency: Histogram<u64>,
    /// The mean of that, exactly.
    pub latency_mean_ns: f64,
    /// By core.
    pub busy: Vec<Busy>,
    /// Turns with work, by core.
    pub turns: Vec<u64>,
    /// The most messages that waited for one core.
    pub inbox_max: usize,
    /// Images of one send on average.
    pub images_per_send: f64,
    /// Batches that were sent to all of their subscribers, and batches that came.
    pub finished: (u64, u64),
    /// The most batches that were on their way.
    pub on_their_way_max: u64,
}

#[derive(Debug)]
pub(super) struct Tally {
    pub warm: u64,
    pub batches: u64,
    deltas: u32,
    /// The counted time: from the first counted batch's arrival to that of the last.
    pub began_ns: f64,
    pub ended_ns: f64,
    pub stage_ns: Vec<[f64; Stage::ALL.len()]>,
    pub turn_ns: Vec<f64>,
    pub turns: Vec<u64>,
    latency: Histogram<u64>,
    sum_ns: f64,
    inbox_max: usize,
    pub sends: u64,
    pub images: u64,
    pub on_their_way: u64,
    pub on_their_way_max: u64,
    pub finished: u64,
}

/// A latency is at most this: ten minutes.
const LATENCY_NS_MAX: u64 = 600_000_000_000;

impl Tally {
    pub fn new(cores: usize, warm: u64, batches: u64, deltas: u32) -> Self {
        Self {
            warm,
            batches,
            deltas,
            began_ns: f64::INFINITY,
            ended_ns: f64::INFINITY,
            stage_ns: vec![[0.0; Stage::ALL.len()]; cores],
            turn_ns: vec![0.0; cores],
            turns: vec![0; cores],
            latency: Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("bounds that hold"),
            sum_ns: 0.0,
            inbox_max: 0,
            sends: 0,
            images: 0,
            on_their_way: 0,
            on_their_way_max: 0,
            finished: 0,
        }
    }

    /// Notes that batch `number` was taken at `at_ns`.
    pub fn began(&mut self, number: u64, at_ns: f64) {
        if number >= self.warm && self.began_ns == f64::INFINITY {
            self.began_ns = at_ns;
        }
        // An open load has told its time beforehand.
        if number + 1 == self.batches && self.ended_ns == f64::INFINITY {
            self.ended_ns = at_ns;
        }
        self.on_their_way += 1;
        self.on_their_way_max = self.on_their_way_max.max(self.on_their_way);
    }

    pub fn counts(&self, at_ns: f64) -> bool {
        at_ns >= self.began_ns && at_ns < self.ended_ns
    }

    pub fn delivered(&mut self, number: u64, latency_ns: f64) {
        if number >= self.warm {
            self.latency.saturating_record(latency_ns.max(1.0) as u64);
            self.sum_ns += latency_ns;
        }
    }

    pub fn inbox(&mut self, _: u16, messages: usize) {
        self.inbox_max = self.inbox_max.max(messages);
    }

    pub fn outcome(self, _: &[Core], batches: &[Batch]) -> Outcome {
        let ns = (self.ended_ns - self.began_ns).max(1.0);
        let counted = self.batches.saturating_sub(self.warm).saturating_sub(1);
        let batches_per_second = counted as f64 / ns * 1e9;
        let busy = |(stages, turns): (&[f64; 6], &f64)| Busy {
            stages: stages.map(|it| it / ns),
            turns: turns / ns,
        };
        Outcome {
            seconds: ns / 1e9,
            batches_per_second,
            deltas_per_second: batches_per_second * f64::from(self.deltas),
            latency_mean_ns: self.sum_ns / (self.latency.len() as f64).max(1.0),
            latency: self.latency,
            busy: self.stage_ns.iter().zip(&self.turn_ns).map(busy).collect(),
            turns: self.turns,
            inbox_max: self.inbox_max,
            images_per_send: self.images as f64 / (self.sends as f64).max(1.0),
            finished: (self.finished, batches.len() as u64),
            on_their_way_max: self.on_their_way_max,
        }
    }
}
