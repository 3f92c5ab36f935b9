//! The metrics as OpenMetrics text: per core, stage and collection, never per document.
//!
//! Nothing is kept between two scrapes: every figure is read from what cores have published. The
//! number of series is fixed at the start: some 50 a core, 4 a collection, 30 a stage and as many for each of the three times
//! of documents that go elsewhere.

use std::fmt;

use deltaworks_pipeline::latency::{BUCKETS, bucket_end_ns};
use deltaworks_server::latency::{Latency, Stage, Times};
use deltaworks_server::report::{CollectionReport, CoreReport, Phase, Status};
use deltaworks_server::{AcceptCounts, Observer};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

/// What a scraper is told to expect.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Buckets of a histogram here: every doubling from 1 µs to 68 s, which are ends of buckets there.
const FIRST_END_NS: u64 = 1 << 10;

/// The metrics of `observer`'s server, as text.
///
/// # Errors
/// Never, as far as writing to memory cannot fail.
pub(super) fn encode(observer: &Observer) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("deltaworks");
    let (pauses, holds) = (observer.move_pauses(), observer.move_holds());
    let lane_pauses = observer.lane_pauses();
    let latencies = Stage::ALL.map(|stage| observer.latency(stage));
    registry.register_collector(Box::new(Scrape {
        status: observer.status(),
        accepts: observer.accept_counts(),
        latencies,
        moves: [
            ("move_pause", "How long nobody could append to a moved document", pauses),
            ("move_hold", "How long batches were held until their document had come", holds),
            ("lane_pause", "How long nothing was appended to a document given a lane", lane_pauses),
        ],
    }));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Scrape {
    status: Status,
    accepts: AcceptCounts,
    latencies: [Latency; 2],
    /// Name, meaning, times.
    moves: [(&'static str, &'static str, Times); 3],
}

/// A figure of a core: name, unit, meaning, where it stands in the report.
type OfCore = (&'static str, Option<Unit>, &'static str, fn(&CoreReport) -> u64);

const CORE_COUNTERS: [OfCore; 41] = [
    ("core_turns", None, "Turns of the core's loop", |core| core.turns),
    ("core_work", None, "Messages, marks and images that turns dealt with", |core| core.work),
    ("core_io_looks", None, "Looks at sockets", |core| core.io_looks),
    ("core_parks", None, "Times the core went to sleep", |core| core.parks),
    ("received", Some(Unit::Bytes), "Bytes read from sockets", |core| core.received_bytes),
    ("received_images", None, "Images passed on to owners", |core| core.received_images),
    ("carried", Some(Unit::Bytes), "Bytes copied because a read had cut a message off", |core| {
        core.carried_bytes
    }),
    ("paused_reads", None, "Times a session was not read for want of a chunk", |core| {
        core.paused_reads
    }),
    ("withheld_credits", None, "Times credit was withheld for want of chunks", |core| {
        core.withheld_credits
    }),
    ("quota_throttled", None, "Times credit was withheld because of a quota", |core| {
        core.quota_throttled
    }),
    ("retired_chunks", None, "Chunks whose retirement began", |core| core.retired_chunks),
    ("recycled_chunks", None, "Chunks that came back to be filled again", |core| {
        core.recycled_chunks
    }),
    ("accepted_batches", None, "Batches given a sequence", |core| core.accepted_batches),
    ("accepted_deltas", None, "Deltas given a sequence", |core| core.accepted_deltas),
    ("refused_batches", None, "Batches refused", |core| core.refused_batches),
    ("duplicate_batches", None, "Resends recognised", |core| core.duplicate_batches),
    ("stalled_batches", None, "Batches that were checked in slices", |core| core.stalled_batches),
    ("laned_batches", None, "Batches of hot documents that waited behind the others", |core| {
        core.laned_batches
    }),
    ("lane_overruns", None, "Times that more batches of hot documents waited than may", |core| {
        core.lane_overruns
    }),
    (
        "turns_over_bound",
        None,
        "Turns that took longer than 50 microseconds, with sockets",
        |core| core.turns_over_bound,
    ),
    ("full_asides", None, "Times that a worker took no message because so much waited", |core| {
        core.full_asides
    }),
    ("promotions", None, "Documents that were given an elastic worker", |core| core.promotions),
    ("demotions", None, "Documents that were taken their elastic worker from", |core| {
        core.demotions
    }),
    ("decided_moves", None, "Documents that were to change their owner", |core| core.decided_moves),
    ("moves_begun", None, "Documents that the core began to give to another worker", |core| {
        core.moves_begun
    }),
    ("moves_finished", None, "Documents that another worker gave to the core", |core| {
        core.moves_finished
    }),
    ("moves_refused", None, "Documents that the core began to give and has kept", |core| {
        core.moves_refused
    }),
    ("held_batches", None, "Batches held until their document had come", |core| core.held_batches),
    ("delivered_images", None, "Images that subscribers' sockets took", |core| {
        core.delivered_images
    }),
    ("delivered", Some(Unit::Bytes), "Bytes of images that subscribers' sockets took", |core| {
        core.delivered_bytes
    }),
    ("sends", None, "Calls that sent to a socket", |core| core.sends),
    ("gaps", None, "Times that subscriptions were told of missing deltas", |core| core.gaps),
    ("gap_missed_deltas", None, "Deltas that policy gap left out, as told", |core| {
        core.gap_missed_deltas
    }),
    ("skip_missed_deltas", None, "Deltas that policy skip left out, as told", |core| {
        core.skip_missed_deltas
    }),
    ("conflate_missed_deltas", None, "Deltas that policy conflate left out, as told", |core| {
        core.conflate_missed_deltas
    }),
    ("close_missed_deltas", None, "Deltas that policy close left out, as told", |core| {
        core.close_missed_deltas
    }),
    ("spilled_images", None, "Images copied for slow subscribers", |core| core.spilled_images),
    ("kept_images", None, "Images kept when their chunk went", |core| core.kept_images),
    ("kept", Some(Unit::Bytes), "Bytes of images kept when their chunk went", |core| {
        core.kept_bytes
    }),
    ("copied_on", Some(Unit::Bytes), "Bytes of kept images copied on to another chunk", |core| {
        core.copied_on_bytes
    }),
    ("let_go", Some(Unit::Bytes), "Bytes that were to be kept, without room", |core| {
        core.let_go_bytes
    }),
];

const CORE_GAUGES: [OfCore; 7] = [
    ("core_ring_depth_messages", None, "Most messages that one turn found, lately", |core| {
        core.ring_depth
    }),
    ("sessions", None, "Sessions that are connected", |core| core.sessions),
    ("documents", None, "Documents that are loaded", |core| core.documents),
    ("promoted_documents", None, "Documents that have an elastic worker", |core| {
        core.promoted_documents
    }),
    ("guests", None, "Documents of other homes that the core owns", |core| core.guests),
    ("chunks", None, "Chunks of the core", |core| core.chunks),
    ("free_chunks", None, "Chunks of the core that are free", |core| core.free_chunks),
];

/// A figure of a collection.
type OfCollection = (&'static str, Option<Unit>, &'static str, fn(&CollectionReport) -> u64);

const COLLECTION_COUNTERS: [OfCollection; 4] = [
    ("collection_accepted_batches", None, "Batches given a sequence", |it| it.accepted_batches),
    ("collection_accepted_deltas", None, "Deltas given a sequence", |it| it.accepted_deltas),
    ("collection_accepted", Some(Unit::Bytes), "Bytes of images given a sequence", |it| {
        it.accepted_bytes
    }),
    ("collection_refused_batches", None, "Batches refused", |it| it.refused_batches),
];

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        self.encode_server(&mut encoder)?;
        self.encode_cores(&mut encoder)?;
        for (name, unit, help, of) in &COLLECTION_COUNTERS {
            let mut family = family(&mut encoder, name, unit, help, MetricType::Counter)?;
            for collection in &self.status.collections {
                let name = if collection.name.is_empty() { "default" } else { &collection.name };
                let labels = [("collection", name), ("kind", collection.kind)];
                counter(&mut family, &labels, of(collection))?;
            }
        }
        self.encode_latencies(&mut encoder)?;
        self.encode_moves(&mut encoder)
    }
}

impl Scrape {
    fn encode_server(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "The version of the running daemon";
        let mut build = family(encoder, "build", &None, help, MetricType::Info)?;
        build.encode_info(&[("version", self.status.version)])?;
        let help = "How long the cores have been running";
        let unit = Some(Unit::Seconds);
        let mut uptime = family(encoder, "uptime", &unit, help, MetricType::Gauge)?;
        uptime.encode_gauge(&self.status.uptime_seconds)?;
        let help = "1 while connections are accepted, 0 while the daemon drains";
        let mut serving = family(encoder, "serving", &None, help, MetricType::Gauge)?;
        serving.encode_gauge(&u64::from(self.status.phase == Phase::Serving))?;
        let help = "The most that clients can make the daemon hold";
        let unit = Some(Unit::Bytes);
        let mut budget = family(encoder, "budget", &unit, help, MetricType::Gauge)?;
        budget.encode_gauge(&self.status.budget_bytes)?;
        let help = "What the daemon holds of its budget, by kind";
        let mut live = family(encoder, "live", &unit, help, MetricType::Gauge)?;
        for (kind, bytes) in self.status.live_bytes.kinds() {
            live.encode_family(&[("kind", kind)])?.encode_gauge(&bytes)?;
        }
        let help = "Connections by what became of them when they came";
        let mut connections = family(encoder, "connections", &None, help, MetricType::Counter)?;
        let AcceptCounts { accepted, refused_sessions, refused_address, .. } = self.accepts;
        for (result, count) in [
            ("accepted", accepted),
            ("refused_sessions", refused_sessions),
            ("refused_address", refused_address),
            ("refused_descriptors", self.accepts.refused_descriptors),
            ("aborted", self.accepts.aborted),
        ] {
            counter(&mut connections, &[("result", result)], count)?;
        }
        Ok(())
    }

    fn encode_cores(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Time in turns with work, and behind them up to the next turn";
        let unit = Some(Unit::Seconds);
        let mut busy = family(encoder, "core_busy", &unit, help, MetricType::Counter)?;
        for core in &self.status.cores {
            let labels = of_core(core);
            let mut busy_of_core = busy.encode_family(&labels)?;
            busy_of_core.encode_counter::<NoLabelSet, _, u64>(&core.busy_seconds, None)?;
        }
        for (name, unit, help, of) in &CORE_COUNTERS {
            let mut family = family(encoder, name, unit, help, MetricType::Counter)?;
            for core in &self.status.cores {
                counter(&mut family, &of_core(core), of(core))?;
            }
        }
        for (name, unit, help, of) in &CORE_GAUGES {
            let mut family = family(encoder, name, unit, help, MetricType::Gauge)?;
            for core in &self.status.cores {
                family.encode_family(&of_core(core))?.encode_gauge(&of(core))?;
            }
        }
        Ok(())
    }

    fn encode_latencies(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "How long images took, by stage; the stages add up from socket to socket";
        let unit = Some(Unit::Seconds);
        let mut family = family(encoder, "latency", &unit, help, MetricType::Histogram)?;
        for latency in &self.latencies {
            let labels = [("stage", latency.stage.name())];
            histogram(&mut family.encode_family(&labels)?, &latency.times)?;
        }
        Ok(())
    }

    fn encode_moves(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let unit = Some(Unit::Seconds);
        for (name, help, times) in &self.moves {
            histogram(&mut family(encoder, name, &unit, help, MetricType::Histogram)?, times)?;
        }
        Ok(())
    }
}

fn histogram(encoder: &mut MetricEncoder<'_>, times: &Times) -> Result<(), fmt::Error> {
    let (sum_seconds, buckets) = (times.sum_ns as f64 / 1e9, doublings(times));
    encoder.encode_histogram::<NoLabelSet>(sum_seconds, times.count(), &buckets, None)
}

/// The histogram with one bucket for each doubling, and one for what is longer.
fn doublings(times: &Times) -> Vec<(f64, u64)> {
    let mut doublings = Vec::new();
    let (mut end_ns, mut count) = (FIRST_END_NS, 0);
    for (bucket, more) in times.buckets[..BUCKETS - 1].iter().enumerate() {
        count += more;
        if bucket_end_ns(bucket) == end_ns {
            doublings.push((end_ns as f64 / 1e9, count));
            (end_ns, count) = (end_ns * 2, 0);
        }
    }
    doublings.push((f64::INFINITY, count + times.buckets[BUCKETS - 1]));
    doublings
}

fn family<'e>(
    encoder: &'e mut DescriptorEncoder<'_>,
    name: &'e str,
    unit: &'e Option<Unit>,
    help: &str,
    kind: MetricType,
) -> Result<MetricEncoder<'e>, fmt::Error> {
    encoder.encode_descriptor(name, help, unit.as_ref(), kind)
}

fn counter(
    family: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    value: u64,
) -> Result<(), fmt::Error> {
    family.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
}

/// The label of a core.
fn of_core(core: &CoreReport) -> [(&'static str, String); 1] {
    [("core", core.core.to_string())]
}
