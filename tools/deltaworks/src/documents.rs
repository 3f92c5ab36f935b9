//! `deltaworks docs`: the documents of a running daemon, sorted and paged.
//!
//! Owned by the command line. Names, rates and subscribers are other people's: they are shown on the
//! admin socket alone, and escaped.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::admin::{self, Admin, AdminArguments, AdminError};
use crate::paging::Paging;
use crate::quantity;
use crate::table::{Side, Table};

const EXAMPLES: &str = "\
Examples:
  deltaworks docs
  deltaworks docs --sort subscribers --limit 20
  deltaworks docs --watch 2
  deltaworks docs --limit 1000 --json | jq '.documents[].name'

OWNER is the worker that orders the document's deltas (`deltaworks workers` tells its core), with
the worker behind a slash that it is away from, if it was moved, and `hot` if it has an elastic
worker. RATE is deltas a second over the sample; WINDOW is how many deltas a subscriber can still
begin at; MISSED how many all subscribers together were told they would not get; KEPT how much of the
window was kept when its chunk went.

Exit codes:
  0  the documents were told
  1  the daemon's answer is none
  2  the command line is wrong
  6  no daemon answers on its admin socket";

/// Lists the documents of a running daemon
#[derive(Debug, Args)]
#[command(name = "docs", after_help = EXAMPLES)]
pub struct DocumentsCommand {
    #[command(flatten)]
    admin: AdminArguments,
    /// What comes first
    #[arg(long, value_enum, default_value_t = DocumentSort::Rate)]
    sort: DocumentSort,
    /// Milliseconds over which rates are taken
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 500,
          value_parser = clap::value_parser!(u32).range(10..=10_000))]
    sample_ms: u32,
    #[command(flatten)]
    paging: Paging,
}

/// By what documents are sorted; the largest come first, names in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DocumentSort {
    /// Deltas a second
    #[default]
    Rate,
    /// The latest delta
    Last,
    /// Deltas in memory
    Window,
    /// Subscribers
    Subscribers,
    /// Deltas that subscribers were told they would not get
    Missed,
    /// Name
    Name,
}

impl DocumentSort {
    /// The word on the command line and in the request.
    pub const fn word(self) -> &'static str {
        match self {
            DocumentSort::Rate => "rate",
            DocumentSort::Last => "last",
            DocumentSort::Window => "window",
            DocumentSort::Subscribers => "subscribers",
            DocumentSort::Missed => "missed",
            DocumentSort::Name => "name",
        }
    }

    /// The next one, around.
    #[must_use]
    pub const fn next(self) -> DocumentSort {
        match self {
            DocumentSort::Rate => DocumentSort::Last,
            DocumentSort::Last => DocumentSort::Window,
            DocumentSort::Window => DocumentSort::Subscribers,
            DocumentSort::Subscribers => DocumentSort::Missed,
            DocumentSort::Missed => DocumentSort::Name,
            DocumentSort::Name => DocumentSort::Rate,
        }
    }
}

/// A page of documents, as the daemon tells it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct DocumentsPage {
    /// Documents in all.
    pub total: u64,
    /// Over how long rates were taken.
    pub sample_ms: u64,
    /// Those of the page.
    pub documents: Vec<DocumentRow>,
}

/// One document.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct DocumentRow {
    /// Its name in its collection.
    pub name: String,
    /// Its collection.
    pub collection: String,
    /// The core that orders its deltas.
    pub owner_core: u32,
    /// That core's number as a worker: its owner.
    pub worker: u16,
    /// The worker that its name leads to.
    pub home_worker: u16,
    /// Whether it was moved away from there.
    pub is_away: bool,
    /// Whether it is hot: it has an elastic worker.
    pub is_hot: bool,
    /// Its next sequence.
    pub next_sequence: u64,
    /// The oldest sequence in memory.
    pub window_start: u64,
    /// Deltas in memory.
    pub window_deltas: u64,
    /// Deltas a second over the sample.
    pub rate_deltas_per_second: f64,
    /// When the latest delta was accepted; 0 for never.
    pub last_delta_unix_us: u64,
    /// Subscribers.
    pub subscribers: u64,
    /// Writers.
    pub writers: u64,
    /// Deltas that subscribers were told they would not get.
    pub missed_deltas: u64,
    /// Bytes of it that were kept when their chunk went.
    pub kept_bytes: u64,
}

impl DocumentRow {
    /// How long ago the latest delta was accepted.
    pub fn last(&self, now_unix_us: u64) -> String {
        match self.last_delta_unix_us {
            0 => "never".to_owned(),
            last => quantity::seconds(now_unix_us.saturating_sub(last) as f64 / 1e6),
        }
    }

    /// Its owner, the worker that it is away from, and whether it is hot: `1/0 hot`.
    pub fn owner(&self) -> String {
        let hot = if self.is_hot { " hot" } else { "" };
        match self.is_away {
            true => format!("{}/{}{hot}", self.worker, self.home_worker),
            false => format!("{}{hot}", self.worker),
        }
    }

    /// The name with its collection, unless that is the default one.
    pub fn full_name(&self) -> String {
        match self.collection.as_str() {
            "" | "default" => self.name.clone(),
            collection if self.name.starts_with(&format!("{collection}/")) => self.name.clone(),
            collection => format!("{collection}/{}", self.name),
        }
    }
}

/// Microseconds since 1970, now.
pub fn now_unix_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}

/// The request for a page.
pub fn place(sort: DocumentSort, offset: u64, limit: u64, sample_ms: u32) -> String {
    let sort = sort.word();
    format!("/v1/documents?sort={sort}&offset={offset}&limit={limit}&sample_ms={sample_ms}")
}

impl DocumentsCommand {
    /// Does it.
    pub fn run(self) -> ExitCode {
        admin::ask(&self.admin.clone(), async |admin| {
            self.paging.show(async || self.page(&admin).await, |page| self.text(page)).await
        })
    }

    async fn page(&self, admin: &Admin) -> Result<Value, AdminError> {
        let Paging { offset, limit, .. } = self.paging;
        let place = place(self.sort, offset, limit, self.sample_ms);
        admin.get(&place, Duration::from_millis(u64::from(self.sample_ms))).await
    }

    fn text(&self, page: DocumentsPage) -> Vec<String> {
        let columns = [
            ("DOCUMENT", Side::Left),
            ("OWNER", Side::Right),
            ("RATE/s", Side::Right),
            ("LAST", Side::Right),
            ("NEXT", Side::Right),
            ("WINDOW", Side::Right),
            ("SUBS", Side::Right),
            ("WRITERS", Side::Right),
            ("MISSED", Side::Right),
            ("KEPT", Side::Right),
        ];
        let mut table = Table::new(&columns, 0);
        let now = now_unix_us();
        for document in &page.documents {
            table.row([
                document.full_name(),
                document.owner(),
                quantity::rate(document.rate_deltas_per_second),
                document.last(now),
                quantity::count(document.next_sequence),
                quantity::count(document.window_deltas),
                quantity::count(document.subscribers),
                quantity::count(document.writers),
                quantity::count(document.missed_deltas),
                quantity::bytes(document.kept_bytes),
            ]);
        }
        let mut lines = table.lines(crate::table::terminal_width());
        let sort = format!("{} over {} ms", self.sort.word(), page.sample_ms);
        lines.extend(self.paging.footer("documents", page.documents.len(), page.total, &sort));
        lines
    }
}
