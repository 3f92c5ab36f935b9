//! Where documents go: to an elastic worker, back, and from loaded workers to those with room.
//!
//! [`decide`] is a pure function of what is known at one time; no core owns it. It never moves more
//! than it may, never widens the distance between the most and the least loaded worker, and has
//! nothing to say about a situation that it has put right. [`coordinator`] asks it again and again.
//!
//! ```text
//! loads, wishes ─▶ demotions ─▶ promotions ─▶ workers to be emptied ─▶ uneven workers ─▶ decisions
//! ```

pub mod coordinator;

use crate::document::home;
use crate::heat::{Thresholds, Wish};

/// When documents are placed elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacementLimits {
    /// Elastic workers at most (24).
    pub elastic_workers_max: u16,
    /// From when on a document is hot, and from when on quiet.
    pub thresholds: Thresholds,
    /// By how many percent of the least loaded worker's load the most loaded one's may be more
    /// (150); 0 evens nothing.
    pub balance_percent: u32,
    /// Millionths of a core by which two workers may differ whatever they have to do (100,000).
    pub balance_floor_ppm: u64,
    /// Documents that change their worker in a second at most (10).
    pub moves_per_second: u32,
    /// Bytes of hot documents that a worker judges in a turn (65,536), a batch counting 256 more,
    /// shared by its elastic workers that have no core of their own.
    pub lane_bytes_per_turn: u32,
    /// Batches of hot documents of one worker that may wait for that (8,192): 64 bytes each. Beyond
    /// it the oldest are judged at once.
    pub lane_waiting_max: u32,
}

impl Default for PlacementLimits {
    fn default() -> Self {
        Self {
            elastic_workers_max: 24,
            thresholds: Thresholds::default(),
            balance_percent: 150,
            balance_floor_ppm: 100_000,
            moves_per_second: 10,
            lane_bytes_per_turn: 64 << 10,
            lane_waiting_max: 8_192,
        }
    }
}

impl PlacementLimits {
    /// Goes by other numbers from now on.
    pub fn tune(&mut self, tuning: PlacementTuning) {
        let PlacementTuning { promotion, demotion, quiet_ns, .. } = tuning;
        self.thresholds = Thresholds { promotion, demotion, quiet_ns, ..self.thresholds };
        self.balance_percent = tuning.balance_percent;
        self.moves_per_second = tuning.moves_per_second;
    }
}

/// What of [`PlacementLimits`] can change while documents live; see there and [`Thresholds`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacementTuning {
    /// Deltas a second above which a document is promoted; 0 promotes nothing.
    pub promotion: u64,
    /// Deltas a second below which it is quiet.
    pub demotion: u64,
    /// Nanoseconds on end that it must be quiet to be demoted.
    pub quiet_ns: u64,
    /// By how many percent of the least loaded worker's load the most loaded one's may be more.
    pub balance_percent: u32,
    /// Documents that change their worker in a second at most.
    pub moves_per_second: u32,
}

impl PlacementTuning {
    /// That of `limits`.
    pub fn of(limits: &PlacementLimits) -> Self {
        let PlacementLimits { thresholds, balance_percent, moves_per_second, .. } = *limits;
        let Thresholds { promotion, demotion, quiet_ns, .. } = thresholds;
        Self { promotion, demotion, quiet_ns, balance_percent, moves_per_second }
    }
}

/// Where an elastic worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElasticPlace {
    /// The worker that does its work.
    pub worker: u16,
    /// That worker is nobody's home: one hot document has its core alone.
    pub has_own_core: bool,
    /// Its share of what a turn of that worker gives to hot documents, beside that of the others
    /// there.
    pub weight: u16,
}

/// The elastic workers: one for each worker that is nobody's home, those have their core alone; the
/// others share the cores of the homes in turn, each with as much as the next.
pub fn elastic_places(homes: u16, own_cores: u16, elastic_workers_max: u16) -> Vec<ElasticPlace> {
    let own = own_cores.min(elastic_workers_max);
    let alone = (homes..homes + own).map(|worker| (worker, true));
    let shared = (own..elastic_workers_max).map(|number| ((number - own) % homes.max(1), false));
    let place = |(worker, has_own_core)| ElasticPlace { worker, has_own_core, weight: 1 };
    alone.chain(shared).map(place).collect()
}

/// An elastic worker, at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElasticWorker {
    /// Where it runs.
    pub place: ElasticPlace,
    /// It has no document.
    pub is_free: bool,
}

/// A worker, at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerLoad {
    /// Its load, in millionths of a core.
    pub load_ppm: u64,
    /// Documents are at home there; otherwise it is for hot ones alone.
    pub is_home: bool,
    /// It may be given documents.
    pub may_take: bool,
    /// It is to have none.
    pub is_emptied: bool,
    /// It had no room for any document not long ago, and is given none.
    pub is_full: bool,
    /// The same of documents of other homes.
    pub is_full_of_guests: bool,
}

impl WorkerLoad {
    /// Whether documents of any home may go there now.
    pub fn takes(&self) -> bool {
        self.takes_its_own() && !self.is_full_of_guests
    }

    /// Whether documents that are at home there may come home now.
    pub fn takes_its_own(&self) -> bool {
        self.may_take && !self.is_emptied && !self.is_full
    }
}

/// A measured document, at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownDocument {
    /// Its slot.
    pub slot: u32,
    /// The slot's generation.
    pub generation: u32,
    /// Its owner.
    pub worker: u16,
    /// Its load, in millionths of a core.
    pub load_ppm: u64,
    /// The elastic worker that it has.
    pub elastic: Option<u16>,
    /// What its rate asks for.
    pub wish: Wish,
    /// It was placed not long ago, and is left alone.
    pub rests: bool,
}

/// What is known at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Situation {
    /// The workers, by number.
    pub workers: Vec<WorkerLoad>,
    /// The measured documents.
    pub documents: Vec<KnownDocument>,
    /// The elastic workers, by number.
    pub elastic: Vec<ElasticWorker>,
    /// The workers have been uneven for long enough to do something about it.
    pub may_even: bool,
}

/// Why a document is placed elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is hot.
    Promotion,
    /// It was hot.
    Demotion,
    /// Its worker has more to do than another.
    Evening,
    /// Its worker is to be emptied.
    Emptying,
}

/// Where a document is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The document's slot.
    pub slot: u32,
    /// The slot's generation.
    pub generation: u32,
    /// Its owner.
    pub from: u16,
    /// Who is to be its owner; the same, if only its elastic worker changes.
    pub to: u16,
    /// The elastic worker that it is to have.
    pub elastic: Option<u16>,
    /// Why.
    pub reason: Reason,
}

impl Decision {
    /// Whether the document changes its owner.
    pub fn is_move(&self) -> bool {
        self.from != self.to
    }
}

/// Whether the most loaded of the workers at which documents are at home has so much more to do than
/// the least loaded that documents should move.
pub fn is_uneven(situation: &Situation, limits: &PlacementLimits) -> bool {
    let loads = situation.workers.iter().map(|worker| worker.load_ppm);
    are_uneven(&situation.workers, &loads.collect::<Vec<u64>>(), limits)
}

fn are_uneven(workers: &[WorkerLoad], loads: &[u64], limits: &PlacementLimits) -> bool {
    let homes = || workers.iter().zip(loads).filter(|(it, _)| it.is_home && !it.is_emptied);
    let most = homes().map(|(_, load)| *load).max();
    let least = homes().filter(|(worker, _)| worker.takes()).map(|(_, load)| *load).min();
    most.zip(least).is_some_and(|(most, least)| differ(most, least, limits.balance_percent, limits))
}

fn differ(most: u64, least: u64, percent: u32, limits: &PlacementLimits) -> bool {
    limits.balance_percent > 0
        && most.saturating_sub(least) > limits.balance_floor_ppm
        && u128::from(most) * 100 > u128::from(least) * u128::from(percent)
}

/// What should be done, of which at most `moves_max` change a document's owner. What comes first is
/// worth most: a caller that may do less does the first of them.
pub fn decide(situation: &Situation, limits: &PlacementLimits, moves_max: usize) -> Vec<Decision> {
    let mut decider = Decider {
        situation,
        limits,
        loads: situation.workers.iter().map(|worker| worker.load_ppm).collect(),
        free: situation.elastic.iter().map(|elastic| elastic.is_free).collect(),
        placed: vec![false; situation.documents.len()],
        moves_left: moves_max,
        decisions: Vec::new(),
    };
    decider.demote();
    decider.promote();
    decider.empty();
    if situation.may_even {
        decider.even();
    }
    decider.decisions
}

struct Decider<'a> {
    situation: &'a Situation,
    limits: &'a PlacementLimits,
    /// As they will be.
    loads: Vec<u64>,
    free: Vec<bool>,
    placed: Vec<bool>,
    moves_left: usize,
    decisions: Vec<Decision>,
}

impl Decider<'_> {
    /// The numbers of documents of `wish`, the hottest first.
    fn wishing(&self, wish: Wish) -> Vec<usize> {
        let documents = &self.situation.documents;
        let mut numbers: Vec<usize> =
            (0..documents.len()).filter(|at| documents[*at].wish == wish).collect();
        numbers.sort_by_key(|at| core::cmp::Reverse(documents[*at].load_ppm));
        numbers
    }

    fn is_open(&self, document: usize) -> bool {
        !self.situation.documents[document].rests && !self.placed[document]
    }

    fn takes(&self, worker: u16) -> bool {
        self.situation.workers.get(usize::from(worker)).is_some_and(WorkerLoad::takes)
    }

    /// The same of the document in `slot`, which needs no guest's place if it is at home there.
    fn takes_this(&self, worker: u16, slot: u32) -> bool {
        let its_own = |it: &WorkerLoad| it.takes_its_own() && home(slot) == usize::from(worker);
        self.takes(worker) || self.situation.workers.get(usize::from(worker)).is_some_and(its_own)
    }

    fn place(&mut self, document: usize, to: u16, elastic: Option<u16>, reason: Reason) -> bool {
        let KnownDocument { slot, generation, worker: from, load_ppm, elastic: before, .. } =
            self.situation.documents[document];
        if from != to {
            if self.moves_left == 0 {
                return false;
            }
            self.moves_left -= 1;
            let load = &mut self.loads[usize::from(from)];
            *load = load.saturating_sub(load_ppm);
            self.loads[usize::from(to)] += load_ppm;
        }
        if let Some(number) = before {
            self.free[usize::from(number)] = true;
        }
        if let Some(number) = elastic {
            self.free[usize::from(number)] = false;
        }
        self.placed[document] = true;
        self.decisions.push(Decision { slot, generation, from, to, elastic, reason });
        true
    }

    fn demote(&mut self) {
        for document in self.wishing(Wish::Demotion) {
            let KnownDocument { slot, worker, elastic, .. } = self.situation.documents[document];
            if !self.is_open(document) || elastic.is_none() {
                continue;
            }
            let is_home = |worker: u16| {
                self.situation.workers.get(usize::from(worker)).is_some_and(|it| it.is_home)
            };
            let home = home(slot) as u16;
            let is_full = |worker: u16| {
                self.situation.workers.get(usize::from(worker)).is_some_and(|it| it.is_full)
            };
            let stays = is_home(worker) && !self.situation.workers[usize::from(worker)].is_emptied;
            let to = if self.limits.moves_per_second == 0 {
                Some(worker)
            } else if home == worker || self.takes_this(home, slot) {
                Some(home)
            } else if is_full(home) {
                // Quiet, it waits with its elastic worker: from elsewhere it would not come home again.
                None
            } else if stays {
                Some(worker)
            } else {
                self.least_loaded(|worker| self.takes_this(worker, slot))
            };
            if let Some(to) = to {
                self.place(document, to, None, Reason::Demotion);
            }
        }
    }

    fn least_loaded(&self, takes: impl Fn(u16) -> bool) -> Option<u16> {
        let workers = &self.situation.workers;
        let homes = (0..workers.len()).filter(|at| workers[*at].is_home && takes(*at as u16));
        homes.min_by_key(|at| self.loads[*at]).map(|at| at as u16)
    }

    /// The first elastic worker that is free at `worker`, or, without one, whose core is its own.
    fn free_elastic(&self, worker: Option<u16>) -> Option<u16> {
        let fits = |at: &usize| {
            let place = self.situation.elastic[*at].place;
            self.free[*at]
                && match worker {
                    Some(worker) => place.worker == worker,
                    None => place.has_own_core && self.takes(place.worker),
                }
        };
        (0..self.free.len()).find(fits).map(|at| at as u16)
    }

    fn promote(&mut self) {
        if self.limits.thresholds.promotion == 0 {
            return;
        }
        for document in self.wishing(Wish::Promotion) {
            let KnownDocument { worker, elastic, .. } = self.situation.documents[document];
            if !self.is_open(document) || elastic.is_some() {
                continue;
            }
            let own_core =
                |number: &u16| self.situation.elastic[usize::from(*number)].place.has_own_core;
            let here = self.free_elastic(Some(worker)).filter(own_core);
            if let Some(number) = here.or_else(|| self.free_elastic(None)) {
                let to = self.situation.elastic[usize::from(number)].place.worker;
                if self.place(document, to, Some(number), Reason::Promotion) {
                    continue;
                }
            }
            let to = self.shared_core(document);
            let may_stay = self.free_elastic(Some(worker)).is_some();
            for to in [to, may_stay.then_some(worker)].into_iter().flatten() {
                let number = self.free_elastic(Some(to));
                if number.is_some() && self.place(document, to, number, Reason::Promotion) {
                    break;
                }
            }
        }
    }

    /// The core with a free elastic worker on which a document would meet the least load: its own
    /// unless another one's is clearly less.
    fn shared_core(&self, document: usize) -> Option<u16> {
        let KnownDocument { slot, worker, load_ppm, .. } = self.situation.documents[document];
        let meets = |at: usize| match at == usize::from(worker) {
            true => self.loads[at].saturating_sub(load_ppm),
            false => self.loads[at],
        };
        let workers = &self.situation.workers;
        let is_fit = |at: &usize| {
            (*at == usize::from(worker) || self.takes_this(*at as u16, slot))
                && workers[*at].is_home
                && self.free_elastic(Some(*at as u16)).is_some()
        };
        let best = (0..workers.len()).filter(is_fit).min_by_key(|at| meets(*at))?;
        let own = usize::from(worker);
        let percent = self.limits.balance_percent;
        let moves = !is_fit(&own) || differ(meets(own), meets(best), percent, self.limits);
        Some(if moves { best as u16 } else { worker })
    }

    fn empty(&mut self) {
        for document in 0..self.situation.documents.len() {
            let KnownDocument { slot, worker, elastic, .. } = self.situation.documents[document];
            let is_emptied = self.situation.workers[usize::from(worker)].is_emptied;
            if !is_emptied || !self.is_open(document) {
                continue;
            }
            let to = self.least_loaded(|worker| self.takes_this(worker, slot));
            let Some(to) = to else { continue };
            let elastic = elastic.and_then(|_| self.free_elastic(Some(to)));
            if !self.place(document, to, elastic, Reason::Emptying) {
                return;
            }
        }
    }

    /// Moves documents until no two workers differ by more than half of what is allowed, or nothing
    /// helps: each time the one that brings the two nearest to each other.
    fn even(&mut self) {
        if !are_uneven(&self.situation.workers, &self.loads, self.limits) {
            return;
        }
        let percent = 100 + self.limits.balance_percent.saturating_sub(100) / 2;
        while self.moves_left > 0 {
            let Some(least) = self.least_loaded(|worker| self.takes(worker)) else { return };
            let least_ppm = self.loads[usize::from(least)];
            let mut loaded: Vec<usize> = (0..self.loads.len())
                .filter(|at| self.situation.workers[*at].is_home)
                .filter(|at| differ(self.loads[*at], least_ppm, percent, self.limits))
                .collect();
            loaded.sort_by_key(|at| core::cmp::Reverse(self.loads[*at]));
            let found = loaded.into_iter().find_map(|from| self.best_to_move(from, least));
            let Some((document, elastic)) = found else { return };
            if !self.place(document, least, elastic, Reason::Evening) {
                return;
            }
        }
    }

    /// The document of `from` whose move brings the two workers nearest to each other, and the
    /// elastic worker that it would have. None if that would be next to nothing.
    fn best_to_move(&self, from: usize, to: u16) -> Option<(usize, Option<u16>)> {
        let distance = self.loads[from] - self.loads[usize::from(to)];
        let after = |load: u64| distance.abs_diff(2 * load);
        let documents = self.situation.documents.iter().enumerate();
        let (at, document) = documents
            .filter(|(at, it)| {
                usize::from(it.worker) == from
                    && self.is_open(*at)
                    && it.wish == Wish::Stay
                    && (it.elastic.is_none() || self.free_elastic(Some(to)).is_some())
                    && it.load_ppm < distance
            })
            .min_by_key(|(_, it)| after(it.load_ppm))?;
        let helps = distance - after(document.load_ppm) > self.limits.balance_floor_ppm / 64;
        let elastic = document.elastic.and_then(|_| self.free_elastic(Some(to)));
        helps.then_some((at, elastic))
    }
}

#[cfg(test)]
mod tests;
