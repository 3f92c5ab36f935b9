//! The grid of layouts, small: every layout is run and told, and a planted fault is seen. No time is
//! judged: which of them carries more is for a quiet machine and the command itself.

use deltaworks_benches::layouts::{LayoutsOptions, Told, run};
use deltaworks_benches::plant::Plant;

fn told(plant: Option<Plant>) -> Option<(bool, Vec<Told>)> {
    let cpus = core_affinity::get_core_ids().unwrap_or_default().len();
    if cpus < 2 {
        eprintln!("skipped: two cores are asked for, {cpus} CPUs are there");
        return None;
    }
    let options = LayoutsOptions {
        rounds: 2,
        seconds: 0.05,
        batch: vec![32],
        documents: vec![60],
        json: false,
        plant,
    };
    let mut all = Vec::new();
    let verified = run(&options, |told| all.push(told.clone())).expect("it can be run");
    Some((verified, all))
}

#[test]
fn every_layout_is_told() {
    let Some((verified, all)) = told(None) else { return };
    assert!(verified);
    assert_eq!(all.iter().map(|it| it.rounds.len()).sum::<usize>(), 2, "every round is told");
    for told in &all {
        assert!(told.verified && told.distance_ns.median > 0.0, "{told:?}");
        // A round in which the host moved the cores has no figures.
        assert_eq!(told.figures.is_some(), told.is_near.is_some());
        let Some(it) = told.figures else { continue };
        assert!(it.fused.median > 0.0 && it.split.median > 0.0 && it.local.median > 0.0, "{it:?}");
    }
}

#[test]
fn a_split_that_is_none_is_not_verified() {
    let Some((verified, _)) = told(Some(Plant::DocumentsStay)) else { return };
    assert!(!verified);
}
