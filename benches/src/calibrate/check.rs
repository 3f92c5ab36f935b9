//! The forecast against the machine: a grid of cells, each foretold by the simulation and run.
//!
//! What counts is the fastest sample of a cell against the forecast as it was. A forecast is of the machine as it was when
//! its costs were measured, and the machine is another a minute later: so it is told beside how far it is off at the
//! speed that the machine had in that sample's round, by fitted cells that were sampled right before and right behind. That
//! can only lower a forecast, because their own fastest samples made the costs: it explains, and decides nothing.

use deltaworks_capacity::costs::{Costs, Stage, StageCost};
use deltaworks_capacity::forecast::{Question, limit_of};
use deltaworks_capacity::layout::Layout;
use deltaworks_capacity::workload::{Ends, Workload};
use serde::Serialize;

use super::CalibrateOptions;
use super::cell::{Cell, Sample, fastest};
use super::model;
use super::rounds::speed;

/// Batches of the grid.
pub const BATCHES: [u32; 4] = [1, 8, 32, 256];
/// Documents of the grid.
pub const DOCUMENTS: [u32; 4] = [1, 100, 10_000, 1_000_000];
/// How far a forecast may be off, as a share of what was measured.
pub const ERROR_MAX: f64 = 0.15;

/// A fault that is planted, to show that the check sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Plant {
    /// All stages cost half.
    HalfTheCosts,
    /// A document takes ten times its bytes.
    LargeDocuments,
}

impl Plant {
    /// Puts the fault into costs.
    pub fn spoil(self, costs: &mut Costs) {
        match self {
            Self::HalfTheCosts => {
                for stage in Stage::ALL {
                    let own = &mut costs.of_mut(stage).own;
                    let (mut early, mut late, mut cold) =
                        (own.early.clone(), own.late.clone(), own.cold.clone());
                    early.iter_mut().for_each(|it| it.delta_ns /= 2.0);
                    late.iter_mut().for_each(|it| it.delta_ns /= 2.0);
                    for it in &mut cold {
                        it.batch_ns /= 2.0;
                        it.long_ns /= 2.0;
                        it.byte_ns /= 2.0;
                    }
                    *own = StageCost::of_plain(own.plain().map(|ns| ns / 2.0), early, late, cold);
                }
            }
            Self::LargeDocuments => costs.memory.document_bytes *= 10.0,
        }
    }
}

/// The cells that were asked for, without those that are measured to calibrate. Two cores have a document each at least.
pub fn grid(options: &CalibrateOptions) -> Vec<Cell> {
    let or = |asked: &[u32], all: &[u32]| if asked.is_empty() { all } else { asked }.to_vec();
    let mut grid = Vec::new();
    for cores in or(&options.cores, &[1, 2]) {
        for documents in or(&options.documents, &DOCUMENTS) {
            for batch in or(&options.batch, &BATCHES) {
                grid.push(Cell::new(cores as usize, documents.max(cores), batch));
            }
        }
    }
    // A forecast of what was measured to make it would be none.
    let fitted = super::cells();
    grid.retain(|cell| !fitted.contains(cell));
    grid
}

/// Foretold and measured.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// Of this line.
    pub schema: u32,
    /// What kind of line it is.
    pub scenario: &'static str,
    /// What was run.
    pub cell: Cell,
    /// Foretold.
    pub predicted_deltas_per_second: f64,
    /// The fastest sample, in time in which its threads ran.
    pub measured_deltas_per_second: f64,
    /// All samples.
    pub samples: Vec<f64>,
    /// What was foretold, over what was measured, less one.
    pub error: f64,
    /// How fast the machine was in that round, beside how fast it was when its costs were measured; nothing:
    /// too few stood beside.
    pub speed: Option<f64>,
    /// The error at that speed.
    pub round_error: f64,
    /// Memory that was foretold.
    pub predicted_bytes: f64,
    /// The most that was live.
    pub measured_bytes: f64,
    /// The same for memory.
    pub memory_error: f64,
    /// How far its cores were from each other; what crosses is foretold for that.
    pub distance_ns: f64,
    /// How far the costs are off with the turns and sends that were measured: what is left of the error
    /// is the simulation's.
    pub costs_error: f64,
    /// The stage that is foretold to be full first.
    pub saturates_first: Stage,
    /// The stage that took most.
    pub measured_first: Stage,
    /// The part of the time in which the fastest sample's threads ran.
    pub cpu_share: f64,
    /// Both errors are small enough.
    pub within: bool,
    /// Each sample did what its account says.
    pub verified: bool,
}

/// The head of the table.
pub const TABLE_HEAD: &str = "\
cores  documents  batch   M/s foretold  M/s measured   error   in round   MiB foretold  MiB measured   error   most time";

impl Checked {
    /// A line of the table.
    pub fn row(&self) -> String {
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        format!(
            "{:>5} {:>10} {:>6} {:>14.2} {:>13.2} {:>6.1} % {:>7.1} % {:>14.1} {:>13.1} {:>6.1} %   {}{}\n",
            self.cell.cores,
            self.cell.documents,
            self.cell.batch,
            self.predicted_deltas_per_second / 1e6,
            self.measured_deltas_per_second / 1e6,
            self.error * 100.0,
            self.round_error * 100.0,
            mib(self.predicted_bytes),
            mib(self.measured_bytes),
            self.memory_error * 100.0,
            self.saturates_first.name(),
            if self.within { "" } else { "  NOT WITHIN" },
        )
    }
}

/// The workload that a cell is.
pub fn workload(cell: &Cell, seconds: f64, chunks_per_core: u32) -> Workload {
    Workload {
        documents: cell.documents,
        batch: cell.batch,
        delta_bytes: cell.delta_bytes as u32,
        ends: Ends::Harness,
        publishers: cell.cores as u32,
        subscribers: 1,
        near: true,
        crossing_share: Some(0.5),
        seconds: Some(seconds),
        chunks_per_core: Some(chunks_per_core),
        ..Workload::default()
    }
}

/// Foretells a cell, and compares with its samples; `references` are all samples of each fitted cell beside it.
///
/// # Errors
/// If there are no samples, or the costs are none.
pub fn check(
    costs: &Costs,
    samples: &[Sample],
    references: &[&[Sample]],
) -> Result<Checked, String> {
    let sample = fastest(samples).ok_or("no sample")?;
    let cell = sample.cell;
    let chunks = (sample.chunks / cell.cores as f64) as u32;
    let layout = Layout::fused(cell.cores);
    let workload = workload(&cell, sample.seconds, chunks);
    let there = costs.at_distance(sample.distance_ns);
    let held_seconds = Some(sample.run_seconds);
    let (limit, memory) = limit_of(&layout, &workload, &there, Question::default(), held_seconds)?;
    let measured_bytes = sample.live.total as f64;
    let told = sample.round.and_then(|round| speed(costs, references, round));
    let predicted = limit.deltas_per_second;
    let error = predicted / sample.deltas_per_second - 1.0;
    let memory_error = memory.total_bytes / measured_bytes - 1.0;
    let most = |one: &Stage, other: &Stage| {
        sample.stage_ns[*one as usize].total_cmp(&sample.stage_ns[*other as usize])
    };
    Ok(Checked {
        schema: 1,
        scenario: "capacity",
        cell,
        predicted_deltas_per_second: predicted,
        measured_deltas_per_second: sample.deltas_per_second,
        samples: samples.iter().map(|it| it.deltas_per_second).collect(),
        error,
        speed: told,
        round_error: predicted * told.unwrap_or(1.0) / sample.deltas_per_second - 1.0,
        distance_ns: sample.distance_ns,
        costs_error: 1.0 / (1.0 + model::error(costs, sample)) - 1.0,
        predicted_bytes: memory.total_bytes,
        measured_bytes,
        memory_error,
        saturates_first: limit.saturates_first.stage,
        measured_first: Stage::ALL.into_iter().max_by(most).unwrap_or(Stage::Upkeep),
        cpu_share: sample.cpu_share,
        within: error.abs() <= ERROR_MAX && memory_error.abs() <= ERROR_MAX,
        verified: true,
    })
}

#[cfg(test)]
mod tests {
    use super::super::rounds::references;
    use super::*;

    /// A machine of which every cell takes what `costs` say, times how slow the host makes it in each round: the
    /// samples of a cell and of those beside it.
    fn machine(costs: &Costs, cell: Cell, slow: &[f64]) -> (Vec<Sample>, Vec<Vec<Sample>>) {
        let fitted = super::super::cells();
        let beside = references(&cell, &fitted);
        let of_cell = |cell: Cell| -> Vec<Sample> {
            let sample = Sample {
                turns: 0.1,
                sends: 0.5,
                windows: 100,
                chunks: 8.0,
                seconds: 0.1,
                run_seconds: 0.2,
                deltas_per_second: 1.0,
                ..Sample::nothing(cell)
            };
            let workload = workload(&cell, sample.seconds, 8);
            let it = limit_of(&Layout::fused(1), &workload, costs, Question::default(), None);
            let rate = it.expect("a forecast").0.deltas_per_second;
            // What it takes by the costs is told by how far nothing is from it.
            let mut unit = sample.clone();
            unit.stage_ns[0] = 1.0;
            let total_ns = 1.0 + model::error(costs, &unit);
            let of_round = |(round, slow): (usize, &f64)| {
                let mut sample = Sample {
                    round: Some(round as u32),
                    deltas_per_second: rate / slow,
                    ..sample.clone()
                };
                sample.stage_ns[0] = total_ns * slow;
                sample.live.total = 1;
                sample
            };
            slow.iter().enumerate().map(of_round).collect()
        };
        (of_cell(cell), beside.into_iter().map(of_cell).collect())
    }

    fn costs() -> Costs {
        let mut costs = Costs::nothing();
        (costs.memory.document_bytes, costs.memory.chunk_bytes) = (500.0, 2e6);
        for stage in Stage::ALL {
            let own = &mut costs.of_mut(stage).own;
            (own.turn_ns, own.batch_ns, own.delta_ns) = (50.0, 20.0, 3.0);
        }
        costs
    }

    fn checked(costs: &Costs, samples: &[Sample], beside: &[Vec<Sample>]) -> Checked {
        let beside: Vec<&[Sample]> = beside.iter().map(Vec::as_slice).collect();
        check(costs, samples, &beside).expect("a forecast")
    }

    fn cell() -> Cell {
        Cell::new(1, 100, 8)
    }

    /// The host makes all slower in some rounds, and a cell has no sample in the others: it comes true for the
    /// speed that there was, and that is told; the forecast as it was is off, and that decides.
    #[test]
    fn a_host_that_changes_between_rounds_is_told_by_the_cells_beside() {
        let costs = costs();
        let (mut samples, beside) = machine(&costs, cell(), &[1.0, 1.8, 1.7, 1.6]);
        samples.remove(0);
        let told = checked(&costs, &samples, &beside);
        let slow = |told: &Checked| told.speed.map(|speed| (10.0 / speed).round());
        assert!(told.round_error.abs() < 0.01 && slow(&told) == Some(16.0), "{told:?}");
        assert!(told.error > ERROR_MAX && !told.within, "{told:?}");
        // A sample that was disturbed alone does not count, and neither does one of those beside.
        let mut disturbed = (samples.clone(), beside.clone());
        disturbed.0[0].deltas_per_second /= 3.0;
        disturbed.1[0][3].stage_ns[0] *= 3.0;
        let told = checked(&costs, &disturbed.0, &disturbed.1);
        assert!(told.round_error.abs() < 0.01 && slow(&told) == Some(16.0), "{told:?}");
        // Whoever was sampled alone has nobody beside, and neither have samples that were kept without rounds.
        let alone = checked(&costs, &samples, &[]);
        assert!(alone.speed.is_none() && alone.error == alone.round_error, "{alone:?}");
        samples.iter_mut().for_each(|it| it.round = None);
        assert_eq!(checked(&costs, &samples, &beside).speed, None);
    }

    /// Cells beside tell how fast the machine was, not how far the costs may be off.
    #[test]
    fn a_cost_that_is_missing_is_found_out_beside_others() {
        let costs = costs();
        let (samples, beside) = machine(&costs, cell(), &[1.0, 1.8, 1.7]);
        assert!(checked(&costs, &samples, &beside).error.abs() < 0.01);
        let mut lacking = costs.clone();
        lacking.validation.own.delta_ns = 0.0;
        lacking.source.own.batch_ns = 0.0;
        let told = checked(&lacking, &samples, &beside);
        assert!(told.error > ERROR_MAX && told.round_error > ERROR_MAX && !told.within, "{told:?}");
        let mut spoilt = costs.clone();
        Plant::HalfTheCosts.spoil(&mut spoilt);
        let told = checked(&spoilt, &samples, &beside);
        assert!((told.error - 1.0).abs() < 0.05 && told.round_error > 0.9, "{told:?}");
        // What is dearer at one cell, and at none that was fitted, is in no cost, and is seen.
        let mut dear = samples.clone();
        dear.iter_mut().for_each(|it| it.deltas_per_second /= 1.3);
        let told = checked(&costs, &dear, &beside);
        assert!(told.error > ERROR_MAX && told.round_error > ERROR_MAX, "{told:?}");
    }

    /// What is checked was not measured to calibrate: a fit that only repeats its samples shows nothing.
    #[test]
    fn no_cell_of_the_grid_was_fitted_to() {
        let fitted = super::super::cells();
        for cores in [1, 2] {
            for documents in DOCUMENTS {
                for batch in BATCHES {
                    let cell = Cell::new(cores, documents.max(cores as u32), batch);
                    assert!(!fitted.contains(&cell), "{cell:?}");
                }
            }
        }
    }

    #[test]
    fn a_cell_that_was_fitted_to_is_not_checked() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            options: CalibrateOptions,
        }
        let grid = |documents: &str| {
            let line = ["x", "--check", "--cores", "1", "--batch", "16", "--documents", documents];
            grid(&<Line as clap::Parser>::parse_from(line).options)
        };
        assert_eq!(grid("1000"), []);
        assert_eq!(grid("1001"), [Cell::new(1, 1001, 16)]);
    }
}
