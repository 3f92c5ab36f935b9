//! How far a running daemon has come with documents that it moves: asked again and again, and shown.
//!
//! Owned by the command line. A bar at a terminal, nothing elsewhere; whoever interrupts it interrupts
//! nothing in the daemon.

use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::admin::{self, Admin, AdminError};
use crate::quantity::{self, things};
use crate::table::escaped;
use crate::{exit, output};

/// Between two questions.
const LOOK: Duration = Duration::from_millis(50);
/// Failures that are told one by one to a person.
const FAILURES_SHOWN: usize = 20;

/// Documents that are to go elsewhere, and how far that has come.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Relocation {
    /// `drain`, `undo` or `rebalance`.
    pub purpose: String,
    /// The worker that it is about.
    pub worker: Option<u16>,
    /// Documents that are to move.
    pub total: u64,
    /// Those that did.
    pub moved: u64,
    /// Those that were there already, or have ended meanwhile.
    pub settled: u64,
    /// Those that did not.
    pub failed: u64,
    /// The first of these.
    pub failures: Vec<Failed>,
    /// The longest time in which nobody could append to one of them.
    pub pause_us_max: f64,
    /// Batches that waited for their document.
    pub held_batches: u64,
    /// Nothing more is moved.
    pub is_done: bool,
}

/// A document that was not moved, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Failed {
    /// The document.
    pub document: String,
    /// The number of the reason.
    pub number: u16,
    /// The reason.
    pub error: String,
}

/// Asks for `place`, which begins to move documents, and waits until that has ended.
///
/// # Errors
/// Why it did not begin, or is not answered for any more.
pub async fn carry_out(admin: &Admin, place: &str) -> Result<Value, AdminError> {
    let mut told: Value = admin.post(place, Duration::ZERO).await?;
    let style = ProgressStyle::with_template("moving {wide_bar} {human_pos}/{human_len} {eta:>4}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(0).with_style(style);
    loop {
        let now: Relocation = admin::understood("the relocation", told.clone())?;
        if now.is_done {
            bar.finish_and_clear();
            return Ok(told);
        }
        bar.set_length(now.total);
        bar.set_position(now.moved + now.settled + now.failed);
        tokio::time::sleep(LOOK).await;
        told = admin.get("/v1/relocation", Duration::ZERO).await?;
    }
}

/// Shows what came of it; the exit code says whether all have moved.
///
/// # Errors
/// If it is not understood.
pub fn show(told: Value, as_json: bool) -> Result<ExitCode, AdminError> {
    let ended: Relocation = admin::understood("the relocation", told.clone())?;
    match as_json {
        true => output::print(told),
        false => ended.lines().iter().for_each(output::print),
    }
    Ok(if ended.failed > 0 { exit::some_stayed() } else { ExitCode::SUCCESS })
}

impl Relocation {
    fn lines(&self) -> Vec<String> {
        let mut told = format!("{} moved", things(self.moved, "document"));
        if self.pause_us_max > 0.0 {
            told += &format!(", the longest pause {}", quantity::micros(self.pause_us_max));
        }
        if self.held_batches > 0 {
            told += &format!(", {} waited", things(self.held_batches, "batch"));
        }
        let mut lines = vec![told];
        if self.failed > 0 {
            lines.push(format!("{} could not be moved:", things(self.failed, "document")));
        }
        let shown = self.failures.iter().take(FAILURES_SHOWN);
        lines.extend(shown.map(|failed| {
            format!("  {}: {}, {}", escaped(&failed.document), failed.number, failed.error)
        }));
        let more = self.failed.saturating_sub(FAILURES_SHOWN as u64);
        if more > 0 {
            lines.push(format!("  and {} more", quantity::count(more)));
        }
        lines
    }
}
