//! A seed is the same every time, and a failing one is made small.

use deltaworks_simulator::schedule::{Schedule, keep_panics};
use deltaworks_simulator::shrink::shrink;

/// The same steps, clients, messages and counts: nothing depends on where or when it runs.
#[test]
fn a_seed_is_replayed_bit_for_bit() {
    keep_panics();
    for seed in [3, 17, 100] {
        let schedule = Schedule::of_seed(seed);
        let first = schedule.run_with(true).expect("it passes");
        let again = std::thread::spawn(move || schedule.run_with(true).expect("it passes"));
        assert_eq!(again.join().expect("it ends"), first, "seed {seed}");
    }
}

/// A fault that is planted in the pipeline is found, and what is left of the schedule shows it.
#[test]
fn a_planted_fault_is_found_and_made_small() {
    keep_panics();
    let leaking = |seed| Schedule { leaks: true, ..Schedule::of_seed(seed) };
    let seed = (0..200).find(|seed| leaking(*seed).run().is_err()).expect("some seed finds it");
    let whole = leaking(seed);
    let small = shrink(&whole).expect("it fails again");
    assert!(small.schedule.steps.len() * 4 < whole.steps.len(), "{} steps", small.runs);
    let again = small.schedule.run_with(true).expect_err("the small one fails");
    assert_eq!(again, small.failure, "and always in the same way");
    let unplanted = Schedule { leaks: false, ..small.schedule };
    assert_eq!(unplanted.run().err(), None, "it is the fault that fails");
}
