//! Fairness: what one session, one document or one flood may take of a turn, counted.

use super::world::{acknowledged, opaque, open, reading, received, world, world_of, writing};
use deltaworks_pipeline::collection::{
    Collection, CollectionLimits, Collections, Overload, Schema,
};
use deltaworks_pipeline::inline::{Event, Inline, Peer, batch};
use deltaworks_pipeline::limits::{Limits, TurnBounds};
use deltaworks_pipeline::message::{From, Policy};
use deltaworks_pipeline::stages::CoreRole;

/// Images of the smallest kind that a turn takes at most by default, whoever sends them: what a
/// turn may cost and a quarter, by what each costs, and the run that is under way.
const IMAGES_PER_TURN_MAX: u64 = 28_000 / 4 * 5 / (64 + 24 + 16) + 32;

/// A world in which one session always has bytes to read.
fn with_greedy() -> (Inline, Peer, Vec<u8>) {
    let mut world = world(1, |config| {
        config.chunks = 64;
        config.limits.credit_bytes = 1 << 30;
        config.limits.image_bytes_max = 16 << 10;
    });
    let greedy = world.connect(0).expect("room");
    let (opened, _) = open(&mut world, greedy, writing("hot", 1));
    let mut bytes = vec![];
    for number in 1..=20_000 {
        bytes.extend(batch(opened.handle, number, &[&[7; 8]]));
    }
    (world, greedy, bytes)
}

/// The turns behind the one that judges a batch: in the next the answer comes back to the session's
/// side of the core, in the one behind it is sent.
fn answer(world: &mut Inline) {
    world.turn();
    world.turn();
}

/// One session always has bytes to read, a hundred others send a message now and then: each of
/// those is judged in the turn behind its arrival, and the turn is as long as it may be, not longer.
pub(crate) fn a_greedy_session_leaves_paced_ones_their_turn() {
    let (mut world, greedy, bytes) = with_greedy();
    let paced: Vec<(Peer, u32)> = (0..100_u64)
        .map(|number| {
            let peer = world.connect(0).expect("room");
            let name = format!("quiet{number}");
            (peer, open(&mut world, peer, writing(&name, 10 + number)).0.handle)
        })
        .collect();
    world.send(greedy, &bytes);
    let (mut sent, mut taken) = (vec![0_u64; paced.len()], 0);
    for turn in 0..30 {
        assert!(world.unread_bytes(greedy) > 0, "it always has bytes to read");
        let before = world.counts(0).reception.received_images;
        let senders: Vec<usize> = (0..4).map(|step| (turn * 4 + step) % paced.len()).collect();
        for &place in &senders {
            sent[place] += 1;
            let (peer, handle) = paced[place];
            world.publish(peer, handle, sent[place], &[&[place as u8; 46]]);
            assert_eq!(world.unread_bytes(peer), 0, "it is read at once");
        }
        world.turn();
        let of_turn = world.counts(0).reception.received_images - before;
        assert!(of_turn <= IMAGES_PER_TURN_MAX, "turn {turn} took {of_turn} images");
        taken += of_turn - senders.len() as u64;
        answer(&mut world);
        for place in senders {
            let (peer, handle) = paced[place];
            let events = world.events(peer);
            assert_eq!(acknowledged(&events, handle).0, sent[place], "turn {turn}");
        }
    }
    assert!(taken >= 30 * IMAGES_PER_TURN_MAX / 8, "and it goes on: {taken}");
}

/// What a turn sends to another core waits for nothing while the ring has room: the core goes on reading.
pub(crate) fn messages_that_rings_have_room_for_keep_nobody_from_reading() {
    const TOLD_EACH_TURN: usize = 8;
    let mut world = world(2, |config| {
        config.chunks = 64;
        config.limits.credit_bytes = 1 << 30;
        config.limits.waiting_messages_max = TOLD_EACH_TURN as u32 / 2;
    });
    let opened_at = |world: &mut Inline, peer: Peer, worker: u16, which: usize| {
        let names = (0..).map(|number| format!("{which} {number}"));
        let mut all = names.map(|name| (open(world, peer, writing(&name, 1)).0, name));
        all.find(|(opened, _)| opened.worker == worker).expect("each worker is some name's home")
    };
    let (greedy, reader) = (world.connect(0).expect("room"), world.connect(0).expect("room"));
    let publisher = world.connect(1).expect("room");
    let hot = opened_at(&mut world, greedy, 0, TOLD_EACH_TURN).0.handle;
    let far: Vec<u32> = (0..TOLD_EACH_TURN)
        .map(|which| {
            let (opened, name) = opened_at(&mut world, publisher, 1, which);
            open(&mut world, reader, reading(&name, From::Live, Policy::Wait));
            opened.handle
        })
        .collect();
    for number in 1..=20_000 {
        world.send(greedy, &batch(hot, number, &[&[7; 8]]));
    }
    let (mut last, mut turns_that_told) = (0, 0);
    for turn in 1..=60 {
        let sends = world.counts(0).propagation.delivered_images;
        for handle in &far {
            world.publish(publisher, *handle, turn, &[b"far"]);
        }
        world.turn();
        turns_that_told += u64::from(world.counts(0).propagation.delivered_images > sends);
        if turn == 30 {
            last = world.counts(0).reception.received_images;
        }
    }
    assert!(
        turns_that_told > 50,
        "of each image that was sent its owner is told: {turns_that_told}"
    );
    let taken = world.counts(0).reception.received_images - last;
    assert!(taken >= 30 * IMAGES_PER_TURN_MAX / 8, "and it reads on: {taken}");
}

/// A crowd that comes at once is taken turn by turn, in the order in which it came.
pub(crate) fn a_crowd_is_taken_turn_by_turn() {
    let mut world = world(1, |config| {
        config.chunks = 16;
        config.limits.producers_per_document_max = 1000;
    });
    let crowd: Vec<(Peer, u32)> = (0..300_u64)
        .map(|number| {
            let peer = world.connect(0).expect("room");
            (peer, open(&mut world, peer, writing("square", 1 + number)).0.handle)
        })
        .collect();
    let reader = world.connect(0).expect("room");
    open(&mut world, reader, reading("square", From::Live, Policy::Gap));
    for (place, (peer, handle)) in crowd.iter().enumerate() {
        world.publish(*peer, *handle, 1, &[&(place as u32).to_le_bytes()]);
    }
    let mut taken = world.counts(0).reception.received_images;
    // A read costs 1,024, and what it brings about 100.
    let most = TurnBounds::default().reception_cost as u64 / 1_100 + 1;
    assert!(taken <= most, "{taken} of a crowd at once");
    let mut turns = 0;
    while taken < crowd.len() as u64 {
        world.turn();
        let now = world.counts(0).reception.received_images;
        assert!(now - taken <= most, "{} in a turn", now - taken);
        (taken, turns) = (now, turns + 1);
        assert!(turns < 300 / most * 3, "it takes {turns} turns");
    }
    assert!(turns >= 300 / most, "{turns} turns");
    world.run();
    let got = received(&world.events(reader)).into_iter().map(|(_, _, delta)| delta);
    let came: Vec<Vec<u8>> = (0..300_u32).map(|place| place.to_le_bytes().to_vec()).collect();
    assert_eq!(got.collect::<Vec<_>>(), came);
}

/// Sessions that all have more to say than a turn takes get the same of it.
pub(crate) fn greedy_sessions_share_evenly() {
    let (mut world, greedy, bytes) = with_greedy();
    let mut all = vec![greedy];
    for number in 2..=7 {
        let peer = world.connect(0).expect("room");
        let (opened, _) = open(&mut world, peer, writing("hot", number));
        assert_eq!(opened.handle, 0, "the bytes are the same for all");
        all.push(peer);
    }
    for peer in &all {
        world.send(*peer, &bytes);
    }
    for _ in 0..300 {
        world.turn();
    }
    let left: Vec<usize> = all.iter().map(|peer| world.unread_bytes(*peer)).collect();
    let (most, least) = (left.iter().max().copied(), left.iter().min().copied());
    let (most, least) = (most.unwrap_or(0), least.unwrap_or(0));
    assert!(most < bytes.len() && least > 0, "{left:?} of {}", bytes.len());
    assert!(most - least < 64 << 10, "{left:?}");
}

/// A flood of the smallest control messages, all in one read, is taken in shares; another session's
/// message that comes meanwhile does not wait for the rest.
pub(crate) fn a_flood_of_control_is_taken_in_shares() {
    let mut world = world(1, |config| config.limits.credit_bytes = 1 << 20);
    let (flood, paced) = (world.connect(0).expect("room"), world.connect(0).expect("room"));
    let (opened, _) = open(&mut world, paced, writing("quiet", 1));
    // A prelude alone: what it asks is the port's business.
    let ping = [8, 0, 0, 0, 23, 0, 1, 0];
    let kind = deltaworks_image::Kind::from_number(ping[4]).expect("a kind");
    assert!(!kind.is_image());
    world.send(flood, &ping.repeat(4000));
    let mut turns = 0;
    while world.live_bytes(0).carries > 0 || world.unread_bytes(flood) > 0 {
        turns += 1;
        world.publish(paced, opened.handle, turns, &[&[1; 46]]);
        world.turn();
        answer(&mut world);
        assert_eq!(acknowledged(&world.events(paced), opened.handle).0, turns);
        assert!(turns < 1000, "the flood comes to its end");
    }
    assert!(turns > 20, "4,000 messages at 512 are {turns} turns");
    assert!(world.counts(0).reception.set_aside_reads > 0, "some of it had to wait");

    // One that ends while some of it waits leaves nothing behind.
    world.send(flood, &ping.repeat(4000));
    assert!(world.live_bytes(0).carries > 0);
    world.disconnect(flood);
    world.run();
    assert_eq!(world.live_bytes(0).carries, 0);
}

/// Batches that are slow to check, though none of them too slow for its share, end a worker's turn
/// when its steps are used up; the others are judged in the turns behind it, in order, and one of
/// another session core does not wait for them.
pub(crate) fn slow_checks_end_a_turn() {
    let collection = |name: &str, schema| Collection {
        name: name.to_owned(),
        schema,
        overload: Overload::default(),
        limits: CollectionLimits::default(),
    };
    let collections = Collections::new(vec![
        collection("", Schema::Opaque),
        collection("slow", Schema::Busy { steps_per_delta: 1_000 }),
    ]);
    let serving = CoreRole { serves_sessions: true, owns_documents: false, is_elastic: false };
    let owning = CoreRole { serves_sessions: false, owns_documents: true, is_elastic: false };
    let mut world = world_of(1, collections, |config| {
        config.roles = vec![serving, serving, owning];
        config.ring_capacity = 1024;
    });
    let (greedy, paced) = (world.connect(0).expect("room"), world.connect(1).expect("room"));
    let (slow, _) = open(&mut world, greedy, writing("slow/d", 1));
    let (quick, _) = open(&mut world, paced, writing("quick", 1));
    for number in 1..=200 {
        world.publish(greedy, slow.handle, number, &[&[1]]);
    }
    let steps = u64::from(Limits::default().steps_per_turn);
    let mut accepted = world.counts(2).validation.accepted_batches;
    let (mut paced_sent, mut answered) = (0, 0);
    while accepted < 200 {
        paced_sent += 1;
        world.publish(paced, quick.handle, paced_sent, &[&[2]]);
        world.turn();
        let now = world.counts(2).validation.accepted_batches;
        assert!(now - accepted <= steps / 1_000 * 2 + 10, "{} in a turn", now - accepted);
        answered = acknowledged(&world.events(paced), quick.handle).0.max(answered);
        assert!(answered + 3 >= paced_sent, "{answered} of {paced_sent}");
        accepted = now;
    }
}

/// A thousand readers of a busy document are sent to over many turns; a quiet document's reader, and
/// its writer's answers, do not wait for them.
pub(crate) fn many_readers_hold_no_quiet_one() {
    let bounds = TurnBounds::default();
    let mut world = world_of(1, opaque(), |config| config.chunks = 64);
    let hot = world.connect(0).expect("room");
    let (hot_writer, _) = open(&mut world, hot, writing("hot", 1));
    let readers: Vec<Peer> = (0..1000)
        .map(|_| {
            let peer = world.connect(0).expect("room");
            open(&mut world, peer, reading("hot", From::Live, Policy::Gap));
            peer
        })
        .collect();
    let (writer, reader) = (world.connect(0).expect("room"), world.connect(0).expect("room"));
    let (quiet, _) = open(&mut world, writer, writing("quiet", 2));
    open(&mut world, reader, reading("quiet", From::Live, Policy::Gap));
    let (mut hot_sent, mut waits) = (0, 0);
    for number in 1..=20 {
        hot_sent += 1;
        world.publish(hot, hot_writer.handle, hot_sent, &[&[9; 100]]);
        // Some turns on: a round over a thousand is under way.
        for _ in 0..5 {
            let before = world.counts(0).propagation.sends;
            world.turn();
            let sends = world.counts(0).propagation.sends - before;
            assert!(sends <= bounds.sends_per_turn as u64, "{sends} sends in a turn");
        }
        world.publish(writer, quiet.handle, number, &[&number.to_le_bytes()]);
        world.turn();
        let got = received(&world.events(reader));
        assert_eq!(got, [(quiet.slot, number, number.to_le_bytes().to_vec())], "in that turn");
        answer(&mut world);
        let answered = acknowledged(&world.events(writer), quiet.handle).0;
        assert_eq!(answered, number, "and without delay");
        waits += usize::from(!world.stages(0).may_park());
    }
    assert!(waits > 10, "a round was under way {waits} times");
    world.run();
    for peer in readers {
        let got: Vec<u64> = received(&world.events(peer)).iter().map(|(_, at, _)| *at).collect();
        assert_eq!(got, (1..=hot_sent).collect::<Vec<_>>(), "and they miss nothing");
    }
    assert_eq!(world.counts(0).propagation.gaps, 0);
    assert!(!world.events(hot).iter().any(|event| matches!(event, Event::Fault(_))));
}
