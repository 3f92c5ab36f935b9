//! Traces that people typed, and the worked example of the format's document.
//!
//! The traces are found in `$DELTAWORKS_TEST_DATA/traces`, by default `../shared/data/traces` beside
//! the workspace. Where they are missing the test is skipped and says so; with `CI=true` it fails.

use std::path::{Path, PathBuf};

use deltaworks::editing::{
    Bounds, PatchRef, Text, Trace, TraceFault, decode_delta, encode_delta, text::PatchFault,
};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The traces that people typed, or none, visibly.
fn typed_traces() -> Vec<PathBuf> {
    let data = std::env::var_os("DELTAWORKS_TEST_DATA")
        .map_or_else(|| workspace().join("../shared/data"), PathBuf::from);
    let folder = data.join("traces");
    let mut found: Vec<PathBuf> = match std::fs::read_dir(&folder) {
        Ok(entries) => entries.map(|entry| entry.expect("readable").path()).collect(),
        Err(_) => Vec::new(),
    };
    found.retain(|path| path.to_string_lossy().contains(".json"));
    found.sort();
    if found.is_empty() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "no traces in {folder:?}");
        eprintln!("SKIPPED: no traces in {}", folder.display());
    }
    found
}

/// Sends every transaction through the codec into a text per lane, as a replay's reader does.
fn rebuild_through_deltas(trace: &Trace, lanes: u32) -> Result<Vec<Text>, PatchFault> {
    let mut texts: Vec<Text> = (0..lanes).map(|_| Text::new(&trace.start)).collect();
    let mut bytes = Vec::new();
    for (index, patches) in trace.transactions.iter().enumerate() {
        for lane in 0..lanes {
            bytes.clear();
            encode_delta(lane, index as u32, patches, &mut bytes).expect("fits a delta");
            let delta = decode_delta(&bytes).expect("what was encoded");
            assert_eq!((delta.lane, delta.index), (lane, index as u32));
            for PatchRef { position, deleted, inserted } in delta.patches() {
                texts[delta.lane as usize].apply(position, deleted, inserted)?;
            }
        }
    }
    Ok(texts)
}

#[test]
fn typed_traces_verify_and_survive_the_codec() {
    for path in typed_traces() {
        let trace = Trace::open(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert!(!trace.transactions.is_empty(), "{path:?}");
        assert_eq!(trace.verify(), Ok(()), "{path:?}");
        for text in rebuild_through_deltas(&trace, 2).expect("verified") {
            assert_eq!(text.first_difference(&trace.end), None, "{path:?}");
        }
        println!("{path:?}: {} patches", trace.patches());
    }
}

#[test]
fn a_planted_fault_in_a_typed_trace_is_told() {
    for path in typed_traces() {
        let mut trace = Trace::open(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let chars = trace.end.chars().count();
        let end = trace.end.clone();

        trace.end.push('!');
        let fault = TraceFault::EndDiffers { position: chars, chars, end_chars: chars + 1 };
        assert_eq!(trace.verify(), Err(fault), "{path:?}: a wrong end");

        trace.end = end;
        let middle = trace.transactions.len() / 2;
        let lost = trace.transactions.remove(middle);
        assert!(trace.verify().is_err(), "{path:?}: a lost transaction");
        trace.transactions.insert(middle, lost.clone());
        assert_eq!(trace.verify(), Ok(()), "{path:?}: put back");
        trace.transactions.insert(middle, lost);
        assert!(trace.verify().is_err(), "{path:?}: a doubled transaction");
    }
}

/// The content of the one fenced block of kind `fence` in the format's document.
fn block(fence: &str) -> String {
    let document = std::fs::read_to_string(workspace().join("docs/TRACES.md")).expect("readable");
    let start = format!("```{fence}\n");
    let mut blocks = document.split(&start).skip(1);
    let block = blocks.next().expect("a block of this kind");
    assert!(blocks.next().is_none(), "one block of kind {fence}");
    block.split("```").next().expect("before the fence").to_owned()
}

#[test]
fn the_documents_example_is_what_the_code_does() {
    let json = block("json");
    let trace = Trace::read(json.as_bytes(), &Bounds::default()).expect("the document's trace");
    assert_eq!(trace.verify(), Ok(()));

    let hex: Vec<u8> = block("hex")
        .split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).expect("two hexadecimal digits"))
        .collect();
    let mut bytes = Vec::new();
    encode_delta(3, 0, &trace.transactions[0], &mut bytes).expect("fits a delta");
    assert_eq!(bytes, hex);
    let delta = decode_delta(&hex).expect("the document's delta");
    assert_eq!((delta.lane, delta.index, delta.patches().len()), (3, 0, 2));
    let (read, written) = (delta.patches(), &trace.transactions[0]);
    assert!(read.zip(written).all(|(read, written)| read.position == written.position
        && read.deleted == written.deleted
        && *read.inserted == *written.inserted));
}
