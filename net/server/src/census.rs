//! Documents and sessions as people read them: asked of every core, joined, sorted, cut into pages.
//!
//! Runs on the thread that asks; cores only list what they have, in slices. One census holds what it
//! asked for until its page is made: some 150 bytes a document, some 300 bytes a session and 32 a
//! subscription; who asks is to ask for one at a time.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use deltaworks_pipeline::document::home;
use deltaworks_pipeline::inventory::DocumentEntry;
use serde::{Deserialize, Serialize};

use crate::desk::{DatedDocument, DatedMark, Named, SocketEntry};

/// A page of what was asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Page<T> {
    /// How many there are over all pages.
    pub total: usize,
    /// Those of this page, in the order asked for.
    pub rows: Vec<T>,
}

/// What a page begins with, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Rows before the page.
    pub offset: usize,
    /// Rows of the page, at most.
    pub limit: usize,
}

/// A document.
#[derive(Clone, Debug, Serialize)]
pub struct DocumentReport {
    /// Its name.
    pub name: String,
    /// The name of its collection; empty for the default one.
    pub collection: String,
    /// The core that owns it.
    pub owner_core: usize,
    /// That core's number as a worker: the document's owner.
    pub worker: u16,
    /// The worker that its name leads to.
    pub home_worker: u16,
    /// Whether it was moved away from there.
    pub is_away: bool,
    /// Whether it is hot: it has an elastic worker.
    pub is_hot: bool,
    /// Which one.
    pub elastic: Option<u16>,
    /// Its slot.
    pub slot: u32,
    /// The slot's generation.
    pub generation: u32,
    /// Its epoch.
    pub epoch: u64,
    /// The sequence that its next delta will have.
    pub next_sequence: u64,
    /// The sequence of the first delta that memory still holds.
    pub window_start: u64,
    /// Deltas that memory holds.
    pub window_deltas: u64,
    /// Deltas given a sequence between two samples, per second; 0 without a sample.
    pub rate_deltas_per_second: f64,
    /// When the newest batch or info in memory was ordered, in microseconds since the Unix epoch;
    /// 0 if memory holds none.
    pub last_delta_unix_us: u64,
    /// Subscriptions.
    pub subscribers: u32,
    /// Producers that a session writes as.
    pub writers: u32,
    /// Deltas that subscriptions were told they would not get.
    pub missed_deltas: u64,
    /// Bytes of its images that were kept when their chunk went.
    pub kept_bytes: u64,
}

/// What documents are sorted by; the largest comes first, except of names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DocumentSort {
    /// Deltas per second.
    #[default]
    Rate,
    /// The newest delta.
    Last,
    /// Deltas in memory.
    Window,
    /// Subscriptions.
    Subscribers,
    /// Deltas that subscriptions were told they would not get.
    Missed,
    /// The name.
    Name,
}

/// A session.
#[derive(Clone, Debug, Serialize)]
pub struct SessionReport {
    /// Core and place: `CORE:PLACE`. A place is given to another session when this one has ended.
    pub id: String,
    /// Its core.
    pub core: usize,
    /// `tcp` or `unix`.
    pub transport: &'static str,
    /// The other end, as the kernel tells it.
    pub peer: String,
    /// Since it was accepted.
    pub age_seconds: f64,
    /// Handles that it has open.
    pub handles: u32,
    /// Those that read.
    pub subscriptions: usize,
    /// Bytes read from its socket.
    pub received_bytes: u64,
    /// Bytes of images that its socket took.
    pub delivered_bytes: u64,
    /// Bytes read from its socket between two samples, per second; 0 without a sample.
    pub received_bytes_per_second: f64,
    /// Bytes of images that its socket took between two samples, per second; 0 without a sample.
    pub delivered_bytes_per_second: f64,
    /// How long its socket needs for `backlog_bytes` at that rate; none if it took nothing, or without a
    /// sample.
    pub behind_seconds: Option<f64>,
    /// Deltas that its socket has not taken, over all subscriptions.
    pub backlog_deltas: u64,
    /// Images of them.
    pub backlog_nodes: u64,
    /// Bytes of those of these that were ordered since their subscription began.
    pub backlog_bytes: u64,
    /// Deltas that it was told it would not get.
    pub missed_deltas: u64,
    /// Times that a quota has withheld credit from it.
    pub quota_throttled: u64,
    /// Whether its socket is full.
    pub is_blocked: bool,
    /// Names of up to four documents that it has open, those that it lags behind first.
    pub documents: Vec<String>,
}

/// What sessions are sorted by; the largest comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionSort {
    /// Deltas that its socket has not taken, then images.
    #[default]
    Backlog,
    /// Deltas that it was told it would not get.
    Missed,
    /// Bytes received.
    Received,
    /// Bytes delivered.
    Delivered,
    /// Age.
    Age,
    /// Bytes received per second: the greediest publishers.
    Greediest,
    /// Time that its socket needs for what waits, those first that take nothing: the slowest subscribers.
    Slowest,
}

/// What sessions had received and been delivered at some moment.
#[derive(Debug, Default)]
pub struct SessionSample {
    /// By core, place and when they were accepted: a place is given to another session.
    marks: HashMap<(usize, u32, u64), Counted>,
}

/// When a core looked at a session, bytes received and bytes delivered.
type Counted = (u64, u64, u64);

impl SessionSample {
    pub(crate) fn new(entries: &[SocketEntry]) -> Self {
        let counted = |socket: &SocketEntry| {
            let counted = (socket.at_ns, socket.received_bytes, socket.delivered_bytes);
            (Self::key(socket), counted)
        };
        Self { marks: entries.iter().map(counted).collect() }
    }

    fn key(socket: &SocketEntry) -> (usize, u32, u64) {
        (socket.core, socket.entry.session.0, socket.began_ns)
    }

    /// Bytes received and delivered per second since this sample; of one that came later since it came.
    /// None without a sample of any.
    fn rates(&self, socket: &SocketEntry) -> Option<(f64, f64)> {
        let since_it_came = (socket.began_ns, 0, 0);
        let known = self.marks.get(&Self::key(socket)).copied();
        let (then_ns, received, delivered) =
            known.or((!self.marks.is_empty()).then_some(since_it_came))?;
        let seconds = socket.at_ns.saturating_sub(then_ns) as f64 / 1e9;
        let rate = |now: u64, then: u64| {
            if seconds > 0.0 { now.saturating_sub(then) as f64 / seconds } else { 0.0 }
        };
        Some((rate(socket.received_bytes, received), rate(socket.delivered_bytes, delivered)))
    }
}

/// Documents that a session's row names, at most.
const NAMES_MAX: usize = 4;

/// How far documents had come at some moment.
#[derive(Debug, Default)]
pub struct Sample {
    marks: HashMap<(u32, u32), (u64, u64)>,
}

impl Sample {
    pub(crate) fn new(marks: Vec<DatedMark>) -> Self {
        let dated = marks.into_iter().map(|(now, mark)| {
            ((mark.slot, mark.generation), (now.monotonic_ns, mark.next_sequence))
        });
        Self { marks: dated.collect() }
    }

    /// Deltas per second since this sample; a document that was not there then began at nothing,
    /// and is told as 0 because nobody knows when.
    fn rate(&self, (now, entry): &DatedDocument) -> f64 {
        let Some((then_ns, then)) = self.marks.get(&(entry.slot, entry.generation)) else {
            return 0.0;
        };
        let seconds = now.monotonic_ns.saturating_sub(*then_ns) as f64 / 1e9;
        let deltas = entry.next_sequence.saturating_sub(*then) as f64;
        if seconds > 0.0 { deltas / seconds } else { 0.0 }
    }

    fn next_sequence(&self, slot: u32, generation: u32) -> Option<u64> {
        self.marks.get(&(slot, generation)).map(|(_, next)| *next)
    }
}

/// The page of documents, each of them once. `owners` are the cores of the workers. One that moves while cores
/// are asked may be left out, if its new owner was asked before.
pub(crate) fn documents(
    mut entries: Vec<DatedDocument>,
    sample: &Sample,
    collections: &[(String, &'static str)],
    owners: &[usize],
    sort: DocumentSort,
    cut: Cut,
) -> Page<DocumentReport> {
    leave_newest(&mut entries);
    let total = entries.len();
    let rated = entries.into_iter().map(|entry| (sample.rate(&entry), entry.1));
    let rated = rated.collect::<Vec<_>>();
    let compare = |one: &(f64, _), other: &(f64, _)| compare_documents(sort, one, other);
    let rows = page(rated, cut, compare).into_iter();
    let rows = rows.map(|(rate, entry)| DocumentReport {
        name: entry.name.as_ref().to_owned(),
        collection: collections[entry.collection as usize].0.clone(),
        owner_core: owners[entry.worker as usize],
        worker: entry.worker,
        home_worker: home(entry.slot) as u16,
        is_away: home(entry.slot) != usize::from(entry.worker),
        is_hot: entry.elastic.is_some(),
        elastic: entry.elastic,
        slot: entry.slot,
        generation: entry.generation,
        epoch: entry.epoch,
        next_sequence: entry.next_sequence,
        window_start: entry.window_start,
        window_deltas: entry.next_sequence.saturating_sub(entry.window_start),
        rate_deltas_per_second: rate,
        last_delta_unix_us: entry.last_image_us,
        subscribers: entry.subscribers,
        writers: entry.writers,
        missed_deltas: entry.missed_deltas,
        kept_bytes: entry.kept_bytes,
    });
    Page { total, rows: rows.collect() }
}

/// Of a document that moved while cores were asked, so that both owners list it, leaves what was told last.
fn leave_newest(entries: &mut Vec<DatedDocument>) {
    let id = |entry: &DocumentEntry| (entry.slot, entry.generation);
    let told = |(now, entry): &DatedDocument| (now.monotonic_ns, entry.worker);
    let is_away = |(_, entry): &&DatedDocument| home(entry.slot) != usize::from(entry.worker);
    // One of two owners is not the home.
    let mut newest: HashMap<_, _> =
        entries.iter().filter(is_away).map(|dated| (id(&dated.1), told(dated))).collect();
    for dated in &*entries {
        newest.entry(id(&dated.1)).and_modify(|last| *last = told(dated).max(*last));
    }
    entries.retain(|dated| newest.get(&id(&dated.1)).is_none_or(|last| *last == told(dated)));
}

type Rated = (f64, DocumentEntry);

fn compare_documents(
    sort: DocumentSort,
    (rate, one): &Rated,
    (other_rate, other): &Rated,
) -> Ordering {
    let window = |it: &DocumentEntry| it.next_sequence - it.window_start;
    let larger_first = match sort {
        DocumentSort::Rate => other_rate.total_cmp(rate),
        DocumentSort::Last => other.last_image_us.cmp(&one.last_image_us),
        DocumentSort::Window => window(other).cmp(&window(one)),
        DocumentSort::Subscribers => other.subscribers.cmp(&one.subscribers),
        DocumentSort::Missed => other.missed_deltas.cmp(&one.missed_deltas),
        DocumentSort::Name => Ordering::Equal,
    };
    larger_first.then_with(|| one.name.cmp(&other.name))
}

/// Sessions without the names of their documents, which are asked for when the page is known.
pub(crate) fn sessions(
    entries: Vec<SocketEntry>,
    sample: &Sample,
    before: &SessionSample,
    sort: SessionSort,
    cut: Cut,
) -> Page<(SessionReport, Vec<(u32, u32)>)> {
    let total = entries.len();
    let rows: Vec<_> = entries.into_iter().map(|entry| session(entry, sample, before)).collect();
    // One that has a backlog and takes nothing needs for ever.
    let needs_seconds = |row: &SessionReport| match row.behind_seconds {
        Some(seconds) => seconds,
        None if row.backlog_bytes > 0 => f64::INFINITY,
        None => 0.0,
    };
    let compare = |(one, _): &(SessionReport, _), (other, _): &(SessionReport, _)| {
        let larger_first = match sort {
            SessionSort::Backlog => (other.backlog_deltas, other.backlog_nodes)
                .cmp(&(one.backlog_deltas, one.backlog_nodes)),
            SessionSort::Missed => other.missed_deltas.cmp(&one.missed_deltas),
            SessionSort::Received => other.received_bytes.cmp(&one.received_bytes),
            SessionSort::Delivered => other.delivered_bytes.cmp(&one.delivered_bytes),
            SessionSort::Age => other.age_seconds.total_cmp(&one.age_seconds),
            SessionSort::Greediest => {
                other.received_bytes_per_second.total_cmp(&one.received_bytes_per_second)
            }
            SessionSort::Slowest => needs_seconds(other)
                .total_cmp(&needs_seconds(one))
                .then_with(|| other.backlog_bytes.cmp(&one.backlog_bytes)),
        };
        larger_first.then_with(|| one.id.cmp(&other.id))
    };
    Page { total, rows: page(rows, cut, compare) }
}

fn session(
    socket: SocketEntry,
    sample: &Sample,
    before: &SessionSample,
) -> (SessionReport, Vec<(u32, u32)>) {
    let rates = before.rates(&socket);
    let (received_rate, delivered_rate) = rates.unwrap_or_default();
    let age_ns = socket.at_ns.saturating_sub(socket.began_ns);
    let mut readings = socket.entry.readings;
    readings.sort_by_key(|reading| std::cmp::Reverse(reading.backlog_nodes));
    let behind = |reading: &deltaworks_pipeline::inventory::Reading| {
        let first = reading.next_sequence?;
        let next = sample.next_sequence(reading.slot, reading.generation)?;
        Some(next.saturating_sub(first))
    };
    let named = readings.iter().map(|reading| (reading.slot, reading.generation));
    let mut named: Vec<_> = named.chain(socket.entry.writings).take(NAMES_MAX).collect();
    named.dedup();
    let backlog_bytes: u64 = readings.iter().map(|reading| reading.backlog_bytes).sum();
    let report = SessionReport {
        id: format!("{}:{}", socket.core, socket.entry.session.0),
        core: socket.core,
        transport: socket.transport,
        peer: socket.peer,
        age_seconds: age_ns as f64 / 1e9,
        handles: socket.entry.handles,
        subscriptions: readings.len(),
        received_bytes: socket.received_bytes,
        delivered_bytes: socket.delivered_bytes,
        received_bytes_per_second: received_rate,
        delivered_bytes_per_second: delivered_rate,
        behind_seconds: (delivered_rate > 0.0).then(|| backlog_bytes as f64 / delivered_rate),
        backlog_deltas: readings.iter().filter_map(behind).sum(),
        backlog_nodes: readings.iter().map(|reading| reading.backlog_nodes).sum(),
        backlog_bytes,
        missed_deltas: socket.entry.missed_deltas,
        quota_throttled: socket.entry.throttled,
        is_blocked: socket.is_blocked,
        documents: Vec::new(),
    };
    (report, named)
}

/// Puts the names into the rows; one that is gone by now is left out.
pub(crate) fn with_names(
    page: Page<(SessionReport, Vec<(u32, u32)>)>,
    names: Vec<Named>,
) -> Page<SessionReport> {
    let names: HashMap<(u32, u32), Arc<str>> =
        names.into_iter().map(|(slot, generation, name)| ((slot, generation), name)).collect();
    let rows = page.rows.into_iter().map(|(mut report, named)| {
        report.documents =
            named.iter().filter_map(|slot| Some(names.get(slot)?.as_ref().to_owned())).collect();
        report
    });
    Page { total: page.total, rows: rows.collect() }
}

/// The rows of the page alone, in order: the rest is never sorted.
fn page<T>(mut rows: Vec<T>, cut: Cut, compare: impl Fn(&T, &T) -> Ordering) -> Vec<T> {
    let end = cut.offset.saturating_add(cut.limit).min(rows.len());
    if end < rows.len() {
        rows.select_nth_unstable_by(end, &compare);
        rows.truncate(end);
    }
    rows.sort_unstable_by(&compare);
    rows.split_off(cut.offset.min(rows.len()))
}

#[cfg(test)]
mod tests {
    use deltaworks_runtime::clock::Now;

    use super::*;

    fn socket(place: u32, began_ns: u64, at_ns: u64, received: u64, backlog: u64) -> SocketEntry {
        let reading = deltaworks_pipeline::inventory::Reading {
            slot: 0,
            generation: 0,
            next_sequence: None,
            backlog_nodes: backlog / 100,
            backlog_bytes: backlog,
            policy: deltaworks_pipeline::message::Policy::Gap,
        };
        SocketEntry {
            core: 0,
            entry: deltaworks_pipeline::inventory::SessionEntry {
                session: deltaworks_pipeline::message::SessionId(place),
                handles: 1,
                readings: vec![reading],
                writings: Vec::new(),
                missed_deltas: 0,
                throttled: 0,
            },
            transport: "tcp",
            peer: String::new(),
            began_ns,
            at_ns,
            received_bytes: received,
            delivered_bytes: received / 2,
            is_blocked: false,
        }
    }

    fn sorted(
        before: &SessionSample,
        now: Vec<SocketEntry>,
        sort: SessionSort,
    ) -> Vec<SessionReport> {
        let cut = Cut { offset: 0, limit: 10 };
        let page = sessions(now, &Sample::default(), before, sort, cut);
        page.rows.into_iter().map(|(report, _)| report).collect()
    }

    /// Totals do not count, nor what another session in the same place had sent.
    #[test]
    fn rates_of_sessions_are_between_two_samples() {
        const SECOND: u64 = 1_000_000_000;
        let before = [socket(0, 7, 10, 1_000_000, 0), socket(1, 8, 10, 9_000, 0)];
        let before = SessionSample::new(&before);
        let at = 10 + 2 * SECOND;
        // The one in place 0 sent nothing since, another has come to place 1, and place 2 is new.
        let now = || {
            vec![
                socket(0, 7, at, 1_000_000, 5_000),
                socket(1, at - SECOND, at, 8_000, 2_000),
                socket(2, at - 2 * SECOND, at, 2_000, 0),
            ]
        };
        let greediest = sorted(&before, now(), SessionSort::Greediest);
        let told: Vec<_> =
            greediest.iter().map(|row| (row.id.as_str(), row.received_bytes_per_second)).collect();
        assert_eq!(told, [("0:1", 8_000.0), ("0:2", 1_000.0), ("0:0", 0.0)]);
        let slowest = sorted(&before, now(), SessionSort::Slowest);
        let told: Vec<_> =
            slowest.iter().map(|row| (row.id.as_str(), row.behind_seconds)).collect();
        assert_eq!(told, [("0:0", None), ("0:1", Some(0.5)), ("0:2", Some(0.0))]);
        // Without a sample there is no rate, and who has most before it comes first.
        let unsampled = sorted(&SessionSample::default(), now(), SessionSort::Slowest);
        assert_eq!(unsampled[0].id, "0:0");
        assert!(unsampled.iter().all(|row| row.received_bytes_per_second == 0.0));
    }

    /// A document that both owners list is told once, as the later one told it.
    #[test]
    fn a_document_that_moves_meanwhile_is_listed_once() {
        let listed = |at_ns: u64, slot: u32, worker: u16| {
            let now = Now { monotonic_ns: at_ns, unix_us: 0 };
            let entry = DocumentEntry {
                name: slot.to_string().into(),
                collection: 0,
                worker,
                elastic: None,
                is_guest: worker != 0,
                slot,
                generation: 1,
                epoch: 1,
                next_sequence: 1,
                window_start: 1,
                last_image_us: 0,
                subscribers: 0,
                writers: 0,
                missed_deltas: 0,
                kept_bytes: 0,
            };
            (now, entry)
        };
        // One goes away, one comes home, one stays, one is away; nobody is asked twice.
        let entries = vec![
            listed(10, 1, 0),
            listed(20, 2, 0),
            listed(10, 3, 0),
            listed(20, 1, 1),
            listed(10, 2, 1),
            listed(20, 4, 1),
        ];
        let cut = Cut { offset: 0, limit: 10 };
        let collections = [(String::new(), "opaque")];
        let by_name = DocumentSort::Name;
        let page = documents(entries, &Sample::default(), &collections, &[0, 1], by_name, cut);
        let told: Vec<_> = page.rows.iter().map(|row| (row.slot, row.worker)).collect();
        assert_eq!((page.total, told), (4, vec![(1, 1), (2, 0), (3, 0), (4, 1)]));
    }

    #[test]
    fn pages_put_together_are_the_sorted_whole() {
        let rows: Vec<u32> = (0..1000).map(|number| number * 7919 % 1009).collect();
        let mut whole = rows.clone();
        whole.sort_unstable();
        let pages = (0..=1000)
            .step_by(77)
            .flat_map(|offset| page(rows.clone(), Cut { offset, limit: 77 }, u32::cmp));
        assert_eq!(pages.collect::<Vec<_>>(), whole);
        assert!(page(rows.clone(), Cut { offset: 1000, limit: 5 }, u32::cmp).is_empty());
        assert!(page(rows, Cut { offset: usize::MAX, limit: usize::MAX }, u32::cmp).is_empty());
    }
}
