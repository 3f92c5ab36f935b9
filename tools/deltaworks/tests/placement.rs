//! `move`, `drain` and `rebalance` as a person and a script meet them: against a stand-in for what they
//! say, against a daemon for what they do.

mod daemon;
mod folder;
mod stand_in;

use std::process::Output;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use daemon::Daemon;
use folder::{Folder, deltaworks};
use serde_json::{Value, json};
use stand_in::StandIn;

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("killed: {}", stderr(output)))
}

fn run(admin: &str, arguments: &[&str]) -> Output {
    deltaworks(&[arguments, &["--admin", admin]].concat())
}

/// A stand-in whose answer to a move depends on the document, and whose lists end at the third look.
fn stand_in(folder: &Folder) -> StandIn {
    let looks = AtomicU64::new(0);
    StandIn::start(folder.join("admin.sock"), move |request| {
        let (place, query) = request.split_once('?').unwrap_or((request, ""));
        let is_done = |it: bool| (200, relocation(it).to_string());
        let refused = |status, number: u64| {
            let told = json!({ "error": "For a reason.", "number": number });
            (status, told.to_string())
        };
        match place {
            "POST /v1/move" => match query.split('&').next().unwrap_or_default() {
                "document=there" => (200, moved(true, Value::Null, 0).to_string()),
                "document=quiet" => (200, moved(false, Value::Null, 1).to_string()),
                "document=n%2F%C3%A4%20b" => (200, moved(false, json!(84.25), 3).to_string()),
                "document=nobody" => refused(404, 601),
                "document=nowhere" => refused(404, 602),
                "document=late" => refused(504, 613),
                _ => refused(409, 608),
            },
            "POST /v1/drain" if query.starts_with("worker=9&") => refused(404, 602),
            "POST /v1/drain" | "POST /v1/rebalance" => is_done(false),
            "GET /v1/relocation" => is_done(looks.fetch_add(1, Relaxed) >= 2),
            "GET /v1/rehearsal" => (200, rehearsal().to_string()),
            _ => (404, json!({ "error": "There is nothing here." }).to_string()),
        }
    })
}

fn moved(was_there: bool, pause_us: Value, held_batches: u64) -> Value {
    json!({ "document": "n/ä b\u{1b}", "from": 0, "to": 1, "was_there": was_there,
            "pause_us": pause_us, "held_batches": held_batches })
}

fn relocation(is_done: bool) -> Value {
    let failures: Vec<Value> = (0..25)
        .map(
            |number| json!({ "document": format!("d{number}\n"), "number": 608, "error": "Full." }),
        )
        .collect();
    json!({ "purpose": "drain", "worker": 1, "total": 200, "moved": if is_done { 174 } else { 7 },
            "settled": 1, "failed": if is_done { 25 } else { 0 },
            "failures": if is_done { json!(failures) } else { json!([]) },
            "pause_us_max": 1_250.0, "held_batches": 12, "is_done": is_done })
}

fn rehearsal() -> Value {
    json!({
        "workers": [
            { "worker": 0, "load_before_ratio": 0.75, "load_after_ratio": 0.5 },
            { "worker": 1, "load_before_ratio": 0.25, "load_after_ratio": 0.5 }
        ],
        "placements": [
            { "document": "warm", "slot": 1, "generation": 0, "from": 0, "to": 1, "elastic": null,
              "reason": "evening", "load_ratio": 0.25 },
            { "document": "hot", "slot": 2, "generation": 0, "from": 0, "to": 0, "elastic": 3,
              "reason": "promotion", "load_ratio": 0.5 }
        ],
        "moves_per_second": 10
    })
}

#[test]
fn a_move_is_told_and_its_refusal_has_an_exit_code() {
    let folder = Folder::new();
    let daemon = stand_in(&folder);
    let done = run(daemon.path(), &["move", "n/ä b", "--to", "1", "--timeout", "30"]);
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    let line =
        "n/ä b\\u{1b} moved from worker 0 to worker 1: a pause of 84.2 µs, 3 batches waited\n";
    assert_eq!(text(&done), line);
    assert_eq!(daemon.asked(), ["POST /v1/move?document=n%2F%C3%A4%20b&to=1&seconds=30"]);
    let told = |document: &str| text(&run(daemon.path(), &["move", document, "--to", "1"]));
    assert!(told("there").ends_with("is at worker 1 already\n"));
    assert!(told("quiet").ends_with(": nobody was writing, 1 batch waited\n"));
    let json = run(daemon.path(), &["move", "quiet", "--to", "1", "--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).expect("one line of JSON");
    assert_eq!(json, moved(false, Value::Null, 1));
    for (document, exit, number) in
        [("nobody", 3, 601), ("full", 4, 608), ("nowhere", 5, 602), ("late", 7, 613)]
    {
        let refused = run(daemon.path(), &["move", document, "--to", "1"]);
        assert_eq!((code(&refused), text(&refused).as_str()), (exit, ""), "{document}");
        let said = stderr(&refused);
        assert!(said.contains("For a reason.") && said.contains(&format!("({number})")), "{said}");
    }
    for wrong in [&["move", "d"][..], &["move", "--to", "1"], &["move", "d", "--to", "x"]] {
        assert_eq!(code(&run(daemon.path(), wrong)), 2, "{wrong:?}");
    }
    assert_eq!(code(&run("/nowhere/admin.sock", &["move", "d", "--to", "1"])), 6);
}

#[test]
fn a_list_of_moves_is_waited_for_and_what_stayed_is_told() {
    let folder = Folder::new();
    let daemon = stand_in(&folder);
    let drained = run(daemon.path(), &["drain", "1"]);
    assert_eq!(code(&drained), 3, "some stayed: {}", stderr(&drained));
    let told = text(&drained);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], "174 documents moved, the longest pause 1.25 ms, 12 batches waited");
    assert_eq!(lines[1..3], ["25 documents could not be moved:", "  d0\\n: 608, Full."]);
    assert_eq!((lines.len(), lines[22]), (23, "  and 5 more"), "{told}");
    let look = "GET /v1/relocation";
    assert_eq!(daemon.asked(), ["POST /v1/drain?worker=1&undo=false", look, look, look]);
    let undone = run(daemon.path(), &["drain", "1", "--undo", "--json"]);
    assert_eq!(code(&undone), 3);
    let json: Value = serde_json::from_slice(&undone.stdout).expect("one line of JSON");
    assert_eq!(json, relocation(true));
    assert!(daemon.asked().contains(&"POST /v1/drain?worker=1&undo=true".to_owned()));
    assert_eq!(code(&run(daemon.path(), &["drain", "9"])), 5);
    assert_eq!(code(&run(daemon.path(), &["rebalance"])), 3);
    assert!(daemon.asked().contains(&"POST /v1/rebalance".to_owned()));
}

#[test]
fn a_dry_run_asks_for_nothing_to_be_done() {
    let folder = Folder::new();
    let daemon = stand_in(&folder);
    let shown = run(daemon.path(), &["rebalance", "--dry-run"]);
    assert_eq!(code(&shown), 0, "{}", stderr(&shown));
    let told = text(&shown);
    let rows: Vec<Vec<&str>> =
        told.lines().map(|line| line.split_ascii_whitespace().collect()).collect();
    assert_eq!(rows[1], ["0", "75", "%", "50", "%"], "{told}");
    assert_eq!(rows[2], ["1", "25", "%", "50", "%"], "{told}");
    assert_eq!(rows[5], ["warm", "0", "1", "25", "%", "evening"], "{told}");
    assert_eq!(rows[6], ["hot", "0", "0", "50", "%", "promotion", "to", "elastic", "3"], "{told}");
    assert_eq!(told.lines().last(), Some("at most 10 a second"));
    let json = run(daemon.path(), &["rebalance", "--dry-run", "--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).expect("one line of JSON");
    assert_eq!(json, rehearsal());
    assert!(daemon.asked().iter().all(|asked| asked.starts_with("GET ")), "{:?}", daemon.asked());
}

/// The same commands at a daemon with two workers: a document moves and comes back, a worker is
/// emptied and filled again, and `docs` and `workers` say so.
#[test]
fn an_operator_moves_drains_and_undoes() {
    let folder = Folder::new();
    let admin = folder.join("admin.sock");
    let admin = admin.to_str().expect("UTF-8");
    let options = ["--cores", "2", "--max-elastic-workers", "0", "--admin-socket", admin];
    let daemon = Daemon::start(&options);
    let [server, _] = daemon.addresses();
    for number in 0..12 {
        let document = format!("d{number}");
        let text = ["--server", &server, "--text", "hello"];
        assert_eq!(code(&deltaworks(&[&["pub", &document], &text[..]].concat())), 0);
    }
    let rows = |arguments: &[&str], rows: &str| -> Vec<Value> {
        let told = run(admin, &[arguments, &["--json"]].concat());
        assert_eq!(code(&told), 0, "{}", stderr(&told));
        let told: Value = serde_json::from_slice(&told.stdout).expect("one line of JSON");
        told[rows].as_array().expect("rows").clone()
    };
    let documents = || rows(&["docs", "--sample-ms", "10"], "documents");
    let owner = |name: &str| {
        let all = documents();
        all.iter().find(|row| row["name"] == name).expect("listed")["worker"].as_u64()
    };
    let from = owner("d3").expect("a worker");
    let to = (1 - from).to_string();
    let done = run(admin, &["move", "d3", "--to", &to]);
    let line = format!("d3 moved from worker {from} to worker {to}: nobody was writing, no batch");
    assert!(text(&done).starts_with(&line), "{}{}", text(&done), stderr(&done));
    assert_eq!(owner("d3"), Some(1 - from));
    let listed = text(&run(admin, &["docs", "--sort", "name"]));
    let row = listed.lines().find(|line| line.starts_with("d3 ")).expect("listed");
    assert!(row.split_ascii_whitespace().any(|cell| cell == format!("{to}/{from}")), "{row}");
    assert_eq!(code(&run(admin, &["move", "d3", "--to", &to])), 0, "there already");
    assert_eq!(code(&run(admin, &["move", "d3", "--to", "2"])), 5);
    assert_eq!(code(&run(admin, &["move", "none", "--to", "1"])), 3);

    let drained = run(admin, &["drain", "0"]);
    assert_eq!(code(&drained), 0, "{}{}", text(&drained), stderr(&drained));
    assert!(documents().iter().all(|row| row["worker"] == 1));
    assert_eq!(rows(&["workers"], "workers")[0]["is_drained"], true);
    assert_eq!(code(&run(admin, &["move", "d3", "--to", "0"])), 4, "it is drained");
    assert_eq!(code(&run(admin, &["drain", "0", "--undo"])), 0);
    let home: Vec<Value> = documents();
    assert!(home.iter().filter(|row| row["home_worker"] == 0).all(|row| row["is_away"] == false));
    assert!(home.iter().any(|row| row["worker"] == 0) && home.len() == 12);
    assert_eq!(code(&run(admin, &["rebalance", "--dry-run"])), 0);
    daemon.stop();
}
