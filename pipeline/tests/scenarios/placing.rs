//! Where documents go while they run: to a core of their own and back, and away from a loaded worker.

use std::collections::BTreeMap;

use super::world::{acknowledged, open, reading, received, world, writing};
use deltaworks_pipeline::handover::{CannotTake, MoveOutcome};
use deltaworks_pipeline::heat::{SPAN_NS, Thresholds};
use deltaworks_pipeline::inline::{Event, Inline, InlineConfig, Peer};
use deltaworks_pipeline::message::{CloseReason, From, Opened, Policy};
use deltaworks_pipeline::placement::coordinator::PlacementCounts;
use deltaworks_pipeline::stages::CoreRole;

/// A core that does everything, and one for hot documents.
fn with_a_spare_core(config: &mut InlineConfig) {
    config.roles.push(CoreRole { serves_sessions: false, owns_documents: true, is_elastic: true });
    let placement = &mut config.limits.placement;
    let thresholds = Thresholds::default();
    placement.thresholds =
        Thresholds { promotion: 100, demotion: 20, quiet_ns: 1_000_000_000, ..thresholds };
}

fn counts(world: &Inline) -> PlacementCounts {
    world.counts(0).placement
}

fn let_a_span_pass(world: &mut Inline) {
    world.advance_ns(SPAN_NS);
    world.run();
}

/// Documents that each core owns.
fn owned(world: &Inline, cores: usize) -> Vec<u32> {
    (0..cores).map(|core| world.stages(core).document_count()).collect()
}

fn sequences(events: &[Event]) -> Vec<u64> {
    received(events).iter().map(|it| it.1).collect()
}

pub(crate) fn a_hot_document_moves_to_a_core_of_its_own_and_back() {
    let mut world = world(1, with_a_spare_core);
    let peer = world.connect(0).expect("room");
    let reader = world.connect(0).expect("room");
    let (hot, _) = open(&mut world, peer, writing("hot", 1));
    open(&mut world, peer, writing("quiet", 1));
    open(&mut world, reader, reading("hot", From::Live, Policy::Gap));
    assert_eq!(owned(&world, 2), [2, 0]);
    let mut number = 0;
    let mut spans = 0;
    while owned(&world, 2) != [1, 1] {
        for _ in 0..20 {
            number += 1;
            world.publish(peer, hot.handle, number, &[b"hot"]);
            world.turn();
        }
        let_a_span_pass(&mut world);
        spans += 1;
        assert!(spans < 20, "it moves: {:?}", counts(&world));
    }
    assert_eq!((counts(&world).promotions, counts(&world).moves), (1, 1));
    for _ in 0..30 {
        for _ in 0..20 {
            number += 1;
            world.publish(peer, hot.handle, number, &[b"hot"]);
            world.turn();
        }
        let_a_span_pass(&mut world);
    }
    assert_eq!(owned(&world, 2), [1, 1], "it stays while it is hot");
    assert_eq!((counts(&world).promoted, counts(&world).demotions), (1, 0));
    for _ in 0..15 {
        let_a_span_pass(&mut world);
    }
    assert_eq!(owned(&world, 2), [2, 0], "quiet, it comes home");
    assert_eq!((counts(&world).promoted, counts(&world).demotions), (0, 1));
    number += 1;
    world.publish(peer, hot.handle, number, &[b"end"]);
    world.run();
    assert_eq!(acknowledged(&world.events(peer), hot.handle).0, number);
    assert_eq!(sequences(&world.events(reader)), (1..=number).collect::<Vec<_>>());
    assert_eq!(world.stages(0).move_counts().finished + world.stages(1).move_counts().finished, 2);
}

/// Whatever is asked of a document while it is promoted, at any turn of that, is answered in its place:
/// a subscription, a close of the writer, a drop.
pub(crate) fn a_promotion_keeps_what_races_with_it_in_order() {
    let mut met = 0;
    for at in 0..24 {
        for what in ["subscribe", "close", "reopen", "drop"] {
            met += usize::from(race(at, what));
        }
    }
    assert!(met >= 12, "some of it happens while the document is on its way: {met}");
}

/// Does `what` behind `at` turns of the span in which the document is promoted, whether that was
/// while it was on its way.
fn race(at: usize, what: &str) -> bool {
    let mut world = world(1, |config| {
        with_a_spare_core(config);
        config.ring_capacity = 1;
    });
    let peer = world.connect(0).expect("room");
    let reader = world.connect(0).expect("room");
    let (writer, _) = open(&mut world, peer, writing("hot", 1));
    open(&mut world, reader, reading("hot", From::Live, Policy::Gap));
    let mut number = 0;
    let mut publish = |world: &mut Inline, count: usize| {
        for _ in 0..count {
            number += 1;
            world.publish(peer, writer.handle, number, &[b"hot"]);
        }
        number
    };
    for _ in 0..2 {
        publish(&mut world, 20);
        let_a_span_pass(&mut world);
    }
    // The promotion is decided in one of the next turns.
    publish(&mut world, 20);
    world.advance_ns(SPAN_NS);
    for _ in 0..at {
        publish(&mut world, 1);
        world.turn();
    }
    let is_on_its_way = counts(&world).moves == 1 && owned(&world, 2) != [0, 1];
    let late = world.connect(0).expect("room");
    let before = publish(&mut world, 1);
    match what {
        "subscribe" => world.open(late, reading("hot", From::Live, Policy::Gap)),
        "close" => world.close(peer, writer.handle),
        // Without waiting for `closed`: the batch in front is still the older handle's.
        "reopen" => {
            world.close(peer, writer.handle);
            world.open(peer, writing("hot", 1));
        }
        _ => world.drop_document(peer, writer.handle),
    }
    if what == "subscribe" {
        publish(&mut world, 5);
    }
    for _ in 0..40 {
        world.turn();
    }
    world.run();
    let events = world.events(reader);
    let case = format!("{what} at {at}");
    match what {
        "subscribe" => {
            let end = before + 5;
            assert_eq!(sequences(&events), (1..=end).collect::<Vec<_>>(), "{case}");
            let seen = sequences(&world.events(late));
            let first = seen.first().copied().unwrap_or(end + 1);
            assert_eq!(seen, (first..=end).collect::<Vec<_>>(), "{case}: without a seam");
        }
        "close" => {
            assert_eq!(sequences(&events), (1..=before).collect::<Vec<_>>(), "{case}");
            let told = world.events(peer);
            assert_eq!(acknowledged(&told, writer.handle).0, before, "{case}: all are accepted");
            assert_eq!(
                told.last(),
                Some(&Event::Closed(writer.handle, CloseReason::Asked)),
                "{case}"
            );
            let (opened, _) = open(&mut world, peer, writing("hot", 1));
            assert_eq!(opened.producer_sequence, before, "{case}: it goes on where it stood");
            world.publish(peer, opened.handle, before + 1, &[b"end"]);
            world.run();
            assert_eq!(sequences(&world.events(reader)), [before + 1], "{case}");
        }
        "reopen" => {
            assert_eq!(sequences(&events), (1..=before).collect::<Vec<_>>(), "{case}");
            let told = world.events(peer);
            let is_refused = told.iter().any(|event| matches!(event, Event::Refused(_)));
            assert!(!is_refused, "{case}: what was sent first comes first");
            let again = told.iter().rev().find_map(|event| match event {
                Event::Opened(opened, _) => Some(opened.producer_sequence),
                _ => None,
            });
            assert_eq!(again, Some(before), "{case}: it goes on where it stood");
        }
        _ => {
            assert_eq!(sequences(&events), (1..=before).collect::<Vec<_>>(), "{case}");
            assert!(
                matches!(events.last(), Some(Event::Closed(_, CloseReason::Dropped))),
                "{case}"
            );
            let (again, _) = open(&mut world, late, writing("hot", 1));
            assert_ne!(again.epoch, writer.epoch, "{case}: the name begins anew");
        }
    }
    is_on_its_way
}

/// Two workers; documents that are all at home at the first.
fn lopsided(
    documents: usize,
    change: impl FnOnce(&mut InlineConfig),
) -> (Inline, Peer, Vec<Opened>) {
    let mut world = world(2, |config| {
        let placement = &mut config.limits.placement;
        placement.balance_floor_ppm = 10;
        placement.thresholds.promotion = 3_200;
        change(config);
    });
    let peer = world.connect(0).expect("room");
    let mut there = vec![];
    let mut name = 0;
    while there.len() < documents {
        let (opened, _) = open(&mut world, peer, writing(&format!("d{name}"), 1));
        if opened.worker == 0 {
            there.push(opened);
        } else {
            world.close(peer, opened.handle);
        }
        name += 1;
    }
    (world, peer, there)
}

/// Publishes as much to each document in each span.
fn play(world: &mut Inline, peer: Peer, documents: &[Opened], from: u64, spans: u64) -> u64 {
    let mut number = from;
    for _ in 0..spans {
        for _ in 0..5 {
            number += 1;
            for document in documents {
                world.publish(peer, document.handle, number, &[b"d"]);
            }
            world.turn();
        }
        let_a_span_pass(world);
    }
    number
}

/// All documents of one worker are loaded alike: half of them move to the other, a budget at a time,
/// in order, and under the same load nothing moves any more.
pub(crate) fn documents_are_spread_by_their_load() {
    let (mut world, peer, documents) =
        lopsided(12, |config| config.limits.placement.moves_per_second = 2);
    let readers: Vec<Peer> = (0..2).map(|core| world.connect(core).expect("room")).collect();
    for reader in &readers {
        for document in &documents {
            let name = name_of(&world, document);
            world.open(*reader, reading(&name, From::Start, Policy::Gap));
        }
    }
    world.run();
    let mut number = play(&mut world, peer, &documents, 0, 10);
    assert!((1..=4).contains(&counts(&world).moves), "two a second: {:?}", counts(&world));
    number = play(&mut world, peer, &documents, number, 90);
    let guests = world.stages(1).guest_count();
    assert!((4..=6).contains(&guests), "about half of them: {guests}");
    let moves = counts(&world).moves;
    assert_eq!(moves, u64::from(guests), "each moved once");
    number = play(&mut world, peer, &documents, number, 150);
    assert_eq!(counts(&world).moves, moves, "a constant load is left alone");
    for reader in readers {
        let mut by_slot: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for (slot, sequence, _) in received(&world.events(reader)) {
            by_slot.entry(slot).or_default().push(sequence);
        }
        assert_eq!(by_slot.len(), documents.len());
        assert!(by_slot.values().all(|of| of.iter().copied().eq(1..=number)), "in order");
    }
}

fn name_of(world: &Inline, opened: &Opened) -> String {
    let name = world.stages(0).document_name(opened.slot, opened.generation);
    name.expect("it is there").to_string()
}

/// A worker that is to be emptied gives away all of its documents, also those that nobody writes.
pub(crate) fn a_worker_can_be_emptied() {
    let (mut world, peer, documents) =
        lopsided(20, |config| config.limits.placement.moves_per_second = 50);
    let number = play(&mut world, peer, &documents[..2], 0, 1);
    world.coordinator_mut().expect("a coordinator").set_worker(0, false, true);
    let mut spans = 0;
    while world.stages(0).document_count() > 0 {
        let_a_span_pass(&mut world);
        spans += 1;
        assert!(spans < 200, "{} are left", world.stages(0).document_count());
    }
    assert_eq!(world.stages(1).guest_count(), 20);
    world.coordinator_mut().expect("a coordinator").set_worker(0, true, false);
    for document in &documents[..2] {
        world.publish(peer, document.handle, number + 1, &[b"d"]);
    }
    world.run();
    let events = world.events(peer);
    for document in &documents[..2] {
        assert_eq!(acknowledged(&events, document.handle).0, number + 1);
    }
}

/// A document whose rate was nothing special is hot by a lower threshold, and quiet by a higher one.
pub(crate) fn thresholds_change_while_documents_are_there() {
    let mut world = world(1, |config| {
        with_a_spare_core(config);
        config.limits.placement.thresholds = Thresholds::default();
    });
    let peer = world.connect(0).expect("room");
    let reader = world.connect(0).expect("room");
    let (warm, _) = open(&mut world, peer, writing("warm", 1));
    open(&mut world, reader, reading("warm", From::Live, Policy::Gap));
    let mut number = 0;
    // 200 deltas a second, for so many spans, or until the cores own so much.
    let mut publish = |world: &mut Inline, spans: usize, until: [u32; 2]| {
        for span in 0..spans {
            if owned(world, 2) == until {
                return span;
            }
            for _ in 0..20 {
                number += 1;
                world.publish(peer, warm.handle, number, &[b"warm"]);
                world.turn();
            }
            let_a_span_pass(world);
        }
        spans
    };
    publish(&mut world, 30, [0, 1]);
    assert_eq!((owned(&world, 2), counts(&world).promotions), (vec![1, 0], 0));
    let before = world.tuning();
    let mut tuning = before;
    tuning.placement.promotion = 100;
    tuning.placement.demotion = 20;
    world.tune(tuning);
    // Found by its new worth: by the old one it would take more than eighty spans.
    assert!(publish(&mut world, 40, [0, 1]) < 40, "it moves: {:?}", counts(&world));
    publish(&mut world, 80, [1, 0]);
    assert_eq!((owned(&world, 2), counts(&world).promoted), (vec![0, 1], 1), "it stays");
    // By the thresholds before, a rate of 200 is below that of a quiet document, for ten spans on end.
    world.tune(before);
    assert_eq!(publish(&mut world, 20, [1, 0]), 20, "it was not quiet for five seconds yet");
    let mut tuning = before;
    tuning.placement.quiet_ns = 10 * SPAN_NS;
    world.tune(tuning);
    assert!(publish(&mut world, 5, [1, 0]) < 5, "it comes home: {:?}", counts(&world));
    assert_eq!((counts(&world).promoted, counts(&world).demotions), (0, 1));
    world.run();
    assert_eq!(acknowledged(&world.events(peer), warm.handle).0, number);
    assert_eq!(sequences(&world.events(reader)), (1..=number).collect::<Vec<_>>());
}

/// Uneven workers are left alone while that is switched off, and evened once it is not, as many at a
/// time as there may be then.
pub(crate) fn how_even_workers_are_to_be_changes_while_they_work() {
    let (mut world, peer, documents) =
        lopsided(12, |config| config.limits.placement.balance_percent = 0);
    let mut number = play(&mut world, peer, &documents, 0, 30);
    let before = world.tuning();
    let mut tuning = before;
    (tuning.placement.balance_percent, tuning.placement.moves_per_second) = (150, 0);
    world.tune(tuning);
    number = play(&mut world, peer, &documents, number, 30);
    assert_eq!(counts(&world).moves, 0);
    tuning.placement.moves_per_second = 2;
    world.tune(tuning);
    number = play(&mut world, peer, &documents, number, 10);
    assert!((1..=4).contains(&counts(&world).moves), "two a second: {:?}", counts(&world));
    world.tune(before);
    let moves = counts(&world).moves;
    number = play(&mut world, peer, &documents, number, 30);
    assert_eq!(counts(&world).moves, moves, "switched off again");
    world.tune(tuning);
    play(&mut world, peer, &documents, number, 60);
    let guests = world.stages(1).guest_count();
    assert!((4..=6).contains(&guests), "about half of them: {guests}");
}

/// A worker that had no room for any document, or no place for a guest, is asked for none for a while,
/// and then again; nobody is harmed.
pub(crate) fn a_worker_without_room_is_left_alone() {
    leaves_alone(|config| config.limits.guests_per_worker_max = 1, 0, 1);
    leaves_alone(scarce_producers, PRODUCERS - 3, 1);
}

/// Empties the first of two workers into the other, which has so many producers, and room for some
/// guests.
fn leaves_alone(change: impl FnOnce(&mut InlineConfig), producers: u32, room: u32) {
    let (mut world, peer, documents) = lopsided(20, |config| {
        config.limits.placement.moves_per_second = 10;
        change(config);
    });
    crowd_the_second(&mut world, peer, producers);
    world.coordinator_mut().expect("a coordinator").set_worker(0, false, true);
    let refused = |world: &Inline| world.stages(0).move_counts().refused;
    let spans_until = |world: &mut Inline, refusals: u64| {
        let mut spans = 0;
        while refused(world) < refusals {
            let_a_span_pass(world);
            spans += 1;
            assert!(spans < 100, "{} refusals of {refusals}", refused(world));
        }
        spans
    };
    spans_until(&mut world, 1);
    let (first, told) = (refused(&world), counts(&world).full);
    assert!(told > 0 && told <= first, "{told} of {first}: who places documents knows it");
    assert!(first <= 10, "what was on its way, no more than in a second: {first}");
    assert_eq!(world.stages(1).guest_count(), room);
    let spans = spans_until(&mut world, first + 1);
    assert_eq!(world.stages(1).guest_count(), room);
    assert!(spans >= 45, "left alone for {spans} spans only");
    let number = play(&mut world, peer, &documents, 0, 2);
    let told = world.events(peer);
    for document in &documents {
        assert_eq!(acknowledged(&told, document.handle).0, number);
    }
}

/// Producers of a worker, at most, where room is scarce.
const PRODUCERS: u32 = 100;
const PRODUCER_BYTES: u64 = 64;

fn scarce_producers(config: &mut InlineConfig) {
    config.limits.producers_per_worker_max = PRODUCERS;
    config.limits.producers_per_document_max = PRODUCERS;
}

/// Opens a document as many producers, until its worker has so many.
fn crowd(world: &mut Inline, peer: Peer, name: &str, core: usize, producers: u32) {
    let mut identity = 1;
    while world.stages(core).live_bytes().producers < u64::from(producers) * PRODUCER_BYTES {
        identity += 1;
        open(world, peer, writing(name, identity));
    }
}

fn crowd_the_second(world: &mut Inline, peer: Peer, producers: u32) {
    let mut names = (0..).map(|number| format!("d{number}"));
    let its_own = names.find(|name| world.stages(1).document_of_name(name).is_some());
    crowd(world, peer, &its_own.expect("one of them is there"), 1, producers);
}

/// Two workers: the second has room for documents of one producer, and not for the first document of
/// the other, which has many.
fn with_a_large_one(moves_per_second: u32) -> (Inline, Peer, Vec<Opened>) {
    let (mut world, peer, documents) = lopsided(13, |config| {
        config.limits.placement.moves_per_second = moves_per_second;
        scarce_producers(config);
    });
    crowd_the_second(&mut world, peer, PRODUCERS - 30);
    let large = name_of(&world, documents.first().expect("thirteen"));
    crowd(&mut world, peer, &large, 0, PRODUCERS - 10);
    (world, peer, documents)
}

/// Somebody asks again and again for a move that there is no room for: the worker goes on to be given
/// the documents that it has room for.
pub(crate) fn moves_by_name_shut_no_worker() {
    let (mut world, peer, documents) = with_a_large_one(2);
    let (large, others) = documents.split_first().expect("thirteen");
    let (mut number, mut refused) = (0, 0);
    for _ in 0..100 {
        let _ = world.move_document(0, large.slot, large.generation, 1);
        number = play(&mut world, peer, others, number, 1);
        while let Some(ended) = world.take_moved(0) {
            let is_it = ended.slot == large.slot;
            let outcome = MoveOutcome::Refused(CannotTake::Producers);
            refused += u32::from(is_it && ended.outcome == outcome);
        }
    }
    assert!(refused > 50, "{refused} times");
    let guests = world.stages(1).guest_count();
    assert!((4..=6).contains(&guests), "about half of them: {guests}");
    assert_eq!(counts(&world).full, 0, "who asked was told, and nobody else");
}

/// A document that is too large for a worker is refused there: the others go on, and it waits.
pub(crate) fn a_document_that_is_too_large_shuts_no_worker() {
    let (mut world, peer, documents) = with_a_large_one(4);
    let (large, others) = documents.split_first().expect("thirteen");
    // It is told of first.
    play(&mut world, peer, core::slice::from_ref(large), 0, 2);
    world.coordinator_mut().expect("a coordinator").set_worker(0, false, true);
    let mut spans = 0;
    while (world.stages(1).guest_count() as usize) < others.len() {
        let_a_span_pass(&mut world);
        spans += 1;
        assert!(spans < 45, "{} of them are there", world.stages(1).guest_count());
    }
    assert_eq!(counts(&world).full, 1, "it was asked once");
    assert!(world.stages(0).document_name(large.slot, large.generation).is_some());
}
