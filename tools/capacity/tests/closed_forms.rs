//! The simulation against what queueing theory says exactly, and against itself with faults in it.

use deltaworks_capacity::costs::{Costs, Stage};
use deltaworks_capacity::layout::Layout;
use deltaworks_capacity::simulation::{Arrivals, Game, Outcome, Places, Plant, Spread, play};
use deltaworks_capacity::times::Times;
use deltaworks_capacity::workload::{Ends, Workload};

const SERVICE_NS: f64 = 1000.0;
const BATCHES: u64 = 100_000;

/// One batch a turn, so that a turn is a service.
fn costs() -> Costs {
    let mut costs = Costs::nothing();
    costs.turn.read_bytes = 1.0;
    costs.turn.messages = 1;
    costs.turn.reception_cost = 1.0;
    costs
}

fn workload() -> Workload {
    Workload {
        documents: 8,
        batch: 1,
        ends: Ends::Free,
        publishers: 8,
        subscribers: 1,
        near: true,
        crossing_share: Some(0.0),
        ..Workload::default()
    }
}

struct Setup {
    layout: Layout,
    costs: Costs,
    workload: Workload,
    arrivals: Arrivals,
    spread: Spread,
    plant: Option<Plant>,
}

impl Setup {
    fn play(&self) -> Outcome {
        let times = Times::of(&self.costs, &self.workload, &self.layout, 0.0);
        let places = Places::new(&self.layout, &self.workload);
        play(Game {
            layout: &self.layout,
            places: &places,
            times: &times,
            costs: &self.costs,
            workload: &self.workload,
            arrivals: self.arrivals,
            spread: self.spread,
            batches: BATCHES,
            plant: self.plant,
        })
    }
}

/// One server with random arrivals at `load`.
fn one_server(load: f64, spread: Spread, plant: Option<Plant>) -> Setup {
    let mut costs = costs();
    costs.validation.own.batch_ns = SERVICE_NS;
    let arrivals = Arrivals::Random(load / SERVICE_NS * 1e9);
    Setup { layout: Layout::fused(1), costs, workload: workload(), arrivals, spread, plant }
}

/// What is further from what it must be than a share of it.
fn differences(of: &[(&str, f64, f64)], share: f64) -> Vec<String> {
    let is_off = |(_, is, must): &&(&str, f64, f64)| (is / must - 1.0).abs() > share;
    let tell = |(what, is, must): &(&str, f64, f64)| format!("{what}: {is}, must be {must}");
    of.iter().filter(is_off).map(tell).collect()
}

/// M/D/1: the mean wait is half of what it is for M/M/1 (Pollaczek, Khinchin).
fn of_steady(outcome: &Outcome, load: f64) -> Vec<String> {
    let mean = SERVICE_NS * (1.0 + load / (2.0 * (1.0 - load)));
    let busy = outcome.busy[0].work();
    differences(&[("mean", outcome.latency_mean_ns, mean), ("busy", busy, load)], 0.05)
}

/// M/M/1: the time in the system is exponential.
fn of_exponential(outcome: &Outcome, load: f64) -> Vec<String> {
    let mean = SERVICE_NS / (1.0 - load);
    let at = |quantile| outcome.latency.value_at_quantile(quantile) as f64;
    let all = [
        ("mean", outcome.latency_mean_ns, mean),
        ("p50", at(0.5), mean * 2_f64.ln()),
        ("p99", at(0.99), mean * 100_f64.ln()),
    ];
    differences(&all, 0.06)
}

#[test]
fn one_server_with_steady_service_is_m_d_1() {
    for load in [0.1, 0.5, 0.8] {
        let outcome = one_server(load, Spread::Steady, None).play();
        assert_eq!(of_steady(&outcome, load), Vec::<String>::new(), "load {load}");
        assert_eq!(outcome.finished, (BATCHES, BATCHES));
    }
}

#[test]
fn one_server_with_exponential_service_is_m_m_1() {
    for load in [0.1, 0.5, 0.8] {
        let outcome = one_server(load, Spread::Exponential, None).play();
        assert_eq!(of_exponential(&outcome, load), Vec::<String>::new(), "load {load}");
    }
}

/// Two cores that share nothing are two servers, each with half of the load.
#[test]
fn cores_that_share_nothing_are_servers_beside_each_other() {
    let mut setup = one_server(0.6, Spread::Steady, None);
    setup.layout = Layout::fused(2);
    setup.arrivals = Arrivals::Random(2.0 * 0.6 / SERVICE_NS * 1e9);
    assert_eq!(of_steady(&setup.play(), 0.6), Vec::<String>::new());
}

/// At the limit, a core for sessions and one for documents do what the slower of both does.
fn at_the_limit(plant: Option<Plant>) -> Vec<String> {
    let mut costs = costs();
    costs.reception.own.batch_ns = 300.0;
    costs.validation.own.batch_ns = 500.0;
    costs.validation.crossing.batch_ns = 200.0;
    let workload = Workload { crossing_share: None, ..workload() };
    let arrivals = Arrivals::Always;
    let layout = Layout::split();
    let setup = Setup { layout, costs, workload, arrivals, spread: Spread::Steady, plant };
    let outcome = setup.play();
    let busy = |core: usize| outcome.busy[core].work();
    let all = [
        ("rate", outcome.batches_per_second, 1e9 / 700.0),
        ("sessions' core", busy(0), 300.0 / 700.0),
        ("documents' core", busy(1), 1.0),
    ];
    differences(&all, 0.02)
}

#[test]
fn the_limit_is_that_of_the_slowest_core() {
    assert_eq!(at_the_limit(None), Vec::<String>::new());
}

#[test]
fn who_sleeps_answers_after_its_wake_up() {
    let mut setup = one_server(0.001, Spread::Steady, None);
    setup.costs.wake.awake_ns = 20_000.0;
    setup.costs.wake.parked_ns = 50_000.0;
    let outcome = setup.play();
    // Of gaps with a mean of 1,000 services, those longer than 20 are slept through.
    let share: f64 = 20_000.0 / (SERVICE_NS * 1000.0);
    let sleeps = (-share).exp();
    let mean = SERVICE_NS + 50_000.0 * sleeps;
    let differences = differences(&[("mean", outcome.latency_mean_ns, mean)], 0.04);
    assert_eq!(differences, Vec::<String>::new());
}

#[test]
fn the_same_seed_gives_the_same_answer() {
    let play = |seed| {
        let mut setup = one_server(0.7, Spread::Exponential, None);
        setup.workload.seed = seed;
        setup.play()
    };
    let (one, other, third) = (play(1), play(1), play(2));
    assert_eq!(one.latency_mean_ns.to_bits(), other.latency_mean_ns.to_bits());
    assert_eq!(one.latency, other.latency);
    assert_ne!(one.latency_mean_ns.to_bits(), third.latency_mean_ns.to_bits());
}

/// Each check above goes red for the fault that it is there for.
#[test]
fn planted_faults_are_seen() {
    let steady = |plant| of_steady(&one_server(0.8, Spread::Steady, Some(plant)).play(), 0.8);
    assert!(!steady(Plant::EvenArrivals).is_empty());
    let exponential = one_server(0.8, Spread::Exponential, Some(Plant::LastFirst)).play();
    assert!(!of_exponential(&exponential, 0.8).is_empty());
    assert!(!at_the_limit(Some(Plant::FreeCrossing)).is_empty());
    let lost = one_server(0.5, Spread::Steady, Some(Plant::Loses)).play();
    assert!(lost.finished.0 < lost.finished.1);
    // A service that is a tenth longer than it is said to be.
    let mut slow = one_server(0.5, Spread::Steady, None);
    slow.costs.validation.own.batch_ns *= 1.1;
    assert!(!of_steady(&slow.play(), 0.5).is_empty());
}

/// No stage is left out of a turn.
#[test]
fn every_stage_takes_its_time() {
    for stage in Stage::ALL {
        let mut setup = one_server(0.5, Spread::Steady, None);
        setup.workload.ends = Ends::Harness;
        setup.costs.validation.own.batch_ns = 0.0;
        setup.costs.of_mut(stage).own.batch_ns = SERVICE_NS;
        assert_eq!(of_steady(&setup.play(), 0.5), Vec::<String>::new(), "{stage:?}");
    }
}
