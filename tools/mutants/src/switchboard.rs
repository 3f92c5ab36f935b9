//! One program with many faults in it, each behind a switch: built once, run once for each.
//!
//! Mutant schemata (R. Untch, J. Offutt, M. J. Harrold, ISSTA 1993). What cannot stand behind a
//! switch, or does not compile there, is left out: it is planted alone, as ever.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::guard::{Guarded, SWITCH};
use crate::mutant::Mutant;
use crate::workshop::Bench;

/// How often it is built, the last time without everything that did not compile before: errors of
/// a crate are seen only when those below it have none.
const BUILDS_MAX: usize = 12;

/// The program.
#[derive(Debug)]
pub struct Switchboard {
    program: PathBuf,
    held: BTreeSet<usize>,
}

impl Switchboard {
    /// Builds the program with every fault of `faults` that can stand behind a switch. The sources
    /// are whole again afterwards.
    ///
    /// # Errors
    /// If a text does not stand in its file exactly once, if a file cannot be read or written, or
    /// what `build` says that no fault is to blame for.
    pub fn new(
        bench: &Bench,
        faults: &[&Mutant],
        build: impl Fn(&Bench) -> Result<PathBuf, String>,
    ) -> Result<Self, String> {
        let mut held: BTreeSet<usize> = (0..faults.len()).collect();
        for _ in 0..BUILDS_MAX {
            let files = guarded(bench, faults, &held)?;
            let planted: Result<Vec<_>, String> =
                files.iter().map(|(file, guarded)| bench.copy.put(file, &guarded.text)).collect();
            let _planted = planted?;
            held = files.values().flat_map(|it| it.arms.iter().map(|arm| arm.number - 1)).collect();
            match build(bench) {
                Ok(program) => return Ok(Self { program: kept(bench, &program)?, held }),
                Err(errors) => {
                    let blamed = blamed(&files, &errors);
                    if blamed.is_empty() {
                        return Err(format!("with faults behind switches:\n{errors}"));
                    }
                    held.retain(|place| !blamed.contains(&(place + 1)));
                }
            }
        }
        Err(format!("faults behind switches do not compile after {BUILDS_MAX} tries"))
    }

    /// Whether the fault at this place of the list is in the program. If not, it is to be planted
    /// alone.
    pub fn holds(&self, place: usize) -> bool {
        self.held.contains(&place)
    }

    /// Whether all `count` faults are in the program, so that none is planted alone.
    pub fn holds_all(&self, count: usize) -> bool {
        self.held.len() == count
    }

    /// A call of the program in which the fault at `place` is on, or none.
    ///
    /// # Panics
    /// If the program does not hold that fault.
    pub fn command(&self, place: Option<usize>) -> Command {
        let mut command = Command::new(&self.program);
        match place {
            Some(place) => {
                assert!(self.holds(place), "a fault that is not in the program");
                command.env(SWITCH, (place + 1).to_string());
            }
            None => {
                command.env_remove(SWITCH);
            }
        }
        command
    }
}

/// Each file with those of its faults that are `held`.
fn guarded<'a>(
    bench: &Bench,
    faults: &[&'a Mutant],
    held: &BTreeSet<usize>,
) -> Result<BTreeMap<&'a str, Guarded>, String> {
    let mut of_files: BTreeMap<&str, Vec<(usize, &Mutant)>> = BTreeMap::new();
    for place in held {
        of_files.entry(faults[*place].file).or_default().push((place + 1, faults[*place]));
    }
    let guard = |(file, faults): (&'a str, Vec<(usize, &Mutant)>)| {
        let whole = fs::read_to_string(bench.copy.top().join(file))
            .map_err(|error| format!("{file}: {error}"))?;
        Ok((file, Guarded::new(&whole, &faults)?))
    };
    of_files.into_iter().map(guard).collect()
}

/// The program at a place of its own: the next build would write over it.
fn kept(bench: &Bench, program: &std::path::Path) -> Result<PathBuf, String> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let kept = bench.build.join(format!("switchboard-{name}"));
    fs::copy(program, &kept).map_err(|error| format!("{}: {error}", kept.display()))?;
    Ok(kept)
}

/// The numbers of the faults that the compiler's errors point to.
fn blamed(files: &BTreeMap<&str, Guarded>, errors: &str) -> BTreeSet<usize> {
    let at = |(file, line): (&str, usize)| files.get(file).map(|guarded| guarded.at(line));
    places(errors).into_iter().filter_map(at).flatten().collect()
}

/// Where errors are, file and line: what the compiler writes first behind `error`.
fn places(errors: &str) -> Vec<(&str, usize)> {
    let (mut places, mut is_of_error) = (Vec::new(), false);
    for line in errors.lines() {
        if line.starts_with(|first: char| first.is_ascii_lowercase()) {
            is_of_error = line.starts_with("error");
        } else if let Some(place) = line.trim_start().strip_prefix("--> ")
            && std::mem::take(&mut is_of_error)
        {
            let mut parts = place.split(':');
            let (file, line) = (parts.next(), parts.next().and_then(|line| line.parse().ok()));
            places.extend(file.zip(line));
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_read_and_warnings_are_not() {
        let errors = "warning: unused\n --> a.rs:1:2\n  |\nerror[E0308]: mismatched types\n   --> b/c.rs:12:5\n    \
                      |\nnote: it is here\n --> d.rs:3:4\nerror: no\n  |\nerror: could not compile `x`\n";
        assert_eq!(places(errors), [("b/c.rs", 12)]);
    }
}
