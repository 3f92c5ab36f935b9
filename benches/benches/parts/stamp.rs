//! `stamp` and `cross_core_stamp`: what does the owner's writing into an image cost?
//!
//! `stamp` is one core, the image in its cache: nanoseconds per image. `cross_core_stamp` lets one
//! core receive and send, and another one own every second document, so that neighbouring images
//! are stamped by different cores and share cache lines: `in_place` writes into the image,
//! `beside` leaves the image alone and hands a copy of the header back with the node, so that the
//! sender reads two ranges per image. Nanoseconds per image, from the receiver's write to the
//! sender's reading of every byte. Not measured: the system call that takes twice as many ranges
//! in the second case, which only adds to its cost.

use std::hint::{black_box, spin_loop};
use std::time::{Duration, Instant};

use criterion::Criterion;
use deltaworks_image::crc::crc32c;
use deltaworks_image::{BatchBuilder, DocumentId, HEADER_BYTES, Image, Limits, Stamp, stamp};
use deltaworks_pipeline::chunk::{ChunkPool, Landed};
use deltaworks_runtime::chunk_memory::{ChunkId, ChunkMemory, RegionSpec};
use deltaworks_runtime::pinned::PinnedThread;
use deltaworks_runtime::ring::ring;
use deltaworks_runtime::sync::Arc;

use crate::pair::two_cpus;

const CHUNK_BYTES: usize = 2 << 20;
const CAPACITY: usize = 1024;
/// Images that are on their way at once.
const WINDOW: u64 = 512;

type Header = [u8; HEADER_BYTES];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    InPlace,
    Beside,
}

fn image(delta_bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Limits::default());
    builder.append(&vec![7; delta_bytes]).expect("one delta");
    builder.finish(1, 1).expect("one image")
}

fn stamp_of(number: u64) -> Stamp {
    let document = DocumentId { slot: number as u32 & 0xff, generation: 1 };
    Stamp { document, first_sequence: number + 1, time_us: 1_700_000_000_000_000, origin: 3 }
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut bytes = image(46);
    stamp(&mut bytes, stamp_of(4));
    let stamped = Image::parse(&bytes).expect("a whole image");
    assert_eq!((stamped.first_sequence(), stamped.verify()), (5, Ok(())));
    criterion.bench_function("stamp/one_core", |bencher| {
        let mut number = 0;
        bencher.iter(|| {
            number += 1;
            stamp(black_box(&mut bytes), stamp_of(number));
        });
    });

    let Some((_, other)) = two_cpus("cross_core_stamp") else { return };
    let mut group = criterion.benchmark_group("cross_core_stamp");
    for delta_bytes in [46, 1024] {
        for (name, how) in [("in_place", Where::InPlace), ("beside", Where::Beside)] {
            assert!(cross(other, 5_000, how, delta_bytes) > Duration::ZERO);
            group.bench_function(format!("{name}_{delta_bytes}_bytes"), |bencher| {
                bencher.iter_custom(|count| cross(other, count, how, delta_bytes));
            });
        }
    }
    group.finish();
}

/// What an owner does with an image that it has checked: reads all of it, then stamps it where it
/// lies, or a copy of its header.
fn own(landed: &mut Landed, memory: &ChunkMemory, number: u64, how: Where) -> Header {
    black_box(crc32c(landed.bytes(memory)));
    let mut header = [0; HEADER_BYTES];
    match how {
        Where::InPlace => stamp(landed.bytes_mut(memory), stamp_of(number)),
        Where::Beside => {
            header.copy_from_slice(&landed.bytes(memory)[..HEADER_BYTES]);
            stamp(&mut header, stamp_of(number));
        }
    }
    header
}

/// What a sender does: reads every byte once, from one range or from two.
fn read(landed: &Landed, memory: &ChunkMemory, header: &Header, how: Where) -> (u64, u32) {
    let bytes = landed.bytes(memory);
    match how {
        Where::InPlace => {
            let first = Image::checked_before(bytes).map_or(0, |image| image.first_sequence());
            (first, crc32c(bytes))
        }
        Where::Beside => {
            let first = Image::checked_before(header).map_or(0, |image| image.first_sequence());
            (first, crc32c(header) ^ crc32c(&bytes[HEADER_BYTES..]))
        }
    }
}

/// The time for `count` images, each second one owned by the other core.
fn cross(other: usize, count: u64, how: Where, delta_bytes: usize) -> Duration {
    let region = RegionSpec { chunks: 8, numa_node: None };
    let (memory, _) = ChunkMemory::new(&[region], CHUNK_BYTES).expect("16 MiB");
    let memory = Arc::new(memory);
    let mut pool = ChunkPool::new(memory.clone(), ChunkId(0), 8);
    let (mut to_owner, mut from_reception) = ring::<(u64, Landed)>(CAPACITY);
    let (mut to_sender, mut from_owner) = ring::<(u64, Landed, Header)>(CAPACITY);
    let of_owner = memory.clone();
    let owner = move || {
        let mut left = count / 2;
        while left > 0 {
            let taken = from_reception.drain(64, |(number, mut landed)| {
                let header = own(&mut landed, &of_owner, number, how);
                to_sender.push((number, landed, header)).expect("fewer are on their way");
            });
            left -= taken as u64;
            if taken == 0 {
                spin_loop();
            }
        }
    };
    let thread = PinnedThread::spawn(other, "owner", owner).expect("a CPU that is there");
    let image = image(delta_bytes);
    let (mut received, mut sent, mut sum) = (0, 0, 0_u32);
    let mut own_ones = std::collections::VecDeque::new();
    let began = Instant::now();
    while sent < count {
        for _ in 0..64 {
            if received == count || received - sent >= WINDOW {
                break;
            }
            assert!(pool.ensure_tail(image.len() as u32), "chunks come back in time");
            pool.tail()[..image.len()].copy_from_slice(&image);
            let landed = pool.land(image.len() as u32);
            pool.sent(landed.range(), 0);
            if received % 2 == 1 {
                to_owner.push((received, landed)).expect("fewer are on their way");
            } else {
                own_ones.push_back((received, landed));
            }
            received += 1;
        }
        let mut send = |number: u64, landed: Landed, header: Header| {
            let (first, crc) = read(&landed, &memory, &header, how);
            assert_eq!(first, number + 1, "stamped");
            sum ^= crc;
            sent += 1;
            pool.answered(landed.range().chunk(), 1);
        };
        for (number, mut landed) in own_ones.drain(..) {
            let header = own(&mut landed, &memory, number, how);
            send(number, landed, header);
        }
        from_owner.drain(64, |(number, landed, header)| send(number, landed, header));
        while let Some((chunk, _)) = pool.begin_retirement() {
            pool.freed(chunk, 0);
        }
    }
    let took = began.elapsed();
    black_box(sum);
    thread.join().expect("all were owned");
    took
}
