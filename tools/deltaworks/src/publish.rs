//! `deltaworks pub`: each line becomes a delta of a document, and each batch's answer is printed.
//!
//! ```text
//! --text, file or standard input ──lines──▶ queue of 1,024 ──what is there──▶ batch ──▶ server
//!                                            printed in order ◀── accepted, duplicate, refused
//! ```
//!
//! Owned by the command line. Batching is by availability: a batch is what has been read, at most 256
//! deltas, never what a timer has collected. A full queue stops the reading.

use std::collections::VecDeque;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use deltaworks_client::{
    BatchBuilder, BuildError, Client, ClientOptions, Document, Endpoint, OpenOptions, Outcome,
    PublishTicket, Refusal,
};
use deltaworks_schema::mapping;
use serde_json::json;
use tokio::sync::mpsc;

use crate::editing::delta::DELTA_BYTES_MAX;
use crate::{exit, output};

/// Deltas of a batch at most.
const BATCH_DELTAS_MAX: usize = 256;
/// Deltas that were read and wait to be published at most.
const QUEUE_MAX: usize = 1_024;
/// Batches that wait for their answer at most.
const TICKETS_MAX: usize = 256;
/// Bytes of a line at most: JSON may be longer than the CBOR it becomes.
const LINE_BYTES_MAX: usize = 4 * DELTA_BYTES_MAX;

const EXAMPLES: &str = "\
Examples:
  deltaworks pub notes --text 'hello'
  printf 'one\\ntwo\\n' | deltaworks pub notes --server unix:/run/deltaworks.sock
  deltaworks pub shop/orders --json-values --text '{\"id\":7,\"paid\":true}'

Each line is one delta; empty lines are left out. Each batch's answer is printed when it comes.

Exit codes:
  0  everything was accepted
  1  no server, no document, or an input that is none
  2  the command line is wrong
  4  a batch was refused; the others were accepted
  5  nobody knows what became of a batch, or it was not sent";

/// Publishes lines as deltas of a document
#[derive(Debug, Args)]
#[command(name = "pub", after_help = EXAMPLES)]
pub struct PublishCommand {
    /// Document to publish into: COLLECTION/NAME, or NAME in the default collection
    document: String,
    /// Where the server listens: tcp:HOST:PORT or unix:PATH
    #[arg(long, value_name = "ADDRESS", default_value = crate::DEFAULT_SERVER)]
    server: Endpoint,
    /// Reads lines from this file instead of standard input
    #[arg(long, value_name = "PATH", conflicts_with = "text")]
    file: Option<PathBuf>,
    /// Publishes this text instead of standard input; may be given again
    #[arg(long)]
    text: Vec<String>,
    /// Takes each line as JSON and publishes it as CBOR
    #[arg(long)]
    json_values: bool,
    /// Sets the document's info to this JSON map, before anything else
    #[arg(long, value_name = "JSON")]
    info: Option<String>,
    /// Identity of the writer, not 0, so that a resend is recognised; drawn by lot if not given
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    producer: Option<u64>,
    /// Prints each answer as one line of JSON
    #[arg(long)]
    json: bool,
}

impl PublishCommand {
    /// Does it.
    pub fn run(self) -> ExitCode {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let outcome = match runtime {
            Ok(runtime) => {
                let outcome = runtime.block_on(self.publish());
                // A thread that still reads standard input does not hold the end up.
                runtime.shutdown_background();
                outcome
            }
            Err(error) => Err(error.to_string()),
        };
        outcome.unwrap_or_else(|error| {
            output::complain(error);
            exit::failed()
        })
    }

    async fn publish(mut self) -> Result<ExitCode, String> {
        let info = match self.info.take() {
            Some(info) => Some(to_cbor(info.as_bytes()).map_err(|why| format!("--info: {why}"))?),
            None => None,
        };
        let client = connect(&self.server).await?;
        let producer =
            self.producer.unwrap_or_else(|| RandomState::new().hash_one(Instant::now()).max(1));
        let document = client
            .open(&self.document, OpenOptions::write(producer))
            .await
            .map_err(|error| format!("{}: {error}", self.document))?;
        let mut answers = Answers { sent: VecDeque::new(), json: self.json, worst: Worst::Fine };
        if let Some(info) = info {
            let ticket =
                document.publisher().publish_info(&info).await.map_err(|e| e.to_string())?;
            answers.sent.push_back((0, ticket));
        }
        let (sender, lines) = mpsc::channel(QUEUE_MAX);
        let json_values = self.json_values;
        std::thread::spawn(move || self.read_lines(&sender));
        let published = publish_all(&document, lines, json_values, &mut answers).await;
        answers.drain().await;
        document.close().await;
        client.close().await;
        published?;
        Ok(answers.worst.code())
    }

    /// Sends every line on, or why reading ended.
    fn read_lines(&self, lines: &mpsc::Sender<Result<Vec<u8>, String>>) {
        let read = if self.text.is_empty() {
            match &self.file {
                Some(path) => File::open(path)
                    .map_err(|error| error.to_string())
                    .and_then(|file| read_lines(BufReader::new(file), lines))
                    .map_err(|error| format!("{}: {error}", path.display())),
                None => read_lines(io::stdin().lock(), lines)
                    .map_err(|error| format!("standard input: {error}")),
            }
        } else {
            for text in &self.text {
                // Nobody listens any more once publishing has failed.
                let _ = lines.blocking_send(Ok(text.clone().into_bytes()));
            }
            Ok(())
        };
        if let Err(error) = read {
            let _ = lines.blocking_send(Err(error));
        }
    }
}

/// A client that gives up after some tries.
pub(crate) async fn connect(server: &Endpoint) -> Result<Client, String> {
    let options = ClientOptions {
        program: concat!("deltaworks/", env!("CARGO_PKG_VERSION")).to_owned(),
        reconnects_max: Some(8),
        ..ClientOptions::default()
    };
    Client::connect_with(server.clone(), options)
        .await
        .map_err(|error| format!("{server}: {error}"))
}

fn read_lines(
    mut input: impl BufRead,
    lines: &mpsc::Sender<Result<Vec<u8>, String>>,
) -> Result<(), String> {
    loop {
        let mut line = Vec::new();
        let mut bounded = input.by_ref().take(LINE_BYTES_MAX as u64 + 2);
        let bytes = bounded.read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
        if bytes == 0 {
            return Ok(());
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.len() > LINE_BYTES_MAX {
            return Err(format!("a line of more than {LINE_BYTES_MAX} bytes"));
        }
        if !line.is_empty() && lines.blocking_send(Ok(line)).is_err() {
            return Ok(());
        }
    }
}

/// Publishes what comes, batch by batch, and prints answers as they come.
async fn publish_all(
    document: &Document,
    mut lines: mpsc::Receiver<Result<Vec<u8>, String>>,
    json_values: bool,
    answers: &mut Answers,
) -> Result<(), String> {
    let mut batch = document.publisher().batch();
    loop {
        let line = tokio::select! {
            biased;
            () = answers.next(), if !answers.sent.is_empty() => continue,
            line = lines.recv(), if answers.sent.len() < TICKETS_MAX => line,
        };
        let Some(line) = line else { return Ok(()) };
        let mut next = Some(line);
        while let Some(line) = next.take() {
            let delta = if json_values { to_cbor(&line?)? } else { line? };
            append(document, &mut batch, &delta, answers).await?;
            if batch.count() < BATCH_DELTAS_MAX {
                next = lines.try_recv().ok();
            }
        }
        send(document, &mut batch, answers).await?;
    }
}

async fn append(
    document: &Document,
    batch: &mut BatchBuilder,
    delta: &[u8],
    answers: &mut Answers,
) -> Result<(), String> {
    match batch.append(delta) {
        Err(BuildError::TooLong(_) | BuildError::TooManyDeltas(_)) if !batch.is_empty() => {
            send(document, batch, answers).await?;
            batch.append(delta).map_err(|error| error.to_string())
        }
        result => result.map_err(|error| error.to_string()),
    }
}

async fn send(
    document: &Document,
    batch: &mut BatchBuilder,
    answers: &mut Answers,
) -> Result<(), String> {
    let deltas = batch.count();
    let ticket = document.publish_batch(batch).await.map_err(|error| error.to_string())?;
    answers.sent.push_back((deltas, ticket));
    Ok(())
}

fn to_cbor(json: &[u8]) -> Result<Vec<u8>, String> {
    let value = serde_json::from_slice(json).map_err(|error| format!("not JSON: {error}"))?;
    mapping::to_cbor(&value).map_err(|error| error.to_string())
}

/// Batches on their way, and what became of the others.
#[derive(Debug)]
struct Answers {
    /// How many deltas each has; 0 for an info.
    sent: VecDeque<(usize, PublishTicket)>,
    json: bool,
    worst: Worst,
}

/// The worst answer that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Worst {
    Fine,
    Refused,
    Unknown,
}

impl Worst {
    fn code(self) -> ExitCode {
        match self {
            Worst::Fine => ExitCode::SUCCESS,
            Worst::Refused => exit::refused(),
            Worst::Unknown => exit::ended(),
        }
    }
}

impl Answers {
    /// Waits for the oldest answer and prints it; cancelled before, it has done nothing.
    async fn next(&mut self) {
        let Some((deltas, ticket)) = self.sent.front_mut() else { return };
        let (deltas, outcome) = (*deltas, ticket.await);
        self.sent.pop_front();
        self.worst = self.worst.max(match outcome {
            Outcome::Accepted { .. } | Outcome::Duplicate { .. } => Worst::Fine,
            Outcome::Refused(_) => Worst::Refused,
            Outcome::Unknown(_) | Outcome::NotSent => Worst::Unknown,
        });
        let line =
            if self.json { answer_json(deltas, &outcome) } else { answer_text(deltas, &outcome) };
        output::print(line);
    }

    async fn drain(&mut self) {
        while !self.sent.is_empty() {
            self.next().await;
        }
    }
}

fn answer_text(deltas: usize, outcome: &Outcome) -> String {
    let what = match deltas {
        0 => "info".to_owned(),
        1 => "1 delta".to_owned(),
        _ => format!("{deltas} deltas"),
    };
    let from = |sequence: &Option<u64>| match sequence {
        Some(sequence) => format!(", from sequence {sequence}"),
        None => String::new(),
    };
    match outcome {
        Outcome::Accepted { sequence } => format!("accepted: {what}{}", from(sequence)),
        Outcome::Duplicate { sequence } => {
            format!("accepted before: {what}{}", from(sequence))
        }
        Outcome::Refused(refusal) => format!("refused: {what}: {refusal}{}", place(refusal)),
        Outcome::Unknown(reason) => format!("unknown whether applied: {what} ({reason:?})"),
        Outcome::NotSent => format!("not sent: {what}"),
    }
}

fn place(refusal: &Refusal) -> String {
    match &refusal.schema_path {
        Some(path) => format!(", schema {path:?}"),
        None => String::new(),
    }
}

fn answer_json(deltas: usize, outcome: &Outcome) -> String {
    let (name, sequence) = match outcome {
        Outcome::Accepted { sequence } => ("accepted", *sequence),
        Outcome::Duplicate { sequence } => ("duplicate", *sequence),
        Outcome::Refused(_) => ("refused", None),
        Outcome::Unknown(_) => ("unknown", None),
        Outcome::NotSent => ("not_sent", None),
    };
    let mut line = json!({ "outcome": name, "deltas": deltas, "sequence": sequence });
    if let Outcome::Refused(refusal) = outcome {
        line["error"] = json!({
            "code": refusal.code,
            "text": refusal.text,
            "delta": refusal.delta,
            "instance_path": refusal.instance_path,
            "schema_path": refusal.schema_path,
            "offset": refusal.offset,
        });
    }
    if let Outcome::Unknown(reason) = outcome {
        line["reason"] = json!(format!("{reason:?}"));
    }
    line.to_string()
}
