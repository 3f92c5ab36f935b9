//! The corpora and all finds as plain tests: the same bodies, without libFuzzer, in seconds.
//!
//! A corpus holds few and small files, each of which reaches something that no other does. What once
//! broke stands in `regressions/` and stays there.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use deltaworks_fuzz::pipeline::{self, Plant};
use deltaworks_pipeline::inline::Event;
use deltaworks_pipeline::message::{CloseReason, Policy};

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
    ("pipeline", pipeline::run),
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

/// Counts, by policy, what subscriptions were told they would not get, and handles that closed behind.
#[derive(Default)]
struct Policies {
    told: RefCell<[u64; Policy::COUNT]>,
    ended_behind: Cell<u64>,
}

impl Plant for Policies {
    fn told(&self, events: &mut Vec<Event>) {
        for event in events {
            match event {
                Event::Gap { policy, .. } => self.told.borrow_mut()[*policy as usize] += 1,
                Event::Closed(_, CloseReason::Behind) => {
                    self.ended_behind.set(self.ended_behind.get() + 1);
                }
                _ => {}
            }
        }
    }
}

/// The corpus of the pipeline has subscriptions that fall behind under every policy that drops.
#[test]
fn every_policy_acts_in_the_corpus_of_the_pipeline() {
    let policies = Policies::default();
    for file in files(&here().join("corpus/pipeline")) {
        pipeline::body(&policies, &fs::read(&file).expect("readable"));
    }
    let told = policies.told.take();
    for policy in [Policy::Gap, Policy::Skip, Policy::Conflate, Policy::Close] {
        assert!(told[policy as usize] > 0, "{policy:?}: {told:?}");
    }
    assert_eq!(told[Policy::Wait as usize], 0, "who is waited for misses nothing");
    assert!(policies.ended_behind.get() > 0);
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
