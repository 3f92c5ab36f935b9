//! Where documents are and why, as people read it: workers with their loads, and what the coordinator
//! would do about them.
//!
//! Plain data, made on the thread that asks. A load is a share of one core: what the documents of a
//! worker cost it, as the worker itself has measured, smoothed over some tenths of a second.

use deltaworks_pipeline::placement::Reason;
use serde::Serialize;

/// The workers of a server.
#[derive(Clone, Debug, Serialize)]
pub struct WorkersReport {
    /// The workers, by number.
    pub workers: Vec<WorkerReport>,
    /// The elastic workers that have a document, by number.
    pub hot: Vec<HotReport>,
}

/// One worker: a core that owns documents, and what it has to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkerReport {
    /// Its number: what a document's owner is named by.
    pub worker: u16,
    /// Its core.
    pub core: usize,
    /// The CPU that it is pinned to.
    pub cpu: Option<usize>,
    /// It is nobody's home: it owns only documents that were moved to it.
    pub is_elastic: bool,
    /// Documents that it owns.
    pub documents: u64,
    /// Those of them whose home is another worker.
    pub guests: u64,
    /// Deltas that it has given a sequence since the start.
    pub accepted_deltas: u64,
    /// What its documents cost it, as a share of its core.
    pub load_ratio: f64,
    /// The busy share of its core, which may do other things, too.
    pub busy_ratio: f64,
    /// Whether it is to have no documents.
    pub is_drained: bool,
}

/// A hot document, and the elastic worker that it has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HotReport {
    /// The elastic worker's number among these.
    pub elastic: u16,
    /// The worker on whose core it runs.
    pub worker: u16,
    /// Whether it has that core alone; otherwise it has a lane there.
    pub has_own_core: bool,
    /// The document.
    pub document: String,
}

/// What the coordinator would do now.
#[derive(Clone, Debug, Serialize)]
pub struct RehearsalReport {
    /// The workers as they are, and as they would be.
    pub workers: Vec<ShiftReport>,
    /// What would be done, in this order.
    pub placements: Vec<PlacementReport>,
    /// Documents that may change their owner in a second, at most.
    pub moves_per_second: u32,
}

/// A worker's load before and after.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShiftReport {
    /// The worker.
    pub worker: u16,
    /// Its load now, as a share of its core.
    pub load_before_ratio: f64,
    /// Its load behind all that would be done.
    pub load_after_ratio: f64,
}

/// A document that would be placed elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlacementReport {
    /// The document; empty if it has gone since.
    pub document: String,
    /// Its slot.
    pub slot: u32,
    /// The slot's generation.
    pub generation: u32,
    /// Its owner.
    pub from: u16,
    /// Who would be its owner.
    pub to: u16,
    /// The elastic worker that it would have.
    pub elastic: Option<u16>,
    /// Why.
    pub reason: Why,
    /// Its load, as a share of a core.
    pub load_ratio: f64,
}

/// Why a document is placed elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// It is hot.
    Promotion,
    /// It was hot.
    Demotion,
    /// Its worker has more to do than another.
    Evening,
    /// Its worker is to be emptied.
    Emptying,
}

impl From<Reason> for Why {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Promotion => Self::Promotion,
            Reason::Demotion => Self::Demotion,
            Reason::Evening => Self::Evening,
            Reason::Emptying => Self::Emptying,
        }
    }
}

/// Millionths of a core as a share of one.
pub(crate) fn ratio(ppm: u64) -> f64 {
    ppm as f64 / 1e6
}
