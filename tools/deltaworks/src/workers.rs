//! `deltaworks workers`: who owns documents in a running daemon, and how much each has to do.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::admin::{self, Admin, AdminArguments, AdminError};
use crate::table::{Side, Table};
use crate::{output, quantity};

const EXAMPLES: &str = "\
Examples:
  deltaworks workers
  deltaworks workers --json | jq '.workers[] | {worker, core, load_ratio}'

A worker is a core that owns documents. WORKER is its number, by which `deltaworks docs` names
owners. KIND is `home` for a worker that names of documents lead to, and `elastic` for one that owns
only documents that were moved to it. GUESTS are documents of other homes. LOAD is what its
documents cost it, as a part of its core; BUSY is the part of the time in which that core worked, at
whatever.

Below stands each hot document with its elastic worker: that has a core of its own, or a lane on the
core of others, which bounds what the document takes there.

Exit codes:
  0  the workers were told
  1  the daemon's answer is none
  2  the command line is wrong
  6  no daemon answers on its admin socket";

/// Lists the workers of a running daemon
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct WorkersCommand {
    #[command(flatten)]
    admin: AdminArguments,
    /// Prints what the daemon tells as one line of JSON
    #[arg(long)]
    json: bool,
}

/// What the daemon tells of its workers.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Workers {
    /// By number.
    pub workers: Vec<Worker>,
    /// Hot documents.
    pub hot: Vec<Hot>,
}

/// A hot document, and the elastic worker that it has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Hot {
    /// The elastic worker's number among these.
    pub elastic: u16,
    /// The worker on whose core it runs.
    pub worker: u16,
    /// Whether it has that core alone.
    pub has_own_core: bool,
    /// The document.
    pub document: String,
}

/// One worker.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Worker {
    /// Its number.
    pub worker: u16,
    /// Its core.
    pub core: u32,
    /// The CPU that it is pinned to.
    pub cpu: Option<u32>,
    /// It owns only documents that were moved to it.
    pub is_elastic: bool,
    /// Documents that it owns.
    pub documents: u64,
    /// Those of them whose home is another worker.
    pub guests: u64,
    /// Deltas that it has given a sequence.
    pub accepted_deltas: u64,
    /// What its documents cost it, as a part of its core.
    pub load_ratio: f64,
    /// The part of the time in which its core worked.
    pub busy_ratio: f64,
    /// Whether it is to have no documents.
    pub is_drained: bool,
}

/// Asks for the workers.
///
/// # Errors
/// Why there is no answer.
pub async fn fetch(admin: &Admin) -> Result<Value, AdminError> {
    admin.get("/v1/workers", Duration::ZERO).await
}

impl WorkersCommand {
    /// Does it.
    pub fn run(self) -> ExitCode {
        admin::ask(&self.admin.clone(), async |admin| {
            let told = fetch(&admin).await?;
            if self.json {
                output::print(told);
                return Ok(ExitCode::SUCCESS);
            }
            let told: Workers = admin::understood("the workers", told)?;
            told.lines().iter().for_each(output::print);
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl Workers {
    fn lines(&self) -> Vec<String> {
        let columns = [
            ("WORKER", Side::Right),
            ("CORE", Side::Right),
            ("CPU", Side::Right),
            ("KIND", Side::Left),
            ("DOCS", Side::Right),
            ("GUESTS", Side::Right),
            ("DELTAS", Side::Right),
            ("LOAD", Side::Right),
            ("BUSY", Side::Right),
            ("STATE", Side::Left),
        ];
        let mut table = Table::new(&columns, 3);
        for worker in &self.workers {
            table.row([
                worker.worker.to_string(),
                worker.core.to_string(),
                worker.cpu.map_or_else(|| "-".to_owned(), |cpu| cpu.to_string()),
                if worker.is_elastic { "elastic" } else { "home" }.to_owned(),
                quantity::count(worker.documents),
                quantity::count(worker.guests),
                quantity::count(worker.accepted_deltas),
                percent(worker.load_ratio),
                percent(worker.busy_ratio),
                if worker.is_drained { "drained" } else { "" }.to_owned(),
            ]);
        }
        let width = crate::table::terminal_width();
        let mut lines = table.lines(width);
        if !self.hot.is_empty() {
            lines.push(String::new());
            lines.extend(self.hot_table().lines(width));
        }
        lines
    }

    fn hot_table(&self) -> Table {
        let columns = [
            ("ELASTIC", Side::Right),
            ("WORKER", Side::Right),
            ("PLACE", Side::Left),
            ("HOT DOCUMENT", Side::Left),
        ];
        let mut table = Table::new(&columns, 3);
        for hot in &self.hot {
            let place = if hot.has_own_core { "core" } else { "lane" };
            let document = hot.document.clone();
            let numbers = [hot.elastic, hot.worker].map(|number| number.to_string());
            table.row(numbers.into_iter().chain([place.to_owned(), document]));
        }
        table
    }
}

/// A part of a whole.
pub fn percent(ratio: f64) -> String {
    format!("{:.0} %", ratio * 100.0)
}
