//! A worker is emptied, and filled again.

use deltaworks_protocol::message::{Policy, Start};
use serde_json::Value;

use crate::daemon::eventually;
use crate::flow::Flow;
use crate::http::admin;
use crate::owners::{moved, owner, owners, refused, relocated, two_workers, workers};
use crate::wire::{Peer, Told};
use crate::writers::Writers;

fn owned_by(daemon: &crate::daemon::Daemon, worker: u64) -> usize {
    owners(daemon).values().filter(|(owner, _)| *owner == worker).count()
}

/// All of 200 documents, some of which are written to, leave a worker, which takes none until the
/// drain is undone; then those that are away from it come home.
#[test]
fn a_drained_worker_has_no_documents_until_it_is_undone() {
    let daemon = two_workers(&[]);
    let mut peer = Peer::unix(&daemon);
    for number in 0..194 {
        peer.write(&format!("still{number}"), 1);
    }
    let names: Vec<String> = (0..6).map(|number| format!("busy{number}")).collect();
    let writers = Writers::start(&daemon, &names, 7);
    let at_home = owned_by(&daemon, 1);
    assert!((1..200).contains(&at_home), "{at_home}");
    let told = relocated(&daemon, "/v1/drain?worker=1");
    assert_eq!((&told["purpose"], &told["worker"]), (&"drain".into(), &1.into()), "{told}");
    assert_eq!((&told["total"], &told["moved"]), (&at_home.into(), &at_home.into()), "{told}");
    assert_eq!((&told["failed"], &told["failures"]), (&0.into(), &serde_json::json!([])), "{told}");
    assert_eq!((owned_by(&daemon, 1), owned_by(&daemon, 0)), (0, 200));
    let is_drained = |worker: usize| workers(&daemon)[worker]["is_drained"] == true;
    assert_eq!((is_drained(0), is_drained(1)), (false, true));
    let (away, _) = owners(&daemon).into_iter().find(|(_, (_, home))| *home == 1).expect("one");
    refused(&daemon, &away, 1, 409, 614);
    assert_eq!(owner(&daemon, &away), 0);
    assert_eq!(moved(&daemon, &away, 0)["was_there"], true);
    writers.get_on(60);
    // What is opened anew begins at its home, and is moved away.
    for number in 0..32 {
        peer.write(&format!("new{number}"), 1);
    }
    let home_of_new =
        |(name, (_, home)): &(&String, &(u64, u64))| name.starts_with("new") && *home == 1;
    let new = owners(&daemon).iter().filter(home_of_new).count();
    assert!(new > 0);
    eventually("new documents have moved away", || owned_by(&daemon, 1) == 0);

    let told = relocated(&daemon, "/v1/drain?worker=1&undo=true");
    let all = at_home + new;
    assert_eq!((&told["purpose"], &told["moved"]), (&"undo".into(), &all.into()), "{told}");
    assert!(owners(&daemon).values().all(|(owner, home)| owner == home), "all are home");
    assert_eq!((is_drained(0), is_drained(1)), (false, false));
    moved(&daemon, &away, 0);
    writers.get_on(60);
    writers.finish();
    assert!(peer.is_alive().is_empty(), "nobody was told anything");
    let log = daemon.log();
    for told in ["drain of worker 1 (user ", "drain of worker 1, undone (user "] {
        assert!(log.contains(told), "{told}: {log}");
    }
    daemon.stop();
}

/// Where the others have no places for so many, the rest stays, and is told with its number.
#[test]
fn what_the_others_do_not_take_stays_and_is_told() {
    let daemon = two_workers(&["--guests-per-worker", "5"]);
    let mut peer = Peer::unix(&daemon);
    for number in 0..40 {
        peer.write(&format!("d{number}"), 1);
    }
    let at_home = owned_by(&daemon, 0) as u64;
    assert!(at_home > 5, "{at_home}");
    let told = relocated(&daemon, "/v1/drain?worker=0");
    assert_eq!((told["moved"].as_u64(), told["failed"].as_u64()), (Some(5), Some(at_home - 5)));
    let failures = told["failures"].as_array().expect("failures");
    assert_eq!(failures.len() as u64, at_home - 5);
    let stayed = owners(&daemon);
    for failure in failures {
        assert_eq!(failure["number"], 608, "{failure}");
        assert_eq!(stayed[failure["document"].as_str().expect("a name")].0, 0, "{failure}");
    }
    // With the other one drained as well there is nowhere to go.
    let told = relocated(&daemon, "/v1/drain?worker=1");
    let failures = told["failures"].as_array().expect("failures");
    assert!(failures.iter().all(|failure| failure["number"] == 616), "{told}");
    assert_eq!(owners(&daemon), stayed, "nothing has moved");
    for worker in [0, 1] {
        let told = relocated(&daemon, &format!("/v1/drain?worker={worker}&undo=true"));
        assert_eq!(told["failed"], 0, "{told}");
    }
    assert!(owners(&daemon).values().all(|(owner, home)| owner == home), "all are home");
    daemon.stop();
}

/// The only worker cannot be emptied: it keeps what it has, and goes on.
#[test]
fn the_only_worker_keeps_its_documents() {
    let daemon = crate::http::start(&["--cores", "1", "--max-elastic-workers", "0"]);
    let mut peer = Peer::unix(&daemon);
    peer.write("d", 1);
    refused(&daemon, "d", 1, 404, 602);
    let told = relocated(&daemon, "/v1/drain?worker=0");
    assert_eq!((&told["moved"], &told["failed"]), (&0.into(), &1.into()), "{told}");
    assert_eq!(told["failures"][0]["number"], 616);
    peer.write("e", 1);
    assert_eq!(admin(&daemon, "GET", "/v1/workers").json()["workers"][0]["is_drained"], true);
    daemon.stop();
}

/// Documents whose newest bytes are kept go, too, when their worker is drained, and keep them.
#[test]
fn documents_take_what_they_keep_along() {
    const QUIET: usize = 12;
    let keeping = ["--collection", "quiet=opaque,keep_bytes=20000", "--moves-per-second", "0"];
    let daemon = two_workers(&keeping);
    let quiet = || -> Vec<Value> {
        let told = admin(&daemon, "GET", "/v1/documents?limit=1000&sample_ms=0").json();
        let rows = told["documents"].as_array().expect("rows").clone();
        let is_quiet =
            |row: &Value| row["name"].as_str().is_some_and(|name| name.starts_with("quiet/"));
        rows.into_iter().filter(is_quiet).collect()
    };
    let mut writer = Peer::unix(&daemon);
    let names: Vec<String> = (0..QUIET).map(|number| format!("quiet/{number}")).collect();
    for name in &names {
        let mut flow = Flow::open(&mut writer, name, 1);
        assert!(flow.publish(&mut writer, &[name.as_bytes()]));
        flow.settle(&mut writer);
    }
    // Another document turns the chunks of that session's core over, until each has its image kept.
    let mut hot = Flow::open(&mut writer, "hot", 1);
    let are_kept = || quiet().iter().all(|row| row["kept_bytes"].as_u64() > Some(0));
    let mut rounds = 0;
    while !are_kept() {
        for _ in 0..400 {
            assert!(hot.publish(&mut writer, &[&[7; 8_000]]));
        }
        hot.settle(&mut writer);
        rounds += 1;
        assert!(rounds < 60, "{:?}", quiet());
    }
    assert!(quiet().iter().any(|row| row["worker"] == 0), "some are there");

    let told = relocated(&daemon, "/v1/drain?worker=0");
    assert_eq!(told["failed"], 0, "{told}");
    let moved = quiet();
    assert_eq!(moved.len(), QUIET);
    for row in &moved {
        assert_eq!(row["worker"], 1, "{row}");
        assert!(row["kept_bytes"].as_u64() > Some(0), "{row}");
    }
    for name in &names {
        let mut reader = Peer::unix(&daemon);
        reader.read(name, Start::Window, Policy::Gap);
        match reader.next() {
            Told::Batch(batch) => assert_eq!(batch.deltas, [name.as_bytes()]),
            told => panic!("{name}: {told:?}"),
        }
    }
    drop(writer);
    daemon.stop();
}
