//! Schemas in the pipeline: a batch is accepted whole or refused whole, with its place.

use super::world::{acknowledged, open, reading, received, writing};
use deltaworks_image::{Limits, builder};
use deltaworks_pipeline::collection::{
    Collection, CollectionLimits, Collections, Overload, Schema,
};
use deltaworks_pipeline::inline::{Event, Inline, InlineConfig, batch};
use deltaworks_pipeline::message::{BatchRefusal, From, OpenRefusal, Policy};
use deltaworks_schema::{Kind, Schema as TypedSchema};

fn notes() -> Inline {
    let json = r#"{"properties": {"id": {"type": "uint32"}, "text": {"type": "string"}}}"#;
    let schema = TypedSchema::compile(Kind::Cbor, json).expect("a schema");
    let collections = Collections::new(vec![Collection {
        name: "notes".to_owned(),
        schema: Schema::Typed(schema),
        overload: Overload::default(),
        limits: CollectionLimits::default(),
    }]);
    let mut config = InlineConfig::fused(1, collections);
    config.limits.steps_per_batch = 64;
    Inline::new(config)
}

/// {"id": id, "text": text}
fn note(id: u8, text: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xa2, 0x62, b'i', b'd', 0x18, id, 0x64];
    bytes.extend(b"text");
    bytes.push(0x60 | text.len() as u8);
    bytes.extend(text);
    bytes
}

/// One bad delta among good ones refuses the batch, names the delta and the place, and takes
/// neither a sequence nor the way from the batch behind it.
pub(crate) fn one_bad_delta_refuses_the_whole_batch() {
    let mut world = notes();
    let peer = world.connect(0).expect("room");
    let subscriber = world.connect(0).expect("room");
    let (writer, _) = open(&mut world, peer, writing("notes/1", 1));
    open(&mut world, subscriber, reading("notes/1", From::Live, Policy::Gap));
    let good = note(33, b"good");
    let invalid_text = note(34, b"\xff");
    let missing = vec![0xa1, 0x62, b'i', b'd', 1];
    world.publish(peer, writer.handle, 1, &[&good, &good, &missing, &good]);
    world.publish(peer, writer.handle, 2, &[&good, &invalid_text]);
    world.publish(peer, writer.handle, 3, &[&good, &note(35, b"next")]);
    world.run();
    let events = world.events(peer);
    let refused: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Refused(refusal) => match &refusal.reason {
                BatchRefusal::Invalid { delta, error } => Some((
                    refusal.producer_sequence,
                    *delta,
                    error.code.is_malformed(),
                    error.schema_path.clone(),
                )),
                other => panic!("{other:?}"),
            },
            _ => None,
        })
        .collect();
    assert_eq!(
        refused,
        [(1, 2, false, "/properties/text".to_owned()), (2, 1, true, refused[1].3.clone())]
    );
    assert_eq!(acknowledged(&events, writer.handle).0, 3);
    let got: Vec<u64> =
        received(&world.events(subscriber)).iter().map(|(_, sequence, _)| *sequence).collect();
    assert_eq!(got, [1, 2]);
}

/// Batches of one delta that are alike are judged by what was looked up for the first of them: a delta that does not fit is
/// refused among them, and so is one of a document whose collection wants something else, at the same length.
pub(crate) fn one_bad_batch_among_many_alike_is_refused() {
    let of = |name: &str, text: &str| {
        let json = format!(
            r#"{{"properties": {{"id": {{"type": "uint32"}}, "{text}": {{"type": "string"}}}}}}"#
        );
        Collection {
            name: name.to_owned(),
            schema: Schema::Typed(TypedSchema::compile(Kind::Cbor, &json).expect("a schema")),
            overload: Overload::default(),
            limits: CollectionLimits::default(),
        }
    };
    let collections = Collections::new(vec![of("notes", "text"), of("names", "name")]);
    let mut world = Inline::new(InlineConfig::fused(1, collections));
    let peer = world.connect(0).expect("room");
    let (note_writer, _) = open(&mut world, peer, writing("notes/1", 1));
    let (name_writer, _) = open(&mut world, peer, writing("names/1", 1));
    let good = |number: u64| note(33 + (number % 7) as u8, b"the good text");
    let mut refused = Vec::new();
    let mut bytes = Vec::new();
    for number in 1..=60 {
        let mut delta = good(number);
        if number % 13 == 12 {
            // As long as the others, and no text.
            let last = delta.len() - 1;
            delta[last] = 0xff;
            refused.push((note_writer.handle, number));
        }
        bytes.extend(batch(note_writer.handle, number, &[&delta]));
    }
    // What notes take for valid, to a document of names.
    for number in 1..=20 {
        bytes.extend(batch(note_writer.handle, 60 + number, &[&good(number)]));
        bytes.extend(batch(name_writer.handle, number, &[&good(number)]));
        refused.push((name_writer.handle, number));
    }
    world.send(peer, &bytes);
    world.run();
    let events = world.events(peer);
    let mut told: Vec<(u32, u64)> = events
        .iter()
        .filter_map(|event| match event {
            Event::Refused(refusal) => {
                assert!(matches!(refusal.reason, BatchRefusal::Invalid { delta: 0, .. }));
                Some((refusal.handle, refusal.producer_sequence))
            }
            _ => None,
        })
        .collect();
    told.sort_unstable();
    refused.sort_unstable();
    assert_eq!(told, refused);
    assert_eq!(acknowledged(&events, note_writer.handle).0, 80);
}

/// A batch of many large maps takes more steps than its share: others go on, the verdict is right.
pub(crate) fn a_large_batch_is_checked_in_slices() {
    let mut world = notes();
    let peer = world.connect(0).expect("room");
    let (slow, _) = open(&mut world, peer, writing("notes/slow", 1));
    let (quick, _) = open(&mut world, peer, writing("notes/quick", 1));
    let delta = note(40, b"0123456789");
    let many: Vec<&[u8]> = vec![&delta; 600];
    let mut bad = many.clone();
    let last = [0xa0];
    bad.push(&last);
    world.publish(peer, slow.handle, 1, &many);
    world.publish(peer, slow.handle, 2, &bad);
    world.publish(peer, quick.handle, 1, &[&delta]);
    // The two before it are read in a turn each.
    for _ in 0..8 {
        world.turn();
    }
    assert_eq!(acknowledged(&world.events(peer), quick.handle).0, 1);
    world.run();
    let counts = world.counts(0).validation;
    assert!(counts.stalled_batches > 0, "it took more than its share");
    assert_eq!((counts.accepted_deltas, counts.refused_batches), (601, 1));
}

/// `info` travels in the stream, is kept for those who open later, and must be one map.
pub(crate) fn an_info_travels_in_order_and_is_kept() {
    let mut world = notes();
    let peer = world.connect(0).expect("room");
    let subscriber = world.connect(0).expect("room");
    let (writer, _) = open(&mut world, peer, writing("notes/1", 1));
    open(&mut world, subscriber, reading("notes/1", From::Live, Policy::Gap));
    let limits = Limits::default();
    let map = [0xa1, 0x61, b'k', 0x01];
    world.publish(peer, writer.handle, 1, &[&note(30, b"before")]);
    world.send(peer, &builder::info(&limits, writer.handle, 2, &map).expect("an info"));
    world.publish(peer, writer.handle, 3, &[&note(31, b"after")]);
    world.send(peer, &builder::info(&limits, writer.handle, 4, &[0x01]).expect("an info"));
    world.run();
    let events = world.events(subscriber);
    let kinds: Vec<u8> = events
        .iter()
        .filter_map(|event| if let Event::Image(bytes) = event { Some(bytes[4]) } else { None })
        .collect();
    assert_eq!(kinds, [1, 2, 1]);
    assert!(world.events(peer).iter().any(
        |event| matches!(event, Event::Refused(refusal) if refusal.reason == BatchRefusal::BadInfo)
    ));
    let late = world.connect(0).expect("room");
    world.open(late, reading("notes/1", From::Start, Policy::Gap));
    world.run();
    let events = world.events(late);
    assert!(matches!(&events[0],
        Event::Opened(opened, _) if opened.info.as_deref() == Some(&map[..])));
    assert_eq!(received(&events).len(), 2);
}

/// What a collection allows is less than what all may have: each bound refuses alone, with its own
/// reason, and the other collection goes on.
pub(crate) fn a_collection_has_limits_of_its_own() {
    let limits = CollectionLimits {
        image_bytes_max: 1024,
        deltas_per_batch_max: 3,
        credit_bytes: 8192,
        documents_per_worker_max: 2,
        producers_per_document_max: 1,
        ..CollectionLimits::default()
    };
    let collection = |name: &str, limits| Collection {
        name: name.to_owned(),
        schema: Schema::Opaque,
        overload: Overload::default(),
        limits,
    };
    let all = vec![collection("small", limits), collection("", CollectionLimits::default())];
    let mut world = Inline::new(InlineConfig::fused(1, Collections::new(all)));
    let peer = world.connect(0).expect("room");
    let (writer, credit) = open(&mut world, peer, writing("small/1", 1));
    let (free, all_credit) = open(&mut world, peer, writing("1", 1));
    assert_eq!((credit, all_credit), (8192, 262_144));

    let one: &[u8] = &[7];
    let long = vec![7; 1024];
    for handle in [writer.handle, free.handle] {
        world.publish(peer, handle, 1, &[one; 3]);
        world.publish(peer, handle, 2, &[one; 4]);
        world.publish(peer, handle, 3, &[&long]);
        world.publish(peer, handle, 4, &[one]);
    }
    world.run();
    let events = world.events(peer);
    let refused: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Refused(refusal) => {
                assert_eq!(refusal.reason, BatchRefusal::BeyondCollection);
                Some((refusal.handle, refusal.producer_sequence))
            }
            _ => None,
        })
        .collect();
    assert_eq!(refused, [(writer.handle, 2), (writer.handle, 3)]);
    for handle in [writer.handle, free.handle] {
        assert_eq!(acknowledged(&events, handle).0, 4, "the others are accepted");
    }

    let answer = |world: &mut Inline, request| {
        let other = world.connect(0).expect("room");
        world.open(other, request);
        world.run();
        world.events(other).into_iter().find_map(|event| match event {
            Event::OpenRefused(_, reason) => Some(reason),
            _ => None,
        })
    };
    assert_eq!(answer(&mut world, writing("small/1", 2)), Some(OpenRefusal::ProducerLimit));
    assert_eq!(answer(&mut world, writing("1", 2)), None);
    assert_eq!(answer(&mut world, writing("small/2", 1)), None);
    assert_eq!(answer(&mut world, writing("small/3", 1)), Some(OpenRefusal::DocumentLimit));
    assert_eq!(answer(&mut world, writing("3", 1)), None);
}
