//! `deltaworks schema check`: compiles a schema as the daemon does, and checks samples against it.
//!
//! Owned by the command line; it asks no daemon. What is wrong is told with file, line and column
//! where the file is text, and with the byte where it is CBOR: the first fault in each file.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use deltaworks_schema::{
    Kind, Machine, Progress, Schema, SchemaError, SchemaFlaw, ValidationError, mapping,
};
use serde::Serialize;

use crate::json_place::{Place, offset_of};
use crate::{exit, output};

const EXAMPLES: &str = "\
Examples:
  deltaworks schema check note.jtd.json
  deltaworks schema check note.jtd.json good.json delta.cbor
  deltaworks schema check --kind rows trades.jtd.json row.json --json

A sample is CBOR if its name ends in .cbor, else JSON: one value or several, each turned to CBOR as
`deltaworks pub --json-values` does. The first fault of each file is told.

Exit codes:
  0  schema and samples are right
  1  a file cannot be read
  2  the command line is wrong
  3  the schema is wrong
  4  a sample does not fit the schema";

/// Bytes of a file at most.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Checks schemas and samples
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum SchemaCommand {
    /// Compiles a schema, and checks samples against it
    Check(CheckCommand),
}

impl SchemaCommand {
    /// Does it.
    pub fn run(self) -> ExitCode {
        match self {
            SchemaCommand::Check(command) => command.run(),
        }
    }
}

/// Compiles a schema, and checks samples against it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CheckCommand {
    /// The schema: a JSON Type Definition (RFC 8927)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Deltas to check: .cbor, else JSON
    #[arg(value_name = "SAMPLE")]
    samples: Vec<PathBuf>,
    /// What deltas of the collection are: cbor or rows
    #[arg(long, value_name = "KIND", default_value = "cbor", value_parser = kind)]
    kind: Kind,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

fn kind(text: &str) -> Result<Kind, String> {
    match Kind::from_name(text) {
        Ok(Kind::Opaque) => Err("opaque has no schema; give cbor or rows".to_owned()),
        Ok(kind) => Ok(kind),
        Err(error) => Err(error.to_string()),
    }
}

/// What was found in one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// The file.
    pub file: String,
    /// Whether nothing is wrong with it.
    pub ok: bool,
    /// Deltas that were found right.
    pub deltas: usize,
    /// The first fault.
    pub fault: Option<PlacedFault>,
}

/// A fault and its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Default)]
pub struct PlacedFault {
    /// What is wrong.
    pub message: String,
    /// The line, from 1, where the file is text.
    pub line: Option<usize>,
    /// The column, from 1, where the file is text.
    pub column: Option<usize>,
    /// The byte of the delta's CBOR.
    pub offset_bytes: Option<u32>,
    /// Where in the delta, as a JSON pointer.
    pub instance_path: Option<String>,
    /// Where in the schema, as a JSON pointer.
    pub schema_path: Option<String>,
}

impl PlacedFault {
    fn at(mut self, place: Place) -> Self {
        (self.line, self.column) = (Some(place.line), Some(place.column));
        self
    }

    fn told(&self, file: &str) -> String {
        let mut text = file.to_owned();
        if let (Some(line), Some(column)) = (self.line, self.column) {
            text.push_str(&format!(":{line}:{column}"));
        } else if let Some(byte) = self.offset_bytes {
            text.push_str(&format!(": byte {byte}"));
        }
        text.push_str(&format!(": {}", self.message));
        let paths = [("instance", &self.instance_path), ("schema", &self.schema_path)];
        let paths = paths.into_iter().filter_map(|(name, path)| Some((name, path.as_ref()?)));
        let paths: Vec<String> = paths.map(|(name, path)| format!("{name} {path:?}")).collect();
        if !paths.is_empty() {
            text.push_str(&format!(" ({})", paths.join(", ")));
        }
        text
    }
}

#[derive(Serialize)]
struct Report {
    ok: bool,
    kind: &'static str,
    schema: FileReport,
    samples: Vec<FileReport>,
}

impl CheckCommand {
    /// Does it.
    pub fn run(self) -> ExitCode {
        match self.check() {
            Ok(report) => {
                self.tell(&report);
                match (report.schema.ok, report.ok) {
                    (false, _) => exit::wrong_schema(),
                    (true, false) => exit::refused(),
                    (true, true) => ExitCode::SUCCESS,
                }
            }
            Err(error) => {
                output::complain(error);
                exit::failed()
            }
        }
    }

    fn check(&self) -> Result<Report, String> {
        let text = String::from_utf8(read(&self.file)?)
            .map_err(|_| format!("{}: no text in UTF-8", self.file.display()))?;
        let kind = self.kind.name();
        let file = self.file.display().to_string();
        let schema = match Schema::compile(self.kind, &text) {
            Ok(schema) => schema,
            Err(error) => {
                let fault = Some(schema_fault(&text, &error));
                let schema = FileReport { file, ok: false, deltas: 0, fault };
                return Ok(Report { ok: false, kind, schema, samples: Vec::new() });
            }
        };
        let mut samples = Vec::new();
        for sample in &self.samples {
            samples.push(check_sample(&schema, sample)?);
        }
        let ok = samples.iter().all(|sample| sample.ok);
        let schema = FileReport { file, ok: true, deltas: 0, fault: None };
        Ok(Report { ok, kind, schema, samples })
    }

    fn tell(&self, report: &Report) {
        if self.json {
            output::print(serde_json::json!(report));
            return;
        }
        for file in std::iter::once(&report.schema).chain(&report.samples) {
            match &file.fault {
                Some(fault) => output::tell(fault.told(&file.file)),
                None => output::print(format!("{}: ok", file.file)),
            }
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = File::open(file)
        .and_then(|opened| opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .and_then(|_| match bytes.len() as u64 <= FILE_BYTES_MAX {
            true => Ok(()),
            false => Err(io::Error::other(format!("longer than {FILE_BYTES_MAX} bytes"))),
        });
    read.map(|()| bytes).map_err(|error| format!("{}: {error}", file.display()))
}

fn schema_fault(text: &str, error: &SchemaError) -> PlacedFault {
    let message = error.flaw.to_string();
    if let SchemaFlaw::NotJson(_) = error.flaw
        && let Some((message, place)) = parser_place(&message)
    {
        return PlacedFault { message, ..PlacedFault::default() }.at(place);
    }
    let schema_path = Some(error.schema_path.clone());
    let place = Place::of_offset(text, offset_of(text, &error.schema_path));
    PlacedFault { message, schema_path, ..PlacedFault::default() }.at(place)
}

/// What a JSON parser said, and the place that it named at its end.
fn parser_place(message: &str) -> Option<(String, Place)> {
    let (message, place) = message.rsplit_once(" at line ")?;
    let (line, column) = place.split_once(" column ")?;
    let place = Place { line: line.parse().ok()?, column: column.parse().ok()? };
    Some((message.to_owned(), Place { column: place.column.max(1), ..place }))
}

fn check_sample(schema: &Schema, sample: &Path) -> Result<FileReport, String> {
    let bytes = read(sample)?;
    let is_cbor = sample.extension().is_some_and(|extension| extension == "cbor");
    let checked = if is_cbor { check_cbor(schema, &bytes) } else { check_json(schema, &bytes) };
    let (deltas, fault) = match checked {
        Ok(deltas) => (deltas, None),
        Err((deltas, fault)) => (deltas, Some(fault)),
    };
    let file = sample.display().to_string();
    Ok(FileReport { file, ok: fault.is_none(), deltas, fault })
}

/// How many deltas are right, or how many stand before the fault, and the fault.
type Checked = Result<usize, (usize, PlacedFault)>;

fn check_cbor(schema: &Schema, bytes: &[u8]) -> Checked {
    match check_delta(schema, bytes) {
        None => Ok(1),
        Some(error) => Err((0, delta_fault(&error))),
    }
}

fn check_json(schema: &Schema, bytes: &[u8]) -> Checked {
    let fault = |message: String| PlacedFault { message, ..PlacedFault::default() };
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let valid = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
            let place = Place::of_offset(valid, valid.len());
            return Err((0, fault("no text in UTF-8".to_owned()).at(place)));
        }
    };
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>();
    let mut deltas = 0;
    loop {
        let begin = values.byte_offset();
        let value = match values.next() {
            None if deltas == 0 => {
                let place = Place::of_offset(text, text.len());
                return Err((0, fault("no JSON value".to_owned()).at(place)));
            }
            None => return Ok(deltas),
            Some(Ok(value)) => value,
            Some(Err(error)) => {
                let told = format!("not JSON: {error}");
                let placed = parser_place(&told).map(|(told, place)| fault(told).at(place));
                return Err((deltas, placed.unwrap_or_else(|| fault(told))));
            }
        };
        let rest = &text[begin..];
        let place = |pointer: &str| Place::of_offset(text, begin + offset_of(rest, pointer));
        match mapping::to_cbor(&value) {
            Err(error) => return Err((deltas, fault(error.to_string()).at(place("")))),
            Ok(cbor) => {
                if let Some(error) = check_delta(schema, &cbor) {
                    return Err((deltas, delta_fault(&error).at(place(&error.instance_path))));
                }
            }
        }
        deltas += 1;
    }
}

fn check_delta(schema: &Schema, bytes: &[u8]) -> Option<ValidationError> {
    let mut machine = Machine::new();
    let mut progress = machine.check(schema, bytes, &mut { u32::MAX });
    while matches!(progress, Progress::OutOfSteps) {
        progress = machine.run(schema, bytes, &mut { u32::MAX });
    }
    matches!(progress, Progress::Invalid).then(|| machine.error(schema, bytes))
}

fn delta_fault(error: &ValidationError) -> PlacedFault {
    PlacedFault {
        message: error.code.to_string(),
        offset_bytes: Some(error.offset_bytes),
        instance_path: Some(error.instance_path.clone()),
        schema_path: Some(error.schema_path.clone()),
        ..PlacedFault::default()
    }
}
