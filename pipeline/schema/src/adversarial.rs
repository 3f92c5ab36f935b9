//! Adversarial inputs: deltas that cost the machine as much as their bytes allow.
//!
//! For the tests that bound its steps, and the bench that measures nanoseconds per byte. Each is
//! as long as asked, or a little shorter; some are accepted, some refused at their end.

use crate::compile::Schema;
use crate::head::{ARRAY, BYTES, MAP, TEXT};
use crate::kind::Kind;
use crate::mapping::append_head;
use crate::{
    DELTA_BYTES_MAX, DEPTH_MAX, KEY_BYTES_MAX, OTHER_KEYS_UNORDERED_MAX, REREAD_FACTOR_MAX,
};

/// A delta, and the schema under which it is dear.
#[derive(Debug)]
pub struct Adversary {
    /// What makes it dear.
    pub name: &'static str,
    /// The schema.
    pub schema: Schema,
    /// The delta.
    pub delta: Vec<u8>,
    /// Whether it is accepted.
    pub is_valid: bool,
}

/// All of them, each of about `bytes` bytes, 4,096 at least and [`DELTA_BYTES_MAX`] at most.
///
/// # Panics
/// When `bytes` is outside of that range.
pub fn all(bytes: usize) -> Vec<Adversary> {
    assert!((4_096..=DELTA_BYTES_MAX).contains(&bytes));
    let cbor = |json: &str| {
        Schema::compile(Kind::Cbor, json).unwrap_or_else(|error| panic!("{json}: {error}"))
    };
    let any = || cbor("{}");
    let adversary = |name, schema, delta: Vec<u8>, is_valid| {
        assert!(delta.len() <= bytes, "{name}: {} bytes", delta.len());
        Adversary { name, schema, delta, is_valid }
    };
    let names: Vec<String> = (0..250).map(|name| format!("{name:03}")).collect();
    let enumeration = format!(r#"{{"elements":{{"enum":{}}}}}"#, serde_json::json!(names));
    let wide: serde_json::Map<_, _> =
        names.iter().map(|name| (name.clone(), serde_json::json!({ "type": "uint8" }))).collect();
    let wide = serde_json::json!({ "elements": { "properties": wide } }).to_string();
    let unions = r#"{"definitions":{"u":{"discriminator":"t","mapping":{"x":{"properties":{"c":
        {"ref":"u"}},"additionalProperties":true},"end":{"properties":{},
        "additionalProperties":true}}}},"ref":"u"}"#;
    vec![
        adversary("tiny_items", any(), filled_array(bytes, &[0]), true),
        adversary(
            "tiny_checked_items",
            cbor(r#"{"elements":{"type":"int8"}}"#),
            filled_array(bytes, &[0x20]),
            true,
        ),
        adversary("empty_maps", any(), filled_array(bytes, &[0xa0]), true),
        adversary("nested_to_the_limit", any(), filled_array(bytes, &nest(DEPTH_MAX - 1)), true),
        adversary("nested_too_deep", any(), too_deep(bytes), false),
        adversary("tags", any(), filled_array(bytes, &[0xc1, 0]), true),
        adversary(
            "floats_as_integers",
            cbor(r#"{"elements":{"type":"uint32"}}"#),
            filled_array(bytes, &[0xf9, 0x3c, 0]),
            true,
        ),
        adversary("one_long_text", any(), long_text(bytes, "a"), true),
        adversary("one_long_text_of_three_byte_characters", any(), long_text(bytes, "水"), true),
        adversary("one_long_text_wrong_at_its_end", any(), wrong_text(bytes), false),
        adversary("short_texts", any(), filled_array(bytes, b"\x62\xc3\xbc"), true),
        adversary("text_in_tiny_pieces", any(), pieces(bytes, TEXT, &[0x61, b'a']), true),
        adversary("text_in_empty_pieces", any(), pieces(bytes, TEXT, &[0x60]), true),
        adversary("bytes_in_empty_pieces", any(), pieces(bytes, BYTES, &[0x40]), true),
        adversary(
            "timestamps",
            cbor(r#"{"elements":{"type":"timestamp"}}"#),
            filled_array(bytes, b"\x742026-11-21T10:00:00Z"),
            true,
        ),
        adversary("big_enum", cbor(&enumeration), filled_array(bytes, b"\x63249"), true),
        adversary(
            "enum_in_tiny_pieces",
            cbor(&enumeration),
            filled_array(bytes, b"\x7f\x612\x614\x619\xff"),
            true,
        ),
        adversary("wide_properties", cbor(&wide), filled_array(bytes, &wide_map(&names)), true),
        adversary("wide_properties_missing", cbor(&wide), missing_at_the_end(bytes, &names), false),
        adversary("many_ascending_keys", any(), keys(bytes, false), true),
        adversary("many_keys_and_a_double", any(), keys(bytes, true), false),
        adversary("unordered_keys", any(), filled_array(bytes, &backward_keys(2, false)), true),
        adversary("unordered_long_keys", any(), long_keys(bytes, false), true),
        adversary(
            "unordered_keys_in_pieces",
            any(),
            filled_array(bytes, &backward_keys(20, true)),
            true,
        ),
        adversary("unordered_long_keys_in_pieces", any(), long_keys(bytes, true), true),
        adversary(
            "discriminators_last",
            cbor(unions),
            nested_unions(bytes, REREAD_FACTOR_MAX),
            true,
        ),
        adversary(
            "discriminators_too_late",
            cbor(unions),
            nested_unions(bytes, DEPTH_MAX - 1),
            false,
        ),
    ]
}

/// An array of as many copies as fit.
fn filled_array(bytes: usize, item: &[u8]) -> Vec<u8> {
    let mut delta = vec![ARRAY << 5 | 31];
    while delta.len() + item.len() < bytes {
        delta.extend_from_slice(item);
    }
    delta.push(0xff);
    delta
}

fn nest(depth: usize) -> Vec<u8> {
    let mut item = vec![0x81; depth - 1];
    item.push(0x80);
    item
}

fn too_deep(bytes: usize) -> Vec<u8> {
    let mut delta = filled_array(bytes - DEPTH_MAX - 8, &nest(DEPTH_MAX - 1));
    delta.pop();
    delta.extend(nest(DEPTH_MAX));
    delta.push(0xff);
    delta
}

fn long_text(bytes: usize, character: &str) -> Vec<u8> {
    let text = character.repeat((bytes - 8) / character.len());
    let mut delta = Vec::new();
    append_head(TEXT, text.len() as u64, &mut delta);
    delta.extend_from_slice(text.as_bytes());
    delta
}

fn wrong_text(bytes: usize) -> Vec<u8> {
    let mut delta = long_text(bytes, "ü");
    delta.pop();
    delta.push(0xff);
    delta
}

fn pieces(bytes: usize, major: u8, piece: &[u8]) -> Vec<u8> {
    let mut delta = filled_array(bytes, piece);
    delta[0] = major << 5 | 31;
    delta
}

fn wide_map(names: &[String]) -> Vec<u8> {
    let mut map = Vec::new();
    append_head(MAP, names.len() as u64, &mut map);
    for name in names.iter().rev() {
        append_head(TEXT, name.len() as u64, &mut map);
        map.extend_from_slice(name.as_bytes());
        map.push(0);
    }
    map
}

fn missing_at_the_end(bytes: usize, names: &[String]) -> Vec<u8> {
    let mut delta = filled_array(bytes - 2_000, &wide_map(names));
    delta.pop();
    delta.extend(wide_map(&names[1..]));
    delta.push(0xff);
    delta
}

/// One map of ascending keys of three bytes, the last of which may stand twice.
fn keys(bytes: usize, is_double: bool) -> Vec<u8> {
    let mut delta = vec![0xbf];
    let count = ((bytes - 8) / 5).min(18 * 90 * 90);
    for key in 0..count - usize::from(is_double) {
        let digit = |place: usize| b'!' + (key / place % 90) as u8;
        delta.extend([0x63, digit(8_100), digit(90), digit(1), 0]);
    }
    if is_double {
        delta.extend_from_within(delta.len() - 5..);
    }
    delta.push(0xff);
    delta
}

/// A map of as many unordered keys as there may be, each smaller than the one before.
fn backward_keys(length: usize, in_pieces: bool) -> Vec<u8> {
    let mut map = vec![0xbf];
    for key in (0..OTHER_KEYS_UNORDERED_MAX).rev() {
        let mut text = vec![b'k'; length];
        text[length - 1] = b'!' + key as u8;
        if in_pieces {
            map.push(0x7f);
            for byte in text {
                map.extend([0x61, byte]);
            }
            map.push(0xff);
        } else {
            append_head(TEXT, length as u64, &mut map);
            map.extend(text);
        }
        map.push(0);
    }
    map.push(0xff);
    map
}

/// One such map, its keys as long as fit.
fn long_keys(bytes: usize, in_pieces: bool) -> Vec<u8> {
    let room = (bytes - 8) / OTHER_KEYS_UNORDERED_MAX - 4;
    let length =
        if in_pieces { (room / 2).min(KEY_BYTES_MAX / 2) } else { room.min(KEY_BYTES_MAX) };
    backward_keys(length, in_pieces)
}

/// Maps inside each other, each with its discriminator's property at its end.
fn nested_unions(bytes: usize, depth: usize) -> Vec<u8> {
    let filler = filled_array(bytes - 16 * DEPTH_MAX, &[0]);
    let mut delta = b"\xa2\x61c".repeat(depth - 1);
    delta.extend_from_slice(b"\xa2\x61f");
    delta.extend(filler);
    delta.extend_from_slice(b"\x61t\x63end");
    for _ in 0..depth - 1 {
        delta.extend_from_slice(b"\x61t\x61x");
    }
    delta
}
