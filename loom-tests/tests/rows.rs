//! Every row names a text that stands in its source exactly once: a row that has lost its text is told
//! within seconds, not when the models run.

use std::fs;
use std::path::Path;

use deltaworks_loom_tests::STORIES;

#[test]
fn every_mutant_can_be_planted() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let rows = STORIES.iter().copied().flatten().flat_map(|model| model.mutants);
    let told: Vec<String> = rows
        .filter_map(|row| match fs::read_to_string(top.join(row.file)) {
            Ok(whole) => row.apply(&whole).err(),
            Err(error) => Some(format!("{} ({}): {error}", row.fault, row.file)),
        })
        .collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
}
