//! Where everything is: which core a document is written on, which owns it, which sessions read it.
//!
//! Made once for a machine and a workload. Documents are dealt to publishers in turn, publishers and
//! readers to session cores in turn; owners follow from a hash of the document, as from that of a name.

use std::collections::HashMap;

use crate::layout::Layout;
use crate::random::{Random, mix};
use crate::workload::{Law, Workload};

/// The documents that are written on one core.
#[derive(Clone, Debug, Default)]
struct Written {
    documents: Vec<u32>,
    /// Running sums of their weights; empty if all weigh the same.
    sums: Vec<f64>,
}

/// Who writes, owns and reads what.
#[derive(Clone, Debug)]
pub struct Places {
    workload: Workload,
    /// The cores that serve sessions.
    serving: Vec<u16>,
    /// A core's place among them; by core.
    serving_place: Vec<u32>,
    workers: Vec<u16>,
    /// By core.
    written: Vec<Written>,
    /// Running sums of what cores' documents weigh.
    core_sums: Vec<f64>,
    /// A document's place among those of its core; only where it matters.
    numbers: Vec<u32>,
    /// By document.
    weights: Vec<f32>,
    hot: HashMap<u32, u16>,
}

impl Places {
    /// Those of a workload on a machine.
    pub fn new(layout: &Layout, workload: &Workload) -> Self {
        let serving = layout.cores(|seat| seat.serves_sessions);
        let workers = layout.cores(|seat| seat.owns_documents);
        let mut serving_place = vec![u32::MAX; layout.seats.len()];
        for (place, core) in (0..).zip(&serving) {
            serving_place[usize::from(*core)] = place;
        }
        let mut places = Self {
            workload: workload.clone(),
            serving,
            serving_place,
            workers,
            written: vec![Written::default(); layout.seats.len()],
            core_sums: Vec::new(),
            numbers: vec![0; workload.documents as usize],
            weights: weights(workload),
            hot: HashMap::new(),
        };
        for document in 0..workload.documents {
            let core = places.home(document);
            let written = &mut places.written[usize::from(core)];
            places.numbers[document as usize] = written.documents.len() as u32;
            written.documents.push(document);
            if workload.law == Law::Zipf {
                let last = written.sums.last().copied().unwrap_or_default();
                written.sums.push(last + f64::from(places.weights[document as usize]));
            }
        }
        let mut sum = 0.0;
        for written in &places.written {
            sum += written.sums.last().copied().unwrap_or(written.documents.len() as f64);
            places.core_sums.push(sum);
        }
        places
    }

    /// Gives hot documents to the elastic cores: those that come at least `deltas_per_second`, if
    /// so many come over all documents as `offered`. Returns how many.
    pub fn promote(&mut self, layout: &Layout, offered: f64, deltas_per_second: f64) -> usize {
        let elastic = layout.cores(|seat| seat.is_elastic);
        let share = deltas_per_second / offered;
        let of = |document: u32| match self.workload.law {
            Law::Uniform => 1.0 / f64::from(self.workload.documents),
            Law::Zipf => f64::from(self.weights[document as usize]),
        };
        let mut hot: Vec<u32> =
            (0..self.workload.documents).filter(|it| of(*it) >= share).collect();
        hot.sort_by(|one, other| of(*other).total_cmp(&of(*one)));
        self.hot = hot.into_iter().zip(elastic).collect();
        self.hot.len()
    }

    /// Whether anything is written on a core.
    pub fn writes(&self, core: u16) -> bool {
        !self.written[usize::from(core)].documents.is_empty()
    }

    /// Whether the owner of any document is on another core than its publisher.
    pub fn crosses(&self) -> bool {
        let crosses = |document: u32| self.owner(document) != self.home(document);
        (0..self.workload.documents).any(crosses)
    }

    /// The core that a document is written on.
    pub fn home(&self, document: u32) -> u16 {
        self.serving[self.publisher(document) as usize % self.serving.len()]
    }

    /// The connection that it is written by.
    pub fn publisher(&self, document: u32) -> u32 {
        document % self.workload.publishers
    }

    /// The core that owns a document.
    pub fn owner(&self, document: u32) -> u16 {
        if let Some(core) = self.hot.get(&document) {
            return *core;
        }
        let hash = mix(u64::from(document) ^ self.workload.seed << 32);
        let (home, workers) = (self.home(document), &self.workers);
        let Some(share) = self.workload.crossing_share.filter(|_| workers.contains(&home)) else {
            return workers[hash as usize % workers.len()];
        };
        let number = f64::from(self.numbers[document as usize]);
        let crosses = ((number + 1.0) * share).floor() > (number * share).floor();
        if !crosses || workers.len() == 1 {
            return home;
        }
        let other = workers[hash as usize % (workers.len() - 1)];
        if other == home { workers[workers.len() - 1] } else { other }
    }

    /// A document, and the core that it is written on.
    pub fn draw(&self, random: &mut Random) -> (u16, u32) {
        let all = self.core_sums.last().copied().unwrap_or_default();
        let point = random.unit() * all;
        let core = self.core_sums.partition_point(|sum| *sum < point);
        let core = core.min(self.core_sums.len() - 1) as u16;
        (core, self.draw_at(core, random))
    }

    /// A document that is written on `core`.
    pub fn draw_at(&self, core: u16, random: &mut Random) -> u32 {
        let Written { documents, sums } = &self.written[usize::from(core)];
        let place = match sums.last() {
            None => random.below(documents.len() as u64) as usize,
            Some(all) => {
                let point = random.unit() * all;
                sums.partition_point(|sum| *sum < point).min(documents.len() - 1)
            }
        };
        documents[place]
    }

    /// The cores with subscribers of a document.
    pub fn reading_cores(&self, document: u32, cores: &mut Vec<u16>) {
        cores.clear();
        if self.workload.near {
            cores.push(self.home(document));
            return;
        }
        let first = self.first_session(document);
        let count = (self.workload.subscribers as usize).min(self.serving.len());
        let place = |it| self.serving[(first as usize + it) % self.serving.len()];
        cores.extend((0..count).map(place));
    }

    /// The sessions of `core` that read a document, by their place there.
    pub fn sessions_at(&self, document: u32, core: u16, sessions: &mut Vec<u32>) {
        sessions.clear();
        let subscribers = u64::from(self.workload.subscribers);
        if self.workload.near {
            let group = self.numbers[document as usize] / self.workload.documents_per_reader;
            let place = |it| (u64::from(group) * subscribers + it) as u32;
            sessions.extend((0..subscribers).map(place));
            return;
        }
        let serving = self.serving.len() as u64;
        let first = self.first_session(document);
        let skip = (u64::from(self.serving_place[usize::from(core)]) + serving - first % serving)
            % serving;
        let numbers = (first + skip..first + subscribers).step_by(serving as usize);
        sessions.extend(numbers.map(|number| (number / serving) as u32));
    }

    /// Connections that read, over all cores.
    pub fn readers(&self) -> u64 {
        let per_reader = self.workload.documents_per_reader;
        let groups = if self.workload.near {
            let of_core = |it: &Written| (it.documents.len() as u32).div_ceil(per_reader);
            self.written.iter().map(of_core).map(u64::from).sum()
        } else {
            u64::from(self.workload.documents.div_ceil(per_reader))
        };
        groups * u64::from(self.workload.subscribers)
    }

    /// Connections that read on one core at most.
    pub fn readers_of_core_max(&self) -> usize {
        if self.workload.near {
            return self.readers() as usize;
        }
        self.readers().div_ceil(self.serving.len() as u64) as usize
    }

    fn first_session(&self, document: u32) -> u64 {
        let group = document / self.workload.documents_per_reader;
        u64::from(group) * u64::from(self.workload.subscribers)
    }
}

/// Weights of documents whose sum is 1; empty under the uniform law.
fn weights(workload: &Workload) -> Vec<f32> {
    if workload.law == Law::Uniform {
        return Vec::new();
    }
    let count = workload.documents as usize;
    let mut weights: Vec<f32> = (1..=count).map(|rank| 1.0 / rank as f32).collect();
    let sum: f64 = weights.iter().copied().map(f64::from).sum();
    let mut random = Random::new(workload.seed);
    for place in (1..count).rev() {
        weights.swap(place, random.below(place as u64 + 1) as usize);
    }
    weights.iter().map(|it| (f64::from(*it) / sum) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(documents: u32, subscribers: u32, near: bool) -> Workload {
        Workload { documents, subscribers, near, documents_per_reader: 3, ..Workload::default() }
    }

    /// Each subscriber of each document is one session of one core, and nobody's else.
    #[test]
    fn every_subscription_has_one_session() {
        for near in [false, true] {
            for subscribers in [1, 2, 5, 12] {
                let layout = Layout::fused(5);
                let workload = workload(17, subscribers, near);
                let places = Places::new(&layout, &workload);
                let (mut cores, mut sessions) = (Vec::new(), Vec::new());
                for document in 0..17 {
                    places.reading_cores(document, &mut cores);
                    let mut seen = std::collections::BTreeSet::new();
                    for core in &cores {
                        places.sessions_at(document, *core, &mut sessions);
                        assert!(!sessions.is_empty(), "{document} at {core}");
                        for session in &sessions {
                            assert!((*session as usize) < places.readers_of_core_max());
                            assert!(seen.insert((*core, *session)));
                        }
                    }
                    assert_eq!(seen.len(), subscribers as usize);
                }
            }
        }
    }

    #[test]
    fn owners_cross_as_often_as_they_are_to() {
        let layout = Layout::fused(4);
        for (asked, must) in [(None, 0.75), (Some(0.5), 0.5), (Some(0.0), 0.0), (Some(1.0), 1.0)] {
            let workload = Workload { crossing_share: asked, ..workload(4000, 1, true) };
            let places = Places::new(&layout, &workload);
            let crossing = (0..4000).filter(|it| places.owner(*it) != places.home(*it)).count();
            let is = crossing as f64 / 4000.0;
            assert!((is - must).abs() < 0.03, "{asked:?}: {is}");
            assert_eq!(places.crosses(), must > 0.0);
        }
    }

    #[test]
    fn the_hottest_go_to_elastic_cores() {
        let mut layout = Layout::fused(4);
        layout.seats[3] = crate::layout::Seat {
            serves_sessions: false,
            owns_documents: false,
            is_elastic: true,
            ..layout.seats[3]
        };
        let workload = Workload { law: Law::Zipf, ..workload(1000, 1, true) };
        let mut places = Places::new(&layout, &workload);
        assert_eq!(places.promote(&layout, 10e6, 1e6), 1);
        let hot: Vec<u32> = (0..1000).filter(|it| places.owner(*it) == 3).collect();
        let heaviest = |it: &u32| places.weights.iter().all(|w| *w <= places.weights[*it as usize]);
        assert!(hot.len() == 1 && heaviest(&hot[0]));
        assert_eq!(places.promote(&layout, 1e6, 1e6), 0);
    }
}
