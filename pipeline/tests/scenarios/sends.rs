//! How much a socket is sent at once: whole segments where as much is there.

use super::world::{open, reading, world, writing};
use deltaworks_pipeline::inline::{Inline, Peer, batch};
use deltaworks_pipeline::limits::SEGMENT_BYTES;
use deltaworks_pipeline::message::{From, Policy};

/// Deltas of a batch, and bytes of each: what a read brings costs more for its deltas than for its bytes.
const DELTAS: usize = 32;
const DELTA_BYTES: usize = 64;

/// A world with a publisher, who has these many batches to say, and readers of what it says.
fn with_readers(readers: usize, batches: u64) -> (Inline, Vec<u8>, Peer) {
    let mut world = world(1, |config| {
        config.chunks = 64;
        config.chunk_bytes = 1 << 20;
        config.limits.credit_bytes = 1 << 30;
        if readers == 1 {
            // All is read at once.
            config.limits.turn.reception_cost = 1 << 24;
            config.limits.turn.quantum_cost = 1 << 24;
        }
    });
    let publisher = world.connect(0).expect("room");
    let (opened, _) = open(&mut world, publisher, writing("hot", 1));
    for _ in 0..readers {
        let reader = world.connect(0).expect("room");
        open(&mut world, reader, reading("hot", From::Live, Policy::Gap));
    }
    world.run();
    let deltas = [&[7; DELTA_BYTES][..]; DELTAS];
    let bytes = (1..=batches).flat_map(|number| batch(opened.handle, number, &deltas)).collect();
    (world, bytes, publisher)
}

/// One of the first readers of a document gets what two segments hold, whole images; what is left comes in the
/// rounds, a segment at a time.
pub(crate) fn a_send_is_as_long_as_whole_segments() {
    let (mut world, bytes, publisher) = with_readers(1, 100);
    let image_bytes = bytes.len() as u64 / 100;
    let before = world.counts(0).propagation;
    world.send(publisher, &bytes);
    world.turn();
    let after = world.counts(0).propagation;
    let of_one = u64::from(SEGMENT_BYTES) / image_bytes;
    let of_two = 2 * u64::from(SEGMENT_BYTES) / image_bytes;
    assert_eq!(after.sends - before.sends, 2);
    assert_eq!(after.delivered_bytes - before.delivered_bytes, (of_two + of_one) * image_bytes);
    world.run();
    assert_eq!(world.counts(0).propagation.delivered_images - before.delivered_images, 100);
}

/// Readers that wait for each other in rounds get twice what one read brings, because who is read goes on
/// until half of a send has come; and nobody falls behind for it.
pub(crate) fn many_readers_get_more_at_once_than_a_read_brings() {
    const READERS: u64 = 64;
    let (mut world, bytes, publisher) = with_readers(READERS as usize, 4_000);
    world.send(publisher, &bytes);
    for _ in 0..200 {
        world.turn();
    }
    let before = world.counts(0);
    for _ in 0..1_000 {
        world.turn();
    }
    let after = world.counts(0);
    assert!(world.unread_bytes(publisher) > 0, "it always has bytes to read");
    let (then, now) = (before.propagation, after.propagation);
    let send_bytes = (now.delivered_bytes - then.delivered_bytes) / (now.sends - then.sends);
    assert!(send_bytes > 40 << 10, "a send has {send_bytes} bytes");
    let behind = READERS * after.reception.received_images - now.delivered_images;
    assert!(behind < READERS * 120, "{behind} images wait for a socket");
}
