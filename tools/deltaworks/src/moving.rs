//! `deltaworks move`: a document of a running daemon goes to another worker, and its stream goes on.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::admin::{self, Admin, AdminArguments, AdminError, in_query};
use crate::table::escaped;
use crate::{exit, output, quantity};

/// No document has that name.
const NO_SUCH_DOCUMENT: u16 = 601;
/// No worker has that number.
const NO_SUCH_WORKER: u16 = 602;
/// It has not come in time.
const NOT_IN_TIME: u16 = 613;

const EXAMPLES: &str = "\
Examples:
  deltaworks move notes/1 --to 1
  deltaworks move notes/1 --to 0 --timeout 30 --json

Workers are those of `deltaworks workers`. Sessions notice nothing: order and acknowledgements stay
what they are, and what comes while the document is on its way waits for it. The pause is the time
from the old owner's last append to the new one's first; it is told if somebody was writing.

A refusal has a number from 601 on, each with one meaning (docs/PLACEMENT.md); the document then has
the owner that it had. One that is only busy is asked again until the time is up.

Exit codes:
  0  the document is there, or was there already
  1  the daemon's answer is none
  2  the command line is wrong
  3  no document has that name
  4  it was refused; standard error tells the number and why
  5  no worker has that number
  6  no daemon answers on its admin socket
  7  it has not come in time, and may still come";

/// Moves a document to another worker, while it is used
#[derive(Debug, Args)]
#[command(name = "move", after_help = EXAMPLES)]
pub struct MoveCommand {
    #[command(flatten)]
    admin: AdminArguments,
    /// Document, with its collection: notes/1
    #[arg(value_name = "DOCUMENT")]
    document: String,
    /// Worker that is to own it
    #[arg(long, value_name = "WORKER")]
    to: u16,
    /// Seconds to wait for it
    #[arg(long, value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
    /// Prints what the daemon tells as one line of JSON
    #[arg(long)]
    json: bool,
}

/// What became of a move.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Moved {
    /// The document.
    pub document: String,
    /// Its owner before.
    pub from: u16,
    /// Its owner now.
    pub to: u16,
    /// It was there already.
    pub was_there: bool,
    /// The time in which nobody could append to it; none if nobody was writing.
    pub pause_us: Option<f64>,
    /// Batches that waited for it.
    pub held_batches: u64,
}

impl MoveCommand {
    /// Does it.
    pub fn run(self) -> ExitCode {
        admin::ask(&self.admin.clone(), async |admin| {
            let told = match self.ask(&admin).await {
                Ok(told) => told,
                Err(error) => match error.number() {
                    Some(number) => {
                        output::complain(&error);
                        return Ok(ended_by(number));
                    }
                    None => return Err(error),
                },
            };
            match self.json {
                true => output::print(told),
                false => output::print(line(&admin::understood("the move", told)?)),
            }
            Ok(ExitCode::SUCCESS)
        })
    }

    async fn ask(&self, admin: &Admin) -> Result<Value, AdminError> {
        let Self { document, to, timeout, .. } = self;
        let document = in_query(document);
        let place = format!("/v1/move?document={document}&to={to}&seconds={timeout}");
        admin.post(&place, Duration::from_secs(*timeout)).await
    }
}

fn ended_by(number: u16) -> ExitCode {
    match number {
        NO_SUCH_DOCUMENT => exit::no_document(),
        NO_SUCH_WORKER => exit::no_worker(),
        NOT_IN_TIME => exit::not_in_time(),
        _ => exit::refused(),
    }
}

fn line(moved: &Moved) -> String {
    let Moved { document, from, to, was_there, pause_us, held_batches } = moved;
    let document = escaped(document);
    if *was_there {
        return format!("{document} is at worker {to} already");
    }
    let pause = match pause_us {
        Some(pause_us) => format!("a pause of {}", quantity::micros(*pause_us)),
        None => "nobody was writing".to_owned(),
    };
    let held = match held_batches {
        0 => "no batch waited".to_owned(),
        1 => "1 batch waited".to_owned(),
        _ => format!("{} waited", quantity::things(*held_batches, "batch")),
    };
    format!("{document} moved from worker {from} to worker {to}: {pause}, {held}")
}
