//! `throughput layouts`: two cores laid out fused, split and local, by turns.
//!
//! Question: which split of the stages over two cores carries most, by deltas of a batch and by
//! documents? Each round runs every layout of a cell once, one behind the other, in an order that
//! goes round; ratios are of one round. How far the cores are from each other is timed before and
//! behind each run, because what crosses costs in proportion to it; rounds of near cores and of far ones are told
//! apart, and those in which the host moved them do not count, and how many they are is told. Not measured: sockets, of which the
//! sessions' core would have all, and more than two cores.
//!
//! ```text
//!  round 1   fused split local     round 2   split local fused     round 3 …
//!            └── a message there and back, before and behind each ──┘
//! ```

use serde::Serialize;

use crate::calibrate::cell::{BUDGET_MIB, DELTA_BYTES, READ_BYTES, cpus};
use crate::layout::Layout;
use crate::payload::Form;
use crate::pipeline::{self, Options};
use crate::plant::Plant;
use crate::script::Law;
use crate::spread::Spread;

/// What is run.
#[derive(Clone, Debug, clap::Args)]
pub struct LayoutsOptions {
    /// Rounds over all cells.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// How long batches are written in each run.
    #[arg(long, default_value_t = 0.5, value_parser = crate::playbill::seconds)]
    pub seconds: f64,
    /// Only batches of so many deltas; may be given again.
    #[arg(long, value_name = "DELTAS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch: Vec<u32>,
    /// Only so many documents; may be given again.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(2..=2_000_000))]
    pub documents: Vec<u32>,
    /// Lines of JSON in place of a table.
    #[arg(long)]
    pub json: bool,
    /// A fault to be planted: the runs must then not be verified.
    #[arg(long, value_enum, hide = true)]
    pub plant: Option<Plant>,
}

/// Deltas of a batch, and documents, of the cells if nobody asks for others.
const CELLS: [(u32, u32); 9] = [
    (1, 100),
    (8, 100),
    (32, 100),
    (256, 100),
    (1, 10_000),
    (8, 10_000),
    (32, 10_000),
    (256, 10_000),
    (32, 1_000_000),
];

/// Cores between which a message takes longer there and back share no third cache.
pub const NEAR_NS: f64 = 200.0;

/// Cores.
const CORES: usize = 2;

/// One run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Run {
    /// Deltas a second: where there are milliseconds that nobody disturbed, in those, else in time in which
    /// the threads ran.
    pub deltas_per_second: f64,
    /// The share of milliseconds that nobody disturbed.
    pub quiet_share: f64,
    /// How far the cores were from each other: a message there and back, before and behind.
    pub distance_ns: (f64, f64),
    /// It did what its account and its layout say.
    pub verified: bool,
}

impl Run {
    fn is_near(&self) -> Option<bool> {
        let (before, behind) = (self.distance_ns.0 < NEAR_NS, self.distance_ns.1 < NEAR_NS);
        (before == behind).then_some(before)
    }
}

/// One round of a cell: its runs, in the order of [`Layout::ALL`].
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Round {
    /// The runs.
    pub runs: [Run; Layout::ALL.len()],
}

impl Round {
    /// Whether the cores were near each other all the time, or never; `None` if they were moved.
    fn is_near(&self) -> Option<bool> {
        let first = self.runs[0].is_near()?;
        self.runs.iter().all(|it| it.is_near() == Some(first)).then_some(first)
    }

    fn rate(&self, layout: Layout) -> f64 {
        self.runs[layout as usize].deltas_per_second
    }
}

/// What came out of the rounds of one cell in which the cores were equally far from each other, or of those
/// that do not count.
#[derive(Clone, Debug, Serialize)]
pub struct Told {
    /// Of this line.
    pub schema: u32,
    /// What kind of line it is.
    pub scenario: &'static str,
    /// Deltas of a batch.
    pub batch: u32,
    /// Documents.
    pub documents: u32,
    /// The cores were near each other; `None` if they were moved in these rounds, which have no figures then.
    pub is_near: Option<bool>,
    /// How far they were: a message there and back.
    pub distance_ns: Spread,
    /// The figures of these rounds.
    #[serde(flatten)]
    pub figures: Option<Figures>,
    /// The rounds.
    pub rounds: Vec<Round>,
    /// Every run did what its account and its layout say.
    pub verified: bool,
}

/// What rounds that count say.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figures {
    /// Deltas a second, by layout.
    pub fused: Spread,
    /// The same.
    pub split: Spread,
    /// The same.
    pub local: Spread,
    /// Round by round, what split carried for what fused did.
    pub split_for_fused: Spread,
    /// The same of local.
    pub local_for_fused: Spread,
}

impl Figures {
    fn of(rounds: &[Round]) -> Self {
        let all = |of: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(of));
        let rate = |layout| all(&|round| round.rate(layout));
        let ratio = |layout| all(&|round| round.rate(layout) / round.rate(Layout::Fused));
        Self {
            fused: rate(Layout::Fused),
            split: rate(Layout::Split),
            local: rate(Layout::Local),
            split_for_fused: ratio(Layout::Split),
            local_for_fused: ratio(Layout::Local),
        }
    }
}

/// The head of the table.
pub const TABLE_HEAD: &str = "\
| batch | documents | there and back | rounds | fused | split | local | split / fused | local / fused |
|---:|---:|---:|---:|---:|---:|---:|---:|---:|";

impl Told {
    /// All rounds of a cell: those of near cores, of far ones, and those that do not count.
    fn all(cell: (u32, u32), rounds: &[Round]) -> impl Iterator<Item = Self> {
        [Some(true), Some(false), None].into_iter().filter_map(move |is_near| {
            let of_place = |it: &&Round| it.is_near() == is_near;
            let rounds: Vec<Round> = rounds.iter().filter(of_place).copied().collect();
            (!rounds.is_empty()).then(|| Self::of(cell, is_near, rounds))
        })
    }

    fn of((batch, documents): (u32, u32), is_near: Option<bool>, rounds: Vec<Round>) -> Self {
        let runs = || rounds.iter().flat_map(|it| it.runs);
        Self {
            schema: 2,
            scenario: "layouts",
            batch,
            documents,
            is_near,
            distance_ns: Spread::of(runs().flat_map(|it| [it.distance_ns.0, it.distance_ns.1])),
            figures: is_near.map(|_| Figures::of(&rounds)),
            verified: runs().all(|it| it.verified),
            rounds,
        }
    }

    /// A line of the table.
    pub fn row(&self) -> String {
        let Self { batch, documents, .. } = self;
        let (distance_ns, rounds) = (self.distance_ns, self.rounds.len());
        let verified = if self.verified { "" } else { " NOT VERIFIED" };
        let Some(figures) = &self.figures else {
            let (least, most) = (distance_ns.min, distance_ns.max);
            return format!(
                "| {batch} | {documents} | moved, {least:.0} to {most:.0} ns | {rounds} do not count | – | – | – | – | – |{verified}"
            );
        };
        let ratio = |it: &Spread| format!("{:.2} ({:.2} to {:.2})", it.median, it.min, it.max);
        let rate = |it: &Spread| it.median / 1e6;
        format!(
            "| {batch} | {documents} | {:.0} ns | {rounds} | {:.1} M/s | {:.1} | {:.1} | {} | {} |{verified}",
            distance_ns.median,
            rate(&figures.fused),
            rate(&figures.split),
            rate(&figures.local),
            ratio(&figures.split_for_fused),
            ratio(&figures.local_for_fused),
        )
    }
}

/// Runs all rounds, and tells each cell, near, far and moved in between; whether every run was verified.
///
/// # Errors
/// If a cell cannot be run, or there are no two CPUs.
pub fn run(options: &LayoutsOptions, mut tell: impl FnMut(&Told)) -> Result<bool, String> {
    if cpus().len() < CORES {
        return Err("there are no two CPUs".to_owned());
    }
    let cells = cells(options);
    let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); cells.len()];
    let mut is_verified = true;
    for number in 0..options.rounds as usize {
        for (cell, rounds) in cells.iter().zip(&mut rounds) {
            let round = round(*cell, number, options)?;
            is_verified &= round.runs.iter().all(|it| it.verified);
            rounds.push(round);
        }
    }
    for (cell, rounds) in cells.iter().zip(rounds) {
        Told::all(*cell, &rounds).for_each(|told| tell(&told));
    }
    Ok(is_verified)
}

/// The cells that are asked for: the usual ones, or all of the batches and documents that were named.
fn cells(options: &LayoutsOptions) -> Vec<(u32, u32)> {
    let LayoutsOptions { batch, documents, .. } = options;
    let or = |asked: &[u32], usual: &[u32]| if asked.is_empty() { usual } else { asked }.to_vec();
    if batch.is_empty() && documents.is_empty() {
        return CELLS.to_vec();
    }
    let batches = or(batch, &[1, 8, 32, 256]);
    let of = |documents: u32| batches.iter().map(move |batch| (*batch, documents));
    or(documents, &[100, 10_000]).into_iter().flat_map(of).collect()
}

fn round(cell: (u32, u32), number: usize, options: &LayoutsOptions) -> Result<Round, String> {
    let nothing =
        Run { deltas_per_second: 0.0, quiet_share: 0.0, distance_ns: (0.0, 0.0), verified: false };
    let mut runs = [nothing; Layout::ALL.len()];
    for place in 0..runs.len() {
        let place = (place + number) % runs.len();
        runs[place] = run_once(cell, Layout::ALL[place], options)?;
    }
    Ok(Round { runs })
}

fn run_once(
    (batch, documents): (u32, u32),
    layout: Layout,
    options: &LayoutsOptions,
) -> Result<Run, String> {
    let report = pipeline::run(&Options {
        cores: CORES,
        layout,
        documents,
        delta_bytes: DELTA_BYTES,
        batch,
        seconds: options.seconds,
        batches: None,
        law: Law::Uniform,
        collection: Form::Cbor,
        budget_mib: BUDGET_MIB,
        chunks: None,
        read_bytes: READ_BYTES,
        handles_per_reader: 1024,
        seed: 1,
        no_latency: false,
        json: false,
        plant: options.plant.filter(|plant| plant.is_seen_in(layout)),
        plant_loss: None,
        plant_steps: 0,
        in_windows: true,
    })?;
    let steady = report.steady.as_ref();
    let whole = report.deltas_per_second / report.cpu_share;
    Ok(Run {
        deltas_per_second: steady.map_or(whole, |it| it.deltas_per_second()),
        quiet_share: steady.map_or(0.0, |it| it.share),
        distance_ns: report.distance_ns,
        verified: report.verified,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_of(deltas_per_second: f64, distance_ns: (f64, f64)) -> Run {
        Run { deltas_per_second, quiet_share: 1.0, distance_ns, verified: true }
    }

    /// Ratios are of one round, so a machine that is slower in the next one changes none.
    #[test]
    fn ratios_are_of_one_round() {
        let round = |speed: f64| Round {
            runs: [4.0, 2.0, 6.0].map(|rate| run_of(rate * speed, (90.0, 95.0))),
        };
        let told = Told::of((1, 100), Some(true), vec![round(1e6), round(5e6), round(2e6)]);
        let of = |it: Spread| (it.median, it.min, it.max);
        let figures = told.figures.expect("these rounds count");
        assert_eq!(of(figures.split_for_fused), (0.5, 0.5, 0.5));
        assert_eq!(of(figures.local_for_fused), (1.5, 1.5, 1.5));
        assert_eq!(figures.fused.median, 8e6);
        assert!(told.verified && !told.row().contains("NOT"));
    }

    #[test]
    fn a_round_in_which_cores_were_moved_is_of_no_place() {
        let round =
            |distances: [(f64, f64); 3]| Round { runs: distances.map(|it| run_of(1.0, it)) };
        let (near, far) = ((80.0, 95.0), (430.0, 440.0));
        assert_eq!(round([near; 3]).is_near(), Some(true));
        assert_eq!(round([far; 3]).is_near(), Some(false));
        assert_eq!(round([near, near, far]).is_near(), None);
        assert_eq!(round([near, (90.0, 430.0), near]).is_near(), None);
        // Each round is told somewhere, and a cell of which none counts has a line of its own.
        let moved = round([near, near, far]);
        let told: Vec<Told> =
            Told::all((1, 100), &[round([near; 3]), moved, round([near; 3]), moved, moved])
                .collect();
        let counts: Vec<_> = told.iter().map(|it| (it.is_near, it.rounds.len())).collect();
        assert_eq!(counts, [(Some(true), 2), (None, 3)]);
        assert!(told[0].figures.is_some() && told[1].figures.is_none());
        let row = told[1].row();
        assert!(row.contains("moved, 80 to 440 ns | 3 do not count"), "{row}");
        assert_eq!(Told::all((1, 100), &[moved]).count(), 1);
        let columns = |row: &str| row.matches('|').count();
        assert_eq!(columns(&row), columns(&told[0].row()));
    }
}
