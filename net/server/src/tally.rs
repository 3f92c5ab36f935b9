//! What one core publishes of itself: counters, collections, latencies.
//!
//! The core counts in plain integers all the time, and copies them into words that others may read
//! every [`PUBLISH_NS`] while it turns, and before it sleeps. Only the core writes these words, on
//! cache lines of their own, and only those that changed. A reader sees a block as of one
//! publication: the core's figures together, those of a collection, a histogram with its sum and its
//! maximum. Two blocks of one report may be of two publications. Fixed in number.

use deltaworks_pipeline::CollectionCounts;
use deltaworks_pipeline::latency::{BUCKETS, Histogram};
use deltaworks_pipeline::limits::TURN_BOUND_US;
use deltaworks_pipeline::message::Policy;
use deltaworks_pipeline::stages::CoreStages;
use deltaworks_runtime::counters::{CounterReader, CounterWriter, counters};

/// Time between two publications while a core turns.
const PUBLISH_NS: u64 = 20_000_000;

/// A figure of one core, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Figure {
    BusyNs,
    TurnsOverBound,
    RingDepth,
    Sessions,
    Documents,
    ReceivedBytes,
    ReceivedImages,
    CarriedBytes,
    PausedReads,
    WithheldCredits,
    QuotaThrottled,
    RetiredChunks,
    RecycledChunks,
    Chunks,
    FreeChunks,
    AcceptedBatches,
    AcceptedDeltas,
    RefusedBatches,
    DuplicateBatches,
    StalledBatches,
    LanedBatches,
    LaneOverruns,
    FullAsides,
    Promotions,
    Demotions,
    Moves,
    Promoted,
    Guests,
    MovesBegun,
    MovesFinished,
    MovesRefused,
    HeldBatches,
    DeliveredImages,
    DeliveredBytes,
    Sends,
    Gaps,
    MissedGap,
    MissedSkip,
    MissedConflate,
    MissedClose,
    SpilledImages,
    KeptImages,
    KeptBytes,
    CopiedOnBytes,
    LetGoBytes,
    LiveChunks,
    LiveNodes,
    LiveDocuments,
    LiveNames,
    LiveProducers,
    LiveSubscriptions,
    LiveKept,
    LiveSpills,
    LiveCarries,
    LiveSessions,
    LiveControl,
}

/// How many figures a core has.
const FIGURES: usize = Figure::LiveControl as usize + 1;
/// Accepted batches, deltas and bytes, and refused batches.
const OF_COLLECTION: usize = 4;
/// A histogram's buckets, sum and maximum.
const OF_LATENCY: usize = BUCKETS + 2;

/// The core's side.
#[derive(Debug)]
pub(crate) struct Tally {
    figures: CounterWriter<FIGURES>,
    collections: Vec<CounterWriter<OF_COLLECTION>>,
    /// By [`Timed`].
    times: [CounterWriter<OF_LATENCY>; TIMED],
    next_ns: u64,
}

/// What is timed, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Timed {
    Validation,
    Propagation,
    /// Nobody could append to a document that was moved to this core.
    Pause,
    /// A batch was held on this core until its document had come.
    Hold,
    /// Nothing was appended to a document that was given a lane of this core.
    LanePause,
}

/// How many of these.
const TIMED: usize = Timed::LanePause as usize + 1;

/// Everybody else's side.
#[derive(Clone, Debug)]
pub(crate) struct TallyReader {
    figures: CounterReader<FIGURES>,
    collections: Vec<CounterReader<OF_COLLECTION>>,
    /// By [`Timed`].
    times: [CounterReader<OF_LATENCY>; TIMED],
}

/// Both sides of the figures of one core, at zero.
pub(crate) fn tally(collections: usize) -> (Tally, TallyReader) {
    let (figures, figures_read) = counters();
    let (collections, collections_read) = (0..collections).map(|_| counters()).unzip();
    let both: [_; TIMED] = core::array::from_fn(|_| counters());
    let times_read = both.each_ref().map(|(_, read)| read.clone());
    let times = both.map(|(times, _)| times);
    let tally = Tally { figures, collections, times, next_ns: 0 };
    let read =
        TallyReader { figures: figures_read, collections: collections_read, times: times_read };
    (tally, read)
}

impl Tally {
    /// Adds to a figure that is counted here.
    #[inline]
    pub fn add(&mut self, figure: Figure, amount: u64) {
        self.figures.add(figure as usize, amount);
    }

    /// Counts a turn that did something, by its time until the next: its calls to sockets, what the
    /// executor did behind it, and what the system gave to others are in it.
    #[inline]
    pub fn turn_took(&mut self, ns: u64) {
        self.add(Figure::BusyNs, ns);
        if ns > u64::from(TURN_BOUND_US) * 1_000 {
            self.add(Figure::TurnsOverBound, 1);
        }
    }

    /// Whether it is time to publish.
    #[inline]
    pub fn is_due(&self, now_ns: u64) -> bool {
        now_ns >= self.next_ns
    }

    /// Makes the present figures visible. About 1,500 words are compared, twice if one has changed, and
    /// those that changed stored: below a microsecond.
    pub fn publish(&mut self, stages: &mut CoreStages, control_bytes: usize, now_ns: u64) {
        self.next_ns = now_ns + PUBLISH_NS;
        let counts = stages.counts();
        let (reception, validation) = (&counts.reception, &counts.validation);
        let (propagation, live) = (&counts.propagation, stages.live_bytes());
        let moves = stages.move_counts();
        let (chunks, free_chunks) = stages.chunk_counts();
        for (figure, value) in [
            (Figure::RingDepth, stages.take_deepest_inbox() as u64),
            (Figure::Sessions, stages.session_count() as u64),
            (Figure::Documents, u64::from(stages.document_count())),
            (Figure::ReceivedBytes, reception.received_bytes),
            (Figure::ReceivedImages, reception.received_images),
            (Figure::CarriedBytes, reception.carried_bytes),
            (Figure::PausedReads, reception.paused_reads),
            (Figure::WithheldCredits, reception.withheld_credits),
            (Figure::QuotaThrottled, reception.quota_throttled),
            (Figure::RetiredChunks, reception.retired_chunks),
            (Figure::RecycledChunks, counts.recycled_chunks),
            (Figure::Chunks, chunks as u64),
            (Figure::FreeChunks, free_chunks as u64),
            (Figure::AcceptedBatches, validation.accepted_batches),
            (Figure::AcceptedDeltas, validation.accepted_deltas),
            (Figure::RefusedBatches, validation.refused_batches),
            (Figure::DuplicateBatches, validation.duplicate_batches),
            (Figure::StalledBatches, validation.stalled_batches),
            (Figure::LanedBatches, validation.laned_batches),
            (Figure::LaneOverruns, validation.lane_overruns),
            (Figure::FullAsides, validation.full_asides),
            (Figure::Promotions, counts.placement.promotions),
            (Figure::Demotions, counts.placement.demotions),
            (Figure::Moves, counts.placement.moves),
            (Figure::Promoted, counts.placement.promoted),
            (Figure::Guests, u64::from(stages.guest_count())),
            (Figure::MovesBegun, moves.begun),
            (Figure::MovesFinished, moves.finished),
            (Figure::MovesRefused, moves.refused),
            (Figure::HeldBatches, moves.held_batches),
            (Figure::Promotions, counts.placement.promotions),
            (Figure::Demotions, counts.placement.demotions),
            (Figure::Promoted, counts.placement.promoted),
            (Figure::DeliveredImages, propagation.delivered_images),
            (Figure::DeliveredBytes, propagation.delivered_bytes),
            (Figure::Sends, propagation.sends),
            (Figure::Gaps, propagation.gaps),
            (Figure::MissedGap, propagation.missed_deltas[Policy::Gap as usize]),
            (Figure::MissedSkip, propagation.missed_deltas[Policy::Skip as usize]),
            (Figure::MissedConflate, propagation.missed_deltas[Policy::Conflate as usize]),
            (Figure::MissedClose, propagation.missed_deltas[Policy::Close as usize]),
            (Figure::SpilledImages, propagation.spilled_images),
            (Figure::KeptImages, counts.kept.images),
            (Figure::KeptBytes, counts.kept.bytes),
            (Figure::CopiedOnBytes, counts.kept.copied_on_bytes),
            (Figure::LetGoBytes, counts.kept.let_go_bytes),
            (Figure::LiveChunks, live.chunks),
            (Figure::LiveNodes, live.nodes),
            (Figure::LiveDocuments, live.documents),
            (Figure::LiveNames, live.names),
            (Figure::LiveProducers, live.producers),
            (Figure::LiveSubscriptions, live.subscriptions),
            (Figure::LiveKept, live.kept),
            (Figure::LiveSpills, live.spills),
            (Figure::LiveCarries, live.carries),
            (Figure::LiveSessions, live.sessions),
            (Figure::LiveControl, control_bytes as u64),
        ] {
            self.figures.set(figure as usize, value);
        }
        self.figures.publish();
        for (words, counts) in self.collections.iter_mut().zip(stages.collection_counts()) {
            let CollectionCounts {
                accepted_batches,
                accepted_deltas,
                accepted_bytes,
                refused_batches,
            } = *counts;
            words.set(0, accepted_batches);
            words.set(1, accepted_deltas);
            words.set(2, accepted_bytes);
            words.set(3, refused_batches);
            words.publish();
        }
        let [validation, propagation, pause, hold, lane_pause] = &mut self.times;
        publish_times(validation, stages.validation_latency());
        publish_times(propagation, stages.propagation_latency());
        publish_times(pause, stages.move_pause());
        publish_times(hold, stages.hold_latency());
        publish_times(lane_pause, stages.lane_pause());
    }
}

fn publish_times(words: &mut CounterWriter<OF_LATENCY>, histogram: Option<&Histogram>) {
    let Some(histogram) = histogram else { return };
    for (bucket, count) in histogram.counts().iter().enumerate() {
        words.set(bucket, *count);
    }
    words.set(BUCKETS, histogram.sum_ns());
    words.set(BUCKETS + 1, histogram.max_ns());
    words.publish();
}

/// The figures of one core, as of one publication.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures([u64; FIGURES]);

impl Figures {
    /// One of them.
    pub fn get(&self, figure: Figure) -> u64 {
        self.0[figure as usize]
    }
}

impl TallyReader {
    /// The latest that were published.
    pub fn figures(&self) -> Figures {
        Figures(self.figures.snapshot())
    }

    /// What was published of collection `number`.
    pub fn collection(&self, number: usize) -> CollectionCounts {
        let words = self.collections[number].snapshot();
        let [accepted_batches, accepted_deltas, accepted_bytes, refused_batches] = words;
        CollectionCounts { accepted_batches, accepted_deltas, accepted_bytes, refused_batches }
    }

    /// Buckets, sum and maximum of what was timed.
    pub fn times(&self, of: Timed) -> ([u64; BUCKETS], u64, u64) {
        let words = self.times[of as usize].snapshot();
        (core::array::from_fn(|bucket| words[bucket]), words[BUCKETS], words[BUCKETS + 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_that_took_longer_than_the_bound_are_counted() {
        let (mut tally, _) = tally(1);
        let bound_ns = u64::from(TURN_BOUND_US) * 1_000;
        for ns in [1, bound_ns, bound_ns + 1, 3 * bound_ns] {
            tally.turn_took(ns);
        }
        let figure = |figure: Figure| tally.figures.get(figure as usize);
        assert_eq!(figure(Figure::TurnsOverBound), 2);
        assert_eq!(figure(Figure::BusyNs), 5 * bound_ns + 2);
    }
}
