//! The configuration as an operator meets it: --check, --print-config, a reload of the running daemon.

#[path = "attack/daemon.rs"]
#[expect(dead_code, reason = "the attacks use the rest")]
mod daemon;

/// What the daemon's keeper needs of the attack: how long anything may take.
mod wire {
    pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
}

use std::process::{Command, Output};

use daemon::{Daemon, Folder, eventually, program};

/// What keeps a daemon small, as a file.
const SMALL: &str =
    "budget_mib = 40\nchunk_bytes = 65536\ndocuments = 2000\nhttp = \"\"\nadmin_socket = \"\"\n";

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().expect("the program runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

fn path(path: &std::path::Path) -> &str {
    path.to_str().expect("a path in plain letters")
}

#[test]
fn a_right_configuration_checks_and_says_what_has_no_effect() {
    let folder = Folder::new();
    folder.write("note.jtd.json", r#"{"properties": {"text": {"type": "string"}}}"#);
    let file = folder.write(
        "d.toml",
        "max_channels_per_client = 3\npropagation_queue_size = 5\n\
         [collections.notes]\nkind = \"cbor\"\nschema = \"note.jtd.json\"\n",
    );
    let checked = run(&["--config", path(&file), "--check"]);
    let text = stdout(&checked);
    assert_eq!(checked.status.code(), Some(0), "{text}{}", stderr(&checked));
    for line in [
        "note: max_channels_per_client has no effect yet: WebRTC channels are not built",
        "note: propagation_queue_size has no effect: a document's stream is the queue",
        "note: core_workers 32 is scaled down to ",
        "ok: ",
    ] {
        assert!(text.lines().any(|told| told.starts_with(line)), "{line} is not in {text}");
    }
    assert!(text.contains(", 1 collection, "), "{text}");
    let json = run(&["--config", path(&file), "--check", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!((&json["ok"], &json["collections"]), (&true.into(), &1.into()), "{json}");
}

#[test]
fn a_check_tells_every_schema_that_is_wrong_and_ends_with_2() {
    let folder = Folder::new();
    folder.write("broken.json", r#"{"type": "uint33"}"#);
    let file = folder.write(
        "d.toml",
        "unix_group = \"no such group\"\n\
         [collections.a]\nkind = \"cbor\"\nschema = \"broken.json\"\n\
         [collections.b]\nkind = \"rows\"\nschema = \"missing.json\"\n\
         [collections.c]\nkind = \"cbor\"\nschema = \"keys.json\"\nconflate_key = \"/sensor/id\"\n\
         [collections.d]\nkind = \"cbor\"\nschema = \"keys.json\"\nconflate_key = \"/sensor/name\"\n",
    );
    let sensor = r#"{"properties": {"sensor": {"properties": {"name": {"type": "string"}}}}}"#;
    folder.write("keys.json", sensor);
    let checked = run(&["--config", path(&file), "--check"]);
    assert_eq!(checked.status.code(), Some(2));
    let told = stderr(&checked);
    assert!(!told.contains("\"d\""), "its schema has what its conflate_key names: {told}");
    let unknown = "keys.json: conflate_key \"/sensor/id\" of collection \"c\": no value has the name \"id\" at \
                   \"/properties/sensor\" of the schema";
    for word in ["broken.json", "/type", "missing.json", "no such group", unknown] {
        assert!(told.contains(word), "{word} is not in {told}");
    }
    assert!(told.lines().all(|line| line.starts_with("deltaworksd: ")), "{told}");
    let missing = run(&["--config", "/no/such/file.toml", "--check"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("/no/such/file.toml"), "{}", stderr(&missing));
}

#[test]
fn a_printed_configuration_can_be_fed_back() {
    let folder = Folder::new();
    let file = folder.write("d.toml", "documents = 7\n");
    let printed = program()
        .args(["--config", path(&file), "--print-config", "--drain-seconds", "3"])
        .env("DELTAWORKS_SPIN_US", "9")
        .output()
        .expect("the program runs");
    let text = stdout(&printed);
    assert_eq!(printed.status.code(), Some(0), "{}", stderr(&printed));
    let from_file = format!("documents = 7  # file {}:1", file.display());
    for line in [
        from_file.as_str(),
        "drain_seconds = 3  # flag --drain-seconds",
        "spin_us = 9  # environment DELTAWORKS_SPIN_US",
        "credit_bytes = 262144  # default",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} is not in {text}");
    }
    let again = folder.write("again.toml", &text);
    let values = |arguments: &[&str]| {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        json["keys"].clone()
    };
    let keys = values(&["--config", path(&again), "--print-config", "--json"]);
    for (key, value) in [("documents", 7), ("drain_seconds", 3), ("spin_us", 9)] {
        assert_eq!(keys[key]["value"], value, "{key}");
    }
    let origin = keys["documents"]["origin"].as_str().expect("an origin");
    assert!(origin.starts_with("file ") && origin.contains("again.toml:"), "{origin}");
}

#[test]
fn the_budget_is_that_of_the_configuration() {
    let folder = Folder::new();
    let file = folder.write("d.toml", "budget_mib = 300\nsessions = 77\n");
    let told = stdout(&run(&["--config", path(&file), "--print-budget"]));
    assert!(told.contains("of 300 MiB"), "{told}");
    let sessions = told.lines().find(|line| line.starts_with("sessions")).expect("a row");
    assert!(sessions.split_whitespace().any(|word| word == "77"), "{sessions}");
}

/// A daemon with a file that can be rewritten, and what its log says.
struct Reloading {
    daemon: Daemon,
    file: std::path::PathBuf,
}

impl Reloading {
    fn start(text: &str) -> Self {
        let folder = Folder::new();
        let file = folder.write("d.toml", &format!("{SMALL}{text}"));
        let daemon = Daemon::start_in(folder, &["--config", path(&file)]);
        Self { daemon, file }
    }

    fn hangup(&self) {
        let ready = self.daemon.unix().with_file_name("ready");
        let told = std::fs::read_to_string(ready).expect("the ready file");
        let pid = told.lines().find_map(|line| line.strip_prefix("pid=")).expect("an id");
        let sent = Command::new("kill").args(["-HUP", pid]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Rewrites the file, reloads, and waits until each of `lines` stands in the log.
    fn reload(&self, text: &str, lines: &[&str]) {
        std::fs::write(&self.file, format!("{SMALL}{text}")).expect("writable");
        self.hangup();
        for line in lines {
            eventually(line, || self.daemon.log().contains(line));
        }
    }
}

#[test]
fn a_reload_changes_what_can_change_and_tells_what_cannot() {
    let daemon = Reloading::start("drain_seconds = 7\n");
    assert!(daemon.daemon.log().contains("documents are kept in memory only"));
    daemon.reload(
        "drain_seconds = 8\nhello_deadline_seconds = 3\ntcp = \"127.0.0.1:1\"\nspin_us = 5\n\
         [collections.new]\nkind = \"opaque\"\n",
        &[
            "reload: drain_seconds is 8 now, was 7",
            "reload: hello_deadline_seconds is 3 now, was 5",
            "reload: spin_us needs a restart: cores take it when they start",
            "reload: collections.new needs a restart: it was added",
        ],
    );
    // A flag stands above the file, so what the file says of it has not changed.
    assert!(!daemon.daemon.log().contains("reload: tcp"), "{}", daemon.daemon.log());
    // What needs a restart is told again; what has taken effect is not.
    let before = daemon.daemon.log().matches("reload: spin_us needs").count();
    daemon.hangup();
    eventually("a second telling", || {
        daemon.daemon.log().matches("reload: spin_us needs").count() > before
    });
    assert_eq!(daemon.daemon.log().matches("reload: drain_seconds").count(), 1);
    daemon.daemon.stop();
}

#[test]
fn a_bad_file_changes_nothing_and_says_so() {
    let daemon = Reloading::start("drain_seconds = 7\n");
    daemon.reload(
        "drain_seconds = 8\nspin_us = \"long\"\nlog = \"debgu\"\n",
        &[
            "spin_us: expected a whole number",
            "log: expected levels",
            "reload: nothing was changed",
        ],
    );
    daemon.reload("drain_seconds = 9\n", &["reload: drain_seconds is 9 now, was 7"]);
    daemon.reload(
        "[collections.x]\nkind = \"cbor\"\nschema = \"missing.json\"\n",
        &["missing.json: No such file"],
    );
    assert!(!daemon.daemon.log().contains("drain_seconds is 20 now"));
    daemon.daemon.stop();
}

/// Levels change while the daemon runs: a connection is told at debug only.
#[test]
fn a_reload_changes_what_is_logged() {
    let mut daemon = Reloading::start("");
    let tcp = daemon.daemon.tcp().to_owned();
    let connect = || drop(std::net::TcpStream::connect(&tcp).expect("connects"));
    connect();
    daemon.reload("log = \"debug\"\n", &["reload: log is \"debug\" now, was \"info\""]);
    assert!(!daemon.daemon.log().contains("DEBUG"), "{}", daemon.daemon.log());
    eventually("a line at debug", || {
        connect();
        daemon.daemon.log().contains("DEBUG")
    });
    daemon.reload("log = \"warn\"\nspin_us = 5\n", &["spin_us needs a restart"]);
    daemon.daemon.terminate();
    assert_eq!(daemon.daemon.wait().code(), Some(0));
    let log = daemon.daemon.log();
    assert!(!log.contains("log is \"warn\"") && !log.contains("ending in order"), "{log}");
}

/// New deadlines hold for new connections: one that says nothing is closed.
#[test]
fn a_reload_changes_the_deadlines_of_new_connections() {
    use std::io::Read as _;
    let daemon = Reloading::start("hello_deadline_seconds = 1000\n");
    let mut silent = std::net::TcpStream::connect(daemon.daemon.tcp()).expect("connects");
    daemon.reload(
        "hello_deadline_seconds = 1\n",
        &["reload: hello_deadline_seconds is 1 now, was 1000"],
    );
    let mut later = std::net::TcpStream::connect(daemon.daemon.tcp()).expect("connects");
    later.set_read_timeout(Some(wire::PATIENCE)).expect("a time-out");
    let mut told = Vec::new();
    later.read_to_end(&mut told).expect("closed in order");
    assert!(!told.is_empty(), "it is told why");
    silent.set_nonblocking(true).expect("settable");
    let waits = silent.read(&mut [0; 8]).expect_err("the older one is still waited for");
    assert_eq!(waits.kind(), std::io::ErrorKind::WouldBlock);
    daemon.daemon.stop();
}
