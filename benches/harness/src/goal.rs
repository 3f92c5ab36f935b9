//! The goals, judged by one run: reached, not reached, or not measured in it; by how much; and how far
//! the nearest limit of the same run is.

use crate::bound::{BARE_TCP, MEMORY, with_bounds};
use crate::quantity::quantity;
use crate::results::{Results, Series};
use crate::statistics::median;

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

/// How far `ours` is from `limit`, of which more is better.
fn of_limit(ours: Option<f64>, limit: Option<f64>, name: &str, unit: &str) -> Option<String> {
    let (ours, limit) = ours.zip(limit)?;
    Some(format!("{name} {}: {:.0} % of it", quantity(limit, unit), ours / limit * 100.0))
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
        let cell = [
            ("cores", cores),
            ("documents", documents),
            ("batch", batch),
            ("collection", "cbor"),
            ("law", "uniform"),
            ("delta_bytes", bytes),
        ];
        self.median("pipeline", "deltaworks", &cell)
    }

    fn memory(&self, cores: &str, batch: &str, bytes: &str) -> Option<f64> {
        let cell = [("cores", cores), ("batch", batch), ("delta_bytes", bytes)];
        self.median("pipeline", MEMORY, &cell)
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
            let limit = self.memory("1", batch, "46");
            Goal {
                what: what.to_owned(),
                wanted: format!("at least {}", quantity(least, "1/s")),
                measured: rate.map(|rate| quantity(rate, "1/s")),
                part: rate.map(|rate| rate / least),
                roofline: of_limit(rate, limit, MEMORY, "1/s"),
            }
        };
        wanted.map(of).into()
    }

    fn cores(&self) -> Vec<Goal> {
        let of = |batch: &str| {
            let one = self.pipeline("1", "10000", batch, "46");
            let two = self.pipeline("2", "10000", batch, "46");
            let ratio = two.zip(one).map(|(two, one)| two / one);
            let memory = self.memory("2", batch, "46").zip(self.memory("1", batch, "46"));
            let memory =
                memory.map(|(two, one)| format!("; of memory, both get {:.2} ×", two / one));
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
                measured: ratio.map(|ratio| format!("{ratio:.2} ×")),
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

    fn cpu(&self, system: &str, bytes: &str, subscribers: &str) -> Option<f64> {
        let cell = [("payload_bytes", bytes), ("subscribers", subscribers)];
        let series = self.find("fan-out", system, &cell)?;
        Some(median(&series.more("cpu_ns_per_delivery"))).filter(|it| it.is_finite())
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
            let both = ours.zip(self.cpu(peer, bytes, subscribers));
            Goal {
                what: format!(
                    "server CPU per delivery, {bytes} B to {subscribers}, against {peer}"
                ),
                wanted: format!("at most 1/{times:.0}"),
                measured: both.map(|(ours, theirs)| {
                    let (one, other) = (quantity(ours, "ns"), quantity(theirs, "ns"));
                    format!("1/{:.1} ({one} against {other})", theirs / ours)
                }),
                part: both.map(|(ours, theirs)| theirs / ours / times),
                roofline: over_limit(ours, self.cpu("relay", bytes, subscribers), "relay", "ns"),
            }
        };
        let mut goals: Vec<Goal> = wanted.map(of).into();
        for (bytes, subscribers) in [("64", "8"), ("64", "64"), ("256", "8"), ("256", "64")] {
            let ours = self.cpu("deltaworksd", bytes, subscribers);
            let both = ours.zip(self.cpu("relay", bytes, subscribers));
            let ratio = both.map(|(ours, relay)| ours / relay);
            goals.push(Goal {
                what: format!(
                    "the same, {bytes} B to {subscribers}, against a relay that checks nothing"
                ),
                wanted: "at most 1.3 ×".to_owned(),
                measured: both.map(|(ours, relay)| {
                    let (one, other) = (quantity(ours, "ns"), quantity(relay, "ns"));
                    format!("{:.2} × ({one} against {other})", ours / relay)
                }),
                part: ratio.map(|ratio| 1.3 / ratio),
                roofline: over_limit(ours, self.cpu(BARE_TCP, bytes, subscribers), BARE_TCP, "ns"),
            });
        }
        goals
    }

    fn latency(&self) -> Vec<Goal> {
        let mut goals = Vec::new();
        for load in ["half-of-slowest", "half-of-own"] {
            for peer in ["nats-debian", "redis"] {
                let of = |system: &str| self.median("latency", system, &[("load", load)]);
                let ours = of("deltaworksd");
                let both = ours.zip(of(peer));
                goals.push(Goal {
                    what: format!("TCP latency p99 at {}, against {peer}", load.replace('-', " ")),
                    wanted: "below".to_owned(),
                    measured: both.map(|(ours, theirs)| {
                        format!("{} against {}", quantity(ours, "us"), quantity(theirs, "us"))
                    }),
                    // Below is less than level.
                    part: both.map(|(ours, theirs)| {
                        if ours < theirs { theirs / ours } else { theirs / ours * 0.999 }
                    }),
                    roofline: over_limit(ours, of("relay"), "relay", "us"),
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
            format!(
                "{within:.0} of {} cells; the furthest {:+.0} %, of memory {:+.0} %",
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
