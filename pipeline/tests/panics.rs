//! Panics in the stages: each is laid to its batch or its session, and everybody else goes on.
//!
//! Not among the scenarios, because wasm32 has no unwinding: there a panic ends the instance.

#[path = "scenarios/world.rs"]
mod world;

use deltaworks_pipeline::collection::{
    Collection, CollectionLimits, Collections, Overload, Schema,
};
use deltaworks_pipeline::inline::{Event, Inline, InlineConfig, Peer, batch};
use deltaworks_pipeline::limits::TurnBounds;
use deltaworks_pipeline::message::{BatchRefusal, CloseReason, From, Policy};
use deltaworks_pipeline::planted::PlantedPanic;
use deltaworks_pipeline::port::SessionFault;
use deltaworks_pipeline::reception::worker_of_name;
use deltaworks_pipeline::stages::CoreRole;
use world::{acknowledged, open, reading, received, world, writing};

fn refusals(events: &[Event]) -> Vec<(u32, u64, BatchRefusal)> {
    let refusals = events.iter().filter_map(|event| match event {
        Event::Refused(refusal) => {
            Some((refusal.handle, refusal.producer_sequence, refusal.reason.clone()))
        }
        _ => None,
    });
    refusals.collect()
}

fn sequences(events: &[Event], slot: u32) -> Vec<u64> {
    received(events).iter().filter(|it| it.0 == slot).map(|it| it.1).collect()
}

/// Plants in the core that owns the document.
fn plant(world: &mut Inline, cores: usize, panic: PlantedPanic) {
    let document = match &panic {
        PlantedPanic::Check { document, .. } | PlantedPanic::Append { document, .. } => document,
        _ => panic!("not an owner's"),
    };
    world.plant(worker_of_name(document, cores), panic);
}

fn in_check(document: &str) -> PlantedPanic {
    PlantedPanic::Check { document: document.to_owned(), is_repeated: false }
}

fn in_append(document: &str) -> PlantedPanic {
    PlantedPanic::Append { document: document.to_owned(), is_repeated: false }
}

/// In one input stand batches of two documents; one of them panics. It alone is refused as failed,
/// those behind it of the same document find it quarantined, and the other document gets all.
fn a_batch_panics(panic: fn(&str) -> PlantedPanic, whole_before: u64) {
    for cores in [1, 2] {
        let mut world = world(cores, |_| ());
        let writer = world.connect(0).expect("room");
        let reader = world.connect(cores - 1).expect("room");
        let (bad, _) = open(&mut world, writer, writing("bad", 1));
        let (good, _) = open(&mut world, writer, writing("good", 1));
        open(&mut world, reader, reading("bad", From::Live, Policy::Wait));
        open(&mut world, reader, reading("good", From::Live, Policy::Gap));
        let mut events = vec![];
        for number in 1..=whole_before {
            world.publish(writer, bad.handle, number, &[b"whole"]);
        }
        world.run();
        events.extend(world.events(writer));
        plant(&mut world, cores, panic("bad"));
        let mut input = Vec::new();
        for number in 1..=40 {
            input.extend(batch(good.handle, number, &[b"a", b"b"]));
            input.extend(batch(bad.handle, whole_before + number, &[b"c"]));
        }
        world.send(writer, &input);
        world.run();
        events.extend(world.events(writer));
        let refused = refusals(&events);
        assert_eq!(refused.len(), 40);
        for (place, refused) in refused.iter().enumerate() {
            let number = whole_before + 1 + place as u64;
            assert_eq!(*refused, (bad.handle, number, BatchRefusal::Failed));
        }
        assert_eq!(acknowledged(&events, good.handle).0, 40);
        // Refused batches are answered, and their credit comes back.
        let (last, credit) = acknowledged(&events, bad.handle);
        assert_eq!(last, whole_before + 40);
        assert_eq!(credit, (whole_before + 40) * batch(bad.handle, 1, &[b"c"]).len() as u64);
        let read = world.events(reader);
        assert_eq!(sequences(&read, good.slot), (1..=80).collect::<Vec<_>>());
        assert_eq!(sequences(&read, bad.slot), (1..=whole_before).collect::<Vec<_>>());
        let worker = worker_of_name("bad", cores);
        assert_eq!(world.counts(worker).validation.failed_batches, 1);

        // A later reader gets what was whole, and the next sequence is the one that failed.
        let late = world.connect(0).expect("room");
        world.open(late, reading("bad", From::Start, Policy::Gap));
        world.run();
        let read = world.events(late);
        let Event::Opened(opened, _) = &read[0] else { panic!("{read:?}") };
        assert_eq!(opened.next_sequence, whole_before + 1);
        assert_eq!(sequences(&read, bad.slot), (1..=whole_before).collect::<Vec<_>>());

        // A new writer is let in and refused by batch; what it can do is drop the document.
        let other = world.connect(0).expect("room");
        let (opened, _) = open(&mut world, other, writing("bad", 2));
        world.publish(other, opened.handle, 1, &[b"x"]);
        world.run();
        let events = world.events(other);
        assert_eq!(refusals(&events), [(opened.handle, 1, BatchRefusal::Failed)]);
        world.drop_document(other, opened.handle);
        world.run();
        let is_end = |event: &Event| matches!(event, Event::Closed(_, CloseReason::Dropped));
        assert!(world.events(late).iter().any(is_end), "readers get the stream's end");
        let (opened, _) = open(&mut world, other, writing("bad", 2));
        assert_eq!((opened.next_sequence, opened.producer_sequence), (1, 0));
        world.publish(other, opened.handle, 1, &[b"anew"]);
        world.run();
        assert_eq!(acknowledged(&world.events(other), opened.handle).0, 1);

        // Nothing of it keeps memory: chunks come round, and all is given back at the end.
        for number in 41..=4000 {
            world.publish(writer, good.handle, number, &[&[7; 400]]);
            if number % 16 == 0 {
                world.run();
                world.events(writer);
                world.events(reader);
            }
        }
        world.run();
        assert!(world.counts(0).recycled_chunks > 10, "chunks are retired past the failed batch");
        for peer in [writer, reader, late, other] {
            world.disconnect(peer);
        }
        world.run();
        for core in 0..cores {
            let live = world.live_bytes(core);
            assert_eq!((live.subscriptions, live.spills, live.carries), (0, 0, 0));
        }
    }
}

#[test]
fn a_panic_in_the_check_is_laid_to_its_batch() {
    for whole_before in [0, 1, 6, 7, 8, 20] {
        a_batch_panics(in_check, whole_before);
    }
}

#[test]
fn a_panic_in_the_middle_of_appending_is_laid_to_its_batch() {
    // 0, 7 and 14: a block was taken for the batch that is not appended.
    for whole_before in [0, 1, 6, 7, 8, 14, 20] {
        a_batch_panics(in_append, whole_before);
    }
}

/// Of many documents in one turn several panic, one behind the other: each alone pays.
#[test]
fn several_panics_in_one_turn_are_each_laid_to_their_own() {
    let mut world = world(1, |config| config.limits.credit_bytes = 1 << 20);
    let writer = world.connect(0).expect("room");
    let names: Vec<String> = (0..100).map(|place| format!("d{place}")).collect();
    let handles: Vec<u32> =
        names.iter().map(|name| open(&mut world, writer, writing(name, 1)).0.handle).collect();
    // More than a worker has machines: each is replaced.
    let failing: Vec<usize> = (0..100).filter(|place| place % 10 != 5).collect();
    for place in failing.iter().copied() {
        let panic = if place % 2 == 0 { in_check } else { in_append };
        plant(&mut world, 1, panic(&names[place]));
    }
    let mut input = Vec::new();
    for number in 1..=3 {
        for handle in &handles {
            input.extend(batch(*handle, number, &[b"x"]));
        }
    }
    world.send(writer, &input);
    world.run();
    let events = world.events(writer);
    let mut failed: Vec<u32> = refusals(&events).iter().map(|it| it.0).collect();
    assert_eq!(failed.len(), 90 * 3);
    failed.sort_unstable();
    failed.dedup();
    assert_eq!(failed, failing.iter().map(|place| handles[*place]).collect::<Vec<_>>());
    assert_eq!(world.counts(0).validation.failed_batches, 90);
    assert_eq!(world.counts(0).validation.accepted_batches, 10 * 3);
}

fn busy(steps_per_delta: u64) -> Inline {
    let collection = |name: &str, schema| Collection {
        name: name.into(),
        schema,
        overload: Overload::default().with(Policy::Wait, true),
        limits: CollectionLimits::default(),
    };
    let mut config = InlineConfig::fused(
        1,
        Collections::new(vec![
            collection("", Schema::Opaque),
            collection("slow", Schema::Busy { steps_per_delta }),
        ]),
    );
    config.limits.steps_per_turn = 4096;
    Inline::new(config)
}

/// A batch that was set aside panics when it goes on: what waits behind it is refused, its
/// machine is replaced, and other slow batches come to their end.
#[test]
fn a_panic_in_a_slow_batch_lets_those_behind_go_on() {
    let mut world = busy(20_000);
    let writer = world.connect(0).expect("room");
    let (bad, _) = open(&mut world, writer, writing("slow/bad", 1));
    let (good, _) = open(&mut world, writer, writing("slow/good", 1));
    let (quick, _) = open(&mut world, writer, writing("quick", 1));
    for number in 1..=3 {
        world.publish(writer, bad.handle, number, &[b"x"]);
        world.publish(writer, good.handle, number, &[b"y"]);
        world.publish(writer, quick.handle, number, &[b"z"]);
    }
    world.turn();
    world.turn();
    plant(&mut world, 1, in_check("slow/bad"));
    world.close(writer, bad.handle);
    world.run();
    let events = world.events(writer);
    let refused = refusals(&events);
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert!(refused.iter().all(|it| it.0 == bad.handle && it.2 == BatchRefusal::Failed));
    assert_eq!(acknowledged(&events, good.handle).0, 3);
    assert_eq!(acknowledged(&events, quick.handle).0, 3);
    let is_closed = |event: &Event| *event == Event::Closed(bad.handle, CloseReason::Asked);
    assert!(events.iter().any(is_closed), "what stood behind it goes on");
}

/// A quarantined document that nobody has open is unloaded like any other.
#[test]
fn a_quarantined_document_is_unloaded() {
    let mut world = world(1, |config| config.limits.idle_unload_ns = 1_000);
    let writer = world.connect(0).expect("room");
    let (opened, _) = open(&mut world, writer, writing("bad", 1));
    plant(&mut world, 1, in_check("bad"));
    world.publish(writer, opened.handle, 1, &[b"x"]);
    world.run();
    assert_eq!(refusals(&world.events(writer)).len(), 1);
    world.close(writer, opened.handle);
    world.run();
    world.advance_ns(1_000_000);
    for _ in 0..2 * TurnBounds::default().turns_between_sweeps {
        world.turn();
    }
    assert_eq!(world.live_bytes(0).documents, 0);
    world.events(writer);
    let (opened, _) = open(&mut world, writer, writing("bad", 1));
    world.publish(writer, opened.handle, 1, &[b"x"]);
    world.run();
    assert_eq!(acknowledged(&world.events(writer), opened.handle).0, 1, "it begins anew");
}

/// What a session had: handles of both kinds, a subscription half sent, a half message.
fn loaded(world: &mut Inline, peer: Peer, number: u64) -> u32 {
    let (own, _) = open(world, peer, writing(&format!("own{number}"), 1));
    open(world, peer, reading("shared", From::Live, Policy::Wait));
    own.handle
}

/// A session whose input makes the server panic is told and ended, whatever it had is given back,
/// and the sessions beside it go on, also those that read what it wrote.
#[test]
fn a_panic_in_a_session_ends_that_session_alone() {
    for (round, is_opening) in [(1, false), (2, true), (3, false), (4, true)] {
        let mut world = world(1, |_| ());
        let writer = world.connect(0).expect("room");
        let (shared, _) = open(&mut world, writer, writing("shared", 9));
        let witness = world.connect(0).expect("room");
        open(&mut world, witness, reading("shared", From::Live, Policy::Gap));
        open(&mut world, witness, reading("own1", From::Live, Policy::Gap));
        let baseline = world.live_bytes(0);
        let victim = world.connect(0).expect("room");
        let own = loaded(&mut world, victim, 1);
        world.set_room(victim, 100);
        for number in 1..=50 {
            world.publish(writer, shared.handle, number, &[&[3; 300]]);
        }
        world.publish(victim, own, 1, &[b"whole"]);
        world.run();
        if round > 2 {
            // Half of a long message, in a room of its own.
            let long = batch(own, 2, &[&[4; 15_000], &[4; 1000]]);
            world.send(victim, &long[..9000]);
            world.run();
        }
        let events = world.events(victim);
        assert!(!events.iter().any(|event| matches!(event, Event::Fault(_))));
        if is_opening {
            let document = "trap".to_owned();
            world.plant(0, PlantedPanic::Opening { document, is_repeated: false });
            world.open(victim, reading("trap", From::Live, Policy::Gap));
        } else {
            world.plant(0, PlantedPanic::Received { after_bytes: 0 });
            world.send(victim, &batch(own, 2, &[b"never"]));
        }
        world.run();
        let events = world.events(victim);
        assert_eq!(events.last(), Some(&Event::Fault(SessionFault::Internal)));
        assert!(world.is_forgotten(victim), "nothing of it is left");
        assert_eq!(world.counts(0).reception.failed_sessions, 1);
        world.publish(writer, shared.handle, 51, &[b"goes on"]);
        world.run();
        let read = world.events(witness);
        assert_eq!(sequences(&read, shared.slot).len(), 51, "the others go on");
        assert_eq!(acknowledged(&world.events(writer), shared.handle).0, 51);
        let live = world.live_bytes(0);
        assert_eq!(
            (live.subscriptions, live.spills, live.carries),
            (baseline.subscriptions, baseline.spills, baseline.carries)
        );
        // The credit that waited for the victim's `wait` subscription is the writer's again, and
        // the place of the victim is another's.
        let next = world.connect(0).expect("room");
        open(&mut world, next, writing("own1", 1));
        for number in 52..=3000 {
            world.publish(writer, shared.handle, number, &[&[5; 300]]);
            if number % 16 == 0 {
                world.run();
            }
        }
        world.run();
        assert_eq!(acknowledged(&world.events(writer), shared.handle).0, 3000);
        assert!(world.counts(0).recycled_chunks > 3, "chunks come round");
    }
}

/// A panic between the images of one read: those that were passed on are their owner's, and their chunk is
/// filled anew only when it has answered them, here as late as can be.
#[test]
fn what_was_passed_on_before_a_panic_keeps_its_chunk() {
    let fused = CoreRole { serves_sessions: true, owns_documents: true, is_elastic: false };
    let home = CoreRole { serves_sessions: false, ..fused };
    for roles in [vec![fused], vec![fused, home]] {
        let owner = roles.len() - 1;
        let mut world = world(1, |config| (config.roles, config.chunks) = (roles, 3));
        world.poison_recycled(0xee);
        let name_at = |worker: usize, kind: &str| {
            let mut names = (0..).map(|number| format!("{kind}{number}"));
            names.find(|name| worker_of_name(name, owner + 1) == worker).expect("one is there")
        };
        let (own, busy) = (name_at(owner, "own"), name_at(0, "busy"));
        let [victim, writer, witness] = [0; 3].map(|core| world.connect(core).expect("room"));
        let (own_opened, _) = open(&mut world, victim, writing(&own, 1));
        let (busy_opened, _) = open(&mut world, writer, writing(&busy, 1));
        open(&mut world, witness, reading(&own, From::Live, Policy::Gap));
        open(&mut world, witness, reading(&busy, From::Live, Policy::Gap));
        world.plant(0, PlantedPanic::Passing { after_images: 1 });
        let input = (1..=3).flat_map(|number| batch(own_opened.handle, number, &[b"whole"]));
        world.send(victim, &input.collect::<Vec<_>>());
        world.turn_core(0);
        assert_eq!(world.events(victim).last(), Some(&Event::Fault(SessionFault::Internal)));
        let counts = world.counts(0).reception;
        assert_eq!((counts.failed_sessions, counts.received_images), (1, 1));

        // The pool goes round several times while the owner, if it is another core, has not come to it.
        let (mut read, mut expected) = (vec![], vec![(own_opened.slot, 1, b"whole".to_vec())]);
        let payload = |number: u64| vec![number as u8; 400];
        for number in 1..=4000 {
            world.publish(writer, busy_opened.handle, number, &[&payload(number)]);
            expected.push((busy_opened.slot, number, payload(number)));
            if number % 16 == 0 {
                (0..8).for_each(|_| _ = world.turn_core(0));
                if number > 2000 {
                    world.run();
                }
                read.extend(received(&world.events(witness)));
            }
            if number == 2000 {
                assert!(world.counts(0).recycled_chunks > 8, "{:?}", world.counts(0));
            }
        }
        assert!(world.is_forgotten(victim), "nothing of it is left");
        assert_eq!(acknowledged(&world.events(writer), busy_opened.handle).0, 4000);
        read.sort();
        expected.sort();
        assert!(read == expected, "each is there once, with its bytes");
        // No chunk waits for an answer that nobody gives.
        assert_eq!(world.stages(0).chunk_counts(), (3, 2));
    }
}

/// A panic that comes while the session ends already cannot be laid to its input, nor one outside
/// of batches and sessions: it goes on to whoever turns the core.
#[test]
fn other_panics_are_not_contained() {
    let mut world = world(1, |_| ());
    let writer = world.connect(0).expect("room");
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        // A peer that does not exist: the index is the server's own fault.
        world.set_room(writer, 0);
        let mut other = Inline::new(InlineConfig::fused(1, world::opaque()));
        other.disconnect(writer);
    }));
    assert!(outcome.is_err());
}

/// At an end without time what was received and not appended is refused, each batch by its
/// number, and what was appended stands.
#[test]
fn what_is_not_appended_is_refused_at_the_end() {
    let mut world = busy(1 << 30);
    let writer = world.connect(0).expect("room");
    let reader = world.connect(0).expect("room");
    let (slow, _) = open(&mut world, writer, writing("slow/d", 1));
    let (quick, _) = open(&mut world, writer, writing("quick", 1));
    open(&mut world, reader, reading("quick", From::Live, Policy::Gap));
    for number in 1..=5 {
        world.publish(writer, slow.handle, number, &[b"x"]);
        world.publish(writer, quick.handle, number, &[b"y"]);
    }
    for _ in 0..10 {
        world.turn();
    }
    assert_eq!(acknowledged(&world.events(writer), quick.handle).0, 5);
    world.publish(writer, quick.handle, 6, &[b"on its way"]);
    world.refuse_rest();
    world.run();
    let events = world.events(writer);
    let refused = refusals(&events);
    let of = |handle: u32| -> Vec<u64> {
        refused.iter().filter(|it| it.0 == handle).map(|it| it.1).collect()
    };
    assert_eq!((of(slow.handle), of(quick.handle)), ((1..=5).collect(), vec![6]));
    assert!(refused.iter().all(|it| it.2 == BatchRefusal::NotAppended));
    assert_eq!(sequences(&world.events(reader), quick.slot), [1, 2, 3, 4, 5]);
}

/// A panic at a batch that was held for a document on its way is laid to that batch at the new owner:
/// the document is quarantined there, has one owner, and nothing that was accepted is lost.
#[test]
fn a_held_batch_panics_at_the_new_owner() {
    let serves = CoreRole { serves_sessions: true, owns_documents: false, is_elastic: false };
    let home = CoreRole { serves_sessions: false, owns_documents: true, is_elastic: false };
    let elastic = CoreRole { is_elastic: true, ..home };
    let mut world = world(1, |config| config.roles = vec![serves, home, elastic]);
    let writer = world.connect(0).expect("room");
    let reader = world.connect(0).expect("room");
    let (bad, _) = open(&mut world, writer, writing("bad", 1));
    open(&mut world, reader, reading("bad", From::Live, Policy::Gap));
    world.publish(writer, bad.handle, 1, &[b"whole"]);
    world.run();
    world.plant(2, in_check("bad"));
    world.move_document(1, bad.slot, bad.generation, 1).expect("it may move");
    for number in 2..=40 {
        world.turn_core(number as usize % 3);
        world.publish(writer, bad.handle, number, &[b"b"]);
    }
    world.run();
    // Its first batch is awaited no longer.
    world.advance_ns(20_000_000);
    world.run();
    let moved = world.take_moved(2).expect("it has come");
    assert!(moved.held > 0, "{moved:?}");
    let events = world.events(writer);
    let refused = refusals(&events);
    let whole = 40 - refused.len() as u64;
    assert!((1..40).contains(&whole), "{whole} batches came before the new owner's first");
    for (place, refused) in refused.iter().enumerate() {
        let number = whole + 1 + place as u64;
        assert_eq!(*refused, (bad.handle, number, BatchRefusal::Failed));
    }
    assert_eq!(acknowledged(&events, bad.handle).0, 40);
    assert_eq!(sequences(&world.events(reader), bad.slot), (1..=whole).collect::<Vec<_>>());
    assert_eq!((world.stages(1).document_count(), world.stages(2).document_count()), (0, 1));
    assert_eq!(world.counts(2).validation.failed_batches, 1);
    // It can be moved on, and dropped, as any other.
    world.move_document(2, bad.slot, bad.generation, 0).expect("it may go home");
    world.run();
    assert_eq!((world.stages(1).document_count(), world.stages(2).document_count()), (1, 0));
    world.publish(writer, bad.handle, 41, &[b"b"]);
    world.run();
    let events = world.events(writer);
    assert_eq!(refusals(&events), [(bad.handle, 41, BatchRefusal::Failed)], "still quarantined");
    world.drop_document(writer, bad.handle);
    world.run();
    assert_eq!(world.stages(1).document_count(), 0, "nothing is left of it");
}
