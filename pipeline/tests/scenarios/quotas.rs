//! Quotas: what may be sent over time, told as credit, counted under a clock of our own.

use deltaworks_pipeline::collection::{
    Collection, CollectionLimits, Collections, Overload, Schema,
};
use deltaworks_pipeline::inline::{Event, Inline, Peer, batch};
use deltaworks_pipeline::port::SessionFault;
use deltaworks_pipeline::quota::{Quota, Quotas, SharedUse};
use deltaworks_runtime::sync::Arc;

use super::world::{opaque, open, world, world_of, writing};

/// Bytes a second, and of a burst of 500 ms.
const RATE: u64 = 40_000;
const BURST: u64 = RATE / 2;
/// Steps of time, and how many of them a run takes.
const STEP_NS: u64 = 10_000_000;
const STEPS: u64 = 500;

fn of_bytes(bytes_per_second: u64) -> Quota {
    Quota::new(Some(bytes_per_second), None, 500_000_000)
}

/// A writer that sends whenever its credit allows it.
struct Writer {
    peer: Peer,
    handle: u32,
    credit: i64,
    granted: u64,
    sent: u64,
}

impl Writer {
    fn open(world: &mut Inline, peer: Peer, name: &str, producer: u64) -> Self {
        let (opened, credit) = open(world, peer, writing(name, producer));
        let handle = opened.handle;
        Self { peer, handle, credit: credit as i64, granted: credit, sent: 0 }
    }

    fn hear(&mut self, event: &Event) {
        let granted = match event {
            Event::Ack(ack) if ack.handle == self.handle => u64::from(ack.credit_bytes),
            Event::Credit(handle, bytes) if *handle == self.handle => *bytes,
            Event::Fault(fault) => panic!("{fault:?}"),
            _ => 0,
        };
        self.granted += granted;
        self.credit += granted as i64;
    }

    fn write(&mut self, world: &mut Inline, deltas: &[&[u8]]) {
        while self.credit > 0 {
            self.sent += 1;
            let image = batch(self.handle, self.sent, deltas);
            self.credit -= image.len() as i64;
            world.send(self.peer, &image);
        }
    }
}

/// Has all of them write for five seconds. Returns the bytes that were granted.
fn write_all(world: &mut Inline, writers: &mut [Writer], deltas: &[&[u8]]) -> u64 {
    for _ in 0..STEPS {
        hear_all(world, writers);
        for writer in writers.iter_mut() {
            writer.write(world, deltas);
        }
        world.run();
        world.advance_ns(STEP_NS);
    }
    world.run();
    hear_all(world, writers);
    writers.iter().map(|writer| writer.granted).sum()
}

/// Those of one session hear of each other's handles, too.
fn hear_all(world: &mut Inline, writers: &mut [Writer]) {
    let mut peers: Vec<Peer> = writers.iter().map(|writer| writer.peer).collect();
    peers.dedup();
    for peer in peers {
        for event in world.events(peer) {
            writers.iter_mut().filter(|it| it.peer == peer).for_each(|it| it.hear(&event));
        }
    }
}

/// What flows in in so many steps, with the burst.
fn most(rate: u64, burst: u64) -> u64 {
    burst + rate * STEPS * STEP_NS / 1_000_000_000
}

fn assert_kept(granted: u64, rate: u64) {
    let most = most(rate, rate / 2);
    assert!(granted <= most, "{granted} granted of {most}");
    assert!(granted >= most * 9 / 10 - 3 * 4096, "no less than the quota: {granted} of {most}");
}

/// A session's first credit is its burst at most, what comes back is no more than its quota, however
/// many documents it writes; who sends beyond it is ended by number, and another is not concerned.
pub(crate) fn a_session_is_granted_no_more_than_its_quota() {
    let mut world = world(1, |config| {
        config.limits.quotas = Quotas { session: of_bytes(RATE), ..Quotas::default() };
    });
    let (one, other) = (world.connect(0).expect("room"), world.connect(0).expect("room"));
    let mut writers = vec![Writer::open(&mut world, one, "a", 1)];
    assert_eq!(writers[0].credit as u64, BURST, "the first credit is the burst");
    writers.push(Writer::open(&mut world, one, "b", 1));
    assert_eq!(writers[1].credit, 0, "which is the session's, not the document's");
    let granted = write_all(&mut world, &mut writers, &[&[1; 100]]);
    assert_kept(granted, RATE);
    assert!(writers.iter().all(|writer| writer.sent > 50), "no handle is left out");
    assert!(world.counts(0).reception.quota_throttled > 100);

    let mut fresh = [Writer::open(&mut world, other, "a", 2)];
    assert_eq!(fresh[0].credit as u64, BURST, "another session has its own");
    let number = writers[0].sent;
    for number in number + 1..number + 400 {
        world.send(one, &batch(writers[0].handle, number, &[&[1; 100]]));
    }
    world.run();
    let fault = world.events(one).into_iter().find_map(|event| match event {
        Event::Fault(fault) => Some(fault),
        _ => None,
    });
    assert_eq!(fault, Some(SessionFault::CreditExceeded { handle: writers[0].handle }));
    assert_kept(write_all(&mut world, &mut fresh, &[&[1; 100]]), RATE);
}

/// Each producer of a session has its own quota.
pub(crate) fn producers_have_quotas_of_their_own() {
    let mut world = world(1, |config| {
        config.limits.quotas = Quotas { producer: of_bytes(RATE), ..Quotas::default() };
    });
    let peer = world.connect(0).expect("room");
    let names = ["a", "b", "c"];
    let mut writers: Vec<Writer> =
        names.iter().map(|name| Writer::open(&mut world, peer, name, 1)).collect();
    assert!(writers.iter().all(|writer| writer.credit as u64 == BURST));
    write_all(&mut world, &mut writers, &[&[1; 100]]);
    for writer in &writers {
        assert_kept(writer.granted, RATE);
    }
}

/// Sessions of one address share a quota over all cores, and none of them starves.
pub(crate) fn sessions_of_an_address_share_its_quota() {
    let mut world = world(2, |config| {
        config.limits.quotas = Quotas { address: of_bytes(RATE), ..Quotas::default() };
    });
    let (home, away) = (Arc::new(SharedUse::default()), Arc::new(SharedUse::default()));
    let mut writers = vec![];
    for (number, (core, address)) in
        [(0, &home), (1, &home), (0, &home), (1, &away)].into_iter().enumerate()
    {
        let peer = world.connect(core).expect("room");
        world.set_address(peer, address);
        writers.push(Writer::open(&mut world, peer, "d", 1 + number as u64));
    }
    write_all(&mut world, &mut writers, &[&[1; 100]]);
    let of_home: u64 = writers[..3].iter().map(|writer| writer.granted).sum();
    assert_kept(of_home, RATE);
    let sent: Vec<u64> = writers.iter().map(|writer| writer.sent).collect();
    assert!(sent[..3].iter().all(|sent| *sent > of_home / 166 / 10), "each gets some: {sent:?}");
    assert_kept(writers[3].granted, RATE);
}

/// What a collection's quota does not allow is not taken from the address's, too.
pub(crate) fn what_one_quota_refuses_another_keeps() {
    let mut world = with_collection(of_bytes(RATE));
    let mut tuning = world.tuning();
    tuning.quotas.address = of_bytes(4 * RATE);
    world.tune(tuning);
    let peer = world.connect(0).expect("room");
    world.set_address(peer, &Arc::new(SharedUse::default()));
    let names = ["bounded/a", "bounded/b", "free"];
    let mut writers: Vec<Writer> =
        names.iter().map(|name| Writer::open(&mut world, peer, name, 1)).collect();
    let granted = write_all(&mut world, &mut writers, &[&[1; 100]]);
    assert_kept(writers[0].granted + writers[1].granted, RATE);
    assert_kept(granted, 4 * RATE);
}

fn with_collection(quota: Quota) -> Inline {
    let collection = |name: &str, quota| Collection {
        name: name.to_owned(),
        schema: Schema::Opaque,
        overload: Overload::default(),
        limits: CollectionLimits { quota, ..CollectionLimits::default() },
    };
    let all = vec![collection("", Quota::NONE), collection("bounded", quota)];
    world_of(2, Collections::new(all), |_| ())
}

/// All writers of a collection share its quota, whatever their core and address; others have none.
pub(crate) fn writers_of_a_collection_share_its_quota() {
    let mut world = with_collection(of_bytes(RATE));
    let mut writers = vec![];
    for (core, name) in [(0, "bounded/a"), (1, "bounded/a"), (1, "bounded/b")] {
        let peer = world.connect(core).expect("room");
        writers.push(Writer::open(&mut world, peer, name, 1 + writers.len() as u64));
    }
    let free = world.connect(0).expect("room");
    let free = Writer::open(&mut world, free, "free", 1);
    assert!(free.credit as u64 > BURST);
    assert_kept(write_all(&mut world, &mut writers, &[&[1; 100]]), RATE);
    assert_eq!(world.counts(0).reception.failed_sessions, 0);
}

/// A quota of deltas holds however small the deltas are, and whether they come one by one or in
/// batches.
pub(crate) fn a_quota_counts_deltas() {
    const DELTAS: u64 = 1_000;
    for per_batch in [1, 20] {
        let quota = Quota::new(None, Some(DELTAS), 500_000_000);
        for is_of_collection in [false, true] {
            let mut world = if is_of_collection {
                with_collection(quota)
            } else {
                world_of(2, opaque(), |config| {
                    config.limits.quotas = Quotas { session: quota, ..Quotas::default() };
                })
            };
            let name = if is_of_collection { "bounded/d" } else { "d" };
            let peer = world.connect(0).expect("room");
            let mut writers = [Writer::open(&mut world, peer, name, 1)];
            write_all(&mut world, &mut writers, &vec![&[1_u8; 4][..]; per_batch]);
            let sent = writers[0].sent * per_batch as u64;
            // What the credit of one burst holds may come at once, in batches of however many.
            let at_once = DELTAS / 2 * per_batch as u64;
            let quota = most(DELTAS, DELTAS / 2);
            assert!(sent <= quota + at_once, "{sent} of {quota}");
            assert!(sent >= quota * 9 / 10, "no less than the quota: {sent} of {quota}");
        }
    }
}

/// A producer that closes its handle and opens it again has used what it had used.
pub(crate) fn closing_and_opening_again_refills_no_quota() {
    let mut world = world(1, |config| {
        config.limits.quotas = Quotas { producer: of_bytes(RATE), ..Quotas::default() };
    });
    let peer = world.connect(0).expect("room");
    let image = batch(0, 1, &[&[1; 100]]).len() as u64;
    let (mut sent, mut opens) = (0, 0);
    let (steps_of_one, mut writer) = (20, None);
    for step in 0..STEPS {
        if step % steps_of_one == 0 {
            if let Some(Writer { handle, .. }) = writer {
                world.close(peer, handle);
                world.run();
                world.events(peer);
            }
            // Another producer each time: that is the place's quota, too.
            opens += 1;
            writer = Some(Writer::open(&mut world, peer, "d", opens));
        }
        let writer = writer.as_mut().expect("opened at the first step");
        world.events(peer).iter().for_each(|event| writer.hear(event));
        let before = writer.sent;
        writer.write(&mut world, &[&[1; 100]]);
        sent += (writer.sent - before) * image;
        world.run();
        world.advance_ns(STEP_NS);
    }
    // The last image of a credit may be longer than what was left of it.
    let most = most(RATE, BURST) + opens * image;
    assert!(sent <= most, "{sent} bytes sent of {most} over {opens} handles");
    assert!(sent >= most / 2, "{sent} bytes sent of {most} over {opens} handles");
}

/// Opening and closing alone uses nothing up: not the session's quota, the producer's, the address's or
/// the collection's.
pub(crate) fn credit_that_was_not_used_is_given_back() {
    let mut world = with_collection(of_bytes(RATE));
    let mut tuning = world.tuning();
    let of_each = of_bytes(RATE);
    tuning.quotas = Quotas { session: of_each, producer: of_each, address: of_each };
    world.tune(tuning);
    let address = Arc::new(SharedUse::default());
    // A quarter of what several share is given at once.
    let first = BURST / 4;
    for session in 0..3 {
        let peer = world.connect(0).expect("room");
        world.set_address(peer, &address);
        for producer in 1..20 {
            let writer = Writer::open(&mut world, peer, "bounded/d", 100 * session + producer);
            assert_eq!(writer.granted, first, "session {session}, producer {producer}");
            if producer < 19 {
                world.close(peer, writer.handle);
                world.run();
                world.events(peer);
            }
        }
        world.disconnect(peer);
        world.run();
    }
}

/// However often handles are opened and closed, and sessions begun and ended, while a quota gives nothing:
/// one entry a place waits, those of ended sessions go, and who comes later is given its credit.
pub(crate) fn who_waits_for_credit_waits_once() {
    let mut world = world(1, |config| {
        config.limits.quotas = Quotas { address: of_bytes(RATE), ..Quotas::default() };
    });
    let address = Arc::new(SharedUse::default());
    let used_up = world.connect(0).expect("room");
    world.set_address(used_up, &address);
    let mut writer = Writer::open(&mut world, used_up, "d", 1);
    for _ in 0..40 {
        writer.write(&mut world, &[&[1; 100]]);
        world.run();
        world.events(used_up).iter().for_each(|event| writer.hear(event));
    }
    let waiting = world.stages(0).withholding_entries();
    assert!(waiting <= 1, "{waiting}");
    for session in 0..2_000 {
        let peer = world.connect(0).expect("room");
        world.set_address(peer, &address);
        for producer in 1..4 {
            let writer = Writer::open(&mut world, peer, "d", 100 * (1 + session) + producer);
            world.close(peer, writer.handle);
            world.run();
            world.events(peer);
        }
        world.disconnect(peer);
        world.run();
    }
    let waiting = world.stages(0).withholding_entries();
    assert!(waiting <= 1 + 1_024, "{waiting} entries wait");
    // The place of the last session, whose entries are stale, serves another one.
    let peer = world.connect(0).expect("room");
    world.set_address(peer, &address);
    let mut later = Writer::open(&mut world, peer, "d", 7);
    for _ in 0..STEPS {
        world.advance_ns(STEP_NS);
        world.run();
        world.events(peer).iter().for_each(|event| later.hear(event));
    }
    assert!(later.granted > 0, "credit comes");
    assert!(world.stages(0).withholding_entries() <= 2, "and what nobody waits for is gone");
}

/// A quota that is lifted while the server runs holds nobody any more, and one that is set holds those
/// who are there.
pub(crate) fn quotas_change_while_sessions_are_there() {
    let mut world = world(1, |_| ());
    let peer = world.connect(0).expect("room");
    let mut writers = [Writer::open(&mut world, peer, "d", 1)];
    let first = writers[0].granted;
    let mut tuning = world.tuning();
    tuning.quotas.session = of_bytes(RATE);
    world.tune(tuning);
    let granted = write_all(&mut world, &mut writers, &[&[1; 100]]);
    assert!(granted - first <= most(RATE, BURST), "{granted}");
    tuning.quotas = Quotas::default();
    world.tune(tuning);
    let lifted = write_all(&mut world, &mut writers, &[&[1; 100]]) - granted;
    assert!(lifted > 4 * most(RATE, BURST), "{lifted}");
}

/// What a handle was granted at a higher rate is worth more time at a lower one than it took: it is not given
/// back, or the others of the session would get theirs back, too.
pub(crate) fn credit_of_another_rate_is_not_given_back() {
    let mut world = world(1, |config| {
        config.limits.quotas.session = of_bytes(RATE);
        config.limits.credit_bytes = (BURST / 2) as u32;
    });
    let peer = world.connect(0).expect("room");
    let unused = Writer::open(&mut world, peer, "a", 1);
    let other = Writer::open(&mut world, peer, "b", 1);
    assert_eq!((unused.granted, other.granted), (BURST / 2, BURST / 2));
    let mut tuning = world.tuning();
    tuning.quotas.session = of_bytes(RATE / 10);
    world.tune(tuning);
    world.close(peer, unused.handle);
    world.run();
    let early = Writer::open(&mut world, peer, "c", 1);
    assert_eq!(early.granted, 0, "both have been granted theirs");
    world.close(peer, early.handle);
    world.run();
    // What is granted at one rate and not used is given back at it.
    world.advance_ns(500_000_000);
    let later = Writer::open(&mut world, peer, "d", 1);
    assert_eq!(later.granted, BURST / 10);
    world.close(peer, later.handle);
    world.run();
    assert_eq!(Writer::open(&mut world, peer, "e", 1).granted, BURST / 10);
}
