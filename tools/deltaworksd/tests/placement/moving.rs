//! One document is moved there and back.

use crate::daemon::eventually;
use crate::http::{admin, get, status};
use crate::openmetrics;
use crate::owners::{moved, owner, owners, refused, two_workers, workers};
use crate::wire::Peer;
use crate::writers::Writers;

/// Documents that are written to all the time go to the other worker and back again and again: their
/// subscriber misses nothing, nothing comes twice, and acknowledgements stay in order.
#[test]
fn order_holds_while_documents_go_there_and_back() {
    let daemon = two_workers(&[]);
    let names: Vec<String> = (0..6).map(|number| format!("moved{number}")).collect();
    let writers = Writers::start(&daemon, &names, 7);
    let (mut pauses, mut held, mut moves) = (0, 0, 0);
    for round in 0..10 {
        for name in &names {
            let from = owner(&daemon, name);
            let told = moved(&daemon, name, 1 - from);
            assert_eq!(
                (&told["from"], &told["was_there"]),
                (&from.into(), &false.into()),
                "{told}"
            );
            assert_eq!(owner(&daemon, name), 1 - from, "round {round}");
            let again = moved(&daemon, name, 1 - from);
            assert_eq!((&again["was_there"], &again["held_batches"]), (&true.into(), &0.into()));
            if let Some(pause_us) = told["pause_us"].as_f64() {
                assert!(pause_us > 0.0, "{told}");
                pauses += 1;
            }
            held += told["held_batches"].as_u64().expect("a count");
            moves += 1;
        }
        writers.get_on(60);
    }
    assert!(pauses > 0, "somebody was writing: a pause is told");
    for (name, (owner, home)) in owners(&daemon) {
        assert_eq!(owner, home, "{name} went away as often as it came back");
    }
    let deltas = writers.finish();
    assert!(deltas > 600, "{deltas}");
    // The figures say what the answers said; a move that was asked for again has been refused before.
    eventually("the moves are counted", || status(&daemon)["moves"]["finished"] == moves);
    let figures = status(&daemon)["moves"].clone();
    let of = |figure: &str| figures[figure].as_u64().expect("a count");
    assert_eq!(of("begun"), of("finished") + of("refused"), "{figures}");
    assert_eq!(
        (of("held_batches"), &figures["pause"]["count"]),
        (held, &pauses.into()),
        "{figures}"
    );
    assert!(figures["pause"]["max_us"].as_f64() > Some(0.0), "{figures}");
    let scraped = get(&daemon, "/metrics").body;
    let series = openmetrics::read(&scraped).unwrap_or_else(|fault| panic!("{fault}"));
    let sum = |prefix: &str| -> f64 {
        series.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, value)| value).sum()
    };
    assert_eq!(sum("deltaworks_moves_finished_total{"), moves as f64);
    assert_eq!(sum("deltaworks_moves_begun_total{"), of("begun") as f64);
    assert_eq!(sum("deltaworks_held_batches_total{"), held as f64);
    assert_eq!(sum("deltaworks_move_pause_seconds_count"), f64::from(pauses));
    assert_eq!(sum("deltaworks_guests{"), 0.0, "all are home");
    let log = daemon.log();
    let asked = log.lines().filter(|line| line.contains("move of ")).collect::<Vec<_>>();
    assert_eq!(asked.len(), 2 * moves, "each stands in the log");
    let process = format!("process {})", std::process::id());
    assert!(asked.iter().all(|line| line.contains(&process)), "{}", asked[0]);
    daemon.stop();
}

/// What cannot be moved stays where it is, and nobody is harmed by asking.
#[test]
fn what_cannot_be_moved_is_refused_with_its_number() {
    let daemon = two_workers(&["--guests-per-worker", "2"]);
    let mut peer = Peer::unix(&daemon);
    for number in 0..32 {
        peer.write(&format!("d{number}"), 1);
    }
    let before = owners(&daemon);
    let of_worker = |worker: u64| {
        let names = before.iter().filter(move |(_, (owner, _))| *owner == worker);
        names.map(|(name, _)| name.as_str())
    };
    refused(&daemon, "nobody", 1, 404, 601);
    refused(&daemon, "d0", 2, 404, 602);
    refused(&daemon, "d0", 65_535, 404, 602);
    for path in [
        "/v1/move?document=d0",
        "/v1/move?to=1",
        "/v1/move?document=d0&to=-1",
        "/v1/move?document=d0&to=65536",
        "/v1/move?document=d0&to=1&seconds=0",
        "/v1/move?document=d0&to=1&seconds=61",
        "/v1/move?document=d0&to=1&colour=red",
        "/v1/drain?worker=x",
        "/v1/drain",
    ] {
        assert_eq!(admin(&daemon, "POST", path).status, 400, "{path}");
    }
    assert_eq!(admin(&daemon, "POST", "/v1/drain?worker=2").status, 404);
    assert_eq!(admin(&daemon, "GET", "/v1/relocation").status, 404, "nothing so far");
    for path in ["/v1/move?document=d0&to=1", "/v1/drain?worker=1", "/v1/rebalance"] {
        assert_eq!(admin(&daemon, "GET", path).status, 405, "{path}");
    }
    assert_eq!(owners(&daemon), before, "nothing has moved");

    // Worker 1 has places for two guests; one that goes home again leaves its place.
    let guests: Vec<&str> = of_worker(0).take(3).collect();
    moved(&daemon, guests[0], 1);
    moved(&daemon, guests[1], 1);
    refused(&daemon, guests[2], 1, 409, 608);
    assert_eq!(owner(&daemon, guests[2]), 0);
    moved(&daemon, guests[0], 0);
    moved(&daemon, guests[2], 1);
    refused(&daemon, guests[0], 1, 409, 608);
    eventually("documents are counted where they are", || {
        let documents = |worker: u64| {
            let count = owners(&daemon).values().filter(|(owner, _)| *owner == worker).count();
            let told = &workers(&daemon)[worker as usize];
            let guests = if worker == 1 { 2 } else { 0 };
            told["documents"] == count && told["guests"] == guests
        };
        documents(0) && documents(1)
    });
    assert!(peer.is_alive().is_empty(), "nobody was told anything");
    daemon.stop();
}
