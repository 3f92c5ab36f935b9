//! Bytes that are no messages: cut off, random, with lengths that lie, of unknown versions and
//! kinds. The session that sent them ends with its number, and nothing of them is applied.

use std::time::Duration;

use deltaworks_image::header::HEADER_BYTES;
use deltaworks_image::{Limits, builder, crc::crc32c};
use deltaworks_protocol::message::{ClientHello, Open, Policy, Start};

use crate::daemon::Daemon;
use crate::wire::{HELLO, Opened, Peer, Stream, Told, batch, encoded, writing};
use crate::witness::Witness;

/// What a client sends before `opened`.
fn greeting(producer: u64) -> Vec<u8> {
    let mut greeting = encoded(&HELLO);
    greeting.extend(encoded(&Open::new(1, "cut", writing(producer))));
    greeting
}

/// What it sends behind it.
fn message(producer: u64, opened: &Opened) -> Vec<u8> {
    batch(opened.handle, opened.producer_sequence + 1, &[&producer.to_le_bytes(), b"second"])
}

/// Sends `bytes` in two pieces, with a pause between them.
fn send_in_two(peer: &mut Peer, bytes: &[u8], cut: usize) {
    let (first, second) = bytes.split_at(cut.min(bytes.len()));
    assert!(peer.send(first));
    std::thread::sleep(Duration::from_micros(500));
    assert!(peer.send(second));
}

fn opened(peer: &mut Peer, cut: usize) -> Opened {
    assert!(matches!(peer.next(), Told::Hello { .. }), "cut at {cut}");
    match peer.next() {
        Told::Opened(opened) => opened,
        told => panic!("cut at {cut}: {told:?}"),
    }
}

/// A session that breaks off at any byte leaves nothing; one that pauses there is whole.
#[test]
fn frames_cut_off_at_every_byte_position() {
    let daemon = Daemon::start(&["--cores", "2"]);
    let witness = Witness::start(&daemon);
    let mut reader = Peer::unix(&daemon);
    reader.read("cut", Start::Live, Policy::Gap);
    // Producers of one size, so that all greetings are of one length.
    let (of_dead, of_alive) = (1_u64 << 32, 2_u64 << 32);
    let greeting_bytes = greeting(of_dead).len();
    let message_bytes = batch(0, 1, &[&[0; 8], b"second"]).len();
    for cut in 1..greeting_bytes + message_bytes {
        let connect = if cut % 2 == 0 { Stream::tcp } else { Stream::unix };
        let producer = of_dead + cut as u64;
        let mut dead = Peer::silent(connect(&daemon));
        assert!(dead.send(&greeting(producer)[..cut.min(greeting_bytes)]));
        if cut > greeting_bytes {
            let opened = opened(&mut dead, cut);
            assert!(dead.send(&message(producer, &opened)[..cut - greeting_bytes]));
        }
        drop(dead);

        let mut alive = Peer::silent(connect(&daemon));
        let producer = of_alive + cut as u64;
        send_in_two(&mut alive, &greeting(producer), cut);
        let opened = opened(&mut alive, cut);
        let message = message(producer, &opened);
        send_in_two(&mut alive, &message, cut.saturating_sub(greeting_bytes));
        let number = opened.producer_sequence + 1;
        assert_eq!(alive.until_acked(opened.handle, number).len(), 1, "cut at {cut}");
        let Told::Batch(got) = reader.next() else { panic!("cut at {cut}") };
        let expected = [producer.to_le_bytes().to_vec(), b"second".to_vec()];
        assert_eq!((got.first_sequence, got.deltas), (2 * cut as u64 - 1, expected.to_vec()));
    }
    assert_eq!(reader.is_alive(), [], "nothing of the cut ones was applied");
    witness.finish();
    daemon.stop();
}

/// Noise, before hello and behind it, ends its own session with a number of the wire format's.
#[test]
fn random_bytes_end_only_their_session() {
    let daemon = Daemon::start(&["--cores", "2"]);
    let witness = Witness::start(&daemon);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..150 {
        let stream = if round % 2 == 0 { Stream::unix(&daemon) } else { Stream::tcp(&daemon) };
        let mut vandal = if round % 3 == 0 { Peer::silent(stream) } else { Peer::over(stream) };
        let mut noise: Vec<u8> =
            (0..1 + random() % 64).flat_map(|_| random().to_le_bytes()).collect();
        if round % 5 > 0 {
            // Further into the checks: a version that is known, then a kind and a length that are.
            noise[6..8].copy_from_slice(&[1, 0]);
        }
        if round % 5 > 1 {
            noise[4] = [1, 2, 16, 17, 19, 23, 25, 27][random() as usize % 8];
        }
        if round % 5 > 2 {
            let length = 8 * (1 + random() as u32 % 12);
            noise[..4].copy_from_slice(&length.to_le_bytes());
            noise.resize(96, 0xff);
            noise[5] &= 7;
        }
        vandal.send(&noise);
        let mut told = vandal.rest();
        let Some(Told::Closed { handle: None, code }) = told.pop() else {
            panic!("round {round}: {noise:02x?} told {told:?}")
        };
        assert!(matches!(told.last(), Some(Told::Error(error)) if error.code == code));
        assert!((101..=114).contains(&code) || [202, 203, 209].contains(&code), "{code}");
        seen.insert(code);
    }
    assert!(seen.len() >= 6, "the noise came to different places: {seen:?}");
    witness.finish();
    daemon.stop();
}

/// Changes bytes of a batch and makes its payload's CRC fit again.
fn forged(mut image: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    change(&mut image);
    let crc = crc32c(&image[44..]);
    image[40..44].copy_from_slice(&crc.to_le_bytes());
    image
}

fn prelude(bytes: u32, kind: u8, flags: u8, version: u16) -> Vec<u8> {
    let mut prelude = bytes.to_le_bytes().to_vec();
    prelude.extend([kind, flags]);
    prelude.extend(version.to_le_bytes());
    prelude
}

/// A control message with any body.
fn control(kind: u8, body: &[u8]) -> Vec<u8> {
    let bytes = (8 + body.len()).next_multiple_of(8);
    let mut message = prelude(bytes as u32, kind, (bytes - 8 - body.len()) as u8, 1);
    message.extend(body);
    message.resize(bytes, 0);
    message
}

/// What a lie is, the bytes behind hello and `opened` of handle 0, and the number it is told.
fn lies(image_bytes_max: u32, deltas_max: u32) -> Vec<(String, Vec<u8>, u16)> {
    let good = || batch(0, 1, &[b"abc", b"defgh"]);
    let mut lies: Vec<(String, Vec<u8>, u16)> = Vec::new();
    let mut lie = |what: &str, bytes: Vec<u8>, code: u16| lies.push((what.to_owned(), bytes, code));

    for version in [0, 2, 0x0100, u16::MAX] {
        lie("version", prelude(64, 1, 0, version), 101);
    }
    for kind in [0, 3, 15, 28, 255] {
        lie("kind", prelude(64, kind, 0, 1), 102);
    }
    for kind in [18, 19, 20, 21, 22, 26] {
        lie("a server's kind", control(kind, &[0xa0]), 103);
    }
    for flag in 3..8 {
        lie("reserved flag", prelude(64, 1, 1 << flag, 1), 104);
    }
    for bytes in [0, 1, 7, 8, 48, 55, 57, 60, 63] {
        lie("length of a batch", prelude(bytes, 1, 0, 1), 105);
    }
    for bytes in [0, 4, 7, 9, 12] {
        lie("length of a control message", prelude(bytes, 23, 0, 1), 105);
    }
    lie("more padding than message", prelude(8, 23, 1, 1), 105);
    for bytes in [image_bytes_max + 8, 1 << 19, u32::MAX - 7, u32::MAX] {
        lie("a batch too long", prelude(bytes, 1, 0, 1), 106);
    }
    for bytes in [4096 + 8, u32::MAX - 7] {
        lie("a control message too long", prelude(bytes, 17, 0, 1), 106);
    }
    lie("an info too long", prelude(56 + 1024 + 8, 2, 0, 1), 106);
    lie("no delta", forged(good(), |it| it[44..48].fill(0)), 107);
    lie("a delta less", forged(good(), |it| it[44] = 1), 107);
    lie("a delta more", forged(good(), |it| it[44] = 3), 107);
    lie("a delta longer", forged(good(), |it| it[HEADER_BYTES] += 1), 107);
    lie("a delta shorter", forged(good(), |it| it[HEADER_BYTES + 2] -= 1), 107);
    lie(
        "a delta of 64 KiB",
        forged(good(), |it| it[HEADER_BYTES..HEADER_BYTES + 2].fill(255)),
        107,
    );
    lie("less padding told", forged(good(), |it| it[5] -= 1), 107);
    lie("more padding told", forged(good(), |it| it[5] += 1), 107);
    lie("more deltas than bytes", forged(good(), |it| it[44..46].fill(255)), 108);
    let too_many = vec![&b"x"[..]; deltas_max as usize + 1];
    lie("too many deltas", batch(0, 1, &too_many), 108);
    lie("padding of a batch", forged(good(), |it| *it.last_mut().expect("a byte") = 1), 109);
    let mut padded = control(23, &[0xa1, 0, 1]);
    *padded.last_mut().expect("a byte") = 1;
    lie("padding of a control message", padded, 109);
    for place in 12..40 {
        lie("a server's field", forged(good(), |it| it[place] = 1), 110);
    }
    lie("number 0", batch(0, 0, &[b"abc"]), 111);
    let info = || builder::info(&Limits::HARD, 0, 1, &[0xa0]).expect("an info");
    lie(
        "an info without map",
        forged(info(), |it| {
            it.truncate(HEADER_BYTES);
            it[0] = HEADER_BYTES as u8;
            it[5] = 0;
        }),
        112,
    );
    lie("an info with deltas", forged(info(), |it| it[44] = 1), 107);
    for place in [40, 43, 44, 48, HEADER_BYTES + 4, HEADER_BYTES + 11] {
        let mut broken = good();
        broken[place] ^= 0x10;
        // The count and the table are looked at before the CRC.
        let code = if place == 44 { 107 } else { 113 };
        lie("a flipped bit", broken, code);
    }
    for (what, body) in [
        ("no body", &[][..]),
        ("no map", &[0x01]),
        ("a map cut off", &[0xa1]),
        ("a value of another type", &[0xa1, 0, 0x61, b'x']),
        ("a negative number", &[0xa1, 0, 0x20]),
        ("a map without end", &[0xbf, 0, 1]),
        ("a map that claims 2^64 - 1 entries", &[0xbb, 255, 255, 255, 255, 255, 255, 255, 255]),
        ("the field missing", &[0xa0]),
        ("a second item, and long", &[0xa1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
    ] {
        lie(what, control(23, body), 114);
    }
    let mut deep = vec![0xa2, 0, 1, 1];
    deep.extend([0x81; 4000]);
    deep.push(0);
    lie("an unknown field, 4,000 deep", control(23, &deep), 0);
    lie("a name that is not UTF-8", control(17, &[0xa3, 0, 1, 1, 0x62, 0xc3, 0x28, 2, 1]), 114);
    lie("a second hello", encoded(&HELLO), 203);
    lies
}

/// Every lie of the wire format is told by its number and ends the session; what was sent before
/// is answered, and the streams of others go on.
#[test]
fn lies_are_told_by_their_numbers() {
    let daemon = Daemon::start(&["--cores", "2"]);
    let witness = Witness::start(&daemon);
    let mut reader = Peer::unix(&daemon);
    reader.read("lies", Start::Live, Policy::Gap);
    let mut first = Peer::silent(Stream::unix(&daemon));
    assert!(first.say(&HELLO));
    let Told::Hello { image_bytes_max, deltas_max } = first.next() else { panic!("no hello") };
    for (index, (what, bytes, code)) in lies(image_bytes_max, deltas_max).into_iter().enumerate() {
        let connect = if index % 2 == 0 { Stream::unix } else { Stream::tcp };
        let mut liar = Peer::over(connect(&daemon));
        liar.write("lies", 1000 + index as u64);
        // What the lie announces may be long: it is told at its prelude.
        liar.send(&bytes);
        if code == 0 {
            // Fields that are not known are passed over, however they look.
            assert!(matches!(liar.next(), Told::Pong(1)), "{what}");
            continue;
        }
        let mut told = liar.rest();
        let closed = told.pop();
        let error = told.pop();
        assert_eq!(closed, Some(Told::Closed { handle: None, code }), "{what}: {error:?}");
        let is_told = matches!(&error, Some(Told::Error(it)) if it.code == code);
        assert!(is_told && told.is_empty(), "{what}: {error:?} {told:?}");
    }
    assert_eq!(reader.is_alive(), [], "nothing of a lie was applied");
    witness.finish();
    daemon.stop();
}

/// The first word must be hello, with a version that the server speaks.
#[test]
fn hello_comes_first_and_once() {
    let daemon = Daemon::start(&[]);
    let witness = Witness::start(&daemon);
    let hello = |min, max| encoded(&ClientHello { version_min: min, version_max: max, ..HELLO });
    for (bytes, code) in [
        (encoded(&Open::new(1, "d", writing(1))), 202),
        (control(23, &[0xa1, 0, 1]), 202),
        (batch(0, 1, &[b"x"]), 202),
        (hello(2, 9), 201),
        (hello(0, 0), 201),
        (hello(9, 1), 201),
        (control(16, &[0xa0]), 114),
    ] {
        let mut peer = Peer::silent(Stream::tcp(&daemon));
        assert!(peer.send(&bytes));
        assert_eq!(peer.expect_end(code), []);
    }
    // Whatever came behind hello in the same read, hello is answered first.
    let mut hasty = Peer::silent(Stream::tcp(&daemon));
    let nameless = [encoded(&HELLO), encoded(&Open::new(1, "", writing(1)))].concat();
    assert!(hasty.send(&nameless));
    assert!(matches!(hasty.next(), Told::Hello { .. }));
    assert!(matches!(hasty.next(), Told::Error(refusal) if refusal.code == 300));
    let mut wide = Peer::silent(Stream::tcp(&daemon));
    assert!(wide.send(&hello(0, 77)));
    assert!(matches!(wide.next(), Told::Hello { .. }));
    witness.finish();
    daemon.stop();
}

/// Bytes that trickle in one by one make the same messages.
#[test]
fn bytes_that_trickle_arrive_whole() {
    let daemon = Daemon::start(&[]);
    let witness = Witness::start(&daemon);
    let mut peer = Peer::silent(Stream::tcp(&daemon));
    greeting(7).iter().for_each(|byte| assert!(peer.send(&[*byte])));
    let opened = opened(&mut peer, 1);
    message(7, &opened).iter().for_each(|byte| assert!(peer.send(&[*byte])));
    assert!(matches!(peer.next(), Told::Ack { number: 1, sequence: 1, .. }));
    witness.finish();
    daemon.stop();
}
