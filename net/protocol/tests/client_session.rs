//! A client session against a fake server, over a way that the tests can disturb.

mod fake;
mod user;

use deltaworks_image::{BatchBuilder, ImageError, Kind, Limits};
use deltaworks_protocol::client::{
    Event, Fault, Healing, OpenError, Outcome, PublishError, UnknownReason,
};
use deltaworks_protocol::error_code::ErrorCode;
use deltaworks_protocol::message::{Access, OpenOptions, Policy, Start};
use fake::{BAD, FakeServer};
use user::*;

#[test]
fn what_is_published_is_acknowledged_and_read_by_all() {
    let mut server = FakeServer::new();
    let (mut writer, mut reader) = (User::new(Healing::On), User::new(Healing::On));
    let document = writer.open("a", Access::Both, Start::Live);
    reader.open("a", Access::Read, Start::Live);
    reader.run(&mut server);
    assert_eq!(writer.publish(document, &[b"1", b"2"]), 1);
    assert_eq!(writer.publish(document, &[b"3"]), 2);
    writer.run(&mut server);
    reader.run(&mut server);
    assert_eq!(writer.outcomes(), [(1, accepted(1)), (2, accepted(3))]);
    assert_eq!(writer.deltas(), [b"1", b"2", b"3"]);
    assert_eq!(reader.deltas(), writer.deltas());
    assert_eq!(reader.read[1].1, 3);
    assert!(writer.faults.is_empty() && reader.faults.is_empty());
    assert_eq!(writer.session.counters().sent, 2);
}

#[test]
fn own_batches_are_not_passed_on_without_echo() {
    let mut server = FakeServer::new();
    let (mut one, mut other) = (User::new(Healing::On), User::new(Healing::On));
    let mine = one.open("a", Access::Both, Start::Live);
    let options = OpenOptions {
        access: Access::Both,
        start: Start::Live,
        policy: Policy::Wait,
        producer: 8,
        echo: false,
    };
    let theirs = other.session.open(1, "a", options).unwrap();
    one.run(&mut server);
    other.run(&mut server);
    one.publish(mine, &[b"one"]);
    one.run(&mut server);
    other.run(&mut server);
    other.publish(theirs, &[b"other"]);
    other.run(&mut server);
    one.run(&mut server);
    other.publish(theirs, &[b"more"]);
    other.run(&mut server);
    assert_eq!(other.deltas(), [b"one"]);
    assert_eq!(other.session.counters().suppressed, 2);
    assert_eq!(one.deltas(), [&b"one"[..], b"other"]);
    assert_eq!((policy(&server, 0), policy(&server, 1)), (Policy::Gap, Policy::Wait));
}

#[test]
fn credit_bounds_what_is_in_flight() {
    let mut server = FakeServer::new();
    server.credit_bytes = 100;
    server.holds_credit = true;
    let mut user = User::new(Healing::On);
    let document = user.open("a", Access::Write, Start::Live);
    for _ in 0..5 {
        user.publish(document, &[b"x"]);
    }
    user.run(&mut server);
    // 64 bytes each: two may go, the second takes the balance below zero.
    assert_eq!(user.outcomes().len(), 2);
    server.grant(0, 28);
    user.run(&mut server);
    assert_eq!(user.outcomes().len(), 2, "a balance of zero is not above zero");
    server.grant(0, 1);
    user.run(&mut server);
    assert_eq!(user.outcomes().len(), 3);
    server.holds_credit = false;
    server.grant(0, 1_000);
    user.run(&mut server);
    assert_eq!(user.outcomes().len(), 5);
    assert!(user.faults.is_empty(), "{:?}", user.faults);
}

#[test]
fn the_backlog_is_bounded() {
    let mut user = User::new(Healing::On);
    let document = user.open("a", Access::Write, Start::Live);
    let mut batch = BatchBuilder::new(Limits::DEFAULT);
    let told = loop {
        batch.append(&[7; 60_000]).unwrap();
        match user.session.publish(document, &mut batch) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(told, PublishError::Backlog);
    assert_eq!(batch.count(), 1, "what is not taken stays with the user");
}

#[test]
fn a_refused_batch_is_told_with_its_place_and_consumes_its_number() {
    let mut server = FakeServer::new();
    let mut user = User::new(Healing::Off);
    let document = user.open("a", Access::Both, Start::Live);
    user.publish(document, &[b"1"]);
    user.publish(document, &[b"2", BAD]);
    user.publish(document, &[b"3"]);
    user.run(&mut server);
    let outcomes = user.outcomes();
    assert_eq!(outcomes.len(), 3);
    assert_eq!(outcomes[2], (3, accepted(2)));
    let (2, Outcome::Refused(refusal)) = &outcomes[1] else { panic!("{outcomes:?}") };
    assert_eq!(refusal.error_code(), Some(ErrorCode::DeltaInvalid));
    assert_eq!(refusal.delta, Some(0));
    assert_eq!(user.deltas(), [b"1", b"3"]);
    assert_eq!(user.session.counters().refused, 1);
}

#[test]
fn cumulative_acks_answer_in_order() {
    let mut server = FakeServer::new();
    server.holds_acks = true;
    let mut user = User::new(Healing::On);
    let document = user.open("a", Access::Write, Start::Live);
    user.publish(document, &[b"1"]);
    user.publish(document, &[BAD]);
    user.publish(document, &[b"3"]);
    user.run(&mut server);
    assert_eq!(user.outcomes(), [], "a refusal waits for the ack that covers it");
    let mut acks = 0;
    user.down = Box::new(move |message| {
        acks += usize::from(message[4] == Kind::Ack.number());
        // Only the last of the three arrives, as if the server had merged them.
        if acks == 3 || message[4] != Kind::Ack.number() { vec![message] } else { vec![] }
    });
    release_acks(&mut server);
    user.run(&mut server);
    let outcomes: Vec<Outcome> = user.outcomes().into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(outcomes[0], Outcome::Accepted { sequence: None });
    assert!(matches!(outcomes[1], Outcome::Refused(_)));
    assert_eq!(outcomes[2], accepted(2));
}

#[test]
fn unacknowledged_batches_are_sent_again_and_not_applied_twice() {
    let mut server = FakeServer::new();
    server.holds_acks = true;
    let mut user = User::new(Healing::On);
    let document = user.open("a", Access::Both, Start::Live);
    for delta in [b"1", b"2"] {
        user.publish(document, &[delta]);
    }
    user.run(&mut server);
    assert_eq!(user.outcomes(), []);
    user.fault(Fault::Disconnected("cable".into()));
    server.holds_acks = false;
    user.publish(document, &[b"3"]);
    user.run(&mut server);
    let outcomes = user.outcomes();
    assert_eq!(outcomes[0], (1, Outcome::Duplicate { sequence: None }));
    assert_eq!(outcomes[1], (2, Outcome::Duplicate { sequence: Some(2) }));
    assert_eq!(outcomes[2], (3, accepted(3)));
    assert_eq!(server.deltas("a"), [b"1", b"2", b"3"]);
    assert_eq!(user.deltas(), [b"1", b"2", b"3"], "the stream goes on without a seam");
    let counters = user.session.counters();
    assert_eq!((counters.resent, counters.duplicates, counters.reconnects), (2, 2, 1));
}

#[test]
fn a_lost_batch_on_the_way_up_is_healed() {
    for nth in 0..3 {
        let mut server = FakeServer::new();
        let mut user = User::new(Healing::On);
        user.up = at_batch(nth, |_| vec![]);
        let document = user.open("a", Access::Both, Start::Live);
        for delta in [b"1", b"2", b"3"] {
            user.publish(document, &[delta]);
        }
        user.run(&mut server);
        if nth == 2 {
            // Nobody misses the last one until its answer is overdue.
            user.now_ns += 10_000 * MS;
            let told = user.session.handle_timeout(user.now_ns);
            assert_eq!(told, Err(Fault::AnswerTimeout));
            user.fault(told.unwrap_err());
            user.run(&mut server);
        } else {
            assert_eq!(user.faults, [Fault::Jump(document)]);
        }
        assert_eq!(server.deltas("a"), [b"1", b"2", b"3"], "{nth}");
        assert_eq!(user.deltas(), [b"1", b"2", b"3"], "{nth}");
        assert!(user.session.counters().resent > 0);
        assert_eq!(user.outcomes().len(), 3);
    }
}

#[test]
fn a_doubled_batch_on_the_way_up_is_applied_once() {
    let mut server = FakeServer::new();
    let mut user = User::new(Healing::Off);
    user.up = at_batch(1, |message| vec![message.clone(), message]);
    let document = user.open("a", Access::Both, Start::Live);
    for delta in [b"1", b"2", b"3"] {
        user.publish(document, &[delta]);
    }
    user.run(&mut server);
    assert_eq!(user.deltas(), [b"1", b"2", b"3"]);
    assert_eq!(user.session.counters().duplicates, 1);
    assert_eq!(user.outcomes().len(), 3);
    assert!(user.outcomes().iter().all(|(_, o)| matches!(o, Outcome::Accepted { .. })));
}

#[test]
fn faults_on_the_way_down_are_healed_or_told_by_name() {
    fn doubled(message: Vec<u8>) -> Vec<Vec<u8>> {
        vec![message.clone(), message]
    }
    fn corrupted(mut message: Vec<u8>) -> Vec<Vec<u8>> {
        let last = message.len() - 1;
        message[last] ^= 1;
        vec![message]
    }
    fn misplaced(mut message: Vec<u8>) -> Vec<Vec<u8>> {
        message[24] ^= 1;
        vec![message]
    }
    type Case = (&'static str, fn() -> Way, fn(&Fault) -> bool);
    let ways: [Case; 5] = [
        (
            "drop",
            || at_batch(1, |_| vec![]),
            |f| matches!(f, Fault::Missing { expected: 2, came: 3, .. }),
        ),
        (
            "double",
            || at_batch(1, doubled),
            |f| matches!(f, Fault::Doubled { expected: 3, came: 2, .. }),
        ),
        ("swap", || swapped_at(1), |f| matches!(f, Fault::Missing { expected: 2, came: 3, .. })),
        ("padding", || at_batch(1, corrupted), |f| matches!(f, Fault::Image(_))),
        ("header", || at_batch(1, misplaced), |f| *f == Fault::Image(ImageError::HeaderCrc)),
    ];
    for (name, way, is_named) in ways {
        for healing in [Healing::On, Healing::Off] {
            let mut server = FakeServer::new();
            let (mut writer, mut reader) = (User::new(Healing::On), User::new(healing));
            reader.down = way();
            let document = writer.open("a", Access::Write, Start::Live);
            reader.open("a", Access::Read, Start::Live);
            reader.run(&mut server);
            for delta in [b"1", b"2", b"3", b"4"] {
                writer.publish(document, &[delta]);
            }
            writer.run(&mut server);
            reader.run(&mut server);
            if healing == Healing::On {
                assert_eq!(reader.deltas(), [b"1", b"2", b"3", b"4"], "{name}");
                let counters = reader.session.counters();
                assert!(counters.reconnects + counters.doubled > 0, "{name}");
            } else {
                let failure = reader.session.failure().expect(name);
                assert!(is_named(failure), "{name}: {failure:?}");
                assert_eq!(reader.events.last(), Some(&Event::Failed(failure.clone())));
            }
        }
    }
}

#[test]
fn a_gap_is_told_and_the_stream_goes_on_behind_it() {
    let mut server = FakeServer::new();
    let mut writer = User::new(Healing::On);
    let document = writer.open("a", Access::Write, Start::Live);
    for delta in [b"1", b"2", b"3"] {
        writer.publish(document, &[delta]);
    }
    writer.run(&mut server);
    let Some(Event::Opened(_, opened)) =
        writer.events.iter().find(|event| matches!(event, Event::Opened(..)))
    else {
        panic!("never opened")
    };
    let epoch = opened.epoch;
    move_window(&mut server, "a", 2);
    for healing in [Healing::On, Healing::Off] {
        let mut reader = User::new(healing);
        let key = reader.open("a", Access::Read, Start::Sequence { sequence: 1, epoch });
        reader.run(&mut server);
        if healing == Healing::On {
            let policy = Policy::Gap;
            let gap = Event::Gap { document: key, from: 1, to: 3, policy, behind_bytes: 0 };
            assert!(reader.events.contains(&gap), "{:?}", reader.events);
            assert_eq!(reader.deltas(), [b"3"]);
            assert_eq!(reader.session.counters().gaps, 1);
        } else {
            let gap = Fault::Gap { document: key, from: 1, to: 3 };
            assert_eq!(reader.session.failure(), Some(&gap));
        }
    }
}

#[test]
fn a_subscription_inside_a_batch_skips_its_beginning() {
    let mut server = FakeServer::new();
    let mut writer = User::new(Healing::On);
    let document = writer.open("a", Access::Write, Start::Live);
    writer.publish(document, &[b"1", b"2", b"3"]);
    writer.publish(document, &[b"4"]);
    writer.run(&mut server);
    let mut reader = User::new(Healing::Off);
    reader.open("a", Access::Read, Start::Sequence { sequence: 3, epoch: 101 });
    reader.run(&mut server);
    assert_eq!(reader.deltas(), [b"3", b"4"]);
    assert_eq!(reader.read[0].1, 3);
}

#[test]
fn after_a_new_epoch_nobody_knows_what_was_applied() {
    let mut server = FakeServer::new();
    server.holds_acks = true;
    let mut user = User::new(Healing::On);
    let document = user.open("a", Access::Both, Start::Live);
    user.publish(document, &[b"1"]);
    user.run(&mut server);
    server.forget_documents();
    server.holds_acks = false;
    user.fault(Fault::Disconnected("restart".into()));
    user.publish(document, &[b"2"]);
    user.run(&mut server);
    let outcomes = user.outcomes();
    assert_eq!(outcomes[0], (1, Outcome::Unknown(UnknownReason::EpochChanged)));
    assert_eq!(outcomes[1], (2, accepted(1)));
    let changed = |event: &Event| matches!(event, Event::EpochChanged { sequence: 1, .. });
    assert!(user.events.iter().any(changed), "{:?}", user.events);
    assert_eq!(server.deltas("a"), [b"2"]);
}

#[test]
fn a_known_producer_goes_on_with_its_numbers() {
    let mut server = FakeServer::new();
    for round in 1..=3 {
        let mut user = User::new(Healing::On);
        let document = user.open("a", Access::Write, Start::Live);
        user.publish(document, &[b"x"]);
        user.run(&mut server);
        assert_eq!(user.outcomes(), [(1, accepted(round))]);
        assert!(user.faults.is_empty());
    }
    assert_eq!(server.deltas("a").len(), 3);
}

#[test]
fn the_older_session_of_a_producer_is_fenced_off() {
    let mut server = FakeServer::new();
    let (mut older, mut newer) = (User::new(Healing::On), User::new(Healing::On));
    let document = older.open("a", Access::Write, Start::Live);
    older.run(&mut server);
    newer.open("a", Access::Write, Start::Live);
    newer.run(&mut server);
    older.run(&mut server);
    let code = ErrorCode::ClosedByFence.number();
    assert_eq!(older.events.last(), Some(&Event::Closed { document, code }));
    let mut batch = BatchBuilder::new(Limits::DEFAULT);
    batch.append(b"late").unwrap();
    let told = older.session.publish(document, &mut batch);
    assert_eq!(told, Err(PublishError::Ended));
    assert!(older.faults.is_empty(), "{:?}", older.faults);
}

#[test]
fn close_comes_after_the_last_answer_and_drop_before_it() {
    let mut server = FakeServer::new();
    let mut user = User::new(Healing::On);
    let document = user.open("a", Access::Both, Start::Live);
    user.publish(document, &[b"1"]);
    user.session.close(document, true);
    user.run(&mut server);
    assert_eq!(user.outcomes(), [(1, accepted(1))]);
    let code = ErrorCode::Closed.number();
    assert_eq!(user.events.last(), Some(&Event::Closed { document, code }));
    let open = OpenOptions {
        access: Access::Both,
        start: Start::Window,
        policy: Policy::Gap,
        producer: 7,
        echo: true,
    };
    user.session.forget(document);
    let again = user.session.open(1, "a", open).unwrap();
    assert_eq!(user.session.open(1, "a", open), Err(OpenError::AlreadyOpen));
    user.publish(again, &[b"2"]);
    user.session.drop_document(again).unwrap();
    user.run(&mut server);
    let code = ErrorCode::ClosedByDrop.number();
    assert_eq!(user.events.last(), Some(&Event::Closed { document: again, code }));
    assert_eq!(user.deltas(), [&b"1"[..], b"1", b"2"]);
    assert!(user.faults.is_empty(), "{:?}", user.faults);
}

#[test]
fn what_was_not_sent_is_told_as_not_sent() {
    let mut server = FakeServer::new();
    server.credit_bytes = 1;
    server.holds_credit = true;
    let mut user = User::new(Healing::On);
    let document = user.open("a", Access::Write, Start::Live);
    user.publish(document, &[b"1"]);
    user.publish(document, &[b"2"]);
    user.run(&mut server);
    user.session.close(document, false);
    user.run(&mut server);
    assert_eq!(user.outcomes(), [(1, accepted(1)), (2, Outcome::NotSent)]);
}

#[test]
fn what_was_not_sent_is_told_behind_what_was() {
    let mut server = FakeServer::new();
    server.credit_bytes = 1;
    server.holds_credit = true;
    server.holds_acks = true;
    let mut user = User::new(Healing::On);
    let document = user.open("a", Access::Write, Start::Live);
    for delta in [b"1", b"2", b"3"] {
        user.publish(document, &[delta]);
    }
    user.run(&mut server);
    user.session.close(document, false);
    while let Some(event) = user.session.poll_event() {
        user.events.push(event);
    }
    assert_eq!(user.outcomes(), [], "the first is on its way, so nothing is answered yet");
    release_acks(&mut server);
    user.run(&mut server);
    let not_sent = Outcome::NotSent;
    assert_eq!(user.outcomes(), [(1, accepted(1)), (2, not_sent.clone()), (3, not_sent)]);
}

#[test]
fn an_info_is_numbered_answered_and_read() {
    let mut server = FakeServer::new();
    let mut user = User::new(Healing::Off);
    let document = user.open("a", Access::Both, Start::Live);
    user.publish(document, &[b"1"]);
    let map = [0xa1, 0x61, b'k', 0x07];
    assert_eq!(user.session.publish_info(document, &map), Ok(2));
    user.publish(document, &[b"2"]);
    user.run(&mut server);
    assert_eq!(user.infos, [map.to_vec()]);
    assert_eq!(user.deltas(), [b"1", b"2"]);
    assert_eq!(user.outcomes()[1..], [(2, accepted(2)), (3, accepted(2))]);
    let mut late = User::new(Healing::Off);
    late.open("a", Access::Read, Start::Live);
    late.run(&mut server);
    let told = late.events.iter().find_map(|event| match event {
        Event::Opened(_, opened) => opened.info.clone(),
        _ => None,
    });
    assert_eq!(told, Some(map.to_vec()));
}

#[test]
fn an_open_that_is_refused_ends_only_its_document() {
    let mut server = FakeServer::new();
    let mut user = User::new(Healing::Off);
    let nowhere = user.open("nowhere/a", Access::Both, Start::Live);
    user.publish(nowhere, &[b"1"]);
    let here = user.open("a", Access::Both, Start::Live);
    user.publish(here, &[b"2"]);
    user.run(&mut server);
    let refused = user.events.iter().any(|event| {
        matches!(event, Event::OpenRefused(key, refusal)
            if *key == nowhere && refusal.error_code() == Some(ErrorCode::CollectionUnknown))
    });
    assert!(refused);
    assert_eq!(user.outcomes()[0], (1, Outcome::NotSent));
    assert_eq!(user.outcomes()[1], (1, accepted(1)));
}

#[test]
fn pings_are_answered_and_silence_is_a_fault() {
    let mut server = FakeServer::new();
    let mut user = User::new(Healing::On);
    user.run(&mut server);
    time_out(&mut server, 30_000);
    user.run(&mut server);
    time_out(&mut server, 70_000);
    assert!(!server.is_ended(0), "the pong was heard");
    assert_eq!(user.session.handle_timeout(user.now_ns + 74_999 * MS), Ok(()));
    let told = user.session.handle_timeout(user.now_ns + 76_000 * MS);
    assert_eq!(told, Err(Fault::AnswerTimeout));
}

#[test]
fn a_server_that_never_says_hello_is_a_fault() {
    let mut user = User::new(Healing::On);
    user.session.handle_connected(0);
    assert_eq!(user.session.handle_timeout(9_999 * MS), Ok(()));
    assert_eq!(user.session.handle_timeout(10_300 * MS), Err(Fault::AnswerTimeout));
    assert!(user.session.handle_disconnected(Fault::AnswerTimeout), "it is worth another try");
    assert_eq!(user.session.poll_timeout(), None);
}

#[test]
fn an_end_told_by_the_server_is_healed_unless_the_version_is_wrong() {
    for (code, heals) in [(ErrorCode::ShuttingDown, true), (ErrorCode::VersionNotSupported, false)]
    {
        let mut server = FakeServer::new();
        let mut user = User::new(Healing::On);
        user.run(&mut server);
        server.end(0, code);
        user.run(&mut server);
        let Fault::Ended { code: told, .. } = &user.faults[0] else { panic!("{:?}", user.faults) };
        assert_eq!(*told, code.number());
        assert_eq!(user.session.is_failed(), !heals);
    }
}

#[test]
fn torn_and_garbled_input_is_a_fault_and_never_a_panic() {
    let mut server = FakeServer::new();
    let mut user = User::new(Healing::On);
    let document = user.open("a", Access::Both, Start::Live);
    user.publish(document, &[b"1"]);
    user.run(&mut server);
    let mut random = 1u64;
    let mut faults = 0;
    for _ in 0..20_000 {
        let mut message = vec![0; 8 + (random % 9) as usize * 8];
        for byte in &mut message {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (random >> 56) as u8 & if random & 1 == 0 { 0x1f } else { 0xff };
        }
        let bytes = message.len() as u32;
        message[..4].copy_from_slice(&bytes.to_le_bytes());
        (message[5], message[6], message[7]) = (0, 1, 0);
        faults += usize::from(user.session.handle_message(2, &message).is_err());
        while user.session.poll_event().is_some() {}
    }
    assert!(faults > 10_000);
}
