//! Differences: the quick way, the general way and another implementation must say the same.

use std::collections::BTreeSet;

use deltaworks_schema::{Kind, Machine, Progress, Schema, ValidationError, mapping};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Few names, so that schemas and instances meet.
fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "a",
        "b",
        "seq",
        "price",
        "a/~b",
        "eightlet",
        "a key of 20 letters",
        "",
    ])
    .prop_map(str::to_owned)
}

fn scalar_schema() -> impl Strategy<Value = Value> {
    let types = [
        "boolean",
        "float32",
        "float64",
        "int8",
        "uint8",
        "int16",
        "uint16",
        "int32",
        "uint32",
        "string",
        "timestamp",
    ];
    prop_oneof![
        8 => prop::sample::select(types.to_vec()).prop_map(|kind| json!({ "type": kind })),
        1 => Just(json!({})),
        1 => Just(json!({ "ref": "leaf" })),
        1 => Just(json!({ "ref": "tree" })),
        2 => prop::collection::btree_set(name(), 1..4).prop_map(|names| json!({ "enum": names })),
    ]
}

fn properties_schema(child: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    (prop::collection::btree_map(name(), (child, any::<bool>()), 0..6), 0..3u8).prop_map(
        |(children, additional)| {
            let (mut required, mut optional) = (Map::new(), Map::new());
            for (name, (child, is_required)) in children {
                if is_required { &mut required } else { &mut optional }.insert(name, child);
            }
            let mut schema = json!({ "properties": required });
            if !optional.is_empty() {
                schema["optionalProperties"] = Value::Object(optional);
            }
            if additional > 0 {
                schema["additionalProperties"] = Value::Bool(additional == 1);
            }
            schema
        },
    )
}

fn schema() -> impl Strategy<Value = Value> {
    let tree = scalar_schema().prop_recursive(3, 16, 4, |inner| {
        let union =
            (name(), prop::collection::btree_map(name(), properties_schema(inner.clone()), 0..3))
                .prop_map(|(tag, mut mapping)| {
                    for form in mapping.values_mut() {
                        for keyword in ["properties", "optionalProperties"] {
                            if let Some(fields) =
                                form.get_mut(keyword).and_then(Value::as_object_mut)
                            {
                                fields.remove(&tag);
                            }
                        }
                    }
                    json!({ "discriminator": tag, "mapping": mapping })
                });
        prop_oneof![
            1 => inner.clone().prop_map(|child| json!({ "elements": child })),
            1 => inner.clone().prop_map(|child| json!({ "values": child })),
            4 => properties_schema(inner),
            2 => union,
        ]
    });
    let nullable = (tree, any::<bool>()).prop_map(|(mut schema, nullable)| {
        if nullable {
            schema["nullable"] = Value::Bool(true);
        }
        schema
    });
    nullable.prop_map(|mut schema| {
        schema["definitions"] = json!({
            "leaf": { "type": "uint8", "nullable": true },
            "tree": { "elements": { "ref": "tree" } },
        });
        schema
    })
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        prop::sample::select(vec![
            0i64,
            1,
            23,
            24,
            127,
            128,
            255,
            256,
            32_767,
            32_768,
            65_535,
            65_536,
            4_294_967_295,
            4_294_967_296,
            -1,
            -24,
            -25,
            -128,
            -129,
            -32_768,
            -32_769,
            i64::MAX,
            i64::MIN,
        ])
        .prop_map(Value::from),
        prop::sample::select(vec![0.0, -0.0, 1.0, 1.5, 3.25, 255.0, 256.0, 1e300, -129.0])
            .prop_map(Value::from),
        name().prop_map(Value::String),
        prop::sample::select(vec![
            "2026-11-21T10:00:00Z",
            "2026-11-21T10:00:00",
            "é",
            "eight letters and é, and more",
            "a text that is longer than twenty-three bytes",
        ])
        .prop_map(Value::from),
    ]
}

fn instance() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            3 => prop::collection::btree_map(name(), inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// An instance that mostly fits: made from the schema, then sometimes bent.
fn fitting(
    schema: &Value,
    root: &Value,
    choices: &mut dyn FnMut(usize) -> usize,
    depth: u32,
) -> Value {
    if choices(24) == 0 {
        return json!(choices(300));
    }
    if depth > 6 {
        return json!([]);
    }
    let text = |keyword: &str| schema.get(keyword).and_then(Value::as_str);
    if let Some(target) = text("ref") {
        return fitting(&root["definitions"][target], root, choices, depth + 1);
    }
    if let Some(kind) = text("type") {
        return match kind {
            "boolean" => json!(choices(2) == 0),
            "float32" | "float64" => json!(choices(100) as f64 / 8.0),
            "string" => json!("x".repeat(choices(40))),
            "timestamp" => json!("2026-11-21T10:00:00.5+01:00"),
            _ => json!(choices(128)),
        };
    }
    if let Some(names) = schema.get("enum").and_then(Value::as_array) {
        return names[choices(names.len())].clone();
    }
    if let Some(child) = schema.get("elements") {
        let count = choices(3);
        return (0..count).map(|_| fitting(child, root, choices, depth + 1)).collect();
    }
    if let Some(child) = schema.get("values") {
        let names = ["a", "b", "seq"];
        let count = choices(3);
        let field =
            |at: usize| (names[at].to_owned(), fitting(child, root, &mut *choices, depth + 1));
        return Value::Object((0..count).map(field).collect());
    }
    let mut fields = Map::new();
    let mut form = schema;
    if let (Some(tag), Some(mapping)) = (text("discriminator"), schema["mapping"].as_object())
        && let Some((name, child)) = mapping.iter().nth(choices(mapping.len().max(1)))
    {
        fields.insert(tag.to_owned(), json!(name));
        form = child;
    }
    for keyword in ["properties", "optionalProperties"] {
        for (name, child) in form.get(keyword).and_then(Value::as_object).into_iter().flatten() {
            if choices(if keyword == "properties" { 30 } else { 2 }) != 1 {
                fields.insert(name.clone(), fitting(child, root, choices, depth + 1));
            }
        }
    }
    Value::Object(fields)
}

/// Both ways' verdict and first error, and the verdict one step at a time.
fn verdict(
    machine: &mut Machine,
    schema: &Schema,
    cbor: &[u8],
    slice: u32,
) -> Option<ValidationError> {
    let quick = machine.check(schema, cbor, &mut 1_000_000);
    let error = (quick == Progress::Invalid).then(|| machine.error(schema, cbor));
    machine.start();
    let general = machine.run_general(schema, cbor, &mut 1_000_000);
    assert_eq!(quick, general, "{cbor:02x?}");
    machine.start();
    let sliced = loop {
        match machine.run(schema, cbor, &mut slice.clone()) {
            Progress::OutOfSteps => continue,
            done => break done,
        }
    };
    assert_eq!(quick, sliced, "{cbor:02x?}");
    assert_eq!(error, (sliced == Progress::Invalid).then(|| machine.error(schema, cbor)));
    error
}

fn places_of_the_other(schema: &Value, instance: &Value) -> BTreeSet<(String, String)> {
    let definition: jtd::SerdeSchema = serde_json::from_value(schema.clone()).unwrap();
    let definition = jtd::Schema::from_serde_schema(definition).unwrap();
    let pointer = |tokens: Vec<String>| -> String {
        tokens
            .iter()
            .map(|token| format!("/{}", token.replace('~', "~0").replace('/', "~1")))
            .collect()
    };
    jtd::validate(&definition, instance, Default::default())
        .unwrap()
        .into_iter()
        .map(|error| error.into_owned_paths())
        .map(|(instance, schema)| (pointer(instance), pointer(schema)))
        .collect()
}

fn agrees_with_the_other(schema: &Value, instance: &Value) -> bool {
    let expected = places_of_the_other(schema, instance);
    let program = Schema::compile(Kind::Cbor, &schema.to_string()).unwrap();
    let cbor = mapping::to_cbor(instance).unwrap();
    let mut machine = Machine::new();
    let all: BTreeSet<_> = machine
        .collect(&program, &cbor)
        .into_iter()
        .map(|error| (error.instance_path, error.schema_path))
        .collect();
    assert_eq!(all, expected, "{schema} {instance}");
    let first = verdict(&mut machine, &program, &cbor, 3);
    match &first {
        None => assert!(expected.is_empty()),
        Some(error) => {
            let place = (error.instance_path.clone(), error.schema_path.clone());
            assert!(expected.contains(&place), "{place:?} {expected:?}");
        }
    }
    first.is_none()
}

/// A sequence of choices from a seed.
fn chooser(mut seed: u64) -> impl FnMut(usize) -> usize {
    move |count| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % count.max(1)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_instance_has_the_errors_that_the_other_finds(schema in schema(), instance in instance()) {
        agrees_with_the_other(&schema, &instance);
    }

    #[test]
    fn a_fitting_instance_has_them_too(schema in schema(), seed in any::<u64>()) {
        let instance = fitting(&schema, &schema, &mut chooser(seed), 0);
        agrees_with_the_other(&schema, &instance);
    }

    #[test]
    fn any_bytes_get_one_verdict(schema in schema(), bytes in prop::collection::vec(any::<u8>(), 0..60), slice in 1u32..9) {
        let program = Schema::compile(Kind::Cbor, &schema.to_string()).unwrap();
        verdict(&mut Machine::new(), &program, &bytes, slice);
    }

    #[test]
    fn a_bent_delta_gets_one_verdict(schema in schema(), seed in any::<u64>(), slice in 1u32..9) {
        let mut choose = chooser(seed);
        let instance = fitting(&schema, &schema, &mut choose, 0);
        let mut cbor = mapping::to_cbor(&instance).unwrap();
        let program = Schema::compile(Kind::Cbor, &schema.to_string()).unwrap();
        let mut machine = Machine::new();
        for _ in 0..12 {
            verdict(&mut machine, &program, &cbor, slice);
            if cbor.is_empty() {
                break;
            }
            let at = choose(cbor.len());
            match choose(5) {
                0 => cbor[at] ^= 1 << choose(8),
                1 => cbor[at] = choose(256) as u8,
                2 => cbor.insert(at, choose(256) as u8),
                3 => drop(cbor.remove(at)),
                _ => cbor.truncate(at),
            }
        }
    }

    #[test]
    fn flat_maps_in_any_order_with_doubles_get_one_verdict(
        seed in any::<u64>(),
        schema in properties_schema(scalar_schema()),
        rows in any::<bool>(),
    ) {
        let mut choose = chooser(seed);
        let mut schema = schema;
        schema["definitions"] = json!({
            "leaf": { "type": "uint8", "nullable": true },
            "tree": { "elements": { "ref": "tree" } },
        });
        let kind = if rows { Kind::Rows } else { Kind::Cbor };
        let program = Schema::compile(kind, &schema.to_string()).unwrap();
        let mut machine = Machine::new();
        for _ in 0..8 {
            let Value::Object(fields) = fitting(&schema, &schema, &mut choose, 0) else { continue };
            let mut entries: Vec<_> = fields.into_iter().collect();
            for at in (1..entries.len()).rev() {
                entries.swap(at, choose(at + 1));
            }
            if choose(4) == 0 && !entries.is_empty() {
                entries.push(entries[choose(entries.len())].clone());
            }
            let mut cbor = if rows { vec![0x83, choose(4) as u8, 0x07] } else { Vec::new() };
            cbor.push(0xa0 | entries.len() as u8);
            for (name, value) in entries {
                cbor.extend(mapping::to_cbor(&Value::String(name)).unwrap());
                cbor.extend(mapping::to_cbor(&value).unwrap());
            }
            verdict(&mut machine, &program, &cbor, 5);
        }
    }
}

#[test]
fn the_generators_meet_both_verdicts() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut counts = [0, 0];
    for seed in 0..400 {
        let schema = schema().new_tree(&mut runner).unwrap().current();
        let instance = fitting(&schema, &schema, &mut chooser(seed), 0);
        counts[usize::from(agrees_with_the_other(&schema, &instance))] += 1;
    }
    assert!(counts[0] > 40 && counts[1] > 40, "{counts:?}");
}
