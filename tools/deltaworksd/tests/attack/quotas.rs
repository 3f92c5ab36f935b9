//! Quotas over a running daemon: told as credit, and by number to who ignores it.
//!
//! Rates are so low that nothing flows in worth telling while a test runs: what is granted is the
//! burst, and nothing depends on time.

use crate::daemon::Daemon;
use crate::flow::Flow;
use crate::wire::{Peer, batch};

/// 64 bytes a second, and a burst of 8 KiB.
const BURST: u64 = 8192;
const SLOW: &str = "64";
const BURST_MS: &str = "128000";
/// What may have flowed in while a test ran: a minute of it.
const FLOWED: u64 = 3840;

fn start(key: &str) -> Daemon {
    Daemon::start(&["--cores", "2", key, SLOW, "--quota-burst-ms", BURST_MS])
}

/// Sends as long as there is credit, and waits until all is acknowledged; the bytes that were sent.
fn use_up(flow: &mut Flow, peer: &mut Peer) -> u64 {
    let mut sent = 0;
    while flow.balance > 0 {
        flow.send(peer, &[&[1; 400]]);
        sent += batch(flow.handle, 1, &[&[1; 400]]).len() as u64;
        flow.settle(peer);
    }
    sent
}

/// The first credit is the burst, what comes back shrinks to nothing, another document of the session
/// gets none, another session is not concerned, and who sends on is ended.
#[test]
fn a_session_beyond_its_quota_gets_no_credit() {
    let daemon = start("--session-bytes-per-second");
    let (mut greedy, mut other) = (Peer::tcp(&daemon), Peer::tcp(&daemon));
    let mut flow = Flow::open(&mut greedy, "d", 1);
    assert_eq!(flow.balance as u64, BURST);
    let sent = use_up(&mut flow, &mut greedy);
    assert!((BURST..=BURST + FLOWED + 512).contains(&sent), "{sent}");
    let second = greedy.write("e", 1);
    assert!(second.credit < FLOWED, "{}", second.credit);

    let mut free = Flow::open(&mut other, "d", 2);
    assert_eq!(free.balance as u64, BURST);
    for _ in 0..20 {
        flow.send(&mut greedy, &[&[1; 400]]);
    }
    greedy.expect_end(211);
    assert!(use_up(&mut free, &mut other) >= BURST, "the other goes on");
    daemon.stop();
}

/// All sessions of an address together get no more than the burst, on whatever core each is.
#[test]
fn sessions_of_an_address_share_a_quota() {
    let daemon = start("--address-bytes-per-second");
    let mut peers: Vec<Peer> = (0..4).map(|_| Peer::tcp(&daemon)).collect();
    let mut sent = 0;
    for (number, peer) in peers.iter_mut().enumerate() {
        let mut flow = Flow::open(peer, "d", 1 + number as u64);
        assert!(flow.balance as u64 <= BURST / 4 + FLOWED, "each leaves something to the others");
        sent += use_up(&mut flow, peer);
    }
    assert!(sent <= BURST + FLOWED + 4 * 512, "{sent}");
    // Whoever comes again has not forgotten what its address has used.
    drop(peers);
    let mut again = Peer::tcp(&daemon);
    let opened = again.write("d", 9);
    assert!(opened.credit <= BURST / 4 + FLOWED, "{}", opened.credit);
    daemon.stop();
}
