//! History of the quiet: what documents keep of their newest bytes when a hot one turns the memory over.

use std::collections::BTreeMap;

use super::world::{open, reading, received, world, world_of, writing};
use deltaworks_pipeline::collection::{
    Collection, CollectionLimits, Collections, Overload, Schema,
};
use deltaworks_pipeline::handover::{MOVES_AT_ONCE, MoveOutcome};
use deltaworks_pipeline::inline::{Event, Inline, InlineConfig, Peer, batch, deltas};
use deltaworks_pipeline::kept::KeptCounts;
use deltaworks_pipeline::message::{From, Policy};
use deltaworks_pipeline::stages::CoreRole;

const CHUNK_BYTES: usize = 64 << 10;
/// The newest bytes that each document keeps.
const KEEP_BYTES: u32 = 1_024;
/// Bytes of a quiet document's image.
const IMAGE_BYTES: u64 = 128;
/// Images that those hold.
const KEPT_IMAGES: u64 = KEEP_BYTES as u64 / IMAGE_BYTES;

fn keeping(keep_bytes: u32) -> Collections {
    let collection = |name: &str, keep_bytes| Collection {
        name: name.to_owned(),
        schema: Schema::Opaque,
        overload: Overload::default().with(Policy::Wait, true),
        limits: CollectionLimits { keep_bytes, ..CollectionLimits::default() },
    };
    Collections::new(vec![collection("", keep_bytes), collection("forgets", 0)])
}

fn keeping_world(cores: usize, kept_chunks: u32, keep_bytes: u32) -> Inline {
    let mut world = world_of(cores, keeping(keep_bytes), |config: &mut InlineConfig| {
        config.chunk_bytes = CHUNK_BYTES;
        config.kept_chunks = kept_chunks;
        config.node_blocks = 1 << 15;
        config.limits.documents_per_worker_max = 2_000;
        config.limits.handles_per_session_max = 4_000;
    });
    world.poison_recycled(0xee);
    world
}

/// The delta of a quiet document's image: document and number, and something of their own.
fn delta(document: u64, number: u64) -> Vec<u8> {
    let mut delta = vec![(document * 31 + number) as u8; IMAGE_BYTES as usize - 60];
    delta[..8].copy_from_slice(&document.to_le_bytes());
    delta[8..16].copy_from_slice(&number.to_le_bytes());
    delta
}

/// Documents with a writer each, whose batches are of one delta.
struct Quiet {
    writer: Peer,
    /// Handle and the last number, by document.
    handles: Vec<(u32, u64)>,
}

impl Quiet {
    fn open(world: &mut Inline, core: usize, prefix: &str, documents: u64) -> Self {
        let writer = world.connect(core).expect("room for a session");
        let open = |document| {
            open(world, writer, writing(&format!("{prefix}{document}"), 1 + document)).0.handle
        };
        let handles = (0..documents).map(open).map(|handle| (handle, 0)).collect();
        Self { writer, handles }
    }

    fn publish(&mut self, world: &mut Inline, document: u64) {
        let (handle, number) = &mut self.handles[document as usize];
        *number += 1;
        let delta = delta(document, *number);
        assert_eq!(batch(*handle, *number, &[&delta]).len() as u64, IMAGE_BYTES);
        world.publish(self.writer, *handle, *number, &[&delta]);
    }

    fn publish_all(&mut self, world: &mut Inline, rounds: u64) {
        self.publish_first(world, self.handles.len() as u64, rounds);
    }

    fn publish_first(&mut self, world: &mut Inline, documents: u64, rounds: u64) {
        for _ in 0..rounds {
            for document in 0..documents {
                self.publish(world, document);
            }
            world.run();
            world.events(self.writer);
        }
    }
}

/// A document that turns its core's memory over.
struct Hot {
    writer: Peer,
    handle: u32,
    number: u64,
}

impl Hot {
    fn open(world: &mut Inline, core: usize, name: &str) -> Self {
        let writer = world.connect(core).expect("room for a session");
        let handle = open(world, writer, writing(name, 7)).0.handle;
        Self { writer, handle, number: 0 }
    }

    /// Publishes until its core's chunks have come round `times` times, all of them.
    fn turn_over(&mut self, world: &mut Inline, core: usize, times: u64) {
        let chunks = world.stages(core).chunk_counts().0 as u64;
        let wanted = world.counts(core).recycled_chunks + times * chunks;
        while world.counts(core).recycled_chunks < wanted {
            for _ in 0..20 {
                self.number += 1;
                world.publish(
                    self.writer,
                    self.handle,
                    self.number,
                    &[&[self.number as u8; 3_000]],
                );
            }
            world.run();
            world.events(self.writer);
        }
    }
}

/// What a new subscriber from the start gets of each document, as (sequence, delta); and that it is told
/// of nothing that is missing.
fn history(
    world: &mut Inline,
    core: usize,
    prefix: &str,
    documents: u64,
) -> Vec<Vec<(u64, Vec<u8>)>> {
    let reader = world.connect(core).expect("room for a session");
    let mut slots = BTreeMap::new();
    let mut all = vec![Vec::new(); documents as usize];
    for document in 0..documents {
        let name = format!("{prefix}{document}");
        world.open(reader, reading(&name, From::Start, Policy::Gap));
        world.run();
        for event in world.events(reader) {
            match event {
                Event::Opened(opened, _) => {
                    slots.insert(opened.slot, document);
                }
                Event::Image(bytes) => {
                    let image = deltaworks_image::Image::parse(&bytes).expect("a whole image");
                    image.verify().expect("both checksums agree");
                    let document = slots[&image.document().slot];
                    all[document as usize].extend(deltas(&bytes));
                }
                event => panic!("{event:?}"),
            }
        }
    }
    world.disconnect(reader);
    world.run();
    all
}

fn sum(world: &Inline, cores: usize) -> KeptCounts {
    let mut sum = KeptCounts::default();
    for counts in (0..cores).map(|core| world.counts(core).kept) {
        sum.images += counts.images;
        sum.bytes += counts.bytes;
        sum.copied_on_bytes += counts.copied_on_bytes;
        sum.taken_over_bytes += counts.taken_over_bytes;
        sum.let_go_bytes += counts.let_go_bytes;
    }
    sum
}

/// One hot document turns the memory over ten times, and each of 1,000 quiet ones still has its newest
/// bytes for who begins at the start, whatever owner and whatever core; memory does not grow, and every
/// byte is copied once out of its chunk and at most once on average beyond.
pub(crate) fn a_hot_document_leaves_a_thousand_quiet_ones_their_history() {
    const QUIET: u64 = 1_000;
    let live_bytes = QUIET * u64::from(KEEP_BYTES);
    for cores in [1, 2] {
        let kept_chunks = (3 * live_bytes / cores as u64).div_ceil(CHUNK_BYTES as u64) as u32;
        let mut world = keeping_world(cores, kept_chunks, KEEP_BYTES);
        let mut quiet = Quiet::open(&mut world, 0, "q", QUIET);
        let mut hot = Hot::open(&mut world, 0, "hot");
        quiet.publish_all(&mut world, KEPT_IMAGES + 4);
        hot.turn_over(&mut world, 0, 5);
        let nodes =
            |world: &Inline| -> u64 { (0..cores).map(|core| world.live_bytes(core).nodes).sum() };
        let (nodes_before, counts_before) = (nodes(&world), sum(&world, cores));
        hot.turn_over(&mut world, 0, 5);
        let counts = sum(&world, cores);
        assert!(nodes(&world) <= nodes_before + 64 * 128, "nodes are flat");
        for core in 0..cores {
            let live = world.live_bytes(core);
            assert!(live.kept <= u64::from(kept_chunks) * CHUNK_BYTES as u64);
            assert!(live.chunks <= 4 * CHUNK_BYTES as u64);
        }
        // Also the hot one's newest bytes are kept, when the chunk goes that holds them.
        assert_eq!(counts.bytes - counts_before.bytes, 0, "who is quiet is copied once");
        assert!(counts.bytes >= live_bytes && counts.bytes <= live_bytes * 3 / 2, "{counts:?}");
        assert_eq!(counts.bytes, counts.images * IMAGE_BYTES, "{counts:?}");
        assert_eq!(counts.let_go_bytes, 0, "{counts:?}");

        for reading_core in 0..cores {
            let all = history(&mut world, reading_core, "q", QUIET);
            for (document, got) in all.into_iter().enumerate() {
                let last = KEPT_IMAGES + 4;
                let first = last + 1 - got.len() as u64;
                assert!(got.len() as u64 >= KEPT_IMAGES, "document {document}: {}", got.len());
                let wanted: Vec<_> =
                    (first..=last).map(|number| (number, delta(document as u64, number))).collect();
                assert_eq!(got, wanted, "document {document}");
            }
        }
    }
}

/// Quiet documents go on, slowly, while the hot one turns the memory over: kept chunks come round, too, what
/// is still among the newest goes on from one to the next, and readers at work see every byte.
pub(crate) fn kept_chunks_come_round_under_readers() {
    const QUIET: u64 = 60;
    let (cores, kept_chunks) = (2, 6);
    let mut world = keeping_world(cores, kept_chunks, KEEP_BYTES);
    let mut quiet = Quiet::open(&mut world, 0, "q", QUIET);
    let mut hot = Hot::open(&mut world, 0, "hot");
    let reader = world.connect(1).expect("room for a session");
    let mut slots = BTreeMap::new();
    for document in 0..QUIET {
        let request = reading(&format!("q{document}"), From::Live, Policy::Gap);
        slots.insert(open(&mut world, reader, request).0.slot, document);
    }
    // Some say something once and never again: they are still there in the end.
    quiet.publish_all(&mut world, KEPT_IMAGES);
    let mut next = vec![1; QUIET as usize];
    for round in 0..60_u64 {
        // It takes some bytes at a time, also in the middle of images.
        world.set_room(reader, 100 + (round as usize * 977) % 5_000);
        quiet.publish_first(&mut world, QUIET * 2 / 3, 4);
        hot.turn_over(&mut world, 0, 1);
        if round % 7 == 6 {
            world.set_room(reader, usize::MAX);
            world.run();
        }
        for event in world.events(reader) {
            if let Event::Gap { handle, from, to, .. } = event {
                let document = handle as usize;
                assert_eq!(from, next[document], "told where it stood");
                next[document] = to;
            }
            for (slot, sequence, bytes) in received(&[event]) {
                let document = slots[&slot];
                assert_eq!(sequence, next[document as usize], "in order");
                assert_eq!(bytes, delta(document, sequence), "the bytes are the writer's");
                next[document as usize] += 1;
            }
        }
    }
    let counts = sum(&world, cores);
    assert!(counts.copied_on_bytes > 0, "{counts:?}");
    let share = u64::from(kept_chunks) * CHUNK_BYTES as u64;
    assert!(counts.bytes + counts.copied_on_bytes > 3 * share, "they came round: {counts:?}");
    assert_eq!(counts.let_go_bytes, 0, "a sixth of the share is enough");
    assert!(counts.copied_on_bytes <= counts.bytes, "two copies a byte at most: {counts:?}");
    for (document, got) in history(&mut world, 0, "q", QUIET).into_iter().enumerate() {
        assert!(got.len() as u64 >= KEPT_IMAGES, "document {document}: {}", got.len());
        assert!(got.iter().all(|(number, bytes)| *bytes == delta(document as u64, *number)));
    }
}

/// More documents than the share has room for: what is oldest goes, whoever is left has whole images up to its
/// newest, memory stays what it was, and nobody waits for ever.
pub(crate) fn when_the_share_is_full_the_oldest_goes() {
    const QUIET: u64 = 900;
    let kept_chunks = 4;
    let mut world = keeping_world(1, kept_chunks, KEEP_BYTES);
    let mut quiet = Quiet::open(&mut world, 0, "q", QUIET);
    let mut hot = Hot::open(&mut world, 0, "hot");
    for _ in 0..4 {
        quiet.publish_all(&mut world, KEPT_IMAGES);
        hot.turn_over(&mut world, 0, 2);
        assert!(world.live_bytes(0).kept <= u64::from(kept_chunks) * CHUNK_BYTES as u64);
    }
    let counts = sum(&world, 1);
    assert!(counts.let_go_bytes > 0, "{counts:?}");
    assert!(counts.copied_on_bytes <= counts.bytes, "two copies a byte at most: {counts:?}");
    let all = history(&mut world, 0, "q", QUIET);
    let with_some = all.iter().filter(|got| !got.is_empty()).count();
    assert!(with_some > 0 && with_some < QUIET as usize, "{with_some}");
    for (document, got) in all.into_iter().enumerate() {
        let last = 4 * KEPT_IMAGES;
        let first = last + 1 - got.len() as u64;
        let wanted: Vec<_> =
            (first..=last).map(|number| (number, delta(document as u64, number))).collect();
        assert_eq!(got, wanted, "document {document}");
    }
}

/// A collection that keeps nothing loses what it always lost, beside one that keeps, and costs no copy.
pub(crate) fn who_keeps_nothing_is_not_copied() {
    for mut world in [keeping_world(1, 8, 0), keeping_world(1, 0, KEEP_BYTES), world(1, |_| ())] {
        let mut quiet = Quiet::open(&mut world, 0, "q", 10);
        let mut hot = Hot::open(&mut world, 0, "hot");
        quiet.publish_all(&mut world, 3);
        hot.turn_over(&mut world, 0, 2);
        assert_eq!(sum(&world, 1), KeptCounts::default());
        assert!(history(&mut world, 0, "q", 10).iter().all(Vec::is_empty));
    }
    let mut world = keeping_world(1, 8, KEEP_BYTES);
    let mut forgets = Quiet::open(&mut world, 0, "forgets/q", 10);
    let mut keeps = Quiet::open(&mut world, 0, "q", 10);
    let mut hot = Hot::open(&mut world, 0, "forgets/hot");
    forgets.publish_all(&mut world, 3);
    keeps.publish_all(&mut world, 3);
    hot.turn_over(&mut world, 0, 2);
    assert_eq!(sum(&world, 1).bytes, 10 * 3 * IMAGE_BYTES);
    assert!(history(&mut world, 0, "forgets/q", 10).iter().all(Vec::is_empty));
    assert!(history(&mut world, 0, "q", 10).iter().all(|got| got.len() == 3));
    let mut listed = Vec::new();
    world.stages(0).documents(0, 100, |entry| listed.push((entry.name, entry.kept_bytes)));
    listed.sort();
    let told: Vec<u64> = listed.iter().map(|(_, bytes)| *bytes).collect();
    let (of_keepers, of_others) = (3 * IMAGE_BYTES, 0);
    assert_eq!(told[..11], [of_others; 11], "{listed:?}");
    assert_eq!(told[11..], [of_keepers; 10], "{listed:?}");
}

/// Has the chunks of kept images of every core come round: other documents keep theirs, again and again.
fn turn_kept_over(world: &mut Inline, fillers: &mut Quiet, hot: &mut Hot, core: usize) {
    let cores = 2;
    let share = u64::from(KEPT_CHUNKS) * CHUNK_BYTES as u64;
    let before: Vec<u64> = (0..cores).map(|core| world.counts(core).kept.bytes).collect();
    let has_come_round = |world: &Inline| {
        (0..cores).all(|core| world.counts(core).kept.bytes - before[core] > share)
    };
    while !has_come_round(world) {
        fillers.publish_all(world, KEPT_IMAGES);
        hot.turn_over(world, core, 1);
    }
}

/// Kept chunks of each owner.
const KEPT_CHUNKS: u32 = 6;

/// A document takes its kept images along: they stay where they are until their chunk goes, then its owner by
/// then copies them into one of its own; there and back, with a reader that is half through, and no byte is
/// lost or wrong.
pub(crate) fn a_document_moves_with_its_kept_images() {
    let mut world = keeping_world(2, KEPT_CHUNKS, KEEP_BYTES);
    for core in [0, 1] {
        let prefix = format!("q{core}-");
        let mut quiet = Quiet::open(&mut world, core, &prefix, 1);
        let mut fillers = Quiet::open(&mut world, core, &format!("f{core}-"), 60);
        let mut hot = Hot::open(&mut world, core, &format!("hot{core}"));
        quiet.publish_all(&mut world, KEPT_IMAGES);
        let reader = world.connect(core).expect("room for a session");
        let request = reading(&format!("{prefix}0"), From::Start, Policy::Wait);
        // It has taken an image and a half, and takes no more before the end.
        world.set_room(reader, 3 * IMAGE_BYTES as usize / 2);
        let (opened, _) = open(&mut world, reader, request);
        let (slot, generation, home) = (opened.slot, opened.generation, usize::from(opened.worker));
        hot.turn_over(&mut world, core, 2);
        let workers = [home as u16, 1 - home as u16];
        for (from, to) in [(0, 1), (1, 0), (0, 1)].map(|(from, to)| (workers[from], workers[to])) {
            let before = world.counts(usize::from(to)).kept;
            let asked = world.move_document(usize::from(from), slot, generation, to);
            assert_eq!(asked, Ok(()));
            world.run();
            assert!(world.stages(usize::from(from)).move_counts().with_kept > 0);
            turn_kept_over(&mut world, &mut fillers, &mut hot, core);
            let after = world.counts(usize::from(to)).kept;
            let wanted = KEPT_IMAGES * IMAGE_BYTES;
            assert_eq!(after.taken_over_bytes - before.taken_over_bytes, wanted, "{after:?}");
            let got = &history(&mut world, core, &prefix, 1)[0];
            let all: Vec<_> = (1..=KEPT_IMAGES).map(|number| (number, delta(0, number))).collect();
            assert_eq!(*got, all);
        }
        world.set_room(reader, usize::MAX);
        world.run();
        let taken = received(&world.events(reader));
        // The first came with the answer.
        let numbers: Vec<u64> = taken.iter().map(|(_, number, _)| *number).collect();
        assert_eq!(numbers, (2..=KEPT_IMAGES).collect::<Vec<_>>(), "nothing is told as missing");
        assert!(taken.iter().all(|(_, number, bytes)| *bytes == delta(0, *number)));
        assert_eq!(sum(&world, 2).let_go_bytes, 0, "a part of the share is enough");
        // It goes on, and what it keeps is its new owner's alone.
        quiet.publish_all(&mut world, 2 * KEPT_IMAGES);
        turn_kept_over(&mut world, &mut fillers, &mut hot, core);
        let got = &history(&mut world, core, &prefix, 1)[0];
        assert!(got.len() as u64 >= KEPT_IMAGES, "{}", got.len());
        let last = 3 * KEPT_IMAGES;
        assert_eq!(got.last(), Some(&(last, delta(0, last))));
    }
}

/// An owner that keeps nothing, because it is nobody's home, lets go of what its document has kept when the
/// chunk goes, counts it, and who reads from the start is told where the window begins.
pub(crate) fn who_keeps_nothing_counts_what_its_document_has_kept() {
    const ELASTIC: u16 = 2;
    let mut world = world_of(2, keeping(KEEP_BYTES), |config: &mut InlineConfig| {
        config.roles.push(CoreRole {
            serves_sessions: false,
            owns_documents: true,
            is_elastic: true,
        });
        config.chunk_bytes = CHUNK_BYTES;
        config.kept_chunks = KEPT_CHUNKS;
        config.node_blocks = 1 << 15;
    });
    world.poison_recycled(0xee);
    let mut quiet = Quiet::open(&mut world, 0, "q", 1);
    let mut fillers = Quiet::open(&mut world, 0, "f", 60);
    let mut hot = Hot::open(&mut world, 0, "hot");
    quiet.publish_all(&mut world, KEPT_IMAGES);
    let reader = world.connect(0).expect("room for a session");
    let (opened, _) = open(&mut world, reader, reading("q0", From::Live, Policy::Gap));
    hot.turn_over(&mut world, 0, 2);
    let home = usize::from(opened.worker);
    let asked = world.move_document(home, opened.slot, opened.generation, ELASTIC);
    assert_eq!(asked, Ok(()));
    world.run();
    assert_eq!(history(&mut world, 0, "q", 1)[0].len() as u64, KEPT_IMAGES, "it has come along");
    turn_kept_over(&mut world, &mut fillers, &mut hot, 0);
    let counts = world.counts(usize::from(ELASTIC)).kept;
    assert_eq!(counts.let_go_bytes, KEPT_IMAGES * IMAGE_BYTES, "{counts:?}");
    let mut kept_bytes = Vec::new();
    world.stages(usize::from(ELASTIC)).documents(0, 100, |it| kept_bytes.push(it.kept_bytes));
    assert_eq!(kept_bytes, [0]);
    assert!(history(&mut world, 0, "q", 1)[0].is_empty());
    quiet.publish_all(&mut world, 1);
    let newest = KEPT_IMAGES + 1;
    assert_eq!(history(&mut world, 0, "q", 1)[0], [(newest, delta(0, newest))]);
}

/// Kept images leave with their documents: dropped, unloaded, or grown beyond what is kept.
pub(crate) fn kept_images_leave_with_their_documents() {
    let mut world = keeping_world(1, 8, KEEP_BYTES);
    let mut quiet = Quiet::open(&mut world, 0, "q", 50);
    let mut hot = Hot::open(&mut world, 0, "hot");
    quiet.publish_all(&mut world, KEPT_IMAGES);
    hot.turn_over(&mut world, 0, 2);
    let kept = |world: &Inline| {
        let mut bytes = BTreeMap::new();
        world.stages(0).documents(0, 1_000, |entry| {
            bytes.insert(entry.name.to_string(), entry.kept_bytes);
        });
        bytes
    };
    assert_eq!(kept(&world)["q0"], KEPT_IMAGES * IMAGE_BYTES);
    // Some are dropped and made anew, one grows hot itself.
    for document in 10..20 {
        world.drop_document(quiet.writer, quiet.handles[document].0);
    }
    world.run();
    world.events(quiet.writer);
    for _ in 0..3_000 {
        quiet.publish(&mut world, 0);
        world.run();
        world.events(quiet.writer);
    }
    hot.turn_over(&mut world, 0, 3);
    let mut again = Quiet::open(&mut world, 0, "q", 0);
    for document in 10..20_u64 {
        let name = format!("q{document}");
        let handle = open(&mut world, again.writer, writing(&name, 100 + document)).0.handle;
        let delta = delta(document, 1);
        world.publish(again.writer, handle, 1, &[&delta]);
        again.handles.push((handle, 1));
    }
    world.run();
    hot.turn_over(&mut world, 0, 12);
    let now = kept(&world);
    assert_eq!(now["q0"], KEPT_IMAGES * IMAGE_BYTES, "its newest");
    assert_eq!(now["q15"], IMAGE_BYTES, "the new one's only image");
    assert_eq!(now["q49"], KEPT_IMAGES * IMAGE_BYTES);
    let all = history(&mut world, 0, "q", 50);
    assert_eq!(all[15], [(1, delta(15, 1))]);
    assert_eq!(all[49].last(), Some(&(KEPT_IMAGES, delta(49, KEPT_IMAGES))));
    let newest = KEPT_IMAGES + 3_000;
    assert_eq!(all[0].last(), Some(&(newest, delta(0, newest))));
}

/// Each byte that was to be kept is there or counted as let go, also what goes because it lies before one for
/// which there is no room.
pub(crate) fn what_goes_is_counted_to_the_byte() {
    const QUIET: u64 = 900;
    let mut world = keeping_world(1, 4, KEEP_BYTES);
    let mut quiet = Quiet::open(&mut world, 0, "q", QUIET);
    let mut hot = Hot::open(&mut world, 0, "hot");
    quiet.publish_all(&mut world, KEPT_IMAGES);
    hot.turn_over(&mut world, 0, 3);
    let all = history(&mut world, 0, "q", QUIET);
    let there: u64 = all.iter().map(|got| got.len() as u64 * IMAGE_BYTES).sum();
    let counts = sum(&world, 1);
    assert!(there > 0 && counts.let_go_bytes > 0, "{there} {counts:?}");
    assert_eq!(there + counts.let_go_bytes, QUIET * KEPT_IMAGES * IMAGE_BYTES, "{counts:?}");
}

/// Documents leave while their images are copied, a few of them a turn, into chunks that are begun
/// meanwhile: who has them by then is asked when these go, and no byte is another one's.
pub(crate) fn images_are_kept_while_their_documents_leave() {
    const QUIET: u64 = 60;
    let mut world = world_of(2, keeping(KEEP_BYTES), |config: &mut InlineConfig| {
        config.chunk_bytes = CHUNK_BYTES / 4;
        config.kept_chunks = 8;
        config.node_blocks = 1 << 12;
        config.limits.turn.retirement_entries = 4;
    });
    world.poison_recycled(0xee);
    let mut quiet = Quiet::open(&mut world, 0, "q", QUIET);
    let mut hot = Hot::open(&mut world, 0, "hot");
    let mut owned: BTreeMap<(u32, u32), usize> = BTreeMap::new();
    for core in 0..2 {
        let stages = world.stages(core);
        stages.documents(0, 1_000, |it| {
            if it.name.starts_with('q') {
                owned.insert((it.slot, it.generation), core);
            }
        });
    }
    assert_eq!(owned.len() as u64, QUIET);
    let documents: Vec<(u32, u32)> = owned.keys().copied().collect();
    let (mut next, mut moved) = (0, 0);
    // Half of them say nothing more: what they keep goes on from chunk to chunk.
    quiet.publish_all(&mut world, KEPT_IMAGES);
    for _ in 0..16 {
        quiet.publish_first(&mut world, QUIET / 2, KEPT_IMAGES / 2);
        for turn in 0..400 {
            if turn % 3 == 0 {
                hot.number += 1;
                let delta = [hot.number as u8; 3_000];
                world.publish(hot.writer, hot.handle, hot.number, &[&delta]);
            }
            if turn % 2 == 0 {
                let document = documents[next % documents.len()];
                next += 1;
                let from = owned[&document];
                let to = 1 - from;
                let asked = world.move_document(from, document.0, document.1, to as u16);
                moved += usize::from(asked.is_ok());
            }
            world.turn();
            for core in 0..2 {
                while let Some(ended) = world.take_moved(core) {
                    if ended.outcome == MoveOutcome::Moved {
                        owned.insert((ended.slot, ended.generation), usize::from(ended.to));
                    }
                }
            }
            world.events(hot.writer);
        }
        world.run();
        world.events(quiet.writer);
        world.events(hot.writer);
        for (document, got) in history(&mut world, 0, "q", QUIET).into_iter().enumerate() {
            let last = quiet.handles[document].1;
            let first = last + 1 - got.len() as u64;
            let all: Vec<_> =
                (first..=last).map(|number| (number, delta(document as u64, number))).collect();
            let numbers: Vec<u64> = got.iter().map(|it| it.0).collect();
            assert!(got == all, "document {document}, up to {last}: {numbers:?}");
        }
    }
    let counts = sum(&world, 2);
    let with_kept: u64 = (0..2).map(|core| world.stages(core).move_counts().with_kept).sum();
    assert!(moved > 500 && with_kept > 300, "{moved} moved, {with_kept} with kept images");
    assert!(counts.taken_over_bytes > 0 && counts.copied_on_bytes > 0, "{counts:?}");
}

/// Documents leave while their images are copied into chunks that were not there when all were told: who has
/// them by then is asked all the same when those go, although nothing is moved any more.
pub(crate) fn chunks_that_are_begun_while_documents_leave_ask_their_new_owner() {
    const QUIET: u64 = 40;
    const KEPT_CHUNKS: u32 = 10;
    /// Less than a chunk, so that none goes before they leave.
    const IMAGES: u64 = 3;
    let mut world = world_of(2, keeping(KEEP_BYTES), |config: &mut InlineConfig| {
        config.chunk_bytes = CHUNK_BYTES / 8;
        config.limits.image_bytes_max = 4 << 10;
        config.kept_chunks = KEPT_CHUNKS;
        config.node_blocks = 1 << 12;
        config.limits.turn.retirement_entries = 3;
    });
    world.poison_recycled(0xee);
    let mut quiet = Quiet::open(&mut world, 0, "q", QUIET);
    let is_here = |world: &Inline, name: &str| world.stages(0).document_of_name(name);
    let here: Vec<(u64, (u32, u32))> = (0..QUIET)
        .filter_map(|document| Some((document, is_here(&world, &format!("q{document}"))?)))
        .take(MOVES_AT_ONCE)
        .collect();
    assert_eq!(here.len(), MOVES_AT_ONCE);
    let mut hot = (0..)
        .map(|number| format!("hot{number}"))
        .map(|name| (Hot::open(&mut world, 0, &name), is_here(&world, &name)))
        .find_map(|(hot, is_here)| is_here.map(|_| hot))
        .expect("one of them is there");
    for _ in 0..IMAGES {
        here.iter().for_each(|(document, _)| quiet.publish(&mut world, *document));
        world.run();
        world.events(quiet.writer);
    }
    for (_, (slot, generation)) in &here {
        assert_eq!(world.move_document(0, *slot, *generation, 1), Ok(()));
    }
    // Room is kept for them, all are told, and the other core does not answer.
    world.turn_core(0);
    world.turn_core(1);
    let before = world.counts(0).kept.bytes;
    for _ in 0..200 {
        hot.number += 1;
        world.publish(hot.writer, hot.handle, hot.number, &[&[hot.number as u8; 3_000]]);
        world.turn_core(0);
        world.events(hot.writer);
    }
    let copied = world.counts(0).kept.bytes;
    assert!(before == 0 && copied > 0, "copied while they leave, and not before: {copied}");
    assert_eq!(world.stages(0).move_counts().with_kept, 0, "they are still on their way");
    world.run();
    assert_eq!(world.stages(0).move_counts().with_kept, here.len() as u64);
    // The old owner's kept chunks come round.
    let mut fillers = Quiet::open(&mut world, 0, "f", 16);
    let share = u64::from(KEPT_CHUNKS) * (CHUNK_BYTES / 8) as u64;
    let before = world.counts(0).kept.bytes;
    while world.counts(0).kept.bytes - before < 2 * share {
        fillers.publish_all(&mut world, KEPT_IMAGES);
        hot.turn_over(&mut world, 0, 1);
    }
    let counts = world.counts(1).kept;
    assert!(counts.taken_over_bytes >= copied, "its own by now: {counts:?}");
    let all = history(&mut world, 0, "q", QUIET);
    for (document, _) in here {
        let numbers: Vec<u64> = all[document as usize].iter().map(|it| it.0).collect();
        assert_eq!(numbers, (1..=IMAGES).collect::<Vec<_>>(), "document {document}");
        let is_its = |(number, bytes): &(u64, Vec<u8>)| *bytes == delta(document, *number);
        assert!(all[document as usize].iter().all(is_its), "document {document}");
    }
}
