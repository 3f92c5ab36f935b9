//! Documents that go to other workers because somebody asked for it: one, all of a worker, or those
//! that even the loads.
//!
//! Runs on the housekeeping thread; one list at a time, a few moves of it at once. What has failed is
//! kept up to [`FAILURES_MAX`], beyond that counted. A move that may go a little later is asked for
//! again, for [`MOVE_TIME`] at most. Whoever asked may go away: what was begun is finished.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deltaworks_server::moving::{Drained, MoveFailure, MoveReport, OwnedDocument, Whereabouts};
use deltaworks_server::placing::{RehearsalReport, Why, WorkerReport};
use deltaworks_server::{Observer, Unanswered};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{info, warn};

/// Failures that are told one by one.
const FAILURES_MAX: usize = 1000;
/// Moves of a list at once: a worker gives twice as many.
const AT_ONCE: usize = 8;
/// How long a document of a list is asked to move again and again.
const MOVE_TIME: Duration = Duration::from_secs(10);
/// Between two such times.
const PAUSE: Duration = Duration::from_millis(5);
/// Between two looks for a document that nobody has: it may be on its way.
const MISSING_PAUSE: Duration = Duration::from_millis(20);
/// Looks until it is not there.
const MISSING_LOOKS: u32 = 3;
/// Times that a worker is looked at for documents that have come to it while it was emptied.
const ROUNDS_MAX: u32 = 8;

/// What a list of moves is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Purpose {
    /// A worker is emptied.
    Drain,
    /// Documents go home to a worker that was emptied.
    Undo,
    /// Loads are evened.
    Rebalance,
}

/// How far a list of moves has come.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Relocation {
    purpose: Purpose,
    /// The worker that it is about.
    worker: Option<u16>,
    /// Documents that are to move.
    total: u64,
    /// Those that did.
    moved: u64,
    /// Those that were there already, or have ended meanwhile.
    settled: u64,
    /// Those that did not.
    failed: u64,
    /// The first of these.
    failures: Vec<Failed>,
    /// The longest time that nobody could append to a document.
    pause_us_max: f64,
    held_batches: u64,
    is_done: bool,
}

/// A document that was not moved.
#[derive(Clone, Debug, Serialize)]
struct Failed {
    document: String,
    number: u16,
    error: String,
}

impl Relocation {
    fn new(purpose: Purpose, worker: Option<u16>) -> Self {
        Self {
            purpose,
            worker,
            total: 0,
            moved: 0,
            settled: 0,
            failed: 0,
            failures: Vec::new(),
            pause_us_max: 0.0,
            held_batches: 0,
            is_done: false,
        }
    }

    fn note(&mut self, document: &str, result: Result<MoveReport, MoveFailure>) {
        match result {
            Ok(report) if report.was_there => self.settled += 1,
            Ok(report) => {
                self.moved += 1;
                self.pause_us_max = self.pause_us_max.max(report.pause_us.unwrap_or(0.0));
                self.held_batches += u64::from(report.held_batches);
            }
            Err(MoveFailure::NoSuchDocument | MoveFailure::Dropped) => self.settled += 1,
            Err(failure) => {
                self.failed += 1;
                if self.failures.len() < FAILURES_MAX {
                    let (document, error) = (document.to_owned(), failure.to_string());
                    self.failures.push(Failed { document, number: failure.number(), error });
                }
            }
        }
    }

    fn log(&self) {
        let Self { purpose, total, moved, settled, failed, .. } = self;
        let told = format!("{purpose:?}: {moved} of {total} documents moved, {settled} needed not");
        match self.failures.first() {
            Some(first) => {
                warn!("{told}, {failed} could not, as {}: {}", first.document, first.error)
            }
            None => info!("{told}"),
        }
    }
}

/// What is known of moves that were asked for.
#[derive(Debug)]
pub(super) struct Relocations {
    one: Arc<Semaphore>,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    drained: BTreeSet<u16>,
    latest: Option<Relocation>,
}

impl Default for Relocations {
    fn default() -> Self {
        Self { one: Arc::new(Semaphore::new(1)), known: Arc::default() }
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Relocations {
    /// The right to begin a list; none while another goes on.
    pub fn begin(&self) -> Option<Begun> {
        let permit = Arc::clone(&self.one).try_acquire_owned().ok()?;
        Some(Begun { permit, known: Arc::clone(&self.known) })
    }

    /// How far the latest list has come.
    pub fn latest(&self) -> Option<Relocation> {
        lock(&self.known).latest.clone()
    }

    /// Moves one document by name within `time`.
    pub async fn move_one(
        &self,
        observer: &Observer,
        name: &str,
        to: u16,
        time: Duration,
    ) -> Result<MoveReport, MoveFailure> {
        let is_drained = lock(&self.known).drained.contains(&to);
        move_within(observer, name, None, to, is_drained, Instant::now() + time).await
    }
}

/// The right to carry out one list.
#[derive(Debug)]
pub(super) struct Begun {
    permit: OwnedSemaphorePermit,
    known: Arc<Mutex<Known>>,
}

impl Begun {
    /// Empties a worker, which is no target from then on; what the list begins as.
    ///
    /// # Errors
    /// If cores do not answer; nothing has happened then.
    pub async fn drain(self, observer: Observer, worker: u16) -> Result<Relocation, Unanswered> {
        observer.drain(worker, Drained::Begin).await?;
        lock(&self.known).drained.insert(worker);
        let documents = observer.documents_of(worker).await?;
        let targets = Targets::new(&observer.workers().await?.workers, &self.drained());
        let relocation = Relocation::new(Purpose::Drain, Some(worker));
        let relocation = self.start(relocation, documents.len());
        tokio::spawn(async move {
            self.empty(&observer, worker, documents, targets).await;
            if observer.drain(worker, Drained::Keep).await.is_err() {
                warn!("worker {worker} is drained, but what begins there stays there");
            }
            self.end();
        });
        Ok(relocation)
    }

    /// Lets a worker have documents again, and brings home those that are away from it and not hot.
    ///
    /// # Errors
    /// If cores do not answer.
    pub async fn undo(self, observer: Observer, worker: u16) -> Result<Relocation, Unanswered> {
        observer.drain(worker, Drained::No).await?;
        lock(&self.known).drained.remove(&worker);
        let documents = observer.documents_away_from(worker).await?;
        let relocation = Relocation::new(Purpose::Undo, Some(worker));
        let relocation = self.start(relocation, documents.len());
        tokio::spawn(async move {
            let to_home =
                |document: OwnedDocument| (document.name.to_string(), document.at, worker);
            self.carry_out(&observer, documents.into_iter().map(to_home).collect(), None).await;
            self.end();
        });
        Ok(relocation)
    }

    /// Does what was rehearsed to even the loads, as many moves in a second as may be, one at least.
    pub fn rebalance(self, observer: Observer, rehearsal: RehearsalReport) -> Relocation {
        let every = Duration::from_secs(1) / rehearsal.moves_per_second.max(1);
        let moves = rehearsal
            .placements
            .into_iter()
            .filter(|it| it.from != it.to && matches!(it.reason, Why::Evening | Why::Emptying));
        let moves: Vec<Wanted> = moves
            .map(|it| {
                let at = Whereabouts { slot: it.slot, generation: it.generation, worker: it.from };
                (it.document, at, it.to)
            })
            .collect();
        let relocation = self.start(Relocation::new(Purpose::Rebalance, None), moves.len());
        tokio::spawn(async move {
            self.carry_out(&observer, moves, Some(every)).await;
            self.end();
        });
        relocation
    }

    fn drained(&self) -> BTreeSet<u16> {
        lock(&self.known).drained.clone()
    }

    fn start(&self, mut relocation: Relocation, total: usize) -> Relocation {
        relocation.total = total as u64;
        lock(&self.known).latest = Some(relocation.clone());
        relocation
    }

    fn end(self) {
        if let Some(latest) = &mut lock(&self.known).latest {
            latest.is_done = true;
            latest.log();
        }
        drop(self.permit);
    }

    fn note(&self, document: &str, result: Result<MoveReport, MoveFailure>) {
        if let Some(latest) = &mut lock(&self.known).latest {
            latest.note(document, result);
        }
    }

    /// Empties `worker` of what it has, and of what comes to it meanwhile.
    async fn empty(
        &self,
        observer: &Observer,
        worker: u16,
        documents: Vec<OwnedDocument>,
        targets: Targets,
    ) {
        let mut tried = BTreeSet::new();
        let mut documents = documents;
        let targets = Arc::new(targets);
        for _ in 0..ROUNDS_MAX {
            let new = |it: &OwnedDocument| (it.at.slot, it.at.generation);
            documents.retain(|it| tried.insert(new(it)));
            if documents.is_empty() {
                return;
            }
            if let Some(latest) = &mut lock(&self.known).latest {
                latest.total = tried.len() as u64;
            }
            let mut moves = JoinSet::new();
            for document in documents {
                if moves.len() >= AT_ONCE {
                    self.take(moves.join_next().await);
                }
                let (observer, targets) = (observer.clone(), Arc::clone(&targets));
                moves.spawn(async move {
                    let result = targets.away(&observer, &document).await;
                    (document.name.to_string(), result)
                });
            }
            while !moves.is_empty() {
                self.take(moves.join_next().await);
            }
            let Ok(more) = observer.documents_of(worker).await else { return };
            documents = more;
        }
    }

    /// Moves each to its worker; `every` so often at most.
    async fn carry_out(&self, observer: &Observer, wanted: Vec<Wanted>, every: Option<Duration>) {
        let mut moves = JoinSet::new();
        let mut next = Instant::now();
        for (name, at, to) in wanted {
            if let Some(every) = every {
                sleep_until(next).await;
                next = Instant::now() + every;
            }
            if moves.len() >= AT_ONCE {
                self.take(moves.join_next().await);
            }
            let (observer, is_drained) = (observer.clone(), self.drained().contains(&to));
            let until = Instant::now() + MOVE_TIME;
            moves.spawn(async move {
                let result = move_within(&observer, &name, Some(at), to, is_drained, until).await;
                (name, result)
            });
        }
        while !moves.is_empty() {
            self.take(moves.join_next().await);
        }
    }

    fn take(&self, ended: Option<Result<Ended, tokio::task::JoinError>>) {
        if let Some(Ok((name, result))) = ended {
            self.note(&name, result);
        }
    }
}

/// A document, where it is, and the worker that it is to go to.
type Wanted = (String, Whereabouts, u16);
/// A document, and what became of its move.
type Ended = (String, Result<MoveReport, MoveFailure>);

/// The workers that documents of an emptied one may go to, the least loaded first.
#[derive(Debug)]
struct Targets {
    takers: Mutex<VecDeque<u16>>,
    /// Why a document stays that nobody takes.
    otherwise: MoveFailure,
}

impl Targets {
    fn new(workers: &[WorkerReport], drained: &BTreeSet<u16>) -> Self {
        let mut takers: Vec<&WorkerReport> =
            workers.iter().filter(|it| !it.is_elastic && !drained.contains(&it.worker)).collect();
        takers.sort_by(|one, other| {
            let load = one.load_ratio.total_cmp(&other.load_ratio);
            load.then(one.documents.cmp(&other.documents))
        });
        let takers: VecDeque<u16> = takers.into_iter().map(|it| it.worker).collect();
        let otherwise = match takers.is_empty() {
            true => MoveFailure::NoTarget,
            false => MoveFailure::TargetGuests,
        };
        Self { takers: Mutex::new(takers), otherwise }
    }

    fn takers(&self) -> MutexGuard<'_, VecDeque<u16>> {
        self.takers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next in turn.
    fn next(&self) -> Option<u16> {
        let mut takers = self.takers();
        let next = takers.pop_front()?;
        takers.push_back(next);
        Some(next)
    }

    /// Moves a document home, or to any that takes it.
    async fn away(
        &self,
        observer: &Observer,
        document: &OwnedDocument,
    ) -> Result<MoveReport, MoveFailure> {
        let OwnedDocument { name, at, home_worker } = document;
        let until = Instant::now() + MOVE_TIME;
        let home = (*home_worker != at.worker && self.takers().contains(home_worker))
            .then_some(*home_worker);
        let mut to = home.or_else(|| self.next());
        while let Some(worker) = to {
            match move_within(observer, name, Some(*at), worker, false, until).await {
                Err(MoveFailure::TargetGuests) => {
                    // It is full: nobody else is sent there as a guest.
                    self.takers().retain(|taker| *taker != worker);
                    to = self.next();
                }
                ended => return ended,
            }
        }
        Err(self.otherwise)
    }
}

/// Moves a document, which may be `at` a place that is known; asks again while that may help.
async fn move_within(
    observer: &Observer,
    name: &str,
    mut at: Option<Whereabouts>,
    to: u16,
    is_drained: bool,
    until: Instant,
) -> Result<MoveReport, MoveFailure> {
    let mut missing = 0;
    loop {
        let place = match at.take() {
            Some(place) => Ok(Some(place)),
            None => observer.find(name).await,
        };
        let failure = match place {
            Ok(Some(place)) if is_drained && place.worker != to => {
                return Err(MoveFailure::TargetDrained);
            }
            Ok(Some(place)) => {
                match timeout_at(until, observer.move_document(name, place, to)).await {
                    Ok(Ok(report)) => return Ok(report),
                    Ok(Err(failure)) => failure,
                    Err(_) => return Err(MoveFailure::NotInTime),
                }
            }
            Ok(None) => {
                missing += 1;
                MoveFailure::NoSuchDocument
            }
            Err(Unanswered) => MoveFailure::Unanswered,
        };
        let is_missing = failure == MoveFailure::NoSuchDocument;
        let may_come = is_missing && missing < MISSING_LOOKS;
        if !(failure.is_passing() || may_come) || Instant::now() >= until {
            return Err(failure);
        }
        sleep(if is_missing { MISSING_PAUSE } else { PAUSE }).await;
    }
}
