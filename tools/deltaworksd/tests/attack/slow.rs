//! Subscribers that read slowly or never, and a daemon whose chunks come round many times.

use deltaworks_protocol::message::{Ping, Policy, Start};

use crate::daemon::{Daemon, Folder};
use crate::flow::Flow;
use crate::wire::{Peer, Told};
use crate::witness::Witness;

/// A pool of about four MiB, so that it comes round soon.
const TINY: [&str; 6] = ["--budget-mib", "12", "--chunk-bytes", "65536", "--documents", "200"];
const POOL_BYTES: u64 = 4 << 20;

/// Bytes of a delta in these tests.
const DELTA_BYTES: usize = 8 << 10;

fn start(options: &[&str]) -> Daemon {
    Daemon::start_in(Folder::new(), &[&TINY, options].concat())
}

fn content(sequence: u64) -> Vec<u8> {
    let mut delta = vec![sequence as u8; DELTA_BYTES];
    delta[..8].copy_from_slice(&sequence.to_le_bytes());
    delta
}

/// Lets this many bytes flow through one document.
fn flow_through(peer: &mut Peer, flow: &mut Flow, bytes: u64) {
    for _ in 0..bytes / DELTA_BYTES as u64 {
        let delta = content(flow.number + 1);
        assert!(flow.publish(peer, &[&delta]), "{flow:?}");
    }
    flow.settle(peer);
    assert_eq!(flow.ended_by, None);
}

/// What a subscriber gets up to sequence `last`: whole, in order, gaps told where they are.
/// Returns how many gaps there were.
fn read_to(reader: &mut Peer, handle: u32, mut next: u64, last: u64) -> u32 {
    let mut gaps = 0;
    while next <= last {
        match reader.next() {
            Told::Gap { handle: of, from, to, .. } => {
                assert_eq!((of, from), (handle, next), "told where it stood");
                assert!(to > from && to <= last + 1);
                next = to;
                gaps += 1;
            }
            Told::Batch(batch) => {
                assert_eq!(batch.first_sequence, next, "nothing is missing silently");
                assert_eq!(batch.deltas, [content(next)]);
                next += 1;
            }
            told => panic!("a reader was told {told:?}"),
        }
    }
    gaps
}

/// A subscriber that reads nothing while the pool comes round costs nobody anything; when it
/// reads, it is told its gap, and what it gets is whole.
#[test]
fn a_subscriber_that_never_reads_is_told_a_gap_later() {
    for cores in ["1", "2"] {
        let daemon = start(&["--cores", cores]);
        let witness = Witness::start(&daemon);
        let mut slow: Vec<(Peer, u32)> = [Peer::unix(&daemon), Peer::tcp(&daemon)]
            .into_iter()
            .map(|mut peer| {
                let handle = peer.read("d", Start::Live, Policy::Gap).handle;
                (peer, handle)
            })
            .collect();
        let mut publisher = Peer::unix(&daemon);
        let mut flow = Flow::open(&mut publisher, "d", 1);
        flow_through(&mut publisher, &mut flow, 5 * POOL_BYTES);
        for (reader, handle) in &mut slow {
            assert!(read_to(reader, *handle, 1, flow.number) > 0, "it was told");
        }
        // And they go on as if nothing had been.
        let last = flow.number;
        flow_through(&mut publisher, &mut flow, 16 * DELTA_BYTES as u64);
        for (reader, handle) in &mut slow {
            read_to(reader, *handle, last + 1, flow.number);
        }
        witness.finish();
        daemon.stop();
    }
}

/// A reader of policy `skip` that reads nothing for a while comes to the newest by one jump, and one of
/// policy `close` is told how far it is behind and ends, while its session goes on: of both, what
/// was sent and told is everything that was published.
#[test]
fn policies_act_on_a_reader_that_stands_still() {
    for cores in ["1", "2"] {
        let daemon = start(&["--cores", cores]);
        let witness = Witness::start(&daemon);
        let mut skips = Peer::unix(&daemon);
        let skipping = skips.read("d", Start::Live, Policy::Skip).handle;
        let mut closes = Peer::tcp(&daemon);
        let closing = closes.read("d", Start::Live, Policy::Close).handle;
        let going_on = closes.read("other", Start::Live, Policy::Gap).handle;
        let mut publisher = Peer::unix(&daemon);
        let mut flow = Flow::open(&mut publisher, "d", 1);
        flow_through(&mut publisher, &mut flow, 5 * POOL_BYTES);
        let published = flow.number;

        assert_eq!(read_to(&mut skips, skipping, 1, published), 1, "one jump");
        let mut next = 1;
        let missed = loop {
            match closes.next() {
                Told::Batch(batch) => {
                    assert_eq!(batch.first_sequence, next);
                    next += 1;
                }
                Told::Gap { handle, from, to, policy: 4, behind_bytes } => {
                    assert_eq!((handle, from), (closing, next));
                    assert!(behind_bytes > (to - from) * DELTA_BYTES as u64);
                    break to - from;
                }
                told => panic!("a reader was told {told:?}"),
            }
        };
        assert!(missed > 0 && next + missed <= published + 1);
        assert_eq!(closes.next(), Told::Closed { handle: Some(closing), code: 504 });
        let mut publisher = Peer::unix(&daemon);
        let mut other = Flow::open(&mut publisher, "other", 1);
        flow_through(&mut publisher, &mut other, 4 * DELTA_BYTES as u64);
        assert_eq!(read_to(&mut closes, going_on, 1, 4), 0, "the session goes on");

        witness.finish();
        daemon.stop();
    }
}

/// The pool comes round many times for one document, and quiet ones of a collection that keeps still have
/// their newest batches for who comes late; of one that keeps nothing they are gone.
#[test]
fn quiet_documents_keep_their_newest_while_the_pool_comes_round() {
    for cores in ["1", "2"] {
        let daemon = start(&["--cores", cores, "--collection", "keeps=opaque,keep_bytes=20000"]);
        let mut publisher = Peer::unix(&daemon);
        let mut quiet = |name: &str, producer| {
            let mut flow = Flow::open(&mut publisher, name, producer);
            flow_through(&mut publisher, &mut flow, 4 * DELTA_BYTES as u64);
        };
        for number in 0..20 {
            quiet(&format!("keeps/{number}"), 1);
            quiet(&format!("forgets {number}"), 1);
        }
        let mut hot = Flow::open(&mut publisher, "hot", 1);
        flow_through(&mut publisher, &mut hot, 5 * POOL_BYTES);
        let mut late = Peer::tcp(&daemon);
        for number in 0..20 {
            // Two batches are within what is kept; four there were.
            let name = format!("keeps/{number}");
            let handle = late.read(&name, Start::Window, Policy::Gap).handle;
            let Told::Batch(first) = late.next() else { panic!("{name} has something") };
            let next = first.first_sequence;
            assert!(next <= 3 && first.deltas == [content(next)], "{name}: {next}");
            assert_eq!(read_to(&mut late, handle, next + 1, 4), 0);
            let forgotten = late.read(&format!("forgets {number}"), Start::Window, Policy::Gap);
            assert_eq!(forgotten.next_sequence, 5);
        }
        // Of those that keep nothing nothing came in between, or it would have been met above.
        assert!(late.say(&Ping { token: 7 }));
        assert_eq!(late.next(), Told::Pong(7));
        daemon.stop();
    }
}

/// Ten times the pool flows past subscribers that never read: memory does not grow.
#[test]
fn memory_stays_bounded_while_nobody_reads() {
    let mut daemon = start(&["--cores", "2", "--drain-seconds", "1"]);
    let witness = Witness::start(&daemon);
    let mut deaf: Vec<Peer> = (0..12)
        .map(|place| if place % 2 == 0 { Peer::unix(&daemon) } else { Peer::tcp(&daemon) })
        .collect();
    deaf.iter_mut().for_each(|peer| {
        peer.read("d", Start::Live, Policy::Gap);
    });
    let mut publisher = Peer::tcp(&daemon);
    let mut flow = Flow::open(&mut publisher, "d", 1);
    // The first round fills what is filled once: tables, socket buffers, spills.
    flow_through(&mut publisher, &mut flow, POOL_BYTES);
    let before = daemon.resident_bytes();
    flow_through(&mut publisher, &mut flow, 10 * POOL_BYTES);
    let after = daemon.resident_bytes();
    assert!(after < before + (2 << 20), "{before} bytes before, {after} after");
    witness.finish();
    // The deaf ones cannot be told in order: that is a cut, and is said.
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(3), "{}", daemon.log());
    drop(deaf);
}

/// Publishes all that the credit allows, until all of it is acknowledged.
fn exhaust(peer: &mut Peer, flow: &mut Flow, other: &mut Flow) {
    while flow.balance > 0 || flow.acked < flow.number {
        if flow.balance > 0 {
            let delta = content(flow.number + 1);
            flow.send(peer, &[&delta]);
            assert!(flow.number < 4096, "credit is withheld at last");
            continue;
        }
        let told = peer.next();
        flow.hear(&told);
        other.hear(&told);
    }
}

/// A `wait` subscriber that never reads stops the writers of its document and nobody else; when
/// it reads, it gets all, and the writers go on.
#[test]
fn a_wait_subscriber_stops_its_publishers_and_nobody_else() {
    let daemon = start(&["--cores", "2", "--credit-bytes", "65536"]);
    let witness = Witness::start(&daemon);
    let mut slow = Peer::unix(&daemon);
    let handle = slow.read("slow", Start::Live, Policy::Wait).handle;
    let mut brisk = Peer::unix(&daemon);
    let brisk_handle = brisk.read("brisk", Start::Live, Policy::Wait).handle;
    let mut publisher = Peer::unix(&daemon);
    let mut flow = Flow::open(&mut publisher, "slow", 1);
    let mut other = Flow::open(&mut publisher, "brisk", 1);
    // Credit that comes late is used up, until none comes while the same session's other document
    // flows, ten times its credit.
    let mut seen = 0;
    while flow.balance > 0 {
        exhaust(&mut publisher, &mut flow, &mut other);
        for _ in 0..80 {
            while other.balance <= 0 {
                let told = publisher.next();
                flow.hear(&told);
                other.hear(&told);
            }
            let delta = content(other.number + 1);
            other.send(&mut publisher, &[&delta]);
            read_to(&mut brisk, brisk_handle, seen + 1, other.number);
            seen = other.number;
        }
    }
    let stopped_at = flow.number;
    assert_eq!(read_to(&mut slow, handle, 1, stopped_at), 0, "a `wait` reader has no gaps");
    while flow.balance <= 0 {
        let told = publisher.next();
        flow.hear(&told);
        other.hear(&told);
    }
    let delta = content(flow.number + 1);
    flow.send(&mut publisher, &[&delta]);
    assert_eq!(read_to(&mut slow, handle, stopped_at + 1, flow.number), 0);
    witness.finish();
    daemon.stop();
}

/// What `wait` subscribers that never read keep of retiring chunks is bounded: beyond it sessions
/// are ended with their number, and the pool comes round for the others.
#[test]
fn copies_for_subscribers_that_never_read_are_bounded() {
    let log = "info,deltaworks_server=debug";
    let daemon = start(&["--cores", "2", "--credit-bytes", "1048576", "--log", log]);
    let witness = Witness::start(&daemon);
    let mut deaf = Vec::new();
    for place in 0..6 {
        let name = format!("deaf-{place}");
        let mut peer = Peer::unix(&daemon);
        peer.read(&name, Start::Live, Policy::Wait);
        let mut publisher = Peer::unix(&daemon);
        let mut flow = Flow::open(&mut publisher, &name, 1);
        // As much as its credit allows without hearing anything.
        while flow.balance > 0 {
            let delta = content(flow.number + 1);
            flow.send(&mut publisher, &[&delta]);
        }
        publisher.is_alive();
        deaf.push((peer, flow));
    }
    let mut flowing = Peer::tcp(&daemon);
    let mut flow = Flow::open(&mut flowing, "d", 1);
    // What they have not read is beyond the limit when the pool comes round. Whoever is ended has a
    // few seconds for its last words, so they begin to read as soon as the first is.
    let mut flowed = 0;
    while !daemon.log().contains("number=213") {
        flow_through(&mut flowing, &mut flow, POOL_BYTES / 32);
        flowed += POOL_BYTES / 32;
        assert!(flowed < 8 * POOL_BYTES, "what all of them together have not read is bounded");
    }
    let mut ended = 0;
    for (mut peer, flow) in deaf {
        let mut next = 1;
        let code = loop {
            match peer.next() {
                Told::Batch(batch) => {
                    assert_eq!(batch.first_sequence, next);
                    assert_eq!(batch.deltas, [content(next)]);
                    next += 1;
                }
                Told::Error(error) => assert_eq!(error.code, 213),
                Told::Closed { handle: None, code } => break Some(code),
                told => panic!("{told:?}"),
            }
            if next > flow.number {
                break None;
            }
        };
        assert!(code.is_none() || code == Some(213), "{code:?}");
        ended += u32::from(code.is_some());
    }
    assert!(ended > 0, "the one of the log has been told");
    flow_through(&mut flowing, &mut flow, 4 * POOL_BYTES);
    witness.finish();
    daemon.stop();
}

/// With rings of one message everything still comes, in order: several publishers in every
/// document, subscribers of both policies, opens and closes in between.
#[test]
fn rings_of_capacity_one_carry_a_mixed_workload() {
    const DOCUMENTS: usize = 3;
    const PUBLISHERS: u64 = 3;
    const ROUNDS: u64 = 150;
    let daemon = start(&["--cores", "2", "--ring-capacity", "1", "--credit-bytes", "16384"]);
    let witness = Witness::start(&daemon);
    let name = |document: usize| format!("d{document}");
    let readers: Vec<_> = (0..4)
        .map(|place| {
            let mut peer = if place < 2 { Peer::unix(&daemon) } else { Peer::tcp(&daemon) };
            let policy = if place % 2 == 0 { Policy::Wait } else { Policy::Gap };
            let opened: Vec<u64> = (0..DOCUMENTS)
                .map(|document| peer.read(&name(document), Start::Live, policy).document)
                .collect();
            std::thread::spawn(move || read_mixed(peer, &opened, PUBLISHERS, ROUNDS))
        })
        .collect();
    let publishers: Vec<_> = (1..=PUBLISHERS)
        .map(|producer| {
            let mut peer = if producer % 2 == 0 { Peer::unix(&daemon) } else { Peer::tcp(&daemon) };
            std::thread::spawn(move || {
                let mut flows: Vec<Flow> = (0..DOCUMENTS)
                    .map(|document| Flow::open(&mut peer, &format!("d{document}"), producer))
                    .collect();
                for round in 1..=ROUNDS {
                    for flow in 0..DOCUMENTS {
                        while flows[flow].balance <= 0 {
                            let told = peer.next();
                            flows.iter_mut().for_each(|flow| flow.hear(&told));
                        }
                        let delta = [producer.to_le_bytes(), round.to_le_bytes()].concat();
                        let filler = vec![round as u8; 400];
                        flows[flow].send(&mut peer, &[&delta, &filler]);
                    }
                }
                while flows.iter().any(|flow| flow.acked < ROUNDS) {
                    let told = peer.next();
                    flows.iter_mut().for_each(|flow| flow.hear(&told));
                }
            })
        })
        .collect();
    // Others come and go meanwhile.
    for round in 0..60 {
        let mut peer = if round % 2 == 0 { Peer::unix(&daemon) } else { Peer::tcp(&daemon) };
        peer.ask(&name(round % DOCUMENTS), crate::wire::reading(Start::Window, Policy::Gap));
        if round % 3 == 0 {
            peer.is_alive();
        }
    }
    publishers.into_iter().for_each(|it| it.join().expect("a publisher saw no fault"));
    readers.into_iter().for_each(|it| it.join().expect("a reader saw no fault"));
    witness.finish();
    daemon.stop();
}

/// Reads every document to its end: sequences without gaps, each producer's batches in order.
fn read_mixed(mut peer: Peer, documents: &[u64], publishers: u64, rounds: u64) {
    let mut next = vec![1_u64; documents.len()];
    let mut last = vec![vec![0_u64; publishers as usize + 1]; documents.len()];
    let end = 2 * publishers * rounds + 1;
    while next.iter().any(|next| *next < end) {
        let batch = match peer.next() {
            Told::Batch(batch) => batch,
            told => panic!("nobody falls behind here, but {told:?}"),
        };
        let at = documents.iter().position(|it| *it == batch.document).expect("asked for");
        assert_eq!(batch.first_sequence, next[at]);
        next[at] += 2;
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let producer = number(&batch.deltas[0][..8]) as usize;
        let round = number(&batch.deltas[0][8..]);
        assert_eq!(round, last[at][producer] + 1, "each producer's batches stay in order");
        assert_eq!(batch.deltas[1], [round as u8; 400]);
        last[at][producer] = round;
    }
}
