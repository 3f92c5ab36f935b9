//! Thresholds that are changed while the daemon runs.

use serde_json::Value;

use crate::daemon::{Daemon, Folder, eventually};
use crate::http::{admin, start_in};
use crate::writers::Writers;

/// The documents that have an elastic worker.
fn hot(daemon: &Daemon) -> Vec<Value> {
    let told = admin(daemon, "GET", "/v1/workers").json();
    told["hot"].as_array().expect("hot documents").clone()
}

/// What a file says of documents' rates.
fn thresholds(promotion: u64, demotion: u64, idle_timeout: u64) -> String {
    format!(
        "promotion_threshold = {promotion}\ndemotion_threshold = {demotion}\n\
         idle_timeout = {idle_timeout}\n"
    )
}

/// A document that was not hot is, once the threshold is below its rate, and is not any more, once that
/// is above it again; nobody who writes or reads it notices.
#[test]
fn thresholds_take_effect_while_the_daemon_runs() {
    let folder = Folder::new();
    let file = folder.write("deltaworksd.toml", &thresholds(1_000_000, 10_000, 5));
    let config = file.to_str().expect("a path in text").to_owned();
    let daemon = start_in(folder, &["--config", &config]);
    let reload = |text: &str, keys: &[&str]| {
        std::fs::write(&file, text).expect("the file");
        let told = admin(&daemon, "POST", "/v1/reload").json();
        assert_eq!(told["needs_restart"], serde_json::json!([]), "{told}");
        let reloaded = told["reloaded"].as_array().expect("keys");
        let names: Vec<&str> = reloaded.iter().filter_map(|it| it["key"].as_str()).collect();
        assert_eq!(names, keys, "{told}");
    };
    let writers = Writers::start(&daemon, &["warm".to_owned()], 7);
    writers.get_on(300);
    assert_eq!(hot(&daemon), Vec::<Value>::new(), "its rate is nothing special");

    let keys = ["promotion_threshold", "demotion_threshold", "idle_timeout"];
    reload(&thresholds(5, 1, 1_000_000), &keys);
    eventually("it is hot", || hot(&daemon).iter().any(|it| it["document"] == "warm"));
    writers.get_on(100);
    reload(&thresholds(1_000_000, 1_000_000, 0), &keys);
    eventually("it is one of many again", || hot(&daemon).is_empty());
    writers.get_on(100);
    let placing =
        thresholds(1_000_000, 1_000_000, 0) + "balance_percent = 0\nmoves_per_second = 3\n";
    reload(&placing, &["balance_percent", "moves_per_second"]);
    eventually("the coordinator goes by it", || {
        admin(&daemon, "GET", "/v1/rehearsal").json()["moves_per_second"] == 3
    });
    writers.finish();
    daemon.stop();
}
