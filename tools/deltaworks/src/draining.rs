//! `deltaworks drain`: a worker is emptied for maintenance, and may have documents again later.

use std::process::ExitCode;

use clap::Args;

use crate::admin::{self, AdminArguments};
use crate::{exit, output, relocation};

const EXAMPLES: &str = "\
Examples:
  deltaworks drain 1
  deltaworks drain 1 --undo
  deltaworks drain 1 --json | jq '.failures[] | {document, number}'

Documents of the worker move to the others, those home first that are away from there; none is moved
to it until `--undo`, which also brings home those that are away from it and not hot. A document
that is opened under a new name whose home it is begins there, and the daemon moves it away by
itself.

Who interrupts this interrupts nothing in the daemon. What could not be moved is told with its
number (docs/PLACEMENT.md), and stays where it is.

Exit codes:
  0  no document is left there; with --undo, all are home
  1  the daemon refused, or its answer is none
  2  the command line is wrong
  3  some documents could not be moved; they are told with why
  5  no worker has that number
  6  no daemon answers on its admin socket";

/// Moves all documents away from a worker
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DrainCommand {
    #[command(flatten)]
    admin: AdminArguments,
    /// Worker to empty, as `deltaworks workers` tells it
    #[arg(value_name = "WORKER")]
    worker: u16,
    /// Lets it have documents again, and brings them home
    #[arg(long)]
    undo: bool,
    /// Prints what came of it as one line of JSON
    #[arg(long)]
    json: bool,
}

impl DrainCommand {
    /// Does it.
    pub fn run(self) -> ExitCode {
        admin::ask(&self.admin.clone(), async |admin| {
            let place = format!("/v1/drain?worker={}&undo={}", self.worker, self.undo);
            match relocation::carry_out(&admin, &place).await {
                Ok(told) => relocation::show(told, self.json),
                Err(error) if error.number().is_some() => {
                    output::complain(&error);
                    Ok(exit::no_worker())
                }
                Err(error) => Err(error),
            }
        })
    }
}
