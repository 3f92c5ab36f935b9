//! A delta as JSON, by another reader of CBOR: the second opinion of what bytes mean.
//!
//! Reads what both can be compared in: integers, floats, booleans, null, texts with a length, arrays
//! and maps of either form. Everything else is beyond it, and no opinion.

use minicbor::Decoder;
use minicbor::data::Type;
use serde_json::{Map, Number, Value};

/// Deeper than any delta may be.
const DEPTH_MAX: usize = 40;

/// What the bytes are.
#[derive(Debug)]
pub enum Reading {
    /// This JSON value, and nothing behind it.
    Json(Value),
    /// No CBOR, or one that every schema refuses.
    Malformed,
    /// Something that is not compared.
    Beyond,
}

enum Stop {
    Malformed,
    Beyond,
}

impl From<minicbor::decode::Error> for Stop {
    fn from(_: minicbor::decode::Error) -> Stop {
        Stop::Malformed
    }
}

/// The JSON value that stands for the bytes.
pub fn json(bytes: &[u8]) -> Reading {
    let mut decoder = Decoder::new(bytes);
    match value(&mut decoder, 0) {
        Ok(_) if decoder.position() < bytes.len() => Reading::Malformed,
        Ok(value) => Reading::Json(value),
        Err(Stop::Malformed) => Reading::Malformed,
        Err(Stop::Beyond) => Reading::Beyond,
    }
}

/// Whether a text may be a timestamp to one reader of RFC 3339 and none to another.
pub fn has_odd_text(value: &Value) -> bool {
    match value {
        Value::String(text) => {
            let is_plain = super::drawing::TIMES.contains(&text.as_str());
            !is_plain && text.contains(|char: char| char.is_ascii_digit())
        }
        Value::Array(items) => items.iter().any(has_odd_text),
        Value::Object(fields) => fields.values().any(has_odd_text),
        _ => false,
    }
}

fn value(decoder: &mut Decoder<'_>, depth: usize) -> Result<Value, Stop> {
    if depth > DEPTH_MAX {
        return Err(Stop::Beyond);
    }
    Ok(match decoder.datatype()? {
        Type::Bool => Value::Bool(decoder.bool()?),
        Type::Null => {
            decoder.null()?;
            Value::Null
        }
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => {
            let number = decoder.u64()?;
            // The other validator takes no integer beyond 63 bits for a number; RFC 8927 does.
            i64::try_from(number).map_or_else(|_| finite(number as f64), |it| Ok(it.into()))?
        }
        Type::I8 | Type::I16 | Type::I32 | Type::I64 => Value::from(decoder.i64()?),
        Type::Int => finite(i128::from(decoder.int()?) as f64)?,
        Type::F16 => finite(f64::from(decoder.f16()?))?,
        Type::F32 => finite(f64::from(decoder.f32()?))?,
        Type::F64 => finite(decoder.f64()?)?,
        Type::String => Value::from(decoder.str()?),
        Type::Array | Type::ArrayIndef => {
            let mut items = Vec::new();
            let mut left = decoder.array()?;
            while goes_on(decoder, &mut left)? {
                items.push(value(decoder, depth + 1)?);
            }
            Value::Array(items)
        }
        Type::Map | Type::MapIndef => {
            let mut fields = Map::new();
            let mut left = decoder.map()?;
            while goes_on(decoder, &mut left)? {
                match decoder.datatype()? {
                    Type::String => {}
                    Type::StringIndef => return Err(Stop::Beyond),
                    _ => return Err(Stop::Malformed),
                }
                let name = decoder.str()?.to_owned();
                if fields.insert(name, value(decoder, depth + 1)?).is_some() {
                    return Err(Stop::Malformed);
                }
            }
            Value::Object(fields)
        }
        Type::Undefined | Type::Break | Type::Unknown(_) => return Err(Stop::Malformed),
        _ => return Err(Stop::Beyond),
    })
}

/// Whether another item follows; takes the break of an indefinite length.
fn goes_on(decoder: &mut Decoder<'_>, left: &mut Option<u64>) -> Result<bool, Stop> {
    match left {
        Some(0) => Ok(false),
        Some(count) => {
            *count -= 1;
            Ok(true)
        }
        None if decoder.datatype()? == Type::Break => {
            decoder.skip()?;
            Ok(false)
        }
        None => Ok(true),
    }
}

fn finite(value: f64) -> Result<Value, Stop> {
    Number::from_f64(value).map(Value::Number).ok_or(Stop::Malformed)
}
