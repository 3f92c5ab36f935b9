//! The conformance suites of JSON Type Definition: 316 instances and 49 invalid schemas.

use std::collections::BTreeSet;

use deltaworks_schema::{Kind, Machine, Progress, Schema, mapping};
use serde_json::Value;

type Places = BTreeSet<(String, String)>;

fn pointer(tokens: &Value) -> String {
    let escaped = |token: &Value| {
        format!("/{}", token.as_str().unwrap().replace('~', "~0").replace('/', "~1"))
    };
    tokens.as_array().unwrap().iter().map(escaped).collect()
}

#[test]
fn every_instance_gets_its_verdict_and_its_places() {
    let Some(cases) = crate::found::suite("validation.json") else { return };
    let cases = cases.as_object().unwrap();
    assert_eq!(cases.len(), 316);
    let mut machine = Machine::new();
    for (name, case) in cases {
        let schema = Schema::compile(Kind::Cbor, &case["schema"].to_string())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let expected: Places = case["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| (pointer(&error["instancePath"]), pointer(&error["schemaPath"])))
            .collect();
        let cbor = mapping::to_cbor(&case["instance"]).unwrap();

        let progress = machine.check(&schema, &cbor, &mut 10_000);
        if expected.is_empty() {
            assert_eq!(progress, Progress::Valid, "{name}");
        } else {
            assert_eq!(progress, Progress::Invalid, "{name}");
            let error = machine.error(&schema, &cbor);
            assert!(!error.code.is_malformed(), "{name}: {error}");
            let place = (error.instance_path, error.schema_path);
            assert!(expected.contains(&place), "{name}: {place:?} is none of {expected:?}");
        }

        let all = machine.collect(&schema, &cbor);
        let count = all.len();
        let places: Places =
            all.into_iter().map(|error| (error.instance_path, error.schema_path)).collect();
        assert_eq!(places, expected, "{name}");
        assert_eq!(count, expected.len(), "{name}: a place stands twice");
    }
}

#[test]
fn every_invalid_schema_is_refused() {
    let Some(cases) = crate::found::suite("invalid_schemas.json") else { return };
    let cases = cases.as_object().unwrap();
    assert_eq!(cases.len(), 49);
    for (name, case) in cases {
        assert!(Schema::compile(Kind::Cbor, &case.to_string()).is_err(), "{name}: {case}");
        assert!(Schema::compile(Kind::Rows, &case.to_string()).is_err(), "{name}: {case}");
    }
}
