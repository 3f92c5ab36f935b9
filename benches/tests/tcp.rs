//! Both ways over TCP: everything arrives once and in order at every subscriber.

use deltaworks_benches::tcp::{TcpOptions, run};

fn options(publishers: usize, subscribers: usize, batch: u32) -> TcpOptions {
    TcpOptions {
        publishers,
        subscribers,
        documents: 3,
        delta_bytes: 46,
        batch,
        seconds: 0.2,
        no_latency: false,
        record: false,
        json: false,
    }
}

#[test]
fn server_and_relay_bring_everything_to_every_subscriber() {
    if core_affinity::get_core_ids().unwrap_or_default().len() < 2 {
        eprintln!("skipped: two CPUs are needed");
        return;
    }
    for (publishers, subscribers, batch) in [(1, 1, 1), (2, 3, 32)] {
        let report = run(&options(publishers, subscribers, batch)).expect("it can be run");
        assert!(report.verified, "{:?} {:?}", report.server.faults, report.relay.faults);
        assert!(report.ratio > 0.0);
    }
}

#[test]
fn what_cannot_be_run_is_refused() {
    assert!(run(&options(0, 1, 1)).is_err());
    assert!(run(&options(1, 1, 4096)).is_ok_and(|report| report.verified));
    assert!(run(&options(1, 1, 10_000)).is_err());
}
