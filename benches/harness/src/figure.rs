//! The table of figures: which series each shows, how, its question, and what it does not measure.

use crate::results::{Results, Series};

/// How a figure is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Along a cell's value, a line for each of another.
    Lines {
        /// The value along which.
        x: &'static str,
        /// What each line is: `system`, or a value of the cell.
        line: &'static str,
    },
    /// A row for each system, or each value of the cell.
    Strips {
        /// What each row is.
        row: &'static str,
    },
    /// Nanoseconds by stage, one bar a row.
    Stages {
        /// What each row is.
        row: &'static str,
    },
}

/// One figure.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// What it is called in links.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// What it answers.
    pub question: &'static str,
    /// What it says nothing about.
    pub not_measured: &'static str,
    /// The scenario whose series it shows.
    pub scenario: &'static str,
    /// The metric of the series, or one of the further figures of its samples.
    pub metric: &'static str,
    /// The unit, where the metric is a further figure.
    pub unit: &'static str,
    /// Cells must have these values.
    pub fixed: &'static [(&'static str, &'static [&'static str])],
    /// A panel for each of this value of the cell.
    pub panel: &'static str,
    /// How it is drawn.
    pub shape: Shape,
    /// Whether its axis of values is logarithmic.
    pub is_logarithmic: bool,
}

const PIPELINE_NOT: &str = "sockets, the kernel, control messages, several processes. The load's own cost is in it: writing \
    fresh images and hashing what is read share the core.";
const SOCKETS_NOT: &str = "a network with distance or loss; TLS; more than one core of a server. Daemon and load share the \
    machine's memory and its last cache.";
const UNIFORM_CBOR: &[(&str, &[&str])] =
    &[("law", &["uniform"]), ("collection", &["cbor"]), ("delta_bytes", &["46"])];

/// All figures, in the order of the page.
pub const FIGURES: [Figure; 24] = [
    Figure {
        id: "pipeline",
        title: "The data path, by batch and documents",
        question: "How many 46-byte CBOR deltas a second are received, checked, numbered, appended, delivered and read?",
        not_measured: PIPELINE_NOT,
        scenario: "pipeline",
        metric: "deltas",
        unit: "1/s",
        fixed: UNIFORM_CBOR,
        panel: "cores",
        shape: Shape::Lines { x: "batch", line: "documents" },
        is_logarithmic: true,
    },
    Figure {
        id: "stages",
        title: "Where the time goes",
        question: "Which stage of the data path takes how many nanoseconds of a core per delta?",
        not_measured: "waiting for memory apart from working: what a stage waits for is in its time. Generator and subscriber are \
            the load, not the product.",
        scenario: "pipeline",
        metric: "stages",
        unit: "ns",
        fixed: &[
            ("law", &["uniform"]),
            ("collection", &["cbor"]),
            ("delta_bytes", &["46"]),
            ("batch", &["1", "32"]),
            ("documents", &["10000", "1000000"]),
        ],
        panel: "cores",
        shape: Shape::Stages { row: "documents × batch" },
        is_logarithmic: false,
    },
    Figure {
        id: "instructions",
        title: "Instructions per delta",
        question: "How many instructions does the data path execute per delta, and how many did it when they were last recorded?",
        not_measured: "time: a miss costs as much as a hit here. The load's own instructions are left out.",
        scenario: "instructions",
        metric: "instructions",
        unit: "",
        fixed: &[],
        panel: "collection × documents × batch",
        shape: Shape::Strips { row: "system" },
        is_logarithmic: true,
    },
    Figure {
        id: "forms",
        title: "What checking costs",
        question: "How fast is the data path when a collection checks nothing, CBOR maps, or records?",
        not_measured: PIPELINE_NOT,
        scenario: "pipeline",
        metric: "deltas",
        unit: "1/s",
        fixed: &[
            ("law", &["uniform"]),
            ("documents", &["10000"]),
            ("batch", &["1", "32"]),
            ("delta_bytes", &["46"]),
        ],
        panel: "cores × batch",
        shape: Shape::Strips { row: "collection" },
        is_logarithmic: true,
    },
    Figure {
        id: "laws",
        title: "Hot and cold documents",
        question: "What changes when few documents get most of the deltas (Zipf), as against all the same?",
        not_measured: "documents that move to cores of their own: nobody moves in this run.",
        scenario: "pipeline",
        metric: "deltas",
        unit: "1/s",
        fixed: &[
            ("collection", &["cbor"]),
            ("batch", &["1", "32"]),
            ("delta_bytes", &["46"]),
            ("documents", &["10000", "1000000"]),
        ],
        panel: "cores × batch",
        shape: Shape::Strips { row: "documents × law" },
        is_logarithmic: true,
    },
    Figure {
        id: "two-cores",
        title: "Two cores against one",
        question: "What does a second core bring, if half of the batches are for documents of the other one?",
        not_measured: "more cores than this machine has; documents that move.",
        scenario: "pipeline",
        metric: "deltas",
        unit: "1/s",
        fixed: &[
            ("law", &["uniform"]),
            ("collection", &["cbor"]),
            ("delta_bytes", &["46"]),
            ("documents", &["10000", "1000000"]),
            ("batch", &["1", "32"]),
        ],
        panel: "documents × batch",
        shape: Shape::Strips { row: "cores" },
        is_logarithmic: true,
    },
    Figure {
        id: "capacity",
        title: "Foretold and measured: rates",
        question: "Does the simulation that plans larger machines foretell this one, from what its stages cost in the same run?",
        not_measured: "machines that are not here. Foretold are other cells than those that the costs were fitted to; rates are of \
            milliseconds in which nobody disturbed the threads; the fastest of the samples counts.",
        scenario: "capacity",
        metric: "deltas",
        unit: "1/s",
        fixed: &[],
        panel: "cores × documents",
        shape: Shape::Lines { x: "batch", line: "system" },
        is_logarithmic: true,
    },
    Figure {
        id: "capacity-memory",
        title: "Foretold and measured: memory",
        question: "And how many bytes are live, as against what is foretold?",
        not_measured: "the program itself, and what the allocator keeps.",
        scenario: "capacity",
        metric: "live",
        unit: "bytes",
        fixed: &[],
        panel: "cores × documents",
        shape: Shape::Lines { x: "batch", line: "system" },
        is_logarithmic: true,
    },
    Figure {
        id: "in-process",
        title: "Between two threads",
        question: "How many messages a second go from one core to another inside of a process? “deltaworks-checked” is the whole data \
            path on two cores: checked, numbered, appended, delivered, and half of it crosses.",
        not_measured: "what a message means: rings and channels move bytes and check nothing. Ours rings its doorbell behind each batch.",
        scenario: "in-process",
        metric: "messages",
        unit: "1/s",
        fixed: &[],
        panel: "payload_bytes",
        shape: Shape::Strips { row: "system × batch" },
        is_logarithmic: true,
    },
    Figure {
        id: "between-processes",
        title: "Between two processes",
        question: "How many messages a second go from one process to another by shared memory?",
        not_measured: "sockets; what a message means.",
        scenario: "between-processes",
        metric: "messages",
        unit: "1/s",
        fixed: &[],
        panel: "payload_bytes × batch",
        shape: Shape::Strips { row: "system" },
        is_logarithmic: true,
    },
    Figure {
        id: "fan-out-cpu",
        title: "Fan-out: the server's CPU time per delivery",
        question: "What does a delivery over loopback TCP cost the server when publishers send 32 deltas together (“-single”: 32 batches of one)?",
        not_measured: SOCKETS_NOT,
        scenario: "fan-out",
        metric: "cpu_ns_per_delivery",
        unit: "ns",
        fixed: &[],
        panel: "payload_bytes",
        shape: Shape::Lines { x: "subscribers", line: "system" },
        is_logarithmic: true,
    },
    Figure {
        id: "fan-out",
        title: "Fan-out: deliveries",
        question: "How many deliveries a second come through, with the server on one core and the load on another?",
        not_measured: SOCKETS_NOT,
        scenario: "fan-out",
        metric: "deliveries",
        unit: "1/s",
        fixed: &[],
        panel: "payload_bytes",
        shape: Shape::Lines { x: "subscribers", line: "system" },
        is_logarithmic: true,
    },
    Figure {
        id: "fan-in",
        title: "Fan-in",
        question: "How many deliveries a second come through when many publish and one reads?",
        not_measured: SOCKETS_NOT,
        scenario: "fan-in",
        metric: "deliveries",
        unit: "1/s",
        fixed: &[],
        panel: "publishers × subscribers × payload_bytes",
        shape: Shape::Strips { row: "system" },
        is_logarithmic: true,
    },
    Figure {
        id: "mesh",
        title: "Everybody to everybody",
        question: "How many deliveries a second come through when all publish and all read?",
        not_measured: SOCKETS_NOT,
        scenario: "mesh",
        metric: "deliveries",
        unit: "1/s",
        fixed: &[],
        panel: "publishers × subscribers × payload_bytes",
        shape: Shape::Strips { row: "system" },
        is_logarithmic: true,
    },
    Figure {
        id: "relays",
        title: "io_uring for what is received and sent",
        question: "What does a delivery cost a relay that does nothing but move bytes, by readiness and a call for each read and write, with larger \
            reads (“-wide”), and by completions with provided buffers and one submission for all of a wake (“-uring”)? By turns in one run; what \
            each took as against the first relay stands under all other figures.",
        not_measured: "a network\u{2019}s card, whose queues the kernel could poll and whose memory it could send from: loopback has neither.",
        scenario: "relays",
        metric: "cpu-per-delivery",
        unit: "ns",
        fixed: &[],
        panel: "subscribers × payload_bytes × batch",
        shape: Shape::Strips { row: "system" },
        is_logarithmic: true,
    },
    Figure {
        id: "latency",
        title: "Latency",
        question: "How late is the slowest hundredth of deliveries of 64 bytes to 8 subscribers, counted from when each was due? At half of what \
            the slowest server can, the same for all; and at a tenth, half and nine tenths of what each one can.",
        not_measured: "a network. The load is open: who falls behind is not waited for, so waiting counts. Each one's own capacity is \
            measured with 32 messages a write; single messages cost more, so at nine tenths of it some fall behind.",
        scenario: "latency",
        metric: "p99",
        unit: "us",
        fixed: &[],
        panel: "load",
        shape: Shape::Strips { row: "system" },
        is_logarithmic: true,
    },
    Figure {
        id: "idle",
        title: "Idle sessions",
        question: "What part of a core do connections take that do nothing?",
        not_measured: "the first two seconds after they connect; the memory that the kernel takes for a socket.",
        scenario: "idle",
        metric: "cpu-share",
        unit: "share",
        fixed: &[],
        panel: "sessions",
        shape: Shape::Strips { row: "system" },
        is_logarithmic: true,
    },
    Figure {
        id: "idle-memory",
        title: "Memory of an idle session",
        question: "How many bytes does a server hold for a connection that does nothing?",
        not_measured: "what the kernel takes for the socket.",
        scenario: "idle",
        metric: "rss_bytes_per_session",
        unit: "bytes",
        fixed: &[],
        panel: "sessions",
        shape: Shape::Strips { row: "system" },
        is_logarithmic: true,
    },
    Figure {
        id: "start-up",
        title: "Start-up",
        question: "How long from the start of a server to its first delivery?",
        not_measured: "reading the program from a cold disk.",
        scenario: "start-up",
        metric: "first-delivery",
        unit: "ms",
        fixed: &[],
        panel: "",
        shape: Shape::Strips { row: "system" },
        is_logarithmic: true,
    },
    Figure {
        id: "parked",
        title: "The first delta after silence",
        question: "How late is the slowest hundredth when everybody slept, and what of it is the kernel's?",
        not_measured: "deep sleep of the CPU: a guest does not choose it.",
        scenario: "parked",
        metric: "p99",
        unit: "us",
        fixed: &[],
        panel: "gap_ms",
        shape: Shape::Strips { row: "system" },
        is_logarithmic: true,
    },
    Figure {
        id: "memory",
        title: "Memory",
        question: "How many bytes does a server's process grow by with each document that is opened, each first delta of one, and each subscription?",
        not_measured: "the kernel's part. Sessions have a thousand names each, a thousandth of one is in the figure. A first delta makes \
            the document's stream, and lies in a chunk. The others keep nothing for a name that nobody subscribes to.",
        scenario: "memory",
        metric: "bytes-each",
        unit: "bytes",
        fixed: &[],
        panel: "what",
        shape: Shape::Strips { row: "system × count" },
        is_logarithmic: true,
    },
    Figure {
        id: "recovery",
        title: "Recovery after overload",
        question: "A server is offered twice what it can, then half of it. How many times as long as its queue needs at the least is it until \
            nothing waits?",
        not_measured: "subscribers that drop: here nothing is lost, what waits does so with its publisher. Below one, a server was faster \
            than when its capacity was measured.",
        scenario: "recovery",
        metric: "times_the_least",
        unit: "×",
        fixed: &[],
        panel: "",
        shape: Shape::Strips { row: "system" },
        is_logarithmic: false,
    },
    Figure {
        id: "limits",
        title: "What the machine moves",
        question: "How many bytes a second does a core, or do both, move through memory, and one connection from one core to the other?",
        not_measured: "anything that deltaworks does: these are the bounds that stand in the other pictures.",
        scenario: "limits",
        metric: "bandwidth",
        unit: "bytes/s",
        fixed: &[],
        panel: "",
        shape: Shape::Strips { row: "system × cores × payload_bytes × write_bytes" },
        is_logarithmic: true,
    },
    Figure {
        id: "disk",
        title: "What the disk syncs",
        question: "How many writes a second, one after the other, are on the disk for sure?",
        not_measured: "deltaworks: it writes nothing yet. This is what a log will have to live with.",
        scenario: "limits",
        metric: "syncs",
        unit: "1/s",
        fixed: &[],
        panel: "",
        shape: Shape::Strips { row: "system × write_bytes" },
        is_logarithmic: false,
    },
];

/// A series, and its place among those of the results.
pub type Placed<'a> = (usize, &'a Series);

impl Figure {
    /// The series that it shows.
    pub fn series<'a>(&self, results: &'a Results) -> Vec<Placed<'a>> {
        results.series.iter().enumerate().filter(|(_, series)| self.shows(series)).collect()
    }

    fn shows(&self, series: &Series) -> bool {
        let fits = |(name, values): &(&str, &[&str])| {
            series.of_cell(name).is_none_or(|value| values.contains(&value.as_str()))
        };
        let has_figure = self.metric == series.metric
            || self.metric == "stages"
            || series.samples.iter().any(|it| it.more.contains_key(self.metric));
        let is_of = [self.scenario, self.id].contains(&series.scenario.as_str());
        // What bounds belongs to panels that it names; stages are told of what ran.
        let has = |key: &str| key.is_empty() || series.cell.contains_key(key);
        let is_drawn = !series.is_bound
            || (!matches!(self.shape, Shape::Stages { .. }) && self.panel.split(" × ").all(has));
        is_of
            && is_drawn
            && series.absent.is_none()
            && has_figure
            && !series.values().is_empty()
            && self.fixed.iter().all(fits)
    }

    /// The value of one of the series' samples.
    pub fn value(&self, series: &Series, sample: usize) -> Option<f64> {
        let sample = series.samples.get(sample).filter(|it| it.verified)?;
        if self.metric == series.metric {
            return Some(sample.value);
        }
        sample.more.get(self.metric).copied()
    }

    /// The values of all samples that are verified.
    pub fn values(&self, series: &Series) -> Vec<f64> {
        (0..series.samples.len()).filter_map(|place| self.value(series, place)).collect()
    }
}

/// What names a series by `key`: its system, or values of its cell, several joined by `×`. What bounds all
/// values of the cell alike is named by its system.
pub fn name_by(series: &Series, key: &str) -> String {
    if series.is_bound
        && key.split(" × ").all(|key| key != "system" && !series.cell.contains_key(key))
    {
        return series.system.clone();
    }
    let of = |key: &str| match key {
        "" => String::new(),
        // Their versions say what has changed, and since when.
        "system" if series.scenario == "instructions" => {
            format!("{} {}", series.system, series.version)
        }
        "system" => series.system.clone(),
        _ => match (series.number_of_cell(key), series.of_cell(key)) {
            (Some(number), _) => told(key, &crate::quantity::count(number), number),
            (None, Some(text)) => text.replace('-', " "),
            (None, None) => String::new(),
        },
    };
    let parts: Vec<String> = key.split(" × ").map(of).filter(|it| !it.is_empty()).collect();
    parts.join(", ")
}

/// A number of a cell with its noun.
fn told(key: &str, number: &str, value: f64) -> String {
    let one = value == 1.0;
    match key {
        "cores" => format!("{number} {}", if one { "core" } else { "cores" }),
        "documents" => format!("{number} {}", if one { "document" } else { "documents" }),
        "batch" => format!("batches of {number}"),
        "payload_bytes" | "delta_bytes" => format!("{number} B"),
        "gap_ms" => format!("after {number} ms"),
        "publishers" => format!("{number} {}", if one { "publisher" } else { "publishers" }),
        "subscribers" => format!("{number} {}", if one { "subscriber" } else { "subscribers" }),
        "sessions" => format!("{number} sessions"),
        "count" => format!("of {number}"),
        "write_bytes" if value % 1024.0 == 0.0 => format!("writes of {} KiB", value / 1024.0),
        "write_bytes" => format!("writes of {number} B"),
        _ => number.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Sample;
    use serde_json::Value;

    #[test]
    fn a_bound_stands_only_where_it_bounds() {
        let of = |id: &str| FIGURES.iter().find(|it| it.id == id).expect("a figure");
        let series = |is_bound: bool, names: &[(&str, u32)]| Series {
            scenario: "pipeline".to_owned(),
            metric: "deltas".to_owned(),
            cell: names.iter().map(|(name, it)| ((*name).to_owned(), Value::from(*it))).collect(),
            samples: vec![Sample { value: 1.0, verified: true, ..Sample::default() }],
            is_bound,
            ..Series::default()
        };
        let bound = series(true, &[("cores", 1), ("batch", 32), ("delta_bytes", 46)]);
        let figures = ["pipeline", "forms", "two-cores", "stages"];
        let shown = figures.map(|id| of(id).shows(&bound));
        assert_eq!(shown, [true, true, false, false], "panels of documents are not its own");
        let cell = [("cores", 1), ("batch", 32), ("delta_bytes", 46), ("documents", 10_000)];
        assert!(figures.iter().all(|id| of(id).shows(&series(false, &cell))));
    }
}
