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
  deltaworks workers --json | jq '.workers[] | {worker, core, documents}'

A worker is a core that owns documents. WORKER is its number, by which `deltaworks docs` names owners.
KIND is `home` for a worker that names of documents lead to, and `elastic` for one that owns only
documents that were moved to it. BUSY is the part of the time in which its core worked, at whatever.

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
    /// Deltas that it has given a sequence.
    pub accepted_deltas: u64,
    /// The part of the time in which its core worked.
    pub busy_ratio: f64,
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
            ("DELTAS", Side::Right),
            ("BUSY", Side::Right),
        ];
        let mut table = Table::new(&columns, 3);
        for worker in &self.workers {
            table.row([
                worker.worker.to_string(),
                worker.core.to_string(),
                worker.cpu.map_or_else(|| "-".to_owned(), |cpu| cpu.to_string()),
                if worker.is_elastic { "elastic" } else { "home" }.to_owned(),
                quantity::count(worker.documents),
                quantity::count(worker.accepted_deltas),
                format!("{:.0} %", worker.busy_ratio * 100.0),
            ]);
        }
        table.lines(crate::table::terminal_width())
    }
}
