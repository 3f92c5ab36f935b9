//! Who asks [`decide`] again and again: one for all workers, on the first owner's core.
//!
//! It hears every worker's report some ten times a second, and sends each decision to the document's
//! owner. Nothing hangs on a decision being carried out: what was not is seen in the next reports, and
//! a document that was placed rests for a while. Time is an argument. All that it keeps is bounded by
//! the workers, the elastic workers and the moves of [`EVENED_REST_SPANS`].

use std::collections::VecDeque;

use super::{
    Decision, ElasticPlace, ElasticWorker, KnownDocument, PlacementLimits, PlacementTuning, Reason,
    Situation, WorkerLoad, decide, is_uneven,
};
use crate::document::home;
use crate::handover::NoRoom;
use crate::heat::LoadReport;

/// A document that was placed is left alone for so many spans: reports show by then where it is.
pub const REST_SPANS: u64 = 10;

/// One that was moved to even the workers, for so many.
pub const EVENED_REST_SPANS: u64 = 100;

/// Looks on end at which workers must be uneven before something is done.
const UNEVEN_LOOKS: u32 = 5;

/// A promotion that does not show in any report for so many spans has failed.
const UNSEEN_SPANS: u64 = 20;

/// A worker that had no room for any document, or for guests, is given none for so many spans; a
/// document that alone was too large for one is left alone for as many.
pub const FULL_SPANS: u64 = 50;

/// What was decided since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlacementCounts {
    /// Documents that were to get an elastic worker.
    pub promotions: u64,
    /// Documents that were to be one of many again.
    pub demotions: u64,
    /// Documents that were to change their worker, for whatever reason.
    pub moves: u64,
    /// Elastic workers that have a document now.
    pub promoted: u64,
    /// Documents that a worker had no room for.
    pub full: u64,
}

#[derive(Debug)]
struct Worker {
    is_home: bool,
    may_take: bool,
    is_emptied: bool,
    /// That has changed, and the worker does not know yet.
    must_hear: bool,
    /// Until then it has no room for documents.
    full_until_ns: u64,
    /// Until then it has none for documents of other homes.
    full_of_guests_until_ns: u64,
    /// Smoothed over some reports.
    load_ppm: u64,
    report: LoadReport,
}

impl Worker {
    fn is_full(&self, now_ns: u64) -> bool {
        now_ns < self.full_until_ns
    }

    fn is_full_of_guests(&self, now_ns: u64) -> bool {
        now_ns < self.full_of_guests_until_ns
    }
}

/// The document of an elastic worker.
#[derive(Clone, Copy, Debug)]
struct Holder {
    slot: u32,
    generation: u32,
    seen_ns: u64,
}

#[derive(Debug)]
struct Elastic {
    place: ElasticPlace,
    holder: Option<Holder>,
}

/// The one that decides where documents go.
#[derive(Debug)]
pub struct Coordinator {
    limits: PlacementLimits,
    workers: Vec<Worker>,
    elastic: Vec<Elastic>,
    /// Slot, generation, until when.
    resting: VecDeque<(u32, u32, u64)>,
    /// Moves that may be made, in billionths.
    budget: u64,
    counted_ns: u64,
    next_ns: u64,
    has_news: bool,
    uneven_looks: u32,
    counts: PlacementCounts,
}

impl Coordinator {
    /// One for these workers, of which those marked are documents' homes.
    pub fn new(limits: PlacementLimits, homes: &[bool], elastic: &[ElasticPlace]) -> Self {
        let worker = |is_home: &bool| Worker {
            is_home: *is_home,
            may_take: true,
            is_emptied: false,
            must_hear: false,
            full_until_ns: 0,
            full_of_guests_until_ns: 0,
            load_ppm: 0,
            report: LoadReport::default(),
        };
        let elastic = elastic.iter().map(|place| Elastic { place: *place, holder: None });
        Self {
            limits,
            workers: homes.iter().map(worker).collect(),
            elastic: elastic.collect(),
            resting: VecDeque::new(),
            budget: 0,
            counted_ns: 0,
            next_ns: 0,
            has_news: false,
            uneven_looks: 0,
            counts: PlacementCounts::default(),
        }
    }

    /// What it goes by.
    pub fn limits(&self) -> &PlacementLimits {
        &self.limits
    }

    /// Goes by other numbers from now on, and looks again at what is known.
    pub fn tune(&mut self, tuning: PlacementTuning) {
        // Looks that found the workers uneven by another factor show nothing of this one.
        if tuning.balance_percent != self.limits.balance_percent {
            self.uneven_looks = 0;
        }
        self.limits.tune(tuning);
        self.has_news = true;
    }

    /// Takes in what a worker tells of its last span.
    pub fn handle_report(&mut self, report: LoadReport) {
        let Some(worker) = self.workers.get_mut(usize::from(report.worker)) else { return };
        worker.load_ppm = (3 * worker.load_ppm + report.load_ppm) / 4;
        if report.load_ppm == 0 && report.documents.is_empty() {
            worker.load_ppm = 0;
        }
        worker.report = report;
        self.has_news = true;
    }

    /// A worker had no room for a document that was sent there. It is left alone for [`FULL_SPANS`]
    /// if it has none for others either, else the document is.
    pub fn handle_full(&mut self, document: (u32, u32), worker: u16, no_room: NoRoom, now_ns: u64) {
        let until_ns = now_ns + FULL_SPANS * self.span_ns();
        let Some(known) = self.workers.get_mut(usize::from(worker)) else { return };
        self.counts.full += 1;
        match no_room {
            NoRoom::ForAny => known.full_until_ns = until_ns,
            NoRoom::ForGuests => known.full_of_guests_until_ns = until_ns,
            NoRoom::ForThis => self.rest(document, until_ns),
        }
        self.hold_as_before(document, worker, now_ns);
    }

    /// Lets a worker be given documents or not. `is_emptied`: it is to give away those that it has.
    pub fn set_worker(&mut self, worker: u16, may_take: bool, is_emptied: bool) {
        if let Some(worker) = self.workers.get_mut(usize::from(worker)) {
            worker.must_hear |= worker.is_emptied != is_emptied;
            (worker.may_take, worker.is_emptied) = (may_take, is_emptied);
            self.has_news = true;
        }
    }

    /// A worker that has not heard yet whether it is to be emptied, and whether it is.
    pub fn next_emptied(&mut self) -> Option<(u16, bool)> {
        let worker = self.workers.iter().position(|worker| worker.must_hear)?;
        self.workers[worker].must_hear = false;
        Some((worker as u16, self.workers[worker].is_emptied))
    }

    /// It could not be told.
    pub fn tell_emptied_again(&mut self, worker: u16) {
        self.workers[usize::from(worker)].must_hear = true;
    }

    /// What was decided since the start.
    pub fn counts(&self) -> PlacementCounts {
        let promoted = self.elastic.iter().filter(|it| it.holder.is_some()).count() as u64;
        PlacementCounts { promoted, ..self.counts }
    }

    /// When it must be asked at the latest; `u64::MAX` if nothing is new.
    pub fn wake_at_ns(&self) -> u64 {
        if self.workers.iter().any(|worker| worker.must_hear) {
            return 0;
        }
        if self.has_news { self.next_ns } else { u64::MAX }
    }

    /// What is known now.
    pub fn situation(&self, now_ns: u64) -> Situation {
        let rests = |slot: u32, generation: u32| {
            let is_it = |rest: &&(u32, u32, u64)| (rest.0, rest.1) == (slot, generation);
            self.resting.iter().find(is_it).is_some_and(|rest| rest.2 > now_ns)
        };
        let workers = self.workers.iter().map(|worker| WorkerLoad {
            load_ppm: worker.load_ppm,
            is_home: worker.is_home,
            may_take: worker.may_take,
            is_emptied: worker.is_emptied,
            is_full: worker.is_full(now_ns),
            is_full_of_guests: worker.is_full_of_guests(now_ns),
        });
        let documents = self.workers.iter().flat_map(|worker| {
            worker.report.documents.iter().map(|it| KnownDocument {
                slot: it.slot,
                generation: it.generation,
                worker: worker.report.worker,
                load_ppm: it.load_ppm,
                elastic: it.elastic,
                wish: it.wish,
                rests: rests(it.slot, it.generation),
            })
        });
        let elastic = self.elastic.iter().map(|elastic| ElasticWorker {
            place: elastic.place,
            is_free: elastic.holder.is_none(),
        });
        Situation {
            workers: workers.collect(),
            documents: documents.collect(),
            elastic: elastic.collect(),
            may_even: true,
        }
    }

    /// What would be decided now if nothing had to rest and moves were free: changes nothing.
    pub fn rehearse(&self, now_ns: u64) -> Vec<Decision> {
        let mut situation = self.situation(now_ns);
        situation.documents.iter_mut().for_each(|document| document.rests = false);
        decide(&situation, &self.limits, usize::MAX)
    }

    /// What is to be done now; nothing more often than every span.
    pub fn decide(&mut self, now_ns: u64) -> Vec<Decision> {
        if !self.has_news || now_ns < self.next_ns {
            return Vec::new();
        }
        (self.has_news, self.next_ns) = (false, now_ns + self.span_ns());
        self.earn(now_ns);
        while self.resting.front().is_some_and(|rest| rest.2 <= now_ns) {
            self.resting.pop_front();
        }
        let mut decisions = self.look_after_holders(now_ns);
        // Who was promoted and does not show is looked for again, although nothing may be reported.
        self.has_news = !decisions.is_empty();
        let mut situation = self.situation(now_ns);
        let is_uneven = is_uneven(&situation, &self.limits);
        self.uneven_looks = if is_uneven { self.uneven_looks + 1 } else { 0 };
        situation.may_even = self.uneven_looks >= UNEVEN_LOOKS;
        if situation.may_even {
            self.uneven_looks = 0;
        }
        let moves_max = (self.budget / 1_000_000_000) as usize;
        for decision in decide(&situation, &self.limits, moves_max) {
            debug_assert!(
                !decision.is_move() || self.has_room(&decision, now_ns),
                "a worker without room is left alone"
            );
            self.note(&decision, now_ns);
            decisions.push(decision);
        }
        decisions
    }

    fn has_room(&self, decision: &Decision, now_ns: u64) -> bool {
        let worker = &self.workers[usize::from(decision.to)];
        let is_guest = home(decision.slot) != usize::from(decision.to);
        let has_place = !is_guest || !worker.is_full_of_guests(now_ns);
        has_place && !worker.is_full(now_ns)
    }

    fn span_ns(&self) -> u64 {
        self.limits.thresholds.span_ns
    }

    /// Moves that have become free since the last look: those of a second at most.
    fn earn(&mut self, now_ns: u64) {
        let per_second = u64::from(self.limits.moves_per_second);
        let passed_ns = (now_ns - self.counted_ns).min(1_000_000_000);
        self.counted_ns = now_ns;
        self.budget = (self.budget + passed_ns * per_second).min(per_second * 1_000_000_000);
    }

    fn note(&mut self, decision: &Decision, now_ns: u64) {
        let Decision { slot, generation, elastic, reason, .. } = *decision;
        let had_one = self.release(slot, generation);
        if let Some(number) = elastic {
            let holder = Holder { slot, generation, seen_ns: now_ns };
            self.elastic[usize::from(number)].holder = Some(holder);
        }
        if decision.is_move() {
            self.budget -= 1_000_000_000;
            self.counts.moves += 1;
        }
        self.counts.promotions += u64::from(reason == Reason::Promotion);
        self.counts.demotions += u64::from(elastic.is_none() && had_one);
        let rest_spans = if reason == Reason::Evening { EVENED_REST_SPANS } else { REST_SPANS };
        self.rest((slot, generation), now_ns + rest_spans * self.span_ns());
    }

    /// Leaves a document alone until then, or longer if it is already.
    fn rest(&mut self, (slot, generation): (u32, u32), until_ns: u64) {
        let mut until_ns = until_ns;
        self.resting.retain(|rest| {
            let is_it = (rest.0, rest.1) == (slot, generation);
            if is_it {
                until_ns = until_ns.max(rest.2);
            }
            !is_it
        });
        let place = self.resting.partition_point(|rest| rest.2 <= until_ns);
        self.resting.insert(place, (slot, generation, until_ns));
    }

    /// A document does not go to `worker`: it gets no elastic worker there, and has the one that it had.
    fn hold_as_before(&mut self, (slot, generation): (u32, u32), worker: u16, now_ns: u64) {
        for elastic in &mut self.elastic {
            let is_it = |it: &mut Holder| (it.slot, it.generation) == (slot, generation);
            if elastic.place.worker == worker {
                elastic.holder.take_if(is_it);
            }
        }
        let mut reported = self.workers.iter().flat_map(|it| &it.report.documents);
        let it = reported.find(|it| (it.slot, it.generation) == (slot, generation));
        if let Some(number) = it.and_then(|it| it.elastic)
            && let Some(Elastic { holder: holder @ None, .. }) =
                self.elastic.get_mut(usize::from(number))
        {
            *holder = Some(Holder { slot, generation, seen_ns: now_ns });
        }
    }

    /// Takes a document from the elastic worker that it has, if any.
    fn release(&mut self, slot: u32, generation: u32) -> bool {
        let is_it = |holder: &Holder| (holder.slot, holder.generation) == (slot, generation);
        let held = self.elastic.iter_mut().find(|it| it.holder.as_ref().is_some_and(is_it));
        held.is_some_and(|elastic| elastic.holder.take().is_some())
    }

    /// Compares who should have an elastic worker with what the reports say: a document that has
    /// arrived without it gets it, one that has gone leaves it free, one that has it unasked holds it.
    fn look_after_holders(&mut self, now_ns: u64) -> Vec<Decision> {
        let mut decisions = Vec::new();
        let unseen_ns = UNSEEN_SPANS * self.span_ns();
        for (number, elastic) in self.elastic.iter_mut().enumerate() {
            let (number, to) = (number as u16, elastic.place.worker);
            let report = &self.workers[usize::from(to)].report;
            let Some(holder) = &mut elastic.holder else {
                let unasked = report.documents.iter().find(|it| it.elastic == Some(number));
                let rests = |it: &(u32, u32, u64)| {
                    unasked.is_some_and(|un| (un.slot, un.generation) == (it.0, it.1))
                };
                if let Some(it) = unasked
                    && !self.resting.iter().any(rests)
                {
                    let (slot, generation) = (it.slot, it.generation);
                    elastic.holder = Some(Holder { slot, generation, seen_ns: now_ns });
                }
                continue;
            };
            let Holder { slot, generation, .. } = *holder;
            let is_it = |slot_there: u32, generation_there: u32| {
                (slot_there, generation_there) == (slot, generation)
            };
            let there = report.documents.iter().find(|it| is_it(it.slot, it.generation));
            if there.is_some_and(|it| it.elastic == Some(number)) {
                holder.seen_ns = now_ns;
            } else if now_ns - holder.seen_ns < unseen_ns {
                // Asked for again: on its way, it was told to a worker that did not have it yet.
                let reason = Reason::Promotion;
                let elastic = Some(number);
                decisions.push(Decision { slot, generation, from: to, to, elastic, reason });
            } else {
                elastic.holder = None;
            }
        }
        decisions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heat::{DocumentLoad, Wish};

    const MS: u64 = 1_000_000;

    fn load(slot: u32, wish: Wish, elastic: Option<u16>) -> DocumentLoad {
        let deltas_per_second = 2_000_000;
        DocumentLoad { slot, generation: 0, deltas_per_second, load_ppm: 50_000, elastic, wish }
    }

    fn report(worker: u16, load_ppm: u64, documents: Vec<DocumentLoad>) -> LoadReport {
        LoadReport { worker, load_ppm, documents }
    }

    fn coordinator(limits: PlacementLimits) -> Coordinator {
        let place = |worker, has_own_core| ElasticPlace { worker, has_own_core, weight: 1 };
        let places = [place(2, true), place(0, false)];
        Coordinator::new(limits, &[true, true, false], &places)
    }

    fn moving() -> PlacementLimits {
        PlacementLimits { moves_per_second: 10, ..PlacementLimits::default() }
    }

    fn placed(decisions: &[Decision]) -> Vec<(u32, u16, u16, Option<u16>)> {
        decisions.iter().map(|it| (it.slot, it.from, it.to, it.elastic)).collect()
    }

    #[test]
    fn a_promotion_is_told_until_it_shows_and_counted_once() {
        let mut coordinator = coordinator(moving());
        let hot = report(0, 500_000, vec![load(7, Wish::Promotion, None)]);
        coordinator.handle_report(hot.clone());
        assert_eq!(placed(&coordinator.decide(1_000 * MS)), [(7, 0, 2, Some(0))]);
        coordinator.handle_report(hot.clone());
        assert_eq!(coordinator.decide(1_050 * MS), [], "not more often than a span");
        // The old owner still has it: it is not placed again, the new one is told what it is to be.
        assert_eq!(placed(&coordinator.decide(1_100 * MS)), [(7, 2, 2, Some(0))]);
        coordinator.handle_report(report(0, 400_000, vec![]));
        coordinator.handle_report(report(2, 50_000, vec![load(7, Wish::Stay, Some(0))]));
        assert_eq!(coordinator.decide(1_200 * MS), []);
        assert_eq!(coordinator.wake_at_ns(), u64::MAX);
        let counts = coordinator.counts();
        assert_eq!((counts.promotions, counts.moves, counts.promoted), (1, 1, 1));
        // Quiet again, it goes home, and leaves the elastic worker to the next.
        coordinator.handle_report(report(2, 0, vec![load(7, Wish::Demotion, Some(0))]));
        assert_eq!(placed(&coordinator.decide(9_000 * MS)), [(7, 2, 0, None)]);
        let counts = coordinator.counts();
        assert_eq!((counts.demotions, counts.moves, counts.promoted), (1, 2, 0));
    }

    #[test]
    fn a_promotion_that_fails_leaves_the_elastic_worker_free() {
        let mut coordinator = coordinator(moving());
        let hot = report(0, 500_000, vec![load(7, Wish::Promotion, None)]);
        let mut moves = vec![];
        for look in 10..35_u64 {
            coordinator.handle_report(hot.clone());
            let decisions = coordinator.decide(look * 100 * MS);
            moves.extend(decisions.into_iter().filter(Decision::is_move).map(|_| look));
        }
        assert_eq!(moves.len(), 2, "asked for again, not at once: {moves:?}");
        assert!(moves[1] - moves[0] >= 10);
        coordinator.handle_report(report(0, 500_000, vec![]));
        let mut look = 35;
        while coordinator.counts().promoted > 0 {
            coordinator.handle_report(report(0, 500_000, vec![]));
            coordinator.decide(look * 100 * MS);
            look += 1;
            assert!(look < 70, "the document has gone, its elastic worker is free");
        }
    }

    #[test]
    fn a_promoted_document_that_has_gone_is_noticed_without_a_report() {
        let mut coordinator = coordinator(moving());
        coordinator.handle_report(report(0, 9, vec![load(7, Wish::Promotion, None)]));
        coordinator.decide(1_000 * MS);
        coordinator.handle_report(report(0, 0, vec![]));
        coordinator.handle_report(report(2, 9, vec![load(7, Wish::Stay, Some(0))]));
        coordinator.decide(1_100 * MS);
        coordinator.handle_report(report(2, 0, vec![]));
        let mut now_ns = 1_200 * MS;
        while coordinator.counts().promoted > 0 {
            coordinator.decide(now_ns);
            assert!(now_ns < 9_000 * MS, "its elastic worker is free");
            now_ns = coordinator.wake_at_ns().min(now_ns + 100 * MS);
            assert!(coordinator.wake_at_ns() < u64::MAX || coordinator.counts().promoted == 0);
        }
        coordinator.decide(now_ns + 100 * MS);
        assert_eq!(coordinator.wake_at_ns(), u64::MAX, "then it sleeps");
    }

    #[test]
    fn moves_are_bounded_over_every_second_and_single_bursts_even_nothing() {
        let limits = PlacementLimits { moves_per_second: 3, ..moving() };
        let mut coordinator = coordinator(limits);
        let mut moves: Vec<u64> = vec![];
        for look in 0..200_u64 {
            let now_ns = look * 100 * MS;
            // Other documents every time, so that none of them rests.
            let documents = (0..20).map(|at| load(at + 20 * look as u32, Wish::Stay, None));
            coordinator.handle_report(report(0, 1_000_000, documents.collect()));
            coordinator.handle_report(report(1, 0, vec![]));
            let decisions = coordinator.decide(now_ns);
            moves.extend(decisions.iter().filter(|it| it.is_move()).map(|_| now_ns));
        }
        assert!(moves.len() > 30, "{}", moves.len());
        assert!(moves[0] >= 400 * MS, "five looks on end");
        for (place, at) in moves.iter().enumerate() {
            let in_second = moves[place..].iter().filter(|other| **other < at + 1_000 * MS);
            // A bucket that was full, and what a second earns.
            assert!(in_second.count() <= 6);
        }
        let whole = moves.last().expect("some") - moves[0];
        assert!(moves.len() as u64 <= 3 + 3 * whole.div_ceil(1_000 * MS), "three a second");

        let mut quiet = super::tests::coordinator(moving());
        for look in 0..200_u64 {
            let load_ppm = if look % 4 == 0 { 0 } else { 1_000_000 };
            let documents = if look % 4 == 0 { vec![] } else { vec![load(1, Wish::Stay, None)] };
            quiet.handle_report(report(0, load_ppm, documents));
            assert_eq!(quiet.decide(look * 100 * MS), []);
        }
    }

    #[test]
    fn a_worker_that_had_no_room_is_left_alone_for_a_while() {
        let mut coordinator = coordinator(moving());
        let hot = report(0, 500_000, vec![load(7, Wish::Promotion, None)]);
        coordinator.handle_report(hot.clone());
        assert_eq!(placed(&coordinator.decide(1_000 * MS)), [(7, 0, 2, Some(0))]);
        coordinator.handle_full((7, 0), 2, NoRoom::ForAny, 1_000 * MS);
        coordinator.handle_full((7, 0), 9, NoRoom::ForAny, 1_000 * MS);
        let mut later = vec![];
        for look in 1..=FULL_SPANS {
            coordinator.handle_report(report(0, 500_000, vec![load(8, Wish::Promotion, None)]));
            let decisions = coordinator.decide((1_000 + 100 * look) * MS);
            let news = decisions.iter().filter(|it| it.slot == 8 && it.elastic == Some(0));
            later.extend(news.map(|_| look));
            coordinator.release(8, 0);
            coordinator.resting.clear();
        }
        assert_eq!(later, [FULL_SPANS], "from then on, and not before");
        assert_eq!(coordinator.counts().full, 1);
    }

    #[test]
    fn a_document_that_was_too_large_leaves_room_to_others() {
        let mut coordinator = coordinator(moving());
        let hot = |slot| load(slot, Wish::Promotion, None);
        coordinator.handle_report(report(0, 500_000, vec![hot(7)]));
        assert_eq!(placed(&coordinator.decide(1_000 * MS)), [(7, 0, 2, Some(0))]);
        coordinator.handle_full((7, 0), 2, NoRoom::ForThis, 1_000 * MS);
        coordinator.handle_report(report(0, 500_000, vec![hot(7), hot(8)]));
        assert_eq!(placed(&coordinator.decide(1_100 * MS)), [(8, 0, 2, Some(0))], "the next look");
        let mut later = vec![];
        for look in 2..=FULL_SPANS {
            coordinator.handle_report(report(0, 500_000, vec![hot(7)]));
            coordinator.handle_report(report(2, 50_000, vec![load(8, Wish::Stay, Some(0))]));
            let decisions = coordinator.decide((1_000 + 100 * look) * MS);
            later.extend(decisions.iter().map(|it| (look, it.slot)));
        }
        assert_eq!(later, [(FULL_SPANS, 7)], "from then on, and not before");
        assert_eq!(coordinator.counts().full, 1);
    }

    #[test]
    fn a_quiet_document_that_its_home_is_too_small_for_has_what_it_had() {
        let mut coordinator = coordinator(moving());
        let quiet = report(2, 9, vec![load(7, Wish::Demotion, Some(0))]);
        coordinator.handle_report(quiet.clone());
        assert_eq!(placed(&coordinator.decide(1_000 * MS)), [(7, 2, 0, None)]);
        assert_eq!(coordinator.counts().promoted, 0);
        coordinator.handle_full((7, 0), 0, NoRoom::ForThis, 1_000 * MS);
        assert_eq!(coordinator.counts().promoted, 1);
        coordinator.handle_report(quiet);
        coordinator.handle_report(report(0, 500_000, vec![load(8, Wish::Promotion, None)]));
        assert_eq!(placed(&coordinator.decide(1_100 * MS)), [(8, 0, 0, Some(1))], "0 is not free");
    }

    #[test]
    fn a_worker_that_is_full_of_guests_takes_what_comes_home() {
        for (no_room, expected) in
            [(NoRoom::ForGuests, vec![(7, 2, 0, None)]), (NoRoom::ForAny, vec![])]
        {
            let mut coordinator = coordinator(moving());
            coordinator.handle_full((9, 0), 0, no_room, 900 * MS);
            coordinator.handle_report(report(2, 9, vec![load(7, Wish::Demotion, Some(0))]));
            assert_eq!(placed(&coordinator.decide(1_000 * MS)), expected);
        }
    }

    #[test]
    fn a_rest_is_never_made_shorter() {
        let limits = PlacementLimits { moves_per_second: 1, ..moving() };
        let mut coordinator = coordinator(limits);
        let mut moves = vec![];
        for look in 10..10 + 2 * EVENED_REST_SPANS {
            coordinator.handle_report(report(0, 900_000, vec![load(7, Wish::Stay, None)]));
            let decisions = coordinator.decide(look * 100 * MS);
            if decisions.iter().any(Decision::is_move) {
                moves.push(look);
                coordinator.handle_full((7, 0), 1, NoRoom::ForThis, look * 100 * MS);
            }
        }
        assert_eq!(moves.len(), 2, "{moves:?}");
        assert!(moves[1] - moves[0] >= EVENED_REST_SPANS, "{moves:?}");
    }

    #[test]
    fn a_rehearsal_changes_nothing_and_a_worker_can_be_emptied() {
        let mut coordinator = coordinator(moving());
        let hot = vec![load(7, Wish::Promotion, None), load(8, Wish::Stay, None)];
        coordinator.handle_report(report(0, 500_000, hot));
        let rehearsed = coordinator.rehearse(1_000 * MS);
        assert!(placed(&rehearsed).contains(&(7, 0, 2, Some(0))));
        assert_eq!(coordinator.rehearse(1_000 * MS), rehearsed);
        assert_eq!(coordinator.counts(), PlacementCounts::default());
        coordinator.set_worker(2, false, false);
        coordinator.set_worker(0, false, true);
        let decisions = coordinator.decide(1_000 * MS);
        assert!(placed(&decisions).contains(&(8, 0, 1, None)), "{decisions:?}");
        assert!(decisions.iter().all(|it| it.to != 2), "nobody is sent there");
    }
}
