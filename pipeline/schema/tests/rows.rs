//! Rows: an operation, a record id, and a map under the schema.

use deltaworks_schema::{Code, Kind, KindError, Machine, Progress, Schema, SchemaFlaw};

const SCHEMA: &str = r#"{"properties":{"name":{"type":"string"},"age":{"type":"uint8"}},
    "optionalProperties":{"note":{"type":"string","nullable":true}}}"#;

fn told(cbor: &[u8]) -> Option<(Code, String)> {
    let schema = Schema::compile(Kind::Rows, SCHEMA).unwrap();
    let mut machine = Machine::new();
    let quick = machine.check(&schema, cbor, &mut 10_000);
    machine.start();
    let general = machine.run_general(&schema, cbor, &mut 10_000);
    assert_eq!(quick, general, "{cbor:02x?}");
    (general == Progress::Invalid).then(|| {
        let error = machine.error(&schema, cbor);
        (error.code, error.instance_path)
    })
}

fn row(head: &[u8], map: &[u8]) -> Vec<u8> {
    [head, map].concat()
}

const WHOLE: &[u8] = b"\xa2\x64name\x63Ada\x63age\x18\x24";
const PART: &[u8] = b"\xa1\x63age\x18\x24";

#[test]
fn operations_have_their_forms() {
    for id in [&b"\x07"[..], b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff", b"\x62id", b"\x42\xff\0"] {
        for (operation, accepts_part) in [(0, false), (1, true), (2, false)] {
            let head = [&[0x83, operation], id].concat();
            assert_eq!(told(&row(&head, WHOLE)), None);
            let part = told(&row(&head, PART));
            let missing = Some((Code::MissingProperty, "/2".to_owned()));
            assert_eq!(part, if accepts_part { None } else { missing });
            let wrong = told(&row(&head, b"\xa1\x63age\x19\x01\0"));
            assert_eq!(wrong, Some((Code::OutOfRange, "/2/age".to_owned())));
            let unknown = told(&row(&head, b"\xa1\x61x\0"));
            assert_eq!(unknown, Some((Code::AdditionalProperty, "/2/x".to_owned())));
        }
        assert_eq!(told(&row(b"\x82\x03", id)), None);
        assert_eq!(told(&row(b"\x9f\x03", &[id, b"\xff"].concat())), None);
        let open = [b"\x9f\0", id, WHOLE, b"\xff"].concat();
        assert_eq!(told(&open), None);
    }
    // `null` is a value like others: it removes nothing.
    assert_eq!(told(&row(b"\x83\x01\x07", b"\xa1\x64note\xf6")), None);
    let null = told(&row(b"\x83\x01\x07", b"\xa1\x63age\xf6"));
    assert_eq!(null, Some((Code::WrongType, "/2/age".to_owned())));
    assert_eq!(told(&row(b"\x83\x01\x07", b"\xa0")), None);
}

#[test]
fn other_shapes_are_refused() {
    let whole = |head: &[u8]| row(head, WHOLE);
    let long_id = [&b"\x83\0\x78\x41"[..], &[b'a'; 65], WHOLE].concat();
    let cases: Vec<(Vec<u8>, Code)> = vec![
        (b"\xa0".to_vec(), Code::RowShape),
        (b"\x80".to_vec(), Code::RowShape),
        (b"\x81\0".to_vec(), Code::RowShape),
        (b"\x82\0\x07".to_vec(), Code::RowShape),
        (b"\x9f\0\x07\xff".to_vec(), Code::RowShape),
        (b"\x9f\xff".to_vec(), Code::RowShape),
        (whole(b"\x83\x03\x07"), Code::RowShape),
        (whole(b"\x9f\x03\x07"), Code::RowShape),
        ([b"\x9f\0\x07", WHOLE, b"\0\xff"].concat(), Code::RowShape),
        (whole(b"\x83\x04\x07"), Code::RowOperation),
        (whole(b"\x83\x20\x07"), Code::RowOperation),
        (whole(b"\x83\x61a\x07"), Code::RowOperation),
        (whole(b"\x83\0\x20"), Code::RowId),
        (whole(b"\x83\0\x60"), Code::RowId),
        (whole(b"\x83\0\x40"), Code::RowId),
        (whole(b"\x83\0\x7f\x61a\xff"), Code::RowId),
        (whole(b"\x83\0\xf6"), Code::RowId),
        (long_id, Code::RowId),
        (whole(b"\x83\0\x61\xff"), Code::BadUtf8),
        (b"\x83\0\x07\xf6".to_vec(), Code::WrongType),
        (b"\x83\0\x07\x80".to_vec(), Code::WrongType),
        ([b"\x83\0\x07", WHOLE, b"\0"].concat(), Code::TrailingBytes),
        (b"\x83\0\x41".to_vec(), Code::Truncated),
        (b"\x83\0".to_vec(), Code::Truncated),
    ];
    for (cbor, code) in cases {
        assert_eq!(told(&cbor).map(|(code, _)| code), Some(code), "{cbor:02x?}");
    }
    let long = row(&[&b"\x83\0\x78\x40"[..], &[b'a'; 64]].concat(), WHOLE);
    assert_eq!(told(&long), None);
    for end in 0..long.len() {
        assert_eq!(told(&long[..end]).map(|(code, _)| code), Some(Code::Truncated), "{end}");
    }
}

#[test]
fn the_schema_of_rows_has_properties() {
    let flaw = |json| Schema::compile(Kind::Rows, json).map_err(|error| error.flaw).err();
    for json in [
        "{}",
        r#"{"values":{}}"#,
        r#"{"properties":{},"nullable":true}"#,
        r#"{"discriminator":"a","mapping":{}}"#,
    ] {
        assert_eq!(flaw(json), Some(SchemaFlaw::RowsNeedProperties), "{json}");
    }
    assert_eq!(flaw(r#"{"properties":{}}"#), None);
    assert_eq!(flaw(r#"{"definitions":{"a":{"properties":{}}},"ref":"a"}"#), None);
}

#[test]
fn kinds_have_names_and_arrow_is_reserved() {
    for kind in [Kind::Opaque, Kind::Cbor, Kind::Rows] {
        assert_eq!(Kind::from_name(kind.name()), Ok(kind));
    }
    assert_eq!(Kind::from_name("arrow"), Err(KindError::Reserved));
    assert_eq!(Kind::from_name("Cbor"), Err(KindError::Unknown));
}
