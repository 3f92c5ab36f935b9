//! How far a run is, and how long it will still take: a bar on a terminal, a line now and then elsewhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::entry::Entry;
use crate::results::Results;

/// Where there is no terminal, a line so often at most.
const LINE_INTERVAL: Duration = Duration::from_secs(30);

/// Where a run stands.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    expected_s: BTreeMap<String, f64>,
    rounds_left: BTreeMap<String, u32>,
    told: Option<Instant>,
}

impl Progress {
    /// Before what is left of `rounds` rounds over `entries`, some of which were `begun`.
    pub fn new(entries: &[Entry], rounds: u32, begun: &Results) -> Self {
        let target = ProgressDrawTarget::stderr();
        let rounds_of = |entry: &Entry| {
            let is_left = |round: &u32| !begun.has_run(&entry.name, *round);
            (0..entry.rounds(rounds)).filter(is_left).count() as u32
        };
        let all = entries.iter().map(|entry| u64::from(rounds_of(entry))).sum();
        let bar = ProgressBar::with_draw_target(Some(all), target);
        let template = "{bar:30} {pos}/{len}  {msg}";
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar()),
        );
        bar.enable_steady_tick(Duration::from_millis(500));
        let of = |entry: &Entry| {
            (entry.name.clone(), begun.took_s(&entry.name).unwrap_or(entry.expected_s))
        };
        let rounds_of = |entry: &Entry| (entry.name.clone(), rounds_of(entry));
        Self {
            bar,
            expected_s: entries.iter().map(of).collect(),
            rounds_left: entries.iter().map(rounds_of).collect(),
            told: None,
        }
    }

    /// An entry begins.
    pub fn begins(&mut self, entry: &Entry, round: u32) {
        let left = duration(self.left_s());
        let told = format!("about {left} left  round {}: {}", round + 1, entry.name);
        if self.bar.is_hidden() && self.told.is_none_or(|at| at.elapsed() >= LINE_INTERVAL) {
            self.told = Some(Instant::now());
            let (place, all) = (self.bar.position(), self.bar.length().unwrap_or(0));
            eprintln!("{place}/{all}  {told}");
        }
        self.bar.set_message(told);
    }

    /// It has ended after `took_s`, which is what the next round is expected to take.
    pub fn ended(&mut self, entry: &Entry, took_s: f64) {
        self.expected_s.insert(entry.name.clone(), took_s);
        if let Some(left) = self.rounds_left.get_mut(&entry.name) {
            *left = left.saturating_sub(1);
        }
        self.bar.inc(1);
    }

    /// An entry is not tried again.
    pub fn dropped(&mut self, entry: &Entry) {
        let left = self.rounds_left.insert(entry.name.clone(), 0).unwrap_or(0);
        self.bar.inc(u64::from(left));
    }

    /// Tells something that stays on the screen.
    pub fn tell(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    /// A round has ended: told where there is no bar.
    pub fn round_ended(&self, round: u32, rounds: u32) {
        if self.bar.is_hidden() {
            let left = duration(self.left_s());
            eprintln!("round {} of {rounds} is over, about {left} left", round + 1);
        }
    }

    /// The bar goes.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }

    /// Seconds that what is left will take.
    pub fn left_s(&self) -> f64 {
        let of = |(name, rounds): (&String, &u32)| self.expected_s[name] * f64::from(*rounds);
        self.rounds_left.iter().map(of).sum()
    }
}

/// Seconds as somebody says them.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s => format!("{:.0} min", s / 60.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Extent, entries};

    #[test]
    fn what_is_left_follows_what_was_seen() {
        let entries = &entries(Extent::Quick, 0.5)[..2];
        let mut progress = Progress::new(entries, 3, &Results::default());
        let first = progress.left_s();
        assert!((first - 3.0 * (entries[0].expected_s + entries[1].expected_s)).abs() < 1e-9);
        progress.ended(&entries[0], 10.0);
        assert!((progress.left_s() - 20.0 - 3.0 * entries[1].expected_s).abs() < 1e-9);
        progress.dropped(&entries[1]);
        assert!((progress.left_s() - 20.0).abs() < 1e-9);
        assert_eq!((duration(61.4).as_str(), duration(240.0).as_str()), ("61 s", "4 min"));
        progress.end();
    }
}
