//! What harnesses that play scenarios have in common: which are played, how far it has come, and what
//! all of it comes to.

use std::path::PathBuf;
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::abuse::daemon;

/// A scenario on the bill.
pub trait Billed {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// What happens, for a person.
    fn about(&self) -> &'static str;
}

/// Which scenarios are played, how often, and how they are told.
#[derive(Clone, Debug, clap::Args)]
pub struct Playbill {
    /// Only this scenario; may be given again.
    #[arg(long, value_name = "NAME")]
    pub scenario: Vec<String>,
    /// Spans with and without the disturbance, in turn.
    #[arg(long, value_name = "COUNT", default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub pairs: u32,
    /// The daemon's program; without it the one beside this program.
    #[arg(long, value_name = "PATH")]
    pub daemon: Option<PathBuf>,
    /// The scenarios and what they do; nothing is run.
    #[arg(long)]
    pub list: bool,
    /// A line of JSON for each scenario, in place of a table.
    #[arg(long)]
    pub json: bool,
}

/// Reads the length of a span.
///
/// # Errors
/// If it is no number of seconds from 0.05 to 600.
pub fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    let range = 0.05..=600.0;
    if range.contains(&seconds) { Ok(seconds) } else { Err("0.05 to 600".to_owned()) }
}

/// The scenarios and what they do, a line each.
pub fn list(all: &[impl Billed]) -> String {
    let width = all.iter().map(|it| it.name().len()).max().unwrap_or(0);
    all.iter().map(|it| format!("{:<width$} {}\n", it.name(), it.about())).collect()
}

impl Playbill {
    /// Whether this scenario is to be played.
    pub fn has(&self, scenario: &impl Billed) -> bool {
        self.scenario.is_empty() || self.scenario.iter().any(|name| name == scenario.name())
    }

    /// Makes sure that there is each scenario that is asked for.
    ///
    /// # Errors
    /// Names those that there are, if not.
    pub fn check(&self, all: &[impl Billed]) -> Result<(), String> {
        let names: Vec<&str> = all.iter().map(Billed::name).collect();
        match self.scenario.iter().find(|name| !names.contains(&name.as_str())) {
            Some(name) => Err(format!("there is no scenario {name:?}, but {}", names.join(", "))),
            None => Ok(()),
        }
    }

    /// The daemon's program.
    ///
    /// # Errors
    /// If none is named and none stands beside this program.
    pub fn program(&self) -> Result<PathBuf, String> {
        self.daemon.clone().map_or_else(daemon::beside_this_program, Ok)
    }
}

/// What a run comes to: the worst of what its parts do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// All that was promised was so.
    Verified,
    /// It was, but a stated bound was missed.
    BoundMissed,
    /// It was not.
    NotVerified,
}

impl From<bool> for Verdict {
    fn from(is_verified: bool) -> Self {
        if is_verified { Self::Verified } else { Self::NotVerified }
    }
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Verified => ExitCode::SUCCESS,
            Verdict::NotVerified => ExitCode::FAILURE,
            Verdict::BoundMissed => ExitCode::from(3),
        }
    }
}

/// Plays one after the other, and gives each report to `tell` when it is there; the worst verdict.
/// `play` is given what it may tell the part to that is done, from 0 to 1.
///
/// # Errors
/// That of the first that cannot be played, with its name.
pub fn play_all<T, R>(
    all: &[T],
    name: impl Fn(&T) -> String,
    mut play: impl FnMut(&T, &mut dyn FnMut(f64)) -> Result<(R, Verdict), String>,
    tell: impl Fn(&R),
) -> Result<Verdict, String> {
    let bar = bar(all.len());
    let mut worst = Verdict::Verified;
    for it in all {
        let name = name(it);
        bar.set_message(name.clone());
        let from = bar.position();
        let mut moved = |part: f64| bar.set_position(from + (part * BAR_STEPS as f64) as u64);
        let played = play(it, &mut moved).map_err(|error| format!("{name}: {error}"));
        let (report, verdict) = played?;
        bar.set_position(from + BAR_STEPS);
        worst = worst.max(verdict);
        bar.suspend(|| tell(&report));
    }
    bar.finish_and_clear();
    Ok(worst)
}

/// Steps of the bar for each scenario.
const BAR_STEPS: u64 = 100;

/// On standard error; nothing where that is no terminal.
fn bar(scenarios: usize) -> ProgressBar {
    let length = scenarios as u64 * BAR_STEPS;
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(2));
    let style = ProgressStyle::with_template("{msg:>30} {wide_bar} {percent:>3} % {eta:>5}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_verdict_is_that_of_the_run() {
        let play = |verdicts: &[Verdict]| {
            let told = std::cell::Cell::new(0);
            let play = |verdict: &Verdict, _: &mut dyn FnMut(f64)| Ok(((), *verdict));
            let all = play_all(verdicts, |_| "it".to_owned(), play, |()| told.set(told.get() + 1));
            assert_eq!(told.get(), verdicts.len(), "each is told");
            all.expect("it was played")
        };
        use Verdict::{BoundMissed, NotVerified, Verified};
        assert_eq!(play(&[Verified, Verified]), Verified);
        assert_eq!(play(&[BoundMissed, Verified]), BoundMissed);
        assert_eq!(play(&[NotVerified, BoundMissed]), NotVerified);
    }

    #[test]
    fn what_cannot_be_played_is_named() {
        let play = |_: &(), _: &mut dyn FnMut(f64)| Err::<((), _), _>("no CPU".to_owned());
        let all = play_all(&[()], |()| "storm".to_owned(), play, |()| ());
        assert_eq!(all, Err("storm: no CPU".to_owned()));
    }
}
