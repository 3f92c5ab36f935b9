//! How an owner lets go of a chunk: which documents have nodes in it, and who must answer first.
//!
//! Each chunk has a list of the places where a run of nodes in it begins. Retiring walks the list
//! in slices, moves each document's window past its nodes, takes the passed blocks out, asks the
//! agents that read those documents, and frees the blocks when all have answered.
//! Lists are bounded by the images that fit a chunk; a slice by
//! [`TurnBounds::retirement_entries`](crate::limits::TurnBounds::retirement_entries).
//!
//! ```text
//! Retire ─▶ walk list: window starts move, blocks are detached ─▶ Retiring to agents
//!                              Freed to reception ◀─ blocks freed ◀─ last Released
//! ```

use std::collections::VecDeque;

use deltaworks_runtime::chunk_memory::ChunkId;

use crate::document::{LEAVING, LIVE};
use crate::registry::Registry;
use crate::stream::{NODES_PER_BLOCK, Place};

/// How far ahead entries are asked for.
const AHEAD: usize = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Touch {
    /// A document's place at its owner; later the first detached block.
    first: u32,
    /// Block and index where a run of its nodes begins; later the block behind the last detached.
    second: u32,
}

#[derive(Debug)]
enum Stage {
    /// Entries before the number have been walked.
    Walk(usize),
    /// Waits for the agents, one bit per core.
    Answers(u64),
    /// Entries before the number have been freed.
    Free(usize),
}

#[derive(Debug)]
struct Job {
    /// Counted from the first.
    number: u64,
    chunk: ChunkId,
    stage: Stage,
    agents: u64,
    detached: usize,
}

/// What a slice of work asks the caller to send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Ask these cores' agents, one bit each.
    AskAgents(ChunkId, u64),
    /// Tell the chunk's reception core.
    Freed(ChunkId),
}

/// The chunks that one owner's documents have nodes in, and those being retired.
#[derive(Debug)]
pub(crate) struct Retirements {
    touches: Vec<Vec<Touch>>,
    jobs: VecDeque<Job>,
    /// Retirements that were begun.
    begun: u64,
    /// Documents that are handed over, by place, and the number of the first retirement that has no
    /// part in them.
    left_out: Vec<(u32, u64)>,
    /// Entries of a list beyond which it holds some twice.
    entries_max: usize,
    /// Entries handled before other work comes.
    slice: usize,
}

impl Retirements {
    /// For so many chunks, each with room for `entries_max` images.
    pub fn new(chunks: usize, entries_max: usize, slice: usize) -> Self {
        Self {
            touches: (0..chunks).map(|_| Vec::new()).collect(),
            jobs: VecDeque::new(),
            begun: 0,
            left_out: Vec::new(),
            entries_max,
            slice,
        }
    }

    /// Notes that a run of the nodes in `chunk` of the document at `place` begins at `block`, `index`.
    #[inline]
    pub fn touch(&mut self, chunk: u32, place: u32, block: u32, index: u8) {
        self.touches[chunk as usize]
            .push(Touch { first: place, second: block << 3 | u32::from(index) });
    }

    /// The same of a document that was handed over: what is noted already, from an earlier stay, is
    /// left out when the list would grow beyond what there can be.
    pub fn touch_again(&mut self, chunk: u32, place: u32, block: u32, index: u8) {
        self.touch(chunk, place, block, index);
        let touches = &mut self.touches[chunk as usize];
        if touches.len() > self.entries_max && self.jobs.iter().all(|job| job.chunk.0 != chunk) {
            touches.sort_unstable();
            touches.dedup();
        }
    }

    /// How many retirements were begun.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// From now on retirements from number `first` on have no part in the document at `place`.
    pub fn leave_out(&mut self, place: u32, first: u64) {
        self.left_out.push((place, first));
    }

    /// The place may be another document's.
    pub fn take_back(&mut self, place: u32) {
        self.left_out.retain(|(known, _)| *known != place);
    }

    /// Whether all before number `first` have ended.
    pub fn are_done_before(&self, first: u64) -> bool {
        self.jobs.front().is_none_or(|job| job.number >= first)
    }

    /// Begins to let go of `chunk`.
    pub fn begin(&mut self, chunk: ChunkId) {
        let number = self.begun;
        self.begun += 1;
        self.jobs.push_back(Job { number, chunk, stage: Stage::Walk(0), agents: 0, detached: 0 });
    }

    /// Takes an agent's answer.
    pub fn released(&mut self, chunk: ChunkId, core: u16) {
        let job = self.jobs.iter_mut().find(|job| job.chunk == chunk);
        debug_assert!(job.is_some(), "an answer nobody asked for");
        if let Some(Job { stage: Stage::Answers(missing), .. }) = job {
            *missing &= !(1 << core);
        }
    }

    /// Whether nothing is being retired.
    pub fn is_idle(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Whether nothing can be done before an agent answers.
    pub fn only_waits(&self) -> bool {
        self.jobs.iter().all(|job| matches!(job.stage, Stage::Answers(missing) if missing != 0))
    }

    /// Does a slice of work. The tails of everything appended so far must be published.
    pub fn advance(&mut self, registry: &mut Registry, mut tell: impl FnMut(Notice)) -> usize {
        let mut budget = self.slice;
        let mut walking = false;
        let mut finished = false;
        for job in &mut self.jobs {
            let touches = &mut self.touches[job.chunk.0 as usize];
            // Chunks are walked one after another, so that agents are asked in that order.
            if let Stage::Walk(done) = job.stage {
                if walking || budget == 0 {
                    break;
                }
                let end = touches.len().min(done + budget);
                budget -= end - done;
                walk(registry, job, &self.left_out, touches, done, end);
                job.stage = Stage::Walk(end);
                if end < touches.len() {
                    walking = true;
                    continue;
                }
                if job.agents != 0 {
                    tell(Notice::AskAgents(job.chunk, job.agents));
                }
                job.stage = Stage::Answers(job.agents);
            }
            if let Stage::Answers(0) = job.stage {
                job.stage = Stage::Free(0);
            }
            if let Stage::Free(done) = job.stage {
                let end = job.detached.min(done + budget);
                budget -= end - done;
                for (place, touch) in touches[..end].iter().enumerate().skip(done) {
                    if let Some(ahead) = touches.get(place + AHEAD) {
                        registry.nodes().prefetch(ahead.first, 0);
                    }
                    registry.blocks.give_back(touch.first, touch.second);
                }
                job.stage = Stage::Free(end);
                if end == job.detached {
                    touches.clear();
                    finished = true;
                    tell(Notice::Freed(job.chunk));
                }
            }
        }
        if finished {
            self.jobs.retain(|job| !matches!(job.stage, Stage::Free(done) if done == job.detached));
        }
        self.slice - budget + usize::from(finished)
    }
}

/// Walks entries `from..to`: moves windows, and leaves the detached chains at the list's front.
fn walk(
    registry: &mut Registry,
    job: &mut Job,
    left_out: &[(u32, u64)],
    touches: &mut [Touch],
    from: usize,
    to: usize,
) {
    for place in from..to {
        if let Some(ahead) = touches.get(place + 2 * AHEAD) {
            let document = ahead.first as usize;
            deltaworks_runtime::prefetch::prefetch_entry(&registry.documents, document);
            registry.nodes().prefetch_whole(ahead.second >> 3);
        }
        if let Some(ahead) = touches.get(place + AHEAD) {
            let slot = registry.documents[ahead.first as usize].slot;
            deltaworks_runtime::prefetch::prefetch(registry.shared.get(slot));
            // The walk looks one node further than the run, often into the next block.
            let nodes = registry.nodes();
            nodes.prefetch(nodes.next(ahead.second >> 3), 0);
        }
        let touch = touches[place];
        if let Some(chain) = pass(registry, job, left_out, touch) {
            touches[job.detached] = chain;
            job.detached += 1;
        }
    }
}

/// Moves one document's window past the run that `touch` names; returns the blocks that are
/// behind it now.
fn pass(
    registry: &mut Registry,
    job: &mut Job,
    left_out: &[(u32, u64)],
    touch: Touch,
) -> Option<Touch> {
    let (block, start) = (touch.second >> 3, (touch.second & 7) as u8);
    let nodes = registry.blocks.memory();
    let document = &mut registry.documents[touch.first as usize];
    let slot = document.slot;
    if document.flags & LIVE == 0 {
        return None; // no more, or at another worker
    }
    if document.flags & LEAVING != 0
        && left_out.iter().any(|(place, first)| *place == touch.first && job.number >= *first)
    {
        return None; // the new owner is asked, too
    }
    // Also when nothing moves: nodes passed by an earlier chunk's retirement may lie in this one.
    job.agents |= document.readers;
    if document.last_chunk == job.chunk.0 {
        document.last_chunk = u32::MAX;
    }
    if nodes.slot(block) != slot {
        return None; // given back since, perhaps with its document
    }
    let node = nodes.first_node(block) + u64::from(start);
    if node < document.window_start || node >= document.nodes {
        return None;
    }
    let mut end = Place { node, block, index: start };
    while end.node < document.nodes {
        end = nodes.normalise(end);
        if nodes.node(end.block, end.index).range.chunk() != job.chunk {
            break;
        }
        end.node += 1;
        end.index += 1;
    }
    if end.node == node {
        return None; // given back since, and taken again by the same document
    }
    if end.index == NODES_PER_BLOCK {
        end = nodes.normalise(end);
    }
    if end.node <= document.window_start {
        return None;
    }
    let first = document.head_block;
    document.head_block = end.block;
    document.head_index = end.index;
    document.window_start = end.node;
    registry.shared.get(slot).set_window_start(end.node);
    (first != end.block).then_some(Touch { first, second: end.block })
}
