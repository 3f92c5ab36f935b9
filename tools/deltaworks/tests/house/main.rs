//! The rules of the house, read from the sources: length, words, docs, layers.
//!
//! Each rule is a function from what it reads to what is wrong with it, so that a planted violation
//! shows that it would be caught. What is forbidden is written here in two halves, or this file
//! would break its own rules.

mod orderings;
mod sharing;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The most lines of a source file: beyond that it is two nouns.
const LINES_MAX: usize = 700;

/// The layer of each crate; an arrow goes from a higher number to a lower one. Crates of the last layer
/// see everything and nobody sees them.
const LAYERS: [(&str, u32); 18] = [
    ("deltaworks-runtime", 0),
    ("deltaworks-image", 1),
    ("deltaworks-schema", 1),
    ("deltaworks-pipeline", 2),
    ("deltaworks-protocol", 3),
    ("deltaworks-client", 4),
    ("deltaworks-server", 4),
    ("deltaworks-capacity", 4),
    ("deltaworks", 5),
    ("deltaworksd", 5),
    ("deltaworks-mutants", 5),
    ("deltaworks-harness", 5),
    ("deltaworks-benches", BESIDE),
    ("deltaworks-fuzz", BESIDE),
    ("deltaworks-loom-tests", BESIDE),
    ("deltaworks-simulator", BESIDE),
    ("deltaworks-stress-tests", BESIDE),
    ("deltaworks-wasm-tests", BESIDE),
];
const BESIDE: u32 = 6;

/// What a layer must not see, even where the arrow points down.
const HIDDEN: [(&str, &[&str]); 4] = [
    ("deltaworks-image", &["deltaworks-runtime"]),
    ("deltaworks-schema", &["deltaworks-runtime"]),
    ("deltaworks-protocol", &["deltaworks-runtime", "deltaworks-pipeline", "deltaworks-schema"]),
    ("deltaworks-client", &["deltaworks-runtime", "deltaworks-pipeline", "deltaworks-schema"]),
];

/// Crates whose users compile no executor of the server and no reader of hardware.
const LIGHT: [&str; 4] =
    ["deltaworks-client", "deltaworks-protocol", "deltaworks-image", "deltaworks-schema"];

/// Packages that only a server needs.
const HEAVY: [&str; 6] =
    ["glommio", "hwlocality", "hwlocality-sys", "core_affinity", "deltaworks-runtime", "io-uring"];

/// Folders without texts of ours: what was built, and the bytes that fuzzing found.
const SKIPPED: [&str; 5] = ["target", ".git", "bench-report", "corpus", "regressions"];

/// Where neither clock, socket, file, thread nor atomic may be named.
const PURE: [&str; 4] =
    ["pipeline/src/", "pipeline/image/src/", "pipeline/schema/src/", "net/protocol/src/"];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every text of the project with its path from the workspace, `/` between folders.
fn texts() -> Vec<(String, String)> {
    let root = workspace();
    let mut folders = vec![PathBuf::new()];
    let mut texts = Vec::new();
    while let Some(folder) = folders.pop() {
        // `.git` is a file where somebody works in a second tree of the same repository.
        for entry in std::fs::read_dir(root.join(&folder)).expect("readable") {
            let entry = entry.expect("readable");
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = folder.join(&name);
            let kind = entry.file_type().expect("readable");
            if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
                folders.push(path);
            } else if kind.is_file() && ![".git", "Cargo.lock"].contains(&name.as_str()) {
                // What is not UTF-8 is no text of ours.
                if let Ok(text) = std::fs::read_to_string(root.join(&path)) {
                    texts.push((path.to_string_lossy().replace('\\', "/"), text));
                }
            }
        }
    }
    assert!(texts.len() > 50, "found only {} files", texts.len());
    texts.sort();
    texts
}

/// All rules that look at one file.
fn faults_of_file(path: &str, text: &str) -> Vec<String> {
    let mut faults: Vec<String> = too_long(path, text).into_iter().collect();
    faults.extend(forbidden_words(path, text));
    faults.extend(empty_name(path));
    faults.extend(bare_crate_root(path, text));
    faults.extend(impure(path, text));
    faults
}

fn too_long(path: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    (path.ends_with(".rs") && lines > LINES_MAX)
        .then(|| format!("{path}: {lines} lines, at most {LINES_MAX}: is it two nouns?"))
}

fn forbidden_words(path: &str, text: &str) -> Vec<String> {
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("#[ig", "nore"),
        concat!("allow(dead", "_code"),
        concat!("allow(un", "used"),
        concat!("allow(un", "safe_code"),
        concat!("allow(clippy", "::all"),
        concat!("DESIGN", ".md"),
        concat!("HOUSE", "_STYLE"),
        concat!("ANCHORS", ".md"),
        concat!("index.crates", ".io"),
        concat!("static.crates", ".io"),
        concat!("deb.deb", "ian.org"),
        concat!("registry.npm", "js.org"),
    ];
    let folders = ["work", "root", "farm", "home"];
    let mut faults = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut tell = |word: &str| faults.push(format!("{path}:{}: {word}", number + 1));
        words.iter().filter(|word| line.contains(**word)).for_each(|word| tell(word));
        for folder in folders {
            let machine_path = format!("/{folder}/");
            let inside = |at: usize| {
                line[..at].ends_with(|char: char| char.is_alphanumeric() || "_./>}".contains(char))
            };
            if line.match_indices(&machine_path).any(|(at, _)| !inside(at)) {
                tell(&format!("a path of one machine, {machine_path}"));
            }
        }
    }
    faults
}

/// A file's name is a noun that says what is in it.
fn empty_name(path: &str) -> Option<String> {
    let stem = Path::new(path).file_stem()?.to_string_lossy().into_owned();
    ["utils", "util", "helpers", "helper", "common", "impls", "manager", "misc"]
        .contains(&stem.as_str())
        .then(|| format!("{path}: a name that says nothing"))
}

/// A crate's root says what the crate is, and where unsafe code may stand.
fn bare_crate_root(path: &str, text: &str) -> Vec<String> {
    if !path.ends_with("src/lib.rs") && !path.ends_with("src/main.rs") {
        return Vec::new();
    }
    let mut faults = Vec::new();
    if !text.starts_with("//! ") {
        faults.push(format!("{path}: no docs at its start"));
    }
    if !text.contains("#![forbid(unsafe_code)]") && !text.contains("#![deny(unsafe_code)]") {
        faults.push(format!("{path}: unsafe code is neither forbidden nor denied"));
    }
    faults
}

/// The pipeline and the protocol get time, randomness and I/O as arguments.
fn impure(path: &str, text: &str) -> Vec<String> {
    if !PURE.iter().any(|folder| path.starts_with(folder)) {
        return Vec::new();
    }
    let names = ["sync::atomic", "thread", "time::Instant", "time::SystemTime", "net", "fs"];
    let shipped = text.split("#[cfg(test)]").next().unwrap_or(text);
    let mut faults = Vec::new();
    for (number, line) in shipped.lines().enumerate() {
        let code = line.split("//").next().unwrap_or(line);
        for name in names {
            let named = |library: &str| {
                code.match_indices(&format!("{library}::{name}")).any(|(at, found)| {
                    let rest = &code[at + found.len()..];
                    !rest.starts_with(|char: char| char.is_alphanumeric() || char == '_')
                })
            };
            if named("std") || named("core") {
                faults.push(format!("{path}:{}: names std::{name}", number + 1));
            }
        }
    }
    faults
}

/// Arrows between our crates, tests' own excepted: crate → crates that it depends on.
type Arrows = BTreeMap<String, BTreeSet<String>>;

fn arrows(metadata: &Value) -> Arrows {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let list = |value: &Value| value.as_array().expect("array").clone();
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            let dependencies = list(&package["dependencies"])
                .iter()
                .filter(|dependency| dependency["kind"] != "dev" && !dependency["path"].is_null())
                .map(|dependency| text(&dependency["name"]))
                .collect();
            (text(&package["name"]), dependencies)
        })
        .collect()
}

fn layer_faults(arrows: &Arrows) -> Vec<String> {
    let layers: BTreeMap<&str, u32> = LAYERS.into_iter().collect();
    let hidden: BTreeMap<&str, &[&str]> = HIDDEN.into_iter().collect();
    let mut faults = Vec::new();
    for (from, targets) in arrows {
        let Some(layer) = layers.get(from.as_str()) else {
            faults.push(format!("{from} has no layer"));
            continue;
        };
        for to in targets {
            match layers.get(to.as_str()) {
                Some(lower) if lower < layer => {}
                _ => faults.push(format!("{from} → {to} does not point down")),
            }
            if hidden.get(from.as_str()).is_some_and(|names| names.contains(&to.as_str())) {
                faults.push(format!("{from} must not know {to}"));
            }
        }
    }
    faults
}

/// A manifest takes its lints from the workspace.
fn own_lints(path: &str, manifest: &str) -> Option<String> {
    let shared = manifest.contains("[lints]\nworkspace = true");
    (path.ends_with("/Cargo.toml") && !shared).then(|| format!("{path}: lints of its own"))
}

/// Packages of [`HEAVY`] that the users of `package` compile.
fn heavy_packages(package: &str) -> Vec<String> {
    let arguments =
        ["tree", "--offline", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"];
    let tree = cargo(&[&arguments[..], &["--package", package]].concat());
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(package), "the tree of {package} begins with itself");
    HEAVY.iter().filter(|heavy| names.contains(**heavy)).map(|name| (*name).to_owned()).collect()
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(workspace())
        .output()
        .expect("cargo runs the tests, so it can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn metadata() -> Value {
    let arguments = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
    serde_json::from_str(&cargo(&arguments)).expect("JSON")
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn every_file_keeps_the_rules() {
    let texts = texts();
    let files = texts.iter().flat_map(|(path, text)| faults_of_file(path, text));
    let manifests = texts.iter().filter_map(|(path, text)| own_lints(path, text));
    assert_none(&files.chain(manifests).collect::<Vec<_>>());
}

#[test]
fn what_threads_share_is_told_in_the_architecture() {
    let texts = texts();
    let told =
        texts.iter().find(|(path, _)| path == "ARCHITECTURE.md").expect("it stands at the top");
    let models = deltaworks_loom_tests::STORIES.iter().copied().flatten();
    let models = models.map(|model| model.name.replace("::models::", "::")).collect();
    assert_none(&sharing::faults(&told.1, &source::shipping(&texts), &models));
}

/// No crate that ships is left out by the two rules that read what ships.
#[test]
fn what_ships_is_read() {
    let beside: BTreeSet<&str> =
        LAYERS.iter().filter(|(_, layer)| *layer == BESIDE).map(|(name, _)| *name).collect();
    let metadata = metadata();
    let manifests = metadata["packages"].as_array().expect("array").iter().filter(|package| {
        let name = package["name"].as_str().expect("text");
        // They plant faults and measure, and ship as little as what they do it for.
        !beside.contains(name) && !["deltaworks-mutants", "deltaworks-harness"].contains(&name)
    });
    let mut folders: Vec<String> = manifests
        .map(|package| package["manifest_path"].as_str().expect("text").replace('\\', "/"))
        .collect();
    assert_eq!(folders.len(), source::SHIPPING.len(), "{folders:?}");
    folders.retain(|manifest| {
        let sources = manifest.replace("Cargo.toml", "src/");
        !source::SHIPPING.iter().any(|shipping| sources.ends_with(&format!("/{shipping}")))
    });
    assert_none(&folders);
}

#[test]
fn every_ordering_names_its_partner() {
    assert_none(&orderings::faults(&source::shipping(&texts())));
}

#[test]
fn arrows_point_down_only() {
    let arrows = arrows(&metadata());
    assert_eq!(arrows.len(), LAYERS.len(), "every crate of the workspace has its layer");
    assert_none(&layer_faults(&arrows));
}

#[test]
fn users_of_the_client_compile_no_server() {
    let faults = LIGHT.iter().flat_map(|package| {
        heavy_packages(package).into_iter().map(move |heavy| format!("{package} needs {heavy}"))
    });
    assert_none(&faults.collect::<Vec<_>>());
}

#[test]
fn the_reader_of_trees_sees_what_the_runtime_needs() {
    assert!(heavy_packages("deltaworks-runtime").contains(&"glommio".to_owned()));
}

#[test]
fn each_planted_fault_of_a_file_is_caught() {
    let good = "//! What it is.\n#![forbid(unsafe_code)]\n";
    assert_none(&faults_of_file("pipeline/src/lib.rs", good));
    let caught = |path: &str, planted: &str| {
        let faults = faults_of_file(path, &format!("{good}{planted}"));
        assert_eq!(faults.len(), 1, "{path} with {planted:?}: {faults:?}");
    };
    let most = "\n".repeat(LINES_MAX - 2);
    assert_none(&faults_of_file("a.rs", &format!("{good}{most}")));
    caught("a.rs", &format!("{most}\n"));
    caught("a.md", concat!("TO", "DO: later"));
    caught("a.rs", concat!("#[ig", "nore]"));
    caught("a.rs", concat!("#![allow(dead", "_code)]"));
    caught("a.md", concat!("as ANCHORS", ".md tells"));
    caught("a.sh", concat!("curl https://static.crates", ".io/x"));
    caught("a.md", &format!("see /{}/x", "work"));
    caught("a.md", &format!("/{}/x", "root"));
    caught("a.md", &format!("`/{}/x`", "home"));
    assert_none(&faults_of_file("a.md", &format!("${{x}}/{0}/y and a/{0}/y and ../{0}/y", "work")));
    caught("net/client/src/helpers.rs", "");
    caught("pipeline/src/lib.rs", "use std::time::Instant;");
    caught("pipeline/src/lib.rs", "fn f() { std::thread::yield_now() }");
    caught("net/protocol/src/session.rs", "use core::sync::atomic::AtomicU8;");
    assert_none(&faults_of_file("net/client/src/x.rs", "use std::time::Instant;"));
    let in_test = "#[cfg(test)]\nmod tests { use std::thread; }";
    assert_none(&faults_of_file("pipeline/src/x.rs", in_test));
}

#[test]
fn each_planted_fault_of_a_crate_root_is_caught() {
    let path = "runtime/src/lib.rs";
    assert_eq!(faults_of_file(path, "#![deny(unsafe_code)]\n").len(), 1);
    assert_eq!(faults_of_file(path, "//! What it is.\n").len(), 1);
    assert_eq!(own_lints("runtime/Cargo.toml", "[lints]\nworkspace = true\n"), None);
    assert!(own_lints("runtime/Cargo.toml", "[lints.rust]\n").is_some());
}

#[test]
fn each_planted_arrow_is_caught() {
    let with = |from: &str, to: &str| {
        let mut arrows = arrows(&metadata());
        arrows.entry(from.to_owned()).or_default().insert(to.to_owned());
        layer_faults(&arrows)
    };
    assert_eq!(with("deltaworks-runtime", "deltaworks-image").len(), 1, "up");
    assert_eq!(with("deltaworks-client", "deltaworks-server").len(), 1, "beside");
    assert_eq!(with("deltaworks-client", "deltaworks-pipeline").len(), 1, "hidden");
    assert_eq!(with("deltaworksd", "deltaworks-benches").len(), 1, "nobody sees the benches");
    assert_eq!(with("deltaworks-stranger", "deltaworks-image").len(), 1, "no layer");
}
