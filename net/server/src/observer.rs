//! The side of a server that others may look at, from any thread, also while it ends.
//!
//! Reads what cores have published and never waits for one. Belongs to nobody: cheap to clone; it
//! outlives its server and then tells the last that was published.

mod moving;
mod placing;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deltaworks_pipeline::stages::CoreRole;
use deltaworks_runtime::answer::{Answer, Teller};
use deltaworks_runtime::chunk_memory::Downgrade;
use deltaworks_runtime::core::{CORE_COUNTERS, CoreCounter};
use deltaworks_runtime::counters::CounterReader;

use crate::census::{
    self, Cut, DocumentReport, DocumentSort, Page, Sample, SessionReport, SessionSample,
    SessionSort,
};
use crate::desk::Question;
use crate::doorkeeper::{AcceptCounts, AcceptReader};
use crate::latency::{Latency, Stage, Times};
use crate::recording::{CoreRecording, EVENTS_MAX, RecordRequest};
use crate::report::{CollectionReport, CoreReport, LiveBytesReport, MovesReport, Phase, Status};
use crate::server::CorePlacement;
use crate::station::{CoreDoor, SERVING};
use crate::tally::{Figure, Figures, TallyReader, Timed};

/// Time between two reports that the busy share is taken from, at least.
const SHARE_TIME: Duration = Duration::from_millis(500);

/// Events of a recording over all cores, at most: 64 MiB.
const EVENTS_OF_ALL: usize = 1 << 20;

/// One core as it is looked at.
pub(crate) struct Observed {
    pub placement: CorePlacement,
    pub door: Arc<CoreDoor>,
    pub tally: TallyReader,
    pub counters: CounterReader<CORE_COUNTERS>,
}

/// A collection's name and the kind of its schema.
pub(crate) type Labels = (String, &'static str);

struct Shared {
    cores: Vec<Observed>,
    /// The core of each worker.
    workers: Vec<usize>,
    collections: Vec<Labels>,
    budget_bytes: u64,
    downgrades: Mutex<Vec<String>>,
    accepts: Option<AcceptReader>,
    began: Instant,
    shares: Mutex<Shares>,
}

/// Where the busy shares are taken from: the report before, and the shares that came of it.
struct Shares {
    at: Instant,
    busy_ns: Vec<u64>,
    ratios: Vec<f64>,
}

/// A look at a server.
#[derive(Clone)]
pub struct Observer {
    shared: Arc<Shared>,
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("cores", &self.shared.cores.len()).finish()
    }
}

impl Observer {
    pub(crate) fn new(
        cores: Vec<Observed>,
        collections: Vec<Labels>,
        budget_bytes: u64,
        downgrades: &[Downgrade],
        accepts: Option<AcceptReader>,
    ) -> Self {
        let began = Instant::now();
        let count = cores.len();
        let shares = Shares { at: began, busy_ns: vec![0; count], ratios: vec![0.0; count] };
        Self {
            shared: Arc::new(Shared {
                workers: workers(&cores),
                cores,
                collections,
                budget_bytes,
                downgrades: Mutex::new(downgrades.iter().map(ToString::to_string).collect()),
                accepts,
                began,
                shares: Mutex::new(shares),
            }),
        }
    }

    /// Whether the server serves, or is on its way out.
    pub fn phase(&self) -> Phase {
        let phases = self.shared.cores.iter().map(|core| core.door.phase.get());
        if phases.max() == Some(SERVING) { Phase::Serving } else { Phase::Draining }
    }

    /// The turns that each core has published; a core publishes when it looks at sockets and
    /// before it sleeps.
    pub fn turns(&self) -> Vec<u64> {
        let turns = |core: &Observed| core.counters.get(CoreCounter::Turns as usize);
        self.shared.cores.iter().map(turns).collect()
    }

    /// Wakes every core that sleeps: each has a turn soon, or does not turn any more.
    pub fn ring(&self) {
        self.shared.cores.iter().for_each(|core| core.door.ring());
    }

    /// Everything that cores have published, with what it amounts to over all. Some thousand
    /// loads for each core; no core notices.
    pub fn status(&self) -> Status {
        let ratios = self.busy_ratios();
        let cores = self.shared.cores.iter().zip(ratios).enumerate();
        let worker_of = |core| self.shared.workers.iter().position(|of| *of == core);
        let cores: Vec<CoreReport> = cores
            .map(|(index, (core, ratio))| report_core(index, worker_of(index), core, ratio))
            .collect();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            uptime_seconds: self.shared.began.elapsed().as_secs_f64(),
            phase: self.phase(),
            is_durable: false,
            budget_bytes: self.shared.budget_bytes,
            live_bytes: self.live_bytes(),
            documents: cores.iter().map(|core| core.documents).sum(),
            sessions: cores.iter().map(|core| core.sessions).sum(),
            moves: self.moves(&cores),
            cores,
            collections: self.collections(),
            latency: Stage::ALL.iter().map(|stage| self.latency(*stage).report()).collect(),
            downgrades: self.downgrades().clone(),
        }
    }

    fn downgrades(&self) -> MutexGuard<'_, Vec<String>> {
        self.shared.downgrades.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what the system did not grant although the server serves; whether it is news.
    pub(crate) fn note(&self, downgrade: &Downgrade) -> bool {
        let (told, mut known) = (downgrade.to_string(), self.downgrades());
        let is_news = !known.contains(&told);
        if is_news {
            known.push(told);
        }
        is_news
    }

    /// What became of connections.
    pub fn accept_counts(&self) -> AcceptCounts {
        self.shared.accepts.as_ref().map(AcceptReader::counts).unwrap_or_default()
    }

    /// How long images took in `stage`, over all cores.
    pub fn latency(&self, stage: Stage) -> Latency {
        let timed = match stage {
            Stage::Validation => Timed::Validation,
            Stage::Propagation => Timed::Propagation,
        };
        Latency { stage, times: self.times(timed) }
    }

    /// How long nobody could append to documents while they were moved.
    pub fn move_pauses(&self) -> Times {
        self.times(Timed::Pause)
    }

    /// How long batches were held until their document had come.
    pub fn move_holds(&self) -> Times {
        self.times(Timed::Hold)
    }

    /// How long nothing was appended to hot documents when they were given a lane.
    pub fn lane_pauses(&self) -> Times {
        self.times(Timed::LanePause)
    }

    fn times(&self, timed: Timed) -> Times {
        let mut times = Times::default();
        self.shared.cores.iter().for_each(|core| times.add(core.tally.times(timed)));
        times
    }

    fn moves(&self, cores: &[CoreReport]) -> MovesReport {
        let sum = |of: fn(&CoreReport) -> u64| cores.iter().map(of).sum();
        MovesReport {
            begun: sum(|core| core.moves_begun),
            finished: sum(|core| core.moves_finished),
            refused: sum(|core| core.moves_refused),
            held_batches: sum(|core| core.held_batches),
            pause: self.move_pauses().report(),
            hold: self.move_holds().report(),
            lane_pause: self.lane_pauses().report(),
        }
    }

    fn live_bytes(&self) -> LiveBytesReport {
        let figures: Vec<Figures> =
            self.shared.cores.iter().map(|core| core.tally.figures()).collect();
        let sum = |figure: Figure| -> u64 { figures.iter().map(|core| core.get(figure)).sum() };
        LiveBytesReport {
            chunks: sum(Figure::LiveChunks),
            nodes: sum(Figure::LiveNodes),
            documents: sum(Figure::LiveDocuments),
            names: sum(Figure::LiveNames),
            producers: sum(Figure::LiveProducers),
            subscriptions: sum(Figure::LiveSubscriptions),
            kept: sum(Figure::LiveKept),
            spills: sum(Figure::LiveSpills),
            carries: sum(Figure::LiveCarries),
            sessions: sum(Figure::LiveSessions),
            control: sum(Figure::LiveControl),
        }
    }

    fn collections(&self) -> Vec<CollectionReport> {
        let numbered = self.shared.collections.iter().enumerate();
        let report = |(number, (name, kind)): (usize, &Labels)| {
            let mut report = CollectionReport {
                name: name.clone(),
                kind,
                accepted_batches: 0,
                accepted_deltas: 0,
                accepted_bytes: 0,
                refused_batches: 0,
            };
            for core in &self.shared.cores {
                let counts = core.tally.collection(number);
                report.accepted_batches += counts.accepted_batches;
                report.accepted_deltas += counts.accepted_deltas;
                report.accepted_bytes += counts.accepted_bytes;
                report.refused_batches += counts.refused_batches;
            }
            report
        };
        numbered.map(report).collect()
    }

    /// The busy share of each core between this report and one before it; between the two before,
    /// if this one comes too soon to tell.
    fn busy_ratios(&self) -> Vec<f64> {
        let mut shares = self.shared.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = shares.at.elapsed();
        if elapsed >= SHARE_TIME {
            let busy = |core: &Observed| core.tally.figures().get(Figure::BusyNs);
            let busy_ns: Vec<u64> = self.shared.cores.iter().map(busy).collect();
            let ratio = |(now, before): (&u64, &u64)| {
                let ratio = now.saturating_sub(*before) as f64 / elapsed.as_nanos() as f64;
                ratio.min(1.0)
            };
            shares.ratios = busy_ns.iter().zip(&shares.busy_ns).map(ratio).collect();
            shares.busy_ns = busy_ns;
            shares.at = Instant::now();
        }
        shares.ratios.clone()
    }
}

/// Asked of cores: each answers in its next turns, or not at all if it does not turn any more, so
/// whoever awaits bounds the time.
impl Observer {
    /// How far every document has come, to be compared with what it will have come to.
    ///
    /// # Errors
    /// If too many questions wait for a core already.
    pub async fn sample(&self) -> Result<Sample, Unanswered> {
        let marks = self.ask(owns, |_, teller| Question::Marks(teller))?;
        Ok(Sample::new(marks.await))
    }

    /// The page of documents, with rates since `sample`.
    ///
    /// # Errors
    /// If too many questions wait for a core already.
    pub async fn documents(
        &self,
        sample: &Sample,
        sort: DocumentSort,
        cut: Cut,
    ) -> Result<Page<DocumentReport>, Unanswered> {
        let entries = self.ask(owns, |_, teller| Question::Documents(teller))?.await;
        let Shared { collections, workers, .. } = &*self.shared;
        Ok(census::documents(entries, sample, collections, workers, sort, cut))
    }

    /// What every session has received and been delivered, to be compared with what it will have.
    ///
    /// # Errors
    /// If too many questions wait for a core already.
    pub async fn session_sample(&self) -> Result<SessionSample, Unanswered> {
        Ok(SessionSample::new(&self.ask(serves, Question::Sessions)?.await))
    }

    /// The page of sessions, with rates since `before`.
    ///
    /// # Errors
    /// If too many questions wait for a core already.
    pub async fn sessions(
        &self,
        before: &SessionSample,
        sort: SessionSort,
        cut: Cut,
    ) -> Result<Page<SessionReport>, Unanswered> {
        let entries = self.ask(serves, Question::Sessions)?.await;
        let readings = entries.iter().flat_map(|socket| &socket.entry.readings);
        let lags = readings.into_iter().any(|reading| reading.next_sequence.is_some());
        let sample = if lags { self.sample().await? } else { Sample::default() };
        let page = census::sessions(entries, &sample, before, sort, cut);
        let named: Arc<[(u32, u32)]> =
            page.rows.iter().flat_map(|(_, named)| named).copied().collect();
        let names = self.ask(owns, |_, teller| Question::Names(Arc::clone(&named), teller))?;
        Ok(census::with_names(page, names.await))
    }

    /// What every core does for `time` from now on. The events of all cores together take 64 MiB
    /// at most.
    ///
    /// # Errors
    /// If too many questions wait for a core already, or a recording is being made.
    pub async fn record(&self, time: Duration) -> Result<Vec<CoreRecording>, Unanswered> {
        let cores = self.shared.cores.len();
        let events = (EVENTS_OF_ALL / cores.max(1)).min(EVENTS_MAX);
        let recordings = self.ask(
            |_| true,
            |core, teller| {
                let cpu = self.shared.cores[core].placement.cpu;
                let room = RecordRequest::room(events);
                let time_ns = time.as_nanos() as u64;
                Question::Record(RecordRequest { core, cpu, time_ns, room, teller })
            },
        )?;
        let mut recordings = recordings.await;
        recordings.sort_by_key(|recording| recording.core);
        if recordings.len() < cores { Err(Unanswered) } else { Ok(recordings) }
    }

    /// Puts a question to every core that `whom` picks, and rings them.
    fn ask<T>(
        &self,
        whom: impl Fn(&Observed) -> bool,
        question: impl Fn(usize, Teller<T>) -> Question,
    ) -> Result<Answer<T>, Unanswered> {
        let answer = Answer::default();
        for (index, core) in self.shared.cores.iter().enumerate().filter(|(_, core)| whom(core)) {
            if core.door.questions.put(question(index, answer.teller())).is_err() {
                return Err(Unanswered);
            }
        }
        self.ring();
        Ok(answer)
    }

    /// Puts a question to one core, and rings it.
    fn ask_core<T>(
        &self,
        core: usize,
        question: impl FnOnce(Teller<T>) -> Question,
    ) -> Result<Answer<T>, Unanswered> {
        let (answer, door) = (Answer::default(), &self.shared.cores[core].door);
        door.questions.put(question(answer.teller())).map_err(|_| Unanswered)?;
        door.ring();
        Ok(answer)
    }
}

/// The cores of the workers, in the order in which the stages number them: homes first.
fn workers(cores: &[Observed]) -> Vec<usize> {
    let those = |pick: fn(CoreRole) -> bool| {
        let cores = cores.iter().enumerate();
        cores.filter(move |(_, core)| pick(core.placement.role)).map(|(index, _)| index)
    };
    those(CoreRole::is_home).chain(those(|role| role.owns_documents && !role.is_home())).collect()
}

fn owns(core: &Observed) -> bool {
    core.placement.role.owns_documents
}

fn serves(core: &Observed) -> bool {
    core.placement.role.serves_sessions
}

/// Too much is asked of a core already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unanswered;

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("A core is busy with what was asked before.")
    }
}

impl std::error::Error for Unanswered {}

fn report_core(
    index: usize,
    worker: Option<usize>,
    core: &Observed,
    busy_ratio: f64,
) -> CoreReport {
    let (figures, counters) = (core.tally.figures(), core.counters.snapshot());
    let of = |figure: Figure| figures.get(figure);
    let counted = |counter: CoreCounter| counters[counter as usize];
    CoreReport {
        core: index,
        cpu: core.placement.cpu,
        numa_node: core.placement.numa_node,
        serves_sessions: core.placement.role.serves_sessions,
        owns_documents: core.placement.role.owns_documents,
        worker: worker.map(|worker| worker as u16),
        is_elastic: core.placement.role.is_elastic,
        turns: counted(CoreCounter::Turns),
        work: counted(CoreCounter::Work),
        io_looks: counted(CoreCounter::IoLooks),
        parks: counted(CoreCounter::Parks),
        busy_ratio,
        busy_seconds: of(Figure::BusyNs) as f64 / 1e9,
        turns_over_bound: of(Figure::TurnsOverBound),
        ring_depth: of(Figure::RingDepth),
        sessions: of(Figure::Sessions),
        documents: of(Figure::Documents),
        received_bytes: of(Figure::ReceivedBytes),
        received_images: of(Figure::ReceivedImages),
        accepted_batches: of(Figure::AcceptedBatches),
        accepted_deltas: of(Figure::AcceptedDeltas),
        refused_batches: of(Figure::RefusedBatches),
        duplicate_batches: of(Figure::DuplicateBatches),
        stalled_batches: of(Figure::StalledBatches),
        guests: of(Figure::Guests),
        moves_begun: of(Figure::MovesBegun),
        moves_finished: of(Figure::MovesFinished),
        moves_refused: of(Figure::MovesRefused),
        held_batches: of(Figure::HeldBatches),
        laned_batches: of(Figure::LanedBatches),
        lane_overruns: of(Figure::LaneOverruns),
        full_asides: of(Figure::FullAsides),
        promotions: of(Figure::Promotions),
        demotions: of(Figure::Demotions),
        decided_moves: of(Figure::Moves),
        promoted_documents: of(Figure::Promoted),
        delivered_images: of(Figure::DeliveredImages),
        delivered_bytes: of(Figure::DeliveredBytes),
        sends: of(Figure::Sends),
        gaps: of(Figure::Gaps),
        gap_missed_deltas: of(Figure::MissedGap),
        skip_missed_deltas: of(Figure::MissedSkip),
        conflate_missed_deltas: of(Figure::MissedConflate),
        close_missed_deltas: of(Figure::MissedClose),
        spilled_images: of(Figure::SpilledImages),
        kept_images: of(Figure::KeptImages),
        kept_bytes: of(Figure::KeptBytes),
        copied_on_bytes: of(Figure::CopiedOnBytes),
        let_go_bytes: of(Figure::LetGoBytes),
        carried_bytes: of(Figure::CarriedBytes),
        paused_reads: of(Figure::PausedReads),
        withheld_credits: of(Figure::WithheldCredits),
        quota_throttled: of(Figure::QuotaThrottled),
        retired_chunks: of(Figure::RetiredChunks),
        recycled_chunks: of(Figure::RecycledChunks),
        chunks: of(Figure::Chunks),
        free_chunks: of(Figure::FreeChunks),
    }
}
