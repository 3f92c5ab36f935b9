//! Runs the entries in rounds: every entry once, then every entry again, so that the samples of a
//! series are spread over the whole time and a bad minute spoils one of each, not all of one.
//!
//! Each round begins elsewhere in the table. What fails is told and tried again in the next round;
//! what is not there is not. After each round the file is written.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::child;
use crate::entry::{Entry, Extent, Program, entries};
use crate::machine::{Machine, Ticks, load};
use crate::progress::Progress;
use crate::reading::{Told, read};
use crate::results::{FORMAT, Failure, Results};

/// What is run, and where to.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchOptions {
    /// How much.
    #[arg(long, value_enum, default_value_t = Extent::Standard)]
    pub extent: Extent,
    /// Entries whose names hold this only; can be given several times.
    #[arg(long, value_name = "PART")]
    pub only: Vec<String>,
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

/// Runs `entries` in `rounds` rounds; `keep` gets the results after each.
///
/// # Errors
/// If `keep` fails.
pub fn run(
    entries: &[Entry],
    extent: Extent,
    rounds: u32,
    programs: &Programs,
    folder: &Path,
    mut keep: impl FnMut(&Results) -> Result<(), String>,
) -> Result<Results, String> {
    let mut results = Results {
        format: FORMAT,
        command: typed(),
        extent: extent.name().to_owned(),
        samples_each: rounds,
        machine: Machine::here(folder),
        ..Results::default()
    };
    let mut progress = Progress::new(entries, rounds);
    let (began, ticks) = (Instant::now(), Ticks::now());
    let mut gone: Vec<&str> = Vec::new();
    for round in 0..rounds {
        let first = entries.len() * round as usize / rounds.max(1) as usize;
        for entry in entries[first..].iter().chain(&entries[..first]) {
            if gone.contains(&entry.name.as_str()) || (entry.is_once && round > 0) {
                continue;
            }
            progress.begins(entry, round);
            let at = Instant::now();
            let failures =
                play(entry, round, programs.of(entry.program), folder, began, &mut results);
            progress.ended(entry, at.elapsed().as_secs_f64());
            for failure in failures {
                progress.tell(&format!("{}: {}", failure.entry, failure.reason));
                if failure.is_absent {
                    gone.push(&entry.name);
                    progress.dropped(entry);
                }
                results.failures.push(failure);
            }
        }
        results.seconds = began.elapsed().as_secs_f64();
        results.machine.load_ended = load();
        results.machine.stolen_share = Ticks::now().stolen_share_since(ticks);
        results.is_whole = round + 1 == rounds;
        keep(&results)?;
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

/// One child, whose samples go to `results`; what went wrong comes back.
fn play(
    entry: &Entry,
    round: u32,
    program: &Path,
    folder: &Path,
    began: Instant,
    results: &mut Results,
) -> Vec<Failure> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let command = format!("{name} {}", entry.arguments.join(" "));
    let failure = |is_absent: bool, reason: String| Failure {
        entry: entry.name.clone(),
        command: command.clone(),
        round,
        is_absent,
        reason,
    };
    if !program.exists() {
        return vec![failure(true, format!("{name} is not built: see `make bench`"))];
    }
    let (at_s, load) = (began.elapsed().as_secs_f64(), load());
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
            let sample = sample.map(|sample| crate::results::Sample { at_s, load, ..sample });
            results.add(series, sample);
        }
    }
    match &left.fault {
        // What was not verified has been told.
        Some(fault) if failures.is_empty() => {
            failures.push(failure(false, format!("{fault}: {}", left.complaint)));
        }
        None if came == 0 && failures.is_empty() => {
            failures.push(failure(false, "it told nothing".to_owned()))
        }
        _ => {}
    }
    failures
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
            entry("silent", "true"),
            entry("garbage", "echo '{\"scenario\":'"),
            Entry { program: Program::Throughput, ..entry("absent", "") },
        ];
        let programs = Programs { throughput: "./no-such-program".into(), peers: "/bin/sh".into() };
        let mut kept = 0;
        let results = run(&entries, Extent::Quick, 2, &programs, Path::new("."), |_| {
            kept += 1;
            Ok(())
        });
        let results = results.expect("nobody refused to keep it");
        assert_eq!(kept, 2, "after each round");
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
        let ends = results.failures.iter().find(|it| it.entry == "ends").expect("it failed");
        assert!(ends.reason.contains("why") && ends.reason.contains('7'), "{}", ends.reason);
        assert!(results.is_whole);
    }

    #[test]
    fn parts_of_names_choose() {
        let options = |only: &[&str]| BenchOptions {
            extent: Extent::Standard,
            only: only.iter().map(|it| (*it).to_owned()).collect(),
            list: false,
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
}
