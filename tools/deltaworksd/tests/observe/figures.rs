//! Counters and latencies: they rise, and agree with what clients did.

use deltaworks_protocol::message::{Policy, Start};

use crate::daemon::eventually;
use crate::flow::Flow;
use crate::http::{get, over_cores, start, status};
use crate::openmetrics;
use crate::wire::{Peer, Told};

const SCHEMA: &str = r#"{"properties": {"n": {"type": "uint8"}}}"#;
/// CBOR of {"n": 7}, and of "n", which the schema refuses.
const GOOD: &[u8] = &[0xa1, 0x61, b'n', 7];
const BAD: &[u8] = &[0x61, b'n'];

/// What was published is told as accepted, received, delivered, timed and live; by core, by
/// collection, and the same as text for scrapers.
#[test]
fn the_figures_are_those_of_what_was_done() {
    let folder = crate::daemon::Folder::new();
    let schema = folder.write("n.jtd.json", SCHEMA);
    let notes = format!("notes=cbor:{}", schema.display());
    let daemon = start(&["--collection", &notes]);
    let (mut reader, mut writer) = (Peer::unix(&daemon), Peer::tcp(&daemon));
    reader.read("notes/1", Start::Live, Policy::Gap);
    reader.read("plain", Start::Live, Policy::Gap);
    let mut notes = Flow::open(&mut writer, "notes/1", 1);
    let mut plain = Flow::open(&mut writer, "plain", 1);
    for _ in 0..100 {
        assert!(notes.publish(&mut writer, &[GOOD, GOOD, GOOD]));
        assert!(plain.publish(&mut writer, &[b"anything"]));
        plain.settle(&mut writer);
    }
    let number = notes.number + 1;
    assert!(writer.publish(notes.handle, number, &[GOOD, BAD]));
    while !matches!(writer.next(), Told::Error(error) if error.number == Some(number)) {}
    let mut images = 0;
    while images < 200 {
        images += usize::from(matches!(reader.next(), Told::Batch { .. }));
    }

    eventually("the figures are published", || {
        over_cores(&status(&daemon), "delivered_images") == 200
    });
    let told = status(&daemon);
    assert_eq!(told["phase"], "serving");
    assert_eq!(told["is_durable"], false);
    // What the system did not grant, whatever that is here, is told as the log tells it.
    let lacks: Vec<&str> = told["downgrades"]
        .as_array()
        .expect("downgrades")
        .iter()
        .flat_map(|it| it.as_str())
        .collect();
    let log = daemon.log();
    for word in ["huge pages,", "small pages", "NUMA node", "at the start (", "not locked"] {
        let is_told = lacks.iter().any(|lack| lack.contains(word));
        assert_eq!(is_told, log.contains(word), "{word}: {lacks:?}\n{log}");
    }
    assert_eq!((told["documents"].as_u64(), told["sessions"].as_u64()), (Some(2), Some(2)));
    for (figure, count) in [
        ("received_images", 201),
        ("accepted_batches", 200),
        ("accepted_deltas", 400),
        ("refused_batches", 1),
        ("duplicate_batches", 0),
        ("gaps", 0),
    ] {
        assert_eq!(over_cores(&told, figure), count, "{figure}: {told:#}");
    }
    assert!(over_cores(&told, "turns") > 0 && over_cores(&told, "sends") > 0);
    let collections = told["collections"].as_array().expect("collections");
    let of = |name: &str| collections.iter().find(|it| it["name"] == name).expect("a collection");
    assert_eq!(of("notes")["kind"], "cbor");
    assert_eq!(of("notes")["accepted_deltas"], 300);
    assert_eq!(of("notes")["refused_batches"], 1);
    assert_eq!((&of("")["accepted_batches"], &of("")["kind"]), (&100.into(), &"opaque".into()));
    assert_eq!(of("")["accepted_bytes"], 100 * 72);
    let latency = told["latency"].as_array().expect("stages");
    assert_eq!((&latency[0]["stage"], &latency[0]["count"]), (&"validation".into(), &200.into()));
    let sends = latency[1]["count"].as_u64().expect("a count");
    assert!((1..=200).contains(&sends) && latency[1]["stage"] == "propagation", "{latency:?}");
    for stage in latency {
        let of = |figure: &str| stage[figure].as_f64().expect("a time");
        assert!(of("p50_us") <= of("p99_us") && of("p99_us") <= of("p999_us"), "{stage}");
        assert!(of("p999_us") <= of("max_us") && of("mean_us") <= of("max_us"), "{stage}");
    }
    let live = told["live_bytes"].as_object().expect("kinds");
    let held: u64 = live.values().map(|bytes| bytes.as_u64().expect("bytes")).sum();
    assert!(held <= told["budget_bytes"].as_u64().expect("a budget"), "{told:#}");
    for kind in ["chunks", "nodes", "documents", "names", "producers", "subscriptions", "sessions"]
    {
        assert!(live[kind].as_u64() > Some(0), "nothing of {kind} is live: {live:?}");
    }

    let scraped = get(&daemon, "/metrics");
    assert_eq!(scraped.status, 200);
    assert!(scraped.head.contains("content-type: application/openmetrics-text; version=1.0.0"));
    let series = openmetrics::read(&scraped.body).unwrap_or_else(|fault| panic!("{fault}"));
    let sum = |prefix: &str| -> f64 {
        series.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, value)| value).sum()
    };
    assert_eq!(sum("deltaworks_accepted_deltas_total{"), 400.0);
    assert_eq!(sum("deltaworks_delivered_images_total{"), 200.0);
    assert_eq!(sum("deltaworks_latency_seconds_count{stage=\"validation\""), 200.0);
    assert_eq!(sum("deltaworks_collection_accepted_deltas_total{collection=\"notes\""), 300.0);
    assert!(!scraped.body.contains("notes/1"), "no series of a document");
    daemon.stop();
}

/// The page is whole in itself, and its status is that of the admin socket.
#[test]
fn the_page_fetches_nothing_from_elsewhere() {
    let daemon = start(&[]);
    let page = get(&daemon, "/");
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-security-policy: default-src 'none'"), "{}", page.head);
    let without_namespaces = page.body.replace("http://www.w3.org/2000/svg", "");
    for elsewhere in ["http://", "https://", "src=\"//", "@import"] {
        assert!(!without_namespaces.contains(elsewhere), "{elsewhere} in the page");
    }
    let (public, private) = (get(&daemon, "/status.json").json(), status(&daemon));
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().expect("an object").keys().cloned().collect()
    };
    assert_eq!(keys(&public), keys(&private));
    daemon.stop();
}
