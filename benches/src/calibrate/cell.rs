//! One cell: the harness without sockets run some times, and its least disturbed sample.
//!
//! On a machine that others use, too, whatever disturbs a run makes it longer and nothing makes it
//! shorter; so of some samples the fastest is the one that says most about the code. The time in which
//! the threads did not run is taken off: rates and times are those of threads that run.

use deltaworks_capacity::costs::{Inside, Stage, table_places};
use deltaworks_capacity::popularity::different;

use crate::layout::Layout;
use crate::payload::Form;
use crate::pipeline::{self, Options, Report, StageNs, stage_ns};
use crate::script::Law;
use crate::windows::WINDOWS_MIDDLE;

/// What is run.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize,
)]
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

    /// Whether some of its batches cross to another core.
    pub fn crosses(&self) -> bool {
        self.cores > 1 && self.documents > self.cores as u32
    }

    /// What is in each of its batches.
    pub fn inside(&self) -> Inside {
        Inside {
            deltas: f64::from(self.batch),
            delta_bytes: self.delta_bytes as f64,
            image_bytes: self.image_bytes(),
        }
    }

    fn options(&self, seconds: f64) -> Options {
        Options {
            cores: self.cores,
            layout: Layout::Fused,
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
            in_windows: true,
        }
    }

    /// Runs once.
    ///
    /// # Errors
    /// If it cannot be run, or was not verified.
    pub fn sample(&self, seconds: f64) -> Result<Sample, String> {
        // Many documents take their time until each has had a batch; two threads are left alone together
        // less often than one.
        let seconds =
            seconds * self.cores as f64 * (1.0 + f64::from(self.documents) / DOCUMENTS_OF_A_SAMPLE);
        let report = pipeline::run(&self.options(seconds))?;
        let (before_ns, behind_ns) = report.distance_ns;
        if !report.verified {
            return Err(format!("{self:?}: {}", report.differences.join("; ")));
        }
        let moved = (before_ns / behind_ns.max(1.0)).max(behind_ns / before_ns.max(1.0));
        Ok(Sample {
            distance_ns: f64::midpoint(before_ns, behind_ns),
            has_moved: self.cores > 1 && moved > MOVED,
            ..Sample::of(*self, &report)
        })
    }
}

/// The CPUs that threads may be pinned to.
pub fn cpus() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().iter().map(|it| it.id).collect()
}

fn by_stage(it: &StageNs) -> [f64; Stage::ALL.len()] {
    [it.generator, it.reception, it.validation, it.propagation, it.subscriber, it.rest]
}

/// The least disturbed of some samples.
pub fn fastest(samples: &[Sample]) -> Option<&Sample> {
    fastest_of(&samples.iter().collect::<Vec<_>>())
}

/// The same, and the least disturbed of those between which the cores were somewhere else, if there is one that
/// tells as much.
pub fn of_both_places(samples: &[Sample]) -> Vec<&Sample> {
    let Some(first) = fastest(samples) else { return Vec::new() };
    let is_elsewhere = |it: &&Sample| {
        let is_told = !it.has_moved() && (it.windows > 0 || first.windows == 0);
        let times = (it.distance_ns / first.distance_ns).max(first.distance_ns / it.distance_ns);
        is_told && it.crossing > 0.0 && times > ELSEWHERE
    };
    let elsewhere: Vec<&Sample> = samples.iter().filter(is_elsewhere).collect();
    std::iter::once(first).chain(fastest_of(&elsewhere)).collect()
}

/// Whether two samples that were left alone for long agree, and none was faster: a run that is disturbed is
/// slower, and seldom twice by as much.
pub fn are_settled(samples: &[Sample]) -> bool {
    let counts = samples.iter().filter(|it| !it.has_moved() && it.windows >= WINDOWS_ENOUGH);
    let mut rates: Vec<f64> = counts.map(|it| it.deltas_per_second).collect();
    rates.sort_by(|one, other| other.total_cmp(one));
    matches!(rates[..], [first, second, ..] if second >= first * (1.0 - AGREEING))
}

/// So many milliseconds that nobody disturbed are enough.
pub const WINDOWS_ENOUGH: usize = 24;
/// Samples that agree are this near each other, as a share of the faster one.
const AGREEING: f64 = 0.04;

fn fastest_of<'a>(samples: &[&'a Sample]) -> Option<&'a Sample> {
    let was_left_alone = samples.iter().any(|it| it.windows > 0);
    let stood = samples.iter().any(|it| !it.has_moved() && (it.windows > 0 || !was_left_alone));
    let counts = |it: &&Sample| (it.windows > 0 || !was_left_alone) && !(it.has_moved() && stood);
    let count = samples.iter().copied().filter(counts);
    count.max_by(|one, other| one.deltas_per_second.total_cmp(&other.deltas_per_second))
}

/// So many times as far, or as near, and what crosses is measured once more.
pub const ELSEWHERE: f64 = 2.0;

/// So many times as far, or as near, is another place.
const MOVED: f64 = 1.25;

/// So many documents more make a sample as much longer as it is.
const DOCUMENTS_OF_A_SAMPLE: f64 = 250_000.0;
/// Enough for a million documents.
pub const BUDGET_MIB: u64 = 4096;

/// What a run came to, per batch.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Sample {
    /// What was run.
    pub cell: Cell,
    /// In which round over all cells; not told: it stands beside no others.
    #[serde(default)]
    pub round: Option<u32>,
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
    /// The share of batches that are the first of their documents.
    pub first_share: f64,
    /// How far the cores were from each other: a message there and back; 0 of one core.
    pub distance_ns: f64,
    /// They were further or nearer behind it than before, so it is of neither.
    pub has_moved: bool,
    /// The part of the time in which nobody disturbed the run; 0: it is told as a whole.
    pub quiet_share: f64,
    /// Batches written for each that was read: far from 1, the time is not that of what was done.
    pub balance: f64,
    /// Milliseconds that count.
    pub windows: usize,
    /// Batches in all.
    pub batches: f64,
    /// How long the load had run, in the middle of what counts.
    pub seconds: f64,
    /// What was live at most.
    pub live: pipeline::Live,
    /// Chunks of all cores.
    pub chunks: f64,
    /// Sessions of all cores.
    pub sessions: f64,
    /// Places of their tables of handles.
    pub handle_places: f64,
    /// How long batches were written, in time in which the threads ran.
    pub run_seconds: f64,
}

impl Sample {
    /// Nothing yet, of a cell.
    pub fn nothing(cell: Cell) -> Self {
        Self {
            cell,
            round: None,
            deltas_per_second: 0.0,
            cpu_share: 1.0,
            stage_ns: [0.0; Stage::ALL.len()],
            turns: 0.0,
            sends: 0.0,
            crossing: 0.0,
            first_share: 0.0,
            distance_ns: 0.0,
            has_moved: false,
            quiet_share: 0.0,
            balance: 1.0,
            windows: 0,
            batches: 0.0,
            seconds: 0.0,
            live: pipeline::Live::default(),
            chunks: 0.0,
            sessions: 0.0,
            handle_places: 0.0,
            run_seconds: 0.0,
        }
    }

    fn of(cell: Cell, report: &Report) -> Self {
        let whole = Self::of_whole(cell, report);
        let Some(steady) = &report.steady else { return whole };
        let all = steady.all();
        let images = all.images.max(1) as f64;
        let it = stage_ns(&all.times, all.deltas.max(1) as f64);
        Self {
            deltas_per_second: steady.deltas_per_second(),
            quiet_share: steady.share,
            balance: all.written as f64 / images,
            windows: steady.windows,
            stage_ns: by_stage(&it).map(|ns| ns * f64::from(cell.batch)),
            turns: all.times.turns as f64 / images,
            sends: all.sends as f64 / images,
            first_share: steady.first_share,
            seconds: 2.0 * whole.seconds * WINDOWS_MIDDLE,
            ..whole
        }
    }

    /// What a run as a whole tells.
    fn of_whole(cell: Cell, report: &Report) -> Self {
        let batches = report.account.accepted_batches.max(1) as f64;
        let deltas = f64::from(cell.batch);
        let of_core = f64::from(cell.documents) / cell.cores as f64;
        let readers = (of_core / 1024.0).ceil().max(1.0);
        Self {
            deltas_per_second: report.deltas_per_second / report.cpu_share,
            cpu_share: report.cpu_share,
            stage_ns: by_stage(&report.stage_ns).map(|ns| ns * deltas * report.cpu_share),
            turns: report.turns as f64 / batches,
            sends: 1.0 / report.images_per_send.max(f64::MIN_POSITIVE),
            crossing: report.crossing_share,
            first_share: different(f64::from(cell.documents), batches) / batches,
            batches,
            seconds: report.seconds * report.cpu_share / 2.0,
            live: report.live_bytes.clone(),
            chunks: f64::from(report.chunks_per_core) * cell.cores as f64,
            sessions: (readers + 1.0) * cell.cores as f64,
            handle_places: cell.cores as f64
                * (table_places(of_core) + readers * table_places((of_core / readers).ceil())),
            run_seconds: report.seconds * report.cpu_share,
            ..Self::nothing(cell)
        }
    }

    /// Whether the cores were moved and that matters: where nothing crosses, it does not.
    pub fn has_moved(&self) -> bool {
        self.has_moved && self.crossing > 0.0
    }

    /// Nanoseconds of a core for each batch, over all stages.
    pub fn total_ns(&self) -> f64 {
        self.stage_ns.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One sample says nothing of what disturbed it; two that agree do, if nothing was faster.
    #[test]
    fn samples_are_settled_when_the_two_fastest_agree() {
        let of = |rates: &[f64]| -> Vec<Sample> {
            let of_rate = |rate: &f64| Sample {
                deltas_per_second: *rate,
                windows: WINDOWS_ENOUGH,
                crossing: 0.5,
                ..Sample::nothing(Cell::new(2, 100, 8))
            };
            rates.iter().map(of_rate).collect()
        };
        assert!(!are_settled(&[]) && !are_settled(&of(&[9.0])));
        assert!(are_settled(&of(&[4.0, 8.7, 9.0])));
        // Two that agree below a faster one were disturbed by as much.
        assert!(!are_settled(&of(&[6.0, 6.0, 9.0])));
        let disturbed = |spoil: fn(&mut Sample)| {
            let mut samples = of(&[9.0, 9.0]);
            samples.iter_mut().for_each(spoil);
            samples
        };
        assert!(!are_settled(&disturbed(|it| it.has_moved = true)));
        // Where nothing crosses, it does not matter where the cores are.
        assert!(are_settled(&disturbed(|it| (it.has_moved, it.crossing) = (true, 0.0))));
        assert!(!are_settled(&disturbed(|it| it.windows = WINDOWS_ENOUGH - 1)));
    }

    /// The host moved the cores between two samples: what was measured at either place counts, each for
    /// its own distance, and what was measured while they were moved does not.
    #[test]
    fn a_cell_has_a_sample_of_each_place() {
        let of = |rate: f64, distance_ns: f64, has_moved: bool| Sample {
            deltas_per_second: rate,
            distance_ns,
            has_moved,
            crossing: 0.5,
            windows: 100,
            ..Sample::nothing(Cell::new(2, 100, 8))
        };
        let (near, slow, far) = (of(9.0, 90.0, false), of(8.0, 95.0, false), of(4.0, 430.0, false));
        let samples = [far, slow, of(20.0, 260.0, true), near];
        let rates = |samples: &[Sample]| -> Vec<f64> {
            of_both_places(samples).iter().map(|it| it.deltas_per_second).collect()
        };
        assert_eq!(rates(&samples), [9.0, 4.0]);
        assert_eq!(rates(&samples[..2]), [8.0, 4.0]);
        assert_eq!(rates(&samples[1..]), [9.0]);
        assert_eq!(rates(&samples[2..3]), [20.0], "there is no other");
        let apart = samples.map(|it| Sample { crossing: 0.0, ..it });
        assert_eq!(rates(&apart), [20.0], "where nothing crosses, all places are one");
    }
}
