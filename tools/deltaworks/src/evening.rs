//! `deltaworks rebalance`: documents move from loaded workers to those with room, or what would move.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::admin::{self, Admin, AdminArguments, AdminError};
use crate::table::{Side, Table, terminal_width};
use crate::workers::percent;
use crate::{output, relocation};

const EXAMPLES: &str = "\
Examples:
  deltaworks rebalance --dry-run
  deltaworks rebalance --dry-run --json | jq '.placements[] | {document, from, to, reason}'
  deltaworks rebalance

The balancer of a daemon does this by itself when workers have been uneven for a while; this asks it
now. With --dry-run nothing is moved: it tells each worker's load as it is and as it would be, and
each document with why: `evening` for one that evens the loads, `emptying` for one of a drained
worker; `promotion` and `demotion` are what becomes of hot documents, which the daemon does by
itself.

Without it, what evens and empties is moved, `moves_per_second` of the configuration at most, one at
least. Who interrupts this interrupts nothing in the daemon.

Exit codes:
  0  done, or told
  1  the daemon refused, or its answer is none
  2  the command line is wrong
  3  some documents could not be moved; they are told with why
  6  no daemon answers on its admin socket";

/// Evens the loads of the workers, or tells what would be moved
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RebalanceCommand {
    #[command(flatten)]
    admin: AdminArguments,
    /// Moves nothing, and tells what would be moved
    #[arg(long)]
    dry_run: bool,
    /// Prints what the daemon tells as one line of JSON
    #[arg(long)]
    json: bool,
}

/// What the balancer would do.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Rehearsal {
    /// The workers.
    pub workers: Vec<Shift>,
    /// What would be done.
    pub placements: Vec<Placement>,
    /// Documents that may move in a second.
    pub moves_per_second: u64,
}

/// A worker's load before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Shift {
    /// The worker.
    pub worker: u16,
    /// Its load now, as a part of its core.
    pub load_before_ratio: f64,
    /// Its load afterwards.
    pub load_after_ratio: f64,
}

/// A document that would go elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Placement {
    /// The document.
    pub document: String,
    /// Its owner.
    pub from: u16,
    /// Who would be its owner.
    pub to: u16,
    /// The elastic worker that it would have.
    pub elastic: Option<u16>,
    /// Why.
    pub reason: String,
    /// Its load, as a part of a core.
    pub load_ratio: f64,
}

impl RebalanceCommand {
    /// Does it.
    pub fn run(self) -> ExitCode {
        admin::ask(&self.admin.clone(), async |admin| {
            if !self.dry_run {
                let told = relocation::carry_out(&admin, "/v1/rebalance").await?;
                return relocation::show(told, self.json);
            }
            let told = rehearse(&admin).await?;
            match self.json {
                true => output::print(told),
                false => {
                    let told: Rehearsal = admin::understood("the rehearsal", told)?;
                    told.lines().iter().for_each(output::print);
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

async fn rehearse(admin: &Admin) -> Result<Value, AdminError> {
    admin.get("/v1/rehearsal", Duration::ZERO).await
}

impl Rehearsal {
    fn lines(&self) -> Vec<String> {
        let width = terminal_width();
        let columns = [("WORKER", Side::Right), ("LOAD", Side::Right), ("AFTER", Side::Right)];
        let mut workers = Table::new(&columns, 0);
        for shift in &self.workers {
            let Shift { worker, load_before_ratio, load_after_ratio } = shift;
            let (before, after) = (percent(*load_before_ratio), percent(*load_after_ratio));
            workers.row([worker.to_string(), before, after]);
        }
        let mut lines = workers.lines(width);
        lines.push(String::new());
        if self.placements.is_empty() {
            lines.push("nothing would be moved".to_owned());
            return lines;
        }
        let columns = [
            ("DOCUMENT", Side::Left),
            ("FROM", Side::Right),
            ("TO", Side::Right),
            ("LOAD", Side::Right),
            ("WHY", Side::Left),
        ];
        let mut placements = Table::new(&columns, 0);
        for placement in &self.placements {
            let Placement { document, from, to, elastic, reason, load_ratio } = placement;
            let why = match elastic {
                Some(elastic) => format!("{reason} to elastic {elastic}"),
                None => reason.clone(),
            };
            let load = percent(*load_ratio);
            placements.row([document.clone(), from.to_string(), to.to_string(), load, why]);
        }
        lines.extend(placements.lines(width));
        lines.push(String::new());
        lines.push(format!("at most {} a second", self.moves_per_second));
        lines
    }
}
