//! ARCHITECTURE.md held against the code: the worst case of the memory budget, the dependencies.

use std::fs;
use std::path::{Path, PathBuf};

use deltaworks_server::sizing::{Row, SizingRequest, size};

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
        documents: None,
        chunk_bytes: 2 << 20,
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

/// Names of dependencies in a manifest's dependency sections.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            inside = section.trim_end_matches(']').ends_with("dependencies");
        } else if inside && let Some((name, _)) = line.split_once(['=', '.']) {
            names.push(name.trim().to_owned());
        }
    }
    names.retain(|name| !name.is_empty() && !name.starts_with(['#', '"', ' ']));
    names
}

#[test]
fn every_dependency_has_its_reason() {
    let reasons: Vec<String> = table(&document(), "crate")
        .into_iter()
        .filter(|row| row.len() == 2 && !row[1].is_empty())
        .map(|row| row[0].trim_matches('`').to_owned())
        .collect();
    let mut manifests = vec![root().join("Cargo.toml")];
    let folders = [
        "runtime",
        "pipeline",
        "pipeline/image",
        "pipeline/schema",
        "net/protocol",
        "net/client",
        "net/server",
        "tools/deltaworks",
        "tools/deltaworksd",
        "loom-tests",
        "benches",
    ];
    manifests.extend(folders.map(|folder| root().join(folder).join("Cargo.toml")));
    let mut used = Vec::new();
    for manifest in manifests {
        let text = fs::read_to_string(&manifest).expect("a manifest");
        used.extend(dependencies(&text));
    }
    used.retain(|name| !name.starts_with("deltaworks"));
    used.sort();
    used.dedup();
    assert!(used.len() > 10, "the manifests were read: {used:?}");
    let missing: Vec<&String> = used.iter().filter(|name| !reasons.contains(name)).collect();
    assert!(missing.is_empty(), "no reason stands in ARCHITECTURE.md for {missing:?}");
    let idle: Vec<&String> = reasons.iter().filter(|name| !used.contains(name)).collect();
    assert!(idle.is_empty(), "ARCHITECTURE.md gives reasons for what is not used: {idle:?}");
    assert_eq!(dependencies("[dependencies]\nplanted = \"1\"\n[lints]\nx = 1\n"), ["planted"]);
}
