//! The schema compiler: any text, in bounded time, twice with the same result.
//!
//! Input: a byte that names the kind, then the JSON text. What is compiled is what another
//! implementation of RFC 8927 calls a schema; what is refused is refused there, too, unless one of our
//! own limits is the reason. Paths in errors stay within their bound.

use deltaworks_schema::{Kind, Machine, PATH_BYTES_MAX, Progress, Schema, SchemaError, SchemaFlaw};
use serde_json::Value;

/// Compiles with the project's compiler.
pub fn run(data: &[u8]) {
    body(Schema::compile, data);
}

/// Compiles with `compile`.
///
/// # Panics
/// If `compile` contradicts itself or the other implementation.
pub fn body(compile: impl Fn(Kind, &str) -> Result<Schema, SchemaError>, data: &[u8]) {
    let Some((&kind, text)) = data.split_first() else { return };
    let Ok(text) = core::str::from_utf8(text) else { return };
    let kind = [Kind::Cbor, Kind::Rows, Kind::Opaque][usize::from(kind % 3)];
    let told = compile(kind, text);
    let again = compile(kind, text);
    match (&told, &again) {
        (Ok(schema), Ok(again)) => {
            assert_eq!(schema.kind(), kind);
            // The whole program as a text: dear, so only for what a fuzzer mostly writes.
            if text.len() <= 1_024 {
                assert_eq!(format!("{schema:?}"), format!("{again:?}"));
            }
            try_out(schema);
        }
        (Err(error), Err(again)) => {
            assert_eq!(error, again);
            assert!(error.schema_path.len() <= PATH_BYTES_MAX, "{error}");
        }
        _ => panic!("compiled once, refused once"),
    }
    if kind == Kind::Cbor {
        compare(&told, text);
    }
}

/// A few deltas under the schema: any verdict, but one.
fn try_out(schema: &Schema) {
    let mut machine = Machine::new();
    for delta in [&[0xf6][..], &[0xa0], &[0x80], &[0x18], &[0x83, 0, 7, 0xa0], &[0xa1, 0x61, b'a']]
    {
        let progress = machine.check(schema, delta, &mut 10_000);
        assert_ne!(progress, Progress::OutOfSteps);
        if progress == Progress::Invalid {
            assert!(machine.error(schema, delta).schema_path.len() <= PATH_BYTES_MAX);
        }
    }
}

/// Whether the other implementation of RFC 8927 takes the text for a schema, if it can read it.
pub(crate) fn other(value: &Value) -> Option<jtd::Schema> {
    let definition: jtd::SerdeSchema = serde_json::from_value(value.clone()).ok()?;
    let schema = jtd::Schema::from_serde_schema(definition).ok()?;
    schema.validate().ok().map(|()| schema)
}

fn compare(told: &Result<Schema, SchemaError>, text: &str) {
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        assert!(told.is_err(), "what is not JSON is no schema");
        return;
    };
    let flaw = match told {
        Ok(_) => {
            assert!(other(&value).is_some(), "the other refuses {text}");
            return;
        }
        Err(error) => &error.flaw,
    };
    // The other reads `null` as if the keyword were not there.
    let is_ours_alone = has_null(&value)
        || matches!(
            flaw,
            SchemaFlaw::NotJson(_)
                | SchemaFlaw::TooLong
                | SchemaFlaw::TooDeep
                | SchemaFlaw::TooManyForms
                | SchemaFlaw::TooManyProperties
                | SchemaFlaw::TooManyValues
                | SchemaFlaw::TooLongText
                | SchemaFlaw::EndlessRef
                | SchemaFlaw::DefinitionsBelowRoot
        );
    if !is_ours_alone {
        assert!(other(&value).is_none(), "the other takes {text}, refused here: {flaw}");
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(fields) => fields.values().any(has_null),
        _ => false,
    }
}
