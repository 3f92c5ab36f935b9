//! What validation counts: batches by collection, and how long they took to be ordered.
//!
//! Plain integers of the owner, a few additions a batch; whoever publishes them reads them slowly.
//! One entry for each collection, made at the start.

use crate::latency::Histogram;

/// What validation has counted of one collection since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectionCounts {
    /// Batches appended.
    pub accepted_batches: u64,
    /// Deltas appended.
    pub accepted_deltas: u64,
    /// Bytes of the images appended.
    pub accepted_bytes: u64,
    /// Batches refused.
    pub refused_batches: u64,
}

/// What validation has counted since it began, over all collections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ValidationCounts {
    /// Batches appended.
    pub accepted_batches: u64,
    /// Deltas appended.
    pub accepted_deltas: u64,
    /// Batches refused.
    pub refused_batches: u64,
    /// Resends recognised.
    pub duplicate_batches: u64,
    /// Batches that needed more steps than their share.
    pub stalled_batches: u64,
    /// Batches at which the server failed; each has quarantined its document.
    pub failed_batches: u64,
    /// Batches of hot documents that were judged as their lane's share allowed.
    pub laned_batches: u64,
    /// How often more of those waited than may, so that they were judged beyond the share.
    pub lane_overruns: u64,
    /// How often the worker took no message because as much waited in it as may.
    pub full_asides: u64,
    /// Moves that were decided and did not begin, because others were under way.
    pub moves_not_begun: u64,
}

/// The counters themselves.
#[derive(Debug)]
pub(crate) struct Counting {
    by_collection: Vec<CollectionCounts>,
    pub duplicate_batches: u64,
    pub stalled_batches: u64,
    pub failed_batches: u64,
    pub laned_batches: u64,
    pub lane_overruns: u64,
    pub full_asides: u64,
    pub moves_not_begun: u64,
    /// From an accepted image's reception to the beginning of the turn that ordered it; empty if
    /// reception does not note when images came. Without the run that is not at its end.
    pub latency: Histogram,
    /// Images on end that took the same time, and that time: what a read has brought is noted with one
    /// time, and ordered with one.
    run: (u64, u64),
}

impl Counting {
    /// Counters of so many collections, at zero.
    pub fn new(collections: usize) -> Self {
        Self {
            by_collection: vec![CollectionCounts::default(); collections],
            duplicate_batches: 0,
            stalled_batches: 0,
            failed_batches: 0,
            laned_batches: 0,
            lane_overruns: 0,
            full_asides: 0,
            moves_not_begun: 0,
            latency: Histogram::default(),
            run: (0, 0),
        }
    }

    /// Counts how long an accepted image took.
    #[inline]
    pub fn took(&mut self, ns: u64) {
        if self.run.1 == ns {
            self.run.0 += 1;
        } else {
            self.end_run();
            self.run = (1, ns);
        }
    }

    /// A turn ends: what was counted shows.
    pub fn end_run(&mut self) {
        let (times, ns) = core::mem::take(&mut self.run);
        if times > 0 {
            self.latency.record_many(ns, times);
        }
    }

    /// Counts accepted batches.
    #[inline]
    pub fn accepted(&mut self, collection: u16, batches: u32, deltas: u32, bytes: u64) {
        let counts = &mut self.by_collection[collection as usize];
        counts.accepted_batches += u64::from(batches);
        counts.accepted_deltas += u64::from(deltas);
        counts.accepted_bytes += bytes;
    }

    /// Counts a refused batch.
    pub fn refused(&mut self, collection: u16) {
        self.by_collection[collection as usize].refused_batches += 1;
    }

    /// What was counted of each collection.
    pub fn by_collection(&self) -> &[CollectionCounts] {
        &self.by_collection
    }

    /// Over all collections; one step for each.
    pub fn all(&self) -> ValidationCounts {
        let mut all = ValidationCounts {
            duplicate_batches: self.duplicate_batches,
            stalled_batches: self.stalled_batches,
            failed_batches: self.failed_batches,
            laned_batches: self.laned_batches,
            lane_overruns: self.lane_overruns,
            full_asides: self.full_asides,
            moves_not_begun: self.moves_not_begun,
            ..ValidationCounts::default()
        };
        for counts in &self.by_collection {
            all.accepted_batches += counts.accepted_batches;
            all.accepted_deltas += counts.accepted_deltas;
            all.refused_batches += counts.refused_batches;
        }
        all
    }
}
