//! The mapping from JSON to CBOR, as this crate's users write JSON for deltas.
//!
//! | JSON | CBOR |
//! |---|---|
//! | `null`, `true`, `false` | simple values 22, 21, 20 |
//! | an integer from −2⁶³ to 2⁶⁴ − 1 | major type 0 or 1, in its shortest form |
//! | another number | a float of 32 bits if that is exact, else of 64 |
//! | a text, also a timestamp | major type 3 |
//! | an array, a map | major types 4 and 5 with a length, in the order given |
//!
//! Byte strings and tags have no JSON; nothing maps to them.

use std::fmt;

use serde_json::Value;

use crate::DEPTH_MAX;
use crate::head;

/// Why a JSON value has no CBOR that a schema could accept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum MappingError {
    /// More than [`DEPTH_MAX`] arrays and maps inside each other.
    TooDeep,
}

impl fmt::Display for MappingError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("more than 32 arrays and maps inside each other")
    }
}

impl std::error::Error for MappingError {}

/// The CBOR of a JSON value, by the table above. Cost: allocates; linear.
///
/// # Errors
/// When it is nested too deep.
pub fn to_cbor(json: &Value) -> Result<Vec<u8>, MappingError> {
    let mut cbor = Vec::new();
    append(json, 0, &mut cbor)?;
    Ok(cbor)
}

fn append(json: &Value, depth: usize, cbor: &mut Vec<u8>) -> Result<(), MappingError> {
    match json {
        Value::Null => cbor.push(0xf6),
        Value::Bool(value) => cbor.push(0xf4 | u8::from(*value)),
        Value::Number(number) => append_number(number, cbor),
        Value::String(text) => append_text(text, cbor),
        Value::Array(_) | Value::Object(_) if depth == DEPTH_MAX => {
            return Err(MappingError::TooDeep);
        }
        Value::Array(items) => {
            append_head(head::ARRAY, items.len() as u64, cbor);
            for item in items {
                append(item, depth + 1, cbor)?;
            }
        }
        Value::Object(fields) => {
            append_head(head::MAP, fields.len() as u64, cbor);
            for (name, value) in fields {
                append_text(name, cbor);
                append(value, depth + 1, cbor)?;
            }
        }
    }
    Ok(())
}

fn append_number(number: &serde_json::Number, cbor: &mut Vec<u8>) {
    if let Some(value) = number.as_u64() {
        return append_head(head::UNSIGNED, value, cbor);
    }
    if let Some(value) = number.as_i64() {
        return append_head(head::NEGATIVE, !value as u64, cbor);
    }
    let value = number.as_f64().unwrap_or(f64::NAN);
    if f64::from(value as f32) == value {
        cbor.push(0xfa);
        cbor.extend_from_slice(&(value as f32).to_be_bytes());
    } else {
        cbor.push(0xfb);
        cbor.extend_from_slice(&value.to_be_bytes());
    }
}

fn append_text(text: &str, cbor: &mut Vec<u8>) {
    append_head(head::TEXT, text.len() as u64, cbor);
    cbor.extend_from_slice(text.as_bytes());
}

/// Appends a head in its shortest form (RFC 8949, section 4.2.1).
pub(crate) fn append_head(major: u8, argument: u64, cbor: &mut Vec<u8>) {
    let first = major << 5;
    match argument {
        0..24 => cbor.push(first | argument as u8),
        24..0x100 => cbor.extend_from_slice(&[first | 24, argument as u8]),
        0x100..0x1_0000 => {
            cbor.push(first | 25);
            cbor.extend_from_slice(&(argument as u16).to_be_bytes());
        }
        0x1_0000..0x1_0000_0000 => {
            cbor.push(first | 26);
            cbor.extend_from_slice(&(argument as u32).to_be_bytes());
        }
        _ => {
            cbor.push(first | 27);
            cbor.extend_from_slice(&argument.to_be_bytes());
        }
    }
}
