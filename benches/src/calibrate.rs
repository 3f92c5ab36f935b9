//! `throughput calibrate`: what each stage costs here, and whether a forecast made from it comes true.
//!
//! Question: what do turns, sends, batches, deltas, bytes, crossings and cold documents cost on this
//! machine, with this code? The harness without sockets is run over cells, and its time is laid to
//! what happened in each; sleeping, looks and bare sockets are timed by themselves. `--check` forecasts
//! a grid of other cells by the simulation that plans machines, runs them in the same rounds, and tells both,
//! and how fast the machine was meanwhile.
//! Not measured: more than two cores, memory of another node, a network.
//!
//! ```text
//!  cells ─▶ samples ─▶ fit ─▶ costs ─▶ simulation ─▶ foretold ┐
//!    rounds   └─ how fast the machine was beside ────────────┤
//!  grid  ─▶ samples ────────────────────────────────▶ measured ┴─▶ table, lines of JSON
//! ```

pub mod cell;
pub mod check;
pub mod fit;
pub mod memory;
pub mod model;
pub mod rounds;
pub mod socket;
pub mod wake;

use std::path::{Path, PathBuf};

use deltaworks_capacity::costs::{Costs, Origin, SocketCost, Stage, TurnBound};
use deltaworks_capacity::popularity::{cold_share, near_documents};
use deltaworks_capacity::workload::Law;
use deltaworks_pipeline::limits::{Limits, TurnBounds};
use deltaworks_runtime::core::CoreConfig;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use cell::{Cell, READ_BYTES, Sample};
use check::{Checked, Plant};

/// What is run.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct CalibrateOptions {
    /// Writes the costs here, for `deltaworks plan --capacity --costs FILE`.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Forecasts a grid of batches and documents, runs it, and tells both.
    #[arg(long)]
    pub check: bool,
    /// Takes these costs to check, and measures none.
    #[arg(long, value_name = "FILE", requires = "check")]
    pub costs: Option<PathBuf>,
    /// Rounds over all cells, of each of which one sample is taken; two more where those of a cell do not agree.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub samples: u32,
    /// How long each sample is measured.
    #[arg(long, default_value_t = 0.25, value_parser = seconds)]
    pub seconds: f64,
    /// Checks only so many cores; may be given again.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=2))]
    pub cores: Vec<u32>,
    /// Checks only so many documents; may be given again.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    pub documents: Vec<u32>,
    /// Checks only batches of so many deltas; may be given again.
    #[arg(long, value_name = "DELTAS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch: Vec<u32>,
    /// Measures nothing with more documents: quicker, but what caches cost beyond is then not known.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000)]
    pub documents_max: u32,
    /// Writes each sample here, a line of JSON: what costs were fitted to, and what was checked.
    #[arg(long, value_name = "FILE")]
    pub samples_to: Option<PathBuf>,
    /// Takes the samples that a file of `--samples-to` holds, and runs no cell that has some there.
    #[arg(long, value_name = "FILE")]
    pub samples_from: Option<PathBuf>,
    /// Lines of JSON in place of tables: one with the costs, or one for each cell that is checked.
    #[arg(long)]
    pub json: bool,
    /// A fault to be planted: the check must then fail.
    #[arg(long, value_enum, hide = true)]
    pub plant: Option<Plant>,
}

const EXAMPLES: &str = "\
Examples:
  throughput calibrate -o costs.json
  throughput calibrate --check
  throughput calibrate --check --json -o costs.json > check.jsonl
  throughput calibrate --check --costs costs.json --cores 1 --documents 10000
  throughput calibrate --check --samples-to samples.jsonl
  throughput calibrate --check --samples-from samples.jsonl

The costs go to `deltaworks plan --capacity --costs costs.json --workload FILE`.

Exit codes:
  0  measured; if checked, every cell came within 15 % of its forecast
  1  one did not
  2  it could not be run";

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    let range = 0.01..=60.0;
    if range.contains(&seconds) { Ok(seconds) } else { Err("0.01 to 60".to_owned()) }
}

/// The cells that costs are fitted to; none of them is in the grid that is checked.
pub fn cells() -> Vec<Cell> {
    // By batch: documents that are one, near, in the second cache, in the third, and in none.
    let lattice: [(u32, &[u32]); 12] = [
        (1, &[2, 16, 48, 128]),
        (2, &[1]),
        (30, &[1, 4, 24, 64]),
        (60, &[1]),
        (200, &[1]),
        (1000, &[1, 2, 4, 8, 16, 24, 64, 512]),
        (5000, &[1, 16]),
        (15_000, &[2, 8, 64]),
        (30_000, &[1, 4, 16, 128]),
        (300_000, &[1, 2, 16, 64]),
        (600_000, &[1]),
        (1_000_000, &[2, 16, 24, 48, 128, 512]),
    ];
    let mut cells: Vec<Cell> = Vec::new();
    for (documents, batches) in lattice {
        cells.extend(batches.iter().map(|batch| Cell::new(1, documents, *batch)));
    }
    cells.extend([200, 1000].map(|delta_bytes| Cell { delta_bytes, ..Cell::new(1, 1000, 16) }));
    for documents in [1, 1000] {
        cells.extend(
            [128, 2048, 8192].map(|read_bytes| Cell { read_bytes, ..Cell::new(1, documents, 1) }),
        );
    }
    let lattice: [(u32, &[u32]); 6] = [
        (2, &[2, 16, 128]),
        (60, &[1, 4, 64]),
        (2000, &[1, 4, 16, 48, 128, 512]),
        (20_000, &[2, 16]),
        (60_000, &[1, 4, 64]),
        (600_000, &[2, 16, 48, 128, 512]),
    ];
    for (documents, batches) in lattice {
        cells.extend(batches.iter().map(|batch| Cell::new(2, documents, *batch)));
    }
    cells
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Calibrated {
    /// The costs.
    pub costs: Costs,
    /// What was checked, if anything.
    pub checked: Vec<Checked>,
}

impl Calibrated {
    /// Whether every cell came true.
    pub fn is_within(&self) -> bool {
        self.checked.iter().all(|it| it.within && it.verified)
    }
}

/// Measures, and checks if that was asked for. Cells of both are run in the same rounds, so that a machine that
/// becomes slower meanwhile does so for both, and what is checked is foretold for the speed that it had then.
///
/// # Errors
/// If something cannot be measured, read or written.
pub fn run(options: &CalibrateOptions) -> Result<Calibrated, String> {
    let cpus = cell::cpus();
    let known = options.costs.as_deref().map(read_costs).transpose()?;
    let mut fitted = if known.is_some() { Vec::new() } else { cells() };
    fitted.retain(|cell| cell.cores <= cpus.len() && cell.documents <= options.documents_max);
    let mut grid = if options.check { check::grid(options) } else { Vec::new() };
    grid.retain(|cell| cell.cores <= cpus.len());
    if options.check && grid.is_empty() {
        return Err("no cell is left to check: those need more CPUs, or are measured to calibrate"
            .to_owned());
    }
    let samples = sample(&fitted, &grid, options)?;
    if let Some(path) = &options.samples_to {
        let lines: Result<Vec<String>, _> =
            samples.iter().flatten().map(serde_json::to_string).collect();
        let text = lines.map_err(|error| error.to_string())?.join("\n");
        std::fs::write(path, text + "\n")
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let (of_fit, of_grid) = samples.split_at(fitted.len());
    let mut costs = match known {
        Some(costs) => costs,
        None => measure(of_fit, &cpus)?,
    };
    if let Some(path) = &options.output {
        let text = serde_json::to_string_pretty(&costs).map_err(|error| error.to_string())?;
        std::fs::write(path, text + "\n")
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if let Some(plant) = options.plant {
        plant.spoil(&mut costs);
    }
    let of_cell = |cell: &Cell| {
        let place = fitted.iter().position(|it| it == cell);
        place.map(|place| of_fit[place].as_slice())
    };
    let check = |(cell, samples): (&Cell, &Vec<Sample>)| {
        let references = rounds::references(cell, &fitted);
        let references: Vec<&[Sample]> = references.iter().filter_map(of_cell).collect();
        check::check(&costs, samples, &references)
    };
    let checked: Result<Vec<Checked>, String> = grid.iter().zip(of_grid).map(check).collect();
    Ok(Calibrated { checked: checked?, costs })
}

fn read_costs(path: &Path) -> Result<Costs, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    Costs::parse(&text).map_err(|error| format!("{name}: {error}"))
}

/// All samples of each cell, those that are fitted first.
fn sample(
    fitted: &[Cell],
    grid: &[Cell],
    options: &CalibrateOptions,
) -> Result<Vec<Vec<Sample>>, String> {
    let cells: Vec<Cell> = fitted.iter().chain(grid).copied().collect();
    let kept = options.samples_from.as_deref().map(read_samples).transpose()?.unwrap_or_default();
    let of_kept = |cell: &Cell| kept.iter().filter(|it| it.cell == *cell).cloned().collect();
    let mut samples: Vec<Vec<Sample>> = cells.iter().map(of_kept).collect();
    let is_kept: Vec<bool> = samples.iter().map(|it| !it.is_empty()).collect();
    if is_kept.contains(&false) {
        // Rounds of another run are none of this one's.
        samples.iter_mut().flatten().for_each(|it| it.round = None);
    }
    // Cells whose samples do not agree get some more, not all at once: what disturbs lasts a while.
    let is_long = options.seconds * 1000.0 >= 2.0 * cell::WINDOWS_ENOUGH as f64;
    let more = if is_long { MORE_ROUNDS } else { 0 };
    let bar = bar(is_kept.iter().filter(|is_kept| !**is_kept).count() * options.samples as usize);
    let order = rounds::order(&cells);
    for round in 0..options.samples + more {
        for place in &order {
            let samples = &mut samples[*place];
            let is_more = round >= options.samples;
            if is_kept[*place] || is_more && cell::are_settled(samples) {
                continue;
            }
            if is_more {
                bar.inc_length(1);
            }
            let sample = cells[*place].sample(options.seconds)?;
            samples.push(Sample { round: Some(round), ..sample });
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(samples)
}

fn read_samples(path: &Path) -> Result<Vec<Sample>, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    let line = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| format!("{name}, line {}: {error}", number + 1))
    };
    text.lines().enumerate().map(line).collect()
}

/// So many rounds more at most, over cells whose samples do not agree.
const MORE_ROUNDS: u32 = 2;

/// On standard error; nothing where that is no terminal.
fn bar(samples: usize) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(2);
    let bar = ProgressBar::with_draw_target(Some(samples as u64), target);
    let style = ProgressStyle::with_template("sample {pos} of {len} {wide_bar} {eta:>5}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn measure(samples: &[Vec<Sample>], cpus: &[usize]) -> Result<Costs, String> {
    let samples: Vec<Sample> =
        samples.iter().flat_map(|of_cell| cell::of_both_places(of_cell)).cloned().collect();
    let mut costs = Costs::nothing();
    // What documents take of memory tells how many of them are near.
    costs.memory = memory::fit(&samples);
    let fit_error_max = model::fit(&samples, &mut costs);
    costs.wake = wake::measure(cpus)?;
    let look_ns = cpus.last().map_or(Ok(0.0), |cpu| wake::look_ns(*cpu))?;
    let look_interval_ns = CoreConfig::new(None, "").io_interval_ns as f64;
    costs.socket = SocketCost { look_ns, look_interval_ns, ..socket::measure()? };
    let limits = Limits::default();
    costs.turn = turn_bound(&limits.turn);
    costs.turn.steps = f64::from(limits.steps_per_turn);
    costs.turn.delta_steps = delta_steps(&samples, costs.turn.steps);
    costs.origin = Origin {
        cpu: of_proc("/proc/cpuinfo", "model name"),
        cpus: cpus.len() as u32,
        kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
            .map(|text| text.trim().to_owned())
            .unwrap_or_default(),
        note: String::new(),
        cpu_share_min: samples.iter().map(|it| it.cpu_share).fold(1.0, f64::min),
        fit_error_max,
    };
    costs.check()?;
    Ok(costs)
}

fn turn_bound(turn: &TurnBounds) -> TurnBound {
    TurnBound {
        read_bytes: READ_BYTES as f64,
        reception_cost: f64::from(turn.reception_cost),
        held_turns: HELD_TURNS,
        messages: turn.messages_per_turn as u32,
        sends: turn.sends_per_turn as u32,
        sends_per_session: turn.sends_per_session as u32,
        parts_per_send: PARTS_PER_SEND,
        bytes: f64::from(turn.bytes_per_turn),
        images_per_send: turn.images_per_send as u32,
        bytes_per_send: f64::from(turn.bytes_per_send),
        steps: 0.0,
        delta_steps: 0.0,
    }
}

/// Steps of validation of a delta: what long batches take of turns that have room for `steps` each. The least of
/// them, because turns may be spent for something else, too; 0 if nothing long was measured.
fn delta_steps(samples: &[Sample], steps: f64) -> f64 {
    let is_long = |it: &&Sample| {
        let Cell { documents, batch, .. } = it.cell;
        batch >= LONG_DELTAS && it.turns > 0.0 && it.cell == Cell::new(1, documents, batch)
    };
    let of_delta = |it: &Sample| it.turns * steps / f64::from(it.cell.batch);
    let least = samples.iter().filter(is_long).map(of_delta).fold(f64::INFINITY, f64::min);
    if least.is_finite() { least } else { 0.0 }
}

/// Deltas of a batch from which on turns end for want of steps, and not because enough was read.
const LONG_DELTAS: u32 = 128;

/// Turns that the stages hold back a session that uses up its share, at most, and byte ranges that they
/// put into one send: their own constants.
const HELD_TURNS: u32 = 32;
const PARTS_PER_SEND: u32 = 64;

/// The value of a key in a file of `key: value` lines; empty if it is not there.
fn of_proc(path: &str, key: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.split_once(':'));
    line.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

/// The costs as a table.
pub fn describe(costs: &Costs) -> String {
    let mut text = format!(
        "{}, {} CPUs, kernel {}; threads ran {:.0} % of the time at least; fit within {:.0} %\n\n",
        costs.origin.cpu,
        costs.origin.cpus,
        costs.origin.kernel,
        costs.origin.cpu_share_min * 100.0,
        costs.origin.fit_error_max * 100.0
    );
    text += "ns            turn     send    visit    batch    first    delta     byte  crossing  and byte   cold at 10 k, 1 M\n";
    for stage in Stage::ALL {
        let it = costs.of(stage);
        let state_bytes = costs.memory.state_bytes();
        let cold = |documents: f64| {
            let least = Cell::new(1, 1, 1).inside();
            it.own.cold_ns(&least, |near_bytes| {
                let near = near_documents(near_bytes, state_bytes, 0.0, 0.0);
                cold_share(Law::Uniform, documents, near)
            })
        };
        text += &format!(
            "{:<11} {:>6.0} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>8.2} {:>8.3} {:>9.1} {:>9.3} {:>9.1} {:>7.1}\n",
            stage.name(),
            it.own.turn_ns,
            it.own.send_ns,
            it.own.visit_ns,
            it.own.batch_ns,
            it.own.first_ns,
            it.own.delta_ns,
            it.own.byte_ns,
            it.crossing.batch_ns,
            it.crossing.byte_ns,
            cold(1e4),
            cold(1e6),
        );
    }
    let (wake, socket, memory) = (&costs.wake, &costs.socket, &costs.memory);
    text += &format!(
        "\nbeside   another busy core all takes {:.2} times as long; there and back a message takes {:.0} ns\n\
         wake   parked {:.1} µs, awake {:.2} µs, ringing {:.1} µs\n\
         socket   send {:.0} ns + {:.3} a byte, read {:.0} ns + {:.3} a byte, look {:.1} µs\n\
         memory   document {:.0} bytes, written {:.0} more, subscription {:.0}, session {:.0}, handle {:.0}, image in a window {:.1}\n\
         chunks   {:.0} % full, {:.0} % where something crosses\n",
        costs.beside,
        costs.distance_ns,
        wake.parked_ns / 1e3,
        wake.spinning_ns / 1e3,
        wake.ring_ns / 1e3,
        socket.send_ns,
        socket.send_byte_ns,
        socket.read_ns,
        socket.read_byte_ns,
        socket.look_ns / 1e3,
        memory.document_bytes,
        memory.written_bytes,
        memory.subscription_bytes,
        memory.session_bytes,
        memory.handle_bytes,
        memory.image_bytes,
        memory.chunk_share * 100.0,
        memory.crossing_chunk_share * 100.0,
    );
    text
}
