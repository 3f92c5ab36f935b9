//! What the scenarios share: a small world of cores, peers and documents.

use deltaworks_pipeline::collection::{
    Collection, CollectionLimits, Collections, Overload, Schema,
};
use deltaworks_pipeline::inline::{Event, Inline, InlineConfig, Peer, deltas};
use deltaworks_pipeline::message::{Access, From, OpenRequest, Opened, Policy};

pub(crate) fn opaque() -> Collections {
    Collections::new(vec![Collection {
        name: String::new(),
        schema: Schema::Opaque,
        overload: Overload::default().with(Policy::Wait, true),
        limits: CollectionLimits::default(),
    }])
}

pub(crate) fn world(cores: usize, change: impl FnOnce(&mut InlineConfig)) -> Inline {
    world_of(cores, opaque(), change)
}

pub(crate) fn world_of(
    cores: usize,
    collections: Collections,
    change: impl FnOnce(&mut InlineConfig),
) -> Inline {
    let mut config = InlineConfig::fused(cores, collections);
    change(&mut config);
    Inline::new(config)
}

pub(crate) fn reading(name: &str, from: From, policy: Policy) -> OpenRequest {
    let access = Access { read: true, write: false };
    OpenRequest { request: 1, name: name.into(), access, from, policy: Some(policy), producer: 0 }
}

pub(crate) fn writing(name: &str, producer: u64) -> OpenRequest {
    OpenRequest {
        request: 2,
        name: name.into(),
        access: Access { read: false, write: true },
        from: From::Live,
        policy: None,
        producer,
    }
}

/// Opens and returns what was answered, and the credit.
pub(crate) fn open(world: &mut Inline, peer: Peer, request: OpenRequest) -> (Opened, u64) {
    world.open(peer, request);
    world.run();
    let events = world.events(peer);
    let opened = events.into_iter().find_map(|event| match event {
        Event::Opened(opened, credit) => Some((*opened, credit)),
        _ => None,
    });
    opened.expect("the open is answered")
}

/// The deltas among events, with their sequences, by document slot.
pub(crate) fn received(events: &[Event]) -> Vec<(u32, u64, Vec<u8>)> {
    let mut all = Vec::new();
    for event in events {
        if let Event::Image(bytes) = event {
            let image = deltaworks_image::Image::parse(bytes).expect("a whole image");
            image.verify().expect("both checksums agree");
            let slot = image.document().slot;
            all.extend(deltas(bytes).into_iter().map(|(sequence, delta)| (slot, sequence, delta)));
        }
    }
    all
}

/// The highest number acknowledged for `handle`, and the credit that came with it.
pub(crate) fn acknowledged(events: &[Event], handle: u32) -> (u64, u64) {
    let mut last = (0, 0);
    for event in events {
        match event {
            Event::Ack(ack) if ack.handle == handle => {
                last.0 = ack.producer_sequence.max(last.0);
                last.1 += u64::from(ack.credit_bytes);
            }
            Event::Credit(of, bytes) if *of == handle => last.1 += bytes,
            _ => {}
        }
    }
    last
}
