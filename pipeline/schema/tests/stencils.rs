//! Stencils and the straight way: each is a short cut, so what they accept, the general way accepts, too, and the
//! quick one for as many steps; whatever byte of a delta is changed, and whatever came before it.

use deltaworks_schema::samples::{ALL, bent};
use deltaworks_schema::{Kind, Machine, Progress, Schema, ValidationError, mapping};
use proptest::prelude::*;
use serde_json::json;

/// Verdict, error and steps of a check.
type Told = (Progress, Option<ValidationError>, u32);

fn told(machine: &mut Machine, schema: &Schema, delta: &[u8]) -> Told {
    let mut steps = 1_000_000;
    let progress = machine.check(schema, delta, &mut steps);
    let error = (progress == Progress::Invalid).then(|| machine.error(schema, delta));
    (progress, error, 1_000_000 - steps)
}

/// The general way's verdict and error, and the steps of the quick way that tries first.
fn expected(machine: &mut Machine, schema: &Schema, delta: &[u8]) -> Told {
    let mut quick = 1_000_000;
    let is_accepted = machine.run_quick(schema, delta, &mut quick);
    let mut general = 1_000_000;
    machine.start();
    let progress = machine.run_general(schema, delta, &mut general);
    let error = (progress == Progress::Invalid).then(|| machine.error(schema, delta));
    assert!(!is_accepted || progress == Progress::Valid, "{delta:02x?}");
    let steps = 1_000_000 - quick + if is_accepted { 0 } else { 1_000_000 - general };
    (progress, error, steps)
}

#[test]
fn a_changed_byte_changes_no_agreement() {
    for sample in ALL {
        let schema = sample.schema();
        let mut other_ways = Machine::new();
        for delta in sample.deltas {
            // One that keeps its stencil, and one that learns from what it meets.
            let (mut drawn, mut machine) = (Machine::new(), Machine::new());
            for machine in [&mut drawn, &mut machine] {
                assert_eq!(told(machine, &schema, delta).0, Progress::Valid, "{delta:02x?}");
            }
            let mut fitted = 0;
            for other in bent(delta) {
                let expected = expected(&mut other_ways, &schema, &other);
                if let Some(steps) = drawn.fits(&schema, &other) {
                    fitted += 1;
                    assert_eq!(expected, (Progress::Valid, None, steps), "{other:02x?}");
                }
                assert_eq!(told(&mut machine, &schema, &other), expected, "{other:02x?}");
            }
            let has_stencil = drawn.fits(&schema, delta).is_some();
            assert_eq!(has_stencil, fitted > delta.len(), "{delta:02x?}");
        }
    }
}

#[test]
fn a_changed_byte_in_a_row_of_deltas_changes_no_agreement() {
    let mut alike = 0;
    for sample in ALL {
        let schema = sample.schema();
        for delta in sample.deltas {
            let mut machine = Machine::new();
            told(&mut machine, &schema, delta);
            let has_stencil = machine.fits(&schema, delta).is_some();
            for (number, other) in bent(delta).enumerate() {
                let steps = machine.fits(&schema, &other);
                for count in [1, 2, 5] {
                    let mut row = vec![*delta; count];
                    row[number % count] = &other;
                    let mut left = 1_000_000;
                    let (bytes, count) = (row.concat(), count as u32);
                    let are_alike =
                        machine.are_alike(&schema, &bytes, delta.len(), count, &mut left);
                    assert_eq!(are_alike, has_stencil && steps.is_some(), "{other:02x?}");
                    let taken = if are_alike { count * steps.unwrap() } else { 0 };
                    assert_eq!(1_000_000 - left, taken);
                }
                let mut left = 1_000_000;
                let is_alike = is_alike(&mut machine, &schema, &other, &mut left);
                // Of what has a timestamp or a long enum's text, nothing is said.
                assert!(steps.is_some() || !is_alike, "{other:02x?}");
                assert_eq!(1_000_000 - left, if is_alike { steps.unwrap() } else { 0 });
                alike += u32::from(is_alike);
            }
        }
    }
    assert!(alike > 10_000, "{alike}");
}

/// Whether an overlay says that the delta is valid; then its steps are taken off.
fn is_alike(machine: &mut Machine, schema: &Schema, delta: &[u8], steps: &mut u32) -> bool {
    if *steps < Machine::STEPS_AT_ONCE {
        return false;
    }
    let Some(mut overlay) = machine.overlay(schema, delta.len()) else { return false };
    let fits = overlay.fits(delta);
    if fits {
        *steps -= overlay.steps();
        overlay.count(1);
    }
    fits
}

/// A delta of so many bytes that has one text: its head is as long as it must be, but for one of 38 bytes.
fn of_length(delta_bytes: usize) -> Vec<u8> {
    let (head, text_bytes) = match delta_bytes {
        ..38 => (vec![], delta_bytes - 14),
        _ => (vec![0x78], delta_bytes - 15),
    };
    let short = if head.is_empty() { 0x60 } else { 0 };
    let text: Vec<u8> = (b'a'..=b'z').cycle().take(text_bytes).collect();
    let length = [short | text_bytes as u8];
    [b"\xa2\x68eightlet", &head[..], &length, &text, b"\x61b\xf5"].concat()
}

#[test]
fn a_changed_bit_in_a_row_of_deltas_of_any_length_changes_no_agreement() {
    let schema = r#"{"properties":{"eightlet":{"type":"string"},"b":{"type":"boolean"}}}"#;
    let schema = Schema::compile(Kind::Cbor, schema).unwrap();
    let mut general = Machine::new();
    let mut is_general = |delta: &[u8]| {
        general.start();
        general.run_general(&schema, delta, &mut 1_000_000) == Progress::Valid
    };
    let mut by_lanes = [(0, 0); 9];
    for delta_bytes in 16..=143 {
        let delta = of_length(delta_bytes);
        assert_eq!(delta.len(), delta_bytes);
        let mut machine = Machine::new();
        assert_eq!(told(&mut machine, &schema, &delta).0, Progress::Valid, "{delta:02x?}");
        let mut bent = delta.clone();
        let fits = machine.fits(&schema, &delta).is_some();
        assert!(fits, "{delta:02x?}");
        for (place, bit) in (0..delta_bytes).flat_map(|place| (0..8).map(move |bit| (place, bit))) {
            bent[place] ^= 1 << bit;
            let is_fitting = machine.fits(&schema, &bent).is_some();
            assert!(!is_fitting || is_general(&bent), "{bent:02x?}");
            for row in [[&delta, &bent, &delta], [&bent, &delta, &delta], [&delta, &delta, &bent]] {
                let row = row.map(Vec::as_slice).concat();
                let are_alike = machine.are_alike(&schema, &row, delta_bytes, 3, &mut 1_000_000);
                assert_eq!(are_alike, fits && is_fitting, "bit {bit} of {place} in {delta:02x?}");
            }
            let (accepted, refused) = &mut by_lanes[delta_bytes / 16];
            *if is_fitting { accepted } else { refused } += 1;
            bent[place] = delta[place];
        }
    }
    assert_eq!(by_lanes[0], (0, 0));
    assert!(by_lanes[1..].iter().all(|met| met.0 > 100 && met.1 > 1_000), "{by_lanes:?}");
    // One that is longer has no stencil, alone or in a row.
    let delta = of_length(144);
    let mut machine = Machine::new();
    assert_eq!(told(&mut machine, &schema, &delta).0, Progress::Valid);
    assert_eq!(machine.fits(&schema, &delta), None);
    assert!(!machine.are_alike(&schema, &delta.repeat(3), 144, 3, &mut 1_000_000));
}

#[test]
fn a_row_of_deltas_needs_as_many_steps_as_each_of_them_does_in_turn() {
    for sample in ALL {
        let schema = sample.schema();
        for delta in sample.deltas {
            let mut machine = Machine::new();
            told(&mut machine, &schema, delta);
            if machine.fits(&schema, delta).is_none() {
                continue;
            }
            let mut taken = 0;
            for (given, count) in (0..250).flat_map(|given| [(given, 1), (given, 2), (given, 9)]) {
                // One after the other, as long as a look at the layout may be enough.
                let mut in_turn = given;
                let are_valid = (0..count).all(|_| {
                    let before = in_turn;
                    let progress = machine.check(&schema, delta, &mut in_turn);
                    progress == Progress::Valid && before >= 64
                });
                let mut left = given;
                let row = delta.repeat(count);
                let are_alike =
                    machine.are_alike(&schema, &row, delta.len(), count as u32, &mut left);
                assert_eq!(are_alike, are_valid, "{count} of {delta:02x?} in {given} steps");
                assert_eq!(left, if are_alike { in_turn } else { given });
                if count == 1 {
                    let mut left = given;
                    let is_alike = is_alike(&mut machine, &schema, delta, &mut left);
                    assert!(are_valid || !is_alike);
                    assert_eq!(left, if is_alike { in_turn } else { given });
                }
                taken += u32::from(are_alike);
            }
            assert!((100..750).contains(&taken), "{taken}");
        }
    }
}

/// A machine's stencils are of one schema each: deltas of another one of the same length are not judged by them.
#[test]
fn deltas_of_another_schema_are_not_alike() {
    let of = |kind| {
        let text = format!(r#"{{"properties":{{"eightlet":{{"type":"{kind}"}}}}}}"#);
        Schema::compile(Kind::Cbor, &text).unwrap()
    };
    let (string, boolean) = (of("string"), of("boolean"));
    let delta = b"\xa1\x68eightlet\x68some abc";
    let mut machine = Machine::new();
    told(&mut machine, &string, delta);
    let row = delta.repeat(2);
    let mut steps = 1_000;
    assert!(machine.are_alike(&string, &row, delta.len(), 2, &mut steps));
    assert!(!machine.are_alike(&boolean, &row, delta.len(), 2, &mut steps));
    // Nor are bytes that are more, or fewer, than they are said to be.
    for bytes in [&row[1..], &[&row[..], b"\xf6"].concat()] {
        assert!(!machine.are_alike(&string, bytes, delta.len(), 2, &mut steps));
    }
    assert!(!machine.are_alike(&string, &row, delta.len(), 1, &mut steps));
    assert!(!is_alike(&mut machine, &boolean, delta, &mut steps));
}

#[test]
fn every_sample_that_is_long_enough_and_ascii_has_a_stencil() {
    let mut count = 0;
    for sample in ALL {
        let schema = sample.schema();
        for delta in sample.deltas {
            let mut machine = Machine::new();
            told(&mut machine, &schema, delta);
            let is_ascii = !delta.contains(&0xc3);
            assert_eq!(
                machine.fits(&schema, delta).is_some(),
                delta.len() >= 16 && is_ascii,
                "{delta:02x?}"
            );
            count += u32::from(machine.fits(&schema, delta).is_some());
        }
    }
    assert!(count > 15, "{count}");
}

/// Enums of short texts, with other texts in place of theirs: of other lengths, empty, cut off, and with zeros
/// behind them where the rest of a longer one was.
#[test]
fn a_text_that_an_enum_has_not_is_refused_whatever_its_length_and_what_stands_behind_it() {
    // (the schema, what stands before the enum's text in a delta, and what behind it)
    let cases: [(&str, &[u8], &[u8]); 5] = [
        (
            r#"{"properties":{"text":{"type":"string"},"op":{"enum":["ins","up"]}}}"#,
            b"\xa2\x64text\x688letters\x62op",
            b"",
        ),
        (
            r#"{"properties":{"op":{"enum":["ins","up"]},"text":{"type":"string"}}}"#,
            b"\xa2\x62op",
            b"\x64text\x688letters",
        ),
        (
            r#"{"properties":{"op":{"enum":["ins","del"]},"text":{"type":"string"}}}"#,
            b"\xa2\x62op",
            b"\x64text\x63abc",
        ),
        (
            r#"{"properties":{"op":{"enum":["ins","delete"],"nullable":true},"n":{"type":"uint32"}}}"#,
            b"\xa2\x62op",
            b"\x61n\x1a\x01\x02\x03\x04",
        ),
        (
            r#"{"properties":{"op":{"enum":["","update"]},"n":{"type":"uint32"}}}"#,
            b"\xa2\x62op",
            b"\x61n\x1a\x01\x02\x03\x04",
        ),
    ];
    let names: [&[u8]; 12] = [
        b"ins", b"up", b"del", b"delete", b"update", b"", b"u", b"in", b"upd", b"inserts", b"in\0",
        b"up\0\0",
    ];
    for (schema, before, behind) in cases {
        let schema = Schema::compile(Kind::Cbor, schema).unwrap();
        let mut deltas = vec![];
        for name in names {
            for head in [vec![0x60 | name.len() as u8], vec![0x78, name.len() as u8]] {
                for zeros in 0..5 {
                    let delta = [before, &head, name, &vec![0; zeros], behind].concat();
                    deltas.extend([delta.clone(), [&delta[..], &[0]].concat()]);
                }
            }
        }
        deltas.push([before, &[0xf6], behind].concat());
        deltas.push([before, &[0xf7], behind].concat());
        let mut other_ways = Machine::new();
        let (mut accepted, mut refused) = (0, 0);
        for first in &deltas {
            let mut fresh = Machine::new();
            let expected_first = expected(&mut other_ways, &schema, first);
            assert_eq!(told(&mut fresh, &schema, first), expected_first, "{first:02x?}");
            if expected_first.0 != Progress::Valid {
                refused += 1;
                continue;
            }
            accepted += 1;
            for second in &deltas {
                let mut primed = Machine::new();
                told(&mut primed, &schema, first);
                let expected = expected(&mut other_ways, &schema, second);
                assert_eq!(
                    told(&mut primed, &schema, second),
                    expected,
                    "{first:02x?} {second:02x?}"
                );
            }
        }
        assert!(accepted >= 4 && refused > 100, "{accepted} {refused}");
    }
}

/// A stencil belongs to one schema: another one with the same keys judges for itself.
#[test]
fn a_stencil_is_of_one_schema() {
    let wide = Schema::compile(Kind::Cbor, r#"{"properties":{"number":{"type":"uint32"},"b":{}}}"#);
    let narrow =
        Schema::compile(Kind::Cbor, r#"{"properties":{"number":{"type":"uint8"},"b":{}}}"#);
    let (wide, narrow) = (wide.unwrap(), narrow.unwrap());
    let delta = b"\xa2\x66number\x1a\x12\x34\x56\x78\x61b\xf5";
    let mut machine = Machine::new();
    for _ in 0..100 {
        assert_eq!(told(&mut machine, &wide, delta).0, Progress::Valid);
        assert!(machine.fits(&wide, delta).is_some() && machine.fits(&narrow, delta).is_none());
        assert_eq!(told(&mut machine, &narrow, delta).0, Progress::Invalid);
    }
    // One that is gone leaves its place to none that may come to the same address.
    drop(wide);
    for _ in 0..100 {
        let narrow =
            Schema::compile(Kind::Cbor, r#"{"properties":{"number":{"type":"uint8"},"b":{}}}"#);
        assert_eq!(told(&mut machine, &narrow.unwrap(), delta).0, Progress::Invalid);
    }
}

#[test]
fn too_few_steps_are_never_overdrawn() {
    let schema = ALL[0].schema();
    let delta = ALL[0].deltas[0];
    let mut machine = Machine::new();
    told(&mut machine, &schema, delta);
    for steps in 0..100 {
        machine.start();
        let mut left = steps;
        let progress = machine.check(&schema, delta, &mut left);
        let mut expected_left = steps;
        let expected = if steps >= 64 {
            expected_left -= 6;
            Progress::Valid
        } else {
            let mut other = Machine::new();
            other.start();
            other.run_general(&schema, delta, &mut expected_left)
        };
        assert_eq!((progress, left), (expected, expected_left), "{steps}");
    }
}

/// Deltas of a few layouts, some of them bent, so that stencils are drawn, used, and given up.
fn traffic() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let delta = (0..3usize, any::<u32>(), any::<u16>(), 0..26usize, any::<bool>()).prop_map(
        |(op, pos, user, text, done)| {
            let op = ["ins", "del", "fmt"][op];
            // Few sizes, so that most lengths come more than once.
            let pos = pos >> [0, 0, 16, 28][text % 4];
            let value = json!({ "op": op, "pos": pos, "user": user | 0x100,
                "text": "abcdefghijklmnopqrstuvwxyz"[..text].to_owned(), "done": done });
            mapping::to_cbor(&value).unwrap()
        },
    );
    let bent = (delta, any::<prop::sample::Index>(), any::<u8>(), 0..4u8).prop_map(
        |(mut delta, at, byte, how)| {
            if how == 0 {
                let at = at.index(delta.len());
                delta[at] = byte;
            }
            delta
        },
    );
    prop::collection::vec(bent, 1..300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_came_before_changes_no_verdict_no_error_and_no_steps(traffic in traffic()) {
        let schema = ALL[0].schema();
        let (mut machine, mut other_ways) = (Machine::new(), Machine::new());
        for delta in traffic {
            let expected = expected(&mut other_ways, &schema, &delta);
            prop_assert_eq!(told(&mut machine, &schema, &delta), expected);
        }
    }
}
