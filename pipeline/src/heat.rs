//! How hot documents are: measured by their owner itself, for a subtraction a batch.
//!
//! Belongs to one validation worker. A countdown over what it accepts finds candidates: whose batch
//! takes it below zero is likely hot. At most [`CANDIDATES_MAX`] are measured exactly, by how far their
//! sequences have come in a span of [`SPAN_NS`]; who is colder makes room for who was found since.
//! Time is an argument; nothing here decides where a document goes.
//!
//! ```text
//! batch accepted ─▶ countdown ─▶ found ─▶ candidates ─▶ span over: rates, wishes ─▶ report
//! ```

use crate::registry::mix;
use crate::stream::Position;

/// Documents that one worker measures at most: 96 bytes each.
pub const CANDIDATES_MAX: usize = 32;

/// Of them, those that were found in the last span.
const FOUND_MAX: usize = 8;

/// Nanoseconds over which rates are measured, at least, by default.
pub const SPAN_NS: u64 = 100_000_000;

/// Spans on end in which a document must be above the promotion rate.
const HOT_SPANS: u8 = 2;

/// Nanoseconds that a batch costs a core, beyond its deltas. From the pipeline's own figures of one
/// core, 46 bytes of CBOR and six steps a delta: 213 ns with one delta a batch, 1,830 ns with 32 of
/// them, which are 160 for the batch and 52 for each delta.
pub const NS_PER_BATCH: u64 = 160;
/// Nanoseconds that a delta costs, beyond its steps.
pub const NS_PER_DELTA: u64 = 28;
/// Nanoseconds that a validation step costs.
pub const NS_PER_STEP: u64 = 4;

/// What a batch takes off the countdown, beyond its deltas: with it, small batches, which cost more
/// for each delta, are found as often as their load is worth.
const UNITS_PER_BATCH: i64 = 4;
/// What the countdown begins with, on average: a document at the default promotion rate is found some
/// six times in a span.
const UNITS_MAX: u64 = 16_384;

/// When a document is hot, and when it is quiet again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Deltas a second above which a document is promoted (1,000,000); 0 promotes nothing.
    pub promotion: u64,
    /// Deltas a second below which it is quiet (10,000).
    pub demotion: u64,
    /// Nanoseconds on end that it must be quiet to be demoted (5 s).
    pub quiet_ns: u64,
    /// Nanoseconds over which rates are measured, at least ([`SPAN_NS`]).
    pub span_ns: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { promotion: 1_000_000, demotion: 10_000, quiet_ns: 5_000_000_000, span_ns: SPAN_NS }
    }
}

/// What a document's rate asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// To stay what it is.
    #[default]
    Stay,
    /// An elastic worker.
    Promotion,
    /// To be one of many again.
    Demotion,
}

/// What validation has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Batches accepted.
    pub batches: u64,
    /// Their deltas.
    pub deltas: u64,
    /// Validation steps.
    pub steps: u64,
}

impl Work {
    /// What it costs a core, in nanoseconds: the load's unit. An estimate by constants, so that the
    /// same batches are the same load on every machine.
    pub fn cost_ns(self) -> u64 {
        self.batches * NS_PER_BATCH + self.deltas * NS_PER_DELTA + self.steps * NS_PER_STEP
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            batches: self.batches - earlier.batches,
            deltas: self.deltas - earlier.deltas,
            steps: self.steps - earlier.steps,
        }
    }
}

/// How far a document has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub next_sequence: u64,
    pub nodes: u64,
    pub appended: Position,
}

/// A measured document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentLoad {
    /// Its slot.
    pub slot: u32,
    /// The slot's generation.
    pub generation: u32,
    /// Its rate in the last span.
    pub deltas_per_second: u64,
    /// Its load in the last span, in millionths of a core.
    pub load_ppm: u64,
    /// The elastic worker that it has.
    pub elastic: Option<u16>,
    /// What its rate asks for.
    pub wish: Wish,
}

/// What a worker tells of a span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// The worker.
    pub worker: u16,
    /// Its load over all documents, in millionths of a core.
    pub load_ppm: u64,
    /// The hottest of its documents, measured.
    pub documents: Vec<DocumentLoad>,
}

/// How long a document has been hot or quiet.
#[derive(Clone, Copy, Debug, Default)]
struct Temper {
    hot_spans: u8,
    quiet_since_ns: Option<u64>,
}

impl Temper {
    /// Takes in that so many deltas came between two times.
    fn take(
        &mut self,
        deltas: u64,
        (from_ns, to_ns): (u64, u64),
        is_promoted: bool,
        thresholds: &Thresholds,
    ) -> Wish {
        // Compared by products, so that the thresholds are exact.
        let is_above = |rate: u64| {
            u128::from(deltas) * 1_000_000_000 > u128::from(rate) * u128::from(to_ns - from_ns)
        };
        let is_below = |rate: u64| {
            u128::from(deltas) * 1_000_000_000 < u128::from(rate) * u128::from(to_ns - from_ns)
        };
        if !is_promoted {
            self.quiet_since_ns = None;
            let is_hot = thresholds.promotion > 0 && is_above(thresholds.promotion);
            self.hot_spans = if is_hot { (self.hot_spans + 1).min(HOT_SPANS) } else { 0 };
            return if self.hot_spans >= HOT_SPANS { Wish::Promotion } else { Wish::Stay };
        }
        self.hot_spans = 0;
        if thresholds.promotion == 0 {
            return Wish::Demotion;
        }
        if !is_below(thresholds.demotion) {
            self.quiet_since_ns = None;
            return Wish::Stay;
        }
        let since_ns = *self.quiet_since_ns.get_or_insert(from_ns);
        if to_ns - since_ns >= thresholds.quiet_ns { Wish::Demotion } else { Wish::Stay }
    }
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    slot: u32,
    generation: u32,
    /// How far it had come when the span began; `None` in the span in which it was found.
    mark: Option<Mark>,
    /// It was found in the last span, so it has not been measured over a whole one yet.
    is_new: bool,
    temper: Temper,
    elastic: Option<u16>,
    load_ppm: u64,
}

/// The heat of one worker's documents.
#[derive(Debug)]
pub(crate) struct Heat {
    /// Batches and deltas until the next document is found.
    countdown: i64,
    draws: u64,
    /// Validation steps since the start.
    pub steps: u64,
    candidates: Vec<Candidate>,
    found: usize,
    began_ns: u64,
    ends_ns: u64,
    work: Work,
    bytes: u64,
    /// The last report told of load, or of documents with an elastic worker: another must say that
    /// this is over.
    is_loaded: bool,
    /// Documents are to be told of whatever their heat; where to go on among them.
    is_emptied: bool,
    sweep: usize,
    thresholds: Thresholds,
}

impl Heat {
    pub fn new(thresholds: Thresholds) -> Self {
        let mut heat = Self {
            countdown: 0,
            draws: 0,
            steps: 0,
            candidates: Vec::with_capacity(CANDIDATES_MAX),
            found: 0,
            began_ns: 0,
            ends_ns: 0,
            work: Work::default(),
            bytes: 0,
            is_loaded: false,
            is_emptied: false,
            sweep: 0,
            thresholds,
        };
        heat.draw();
        heat
    }

    /// Goes by other thresholds from now on. How long a document was hot or quiet by the ones before
    /// counts no more.
    pub fn tune(&mut self, thresholds: Thresholds) {
        let before = core::mem::replace(&mut self.thresholds, thresholds);
        if thresholds.promotion != before.promotion {
            self.candidates.iter_mut().for_each(|it| it.temper.hot_spans = 0);
            // Counted down from what a higher rate is worth, a lower one would be found late.
            self.draw();
        }
        if thresholds.demotion != before.demotion {
            self.candidates.iter_mut().for_each(|it| it.temper.quiet_since_ns = None);
        }
    }

    /// Begins the countdown anew, from another number each time: a rhythm among the documents must
    /// not hide one of them.
    fn draw(&mut self) {
        let units = match self.thresholds.promotion {
            0 => UNITS_MAX,
            rate => (rate / 64).clamp(1, UNITS_MAX),
        };
        self.draws += 1;
        self.countdown = (units / 2 + mix(self.draws) % units) as i64;
    }

    /// Takes a batch off the countdown; `true` if its document is one to be measured.
    #[inline]
    pub fn accepts(&mut self, deltas: u32) -> bool {
        self.countdown -= i64::from(deltas) + UNITS_PER_BATCH;
        self.countdown < 0
    }

    /// How many batches of one delta can come before one of them is to be measured.
    #[inline]
    pub fn singles_ahead(&self) -> usize {
        (self.countdown.max(0) / (1 + UNITS_PER_BATCH)) as usize
    }

    /// Takes so many of these off the countdown.
    #[inline]
    pub fn accept_singles(&mut self, batches: u32) {
        self.countdown -= i64::from(batches) * (1 + UNITS_PER_BATCH);
        debug_assert!(self.countdown >= 0, "none of them was to be measured");
    }

    /// Notes the document whose batch took the countdown below zero.
    #[cold]
    pub fn find(&mut self, slot: u32, generation: u32) {
        self.draw();
        if self.found < FOUND_MAX && self.place(slot, generation).is_none() {
            self.found += 1;
            self.insert(slot, generation, None);
        }
    }

    fn place(&self, slot: u32, generation: u32) -> Option<usize> {
        let is_it = |it: &Candidate| it.slot == slot && it.generation == generation;
        self.candidates.iter().position(is_it)
    }

    fn insert(&mut self, slot: u32, generation: u32, elastic: Option<u16>) {
        let temper = Temper::default();
        self.candidates.push(Candidate {
            slot,
            generation,
            mark: None,
            is_new: true,
            temper,
            elastic,
            load_ppm: 0,
        });
    }

    /// Notes which elastic worker a document has. While it has one it is measured.
    pub fn set_elastic(&mut self, slot: u32, generation: u32, elastic: Option<u16>) {
        match self.place(slot, generation) {
            Some(place) => {
                let candidate = &mut self.candidates[place];
                candidate.elastic = elastic;
                candidate.temper = Temper::default();
            }
            None if elastic.is_some() => self.insert(slot, generation, elastic),
            None => {}
        }
    }

    /// The elastic worker of a document.
    pub fn elastic(&self, slot: u32, generation: u32) -> Option<u16> {
        self.candidates[self.place(slot, generation)?].elastic
    }

    /// When the span ends that must not be slept through; `u64::MAX` if none.
    pub fn wake_at_ns(&self) -> u64 {
        let is_watched = self.is_loaded || self.candidates.iter().any(|it| it.elastic.is_some());
        if is_watched { self.ends_ns } else { u64::MAX }
    }

    /// Whether all documents are to be told of, some in each span.
    pub fn set_emptied(&mut self, is_emptied: bool) {
        (self.is_emptied, self.sweep) = (is_emptied, 0);
        self.is_loaded = true;
    }

    /// Finds some documents more where all are to be told of. `next` shows those from a number on, by
    /// slot and generation, and tells where to go on.
    pub fn sweep(&mut self, next: impl FnOnce(usize, &mut dyn FnMut(u32, u32)) -> Option<usize>) {
        if self.is_emptied {
            let at = self.sweep;
            self.sweep = next(at, &mut |slot, generation| self.find(slot, generation)).unwrap_or(0);
        }
    }

    /// The last report found no room: another must follow.
    pub fn was_not_told(&mut self) {
        self.is_loaded = true;
    }

    /// Measures no more: the worker ends.
    pub fn stop(&mut self) {
        self.ends_ns = u64::MAX;
    }

    /// Whether the span is over.
    #[inline]
    pub fn is_due(&self, now_ns: u64) -> bool {
        now_ns >= self.ends_ns
    }

    /// Ends a span. `work` and `bytes` are what the worker has done since its start, `mark` tells how
    /// far a document has come, `None` if it is here no more. Nothing is returned where nothing has
    /// changed: an idle worker reports nothing.
    pub fn measure(
        &mut self,
        worker: u16,
        now_ns: u64,
        work: Work,
        bytes: u64,
        mark: impl Fn(u32, u32) -> Option<Mark>,
    ) -> Option<LoadReport> {
        let span = (self.began_ns, now_ns);
        let span_ns = (now_ns - self.began_ns).max(1);
        let ppm = |work: Work| work.cost_ns().saturating_mul(1_000_000) / span_ns;
        let done = work.since(self.work);
        let done_bytes = (bytes - self.bytes).max(1);
        let mut documents = Vec::new();
        let thresholds = self.thresholds;
        self.candidates.retain_mut(|it| {
            let Some(now) = mark(it.slot, it.generation) else { return false };
            let Some(before) = it.mark.replace(now) else { return true };
            it.is_new = false;
            let deltas = now.next_sequence - before.next_sequence;
            // Steps are counted for all together: a document's part is that of its bytes.
            let bytes = now.appended.bytes_since(before.appended);
            let steps =
                (u128::from(done.steps) * u128::from(bytes) / u128::from(done_bytes)) as u64;
            it.load_ppm = ppm(Work { batches: now.nodes - before.nodes, deltas, steps });
            documents.push(DocumentLoad {
                slot: it.slot,
                generation: it.generation,
                deltas_per_second: (u128::from(deltas) * 1_000_000_000 / u128::from(span_ns))
                    as u64,
                load_ppm: it.load_ppm,
                elastic: it.elastic,
                wish: it.temper.take(deltas, span, it.elastic.is_some(), &thresholds),
            });
            true
        });
        self.make_room();
        (self.began_ns, self.ends_ns) = (now_ns, now_ns + self.thresholds.span_ns);
        (self.work, self.bytes) = (work, bytes);
        let load_ppm = ppm(done);
        let is_watched = documents.iter().any(|document| document.elastic.is_some());
        let is_loaded = done != Work::default() || is_watched || self.is_emptied;
        let was_loaded = core::mem::replace(&mut self.is_loaded, is_loaded);
        (is_loaded || was_loaded).then_some(LoadReport { worker, load_ppm, documents })
    }

    /// Leaves room for those that will be found in the next span.
    fn make_room(&mut self) {
        self.found = 0;
        // Stable, so the same inputs keep the same documents. Who is not measured yet stays.
        self.candidates.sort_by_key(|it| {
            let stays = it.elastic.is_some() || it.is_new;
            core::cmp::Reverse(if stays { u64::MAX } else { it.load_ppm })
        });
        let promoted = self.candidates.iter().filter(|it| it.elastic.is_some()).count();
        self.candidates.truncate(promoted + CANDIDATES_MAX - FOUND_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const PROMOTED: bool = true;

    /// What the last of these spans of 100 ms asks for, each with so many deltas a second.
    fn wish(is_promoted: bool, rates: &[u64]) -> Wish {
        wishes(is_promoted, rates).pop().unwrap_or_default()
    }

    fn wishes(is_promoted: bool, rates: &[u64]) -> Vec<Wish> {
        let (mut temper, thresholds) = (Temper::default(), Thresholds::default());
        let spans = rates.iter().zip(0_u64..);
        spans
            .map(|(rate, number)| {
                let span = (number * SPAN_NS, (number + 1) * SPAN_NS);
                temper.take(rate / 10, span, is_promoted, &thresholds)
            })
            .collect()
    }

    #[test]
    fn promotion_is_above_the_rate_over_two_spans_on_end() {
        let at = 1_000_000;
        assert_eq!(wish(false, &[at, at, at, at]), Wish::Stay, "exactly at the rate");
        assert_eq!(wish(false, &[at + 10, at + 10]), Wish::Promotion, "one delta a span more");
        assert_eq!(wish(false, &[100 * at]), Wish::Stay, "one span is a burst");
        let flapping = [2 * at, at / 2].repeat(50);
        assert!(
            wishes(false, &flapping).iter().all(|wish| *wish == Wish::Stay),
            "every other span"
        );
        let mut temper = Temper::default();
        let uneven = [(150_000, 150), (300_001, 300)];
        let thresholds = Thresholds::default();
        let mut at_ns = 0;
        let got = uneven.map(|(deltas, ms)| {
            let span = (at_ns, at_ns + ms * MS);
            at_ns = span.1;
            temper.take(deltas, span, false, &thresholds)
        });
        assert_eq!(got, [Wish::Stay; 2], "a rate is of its span, however long that was");
    }

    #[test]
    fn demotion_is_below_the_rate_for_the_whole_time() {
        let at = 10_000;
        assert_eq!(wish(PROMOTED, &[at - 10; 49]), Wish::Stay, "4.9 s");
        assert_eq!(wish(PROMOTED, &[at - 10; 50]), Wish::Demotion, "5 s");
        assert_eq!(wish(PROMOTED, &[at; 500]), Wish::Stay, "exactly at the rate is not below");
        let mut broken = vec![0; 49];
        broken.push(at);
        broken.extend([0; 49]);
        assert!(wishes(PROMOTED, &broken).iter().all(|wish| *wish == Wish::Stay), "on end");
        broken.push(0);
        assert_eq!(wish(PROMOTED, &broken), Wish::Demotion);
        // Who sleeps through it has one long span.
        let mut temper = Temper::default();
        let asleep = (7, 7 + 5_000 * MS);
        assert_eq!(temper.take(0, asleep, true, &Thresholds::default()), Wish::Demotion);
    }

    /// A load that swings over both thresholds, faster than the time to be quiet: promoted once.
    #[test]
    fn a_load_that_swings_does_not_flap() {
        let thresholds = Thresholds::default();
        let (mut temper, mut is_promoted, mut changes) = (Temper::default(), false, 0);
        for number in 0..6_000_u64 {
            let rate = if number % 49 < 10 { 3_000_000 } else { 0 };
            let span = (number * SPAN_NS, (number + 1) * SPAN_NS);
            let wish = temper.take(rate / 10, span, is_promoted, &thresholds);
            if wish != Wish::Stay {
                is_promoted = wish == Wish::Promotion;
                changes += 1;
            }
        }
        assert_eq!((changes, is_promoted), (1, true));
    }

    #[test]
    fn without_promotion_nothing_is_hot_and_what_was_promoted_comes_back() {
        let off = Thresholds { promotion: 0, ..Thresholds::default() };
        let mut temper = Temper::default();
        for number in 0..10 {
            let span = (number * SPAN_NS, (number + 1) * SPAN_NS);
            assert_eq!(temper.take(u64::MAX / 2, span, false, &off), Wish::Stay);
        }
        assert_eq!(temper.take(u64::MAX / 2, (0, SPAN_NS), true, &off), Wish::Demotion);
    }

    /// Documents with so many batches of `deltas` in each span, in turn, and their heat.
    struct Play {
        heat: Heat,
        marks: Vec<Mark>,
        work: Work,
        now_ns: u64,
    }

    impl Play {
        fn new(documents: usize) -> Self {
            let mark = Mark { next_sequence: 1, nodes: 0, appended: Position::default() };
            let heat = Heat::new(Thresholds::default());
            Self { heat, marks: vec![mark; documents], work: Work::default(), now_ns: 0 }
        }

        fn accept(&mut self, document: usize, deltas: u32) {
            let mark = &mut self.marks[document];
            mark.next_sequence += u64::from(deltas);
            mark.nodes += 1;
            mark.appended = mark.appended.after(64);
            self.work.batches += 1;
            self.work.deltas += u64::from(deltas);
            self.heat.steps += 10;
            if self.heat.accepts(deltas) {
                self.heat.find(document as u32, 0);
            }
        }

        fn span(&mut self) -> Option<LoadReport> {
            self.now_ns += SPAN_NS;
            let work = Work { steps: self.heat.steps, ..self.work };
            let marks = &self.marks;
            let mark = |slot: u32, _| marks.get(slot as usize).copied();
            self.heat.measure(3, self.now_ns, work, self.work.batches * 64, mark)
        }
    }

    #[test]
    fn a_hot_document_is_found_among_a_thousand_and_measured_exactly() {
        let mut play = Play::new(1_000);
        let mut seen = None;
        for span in 0..20 {
            for batch in 0..20_000 {
                play.accept(if batch % 8 == 0 { 777 } else { batch % 1_000 }, 48);
            }
            let report = play.span().expect("there is load");
            assert!(report.documents.len() <= CANDIDATES_MAX);
            let hot = report.documents.iter().find(|it| it.slot == 777);
            if seen.is_none() && hot.is_some_and(|it| it.wish == Wish::Promotion) {
                seen = Some(span);
            }
            if let Some(hot) = hot {
                let of_chance = (0..20_000).filter(|batch| batch % 8 != 0 && batch % 1_000 == 777);
                let batches = 2_500 + of_chance.count() as u64;
                assert_eq!(hot.deltas_per_second, batches * 48 * 10);
                let cost = batches * (NS_PER_BATCH + 48 * NS_PER_DELTA + 10 * NS_PER_STEP);
                assert_eq!(hot.load_ppm, cost * 10 / 1_000);
            }
            let others = report.documents.iter().filter(|it| it.slot != 777);
            assert!(others.into_iter().all(|it| it.wish == Wish::Stay));
        }
        let seen = seen.expect("it is found");
        assert!(seen < 6, "within six spans: {seen}");
    }

    #[test]
    fn an_idle_worker_tells_once_and_lets_its_core_sleep() {
        let mut play = Play::new(4);
        assert_eq!(play.span(), None);
        assert_eq!(play.heat.wake_at_ns(), u64::MAX);
        play.accept(0, 1);
        assert!(play.span().is_some_and(|report| report.load_ppm > 0));
        assert_eq!(play.heat.wake_at_ns(), play.now_ns + SPAN_NS, "to tell that it is over");
        assert!(play.span().is_some_and(|report| report.load_ppm == 0));
        assert_eq!((play.span(), play.heat.wake_at_ns()), (None, u64::MAX));
        // A promoted document is watched until it is not.
        play.heat.set_elastic(2, 0, Some(9));
        assert_eq!(play.heat.wake_at_ns(), play.now_ns + SPAN_NS);
        play.span();
        let report = play.span().expect("it is measured");
        assert_eq!(report.documents.iter().filter(|it| it.elastic == Some(9)).count(), 1);
        play.heat.set_elastic(2, 0, None);
        play.span();
        assert_eq!((play.span(), play.heat.wake_at_ns()), (None, u64::MAX));
    }

    /// A lower rate finds what it asks for at once, and nothing is hot or quiet by what was asked before.
    #[test]
    fn thresholds_change_and_what_was_judged_by_others_counts_no_more() {
        let mut play = Play::new(2);
        let of = |promotion, demotion| Thresholds { promotion, demotion, ..Thresholds::default() };
        play.heat.tune(of(6_400, 100));
        let units: i64 = (0..2_000).map(|_| i64::from(play.heat.accepts(1))).sum();
        assert!(units > 1_000, "the countdown is that of the new rate");
        play.heat.find(0, 0);
        let mut wish = |thresholds, batches| {
            play.heat.tune(thresholds);
            (0..batches).for_each(|_| play.accept(0, 1));
            let report = play.span().expect("there is load");
            report.documents.iter().find(|it| it.slot == 0).map(|it| it.wish)
        };
        assert_eq!(wish(of(500, 100), 60), None, "it has not been measured over a span yet");
        assert_eq!(wish(of(500, 100), 60), Some(Wish::Stay), "hot in one span");
        assert_eq!(wish(of(400, 100), 60), Some(Wish::Stay), "the first by this rate");
        assert_eq!(wish(of(400, 100), 60), Some(Wish::Promotion));
        assert_eq!(wish(of(400, 50), 60), Some(Wish::Promotion), "the same rate");
        play.heat.set_elastic(0, 0, Some(1));
        let mut wishes = |thresholds: Thresholds, spans: usize| {
            let mut wish = |_| {
                play.heat.tune(thresholds);
                (0..4).for_each(|_| play.accept(0, 1));
                play.span().expect("there is load").documents[0].wish
            };
            (0..spans).map(&mut wish).collect::<Vec<_>>()
        };
        assert_eq!(wishes(of(400, 50), 49), vec![Wish::Stay; 49], "40 a second is quiet");
        assert_eq!(wishes(of(400, 45), 49), vec![Wish::Stay; 49], "from the beginning");
        assert_eq!(wishes(of(300, 45), 1), [Wish::Demotion], "another rate lets it be");
        assert_eq!(wishes(of(300, 40), 60), vec![Wish::Stay; 60], "at the rate it is not quiet");
    }

    /// However many are found, those with an elastic worker and the hottest stay.
    #[test]
    fn candidates_are_bounded_and_the_coldest_make_room() {
        let mut play = Play::new(10_000);
        play.heat.set_elastic(5, 0, Some(1));
        let mut next = 10;
        for _ in 0..50 {
            (0..100).for_each(|_| play.accept(7, 1));
            play.heat.find(7, 0);
            for _ in 0..40 {
                play.heat.find(next, 0);
                next += 1;
            }
            assert!(play.heat.candidates.len() <= CANDIDATES_MAX + 1);
            let report = play.span().expect("there is load");
            assert!(report.documents.len() <= CANDIDATES_MAX + 1);
        }
        assert_eq!(play.heat.elastic(5, 0), Some(1));
        let has = |slot| play.heat.candidates.iter().any(|it| it.slot == slot);
        assert!(has(5) && has(7));
        // A document that has gone is forgotten.
        play.marks.truncate(6);
        play.span();
        assert!(play.heat.candidates.iter().all(|it| it.slot == 5));
    }
}
