//! The corpora and all finds as plain tests: the same bodies, without libFuzzer, in seconds.
//!
//! A corpus holds few and small files, each of which reaches something that no other does. What once
//! broke stands in `regressions/` and stays there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The most that the corpus of one target may hold.
const FILES_MAX: usize = 200;
const BYTES_MAX: u64 = 300 << 10;

type Body = fn(&[u8]);

/// Every target.
const TARGETS: [(&str, Body); 9] = [
    ("frames", deltaworks_fuzz::frames::run),
    ("control", deltaworks_fuzz::control::run),
    ("image", deltaworks_fuzz::image::run),
    ("schema", deltaworks_fuzz::schema::run),
    ("validator", deltaworks_fuzz::validator::run),
    ("sessions", deltaworks_fuzz::sessions::run),
    ("pipeline", deltaworks_fuzz::pipeline::run),
    ("config", deltaworks_fuzz::config::run),
    ("trace", deltaworks_fuzz::trace::run),
];

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a folder, in the order of their names; none if there is no such folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    files
}

/// Runs the target's body over its corpus and its finds; returns how many files there were.
fn replay(target: &str) -> usize {
    let body = TARGETS.iter().find(|(name, _)| *name == target).expect("a target").1;
    let mut count = 0;
    for folder in ["corpus", "regressions"] {
        for file in files(&here().join(folder).join(target)) {
            // Told by the test's output if the body panics.
            println!("{}", file.display());
            body(&fs::read(&file).expect("readable"));
            count += 1;
        }
    }
    count
}

macro_rules! replays {
    ($($target:ident),* $(,)?) => {
        $(#[test]
        fn $target() {
            assert!(replay(stringify!($target)) >= 15, "a corpus says something");
        })*
    };
}

replays!(frames, control, image, schema, validator, sessions, pipeline, config, trace);

#[test]
fn every_target_has_a_program_and_a_small_corpus() {
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let stems = |folder: &str| -> BTreeSet<String> {
        let stem =
            |path: &PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
        files(&here().join(folder)).iter().map(stem).collect()
    };
    assert_eq!(stems("libfuzzer/fuzz_targets"), names);
    assert_eq!(stems("corpus"), names);
    assert!(stems("regressions").is_subset(&names));
    assert!(stems("dictionaries").is_subset(&names));
    let manifest = fs::read_to_string(here().join("libfuzzer/Cargo.toml")).expect("a manifest");
    for name in &names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is built");
        let files = files(&here().join("corpus").join(name));
        let bytes: u64 = files.iter().map(|file| file.metadata().expect("readable").len()).sum();
        assert!(files.len() <= FILES_MAX && bytes <= BYTES_MAX, "{name}: {bytes} bytes");
    }
}
