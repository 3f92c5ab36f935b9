//! The load from its first connection to its last: who is started when, and what ends it.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use deltaworks_client::{Client, ClientOptions, Endpoint, Healing, OpenOptions, Publisher};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};

use super::histograms::Histograms;
use super::pacer::Pace;
use super::publisher::{self, Work};
use super::report::{Measured, Report};
use super::subscriber;
use super::tally::{Count, Tally};
use crate::opening;

/// Between the last connection and the first batch.
const LEAD: Duration = Duration::from_millis(50);
/// How often progress is shown and looked for.
const LOOK: Duration = Duration::from_millis(100);

/// What load, and on whom.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the daemon listens.
    pub server: Endpoint,
    /// Another way to it for the last subscriber alone.
    pub subscriber_via: Option<Endpoint>,
    /// Publishers; each writes into every document.
    pub publishers: usize,
    /// Subscribers; each reads every document.
    pub subscribers: usize,
    /// Documents.
    pub documents: usize,
    /// A collection's name, or nothing for the default collection.
    pub collection: Option<String>,
    /// Whether subscribers that fall behind slow the writers, instead of missing something.
    pub waits: bool,
    /// Bytes of a delta.
    pub delta_bytes: usize,
    /// Deltas in a batch.
    pub batch_deltas: usize,
    /// Deltas a second of all publishers together.
    pub deltas_per_second: f64,
    /// How long is measured.
    pub length: Duration,
    /// How long batches are sent before that.
    pub warm_up: Duration,
    /// Without progress for so long, the load ends with a fault.
    pub stall: Duration,
}

/// How far a load is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Since the start of the warm-up.
    pub elapsed: Duration,
    /// Deltas accepted.
    pub accepted: u64,
    /// Deltas read, by all subscribers together.
    pub read: u64,
}

/// The tasks of a running load.
struct Running {
    publishing: JoinSet<Result<(), String>>,
    reading: JoinSet<Result<(), String>>,
    /// No more batches are sent.
    is_over: watch::Sender<bool>,
    /// Deltas accepted in each document, once all are.
    totals: watch::Sender<Option<Vec<u64>>>,
}

/// Puts the load on the daemon; `interrupted` ends it early. Returns what was measured, or why it could
/// not begin.
///
/// # Errors
/// Why it could not begin.
pub async fn run(
    settings: &Settings,
    interrupted: impl Future<Output = ()>,
    tell: impl Fn(Progress),
) -> Result<Measured, String> {
    let names = names(settings);
    let (is_over, over) = watch::channel(false);
    let (totals, told) = watch::channel(None);
    let mut running =
        Running { publishing: JoinSet::new(), reading: JoinSet::new(), is_over, totals };

    let mut clients = Vec::new();
    let mut subscriptions = Vec::new();
    for index in 0..settings.subscribers {
        let client = connect_subscriber(settings, index).await?;
        for (place, name) in names.iter().enumerate() {
            let options = OpenOptions::read();
            let options = if settings.waits { options.wait() } else { options };
            let document = client
                .open(name, options)
                .await
                .map_err(|error| opening::fault(name, options.policy, &error))
                .map_err(|why| format!("subscriber {index}: {name}: {why}"))?;
            let (publisher, subscription) = document.split();
            subscriptions.push((index, place, publisher, subscription));
        }
        clients.push(client);
    }
    let mut writers: Vec<Vec<Publisher>> = Vec::new();
    for index in 0..settings.publishers {
        let (client, documents) = connect_publisher(settings, &names, index).await?;
        clients.push(client);
        writers.push(documents);
    }

    let pace = Pace {
        deltas_per_second: settings.deltas_per_second,
        batch_deltas: settings.batch_deltas,
        publishers: settings.publishers,
        length: settings.warm_up + settings.length,
    };
    let work = Arc::new(Work {
        pace,
        start: Instant::now() + LEAD,
        warm_up_ns: settings.warm_up.as_nanos() as u64,
        delta_bytes: settings.delta_bytes,
        tally: Tally::default(),
        accepted: (0..settings.documents).map(|_| Count::default()).collect(),
        lateness: Histograms::new(settings.publishers),
        answers: Histograms::new(settings.publishers),
        deliveries: Histograms::new(subscriptions.len()),
    });
    let mut held = Vec::new();
    for (task, (index, place, publisher, subscription)) in subscriptions.into_iter().enumerate() {
        held.push(publisher);
        let (work, told, publishers) = (Arc::clone(&work), told.clone(), settings.publishers);
        running.reading.spawn(async move {
            subscriber::read(work, (task, place), subscription, publishers, told)
                .await
                .map_err(|fault| format!("subscriber {index}, document {place}: {fault}"))
        });
    }
    let mut permits = Vec::new();
    for (index, documents) in writers.iter().enumerate() {
        let own = Arc::new(Semaphore::new(0));
        permits.push(Arc::clone(&own));
        let (work, documents, over) = (Arc::clone(&work), documents.clone(), over.clone());
        running.publishing.spawn(async move {
            publisher::publish(work, index, documents, own, over)
                .await
                .map_err(|fault| format!("publisher {index}: {fault}"))
        });
    }
    drop((over, told));
    let stop = Arc::new(AtomicBool::new(false));
    let (start, stopping) = (work.start, Arc::clone(&stop));
    let pacer = std::thread::spawn(move || pace.keep(start, &permits, &stopping));

    let watched = running.watch(settings, &work, interrupted, tell).await;
    // Relaxed: the pacer reads nothing else after it.
    stop.store(true, Relaxed);
    // It sleeps 50 ms at most, and cannot fail.
    let _ = pacer.join();
    let mut report = Report::of(settings, &work);
    match watched {
        Ok(is_interrupted) => report.is_interrupted = is_interrupted,
        Err(fault) => report.fault = Some(fault),
    }
    for client in &clients {
        let counters = client.counters();
        report.resent += counters.resent;
        report.reconnects += counters.reconnects;
    }
    report.judge();
    goodbye(writers, held, clients).await;
    Ok(Measured { report, deliveries: work.deliveries.whole(), answers: work.answers.whole() })
}

impl Running {
    /// Waits until everything due is sent, answered and read; true if it was ended early.
    async fn watch(
        &mut self,
        settings: &Settings,
        work: &Work,
        interrupted: impl Future<Output = ()>,
        tell: impl Fn(Progress),
    ) -> Result<bool, String> {
        let end = work.start + settings.warm_up + settings.length;
        let mut look = tokio::time::interval(LOOK);
        let mut moved = (Instant::now(), 0);
        let mut is_interrupted = false;
        tokio::pin!(interrupted);
        loop {
            tokio::select! {
                biased;
                Some(read) = self.reading.join_next() => joined(read)?,
                Some(published) = self.publishing.join_next() => joined(published)?,
                () = &mut interrupted, if !is_interrupted => {
                    is_interrupted = true;
                    self.is_over.send_replace(true);
                }
                _ = look.tick() => {}
            }
            let tally = &work.tally;
            let (accepted, read) = (tally.accepted.get(), tally.read.get());
            tell(Progress { elapsed: work.start.elapsed(), accepted, read });
            if Instant::now() >= end {
                self.is_over.send_replace(true);
            }
            if self.publishing.is_empty() && self.totals.borrow().is_none() {
                let totals = work.accepted.iter().map(Count::get).collect();
                self.totals.send_replace(Some(totals));
            }
            if self.publishing.is_empty() && self.reading.is_empty() {
                return Ok(is_interrupted);
            }
            let now_moved = tally.moved();
            // Before a batch is due again, nothing has to move.
            if moved.1 != now_moved || (Instant::now() < end && tally.sent.get() <= accepted) {
                moved = (Instant::now(), now_moved);
            } else if moved.0.elapsed() >= settings.stall {
                let seconds = settings.stall.as_secs();
                return Err(format!(
                    "nothing moved for {seconds} s: {} deltas sent, {accepted} accepted, {read} \
                     delivered",
                    tally.sent.get()
                ));
            }
        }
    }
}

/// A task's result; a task that panicked makes this one panic.
fn joined(result: Result<Result<(), String>, JoinError>) -> Result<(), String> {
    match result {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => unreachable!("tasks are cancelled only after the last is awaited"),
        },
    }
}

async fn connect_subscriber(settings: &Settings, index: usize) -> Result<Client, String> {
    let is_last = index + 1 == settings.subscribers;
    let way = settings.subscriber_via.as_ref().filter(|_| is_last).unwrap_or(&settings.server);
    let options = ClientOptions { healing: Healing::Off, ..client_options() };
    Client::connect_with(way.clone(), options).await.map_err(|error| format!("{way}: {error}"))
}

async fn connect_publisher(
    settings: &Settings,
    names: &[String],
    index: usize,
) -> Result<(Client, Vec<Publisher>), String> {
    let client = Client::connect_with(settings.server.clone(), client_options())
        .await
        .map_err(|error| format!("{}: {error}", settings.server))?;
    let producer = random().max(1);
    let mut documents = Vec::new();
    for name in names {
        let document = client
            .open(name, OpenOptions::write(producer))
            .await
            .map_err(|error| format!("publisher {index}: {name}: {error}"))?;
        documents.push(document.publisher().clone());
    }
    Ok((client, documents))
}

fn client_options() -> ClientOptions {
    ClientOptions {
        program: concat!("deltaworks-bench/", env!("CARGO_PKG_VERSION")).to_owned(),
        reconnects_max: Some(8),
        ..ClientOptions::default()
    }
}

/// The load's documents are dropped, so that it leaves nothing in the daemon's memory.
async fn goodbye(writers: Vec<Vec<Publisher>>, held: Vec<Publisher>, clients: Vec<Client>) {
    for document in writers.first().into_iter().flatten() {
        // One that cannot be dropped is unloaded when it has been idle for long enough.
        let _ = document.drop_document();
    }
    for client in clients {
        client.close().await;
    }
    drop((writers, held));
}

/// Names that no other run uses.
fn names(settings: &Settings) -> Vec<String> {
    let run = random();
    let name = |document| match &settings.collection {
        Some(collection) => format!("{collection}/bench-{run:016x}-{document}"),
        None => format!("bench-{run:016x}-{document}"),
    };
    (0..settings.documents).map(name).collect()
}

/// A number that the system draws.
fn random() -> u64 {
    RandomState::new().hash_one(Instant::now())
}
