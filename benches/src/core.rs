//! One core of a run: opens its documents, then plays, turns and reads until all is answered.
//!
//! Runs on its own pinned thread and never parks: nothing else is to run on its CPU. Cores meet at
//! the beginning and the end of the timed region only; a run that does not come to rest is ended
//! after [`REST_NS_MAX`] and found faulty by its counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use deltaworks_image::DocumentId;
use deltaworks_pipeline::message::{OpenRequest, SessionId};
use deltaworks_pipeline::port::ControlAction;
use deltaworks_pipeline::stages::{CoreStages, Counts, LiveBytes, StageClock};
use deltaworks_runtime::clock::{Clock, SystemClock};

use crate::cpu_time;
use crate::distance::Probe;
use crate::generator::Generator;
use crate::plant::{Loss, steps};
use crate::subscriber::{Heard, Subscriber, reading, writing};
use crate::windows::{Mark, Windows};

/// Time after the last batch in which everything must have been answered and read.
pub const REST_NS_MAX: u64 = 20_000_000_000;

/// Opens between two turns.
const OPENS_PER_TURN: usize = 256;
/// One turn in so many has its reading timed.
const SAMPLED: u64 = 32;
/// One turn in so many looks at what is live.
const LOOKED: u64 = 512;

/// Where cores wait for each other.
#[derive(Debug, Default)]
pub struct Meeting {
    arrived: AtomicUsize,
}

impl Meeting {
    fn arrive(&self) {
        // Release and Acquire: what a core has done is seen by who finds it here.
        self.arrived.fetch_add(1, Ordering::Release);
    }

    fn all_are_here(&self, cores: usize) -> bool {
        self.arrived.load(Ordering::Acquire) >= cores
    }
}

/// What a core is made from.
#[derive(Debug)]
pub struct Core {
    /// Its stages.
    pub stages: CoreStages,
    /// Its session that writes; none where only documents are.
    pub writer: Option<SessionId>,
    /// Its sessions that read.
    pub readers: Vec<SessionId>,
    /// The documents that they write and read, by number.
    pub names: Vec<Arc<str>>,
    /// Their writer.
    pub generator: Generator,
    /// Their reader.
    pub subscriber: Subscriber,
    /// Cores in all.
    pub cores: usize,
    /// Those with sessions.
    pub serving: usize,
    /// When all have opened their documents, and when all are done.
    pub meetings: Arc<[Meeting; 2]>,
    /// How long batches are written.
    pub seconds: f64,
    /// How many batches are written at least, in place of a time.
    pub batches: Option<u64>,
    /// Bytes of a read at most.
    pub read_bytes: usize,
    /// Its end of the way to the other core, if there are two.
    pub probe: Option<Probe>,
    /// Marks where it stands, window by window, if it is to.
    pub windows: Option<Windows>,
    /// Work that is done for nothing, in percent, to see whether the loss is found.
    pub loss_percent: Option<f64>,
    /// Steps of such work for each delta, in place of a share of the time.
    pub steps_per_delta: u32,
}

/// Time spent, by stage.
#[derive(Clone, Copy, Debug, Default)]
pub struct StageTimes {
    /// Writing images.
    pub generator_ns: u64,
    /// Taking them: prelude, checksum, handle, ring.
    pub reception_ns: u64,
    /// Rings, numbers, schema, stamp, node, tails, own marks, answers.
    pub validation_ns: u64,
    /// Marks of other cores, subscriptions, sends; with the subscribers' reading.
    pub propagation_ns: u64,
    /// Retirement, credit, and what else a turn does.
    pub rest_ns: u64,
    /// Reading, in the turns that were sampled, and deltas and sends of these.
    pub reading_ns: u64,
    /// Deltas read in them.
    pub reading_deltas: u64,
    /// Sends in them.
    pub reading_sends: u64,
    /// Turns.
    pub turns: u64,
}

impl StageTimes {
    fn fields(&mut self) -> [&mut u64; 9] {
        [
            &mut self.generator_ns,
            &mut self.reception_ns,
            &mut self.validation_ns,
            &mut self.propagation_ns,
            &mut self.rest_ns,
            &mut self.reading_ns,
            &mut self.reading_deltas,
            &mut self.reading_sends,
            &mut self.turns,
        ]
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        let mut other = *other;
        for (it, other) in self.fields().into_iter().zip(other.fields()) {
            *it += *other;
        }
    }

    /// What was spent from `before` on.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let (mut since, mut before) = (*self, *before);
        for (it, before) in since.fields().into_iter().zip(before.fields()) {
            *it -= *before;
        }
        since
    }
}

/// What a core has come to.
#[derive(Debug)]
pub struct Outcome {
    /// When it began and ended.
    pub span: (Instant, Instant),
    /// The part of that in which its thread ran.
    pub cpu_share: f64,
    /// What its sessions heard.
    pub heard: Heard,
    /// What its stages have counted in the timed region.
    pub counts: Counts,
    /// The most that was live, of each kind.
    pub live: LiveBytes,
    /// Batches written.
    pub batches: u64,
    /// By which id each document that its sessions use is known.
    pub ids: Vec<DocumentId>,
    /// Documents that it owns.
    pub documents: u64,
    /// How far the other core was, before and behind; 0 of one that only answers.
    pub distance_ns: (f64, f64),
    /// Time by stage.
    pub times: StageTimes,
    /// Where it stood, window by window, if that was asked.
    pub windows: Windows,
    /// Everything that was written was answered, and nothing was left to do.
    pub is_at_rest: bool,
}

struct TurnClock {
    at: Instant,
    validation_ns: u64,
    propagation_ns: u64,
}

impl TurnClock {
    fn lap(&mut self) -> u64 {
        let now = Instant::now();
        let lap = now.duration_since(self.at).as_nanos() as u64;
        self.at = now;
        lap
    }
}

impl StageClock for TurnClock {
    fn validated(&mut self) {
        self.validation_ns += self.lap();
    }
    fn propagated(&mut self) {
        self.propagation_ns += self.lap();
    }
}

impl Core {
    /// Opens, meets the others, plays, reads, and meets them again.
    pub fn run(mut self) -> Outcome {
        let mut clock = SystemClock::new();
        self.open_all(&mut clock);
        let mut probe = self.probe.take();
        let mut distance_ns = || probe.as_mut().map_or(0.0, Probe::measure);
        let before_ns = distance_ns();
        let outcome = self.play(&mut clock);
        Outcome { distance_ns: (before_ns, distance_ns()), ..outcome }
    }

    /// The timed region, and the end. Not inlined, because instructions are counted by its name; what
    /// the core holds is let go of behind it.
    #[inline(never)]
    fn play(&mut self, clock: &mut SystemClock) -> Outcome {
        let ran_ns = cpu_time::of_this_thread_ns();
        let began = Instant::now();
        let began_ns = clock.now().monotonic_ns;
        let mut deadline_ns = began_ns + (self.seconds * 1e9) as u64;
        if self.batches.is_some() {
            deadline_ns = u64::MAX - REST_NS_MAX;
        }
        let mut turn = TurnClock { at: began, validation_ns: 0, propagation_ns: 0 };
        let mut times = StageTimes::default();
        let mut live = LiveBytes::default();
        let mut loss = self.loss_percent.map(Loss::new);
        let is_at_rest = loop {
            let now = clock.now();
            if self.batches.is_some_and(|batches| self.generator.batches() >= batches) {
                deadline_ns = deadline_ns.min(now.monotonic_ns);
            }
            // Whoever only owns documents goes on until those who write are at rest.
            if self.writer.is_none() && self.meetings[1].all_are_here(self.serving) {
                deadline_ns = deadline_ns.min(now.monotonic_ns);
            }
            let is_over = now.monotonic_ns >= deadline_ns;
            turn.lap();
            if (!is_over || self.generator.is_cut())
                && let Some(writer) = self.writer
                && let Some(room) = self.stages.read_room(writer)
            {
                let length = room.len().min(self.read_bytes);
                let room = &mut room[..length];
                let count =
                    if is_over { self.generator.finish(room) } else { self.generator.fill(room) };
                times.generator_ns += turn.lap();
                self.stages.received(writer, count, &mut self.subscriber, now);
                times.reception_ns += turn.lap();
            }
            let is_sampled = times.turns.is_multiple_of(SAMPLED);
            let deltas = self.subscriber.heard().deltas;
            self.subscriber.clock().is_on = is_sampled;
            let before_ns = turn.propagation_ns;
            self.stages.turn_timed(&mut self.subscriber, now, &mut turn);
            times.rest_ns += turn.lap();
            if is_sampled {
                times.reading_deltas += self.subscriber.heard().deltas - deltas;
                // Two looks at the clock for every send: such a turn is not a measure of the rest.
                turn.propagation_ns = before_ns;
            }
            if self.steps_per_delta > 0 {
                let heard = self.subscriber.heard().deltas - deltas;
                steps(self.steps_per_delta.saturating_mul(heard as u32));
            }
            if let Some(loss) = &mut loss {
                loss.turned();
            }
            times.turns += 1;
            if let Some(windows) = &mut self.windows
                && !is_over
                && windows.is_due(now.monotonic_ns)
            {
                // The stages of this turn are over, so what they did and what they took fit together.
                let reading = *self.subscriber.clock();
                times.validation_ns = turn.validation_ns;
                times.propagation_ns = turn.propagation_ns;
                (times.reading_ns, times.reading_sends) = (reading.ns, reading.sends);
                let heard = self.subscriber.heard();
                windows.mark(Mark {
                    at_ns: clock.now().monotonic_ns,
                    switches: cpu_time::switches_of_this_thread(),
                    written: self.generator.batches(),
                    images: heard.images,
                    deltas: heard.deltas,
                    sends: self.stages.counts().propagation.sends,
                    times,
                });
            }
            if times.turns.is_multiple_of(LOOKED) {
                grow(&mut live, self.stages.live_bytes());
            }
            if is_over {
                if self.is_done() {
                    break true;
                }
                if now.monotonic_ns > deadline_ns + REST_NS_MAX {
                    break false;
                }
            }
        };
        let ended = Instant::now();
        let cpu_share = cpu_time::share(ran_ns, (ended - began).as_nanos() as u64);
        grow(&mut live, self.stages.live_bytes());
        self.meetings[1].arrive();
        while !self.meetings[1].all_are_here(self.cores) {
            self.stages.turn(&mut self.subscriber, clock.now());
        }
        self.subscriber.finish();
        let reading = *self.subscriber.clock();
        times.validation_ns = turn.validation_ns;
        times.propagation_ns = turn.propagation_ns;
        (times.reading_ns, times.reading_sends) = (reading.ns, reading.sends);
        Outcome {
            span: (began, ended),
            cpu_share,
            heard: self.subscriber.heard(),
            counts: self.stages.counts(),
            live,
            batches: self.generator.batches(),
            ids: self.subscriber.ids().to_vec(),
            documents: u64::from(self.stages.document_count()),
            distance_ns: (0.0, 0.0),
            times,
            windows: self.windows.take().unwrap_or_default(),
            is_at_rest,
        }
    }

    fn is_done(&self) -> bool {
        !self.generator.is_cut()
            && self.subscriber.heard().credit_bytes == self.generator.bytes()
            && self.stages.may_park()
            && !self.stages.has_backlog()
    }

    fn open_all(&mut self, clock: &mut SystemClock) {
        let names = std::mem::take(&mut self.names);
        let per_reader = names.len().div_ceil(self.readers.len().max(1));
        let opens = self.writer.iter().flat_map(|writer| {
            names.iter().enumerate().flat_map(|(number, name)| {
                let reader = self.readers[number / per_reader];
                [(*writer, writing(number as u32, name)), (reader, reading(number as u32, name))]
            })
        });
        let opens: Vec<(SessionId, OpenRequest)> = opens.collect();
        let wanted = opens.len() as u32;
        let mut opens = opens.into_iter();
        let mut is_here = false;
        loop {
            let now = clock.now();
            for (session, request) in opens.by_ref().take(OPENS_PER_TURN) {
                let action = ControlAction::Open(request);
                self.stages.act(session, action, &mut self.subscriber, now);
            }
            self.stages.turn(&mut self.subscriber, now);
            if !is_here && self.subscriber.opened() == wanted {
                is_here = true;
                self.meetings[0].arrive();
            }
            if is_here && self.meetings[0].all_are_here(self.cores) {
                return;
            }
        }
    }
}

fn grow(most: &mut LiveBytes, live: LiveBytes) {
    most.chunks = most.chunks.max(live.chunks);
    most.nodes = most.nodes.max(live.nodes);
    most.documents = most.documents.max(live.documents);
    most.names = most.names.max(live.names);
    most.producers = most.producers.max(live.producers);
    most.subscriptions = most.subscriptions.max(live.subscriptions);
    most.spills = most.spills.max(live.spills);
    most.carries = most.carries.max(live.carries);
    most.sessions = most.sessions.max(live.sessions);
}
