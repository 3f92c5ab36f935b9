//! Bad and broken input: what it costs its sender, and that it costs nobody else.

use super::world::{acknowledged, open, reading, received, world, writing};
use deltaworks_pipeline::inline::{Event, Inline, Peer, batch};
use deltaworks_pipeline::message::{BatchRefusal, CloseReason, From, OpenRefusal, Policy};
use deltaworks_pipeline::port::SessionFault;

fn fault(world: &mut Inline, peer: Peer) -> Option<SessionFault> {
    world.events(peer).into_iter().find_map(|event| match event {
        Event::Fault(fault) => Some(fault),
        _ => None,
    })
}

/// A stream of batches cut at every byte position arrives as if it had come in one piece.
pub(crate) fn frames_cut_at_every_position_arrive_whole() {
    let mut bytes = vec![];
    for number in 1..=4_u64 {
        bytes.extend(batch(0, number, &[&[number as u8; 30], &[9; 3]]));
    }
    for cut in 1..bytes.len() {
        let mut world = world(1, |_| ());
        let publisher = world.connect(0).expect("room");
        let subscriber = world.connect(0).expect("room");
        open(&mut world, publisher, writing("d", 1));
        open(&mut world, subscriber, reading("d", From::Live, Policy::Gap));
        for piece in [&bytes[..cut], &bytes[cut..]] {
            world.send(publisher, piece);
            world.run();
        }
        let got = received(&world.events(subscriber));
        assert_eq!(got.len(), 8, "cut at {cut}");
        assert_eq!(world.live_bytes(0).carries, 0);
    }
}

/// One byte at a time, with a large batch among small ones, from two sessions in turns.
pub(crate) fn bytes_that_trickle_arrive_whole() {
    let mut world = world(1, |config| {
        config.limits.image_bytes_max = 32 << 10;
        config.chunks = 8;
    });
    let subscriber = world.connect(0).expect("room");
    let mut senders = vec![];
    for producer in 1..=2 {
        let peer = world.connect(0).expect("room");
        let (opened, _) = open(&mut world, peer, writing("d", producer));
        let mut bytes = batch(opened.handle, 1, &[&[1; 100]]);
        bytes.extend(batch(opened.handle, 2, &[&[2; 20_000]]));
        bytes.extend(batch(opened.handle, 3, &[&[3; 7]]));
        senders.push((peer, bytes));
    }
    open(&mut world, subscriber, reading("d", From::Live, Policy::Gap));
    for position in 0..senders[0].1.len() {
        for (peer, bytes) in &senders {
            world.send(*peer, &bytes[position..=position]);
        }
        if position % 64 == 0 {
            world.turn();
        }
    }
    world.run();
    let got = received(&world.events(subscriber));
    let lengths: Vec<usize> = got.iter().map(|(_, _, delta)| delta.len()).collect();
    assert_eq!(lengths.iter().sum::<usize>(), 2 * 20_107);
    assert_eq!(got.len(), 6);
    assert_eq!(world.live_bytes(0).carries, 0);
}

/// Random bytes end the session that sent them, and only that one.
pub(crate) fn random_bytes_end_only_their_session() {
    let mut world = world(1, |_| ());
    let witness = world.connect(0).expect("room");
    let subscriber = world.connect(0).expect("room");
    let (opened, _) = open(&mut world, witness, writing("d", 1));
    open(&mut world, subscriber, reading("d", From::Live, Policy::Gap));
    let mut state = 1_u64;
    for number in 1..=300_u64 {
        let vandal = world.connect(0).expect("the places of ended sessions come back");
        let noise: Vec<u8> = (0..64)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) as u8
            })
            .collect();
        world.send(vandal, &noise);
        world.run();
        assert!(matches!(fault(&mut world, vandal), Some(SessionFault::Malformed(_))));
        assert!(world.is_forgotten(vandal));
        world.publish(witness, opened.handle, number, &[b"unharmed"]);
        world.run();
    }
    assert_eq!(received(&world.events(subscriber)).len(), 300);
}

/// Resends are acknowledged and not applied; a jump and a forgotten number are refused.
pub(crate) fn resends_are_recognised_and_jumps_refused() {
    let mut world = world(1, |config| config.limits.producers_per_document_max = 1);
    let peer = world.connect(0).expect("room");
    let subscriber = world.connect(0).expect("room");
    let (opened, _) = open(&mut world, peer, writing("d", 1));
    open(&mut world, subscriber, reading("d", From::Live, Policy::Gap));
    for number in [1_u64, 2, 2, 1, 3] {
        world.publish(peer, opened.handle, number, &[&[number as u8]]);
    }
    world.run();
    let events = world.events(peer);
    assert_eq!(acknowledged(&events, opened.handle).0, 3);
    let duplicates: u32 = events
        .iter()
        .map(|event| if let Event::Ack(ack) = event { ack.duplicates } else { 0 })
        .sum();
    assert_eq!(duplicates, 2);
    world.publish(peer, opened.handle, 9, &[b"jump"]);
    world.run();
    assert!(world.events(peer).iter().any(|event| matches!(event,
        Event::Refused(refusal) if refusal.reason == BatchRefusal::SequenceJump { expected: 4 })));
    assert_eq!(received(&world.events(subscriber)).len(), 3);

    // Another producer takes the only place: what the first one resends afterwards is an error.
    world.close(peer, opened.handle);
    world.run();
    let (other, _) = open(&mut world, peer, writing("d", 2));
    assert_eq!(other.producer_sequence, 3, "numbers go on above the floor");
    world.close(peer, other.handle);
    world.run();
    let (back, _) = open(&mut world, peer, writing("d", 1));
    world.publish(peer, back.handle, 3, &[b"applied long ago"]);
    world.run();
    assert!(world.events(peer).iter().any(|event| matches!(event,
        Event::Refused(refusal) if refusal.reason == BatchRefusal::ProducerForgotten)));
    assert!(received(&world.events(subscriber)).is_empty());
}

/// The newer of two sessions with one producer writes; the older is told and its batches refused.
pub(crate) fn the_older_of_two_sessions_with_one_producer_is_fenced() {
    let mut world = world(2, |_| ());
    let older = world.connect(0).expect("room");
    let newer = world.connect(1).expect("room");
    let (first, _) = open(&mut world, older, writing("d", 1));
    world.publish(older, first.handle, 1, &[b"one"]);
    world.run();
    let (second, _) = open(&mut world, newer, writing("d", 1));
    assert_eq!((second.producer_sequence, second.origin), (1, first.origin));
    let events = world.events(older);
    assert_eq!(acknowledged(&events, first.handle).0, 1);
    assert!(events.contains(&Event::Closed(first.handle, CloseReason::Fenced)), "{events:?}");
    world.publish(older, first.handle, 2, &[b"not mine any more"]);
    world.publish(newer, second.handle, 2, &[b"two"]);
    world.run();
    assert_eq!(acknowledged(&world.events(newer), second.handle).0, 2);
    assert_eq!(
        world.counts(0).validation.accepted_batches + world.counts(1).validation.accepted_batches,
        2
    );
}

/// Credit ignored: a numbered end for the session that did, nothing for others.
pub(crate) fn ignoring_credit_ends_the_session() {
    let mut world = world(1, |config| config.limits.credit_bytes = 4096);
    let peer = world.connect(0).expect("room");
    let (opened, credit) = open(&mut world, peer, writing("d", 1));
    assert_eq!(credit, 4096);
    let mut bytes = vec![];
    for number in 1..=6 {
        bytes.extend(batch(opened.handle, number, &[&[0; 1000]]));
    }
    world.send(peer, &bytes);
    world.run();
    let handle = opened.handle;
    assert_eq!(fault(&mut world, peer), Some(SessionFault::CreditExceeded { handle }));
    assert_eq!(world.counts(0).validation.accepted_batches, 4, "what came within it is accepted");
    assert!(world.is_forgotten(peer));
}

/// Handles: unknown, without access, closed twice, reopened; limits of documents and handles.
pub(crate) fn handles_and_limits_are_checked() {
    let mut world = world(1, |config| {
        config.limits.documents_per_worker_max = 3;
        config.limits.handles_per_session_max = 5;
    });
    let peer = world.connect(0).expect("room");
    for refused in ["", "unknown/collection", "line\nbreak"] {
        world.open(peer, writing(refused, 1));
    }
    world.open(peer, writing("without-producer", 0));
    world.run();
    let told: Vec<_> = world
        .events(peer)
        .into_iter()
        .map(|event| if let Event::OpenRefused(_, why) = event { Some(why) } else { None })
        .collect();
    assert_eq!(
        told,
        [
            OpenRefusal::BadName,
            OpenRefusal::UnknownCollection,
            OpenRefusal::BadName,
            OpenRefusal::BadAccess
        ]
        .map(Some)
    );
    let reader = open(&mut world, peer, reading("d", From::Live, Policy::Gap)).0;
    let writer = open(&mut world, peer, writing("d", 1)).0;
    assert_ne!(reader.handle, writer.handle, "one handle reads, another writes");
    world.open(peer, reading("d", From::Live, Policy::Gap));
    world.run();
    assert_eq!(world.events(peer), [Event::OpenRefused(1, OpenRefusal::AlreadyOpen)]);
    for name in ["e", "f", "g"] {
        world.open(peer, reading(name, From::Live, Policy::Gap));
        world.run();
    }
    world.open(peer, writing("d", 2));
    world.open(peer, writing("d", 3));
    world.run();
    let events = world.events(peer);
    let refused = |why| {
        let is_it = |it: &&Event| matches!(it, Event::OpenRefused(_, told) if *told == why);
        events.iter().filter(is_it).count()
    };
    assert_eq!(refused(OpenRefusal::DocumentLimit), 1);
    assert_eq!(refused(OpenRefusal::HandleLimit), 1);

    world.publish(peer, reader.handle, 1, &[b"a reader may not write"]);
    world.run();
    assert!(matches!(fault(&mut world, peer), Some(SessionFault::NotAWriter { .. })));
    let other = world.connect(0).expect("room");
    world.close(other, 3);
    world.run();
    assert_eq!(fault(&mut world, other), Some(SessionFault::UnknownHandle { handle: 3 }));
}

/// A message that never becomes whole is ended by its deadline, small or large.
pub(crate) fn an_unfinished_message_has_a_deadline() {
    let mut world = world(1, |config| config.limits.image_bytes_max = 32 << 10);
    for length in [200, 15_000, 20_000] {
        let peer = world.connect(0).expect("room");
        let (opened, _) = open(&mut world, peer, writing("d", length as u64));
        let image = batch(opened.handle, 1, &[&vec![1; length - 100]]);
        world.send(peer, &image[..image.len() - 8]);
        world.run();
        world.advance_ns(9_000_000_000);
        world.run();
        assert!(!world.is_forgotten(peer));
        world.advance_ns(1_500_000_000);
        world.run();
        assert_eq!(fault(&mut world, peer), Some(SessionFault::MessageDeadline));
    }
    assert_eq!(world.live_bytes(0).carries, 0);
}

/// Sessions that begin large messages and never finish them do not stop the others.
pub(crate) fn unfinished_large_messages_leave_room_for_others() {
    let mut world = world(1, |config| {
        config.limits.image_bytes_max = 32 << 10;
        config.chunks = 8;
    });
    let witness = world.connect(0).expect("room");
    let (opened, _) = open(&mut world, witness, writing("d", 99));
    let mut stuck = vec![];
    for producer in 1..=20 {
        let peer = world.connect(0).expect("room");
        let (opened, _) = open(&mut world, peer, writing("big", producer));
        let image = batch(opened.handle, 1, &[&[0; 30_000]]);
        world.send(peer, &image[..20_000]);
        world.run();
        stuck.push(peer);
    }
    for number in 1..=2000 {
        world.publish(witness, opened.handle, number, &[&[3; 1000]]);
        world.run();
    }
    assert_eq!(acknowledged(&world.events(witness), opened.handle).0, 2000);
    assert!(world.counts(0).recycled_chunks > 8, "chunks come back although messages hang in them");
    for peer in stuck {
        world.disconnect(peer);
    }
    world.run();
    assert_eq!(world.live_bytes(0).carries, 0);
}

/// With no node block left a batch is refused, told so, and others go on when blocks come back.
pub(crate) fn without_nodes_a_batch_is_refused() {
    let mut world = world(1, |config| config.node_blocks = 2);
    let peer = world.connect(0).expect("room");
    let (opened, _) = open(&mut world, peer, writing("d", 1));
    for number in 1..=15 {
        world.publish(peer, opened.handle, number, &[&[1; 50]]);
        world.run();
    }
    let events = world.events(peer);
    let refused: Vec<_> = events
        .iter()
        .filter_map(|event| if let Event::Refused(refusal) = event { Some(refusal) } else { None })
        .collect();
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].producer_sequence, &refused[0].reason), (15, &BatchRefusal::Budget));
    assert_eq!(acknowledged(&events, opened.handle).0, 15, "a refused batch consumes its number");
}
