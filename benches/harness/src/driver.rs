//! Runs the entries in rounds: every entry once, then every entry again, so that the samples of a
//! series are spread over the whole time and a bad minute spoils one of each, not all of one.
//!
//! Each round begins elsewhere in the table, never between one core and two of a cell. What fails is told and tried again in the next round;
//! what is not there is not. The file is written after each child, the page after each round, so a run
//! that was ended in between has lost one child's samples, and goes on from there (`--resume`).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::child;
use crate::entry::{Entry, Extent, Program, begin, entries};
use crate::machine::{Machine, Ticks, load};
use crate::progress::{Progress, duration};
use crate::reading::{Told, read};
use crate::results::{FORMAT, Failure, Results, Run, Sample};

/// What is run, and where to.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchOptions {
    /// How much.
    #[arg(long, value_enum, default_value_t = Extent::Standard)]
    pub extent: Extent,
    /// Entries whose names hold this only; can be given several times.
    #[arg(long, value_name = "PART")]
    pub only: Vec<String>,
    /// Goes on with the run in the folder, if it is of the same commit, machine and extent.
    #[arg(long)]
    pub resume: bool,
    /// Names what would be run, and runs nothing.
    #[arg(long)]
    pub list: bool,
    /// Samples of each series; by default 5, and 2 of the quick extent.
    #[arg(long)]
    pub samples: Option<u32>,
    /// Seconds of each sample; by default 1, and a half in the quick extent.
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Where results.json and report.html go.
    #[arg(long, value_name = "FOLDER", default_value = "bench-report")]
    pub out: PathBuf,
    /// The program of the peers, which is built apart.
    #[arg(long, value_name = "FILE", default_value = "benches/peers/target/release/peers")]
    pub peers: PathBuf,
    /// The results on standard output, too.
    #[arg(long)]
    pub json: bool,
}

impl BenchOptions {
    /// The entries that are asked for.
    pub fn chosen(&self) -> Vec<Entry> {
        let seconds = self.seconds.unwrap_or(self.extent.seconds());
        let is_chosen = |entry: &Entry| {
            self.only.is_empty() || self.only.iter().any(|part| entry.name.contains(part))
        };
        entries(self.extent, seconds).into_iter().filter(is_chosen).collect()
    }
}

/// Where the programs stand.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `throughput`.
    pub throughput: PathBuf,
    /// That of the peers.
    pub peers: PathBuf,
}

impl Programs {
    fn of(&self, program: Program) -> &Path {
        match program {
            Program::Throughput => &self.throughput,
            Program::Peers => &self.peers,
        }
    }
}

/// When results are to be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// A child has ended.
    Child,
    /// A round has.
    Round,
}

/// What will be run, by kind, and about how long it takes.
pub fn plan(entries: &[Entry], rounds: u32, begun: Option<&Results>) -> String {
    let mut kinds: Vec<(&str, u32, f64)> = Vec::new();
    for entry in entries {
        let kind = match entry.name.split_once('/') {
            Some(("peers", _)) | None => entry.name.as_str(),
            Some((kind, _)) => kind,
        };
        let is_left = |round: &u32| !begun.is_some_and(|it| it.has_run(&entry.name, *round));
        let left = (0..entry.rounds(rounds)).filter(is_left).count() as u32;
        let place = kinds.iter().position(|it| it.0 == kind).unwrap_or_else(|| {
            kinds.push((kind, 0, 0.0));
            kinds.len() - 1
        });
        kinds[place].1 += left;
        kinds[place].2 += entry.expected_s * f64::from(left);
    }
    let row = |(kind, count, seconds): &(&str, u32, f64)| {
        format!(
            "  {kind:<26} {count:>4} × {:>8}\n",
            duration(*seconds / f64::from((*count).max(1)))
        )
    };
    let (count, seconds) =
        kinds.iter().fold((0, 0.0), |(count, sum), it| (count + it.1, sum + it.2));
    let rows: String = kinds.iter().map(row).collect();
    format!("{rows}{count} child processes in {rounds} rounds, about {}\n", duration(seconds))
}

/// Runs `entries` in `rounds` rounds, or what is left of them where some were `begun`; `keep` gets the
/// results whenever there are more.
///
/// # Errors
/// If `keep` fails, or if what was begun is not this run.
pub fn run(
    entries: &[Entry],
    extent: Extent,
    rounds: u32,
    programs: &Programs,
    folder: &Path,
    begun: Option<Results>,
    mut keep: impl FnMut(&Results, Moment) -> Result<(), String>,
) -> Result<Results, String> {
    let fresh = Results {
        format: FORMAT,
        command: typed(),
        extent: extent.name().to_owned(),
        samples_each: rounds,
        machine: Machine::here(folder),
        ..Results::default()
    };
    let mut results = match begun {
        Some(begun) => begun.resume(&fresh)?,
        None => fresh,
    };
    let mut progress = Progress::new(entries, rounds, &results);
    let (now, ticks) = (Instant::now(), Ticks::now());
    // Time goes on where it ended.
    let before = Duration::from_secs_f64(results.seconds);
    let elapsed_s = || (now.elapsed() + before).as_secs_f64();
    let mut gone: Vec<&str> = Vec::new();
    for round in 0..rounds {
        let first = begin(entries, round, rounds);
        for entry in entries[first..].iter().chain(&entries[..first]) {
            let is_left = round < entry.rounds(rounds) && !results.has_run(&entry.name, round);
            if gone.contains(&entry.name.as_str()) || !is_left {
                continue;
            }
            progress.begins(entry, round);
            let at_s = elapsed_s();
            let (failures, samples) =
                play(entry, round, programs.of(entry.program), folder, at_s, &mut results);
            let seconds = elapsed_s() - at_s;
            progress.ended(entry, seconds);
            let name = entry.name.clone();
            results.runs.push(Run { entry: name, round, at_s, seconds, samples });
            for failure in failures {
                progress.tell(&format!("{}: {}", failure.entry, failure.reason));
                if failure.is_absent {
                    gone.push(&entry.name);
                    progress.dropped(entry);
                }
                results.failures.push(failure);
            }
            results.seconds = elapsed_s();
            results.machine.load_ended = load();
            results.machine.stolen_share = Ticks::now().stolen_share_since(ticks);
            keep(&results, Moment::Child)?;
        }
        results.is_whole = round + 1 == rounds;
        keep(&results, Moment::Round)?;
        progress.round_ended(round, rounds);
    }
    progress.end();
    Ok(results)
}

/// What was typed, without the folder that the program stands in.
fn typed() -> String {
    let mut words: Vec<String> = std::env::args().collect();
    if let Some(program) = words.first_mut() {
        let name = Path::new(program.as_str()).file_name().unwrap_or_default();
        *program = name.to_string_lossy().into_owned();
    }
    words.join(" ")
}

/// The same without the folders that belong to this machine alone.
fn without_places(text: &str) -> String {
    let here = std::env::current_dir().map(|it| format!("{}/", it.display())).unwrap_or_default();
    let text = if here.len() > 1 { text.replace(&here, "") } else { text.to_owned() };
    match std::env::var("HOME") {
        Ok(home) if home.len() > 1 => text.replace(&format!("{home}/"), "~/"),
        _ => text,
    }
}

/// One child, whose samples go to `results`; what went wrong comes back, and how many samples came.
fn play(
    entry: &Entry,
    round: u32,
    program: &Path,
    folder: &Path,
    at_s: f64,
    results: &mut Results,
) -> (Vec<Failure>, u32) {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let command = format!("{name} {}", entry.arguments.join(" "));
    let failure = |is_absent: bool, reason: String| Failure {
        entry: entry.name.clone(),
        command: command.clone(),
        round,
        is_absent,
        reason: without_places(&reason),
    };
    if !program.exists() {
        return (vec![failure(true, format!("{name} is not built: see `make bench`"))], 0);
    }
    let load = load();
    let time = Duration::from_secs(entry.limit_s);
    let left = child::run(program, &entry.arguments, folder, time);
    let mut failures = Vec::new();
    let mut came = 0;
    for line in left.lines.iter().filter(|line| line.trim_start().starts_with('{')) {
        let told = match read(entry, &command, line) {
            Ok(told) => told,
            Err(error) => {
                failures.push(failure(false, format!("a line that cannot be read: {error}")));
                continue;
            }
        };
        for Told { series, sample, faults } in told {
            came += 1;
            if sample.as_ref().is_some_and(|it| !it.verified) {
                let faults = faults.join("; ");
                let reason = format!("{}: not verified: {faults}", series.key());
                failures.push(failure(false, reason));
            }
            let sample = sample.map(|sample| Sample { round: Some(round), at_s, load, ..sample });
            results.add(series, sample);
        }
    }
    match &left.fault {
        // A figure that misses its bound is a figure.
        Some(_) if came > 0 && left.code.is_some() && left.code == entry.miss_code => {}
        // What was not verified has been told.
        Some(fault) if failures.is_empty() => {
            failures.push(failure(false, format!("{fault}: {}", left.complaint)));
        }
        None if came == 0 && failures.is_empty() => {
            failures.push(failure(false, "it told nothing".to_owned()))
        }
        _ => {}
    }
    (failures, came)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Reader;
    use std::collections::BTreeMap;

    /// An entry whose child is a shell.
    fn entry(name: &str, script: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            program: Program::Peers,
            arguments: vec!["-c".to_owned(), script.to_owned()],
            reader: Reader::Samples,
            cell: BTreeMap::new(),
            expected_s: 0.1,
            limit_s: 1,
            is_once: false,
            miss_code: None,
        }
    }

    fn line(system: &str, value: f64, verified: bool) -> String {
        format!(
            r#"echo '{{"scenario":"s","peer":"{system}","metric":"m","value":{value},"unit":"1/s","verified":{verified}}}'"#
        )
    }

    #[test]
    fn who_fails_costs_the_others_nothing_and_is_told() {
        let entries = [
            entry("sound", &line("one", 1.0, true)),
            entry("wrong", &line("two", 2.0, false)),
            entry("ends", "echo why >&2; exit 7"),
            entry("half", &format!("{}; kill -9 $$", line("three", 3.0, true))),
            entry("hangs", &format!("{}; exec sleep 600", line("four", 4.0, true))),
            Entry { is_once: true, ..entry("once", &line("five", 5.0, true)) },
            Entry {
                miss_code: Some(1),
                ..entry("misses", &format!("{}; exit 1", line("six", 6.0, true)))
            },
            Entry { miss_code: Some(1), ..entry("misses all", "exit 1") },
            entry("silent", "true"),
            entry("garbage", "echo '{\"scenario\":'"),
            Entry { program: Program::Throughput, ..entry("absent", "") },
        ];
        let programs = Programs { throughput: "./no-such-program".into(), peers: "/bin/sh".into() };
        let mut kept = [0, 0];
        let results = run(&entries, Extent::Quick, 2, &programs, Path::new("."), None, |_, at| {
            kept[usize::from(at == Moment::Round)] += 1;
            Ok(())
        });
        let results = results.expect("nobody refused to keep it");
        assert_eq!(kept, [2 * 10, 2], "after each child, and after each round");
        let values = |system: &str| {
            let series = results.series.iter().find(|it| it.system == system);
            series.map(|it| (it.values(), it.samples.len())).unwrap_or_default()
        };
        assert_eq!(values("one"), (vec![1.0, 1.0], 2));
        assert_eq!(values("two"), (vec![], 2), "kept, and no figure");
        assert_eq!(values("three"), (vec![3.0, 3.0], 2), "what it told before it ended counts");
        assert_eq!(values("five"), (vec![5.0], 1), "in the first round only");
        assert_eq!(values("four"), (vec![4.0, 4.0], 2));
        let of = |name: &str| results.failures.iter().filter(|it| it.entry == name).count();
        let failed = ["sound", "wrong", "ends", "half", "hangs", "silent", "garbage", "absent"];
        assert_eq!(failed.map(of), [0, 2, 2, 2, 2, 2, 2, 1]);
        assert_eq!(["misses", "misses all"].map(of), [0, 2], "a miss has a figure");
        assert_eq!(values("six"), (vec![6.0, 6.0], 2));
        let ends = results.failures.iter().find(|it| it.entry == "ends").expect("it failed");
        let here = std::env::current_dir().expect("there is one");
        let told = without_places(&format!("{}/target/x broke", here.display()));
        assert_eq!(told, "target/x broke");
        assert!(ends.reason.contains("why") && ends.reason.contains('7'), "{}", ends.reason);
        assert!(results.is_whole);
    }

    #[test]
    fn parts_of_names_choose() {
        let options = |only: &[&str]| BenchOptions {
            extent: Extent::Standard,
            only: only.iter().map(|it| (*it).to_owned()).collect(),
            list: false,
            resume: false,
            samples: None,
            seconds: None,
            out: PathBuf::new(),
            peers: PathBuf::new(),
            json: false,
        };
        let chosen = options(&["peers/idle", "2-core/cbor/uniform/10000x8"]).chosen();
        assert_eq!(chosen.len(), 2);
        assert!(options(&["nothing"]).chosen().is_empty());
    }
    #[test]
    fn a_run_that_was_cut_off_is_filled_and_loses_nothing() {
        let entries = [
            entry("one", &line("one", 1.0, true)),
            entry("two", &line("two", 2.0, true)),
            entry("broken", "exit 9"),
        ];
        let programs = Programs { throughput: "./no-such-program".into(), peers: "/bin/sh".into() };
        let here = Path::new(".");
        let mut half = None;
        let cut = run(&entries, Extent::Quick, 2, &programs, here, None, |results, _| {
            half = Some(results.clone());
            // The machine goes in the middle of the second round.
            if results.runs.len() < 4 { Ok(()) } else { Err("gone".to_owned()) }
        });
        assert_eq!(cut, Err("gone".to_owned()));
        let half = half.expect("it was kept");
        assert_eq!((half.runs.len(), half.is_whole), (4, false));
        assert!(plan(&entries, 2, Some(&half)).contains("3 child processes"));
        let rest =
            run(&entries, Extent::Quick, 2, &programs, here, Some(half.clone()), |_, _| Ok(()));
        let rest = rest.expect("it is the same run");
        let samples = |system: &str| {
            let series = rest.series.iter().find(|it| it.system == system);
            series.map_or(0, |it| it.samples.len())
        };
        assert_eq!((samples("one"), samples("two"), rest.is_whole), (2, 2, true));
        assert_eq!(rest.failures.len(), 2, "what failed before was tried again, and told once");
        assert!(rest.seconds > half.seconds);
        let other = Results { extent: "full".to_owned(), ..half };
        let refused = run(&entries, Extent::Quick, 2, &programs, here, Some(other), |_, _| Ok(()));
        assert!(refused.is_err_and(|told| told.contains("extent")));
    }
}
