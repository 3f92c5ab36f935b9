//! `throughput instructions`: what was counted, beside what was last recorded, as samples.
//!
//! The record is a file to be kept with the source (`--record` writes it): who makes a loop longer sees it in a difference, not in noise.
//! It holds for one compiler; with another the figures are told, and the difference means little.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::callgrind::{LOOPS, count, is_there};
use crate::machine::Machine;

/// What is counted, and what becomes of it.
#[derive(Clone, Debug, clap::Args)]
pub struct InstructionsOptions {
    /// What was last recorded.
    #[arg(long, value_name = "FILE", default_value = "benches/instructions.json")]
    pub recorded: PathBuf,
    /// Records what is counted now.
    #[arg(long)]
    pub record: bool,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// What was recorded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// When.
    pub date: String,
    /// Of which commit.
    pub commit: String,
    /// By which compiler.
    pub rustc: String,
    /// Instructions per delta, the load's own left out, by loop.
    pub per_delta: BTreeMap<String, f64>,
}

impl Recorded {
    /// Reads it; nothing where there is no file.
    ///
    /// # Errors
    /// If the file is not what it should be.
    pub fn read(path: &Path) -> Result<Option<Self>, String> {
        let Ok(text) = std::fs::read_to_string(path) else { return Ok(None) };
        let told = |error| format!("{}: {error}", path.display());
        serde_json::from_str(&text).map(Some).map_err(told)
    }
}

/// Counts all loops of `program`.
///
/// # Errors
/// If they cannot be counted.
pub fn run(
    options: &InstructionsOptions,
    program: &Path,
    mut tell: impl FnMut(String),
) -> Result<bool, String> {
    if !is_there() {
        return Err("valgrind is not installed".to_owned());
    }
    let before = Recorded::read(&options.recorded)?;
    let machine = Machine::here(Path::new("."));
    let mut now = Recorded {
        date: machine.date.clone(),
        commit: machine.commit_short(),
        rustc: machine.rustc.clone(),
        per_delta: BTreeMap::new(),
    };
    for of in LOOPS {
        let counted = count(program, of, &[])?;
        let per_delta = counted.per_delta - counted.of_load;
        let last = before.as_ref().and_then(|it| it.per_delta.get(&of.name()).copied());
        let change_percent = last.map(|last| (per_delta / last - 1.0) * 100.0);
        let cell =
            json!({"collection": of.collection, "documents": of.documents, "batch": of.batch});
        let line = |system: &str, version: &str, value: f64| {
            json!({
                "scenario": "instructions", "peer": system, "version": version, "cell": cell,
                "metric": "instructions", "value": value, "unit": "", "better": "lower",
                "verified": true, "faults": [], "seconds": 0.0,
                "more": {"of_load": counted.of_load, "change_percent": change_percent},
            })
        };
        let change = change_percent.map_or("not recorded".to_owned(), |it| format!("{it:+.2} %"));
        if options.json {
            tell(format!("{}\n", line("deltaworks", &change, per_delta)));
            if let (Some(last), Some(before)) = (last, &before) {
                tell(format!("{}\n", line("last recorded", &before.commit, last)));
            }
        } else {
            let load = counted.of_load;
            tell(format!(
                "{:<18} {per_delta:8.1} a delta, {change}; the load's own {load:.1}\n",
                of.name()
            ));
        }
        now.per_delta.insert(of.name(), (per_delta * 100.0).round() / 100.0);
    }
    if options.record {
        let text = serde_json::to_string_pretty(&now).map_err(|error| error.to_string())?;
        std::fs::write(&options.recorded, text + "\n")
            .map_err(|error| format!("{}: {error}", options.recorded.display()))?;
    }
    Ok(true)
}
