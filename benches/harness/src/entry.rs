//! The table of what is run: each entry is one child process a round, and the cell that it fills.
//!
//! Which cells there are depends on the extent: `quick` has the ends of each axis, `standard` the whole
//! grid of one collection and law and the edges of the others, `full` every combination. What is the same
//! at each look, or takes minutes, is run in the first round only.

use std::collections::BTreeMap;

use serde_json::Value;

/// How much is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Extent {
    /// About 5 minutes: two half-second samples of a few cells.
    Quick,
    /// About 45 minutes: five one-second samples.
    Standard,
    /// Every combination, for as long as it takes.
    Full,
}

impl Extent {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Standard => "standard",
            Self::Full => "full",
        }
    }

    /// Samples of each series.
    pub fn samples(self) -> u32 {
        if self == Self::Quick { 2 } else { 5 }
    }

    /// Seconds of a sample.
    pub fn seconds(self) -> f64 {
        if self == Self::Quick { 0.5 } else { 1.0 }
    }
}

/// Whose process it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `throughput` of this workspace.
    Throughput,
    /// `benches/peers`, which stands outside of it.
    Peers,
}

/// How a child's lines become samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// One report of `throughput pipeline`.
    Pipeline,
    /// Forecasts and what came of them, a cell a line.
    Capacity,
    /// A sample a line.
    Samples,
}

/// One entry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is called; `--only` looks for a part of this.
    pub name: String,
    /// What is run.
    pub program: Program,
    /// How.
    pub arguments: Vec<String>,
    /// How its lines are read.
    pub reader: Reader,
    /// The cell, where the lines do not tell it.
    pub cell: BTreeMap<String, Value>,
    /// About how long it takes, until it has been seen.
    pub expected_s: f64,
    /// How long it may take.
    pub limit_s: u64,
    /// In the first round only, because it is the same each time.
    pub is_once: bool,
    /// The exit code that says that a figure misses a bound, which its line tells, too: no failure.
    pub miss_code: Option<i32>,
}

impl Entry {
    /// In how many of `rounds` it is run.
    pub fn rounds(&self, rounds: u32) -> u32 {
        if self.is_once { rounds.min(1) } else { rounds }
    }
}

/// Everything that belongs to `extent`, with samples of `seconds`.
pub fn entries(extent: Extent, seconds: f64) -> Vec<Entry> {
    let mut all = Vec::new();
    for cores in [1, 2] {
        for collection in COLLECTIONS {
            for law in LAWS {
                for documents in DOCUMENTS {
                    for batch in BATCHES {
                        let cell =
                            Cell { cores, collection, law, documents, batch, delta_bytes: 46 };
                        // Two cores need two documents.
                        if documents >= cores && cell.least_extent() <= extent {
                            all.push(cell.entry(seconds));
                        }
                    }
                }
            }
        }
    }
    // The size that the peers' figures are told for.
    all.extend([1, 32].map(|batch| {
        let (collection, law) = ("cbor", "uniform");
        let (cores, documents, delta_bytes) = (2, 10_000, 64);
        Cell { cores, collection, law, documents, batch, delta_bytes }.entry(seconds)
    }));
    all.push(Entry {
        name: "instructions".to_owned(),
        program: Program::Throughput,
        arguments: words("instructions --json"),
        reader: Reader::Samples,
        cell: BTreeMap::new(),
        expected_s: 40.0,
        limit_s: 600,
        is_once: true,
        miss_code: None,
    });
    all.push(capacity(extent));
    // What the kernel's ways cost is no question of this code, so the shortest extent leaves it out.
    let asked = PEERS.iter().filter(|(name, _)| extent != Extent::Quick || *name != "relays");
    all.extend(asked.map(|(name, expected_s)| peers(name, *expected_s, extent, seconds)));
    all
}

const COLLECTIONS: [&str; 3] = ["cbor", "opaque", "rows"];
const LAWS: [&str; 2] = ["uniform", "zipf"];
const DOCUMENTS: [u32; 4] = [1, 100, 10_000, 1_000_000];
const BATCHES: [u32; 4] = [1, 8, 32, 256];

/// Scenarios of `benches/peers`, and about how long a round of each takes.
const PEERS: [(&str, f64); 12] = [
    ("limits", 28.0),
    ("in-process", 30.0),
    ("between-processes", 15.0),
    ("fan-out", 155.0),
    ("fan-in", 20.0),
    ("mesh", 20.0),
    ("relays", 17.0),
    ("latency", 70.0),
    ("memory", 60.0),
    ("idle", 340.0),
    ("start-up", 10.0),
    ("parked", 20.0),
];

/// One cell of the pipeline's grid.
#[derive(Clone, Copy, Debug)]
struct Cell {
    cores: u32,
    collection: &'static str,
    law: &'static str,
    documents: u32,
    batch: u32,
    delta_bytes: u32,
}

impl Cell {
    fn least_extent(self) -> Extent {
        let is_usual = self.collection == "cbor" && self.law == "uniform";
        let is_edge =
            [10_000, 1_000_000].contains(&self.documents) && [1, 32].contains(&self.batch);
        let one_differs = (self.collection == "cbor") != (self.law == "uniform");
        // Opening a million documents takes longer than the sample: only the law is looked at with them.
        let is_dear = self.documents >= 1_000_000 && self.collection != "cbor";
        match () {
            () if is_usual && is_edge => Extent::Quick,
            () if is_usual => Extent::Standard,
            () if one_differs && is_edge && !is_dear => Extent::Standard,
            () => Extent::Full,
        }
    }

    fn entry(self, seconds: f64) -> Entry {
        let Self { cores, collection, law, documents, batch, delta_bytes } = self;
        let budget_mib = if documents >= 1_000_000 { 2048 } else { 512 };
        let command = format!(
            "pipeline --json --cores {cores} --collection {collection} --law {law} --documents \
             {documents} --batch {batch} --delta-bytes {delta_bytes} --budget-mib {budget_mib} --seconds {seconds}"
        );
        let cell = [
            ("cores", Value::from(cores)),
            ("collection", Value::from(collection)),
            ("law", Value::from(law)),
            ("documents", Value::from(documents)),
            ("batch", Value::from(batch)),
            ("delta_bytes", Value::from(delta_bytes)),
        ];
        let size = if delta_bytes == 46 { String::new() } else { format!("/{delta_bytes}-bytes") };
        Entry {
            name: format!("pipeline/{cores}-core/{collection}/{law}/{documents}x{batch}{size}"),
            program: Program::Throughput,
            arguments: words(&command),
            reader: Reader::Pipeline,
            cell: cell.map(|(name, value)| (name.to_owned(), value)).into(),
            expected_s: seconds + if documents >= 1_000_000 { 4.0 } else { 0.5 },
            limit_s: 90 + seconds as u64,
            is_once: false,
            miss_code: None,
        }
    }
}

/// The stages' costs, and what they foretell of the grid: fitted and checked in one process, so that both
/// have seen the same machine.
fn capacity(extent: Extent) -> Entry {
    let (command, expected_s) = match extent {
        Extent::Quick => (
            "calibrate --check --json --samples 2 --seconds 0.2 --documents-max 100000 --documents 10000",
            40.0,
        ),
        _ => ("calibrate --check --json --samples 2 --seconds 0.2", 200.0),
    };
    Entry {
        name: "capacity".to_owned(),
        program: Program::Throughput,
        arguments: words(command),
        reader: Reader::Capacity,
        cell: BTreeMap::new(),
        expected_s,
        limit_s: 900,
        is_once: true,
        miss_code: Some(1),
    }
}

fn peers(name: &str, expected_s: f64, extent: Extent, seconds: f64) -> Entry {
    let quick = if extent == Extent::Quick { " --quick" } else { "" };
    let expected_s = if extent == Extent::Quick { expected_s / 4.0 } else { expected_s };
    let samples = if name == "memory" && extent != Extent::Quick { 3 } else { 1 };
    Entry {
        name: format!("peers/{name}"),
        program: Program::Peers,
        arguments: words(&format!("{name} --json --samples {samples} --seconds {seconds}{quick}")),
        reader: Reader::Samples,
        cell: BTreeMap::new(),
        expected_s,
        limit_s: 1200,
        // Each system is looked at for half a minute; memory is the same each time, but for the first.
        is_once: ["idle", "memory"].contains(&name),
        miss_code: None,
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_extent_holds_the_smaller_one_and_names_are_told_apart() {
        let names = |extent| -> Vec<String> {
            entries(extent, 1.0).into_iter().map(|entry| entry.name).collect()
        };
        let (quick, standard) = (names(Extent::Quick), names(Extent::Standard));
        let full = names(Extent::Full);
        assert!(quick.iter().all(|name| standard.contains(name)));
        assert!(standard.iter().all(|name| full.contains(name)));
        assert_eq!(full.len(), 2 * 3 * 2 * 4 * 4 - 24 + 4 + PEERS.len(), "every combination");
        let told_apart: std::collections::BTreeSet<&String> = full.iter().collect();
        assert_eq!(told_apart.len(), full.len());
        assert!(standard.contains(&"pipeline/2-core/cbor/uniform/10000x32".to_owned()));
        assert!(standard.contains(&"pipeline/1-core/rows/uniform/10000x1".to_owned()));
    }

    #[test]
    fn the_extents_take_about_as_long_as_they_say() {
        let minutes = |extent: Extent| {
            let seconds = extent.seconds();
            let of = |entry: &Entry| entry.expected_s * f64::from(entry.rounds(extent.samples()));
            entries(extent, seconds).iter().map(of).sum::<f64>() / 60.0
        };
        assert!((3.0..7.0).contains(&minutes(Extent::Quick)), "{}", minutes(Extent::Quick));
        let standard = minutes(Extent::Standard);
        assert!((30.0..55.0).contains(&standard), "{standard}");
    }
}
