//! The daemon's configuration: any file, variables and flags; what is in effect is printed and read to
//! the same.
//!
//! Input: a file's text, then behind a zero byte variables, one a line, and behind another collections
//! as flags give them, one a line. Whatever is wrong is told, with a line that the file has.

use std::path::PathBuf;

use deltaworksd::config::print::{as_json, as_toml};
use deltaworksd::config::{Effective, FileLayer, Flags, KEYS, Layers, Mistakes};

/// The file, as mistakes name it.
const PATH: &str = "/fuzz.toml";

/// Reads with the project's reader.
pub fn run(data: &[u8]) {
    body(Layers::combine, data);
}

/// Reads with `combine`.
///
/// # Panics
/// If a mistake has no place, or a configuration changes when it is printed and read again.
pub fn body(combine: impl Fn(&Layers) -> Result<Effective, Mistakes>, data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    let layers = layers(text);
    let effective = match combine(&layers) {
        Ok(effective) => effective,
        Err(mistakes) => {
            assert_told(&mistakes, &layers);
            return;
        }
    };
    assert_eq!(effective.origins.len(), KEYS.len());
    let printed = as_toml(&effective);
    let file = FileLayer { path: PathBuf::from(PATH), text: printed };
    let again = Layers { file: Some(file), ..Layers::default() };
    let again = match combine(&again) {
        Ok(again) => again,
        Err(mistakes) => panic!("what was printed is refused: {mistakes}"),
    };
    assert_eq!(again.config, effective.config, "what was printed is what was in effect");
    assert!(as_json(&effective).is_object());
}

fn layers(text: &str) -> Layers {
    // Neither variables nor flags can hold a zero byte.
    let mut parts = text.split('\0');
    let file =
        FileLayer { path: PathBuf::from(PATH), text: parts.next().unwrap_or_default().to_owned() };
    let variables = parts.next().unwrap_or_default().lines();
    let environment = variables
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (format!("DELTAWORKS_{name}"), value.to_owned()))
        .collect();
    let collections = parts.next().unwrap_or_default().lines().map(str::to_owned).collect();
    Layers { file: Some(file), environment, flags: Flags { words: Vec::new(), collections } }
}

fn assert_told(mistakes: &Mistakes, layers: &Layers) {
    assert!(!mistakes.0.is_empty(), "what is refused has a reason");
    let lines = layers.file.as_ref().map_or(0, |file| file.text.matches('\n').count() + 1);
    for mistake in &mistakes.0 {
        assert!(!mistake.message.is_empty() && !mistake.place.is_empty());
        if let Some(line) = mistake.place.strip_prefix(&format!("{PATH}:")) {
            let line: usize = line.parse().expect("a line's number");
            assert!((1..=lines).contains(&line), "{mistake} in a file of {lines} lines");
        }
    }
}
