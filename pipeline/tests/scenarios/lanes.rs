//! Hot documents on a core that they share: promoted under load, judged behind the others, in order.

use super::world::{acknowledged, open, reading, received, world, world_of, writing};
use deltaworks_pipeline::collection::{
    Collection, CollectionLimits, Collections, Overload, Schema,
};
use deltaworks_pipeline::heat::{SPAN_NS, Thresholds};
use deltaworks_pipeline::inline::{Event, Inline, InlineConfig, Peer};
use deltaworks_pipeline::message::{Ack, CloseReason, From, Policy};
use deltaworks_pipeline::placement::coordinator::PlacementCounts;

/// What a batch of one small delta counts: header, length, payload and padding, and 256 more.
const BATCH: u32 = 64 + 256;

/// A document is hot above 100 deltas a second, quiet below 20 for a second; a turn judges four small
/// batches of hot ones.
fn small(config: &mut InlineConfig) {
    let placement = &mut config.limits.placement;
    let thresholds = Thresholds::default();
    placement.thresholds =
        Thresholds { promotion: 100, demotion: 20, quiet_ns: 1_000_000_000, ..thresholds };
    placement.lane_bytes_per_turn = 4 * BATCH;
    // What is published here comes at once, however many reads it takes.
    config.limits.turn.reception_cost = 1 << 20;
    config.limits.turn.quantum_cost = 1 << 20;
}

fn counts(world: &Inline) -> PlacementCounts {
    world.counts(0).placement
}

/// How many pauses were counted, and all of them together.
fn lane_pauses(world: &Inline) -> (u64, u64) {
    let pauses = world.stages(0).lane_pause().expect("a worker");
    (pauses.counts().iter().sum(), pauses.sum_ns())
}

fn let_a_span_pass(world: &mut Inline) {
    world.advance_ns(SPAN_NS);
    world.run();
}

/// Publishes until the document is promoted; returns the number of the last batch.
fn heat_up(world: &mut Inline, peer: Peer, handle: u32, from: u64) -> u64 {
    let before = counts(world).promotions;
    let mut number = from;
    for _ in 0..10 {
        for _ in 0..20 {
            number += 1;
            world.publish(peer, handle, number, &[b"hot"]);
        }
        world.run();
        let_a_span_pass(world);
        if counts(world).promotions > before {
            return number;
        }
    }
    panic!("not promoted within ten spans: {:?}", counts(world));
}

/// A hot document is promoted while it runs; from then on a quiet document's batch, sent behind all
/// of its batches, is answered before most of them; order is kept; and a second of quiet later the
/// document is one of many again.
pub(crate) fn a_hot_document_is_promoted_and_the_others_go_first() {
    let mut world = world(1, small);
    let peer = world.connect(0).expect("room");
    let reader = world.connect(0).expect("room");
    let (hot, _) = open(&mut world, peer, writing("hot", 1));
    let (quiet, _) = open(&mut world, peer, writing("quiet", 1));
    open(&mut world, reader, reading("hot", From::Live, Policy::Gap));
    let last = heat_up(&mut world, peer, hot.handle, 0);
    assert_eq!((counts(&world).promotions, counts(&world).moves), (1, 0));
    world.events(peer);
    assert_eq!(lane_pauses(&world), (0, 0), "nothing has come in its lane yet");

    world.advance_ns(250_000);
    for number in last + 1..=last + 20 {
        world.publish(peer, hot.handle, number, &[b"hot"]);
    }
    world.publish(peer, quiet.handle, 1, &[b"quiet"]);
    world.run();
    let events = world.events(peer);
    let place = |handle: u32, number: u64| {
        let is_it = |ack: &Ack| ack.handle == handle && ack.producer_sequence >= number;
        events.iter().position(|event| matches!(event, Event::Ack(ack) if is_it(ack)))
    };
    let quiet_place = place(quiet.handle, 1).expect("it is answered");
    let fifth = place(hot.handle, last + 5).expect("all are answered");
    assert!(quiet_place < fifth, "behind one share at most: {events:?}");
    assert_eq!(acknowledged(&events, hot.handle).0, last + 20);
    assert_eq!(lane_pauses(&world), (1, SPAN_NS + 250_000), "since its last batch before, once");
    assert!(world.counts(0).validation.laned_batches >= 20);
    let sequences: Vec<u64> = received(&world.events(reader)).iter().map(|it| it.1).collect();
    assert_eq!(sequences, (1..=last + 20).collect::<Vec<_>>());

    for _ in 0..10 {
        assert_eq!(counts(&world).demotions, 0, "not before it was quiet for long enough");
        let_a_span_pass(&mut world);
    }
    let_a_span_pass(&mut world);
    let_a_span_pass(&mut world);
    assert_eq!((counts(&world).demotions, counts(&world).promoted), (1, 0));
    let laned = world.counts(0).validation.laned_batches;
    world.publish(peer, hot.handle, last + 21, &[b"hot"]);
    world.run();
    assert_eq!(acknowledged(&world.events(peer), hot.handle).0, last + 21);
    assert_eq!(world.counts(0).validation.laned_batches, laned, "it is one of many");
}

/// A document in a lane moves when what waits in it is judged, and what comes meanwhile keeps its
/// order.
pub(crate) fn a_document_leaves_its_lane_and_moves() {
    let mut world = world(2, small);
    let peer = world.connect(0).expect("room");
    let reader = world.connect(1).expect("room");
    let (hot, _) = open(&mut world, peer, writing("hot", 1));
    open(&mut world, reader, reading("hot", From::Live, Policy::Gap));
    let mut last = heat_up(&mut world, peer, hot.handle, 0);
    let (from, to) = (usize::from(hot.worker), 1 - hot.worker);
    for _ in 0..30 {
        last += 1;
        world.publish(peer, hot.handle, last, &[b"hot"]);
    }
    world.turn();
    let laned = world.counts(from).validation.laned_batches;
    assert_eq!(world.move_document(from, hot.slot, hot.generation, to), Ok(()));
    for _ in 0..30 {
        last += 1;
        world.publish(peer, hot.handle, last, &[b"hot"]);
        world.turn();
    }
    world.run();
    assert!(world.counts(from).validation.laned_batches > laned, "something waited in its lane");
    assert!(world.stages(usize::from(to)).document_of_name("hot").is_some(), "it has moved");
    assert_eq!(acknowledged(&world.events(peer), hot.handle).0, last);
    let sequences: Vec<u64> = received(&world.events(reader)).iter().map(|it| it.1).collect();
    assert_eq!(sequences, (1..=last).collect::<Vec<_>>());
}

/// Opening, closing and opening anew keep their place among batches that wait in a lane.
pub(crate) fn control_keeps_its_place_in_a_lane() {
    let mut world = world(1, small);
    let peer = world.connect(0).expect("room");
    let (writer, _) = open(&mut world, peer, writing("hot", 1));
    let mut last = heat_up(&mut world, peer, writer.handle, 0);
    world.events(peer);
    let readers: Vec<Peer> = (0..4)
        .map(|_| {
            for _ in 0..7 {
                last += 1;
                world.publish(peer, writer.handle, last, &[b"hot"]);
            }
            let reader = world.connect(0).expect("room");
            world.open(reader, reading("hot", From::Live, Policy::Gap));
            world.turn();
            reader
        })
        .collect();
    // The writer closes behind its batches; who writes as the same producer goes on behind it.
    world.close(peer, writer.handle);
    let other = world.connect(0).expect("room");
    world.open(other, writing("hot", 1));
    world.run();
    assert_eq!(acknowledged(&world.events(peer), writer.handle).0, last, "all are accepted");
    let events = world.events(other);
    let Some(Event::Opened(opened, _)) = events.first() else { panic!("{events:?}") };
    assert_eq!(opened.producer_sequence, last, "behind the last batch of the one before");
    world.publish(other, opened.handle, last + 1, &[b"end"]);
    world.run();
    for (number, reader) in readers.into_iter().enumerate() {
        let sequences: Vec<u64> = received(&world.events(reader)).iter().map(|it| it.1).collect();
        let from = last - 28 + 7 * (number as u64 + 1) + 1;
        assert_eq!(sequences, (from..=last + 1).collect::<Vec<_>>(), "reader {number}");
    }
}

/// Dropped behind batches that wait, a document ends in order, and leaves its lane to the next.
pub(crate) fn a_dropped_document_leaves_its_lane_free() {
    let mut world = world(1, |config| {
        small(config);
        config.limits.placement.elastic_workers_max = 1;
    });
    let peer = world.connect(0).expect("room");
    for round in 0..3 {
        let (writer, _) = open(&mut world, peer, writing("hot", 1));
        let reader = world.connect(0).expect("room");
        open(&mut world, reader, reading("hot", From::Live, Policy::Gap));
        // Of a document that has gone the lane is free again after a while.
        for _ in 0..25 {
            let_a_span_pass(&mut world);
        }
        let last = heat_up(&mut world, peer, writer.handle, 0);
        for number in last + 1..=last + 12 {
            world.publish(peer, writer.handle, number, &[b"hot"]);
        }
        world.drop_document(peer, writer.handle);
        world.publish(peer, writer.handle, last + 13, &[b"late"]);
        world.run();
        let events = world.events(peer);
        assert_eq!(acknowledged(&events, writer.handle).0, last + 13, "round {round}");
        let refused = events.iter().filter(|event| matches!(event, Event::Refused(_))).count();
        assert_eq!(refused, 1, "what comes behind is refused");
        let events = world.events(reader);
        assert_eq!(received(&events).len() as u64, last + 12);
        assert!(matches!(events.last(), Some(Event::Closed(_, CloseReason::Dropped))));
        world.disconnect(reader);
        world.run();
    }
    assert_eq!(counts(&world).promotions, 3);
    assert_eq!(world.stages(0).document_count(), 0);
}

fn busy(steps_per_delta: u64) -> Collections {
    Collections::new(vec![Collection {
        name: String::new(),
        schema: Schema::Busy { steps_per_delta },
        overload: Overload::default(),
        limits: CollectionLimits::default(),
    }])
}

/// A batch that is checked in slices holds its own lane, and nothing overtakes it.
pub(crate) fn a_slow_batch_in_a_lane_keeps_the_order() {
    let mut world = world_of(1, busy(50), |config| {
        small(config);
        config.limits.steps_per_batch = 300;
        config.limits.steps_per_turn = 600;
    });
    let peer = world.connect(0).expect("room");
    let reader = world.connect(0).expect("room");
    let (hot, _) = open(&mut world, peer, writing("hot", 1));
    open(&mut world, reader, reading("hot", From::Live, Policy::Gap));
    let mut last = heat_up(&mut world, peer, hot.handle, 0);
    for round in 0..6_u64 {
        for number in 0..9 {
            last += 1;
            let deltas = if number % 3 == 1 { 40 } else { 1 };
            world.publish(peer, hot.handle, last, &vec![&last.to_le_bytes()[..]; deltas]);
            world.turn();
        }
        if round % 2 == 0 {
            let late = world.connect(0).expect("room");
            world.open(late, reading("hot", From::Live, Policy::Gap));
        }
        // Demoted and promoted anew while batches wait.
        let_a_span_pass(&mut world);
    }
    world.run();
    assert!(world.counts(0).validation.stalled_batches > 10);
    assert_eq!(acknowledged(&world.events(peer), hot.handle).0, last);
    let all = received(&world.events(reader));
    let sequences: Vec<u64> = all.iter().map(|it| it.1).collect();
    assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>());
    let numbers = all.iter().filter_map(|it| it.2.as_slice().try_into().ok());
    assert!(numbers.map(u64::from_le_bytes).is_sorted(), "in the order in which they were sent");
}

/// More never waits in lanes than may: what is too much is judged at once, in order, and counted.
pub(crate) fn a_lane_that_is_overfull_is_judged_beyond_its_share() {
    let mut world = world(1, |config| {
        small(config);
        config.limits.placement.lane_waiting_max = 16;
        config.limits.placement.lane_bytes_per_turn = 1;
    });
    let peer = world.connect(0).expect("room");
    let reader = world.connect(0).expect("room");
    let (hot, _) = open(&mut world, peer, writing("hot", 1));
    open(&mut world, reader, reading("hot", From::Live, Policy::Gap));
    let last = heat_up(&mut world, peer, hot.handle, 0);
    for number in last + 1..=last + 200 {
        world.publish(peer, hot.handle, number, &[b"hot"]);
    }
    for _ in 0..5 {
        world.turn();
    }
    let at_once = acknowledged(&world.events(peer), hot.handle).0;
    assert!((last + 184..last + 200).contains(&at_once), "{at_once} of {last} + 200");
    assert!(world.counts(0).validation.lane_overruns > 0);
    world.run();
    let sequences: Vec<u64> = received(&world.events(reader)).iter().map(|it| it.1).collect();
    assert_eq!(sequences, (1..=last + 200).collect::<Vec<_>>());
}

/// Two hot documents of one worker get as much of each turn as the other, whoever sends more.
pub(crate) fn hot_documents_share_a_turn_by_weight() {
    let mut world = world(1, small);
    let peer = world.connect(0).expect("room");
    let (one, _) = open(&mut world, peer, writing("one", 1));
    let (two, _) = open(&mut world, peer, writing("two", 1));
    let mut last = [0, 0];
    last[0] = heat_up(&mut world, peer, one.handle, 0);
    // Both stay hot, or the first would not wait for the second.
    last[1] = heat_up(&mut world, peer, two.handle, 0);
    assert_eq!(counts(&world).promoted, 2);
    world.events(peer);
    for number in 1..=40 {
        world.publish(peer, one.handle, last[0] + number, &[b"hot"]);
    }
    for number in 1..=8 {
        world.publish(peer, two.handle, last[1] + number, &[b"hot"]);
    }
    let mut done = [0, 0];
    for _ in 0..3 {
        world.turn();
        let events = world.events(peer);
        for (done, (handle, last)) in
            done.iter_mut().zip([(one.handle, last[0]), (two.handle, last[1])])
        {
            *done = acknowledged(&events, handle).0.saturating_sub(last).max(*done);
        }
        assert!(done[0].abs_diff(done[1]) <= 1, "{done:?}");
    }
    assert!(done[1] >= 4, "{done:?}");
    world.run();
    let events = world.events(peer);
    assert_eq!(acknowledged(&events, one.handle).0, last[0] + 40, "the rest is the other's");
}

/// Between the thresholds a document is what it was, for however long.
pub(crate) fn a_load_between_the_thresholds_changes_nothing() {
    let mut world = world(1, small);
    let peer = world.connect(0).expect("room");
    let (writer, _) = open(&mut world, peer, writing("d", 1));
    let mut number = 0;
    let mut play = |world: &mut Inline, spans: usize, a_span: u64| {
        for _ in 0..spans {
            for _ in 0..a_span {
                number += 1;
                world.publish(peer, writer.handle, number, &[b"d"]);
            }
            world.run();
            let_a_span_pass(world);
        }
    };
    play(&mut world, 100, 10);
    assert_eq!(counts(&world).promotions, 0, "exactly at the rate");
    play(&mut world, 5, 11);
    assert_eq!(counts(&world).promoted, 1, "above it");
    play(&mut world, 100, 2);
    assert_eq!((counts(&world).promoted, counts(&world).demotions), (1, 0), "at the lower rate");
    play(&mut world, 20, 1);
    assert_eq!((counts(&world).promoted, counts(&world).demotions), (0, 1));
    assert_eq!(counts(&world).promotions, 1);
}
