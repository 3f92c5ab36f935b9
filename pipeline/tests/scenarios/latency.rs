//! How long images take, by stage: what is counted, and what is not.

use super::world::{open, reading, world, writing};
use deltaworks_pipeline::latency::{BUCKETS, Histogram, bucket_of};
use deltaworks_pipeline::message::{From, Policy};

const MS: u64 = 1_000_000;

fn filled(histogram: Option<&Histogram>) -> Vec<(usize, u64)> {
    let counts = histogram.expect("the core does everything").counts();
    (0..BUCKETS).map(|bucket| (bucket, counts[bucket])).filter(|(_, count)| *count > 0).collect()
}

/// Times are counted where they pass: from reception to the owner's turn, and from there to the
/// subscriber's socket, however slow that is. History is no delay, and a refused batch no time.
pub(crate) fn images_are_timed_from_socket_to_socket() {
    let mut world = world(1, |_| ());
    world.advance_ns(5_000 * MS);
    let publisher = world.connect(0).expect("room for a session");
    let live = world.connect(0).expect("room for a session");
    let late = world.connect(0).expect("room for a session");
    let (writer, _) = open(&mut world, publisher, writing("d", 7));
    open(&mut world, live, reading("d", From::Live, Policy::Gap));

    world.publish(publisher, writer.handle, 1, &[b"a"]);
    world.advance_ns(3 * MS);
    world.run();
    assert_eq!(filled(world.stages(0).validation_latency()), [(bucket_of(3 * MS), 1)]);
    assert_eq!(filled(world.stages(0).propagation_latency()), [(bucket_of(0), 1)]);

    // A number that jumps is refused: it was received, but nobody waits for it.
    world.publish(publisher, writer.handle, 9, &[b"b"]);
    world.run();
    assert_eq!(filled(world.stages(0).validation_latency()), [(bucket_of(3 * MS), 1)]);

    // A socket that takes nothing for a while: its last image is counted once, with the while.
    world.set_room(live, 0);
    for number in 2..5 {
        world.publish(publisher, writer.handle, number, &[b"c"]);
        world.run();
    }
    world.advance_ns(70 * MS);
    world.set_room(live, usize::MAX);
    world.run();
    let slow = [(bucket_of(0), 1), (bucket_of(70 * MS), 1)];
    assert_eq!(filled(world.stages(0).propagation_latency()), slow);

    // Who opens from the start is sent what is old; that is no delay.
    world.advance_ns(9_000 * MS);
    open(&mut world, late, reading("d", From::Start, Policy::Gap));
    world.run();
    assert_eq!(filled(world.stages(0).propagation_latency()), slow);

    let counts = world.stages(0).collection_counts()[0];
    assert_eq!((counts.accepted_batches, counts.accepted_deltas), (4, 4));
    assert_eq!((counts.accepted_bytes, counts.refused_batches), (4 * 64, 1));
}
