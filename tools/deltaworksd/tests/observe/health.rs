//! Health and readiness, while the daemon serves and while it drains.

use deltaworks_protocol::message::{Policy, Start};

use crate::daemon::{Folder, eventually};
use crate::flow::Flow;
use crate::http::{admin, admin_path, get, start, start_in, status};
use crate::wire::Peer;

/// A subscriber that reads nothing holds the drain up: the daemon is alive, and not ready.
#[test]
fn a_draining_daemon_is_alive_and_not_ready() {
    let mut daemon = start(&["--drain-seconds", "600"]);
    let mut reader = Peer::unix(&daemon);
    reader.read("d", Start::Live, Policy::Gap);
    let mut writer = Peer::unix(&daemon);
    let mut flow = Flow::open(&mut writer, "d", 1);
    for _ in 0..400 {
        assert!(flow.publish(&mut writer, &[&[7; 8000]]));
    }
    flow.settle(&mut writer);
    assert_eq!((get(&daemon, "/healthz").status, get(&daemon, "/readyz").status), (200, 200));

    daemon.terminate();
    eventually("it drains", || get(&daemon, "/readyz").status == 503);
    assert_eq!(get(&daemon, "/readyz").body, "draining\n");
    assert_eq!(get(&daemon, "/healthz").status, 200);
    assert_eq!(status(&daemon)["phase"], "draining");
    // What it said before is in the socket: read to the end, the drain is complete.
    reader.rest();
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    assert!(!admin_path(&daemon).exists(), "the admin socket went with it");
}

/// A reload over the admin socket does what is in the file, tells it, and refuses a mistake.
#[test]
fn a_reload_tells_what_it_did() {
    let folder = Folder::new();
    let file = folder.write("deltaworksd.toml", "drain_seconds = 20\n");
    let config = file.to_str().expect("a path in text").to_owned();
    let daemon = start_in(folder, &["--config", &config]);
    let reload = || admin(&daemon, "POST", "/v1/reload");
    assert_eq!(reload().json()["reloaded"], serde_json::json!([]));
    std::fs::write(&file, "drain_seconds = 7\nring_capacity = 8\n").expect("the file");
    let told = reload().json();
    let change = serde_json::json!([{ "key": "drain_seconds", "from": 20, "to": 7 }]);
    assert_eq!(told["reloaded"], change, "{told}");
    assert_eq!(told["needs_restart"][0]["key"], "ring_capacity", "{told}");
    std::fs::write(&file, "drain_second = 7\n").expect("the file");
    let refused = reload();
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(refused.body.contains("drain_seconds"), "the nearest key is named: {refused:?}");
    daemon.stop();
}
