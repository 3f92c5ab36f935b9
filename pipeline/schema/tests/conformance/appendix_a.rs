//! The 82 examples of RFC 8949, appendix A.

use deltaworks_schema::{Code, Kind, Machine, Progress, Schema, mapping};
use serde_json::Value;

/// What the mapping table refuses by name, whatever the schema.
const REFUSED: [(&str, Code); 14] = [
    ("f97c00", Code::NotFinite),
    ("f97e00", Code::NotFinite),
    ("f9fc00", Code::NotFinite),
    ("fa7f800000", Code::NotFinite),
    ("fa7fc00000", Code::NotFinite),
    ("faff800000", Code::NotFinite),
    ("fb7ff0000000000000", Code::NotFinite),
    ("fb7ff8000000000000", Code::NotFinite),
    ("fbfff0000000000000", Code::NotFinite),
    ("f7", Code::SimpleRefused),
    ("f0", Code::SimpleRefused),
    ("f818", Code::BadSimple),
    ("f8ff", Code::SimpleRefused),
    ("a201020304", Code::KeyNotText),
];

const SCHEMAS: [&str; 20] = [
    r#"{}"#,
    r#"{"nullable":true,"type":"boolean"}"#,
    r#"{"type":"boolean"}"#,
    r#"{"type":"float32"}"#,
    r#"{"type":"float64"}"#,
    r#"{"type":"int8"}"#,
    r#"{"type":"uint8"}"#,
    r#"{"type":"int16"}"#,
    r#"{"type":"uint16"}"#,
    r#"{"type":"int32"}"#,
    r#"{"type":"uint32"}"#,
    r#"{"type":"string"}"#,
    r#"{"type":"timestamp"}"#,
    r#"{"enum":["a","streaming"]}"#,
    r#"{"elements":{"type":"uint8"}}"#,
    r#"{"elements":{}}"#,
    r#"{"values":{}}"#,
    r#"{"values":{"type":"string"}}"#,
    r#"{"properties":{"a":{}},"optionalProperties":{"b":{"elements":{}}}}"#,
    r#"{"discriminator":"a","mapping":{"A":{"properties":{},"additionalProperties":true}}}"#,
];

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn the_empty_schema_accepts_all_but_those_refused_by_name() {
    let Some(vectors) = crate::found::shared("cbor/appendix_a.json") else { return };
    let vectors = vectors.as_array().unwrap();
    assert_eq!(vectors.len(), 82);
    let schema = Schema::compile(Kind::Cbor, "{}").unwrap();
    let mut machine = Machine::new();
    let mut refused = 0;
    for vector in vectors {
        let hex = vector["hex"].as_str().unwrap();
        let cbor = bytes(hex);
        let progress = machine.check(&schema, &cbor, &mut 10_000);
        match REFUSED.iter().find(|(name, _)| *name == hex) {
            None => assert_eq!(progress, Progress::Valid, "{hex}"),
            Some((_, code)) => {
                refused += 1;
                assert_eq!(progress, Progress::Invalid, "{hex}");
                assert_eq!(machine.error(&schema, &cbor).code, *code, "{hex}");
                assert!(vector.get("decoded").is_none(), "{hex} has a JSON value");
            }
        }
    }
    assert_eq!(refused, REFUSED.len());
}

#[test]
fn the_59_with_a_json_value_get_its_verdict() {
    let Some(vectors) = crate::found::shared("cbor/appendix_a.json") else { return };
    let mut machine = Machine::new();
    let mut count = 0;
    for vector in vectors.as_array().unwrap() {
        let Some(json) = vector.get("decoded") else { continue };
        count += 1;
        let hex = vector["hex"].as_str().unwrap();
        for schema_text in SCHEMAS {
            let schema_json: Value = serde_json::from_str(schema_text).unwrap();
            let definition: jtd::SerdeSchema = serde_json::from_value(schema_json).unwrap();
            let definition = jtd::Schema::from_serde_schema(definition).unwrap();
            // The other implementation takes no integer above i64::MAX for a number.
            let number = match json.as_u64().filter(|&number| i64::try_from(number).is_err()) {
                Some(number) => Value::from(number as f64),
                None => json.clone(),
            };
            let oracle = jtd::validate(&definition, &number, Default::default()).unwrap();
            let oracle = oracle.is_empty();
            let expected = if oracle { Progress::Valid } else { Progress::Invalid };

            let schema = Schema::compile(Kind::Cbor, schema_text).unwrap();
            let told = machine.check(&schema, &bytes(hex), &mut 10_000);
            assert_eq!(told, expected, "{hex} under {schema_text}");
            let mapped = mapping::to_cbor(json).unwrap();
            let told = machine.check(&schema, &mapped, &mut 10_000);
            assert_eq!(told, expected, "{json} under {schema_text}");
        }
    }
    assert_eq!(count, 59);
}
