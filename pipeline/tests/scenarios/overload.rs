//! Policies of subscriptions that fall behind: what is sent, what is told, what others notice of it.

use super::account::Account;
use super::world::{open, reading, world_of, writing};
use deltaworks_pipeline::collection::{
    Collection, CollectionLimits, Collections, ConflationKey, Overload, Schema,
};
use deltaworks_pipeline::document::home;
use deltaworks_pipeline::inline::{Event, Inline, Peer};
use deltaworks_pipeline::inventory::Reading;
use deltaworks_pipeline::message::{
    Access, CloseReason, From, OpenRefusal, OpenRequest, Opened, Policy,
};

/// Bytes that one batch of these scenarios takes in memory.
const IMAGE_BYTES: u64 = 264;

fn collection(name: &str, overload: Overload) -> Collection {
    let (schema, limits) = (Schema::Opaque, CollectionLimits::default());
    Collection { name: name.to_owned(), schema, overload, limits }
}

fn behind(behind_bytes: u64) -> Overload {
    Overload { behind_bytes: Some(behind_bytes), ..Overload::default() }
}

/// What the sessions of the second core read.
fn readings(world: &Inline) -> Vec<Reading> {
    let mut readings = Vec::new();
    world.stages(1).sessions(0, 100, |row| readings.extend(row.readings));
    readings
}

/// A publisher on one core and a reader of `policy` on the other, of one document.
struct Course {
    world: Inline,
    publisher: Peer,
    writer: Opened,
    reader: Peer,
    opened: Opened,
    sent: u64,
    account: Account,
}

impl Course {
    fn new(policy: Policy, overload: Overload) -> Self {
        Self::of("d", policy, overload)
    }

    fn of(name: &str, policy: Policy, overload: Overload) -> Self {
        let mut world = world_of(2, Collections::new(vec![collection("", overload)]), |_| ());
        let publisher = world.connect(0).expect("room for a session");
        let reader = world.connect(1).expect("room for a session");
        let (writer, _) = open(&mut world, publisher, writing(name, 7));
        let (opened, _) = open(&mut world, reader, reading(name, From::Live, policy));
        let account = Account::new(opened.handle, opened.slot, opened.start_sequence);
        Self { world, publisher, writer, reader, opened, sent: 0, account }
    }

    fn publish(&mut self, count: u64) {
        for _ in 0..count {
            self.sent += 1;
            let delta = [self.sent as u8; 200];
            self.world.publish(self.publisher, self.writer.handle, self.sent, &[&delta]);
            self.world.turn();
        }
        self.world.run();
        self.world.events(self.publisher);
    }

    fn read(&mut self, room_bytes: usize) -> Vec<Event> {
        self.world.set_room(self.reader, room_bytes);
        self.world.run();
        let events = self.world.events(self.reader);
        self.account.take(&events);
        events
    }

    fn missed(&self, policy: Policy) -> u64 {
        self.world.counts(1).propagation.missed_deltas[policy as usize]
    }
}

/// More than the limit behind, it gets the newest batch next, is told what lies between, and every
/// drop is counted where it belongs.
pub(crate) fn a_skipping_subscriber_jumps_to_the_newest() {
    let mut course = Course::new(Policy::Skip, behind(20 * IMAGE_BYTES));
    course.publish(3);
    course.read(0);
    course.publish(18);
    let events = course.read(usize::MAX);
    assert!(!events.iter().any(|it| matches!(it, Event::Gap { .. })), "within the limit");
    course.read(0);
    course.publish(60);
    let events = course.read(usize::MAX);
    let gaps: Vec<&Event> = events.iter().filter(|it| matches!(it, Event::Gap { .. })).collect();
    let [Event::Gap { from, to, policy: Policy::Skip, behind_bytes, .. }] = gaps[..] else {
        panic!("one jump is told: {gaps:?}")
    };
    assert_eq!((*from, *to), (22, 81), "up to the newest batch");
    assert_eq!(*behind_bytes, 60 * IMAGE_BYTES);
    assert_eq!((course.account.delivered, course.account.told), (22, 59));
    assert_eq!(course.account.next, course.sent + 1, "it ends with the newest");
    assert_eq!(course.missed(Policy::Skip), 59);
    assert_eq!(course.world.counts(1).propagation.gaps, 1);
    let mut rows = Vec::new();
    course.world.stages(1).sessions(0, 100, |row| rows.push(row));
    assert_eq!(rows[0].missed_deltas, 59, "counted of the session");
    assert_eq!((rows[0].readings[0].backlog_bytes, rows[0].readings[0].policy), (0, Policy::Skip));
    let mut documents = Vec::new();
    for core in 0..2 {
        course.world.stages(core).documents(0, 100, |row| documents.push(row));
    }
    assert_eq!(documents[0].missed_deltas, 59, "counted of the document");
}

/// A burst is no lag: who takes what it is offered gets all of it, however much one turn brings.
pub(crate) fn a_burst_is_not_skipped() {
    for policy in [Policy::Skip, Policy::Close] {
        let mut course = Course::new(policy, behind(5 * IMAGE_BYTES));
        for number in 1..=100 {
            let (publisher, handle) = (course.publisher, course.writer.handle);
            course.world.publish(publisher, handle, number, &[&[7; 200]]);
        }
        course.read(usize::MAX);
        assert_eq!((course.account.delivered, course.account.told), (100, 0), "{policy:?}");
    }
}

/// One that ends at the moment at which its socket takes bytes again gets nothing behind the numbers.
pub(crate) fn nothing_comes_behind_the_end() {
    let mut course = Course::new(Policy::Close, behind(20 * IMAGE_BYTES));
    course.publish(2);
    course.read(100);
    course.publish(10);
    for number in 13..=100 {
        let (publisher, handle) = (course.publisher, course.writer.handle);
        course.world.publish(publisher, handle, number, &[&[7; 200]]);
    }
    course.world.turn_core(0);
    course.read(usize::MAX);
    assert!(course.account.told > 0);
    assert_eq!(course.account.told, course.missed(Policy::Close));
}

/// One that takes a little now and then is always at the newest soon, over many rounds of the pool,
/// and what it was sent and told is everything.
pub(crate) fn a_skipping_subscriber_is_never_far_behind() {
    let mut course = Course::new(Policy::Skip, behind(20 * IMAGE_BYTES));
    for round in 0..60 {
        course.publish(10 + round % 60);
        // The image that the socket has half, and the newest of the moment.
        course.read(2 * IMAGE_BYTES as usize + round as usize % 200);
        let behind = course.sent + 1 - course.account.next;
        assert!(behind <= 72, "round {round}: {behind}");
    }
    course.read(usize::MAX);
    assert_eq!(course.account.delivered + course.account.told, course.sent);
    assert_eq!(course.account.next, course.sent + 1);
    assert_eq!(course.missed(Policy::Skip), course.account.told);
    assert!(course.world.counts(0).recycled_chunks > 4, "the pool came round");
    assert_eq!(course.world.live_bytes(1).spills, 0);
}

/// A subscriber that stands still while the window passes it many times is told once, and costs no
/// more than the first time.
pub(crate) fn what_a_frozen_subscriber_misses_is_told_once() {
    for policy in [Policy::Gap, Policy::Skip] {
        let mut course = Course::new(policy, Overload::default());
        course.read(0);
        course.publish(1_000);
        let bytes = course.world.live_bytes(1).subscriptions;
        course.publish(4_000);
        assert_eq!(course.world.live_bytes(1).subscriptions, bytes, "flat");
        let events = course.read(usize::MAX);
        let gaps = events.iter().filter(|it| matches!(it, Event::Gap { .. })).count();
        assert_eq!(gaps, 1, "{policy:?}");
        let Account { delivered, told, .. } = course.account;
        assert_eq!(delivered + told, course.sent);
        assert_eq!(told, course.missed(policy));
        assert!(delivered == 1 || policy == Policy::Gap, "the newest");
        assert_eq!(course.world.live_bytes(1).subscriptions, 64, "nothing is left of it");
        assert_eq!(readings(&course.world)[0].backlog_bytes, 0);
    }
}

/// A subscription of policy `close` ends behind its limit, or behind the window if it has none, with
/// the numbers and the reason; the session's others go on, and the handle can be used again.
pub(crate) fn a_closing_subscriber_ends_with_its_numbers() {
    for limit in [Some(20 * IMAGE_BYTES), None] {
        let overload = Overload { behind_bytes: limit, ..Overload::default() };
        let mut course = Course::new(Policy::Close, overload);
        let (other_writer, _) = open(&mut course.world, course.publisher, writing("other", 7));
        let (other, _) =
            open(&mut course.world, course.reader, reading("other", From::Live, Policy::Gap));
        course.publish(2);
        course.read(100);
        course.publish(20);
        assert_eq!(course.missed(Policy::Close), 0, "not too far behind yet");
        course.publish(2_000);
        let missed = course.missed(Policy::Close);
        assert!(missed > 0, "ended while its socket stands");
        course.world.publish(course.publisher, other_writer.handle, 1, &[b"goes on"]);
        let events = course.read(usize::MAX);
        let gap = events.iter().position(|it| matches!(it, Event::Gap { .. })).expect("numbers");
        let Event::Gap { from, to, policy: Policy::Close, behind_bytes, .. } = events[gap] else {
            panic!("{:?}", events[gap])
        };
        assert_eq!(from, 4, "behind the half-sent one");
        assert_eq!(behind_bytes, (to - from) * IMAGE_BYTES);
        assert!(limit.is_none_or(|limit| (limit..limit + 3 * IMAGE_BYTES).contains(&behind_bytes)));
        assert_eq!((course.account.delivered, course.account.told), (3, to - from));
        assert_eq!(missed, to - from);
        let closed = events.iter().position(
            |it| matches!(it, Event::Closed(handle, CloseReason::Behind) if *handle == course.opened.handle),
        );
        assert!(closed.expect("the reason") > gap);
        let mut others = Account::new(other.handle, other.slot, other.start_sequence);
        others.take(&events);
        assert_eq!(others.delivered, 1, "the session's other subscription goes on");

        course.world.close(course.reader, course.opened.handle);
        let again = reading("d", From::Live, Policy::Close);
        let (again, _) = open(&mut course.world, course.reader, again);
        assert_eq!(again.handle, course.opened.handle, "the handle is given again");
        course.account = Account::new(again.handle, again.slot, again.start_sequence);
        course.publish(5);
        course.read(usize::MAX);
        assert_eq!(course.account.delivered, 5);
    }
}

/// History that was asked for is sent, however long it is: it does not count as being behind.
pub(crate) fn history_that_was_asked_for_is_not_skipped() {
    for policy in [Policy::Skip, Policy::Close] {
        let mut course = Course::new(policy, behind(5 * IMAGE_BYTES));
        course.publish(100);
        let late = course.world.connect(1).expect("room for a session");
        course.world.set_room(late, 3 * IMAGE_BYTES as usize);
        course.world.open(late, reading("d", From::Start, policy));
        course.publish(3);
        for _ in 0..8 {
            course.world.set_room(late, 7 * IMAGE_BYTES as usize);
            course.world.run();
        }
        course.world.set_room(late, usize::MAX);
        course.publish(1);
        let mut account = Account::new(0, course.opened.slot, 1);
        account.take(&course.world.events(late));
        assert_eq!((account.delivered, account.told), (104, 0), "{policy:?}");
        assert_eq!(readings(&course.world)[1].backlog_bytes, 0, "history is not counted");
    }
}

/// An open that names no policy gets its collection's; one that the collection does not allow is
/// refused.
pub(crate) fn a_collection_says_which_policies_there_are() {
    let skips = Overload { policy: Policy::Skip, ..Overload::default() };
    let collections = vec![
        collection("", Overload::default()),
        collection("skips", skips.with(Policy::Close, false).with(Policy::Wait, false)),
    ];
    let mut world = world_of(1, Collections::new(collections), |_| ());
    let peer = world.connect(0).expect("room for a session");
    let access = Access { read: true, write: false };
    let unnamed = |name: &str| OpenRequest {
        request: 1,
        name: name.into(),
        access,
        from: From::Live,
        policy: None,
        producer: 0,
    };
    assert_eq!(open(&mut world, peer, unnamed("d")).0.policy, Policy::Gap);
    assert_eq!(open(&mut world, peer, unnamed("skips/d")).0.policy, Policy::Skip);
    for (policy, is_allowed) in
        [(Policy::Gap, true), (Policy::Close, false), (Policy::Wait, false), (Policy::Skip, true)]
    {
        let name = format!("skips/{policy:?}");
        world.open(peer, reading(&name, From::Live, policy));
        world.run();
        let refused = Event::OpenRefused(1, OpenRefusal::PolicyNotAllowed);
        assert_eq!(world.events(peer).contains(&refused), !is_allowed, "{policy:?}");
    }
}

/// Ten thousand subscribers of one hot document that stand still: 64 bytes each and 56 more once they
/// have missed something, a half-sent image at most, however much is published; and another reader
/// misses nothing.
pub(crate) fn ten_thousand_slow_subscribers_cost_what_is_said() {
    const SLOW: u64 = 10_000;
    // With pointers of 32 bits it is less.
    const SLOW_BYTES: u64 = if cfg!(target_pointer_width = "64") { 64 + 56 } else { 104 };
    let collections = Collections::new(vec![collection("", Overload::default())]);
    let mut world = world_of(2, collections, |config| {
        config.chunk_bytes = 16 << 10;
        config.limits.image_bytes_max = 4 << 10;
        config.limits.sessions_per_core_max = SLOW as u32 + 2;
        config.limits.subscriptions_per_core_max = SLOW as u32;
    });
    let publisher = world.connect(0).expect("room for a session");
    let (writer, _) = open(&mut world, publisher, writing("d", 7));
    let brisk = world.connect(0).expect("room for a session");
    let (opened, _) = open(&mut world, brisk, reading("d", From::Live, Policy::Gap));
    let mut brisk_account = Account::new(opened.handle, opened.slot, 1);
    let policies = [Policy::Gap, Policy::Skip];
    let slow: Vec<(Peer, Account)> = (0..SLOW as usize)
        .map(|number| {
            let peer = world.connect(1).expect("room for a session");
            world.open(peer, reading("d", From::Live, policies[number % 2]));
            if number % 100 == 99 {
                world.run();
            }
            peer
        })
        .collect::<Vec<_>>()
        .into_iter()
        .map(|peer| {
            let account = world.events(peer).iter().find_map(|event| match event {
                Event::Opened(opened, _) => Some(Account::new(opened.handle, opened.slot, 1)),
                _ => None,
            });
            world.set_room(peer, 0);
            (peer, account.expect("opened"))
        })
        .collect();
    let mut number = 0;
    let mut most = 0;
    for _ in 0..5 {
        for _ in 0..200 {
            number += 1;
            world.publish(publisher, writer.handle, number, &[&[3; 200]]);
        }
        world.run();
        world.events(publisher);
        brisk_account.take(&world.events(brisk));
        let live = world.live_bytes(1);
        most = most.max(live.subscriptions);
        assert!(live.subscriptions <= SLOW * SLOW_BYTES);
        assert!(live.spills <= SLOW * IMAGE_BYTES, "a half-sent image each");
    }
    assert_eq!(most, SLOW * SLOW_BYTES, "all of them have missed something");
    assert!(world.counts(0).recycled_chunks > 4, "the pool came round");
    assert_eq!(brisk_account.delivered, number, "who reads misses nothing");
    let mut told = 0;
    for some in slow.chunks(100) {
        for (peer, _) in some {
            world.set_room(*peer, usize::MAX);
        }
        world.run();
        for (peer, mut account) in some.iter().copied() {
            account.take(&world.events(peer));
            assert_eq!(account.delivered + account.told, number, "published = delivered + told");
            told += account.told;
        }
    }
    let counted: u64 = world.counts(1).propagation.missed_deltas.iter().sum();
    assert_eq!(told, counted);
    assert_eq!(world.live_bytes(1).subscriptions, SLOW * 64);
    assert_eq!(world.live_bytes(1).spills, 0);
}

/// What a document's growth and its chunks' retirement cost, in subscriptions that are looked at, once
/// `frozen` readers of it stand still and one reads.
fn looks_beside_the_frozen(frozen: usize, planted: bool) -> u64 {
    let collections = Collections::new(vec![collection("", Overload::default())]);
    let mut world = world_of(2, collections, |_| ());
    if planted {
        world.plant_looks(1);
    }
    let publisher = world.connect(0).expect("room for a session");
    let (writer, _) = open(&mut world, publisher, writing("d", 7));
    let policies = [Policy::Gap, Policy::Skip];
    for number in 0..=frozen {
        let peer = world.connect(1).expect("room for a session");
        open(&mut world, peer, reading("d", From::Live, policies[number % 2]));
        if number < frozen {
            world.set_room(peer, 0);
        }
    }
    let mut number = 0;
    let mut publish = |world: &mut Inline| {
        for _ in 0..2_000 {
            number += 1;
            world.publish(publisher, writer.handle, number, &[&[3; 200]]);
            world.turn();
        }
        world.counts(0).recycled_chunks
    };
    let recycled_chunks = publish(&mut world);
    let before = world.stages(1).looks();
    assert!(publish(&mut world) > recycled_chunks + 4, "the pool came round");
    world.stages(1).looks() - before
}

/// Readers whose sockets take nothing cost nothing, neither when their document grows nor when its
/// chunks go.
pub(crate) fn frozen_subscribers_are_not_looked_at() {
    let alone = looks_beside_the_frozen(0, false);
    assert!(alone > 0, "the one that reads is");
    assert_eq!(looks_beside_the_frozen(50, false), alone);
}

/// The same check sees it if they are.
pub(crate) fn a_look_at_each_frozen_subscriber_is_seen() {
    let alone = looks_beside_the_frozen(0, true);
    assert!(looks_beside_the_frozen(50, true) > 20 * alone);
}

/// Readers of one or two documents stand still from different moments on, take a little now and then, or go;
/// what each was sent and told is everything, once, and a list tells how far each of them is behind.
pub(crate) fn who_follows_is_told_what_it_misses() {
    for (documents, shares) in [(1, true), (8, true), (8, false)] {
        let collections = Collections::new(vec![collection("", Overload::default())]);
        let mut world = world_of(2, collections, |_| ());
        let publisher = world.connect(0).expect("room for a session");
        let names: Vec<String> = (0..documents).map(|number| format!("d{number}")).collect();
        let writers: Vec<Opened> =
            names.iter().map(|name| open(&mut world, publisher, writing(name, 7)).0).collect();
        // The first, and the last that shares its place in the table with it, or does not.
        let shared = |other: &usize| writers[*other].slot % 64 == writers[0].slot % 64;
        let watched = (0..documents).rfind(|other| shared(other) == shares);
        let watched = [0, watched.expect("both cores have documents")];
        assert!(documents == 1 || watched[1] > 0, "two documents");
        let mut readers: Vec<(Peer, usize, Policy, Account)> = Vec::new();
        let mut sent = vec![0; documents];
        let mut told = 0;
        for round in 0..24_usize {
            for which in [0, 1] {
                let policy = [Policy::Gap, Policy::Skip][(round + which) % 2];
                let peer = world.connect(1).expect("room for a session");
                let request = reading(&names[watched[which]], From::Live, policy);
                let (opened, _) = open(&mut world, peer, request);
                let account = Account::new(opened.handle, opened.slot, opened.start_sequence);
                world.set_room(peer, round % 3 * 150);
                readers.push((peer, watched[which], policy, account));
            }
            for number in 0..600 {
                let which = watched[number % 2];
                sent[which] += 1;
                world.publish(publisher, writers[which].handle, sent[which], &[&[3; 200]]);
                world.turn();
            }
            world.run();
            let rows = readings(&world);
            for reading in &rows {
                let next = reading.next_sequence.expect("all of them are behind");
                let which = writers.iter().position(|it| it.slot == reading.slot).expect("known");
                assert_eq!(reading.backlog_nodes, sent[which] + 1 - next, "one delta a batch");
                let behind = reading.backlog_nodes * IMAGE_BYTES;
                assert_eq!(reading.backlog_bytes, behind, "{reading:?}");
            }
            // One takes a little, one everything, and one goes.
            if round % 4 == 3 {
                let (peer, ..) = readers[round % readers.len()];
                world.set_room(peer, 700);
                let (peer, which, _, mut account) = readers.swap_remove(round / 2);
                world.set_room(peer, usize::MAX);
                world.run();
                account.take(&world.events(peer));
                assert_eq!(account.next, sent[which] + 1, "published = delivered + told");
                told += account.told;
                world.disconnect(peer);
                let (peer, _, _, mut account) = readers.swap_remove(0);
                account.take(&world.events(peer));
                told += account.told;
                world.disconnect(peer);
                world.run();
            }
        }
        for (peer, which, _, mut account) in readers {
            world.set_room(peer, usize::MAX);
            world.run();
            account.take(&world.events(peer));
            assert_eq!(account.next, sent[which] + 1, "published = delivered + told");
            told += account.told;
        }
        let counted: u64 = world.counts(1).propagation.missed_deltas.iter().sum();
        assert_eq!(told, counted, "every miss is told once");
    }
}

/// A reader that follows, and whose socket takes bytes again, is served before it is moved out of what goes
/// next: it misses what went before that, and no more.
pub(crate) fn who_can_be_sent_to_is_served_before_chunks_go() {
    let mut courses =
        ["a", "b", "c", "d"].map(|name| Course::of(name, Policy::Gap, Overload::default()));
    // It is published and retired on the first core.
    let course = courses.iter_mut().find(|it| home(it.opened.slot) == 0).expect("both have some");
    let stands_at = |world: &Inline| readings(world)[0].next_sequence.unwrap_or(0);
    let oldest = |world: &Inline| {
        let mut oldest = 0;
        world.stages(0).documents(0, 100, |row| oldest = row.window_start);
        oldest
    };
    course.read(0);
    course.publish(1);
    let (mut moves, mut place) = (0, 1);
    while moves < 2 {
        course.publish(1);
        let now = stands_at(&course.world);
        moves += u32::from(now != place);
        place = now;
    }
    assert_eq!(oldest(&course.world), place, "it follows");
    while oldest(&course.world) == place {
        course.sent += 1;
        let (publisher, handle, number) = (course.publisher, course.writer.handle, course.sent);
        course.world.publish(publisher, handle, number, &[&[7; 200]]);
        course.world.turn_core(0);
    }
    course.world.set_room(course.reader, usize::MAX);
    course.world.turn_core(1);
    let events = course.read(usize::MAX);
    let gap = events.iter().find_map(|event| match event {
        Event::Gap { from, to, .. } => Some((*from, *to)),
        _ => None,
    });
    assert_eq!(gap, Some((1, place)), "what was still there is served");
    assert_eq!(course.account.next, course.sent + 1, "published = delivered + told");
}

/// Who is still behind when a retirement has sent it its share follows as if it stood still, and is served
/// first at the next one, too: it misses what went before that, and no more.
pub(crate) fn who_gets_more_than_its_share_is_served_the_next_time() {
    let mut worlds = ["a", "b", "c", "d"].map(|name| {
        let collections = Collections::new(vec![collection("", Overload::default())]);
        let mut world = world_of(2, collections, |config| {
            let turn = &mut config.limits.turn;
            (turn.images_per_send, turn.sends_per_session, turn.sends_per_turn) = (1, 1, 1);
        });
        let publisher = world.connect(0).expect("room for a session");
        let (writer, _) = open(&mut world, publisher, writing(name, 7));
        // Only one of the two is sent to in a turn.
        let readers = [0, 1].map(|_| {
            let reader = world.connect(1).expect("room for a session");
            let (opened, _) = open(&mut world, reader, reading(name, From::Live, Policy::Gap));
            (reader, Account::new(opened.handle, opened.slot, opened.start_sequence))
        });
        (world, publisher, writer, readers)
    });
    // It is published and retired on the first core.
    let at_home = worlds.iter_mut().find(|(_, _, writer, _)| home(writer.slot) == 0);
    let (world, publisher, writer, readers) = at_home.expect("both have some");
    let mut number = 0;
    let goes = [0, 1].map(|_| {
        let oldest = |world: &Inline| {
            let mut oldest = 0;
            world.stages(0).documents(0, 100, |row| oldest = row.window_start);
            oldest
        };
        let before = oldest(world);
        while number == 0 || oldest(world) == before {
            number += 1;
            world.publish(*publisher, writer.handle, number, &[&[7; 200]]);
            world.turn_core(0);
        }
        world.turn_core(1);
        oldest(world)
    });
    assert!(goes[1] > goes[0] && goes[0] > 64, "{goes:?}");
    world.run();
    for (reader, account) in readers {
        let events = world.events(*reader);
        let gap = events.iter().find_map(|event| match event {
            Event::Gap { from, to, .. } => Some((*from, *to)),
            _ => None,
        });
        assert_eq!(gap, Some((65, goes[0])), "sent to before the first and before the second");
        account.take(&events);
        assert_eq!(account.next, number + 1, "published = delivered + told");
    }
}

/// A reading of sensor `id`: `{"id": id, "v": value}`.
fn sensor(id: u8, value: u8) -> Vec<u8> {
    vec![0xa2, 0x62, b'i', b'd', 0x18, id, 0x61, b'v', 0x18, value]
}

/// A dashboard that reads slowly never sees an older value of a key after a newer one, ends with the newest
/// of every key, also of those whose images left the window long ago, and is told of everything else.
pub(crate) fn a_conflating_subscriber_ends_with_the_newest_of_every_key() {
    let overload = Overload {
        behind_bytes: Some(4096),
        key: Some(ConflationKey::Path(vec!["id".to_owned()])),
        ..Overload::default()
    };
    let mut course = Course::new(Policy::Conflate, overload);
    let mut newest = std::collections::BTreeMap::new();
    let mut seen = std::collections::BTreeMap::new();
    let mut look = |events: &[Event]| {
        for (_, sequence, delta) in super::world::received(events) {
            let before = seen.insert(delta[5], (sequence, delta[9]));
            assert!(before.is_none_or(|(earlier, _)| earlier < sequence));
        }
    };
    for round in 0..4_000_u64 {
        course.sent += 1;
        // Keys from 100 on are quiet: one value each, at the beginning.
        let id = if round < 20 { 100 + round as u8 } else { (round * 7 % 10) as u8 + 30 };
        let value = 30 + (round % 200) as u8;
        newest.insert(id, (course.sent, value));
        let delta = sensor(id, value);
        course.world.publish(course.publisher, course.writer.handle, course.sent, &[&delta]);
        course.world.turn();
        if round % 50 == 49 {
            course.world.run();
            course.world.events(course.publisher);
        }
        if round == 5 {
            look(&course.read(0));
        }
        if round % 500 == 499 {
            look(&course.read(200));
        }
    }
    look(&course.read(usize::MAX));
    assert!(course.world.counts(0).recycled_chunks > 0, "the pool came round");
    assert_eq!(course.account.delivered + course.account.told, course.sent);
    assert!(course.account.told > 3_000, "{:?}", course.account);
    assert_eq!(course.missed(Policy::Conflate), course.account.told);
    assert_eq!(seen, newest, "the newest of every key");
    assert_eq!(course.world.live_bytes(1).spills, 0, "nothing is left of it");
    assert_eq!(course.world.live_bytes(1).subscriptions, 64);
}
