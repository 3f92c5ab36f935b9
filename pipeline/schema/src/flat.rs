//! The quick way: one map of scalars, in one pass, without frames.
//!
//! Most deltas are a small map whose values are numbers and short texts. This way accepts such a
//! map or says nothing; whatever it does not accept, for any reason, the machine judges from its
//! beginning. So it can only ever agree with the machine, and knows no errors.
//! A key is compared first with the schema's next one, then with the one that came in its place
//! before, which each worker remembers. A wrong guess costs one look-up.

use crate::compile::Schema;
use crate::head;
use crate::kind::Kind;
use crate::program::{Form, Program, Properties, Shape};
use crate::text::BYTES_PER_STEP;
use crate::timestamp;
use crate::{RECORD_ID_BYTES_MAX, TIMESTAMP_BYTES_MAX};

/// Longest delta for which this way is tried.
pub(crate) const BYTES_MAX: usize = 1_024;
/// Entries of a map whose head is one byte.
const ENTRIES_MAX: usize = 23;
/// Properties that one word of bits can track.
const PROPERTIES_MAX: usize = 64;
/// Longest key whose head is one byte.
const NAME_BYTES_MAX: usize = 23;
/// More than this way can use.
pub(crate) const STEPS_MAX: u32 = 64;

const _: () = assert!(1 + ENTRIES_MAX + BYTES_MAX / BYTES_PER_STEP < STEPS_MAX as usize);

/// What this way needs to know of a properties form.
#[derive(Debug)]
pub(crate) struct Flat {
    entries: Box<[Entry]>,
    required: u64,
}

#[derive(Debug)]
struct Entry {
    /// The first eight bytes of the key's encoding, as they are loaded, and which of them count.
    word: u64,
    mask: u64,
    /// The rest of a key of more than seven bytes.
    rest: Box<[u8]>,
    encoded_bytes: usize,
    form: Form,
}

/// Which key came where the schema has another: a guess, checked whenever it is used.
#[derive(Debug)]
pub(crate) struct Hints([u8; 256]);

impl Default for Hints {
    fn default() -> Self {
        Self([0; 256])
    }
}

/// What came of trying.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) is_valid: bool,
    pub(crate) steps: u32,
}

impl Flat {
    /// What the form needs, if each of its required properties is a scalar.
    pub(crate) fn new(map: &Properties, forms: &[Form]) -> Option<Self> {
        let count = map.keys.len();
        if count == 0 || count > PROPERTIES_MAX {
            return None;
        }
        let entry = |number: usize| {
            let name = map.keys.name(number).as_bytes();
            let mut encoded = vec![0x60 | name.len() as u8];
            encoded.extend_from_slice(name);
            let length = encoded.len().min(8);
            // A name that is too long is never met: the word of the mask 0 and the word 1.
            let is_short = name.len() <= NAME_BYTES_MAX;
            Entry {
                word: if is_short { load(&encoded, 0) } else { 1 },
                mask: if is_short { u64::MAX >> (64 - 8 * length) } else { 0 },
                rest: encoded[length..].into(),
                encoded_bytes: encoded.len(),
                form: forms[usize::from(map.children[number])],
            }
        };
        let entries: Box<[Entry]> = (0..count).map(entry).collect();
        let is_required = |number: usize| map.required[0] >> number & 1 == 1;
        let can = |(number, entry): (usize, &Entry)| {
            !is_required(number) || (entry.mask != 0 && is_scalar(entry.form.shape))
        };
        entries.iter().enumerate().all(can).then_some(Self { required: map.required[0], entries })
    }
}

fn is_scalar(shape: Shape) -> bool {
    !matches!(
        shape,
        Shape::Elements(_)
            | Shape::Properties(_)
            | Shape::Values(_)
            | Shape::Union(_)
            | Shape::Ref(_)
    )
}

/// Tries the delta. The steps that it takes off depend on nothing but bytes and schema.
#[inline]
pub(crate) fn check(schema: &Schema, bytes: &[u8], hints: &mut Hints, steps: u32) -> Way {
    if bytes.len() > BYTES_MAX || steps < STEPS_MAX {
        return Way { is_valid: false, steps: 0 };
    }
    let program = &schema.program;
    let form = match schema.kind() {
        Kind::Cbor => program.root,
        _ => return row(program, bytes, hints),
    };
    map(program, form, bytes, 0, hints)
}

fn row(program: &Program, bytes: &[u8], hints: &mut Hints) -> Way {
    let unknown = Way { is_valid: false, steps: 1 };
    let form = match bytes {
        [0x83, 0 | 2, ..] => program.root,
        [0x83, 1, ..] => program.partial,
        _ => return unknown,
    };
    let Ok(id) = head::read(bytes, 2) else { return unknown };
    match (id.major, id.info) {
        (head::UNSIGNED, _) => map(program, form, bytes, id.end, hints),
        (head::TEXT, 1..24) => {
            let end = id.end + id.argument as usize;
            match bytes.get(id.end..end) {
                Some(text) if text.is_ascii() => map(program, form, bytes, end, hints),
                _ => unknown,
            }
        }
        (head::BYTES, 1..24) => map(program, form, bytes, id.end + id.argument as usize, hints),
        _ => unknown,
    }
}

const _: () = assert!(RECORD_ID_BYTES_MAX >= 23);

/// Whether the map at `at` ends the delta and is accepted by the form.
#[inline(always)]
fn map(program: &Program, form: u16, bytes: &[u8], mut at: usize, hints: &mut Hints) -> Way {
    let mut way = Way { is_valid: false, steps: 1 };
    let Shape::Properties(place) = program.forms[usize::from(form)].shape else { return way };
    let properties = &program.maps[usize::from(place)];
    let Some(flat) = &properties.flat else { return way };
    let count = match bytes.get(at) {
        Some(&first @ 0xa0..=0xb7) => usize::from(first & 31),
        _ => return way,
    };
    at += 1;
    let base = (place as u8).wrapping_mul(37);
    let (mut seen, mut next) = (0u64, 0);
    for _ in 0..count {
        way.steps += 1;
        if at >= bytes.len() {
            return way;
        }
        let word = load(bytes, at);
        let number = match flat.entries.get(next) {
            Some(entry) if is_key(entry, word, bytes, at) => next,
            _ => {
                let slot = usize::from(base.wrapping_add(next as u8));
                match out_of_order(properties, flat, word, bytes, at, &mut hints.0[slot]) {
                    Some(number) => number,
                    None => return way,
                }
            }
        };
        let entry = &flat.entries[number];
        next = number + 1;
        let bit = 1 << number;
        if seen & bit != 0 {
            return way;
        }
        seen |= bit;
        at += entry.encoded_bytes;
        let Some(end) = frequent(program, &entry.form, bytes, at) else { return way };
        at = end;
    }
    way.steps = 1 + count as u32 + (bytes.len() / BYTES_PER_STEP) as u32;
    way.is_valid = at == bytes.len() && seen & flat.required == flat.required;
    way
}

#[inline(always)]
fn is_key(entry: &Entry, word: u64, bytes: &[u8], at: usize) -> bool {
    word & entry.mask == entry.word
        && (entry.rest.is_empty()
            || bytes.get(at + 8..at + entry.encoded_bytes) == Some(&*entry.rest))
}

/// The number of a key that is not the schema's next: mostly the one that came here before.
#[inline(never)]
fn out_of_order(
    properties: &Properties,
    flat: &Flat,
    word: u64,
    bytes: &[u8],
    at: usize,
    hint: &mut u8,
) -> Option<usize> {
    let guess = usize::from(*hint);
    if let Some(entry) = flat.entries.get(guess)
        && is_key(entry, word, bytes, at)
    {
        return Some(guess);
    }
    let number = find(properties, bytes, at)?;
    *hint = number as u8;
    Some(number)
}

#[cold]
fn find(properties: &Properties, bytes: &[u8], at: usize) -> Option<usize> {
    let length = match bytes[at] {
        first @ 0x60..=0x77 => usize::from(first & 31),
        _ => return None,
    };
    properties.keys.find(bytes.get(at + 1..at + 1 + length)?)
}

/// Where the value at `at` ends, if it is a scalar that the form accepts. The most frequent ones are
/// judged here, the others out of line, which leaves this loop the registers.
#[inline(always)]
fn frequent(program: &Program, form: &Form, bytes: &[u8], at: usize) -> Option<usize> {
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
    let word = load(bytes, at);
    let first = word as u8;
    match form.shape {
        Shape::Integer { min, max } => {
            if let (Some((value, size)), 0..=0x1a) = (argument(word), first) {
                return (min <= value && value <= max).then_some(at + size);
            }
        }
        Shape::Text => {
            if let 0x60..=0x67 = first {
                let length = usize::from(first & 31);
                let content = word >> 8 & !(u64::MAX << (8 * length));
                if content & HIGH_BITS == 0 {
                    return Some(at + 1 + length);
                }
            }
        }
        // The exponent of a double is in the two bytes behind its head.
        Shape::Number if first == 0xfb && ((word >> 8) as u16).swap_bytes() & 0x7ff0 != 0x7ff0 => {
            return Some(at + 9);
        }
        Shape::Boolean if first & 0xfe == 0xf4 => return Some(at + 1),
        _ => {}
    }
    scalar(program, form, bytes, at)
}

/// The same for any of them.
#[inline(never)]
pub(crate) fn scalar(program: &Program, form: &Form, bytes: &[u8], at: usize) -> Option<usize> {
    if at >= bytes.len() {
        return None;
    }
    let word = load(bytes, at);
    let first = word as u8;
    match form.shape {
        Shape::Integer { min, max } => {
            if let 0..=0x17 = first {
                let value = i64::from(first);
                return (min <= value && value <= max).then_some(at + 1);
            }
            let (argument, size) = argument(word)?;
            let value = match first >> 5 {
                head::UNSIGNED => argument,
                head::NEGATIVE => -1 - argument,
                _ => return null(form, first, at),
            };
            (min <= value && value <= max).then_some(at + size)
        }
        Shape::Text => match text(word, bytes, at) {
            Some(end) => Some(end),
            None => null(form, first, at),
        },
        Shape::Number => number(word, bytes, at).or_else(|| null(form, first, at)),
        Shape::Boolean if first & 0xfe == 0xf4 => Some(at + 1),
        Shape::Any => match first {
            0xf4..=0xf6 => Some(at + 1),
            _ => number(word, bytes, at).or_else(|| text(word, bytes, at)),
        },
        Shape::Enum(names) => {
            let (start, end) = short(word, at);
            match bytes.get(start..end) {
                Some(text) if matches!(first, 0x60..=0x78) => {
                    program.enums[usize::from(names)].find(text).map(|_| end)
                }
                _ => null(form, first, at),
            }
        }
        Shape::Timestamp => {
            let (start, end) = short(word, at);
            match bytes.get(start..end) {
                Some(text) if matches!(first, 0x60..=0x78) => (text.len() <= TIMESTAMP_BYTES_MAX
                    && timestamp::is_timestamp(text))
                .then_some(end),
                _ => null(form, first, at),
            }
        }
        _ => null(form, first, at),
    }
}

/// Nothing but `null` is left, if the form allows it.
#[inline]
fn null(form: &Form, first: u8, at: usize) -> Option<usize> {
    (form.nullable && first == 0xf6).then_some(at + 1)
}

/// A head's argument of at most four bytes, and the head's size.
#[inline(always)]
fn argument(word: u64) -> Option<(i64, usize)> {
    let rest = word >> 8;
    match word as u8 & 31 {
        info @ 0..=23 => Some((i64::from(info), 1)),
        24 => Some((i64::from(rest as u8), 2)),
        25 => Some((i64::from((rest as u16).swap_bytes()), 3)),
        26 => Some((i64::from((rest as u32).swap_bytes()), 5)),
        _ => None,
    }
}

#[inline]
fn number(word: u64, bytes: &[u8], at: usize) -> Option<usize> {
    let (is_finite, size) = match word as u8 {
        0xfb => (load(bytes, at + 1).swap_bytes() >> 52 & 0x7ff != 0x7ff, 9),
        0xfa => (((word >> 8) as u32).swap_bytes() >> 23 & 0xff != 0xff, 5),
        0xf9 => (((word >> 8) as u16).swap_bytes() >> 10 & 0x1f != 0x1f, 3),
        0x1b | 0x3b => (true, 9),
        0..0x40 => (true, argument(word)?.1),
        _ => return None,
    };
    // A number that is cut off ends the map, too, behind the delta's end.
    is_finite.then_some(at + size)
}

/// Where a text of less than 256 bytes begins and ends.
#[inline]
fn short(word: u64, at: usize) -> (usize, usize) {
    match word as u8 & 31 {
        24 => (at + 2, at + 2 + usize::from((word >> 8) as u8)),
        info => (at + 1, at + 1 + usize::from(info)),
    }
}

#[inline]
fn text(word: u64, bytes: &[u8], at: usize) -> Option<usize> {
    let first = word as u8;
    if !matches!(first, 0x60..=0x78) {
        return None;
    }
    let (start, end) = short(word, at);
    let text = bytes.get(start..end)?;
    (text.is_ascii() || std::str::from_utf8(text).is_ok()).then_some(end)
}

/// Eight bytes from `at` on; those behind the end are 0.
#[inline(always)]
fn load(bytes: &[u8], at: usize) -> u64 {
    if let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        return u64::from_le_bytes(*word);
    }
    match bytes.last_chunk() {
        Some(word) => {
            let missing = at + 8 - bytes.len();
            u64::from_le_bytes(*word).checked_shr(8 * missing as u32).unwrap_or(0)
        }
        None => {
            let rest = bytes.get(at..).unwrap_or_default();
            rest.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
        }
    }
}
