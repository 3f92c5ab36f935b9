//! What a server tells of itself to people and machines: plain data, to be read as JSON.
//!
//! Made on the thread that asks, never on a core. Counters count since the start; who wants rates
//! takes two reports. Nothing here knows how it is asked for or shown.

use serde::Serialize;

use crate::latency::{LatencyReport, TimesReport};

/// Whether a server serves or is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It accepts connections and reads.
    Serving,
    /// It reads no more, and brings out what was accepted.
    Draining,
}

/// A server at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The version of the program.
    pub version: &'static str,
    /// Its process.
    pub pid: u32,
    /// Since its cores began.
    pub uptime_seconds: f64,
    /// What it is about.
    pub phase: Phase,
    /// Whether documents outlive the process: not yet.
    pub is_durable: bool,
    /// The most that clients can make it hold.
    pub budget_bytes: u64,
    /// What it holds of that now.
    pub live_bytes: LiveBytesReport,
    /// Documents, over all cores.
    pub documents: u64,
    /// Sessions, over all cores.
    pub sessions: u64,
    /// Documents that were moved to another worker, over all cores.
    pub moves: MovesReport,
    /// Every core.
    pub cores: Vec<CoreReport>,
    /// Every collection, over all cores.
    pub collections: Vec<CollectionReport>,
    /// Every stage, over all cores.
    pub latency: Vec<LatencyReport>,
    /// What the system did not grant at the start, each once, with what to do about it.
    pub downgrades: Vec<String>,
}

/// Moves of documents since the start, over all cores.
#[derive(Clone, Debug, Serialize)]
pub struct MovesReport {
    /// Those that were begun.
    pub begun: u64,
    /// Those of them after which another worker had the document.
    pub finished: u64,
    /// Those of them after which the document was where it had been.
    pub refused: u64,
    /// Batches that were held until their document had come.
    pub held_batches: u64,
    /// How long nobody could append to a document: from the old owner's last append to the new one's
    /// first, if somebody was writing.
    pub pause: TimesReport,
    /// How long batches were held.
    pub hold: TimesReport,
    /// How long nothing was appended to a document that was given an elastic worker which shares its
    /// core: from its last batch among the others to its first in its lane.
    pub lane_pause: TimesReport,
}

/// Live bytes by kind, over all cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LiveBytesReport {
    /// Chunks that are not free.
    pub chunks: u64,
    /// Node blocks that documents hold.
    pub nodes: u64,
    /// Document state.
    pub documents: u64,
    /// Names.
    pub names: u64,
    /// Producers.
    pub producers: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Chunks of kept images that are not free.
    pub kept: u64,
    /// Images copied for slow subscribers.
    pub spills: u64,
    /// Unfinished messages outside of chunks.
    pub carries: u64,
    /// Session state.
    pub sessions: u64,
    /// Control messages that sessions have not read.
    pub control: u64,
}

impl LiveBytesReport {
    /// Every kind with its name.
    pub fn kinds(&self) -> [(&'static str, u64); 11] {
        [
            ("chunks", self.chunks),
            ("nodes", self.nodes),
            ("documents", self.documents),
            ("names", self.names),
            ("producers", self.producers),
            ("subscriptions", self.subscriptions),
            ("kept", self.kept),
            ("spills", self.spills),
            ("carries", self.carries),
            ("sessions", self.sessions),
            ("control", self.control),
        ]
    }
}

/// One core.
#[derive(Clone, Debug, Serialize)]
pub struct CoreReport {
    /// Its number.
    pub core: usize,
    /// The CPU that it is pinned to.
    pub cpu: Option<usize>,
    /// The memory node of its CPU, where chunks that it has belong.
    pub numa_node: Option<u32>,
    /// Whether reception and propagation run here.
    pub serves_sessions: bool,
    /// Whether validation runs here.
    pub owns_documents: bool,
    /// Its number among the workers; none if it owns no documents.
    pub worker: Option<u16>,
    /// Whether it is a worker that is nobody's home: it owns only documents that were moved to it.
    pub is_elastic: bool,
    /// Turns of its loop.
    pub turns: u64,
    /// What its agents did: messages, marks, images.
    pub work: u64,
    /// Looks at sockets.
    pub io_looks: u64,
    /// Times it went to sleep.
    pub parks: u64,
    /// The share of time, between the last two reports at least half a second apart, that went
    /// into turns with work and what followed them, up to the next turn.
    pub busy_ratio: f64,
    /// The same as a time, since the start.
    pub busy_seconds: f64,
    /// Turns that did something and took longer than a turn is meant to, until the next began: calls to
    /// sockets are in it, and what the system gave to others.
    pub turns_over_bound: u64,
    /// The most messages that one turn found in the rings to this core, its own among them, in the
    /// last 20 ms of its turns.
    pub ring_depth: u64,
    /// Sessions.
    pub sessions: u64,
    /// Documents.
    pub documents: u64,
    /// Bytes read from sockets.
    pub received_bytes: u64,
    /// Images passed on to owners.
    pub received_images: u64,
    /// Batches given a sequence.
    pub accepted_batches: u64,
    /// Deltas of them.
    pub accepted_deltas: u64,
    /// Batches refused.
    pub refused_batches: u64,
    /// Resends recognised.
    pub duplicate_batches: u64,
    /// Batches that were checked in slices.
    pub stalled_batches: u64,
    /// Documents of other homes that it owns.
    pub guests: u64,
    /// Documents that it began to give to another worker.
    pub moves_begun: u64,
    /// Documents that other workers gave to it.
    pub moves_finished: u64,
    /// Documents that it began to give and has kept.
    pub moves_refused: u64,
    /// Batches that it held until their document had come.
    pub held_batches: u64,
    /// Batches of hot documents that waited behind the others of their core.
    pub laned_batches: u64,
    /// How often more of those waited than may.
    pub lane_overruns: u64,
    /// How often its owner took no message because as much waited in it as may.
    pub full_asides: u64,
    /// Documents that this core decided to give an elastic worker: the first owner's decides for all.
    pub promotions: u64,
    /// Documents that it decided to take it from.
    pub demotions: u64,
    /// Documents that it decided to move to another owner.
    pub decided_moves: u64,
    /// Elastic workers that have a document, of all cores.
    pub promoted_documents: u64,
    /// Images that sockets took whole.
    pub delivered_images: u64,
    /// Bytes of images that sockets took.
    pub delivered_bytes: u64,
    /// Calls that sent.
    pub sends: u64,
    /// How often subscriptions were told that sequences will not come.
    pub gaps: u64,
    /// The deltas of these that policy `gap` left out.
    pub gap_missed_deltas: u64,
    /// Those that policy `skip` left out.
    pub skip_missed_deltas: u64,
    /// Those that policy `conflate` left out.
    pub conflate_missed_deltas: u64,
    /// Those that policy `close` left out.
    pub close_missed_deltas: u64,
    /// Images copied for slow subscribers.
    pub spilled_images: u64,
    /// Images kept when their chunk went.
    pub kept_images: u64,
    /// Bytes of them.
    pub kept_bytes: u64,
    /// Bytes of kept images copied on to another chunk.
    pub copied_on_bytes: u64,
    /// Bytes among a document's newest that went because the share was full.
    pub let_go_bytes: u64,
    /// Bytes copied because a read had cut a message off.
    pub carried_bytes: u64,
    /// Times a session was not read for want of a chunk.
    pub paused_reads: u64,
    /// Times credit was withheld for want of chunks.
    pub withheld_credits: u64,
    /// Times credit was withheld because of a quota.
    pub quota_throttled: u64,
    /// Chunks whose retirement began.
    pub retired_chunks: u64,
    /// Chunks that came back.
    pub recycled_chunks: u64,
    /// Chunks in all.
    pub chunks: u64,
    /// Chunks that are free.
    pub free_chunks: u64,
}

/// One collection, over all cores.
#[derive(Clone, Debug, Serialize)]
pub struct CollectionReport {
    /// Its name; empty for the default one.
    pub name: String,
    /// How its deltas are checked.
    pub kind: &'static str,
    /// Batches given a sequence.
    pub accepted_batches: u64,
    /// Deltas of them.
    pub accepted_deltas: u64,
    /// Bytes of their images.
    pub accepted_bytes: u64,
    /// Batches refused.
    pub refused_batches: u64,
}
