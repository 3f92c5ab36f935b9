//! Control and data of many documents, interleaved on one session without waiting for answers, and
//! documents in every kind of trouble beside others that must not feel it.

use super::world::{acknowledged, open, reading, received, world, writing};
use deltaworks_image::Image;
use deltaworks_pipeline::collection::{
    Collection, CollectionLimits, Collections, Overload, Schema,
};
use deltaworks_pipeline::inline::{Event, Inline, InlineConfig, Peer};
use deltaworks_pipeline::message::{From, OpenRequest, Policy};

const DOCUMENTS: usize = 12;

/// Batches of each document.
const BATCHES: u64 = 60;

/// One session's view of one document: the open on its way, or the handle.
#[derive(Clone, Copy, Default)]
struct View {
    handle: Option<u32>,
    is_opening: bool,
    is_closing: bool,
    /// Of the writer, batches sent and acknowledged; of the reader, how many came.
    sent: u64,
    done: u64,
    opens: u32,
}

impl View {
    fn may_open(&self) -> bool {
        self.handle.is_none() && !self.is_opening
    }
    fn is_open(&self) -> bool {
        self.handle.is_some() && !self.is_closing
    }
}

/// A session that opens, closes and opens the same documents again, and what it is told of them: an
/// event of a handle that is not open fails.
struct Player {
    peer: Peer,
    views: [View; DOCUMENTS],
    /// Slot and epoch of each document that was opened.
    known: [Option<(u32, u64)>; DOCUMENTS],
}

impl Player {
    fn new(world: &mut Inline, core: usize) -> Self {
        let peer = world.connect(core).expect("room for a session");
        Self { peer, views: Default::default(), known: Default::default() }
    }

    fn open(&mut self, world: &mut Inline, document: usize, request: OpenRequest) {
        self.views[document].is_opening = true;
        self.views[document].opens += 1;
        world.open(self.peer, OpenRequest { request: document as u32, ..request });
    }

    fn close(&mut self, world: &mut Inline, document: usize) {
        let view = &mut self.views[document];
        view.is_closing = true;
        world.close(self.peer, view.handle.expect("it is open"));
    }

    fn of_handle(&mut self, handle: u32) -> &mut View {
        let view = self.views.iter_mut().find(|it| it.handle == Some(handle));
        view.unwrap_or_else(|| panic!("told of handle {handle}, which is not open"))
    }

    fn hear(&mut self, world: &mut Inline) {
        for event in world.events(self.peer) {
            match event {
                Event::Opened(opened, _) => {
                    let document = opened.request as usize;
                    let view = &mut self.views[document];
                    assert!(view.is_opening && view.handle.is_none());
                    (view.handle, view.is_opening) = (Some(opened.handle), false);
                    if opened.access.write {
                        assert_eq!(opened.producer_sequence, view.sent, "what was sent is ordered");
                    } else {
                        assert_eq!(opened.start_sequence, view.done + 1, "it goes on where it was");
                    }
                    self.known[document] = Some((opened.slot, opened.epoch));
                }
                Event::Ack(ack) => {
                    let view = self.of_handle(ack.handle);
                    assert!(
                        ack.producer_sequence > view.done && ack.producer_sequence <= view.sent
                    );
                    view.done = ack.producer_sequence;
                }
                Event::Closed(handle, _) => {
                    let view = self.of_handle(handle);
                    assert!(view.is_closing, "nobody asked for it");
                    assert!(view.done >= view.sent, "{} of {}: last", view.done, view.sent);
                    (view.handle, view.is_closing) = (None, false);
                }
                Event::Image(bytes) => {
                    let image = Image::parse(&bytes).expect("a whole image");
                    let slot = image.document().slot;
                    let document =
                        self.known.iter().position(|it| it.is_some_and(|it| it.0 == slot));
                    let view = &mut self.views[document.expect("a document that was opened")];
                    assert!(view.handle.is_some(), "data behind `closed` or before `opened`");
                    assert_eq!(image.first_sequence(), view.done + 1, "its order");
                    view.done += 1;
                }
                Event::Credit(..) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// A generator of Lehmer's: the same numbers on every machine.
fn below(seed: &mut u64, bound: u64) -> u64 {
    *seed = *seed * 48_271 % 0x7fff_ffff;
    *seed % bound
}

/// A writer and a reader open, close and open again twelve documents, between batches of all of
/// them and without waiting for an answer. Of each handle `opened` comes first and `closed` last,
/// nothing sent before a close is lost, and a reader that opens where it stood misses nothing and
/// gets nothing twice.
pub(crate) fn order_is_kept_for_control_and_data_interleaved_of_many_documents() {
    for (cores, ring_capacity, seed) in [(1, 64, 1), (2, 1, 2), (2, 2, 3), (2, 64, 4), (3, 1, 5)] {
        let mut world = world(cores, |config| config.ring_capacity = ring_capacity);
        let mut writer = Player::new(&mut world, 0);
        let mut reader = Player::new(&mut world, cores - 1);
        let mut random = seed;
        let names: Vec<String> = (0..DOCUMENTS).map(|it| format!("document {it}")).collect();
        for _ in 0..20_000 {
            let document = below(&mut random, DOCUMENTS as u64) as usize;
            let name = &names[document];
            let (wrote, read) = (writer.views[document], reader.views[document]);
            match below(&mut random, 20) {
                0 if wrote.is_open() && wrote.sent < BATCHES => writer.close(&mut world, document),
                1..6 if wrote.may_open() => writer.open(&mut world, document, writing(name, 7)),
                6..14 if wrote.is_open() && wrote.sent < BATCHES => {
                    let view = &mut writer.views[document];
                    view.sent += 1;
                    let (handle, number) = (view.handle.expect("it is open"), view.sent);
                    world.publish(writer.peer, handle, number, &[&[document as u8; 30]]);
                }
                14 if read.is_open() => reader.close(&mut world, document),
                15..18 if read.may_open() => {
                    let from = reader.known[document].map_or(From::Start, |(_, epoch)| {
                        From::Sequence { sequence: read.done + 1, epoch }
                    });
                    reader.open(&mut world, document, reading(name, from, Policy::Gap));
                }
                _ => {
                    let core = below(&mut random, cores as u64) as usize;
                    world.turn_core(core);
                }
            }
            writer.hear(&mut world);
            reader.hear(&mut world);
        }
        world.run();
        writer.hear(&mut world);
        reader.hear(&mut world);
        for document in 0..DOCUMENTS {
            let (wrote, read) = (writer.views[document], &reader.views[document]);
            assert_eq!((wrote.sent, wrote.done), (BATCHES, BATCHES), "document {document}");
            assert!(wrote.opens > 1 && read.opens > 1, "control came between: {}", read.opens);
            assert!(read.handle.is_none() || read.done == BATCHES);
        }
    }
}

/// Beside one document whose batches are slow to check, one whose reader stands still and holds its
/// publisher's credit, one whose batches are all refused, one that is dropped while its reader stands
/// still, and one whose publisher has no credit left: what the same session sends to others behind
/// all that is ordered, acknowledged and delivered, before the slow batch has its verdict.
pub(crate) fn documents_do_not_block_each_other() {
    for (cores, ring_capacity) in [(1, 64), (2, 64), (2, 1), (3, 1)] {
        let (mut world, publisher, subscriber) = troubled(cores, ring_capacity);
        let (slow, _) = open(&mut world, publisher, writing("slow/d", 1));
        let (held, _) = open(&mut world, publisher, writing("held", 1));
        let (refused, _) = open(&mut world, publisher, writing("small/d", 1));
        let (dropped, _) = open(&mut world, publisher, writing("dropped", 1));
        let frozen = world.connect(cores - 1).expect("room");
        for (name, policy) in [("held", Policy::Wait), ("dropped", Policy::Gap)] {
            open(&mut world, frozen, reading(name, From::Start, policy));
        }
        let quick: Vec<_> = (0..20)
            .map(|number| {
                let name = format!("quick {number}");
                open(&mut world, subscriber, reading(&name, From::Start, Policy::Gap));
                open(&mut world, publisher, writing(&name, 1)).0
            })
            .collect();
        world.set_room(frozen, 0);

        world.publish(publisher, slow.handle, 1, &[b"takes long"]);
        world.publish(publisher, slow.handle, 2, &[b"waits behind it"]);
        let mut balance = i64::from(CREDIT_BYTES);
        let mut number = 0;
        while balance > 0 {
            number += 1;
            let image = deltaworks_pipeline::inline::batch(held.handle, number, &[&[1; 500]]);
            balance -= image.len() as i64;
            world.send(publisher, &image);
        }
        for number in 1..=5 {
            world.publish(publisher, refused.handle, number, &[b"1", b"2", b"3"]);
            world.publish(publisher, dropped.handle, number, &[b"before the end"]);
        }
        world.drop_document(publisher, dropped.handle);
        for number in 1..=10 {
            for document in &quick {
                world.publish(publisher, document.handle, number, &[&number.to_le_bytes()]);
            }
        }

        let (mut told, mut got) = (vec![], vec![]);
        for _ in 0..TURNS {
            world.turn();
            told.extend(world.events(publisher));
            got.extend(received(&world.events(subscriber)));
        }
        for document in &quick {
            assert_eq!(acknowledged(&told, document.handle).0, 10, "{cores} cores");
            let of = got.iter().filter(|it| it.0 == document.slot).map(|it| it.1);
            assert!(of.eq(1..=10), "{cores} cores, rings of {ring_capacity}");
        }
        assert_eq!(acknowledged(&told, slow.handle).0, 0, "it is not done yet");
        let credit = |told: &[Event]| acknowledged(told, held.handle).1;
        assert_eq!(credit(&told), 0, "its reader stands still");
        let refusals = told.iter().filter(|it| matches!(it, Event::Refused(_))).count();
        assert_eq!(refusals, 5);

        world.set_room(frozen, usize::MAX);
        world.run();
        told.extend(world.events(publisher));
        assert_eq!(acknowledged(&told, slow.handle).0, 2);
        assert!(credit(&told) > 0, "it has read");
        assert_eq!(received(&world.events(frozen)).len() as u64, number + 5);
    }
}

/// Credit of each handle.
const CREDIT_BYTES: u32 = 8 << 10;

/// Turns in which everything passes by that may: a slow batch takes ten times as many and more.
const TURNS: usize = 400;

/// A world with a collection that is slow to check and one that refuses batches of three, and a
/// publisher and a subscriber at its two ends.
fn troubled(cores: usize, ring_capacity: usize) -> (Inline, Peer, Peer) {
    let few = CollectionLimits { deltas_per_batch_max: 2, ..CollectionLimits::default() };
    let collection = |name: &str, schema, limits| Collection {
        name: name.to_owned(),
        schema,
        overload: Overload::default().with(Policy::Wait, true),
        limits,
    };
    let slow = Schema::Busy { steps_per_delta: STEPS };
    let mut config = InlineConfig::fused(
        cores,
        Collections::new(vec![
            collection("", Schema::Opaque, CollectionLimits::default()),
            collection("slow", slow, CollectionLimits::default()),
            collection("small", Schema::Opaque, few),
        ]),
    );
    config.ring_capacity = ring_capacity;
    config.limits.credit_bytes = CREDIT_BYTES;
    let mut world = Inline::new(config);
    let publisher = world.connect(0).expect("room");
    let subscriber = world.connect(cores - 1).expect("room");
    (world, publisher, subscriber)
}

/// Steps of a slow batch: as many as its worker takes in some thousand turns.
const STEPS: u64 = 1 << 23;
