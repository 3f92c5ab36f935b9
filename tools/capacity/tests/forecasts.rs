//! Forecasts for machines that are not here: what must grow grows, what is full first is named.

use deltaworks_capacity::costs::{Costs, Stage};
use deltaworks_capacity::forecast::{Forecast, Question, forecast, limit_of};
use deltaworks_capacity::layout::{Layout, Penalty};
use deltaworks_capacity::report::describe;
use deltaworks_capacity::workload::{Collection, Ends, Law, Workload};
use deltaworks_runtime::plan::{PlanConfig, plan};
use deltaworks_runtime::topology::Topology;

fn layout(description: &str, config: &PlanConfig, penalty: Penalty) -> Layout {
    let topology = Topology::synthetic(description).expect("a machine");
    let plan = plan(&topology, &topology.all_cpus(), config).expect("a plan");
    Layout::of(&plan, penalty)
}

/// Some numbers of a plausible size; none of them was measured.
fn costs() -> Costs {
    let mut costs = Costs::nothing();
    costs.memory.chunk_bytes = 2_097_152.0;
    costs.memory.chunk_share = 1.0;
    costs.memory.document_bytes = 400.0;
    costs.memory.subscription_bytes = 64.0;
    costs.reception.own.batch_ns = 30.0;
    costs.reception.own.byte_ns = 0.1;
    costs.validation.own.batch_ns = 60.0;
    costs.validation.own.delta_ns = 30.0;
    costs.validation.crossing.batch_ns = 100.0;
    costs.propagation.own.batch_ns = 25.0;
    costs.propagation.own.send_ns = 100.0;
    for stage in Stage::ALL {
        costs.of_mut(stage).own.turn_ns = 20.0;
    }
    costs.socket.send_ns = 2000.0;
    costs.socket.send_byte_ns = 0.1;
    costs.socket.read_ns = 500.0;
    costs.socket.read_byte_ns = 0.1;
    costs
}

fn workload() -> Workload {
    Workload { ends: Ends::Free, subscribers: 2, documents: 1000, ..Workload::default() }
}

/// Short simulations: what is told here is told soon.
fn question() -> Question {
    Question { steps: 200_000, ..Question::default() }
}

fn ask(layout: &Layout, workload: &Workload) -> Forecast {
    forecast(layout, workload, &costs(), question()).expect("a forecast")
}

#[test]
fn more_cores_do_more_until_far_memory_is_in_the_way() {
    let config = PlanConfig::default();
    let on = |description, penalty| ask(&layout(description, &config, penalty), &workload());
    let none = Penalty { other_l3: 1.0, other_node: 1.0 };
    let small = on("core:8 pu:1", none).limit.deltas_per_second;
    let large = on("package:2 numa:1 l3:4 core:8 pu:1", none).limit.deltas_per_second;
    assert!(large > 5.0 * small, "{small}, {large}");
    let far = Penalty { other_l3: 1.0, other_node: 20.0 };
    let far = on("package:2 numa:1 l3:4 core:8 pu:1", far).limit.deltas_per_second;
    assert!(far < 0.9 * large, "{far}, {large}");
}

#[test]
fn the_stage_that_is_full_first_is_named() {
    let one_worker =
        PlanConfig { workers: Some(1), session_cores: Some(7), ..PlanConfig::default() };
    let with = |workers: &PlanConfig, workload: &Workload| {
        let found = ask(&layout("core:8 pu:1", workers, Penalty::default()), workload);
        (found.limit.saturates_first.stage, found.limit.saturates_first.role)
    };
    assert_eq!(with(&one_worker, &workload()), (Stage::Validation, "documents"));
    let fans_out = Workload { ends: Ends::Tcp, subscribers: 64, ..workload() };
    assert_eq!(with(&PlanConfig::default(), &fans_out), (Stage::Sink, "sessions"));
}

#[test]
fn hot_documents_go_to_cores_of_their_own() {
    let config = PlanConfig {
        workers: Some(2),
        session_cores: Some(8),
        elastic_workers: 4,
        ..PlanConfig::default()
    };
    let hot = Workload { law: Law::Zipf, documents: 20, ..workload() };
    let found = ask(&layout("core:16 pu:1", &config, Penalty::default()), &hot);
    assert!(found.limit.hot_documents > 0, "{found:?}");
    assert_eq!(found.roles.2, 4);
}

#[test]
fn latency_grows_with_the_load_and_memory_with_documents() {
    let layout = layout("core:8 pu:1", &PlanConfig::default(), Penalty::default());
    let found = ask(&layout, &workload());
    let [low, half, high] = &found.rates[..] else { panic!("three shares of the limit") };
    assert!(low.latency_us.p99 <= half.latency_us.p99 && half.latency_us.p99 < high.latency_us.p99);
    assert!(found.rates.iter().all(|it| it.is_steady && it.latency_us.p50 <= it.latency_us.p99));
    let more = ask(&layout, &Workload { documents: 100_000, ..workload() });
    let grew = more.memory.total_bytes - found.memory.total_bytes;
    assert!((grew / (99_000.0 * (400.0 + 2.0 * 64.0)) - 1.0).abs() < 0.01, "{grew}");
    // Twice what it can is told as too much.
    let rate = Some(2.0 * found.limit.deltas_per_second);
    let too_much = ask(&layout, &Workload { rate, ..workload() });
    assert!(!too_much.rates[0].is_steady && describe(&too_much).contains("too much"));
}

#[test]
fn a_forecast_says_what_it_assumes() {
    let large = "package:2 numa:2 l3:4 core:12 pu:1";
    let found = ask(&layout(large, &PlanConfig::default(), Penalty::default()), &workload());
    let text = describe(&found);
    assert!(found.assumes.iter().all(|sentence| text.contains(sentence.as_str())));
    assert!(text.contains("64 cores at most today") && text.contains("stated, not measured"));
    assert_eq!(found, ask(&layout(large, &PlanConfig::default(), Penalty::default()), &workload()));
}

#[test]
fn a_machine_that_cannot_serve_is_refused() {
    let mut layout = Layout::split();
    layout.seats[1].owns_documents = false;
    assert!(forecast(&layout, &workload(), &costs(), Question::default()).is_err());
}

/// A turn has room for so many steps of validation: a core that is behind with them turns, and reads nothing.
#[test]
fn long_batches_take_turns_of_their_own() {
    let layout = Layout::fused(1);
    // Steps of a delta, and turns that a batch then takes. Without steps two are read in every second turn.
    for (batch, delta_steps, turns) in [(256, 0.0, 1.0), (256, 40.0, 1.25), (512, 64.0, 4.0)] {
        let mut costs = Costs::nothing();
        costs.upkeep.own.turn_ns = 1000.0;
        costs.turn.reception_cost = 28_000.0;
        (costs.turn.steps, costs.turn.delta_steps) = (8192.0, delta_steps);
        let cbor = Workload {
            batch,
            documents: 10,
            publishers: 1,
            subscribers: 1,
            ends: Ends::Free,
            ..Workload::default()
        };
        let opaque = Workload { collection: Collection::Opaque, ..cbor.clone() };
        let turns_of = |workload: &Workload| {
            let found = limit_of(&layout, workload, &costs, Question::default(), None);
            let rate = found.expect("a forecast").0.deltas_per_second;
            f64::from(batch) / rate * 1e9 / 1000.0
        };
        let is = turns_of(&cbor);
        assert!((is / turns - 1.0).abs() < 0.05, "{batch}, {delta_steps}: {is} turns");
        // Nobody looks into what is opaque.
        let is = turns_of(&opaque);
        assert!((is - if batch == 256 { 1.0 } else { 2.0 }).abs() < 0.05, "{batch}: {is} turns");
    }
}
