//! Editing traces: JSON or gzip, read within bounds; what was read is written and read to the same.
//!
//! Input: the file. It is read whole and in small pieces, which must not matter, then verified, and
//! each of its transactions goes through the encoding of deltas. A last look takes the file for such
//! a delta.

use std::io::{BufReader, Write};

use deltaworks::editing::{Bounds, FileError, Patch, Trace, decode_delta, encode_delta};
use flate2::Compression;
use flate2::write::GzEncoder;

/// Small enough that a fuzzer breaks each of them.
const BOUNDS: Bounds =
    Bounds { json_bytes_max: 64 << 10, transactions_max: 512, patches_max: 1_024 };

/// Reads with the project's reader.
pub fn run(data: &[u8]) {
    body(|input, bounds| Trace::read(input, bounds), data);
}

/// Reads with `read`.
///
/// # Panics
/// If a bound is broken, or a trace changes on its way through a file or a delta.
pub fn body(read: impl Fn(&[u8], &Bounds) -> Result<Trace, FileError>, data: &[u8]) {
    if let Ok(delta) = decode_delta(data) {
        let patches: Vec<Patch> = delta
            .patches()
            .map(|patch| Patch {
                position: patch.position,
                deleted: patch.deleted,
                inserted: patch.inserted.into(),
            })
            .collect();
        let mut again = Vec::new();
        encode_delta(delta.lane, delta.index, &patches, &mut again).expect("it was decoded");
        assert_eq!(again, data, "one transaction has one encoding");
    }
    let told = read(data, &BOUNDS);
    let in_pieces = Trace::read(BufReader::with_capacity(3, data), &BOUNDS);
    let trace = match (told, in_pieces) {
        (Ok(trace), Ok(again)) => {
            assert_eq!(trace, again);
            trace
        }
        (Err(_), Err(_)) => return,
        (told, again) => panic!("whole {:?}, in pieces {:?}", told.err(), again.err()),
    };
    assert!(trace.transactions.len() <= BOUNDS.transactions_max);
    assert!(trace.patches() <= BOUNDS.patches_max);
    assert!(trace.start.len() + trace.end.len() < BOUNDS.json_bytes_max as usize);
    written_and_read(&read, &trace);
    replay(&trace);
}

fn written_and_read(read: &impl Fn(&[u8], &Bounds) -> Result<Trace, FileError>, trace: &Trace) {
    let mut json = Vec::new();
    trace.write(&mut json).expect("memory takes every byte");
    // A character below 32 is written with six bytes, and may have been read from one that was escaped.
    let bounds = Bounds { json_bytes_max: 1 << 20, ..BOUNDS };
    assert_eq!(read(&json, &bounds).expect("what was written"), *trace);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&json).expect("memory takes every byte");
    let packed = packed.finish().expect("memory takes every byte");
    assert_eq!(read(&packed, &bounds).expect("what was packed"), *trace);
}

/// Rebuilds the text, and once more from deltas.
fn replay(trace: &Trace) {
    let verdict = trace.verify();
    let Ok(text) = trace.rebuild() else {
        assert!(verdict.is_err());
        return;
    };
    assert_eq!(verdict.is_ok(), text.first_difference(&trace.end).is_none());
    let mut again = deltaworks::editing::Text::new(&trace.start);
    for (index, patches) in trace.transactions.iter().enumerate() {
        let mut bytes = Vec::new();
        if encode_delta(3, index as u32, patches, &mut bytes).is_err() {
            return;
        }
        let delta = decode_delta(&bytes).expect("it was encoded");
        assert_eq!((delta.lane, delta.index as usize), (3, index));
        for patch in delta.patches() {
            let done = again.apply(patch.position, patch.deleted, patch.inserted);
            done.expect("it fitted when it came from the trace");
        }
    }
    assert_eq!(again.to_string(), text.to_string());
}
