//! `append` and `drain`: what does it cost to make an image a document's newest node, and to walk
//! the nodes again?
//!
//! Nanoseconds per node on one core, over one document (`hot`) or a million in turn (`cold`: every
//! block is a cache miss, unless it is asked for ahead, which these do not). Blocks are given back
//! as a retirement would. Not measured: tails, marks, and the images themselves.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::Criterion;
use deltaworks_pipeline::chunk::ImageRange;
use deltaworks_pipeline::stream::{BlockPool, NO_BLOCK, NODES_PER_BLOCK, Node, NodeMemory, Place};
use deltaworks_runtime::chunk_memory::ChunkId;

/// Nodes of a document before its blocks are given back.
const NODES: u64 = 21;

#[derive(Clone, Copy)]
struct Document {
    head: u32,
    tail: u32,
    index: u8,
}

impl Document {
    const EMPTY: Self = Self { head: NO_BLOCK, tail: NO_BLOCK, index: 0 };

    #[inline]
    fn append(&mut self, pool: &mut BlockPool, node: u64) {
        if self.tail == NO_BLOCK || self.index == NODES_PER_BLOCK {
            let block = pool.take(1, node).expect("blocks come back in time");
            match self.tail {
                NO_BLOCK => self.head = block,
                tail => pool.link(tail, block),
            }
            (self.tail, self.index) = (block, 0);
        }
        let range = ImageRange::new(ChunkId(1), (node as u32 * 104) & 0x1f_fff8, 104);
        pool.write(self.tail, self.index, Node { range, first_sequence: node + 1 });
        self.index += 1;
    }

    #[inline]
    fn drain(&self, memory: &NodeMemory) -> u64 {
        let mut place = Place { node: 0, block: self.head, index: 0 };
        let mut sum = 0;
        while place.node < NODES {
            place = memory.normalise(place);
            let node = memory.node(place.block, place.index);
            sum += node.first_sequence + u64::from(node.range.bytes());
            place.node += 1;
            place.index += 1;
        }
        sum
    }
}

/// What draining a document must come to.
const SUM: u64 = NODES * (NODES + 1) / 2 + NODES * 104;

pub(crate) fn bench(criterion: &mut Criterion) {
    let is_test = std::env::args().all(|argument| argument != "--bench");
    let many = if is_test { 1_000 } else { 1_000_000 };
    for (regime, documents) in [("hot", 1), ("cold", many)] {
        let memory = NodeMemory::new(4 * documents as u32);
        let mut pool = BlockPool::new(memory.clone(), 0, 4 * documents as u32);
        let mut all = vec![Document::EMPTY; documents];
        let append_round = |all: &mut [Document], pool: &mut BlockPool, times: u64| {
            let mut took = Duration::ZERO;
            for _ in 0..times {
                let began = Instant::now();
                for node in 0..NODES {
                    all.iter_mut().for_each(|document| document.append(pool, node));
                }
                took += began.elapsed();
                for document in all.iter_mut() {
                    assert_eq!(document.drain(&memory), SUM);
                    pool.give_back(document.head, NO_BLOCK);
                    *document = Document::EMPTY;
                }
            }
            took
        };
        append_round(&mut all, &mut pool, 1);
        assert_eq!(pool.used(), 0, "every block came back");
        let nodes = NODES * documents as u64;
        // A round has a fixed number of nodes: its time is scaled to the number asked for.
        let scaled = |took: Duration, iterations: u64, rounds: u64| {
            took.mul_f64(iterations as f64 / (rounds * nodes) as f64)
        };
        criterion.bench_function(&format!("append/{regime}"), |bencher| {
            bencher.iter_custom(|iterations| {
                let rounds = iterations.div_ceil(nodes);
                scaled(append_round(&mut all, &mut pool, rounds), iterations, rounds)
            });
        });

        for node in 0..NODES {
            all.iter_mut().for_each(|document| document.append(&mut pool, node));
        }
        let drain_round = |times: u64| {
            let began = Instant::now();
            for _ in 0..times {
                for document in &all {
                    black_box(document.drain(&memory));
                }
            }
            began.elapsed()
        };
        assert!(all.iter().all(|document| document.drain(&memory) == SUM));
        criterion.bench_function(&format!("drain/{regime}"), |bencher| {
            bencher.iter_custom(|iterations| {
                let rounds = iterations.div_ceil(nodes);
                scaled(drain_round(rounds), iterations, rounds)
            });
        });
    }
}
