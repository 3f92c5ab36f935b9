//! The files that a forecast is made from: what is wrong in them is told, with its place.

use deltaworks_capacity::costs::{Costs, CrossingCost, Inside, Stage, table_places};
use deltaworks_capacity::workload::{Law, Workload};

#[test]
fn a_workload_says_only_what_matters() {
    let workload = Workload::parse("documents = 5\nlaw = \"zipf\"").expect("a workload");
    assert_eq!((workload.documents, workload.law), (5, Law::Zipf));
    assert_eq!(workload.batch, Workload::default().batch);
}

#[test]
fn what_is_wrong_in_a_workload_is_told() {
    for (text, must) in [
        ("document = 5", "document"),
        ("documents = 0", "documents"),
        ("batch = 5000", "batch"),
        ("rate = -1.0", "rate"),
        ("rate = nan", "rate"),
        ("crossing_share = 1.5", "crossing_share"),
        ("law = \"normal\"", "normal"),
        ("documents = \"five\"", "line 1"),
    ] {
        let error = Workload::parse(text).expect_err(text);
        assert!(error.contains(must), "{text}: {error}");
    }
}

#[test]
fn tables_of_handles_double() {
    for (handles, places) in
        [(0.0, 4.0), (1.0, 4.0), (5.0, 8.0), (1024.0, 1024.0), (1024.5, 2048.0)]
    {
        assert_eq!(table_places(handles), places, "{handles}");
    }
}

/// What a crossing costs anyway does not grow with the distance; all the rest does.
#[test]
fn costs_are_told_for_a_distance() {
    let mut costs = Costs { distance_ns: 100.0, ..Costs::nothing() };
    costs.validation.crossing = CrossingCost::of_all([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let there = costs.at_distance(300.0);
    assert_eq!(there.validation.crossing.all(), [3.0, 6.0, 9.0, 12.0, 15.0, 18.0, 7.0]);
    assert_eq!(there.distance_ns, 300.0);
    let batch = Inside { deltas: 8.0, delta_bytes: 46.0, image_bytes: 400.0 };
    let sum = |costs: &CrossingCost, far: f64| -> f64 {
        let counts = CrossingCost::counts(&batch, 0.5, 0.1, far);
        counts.iter().zip(costs.all()).map(|(count, ns)| count * ns).sum()
    };
    let (one, other) = (sum(&costs.validation.crossing, 3.0), sum(&there.validation.crossing, 1.0));
    assert!((one - other).abs() < 1e-9, "{one} {other}");
}

#[test]
fn costs_are_read_whole_or_not_at_all() {
    let good = serde_json::to_value(Costs::nothing()).expect("costs are text");
    assert_eq!(Costs::parse(&good.to_string()), Ok(Costs::nothing()));
    let spoilt = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut spoilt = good.clone();
        change(&mut spoilt);
        Costs::parse(&spoilt.to_string()).expect_err("spoilt")
    };
    assert!(spoilt(&|it| it["version"] = 99.into()).contains("version 99"));
    assert!(spoilt(&|it| it["wake"]["parked_ns"] = (-1.0).into()).contains("wake"));
    assert!(spoilt(&|it| it["turn"]["sends"] = 0.into()).contains("turn"));
    assert!(spoilt(&|it| it["memory"]["more"] = 1.into()).contains("more"));
    let missing =
        spoilt(&|it| drop(it["socket"].as_object_mut().expect("a map").remove("send_ns")));
    assert!(missing.contains("send_ns"));
    for stage in Stage::ALL {
        let told = spoilt(&|it| it[stage.name()]["crossing"]["byte_ns"] = (-0.5).into());
        assert!(told.contains(stage.name()), "{told}");
    }
}
