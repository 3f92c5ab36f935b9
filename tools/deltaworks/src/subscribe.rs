//! `deltaworks sub`: a document's stream, printed delta by delta.
//!
//! Owned by the command line. Deltas, gaps, infos and the end are printed in stream order, and written
//! out whenever nothing more is there. Whoever reads them slowly is a slow subscriber: the policy says
//! what happens. Control characters in other people's texts are escaped.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use deltaworks_client::{Batch, Endpoint, Event, OpenOptions, OpenedDocument, Start};
use serde_json::{Value, json};

use crate::{exit, opening, output, publish};

/// Events taken at once at most.
const EVENTS_MAX: usize = 64;

const EXAMPLES: &str = "\
Examples:
  deltaworks sub notes
  deltaworks sub notes --from start --count 10
  deltaworks sub notes --from 120@9034715260 --policy wait --json

A delta that is UTF-8 is printed as text, another one in hexadecimal; in collections of CBOR it is
printed in the diagnostic notation of RFC 8949. On standard error stands where the stream began, with
the epoch that --from SEQUENCE@EPOCH takes to go on later.

Exit codes:
  0  --count deltas were printed, or nobody reads them any more
  1  no server, no document, or the connection failed for good
  2  the command line is wrong
  5  the document ended before that";

/// Prints the deltas of a document as they come
#[derive(Debug, Args)]
#[command(name = "sub", after_help = EXAMPLES)]
pub struct SubscribeCommand {
    /// Document to read: COLLECTION/NAME, or NAME in the default collection
    document: String,
    /// Where the server listens: tcp:HOST:PORT or unix:PATH
    #[arg(long, value_name = "ADDRESS", default_value = crate::DEFAULT_SERVER)]
    server: Endpoint,
    /// Where to begin: live, start (the oldest in memory), or SEQUENCE@EPOCH
    #[arg(long, value_name = "PLACE", default_value = "live")]
    from: From,
    /// What happens to a reader that falls behind; by default what the collection says
    #[arg(long, value_enum)]
    policy: Option<Policy>,
    /// Prints one line of JSON for each event
    #[arg(long)]
    json: bool,
    /// Ends after so many deltas
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// What happens to a subscriber that falls behind.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Policy {
    /// It goes on at the oldest that is still there, and is told what it missed
    Gap,
    /// The document's publishers are slowed
    Wait,
    /// It goes on with the newest, and is told what it missed
    Skip,
    /// It gets the newest value of every key, and is told what it missed
    Conflate,
    /// It is told what it missed, and ends
    Close,
}

impl core::convert::From<Policy> for deltaworks_client::Policy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Gap => Self::Gap,
            Policy::Wait => Self::Wait,
            Policy::Skip => Self::Skip,
            Policy::Conflate => Self::Conflate,
            Policy::Close => Self::Close,
        }
    }
}

/// Where a subscription begins, as the command line writes it.
#[derive(Clone, Copy, Debug)]
struct From(Start);

impl FromStr for From {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<From, &'static str> {
        const WHAT: &str = "live, start, or SEQUENCE@EPOCH";
        Ok(From(match text {
            "live" => Start::Live,
            "start" => Start::Window,
            place => {
                let (sequence, epoch) = place.split_once('@').ok_or(WHAT)?;
                let number = |text: &str| text.parse().map_err(|_| WHAT);
                Start::Sequence { sequence: number(sequence)?, epoch: number(epoch)? }
            }
        }))
    }
}

impl SubscribeCommand {
    /// Does it.
    pub fn run(self) -> ExitCode {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let outcome = match runtime {
            Ok(runtime) => runtime.block_on(self.subscribe()),
            Err(error) => Err(error.to_string()),
        };
        outcome.unwrap_or_else(|error| {
            output::complain(error);
            exit::failed()
        })
    }

    async fn subscribe(self) -> Result<ExitCode, String> {
        let client = publish::connect(&self.server).await?;
        let policy = self.policy.map(Into::into).unwrap_or_default();
        let options = OpenOptions::read().from(self.from.0).policy(policy);
        let document = client
            .open(&self.document, options)
            .await
            .map_err(|error| opening::fault(&self.document, policy, &error))
            .map_err(|why| format!("{}: {why}", self.document))?;
        let opened = document.opened();
        let mut printer = Printer {
            is_cbor: opened.kind != "opaque",
            json: self.json,
            left: self.count,
            lines: String::new(),
        };
        printer.opened(&self.document, &opened);
        let (_publisher, mut subscription) = document.split();
        let mut events = Vec::new();
        let mut end = None;
        loop {
            if printer.write().is_err() {
                return Ok(ExitCode::SUCCESS);
            }
            if let Some(end) = end {
                client.close().await;
                return end;
            }
            subscription.next_events(&mut events, EVENTS_MAX).await;
            if events.is_empty() {
                return Err("the subscription ended".to_owned());
            }
            for event in events.drain(..) {
                end = end.or_else(|| printer.event(&event));
            }
        }
    }
}

/// Makes lines of what comes.
#[derive(Debug)]
struct Printer {
    is_cbor: bool,
    json: bool,
    /// Deltas to print before the end, if there is one.
    left: Option<u64>,
    lines: String,
}

impl Printer {
    fn opened(&mut self, document: &str, opened: &OpenedDocument) {
        let OpenedDocument { epoch, start_sequence, next_sequence, window_start, .. } = *opened;
        let policy = opened.policy.and_then(deltaworks_client::Policy::name);
        let told = policy.map_or(String::new(), |policy| format!(", {policy} when behind"));
        output::complain(format_args!(
            "{document} ({}): from sequence {start_sequence}, epoch {epoch}{told}",
            opened.kind
        ));
        let info = opened.info.as_deref().map(diagnostic);
        if self.json {
            self.line(&json!({
                "event": "opened", "document": document, "kind": opened.kind,
                "epoch": epoch.to_string(),
                "start_sequence": start_sequence, "next_sequence": next_sequence,
                "window_start": window_start, "info": info, "policy": policy,
            }));
        } else if let Some(info) = info {
            self.text(&format!("info {info}"));
        }
    }

    /// Prints one event; an end if this was the last.
    fn event(&mut self, event: &Event) -> Option<Result<ExitCode, String>> {
        match event {
            Event::Batch(batch) => return self.batch(batch),
            Event::Info(info) => {
                let map = diagnostic(info.map());
                if self.json {
                    self.line(&json!({ "event": "info", "info": map }));
                } else {
                    self.text(&format!("info {map}"));
                }
            }
            Event::Gap { from, to, policy, behind_bytes } => {
                let policy = policy.name();
                if self.json {
                    self.line(&json!({
                        "event": "gap", "from": from, "to": to, "deltas": to - from,
                        "policy": policy, "behind_bytes": behind_bytes,
                    }));
                } else {
                    let (policy, last) = (policy.unwrap_or("gap"), to - 1);
                    let deltas = crate::quantity::things(to - from, "delta");
                    self.text(&format!(
                        "{policy}: sequences {from} to {last} will not come: {deltas}, \
                         {behind_bytes} bytes behind"
                    ));
                }
            }
            Event::EpochChanged { epoch, sequence } => {
                if self.json {
                    let line = json!({ "event": "epoch", "epoch": epoch.to_string(), "sequence": sequence });
                    self.line(&line);
                } else {
                    self.text(&format!(
                        "the history was lost: epoch {epoch} goes on with sequence {sequence}"
                    ));
                }
            }
            Event::Closed { code } => {
                let name = deltaworks_client::ErrorCode::from_number(*code)
                    .map_or_else(|| code.to_string(), |code| code.to_string());
                if self.json {
                    self.line(&json!({ "event": "closed", "code": code, "text": name }));
                } else {
                    self.text(&format!("closed: {name}"));
                }
                return Some(Ok(exit::ended()));
            }
            Event::Failed(fault) => {
                if self.json {
                    self.line(&json!({ "event": "failed", "fault": fault.to_string() }));
                }
                return Some(Err(fault.to_string()));
            }
        }
        None
    }

    fn batch(&mut self, batch: &Batch) -> Option<Result<ExitCode, String>> {
        let image = batch.image();
        for (place, delta) in batch.deltas().enumerate() {
            let sequence = batch.first_sequence() + place as u64;
            if self.json {
                let mut line = json!({
                    "event": "delta", "sequence": sequence, "time_us": image.time_us(),
                    "origin": image.origin(),
                });
                match std::str::from_utf8(delta) {
                    Ok(text) if !self.is_cbor => line["text"] = text.into(),
                    _ => line["hex"] = hex(delta).into(),
                }
                if self.is_cbor {
                    line["cbor"] = diagnostic(delta).into();
                }
                self.line(&line);
            } else {
                let shown = match std::str::from_utf8(delta) {
                    _ if self.is_cbor => diagnostic(delta),
                    Ok(text) => text.to_owned(),
                    Err(_) => format!("0x{}", hex(delta)),
                };
                self.text(&format!("{sequence} {shown}"));
            }
            if let Some(left) = &mut self.left {
                *left -= 1;
                if *left == 0 {
                    return Some(Ok(ExitCode::SUCCESS));
                }
            }
        }
        None
    }

    fn line(&mut self, line: &Value) {
        // A string takes everything.
        let _ = writeln!(self.lines, "{line}");
    }

    /// Adds a line without anything that would steer a terminal.
    fn text(&mut self, line: &str) {
        for char in line.chars() {
            if char.is_control() && char != '\t' {
                self.lines.extend(char.escape_default());
            } else {
                self.lines.push(char);
            }
        }
        self.lines.push('\n');
    }

    fn write(&mut self) -> io::Result<()> {
        let mut output = io::stdout().lock();
        output.write_all(self.lines.as_bytes())?;
        self.lines.clear();
        output.flush()
    }
}

fn diagnostic(cbor: &[u8]) -> String {
    minicbor::display(cbor).to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // A string takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        let read = |text: &str| text.parse::<From>().map(|from| from.0);
        assert_eq!(read("live"), Ok(Start::Live));
        assert_eq!(read("start"), Ok(Start::Window));
        assert_eq!(read("7@9"), Ok(Start::Sequence { sequence: 7, epoch: 9 }));
        for text in ["", "7", "7@", "@9", "-1@9", "7@x", "end"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_would_steer_a_terminal_is_escaped() {
        let mut printer = Printer { is_cbor: false, json: false, left: None, lines: String::new() };
        printer.text("a\u{1b}[2J\u{9b}\tb\u{301}");
        assert_eq!(printer.lines, "a\\u{1b}[2J\\u{9b}\tb\u{301}\n");
    }
}
