//! Well-formedness, limits and places: one table of deltas, each with what is said of it.

use deltaworks_schema::{Code, DEPTH_MAX, Kind, Machine, Progress, Schema, ValidationError};

fn judge(schema: &str, cbor: &[u8]) -> Result<(), ValidationError> {
    judge_kind(Kind::Cbor, schema, cbor)
}

/// Judges by both ways, and by one step at a time: they must agree.
fn judge_kind(kind: Kind, schema: &str, cbor: &[u8]) -> Result<(), ValidationError> {
    let schema = Schema::compile(kind, schema).unwrap();
    let mut machine = Machine::new();
    let told = machine.check(&schema, cbor, &mut 10_000_000);
    let verdict = (told == Progress::Invalid).then(|| machine.error(&schema, cbor));
    assert_ne!(told, Progress::OutOfSteps);
    machine.start();
    let mut turns = 0;
    let sliced = loop {
        match machine.run(&schema, cbor, &mut 1) {
            Progress::OutOfSteps => turns += 1,
            done => break done,
        }
        assert!(turns < 10_000_000, "no end");
    };
    assert_eq!(sliced, told);
    match verdict {
        None => Ok(()),
        Some(error) => {
            assert_eq!(machine.error(&schema, cbor), error);
            Err(error)
        }
    }
}

fn code(schema: &str, cbor: &[u8]) -> Option<Code> {
    judge(schema, cbor).err().map(|error| error.code)
}

/// A map of the texts, each with the value 0.
fn map_of(keys: impl Iterator<Item = String>) -> Vec<u8> {
    let mut cbor = vec![0xbf];
    for key in keys {
        assert!(key.len() < 24);
        cbor.push(0x60 | key.len() as u8);
        cbor.extend_from_slice(key.as_bytes());
        cbor.push(0);
    }
    cbor.push(0xff);
    cbor
}

#[test]
fn malformed_deltas_are_refused_by_name() {
    let cases: &[(&[u8], Code)] = &[
        (b"", Code::Truncated),
        (b"\x18", Code::Truncated),
        (b"\x19\x01", Code::Truncated),
        (b"\x1b\0\0\0\0\0\0\0", Code::Truncated),
        (b"\xfa\0\0\0", Code::Truncated),
        (b"\x1c", Code::ReservedInfo),
        (b"\x3d", Code::ReservedInfo),
        (b"\x5e", Code::ReservedInfo),
        (b"\x7c", Code::ReservedInfo),
        (b"\x9d", Code::ReservedInfo),
        (b"\xbe", Code::ReservedInfo),
        (b"\xdc", Code::ReservedInfo),
        (b"\xfc", Code::ReservedInfo),
        (b"\x1f", Code::ReservedInfo),
        (b"\x3f", Code::ReservedInfo),
        (b"\xdf", Code::ReservedInfo),
        (b"\xff", Code::UnexpectedBreak),
        (b"\x81\xff", Code::UnexpectedBreak),
        (b"\xa1\xff", Code::Truncated),
        (b"\xa1\xff\0", Code::UnexpectedBreak),
        (b"\xa1\x61a\xff", Code::UnexpectedBreak),
        (b"\xbf\x61a\xff", Code::UnexpectedBreak),
        (b"\xc1\xff", Code::UnexpectedBreak),
        (b"\x42a", Code::Truncated),
        (b"\x62a", Code::Truncated),
        (b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff", Code::Truncated),
        (b"\x7b\xff\xff\xff\xff\xff\xff\xff\xff", Code::Truncated),
        (b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", Code::Truncated),
        (b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff", Code::Truncated),
        (b"\xbb\x80\0\0\0\0\0\0\0", Code::Truncated),
        (b"\x9f\0", Code::Truncated),
        (b"\xbf", Code::Truncated),
        (b"\x5f\x41a", Code::Truncated),
        (b"\x5f\x61a\xff", Code::BadChunk),
        (b"\x7f\x41a\xff", Code::BadChunk),
        (b"\x7f\x7f\x61a\xff\xff", Code::BadChunk),
        (b"\x5f\x5f\x41a\xff\xff", Code::BadChunk),
        (b"\x7f\0\xff", Code::BadChunk),
        (b"\x7f\x61\xc3\x61\xbc\xff", Code::BadUtf8),
        (b"\x61\xff", Code::BadUtf8),
        (b"\x62\xc3\x28", Code::BadUtf8),
        (b"\x63\xed\xa0\x80", Code::BadUtf8),
        (b"\x62\xc0\x80", Code::BadUtf8),
        (b"\xa1\x61\xff\0", Code::BadUtf8),
        (b"\xf8\x00", Code::BadSimple),
        (b"\xf8\x1f", Code::BadSimple),
        (b"\xf8\x20", Code::SimpleRefused),
        (b"\xe0", Code::SimpleRefused),
        (b"\xf7", Code::SimpleRefused),
        (b"\xfb\x7f\xf0\0\0\0\0\0\0", Code::NotFinite),
        (b"\0\0", Code::TrailingBytes),
        (b"\xa0\xa0", Code::TrailingBytes),
        (b"\xa1\0\0", Code::KeyNotText),
        (b"\xa1\x41a\0", Code::KeyNotText),
        (b"\xa1\xc0\x61a\0", Code::KeyNotText),
        (b"\xa2\x61a\0\x61a\0", Code::DuplicateKey),
        (b"\xa3\x61b\0\x61a\0\x61b\0", Code::DuplicateKey),
        (b"\xa2\x61a\0\x7f\x61a\xff\0", Code::DuplicateKey),
        (b"\xa2\x7f\x61a\xff\0\x61a\0", Code::DuplicateKey),
    ];
    for (cbor, expected) in cases {
        let error = judge("{}", cbor).expect_err(&format!("{cbor:02x?}"));
        assert_eq!(error.code, *expected, "{cbor:02x?}");
        assert!(error.code.is_malformed());
        // The same inside an array under a schema that is broken later.
        if !matches!(expected, Code::TrailingBytes | Code::Truncated) {
            let mut inside = vec![0x82];
            inside.extend_from_slice(cbor);
            inside.push(0xf6);
            assert_eq!(code(r#"{"elements":{}}"#, &inside), Some(*expected), "{inside:02x?}");
        }
    }
}

#[test]
fn well_formed_deltas_are_accepted() {
    let cases: &[&[u8]] = &[
        b"\x9f\xff",
        b"\xbf\xff",
        b"\x5f\xff",
        b"\x7f\xff",
        b"\x7f\x60\x61a\x62\xc3\xbc\xff",
        b"\xbf\x7f\x61a\x61b\xff\x9f\0\xff\xff",
        b"\xa2\x7f\xff\0\x61a\0",
        b"\xd9\xd9\xf7\xa0",
        b"\x1b\0\0\0\0\0\0\0\x01",
        b"\x78\x01a",
        b"\xb8\x01\x61a\0",
    ];
    for cbor in cases {
        assert_eq!(judge("{}", cbor), Ok(()), "{cbor:02x?}");
    }
}

#[test]
fn every_cut_of_a_delta_is_truncated() {
    let cbor =
        b"\xbf\x63one\xfb\x3f\xf1\x99\x99\x99\x99\x99\x9a\x63two\x9f\x19\x01\x02\x7f\x62\xc3\
                 \xbc\xff\xff\x65three\xc2\x42\x01\x02\xff";
    let schema = r#"{"optionalProperties":{"one":{"type":"float64"},"two":{},"three":{}}}"#;
    assert_eq!(judge(schema, cbor), Ok(()));
    for end in 0..cbor.len() {
        assert_eq!(code(schema, &cbor[..end]), Some(Code::Truncated), "{end}");
    }
}

#[test]
fn depth_has_a_limit_for_arrays_maps_and_tags() {
    let shells: [(&[u8], &[u8]); 4] =
        [(b"\x81", b""), (b"\x9f", b"\xff"), (b"\xa1\x61a", b""), (b"\xc1", b"")];
    for (open, close) in shells {
        for (depth, expected) in
            [(DEPTH_MAX, None), (DEPTH_MAX + 1, Some(Code::TooDeep)), (10_000, Some(Code::TooDeep))]
        {
            let cbor = [open.repeat(depth), vec![0], close.repeat(depth)].concat();
            assert_eq!(code("{}", &cbor), expected, "{open:02x?} {depth}");
        }
    }
    let recursive = r#"{"definitions":{"a":{"elements":{"ref":"a"}}},"ref":"a"}"#;
    let cbor = [b"\x81".repeat(DEPTH_MAX), b"\x80".to_vec()].concat();
    assert_eq!(code(recursive, &cbor), Some(Code::TooDeep));
    assert_eq!(code(recursive, &cbor[1..]), None);
}

#[test]
fn a_delta_has_a_longest_length() {
    for (length, expected) in [(65_531, None), (65_532, Some(Code::TooLong))] {
        let mut cbor = vec![0x7a];
        cbor.extend_from_slice(&(length as u32).to_be_bytes());
        cbor.extend(std::iter::repeat_n(b'a', length));
        assert_eq!(code("{}", &cbor), expected);
    }
    assert_eq!(judge_kind(Kind::Opaque, "", &[0xff; 65_536]), Ok(()));
    assert!(judge_kind(Kind::Opaque, "", &[0xff; 65_537]).is_err());
}

#[test]
fn many_keys_outside_of_the_schema_must_ascend() {
    let spread = |count: u32| (0..count).map(move |key| format!("{:05}", key * 7919 % 100_003));
    let additional = r#"{"properties":{},"additionalProperties":true}"#;
    for schema in ["{}", r#"{"values":{}}"#, additional] {
        // In any order up to 64; then ascending, by bytes or by length and bytes.
        assert_eq!(code(schema, &map_of(spread(64))), None);
        assert_eq!(code(schema, &map_of(spread(65))), Some(Code::KeysNotAscending));
        assert_eq!(code(schema, &map_of((0..5_000).map(|key| format!("{key}")))), None);
        let mut by_bytes: Vec<_> = (0..5_000).map(|key| format!("{key}")).collect();
        by_bytes.sort();
        assert_eq!(code(schema, &map_of(by_bytes.clone().into_iter())), None);
        by_bytes.insert(3_000, by_bytes[1_000].clone());
        assert_eq!(
            code(schema, &map_of(by_bytes.into_iter())),
            Some(Code::KeysNotAscending),
            "the one of long ago is not remembered"
        );
        let backwards = (0..65).rev().map(|key| format!("{key:02}"));
        assert_eq!(code(schema, &map_of(backwards)), Some(Code::KeysNotAscending));
        // 64 in any order, the rest above them all.
        let mixed = spread(64).chain((0..1_000).map(|key| format!("x{key:06}")));
        assert_eq!(code(schema, &map_of(mixed)), None);
        // A double wherever it stands.
        for (first, second) in [(0, 1), (0, 63), (31, 40), (62, 63)] {
            let mut keys: Vec<_> = spread(64).collect();
            keys[second] = keys[first].clone();
            assert_eq!(code(schema, &map_of(keys.into_iter())), Some(Code::DuplicateKey));
        }
        let mut keys: Vec<_> = (0..70).map(|key| format!("{key:02}")).collect();
        keys[69] = keys[68].clone();
        assert_eq!(code(schema, &map_of(keys.into_iter())), Some(Code::DuplicateKey));
    }
}

#[test]
fn a_key_has_a_longest_length() {
    for (length, expected) in [(1_024, None), (1_025, Some(Code::KeyTooLong))] {
        let mut cbor = vec![0xa1, 0x79];
        cbor.extend_from_slice(&(length as u16).to_be_bytes());
        cbor.extend(std::iter::repeat_n(b'a', length));
        cbor.push(0);
        assert_eq!(code("{}", &cbor), expected);
        let mut pieces = vec![0xa1, 0x7f];
        for _ in 0..length / 5 {
            pieces.extend_from_slice(b"\x65aaaaa");
        }
        pieces.extend_from_slice(&b"\x61a".repeat(length % 5));
        pieces.extend_from_slice(b"\xff\0");
        assert_eq!(code("{}", &pieces), expected);
    }
    let empty_pieces = [b"\xa1\x7f".to_vec(), b"\x60".repeat(2_049), b"\xff\0".to_vec()].concat();
    assert_eq!(code("{}", &empty_pieces), Some(Code::KeyTooLong));
}

#[test]
fn an_error_tells_its_place() {
    let schema = r#"{
        "definitions":{"point":{"properties":{"x":{"type":"int8"},"~/":{"enum":["a","b"]}}}},
        "properties":{"list":{"elements":{"ref":"point"}}},
        "additionalProperties":true
    }"#;
    let place = |cbor: &[u8]| {
        let error = judge(schema, cbor).unwrap_err();
        (error.offset_bytes, error.code, error.instance_path, error.schema_path)
    };
    let told = |offset, code, instance: &str, schema: &str| {
        (offset, code, instance.to_owned(), schema.to_owned())
    };
    assert_eq!(
        place(b"\xa1\x64list\x82\xa2\x61x\x01\x62~/\x61a\xa2\x61x\x01\x62~/\x61c"),
        told(23, Code::NotInEnum, "/list/1/~0~1", "/definitions/point/properties/~0~1/enum")
    );
    assert_eq!(
        place(b"\xa1\x64list\x81\xa1\x61x\x01"),
        told(11, Code::MissingProperty, "/list/0", "/definitions/point/properties/~0~1")
    );
    assert_eq!(
        place(b"\xa1\x64list\x81\xa1\x61x\x18\x80"),
        told(10, Code::OutOfRange, "/list/0/x", "/definitions/point/properties/x/type")
    );
    assert_eq!(
        place(b"\xa1\x64list\x81\xa1\x61y\x01"),
        told(8, Code::AdditionalProperty, "/list/0/y", "/definitions/point")
    );
    assert_eq!(
        place(b"\xa1\x65other\x82\0\xa1\x61a\xf7"),
        told(12, Code::SimpleRefused, "/other/1/a", "")
    );
    assert_eq!(
        place(b"\xa1\x64list\x81\xa2\x61x\x01\0"),
        told(11, Code::KeyNotText, "/list/0", "/definitions/point")
    );
    assert_eq!(
        place(b"\xa1\x7f\x62li\x62st\xff\x81\0"),
        told(10, Code::WrongType, "/list/0", "/definitions/point/properties")
    );
}

#[test]
fn a_long_path_is_cut() {
    let key = "k".repeat(1_000);
    let mut cbor = Vec::new();
    for _ in 0..20 {
        cbor.extend_from_slice(b"\xa1\x79\x03\xe8");
        cbor.extend_from_slice(key.as_bytes());
    }
    cbor.push(0xf7);
    let error = judge("{}", &cbor).unwrap_err();
    assert_eq!(error.instance_path, format!("/{key}/…"));
}

#[test]
fn numbers_tags_and_timestamps_follow_the_mapping() {
    let cases: &[(&str, &[u8], Option<Code>)] = &[
        ("int8", b"\xf9\x3c\0", None),
        ("int8", b"\xf9\x3e\0", Some(Code::OutOfRange)),
        ("int8", b"\xfa\xc3\0\0\0", None),
        ("int8", b"\xfa\xc3\x01\0\0", Some(Code::OutOfRange)),
        ("uint32", b"\x1a\xff\xff\xff\xff", None),
        ("uint32", b"\x1b\0\0\0\x01\0\0\0\0", Some(Code::OutOfRange)),
        ("uint32", b"\x1b\0\0\0\0\xff\xff\xff\xff", None),
        ("uint32", b"\xfb\x41\xef\xff\xff\xff\xe0\0\0", None),
        ("uint32", b"\xfb\x41\xf0\0\0\0\0\0\0", Some(Code::OutOfRange)),
        ("uint8", b"\xfb\x80\0\0\0\0\0\0\0", None),
        ("uint8", b"\xc2\x43\0\0\xff", None),
        ("uint8", b"\xc2\x42\x01\0", Some(Code::OutOfRange)),
        ("uint8", b"\xc2\x40", None),
        ("int8", b"\xc3\x41\x7f", None),
        ("int8", b"\xc3\x41\x80", Some(Code::OutOfRange)),
        ("float64", b"\xc2\x49\x01\0\0\0\0\0\0\0\0", None),
        ("float64", b"\xc2\x5f\x41\x01\xff", Some(Code::BignumRefused)),
        ("float64", b"\xc2\x01", Some(Code::WrongType)),
        ("float64", b"\xc2\x42\x01", Some(Code::Truncated)),
        ("float64", b"\xc1\x01", Some(Code::WrongType)),
        ("float64", b"\x41\x01", Some(Code::WrongType)),
        ("string", b"\x41a", Some(Code::WrongType)),
        ("string", b"\xc0\x61a", Some(Code::WrongType)),
        ("boolean", b"\0", Some(Code::WrongType)),
        ("timestamp", b"\x742026-11-21T10:00:00Z", None),
        ("timestamp", b"\xc0\x742026-11-21T10:00:00Z", None),
        ("timestamp", b"\xc0\x7f\x6a2026-11-21\x6aT10:00:00Z\xff", None),
        ("timestamp", b"\x742026-11-31T10:00:00Z", Some(Code::NotATimestamp)),
        ("timestamp", b"\xc0\x612", Some(Code::NotATimestamp)),
        ("timestamp", b"\xc0\x1a\0\0\0\0", Some(Code::WrongType)),
        ("timestamp", b"\xc1\x1a\0\0\0\0", Some(Code::WrongType)),
    ];
    for (kind, cbor, expected) in cases {
        let schema = format!(r#"{{"type":"{kind}"}}"#);
        assert_eq!(code(&schema, cbor), *expected, "{kind} {cbor:02x?}");
        // The same as the only property of a map, where the quick way is taken.
        let schema = format!(r#"{{"properties":{{"k":{schema}}}}}"#);
        let inside = [b"\xa1\x61k", *cbor].concat();
        assert_eq!(code(&schema, &inside), *expected, "{kind} {inside:02x?}");
    }
    let long = format!("2026-11-21T10:00:00.{}Z", "0".repeat(43));
    for (text, expected) in [
        (long.replacen('0', "", 0), None),
        (long.replacen(".0", ".00", 1), Some(Code::NotATimestamp)),
    ] {
        let cbor = [&[0x78, text.len() as u8], text.as_bytes()].concat();
        assert_eq!(code(r#"{"type":"timestamp"}"#, &cbor), expected, "{}", text.len());
    }
}

#[test]
fn a_discriminator_may_come_anywhere() {
    let schema = r#"{"discriminator":"t","mapping":{
        "n":{"properties":{"v":{"type":"uint8"}}},
        "s":{"properties":{"v":{"type":"string"}},"additionalProperties":true}}}"#;
    type Told = Option<(Code, &'static str, &'static str)>;
    let cases: &[(&[u8], Told)] = &[
        (b"\xa2\x61t\x61n\x61v\x01", None),
        (b"\xa2\x61v\x01\x61t\x61n", None),
        (b"\xbf\x61v\x01\x7f\x61t\xff\x7f\x61n\xff\xff", None),
        (b"\xa3\x61v\x61a\x61x\xa1\x61t\x61n\x61t\x61s", None),
        (
            b"\xa2\x61v\x61a\x61t\x61n",
            Some((Code::WrongType, "/v", "/mapping/n/properties/v/type")),
        ),
        (b"\xa3\x61t\x61n\x61v\x01\x61x\x01", Some((Code::AdditionalProperty, "/x", "/mapping/n"))),
        (b"\xa1\x61t\x61n", Some((Code::MissingProperty, "", "/mapping/n/properties/v"))),
        (b"\xa3\x61t\x61n\x61v\x01\x61t\x61n", Some((Code::DuplicateKey, "/t", "/mapping/n"))),
        (b"\xa2\x61v\x01\x61x\x01", Some((Code::MissingTag, "", "/discriminator"))),
        (b"\xa1\x61t\x61q", Some((Code::UnknownTag, "/t", "/mapping"))),
        (b"\xa1\x61t\x01", Some((Code::TagNotText, "/t", "/discriminator"))),
        (b"\xa2\x61v\xf7\x61t\x61n", Some((Code::SimpleRefused, "/v", ""))),
    ];
    for (cbor, expected) in cases {
        let told = judge(schema, cbor).err();
        let told =
            told.as_ref().map(|error| (error.code, &*error.instance_path, &*error.schema_path));
        assert_eq!(told, *expected, "{cbor:02x?}");
    }
}
