//! Commands that ask a running daemon, against a stand-in that answers as the daemon's documentation
//! says, and against sockets behind which there is nobody.

mod folder;
mod stand_in;

use std::os::unix::net::UnixListener;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use folder::{Folder, deltaworks};
use serde_json::{Value, json};
use stand_in::StandIn;
use unicode_width::UnicodeWidthStr;

/// Documents and sessions that the stand-in has.
const TOTAL: u64 = 1_234;

/// A stand-in that serves; its counters grow by a thousand with each status.
fn daemon(folder: &Folder) -> StandIn {
    let asked = AtomicU64::new(0);
    StandIn::start(folder.join("admin.sock"), move |request| {
        let body = match request.split('?').next() {
            Some("GET /v1/status") => status(asked.fetch_add(1, Relaxed)),
            Some("GET /v1/documents") => documents(),
            Some("GET /v1/sessions") => sessions(),
            Some("GET /v1/workers") => workers(),
            Some("POST /v1/trace") => return (200, RECORDING.to_owned()),
            _ => return (404, json!({ "error": "there is nothing here" }).to_string()),
        };
        (200, body.to_string())
    })
}

fn status(time: u64) -> Value {
    let count = time * 1_000;
    let core = |core: u64, net: bool| {
        json!({
            "core": core, "cpu": core + 4, "numa_node": 0, "serves_sessions": net,
            "owns_documents": !net, "turns": count, "parks": count / 2, "busy_ratio": 0.25,
            "ring_depth": 3 * core, "sessions": 7, "documents": 5, "accepted_deltas": count,
            "received_bytes": count * 1_024, "delivered_bytes": count * 4_096, "gap_missed_deltas": 3,
            "conflate_missed_deltas": 1, "a new field": 1
        })
    };
    json!({
        "version": "0.1.0", "pid": std::process::id(), "uptime_seconds": 7_260.5 + time as f64,
        "phase": "serving", "is_durable": false, "budget_bytes": 256 << 20,
        "live_bytes": { "chunks": 64 << 20, "nodes": 1 << 20, "names": 100 },
        "documents": TOTAL, "sessions": TOTAL,
        "moves": { "begun": 9, "finished": 7, "refused": 2, "held_batches": 3,
                   "pause": { "count": 5, "p99_us": 250.0, "max_us": 1_250.0 } },
        "cores": [core(0, true), core(1, false)],
        "collections": [],
        "latency": [
            { "stage": "validation", "count": count, "mean_us": 1.5, "p50_us": 1.25,
              "p90_us": 3, "p99_us": 12.5, "p999_us": 250, "max_us": 1_800 },
            { "stage": "propagation", "count": count, "mean_us": 2, "p50_us": 2, "p90_us": 3,
              "p99_us": 4, "p999_us": 5, "max_us": 6 }
        ],
        "downgrades": ["no reserved huge pages"]
    })
}

fn documents() -> Value {
    let document = |number: u64| {
        json!({
            "name": format!("a-document-with-a-name-that-is-long-enough-to-be-shortened-{number:03}"),
            "collection": if number == 0 { "notes" } else { "default" }, "owner_core": 1,
            "worker": 0, "home_worker": 1, "is_away": number == 0,
            "is_hot": number == 0, "slot": number, "generation": 1, "epoch": 9, "next_sequence": 5_001,
            "window_start": 1, "window_deltas": 5_000, "rate_deltas_per_second": 1_500.0,
            "last_delta_unix_us": 0, "subscribers": 12, "writers": 3, "missed_deltas": 71
        })
    };
    let documents: Vec<Value> = (0..40).map(document).collect();
    json!({ "total": TOTAL, "sample_ms": 500, "documents": documents })
}

fn workers() -> Value {
    json!({ "workers": [
        { "worker": 0, "core": 1, "cpu": 5, "is_elastic": false, "documents": 1_233, "guests": 17,
          "accepted_deltas": 98_765, "load_ratio": 0.0512, "busy_ratio": 0.375,
          "is_drained": true, "a new field": 1 },
        { "worker": 1, "core": 2, "cpu": null, "is_elastic": true, "documents": 1,
          "accepted_deltas": 7, "load_ratio": 0.9, "busy_ratio": 1.0, "is_drained": false }
    ], "hot": [
        { "elastic": 0, "worker": 1, "has_own_core": true, "document": "h\u{1b}ot" },
        { "elastic": 3, "worker": 0, "has_own_core": false, "document": "warm" }
    ] })
}

fn sessions() -> Value {
    let session = |number: u64| {
        json!({
            "id": format!("0:{number}"), "core": 0, "transport": "tcp",
            "peer": "127.0.0.1:50000", "age_seconds": 61.5, "handles": 2, "subscriptions": 1,
            "received_bytes": 100, "delivered_bytes": 2_048, "received_bytes_per_second": 3_072.5,
            "delivered_bytes_per_second": 512.0, "behind_seconds": 8.0, "backlog_deltas": 12_345,
            "backlog_nodes": 10, "backlog_bytes": 4_096, "missed_deltas": 93,
            "is_blocked": number == 0, "documents": ["a", "b\u{1b}[2J"]
        })
    };
    let sessions: Vec<Value> = (0..40).map(session).collect();
    json!({ "total": TOTAL, "sample_ms": 500, "sessions": sessions })
}

const RECORDING: &str = r#"{"displayTimeUnit":"ns","traceEvents":[
{"name":"thread_name","ph":"M","pid":1,"tid":0,"args":{"name":"core 0"}},
{"name":"turn","ph":"X","pid":1,"tid":0,"ts":10.5,"dur":2.0},
{"name":"turn","ph":"X","pid":1,"tid":1,"ts":11,"dur":4.5},
{"name":"park","ph":"i","pid":1,"tid":1,"ts":12,"s":"t"}]}"#;

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs it against the stand-in.
fn run(daemon: &StandIn, arguments: &[&str]) -> Output {
    deltaworks(&[arguments, &["--admin", daemon.path()]].concat())
}

#[test]
fn documents_are_listed_sorted_and_paged() {
    let folder = Folder::new();
    let daemon = daemon(&folder);
    let listed = run(&daemon, &["docs", "--sort", "window", "--offset", "40", "--limit", "40"]);
    assert_eq!(listed.status.code(), Some(0), "{}", stderr(&listed));
    let told = text(&listed);
    let asked = "GET /v1/documents?sort=window&offset=40&limit=40&sample_ms=500";
    assert_eq!(daemon.asked(), [asked]);
    let first = told.lines().nth(1).expect("a document");
    assert!(first.starts_with("notes/a-document-with-a-name-that-is"), "{told}");
    let cells: Vec<&str> = first.split_ascii_whitespace().skip(1).collect();
    assert_eq!(
        cells,
        ["0/1", "hot", "1,500", "never", "5,001", "5,000", "12", "3", "71", "0", "B"],
        "{told}"
    );
    let last = "41 to 80 of 1,234 documents by window over 500 ms; --offset 80 goes on";
    assert_eq!(told.lines().last(), Some(last));

    let json = run(&daemon, &["docs", "--json"]);
    let page: Value = serde_json::from_slice(&json.stdout).expect("one line of JSON");
    assert_eq!(page, documents(), "what the daemon told, and all of it");
    for wrong in [&["docs", "--limit", "1001"], &["docs", "--sort", "size"]] {
        assert_eq!(run(&daemon, wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn sessions_are_listed_and_other_peoples_names_steer_no_terminal() {
    let folder = Folder::new();
    let daemon = daemon(&folder);
    let listed = run(&daemon, &["sessions", "--sort", "age"]);
    assert_eq!(listed.status.code(), Some(0), "{}", stderr(&listed));
    assert_eq!(daemon.asked(), ["GET /v1/sessions?sort=age&offset=0&limit=100&sample_ms=500"]);
    let told = text(&listed);
    assert!(!told.contains('\u{1b}'), "{told:?}");
    let first: Vec<&str> = told.lines().nth(1).expect("one").split_ascii_whitespace().collect();
    let cells = ["0:0", "tcp:127.0.0.1:50000", "1m", "01s", "2", "1", "100", "B", "2.00", "KiB"];
    assert_eq!(first[..10], cells, "{told}");
    let cells = ["3.00", "KiB", "512", "B", "12.3", "k", "4.00", "KiB", "8.0", "s"];
    assert_eq!(first[10..20], cells, "{told}");
    assert_eq!(first[20..], ["93", "0", "yes", "a", "b\\u{1b}[2J"], "{told}");
    let json = run(&daemon, &["sessions", "--json"]);
    let page: Value = serde_json::from_slice(&json.stdout).expect("one line of JSON");
    assert_eq!(page, sessions());
}

#[test]
fn workers_are_listed() {
    let folder = Folder::new();
    let daemon = daemon(&folder);
    let listed = run(&daemon, &["workers"]);
    assert_eq!(listed.status.code(), Some(0), "{}", stderr(&listed));
    let told = text(&listed);
    let cells = |line: usize| -> Vec<&str> {
        told.lines().nth(line).expect("a worker").split_ascii_whitespace().collect()
    };
    assert_eq!(
        cells(1),
        ["0", "1", "5", "home", "1,233", "17", "98.8", "k", "5", "%", "38", "%", "drained"]
    );
    assert_eq!(
        cells(2),
        ["1", "2", "-", "elastic", "1", "0", "7", "90", "%", "100", "%"],
        "{told}"
    );
    assert_eq!(cells(5), ["0", "1", "core", "h\\u{1b}ot"], "{told}");
    assert_eq!(cells(6), ["3", "0", "lane", "warm"], "{told}");
    let json = run(&daemon, &["workers", "--json"]);
    let page: Value = serde_json::from_slice(&json.stdout).expect("one line of JSON");
    assert_eq!(page, workers());
}

#[test]
fn a_frame_of_top_fits_every_size() {
    let folder = Folder::new();
    let daemon = daemon(&folder);
    for (width, height) in [(80, 24), (20, 10), (200, 60), (47, 13)] {
        let (columns, lines) = (width.to_string(), height.to_string());
        let options = ["--once", "--interval-ms", "100", "--width", &columns, "--height", &lines];
        let shown = run(&daemon, &[&["top"], &options[..]].concat());
        assert_eq!(shown.status.code(), Some(0), "{}", stderr(&shown));
        let frame = text(&shown);
        assert_eq!(frame.lines().count(), height, "{frame}");
        assert!(frame.lines().all(|line| line.width() <= width), "{frame}");
    }
    let shown = run(&daemon, &["top", "--once", "--interval-ms", "100"]);
    let frame = text(&shown);
    for part in [
        "deltaworksd 0.1.0  process ",
        "serving, in memory only  8 missed\n",
        "move pause     -        0.00 µs  0.00 µs  0.00 µs  250 µs   0.00 µs  1.25 ms\n",
        "1,234 documents, 1,234 sessions; ",
        "memory ███░░░░░░░░░ 25 %  65.0 MiB of 256 MiB  chunks 64.0 MiB, nodes 1.00 MiB,",
        "CORE CPU ROLE BUSY",
        "0    4   net  25 %",
        "1    5   docs 25 %",
        "DOCUMENT (6 of 1,234) ",
        "PEER (5 of 1,234) ",
        "validation",
        "1.50 µs",
        "1.80 ms",
        "/s out\n",
        "notes/a-doc…rtened-000 0/1 hot  1,500   never   5,000    12      3       71",
        "0:0      tcp:127.0.0.1:50000   8.0 s   12.3 k   93       512 B    3.00 KiB ",
        "q quit  s documents by rate  S sessions by backlog",
    ] {
        assert!(frame.contains(part), "{part:?} is not in\n{frame}");
    }
}

#[test]
fn top_writes_what_was_told_and_rates_as_json() {
    let folder = Folder::new();
    let daemon = daemon(&folder);
    let options = ["top", "--json", "--count", "2", "--interval-ms", "100", "--sort", "last"];
    let shown = run(&daemon, &options);
    assert_eq!(shown.status.code(), Some(0), "{}", stderr(&shown));
    let looks: Vec<Value> = text(&shown)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    assert_eq!(looks.len(), 2);
    assert_eq!(looks[0]["rates"]["cores"][0]["turns_per_second"], 0.0, "nothing to compare with");
    let rates = &looks[1]["rates"];
    let turns = rates["cores"][0]["turns_per_second"].as_f64().expect("a rate");
    let seconds = rates["seconds"].as_f64().expect("seconds");
    // A thousand turns between any two looks.
    assert!((turns * seconds - 1_000.0).abs() < 1.0, "{rates}");
    assert_eq!(looks[1]["status"]["cores"][0]["a new field"], 1, "as it was told");
    assert_eq!(looks[1]["documents"], documents()["documents"]);
    assert_eq!(looks[1]["sessions"], sessions()["sessions"]);
    assert!(daemon.asked().iter().any(|asked| asked.contains("documents?sort=last&")));
    let nowhere = run(&daemon, &["top"]);
    assert_eq!(nowhere.status.code(), Some(1), "no terminal");
    assert!(stderr(&nowhere).contains("--once or --json"), "{}", stderr(&nowhere));
}

/// Whoever pipes it into `head` gets the prompt back.
#[test]
fn what_repeats_ends_when_nobody_reads_it_any_more() {
    let folder = Folder::new();
    let daemon = daemon(&folder);
    for command in [&["docs", "--watch", "1"][..], &["top", "--json", "--interval-ms", "250"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut program = Command::new(env!("CARGO_BIN_EXE_deltaworks"));
        program.args(command).args(["--admin", daemon.path()]).stdout(writer);
        assert_eq!(program.status().expect("it ends").code(), Some(0), "{command:?}");
    }
}

/// What is lost on a full disk is no success.
#[test]
fn output_that_is_lost_shows_in_the_exit_code() {
    let folder = Folder::new();
    let daemon = daemon(&folder);
    let full = || std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let docs = || {
        let mut program = Command::new(env!("CARGO_BIN_EXE_deltaworks"));
        program.args(["docs", "--admin", daemon.path()]).stdin(Stdio::null());
        program
    };
    let lost = docs().stdout(full()).output().expect("it runs");
    assert_eq!(lost.status.code(), Some(1));
    let told = stderr(&lost);
    assert!(
        told.starts_with("deltaworks: standard output: ") && told.lines().count() == 1,
        "{told}"
    );
    let mut nobody = Command::new(env!("CARGO_BIN_EXE_deltaworks"));
    nobody.args(["docs", "--admin", "/nowhere/admin.sock"]).stderr(full());
    assert_eq!(nobody.status().expect("it runs").code(), Some(6), "no word, and the code");
}

#[test]
fn a_recording_is_written_whole_and_told() {
    let folder = Folder::new();
    let daemon = daemon(&folder);
    let file = folder.join("turns.json");
    let file = file.to_str().expect("UTF-8");
    let recorded = run(&daemon, &["trace", "--seconds", "3", "-o", file]);
    assert_eq!(recorded.status.code(), Some(0), "{}", stderr(&recorded));
    assert_eq!(daemon.asked(), ["POST /v1/trace?seconds=3"]);
    assert_eq!(std::fs::read_to_string(file).expect("written"), RECORDING);
    let told = text(&recorded);
    assert!(told.contains("3 events on 2 tracks over 0 ms: 1 park, 2 turn"), "{told}");
    assert!(told.contains("ui.perfetto.dev"), "{told}");
    assert_eq!(stderr(&recorded), "", "no progress where there is no terminal");
    let json = run(&daemon, &["trace", "-o", file, "--json"]);
    let told: Value = serde_json::from_slice(&json.stdout).expect("one line of JSON");
    assert_eq!(told["contents"]["span_us"], 5.0);
    assert_eq!(told["contents"]["names"], json!({ "turn": 2, "park": 1 }));
    assert_eq!(told["bytes"], RECORDING.len());
}

/// A program that runs as root must not put a file in the place of a device.
#[test]
fn a_recording_replaces_nothing_that_is_no_file() {
    let folder = Folder::new();
    let daemon = daemon(&folder);
    let socket = folder.join("socket");
    let _listener = UnixListener::bind(&socket).expect("bound");
    let out = socket.to_str().expect("UTF-8");
    let refused = run(&daemon, &["trace", "--seconds", "1", "-o", out]);
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("is no file"), "{}", stderr(&refused));
    assert!(!std::fs::metadata(&socket).expect("it is there").is_file());
    assert_eq!(daemon.asked(), [""; 0], "the daemon was not asked to record");
}

#[test]
fn half_a_recording_is_none() {
    for broken in [&RECORDING[..RECORDING.len() - 2], "{}", "[{\"name\":\"x\"}]", ""] {
        let folder = Folder::new();
        let daemon = StandIn::start(folder.join("admin.sock"), move |_| (200, broken.to_owned()));
        let file = folder.join("turns.json");
        let recorded = run(&daemon, &["trace", "-o", file.to_str().expect("UTF-8")]);
        assert_eq!(recorded.status.code(), Some(1), "{broken}");
        assert!(stderr(&recorded).contains("not whole"), "{broken}: {}", stderr(&recorded));
        let left: Vec<_> = std::fs::read_dir(folder.join("")).expect("a folder").collect();
        assert_eq!(left.len(), 1, "the socket alone: {left:?}");
    }
}

#[test]
fn what_the_daemon_refuses_is_told_in_its_words() {
    let folder = Folder::new();
    let refused = |_: &str| (409, json!({ "error": "a recording runs already" }).to_string());
    let daemon = StandIn::start(folder.join("admin.sock"), refused);
    let file = folder.join("turns.json");
    for command in [&["docs"][..], &["trace", "-o", file.to_str().expect("UTF-8")]] {
        let output = run(&daemon, command);
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        let told = "deltaworks: the daemon refuses: a recording runs already (409)\n";
        assert_eq!(stderr(&output), told, "{command:?}");
    }
    let folder = Folder::new();
    let daemon =
        StandIn::start(folder.join("admin.sock"), |_| (200, "{\"total\":\"many\"}".to_owned()));
    let output = run(&daemon, &["sessions"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("is the daemon of this version?"), "{}", stderr(&output));
}

#[test]
fn without_a_daemon_each_command_says_what_to_do() {
    let folder = Folder::new();
    let file = folder.join("turns.json");
    let commands: [&[&str]; 5] = [
        &["docs"],
        &["sessions", "--json"],
        &["top", "--once"],
        &["top", "--json"],
        &["trace", "-o", file.to_str().expect("UTF-8")],
    ];
    let socket = folder.join("admin.sock");
    let socket = socket.to_str().expect("UTF-8");
    let ask = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_deltaworks"))
            .args(arguments)
            .env("DELTAWORKS_ADMIN", socket)
            .stdin(Stdio::null())
            .output()
            .expect("the command line runs");
        assert_eq!(output.status.code(), Some(6), "{arguments:?}: {}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
        stderr(&output)
    };
    for command in commands {
        assert!(ask(command).contains(&format!("{socket} does not exist; start deltaworksd")));
    }
    drop(UnixListener::bind(socket).expect("a socket"));
    for command in commands {
        assert!(ask(command).contains("nobody listens on"), "{command:?}");
    }
}

#[test]
fn the_doctor_looks_at_the_running_daemon() {
    let folder = Folder::new();
    let daemon = daemon(&folder);
    let examined = run(&daemon, &["doctor"]);
    let told = text(&examined);
    let pid = std::process::id();
    assert!(told.contains(&format!("deltaworksd 0.1.0, process {pid}, 2 cores")), "{told}");
    assert!(told.contains("not granted to it: no reserved huge pages"), "{told}");
    assert!(told.contains(&format!("(of the daemon, process {pid})")), "{told}");
    let json = run(&daemon, &["doctor", "--json"]);
    let report: Value = serde_json::from_slice(&json.stdout).expect("one line of JSON");
    assert_eq!(report["daemon_pid"], pid);
}
