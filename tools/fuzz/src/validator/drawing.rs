//! Schemas and deltas that are drawn from choices, so that a fuzzer's bytes mostly mean something.
//!
//! Few names and few values, so that schemas and instances meet. A delta is drawn from its schema, now
//! and then not, and is bent afterwards, byte by byte.

use arbitrary::{Result, Unstructured};
use deltaworks_schema::{Kind, mapping};
use serde_json::{Map, Value, json};

const DEPTH_MAX: usize = 4;

const NAMES: [&str; 8] = ["a", "b", "seq", "price", "a/~b", "eightlet", "a key of 20 letters", ""];

const TYPES: [&str; 11] = [
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

/// Timestamps that every reader of RFC 3339 takes.
pub const TIMES: [&str; 3] =
    ["2026-11-21T10:00:00Z", "2024-02-29T23:59:59.123456Z", "1985-04-12T23:20:50.52+01:30"];

const TEXTS: [&str; 5] =
    ["", "é", "no time", "eight letters and é", "longer than twenty-three bytes"];

const NUMBERS: [f64; 16] = [
    0.0,
    1.0,
    23.0,
    24.0,
    127.0,
    128.0,
    255.0,
    256.0,
    -1.0,
    -25.0,
    -128.0,
    -129.0,
    65_535.0,
    1.5,
    4_294_967_296.0,
    1e300,
];

/// A schema with its definitions.
pub fn schema(choices: &mut Unstructured<'_>) -> Result<Value> {
    let mut schema = form(choices, 0)?;
    schema["definitions"] = json!({
        "leaf": { "type": "uint8", "nullable": true },
        "tree": { "elements": { "ref": "tree" } },
    });
    Ok(schema)
}

fn form(choices: &mut Unstructured<'_>, depth: usize) -> Result<Value> {
    let kinds = if depth < DEPTH_MAX { 9 } else { 4 };
    let mut form = match choices.choose_index(kinds)? {
        0 => json!({ "type": choices.choose(&TYPES)? }),
        1 => json!({}),
        2 => json!({ "ref": choices.choose(&["leaf", "tree"])? }),
        3 => {
            let first = choices.choose_index(NAMES.len())?;
            json!({ "enum": NAMES[first..(first + 3).min(NAMES.len())] })
        }
        4 => json!({ "elements": form(choices, depth + 1)? }),
        5 => json!({ "values": form(choices, depth + 1)? }),
        6 => {
            let tag = *choices.choose(&NAMES)?;
            let mut forms = Map::new();
            for _ in 0..choices.choose_index(4)? {
                let name = (*choices.choose(&NAMES)?).to_owned();
                forms.insert(name, properties(choices, depth + 1, Some(tag))?);
            }
            json!({ "discriminator": tag, "mapping": forms })
        }
        _ => properties(choices, depth + 1, None)?,
    };
    if choices.ratio(1u8, 4)? {
        form["nullable"] = Value::Bool(true);
    }
    Ok(form)
}

fn properties(choices: &mut Unstructured<'_>, depth: usize, tag: Option<&str>) -> Result<Value> {
    let (mut required, mut optional) = (Map::new(), Map::new());
    for name in NAMES {
        let place = choices.choose_index(4)?;
        if place < 2 && Some(name) != tag {
            let child = form(choices, depth)?;
            if place == 0 { &mut required } else { &mut optional }.insert(name.to_owned(), child);
        }
    }
    let mut form = json!({ "properties": required });
    if !optional.is_empty() {
        form["optionalProperties"] = Value::Object(optional);
    }
    if choices.ratio(1u8, 3)? {
        form["additionalProperties"] = Value::Bool(choices.ratio(2u8, 3)?);
    }
    Ok(form)
}

/// The bytes of a delta that mostly fits.
pub fn delta(choices: &mut Unstructured<'_>, definition: &Value, kind: Kind) -> Result<Vec<u8>> {
    let value = instance(choices, definition, definition, 0)?;
    let value = if kind == Kind::Rows {
        json!([choices.choose_index(4)?, choices.arbitrary::<u8>()?, value])
    } else {
        value
    };
    // Deeper than a delta may be: the empty one is judged instead.
    Ok(mapping::to_cbor(&value).unwrap_or_default())
}

fn instance(
    choices: &mut Unstructured<'_>,
    form: &Value,
    root: &Value,
    depth: usize,
) -> Result<Value> {
    let stray = choices.choose_index(32)?;
    if stray == 0 || depth > 2 * DEPTH_MAX {
        return scalar(choices);
    }
    if stray == 1 && form.get("nullable").is_some() {
        return Ok(Value::Null);
    }
    let text = |keyword: &str| form.get(keyword).and_then(Value::as_str);
    if let Some(target) = text("ref") {
        return instance(choices, &root["definitions"][target], root, depth + 1);
    }
    if let Some(kind) = text("type") {
        return Ok(match kind {
            "boolean" => json!(choices.arbitrary::<bool>()?),
            "string" => json!(choices.choose(&TEXTS)?),
            "timestamp" => json!(choices.choose(&TIMES)?),
            "float32" | "float64" => json!(choices.choose(&NUMBERS)?),
            _ => json!(choices.choose_index(140)?),
        });
    }
    if let Some(names) = form.get("enum").and_then(Value::as_array) {
        return Ok(choices.choose(names)?.clone());
    }
    if let Some(child) = form.get("elements") {
        let count = choices.choose_index(4)?;
        return (0..count).map(|_| instance(choices, child, root, depth + 1)).collect();
    }
    let mut fields = Map::new();
    if let Some(child) = form.get("values") {
        for name in &NAMES[..choices.choose_index(4)?] {
            fields.insert((*name).to_owned(), instance(choices, child, root, depth + 1)?);
        }
        return Ok(Value::Object(fields));
    }
    let mut form = form;
    if let (Some(tag), Some(mapping)) = (text("discriminator"), form["mapping"].as_object())
        && !mapping.is_empty()
    {
        let (name, child) = choices.choose_iter(mapping)?;
        fields.insert(tag.to_owned(), json!(name));
        form = child;
    }
    for keyword in ["properties", "optionalProperties"] {
        for (name, child) in form.get(keyword).and_then(Value::as_object).into_iter().flatten() {
            if choices.choose_index(16)? > 0 {
                fields.insert(name.clone(), instance(choices, child, root, depth + 1)?);
            }
        }
    }
    Ok(Value::Object(fields))
}

fn scalar(choices: &mut Unstructured<'_>) -> Result<Value> {
    Ok(match choices.choose_index(6)? {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(choices.choose(&TEXTS)?),
        3 => json!(choices.choose(&NUMBERS)?),
        4 => json!(choices.arbitrary::<i64>()?),
        _ => json!([choices.arbitrary::<u64>()?, {}]),
    })
}

/// Changes the bytes in one place.
pub fn bend(choices: &mut Unstructured<'_>, delta: &mut Vec<u8>) -> Result<()> {
    let at = choices.choose_index(delta.len())?;
    match choices.choose_index(6)? {
        0 => delta[at] ^= 1 << choices.choose_index(8)?,
        1 => delta[at] = choices.arbitrary()?,
        2 => delta.insert(at, choices.arbitrary()?),
        3 => drop(delta.remove(at)),
        4 => delta.truncate(at),
        _ => {
            let end = (at + 1 + choices.choose_index(32)?).min(delta.len());
            delta.extend_from_within(at..end);
        }
    }
    Ok(())
}
