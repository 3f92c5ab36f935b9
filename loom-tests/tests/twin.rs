//! The twin's orderings are those of the rtrb that is locked, line by line.
//!
//! The twin cites a file and lines of rtrb in front of each of its orderings. Here every cited line is
//! looked up in cargo's copy of the sources: it must do the same to the same word in the same order,
//! and every ordering of rtrb must be cited or left out for a reason. (That both do the same, step
//! by step, is a property test beside the ring.)
#![cfg(not(loom))]
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version that the twin's citations are of.
const VERSION: &str = "0.4.1";

/// Orderings of rtrb that the twin has no part for.
const LEFT_OUT: [(&str, usize, &str); 4] = [
    ("arc_ring_buffer.rs", 22, "the ring is not shared yet: asserts that it is new"),
    ("arc_ring_buffer.rs", 23, "the ring is not shared yet: a new one begins at 0"),
    ("arc_ring_buffer.rs", 24, "the ring is not shared yet: a new one begins at 0"),
    ("chunks.rs", 994, "ReadChunk::commit: the facade takes values by the iterator only"),
];

/// What is done to a word: its name, the method, the ordering.
type Access = (String, String, String);

/// Files and lines of rtrb, and the accesses of the twin that they stand in front of.
type Citation = (Vec<(String, usize)>, BTreeSet<Access>);

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The access that ends on line `number` (from 1), which may have begun on the line before.
fn access(lines: &[&str], number: usize) -> Option<Access> {
    let line = lines.get(number.checked_sub(1)?)?;
    let (before, after) = line.split_once("Ordering::")?;
    let ordering = name_at_start(after);
    let whole = format!("{}{}", lines.get(number - 2)?.trim(), before.trim());
    let (at, method) = ["load", "store", "fetch_or"]
        .into_iter()
        .filter_map(|method| Some((whole.rfind(&format!(".{method}("))?, method)))
        .max()?;
    let word = whole[..at].rsplit(|char: char| !is_of_name(char)).next()?;
    Some((word.to_owned(), method.to_owned(), ordering))
}

fn name_at_start(text: &str) -> String {
    text.chars().take_while(|char| is_of_name(*char)).collect()
}

fn is_of_name(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// What `// … rtrb: lib.rs 378 and 496, chunks.rs 223.` cites.
fn cited(line: &str) -> Option<Vec<(String, usize)>> {
    let (_, list) = line.split_once("rtrb: ")?;
    let mut file = "";
    let mut cited = Vec::new();
    for part in list.split([' ', ',']) {
        match part.trim_end_matches('.').parse() {
            Ok(number) => cited.push((file.to_owned(), number)),
            Err(_) if part.ends_with(".rs") => file = part,
            Err(_) => assert!(part.is_empty() || part == "and", "{line}"),
        }
    }
    Some(cited)
}

fn citations(twin: &str) -> Vec<Citation> {
    let lines: Vec<&str> = twin.lines().collect();
    let mut found: Vec<Citation> = Vec::new();
    for (place, line) in lines.iter().enumerate() {
        if let Some(cited) = cited(line) {
            found.push((cited, BTreeSet::new()));
        } else if let Some(access) = access(&lines, place + 1) {
            let last = found.last_mut().unwrap_or_else(|| panic!("nothing cited for {line}"));
            last.1.insert(access);
        }
    }
    found
}

/// What is wrong with the citations of `twin`, held against rtrb's files.
fn faults(twin: &str, sources: &BTreeMap<String, String>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut looked_at = BTreeSet::new();
    for (cited, twins) in citations(twin) {
        let mut theirs = BTreeSet::new();
        for (file, number) in cited {
            let lines: Vec<&str> = sources.get(&file).map_or("", |text| text).lines().collect();
            match access(&lines, number) {
                Some(access) => drop(theirs.insert(access)),
                None => faults.push(format!("{file} {number} orders nothing")),
            }
            looked_at.insert((file, number));
        }
        if theirs != twins {
            faults.push(format!("the twin does {twins:?} where rtrb does {theirs:?}"));
        }
    }
    looked_at.extend(LEFT_OUT.map(|(file, number, _)| (file.to_owned(), number)));
    for (file, text) in sources {
        for (place, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or(line);
            if code.contains("Ordering::")
                && !code.trim_start().starts_with("use ")
                && !looked_at.contains(&(file.clone(), place + 1))
            {
                faults.push(format!("{file} {} is not cited: {}", place + 1, line.trim()));
            }
        }
    }
    faults
}

fn twin() -> String {
    read(&workspace().join("runtime/src/ring/twin.rs"))
}

/// rtrb's files by name, where cargo has them.
fn sources() -> Option<BTreeMap<String, String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let answer = Command::new(cargo)
        .args(["metadata", "--offline", "--locked", "--format-version", "1"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(workspace())
        .output()
        .ok()?;
    let metadata: serde_json::Value = serde_json::from_slice(&answer.stdout).ok()?;
    let packages = metadata["packages"].as_array()?;
    let rtrb = packages.iter().find(|package| package["name"] == "rtrb")?;
    let folder = Path::new(rtrb["manifest_path"].as_str()?).parent()?.join("src");
    let files = std::fs::read_dir(folder).ok()?.map(|entry| entry.expect("readable").path());
    let named =
        |path: PathBuf| (path.file_name().unwrap().to_string_lossy().into_owned(), read(&path));
    Some(files.map(named).collect())
}

#[test]
fn the_locked_rtrb_is_the_one_that_is_cited() {
    let lock = read(&workspace().join("Cargo.lock"));
    let (_, entry) = lock.split_once("name = \"rtrb\"\nversion = \"").expect("rtrb is locked");
    let version = entry.split('"').next().unwrap();
    assert_eq!(version, VERSION, "read its sources, and let the twin follow");
    assert!(twin().contains(&format!("rtrb {VERSION}")), "the twin says which version it follows");
}

#[test]
fn every_ordering_is_that_of_the_line_it_cites() {
    let Some(sources) = sources() else {
        eprintln!("SKIPPED: the twin's orderings, because cargo has no sources of rtrb here");
        return;
    };
    assert!(sources.len() >= 3, "{:?}", sources.keys());
    let faults = faults(&twin(), &sources);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn an_ordering_that_differs_is_told() {
    let theirs = "fn push() {\n    let tail = 1;\n    self.tail.store(tail, Ordering::Release);\n\
                  self.head\n    .load(Ordering::Acquire);\n}";
    let sources = BTreeMap::from([("lib.rs".to_owned(), theirs.to_owned())]);
    let twin = |ordering: &str| {
        format!(
            "fn a() {{\n// rtrb: lib.rs 3.\nring.tail.store(tail, Ordering::{ordering});\n\
             // Why. rtrb: lib.rs 5.\nring.head.load(Ordering::Acquire);"
        )
    };
    assert_eq!(faults(&twin("Release"), &sources), [""; 0]);
    let told = faults(&twin("Relaxed"), &sources);
    assert!(told.len() == 1 && told[0].contains("Relaxed"), "{told:?}");
    let other_line = twin("Release").replace("lib.rs 3", "lib.rs 2");
    let told = faults(&other_line, &sources);
    assert!(told.iter().any(|fault| fault.contains("lib.rs 2 orders nothing")), "{told:?}");
    assert!(told.iter().any(|fault| fault.contains("lib.rs 3 is not cited")), "{told:?}");
}
