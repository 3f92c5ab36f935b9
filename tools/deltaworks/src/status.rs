//! What the daemon tells of itself: its cores, collections, latency by stage and bytes in use.
//!
//! Owned by the command line; a copy of what was told, never kept up to date. Counters are since the
//! daemon's start, so that a rate is the difference of two. A field that a daemon of another version
//! leaves out is 0; one that is new is left out here.

use serde::{Deserialize, Serialize};

/// The answer to `GET /v1/status`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Since its start.
    pub uptime_seconds: f64,
    /// `serving` or `draining`.
    pub phase: String,
    /// Whether documents outlive the daemon.
    pub is_durable: bool,
    /// What all clients together may make grow.
    pub budget_bytes: u64,
    /// What is in use, by kind.
    pub live_bytes: LiveBytes,
    /// Documents in memory.
    pub documents: u64,
    /// Sessions that are connected.
    pub sessions: u64,
    /// Documents that were moved to another worker.
    pub moves: Moves,
    /// The cores.
    pub cores: Vec<Core>,
    /// The collections.
    pub collections: Vec<Collection>,
    /// Latency by stage.
    pub latency: Vec<Stage>,
    /// What the host did not grant, in words.
    pub downgrades: Vec<String>,
}

/// Moves of documents since the daemon's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Moves {
    /// Those that were begun.
    pub begun: u64,
    /// Those of them that were carried out.
    pub finished: u64,
    /// Those of them that were not.
    pub refused: u64,
    /// Batches that were held until their document had come.
    pub held_batches: u64,
    /// How long nobody could append to a document.
    pub pause: Times,
    /// How long batches were held.
    pub hold: Times,
    /// How long nothing was appended to a document that was given a lane.
    pub lane_pause: Times,
}

/// Times since the daemon's start, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each field is what its name says")]
pub struct Times {
    pub count: u64,
    pub mean_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

/// Bytes in use, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each field is the kind that its name says")]
pub struct LiveBytes {
    pub chunks: u64,
    pub nodes: u64,
    pub documents: u64,
    pub names: u64,
    pub producers: u64,
    pub subscriptions: u64,
    pub kept: u64,
    pub spills: u64,
    pub carries: u64,
    pub sessions: u64,
    pub control: u64,
}

impl LiveBytes {
    /// Each kind with its bytes, largest kinds of the data path first.
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

    /// All of them.
    pub fn sum(&self) -> u64 {
        self.kinds().iter().map(|(_, bytes)| bytes).sum()
    }
}

/// One core, as far as it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each field is what its name says")]
pub struct Core {
    pub core: u32,
    pub cpu: Option<u32>,
    pub numa_node: Option<u32>,
    pub serves_sessions: bool,
    pub owns_documents: bool,
    pub turns: u64,
    pub parks: u64,
    pub busy_ratio: f64,
    pub ring_depth: u64,
    pub sessions: u64,
    pub documents: u64,
    pub guests: u64,
    pub promoted_documents: u64,
    pub received_bytes: u64,
    pub received_images: u64,
    pub accepted_batches: u64,
    pub accepted_deltas: u64,
    pub refused_batches: u64,
    pub stalled_batches: u64,
    pub delivered_images: u64,
    pub delivered_bytes: u64,
    pub gaps: u64,
    pub gap_missed_deltas: u64,
    pub skip_missed_deltas: u64,
    pub conflate_missed_deltas: u64,
    pub close_missed_deltas: u64,
}

impl Core {
    /// Deltas that subscriptions were told they would not get.
    pub fn missed_deltas(&self) -> u64 {
        self.gap_missed_deltas
            + self.skip_missed_deltas
            + self.conflate_missed_deltas
            + self.close_missed_deltas
    }
}

/// One collection since the daemon's start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each field is what its name says")]
pub struct Collection {
    pub name: String,
    pub kind: String,
    pub accepted_batches: u64,
    pub accepted_deltas: u64,
    pub accepted_bytes: u64,
    pub refused_batches: u64,
}

/// The latency of one stage since the daemon's start, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each field is what its name says")]
pub struct Stage {
    pub stage: String,
    pub count: u64,
    pub mean_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}
