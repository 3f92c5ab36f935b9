//! Health and readiness, while the daemon serves and while it drains.

use deltaworks_protocol::message::{Policy, Start};

use crate::daemon::eventually;
use crate::flow::Flow;
use crate::http::{get, start, status};
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
    assert!(!crate::http::admin_path(&daemon).exists(), "the admin socket went with it");
}
