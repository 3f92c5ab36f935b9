//! Ends that go wrong: a core that panics, a core that does not turn any more. The daemon ends all
//! the same, bounded, and tells whom it can tell.

use std::time::{Duration, Instant};

use crate::daemon::eventually;
use crate::flow::Flow;
use crate::planting;
use crate::wire::{Peer, Told};

/// Longer than any end may take that is told to take no time, on a machine that is busy.
const BOUND: Duration = Duration::from_secs(25);

/// Sessions on both cores, each with a document and a batch in it.
fn peers(daemon: &crate::daemon::Daemon) -> Vec<Peer> {
    let mut peers: Vec<Peer> = (0..8).map(|_| Peer::unix(daemon)).collect();
    for (place, peer) in peers.iter_mut().enumerate() {
        let mut flow = Flow::open(peer, &format!("d{place}"), 1);
        flow.send(peer, &[b"x"]);
        flow.settle(peer);
    }
    peers
}

/// How a session ended: the code that it was told, or none.
fn end_of(peer: &mut Peer) -> Option<u16> {
    match peer.rest().pop() {
        Some(Told::Closed { handle: None, code }) => Some(code),
        _ => None,
    }
}

/// A panic outside of batches and sessions: the sessions of the other core are told 299, those of
/// the lost one see their connection end, and the exit code says that a core failed.
#[test]
fn a_lost_core_ends_the_daemon_in_order() {
    let mut daemon = planting::start("panic_agent:1:5", &["--cores", "2"]);
    let mut peers = peers(&daemon);
    eventually("the core is lost", || daemon.log().contains("the agent of core 1"));
    let began = Instant::now();
    let ends: Vec<Option<u16>> = peers.iter_mut().map(end_of).collect();
    let told = ends.iter().filter(|end| **end == Some(299)).count();
    let lost = ends.iter().filter(|end| end.is_none()).count();
    assert_eq!((told, lost), (4, 4), "{ends:?}");
    assert_eq!(daemon.wait().code(), Some(4), "{}", daemon.log());
    assert!(began.elapsed() < BOUND, "it took {:?}", began.elapsed());
    let log = daemon.log();
    assert!(log.contains("a core failed") && log.contains("a planted fault"), "{log}");
}

/// A core that is lost while the daemon drains for somebody who reads nothing.
#[test]
fn a_core_lost_in_an_orderly_end_is_told_by_the_exit_code() {
    let options = ["--cores", "2", "--drain-seconds", "600"];
    let mut daemon = planting::start("panic_agent:1:6", &options);
    let mut reader = Peer::unix(&daemon);
    reader.read(
        "much",
        deltaworks_protocol::message::Start::Live,
        deltaworks_protocol::message::Policy::Gap,
    );
    let mut writer = Peer::unix(&daemon);
    let mut flow = Flow::open(&mut writer, "much", 1);
    for _ in 0..100 {
        assert!(flow.publish(&mut writer, &[&[5; 10_000]]));
    }
    flow.settle(&mut writer);
    daemon.terminate();
    eventually("it ends in order", || daemon.log().contains("ending in order"));
    assert_eq!(daemon.wait().code(), Some(4), "{}", daemon.log());
}

/// SIGTERM while a core is held for good: the sessions of the other core are told, those of the
/// held one count as cut, and the end does not wait for it longer than it said.
#[test]
fn a_wedged_core_does_not_keep_the_daemon() {
    let mut daemon = planting::start("wedge:1:5", &["--cores", "2", "--drain-seconds", "1"]);
    let mut peers = peers(&daemon);
    eventually("it is wedged", || daemon.log().contains("core 1 is wedged"));
    let began = Instant::now();
    daemon.terminate();
    let status = daemon.wait();
    assert_eq!(status.code(), Some(3), "{}", daemon.log());
    assert!(began.elapsed() < BOUND, "it took {:?}", began.elapsed());
    let ends: Vec<Option<u16>> = peers.iter_mut().map(end_of).collect();
    assert_eq!(ends.iter().filter(|end| **end == Some(200)).count(), 4, "{ends:?}");
    assert!(daemon.log().contains("ended, 4 sessions were cut"), "{}", daemon.log());
}

/// A second SIGTERM ends at once, even then.
#[test]
fn a_second_sigterm_ends_a_daemon_with_a_wedged_core() {
    let mut daemon = planting::start("wedge:0:2", &["--cores", "2", "--drain-seconds", "600"]);
    eventually("it is wedged", || daemon.log().contains("core 0 is wedged"));
    daemon.terminate();
    eventually("it ends in order", || daemon.log().contains("ending in order"));
    let began = Instant::now();
    // Signals of one kind that come close together may be one.
    std::thread::sleep(Duration::from_millis(300));
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(3), "{}", daemon.log());
    assert!(began.elapsed() < BOUND, "it took {:?}", began.elapsed());
}
