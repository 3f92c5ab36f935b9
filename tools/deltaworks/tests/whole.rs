//! The commands that ask a running daemon, against the real one under a load of its own.

mod daemon;
mod folder;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use daemon::Daemon;
use folder::{Folder, deltaworks};
use serde_json::Value;

/// How long a load may take to be seen.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_daemon_under_load_is_listed_shown_recorded_and_examined() {
    let folder = Folder::new();
    let socket = folder.join("admin.sock");
    let socket = socket.to_str().expect("UTF-8");
    let daemon = Daemon::start(&["--admin-socket", socket]);
    let [tcp, _] = daemon.addresses();
    let mut load = Command::new(env!("CARGO_BIN_EXE_deltaworks"))
        .args(["bench", "--json", "--rate", "500", "--seconds", "600", "--server", &tcp])
        .args(["--publishers", "2", "--subscribers", "3", "--documents", "4"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the command line runs");
    let json = |arguments: &[&str]| {
        let output = deltaworks(&[arguments, &["--json", "--admin", socket]].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {told}");
        serde_json::from_slice::<Value>(&output.stdout).expect("one line of JSON")
    };
    let began = Instant::now();
    let documents = loop {
        let page = json(&["docs", "--sort", "name", "--sample-ms", "100"]);
        let rows = page["documents"].as_array().expect("documents").clone();
        let is_full = |row: &Value| row["subscribers"] == 3 && row["writers"] == 2;
        if rows.len() == 4 && rows.iter().all(|row| is_full(row) && row["next_sequence"] != 1) {
            break rows;
        }
        assert!(began.elapsed() < PATIENCE, "{page}");
    };
    let name = |row: &Value| row["name"].as_str().expect("a name").to_owned();
    assert!(documents.is_sorted_by_key(name), "{documents:?}");
    assert!(documents.iter().all(|row| row["last_delta_unix_us"] != 0), "{documents:?}");

    let sessions = json(&["sessions", "--sort", "delivered"]);
    assert_eq!(sessions["total"], 5, "{sessions}");
    let rows = sessions["sessions"].as_array().expect("sessions");
    assert!(rows.iter().all(|row| row["transport"] == "tcp" && row["handles"] == 4), "{sessions}");
    let readers = rows.iter().filter(|row| row["subscriptions"] == 4).count();
    assert_eq!(readers, 3, "{sessions}");

    let shown = deltaworks(&["top", "--once", "--interval-ms", "200", "--admin", socket]);
    let frame = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert_eq!(shown.status.code(), Some(0), "{frame}");
    for part in ["serving, in memory only", "4 documents, 5 sessions", "validation", "bench-"] {
        assert!(frame.contains(part), "{part:?} is not in\n{frame}");
    }
    let look = json(&["top", "--count", "1"]);
    // A field whose name this program has otherwise would be 0 for ever.
    for core in look["status"]["cores"].as_array().expect("cores") {
        for field in ["turns", "parks", "busy_ratio", "ring_depth", "accepted_deltas"] {
            assert!(core[field].is_number(), "{field}: {core}");
        }
        for field in ["received_bytes", "delivered_bytes", "sessions", "documents"] {
            assert!(core[field].is_number(), "{field}: {core}");
        }
    }

    let file = folder.join("turns.json");
    let recorded = json(&["trace", "--seconds", "1", "-o", file.to_str().expect("UTF-8")]);
    assert!(recorded["contents"]["events"].as_u64() > Some(0), "{recorded}");
    assert!(recorded["contents"]["names"]["turn"].as_u64() > Some(0), "{recorded}");

    let report = json(&["doctor"]);
    let pid = look["status"]["pid"].as_u64();
    assert!(pid.is_some() && report["daemon_pid"].as_u64() == pid, "{report}");
    load.kill().expect("ended");
    load.wait().expect("ended");
    daemon.stop();
}
