//! A user of the client compiles neither the executor nor the topology library of the server.

use std::process::Command;

/// Crates of the dependency tree that a client must not have.
fn unwanted(tree: &str) -> Vec<&str> {
    let unwanted = ["glommio", "hwlocality", "deltaworks-runtime", "deltaworks-pipeline"];
    let names = tree.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| unwanted.iter().any(|bad| name.starts_with(bad))).collect()
}

#[test]
fn the_tree_has_tokio_and_the_protocol_only() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--package", "deltaworks-client", "--edges", "normal,build"])
        .args(["--prefix", "none", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.contains("tokio ") && tree.contains("deltaworks-protocol "), "{tree}");
    assert_eq!(unwanted(&tree), [""; 0]);
    assert_eq!(unwanted("tokio v1\nglommio v0.9.0\n"), ["glommio"], "the check sees one");
}
