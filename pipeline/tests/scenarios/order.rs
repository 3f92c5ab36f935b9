//! Order: of each document, of control and data, with rings of every size.

use super::world::{acknowledged, open, reading, received, world, writing};
use deltaworks_pipeline::collection::{
    Collection, CollectionLimits, Collections, Overload, Schema,
};
use deltaworks_pipeline::inline::Event;
use deltaworks_pipeline::inline::InlineConfig;
use deltaworks_pipeline::message::{CloseReason, From, OpenRefusal, Policy};

/// 1, 2, 3 of A and 1, 2 of B, interleaved by one session, arrive in order within each: on one core
/// and over two, on either of them, with rings of one message and of many, and with the other core
/// making room meanwhile.
pub(crate) fn order_per_document_is_kept_with_interleaved_documents() {
    for (cores, core, ring_capacity) in [(1, 0, 64), (2, 0, 64), (2, 0, 1), (2, 1, 1)] {
        let mut world = world(cores, |config| config.ring_capacity = ring_capacity);
        let publisher = world.connect(core).expect("room for a session");
        let subscriber = world.connect(cores - 1).expect("room for a session");
        let (a, _) = open(&mut world, publisher, writing("A", 1));
        let (b, _) = open(&mut world, publisher, writing("B", 1));
        for name in ["A", "B"] {
            open(&mut world, subscriber, reading(name, From::Start, Policy::Gap));
        }
        for (document, number) in [(&a, 1_u64), (&b, 1), (&a, 2), (&b, 2), (&a, 3)] {
            let delta = [document.slot as u8, number as u8];
            world.publish(publisher, document.handle, number, &[&delta]);
            if (document.slot, number) == (b.slot, 2) {
                world.turn_core(cores - 1 - core);
            }
        }
        world.run();
        let got = received(&world.events(subscriber));
        assert_eq!(got.len(), 5, "nothing is missing, nothing comes twice");
        for (document, count) in [(&a, 3), (&b, 2)] {
            let of: Vec<_> = got.iter().filter(|(slot, ..)| *slot == document.slot).collect();
            let expected: Vec<_> = (1..=count)
                .map(|number| (document.slot, number, vec![document.slot as u8, number as u8]))
                .collect();
            assert!(of.iter().copied().eq(&expected), "{cores} cores: {of:?}");
        }
    }
}

/// Many documents, rings of one slot, closes between batches: `closed` stands behind every ack,
/// and what was sent before a close is accepted.
pub(crate) fn a_close_never_overtakes_data_nor_data_a_close() {
    let mut world = world(2, |config| config.ring_capacity = 1);
    let publisher = world.connect(0).expect("room for a session");
    let subscriber = world.connect(1).expect("room for a session");
    for round in 0..20_u64 {
        let mut handles = vec![];
        for document in 0..10 {
            let name = format!("doc{document}");
            if round == 0 {
                open(&mut world, subscriber, reading(&name, From::Start, Policy::Gap));
            }
            handles.push(open(&mut world, publisher, writing(&name, 5)).0);
        }
        for number in 1..=5 {
            for opened in &handles {
                assert_eq!(opened.producer_sequence, round * 5);
                let number = round * 5 + number;
                world.publish(publisher, opened.handle, number, &[&number.to_le_bytes()]);
            }
        }
        for opened in &handles {
            world.close(publisher, opened.handle);
        }
        world.run();
        let events = world.events(publisher);
        for opened in &handles {
            let last_ack = events
                .iter()
                .rposition(|event| matches!(event, Event::Ack(ack) if ack.handle == opened.handle))
                .expect("acknowledged");
            let closed = events
                .iter()
                .position(|event| *event == Event::Closed(opened.handle, CloseReason::Asked))
                .expect("closed");
            assert!(last_ack < closed, "closed is the last word");
            assert_eq!(acknowledged(&events, opened.handle).0, round * 5 + 5);
        }
    }
    let got = received(&world.events(subscriber));
    for slot in got.iter().map(|(slot, ..)| *slot).collect::<std::collections::BTreeSet<_>>() {
        let of: Vec<u64> = got.iter().filter(|it| it.0 == slot).map(|it| it.1).collect();
        assert_eq!(of, (1..=100).collect::<Vec<_>>());
    }
}

/// A dropped document: readers get everything before the end, then `closed`; the name is new.
pub(crate) fn a_dropped_document_ends_in_order_and_its_name_begins_anew() {
    let mut world = world(2, |_| ());
    let publisher = world.connect(0).expect("room for a session");
    let subscriber = world.connect(1).expect("room for a session");
    let (writer, _) = open(&mut world, publisher, writing("d", 1));
    let (reader, _) = open(&mut world, subscriber, reading("d", From::Start, Policy::Gap));
    world.set_room(subscriber, 100);
    for number in 1..=20 {
        world.publish(publisher, writer.handle, number, &[b"before the end"]);
    }
    world.drop_document(publisher, writer.handle);
    world.publish(publisher, writer.handle, 21, &[b"too late"]);
    world.run();
    let told = world.events(publisher);
    assert!(told.contains(&Event::Closed(writer.handle, CloseReason::Dropped)), "{told:?}");
    let (again, _) = open(&mut world, publisher, writing("d", 1));
    assert_ne!((again.slot, again.generation), (writer.slot, writer.generation));
    assert_ne!(again.epoch, writer.epoch);
    assert_eq!((again.next_sequence, again.producer_sequence), (1, 0));

    world.set_room(subscriber, usize::MAX);
    world.run();
    let events = world.events(subscriber);
    assert_eq!(received(&events).len(), 20);
    assert_eq!(events.last(), Some(&Event::Closed(reader.handle, CloseReason::Dropped)));
}

/// A document's slow batch holds neither another document's batch of the same session and core,
/// nor lets anything of its own document pass it.
pub(crate) fn a_slow_batch_holds_no_other_document() {
    let collection = |name: &str, schema| Collection {
        name: name.to_owned(),
        schema,
        overload: Overload::default(),
        limits: CollectionLimits::default(),
    };
    let collections = Collections::new(vec![
        collection("", Schema::Opaque),
        collection("slow", Schema::Busy { steps_per_delta: 1_000_000 }),
    ]);
    let mut world = deltaworks_pipeline::inline::Inline::new(InlineConfig::fused(1, collections));
    let peer = world.connect(0).expect("room");
    let subscriber = world.connect(0).expect("room");
    let (slow, _) = open(&mut world, peer, writing("slow/d", 1));
    let (quick, _) = open(&mut world, peer, writing("quick", 1));
    for name in ["slow/d", "quick"] {
        open(&mut world, subscriber, reading(name, From::Start, Policy::Gap));
    }
    world.publish(peer, slow.handle, 1, &[b"takes long"]);
    world.publish(peer, slow.handle, 2, &[b"waits behind it"]);
    world.publish(peer, quick.handle, 1, &[b"does not"]);
    world.open(peer, writing("slow/d", 2));
    world.close(peer, slow.handle);
    for _ in 0..4 {
        world.turn();
    }
    let got = received(&world.events(subscriber));
    assert_eq!(got, [(quick.slot, 1, b"does not".to_vec())]);
    assert_eq!(acknowledged(&world.events(peer), quick.handle).0, 1);
    assert_eq!(world.counts(0).validation.stalled_batches, 1);
    world.run();
    let got: Vec<_> =
        received(&world.events(subscriber)).into_iter().map(|it| (it.0, it.1)).collect();
    assert_eq!(got, [(slow.slot, 1), (slow.slot, 2)]);
    let told = world.events(peer);
    let place = |wanted: &dyn Fn(&Event) -> bool| told.iter().position(wanted).expect("told");
    let acked = place(&|it| matches!(it, Event::Ack(ack) if ack.producer_sequence == 2));
    let opened = place(&|it| matches!(it, Event::Opened(opened, _) if opened.next_sequence == 3));
    let closed = place(&|it| *it == Event::Closed(slow.handle, CloseReason::Asked));
    assert!(acked < closed && opened < closed, "in the order in which they were asked");
}

/// However much comes for documents with slow batches, no more waits in the worker than may; the rest
/// waits in front of it, keeps its order, and all of it is judged.
pub(crate) fn no_more_waits_behind_slow_batches_than_may() {
    let collection = |name: &str, schema| Collection {
        name: name.to_owned(),
        schema,
        overload: Overload::default(),
        limits: CollectionLimits::default(),
    };
    for aside_max in [1, 7] {
        let collections = Collections::new(vec![
            collection("", Schema::Opaque),
            collection("slow", Schema::Busy { steps_per_delta: 20_000 }),
        ]);
        let mut config = InlineConfig::fused(2, collections);
        config.limits.aside_per_worker_max = aside_max;
        let mut world = deltaworks_pipeline::inline::Inline::new(config);
        let peers = [0, 1].map(|core| world.connect(core).expect("room"));
        let reader = world.connect(0).expect("room");
        let names = ["slow/a", "slow/b", "slow/c", "quick"];
        let mut handles = Vec::new();
        for (peer, names) in peers.into_iter().zip(names.chunks(2)) {
            for name in names {
                let (opened, _) = open(&mut world, peer, writing(name, 1));
                handles.push((peer, opened.handle, opened.slot));
                open(&mut world, reader, reading(name, From::Live, Policy::Gap));
            }
        }
        for number in 1..=30 {
            for (peer, handle, _) in &handles {
                world.publish(*peer, *handle, number, &[b"one of many"]);
            }
        }
        let mut most = 0;
        while world.turn() > 0 {
            let waiting = (0..2).map(|core| world.stages(core).set_aside_count());
            most = most.max(waiting.max().unwrap_or(0));
        }
        world.run();
        assert_eq!(most, aside_max as usize, "it was full, and not more than that");
        assert!((0..2).any(|core| world.counts(core).validation.full_asides > 0));
        let got = received(&world.events(reader));
        for (_, _, slot) in handles {
            let sequences = got.iter().filter(|it| it.0 == slot).map(|it| it.1);
            assert_eq!(sequences.collect::<Vec<_>>(), (1..=30).collect::<Vec<_>>());
        }
    }
}

/// A client's `close` that crosses the server's own frees the handle: none is lost, however often.
pub(crate) fn a_close_that_crosses_the_servers_frees_the_handle() {
    let mut world = world(2, |config| config.limits.handles_per_session_max = 2);
    let peer = world.connect(0).expect("room");
    for round in 0..10 {
        let name = format!("d{round}");
        let (opened, _) = open(&mut world, peer, writing(&name, 1));
        world.drop_document(peer, opened.handle);
        world.turn();
        world.turn_core(0);
        world.close(peer, opened.handle);
        world.run();
        let told = world.events(peer);
        assert!(told.iter().any(|it| matches!(it, Event::Closed(..))), "{told:?}");
    }
}

/// An open that is refused because the session reads the document already: the answers to batches
/// that were on their way from the session that it fenced off are not told to it.
pub(crate) fn a_refused_open_is_told_of_nothing_else() {
    let mut world = world(1, |_| ());
    let older = world.connect(0).expect("room");
    let newer = world.connect(0).expect("room");
    let (first, _) = open(&mut world, older, writing("d", 1));
    open(&mut world, newer, reading("d", From::Live, Policy::Gap));
    world.publish(older, first.handle, 1, &[b"one"]);
    let mut both = writing("d", 1);
    both.access.read = true;
    world.open(newer, both);
    world.run();
    let told = world.events(newer);
    let refused = Event::OpenRefused(2, OpenRefusal::AlreadyOpen);
    assert!(told.contains(&refused), "{told:?}");
    assert!(!told.iter().any(|it| matches!(it, Event::Ack(_))), "{told:?}");
    // The handle that was never told of is given to the next open.
    let (next, _) = open(&mut world, newer, writing("e", 1));
    assert_eq!(next.handle, 1);
}
