//! A slow subscriber of records over a socket: the newest of every record, and nothing else for certain.

use std::collections::BTreeMap;

use deltaworks_protocol::message::{Policy, Start};

use crate::daemon::{Daemon, Folder};
use crate::flow::Flow;
use crate::wire::{Peer, Told};
use crate::witness::Witness;

const SCHEMA: &str = r#"{"properties": {"n": {"type": "uint32"}}, "optionalProperties": {"pad": {"type": "string"}}}"#;

/// Records that are written again and again, and one that is written once, when the socket is full.
const RECORDS: u8 = 8;
const ONCE: u8 = 20;
const ROUNDS: u32 = 400;
/// The round in which a megabyte has been sent.
const FILLED: u32 = 22;
const PAD_BYTES: u16 = 6_000;

const UPDATE: u8 = 1;
const UPSERT: u8 = 2;

/// `[operation, id, {"n": n, "pad": "…"}]`, padded if it is an upsert.
fn row(operation: u8, id: u8, n: u32) -> Vec<u8> {
    let is_padded = operation == UPSERT;
    let mut delta = vec![0x83, operation, id, 0xa1 + u8::from(is_padded), 0x61, b'n', 0x1a];
    delta.extend(n.to_be_bytes());
    if is_padded {
        delta.extend([0x63, b'p', b'a', b'd', 0x79]);
        delta.extend(PAD_BYTES.to_be_bytes());
        delta.resize(delta.len() + usize::from(PAD_BYTES), b'x');
    }
    delta
}

/// The record of a row and its number.
fn read(delta: &[u8]) -> (u8, u32) {
    let number = delta[7..11].try_into().expect("four bytes");
    (delta[2], u32::from_be_bytes(number))
}

/// A reader of policy `conflate` that takes nothing while the memory comes round several times gets the
/// newest of every record, also of one that was written once and has left the memory; nothing older comes
/// behind it, each run that is left out is told where it stood, and another reader gets everything.
#[test]
fn a_reader_of_records_that_stands_still_ends_with_the_newest_of_each() {
    for cores in ["1", "2"] {
        let folder = Folder::new();
        let schema = folder.write("row.json", SCHEMA);
        let rows = format!("rows=rows:{},behind_bytes=65536", schema.display());
        let tiny = ["--budget-mib", "12", "--chunk-bytes", "65536", "--documents", "200"];
        let options = [&tiny[..], &["--cores", cores, "--collection", &rows]].concat();
        let daemon = Daemon::start_in(folder, &options);
        let witness = Witness::start(&daemon);
        let mut slow = Peer::unix(&daemon);
        let handle = slow.read("rows/d", Start::Live, Policy::Conflate).handle;
        let mut publisher = Peer::tcp(&daemon);
        let mut flow = Flow::open(&mut publisher, "rows/d", 1);
        let mut newest = BTreeMap::new();
        let mut published = 0;
        let mut publish = |deltas: &[Vec<u8>]| {
            for delta in deltas {
                let (id, n) = read(delta);
                newest.insert(id, n);
            }
            published += deltas.len() as u64;
            let deltas: Vec<&[u8]> = deltas.iter().map(Vec::as_slice).collect();
            assert!(flow.publish(&mut publisher, &deltas));
        };
        for n in 1..=ROUNDS {
            if n == FILLED {
                publish(&[row(UPSERT, ONCE, 1)]);
            }
            for id in 0..RECORDS {
                publish(&[row(UPSERT, id, 2 * n)]);
                publish(&[row(UPDATE, id, 2 * n + 1), row(UPDATE, id, 2 * n + 1)]);
            }
        }
        flow.settle(&mut publisher);
        assert!(u64::from(ROUNDS) * u64::from(RECORDS) * u64::from(PAD_BYTES) > 4 * (4 << 20));

        let (mut next, mut missed, mut got) = (1, 0, BTreeMap::new());
        while next <= published {
            match slow.next() {
                Told::Gap { handle: of, from, to, policy, .. } => {
                    assert_eq!((of, from, policy), (handle, next, 3), "told where it stood");
                    missed += to - from;
                    next = to;
                }
                Told::Batch(batch) => {
                    assert_eq!(batch.first_sequence, next, "nothing is missing silently");
                    next += batch.deltas.len() as u64;
                    for (id, n) in batch.deltas.iter().map(|delta| read(delta)) {
                        let before = got.insert(id, n);
                        assert!(before.is_none_or(|before| before <= n), "{before:?} before {n}");
                    }
                }
                told => panic!("a reader was told {told:?}"),
            }
        }
        assert_eq!(got, newest, "the newest of each record");
        assert!(missed > published / 2, "{missed} of {published}: it was conflated");
        witness.finish();
        daemon.stop();
    }
}
