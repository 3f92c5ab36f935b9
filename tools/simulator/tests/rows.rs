//! The rows of planted bugs fit the sources: each text stands in its file exactly once.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use deltaworks_simulator::mutants::MUTANTS;

#[test]
fn every_planted_bug_fits_the_sources() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for row in MUTANTS {
        let whole = fs::read_to_string(top.join(row.file)).expect("a file of the sources");
        row.apply(&whole).unwrap_or_else(|why| panic!("{why}"));
    }
    let names: BTreeSet<&str> = MUTANTS.iter().map(|row| row.fault).collect();
    assert_eq!(names.len(), MUTANTS.len(), "each has a name of its own");
    assert!(names.len() >= 20, "{} are planted", names.len());
}
