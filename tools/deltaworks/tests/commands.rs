//! The command line as a person and a script meet it: `pub`, `sub`, `plan`, help and exit codes.

mod daemon;
mod folder;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};

use daemon::Daemon;
use folder::{Folder, deltaworks};
use serde_json::{Value, json};

/// What lets subscribers of the default collection make its publishers wait.
const WAIT: [&str; 2] = ["--collection", "=opaque,wait_allowed=true"];

/// A running `deltaworks sub --json`.
struct Sub {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Sub {
    /// A subscriber that is live when this returns.
    fn start(document: &str, server: &str, options: &[&str]) -> Sub {
        let mut child = Command::new(env!("CARGO_BIN_EXE_deltaworks"))
            .args(["sub", document, "--server", server, "--json"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command line runs");
        let stdout = child.stdout.take().expect("piped");
        let mut sub = Sub { child, lines: BufReader::new(stdout).lines() };
        let opened = sub.next().expect("it says where it begins");
        assert_eq!(opened["event"], "opened", "{opened}");
        sub
    }

    fn next(&mut self) -> Option<Value> {
        let line = self.lines.next()?.expect("readable");
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }

    /// The exit code, once it has ended, and what it said on standard error.
    fn end(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().expect("it ends");
        let mut said = String::new();
        let stderr = self.child.stderr.as_mut().expect("piped");
        stderr.read_to_string(&mut said).expect("UTF-8");
        (status.code(), said)
    }
}

impl Drop for Sub {
    fn drop(&mut self) {
        // Ended already, or ended now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn publish(document: &str, server: &str, options: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_deltaworks"))
        .args(["pub", document, "--server", server])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command line runs");
    // It may end before it has read everything; the exit code says so.
    let _ = child.stdin.take().expect("piped").write_all(input);
    child.wait_with_output().expect("it ends")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Deltas that the answers of `pub --json` name as accepted.
fn accepted(output: &Output) -> u64 {
    let answers = stdout(output);
    let answers = answers.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    answers
        .filter(|answer| answer["outcome"] == "accepted")
        .map(|answer| answer["deltas"].as_u64().expect("a number"))
        .sum()
}

#[test]
fn what_is_published_is_printed_in_order() {
    let daemon = Daemon::start(&[]);
    let [tcp, unix] = daemon.addresses();
    let mut sub = Sub::start("notes", &tcp, &["--count", "1002"]);

    let lines: String = (0..1_000).map(|number| format!("line {number} é😀\n\n")).collect();
    let piped = publish("notes", &unix, &["--json"], lines.as_bytes());
    assert_eq!(piped.status.code(), Some(0), "{}", stderr(&piped));
    assert_eq!(accepted(&piped), 1_000);
    let texts = publish("notes", &tcp, &["--text", "first", "--text", "\u{1b}[2J"], b"");
    assert_eq!(texts.status.code(), Some(0), "{}", stderr(&texts));
    assert!(stdout(&texts).starts_with("accepted: "), "{}", stdout(&texts));

    for number in 0..1_000u64 {
        let delta = sub.next().expect("a delta");
        assert_eq!(delta["event"], "delta", "{delta}");
        assert_eq!(delta["sequence"], number + 1, "{delta}");
        assert_eq!(delta["text"], format!("line {number} é😀"), "{delta}");
        assert!(delta["time_us"].as_u64() > Some(1_700_000_000_000_000), "{delta}");
    }
    assert_eq!(sub.next().expect("a delta")["text"], "first");
    assert_eq!(sub.next().expect("a delta")["text"], "\u{1b}[2J");
    assert_eq!(sub.next(), None);
    let (code, said) = sub.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("notes (opaque): from sequence 1, epoch "), "{said}");

    // For a person, from the start, with nothing that would steer the terminal.
    let shown =
        deltaworks(&["sub", "notes", "--server", &tcp, "--from", "start", "--count", "1002"]);
    let lines: Vec<String> = stdout(&shown).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 1_002);
    assert_eq!(lines[999], "1000 line 999 é😀");
    assert_eq!(lines[1_001], "1002 \\u{1b}[2J");
    daemon.stop();
}

#[test]
fn a_subscription_goes_on_where_it_is_told_to() {
    let daemon = Daemon::start(&WAIT);
    let [tcp, _] = daemon.addresses();
    let published = publish("notes", &tcp, &[], b"1\n2\n3\n4\n5\n6\n");
    assert_eq!(published.status.code(), Some(0), "{}", stderr(&published));
    let all = deltaworks(&[
        "sub", "notes", "--server", &tcp, "--from", "start", "--count", "1", "--json",
    ]);
    let opened: Value =
        serde_json::from_str(stdout(&all).lines().next().expect("a line")).expect("JSON");
    assert_eq!(opened["policy"], "gap", "what its collection says: {opened}");
    let epoch = opened["epoch"].as_str().expect("a text");
    let from = format!("4@{epoch}");
    for policy in ["gap", "wait"] {
        let rest = deltaworks(&[
            "sub", "notes", "--server", &tcp, "--from", &from, "--count", "3", "--policy", policy,
        ]);
        assert_eq!(stdout(&rest), "4 4\n5 5\n6 6\n", "{}", stderr(&rest));
        assert!(stderr(&rest).contains(&format!(", {policy} when behind")), "{}", stderr(&rest));
        assert_eq!(rest.status.code(), Some(0));
    }
    daemon.stop();
}

#[test]
fn what_has_left_memory_is_told_as_a_gap() {
    let daemon = Daemon::start(&["--cores", "1", "--budget-mib", "64"]);
    let [tcp, _] = daemon.addresses();
    let line = "x".repeat(60_000);
    let lines: String = (0..2_000).map(|_| format!("{line}\n")).collect();
    let published = publish("big", &tcp, &["--json"], lines.as_bytes());
    assert_eq!(published.status.code(), Some(0), "{}", stderr(&published));
    assert_eq!(accepted(&published), 2_000);
    let last =
        deltaworks(&["sub", "big", "--server", &tcp, "--from", "start", "--json", "--count", "1"]);
    let opened: Value =
        serde_json::from_str(stdout(&last).lines().next().expect("a line")).expect("JSON");
    let window_start = opened["window_start"].as_u64().expect("a number");
    assert!(window_start > 1, "120 MB do not fit 64 MiB: {opened}");
    let epoch = opened["epoch"].as_str().expect("a text");
    let from = format!("1@{epoch}");
    let mut sub = Sub::start("big", &tcp, &["--from", &from, "--count", "1"]);
    let gap = sub.next().expect("a gap");
    let expected = json!({
        "event": "gap", "from": 1, "to": window_start, "deltas": window_start - 1, "policy": "gap",
        "behind_bytes": 0,
    });
    assert_eq!(gap, expected);
    assert_eq!(sub.next().expect("a delta")["sequence"], window_start);
    assert_eq!(sub.end().0, Some(0));
    daemon.stop();
}

#[test]
fn infos_and_values_of_json_arrive_as_cbor() {
    let daemon = Daemon::start(&[]);
    let [tcp, _] = daemon.addresses();
    let mut sub = Sub::start("things", &tcp, &["--count", "2"]);
    let options = ["--json-values", "--info", r#"{"title":"x"}"#];
    let values = br#"{"id":7,"paid":true}
[1,-2,"three",null]
"#;
    let published = publish("things", &tcp, &options, values);
    assert_eq!(published.status.code(), Some(0), "{}", stderr(&published));
    assert!(stdout(&published).starts_with("accepted: info"), "{}", stdout(&published));
    assert_eq!(sub.next().expect("an info")["info"], r#"{"title": "x"}"#);
    // {"id": 7, "paid": true} and [1, -2, "three", null], by RFC 8949; the first is not UTF-8.
    assert_eq!(sub.next().expect("a delta")["hex"], "a26269640764706169 64f5".replace(' ', ""));
    assert_eq!(sub.next().expect("a delta")["hex"], "8401216574 68726565f6".replace(' ', ""));
    assert_eq!(sub.end().0, Some(0));

    let wrong = publish("things", &tcp, &["--json-values"], b"{\n");
    assert_eq!(wrong.status.code(), Some(1));
    assert!(stderr(&wrong).contains("not JSON"), "{}", stderr(&wrong));
    daemon.stop();
}

#[test]
fn a_batch_that_breaks_the_schema_is_refused_with_its_place() {
    let folder = Folder::new();
    let schema = folder.join("order.jtd.json");
    std::fs::write(&schema, r#"{"properties":{"id":{"type":"uint32"}}}"#).expect("written");
    let daemon = Daemon::start(&["--collection", &format!("shop=cbor:{}", schema.display())]);
    let [tcp, _] = daemon.addresses();
    let good = publish("shop/orders", &tcp, &["--json-values"], b"{\"id\":7}\n");
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
    let bad = publish("shop/orders", &tcp, &["--json-values", "--json"], b"{\"id\":\"seven\"}\n");
    assert_eq!(bad.status.code(), Some(4), "{}", stderr(&bad));
    let answer: Value = serde_json::from_str(&stdout(&bad)).expect("one line of JSON");
    assert_eq!(answer["outcome"], "refused", "{answer}");
    assert_eq!(answer["error"]["delta"], 0, "{answer}");
    assert_eq!(answer["error"]["instance_path"], "/id", "{answer}");
    assert_eq!(answer["error"]["schema_path"], "/properties/id/type", "{answer}");

    let shown =
        deltaworks(&["sub", "shop/orders", "--server", &tcp, "--from", "start", "--count", "1"]);
    assert_eq!(stdout(&shown), "1 {\"id\": 7}\n");
    daemon.stop();
}

#[test]
fn what_fails_says_why_and_with_which_number() {
    let folder = Folder::new();
    let nobody = format!("unix:{}", folder.join("nobody").display());
    for command in [&["sub", "x"][..], &["pub", "x", "--text", "y"]] {
        let output = deltaworks(&[command, &["--server", &nobody]].concat());
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        assert!(stderr(&output).contains("no connection"), "{}", stderr(&output));
    }
    let wrong: [&[&str]; 7] = [
        &[],
        &["nonsense"],
        &["sub"],
        &["sub", "x", "--from", "7"],
        &["pub", "x", "--producer", "0"],
        &["pub", "x", "--text", "y", "--file", "z"],
        &["plan", "--cpus", "3-1"],
    ];
    for command in wrong {
        let output = deltaworks(command);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {}", stderr(&output));
        assert!(!output.stderr.is_empty(), "{command:?}");
    }
    let daemon = Daemon::start(&[]);
    let [tcp, _] = daemon.addresses();
    let missing = publish("x", &tcp, &["--file", "/nowhere/at/all"], b"");
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("/nowhere/at/all"), "{}", stderr(&missing));
    let unknown = publish("no-such-collection/x", &tcp, &["--text", "y"], b"");
    assert_eq!(unknown.status.code(), Some(1), "{}", stderr(&unknown));
    let long = publish("x", &tcp, &["--json"], "y".repeat(65_537).as_bytes());
    assert_eq!(long.status.code(), Some(1), "{}", stderr(&long));
    let most = publish("x", &tcp, &["--json"], "y".repeat(65_536).as_bytes());
    assert_eq!((most.status.code(), accepted(&most)), (Some(0), 1), "{}", stderr(&most));
    daemon.stop();
}

#[test]
fn a_daemon_that_ends_is_told_to_its_subscribers() {
    let daemon = Daemon::start(&[]);
    let [tcp, _] = daemon.addresses();
    let mut sub = Sub::start("x", &tcp, &[]);
    let published = publish("x", &tcp, &["--text", "last"], b"");
    assert_eq!(published.status.code(), Some(0), "{}", stderr(&published));
    assert_eq!(sub.next().expect("a delta")["text"], "last");
    daemon.stop();
    let failed = sub.next().expect("it is told");
    assert_eq!(failed["event"], "failed", "{failed}");
    let (code, said) = sub.end();
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn plans_are_drawn_and_written_as_json() {
    let machine = "package:2 numa:4 l3:2 core:8 pu:2";
    let drawn = deltaworks(&["plan", "--synthetic", machine]);
    assert_eq!(drawn.status.code(), Some(0), "{}", stderr(&drawn));
    assert!(stdout(&drawn).contains("256 CPUs"), "{}", stdout(&drawn));
    assert!(stdout(&drawn).lines().all(|line| line.chars().count() <= 80));

    let arguments = [
        "plan",
        "--synthetic",
        machine,
        "--cpus",
        "0-7",
        "--workers",
        "1",
        "--session-cores",
        "2",
        "--elastic-workers",
        "0",
        "--json",
    ];
    let written = deltaworks(&arguments);
    assert_eq!(written.status.code(), Some(0), "{}", stderr(&written));
    let plan: Value = serde_json::from_str(&stdout(&written)).expect("one line of JSON");
    let cores = plan["cores"].as_array().expect("an array");
    assert_eq!(cores.len(), 3, "{plan}");
    let in_mask = |core: &Value| core["cpu"]["os_index"].as_u64().is_some_and(|cpu| cpu < 8);
    assert!(cores.iter().all(in_mask), "{plan}");

    let own = deltaworks(&["plan"]);
    assert_eq!(own.status.code(), Some(0), "{}", stderr(&own));
    for none in [
        &["plan", "--synthetic", "nonsense"][..],
        &["plan", "--synthetic", "core:2", "--cpus", "9"],
    ] {
        let output = deltaworks(none);
        assert_eq!(output.status.code(), Some(1), "{none:?}");
        assert!(!output.stderr.is_empty(), "{none:?}");
    }
}

#[test]
fn help_shows_examples_and_exit_codes() {
    for command in ["pub", "sub", "replay", "plan"] {
        let help = deltaworks(&[command, "--help"]);
        assert_eq!(help.status.code(), Some(0), "{command}");
        let text = stdout(&help);
        for part in
            ["Examples:\n  deltaworks ", "Exit codes:\n  0  ", "  2  the command line is wrong"]
        {
            assert!(text.contains(part), "{command}: {part:?} is not in\n{text}");
        }
        assert!(!text.contains("-via"), "{command} shows what only tests need:\n{text}");
    }
    let help = stdout(&deltaworks(&["--help"]));
    for command in ["pub", "sub", "replay", "plan", "editing"] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
    }
}
