//! ARCHITECTURE.md held against the code: the worst case of the memory budget, the dependencies.

use std::fs;
use std::path::{Path, PathBuf};

use deltaworks_server::sizing::{Row, SizingRequest, WORKER_QUEUE_MESSAGES, size};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn document() -> String {
    fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md stands at the top")
}

/// The rows of a table whose header begins with `first`, as trimmed cells.
fn table(text: &str, first: &str) -> Vec<Vec<String>> {
    let header = format!("| {first} |");
    text.lines()
        .skip_while(|line| !line.starts_with(&header))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

/// What differs between the document's table and the rows that the code computes.
fn differences(told: &[Vec<String>], rows: &[Row]) -> Vec<String> {
    let mut computed: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let mib = format!("{:.1}", row.bytes() as f64 / f64::from(1 << 20));
            let (each, count) = (row.each_bytes.to_string(), row.count.to_string());
            vec![row.kind.to_owned(), each, count, mib, row.when_full.to_owned()]
        })
        .collect();
    let all: u64 = rows.iter().map(Row::bytes).sum();
    let mib = format!("{:.1}", all as f64 / f64::from(1 << 20));
    computed.push(vec!["all".into(), String::new(), String::new(), mib, String::new()]);
    let longest = told.len().max(computed.len());
    (0..longest)
        .filter(|place| told.get(*place) != computed.get(*place))
        .map(|place| format!("told {:?}, computed {:?}", told.get(place), computed.get(place)))
        .collect()
}

#[test]
fn the_worst_case_table_is_that_of_the_code_and_within_the_budget() {
    let two_cores = SizingRequest {
        budget_bytes: None,
        cores: 2,
        session_cores: 2,
        workers: 2,
        elastic_cores: 0,
        guests_per_worker: 256,
        documents: None,
        sessions: None,
        worker_queue_messages: WORKER_QUEUE_MESSAGES,
        ring_capacity: None,
        chunk_bytes: 2 << 20,
        kept_bytes: 0,
    };
    let sizing = size(two_cores).expect("the default budget is enough");
    let told = table(&document(), "kind");
    assert_eq!(differences(&told, &sizing.rows), Vec::<String>::new());
    assert!(sizing.worst_case_bytes() <= sizing.budget_bytes);

    // The comparison sees a row that was changed, and one that was left out.
    let mut changed = sizing.rows.clone();
    changed[3].each_bytes += 1;
    assert!(!differences(&told, &changed).is_empty());
    assert!(!differences(&told[1..], &sizing.rows).is_empty());
}

/// Names of dependencies in a manifest's dependency sections, written as keys or as sections.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = section.ends_with("dependencies");
            if let Some((_, name)) = section.split_once("dependencies.") {
                names.push(name.to_owned());
            }
        } else if inside && let Some((name, _)) = line.split_once(['=', '.']) {
            names.push(name.trim().to_owned());
        }
    }
    names.retain(|name| !name.is_empty() && !name.starts_with(['#', '"', ' ']));
    names
}

/// Folders of the workspace's members, as its manifest names them.
fn members(manifest: &str) -> Vec<String> {
    let lines = manifest.lines().skip_while(|line| *line != "members = [").skip(1);
    let lines = lines.take_while(|line| *line != "]");
    lines.map(|line| line.trim_matches([' ', '"', ',']).to_owned()).collect()
}

/// Dependencies without a reason, and reasons for what nobody depends on.
fn unmatched(used: &[String], reasons: &[String]) -> (Vec<String>, Vec<String>) {
    let lacking = |these: &[String], those: &[String]| {
        these.iter().filter(|name| !those.contains(name)).cloned().collect()
    };
    (lacking(used, reasons), lacking(reasons, used))
}

#[test]
fn every_dependency_has_its_reason() {
    let reasons: Vec<String> = table(&document(), "crate")
        .into_iter()
        .filter(|row| row.len() == 2 && !row[1].is_empty())
        .map(|row| row[0].trim_matches('`').to_owned())
        .collect();
    let workspace = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    let mut folders = members(&workspace);
    // Beside the workspace.
    folders.extend(["tools/fuzz/libfuzzer", "benches/peers"].map(str::to_owned));
    assert!(folders.len() > 10, "the members were read: {folders:?}");
    let mut used = Vec::new();
    for folder in folders {
        let manifest = root().join(&folder).join("Cargo.toml");
        used.extend(dependencies(&fs::read_to_string(manifest).expect("a member's manifest")));
    }
    used.retain(|name| !name.starts_with("deltaworks"));
    used.sort();
    used.dedup();
    assert!(used.len() > 10, "the manifests were read: {used:?}");
    let nothing: Vec<String> = Vec::new();
    assert_eq!(unmatched(&used, &reasons), (nothing.clone(), nothing.clone()));

    // A dependency without a reason is seen, and a reason without a dependency.
    assert_eq!(unmatched(&used, &reasons[1..]).0, [reasons[0].clone()]);
    assert_eq!(unmatched(&used[1..], &reasons).1, [used[0].clone()]);
    let planted = "[dependencies]\nkey = \"1\"\n[dev-dependencies.section]\n[lints]\nx = 1\n";
    assert_eq!(dependencies(planted), ["key", "section"]);
}
