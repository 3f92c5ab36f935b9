//! Several benches, each with a copy of the sources and a build folder of its own.
//!
//! Rows are judged in parallel, one a bench. A bench prefers rows of the file that it changed last:
//! what it restores and what it plants next are then built as one.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError, mpsc};

use crate::copy::Copy;
use crate::mutant::Mutant;
use crate::switchboard::Switchboard;

/// A copy of the sources, and where it is built.
#[derive(Debug)]
pub struct Bench {
    /// The copy.
    pub copy: Copy,
    /// The build folder.
    pub build: PathBuf,
}

impl Bench {
    /// A file for what a program says that runs here.
    pub fn output(&self) -> PathBuf {
        self.build.with_extension("output")
    }

    /// Deletes the build folder.
    fn empty(&self) -> Result<(), String> {
        match std::fs::remove_dir_all(&self.build) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(format!("{}: {error}", self.build.display()))
            }
            _ => Ok(()),
        }
    }
}

/// The benches.
#[derive(Debug)]
pub struct Workshop {
    benches: Vec<Bench>,
}

impl Workshop {
    /// `benches` benches in the folder `place`, one at least, with copies of the folder `source`.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub fn new(source: &Path, place: &Path, benches: usize) -> io::Result<Self> {
        let benches = (0..benches.max(1)).map(|number| {
            let place = place.join(number.to_string());
            let copy = Copy::of(source, &place.join("source"))?;
            Ok(Bench { copy, build: place.join("build") })
        });
        Ok(Self { benches: benches.collect::<io::Result<_>>()? })
    }

    /// Builds the unchanged sources at the first bench. A run that was interrupted can leave a build
    /// folder with which nothing links any more: one that fails is deleted, and built once more.
    ///
    /// # Errors
    /// What `build` says of an empty folder, or why a folder cannot be deleted.
    pub fn prepare<R>(&self, build: impl Fn(&Bench) -> Result<R, String>) -> Result<R, String> {
        let first = &self.benches[0];
        build(first).or_else(|_| {
            first.empty()?;
            build(first)
        })
    }

    /// Gives the other benches what the first has built where they have nothing, or nothing that
    /// `build` can go on with: what the copies share is built once. The first builds the unchanged
    /// sources again, in case it has built others since.
    ///
    /// # Errors
    /// What `build` says at the first, or if a folder cannot be deleted or copied.
    pub fn share<R>(&self, build: impl Fn(&Bench) -> Result<R, String>) -> Result<(), String> {
        let (first, others) = self.benches.split_first().ok_or("a workshop has a bench")?;
        if !others.is_empty() {
            build(first)?;
        }
        for bench in others {
            if bench.build.exists() {
                if build(bench).is_ok() {
                    continue;
                }
                bench.empty()?;
            }
            // With their times, by which cargo knows what is fresh.
            let copied = Command::new("cp").arg("-a").args([&first.build, &bench.build]).status();
            if !copied.map_err(|error| format!("cp: {error}"))?.success() {
                return Err(format!("{} cannot be copied", first.build.display()));
            }
        }
        Ok(())
    }

    /// Builds one program with all of `faults` that can stand behind a switch, at the first bench.
    ///
    /// # Errors
    /// See [`Switchboard::new`].
    pub fn switchboard(
        &self,
        faults: &[&Mutant],
        build: impl Fn(&Bench) -> Result<PathBuf, String>,
    ) -> Result<Switchboard, String> {
        Switchboard::new(&self.benches[0], faults, build)
    }

    /// Does `work` for each of `jobs` at some bench, and tells the results one by one as they
    /// come. `file_of` names the file that a job changes.
    pub fn each<J: Sync, R: Send>(
        &self,
        jobs: &[J],
        file_of: impl Fn(&J) -> &str + Sync,
        work: impl Fn(&Bench, &J) -> R + Sync,
        mut tell: impl FnMut(&J, R),
    ) {
        let left = Mutex::new((0..jobs.len()).collect::<Vec<_>>());
        let (done, results) = mpsc::channel();
        std::thread::scope(|scope| {
            for bench in &self.benches {
                let (done, left, file_of, work) = (done.clone(), &left, &file_of, &work);
                scope.spawn(move || {
                    let mut last = None;
                    while let Some(place) = next(left, jobs, last, file_of) {
                        last = Some(file_of(&jobs[place]));
                        if done.send((place, work(bench, &jobs[place]))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(done);
            for (place, result) in results {
                tell(&jobs[place], result);
            }
        });
    }
}

/// Takes the place of a job that changes the file `last`, or of the first that is left.
fn next<'a, J>(
    left: &Mutex<Vec<usize>>,
    jobs: &'a [J],
    last: Option<&str>,
    file_of: &impl Fn(&'a J) -> &'a str,
) -> Option<usize> {
    let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
    let same = last.and_then(|file| left.iter().position(|place| file_of(&jobs[*place]) == file));
    (!left.is_empty()).then(|| left.remove(same.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn each_job_is_done_once_and_files_stay_together() {
        let top = std::env::temp_dir().join(format!("mutants-workshop-{}", std::process::id()));
        fs::create_dir_all(top.join("from")).unwrap();
        fs::write(top.join("from/one.rs"), "1").unwrap();
        let workshop = Workshop::new(&top.join("from"), &top.join("benches"), 2).unwrap();
        let build = |bench: &Bench| {
            fs::create_dir_all(&bench.build).map_err(|error| error.to_string())?;
            fs::write(bench.build.join("built"), "").map_err(|error| error.to_string())
        };
        workshop.prepare(build).unwrap();
        assert!(!top.join("benches/1/build").exists());
        fs::write(top.join("benches/0/build/built"), "with faults").unwrap();
        workshop.share(build).unwrap();
        assert_eq!(fs::read_to_string(top.join("benches/1/build/built")).unwrap(), "");
        assert!(top.join("benches/1/build/built").exists(), "the second bench got the build");

        let jobs = [("a", 0), ("b", 1), ("a", 2), ("b", 3), ("a", 4)];
        let mut told = Vec::new();
        let double = |_: &Bench, (_, number): &(&str, usize)| number * 2;
        workshop.each(
            &jobs,
            |(file, _)| file,
            double,
            |(_, number), result| {
                assert_eq!(result, number * 2);
                told.push(*number);
            },
        );
        told.sort_unstable();
        assert_eq!(told, [0, 1, 2, 3, 4]);
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn a_broken_build_folder_is_built_once_more() {
        let top = std::env::temp_dir().join(format!("mutants-broken-{}", std::process::id()));
        fs::create_dir_all(top.join("from")).unwrap();
        let workshop = Workshop::new(&top.join("from"), &top.join("benches"), 3).unwrap();
        let build = |bench: &Bench| {
            if bench.build.join("broken").exists() {
                return Err("does not link".to_owned());
            }
            fs::create_dir_all(&bench.build).map_err(|error| error.to_string())?;
            fs::write(bench.build.join("built"), "").map_err(|error| error.to_string())
        };
        for number in [0, 1] {
            fs::create_dir_all(workshop.benches[number].build.as_path()).unwrap();
            fs::write(workshop.benches[number].build.join("broken"), "").unwrap();
        }
        workshop.prepare(build).unwrap();
        workshop.share(build).unwrap();
        for bench in &workshop.benches {
            assert!(bench.build.join("built").exists() && !bench.build.join("broken").exists());
        }
        let tries = std::cell::Cell::new(0);
        let told = workshop.prepare(|_| {
            tries.set(tries.get() + 1);
            Err::<(), _>("an error".to_owned())
        });
        assert_eq!((told, tries.get()), (Err("an error".to_owned()), 2), "not for ever");
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn a_bench_goes_on_with_its_file() {
        let jobs = ["a", "b", "a", "b"];
        let left = Mutex::new(vec![0, 1, 2, 3]);
        let take = |last| next(&left, &jobs, last, &|job: &&'static str| *job);
        assert_eq!(take(None), Some(0));
        assert_eq!(take(Some("b")), Some(1));
        assert_eq!(take(Some("b")), Some(3));
        assert_eq!(take(Some("b")), Some(2));
        assert_eq!(take(Some("a")), None);
    }
}
