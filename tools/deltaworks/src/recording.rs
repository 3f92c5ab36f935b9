//! `deltaworks trace`: a recording of what every core of a running daemon did, turn by turn.
//!
//! ```text
//! POST /v1/trace?seconds=S ──stream──▶ FILE.part ──read once: whole? what is in it?──▶ FILE
//! ```
//!
//! Owned by the command line. It keeps no recording in memory; one of more than
//! `RECORDING_BYTES_MAX` is given up, and nothing is left of it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use http_body_util::BodyExt;
use hyper::Method;
use indicatif::{ProgressBar, ProgressStyle};
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::admin::{self, Admin, AdminArguments, AdminError};
use crate::{exit, output, quantity};

/// Bytes of a recording at most.
const RECORDING_BYTES_MAX: u64 = 1 << 30;
/// How long the daemon may be silent in the middle of a recording.
const PATIENCE: Duration = Duration::from_secs(30);
/// Names of events that are counted apart.
const NAMES_MAX: usize = 32;

const EXAMPLES: &str = "\
Examples:
  deltaworks trace -o turns.json
  deltaworks trace --seconds 2 -o turns.json --json

The file is in the Trace Event Format: open it in https://ui.perfetto.dev (which reads it in the
browser and uploads nothing) or in chrome://tracing. Recording costs the daemon some speed while it
lasts, and nothing afterwards.

Exit codes:
  0  the recording is in the file
  1  the daemon refused, the recording is not whole, or the file cannot be written
  2  the command line is wrong
  6  no daemon answers on its admin socket";

/// Records what the cores of a running daemon do, for a viewer of traces
#[derive(Debug, Args)]
#[command(name = "trace", after_help = EXAMPLES)]
pub struct RecordingCommand {
    #[command(flatten)]
    admin: AdminArguments,
    /// Seconds to record
    #[arg(long, value_name = "SECONDS", default_value_t = 5,
          value_parser = clap::value_parser!(u64).range(1..=30))]
    seconds: u64,
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Prints what is in the recording as one line of JSON
    #[arg(long)]
    json: bool,
}

/// What is in a recording.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Contents {
    /// Events, those that only name tracks left out.
    pub events: u64,
    /// Tracks with events: pairs of process and thread.
    pub tracks: u64,
    /// From the first event's begin to the last one's end.
    pub span_us: f64,
    /// How many events have each name; what does not fit is under `…`.
    pub names: BTreeMap<String, u64>,
}

impl RecordingCommand {
    /// Does it.
    pub fn run(self) -> ExitCode {
        admin::ask(&self.admin.clone(), async |admin| {
            Ok(match self.record(&admin).await? {
                Ok(told) => {
                    output::print(told);
                    ExitCode::SUCCESS
                }
                Err(why) => {
                    output::complain(why);
                    exit::failed()
                }
            })
        })
    }

    /// What is to be told of the recording, or why there is none although the daemon answered.
    async fn record(&self, admin: &Admin) -> Result<Result<String, String>, AdminError> {
        // A name is put in the place of what stands there, which must not be a device.
        if fs::metadata(&self.out).is_ok_and(|there| !there.is_file()) {
            return Ok(Err(format!("{} is no file, which a recording is", self.out.display())));
        }
        let mut name = self.out.as_os_str().to_owned();
        name.push(".part");
        let aside = PathBuf::from(name);
        let file = match File::create(&aside) {
            Ok(file) => file,
            Err(error) => return Ok(Err(format!("{}: {error}", aside.display()))),
        };
        let written = self.stream(admin, file).await;
        let told = match written {
            Ok(Ok(bytes)) => self.finish(&aside, bytes),
            Ok(Err(why)) => Err(why),
            Err(error) => {
                let _ = fs::remove_file(&aside);
                return Err(error);
            }
        };
        if told.is_err() {
            // Half a recording is none; what cannot be removed is named .part.
            let _ = fs::remove_file(&aside);
        }
        Ok(told)
    }

    /// Writes what comes; returns how many bytes came.
    async fn stream(&self, admin: &Admin, file: File) -> Result<Result<u64, String>, AdminError> {
        let bar = progress(self.seconds);
        let asked = Instant::now();
        let place = format!("/v1/trace?seconds={}", self.seconds);
        let request = admin.request(Method::POST, &place, Duration::from_secs(self.seconds));
        tokio::pin!(request);
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        let answer = loop {
            tokio::select! {
                answer = &mut request => break answer,
                _ = tick.tick() => bar.set_position(asked.elapsed().as_millis() as u64),
            }
        };
        bar.finish_and_clear();
        let mut body = answer?.into_body();
        let mut file = BufWriter::new(file);
        let mut bytes = 0;
        loop {
            let frame = match timeout(PATIENCE, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => break,
                Ok(Some(Err(error))) => {
                    return Ok(Err(format!("the recording broke off: {error}")));
                }
                Err(_) => return Ok(Err("the recording does not go on".to_owned())),
            };
            let Ok(data) = frame.into_data() else { continue };
            bytes += data.len() as u64;
            if bytes > RECORDING_BYTES_MAX {
                let most = quantity::bytes(RECORDING_BYTES_MAX);
                return Ok(Err(format!("the recording is larger than {most}: record less time")));
            }
            if let Err(error) = file.write_all(&data) {
                return Ok(Err(format!("{}: {error}", self.out.display())));
            }
        }
        Ok(file.flush().map(|()| bytes).map_err(|error| format!("{}: {error}", self.out.display())))
    }

    /// Reads the recording once, and gives it its name.
    fn finish(&self, aside: &Path, bytes: u64) -> Result<String, String> {
        let out = self.out.display();
        let contents = read(aside).map_err(|why| format!("the recording is not whole: {why}"))?;
        fs::rename(aside, &self.out).map_err(|error| format!("{out}: {error}"))?;
        if self.json {
            let told = serde_json::json!({
                "file": self.out.display().to_string(),
                "bytes": bytes,
                "contents": contents,
            });
            return Ok(told.to_string());
        }
        let names: Vec<String> = contents
            .names
            .iter()
            .map(|(name, count)| {
                format!("{} {}", quantity::count(*count), crate::table::escaped(name))
            })
            .collect();
        Ok(format!(
            "{out}: {}, {} events on {} tracks over {}{}{}\n\
             open it in https://ui.perfetto.dev or chrome://tracing",
            quantity::bytes(bytes),
            quantity::count(contents.events),
            contents.tracks,
            quantity::seconds(contents.span_us / 1e6),
            if names.is_empty() { "" } else { ": " },
            names.join(", ")
        ))
    }
}

/// A bar of milliseconds; none where there is no terminal, or nothing to wait for.
fn progress(seconds: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("recording {wide_bar} {elapsed} of {prefix}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(seconds * 1_000).with_style(style).with_prefix(format!("{seconds}s"))
}

/// What is in the file, which is read once and never held.
///
/// # Errors
/// Where it is no recording.
pub fn read(path: &Path) -> Result<Contents, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut reader = serde_json::Deserializer::from_reader(BufReader::new(file));
    let mut found = Found::default();
    reader.deserialize_any(Whole(&mut found)).map_err(|error| error.to_string())?;
    reader.end().map_err(|error| error.to_string())?;
    let Found { mut contents, tracks, first_us, last_us } = found;
    contents.tracks = tracks.len() as u64;
    contents.span_us = if contents.events > 0 { last_us - first_us } else { 0.0 };
    Ok(contents)
}

#[derive(Debug)]
struct Found {
    contents: Contents,
    /// Tracks are as many as cores and agents, never as events.
    tracks: BTreeMap<(String, String), ()>,
    first_us: f64,
    last_us: f64,
}

impl Default for Found {
    fn default() -> Found {
        let (contents, tracks) = (Contents::default(), BTreeMap::new());
        Found { contents, tracks, first_us: f64::INFINITY, last_us: f64::NEG_INFINITY }
    }
}

/// One event, as far as it is looked at.
#[derive(Debug, Deserialize)]
struct TraceEvent {
    #[serde(default)]
    name: String,
    ph: String,
    #[serde(default)]
    ts: f64,
    #[serde(default)]
    dur: f64,
    #[serde(default)]
    pid: serde_json::Value,
    #[serde(default)]
    tid: serde_json::Value,
}

impl Found {
    fn take(&mut self, event: TraceEvent) {
        if event.ph == "M" {
            return;
        }
        self.contents.events += 1;
        self.first_us = self.first_us.min(event.ts);
        self.last_us = self.last_us.max(event.ts + event.dur);
        self.tracks.insert((event.pid.to_string(), event.tid.to_string()), ());
        let names = &mut self.contents.names;
        let name = match names.len() < NAMES_MAX || names.contains_key(&event.name) {
            true => event.name,
            false => "…".to_owned(),
        };
        *names.entry(name).or_default() += 1;
    }
}

/// The document: a list of events, or a map with one under `traceEvents`.
struct Whole<'a>(&'a mut Found);

impl<'de> Visitor<'de> for Whole<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a recording in the Trace Event Format")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut events: A) -> Result<(), A::Error> {
        while let Some(event) = events.next_element()? {
            self.0.take(event);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut has_events = false;
        while let Some(key) = map.next_key::<String>()? {
            if key == "traceEvents" {
                has_events = true;
                map.next_value_seed(Events(self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        match has_events {
            true => Ok(()),
            false => Err(serde::de::Error::custom("no traceEvents")),
        }
    }
}

struct Events<'a>(&'a mut Found);

impl<'de> serde::de::DeserializeSeed<'de> for Events<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(Whole(self.0))
    }
}
