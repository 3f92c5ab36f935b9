//! A daemon with two workers, and what it tells of its documents' owners.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::daemon::{Daemon, eventually};
use crate::http::{Answer, admin, start};

/// A daemon with two workers, both on session cores, with these options more.
pub(crate) fn two_workers(options: &[&str]) -> Daemon {
    let daemon = start(&[&["--cores", "2", "--max-elastic-workers", "0"], options].concat());
    assert_eq!(workers(&daemon).len(), 2, "two workers");
    daemon
}

/// What is told of every worker.
pub(crate) fn workers(daemon: &Daemon) -> Vec<Value> {
    let answer = admin(daemon, "GET", "/v1/workers");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["workers"].as_array().expect("workers").clone()
}

/// Every document with its owner and its home; each must be listed once.
pub(crate) fn owners(daemon: &Daemon) -> BTreeMap<String, (u64, u64)> {
    let answer = admin(daemon, "GET", "/v1/documents?limit=1000&sample_ms=0&sort=name");
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = answer.json();
    let rows = told["documents"].as_array().expect("rows");
    let of = |row: &Value| {
        let number = |field: &str| row[field].as_u64().expect(field);
        let (owner, home) = (number("worker"), number("home_worker"));
        assert_eq!(row["is_away"], owner != home, "{row}");
        (row["name"].as_str().expect("a name").to_owned(), (owner, home))
    };
    let owners: BTreeMap<_, _> = rows.iter().map(of).collect();
    assert_eq!(owners.len(), rows.len(), "each is listed once");
    owners
}

/// The owner of one.
pub(crate) fn owner(daemon: &Daemon, name: &str) -> u64 {
    owners(daemon)[name].0
}

/// Asks for a move.
pub(crate) fn ask(daemon: &Daemon, name: &str, to: u64) -> Answer {
    admin(daemon, "POST", &format!("/v1/move?document={}&to={to}", name.replace('/', "%2F")))
}

/// Moves a document, which must succeed; what is told.
pub(crate) fn moved(daemon: &Daemon, name: &str, to: u64) -> Value {
    let answer = ask(daemon, name, to);
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = answer.json();
    assert_eq!((&told["document"], &told["to"]), (&name.into(), &to.into()), "{told}");
    told
}

/// A move that must be refused with that number, and with a sentence.
pub(crate) fn refused(daemon: &Daemon, name: &str, to: u64, status: u16, number: u64) {
    let answer = ask(daemon, name, to);
    let told = answer.json();
    assert_eq!((answer.status, told["number"].as_u64()), (status, Some(number)), "{answer:?}");
    assert!(told["error"].as_str().is_some_and(|error| error.len() > 10), "{told}");
}

/// Begins a list of moves, and waits for its end.
pub(crate) fn relocated(daemon: &Daemon, path: &str) -> Value {
    let begun = admin(daemon, "POST", path);
    assert_eq!(begun.status, 200, "{begun:?}");
    let mut told = begun.json();
    eventually("the list has ended", || {
        told = admin(daemon, "GET", "/v1/relocation").json();
        told["is_done"] == true
    });
    told
}
