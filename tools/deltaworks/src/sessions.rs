//! `deltaworks sessions`: who is connected to a running daemon, and how far behind each is.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::admin::{self, Admin, AdminArguments, AdminError};
use crate::paging::Paging;
use crate::quantity;
use crate::table::{Side, Table};

const EXAMPLES: &str = "\
Examples:
  deltaworks sessions
  deltaworks sessions --sort greediest --limit 20
  deltaworks sessions --sort slowest --sample-ms 2000
  deltaworks sessions --watch 2
  deltaworks sessions --json | jq '.sessions[] | select(.is_blocked)'

SENT and GOT are bytes since it came, SENT/s and GOT/s a second over the sample. BEHIND is how many
deltas wait for the session in its documents, BYTES how much of that came since it subscribed, NEEDS
how long it takes for these at its rate, MISSED how many deltas it was told it would not get; BLOCKED
says that its socket takes nothing at present. DOCUMENTS names up to four of those that it has open.

Exit codes:
  0  the sessions were told
  1  the daemon's answer is none
  2  the command line is wrong
  6  no daemon answers on its admin socket";

/// Lists the sessions of a running daemon
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SessionsCommand {
    #[command(flatten)]
    admin: AdminArguments,
    /// What comes first
    #[arg(long, value_enum, default_value_t = SessionSort::Backlog)]
    sort: SessionSort,
    /// Milliseconds over which rates are taken
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 500,
          value_parser = clap::value_parser!(u32).range(10..=10_000))]
    sample_ms: u32,
    #[command(flatten)]
    paging: Paging,
}

/// By what sessions are sorted; the largest come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SessionSort {
    /// Deltas that wait for it
    #[default]
    Backlog,
    /// Deltas that it was told it would not get
    Missed,
    /// Bytes that it sent
    Received,
    /// Bytes that it got
    Delivered,
    /// How long it has been connected
    Age,
    /// Bytes a second that it sends
    Greediest,
    /// How long it needs for what waits for it
    Slowest,
}

impl SessionSort {
    /// The word on the command line and in the request.
    pub const fn word(self) -> &'static str {
        match self {
            SessionSort::Backlog => "backlog",
            SessionSort::Missed => "missed",
            SessionSort::Received => "received",
            SessionSort::Delivered => "delivered",
            SessionSort::Age => "age",
            SessionSort::Greediest => "greediest",
            SessionSort::Slowest => "slowest",
        }
    }

    /// The next one, around.
    #[must_use]
    pub const fn next(self) -> SessionSort {
        match self {
            SessionSort::Backlog => SessionSort::Missed,
            SessionSort::Missed => SessionSort::Received,
            SessionSort::Received => SessionSort::Delivered,
            SessionSort::Delivered => SessionSort::Age,
            SessionSort::Age => SessionSort::Greediest,
            SessionSort::Greediest => SessionSort::Slowest,
            SessionSort::Slowest => SessionSort::Backlog,
        }
    }
}

/// A page of sessions, as the daemon tells it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct SessionsPage {
    /// Sessions in all.
    pub total: u64,
    /// Over how long rates were taken.
    pub sample_ms: u64,
    /// Those of the page.
    pub sessions: Vec<SessionRow>,
}

/// One session.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct SessionRow {
    /// The core that serves it, and its place there.
    pub id: String,
    /// The core that serves it.
    pub core: u32,
    /// `tcp` or `unix`.
    pub transport: String,
    /// Who is at the other end.
    pub peer: String,
    /// Since it was accepted.
    pub age_seconds: f64,
    /// Documents that it has open.
    pub handles: u64,
    /// Those of them that it reads.
    pub subscriptions: u64,
    /// Bytes that it sent.
    pub received_bytes: u64,
    /// Bytes that it got.
    pub delivered_bytes: u64,
    /// Bytes a second that it sent over the sample.
    pub received_bytes_per_second: f64,
    /// Bytes a second that it got over the sample.
    pub delivered_bytes_per_second: f64,
    /// How long it takes for the bytes that wait, at that rate; none if it took nothing.
    pub behind_seconds: Option<f64>,
    /// Deltas that wait for it.
    pub backlog_deltas: u64,
    /// Batches that wait for it.
    pub backlog_nodes: u64,
    /// Bytes of those that were ordered since it subscribed.
    pub backlog_bytes: u64,
    /// Deltas that it was told it would not get.
    pub missed_deltas: u64,
    /// Times that a quota has withheld credit from it; older daemons do not tell.
    #[serde(default)]
    pub quota_throttled: u64,
    /// Whether its socket takes nothing at present.
    pub is_blocked: bool,
    /// Up to four of its documents.
    pub documents: Vec<String>,
}

impl SessionRow {
    /// How long it takes for what waits: nothing if nothing does, or at its rate, or for ever.
    pub fn needs(&self) -> String {
        match self.behind_seconds {
            _ if self.backlog_bytes == 0 => "-".to_owned(),
            Some(needed) => quantity::seconds(needed),
            None => "ever".to_owned(),
        }
    }

    /// The transport and the other end.
    pub fn full_peer(&self) -> String {
        format!("{}:{}", self.transport, self.peer)
    }
}

/// The request for a page.
pub fn place(sort: SessionSort, offset: u64, limit: u64, sample_ms: u32) -> String {
    let sort = sort.word();
    format!("/v1/sessions?sort={sort}&offset={offset}&limit={limit}&sample_ms={sample_ms}")
}

impl SessionsCommand {
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

    fn text(&self, page: SessionsPage) -> Vec<String> {
        let columns = [
            ("SESSION", Side::Left),
            ("PEER", Side::Left),
            ("AGE", Side::Right),
            ("OPEN", Side::Right),
            ("READS", Side::Right),
            ("SENT", Side::Right),
            ("GOT", Side::Right),
            ("SENT/s", Side::Right),
            ("GOT/s", Side::Right),
            ("BEHIND", Side::Right),
            ("BYTES", Side::Right),
            ("NEEDS", Side::Right),
            ("MISSED", Side::Right),
            ("HELD", Side::Right),
            ("BLOCKED", Side::Left),
            ("DOCUMENTS", Side::Left),
        ];
        let mut table = Table::new(&columns, columns.len() - 1);
        for session in &page.sessions {
            table.row([
                session.id.clone(),
                session.full_peer(),
                quantity::seconds(session.age_seconds),
                quantity::count(session.handles),
                quantity::count(session.subscriptions),
                quantity::bytes(session.received_bytes),
                quantity::bytes(session.delivered_bytes),
                quantity::bytes(session.received_bytes_per_second as u64),
                quantity::bytes(session.delivered_bytes_per_second as u64),
                quantity::count(session.backlog_deltas),
                quantity::bytes(session.backlog_bytes),
                session.needs(),
                quantity::count(session.missed_deltas),
                quantity::count(session.quota_throttled),
                if session.is_blocked { "yes" } else { "" }.to_owned(),
                session.documents.join(" "),
            ]);
        }
        let mut lines = table.lines(crate::table::terminal_width());
        let sort = format!("{} over {} ms", self.sort.word(), page.sample_ms);
        lines.extend(self.paging.footer("sessions", page.sessions.len(), page.total, &sort));
        lines
    }
}
