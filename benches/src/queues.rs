//! `throughput queues`: how long a worker's queue has to be.
//!
//! Question: what does a longer queue buy a publisher that never waits, and what does it cost? One
//! session writes to some documents as fast as it is let, on a core of its own; one worker validates
//! them on another. Where the deltas have many lengths each is read by itself, so the worker is slower than
//! the publisher, and the queue between them is what is measured; where all have one length it is
//! faster, and the queue shows how often it looks. It is told how long the
//! publisher finds no room, how long a batch takes to be answered, how busy the worker is, and what
//! memory lies in the queue. Credit bounds nothing here, and nobody reads. Every batch must be answered,
//! in order, and every delta accepted.
//! Not measured: many publishers on many cores, sockets.

pub mod plot;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use deltaworks_runtime::pinned::PinnedThread;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::isolation::answers::Answers;
use crate::isolation::client::{Plan, Role, Side};
use crate::isolation::delta::Template;
use crate::isolation::inside::{Inside, Queue, Shape};
use crate::isolation::scenario::SESSIONS;
use crate::isolation::worker::Worked;
use crate::isolation::world::{World, play, until};
use crate::payload::Lengths;
use crate::sizing::CHUNK_BYTES;
use crate::spread::Quantiles;

/// Messages that a worker's queue holds.
pub const CAPACITIES: [u32; 7] = [100, 500, 1000, 2000, 5000, 10_000, 100_000];
/// Rows of a message: deltas of [`ROW_BYTES`] on average.
pub const ROWS: [u32; 3] = [100, 1000, 10_000];
/// Documents that the publisher writes to.
pub const DOCUMENTS: [u32; 4] = [1, 2, 5, 10];
/// Bytes of a row, on average.
pub const ROW_BYTES: usize = 46;

/// Bytes of a message in a queue, without its image.
const MESSAGE_BYTES: u64 = 40;

/// What is run.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct QueuesOptions {
    /// Only these capacities, in messages; may be given again.
    #[arg(long, value_name = "MESSAGES", value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub capacity: Vec<u32>,
    /// Only these messages, in rows; may be given again.
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rows: Vec<u32>,
    /// Only so many documents; may be given again.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub documents: Vec<u32>,
    /// Lengths of the rows.
    #[arg(long, value_enum, default_value_t)]
    pub lengths: Lengths,
    /// How long each cell is measured.
    #[arg(long, default_value_t = 0.5, value_parser = seconds)]
    pub seconds: f64,
    /// Memory for everything that clients can make grow.
    #[arg(long, value_name = "MIB", default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(32..=65_536))]
    pub budget_mib: u32,
    /// Draws the grid here.
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// A line of JSON for each cell, in place of a table.
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  throughput queues
  throughput queues --json --plot queues.svg > queues.jsonl
  throughput queues --lengths equal
  throughput queues --capacity 1000 --capacity 100000 --rows 100 --documents 1 --seconds 3

Exit codes:
  0  every cell was verified: each batch was answered in order, each delta accepted
  1  one was not
  2  it could not be run";

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    let range = 0.01..=600.0;
    if range.contains(&seconds) { Ok(seconds) } else { Err("0.01 to 600".to_owned()) }
}

/// What bounds a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BoundedBy {
    /// Its messages.
    Capacity,
    /// The chunks of the budget, which are used up before.
    Budget,
}

/// What came out of one cell.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// Messages that the worker's queue holds.
    pub capacity: u32,
    /// Rows of each message.
    pub rows: u32,
    /// Lengths of the rows.
    pub lengths: Lengths,
    /// Bytes of each image.
    pub image_bytes: usize,
    /// Documents.
    pub documents: u32,
    /// What bounds the queue.
    pub bounded_by: BoundedBy,
    /// How long it was measured.
    pub seconds: f64,
    /// Rows a second that were accepted and answered.
    pub rows_per_second: f64,
    /// The part of the time in which the publisher found no room for what it had.
    pub blocked_share: f64,
    /// The part of the time in which each worker did something.
    pub worker_utilisation: Vec<f64>,
    /// From a batch's writing to its answer.
    pub answer: Quantiles,
    /// The most batches that were on their way: in the queue, before and behind it.
    pub depth_max: u64,
    /// Bytes of these, with their images.
    pub queue_bytes_max: u64,
    /// What chunks there are, in bytes: the images of all queues and windows are in them.
    pub chunk_bytes: u64,
    /// The most that was live.
    pub live_bytes_max: u64,
    /// Each batch was answered in order, each delta accepted.
    pub verified: bool,
    /// What was wrong.
    pub differences: Vec<String>,
}

/// The head of the table.
pub const TABLE_HEAD: &str = "\
capacity   rows  documents   M rows/s  blocked  worker   answer p50   answer p99   depth    queue MiB  bounded by";

impl Cell {
    /// A line of the table, and what was wrong.
    pub fn row(&self) -> String {
        let mut text = format!(
            "{:>8} {:>6} {:>10} {:>10.2} {:>7.1}% {:>6.1}% {:>9.2} ms {:>9.2} ms {:>7} {:>12.2}  {}{}\n",
            self.capacity,
            self.rows,
            self.documents,
            self.rows_per_second / 1e6,
            self.blocked_share * 100.0,
            self.worker_utilisation.first().copied().unwrap_or_default() * 100.0,
            self.answer.p50_us / 1e3,
            self.answer.p99_us / 1e3,
            self.depth_max,
            self.queue_bytes_max as f64 / f64::from(1 << 20),
            if self.bounded_by == BoundedBy::Budget { "budget" } else { "capacity" },
            if self.verified { "" } else { "  NOT VERIFIED" },
        );
        for difference in &self.differences {
            text += &format!("  {difference}\n");
        }
        text
    }
}

/// Runs the cells one after the other, and gives each to `tell` when it is there; whether all were
/// verified.
///
/// # Errors
/// If the machine has not two CPUs, or a cell cannot be run, or the picture not be written.
pub fn run(options: &QueuesOptions, tell: impl Fn(&Cell) + Send + 'static) -> Result<bool, String> {
    let cpus = core_affinity::get_core_ids().unwrap_or_default();
    let [owning, publishing, ..] = cpus[..] else {
        return Err("two CPUs are needed, one for the worker and one for the publisher".to_owned());
    };
    let options = options.clone();
    let work = move || run_all(&options, owning.id, tell);
    let thread = PinnedThread::spawn(publishing.id, "publisher", work);
    let thread = thread.map_err(|error| error.to_string())?;
    thread.join().map_err(|_| "the publisher panicked".to_owned())?
}

fn run_all(options: &QueuesOptions, cpu: usize, tell: impl Fn(&Cell)) -> Result<bool, String> {
    let or = |asked: &[u32], all: &[u32]| if asked.is_empty() { all } else { asked }.to_vec();
    let (capacities, rows, documents) = (
        or(&options.capacity, &CAPACITIES),
        or(&options.rows, &ROWS),
        or(&options.documents, &DOCUMENTS),
    );
    let mut cells = Vec::new();
    let bar = bar(capacities.len() * rows.len() * documents.len());
    for rows in &rows {
        let template = Rc::new(match options.lengths {
            Lengths::Equal => Template::new(ROW_BYTES, *rows)?,
            Lengths::Mixed => Template::mixed(ROW_BYTES, *rows)?,
        });
        for documents in &documents {
            for capacity in &capacities {
                let cell = measure(options, cpu, *capacity, *documents, &template)?;
                bar.suspend(|| tell(&cell));
                bar.inc(1);
                cells.push(cell);
            }
        }
    }
    bar.finish_and_clear();
    if let Some(path) = &options.plot {
        let written = std::fs::write(path, plot::draw(&cells));
        written.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(cells.iter().all(|cell| cell.verified))
}

/// On standard error; nothing where that is no terminal.
fn bar(cells: usize) -> ProgressBar {
    let bar =
        ProgressBar::with_draw_target(Some(cells as u64), ProgressDrawTarget::stderr_with_hz(2));
    let style = ProgressStyle::with_template("cell {pos} of {len} {wide_bar} {eta:>5}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn measure(
    options: &QueuesOptions,
    cpu: usize,
    capacity: u32,
    documents: u32,
    template: &Rc<Template>,
) -> Result<Cell, String> {
    let (rows, image_bytes) = (template.deltas(), template.image_bytes());
    let queue = Queue { messages: capacity, deltas_per_batch_max: rows.max(4096) };
    let others = [cpu];
    let budget_mib = options.budget_mib;
    let shape = Shape {
        others: &others,
        owns_documents: false,
        budget_mib,
        sessions: SESSIONS,
        queue: Some(queue),
    };
    let mut world = Inside::join(shape, None)?;
    let numbers: Vec<usize> = (0..documents)
        .map(|number| world.fleet().document(format!("queue-{number}"), template.clone()))
        .collect();
    world.fleet().answers = Some(Answers::default());
    let plan = Plan { side: Side::Others, role: Role::Greedy, documents: numbers.clone() };
    let publisher = world.connect(plan)?;
    until(&mut world, "open documents", |world| world.fleet().is_open(publisher))?;
    let length = Duration::from_secs_f64(options.seconds);
    play(&mut world, length / 4, |_| Ok(()))?;

    begin(&mut world);
    let (began, blocked_ns) = (Instant::now(), world.blocked_ns);
    let mut live_bytes_max = 0;
    play(&mut world, length, |world| {
        let live = world.live().unwrap_or_default();
        live_bytes_max = live_bytes_max.max(live.all_bytes());
        Ok(())
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let blocked_share = (world.blocked_ns - blocked_ns) as f64 / (seconds * 1e9);
    let (batches, depth_max, answer) = told(&mut world);

    world.fleet().pause();
    let settled = until(&mut world, "every answer", |world| world.fleet().is_settled(publisher));
    let mut differences: Vec<String> = settled.err().into_iter().collect();
    let published: u64 =
        numbers.iter().map(|number| world.fleet().documents[*number].published).sum();
    differences.extend_from_slice(world.fleet().faults());
    let chunks = world.stages().chunk_counts().0 as u64;
    world.stop()?;
    let worked = world.worked.clone();
    differences.extend(Box::new(world).finish().err());
    let accepted: u64 = worked.iter().map(|it| it.accepted_deltas).sum();
    if accepted != published {
        differences.push(format!("{published} deltas were published, {accepted} accepted"));
    }
    let chunk_bytes = chunks * CHUNK_BYTES as u64;
    let of_image = image_bytes as u64 + MESSAGE_BYTES;
    let is_beyond = u64::from(capacity) * image_bytes as u64 > chunk_bytes;
    let busy = |it: &Worked| (it.busy_ns as f64 / it.wall_ns.max(1) as f64).min(1.0);
    Ok(Cell {
        capacity,
        rows,
        lengths: options.lengths,
        image_bytes,
        documents,
        bounded_by: if is_beyond { BoundedBy::Budget } else { BoundedBy::Capacity },
        seconds,
        rows_per_second: (batches * u64::from(rows)) as f64 / seconds,
        blocked_share: blocked_share.min(1.0),
        worker_utilisation: worked.iter().map(busy).collect(),
        answer,
        depth_max,
        queue_bytes_max: depth_max * of_image,
        chunk_bytes,
        live_bytes_max,
        verified: differences.is_empty() && accepted > 0,
        differences,
    })
}

fn begin(world: &mut Inside) {
    if let Some(answers) = &mut world.fleet().answers {
        answers.begin();
    }
}

fn told(world: &mut Inside) -> (u64, u64, Quantiles) {
    let answers = world.fleet().answers.as_ref();
    answers.map_or((0, 0, Quantiles::default()), |it| (it.batches, it.depth_max, it.quantiles()))
}
