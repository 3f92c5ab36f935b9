//! What a run leaves: every sample of every series, with the machine that they were taken on.
//!
//! A *series* is one figure of one system in one cell of a scenario; a *sample* is one look at it. Means
//! are made when somebody reads, never here.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::machine::Machine;

/// The version of `results.json`.
pub const FORMAT: u32 = 1;

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`FORMAT`].
    pub format: u32,
    /// What was typed.
    pub command: String,
    /// `quick`, `standard` or `full`.
    pub extent: String,
    /// Samples of each series, if none failed.
    pub samples_each: u32,
    /// What the samples were taken on, and from.
    pub machine: Machine,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Every scenario was run as often as asked.
    pub is_whole: bool,
    /// Which child ran in which round, in the order in which they ended.
    #[serde(default)]
    pub runs: Vec<Run>,
    /// The figures, in the order in which they first came.
    pub series: Vec<Series>,
    /// What did not run, or ran wrongly.
    pub failures: Vec<Failure>,
}

/// One child process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The entry.
    pub entry: String,
    /// Which round.
    pub round: u32,
    /// When it began, in seconds since the run began.
    pub at_s: f64,
    /// How long it took.
    pub seconds: f64,
    /// How many samples it told.
    pub samples: u32,
}

/// Whose figure it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// This project's.
    #[default]
    Ours,
    /// Somebody else's system.
    Peer,
    /// What the machine allows.
    Limit,
}

/// Which way is good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// More.
    #[default]
    Higher,
    /// Less.
    Lower,
}

/// One figure of one system in one cell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The scenario.
    pub scenario: String,
    /// The system.
    pub system: String,
    /// Its version, if it has one of its own.
    #[serde(default)]
    pub version: String,
    /// Whose it is.
    pub role: Role,
    /// What the cell is: a value by name.
    pub cell: BTreeMap<String, Value>,
    /// What is measured.
    pub metric: String,
    /// In what.
    pub unit: String,
    /// Which way is good.
    pub better: Better,
    /// The command of a sample.
    pub command: String,
    /// Why there is nothing, if the system could not be had here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
    /// The samples, in the order in which they were taken.
    pub samples: Vec<Sample>,
    /// Made from a limit of the same run, for the pictures alone: never kept.
    #[serde(skip)]
    pub is_bound: bool,
}

/// One look.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The figure.
    pub value: f64,
    /// What was done is what had to be done.
    pub verified: bool,
    /// In which round; not told by runs of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u32>,
    /// When, in seconds since the run began.
    pub at_s: f64,
    /// How long the timed region was, in seconds.
    pub seconds: f64,
    /// How many threads of the machine wanted to run when the sample began.
    pub load: f64,
    /// Further figures, with units last in their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub more: BTreeMap<String, f64>,
}

/// A child that did not do what it had to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The entry.
    pub entry: String,
    /// Its command.
    pub command: String,
    /// Which round.
    pub round: u32,
    /// The program is not there, as against a run that went wrong.
    pub is_absent: bool,
    /// What happened.
    pub reason: String,
}

impl Series {
    /// Whether both are the same figure.
    pub fn is_same(&self, other: &Self) -> bool {
        self.key() == other.key()
    }

    /// What tells a series from any other.
    pub fn key(&self) -> String {
        let cell: Vec<String> = self.cell.iter().map(|(name, it)| format!("{name}={it}")).collect();
        format!("{}/{}/{}/{}", self.scenario, self.system, cell.join(","), self.metric)
    }

    /// The values of the samples that are verified.
    pub fn values(&self) -> Vec<f64> {
        self.samples.iter().filter(|it| it.verified).map(|it| it.value).collect()
    }

    /// Pairs of this one's values and another's, each of one round: the first sample of a round with the
    /// first of the same round, and so on. A sample that is not verified takes its partner with it, and
    /// one of a round that the other has not is left out.
    pub fn in_pairs(&self, other: &Self) -> Vec<(f64, f64)> {
        self.pairs_of(other, |sample| Some(sample.value))
    }

    /// The same of figures that stand beside the values; a sample without it is not verified.
    pub fn more_in_pairs(&self, other: &Self, name: &str) -> Vec<(f64, f64)> {
        self.pairs_of(other, |sample| sample.more.get(name).copied())
    }

    fn pairs_of(&self, other: &Self, figure: impl Fn(&Sample) -> Option<f64>) -> Vec<(f64, f64)> {
        let (ours, theirs) = (self.by_round(&figure), other.by_round(&figure));
        let pair = |(place, ours): (&(u32, u32), &f64)| Some((*ours, *theirs.get(place)?));
        ours.iter().filter_map(pair).collect()
    }

    /// Figures of verified samples by round and place in it.
    fn by_round(&self, figure: impl Fn(&Sample) -> Option<f64>) -> BTreeMap<(u32, u32), f64> {
        let mut taken: BTreeMap<u32, u32> = BTreeMap::new();
        let mut values = BTreeMap::new();
        for sample in &self.samples {
            let Some(round) = sample.round else { continue };
            let place = taken.entry(round).or_default();
            if let Some(value) = figure(sample).filter(|_| sample.verified) {
                values.insert((round, *place), value);
            }
            *place += 1;
        }
        values
    }

    /// The value of a cell as text, without quotes.
    pub fn of_cell(&self, name: &str) -> Option<String> {
        self.cell.get(name).map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    }

    /// The same as a number.
    pub fn number_of_cell(&self, name: &str) -> Option<f64> {
        self.cell.get(name)?.as_f64()
    }

    /// One of the further figures, of each verified sample that has it.
    pub fn more(&self, name: &str) -> Vec<f64> {
        let verified = self.samples.iter().filter(|it| it.verified);
        verified.filter_map(|it| it.more.get(name).copied()).collect()
    }
}

impl Results {
    /// Puts a sample to its series, which is made if it is new; without a sample, the series alone.
    pub fn add(&mut self, of: Series, sample: Option<Sample>) {
        let place = self.series.iter().position(|it| it.is_same(&of)).unwrap_or_else(|| {
            self.series.push(Series { samples: Vec::new(), ..of });
            self.series.len() - 1
        });
        self.series[place].samples.extend(sample);
    }

    /// The systems that could not be had: the scenarios, the system, and why.
    pub fn absent(&self) -> Vec<(String, &str, &str)> {
        let mut all: Vec<(String, &str, &str)> = Vec::new();
        for series in &self.series {
            let Some(why) = series.absent.as_deref() else { continue };
            match all.iter_mut().find(|it| (it.1, it.2) == (series.system.as_str(), why)) {
                Some((scenarios, ..)) => *scenarios += &format!(", {}", series.scenario),
                None => all.push((series.scenario.clone(), &series.system, why)),
            }
        }
        all
    }

    /// Whether an entry has told samples in a round.
    pub fn has_run(&self, entry: &str, round: u32) -> bool {
        self.runs.iter().any(|it| it.entry == entry && it.round == round && it.samples > 0)
    }

    /// The longest that an entry took, if it ran.
    pub fn took_s(&self, entry: &str) -> Option<f64> {
        self.runs.iter().filter(|it| it.entry == entry).map(|it| it.seconds).reduce(f64::max)
    }

    /// Makes this run the first part of another one, which has `of` to tell of itself: what had no
    /// samples is forgotten, because it runs again.
    ///
    /// # Errors
    /// If it was another program's, another machine's, or other samples: they cannot be one series.
    pub fn resume(mut self, of: &Self) -> Result<Self, String> {
        let facts = |it: &Self| {
            let machine = &it.machine;
            [
                ("commit", machine.commit.clone()),
                ("changes", machine.is_changed.to_string()),
                ("CPU", machine.cpu.clone()),
                ("kernel", machine.kernel.clone()),
                ("flags", machine.flags.clone()),
                ("extent", it.extent.clone()),
                ("samples", it.samples_each.to_string()),
            ]
        };
        for ((name, old), (_, new)) in facts(&self).into_iter().zip(facts(of)) {
            if old != new {
                return Err(format!("the run cannot be resumed: {name} was {old}, and is {new}"));
            }
        }
        let has_run = |runs: &[Run], failure: &Failure| {
            let is_its = |it: &Run| it.entry == failure.entry && it.round == failure.round;
            runs.iter().any(|it| is_its(it) && it.samples > 0)
        };
        self.runs.retain(|it| it.samples > 0);
        let runs = &self.runs;
        self.failures.retain(|failure| has_run(runs, failure));
        Ok(self)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or is of another format.
    pub fn read(path: &Path) -> Result<Self, String> {
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| told(&error))?;
        let results: Self = serde_json::from_str(&text).map_err(|error| told(&error))?;
        if results.format != FORMAT {
            return Err(told(&format!("format {}, wanted is {FORMAT}", results.format)));
        }
        Ok(results.with_rounds())
    }

    /// Samples that do not tell their round have begun with the child that told them.
    fn with_rounds(mut self) -> Self {
        for sample in self.series.iter_mut().flat_map(|it| &mut it.samples) {
            let its = self.runs.iter().find(|run| run.at_s == sample.at_s);
            sample.round = sample.round.or(its.map(|run| run.round));
        }
        self
    }

    /// Writes a file at once: a reader sees the old one or the new one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = serde_json::to_string_pretty(self).map_err(|error| told(&error))?;
        let half = path.with_extension("json.half");
        std::fs::write(&half, text + "\n").map_err(|error| told(&error))?;
        std::fs::rename(&half, path).map_err(|error| told(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_of_one_round_and_lose_both_or_none() {
        let of = |samples: &[(u32, f64)]| Series {
            samples: samples
                .iter()
                .map(|(round, value)| Sample {
                    value: value.abs(),
                    verified: *value > 0.0,
                    round: Some(*round),
                    ..Sample::default()
                })
                .collect(),
            ..Series::default()
        };
        // Round 1 failed at one, round 2 was not taken at the other, round 4 came twice at both.
        let one = of(&[(0, 1.0), (1, -2.0), (2, 3.0), (3, 4.0), (4, -5.0), (4, 6.0)]);
        let other = of(&[(4, 50.0), (4, 60.0), (0, 10.0), (1, 20.0), (3, 40.0), (5, 70.0)]);
        assert_eq!(one.in_pairs(&other), [(1.0, 10.0), (4.0, 40.0), (6.0, 60.0)]);
        assert_eq!(other.in_pairs(&one), [(10.0, 1.0), (40.0, 4.0), (60.0, 6.0)]);
        let beside = |it: &Series| {
            let mut it = it.clone();
            for sample in &mut it.samples {
                sample.more = BTreeMap::from([("half".to_owned(), sample.value / 2.0)]);
            }
            it.samples[0].more.clear();
            it
        };
        let (halves, of_other) = (beside(&one), beside(&other));
        assert_eq!(halves.more_in_pairs(&of_other, "half"), [(2.0, 20.0), (3.0, 30.0)]);
        // Who does not know the round has none of it, and learns it from the children of the run.
        let mut old = one.clone();
        for sample in &mut old.samples {
            sample.at_s = f64::from(sample.round.take().unwrap_or_default()) * 10.5;
        }
        assert!(old.in_pairs(&other).is_empty());
        let run = |round: u32| Run { round, at_s: f64::from(round) * 10.5, ..Run::default() };
        let runs = (0..5).map(run).collect();
        let told = Results { runs, series: vec![old], ..Results::default() }.with_rounds();
        let at_s = |it: &Series| it.samples.iter().map(|it| it.round).collect::<Vec<_>>();
        assert_eq!(at_s(&told.series[0]), at_s(&one));
    }

    fn series(batch: u32) -> Series {
        Series {
            scenario: "pipeline".to_owned(),
            cell: BTreeMap::from([("batch".to_owned(), Value::from(batch))]),
            ..Series::default()
        }
    }

    #[test]
    fn samples_go_to_their_series_and_come_back_from_a_file_to_be_resumed() {
        let mut results = Results { format: FORMAT, ..Results::default() };
        for value in [1.0, 2.0] {
            results.add(series(1), Some(Sample { value, verified: true, ..Sample::default() }));
        }
        results.add(series(1), Some(Sample { value: 3.0, ..Sample::default() }));
        results.add(series(8), None);
        assert_eq!(results.series.len(), 2);
        assert_eq!(results.series[0].values(), [1.0, 2.0], "what is not verified is no figure");
        assert_eq!(results.series[0].samples.len(), 3, "but it is kept");
        let gone = |scenario: &str| Series {
            scenario: scenario.to_owned(),
            system: "x".to_owned(),
            absent: Some("sold out".to_owned()),
            ..Series::default()
        };
        let without =
            Results { series: vec![gone("one"), gone("two"), series(1)], ..Results::default() };
        assert_eq!(without.absent(), [("one, two".to_owned(), "x", "sold out")]);
        let name = format!("deltaworks-results-{}.json", std::process::id());
        let path = std::env::temp_dir().join(name);
        results.write(&path).expect("a temporary file");
        assert_eq!(Results::read(&path), Ok(results.clone()));
        let run = |round, samples| Run { round, samples, ..Run::default() };
        let failure = |round| Failure { round, ..Failure::default() };
        let begun = Results {
            runs: vec![run(0, 2), run(1, 0)],
            failures: vec![failure(0), failure(1)],
            ..results.clone()
        };
        let resumed = begun.clone().resume(&results).expect("it is the same run");
        assert!(resumed.has_run("", 0) && !resumed.has_run("", 1));
        assert_eq!((resumed.runs.len(), resumed.failures.len()), (1, 1), "the rest runs again");
        let other = Machine { commit: "another".to_owned(), ..Machine::default() };
        let other = Results { machine: other, ..results.clone() };
        assert!(begun.resume(&other).is_err_and(|told| told.contains("commit")));
        Results { format: 0, ..results }.write(&path).expect("a temporary file");
        assert!(Results::read(&path).is_err_and(|told| told.contains("format 0")));
        std::fs::remove_file(path).expect("it is there");
    }
}
