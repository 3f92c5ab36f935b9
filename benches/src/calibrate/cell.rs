//! One cell: the harness without sockets run some times, and its least disturbed sample.
//!
//! On a machine that others use, too, whatever disturbs a run makes it longer and nothing makes it
//! shorter; so of some samples the fastest is the one that says most about the code. The time in which
//! the threads did not run is taken off: rates and times are those of threads that run.

use deltaworks_capacity::costs::Stage;

use crate::payload::Form;
use crate::pipeline::{self, Options, Report};
use crate::script::Law;

/// What is run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
pub struct Cell {
    /// Cores that do everything.
    pub cores: usize,
    /// Documents over all.
    pub documents: u32,
    /// Deltas of a batch.
    pub batch: u32,
    /// Bytes of a delta.
    pub delta_bytes: usize,
    /// Bytes of a read at most.
    pub read_bytes: usize,
}

/// Bytes of a read if nobody says otherwise.
pub const READ_BYTES: usize = 64 << 10;
/// Bytes of a delta in the cells that are checked.
pub const DELTA_BYTES: usize = 46;

impl Cell {
    /// A cell with reads and deltas of the usual length.
    pub fn new(cores: usize, documents: u32, batch: u32) -> Self {
        Self { cores, documents, batch, delta_bytes: DELTA_BYTES, read_bytes: READ_BYTES }
    }

    /// Bytes of each image.
    pub fn image_bytes(&self) -> f64 {
        let batch = self.batch as usize;
        deltaworks_image::builder::image_bytes(batch, batch * self.delta_bytes) as f64
    }

    fn options(&self, seconds: f64) -> Options {
        Options {
            cores: self.cores,
            documents: self.documents,
            delta_bytes: self.delta_bytes,
            batch: self.batch,
            seconds,
            batches: None,
            law: Law::Uniform,
            budget_mib: BUDGET_MIB,
            chunks: None,
            read_bytes: self.read_bytes,
            handles_per_reader: 1024,
            seed: 1,
            no_latency: false,
            json: false,
            plant: None,
            collection: Form::Cbor,
            plant_loss: None,
            plant_steps: 0,
        }
    }

    /// Runs once.
    ///
    /// # Errors
    /// If it cannot be run, or was not verified.
    pub fn sample(&self, seconds: f64) -> Result<Sample, String> {
        // Many documents take their time until each has had a batch.
        let seconds = seconds * (1.0 + f64::from(self.documents) / DOCUMENTS_OF_A_SAMPLE);
        let report = pipeline::run(&self.options(seconds))?;
        if !report.verified {
            return Err(format!("{self:?}: {}", report.differences.join("; ")));
        }
        Ok(Sample::of(*self, &report))
    }
}

/// The least disturbed of some samples.
pub fn fastest(samples: &[Sample]) -> Option<&Sample> {
    samples.iter().max_by(|one, other| one.deltas_per_second.total_cmp(&other.deltas_per_second))
}

/// So many documents more make a sample as much longer as it is.
const DOCUMENTS_OF_A_SAMPLE: f64 = 250_000.0;
/// Enough for a million documents.
const BUDGET_MIB: u64 = 4096;

/// What a run came to, per batch.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What was run.
    pub cell: Cell,
    /// Accepted deltas a second in which the threads ran.
    pub deltas_per_second: f64,
    /// The part of the time in which the threads ran.
    pub cpu_share: f64,
    /// Nanoseconds of a core that ran for each batch, by stage.
    pub stage_ns: [f64; Stage::ALL.len()],
    /// Turns for each batch.
    pub turns: f64,
    /// Sends for each batch.
    pub sends: f64,
    /// The share of batches whose owner is another core.
    pub crossing: f64,
    /// Batches in all.
    pub batches: f64,
    /// The timed region.
    pub seconds: f64,
    /// What was live at most.
    pub live: pipeline::Live,
    /// Chunks of all cores.
    pub chunks: f64,
    /// Sessions of all cores.
    pub sessions: f64,
}

impl Sample {
    fn of(cell: Cell, report: &Report) -> Self {
        let batches = report.account.accepted_batches.max(1) as f64;
        let deltas = f64::from(cell.batch);
        let it = &report.stage_ns;
        let stage_ns =
            [it.generator, it.reception, it.validation, it.propagation, it.subscriber, it.rest];
        let of_core = f64::from(cell.documents) / cell.cores as f64;
        let readers = (of_core / 1024.0).ceil().max(1.0);
        Self {
            cell,
            deltas_per_second: report.deltas_per_second / report.cpu_share,
            cpu_share: report.cpu_share,
            stage_ns: stage_ns.map(|ns| ns * deltas * report.cpu_share),
            turns: report.turns as f64 / batches,
            sends: 1.0 / report.images_per_send.max(f64::MIN_POSITIVE),
            crossing: report.crossing_share,
            batches,
            seconds: report.seconds * report.cpu_share,
            live: report.live_bytes.clone(),
            chunks: f64::from(report.chunks_per_core) * cell.cores as f64,
            sessions: (readers + 1.0) * cell.cores as f64,
        }
    }

    /// Nanoseconds of a core for each batch, over all stages.
    pub fn total_ns(&self) -> f64 {
        self.stage_ns.iter().sum()
    }
}
