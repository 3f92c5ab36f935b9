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
    /// About 50 minutes: five one-second samples.
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

    /// Whether it fills the same cell as `other`, on another number of cores.
    fn is_partner_of(&self, other: &Self) -> bool {
        let rest = |entry: &Self| {
            let mut cell = entry.cell.clone();
            cell.remove("cores").map(|cores| (cores.to_string(), cell))
        };
        let (one, other) = (rest(self), rest(other));
        one.zip(other).is_some_and(|(one, other)| one.0 != other.0 && one.1 == other.1)
    }
}

/// Everything that belongs to `extent`, with samples of `seconds`.
pub fn entries(extent: Extent, seconds: f64) -> Vec<Entry> {
    let mut all = Vec::new();
    for collection in COLLECTIONS {
        for law in LAWS {
            for documents in DOCUMENTS {
                for batch in BATCHES {
                    // Side by side: what two cores do against one is told round by round.
                    for cores in [1, 2] {
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

/// Where in `entries` a round of `rounds` begins: each elsewhere, and none between two of the same cell.
pub fn begin(entries: &[Entry], round: u32, rounds: u32) -> usize {
    let place = entries.len() * round as usize / rounds.max(1) as usize;
    match entries.get(place.saturating_sub(1)..=place) {
        Some([before, first]) if first.is_partner_of(before) => place - 1,
        _ => place,
    }
}

const COLLECTIONS: [&str; 3] = ["cbor", "opaque", "rows"];
const LAWS: [&str; 2] = ["uniform", "zipf"];
const DOCUMENTS: [u32; 4] = [1, 100, 10_000, 1_000_000];
const BATCHES: [u32; 4] = [1, 8, 32, 256];

/// Scenarios of `benches/peers`, and about how long a round of each takes.
const PEERS: [(&str, f64); 12] = [
    ("limits", 30.0),
    ("in-process", 13.0),
    ("between-processes", 5.0),
    ("fan-out", 172.0),
    ("fan-in", 22.0),
    ("mesh", 24.0),
    ("relays", 17.0),
    ("latency", 95.0),
    ("memory", 51.0),
    ("idle", 207.0),
    ("start-up", 2.0),
    ("parked", 9.0),
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
        _ => ("calibrate --check --json --samples 3 --seconds 0.25", 450.0),
    };
    Entry {
        name: "capacity".to_owned(),
        program: Program::Throughput,
        arguments: words(command),
        reader: Reader::Capacity,
        cell: BTreeMap::new(),
        expected_s,
        limit_s: 1500,
        is_once: true,
        miss_code: Some(1),
    }
}

fn peers(name: &str, expected_s: f64, extent: Extent, seconds: f64) -> Entry {
    let quick = if extent == Extent::Quick { " --quick" } else { "" };
    let expected_s = if extent == Extent::Quick { expected_s / 4.0 } else { expected_s };
    let samples = if name == "memory" && extent != Extent::Quick { 3 } else { 1 };
    // One ping of every session; the whole extent sees two.
    let idle = if name == "idle" && extent == Extent::Standard { " --idle-seconds 30" } else { "" };
    Entry {
        name: format!("peers/{name}"),
        program: Program::Peers,
        arguments: words(&format!(
            "{name} --json --samples {samples} --seconds {seconds}{quick}{idle}"
        )),
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
    fn one_core_and_two_of_a_cell_are_run_one_behind_the_other() {
        for extent in [Extent::Quick, Extent::Standard, Extent::Full] {
            let all = entries(extent, 1.0);
            let has_partner = |entry: &&Entry| all.iter().any(|it| it.is_partner_of(entry));
            let pairs = all.iter().filter(has_partner).count() / 2;
            let beside = all.windows(2).filter(|it| it[1].is_partner_of(&it[0])).count();
            assert!(pairs >= 4 && beside == pairs, "{extent:?}: {beside} of {pairs}");
            for rounds in 1..9 {
                for round in 0..rounds {
                    let (behind, before) = all.split_at(begin(&all, round, rounds));
                    let is_split = behind.last().zip(before.first());
                    let is_split = is_split.is_some_and(|(one, two)| two.is_partner_of(one));
                    assert!(!is_split, "{extent:?}: round {round} of {rounds}");
                }
            }
        }
        // A place between two of a cell there is.
        let all = entries(Extent::Quick, 1.0);
        assert!(all[1].is_partner_of(&all[0]) && begin(&all[..2], 1, 2) == 0);
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
