//! `chunk_append`: what does it cost to give an image of 104 bytes its place in a chunk, and to
//! get the chunk back?
//!
//! Nanoseconds per image, on one core: room, range, count of descriptors, answers, retirement, over
//! a pool that comes round. Not measured: the bytes, which the kernel or a client writes.

use std::time::Instant;

use criterion::Criterion;
use deltaworks_pipeline::chunk::ChunkPool;
use deltaworks_runtime::chunk_memory::{ChunkId, ChunkMemory, RegionSpec};
use deltaworks_runtime::sync::Arc;

const IMAGE_BYTES: u32 = 104;

pub(crate) fn bench(criterion: &mut Criterion) {
    let region = RegionSpec { chunks: 4, numa_node: None };
    let (memory, _) = ChunkMemory::new(&[region], 64 << 10).expect("256 KiB");
    let mut pool = ChunkPool::new(Arc::new(memory), ChunkId(0), 4);
    let mut append = |count: u64| {
        let mut placed_bytes = 0;
        for _ in 0..count {
            assert!(pool.ensure_tail(IMAGE_BYTES), "chunks come back in time");
            let range = pool.land(IMAGE_BYTES).publish();
            pool.sent(range, 0);
            pool.answered(range.chunk(), 1);
            placed_bytes += u64::from(range.bytes());
            if pool.wants_retirement() {
                while let Some((chunk, _)) = pool.begin_retirement() {
                    pool.freed(chunk, 0);
                }
            }
        }
        (placed_bytes, pool.recycled())
    };
    let (placed_bytes, recycled) = append(10_000);
    assert_eq!(placed_bytes, 10_000 * u64::from(IMAGE_BYTES));
    assert!(recycled > 8, "the pool came round");
    criterion.bench_function("chunk_append", |bencher| {
        bencher.iter_custom(|iterations| {
            let began = Instant::now();
            std::hint::black_box(append(iterations));
            began.elapsed()
        });
    });
}
