//! The goals, judged by one run: reached, not reached, or not measured in it; by how much; and how far
//! the nearest limit of the same run is.

use crate::bound::{BARE_TCP, LINES, MEMORY, with_bounds};
use crate::quantity::quantity;
use crate::results::{Results, Series};
use crate::statistics::{median, span};

/// One goal, and what the run says.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    /// What is asked for.
    pub what: String,
    /// How much.
    pub wanted: String,
    /// What was measured; `None` if it was not.
    pub measured: Option<String>,
    /// How much of the goal that is: 1 and more is reached.
    pub part: Option<f64>,
    /// The nearest limit of the same run, and how far from it this is.
    pub roofline: Option<String>,
}

impl Goal {
    /// Whether it is.
    pub fn is_reached(&self) -> bool {
        self.part.is_some_and(|part| part >= 1.0)
    }

    /// The verdict as a word.
    pub fn verdict(&self) -> &'static str {
        match (&self.measured, self.is_reached()) {
            (None, _) => "not measured",
            (Some(_), true) => "reached",
            (Some(_), false) => "not reached",
        }
    }

    /// By how much, in words.
    pub fn by_how_much(&self) -> String {
        match self.part {
            None => "–".to_owned(),
            Some(part) if part >= 1.0 => format!("{part:.2} × the goal"),
            Some(part) => format!("{:.0} % of it", part * 100.0),
        }
    }
}

/// All goals.
pub fn goals(results: &Results) -> Vec<Goal> {
    let whole = with_bounds(results);
    let run = Run(&whole);
    let mut goals = run.rates();
    goals.extend(run.cores());
    goals.extend(run.rings());
    goals.extend(run.fan_out());
    goals.extend(run.latency());
    goals.extend(run.quiet());
    goals.extend(run.forecasts());
    goals
}

/// Messages of 64 bytes that Aeron's IPC passes in a second with a driver thread, where it is not in
/// the run: measured on this kind of machine before.
const AERON_PER_SECOND: f64 = 27e6;

struct Run<'a>(&'a Results);

/// A cell's value, or any.
type Wanted<'a> = (&'a str, &'a str);

/// Two series against each other, round by round: the machine is faster in one round than in another, and
/// two medians may be of different rounds.
struct Ratios(Vec<f64>);

impl Ratios {
    /// Those of `one` to `other`; `None` if no round has both.
    fn of(one: &Series, other: &Series) -> Option<Self> {
        Self::of_pairs(&one.in_pairs(other))
    }

    /// The same of what a delivery costs the server.
    fn of_cpu(one: &Series, other: &Series) -> Option<Self> {
        Self::of_pairs(&one.more_in_pairs(other, CPU_NS))
    }

    fn of_pairs(pairs: &[(f64, f64)]) -> Option<Self> {
        let ratios = pairs.iter().map(|(one, other)| one / other);
        let ratios: Vec<f64> = ratios.filter(|it| it.is_finite()).collect();
        (!ratios.is_empty()).then_some(Self(ratios))
    }

    fn median(&self) -> f64 {
        median(&self.0)
    }

    /// Their median, and between which they lie, if there are some.
    fn told(&self) -> String {
        if let [one] = self.0[..] {
            return format!("{one:.2} × (one round)");
        }
        let (least, most) = span(&self.0);
        let rounds = self.0.len();
        format!("{:.2} × ({least:.2} to {most:.2} in {rounds} rounds)", self.median())
    }

    /// The same of ratios that are told as one part of so many.
    fn told_as_parts(&self) -> String {
        if let [one] = self.0[..] {
            return format!("1/{one:.1} (one round)");
        }
        let (least, most) = span(&self.0);
        format!("1/{:.1} (1/{least:.1} to 1/{most:.1} in {} rounds)", self.median(), self.0.len())
    }
}

/// How far a forecast may be off, as a share.
const FORECAST_ERROR_MAX: f64 = 0.15;

/// What a delivery costs the server, beside a rate.
const CPU_NS: &str = "cpu_ns_per_delivery";

/// Medians of all rounds, behind what the rounds said.
fn medians(ours: Option<f64>, theirs: Option<f64>, unit: &str) -> String {
    let told = |(ours, theirs)| {
        format!("; medians {} against {}", quantity(ours, unit), quantity(theirs, unit))
    };
    ours.zip(theirs).map(told).unwrap_or_default()
}

/// How far `ours` is from `limit`, of which more is better.
fn of_limit(ours: Option<f64>, limit: Option<f64>, name: &str, unit: &str) -> Option<String> {
    let (ours, limit) = ours.zip(limit)?;
    Some(format!("{name} {}: {:.0} % of it", quantity(limit, unit), ours / limit * 100.0))
}

/// How far `ours` is from each of `limits` that there is, the nearest first.
fn nearest(ours: Option<f64>, limits: &[(&str, Option<f64>)], unit: &str) -> Option<String> {
    let mut there: Vec<(&str, f64)> =
        limits.iter().filter_map(|(name, limit)| Some((*name, (*limit)?))).collect();
    there.sort_by(|one, other| one.1.total_cmp(&other.1));
    let told = there.iter().map(|(name, limit)| of_limit(ours, Some(*limit), name, unit));
    told.collect::<Option<Vec<String>>>().filter(|it| !it.is_empty()).map(|it| it.join("; "))
}

/// The same where less is better.
fn over_limit(ours: Option<f64>, limit: Option<f64>, name: &str, unit: &str) -> Option<String> {
    let (ours, limit) = ours.zip(limit)?;
    Some(format!("{name} {}: {:.1} × it", quantity(limit, unit), ours / limit))
}

impl Run<'_> {
    fn find(&self, scenario: &str, system: &str, cell: &[Wanted<'_>]) -> Option<&Series> {
        let fits = |series: &&Series| {
            series.scenario == scenario
                && series.system == system
                && !series.values().is_empty()
                && cell
                    .iter()
                    .all(|(name, value)| series.of_cell(name).is_none_or(|it| it == *value))
        };
        self.0.series.iter().find(fits)
    }

    fn median(&self, scenario: &str, system: &str, cell: &[Wanted<'_>]) -> Option<f64> {
        self.find(scenario, system, cell).map(|it| median(&it.values()))
    }

    fn pipeline(&self, cores: &str, documents: &str, batch: &str, bytes: &str) -> Option<f64> {
        self.pipeline_series(cores, documents, batch, bytes).map(|it| median(&it.values()))
    }

    fn pipeline_series(
        &self,
        cores: &str,
        documents: &str,
        batch: &str,
        bytes: &str,
    ) -> Option<&Series> {
        let cell = [
            ("cores", cores),
            ("documents", documents),
            ("batch", batch),
            ("collection", "cbor"),
            ("law", "uniform"),
            ("delta_bytes", bytes),
        ];
        self.find("pipeline", "deltaworks", &cell)
    }

    fn memory(&self, cores: &str, batch: &str, bytes: &str) -> Option<&Series> {
        let cell = [("cores", cores), ("batch", batch), ("delta_bytes", bytes)];
        self.find("pipeline", MEMORY, &cell)
    }

    /// One core, by documents and batch.
    fn rates(&self) -> Vec<Goal> {
        let wanted = [
            ("10000", "1", 16e6, "one core, 46 B CBOR, 10,000 documents, batches of 1"),
            ("10000", "32", 40e6, "one core, 46 B CBOR, 10,000 documents, batches of 32"),
            ("1000000", "1", 8e6, "the same with 1,000,000 documents, batches of 1"),
            ("1000000", "32", 20e6, "the same with 1,000,000 documents, batches of 32"),
        ];
        let of = |(documents, batch, least, what): (&str, &str, f64, &str)| {
            let rate = self.pipeline("1", documents, batch, "46");
            let memory = self.memory("1", batch, "46").map(|it| median(&it.values()));
            let cell = [("cores", "1"), ("documents", documents), ("batch", batch)];
            let lines = self.median("pipeline", LINES, &cell);
            Goal {
                what: what.to_owned(),
                wanted: format!("at least {}", quantity(least, "1/s")),
                measured: rate.map(|rate| quantity(rate, "1/s")),
                part: rate.map(|rate| rate / least),
                roofline: nearest(rate, &[(MEMORY, memory), (LINES, lines)], "1/s"),
            }
        };
        wanted.map(of).into()
    }

    fn cores(&self) -> Vec<Goal> {
        let of = |batch: &str| {
            let one = self.pipeline_series("1", "10000", batch, "46");
            let two = self.pipeline_series("2", "10000", batch, "46");
            let ratios = two.zip(one).and_then(|(two, one)| Ratios::of(two, one));
            let ratio = ratios.as_ref().map(Ratios::median);
            let memory = self.memory("2", batch, "46").zip(self.memory("1", batch, "46"));
            let memory = memory.and_then(|(two, one)| Ratios::of(two, one));
            let memory = memory.map(|it| format!("; of memory, both get {:.2} ×", it.median()));
            // What crossing costs hangs on where the host has put the two.
            let line = self.median("limits", "cache-line", &[]);
            let line =
                line.map(|ns| format!("; a line there and back takes {}", quantity(ns, "ns")));
            let line = line.unwrap_or_default();
            Goal {
                what: format!(
                    "two cores against one, half of the batches cross, batches of {batch}"
                ),
                wanted: "at least 1.7 ×".to_owned(),
                measured: ratios.map(|it| it.told()),
                part: ratio.map(|ratio| ratio / 1.7),
                roofline: ratio.map(|ratio| {
                    let memory = memory.unwrap_or_default();
                    format!("2 ×: {:.0} % of it{memory}{line}", ratio * 50.0)
                }),
            }
        };
        ["1", "32"].map(of).into()
    }

    fn rings(&self) -> Vec<Goal> {
        let of = |series: &&Series, system: &str| {
            series.metric == "messages" && series.system == system && !series.values().is_empty()
        };
        let all = self.0.series.iter().filter(|series| of(series, "deltaworks-ring"));
        let ratios = all.filter_map(|ours| {
            let same = |it: &&Series| {
                of(it, "rtrb") && it.cell == ours.cell && it.scenario == ours.scenario
            };
            // Of pairs that changed places, if they were taken: medians of each alone say more of the gait
            // that its threads were in.
            let paired = median(&ours.more("hop_ratio"));
            let ratio = if paired.is_finite() {
                paired
            } else {
                let raw = self.0.series.iter().find(same)?;
                median(&raw.values()) / median(&ours.values())
            };
            Some((ratio, ours.of_cell("batch").unwrap_or_default()))
        });
        let worst = ratios
            .filter(|it| it.0.is_finite())
            .reduce(|one, other| if one.0 >= other.0 { one } else { other });
        let aeron: Vec<f64> = self
            .0
            .series
            .iter()
            .filter(|it| it.scenario == "in-process" && it.system.starts_with("aeron"))
            .filter(|it| it.of_cell("payload_bytes").is_none_or(|it| it == "64"))
            .map(|series| median(&series.values()))
            .filter(|it| it.is_finite())
            .collect();
        let aeron = aeron.into_iter().reduce(f64::max);
        let least = aeron.unwrap_or(AERON_PER_SECOND);
        let ours = self.pipeline("2", "10000", "32", "64");
        let whose = if aeron.is_some() { "" } else { " (absent here; its figure is from before)" };
        let raw = self.median("in-process", "rtrb", &[("payload_bytes", "64"), ("batch", "64")]);
        vec![
            Goal {
                what: "a ring hop with our doorbell, against raw rtrb (the worst cell)".to_owned(),
                wanted: "at most 1.2 ×".to_owned(),
                measured: worst
                    .as_ref()
                    .map(|(worst, batch)| format!("{worst:.2} × in batches of {batch}")),
                part: worst.as_ref().map(|(worst, _)| 1.2 / worst),
                roofline: worst.as_ref().map(|(worst, _)| format!("raw rtrb: {worst:.2} × it")),
            },
            Goal {
                what: format!(
                    "two cores, 64 B, batches of 32, checked and appended, against Aeron unchecked{whose}"
                ),
                wanted: format!("above {}", quantity(least, "1/s")),
                measured: ours.map(|ours| quantity(ours, "1/s")),
                // Ahead is more than level.
                part: ours.map(|ours| if ours == least { 0.999 } else { ours / least }),
                roofline: of_limit(ours, raw, "raw rtrb in batches of 64, unchecked,", "1/s"),
            },
        ]
    }

    fn fan_out_series(&self, system: &str, bytes: &str, subscribers: &str) -> Option<&Series> {
        self.find("fan-out", system, &[("payload_bytes", bytes), ("subscribers", subscribers)])
    }

    fn cpu(&self, system: &str, bytes: &str, subscribers: &str) -> Option<f64> {
        let series = self.fan_out_series(system, bytes, subscribers)?;
        Some(median(&series.more(CPU_NS))).filter(|it| it.is_finite())
    }

    /// What a delivery costs `one` of two systems against the other.
    fn cpu_ratios(&self, one: &str, other: &str, cell: (&str, &str)) -> Option<Ratios> {
        let of = |system: &str| self.fan_out_series(system, cell.0, cell.1);
        of(one).zip(of(other)).and_then(|(one, other)| Ratios::of_cpu(one, other))
    }

    fn fan_out(&self) -> Vec<Goal> {
        let wanted = [
            ("nats-debian", "64", "8", 5.0),
            ("nats-debian", "64", "64", 5.0),
            ("redis", "64", "8", 8.0),
            ("redis", "64", "64", 8.0),
            ("nats-debian", "256", "8", 2.0),
            ("redis", "256", "8", 2.0),
            ("nats-debian", "256", "64", 3.0),
            ("redis", "256", "64", 3.0),
        ];
        let of = |(peer, bytes, subscribers, times): (&str, &str, &str, f64)| {
            let ours = self.cpu("deltaworksd", bytes, subscribers);
            let theirs = self.cpu(peer, bytes, subscribers);
            let ratios = self.cpu_ratios(peer, "deltaworksd", (bytes, subscribers));
            Goal {
                what: format!(
                    "server CPU per delivery, {bytes} B to {subscribers}, against {peer}"
                ),
                wanted: format!("at most 1/{times:.0}"),
                part: ratios.as_ref().map(|it| it.median() / times),
                measured: ratios.map(|it| it.told_as_parts() + &medians(ours, theirs, "ns")),
                roofline: over_limit(ours, self.cpu("relay", bytes, subscribers), "relay", "ns"),
            }
        };
        let mut goals: Vec<Goal> = wanted.map(of).into();
        for (bytes, subscribers) in [("64", "8"), ("64", "64"), ("256", "8"), ("256", "64")] {
            let ours = self.cpu("deltaworksd", bytes, subscribers);
            let relay = self.cpu("relay", bytes, subscribers);
            let ratios = self.cpu_ratios("deltaworksd", "relay", (bytes, subscribers));
            goals.push(Goal {
                what: format!(
                    "the same, {bytes} B to {subscribers}, against a relay that checks nothing"
                ),
                wanted: "at most 1.3 ×".to_owned(),
                part: ratios.as_ref().map(|it| 1.3 / it.median()),
                measured: ratios.map(|it| it.told() + &medians(ours, relay, "ns")),
                roofline: over_limit(ours, self.cpu(BARE_TCP, bytes, subscribers), BARE_TCP, "ns"),
            });
        }
        goals
    }

    fn latency(&self) -> Vec<Goal> {
        let mut goals = Vec::new();
        for load in ["half-of-slowest", "half-of-own"] {
            for peer in ["nats-debian", "redis"] {
                let of = |system: &str| self.find("latency", system, &[("load", load)]);
                let median_of = |system: &str| of(system).map(|it| median(&it.values()));
                let ours = median_of("deltaworksd");
                let both = of("deltaworksd").zip(of(peer));
                let ratios = both.and_then(|(ours, theirs)| Ratios::of(ours, theirs));
                goals.push(Goal {
                    what: format!("TCP latency p99 at {}, against {peer}", load.replace('-', " ")),
                    wanted: "below".to_owned(),
                    // Below is less than level.
                    part: ratios
                        .as_ref()
                        .map(Ratios::median)
                        .map(|ratio| if ratio < 1.0 { 1.0 / ratio } else { 0.999 / ratio }),
                    measured: ratios.map(|it| it.told() + &medians(ours, median_of(peer), "us")),
                    roofline: over_limit(ours, median_of("relay"), "relay", "us"),
                });
            }
        }
        goals
    }

    fn quiet(&self) -> Vec<Goal> {
        let idle = self.find("idle", "deltaworksd", &[]);
        let share = idle.map(|it| median(&it.values()));
        let of_idle =
            |name: &str| idle.map(|it| median(&it.more(name))).filter(|it| it.is_finite());
        let bytes = of_idle("rss_bytes_per_session");
        let parked = self.median("parked", "deltaworksd", &[]);
        let socket = self.median("parked", "bare-socket", &[]);
        let event = self.median("parked", "bare-eventfd", &[]);
        let kernel = parked.zip(socket).map(|(parked, socket)| {
            let share = (socket / parked * 100.0).min(100.0);
            let event = event
                .map_or(String::new(), |event| format!("; waking alone {}", quantity(event, "us")));
            format!(
                "two bare sockets {}: the kernel is {share:.0} % of it{event}",
                quantity(socket, "us")
            )
        });
        vec![
            Goal {
                what: "idle sessions: CPU".to_owned(),
                wanted: "below 1 % of a core".to_owned(),
                measured: share.map(|it| quantity(it, "share")),
                part: share
                    .map(|it| if it < 0.01 { 0.01 / it.max(1e-6) } else { 0.01 / it * 0.999 }),
                roofline: None,
            },
            Goal {
                what: "idle sessions: memory each, over what the kernel takes".to_owned(),
                wanted: "at most 8 KiB".to_owned(),
                measured: bytes.map(|it| quantity(it, "bytes")),
                part: bytes.map(|it| 8192.0 / it.max(1.0)),
                roofline: of_idle("kernel_bytes_per_session").map(|kernel| {
                    format!("the kernel takes {} for both ends", quantity(kernel, "bytes"))
                }),
            },
            Goal {
                what: "parked core, first delta: p99".to_owned(),
                wanted: "below 100 µs".to_owned(),
                measured: parked.map(|it| quantity(it, "us")),
                part: parked.map(|it| if it < 100.0 { 100.0 / it } else { 100.0 / it * 0.999 }),
                roofline: kernel,
            },
        ]
    }

    /// What was foretold for the capacity of this machine.
    fn forecasts(&self) -> Vec<Goal> {
        let is_forecast = |it: &&Series| {
            it.scenario == "capacity" && it.metric == "deltas" && it.system == "foretold"
        };
        let all: Vec<&Series> = self.0.series.iter().filter(is_forecast).collect();
        let of = |name: &str| -> Vec<f64> {
            all.iter().map(|it| median(&it.more(name))).filter(|it| it.is_finite()).collect()
        };
        let furthest = |errors: Vec<f64>| {
            errors
                .into_iter()
                .reduce(|one, other| if one.abs() >= other.abs() { one } else { other })
        };
        let told = furthest(of("error")).zip(furthest(of("memory_error"))).map(|(rate, memory)| {
            let within = of("is_within").iter().sum::<f64>();
            let in_round = of("round_error");
            let at_speed = in_round.iter().filter(|it| it.abs() <= FORECAST_ERROR_MAX).count();
            let at_speed = match in_round.is_empty() {
                true => String::new(),
                false => {
                    format!("; {at_speed} at the speed that fitted cells had beside them")
                }
            };
            format!(
                "{within:.0} of {} cells; the furthest {:+.0} %, of memory {:+.0} %{at_speed}",
                all.len(),
                rate * 100.0,
                memory * 100.0
            )
        });
        let within = of("is_within");
        vec![Goal {
            what: "forecasts of this machine's rates and memory, by documents, batches and cores"
                .to_owned(),
            wanted: "within 15 %, all of them".to_owned(),
            measured: told,
            part: (!within.is_empty()).then(|| within.iter().sum::<f64>() / within.len() as f64),
            roofline: None,
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Sample;
    use serde_json::{Value, json};

    fn series(scenario: &str, system: &str, cell: &Value, values: &[f64]) -> Series {
        let sample = |(round, value): (usize, &f64)| Sample {
            value: value.abs(),
            verified: *value > 0.0,
            round: Some(round as u32),
            ..Sample::default()
        };
        Series {
            scenario: scenario.to_owned(),
            system: system.to_owned(),
            cell: cell.as_object().cloned().unwrap_or_default().into_iter().collect(),
            samples: values.iter().enumerate().map(sample).collect(),
            ..Series::default()
        }
    }

    fn cell(cores: u32, documents: u32) -> Value {
        json!({"cores": cores, "documents": documents, "batch": 1, "collection": "cbor",
            "law": "uniform", "delta_bytes": 46})
    }

    /// One core was fast in one round and two in another: medians are of different rounds.
    #[test]
    fn two_cores_are_measured_against_one_round_by_round() {
        let goal = |one: &[f64], two: &[f64]| {
            let of = |cores, values| series("pipeline", "deltaworks", &cell(cores, 10_000), values);
            let results = Results { series: vec![of(1, one), of(2, two)], ..Results::default() };
            let goal =
                goals(&results).into_iter().find(|it| it.what.starts_with("two cores against"));
            goal.expect("it is always told")
        };
        let (one, two) = ([6.0e6, 4.0e6, 3.0e6], [5.7e6, 8.0e6, 9.0e6]);
        assert_eq!(median(&two) / median(&one), 2.0);
        let told = goal(&one, &two);
        assert_eq!(told.measured.as_deref(), Some("2.00 × (0.95 to 3.00 in 3 rounds)"));
        let (one, two) = ([6.0e6, 4.0e6, 4.1e6], [7.2e6, 8.0e6, 4.1e6]);
        assert!(median(&two) / median(&one) > 1.7, "the medians alone would call it reached");
        let told = goal(&one, &two);
        assert_eq!(told.measured.as_deref(), Some("1.20 × (1.00 to 2.00 in 3 rounds)"));
        assert!(!told.is_reached() && told.roofline.is_some_and(|it| it.starts_with("2 ×: 60 %")));
        // What failed takes its partner with it.
        let told = goal(&[6.0e6, -4.0e6, 4.1e6], &[7.2e6, 8.0e6, 4.1e6]);
        assert_eq!(told.measured.as_deref(), Some("1.10 × (1.00 to 1.20 in 2 rounds)"));
        let told = goal(&[6.0e6, -4.0e6], &[9.0e6, 8.0e6]);
        assert_eq!(told.measured.as_deref(), Some("1.50 × (one round)"));
        let told = goal(&[6.0e6, -4.0e6], &[-7.2e6, 8.0e6]);
        assert_eq!((told.measured, told.part), (None, None));
    }

    /// The host had the cores near each other in some rounds and far in others: who was measured when says
    /// more of two medians than who they are.
    #[test]
    fn what_a_delivery_costs_is_measured_against_peers_round_by_round() {
        let of = |system: &str, costs: &[f64]| {
            let cell = json!({"payload_bytes": 64, "subscribers": 8});
            let mut it = series("fan-out", system, &cell, &[1.0].repeat(costs.len()));
            for (sample, cost) in it.samples.iter_mut().zip(costs) {
                sample.more.insert(CPU_NS.to_owned(), *cost);
            }
            it
        };
        let (ours, theirs) = ([20.0, 45.0, 46.0], [160.0, 170.0, 180.0]);
        let all = vec![
            of("deltaworksd", &ours),
            of("redis", &theirs),
            of("relay", &[18.0, 20.0, 41.0]),
            series("latency", "deltaworksd", &json!({"load": "half-of-own"}), &[5.0, 50.0, 60.0]),
            series("latency", "redis", &json!({"load": "half-of-own"}), &[6.0, 55.0, 40.0]),
        ];
        let goals = goals(&Results { series: all, ..Results::default() });
        let of = |what: &str| goals.iter().find(|it| it.what.contains(what)).expect("it is told");
        let told = of("64 B to 8, against redis");
        let expected = "1/3.9 (1/3.8 to 1/8.0 in 3 rounds); medians 45.0 ns against 170 ns";
        assert_eq!(told.measured.as_deref(), Some(expected));
        assert!(told.part.is_some_and(|part| (part - 180.0 / 46.0 / 8.0).abs() < 1e-9));
        let told = of("64 B to 8, against a relay");
        let expected = "1.12 × (1.11 to 2.25 in 3 rounds); medians 45.0 ns against 20.0 ns";
        assert_eq!(told.measured.as_deref(), Some(expected));
        assert!(told.is_reached(), "the medians alone would not call it so");
        let told = of("half of own, against redis");
        let expected = "0.91 × (0.83 to 1.50 in 3 rounds); medians 50.0 µs against 40.0 µs";
        assert_eq!(told.measured.as_deref(), Some(expected));
        assert!(told.is_reached() && !of("half of own, against nats").is_reached());
    }

    #[test]
    fn the_nearest_limit_of_a_rate_is_told_first() {
        let lines = |documents: u32| json!({"documents": documents, "ahead": 16});
        let results = Results {
            series: vec![
                series("pipeline", "deltaworks", &cell(1, 10_000), &[4e6]),
                series("pipeline", "deltaworks", &cell(1, 1_000_000), &[2e6]),
                series("limits", "memory-copy", &json!({"cores": 1}), &[1.04e9]),
                series("limits", "random-lines", &lines(10_000), &[5.0]),
                series("limits", "random-lines", &lines(1_000_000), &[200.0 / 9.98]),
            ],
            ..Results::default()
        };
        let goals = goals(&results);
        let of = |what: &str| {
            let goal = goals.iter().find(|it| it.what.contains(what)).expect("it is told");
            goal.roofline.clone().unwrap_or_default()
        };
        let few = of("46 B CBOR, 10,000 documents, batches of 1");
        assert!(
            few.starts_with("memory alone 10.0 M/s: 40 % of it; lines alone 22.6 M/s"),
            "{few}"
        );
        let many = of("1,000,000 documents, batches of 1");
        assert!(many.starts_with("lines alone 5.00 M/s: 40 % of it; memory alone"), "{many}");
    }
}
