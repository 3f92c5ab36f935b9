//! PROTOCOL.md says what the code does: its worked examples, its table of errors, its limits.
//!
//! A worked example is a fenced block `hex NAME`: bytes in hex, two blanks, a comment. It is read from
//! the document, compared with what the encoder makes of the same values, and decoded again.

use std::collections::BTreeMap;
use std::fmt::Write;

use deltaworks_image::builder;
use deltaworks_image::{
    BatchBuilder, DELTA_BYTES_MAX, DocumentId, Image, Kind, Limits, Stamp, check_batch, check_info,
    stamp,
};
use deltaworks_protocol::error_code::ErrorCode;
use deltaworks_protocol::message::{
    Access, Ack, ClientHello, ClientMessage, Close, Closed, Control, Credit, Drop, ErrorMessage,
    Gap, Open, OpenOptions, Opened, PATH_BYTES_MAX, PROGRAM_BYTES_MAX, Ping, Policy, Pong,
    ServerHello, ServerMessage, Start, TEXT_BYTES_MAX, split_control,
};
use deltaworks_protocol::server::Config;

const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../PROTOCOL.md"));

/// What an example's bytes must decode to, in words.
type Reading = fn(&[u8]) -> Option<String>;

struct Example {
    name: &'static str,
    bytes: Vec<u8>,
    reading: Reading,
}

fn example(name: &'static str, message: &impl Control, reading: Reading) -> Example {
    let mut bytes = Vec::new();
    message.encode_to(&mut bytes);
    Example { name, bytes, reading }
}

fn client(bytes: &[u8]) -> Option<String> {
    let (kind, body) = split_control(bytes, &Limits::DEFAULT).ok()?;
    Some(format!("{:?}", ClientMessage::decode(kind, body).ok()?))
}

fn server(bytes: &[u8]) -> Option<String> {
    let (kind, body) = split_control(bytes, &Limits::DEFAULT).ok()?;
    Some(format!("{:?}", ServerMessage::decode(kind, body).ok()?))
}

fn inbound(bytes: &[u8]) -> Option<String> {
    let limits = Limits::DEFAULT;
    let inbound = check_batch(bytes, &limits).or_else(|_| check_info(bytes, &limits)).ok()?;
    let image = Image::parse(bytes).ok()?;
    let deltas: Vec<&[u8]> = image.deltas().collect();
    Some(format!("{inbound:?} {deltas:?} {:?}", image.info_map()))
}

fn outbound(bytes: &[u8]) -> Option<String> {
    let image = Image::parse(bytes).ok()?;
    image.verify().ok()?;
    let deltas: Vec<&[u8]> = image.deltas().collect();
    Some(format!(
        "{} {} {} {} {} {deltas:?}",
        image.document(),
        image.first_sequence(),
        image.time_us(),
        image.origin(),
        image.producer_sequence(),
    ))
}

fn images() -> Vec<Example> {
    let mut batch = BatchBuilder::new(Limits::DEFAULT);
    batch.append(b"hi").unwrap();
    batch.append(b"you").unwrap();
    let inbound_bytes = batch.finish(3, 7).unwrap();
    let mut outbound_bytes = inbound_bytes.clone();
    let fields = Stamp {
        document: DocumentId { slot: 5, generation: 2 },
        first_sequence: 1_000,
        time_us: 1_767_225_600_000_000,
        origin: 9,
    };
    stamp(&mut outbound_bytes, fields);
    let info = builder::info(&Limits::DEFAULT, 3, 8, &[0xa1, 0x61, 0x6b, 0x07]).unwrap();
    vec![
        Example { name: "batch-in", bytes: inbound_bytes, reading: inbound },
        Example { name: "batch-out", bytes: outbound_bytes, reading: outbound },
        Example { name: "info-in", bytes: info, reading: inbound },
    ]
}

fn examples() -> Vec<Example> {
    let config = Config::default();
    let hello = ClientHello { version_min: 1, version_max: 1, client: "demo", token: None };
    let hello_answer = ServerHello {
        version: 1,
        server: "deltaworksd",
        batch_bytes_max: config.limits.image_bytes_max,
        deltas_per_batch_max: config.limits.deltas_per_batch_max,
        documents_per_session_max: config.documents_per_session_max,
        ping_interval_ms: config.ping_interval_ms,
        ping_timeout_ms: config.ping_timeout_ms,
        name_bytes_max: config.name_bytes_max,
        durability: "memory",
    };
    let options = OpenOptions {
        access: Access::Both,
        start: Start::Sequence { sequence: 1_000, epoch: 42 },
        policy: Policy::Wait,
        producer: 77,
        echo: true,
    };
    let opened = Opened {
        request: 1,
        handle: 3,
        document: DocumentId { slot: 5, generation: 2 }.to_bits(),
        epoch: 42,
        window_start: 900,
        next_sequence: 1_000,
        start_sequence: 1_000,
        credit: 262_144,
        origin: 9,
        producer_sequence: 6,
        info: None,
        kind: "cbor",
        policy: Some(1),
    };
    let ack = Ack { handle: 3, producer_sequence: 7, sequence: 1_000, credit: 72, duplicates: 0 };
    let mut error = ErrorMessage::new(ErrorCode::DeltaInvalid, "no number");
    error.handle = Some(3);
    error.producer_sequence = Some(8);
    error.delta = Some(1);
    error.offset = Some(4);
    let error = error.at("/n", "/properties/n/type");
    let mut all = images();
    all.extend([
        example("hello-client", &hello, client),
        example("hello-server", &hello_answer, server),
        example("open", &Open::new(1, "notes/today", options), client),
        example("opened", &opened, server),
        example("ack", &ack, server),
        example("error", &error, server),
        example(
            "gap",
            &Gap { handle: 3, from: 1_002, to: 1_500, policy: 2, behind_bytes: 1_048_832 },
            server,
        ),
        example("credit", &Credit { handle: 3, bytes: 4_096 }, server),
        example("ping", &Ping { token: 1 }, server),
        example("pong", &Pong { token: 1 }, client),
        example("close", &Close { handle: Some(3) }, client),
        example("close-session", &Close { handle: None }, client),
        example("closed", &Closed::new(Some(3), ErrorCode::Closed, "as asked"), server),
        example("drop", &Drop { handle: 3 }, client),
    ]);
    all
}

/// The bytes of each fenced block `hex NAME`.
fn blocks(document: &str) -> BTreeMap<String, Vec<u8>> {
    let mut blocks = BTreeMap::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("```hex ") else { continue };
        let mut bytes = Vec::new();
        for line in lines.by_ref().take_while(|line| *line != "```") {
            let hex = line.split("  ").next().unwrap();
            for byte in hex.split_whitespace() {
                bytes.push(u8::from_str_radix(byte, 16).expect("two hex digits"));
            }
        }
        assert!(blocks.insert(name.to_string(), bytes).is_none(), "{name} stands there twice");
    }
    blocks
}

/// What is wrong with the document's examples; empty if nothing is.
fn faults(document: &str) -> Vec<String> {
    let mut blocks = blocks(document);
    let mut faults = Vec::new();
    for Example { name, bytes, reading } in examples() {
        let Some(written) = blocks.remove(name) else {
            faults.push(format!("{name} is missing; it is\n{}", hex(&bytes)));
            continue;
        };
        if written != bytes {
            faults.push(format!("{name} is encoded as\n{}", hex(&bytes)));
        }
        if reading(&written).is_none() || reading(&written) != reading(&bytes) {
            faults.push(format!("{name} is not decoded to its values"));
        }
    }
    faults.extend(blocks.keys().map(|name| format!("{name} is not checked by anything")));
    faults
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for row in bytes.chunks(8) {
        for byte in row {
            write!(text, "{byte:02x} ").unwrap();
        }
        text.push('\n');
    }
    text
}

#[test]
fn every_worked_example_is_what_the_code_makes_and_reads() {
    let faults = faults(DOCUMENT);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_planted_change_of_any_byte_is_told() {
    let pristine = blocks(DOCUMENT);
    let mut planted = 0;
    for (name, bytes) in &pristine {
        for index in 0..bytes.len() {
            let mut document = format!("```hex {name}\n");
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            document.push_str(&hex(&changed));
            document.push_str("```\n");
            let told = faults(&document);
            let is_told = |fault: &String| fault.starts_with(&format!("{name} is encoded"));
            assert!(told.iter().any(is_told), "{name}, byte {index}");
            planted += 1;
        }
    }
    assert!(planted > 500);
}

#[test]
fn a_changed_byte_of_an_image_is_not_read_as_the_same() {
    for Example { name, bytes, reading } in images() {
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            assert_ne!(reading(&changed), reading(&bytes), "{name}, byte {index}");
        }
    }
}

/// The cells of each table row below `heading` and before the next heading.
fn rows<'a>(document: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let section = document.split("\n## ").find(|section| section.starts_with(heading));
    let lines = section.expect(heading).lines().filter(|line| line.starts_with("| "));
    let cells = lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect());
    cells
        .filter(|cells: &Vec<&str>| cells[0].starts_with(|c: char| c.is_ascii_digit() || c == '`'))
        .collect()
}

#[test]
fn the_table_of_errors_is_the_registry() {
    let rows = rows(DOCUMENT, "Errors");
    let expected: Vec<Vec<String>> = ErrorCode::ALL
        .iter()
        .map(|code| {
            vec![
                code.number().to_string(),
                format!("`{}`", code.name()),
                code.effect().words().to_string(),
                code.meaning().to_string(),
                code.advice().to_string(),
            ]
        })
        .collect();
    let lines: Vec<String> =
        expected.iter().map(|cells| format!("| {} |", cells.join(" | "))).collect();
    assert_eq!(rows, expected, "the rows are\n{}", lines.join("\n"));
}

#[test]
fn the_limits_are_the_constants() {
    let config = Config::default();
    let limits = Limits::DEFAULT;
    let known: BTreeMap<&str, (u64, ErrorCode)> = [
        ("batch_bytes_max", (limits.image_bytes_max.into(), ErrorCode::MessageTooLong)),
        ("deltas_per_batch_max", (limits.deltas_per_batch_max.into(), ErrorCode::TooManyDeltas)),
        ("delta_bytes_max", (DELTA_BYTES_MAX as u64, ErrorCode::TableImpossible)),
        ("info_bytes_max", (limits.info_bytes_max.into(), ErrorCode::MessageTooLong)),
        ("control_bytes_max", (limits.control_bytes_max.into(), ErrorCode::MessageTooLong)),
        ("name_bytes_max", (config.name_bytes_max.into(), ErrorCode::NameInvalid)),
        (
            "documents_per_session_max",
            (config.documents_per_session_max.into(), ErrorCode::HandleLimit),
        ),
        ("hello_deadline_ms", (config.hello_deadline_ms.into(), ErrorCode::HelloDeadline)),
        ("ping_timeout_ms", (config.ping_timeout_ms.into(), ErrorCode::PingTimeout)),
    ]
    .into();
    let rows = rows(DOCUMENT, "Limits");
    let mut seen = 0;
    for row in rows {
        let name = row[0].trim_matches('`');
        let code: u16 = row[2].parse().expect("an error's number");
        let code = ErrorCode::from_number(code).expect("an error of the registry");
        if row[1] == "none" {
            assert!(!known.contains_key(name), "{name} has a default");
            continue;
        }
        let number: u64 = row[1].replace(',', "").parse().expect("a number");
        if let Some(expected) = known.get(name) {
            assert_eq!((number, code), *expected, "{name}");
            seen += 1;
        }
    }
    assert_eq!(seen, known.len());
}

#[test]
fn kinds_and_bounds_are_told() {
    for kind in Kind::ALL {
        let name = format!("{kind:?}").to_lowercase();
        let row = format!("| {} | `{name}` |", kind.number());
        assert!(DOCUMENT.contains(&row), "{row}");
    }
    for (bytes, what) in
        [(TEXT_BYTES_MAX, "text"), (PATH_BYTES_MAX, "path"), (PROGRAM_BYTES_MAX, "program")]
    {
        let digits = if bytes >= 1_000 {
            format!("{},{:03}", bytes / 1_000, bytes % 1_000)
        } else {
            bytes.to_string()
        };
        assert!(DOCUMENT.contains(&format!("{digits} bytes")), "{what}: {digits} bytes");
    }
}
