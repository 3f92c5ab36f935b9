//! Documents that move: whatever happens at whatever moment of it, everybody sees what they would have
//! seen without, and there is one owner.

use super::account::Account;
use super::world::{acknowledged, opaque, open, reading, received, world_of, writing};
use deltaworks_pipeline::collection::{
    Collection, CollectionLimits, Collections, Overload, Schema,
};
use deltaworks_pipeline::handover::{CannotTake, MoveOutcome, MoveRefusal, Moved};
use deltaworks_pipeline::inline::{Event, Inline, InlineConfig, Peer, batch};
use deltaworks_pipeline::message::{CloseReason, From, Opened, Policy};
use deltaworks_pipeline::stages::CoreRole;

const SERVES: CoreRole =
    CoreRole { serves_sessions: true, owns_documents: false, is_elastic: false };
const HOME: CoreRole = CoreRole { serves_sessions: false, owns_documents: true, is_elastic: false };
const ELASTIC: CoreRole = CoreRole { is_elastic: true, ..HOME };

/// Cores, and the workers on them.
const HOME_CORE: usize = 1;
const FIRST_CORE: usize = 2;
const SECOND_CORE: usize = 3;
const CORES: usize = 5;
const WORKERS_CORES: [usize; 3] = [HOME_CORE, FIRST_CORE, SECOND_CORE];

fn small(config: &mut InlineConfig) {
    config.roles = vec![SERVES, HOME, ELASTIC, ELASTIC, SERVES];
    config.limits.machines_per_worker = 2;
    config.limits.guests_per_worker_max = 4;
}

/// A document that one writes and one reads, each on a core of its own.
struct Course {
    world: Inline,
    publisher: Peer,
    subscriber: Peer,
    writer: Opened,
    account: Account,
    told: Vec<Event>,
    sent: u64,
    last: Option<Moved>,
}

impl Course {
    fn new(policy: Policy, change: impl FnOnce(&mut InlineConfig)) -> Self {
        Self::of(opaque(), policy, change)
    }

    fn of(
        collections: Collections,
        policy: Policy,
        change: impl FnOnce(&mut InlineConfig),
    ) -> Self {
        let mut world = world_of(1, collections, |config| {
            small(config);
            change(config);
        });
        let publisher = world.connect(0).expect("room");
        let subscriber = world.connect(4).expect("room");
        let (writer, _) = open(&mut world, publisher, writing("d", 7));
        let (reader, _) = open(&mut world, subscriber, reading("d", From::Live, policy));
        let account = Account::new(reader.handle, reader.slot, 1);
        let told = Vec::new();
        Self { world, publisher, subscriber, writer, account, told, sent: 0, last: None }
    }

    fn publish(&mut self, count: u64) {
        for _ in 0..count {
            self.sent += 1;
            let delta = [self.sent as u8; 40];
            self.world.publish(self.publisher, self.writer.handle, self.sent, &[&delta]);
        }
    }

    fn hear(&mut self) {
        self.told.extend(self.world.events(self.publisher));
        let events = self.world.events(self.subscriber);
        self.account.take(&events);
        for core in WORKERS_CORES {
            self.last = self.world.take_moved(core).or(self.last);
        }
    }

    fn rest(&mut self) {
        self.world.run();
        self.hear();
    }

    /// The core that owns the document; there is one.
    fn owner(&self) -> usize {
        let mut owners = Vec::new();
        for (worker, core) in WORKERS_CORES.into_iter().enumerate() {
            self.world.stages(core).documents(0, 1 << 20, |entry| {
                if entry.name.as_ref() == "d" {
                    assert_eq!(entry.is_guest, worker != (entry.slot >> 24) as usize);
                    owners.push(core);
                }
            });
        }
        assert_eq!(owners.len(), 1, "one owner: {owners:?}");
        owners[0]
    }

    fn begin(&mut self, to: usize) {
        let (slot, generation, from) = (self.writer.slot, self.writer.generation, self.owner());
        let to = WORKERS_CORES.iter().position(|core| *core == to).expect("a worker") as u16;
        self.world.move_document(from, slot, generation, to).expect("it may move");
    }

    fn go(&mut self, to: usize) {
        self.begin(to);
        self.rest();
        // It is awaited for a while that somebody writes on.
        self.world.advance_ns(20_000_000);
        self.rest();
        let moved = self.last.take().expect("the move has ended");
        assert_eq!((moved.outcome, self.owner()), (MoveOutcome::Moved, to));
    }

    /// Everything that was sent has arrived, and was answered.
    fn assert_whole(&self, why: &str) {
        assert_eq!(self.account.next, self.sent + 1, "{why}");
        assert_eq!(self.account.told, 0, "{why}");
        assert_eq!(acknowledged(&self.told, self.writer.handle).0, self.sent, "{why}");
        let numbers = self.told.iter().filter_map(|event| match event {
            Event::Ack(ack) => Some(ack.producer_sequence),
            _ => None,
        });
        assert!(numbers.is_sorted(), "{why}: acknowledgements only grow");
        let refused = self.told.iter().any(|event| matches!(event, Event::Refused(_)));
        assert!(!refused, "{why}: nothing is refused");
    }
}

/// Turns of one core in which a move is over: it is watched at each of them.
const STEPS: usize = 60;

/// Does something at each moment of each kind of move, and judges what came of it.
fn at_each_moment(mut act: impl FnMut(&mut Course), mut judge: impl FnMut(&mut Course, &str)) {
    let ways = [(HOME_CORE, FIRST_CORE), (FIRST_CORE, SECOND_CORE), (FIRST_CORE, HOME_CORE)];
    for (from, to) in ways {
        for moment in 0..STEPS {
            let why = format!("core {from} to {to}, moment {moment}");
            let capacity = [1, 64][moment % 2];
            let mut course = Course::new(Policy::Gap, |config| config.ring_capacity = capacity);
            course.publish(9);
            course.rest();
            if from != HOME_CORE {
                course.go(from);
            }
            course.publish(2);
            course.begin(to);
            for step in 0..moment {
                course.world.turn_core(step % CORES);
                if step % 3 == 0 {
                    course.publish(1);
                }
            }
            act(&mut course);
            course.rest();
            judge(&mut course, &why);
        }
    }
}

pub(crate) fn batches_keep_their_order_at_each_moment_of_a_move() {
    let judge = |course: &mut Course, why: &str| {
        course.publish(5);
        course.rest();
        course.assert_whole(why);
        assert_ne!(course.owner(), 0);
    };
    at_each_moment(|course| course.publish(3), judge);
}

pub(crate) fn a_document_is_dropped_at_each_moment_of_a_move() {
    let drop = |course: &mut Course| {
        course.world.drop_document(course.publisher, course.writer.handle);
    };
    at_each_moment(drop, |course, why| {
        course.assert_whole(why);
        let closed = |event: &Event| matches!(event, Event::Closed(_, CloseReason::Dropped));
        assert!(course.told.iter().any(closed), "{why}: its writer is told");
        let live: u32 =
            WORKERS_CORES.iter().map(|core| course.world.stages(*core).document_count()).sum();
        assert_eq!(live, 0, "{why}: nothing is left of it");
        let guests: u32 =
            WORKERS_CORES.iter().map(|core| course.world.stages(*core).guest_count()).sum();
        assert_eq!(guests, 0, "{why}");
        let other = course.world.connect(0).expect("room");
        let (anew, _) = open(&mut course.world, other, writing("d", 8));
        assert_ne!(anew.epoch, course.writer.epoch, "{why}: the name begins anew");
        assert_eq!((anew.slot, anew.worker), (course.writer.slot, 0), "{why}: at home");
        assert_eq!(course.owner(), HOME_CORE);
    });
}

pub(crate) fn a_writer_leaves_and_comes_back_at_each_moment_of_a_move() {
    let close = |course: &mut Course| course.world.close(course.publisher, course.writer.handle);
    at_each_moment(close, |course, why| {
        course.assert_whole(why);
        let closed = Event::Closed(course.writer.handle, CloseReason::Asked);
        assert!(course.told.contains(&closed), "{why}");
        let (again, _) = open(&mut course.world, course.publisher, writing("d", 7));
        assert_eq!(again.producer_sequence, course.sent, "{why}: its number is known");
        assert_eq!(again.epoch, course.writer.epoch);
    });
}

/// Without waiting for `closed`: the batches in front of it are still the older handle's.
pub(crate) fn an_open_overtakes_nothing_at_each_moment_of_a_move() {
    let reopen = |course: &mut Course| {
        course.publish(3);
        course.world.close(course.publisher, course.writer.handle);
        course.world.open(course.publisher, writing("d", 7));
    };
    at_each_moment(reopen, |course, why| {
        course.assert_whole(why);
        let again = course.told.iter().rev().find_map(|event| match event {
            Event::Opened(opened, _) => Some(opened.producer_sequence),
            _ => None,
        });
        assert_eq!(again, Some(course.sent), "{why}: it goes on where it stood");
    });
}

pub(crate) fn a_reader_comes_at_each_moment_of_a_move() {
    let peers = core::cell::RefCell::new(Vec::new());
    at_each_moment(
        |course| {
            let other = course.world.connect(0).expect("room");
            course.world.open(other, reading("d", From::Start, Policy::Gap));
            peers.borrow_mut().push(other);
        },
        |course, why| {
            course.publish(4);
            course.rest();
            course.assert_whole(why);
            let other = peers.borrow_mut().pop().expect("one came");
            let events = course.world.events(other);
            let all = received(&events).into_iter().map(|(_, sequence, _)| sequence);
            assert!(all.eq(1..=course.sent), "{why}: it reads all of it");
        },
    );
}

pub(crate) fn a_second_writer_and_a_resend_at_each_moment_of_a_move() {
    let writers = core::cell::RefCell::new(Vec::new());
    at_each_moment(
        |course| {
            let other = course.world.connect(4).expect("room");
            course.world.open(other, writing("d", 8));
            writers.borrow_mut().push(other);
            let (publisher, handle) = (course.publisher, course.writer.handle);
            course.world.publish(publisher, handle, course.sent, &[&[course.sent as u8; 40]]);
        },
        |course, why| {
            course.assert_whole(why);
            let resent: u32 = course
                .told
                .iter()
                .map(|event| match event {
                    Event::Ack(ack) => ack.duplicates,
                    _ => 0,
                })
                .sum();
            assert_eq!(resent, 1, "{why}: a resend is known");
            let other = writers.borrow_mut().pop().expect("one came");
            let opened = course.world.events(other).into_iter().find_map(|event| match event {
                Event::Opened(opened, _) => Some(*opened),
                _ => None,
            });
            let opened = opened.expect("answered");
            course.world.publish(other, opened.handle, 1, &[b"another's"]);
            course.rest();
            assert_eq!(course.account.next, course.sent + 2, "{why}");
            assert_eq!(acknowledged(&course.world.events(other), opened.handle).0, 1, "{why}");
        },
    );
}

pub(crate) fn a_writer_is_fenced_at_each_moment_of_a_move() {
    let fence = |course: &mut Course| {
        let other = course.world.connect(4).expect("room");
        course.world.open(other, writing("d", 7));
    };
    at_each_moment(fence, |course, why| {
        let refused = course.told.iter().filter(|event| matches!(event, Event::Refused(_)));
        let counted = course.account.next - 1 + refused.count() as u64;
        assert_eq!(counted, course.sent, "{why}: each counts, or is refused");
        let fenced = |event: &&Event| matches!(event, Event::Closed(_, CloseReason::Fenced));
        assert_eq!(course.told.iter().filter(fenced).count(), 1, "{why}");
    });
}

pub(crate) fn a_session_goes_at_each_moment_of_a_move() {
    at_each_moment(
        |course| course.world.disconnect(course.publisher),
        |course, why| {
            assert!(course.world.is_forgotten(course.publisher), "{why}");
            let other = course.world.connect(0).expect("room");
            let (again, _) = open(&mut course.world, other, writing("d", 7));
            course.rest();
            assert_eq!(again.next_sequence, course.account.next, "{why}: all of it was read");
        },
    );
}

/// Whoever subscribes, however slowly, is sent or told everything while the document goes round and
/// its chunks are used again and again.
pub(crate) fn a_document_goes_round_under_pressure() {
    let image_bytes = batch(0, 1, &[&[0; 40]]).len() as i64;
    for policy in [Policy::Gap, Policy::Skip, Policy::Wait] {
        let mut course = Course::new(policy, |config| {
            config.chunk_bytes = 16 << 10;
            config.limits.image_bytes_max = 4 << 10;
            config.limits.credit_bytes = 16 << 10;
            config.limits.turn.retirement_entries = 16;
        });
        let (mut moves, mut balance, mut room, mut given) = (0, 16_i64 << 10, 0, 0);
        for step in 0..8_000_usize {
            if balance > 0 {
                course.publish(1);
                balance -= image_bytes;
            }
            course.world.turn_core(step % CORES);
            course.world.advance_ns(200_000);
            if step % 50 == 0 {
                room = (room + 777) % 5_000;
                course.world.set_room(course.subscriber, room);
            }
            if step % 37 == 0 {
                let to = (course.sent as usize + step) % 3;
                let owner = WORKERS_CORES.into_iter().find_map(|core| {
                    Some((core, course.world.stages(core).document_of_name("d")?))
                });
                if let Some((core, (slot, generation))) = owner {
                    let begun = course.world.move_document(core, slot, generation, to as u16);
                    moves += usize::from(begun.is_ok());
                }
            }
            course.hear();
            let credit = acknowledged(&course.told, course.writer.handle).1;
            balance += (credit - given) as i64;
            given = credit;
        }
        course.world.set_room(course.subscriber, usize::MAX);
        course.rest();
        assert!(moves > 50, "{policy:?}: {moves} moves");
        assert!(course.sent > 1_000, "{policy:?}: {} batches", course.sent);
        assert!(course.world.counts(0).recycled_chunks > 10, "{policy:?}: the pool came round");
        assert_eq!(course.account.next, course.sent + 1, "{policy:?}: all is sent or told");
        assert_eq!(course.account.delivered + course.account.told, course.sent);
        let waits = policy == Policy::Wait;
        assert_eq!(course.account.told == 0, waits, "{policy:?}: {} missed", course.account.told);
        let refused = course.told.iter().any(|event| matches!(event, Event::Refused(_)));
        assert!(!refused, "{policy:?}: nothing is refused");
        let held: u64 = WORKERS_CORES
            .iter()
            .map(|core| course.world.stages(*core).move_counts().held_retirements)
            .sum();
        assert!(held > 0, "{policy:?}: retirements were held");
        assert_eq!(
            acknowledged(&course.told, course.writer.handle).1,
            course.sent * image_bytes as u64,
            "{policy:?}: all credit comes back"
        );
    }
}

/// A slow batch is finished before its document goes, and what stands behind it goes along in order.
pub(crate) fn a_batch_in_slices_is_finished_first() {
    let collections = Collections::new(vec![Collection {
        name: String::new(),
        schema: Schema::Busy { steps_per_delta: 2_000 },
        overload: Overload::default(),
        limits: CollectionLimits::default(),
    }]);
    let mut course = Course::of(collections, Policy::Gap, |config| {
        config.limits.steps_per_batch = 64;
        config.limits.steps_per_turn = 256;
    });
    for to in [FIRST_CORE, SECOND_CORE, HOME_CORE] {
        let from = course.owner();
        course.publish(6);
        for step in 0..10 {
            course.world.turn_core(step % CORES);
        }
        course.begin(to);
        for step in 0..40 {
            course.world.turn_core(step % CORES);
        }
        assert_eq!(course.owner(), from, "it stays until the slow batch is done");
        course.publish(2);
        course.rest();
        assert_eq!(course.owner(), to);
        course.assert_whole("slices");
        course.world.advance_ns(20_000_000);
        course.rest();
    }
    assert!(course.world.counts(HOME_CORE).validation.stalled_batches > 0);
}

/// A move that the new owner has no room for changes nothing.
pub(crate) fn a_document_stays_where_it_is_if_there_is_no_room() {
    type Case = (CannotTake, fn(&mut InlineConfig));
    let cases: [Case; 3] = [
        (CannotTake::Guests, |config| config.limits.guests_per_worker_max = 0),
        (CannotTake::Producers, |config| config.limits.producers_per_worker_max = 2),
        (CannotTake::Nodes, |config| {
            config.roles[FIRST_CORE] = HOME;
            config.node_blocks = 8;
        }),
    ];
    for (reason, change) in cases {
        let mut course = Course::new(Policy::Gap, change);
        course.publish(9);
        course.rest();
        let other = course.world.connect(0).expect("room");
        // Both homes' blocks are in use where there are two.
        for number in 0..20 {
            if reason == CannotTake::Nodes {
                let (filler, _) = open(&mut course.world, other, writing(&format!("{number}"), 9));
                course.world.publish(other, filler.handle, 1, &[b"1"]);
            }
        }
        course.rest();
        let from = course.owner();
        let to = u16::from(from == HOME_CORE);
        let (slot, generation) = (course.writer.slot, course.writer.generation);
        course.world.move_document(from, slot, generation, to).expect("it is asked");
        course.publish(2);
        course.rest();
        let moved = course.last.expect("the move has ended");
        assert_eq!(moved.outcome, MoveOutcome::Refused(reason));
        assert_eq!(course.owner(), from);
        let counts = course.world.stages(from).move_counts();
        assert_eq!((counts.begun, counts.refused), (1, 1));
        if reason != CannotTake::Nodes {
            course.assert_whole("it goes on");
        }
    }
}

pub(crate) fn what_cannot_move_is_told_so() {
    let mut course = Course::new(Policy::Gap, |_| ());
    course.publish(1);
    course.rest();
    let (slot, generation) = (course.writer.slot, course.writer.generation);
    let world = &mut course.world;
    assert_eq!(world.move_document(0, slot, generation, 1), Err(MoveRefusal::NotHere));
    assert_eq!(world.move_document(2, slot, generation, 1), Err(MoveRefusal::NotHere));
    assert_eq!(world.move_document(1, slot, generation + 1, 1), Err(MoveRefusal::NotHere));
    assert_eq!(world.move_document(1, slot, generation, 0), Err(MoveRefusal::AlreadyThere));
    assert_eq!(world.move_document(1, slot, generation, 3), Err(MoveRefusal::NoSuchWorker));
    assert_eq!(world.move_document(1, slot, generation, 1), Ok(()));
    assert_eq!(world.move_document(1, slot, generation, 2), Err(MoveRefusal::AlreadyMoving));
    world.turn_core(HOME_CORE);
    world.turn_core(FIRST_CORE);
    // Who takes gives none.
    let other = world.connect(0).expect("room");
    world.open(other, writing("e", 1));
    course.rest();
    assert_eq!(course.owner(), FIRST_CORE);
    course.publish(1);
    course.rest();
    course.world.drop_document(course.publisher, course.writer.handle);
    for step in 0..CORES {
        course.world.turn_core(step);
    }
    let dropped = course.world.move_document(FIRST_CORE, slot, generation, 0);
    assert!(matches!(dropped, Err(MoveRefusal::Dropped | MoveRefusal::NotHere)), "{dropped:?}");
    course.rest();
    course.world.refuse_rest();
    let (slot, generation) = course.world.stages(1).document_of_name("e").expect("it is there");
    let ending = course.world.move_document(1, slot, generation, 1);
    assert_eq!(ending, Err(MoveRefusal::Ending));
}

/// The pause is told, and how long batches were held.
pub(crate) fn the_pause_of_a_move_is_measured() {
    let mut course = Course::new(Policy::Gap, |_| ());
    course.publish(3);
    course.rest();
    course.begin(FIRST_CORE);
    for step in 0..STEPS {
        course.world.advance_ns(1_000);
        course.publish(1);
        course.world.turn_core(step % CORES);
    }
    course.rest();
    course.assert_whole("measured");
    let moved = course.last.expect("the move has ended");
    assert!(moved.held > 0, "{moved:?}");
    let pause_ns = moved.pause_ns.expect("somebody was writing");
    assert!((1_000..60_000).contains(&pause_ns), "by the clock of the test: {pause_ns} ns");
    let stages = course.world.stages(FIRST_CORE);
    let held = stages.hold_latency().expect("a worker");
    assert_eq!(
        held.counts().iter().sum::<u64>(),
        u64::from(moved.held),
        "each held batch was timed"
    );
    assert_eq!(stages.move_pause().expect("a worker").counts().iter().sum::<u64>(), 1);
}

/// A guest that nobody has open is unloaded where it is, and its name begins anew at home.
pub(crate) fn an_idle_guest_is_unloaded() {
    let mut course = Course::new(Policy::Gap, |config| {
        config.limits.turn.turns_between_sweeps = 1;
        config.limits.idle_unload_ns = 1_000_000;
    });
    course.publish(3);
    course.rest();
    course.go(FIRST_CORE);
    course.world.disconnect(course.publisher);
    course.world.disconnect(course.subscriber);
    course.world.run();
    course.world.advance_ns(2_000_000);
    for _ in 0..4 {
        course.world.turn();
    }
    course.world.run();
    assert_eq!(course.world.stages(FIRST_CORE).document_count(), 0);
    assert_eq!(course.world.live_bytes(HOME_CORE).names, 0, "its name is free");
    let other = course.world.connect(0).expect("room");
    let (anew, _) = open(&mut course.world, other, writing("d", 7));
    assert_ne!(anew.epoch, course.writer.epoch);
    assert_eq!((anew.next_sequence, anew.worker), (1, 0));
}

/// A worker without blocks of its own is lent what it needs, and gives it back.
pub(crate) fn node_blocks_are_lent_and_given_back() {
    let mut course = Course::new(Policy::Gap, |config| {
        config.node_blocks = 2_048;
        config.chunks = 16;
    });
    course.publish(3);
    course.rest();
    course.go(FIRST_CORE);
    for _ in 0..60 {
        course.publish(50);
        course.rest();
    }
    course.assert_whole("there were blocks for all");
    let owed = course.world.stages(FIRST_CORE).owed_blocks();
    assert!(owed > 300, "{owed} blocks for 3,000 nodes");
    course.world.drop_document(course.publisher, course.writer.handle);
    course.rest();
    course.rest();
    assert_eq!(course.world.stages(FIRST_CORE).owed_blocks(), 0, "all of them went back");
    assert_eq!(course.world.live_bytes(FIRST_CORE).nodes, 0);
    // All of them are there: a document at home takes as many as there are.
    let (writer, _) = open(&mut course.world, course.publisher, writing("d", 8));
    for number in 1..=1_000 {
        course.world.publish(course.publisher, writer.handle, number, &[b"1"]);
        course.world.run();
    }
    let refused = course.world.events(course.publisher);
    assert!(!refused.iter().any(|event| matches!(event, Event::Refused(_))));
}

/// A document that nobody has written finds blocks on a worker that has none of its own, and gives them
/// back when it goes home.
pub(crate) fn a_document_without_nodes_finds_blocks_where_it_goes() {
    let mut course = Course::new(Policy::Gap, |config| config.node_blocks = 64);
    course.go(FIRST_CORE);
    course.publish(3);
    course.rest();
    course.assert_whole("the first batch found a block");
    assert!(course.world.stages(FIRST_CORE).owed_blocks() > 0);
    course.go(HOME_CORE);
    course.publish(3);
    course.rest();
    course.assert_whole("at home, too");
    assert_eq!(course.world.stages(FIRST_CORE).owed_blocks(), 0, "all of them went back");
}
