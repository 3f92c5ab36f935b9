//! The price of a delta: steps are bounded by bytes, whatever the bytes are.

use deltaworks_schema::{
    DELTA_BYTES_MAX, KEY_BYTES_MAX, Kind, Machine, Progress, REREAD_FACTOR_MAX, Schema, SchemaFlaw,
    adversarial,
};

/// Steps that a byte may cost, but for maps that are read twice.
const STEPS_PER_BYTE_MAX: u64 = 4;

#[test]
fn steps_are_bounded_by_bytes() {
    let mut machine = Machine::new();
    for bytes in [4_096, 20_000, DELTA_BYTES_MAX] {
        for adversary in adversarial::all(bytes) {
            let name = adversary.name;
            assert!(adversary.delta.len() > bytes / 2, "{name}: {}", adversary.delta.len());
            let mut steps = u32::MAX;
            let progress = machine.check(&adversary.schema, &adversary.delta, &mut steps);
            let expected = if adversary.is_valid { Progress::Valid } else { Progress::Invalid };
            assert_eq!(progress, expected, "{name}");
            let used = u64::from(u32::MAX - steps);
            let times =
                if name.starts_with("discriminators") { 1 + REREAD_FACTOR_MAX as u64 } else { 1 };
            let allowed = STEPS_PER_BYTE_MAX * times * adversary.delta.len() as u64;
            assert!(used <= allowed, "{name}: {used} steps for {} bytes", adversary.delta.len());
        }
    }
}

#[test]
fn a_check_in_slices_does_no_more_than_one_piece_too_many() {
    let mut machine = Machine::new();
    for adversary in adversarial::all(20_000) {
        let mut whole = u32::MAX;
        machine.check(&adversary.schema, &adversary.delta, &mut whole);
        let whole = u32::MAX - whole;
        let mut turns = 0u32;
        machine.start();
        let progress = loop {
            turns += 1;
            match machine.run(&adversary.schema, &adversary.delta, &mut 50) {
                Progress::OutOfSteps => continue,
                done => break done,
            }
        };
        assert_eq!(progress == Progress::Valid, adversary.is_valid);
        // Debts are paid: slices of 50 need as many turns as the whole has fifties.
        let expected = whole.div_ceil(50);
        assert!(turns.abs_diff(expected) <= 20, "{}: {turns} {expected}", adversary.name);
    }
}

/// Each form has its place as a text, so a long name around many of them would be copied for each.
#[test]
fn a_definitions_name_is_bounded() {
    let named = |bytes: usize| {
        let name = "n".repeat(bytes);
        Schema::compile(Kind::Cbor, &format!(r#"{{"definitions":{{"{name}":{{}}}}}}"#))
    };
    assert!(named(KEY_BYTES_MAX).is_ok());
    let refused = named(KEY_BYTES_MAX + 1).expect_err("a byte too long");
    assert_eq!((refused.flaw, &*refused.schema_path), (SchemaFlaw::TooLongText, "/definitions"));
}
