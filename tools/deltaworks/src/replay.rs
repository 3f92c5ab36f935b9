//! A replay: an editing trace through a running server, and proof that it arrived.
//!
//! ```text
//! trace ─▶ publisher 0 ─ lane 0 ─▶ ┌────────┐ ─▶ subscriber 0: rebuilds N lanes, hashes ─▶ equal?
//!       ─▶ publisher … ─ lane … ─▶ │ server │ ─▶ subscriber …                              equal?
//!       ─▶ publisher N − 1      ─▶ └────────┘ ─▶ subscriber M − 1                          equal?
//!          every publisher writes, and every subscriber reads, each of the D documents
//! ```
//!
//! Owned by the command line. Subscribers are live before the first batch, use `wait`, and heal nothing;
//! publishers heal. The first fault ends it. What does not move for a while is a fault, too.

pub mod command;
pub mod fault;
pub mod progress;
pub mod publisher;
pub mod reader;
pub mod report;
pub mod subscriber;
pub mod tally;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltaworks_client::{
    Client, ClientOptions, Document, Endpoint, Healing, OpenOptions, Policy, Publisher,
    Subscription,
};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::editing::Trace;
use crate::opening;
use crate::quantity::things;
use fault::{Fault, Party, What};
use progress::{Progress, Totals};
use publisher::Lane;
use reader::Reader;
use report::Report;
use tally::Tally;

/// How often progress is shown and looked for.
const LOOK: Duration = Duration::from_millis(100);

/// What to replay, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the server listens.
    pub server: Endpoint,
    /// Another way to it for the last subscriber alone.
    pub subscriber_via: Option<Endpoint>,
    /// Another way to it for the last publisher alone.
    pub publisher_via: Option<Endpoint>,
    /// Publishers, and so lanes in each document.
    pub publishers: usize,
    /// Subscribers.
    pub subscribers: usize,
    /// Documents.
    pub documents: usize,
    /// Deltas in a batch at most.
    pub batch_deltas: usize,
    /// A collection's name, or nothing for the default collection.
    pub collection: Option<String>,
    /// Without progress for so long, the replay ends with a fault.
    pub stall: Duration,
}

/// One subscriber's clients and documents.
struct Subscriber {
    client: Client,
    /// Keeps the documents open, and closes them in the end.
    publishers: Vec<Publisher>,
}

/// The tasks of a running replay.
struct Running {
    publishing: JoinSet<Result<(), Fault>>,
    reading: JoinSet<Result<(usize, usize, Reader), Fault>>,
    is_over: watch::Sender<bool>,
    tally: Arc<Tally>,
    /// A subscriber has read all of a document.
    has_read_all: Arc<Notify>,
}

/// What a replay that ended well leaves to be compared.
struct Arrived {
    /// Subscriber, document, and what was read.
    readers: Vec<(usize, usize, Reader)>,
    /// When everything was acknowledged and read.
    at: Instant,
}

/// Replays `trace`, which verifies, and returns what was found; each subscriber is told with `tell`.
pub async fn replay(trace: Arc<Trace>, settings: &Settings, tell: impl Fn(String)) -> Report {
    let mut report = Report {
        server: settings.server.to_string(),
        publishers: settings.publishers,
        subscribers: settings.subscribers,
        documents: settings.documents,
        ..Report::default()
    };
    match run(&trace, settings, &mut report, tell).await {
        Ok(()) => report.verified = true,
        Err(fault) => report.fault = Some(fault.to_string()),
    }
    report.rate();
    report
}

async fn run(
    trace: &Arc<Trace>,
    settings: &Settings,
    report: &mut Report,
    tell: impl Fn(String),
) -> Result<(), Fault> {
    let names = document_names(settings);
    let tally = Arc::new(Tally::new(settings.publishers, settings.subscribers, settings.documents));
    let (is_over, watched) = watch::channel(false);
    let mut running = Running {
        publishing: JoinSet::new(),
        reading: JoinSet::new(),
        is_over,
        tally: Arc::clone(&tally),
        has_read_all: Arc::default(),
    };
    let mut subscribers = Vec::new();
    for index in 0..settings.subscribers {
        let (subscriber, subscriptions) = subscribe(settings, &names, index).await?;
        subscribers.push(subscriber);
        for (document, subscription) in subscriptions.into_iter().enumerate() {
            running.spawn_reader(trace, settings, (index, document), subscription, &watched);
        }
    }
    drop(watched);
    let mut publishers = Vec::new();
    let mut writing = Vec::new();
    for index in 0..settings.publishers {
        let (client, documents) = connect_publisher(settings, &names, index).await?;
        publishers.push(client);
        writing.push(documents);
    }

    let began = Instant::now();
    for (index, documents) in writing.into_iter().enumerate() {
        for (place, document) in documents.into_iter().enumerate() {
            running.spawn_publisher(trace, settings, (index, place), document);
        }
    }
    let outcome = running.watch(trace, settings, began).await;
    let ended = outcome.as_ref().map_or_else(|_| Instant::now(), |arrived| arrived.at);
    report.seconds = (ended - began).as_secs_f64();
    (report.deltas, report.batches, report.bytes) =
        (tally.acknowledged(), tally.batches(), tally.bytes());
    report.deliveries = tally.read();
    for client in publishers.iter().chain(subscribers.iter().map(|it| &it.client)) {
        let counters = client.counters();
        report.resent += counters.resent;
        report.duplicates += counters.duplicates;
        report.reconnects += counters.reconnects;
        report.gaps += counters.gaps;
    }
    let hashes = outcome.and_then(|arrived| compare(trace, settings, arrived.readers));
    for index in 0..settings.subscribers {
        tell(format!(
            "subscriber {index}: {} deltas of {}{}",
            tally.read_by(index),
            things(settings.documents as u64, "document"),
            if hashes.is_ok() { ", every lane is the trace's end" } else { "" }
        ));
    }
    report.hashes = hashes?.into_iter().map(|hash| format!("{hash:016x}")).collect();
    goodbye(publishers, subscribers).await
}

impl Running {
    fn spawn_reader(
        &mut self,
        trace: &Arc<Trace>,
        settings: &Settings,
        (index, document): (usize, usize),
        mut subscription: Subscription,
        is_over: &watch::Receiver<bool>,
    ) {
        let reader = Reader::new(trace, settings.publishers);
        let deltas = trace.transactions.len() as u64 * settings.publishers as u64;
        let (is_over, tally) = (is_over.clone(), Arc::clone(&self.tally));
        let has_read_all = Arc::clone(&self.has_read_all);
        self.reading.spawn(async move {
            let told = |read| {
                tally.set_read(index, document, read);
                if read == deltas {
                    has_read_all.notify_one();
                }
            };
            let party = Party::Subscriber(index);
            subscriber::read(&mut subscription, reader, deltas, is_over, told)
                .await
                .map(|reader| (index, document, reader))
                .map_err(|what| Fault { party, document: Some(document), what })
        });
    }

    fn spawn_publisher(
        &mut self,
        trace: &Arc<Trace>,
        settings: &Settings,
        (index, place): (usize, usize),
        document: Document,
    ) {
        let lane = Lane { lane: index as u32, batch_deltas: settings.batch_deltas };
        let (trace, tally) = (Arc::clone(trace), Arc::clone(&self.tally));
        self.publishing.spawn(async move {
            let told = |deltas, bytes| tally.add_acknowledged(index, place, deltas, bytes);
            let party = Party::Publisher(index);
            publisher::publish(&trace, document.publisher(), lane, told)
                .await
                .map_err(|what| Fault { party, document: Some(place), what })
        });
    }

    /// Waits until everything is published and read; the first fault ends it at once.
    async fn watch(
        mut self,
        trace: &Trace,
        settings: &Settings,
        began: Instant,
    ) -> Result<Arrived, Fault> {
        let deltas = (trace.transactions.len() * settings.publishers * settings.documents) as u64;
        let totals = Totals { deltas, deliveries: deltas * settings.subscribers as u64 };
        let mut progress = Progress::new(totals);
        let mut look = tokio::time::interval(LOOK);
        let mut moved = (Instant::now(), 0);
        let (mut readers, mut arrived_at) = (Vec::new(), None);
        loop {
            tokio::select! {
                biased;
                Some(read) = self.reading.join_next() => readers.push(joined(read)?),
                Some(published) = self.publishing.join_next() => joined(published)?,
                () = self.has_read_all.notified() => {}
                _ = look.tick() => {}
            }
            let (acknowledged, read) = (self.tally.acknowledged(), self.tally.read());
            progress.show(began.elapsed(), acknowledged, read);
            if self.publishing.is_empty() && read >= totals.deliveries && arrived_at.is_none() {
                arrived_at = Some(Instant::now());
                self.is_over.send_replace(true);
            }
            if let Some(at) = arrived_at.filter(|_| self.reading.is_empty()) {
                progress.clear();
                return Ok(Arrived { readers, at });
            }
            if moved.1 != acknowledged + read {
                moved = (Instant::now(), acknowledged + read);
            } else if moved.0.elapsed() >= settings.stall {
                progress.clear();
                return Err(self.stalled(trace, settings));
            }
        }
    }

    /// Names the one that is furthest behind: a subscriber if there is one, else a publisher.
    fn stalled(&self, trace: &Trace, settings: &Settings) -> Fault {
        let seconds = settings.stall.as_secs();
        let each = trace.transactions.len() as u64;
        let (subscriber, document, read) = self.tally.slowest_subscriber();
        let (publisher, place, acknowledged) = self.tally.slowest_publisher();
        let (party, document, done) = if self.publishing.is_empty()
            || (read < each * settings.publishers as u64 && acknowledged == each)
        {
            (Party::Subscriber(subscriber), document, read)
        } else {
            (Party::Publisher(publisher), place, acknowledged)
        };
        let what = What::Stalled { seconds, waiting_for: done + 1 };
        Fault { party, document: Some(document), what }
    }
}

/// A task's result; a task that panicked makes this one panic.
fn joined<T>(result: Result<Result<T, Fault>, tokio::task::JoinError>) -> Result<T, Fault> {
    match result {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => unreachable!("tasks are cancelled only after the last is awaited"),
        },
    }
}

/// The hash of each document, if every lane is whole and all subscribers agree.
fn compare(
    trace: &Trace,
    settings: &Settings,
    mut readers: Vec<(usize, usize, Reader)>,
) -> Result<Vec<u64>, Fault> {
    readers.sort_by_key(|(subscriber, document, _)| (*subscriber, *document));
    let mut hashes: Vec<u64> = Vec::with_capacity(settings.documents);
    for (subscriber, document, reader) in &readers {
        let fault =
            |what| Fault { party: Party::Subscriber(*subscriber), document: Some(*document), what };
        reader.verify(trace).map_err(fault)?;
        let own = reader.hash();
        match hashes.get(*document) {
            None => hashes.push(own),
            Some(&first) if first != own => return Err(fault(What::Hash { own, first })),
            Some(_) => {}
        }
    }
    Ok(hashes)
}

/// A subscriber that has opened every document and stands at its beginning.
async fn subscribe(
    settings: &Settings,
    names: &[String],
    index: usize,
) -> Result<(Subscriber, Vec<Subscription>), Fault> {
    let party = Party::Subscriber(index);
    let fault = |document, what| Fault { party, document, what };
    let started = |why: String| What::NotStarted(why);
    let is_last = index + 1 == settings.subscribers;
    let way = settings.subscriber_via.as_ref().filter(|_| is_last).unwrap_or(&settings.server);
    let options = ClientOptions { healing: Healing::Off, ..client_options() };
    let client = Client::connect_with(way.clone(), options)
        .await
        .map_err(|error| fault(None, started(error.to_string())))?;
    let (mut publishers, mut subscriptions) = (Vec::new(), Vec::new());
    for (place, name) in names.iter().enumerate() {
        let document = client
            .open(name, OpenOptions::read().wait())
            .await
            .map_err(|error| opening::fault(name, Policy::Wait, &error))
            .map_err(|why| fault(Some(place), started(why)))?;
        let next = document.opened().next_sequence;
        if next != 1 || document.opened().start_sequence != 1 {
            return Err(fault(Some(place), What::NotFresh(next)));
        }
        let (publisher, subscription) = document.split();
        publishers.push(publisher);
        subscriptions.push(subscription);
    }
    Ok((Subscriber { client, publishers }, subscriptions))
}

/// A publisher that has opened every document for writing.
async fn connect_publisher(
    settings: &Settings,
    names: &[String],
    index: usize,
) -> Result<(Client, Vec<Document>), Fault> {
    let party = Party::Publisher(index);
    let fault = |document, error: String| Fault { party, document, what: What::NotStarted(error) };
    let is_last = index + 1 == settings.publishers;
    let way = settings.publisher_via.as_ref().filter(|_| is_last).unwrap_or(&settings.server);
    let client = Client::connect_with(way.clone(), client_options())
        .await
        .map_err(|error| fault(None, error.to_string()))?;
    let producer = random().max(1);
    let mut documents = Vec::new();
    for (place, name) in names.iter().enumerate() {
        let opened = client.open(name, OpenOptions::write(producer)).await;
        documents.push(opened.map_err(|error| fault(Some(place), error.to_string()))?);
    }
    Ok((client, documents))
}

/// Everybody leaves in order; a subscriber whose client fails even now was not served whole.
async fn goodbye(publishers: Vec<Client>, subscribers: Vec<Subscriber>) -> Result<(), Fault> {
    for (index, subscriber) in subscribers.into_iter().enumerate() {
        for publisher in subscriber.publishers {
            publisher.close().await;
        }
        if let Some(failure) = subscriber.client.failure() {
            let what = What::Session(failure.to_string());
            return Err(Fault { party: Party::Subscriber(index), document: None, what });
        }
        subscriber.client.close().await;
    }
    for client in publishers {
        client.close().await;
    }
    Ok(())
}

fn client_options() -> ClientOptions {
    ClientOptions {
        program: concat!("deltaworks-replay/", env!("CARGO_PKG_VERSION")).to_owned(),
        // What cannot be healed in so many tries is a fault, not a reason to wait for ever.
        reconnects_max: Some(8),
        ..ClientOptions::default()
    }
}

/// Names that no other run uses.
fn document_names(settings: &Settings) -> Vec<String> {
    let run = random();
    let name = |document| match &settings.collection {
        Some(collection) => format!("{collection}/replay-{run:016x}-{document}"),
        None => format!("replay-{run:016x}-{document}"),
    };
    (0..settings.documents).map(name).collect()
}

/// A number that the system draws.
fn random() -> u64 {
    RandomState::new().hash_one(Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::editing::{Recipe, encode_delta, generate};

    /// A document of two lanes as one subscriber read it; `order` is that of the first two deltas.
    fn arrived(trace: &Trace, order: [u32; 2]) -> Reader {
        let mut reader = Reader::new(trace, 2);
        let mut sequence = 0;
        for (index, patches) in trace.transactions.iter().enumerate() {
            for lane in if index == 0 { order } else { [0, 1] } {
                let mut delta = Vec::new();
                encode_delta(lane, index as u32, patches, &mut delta).expect("fits a delta");
                sequence += 1;
                reader.take(sequence, &delta).expect("in order");
            }
        }
        reader
    }

    fn settings() -> Settings {
        Settings {
            server: Endpoint::Tcp("127.0.0.1:1".to_owned()),
            subscriber_via: None,
            publisher_via: None,
            publishers: 2,
            subscribers: 2,
            documents: 1,
            batch_deltas: 1,
            collection: None,
            stall: Duration::from_secs(1),
        }
    }

    #[test]
    fn subscribers_that_read_another_order_disagree_though_their_texts_are_right() {
        let trace = generate(&Recipe { seed: 5, transactions: 50, chars_max: 1_000 });
        let same = vec![(1, 0, arrived(&trace, [0, 1])), (0, 0, arrived(&trace, [0, 1]))];
        let hashes = compare(&trace, &settings(), same).expect("they agree");
        assert_eq!(hashes, [arrived(&trace, [0, 1]).hash()]);
        let other = vec![(0, 0, arrived(&trace, [0, 1])), (1, 0, arrived(&trace, [1, 0]))];
        let fault = compare(&trace, &settings(), other).expect_err("they disagree");
        assert_eq!((fault.party, fault.document), (Party::Subscriber(1), Some(0)));
        assert!(matches!(fault.what, What::Hash { .. }), "{fault}");
    }

    #[test]
    fn names_are_of_one_run() {
        let (first, second) = (document_names(&settings()), document_names(&settings()));
        assert_ne!(first, second);
        let settings =
            Settings { collection: Some("texts".to_owned()), documents: 2, ..settings() };
        let names = document_names(&settings);
        assert!(names.iter().all(|name| name.starts_with("texts/replay-")), "{names:?}");
        assert_ne!(names[0], names[1]);
    }
}
