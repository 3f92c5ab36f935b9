//! The soak, for a moment: every subscription of every policy is accounted for, and a drop that is not
//! told, or a delta that comes twice, is seen.

mod program;

use deltaworks_benches::isolation::plant::Plant;
use deltaworks_benches::soak::{Report, SoakOptions, run};
use program::program;

fn soak(seconds: f64, plant: Option<Plant>) -> Report {
    let options = SoakOptions {
        minutes: seconds / 60.0,
        round: 1.0,
        readers: 40,
        seed: 7,
        budget_mib: 32,
        daemon: Some(program().to_owned()),
        is_polite: true,
        json: true,
        plant,
    };
    let report = run(&options).expect("it can be run");
    serde_json::to_string(&report).expect("it can be told");
    report
}

#[test]
fn every_subscription_is_accounted_for() {
    let report = soak(6.0, None);
    assert!(report.verified, "{report:#?}");
    assert!(
        report.reckonings > 0 && report.connected > 5 && report.delivered > 1000,
        "{report:#?}"
    );
    for (policy, of) in &report.policies {
        assert_eq!(of.published, of.delivered + of.told, "{policy}");
    }
}

#[test]
fn what_is_not_told_and_what_comes_twice_is_seen() {
    for plant in [Plant::Twice, Plant::Missing, Plant::Untold] {
        // The last needs somebody to miss something first.
        let seconds = if plant == Plant::Untold { 120.0 } else { 1.0 };
        let report = soak(seconds, Some(plant));
        assert!(!report.verified && !report.differences.is_empty(), "{plant:?}: {report:#?}");
    }
}
