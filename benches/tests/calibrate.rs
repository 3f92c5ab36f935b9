//! Calibration and its check, small: everything is measured and told, and a planted fault is seen. No
//! time is judged: whether forecasts come true is for a quiet machine and the command itself.

use deltaworks_benches::calibrate::cell::Cell;
use deltaworks_benches::calibrate::check::Plant;
use deltaworks_benches::calibrate::{CalibrateOptions, Calibrated, describe, run};
use deltaworks_capacity::costs::{Costs, Stage};

fn options() -> CalibrateOptions {
    CalibrateOptions {
        output: None,
        check: true,
        costs: None,
        samples: 1,
        seconds: 0.01,
        cores: vec![1],
        documents: vec![100],
        batch: vec![8],
        documents_max: 2000,
        samples_to: None,
        samples_from: None,
        json: false,
        plant: None,
    }
}

fn calibrated(options: &CalibrateOptions) -> Calibrated {
    run(options).expect("it can be run")
}

/// Costs in a file of its own, which is gone with it.
struct CostsFile(std::path::PathBuf);

impl CostsFile {
    fn new(name: &str, costs: &Costs) -> Self {
        let path = std::env::temp_dir().join(format!("deltaworks-{name}-{}", std::process::id()));
        let text = serde_json::to_string(costs).expect("costs are text");
        std::fs::write(&path, text).expect("a file");
        Self(path)
    }
}

impl Drop for CostsFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn what_is_written_is_read_again_and_checked() {
    let path = std::env::temp_dir().join(format!("deltaworks-costs-{}", std::process::id()));
    let of_one = CalibrateOptions { output: Some(path.clone()), ..options() };
    let all = calibrated(&of_one);
    let costs = all.costs;
    let text = std::fs::read_to_string(&path).expect("costs were written");
    std::fs::remove_file(&path).expect("they were there");
    let read = Costs::parse(&text).expect("costs that were written");
    // The last bit of a number may change on its way through text.
    let near = |one: f64, other: f64| (one - other).abs() <= other.abs() * 1e-12;
    assert!(near(read.validation.own.batch_ns, costs.validation.own.batch_ns));
    assert!(near(read.memory.document_bytes, costs.memory.document_bytes));
    assert_eq!((read.turn, &read.origin.cpu), (costs.turn, &costs.origin.cpu));
    for stage in Stage::ALL {
        let own = &costs.of(stage).own;
        let inside = Cell::new(1, 1, 8).inside();
        let all = own.plain().iter().sum::<f64>()
            + own.inside_ns(&inside)
            + own.cold_ns(&inside, |_| 1.0);
        assert!(all > 0.0, "{stage:?} costs something");
        assert!(describe(&costs).contains(stage.name()));
    }
    assert!(costs.memory.document_bytes > 100.0 && costs.memory.subscription_bytes > 0.0);
    assert!(costs.socket.send_ns > 0.0 && costs.socket.read_ns > 0.0);
    let [checked] = &all.checked[..] else { panic!("one cell was asked for") };
    assert!(checked.verified && checked.measured_deltas_per_second > 0.0, "{checked:?}");
    assert!(checked.predicted_deltas_per_second > 0.0 && checked.predicted_bytes > 0.0);
    assert_eq!(checked.samples.len(), 1);
}

/// Samples that were kept are taken, and their cells not run again; a line that is no sample is told.
#[test]
fn samples_that_were_kept_make_the_costs_again() {
    let path = std::env::temp_dir().join(format!("deltaworks-samples-{}", std::process::id()));
    let one = calibrated(&CalibrateOptions { samples_to: Some(path.clone()), ..options() });
    let kept = CalibrateOptions { samples_from: Some(path.clone()), ..options() };
    let other = calibrated(&kept);
    assert_eq!(one.checked[0].samples, other.checked[0].samples);
    let bytes = |it: &Calibrated| it.costs.memory.document_bytes;
    assert!((bytes(&one) - bytes(&other)).abs() < 1e-6, "{} {}", bytes(&one), bytes(&other));
    let text = std::fs::read_to_string(&path).expect("samples were written");
    std::fs::write(&path, text + "{}\n").expect("a file");
    let lines = std::fs::read_to_string(&path).map_or(0, |text| text.lines().count());
    let error = run(&kept).expect_err("no sample");
    assert!(error.contains(&format!("line {lines}: missing field")), "{error}");
    std::fs::remove_file(&path).expect("it was there");
}

/// A rate and a memory that are far from what they must be are outside, however fast the machine is.
#[test]
fn a_forecast_that_does_not_come_true_is_seen() {
    let mut costs = Costs::nothing();
    costs.validation.own.batch_ns = 1e9;
    let slow = CostsFile::new("slow-costs", &costs);
    let of_file = |plant| CalibrateOptions { costs: Some(slow.0.clone()), plant, ..options() };
    let told = calibrated(&of_file(None));
    assert!(!told.is_within(), "{told:?}");
    assert!(told.checked[0].error < -0.9 && told.checked[0].row().contains("NOT WITHIN"));
    let spoilt = calibrated(&of_file(Some(Plant::HalfTheCosts)));
    let (one, other) = (&told.checked[0], &spoilt.checked[0]);
    let twice = other.predicted_deltas_per_second / one.predicted_deltas_per_second;
    assert!((twice - 2.0).abs() < 0.1, "half of the costs are twice the rate: {twice}");
}

#[test]
fn costs_that_are_none_are_refused() {
    let mut costs = Costs::nothing();
    costs.sink.own.delta_ns = -1.0;
    let wrong = CostsFile::new("wrong-costs", &costs);
    let error = run(&CalibrateOptions { costs: Some(wrong.0.clone()), ..options() });
    assert!(error.is_err_and(|error| error.contains("sink")));
}
