//! Instructions per delta of the data path, counted by valgrind: the same at every run, whatever else
//! the machine does, so that a percent is seen where time sees ten.
//!
//! Not time: a miss and a hit count alike. Only the timed region is counted; what the load's own two
//! functions take is told apart.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;

/// The function around the timed region.
const REGION: &str = "*deltaworks_benches::core::Core::play*";
/// Functions of the load.
const LOAD: [&str; 2] = ["Generator::fill", "Subscriber::take"];

/// A loop whose instructions are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loop {
    /// What the collection checks.
    pub collection: &'static str,
    /// Documents.
    pub documents: u32,
    /// Deltas of a batch.
    pub batch: u32,
    /// Batches that are played.
    pub batches: u32,
}

impl Loop {
    /// Its name.
    pub fn name(self) -> String {
        format!("{} {}x{}", self.collection, self.documents, self.batch)
    }
}

/// The loops that are counted.
pub const LOOPS: [Loop; 5] = [
    Loop { collection: "cbor", documents: 10_000, batch: 1, batches: 60_000 },
    Loop { collection: "cbor", documents: 10_000, batch: 32, batches: 6_000 },
    Loop { collection: "cbor", documents: 100, batch: 8, batches: 20_000 },
    Loop { collection: "opaque", documents: 10_000, batch: 1, batches: 60_000 },
    Loop { collection: "rows", documents: 10_000, batch: 1, batches: 60_000 },
];

/// What was counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counted {
    /// Instructions per delta, the load's own included.
    pub per_delta: f64,
    /// Those of the load.
    pub of_load: f64,
}

#[derive(Deserialize)]
struct Played {
    verified: bool,
    account: Account,
}

#[derive(Deserialize)]
struct Account {
    accepted_deltas: u64,
}

/// Counts `of` as `program` plays it, with `more` arguments.
///
/// # Errors
/// If valgrind is not there, or the program has no such region or fails.
pub fn count(program: &Path, of: Loop, more: &[String]) -> Result<Counted, String> {
    let to = scratch();
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={REGION}"))
        .arg(format!("--callgrind-out-file={}", to.display()))
        .arg(program)
        .args(["pipeline", "--json", "--cores", "1", "--budget-mib", "512"])
        .args(["--documents", &of.documents.to_string(), "--batch", &of.batch.to_string()])
        .args(["--batches", &of.batches.to_string()])
        .args(if of.collection == "cbor" { vec![] } else { vec!["--collection", of.collection] })
        .args(more)
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let counted = output.status.success().then(|| std::fs::read_to_string(&to)).transpose();
    let _ = std::fs::remove_file(&to);
    let text = counted.map_err(|error| error.to_string())?.ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        said.lines().last().unwrap_or("valgrind said nothing").to_owned()
    })?;
    let played = String::from_utf8_lossy(&output.stdout);
    let played: Played = serde_json::from_str(played.trim()).map_err(|error| error.to_string())?;
    if !played.verified {
        return Err("the run was not verified".to_owned());
    }
    let deltas = played.account.accepted_deltas.max(1) as f64;
    let (all, load) = read(&text)?;
    Ok(Counted { per_delta: all as f64 / deltas, of_load: load as f64 / deltas })
}

/// Whether instructions can be counted here at all.
pub fn is_there() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|it| it.status.success())
}

fn scratch() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Relaxed: a number that nobody else has, nothing more.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("deltaworks-callgrind-{}-{number}", std::process::id()))
}

/// All instructions, and those of the load with what it calls, out of callgrind's format: `fn=(number)
/// name` opens a function, `calls=` is followed by one line with the inclusive cost of these calls.
fn read(text: &str) -> Result<(u64, u64), String> {
    let mut names: Vec<(u32, bool)> = Vec::new();
    let (mut all, mut load) = (None, 0);
    let (mut callee_is_load, mut is_call) = (false, false);
    let is_load = |names: &mut Vec<(u32, bool)>, told: &str| {
        let (number, name) = told.split_once(' ').unwrap_or((told, ""));
        let number = number.trim_matches(['(', ')']).parse().unwrap_or(0);
        if !name.is_empty() {
            names.push((number, LOAD.iter().any(|it| name.contains(it))));
        }
        names.iter().any(|(it, is_load)| *it == number && *is_load)
    };
    for line in text.lines() {
        if let Some(told) = line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: "))
        {
            all = told.split(' ').next().and_then(|it| it.parse::<u64>().ok()).or(all);
        } else if let Some(told) = line.strip_prefix("fn=") {
            is_load(&mut names, told);
        } else if let Some(told) = line.strip_prefix("cfn=") {
            callee_is_load = is_load(&mut names, told);
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if std::mem::take(&mut is_call) && callee_is_load {
            load += line.split(' ').nth(1).and_then(|it| it.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    match all {
        Some(all) if all > 0 => Ok((all, load)),
        _ => Err("the program has no region whose instructions can be counted".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_and_the_loads_part_are_read() {
        let text = "fn=(1) core::Core::play\n12 40\ncfn=(2) x::Generator::fill\ncalls=3 0\n13 500\n\
            cfn=(3) other\ncalls=1 0\n14 70\ncfn=(2)\ncalls=1 0\n15 100\n\nfn=(2)\n1 600\n\ntotals: 1210\n";
        assert_eq!(read(text), Ok((1210, 600)));
        assert!(read("totals: 0\n").is_err_and(|told| told.contains("region")));
        assert!(read("").is_err());
    }
}
