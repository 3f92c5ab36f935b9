//! The compiled validator: its quick way, its general way, and a walk that stops at every step say the
//! same, in verdict, place and words; and so does another implementation, where the two can be compared.
//!
//! Input: a byte that says how to read the rest, and one that says where a walk stops. Then a schema's
//! text, a zero byte and a delta; or choices, from which a schema is drawn, and a delta that mostly
//! fits it and is then bent.

mod drawing;
mod reading;

use std::collections::BTreeSet;

use arbitrary::Unstructured;
use deltaworks_schema::{
    Code, Kind, Machine, Progress, REREAD_FACTOR_MAX, Schema, ValidationError,
};
use serde_json::Value;

use reading::Reading;

/// Steps that a byte may cost at most, a map's second readings not counted.
const STEPS_PER_BYTE_MAX: u64 = 4;
/// Steps that the shortest delta may cost: comparisons of one long key.
const STEPS_MIN: u64 = 4_096;

/// The first error of a delta, or none.
pub type Verdict = Option<ValidationError>;

/// What judges deltas.
pub trait Validator {
    /// The verdict, as a worker asks for it.
    fn at_once(&self, machine: &mut Machine, schema: &Schema, delta: &[u8]) -> Verdict;
    /// The verdict of a walk that gets so many steps at a time.
    fn in_steps(&self, machine: &mut Machine, schema: &Schema, delta: &[u8], steps: u32)
    -> Verdict;
}

/// The project's machine.
#[derive(Debug)]
pub struct Real;

impl Validator for Real {
    fn at_once(&self, machine: &mut Machine, schema: &Schema, delta: &[u8]) -> Verdict {
        let mut steps = u32::MAX;
        let progress = machine.check(schema, delta, &mut steps);
        let used = u64::from(u32::MAX - steps);
        let times = STEPS_PER_BYTE_MAX * (1 + REREAD_FACTOR_MAX as u64);
        assert!(used <= STEPS_MIN + times * delta.len() as u64, "{used} steps");
        error_of(machine, schema, delta, progress)
    }

    fn in_steps(
        &self,
        machine: &mut Machine,
        schema: &Schema,
        delta: &[u8],
        steps: u32,
    ) -> Verdict {
        machine.start();
        let mut turns = 0;
        loop {
            match machine.run(schema, delta, &mut steps.clone()) {
                Progress::OutOfSteps => turns += 1,
                progress => return error_of(machine, schema, delta, progress),
            }
            assert!(turns < 10_000_000, "it goes in circles");
        }
    }
}

fn error_of(machine: &Machine, schema: &Schema, delta: &[u8], progress: Progress) -> Verdict {
    match progress {
        Progress::Valid => None,
        Progress::Invalid => Some(machine.error(schema, delta)),
        Progress::OutOfSteps => panic!("more steps than there are"),
    }
}

/// Judges with the project's machine.
pub fn run(data: &[u8]) {
    body(&Real, data);
}

/// Judges with `validator`.
///
/// # Panics
/// If two ways to the verdict differ.
pub fn body(validator: &impl Validator, data: &[u8]) {
    let [how, stops, rest @ ..] = data else { return };
    let kind = if how & 0x80 == 0 { Kind::Cbor } else { Kind::Rows };
    let steps = 1 + u32::from(stops % 100);
    // Meets all deltas of the input, and remembers what it may.
    let mut machine = Machine::new();
    match how % 3 {
        0 => {
            let Some(end) = rest.iter().position(|&byte| byte == 0) else { return };
            let Ok(text) = core::str::from_utf8(&rest[..end]) else { return };
            let Ok(schema) = Schema::compile(kind, text) else { return };
            let definition = serde_json::from_str(text).expect("it was compiled");
            judge(validator, &mut machine, &definition, &schema, &rest[end + 1..], steps);
        }
        1 => {
            let mut choices = Unstructured::new(rest);
            let Ok(definition) = drawing::schema(&mut choices) else { return };
            let Ok(schema) = Schema::compile(kind, &definition.to_string()) else { return };
            judge(validator, &mut machine, &definition, &schema, choices.take_rest(), steps);
        }
        _ => {
            let mut choices = Unstructured::new(rest);
            let Ok(definition) = drawing::schema(&mut choices) else { return };
            let Ok(schema) = Schema::compile(kind, &definition.to_string()) else { return };
            let Ok(mut delta) = drawing::delta(&mut choices, &definition, kind) else { return };
            judge(validator, &mut machine, &definition, &schema, &delta, steps);
            while !choices.is_empty() && !delta.is_empty() {
                if drawing::bend(&mut choices, &mut delta).is_err() {
                    return;
                }
                judge(validator, &mut machine, &definition, &schema, &delta, steps);
            }
        }
    }
}

fn judge(
    validator: &impl Validator,
    seasoned: &mut Machine,
    definition: &Value,
    schema: &Schema,
    delta: &[u8],
    steps: u32,
) {
    let mut machine = Machine::new();
    machine.start();
    let progress = machine.run_general(schema, delta, &mut { u32::MAX });
    let general = error_of(&machine, schema, delta, progress);
    assert_eq!(validator.at_once(seasoned, schema, delta), general, "behind the others");
    // The second one meets the hints and the stencil that the first one left.
    for _ in 0..2 {
        assert_eq!(validator.at_once(&mut machine, schema, delta), general, "at once");
    }
    assert_eq!(validator.in_steps(&mut machine, schema, delta, steps), general, "{steps} steps");
    // A machine that another delta was left in the middle of judges as a new one does.
    machine.start();
    let _ = machine.run(schema, &delta[..delta.len() / 2], &mut 3);
    assert_eq!(validator.at_once(&mut machine, schema, delta), general, "after half a delta");
    if let Some(error) = &general {
        assert!(error.offset_bytes as usize <= delta.len(), "{error}");
        assert!(error.instance_path.len().max(error.schema_path.len()) <= 1_024, "{error}");
    }
    if schema.kind() == Kind::Cbor {
        compare(definition, delta, general.as_ref());
    }
}

/// Holds the verdict against another reader of CBOR and another validator of JSON.
fn compare(definition: &Value, delta: &[u8], told: Option<&ValidationError>) {
    let is_ours_alone = |code: Code| {
        matches!(
            code,
            Code::TooLong
                | Code::TooDeep
                | Code::KeyTooLong
                | Code::KeysNotAscending
                | Code::TagTooLate
        )
    };
    if told.is_some_and(|error| is_ours_alone(error.code)) {
        return;
    }
    let value = match reading::json(delta) {
        Reading::Beyond => return,
        Reading::Malformed => {
            assert!(told.is_some(), "the other calls it malformed");
            return;
        }
        Reading::Json(value) => value,
    };
    assert!(!told.is_some_and(|error| error.code.is_malformed()), "{told:?} of {value}");
    if reading::has_odd_text(&value) && definition.to_string().contains("timestamp") {
        return;
    }
    let Some(other) = crate::schema::other(definition) else {
        panic!("compiled here, refused by the other: {definition}");
    };
    let options = jtd::ValidateOptions::new().with_max_depth(64);
    let Ok(errors) = jtd::validate(&other, &value, options) else { return };
    let pointer = |tokens: &[String]| -> String {
        let escaped = tokens.iter().map(|token| token.replace('~', "~0").replace('/', "~1"));
        escaped.map(|token| format!("/{token}")).collect()
    };
    let places: BTreeSet<(String, String)> = errors
        .into_iter()
        .map(|error| error.into_owned_paths())
        .map(|(instance, schema)| (pointer(&instance), pointer(&schema)))
        .collect();
    match told {
        None => assert!(places.is_empty(), "accepted: {value} under {definition}: {places:?}"),
        Some(error) => {
            let is_cut = error.instance_path.ends_with("/…") || error.schema_path.ends_with("/…");
            let place = (error.instance_path.clone(), error.schema_path.clone());
            let is_told = if is_cut { !places.is_empty() } else { places.contains(&place) };
            assert!(is_told, "{error} of {value} under {definition}: {places:?}");
        }
    }
}
