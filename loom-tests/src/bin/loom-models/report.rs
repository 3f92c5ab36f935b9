//! What the runner tells: a line for each judgement, sums at the end, and where it is meanwhile.

use std::io::{IsTerminal, Write};

use deltaworks_loom_tests::table::{Model, Mutant};
use serde_json::{Value, json};

use crate::run::Outcome;

/// Lines on standard output; at a terminal, progress on standard error.
pub(crate) struct Report {
    is_json: bool,
    shows_progress: bool,
    expected: usize,
    passed: usize,
    failed: usize,
}

impl Report {
    /// A report of `expected` judgements.
    pub(crate) fn new(is_json: bool, expected: usize) -> Self {
        let shows_progress = std::io::stderr().is_terminal();
        Self { is_json, shows_progress, expected, passed: 0, failed: 0 }
    }

    /// So many judgements more.
    pub(crate) fn expect(&mut self, more: usize) {
        self.expected += more;
    }

    pub(crate) fn model(&mut self, model: &Model, outcome: &Outcome) {
        let is_good = outcome.is_passed();
        let line = format!("model   {:<76} {outcome}", model.name);
        let fields = json!({ "model": model.name, "passed": is_good, "outcome": figures(outcome) });
        self.tell(&line, &fields, is_good);
        if let Some(output) = outcome.output() {
            eprintln!("{output}");
        }
    }

    /// A mutant, which was built alone or with others.
    pub(crate) fn mutant(
        &mut self,
        (model, mutant): (&Model, &Mutant),
        is_alone: bool,
        outcome: &Outcome,
    ) {
        let is_dead = outcome.is_failed();
        let verdict = if is_dead { "dead" } else { "ALIVE" };
        let alone = if is_alone { "; built alone" } else { "" };
        let Model { name, .. } = model;
        let line = format!("mutant  {name}: {} [{outcome}{alone}] {verdict}", mutant.fault);
        let fields = json!({
            "model": model.name,
            "mutant": mutant.fault,
            "file": mutant.file,
            "alone": is_alone,
            "dead": is_dead,
            "outcome": figures(outcome),
        });
        self.tell(&line, &fields, is_dead);
        if let Outcome::NotBuilt { errors } = outcome {
            eprintln!("{errors}");
        }
    }

    /// A model in the program of the mutants, none of them on.
    pub(crate) fn control(&mut self, name: &str, outcome: &Outcome) {
        let is_good = outcome.is_well_so_far();
        let extent = match outcome {
            Outcome::Passed { explored, .. } if explored.is_whole => "",
            Outcome::Passed { .. } => " in part",
            _ if is_good => " in part; what it asks at its end was not to be had",
            _ => "",
        };
        let line = format!("control {name:<76} {outcome}{extent}");
        let fields = json!({ "control": name, "passed": is_good, "outcome": figures(outcome) });
        self.tell(&line, &fields, is_good);
        if let Some(output) = outcome.output().filter(|_| !is_good) {
            eprintln!("{output}");
        }
    }

    /// One run at a raised bound: tells, counts only what failed.
    pub(crate) fn depth(&mut self, model: &Model, outcome: &Outcome, note: &str) {
        let line = format!("model   {:<76} {outcome} {note}", model.name);
        let fields = json!({
            "model": model.name,
            "passed": outcome.is_passed(),
            "outcome": figures(outcome),
            "note": note,
        });
        self.tell(&line, &fields, outcome.is_passed());
        if let Some(output) = outcome.output() {
            eprintln!("{output}");
        }
    }

    /// The last line; returns how many were not as they must be.
    pub(crate) fn end(self) -> usize {
        self.clear_progress();
        if self.is_json {
            println!("{}", json!({ "passed": self.passed, "failed": self.failed }));
        } else {
            println!("{} passed, {} failed", self.passed, self.failed);
        }
        self.failed
    }

    /// Says what is being done, at a terminal.
    pub(crate) fn progress(&self, doing: &str) {
        if self.shows_progress {
            let done = self.passed + self.failed;
            eprint!("\r\x1b[K[{done}/{}] {doing}", self.expected);
            let _ = std::io::stderr().flush();
        }
    }

    fn tell(&mut self, line: &str, fields: &Value, is_good: bool) {
        if is_good {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
        self.clear_progress();
        if self.is_json {
            println!("{fields}");
        } else {
            println!("{line}");
        }
    }

    fn clear_progress(&self) {
        if self.shows_progress {
            eprint!("\r\x1b[K");
        }
    }
}

fn figures(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Passed { explored, took } => json!({
            "executions": explored.executions,
            "preemption_bound": explored.bound,
            "whole": explored.is_whole,
            "seconds": took.as_secs_f64(),
        }),
        Outcome::Failed { said, took, .. } => {
            json!({ "said": said, "seconds": took.as_secs_f64() })
        }
        other => json!({ "said": other.to_string() }),
    }
}
