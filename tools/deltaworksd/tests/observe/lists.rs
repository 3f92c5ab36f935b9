//! Lists of documents and sessions: sorted, paged, and true while traffic goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use deltaworks_protocol::message::{Policy, Start};
use serde_json::Value;

use crate::daemon::{Daemon, eventually};
use crate::flow::Flow;
use crate::http::{admin, start};
use crate::wire::Peer;
use crate::witness::Witness;

fn list(daemon: &Daemon, what: &str, query: &str) -> (u64, Vec<Value>) {
    let answer = admin(daemon, "GET", &format!("/v1/{what}?{query}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = answer.json();
    let rows = told[what].as_array().expect("rows").clone();
    (told["total"].as_u64().expect("a total"), rows)
}

fn names(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["name"].as_str().expect("a name")).collect()
}

/// Every document is on one page and no other, in every order; the orders are what they say.
#[test]
fn documents_are_paged_and_sorted() {
    const DOCUMENTS: usize = 700;
    let daemon = start(&[]);
    let mut peer = Peer::unix(&daemon);
    for number in 0..DOCUMENTS {
        let opened = peer.write(&format!("d{number:03}"), 1);
        if number % 100 == 7 {
            let deltas = vec![&b"x"[..]; number];
            assert!(peer.publish(opened.handle, 1, &deltas));
            peer.until_acked(opened.handle, 1);
        }
    }
    let mut reader = Peer::tcp(&daemon);
    reader.read("d123", Start::Live, Policy::Gap);
    for sort in ["name", "window", "last", "subscribers", "rate"] {
        let mut all = Vec::new();
        for offset in (0..DOCUMENTS + 97).step_by(97) {
            let query = format!("sort={sort}&offset={offset}&limit=97&sample_ms=0");
            let (total, rows) = list(&daemon, "documents", &query);
            assert_eq!(total, DOCUMENTS as u64);
            all.extend(rows);
        }
        let told = names(&all);
        let first: &[&str] = match sort {
            "window" => &["d607", "d507", "d407", "d307", "d207", "d107", "d007", "d000"],
            "last" => &["d607", "d507", "d407", "d307", "d207", "d107", "d007", "d000"],
            "subscribers" => &["d123", "d000"],
            _ => &["d000", "d001"],
        };
        assert_eq!(&told[..first.len()], first, "by {sort}");
        let distinct: BTreeSet<&str> = told.iter().copied().collect();
        assert_eq!((told.len(), distinct.len()), (DOCUMENTS, DOCUMENTS), "by {sort}");
    }
    let (_, rows) = list(&daemon, "documents", "sort=window&limit=1&sample_ms=0");
    let row = &rows[0];
    assert_eq!((&row["next_sequence"], &row["window_start"]), (&608.into(), &1.into()), "{row}");
    assert_eq!((&row["window_deltas"], &row["writers"]), (&607.into(), &1.into()), "{row}");
    assert_eq!((&row["collection"], &row["subscribers"]), (&"".into(), &0.into()), "{row}");
    let second = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let second = second.expect("a time after 1970").as_secs();
    let told = row["last_delta_unix_us"].as_u64().expect("a time") / 1_000_000;
    assert!(told.abs_diff(second) < 600, "{row}");
    daemon.stop();
}

/// Every document has the owner that its name leads to, and every owner stands in the list of workers.
#[test]
fn owners_are_workers_and_workers_are_listed() {
    let daemon = start(&["--cores", "2"]);
    let mut peer = Peer::unix(&daemon);
    for number in 0..64 {
        peer.write(&format!("d{number}"), 1);
    }
    let workers = || admin(&daemon, "GET", "/v1/workers").json()["workers"].clone();
    let documents = |worker: &Value| worker["documents"].as_u64().expect("a count");
    eventually("all documents are counted", || {
        workers().as_array().expect("workers").iter().map(documents).sum::<u64>() == 64
    });
    let workers = workers();
    let workers = workers.as_array().expect("workers");
    let (_, rows) = list(&daemon, "documents", "limit=1000&sample_ms=0");
    for (number, worker) in workers.iter().enumerate() {
        assert_eq!((&worker["worker"], &worker["is_elastic"]), (&number.into(), &false.into()));
        let owned = rows.iter().filter(|row| row["worker"] == number);
        let mut count = 0;
        for row in owned {
            assert_eq!(row["owner_core"], worker["core"], "{row}");
            assert_eq!((&row["home_worker"], &row["is_away"]), (&number.into(), &false.into()));
            assert_eq!((&row["is_hot"], &row["elastic"]), (&false.into(), &Value::Null));
            count += 1;
        }
        assert_eq!(count, documents(worker), "{worker}");
    }
    let status = crate::http::status(&daemon);
    for core in status["cores"].as_array().expect("cores") {
        let worker = workers.iter().find(|worker| worker["core"] == core["core"]);
        assert_eq!(core["worker"], worker.map_or(Value::Null, |it| it["worker"].clone()));
    }
    daemon.stop();
}

/// What is asked wrongly is refused with a sentence.
#[test]
fn wrong_questions_are_refused() {
    let daemon = start(&[]);
    for (method, path, status) in [
        ("GET", "/v1/documents?limit=1001", 400),
        ("GET", "/v1/documents?sort=beauty", 400),
        ("GET", "/v1/documents?sample_ms=10001", 400),
        ("GET", "/v1/documents?offset=-1", 400),
        ("GET", "/v1/sessions?sort=name", 400),
        ("GET", "/v1/sessions?colour=red", 400),
        ("POST", "/v1/trace?seconds=31", 400),
        ("POST", "/v1/trace?seconds=0", 400),
        ("POST", "/v1/trace?seconds=NaN", 400),
        ("GET", "/v1/trace", 405),
        ("POST", "/v1/status", 405),
        ("GET", "/v1/reload", 405),
        ("POST", "/v1/workers", 405),
        ("GET", "/v1/secrets", 404),
        ("GET", "/", 404),
    ] {
        let answer = admin(&daemon, method, path);
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        let told = answer.json();
        assert!(told["error"].as_str().is_some_and(|error| error.len() > 10), "{path}: {told}");
    }
    daemon.stop();
}

/// Lists are asked for again and again while a witness publishes and reads: sequences only rise, the
/// one that is written to comes first by rate, and the witness misses nothing.
#[test]
fn lists_are_true_while_traffic_goes_on() {
    let daemon = start(&[]);
    let mut still = Peer::unix(&daemon);
    for number in 0..300 {
        still.write(&format!("still{number}"), 1);
    }
    let witness = Witness::start(&daemon);
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    let mut hottest = BTreeSet::new();
    for _ in 0..8 {
        let (total, rows) = list(&daemon, "documents", "sort=rate&limit=1000&sample_ms=60");
        assert_eq!(total, rows.len() as u64);
        for row in &rows {
            let name = row["name"].as_str().expect("a name").to_owned();
            let sequence = row["next_sequence"].as_u64().expect("a sequence");
            assert!(row["window_start"].as_u64() <= Some(sequence), "{row}");
            let before = next.insert(name, sequence).unwrap_or(0);
            assert!(sequence >= before, "{row} fell");
        }
        if rows[0]["rate_deltas_per_second"].as_f64() > Some(0.0) {
            hottest.insert(rows[0]["name"].as_str().expect("a name").to_owned());
        }
    }
    assert_eq!(hottest.len(), 1, "the witness's document is the only one that moves: {hottest:?}");
    assert!(!hottest.iter().any(|name| name.starts_with("still")));
    witness.finish();
    daemon.stop();
}

/// Who does not read stands first by backlog, with its document by name; and catches up.
#[test]
fn the_slowest_session_comes_first() {
    let daemon = start(&["--unix-mode", "0600"]);
    let mut slow = Peer::tcp(&daemon);
    slow.read("news", Start::Live, Policy::Gap);
    let mut writer = Peer::unix(&daemon);
    let mut flow = Flow::open(&mut writer, "news", 1);
    let is_behind = AtomicBool::new(false);
    eventually("it lags behind", || {
        for _ in 0..100 {
            assert!(flow.publish(&mut writer, &[&[7; 4000], &[8; 4000]]));
        }
        flow.settle(&mut writer);
        let (total, rows) = list(&daemon, "sessions", "sort=backlog&limit=10");
        assert_eq!((total, rows.len()), (2, 2));
        let row = &rows[0];
        is_behind.store(row["is_blocked"] == true, SeqCst);
        if !is_behind.load(SeqCst) || row["backlog_nodes"] == 0 {
            return false;
        }
        assert_eq!((&row["transport"], &row["subscriptions"]), (&"tcp".into(), &1.into()));
        assert_eq!(row["documents"], serde_json::json!(["news"]));
        let nodes = row["backlog_nodes"].as_u64().expect("a count");
        assert_eq!(row["backlog_deltas"].as_u64(), Some(2 * nodes), "two deltas a batch: {row}");
        assert!(row["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{row}");
        assert!(row["delivered_bytes"].as_u64() > Some(0), "{row}");
        let other = &rows[1];
        assert_eq!((&other["transport"], &other["backlog_deltas"]), (&"unix".into(), &0.into()));
        assert!(other["received_bytes"].as_u64() > Some(1 << 20), "{other}");
        true
    });
    let (_, rows) = list(&daemon, "sessions", "sort=received&limit=1");
    assert_eq!(rows[0]["transport"], "unix");
    let (_, rows) = list(&daemon, "sessions", "sort=slowest&limit=1&sample_ms=20");
    assert_eq!((&rows[0]["transport"], &rows[0]["behind_seconds"]), (&"tcp".into(), &Value::Null));
    assert_eq!(rows[0]["delivered_bytes_per_second"], 0.0, "its socket is full: {}", rows[0]);
    let (_, rows) = list(&daemon, "sessions", "sort=greediest&limit=1&sample_ms=20");
    assert_eq!(rows[0]["received_bytes_per_second"], 0.0, "nobody sends: {}", rows[0]);
    // Whoever sends now is told, not who has sent most since it came.
    let is_told = Arc::new(AtomicBool::new(false));
    let sending = std::thread::spawn({
        let (is_told, mut greedy) = (Arc::clone(&is_told), Peer::tcp(&daemon));
        move || {
            let mut flow = Flow::open(&mut greedy, "other", 2);
            while !is_told.load(SeqCst) {
                assert!(flow.publish(&mut greedy, &[&[9; 500]]));
                flow.settle(&mut greedy);
            }
        }
    });
    eventually("the one that sends comes first", || {
        let (_, rows) = list(&daemon, "sessions", "sort=greediest&limit=1&sample_ms=100");
        let row = &rows[0];
        row["documents"] == serde_json::json!(["other"])
            && row["received_bytes_per_second"].as_f64() > Some(0.0)
    });
    is_told.store(true, SeqCst);
    sending.join().expect("it sends until it is told of");
    let reading = std::thread::spawn(move || slow.rest());
    eventually("it has caught up", || {
        let (_, rows) = list(&daemon, "sessions", "sort=backlog");
        rows[0]["backlog_nodes"] == 0
    });
    daemon.stop();
    reading.join().expect("it reads to the end");
}
