//! Deltas that are not what their collection demands: refused whole, with the first error's place.

use deltaworks_image::{Limits, builder};
use deltaworks_protocol::message::{Policy, Start};

use crate::daemon::{Daemon, Folder};
use crate::wire::{Peer, Refusal, Told};
use crate::witness::Witness;

/// A daemon with three collections and room for the largest deltas.
fn daemon() -> Daemon {
    let folder = Folder::new();
    let collection = |name: &str, kind: &str, schema: &str| {
        let file = folder.write(&format!("{name}.json"), schema);
        format!("{name}={kind}:{}", file.display())
    };
    let note = r#"{"properties": {"id": {"type": "uint32"}, "text": {"type": "string"}}}"#;
    let notes = collection("notes", "cbor", note);
    let any = collection("any", "cbor", "{}");
    let rows = collection("rows", "rows", note);
    let mut options = vec!["--budget-mib", "64", "--chunk-bytes", "1048576", "--documents", "500"];
    for collection in [&notes, &any, &rows] {
        options.extend(["--collection", collection]);
    }
    Daemon::start_in(folder, &options)
}

/// {"id": id, "text": text}, its text of at most 23 bytes.
fn note(id: u8, text: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xa2, 0x62, b'i', b'd', 0x18, id, 0x64, b't', b'e', b'x', b't'];
    bytes.push(0x60 | text.len() as u8);
    bytes.extend(text);
    bytes
}

/// A writer and a live reader of one document.
struct Pair {
    writer: Peer,
    reader: Peer,
    handle: u32,
    number: u64,
    sequence: u64,
}

impl Pair {
    fn open(daemon: &Daemon, name: &str) -> Pair {
        let mut reader = Peer::unix(daemon);
        reader.read(name, Start::Live, Policy::Gap);
        let mut writer = Peer::tcp(daemon);
        let handle = writer.write(name, 5).handle;
        Pair { writer, reader, handle, number: 0, sequence: 1 }
    }

    fn send(&mut self, deltas: &[&[u8]]) -> Vec<Told> {
        self.number += 1;
        assert!(self.writer.publish(self.handle, self.number, deltas));
        self.writer.until_acked(self.handle, self.number)
    }

    /// The batch is accepted, and the reader gets it next.
    fn accepted(&mut self, deltas: &[&[u8]]) {
        let told = self.send(deltas);
        assert!(
            matches!(told[..], [Told::Ack { sequence, .. }] if sequence == self.sequence),
            "{told:?}"
        );
        let Told::Batch(batch) = self.reader.next() else { panic!("the batch comes") };
        assert_eq!(batch.first_sequence, self.sequence);
        assert_eq!(batch.deltas, deltas);
        self.sequence += deltas.len() as u64;
    }

    /// The batch is refused, and nothing of it comes: its place, as told.
    fn refused(&mut self, deltas: &[&[u8]]) -> Refusal {
        let told = self.send(deltas);
        let [Told::Error(refusal), Told::Ack { sequence: 0, .. }] = &told[..] else {
            panic!("refused, then covered by an acknowledgement: {told:?}")
        };
        assert_eq!((refusal.handle, refusal.number), (Some(self.handle), Some(self.number)));
        assert!(!refusal.text.is_empty());
        refusal.clone()
    }
}

/// One bad delta refuses its whole batch, and the first error's place is told.
#[test]
fn a_delta_that_fails_the_schema_refuses_the_whole_batch() {
    let daemon = daemon();
    let witness = Witness::start(&daemon);
    let mut pair = Pair::open(&daemon, "notes/1");
    let good = note(33, b"good");
    let missing = [0xa1, 0x62, b'i', b'd', 0x07];
    let mut wrong = note(34, b"wrong");
    wrong[4..6].copy_from_slice(&[0x61, b'x']);
    let mut more = note(35, b"more");
    more[0] = 0xa3;
    more.extend([0x61, b'z', 0xf6]);
    let cases: [(&[&[u8]], u32, &str, &str); 5] = [
        (&[&good, &good, &missing, &good], 2, "", "/properties/text"),
        (&[&wrong], 0, "/id", "/properties/id/type"),
        (&[&good, &wrong, &missing], 1, "/id", "/properties/id/type"),
        (&[&good, &more], 1, "/z", ""),
        (&[&[0x80]], 0, "", "/properties"),
    ];
    for (deltas, delta, instance_path, schema_path) in cases {
        pair.accepted(&[&good]);
        let refusal = pair.refused(deltas);
        assert_eq!((refusal.code, refusal.delta), (400, Some(delta)), "{refusal:?}");
        assert_eq!(refusal.instance_path.as_deref(), Some(instance_path), "{refusal:?}");
        assert_eq!(refusal.schema_path.as_deref(), Some(schema_path), "{refusal:?}");
        let bytes = deltas[delta as usize].len() as u32;
        assert!(refusal.offset.is_some_and(|offset| offset <= bytes), "{refusal:?}");
    }
    pair.accepted(&[&good, &note(40, b"the last")]);
    witness.finish();
    daemon.stop();
}

/// A text of two bytes for each number below 16,384.
fn key(number: usize) -> [u8; 2] {
    [(number >> 7) as u8, (number & 0x7f) as u8]
}

/// A map of these keys, each with the value 0.
fn map(keys: impl ExactSizeIterator<Item = usize>) -> Vec<u8> {
    let mut bytes = vec![0xb9];
    bytes.extend((keys.len() as u16).to_be_bytes());
    for number in keys {
        bytes.push(0x62);
        bytes.extend(key(number));
        bytes.push(0);
    }
    bytes
}

/// CBOR that is deep, broken, or full of keys is refused as malformed, at its byte; what only
/// looks bad is accepted.
#[test]
fn malformed_deltas_are_refused_at_their_byte() {
    let daemon = daemon();
    let witness = Witness::start(&daemon);
    let mut pair = Pair::open(&daemon, "any/1");
    let good: &[u8] = &[0xa1, 0x61, b'k', 0x01];
    let nested = |head: &[u8], depth: usize, rest: &[u8]| {
        let mut bytes = head.repeat(depth);
        bytes.extend(rest);
        bytes
    };
    let ascending = map(0..10_000);
    let shuffled = map((0..10_000).map(|it| it * 7919 % 10_000).collect::<Vec<_>>().into_iter());
    let mut doubled = map(0..10_000);
    let last = doubled.len() - 4;
    doubled.copy_within(last - 4..last, last);
    let mut early = map(0..10_000);
    early.copy_within(3..7, 7);
    let mut claims = map(0..10_000);
    claims[1..3].copy_from_slice(&20_000_u16.to_be_bytes());
    let mut endless = vec![0xbb];
    endless.extend(u64::MAX.to_be_bytes());
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("arrays 10,000 deep", nested(&[0x81], 10_000, &[0])),
        ("arrays 10,000 deep, without end", nested(&[0x9f], 10_000, &[])),
        ("maps 10,000 deep", nested(&[0xa1, 0x61, b'k'], 10_000, &[0])),
        ("tags 10,000 deep", nested(&[0xc6], 10_000, &[0])),
        ("33 deep", nested(&[0x81], 33, &[0])),
        ("a lone continuation byte", vec![0x61, 0x80]),
        ("an overlong character", vec![0x62, 0xc0, 0xaf]),
        ("a surrogate", vec![0x63, 0xed, 0xa0, 0x80]),
        ("a character cut in pieces", vec![0x7f, 0x61, 0xc3, 0x61, 0xa4, 0xff]),
        ("a character cut off", vec![0x62, b'x', 0xc3]),
        ("a key that is not UTF-8", vec![0xa1, 0x61, 0xff, 0]),
        ("a key twice", vec![0xa2, 0x61, b'a', 0, 0x61, b'a', 1]),
        ("a key twice, the second in pieces", vec![0xa2, 0x61, b'a', 0, 0x7f, 0x61, b'a', 0xff, 1]),
        ("20,000 keys promised, 10,000 there", claims),
        ("2^64 - 1 keys promised", endless),
        ("10,000 keys without order", shuffled),
        ("the last of 10,000 keys twice", doubled),
        ("the first of 10,000 keys twice", early),
        ("a text that ends too early", vec![0x7b, 0, 0, 0, 1, 0, 0, 0, 0, b'x']),
        ("bytes behind the item", vec![0, 0]),
        ("a break alone", vec![0xff]),
        ("a reserved head", vec![0x1c]),
        ("not a number", vec![0xf9, 0x7e, 0]),
    ];
    for (what, delta) in &cases {
        let refusal = pair.refused(&[good, delta, good]);
        assert_eq!((refusal.code, refusal.delta), (401, Some(1)), "{what}: {refusal:?}");
        assert!(refusal.offset.is_some_and(|it| it as usize <= delta.len()), "{what}: {refusal:?}");
        pair.accepted(&[good]);
    }
    pair.accepted(&[&nested(&[0x81], 32, &[0])]);
    pair.accepted(&[&ascending, &map(0..10_000)]);
    pair.accepted(&[&[0x7f, 0x62, 0xc3, 0xa4, 0x60, 0xff]]);
    witness.finish();
    daemon.stop();
}

/// Rows of another shape are refused as what they are.
#[test]
fn rows_of_another_shape_are_refused() {
    let daemon = daemon();
    let witness = Witness::start(&daemon);
    let mut pair = Pair::open(&daemon, "rows/1");
    let row = |operation: u8| [&[0x83, operation, 7][..], &note(33, b"row")].concat();
    for operation in 0..3 {
        pair.accepted(&[&row(operation)]);
    }
    pair.accepted(&[&[0x82, 3, 7]]);
    for (delta, code) in [
        (row(3), 400),
        (row(4), 400),
        (vec![0x82, 0, 7], 400),
        (vec![0x83, 0, 7, 0xa0], 400),
        (vec![0x83, 0, 0x20, 0xa0], 400),
        (vec![0xa0], 400),
        (vec![0x83, 0, 7], 401),
    ] {
        assert_eq!(pair.refused(&[&delta]).code, code, "{delta:02x?}");
    }
    witness.finish();
    daemon.stop();
}

/// An info that is not one map is refused and consumes its number; the next batch goes on.
#[test]
fn an_info_that_is_no_map_is_refused() {
    let daemon = daemon();
    let witness = Witness::start(&daemon);
    let mut pair = Pair::open(&daemon, "notes/1");
    for map in [&[0x01][..], &[0xa1], &[0xa0, 0xa0], &[0x80], &[0xa1, 0x61, 0xff, 0]] {
        pair.number += 1;
        let info = builder::info(&Limits::HARD, pair.handle, pair.number, map).expect("an info");
        assert!(pair.writer.send(&info));
        let told = pair.writer.until_acked(pair.handle, pair.number);
        assert!(matches!(&told[0], Told::Error(it) if it.code == 407), "{map:02x?}: {told:?}");
    }
    pair.number += 1;
    let map = [0xa1, 0x61, b'k', 7];
    let info = builder::info(&Limits::HARD, pair.handle, pair.number, &map).expect("an info");
    assert!(pair.writer.send(&info));
    pair.writer.until_acked(pair.handle, pair.number);
    assert_eq!(pair.reader.next(), Told::Info { first_sequence: 1, map: map.to_vec() });
    pair.accepted(&[&note(33, b"next")]);
    witness.finish();
    daemon.stop();
}

/// A collection of the configuration file has limits of its own, which are told by their numbers.
#[test]
fn a_collection_refuses_what_it_allows_less_of() {
    let folder = Folder::new();
    let file = folder.write(
        "d.toml",
        "budget_mib = 40\nchunk_bytes = 65536\ndocuments = 2000\n\
         [collections.small]\nkind = \"opaque\"\nimage_bytes_max = 1024\n\
         deltas_per_batch_max = 2\ncredit_bytes = 8192\nproducers = 1\n",
    );
    let file = file.to_str().expect("a path in plain letters").to_owned();
    let daemon = Daemon::start_in(folder, &["--config", &file]);
    let mut peer = Peer::tcp(&daemon);
    let opened = peer.write("small/a", 5);
    assert_eq!(opened.credit, 8192);
    let handle = opened.handle;
    let long = [7; 1024];
    let batches: [&[&[u8]]; 4] = [&[b"1", b"2"], &[b"1", b"2", b"3"], &[&long], &[b"4"]];
    let mut refused = Vec::new();
    for (number, deltas) in (1..).zip(batches) {
        assert!(peer.publish(handle, number, deltas));
        for told in peer.until_acked(handle, number) {
            if let Told::Error(error) = told {
                refused.push((error.code, error.number));
            }
        }
    }
    assert_eq!(refused, [(410, Some(2)), (410, Some(3))]);
    daemon.stop();
}
