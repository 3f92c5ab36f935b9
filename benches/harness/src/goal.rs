//! The goals, judged by one run: reached, not reached, or not measured in it.

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
    /// Whether that is enough.
    pub is_reached: bool,
}

impl Goal {
    /// The verdict as a word.
    pub fn verdict(&self) -> &'static str {
        match (&self.measured, self.is_reached) {
            (None, _) => "not measured",
            (Some(_), true) => "reached",
            (Some(_), false) => "not reached",
        }
    }
}

/// All goals.
pub fn goals(results: &Results) -> Vec<Goal> {
    let run = Run(results);
    let mut goals = run.rates();
    goals.extend(run.cores());
    goals.extend(run.rings());
    goals.extend(run.fan_out());
    goals.extend(run.latency());
    goals.extend(run.quiet());
    goals
}

struct Run<'a>(&'a Results);

/// A cell's value, or any.
type Wanted<'a> = (&'a str, &'a str);

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

    fn pipeline(&self, cores: &str, documents: &str, batch: &str, bytes: &str) -> Option<f64> {
        let cell = [
            ("cores", cores),
            ("documents", documents),
            ("batch", batch),
            ("collection", "cbor"),
            ("law", "uniform"),
            ("delta_bytes", bytes),
        ];
        self.find("pipeline", "deltaworks", &cell).map(|series| median(&series.values()))
    }

    /// One core, by documents and batch.
    fn rates(&self) -> Vec<Goal> {
        let wanted = [("10000", "1", 16e6), ("10000", "32", 40e6)];
        let mut goals = Vec::new();
        for (documents, batch, least) in wanted {
            let rate = self.pipeline("1", documents, batch, "46");
            goals.push(Goal {
                what: format!("one core, 46 B CBOR, 10,000 documents, batches of {batch}"),
                wanted: format!("at least {}", quantity(least, "1/s")),
                measured: rate.map(|rate| quantity(rate, "1/s")),
                is_reached: rate.is_some_and(|rate| rate >= least),
            });
        }
        for (_, batch, least) in wanted {
            let rate = self.pipeline("1", "1000000", batch, "46");
            goals.push(Goal {
                what: format!("the same with 1,000,000 documents, batches of {batch}"),
                wanted: format!("at least {}", quantity(least / 2.0, "1/s")),
                measured: rate.map(|rate| quantity(rate, "1/s")),
                is_reached: rate.is_some_and(|rate| rate >= least / 2.0),
            });
        }
        goals
    }

    fn cores(&self) -> Vec<Goal> {
        let of = |batch: &str| {
            let one = self.pipeline("1", "10000", batch, "46");
            let ratio =
                self.pipeline("2", "10000", batch, "46").zip(one).map(|(two, one)| two / one);
            Goal {
                what: format!(
                    "two cores against one, half of the batches cross, batches of {batch}"
                ),
                wanted: "at least 1.7 ×".to_owned(),
                measured: ratio.map(|ratio| format!("{ratio:.2} ×")),
                is_reached: ratio.is_some_and(|ratio| ratio >= 1.7),
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
            let raw = self.0.series.iter().find(same)?;
            Some(median(&raw.values()) / median(&ours.values()))
        });
        let worst = ratios.filter(|it| it.is_finite()).reduce(f64::max);
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
        let ours = self.pipeline("2", "10000", "32", "64");
        let ahead = ours.zip(aeron).map(|(ours, aeron)| {
            format!("{} against {}", quantity(ours, "1/s"), quantity(aeron, "1/s"))
        });
        vec![
            Goal {
                what: "a ring hop with our doorbell, against raw rtrb (the worst cell)".to_owned(),
                wanted: "at most 1.2 ×".to_owned(),
                measured: worst.map(|worst| format!("{worst:.2} ×")),
                is_reached: worst.is_some_and(|worst| worst <= 1.2),
            },
            Goal {
                what:
                    "two cores, 64 B, batches of 32, checked and appended, against Aeron unchecked"
                        .to_owned(),
                wanted: "ahead".to_owned(),
                measured: ahead,
                is_reached: ours.zip(aeron).is_some_and(|(ours, aeron)| ours > aeron),
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
        let of = |(peer, bytes, subscribers, part): (&str, &str, &str, f64)| {
            let both =
                self.cpu("deltaworksd", bytes, subscribers).zip(self.cpu(peer, bytes, subscribers));
            Goal {
                what: format!(
                    "server CPU per delivery, {bytes} B to {subscribers}, against {peer}"
                ),
                wanted: format!("at most 1/{part:.0}"),
                measured: both.map(|(ours, theirs)| {
                    let (one, other) = (quantity(ours, "ns"), quantity(theirs, "ns"));
                    format!("1/{:.1} ({one} against {other})", theirs / ours)
                }),
                is_reached: both.is_some_and(|(ours, theirs)| ours * part <= theirs),
            }
        };
        let mut goals: Vec<Goal> = wanted.map(of).into();
        for (bytes, subscribers) in [("64", "8"), ("64", "64"), ("256", "8"), ("256", "64")] {
            let both = self.cpu("deltaworksd", bytes, subscribers).zip(self.cpu(
                "relay",
                bytes,
                subscribers,
            ));
            let ratio = both.map(|(ours, relay)| ours / relay);
            goals.push(Goal {
                what: format!(
                    "the same, {bytes} B to {subscribers}, against a relay that checks nothing"
                ),
                wanted: "at most 1.3 ×".to_owned(),
                measured: ratio.map(|ratio| format!("{ratio:.2} ×")),
                is_reached: ratio.is_some_and(|ratio| ratio <= 1.3),
            });
        }
        goals
    }

    fn latency(&self) -> Vec<Goal> {
        let mut goals = Vec::new();
        for load in ["half-of-slowest", "half-of-own"] {
            for peer in ["nats-debian", "redis"] {
                let of = |system: &str| {
                    self.find("latency", system, &[("load", load)]).map(|it| median(&it.values()))
                };
                let both = of("deltaworksd").zip(of(peer));
                goals.push(Goal {
                    what: format!("TCP latency p99 at {}, against {peer}", load.replace('-', " ")),
                    wanted: "below".to_owned(),
                    measured: both.map(|(ours, theirs)| {
                        format!("{} against {}", quantity(ours, "us"), quantity(theirs, "us"))
                    }),
                    is_reached: both.is_some_and(|(ours, theirs)| ours < theirs),
                });
            }
        }
        goals
    }

    fn quiet(&self) -> Vec<Goal> {
        let idle = self.find("idle", "deltaworksd", &[]);
        let share = idle.map(|it| median(&it.values()));
        let bytes =
            idle.map(|it| median(&it.more("rss_bytes_per_session"))).filter(|it| it.is_finite());
        let parked = self.find("parked", "deltaworksd", &[]).map(|it| median(&it.values()));
        let floors = ["bare-eventfd", "bare-socket"].map(|floor| {
            let p99 = median(&self.find("parked", floor, &[])?.values());
            Some(format!("{floor} alone {}", quantity(p99, "us")))
        });
        let floors: Vec<String> = floors.into_iter().flatten().collect();
        vec![
            Goal {
                what: "idle sessions: CPU".to_owned(),
                wanted: "below 1 % of a core".to_owned(),
                measured: share.map(|it| quantity(it, "share")),
                is_reached: share.is_some_and(|it| it < 0.01),
            },
            Goal {
                what: "idle sessions: memory each, over what the kernel takes".to_owned(),
                wanted: "at most 8 KiB".to_owned(),
                measured: bytes.map(|it| quantity(it, "bytes")),
                is_reached: bytes.is_some_and(|it| it <= 8192.0),
            },
            Goal {
                what: "parked core, first delta: p99".to_owned(),
                wanted: "below 100 µs".to_owned(),
                measured: parked.map(|it| {
                    format!(
                        "{}{}{}",
                        quantity(it, "us"),
                        if floors.is_empty() { "" } else { "; " },
                        floors.join(", ")
                    )
                }),
                is_reached: parked.is_some_and(|it| it < 100.0),
            },
        ]
    }
}
