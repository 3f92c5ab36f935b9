//! Test data from outside: where it is found, and what happens when it is not.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The JSON of a file of the test data, which `DELTAWORKS_TEST_DATA` names.
pub(crate) fn shared(path: &str) -> Option<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let data =
        std::env::var_os("DELTAWORKS_TEST_DATA").map_or("../shared/data".into(), PathBuf::from);
    read(&root.join(data).join(path))
}

/// The JSON of one of the conformance suites that come with the source of the crate `jtd`.
pub(crate) fn suite(name: &str) -> Option<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let manifest = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .find(|package| package["name"] == "jtd" && package["version"] == "0.3.1")
        .and_then(|package| package["manifest_path"].as_str())
        .expect("jtd 0.3.1 is a dependency of the tests");
    read(&Path::new(manifest).with_file_name("json-typedef-spec").join("tests").join(name))
}

fn read(path: &Path) -> Option<Value> {
    match std::fs::read(path) {
        Ok(text) => Some(serde_json::from_slice(&text).unwrap()),
        Err(error) => {
            let is_required = std::env::var("CI").is_ok_and(|value| value == "true");
            assert!(!is_required, "{}: {error}", path.display());
            eprintln!("SKIPPED: {}: {error}", path.display());
            None
        }
    }
}
