//! How an owner lets go of a chunk: which documents have nodes in it, and who must answer first.
//!
//! Each chunk has a list of the places where a run of nodes in it begins. Retiring walks the list
//! in slices, moves each document's window past its nodes, takes the passed blocks out, asks the
//! agents that read those documents, and frees the blocks when all have answered. What a document
//! keeps of its newest bytes is copied first, and stays in its window; see [`crate::kept`]. A chunk of
//! kept images is retired as one of reception's is, by its owner and by those that have documents of it.
//! Lists are bounded by the images that fit a chunk; a slice by
//! [`TurnBounds::retirement_entries`](crate::limits::TurnBounds::retirement_entries).
//!
//! ```text
//! Retire ─▶ walk list: window starts move, blocks are detached ─▶ Retiring to agents
//!                              Freed to reception ◀─ blocks freed ◀─ last Released
//! ```

use std::collections::VecDeque;

use deltaworks_runtime::chunk_memory::{CHUNK_BYTES, ChunkId};

use crate::chunk::ImageRange;
use crate::document::{Document, LEAVING, LIVE};
use crate::kept::{Kept, KeptCounts, Newest, Room, Source, newest};
use crate::registry::Registry;
use crate::stream::{NODES_PER_BLOCK, Place};

/// How far ahead entries are asked for.
const AHEAD: usize = 12;

/// Nodes that are looked at, and bytes that are copied, for the time of one entry.
const NODES_PER_ENTRY: usize = 8;
const BYTES_PER_ENTRY: u64 = 512;

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
    /// Runs that were walked, and their nodes: how far the next ones reach.
    runs: u64,
    nodes: u64,
    /// It waits for room for kept images, which another job makes.
    waits: bool,
}

impl Job {
    /// How many nodes behind a run's first one its walk is likely to look at, 1 to 7: one behind a run of
    /// one, and twice as far as runs have been longer, so that most are covered.
    fn reach(&self) -> u8 {
        let longer = 2 * self.nodes.saturating_sub(self.runs) / self.runs.max(1);
        (1 + longer).min(u64::from(NODES_PER_BLOCK)) as u8
    }
}

/// What a slice of work asks the caller to send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Ask these cores' agents, one bit each.
    AskAgents(ChunkId, u64),
    /// Tell the chunk's core.
    Freed(ChunkId),
}

/// A document that leaves.
#[derive(Debug)]
struct Leaver {
    place: u32,
    to: u16,
    /// The number of the first retirement that has no part in it.
    first: u64,
}

/// The chunks that one owner's documents have nodes in, and those being retired.
#[derive(Debug)]
pub(crate) struct Retirements {
    touches: Vec<Vec<Touch>>,
    jobs: VecDeque<Job>,
    /// Where documents' newest bytes go, if there is room for any.
    pub kept: Option<Kept>,
    /// Chunks from this one on are some owner's kept ones.
    kept_from: u32,
    /// Bytes that were among the newest, and went.
    let_go_bytes: u64,
    /// Runs of images that were kept since the lists were last looked at, by chunk.
    new_touches: Vec<(u32, Touch)>,
    /// Retirements that were begun.
    begun: u64,
    /// Documents that all cores have been told to go elsewhere with.
    leavers: Vec<Leaver>,
    /// Entries of a list beyond which it holds some twice.
    entries_max: usize,
    /// Entries handled before other work comes.
    slice: usize,
}

impl Retirements {
    /// For so many chunks, each with room for `entries_max` images; those from `kept_from` on are some
    /// owner's, of kept images.
    pub fn new(chunks: usize, kept_from: u32, entries_max: usize, slice: usize) -> Self {
        Self {
            touches: (0..chunks).map(|_| Vec::new()).collect(),
            jobs: VecDeque::new(),
            kept: None,
            kept_from,
            let_go_bytes: 0,
            new_touches: Vec::new(),
            begun: 0,
            leavers: Vec::new(),
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

    /// From now on the document at `place` leaves for worker `to`.
    pub fn leaves(&mut self, place: u32, to: u16) {
        self.leavers.push(Leaver { place, to, first: u64::MAX });
    }

    /// From now on retirements from number `first` on have no part in the document at `place`.
    pub fn leave_out(&mut self, place: u32, first: u64) {
        let leaver = self.leavers.iter_mut().find(|it| it.place == place);
        leaver.expect("all have been told that it leaves").first = first;
    }

    /// It has left: the place may be another document's.
    pub fn has_left(&mut self, place: u32) {
        self.leavers.retain(|it| it.place != place);
    }

    /// What was counted of kept images.
    pub fn kept_counts(&self) -> KeptCounts {
        let mut counts = self.kept.as_ref().map(Kept::counts).unwrap_or_default();
        counts.let_go_bytes = self.let_go_bytes;
        counts
    }

    /// Whether all before number `first` have ended.
    pub fn are_done_before(&self, first: u64) -> bool {
        self.jobs.front().is_none_or(|job| job.number >= first)
    }

    /// Begins to let go of `chunk`.
    pub fn begin(&mut self, chunk: ChunkId) {
        let number = self.begun;
        self.begun += 1;
        self.jobs.push_back(Job {
            number,
            chunk,
            stage: Stage::Walk(0),
            agents: 0,
            detached: 0,
            runs: 0,
            nodes: 0,
            waits: false,
        });
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
        let mut waiting = false;
        let only_waits = |job: &Job| match job.stage {
            Stage::Answers(missing) => missing != 0,
            Stage::Walk(_) => {
                // As in `advance`: behind one that waits for room, chunks of reception wait, too.
                let waits_behind = waiting && job.chunk.0 < self.kept_from;
                waiting |= job.waits;
                job.waits || waits_behind
            }
            Stage::Free(_) => false,
        };
        self.jobs.iter().all(only_waits)
    }

    /// Does a slice of work. The tails of everything appended so far must be published.
    pub fn advance(&mut self, registry: &mut Registry, mut tell: impl FnMut(Notice)) -> usize {
        let mut budget = self.slice;
        let (mut walking, mut waiting) = (false, false);
        let mut finished = false;
        for job in &mut self.jobs {
            let touches = &mut self.touches[job.chunk.0 as usize];
            let source = match &self.kept {
                _ if job.chunk.0 < self.kept_from => Source::Reception,
                Some(kept) if kept.owns(job.chunk) => Source::Own,
                _ => Source::Another,
            };
            // Chunks are walked one after another, so that agents are asked in that order; but the
            // room that one waits for is made by a kept chunk behind it, here or at another owner.
            if let Stage::Walk(done) = job.stage {
                if walking || budget == 0 || (waiting && source == Source::Reception) {
                    continue;
                }
                let keeping = Keeping {
                    kept: &mut self.kept,
                    source,
                    kept_from: self.kept_from,
                    let_go_bytes: &mut self.let_go_bytes,
                    touches: &mut self.new_touches,
                    leavers: &self.leavers,
                };
                let end = walk(registry, job, touches, done, &mut budget, keeping);
                job.stage = Stage::Walk(end);
                for (chunk, touch) in self.new_touches.drain(..) {
                    self.touches[chunk as usize].push(touch);
                }
                if end < self.touches[job.chunk.0 as usize].len() {
                    (walking, waiting) = (walking || !job.waits, waiting || job.waits);
                    continue;
                }
                if let Some(kept) = self.kept.as_mut().filter(|_| source == Source::Own) {
                    kept.walked();
                }
                if job.agents != 0 {
                    tell(Notice::AskAgents(job.chunk, job.agents));
                }
                job.stage = Stage::Answers(job.agents);
            }
            if let Stage::Answers(0) = job.stage {
                job.stage = Stage::Free(0);
            }
            let touches = &mut self.touches[job.chunk.0 as usize];
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
                    match self.kept.as_mut().filter(|_| source == Source::Own) {
                        Some(kept) => kept.freed(job.chunk, registry.worker),
                        None => tell(Notice::Freed(job.chunk)),
                    }
                }
            }
        }
        if finished {
            self.jobs.retain(|job| !matches!(job.stage, Stage::Free(done) if done == job.detached));
        }
        let work = self.slice - budget + usize::from(finished);
        if work > 0 {
            self.look_again();
        }
        work
    }

    /// The room that was waited for may be there.
    pub fn look_again(&mut self) {
        self.jobs.iter_mut().for_each(|job| job.waits = false);
    }
}

/// What a walk needs to keep images, and whom it leaves alone.
struct Keeping<'a> {
    kept: &'a mut Option<Kept>,
    /// Whose chunk is walked.
    source: Source,
    kept_from: u32,
    let_go_bytes: &'a mut u64,
    touches: &'a mut Vec<(u32, Touch)>,
    leavers: &'a [Leaver],
}

/// Walks entries from `from` on: moves windows, and leaves the detached chains at the list's front. Returns
/// where it goes on: at the end, where the budget is used up, or where it waits for room.
fn walk(
    registry: &mut Registry,
    job: &mut Job,
    touches: &mut [Touch],
    from: usize,
    budget: &mut usize,
    mut keeping: Keeping<'_>,
) -> usize {
    let reach = job.reach();
    for place in from..touches.len() {
        if *budget == 0 {
            return place;
        }
        if let Some(ahead) = touches.get(place + 2 * AHEAD) {
            let document = ahead.first as usize;
            deltaworks_runtime::prefetch::prefetch_entry(&registry.documents, document);
        }
        if let Some(ahead) = touches.get(place + AHEAD) {
            let document = &registry.documents[ahead.first as usize];
            deltaworks_runtime::prefetch::prefetch(registry.shared.get(document.slot));
            if !is_only_node(document, *ahead, job.chunk) {
                // The walk looks one node further than the run, perhaps into the block's other half.
                let (block, start) = (ahead.second >> 3, (ahead.second & 7) as u8);
                registry.nodes().prefetch(block, start);
                registry.nodes().prefetch(block, (start + reach).min(NODES_PER_BLOCK));
            }
        }
        if let Some(ahead) = touches.get(place + AHEAD / 2)
            && (ahead.second & 7) as u8 + reach >= NODES_PER_BLOCK
            && !is_only_node(&registry.documents[ahead.first as usize], *ahead, job.chunk)
        {
            // And into the next block.
            let nodes = registry.nodes();
            nodes.prefetch(nodes.next(ahead.second >> 3), 0);
        }
        let Some((chain, cost)) = pass(registry, job, touches[place], &mut keeping) else {
            job.waits = true;
            return place;
        };
        *budget = budget.saturating_sub(cost);
        if let Some(chain) = chain {
            touches[job.detached] = chain;
            job.detached += 1;
        }
    }
    touches.len()
}

/// Whether the run that `touch` names is one node, its document's newest, and nothing is before it in the window: then
/// nothing needs to be asked of blocks. So it is with most where documents are many.
#[inline]
fn is_only_node(document: &Document, touch: Touch, chunk: ChunkId) -> bool {
    let newest = document.tail_block << 3 | u32::from(document.tail_index.wrapping_sub(1));
    document.nodes == document.window_start + 1
        && document.last_chunk == chunk.0
        && touch.second == newest
}

/// Moves one document's window past what the run that `touch` names does not keep; returns the blocks
/// that are behind it now, and what it cost in entries. `None` if what is kept has to wait for room.
fn pass(
    registry: &mut Registry,
    job: &mut Job,
    touch: Touch,
    keeping: &mut Keeping<'_>,
) -> Option<(Option<Touch>, usize)> {
    const NOTHING: Option<(Option<Touch>, usize)> = Some((None, 1));
    let (block, start) = (touch.second >> 3, (touch.second & 7) as u8);
    let nodes = registry.blocks.memory();
    let document = &mut registry.documents[touch.first as usize];
    let slot = document.slot;
    if document.flags & LIVE == 0 {
        return NOTHING; // no more, or at another worker
    }
    let leaver = if document.flags & LEAVING == 0 {
        None
    } else {
        keeping.leavers.iter().find(|it| it.place == touch.first)
    };
    if leaver.is_some_and(|it| job.number >= it.first) {
        return NOTHING; // the new owner is asked, too
    }
    let is_only_node = is_only_node(document, touch, job.chunk);
    // Also when nothing moves: nodes passed by an earlier chunk's retirement may lie in this one.
    job.agents |= document.readers;
    if document.last_chunk == job.chunk.0 {
        document.last_chunk = u32::MAX;
    }
    let mut start = Place { node: document.window_start, block, index: start };
    // Where the window begins, as usual, nothing needs to be asked of the block.
    if !is_only_node && start != document.window_place() {
        if nodes.slot(block) != slot {
            return NOTHING; // given back since, perhaps with its document
        }
        start.node = nodes.first_node(block) + u64::from(start.index);
    }
    let node = start.node;
    if node < document.window_start || node >= document.nodes {
        return NOTHING;
    }
    let keep_bytes = registry.collections.get(document.collection).limits.keep_bytes;
    let (mut end, mut run_bytes) = (start, 0);
    if is_only_node && keep_bytes == 0 {
        end = document.tail_place();
    }
    while end.node < document.nodes {
        end = nodes.normalise(end);
        let range = nodes.node(end.block, end.index).range;
        if range.chunk() != job.chunk {
            break;
        }
        run_bytes += u64::from(range.bytes());
        end.node += 1;
        end.index += 1;
    }
    if end.index == NODES_PER_BLOCK && !is_only_node {
        end = nodes.normalise(end);
    }
    job.runs += 1;
    job.nodes += end.node - node;
    let (mut cost, mut window) = (1, end);
    // Who keeps nothing counts what was kept elsewhere.
    let keeps = keep_bytes > 0 && (keeping.kept.is_some() || keeping.source != Source::Reception);
    let lets_go = if keeps {
        let most = keeping.kept.as_ref().map_or((CHUNK_BYTES / 2) as u64, Kept::bytes_max);
        let keep_bytes = u64::from(keep_bytes).min(most);
        let found = newest(nodes, document, (start, end), run_bytes, keep_bytes);
        cost += found.looked_at / NODES_PER_ENTRY + (found.bytes / BYTES_PER_ENTRY) as usize;
        let to = leaver.map(|it| it.to);
        window = keep(registry, touch.first, end, found, keeping, to)?;
        (found.bytes > 0 && window.node == end.node).then_some(keep_bytes)
    } else {
        let has_kept = keeping.kept_from != u32::MAX && has_kept(registry, touch.first as usize);
        has_kept.then_some(u64::from(keep_bytes))
    };
    // All of the run is kept, and what lies before it may be, too; or there is no run any more: its nodes
    // were given back since, and taken again by the same document.
    if window.node == node {
        return Some((None, cost));
    }
    if let Some(keep_bytes) = lets_go {
        cost += let_go(registry, touch.first as usize, window, keep_bytes, keeping);
    }
    if keep_bytes > 0 {
        let looked_at = forget_kept(registry, touch.first as usize, window, keeping.kept_from);
        cost += looked_at / NODES_PER_ENTRY;
    }
    let document = &mut registry.documents[touch.first as usize];
    let first = document.head_block;
    document.head_block = window.block;
    document.head_index = window.index;
    document.window_start = window.node;
    registry.shared.get(slot).set_window_start(window.node);
    Some(((first != window.block).then_some(Touch { first, second: window.block }), cost))
}

/// Whether any of a document's bytes are kept. Its cold part is two lines that nothing else here reads: not to
/// be asked where nobody keeps.
fn has_kept(registry: &Registry, place: usize) -> bool {
    registry.cold[place].as_ref().is_some_and(|it| it.kept_bytes > 0)
}

/// Copies what was found of a run that ends at `end` and points its nodes to the copies; returns where the
/// window may begin: there, or behind the run if there is no room. `None`: there will be room. A document
/// may leave meanwhile for worker `to`.
fn keep(
    registry: &mut Registry,
    place: u32,
    end: Place,
    found: Newest,
    keeping: &mut Keeping<'_>,
    to: Option<u16>,
) -> Option<Place> {
    if found.bytes == 0 {
        return Some(end);
    }
    let source = keeping.source;
    let Some(kept) = keeping.kept else { return Some(end) };
    match kept.room(found.bytes, source) {
        Room::Now => {}
        Room::Later => return None,
        Room::None => return Some(end),
    }
    let (mut at, mut chunk) = (found.from, None);
    while at.node < end.node {
        at = registry.nodes().normalise(at);
        let copy = kept.keep(registry.nodes().node(at.block, at.index).range, source, to);
        registry.blocks.point(at.block, at.index, copy);
        if chunk.replace(copy.chunk()) != Some(copy.chunk()) {
            let second = at.block << 3 | u32::from(at.index);
            keeping.touches.push((copy.chunk().0, Touch { first: place, second }));
        }
        at.node += 1;
        at.index += 1;
    }
    if let Some(cold) = &mut registry.cold[place as usize] {
        cold.kept_to = cold.kept_to.max(end.node);
        cold.kept_bytes += if source == Source::Reception { found.bytes } else { 0 };
    }
    Some(found.from)
}

/// Counts what goes of a document's newest bytes when its window moves to `window` for want of room, with all
/// that lies before; of an owner that keeps nothing, what was kept elsewhere. Returns the cost in entries.
fn let_go(
    registry: &Registry,
    place: usize,
    window: Place,
    keep_bytes: u64,
    keeping: &mut Keeping<'_>,
) -> usize {
    let document = &registry.documents[place];
    let nodes = registry.blocks.memory();
    let start = document.window_place();
    let sum = |from: Place, counts: &dyn Fn(ImageRange) -> bool| {
        let (mut at, mut bytes) = (from, 0);
        while at.node < window.node {
            at = nodes.normalise(at);
            let range = nodes.node(at.block, at.index).range;
            bytes += if counts(range) { u64::from(range.bytes()) } else { 0 };
            at.node += 1;
            at.index += 1;
        }
        bytes
    };
    let found = newest(nodes, document, (start, window), sum(start, &|_| true), keep_bytes);
    let keeps = keeping.kept.is_some();
    let kept_from = keeping.kept_from;
    *keeping.let_go_bytes += match keeps {
        true => found.bytes,
        false => sum(found.from, &|range| range.chunk().0 >= kept_from),
    };
    (2 * window.node.saturating_sub(start.node) as usize + found.looked_at) / NODES_PER_ENTRY
}

/// Counts out what the window leaves behind of a document's kept images; returns the nodes looked at.
fn forget_kept(registry: &mut Registry, place: usize, window: Place, kept_from: u32) -> usize {
    let document = &registry.documents[place];
    let (nodes, mut at) = (registry.blocks.memory(), document.window_place());
    let Some(cold) = &mut registry.cold[place] else { return 0 };
    let end = window.node.min(cold.kept_to);
    let first = at.node;
    while at.node < end {
        at = nodes.normalise(at);
        let range = nodes.node(at.block, at.index).range;
        let is_kept = range.chunk().0 >= kept_from;
        cold.kept_bytes -= if is_kept { u64::from(range.bytes()) } else { 0 };
        at.node += 1;
        at.index += 1;
    }
    at.node.saturating_sub(first) as usize
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Of chunks that wait for room, and of reception's behind them, nothing can be done; a kept chunk
    /// behind them makes room.
    #[test]
    fn who_is_behind_one_that_waits_for_room_keeps_no_core_awake() {
        const KEPT_FROM: u32 = 2;
        let mut retirements = Retirements::new(4, KEPT_FROM, 8, 8);
        assert!(retirements.only_waits());
        retirements.begin(ChunkId(0));
        retirements.begin(ChunkId(1));
        assert!(!retirements.only_waits(), "the first can be walked");
        retirements.jobs[0].waits = true;
        assert!(retirements.only_waits());
        retirements.begin(ChunkId(KEPT_FROM));
        assert!(!retirements.only_waits(), "it is walked although others wait");
        retirements.jobs[2].waits = true;
        assert!(retirements.only_waits());
        retirements.jobs[2].stage = Stage::Answers(1);
        assert!(retirements.only_waits());
        retirements.look_again();
        assert!(!retirements.only_waits());
        retirements.jobs[0].stage = Stage::Answers(1);
        assert!(!retirements.only_waits(), "nothing is before the second any more");
    }
}
