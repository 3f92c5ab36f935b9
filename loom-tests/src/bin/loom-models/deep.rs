//! Exploring with ever higher preemption bounds, for as long as there is time.
//!
//! Goes round the models with bounds: each gets a share of time for its next bound. Where that was
//! enough, the bound rises; where it was not, the share doubles and the bound is tried again. A
//! model is done when a higher bound explores no more than the one before.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use deltaworks_loom_tests::table::Model;
use deltaworks_mutants::workshop::Workshop;

use crate::report::Report;
use crate::run::{Depth, Explored, Outcome, model, run};

/// The first share of time.
const SHARE: Duration = Duration::from_secs(60);

struct Dive<'a> {
    model: &'a Model,
    preemptions: u32,
    share: Duration,
    /// Executions at the bound before.
    before: Option<u64>,
}

/// Explores until every model is done or `at_most` has passed.
pub(crate) fn explore(
    workshop: &Workshop,
    test: &Path,
    models: &[&Model],
    at_most: Duration,
    report: &mut Report,
) {
    let start = Instant::now();
    let first = |model| Dive { model, preemptions: 2, share: SHARE, before: None };
    let mut dives: Vec<Dive<'_>> = models.iter().copied().map(first).collect();
    while !dives.is_empty() && start.elapsed() < at_most {
        let mut going_on = Vec::new();
        workshop.each(
            &dives,
            |_| "",
            |bench, dive| {
                let left = at_most.saturating_sub(start.elapsed());
                let at_most = dive.share.min(left).max(Duration::from_secs(1));
                let depth = Depth { preemptions: Some(dive.preemptions), at_most: Some(at_most) };
                run(model(Command::new(test), dive.model.name), bench, &depth)
            },
            |dive, outcome| {
                let (next, note) = dive.after(&outcome);
                report.depth(dive.model, &outcome, &note);
                going_on.extend(next);
            },
        );
        dives = going_on;
    }
}

impl<'a> Dive<'a> {
    /// What to do next, and what to say of what was done.
    fn after(&self, outcome: &Outcome) -> (Option<Dive<'a>>, String) {
        let Outcome::Passed { explored, .. } = outcome else { return (None, String::new()) };
        let Explored { executions, bound: Some(bound), is_whole } = *explored else {
            return (None, "every order".to_owned());
        };
        if !is_whole {
            let share = self.share * 2;
            return (Some(Dive { share, ..*self }), format!("bound {bound}, stopped by time"));
        }
        if self.before == Some(executions) {
            return (None, format!("bound {bound}, exhausted: no more than with the one before"));
        }
        let next = Dive { preemptions: bound + 1, before: Some(executions), ..*self };
        (Some(next), format!("bound {bound}, exhausted"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise_and_shares_double() {
        let model = Model { name: "a", mutants: &[] };
        let dive = Dive { model: &model, preemptions: 2, share: SHARE, before: Some(9) };
        let passed = |executions, bound, is_whole| Outcome::Passed {
            explored: Explored { executions, bound, is_whole },
            took: SHARE,
        };
        let (next, note) = dive.after(&passed(10, Some(3), true));
        let next = next.unwrap();
        assert_eq!((next.preemptions, next.before, next.share), (4, Some(10), SHARE));
        assert_eq!(note, "bound 3, exhausted");
        let (next, note) = dive.after(&passed(10, Some(3), false));
        let next = next.unwrap();
        assert_eq!((next.preemptions, next.before, next.share), (2, Some(9), SHARE * 2));
        assert!(note.contains("stopped"));
        assert!(dive.after(&passed(9, Some(3), true)).0.is_none());
        assert!(dive.after(&passed(9, None, true)).0.is_none());
        let failed = Outcome::Failed { said: "x".to_owned(), took: SHARE, output: String::new() };
        assert!(dive.after(&failed).0.is_none());
    }
}
