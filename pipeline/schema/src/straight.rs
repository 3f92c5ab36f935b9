//! The straight way: one map of scalars whose keys come in the schema's order.
//!
//! Encoders that write fields as they stand make such maps. This way accepts one or says nothing, and
//! where it accepts, the quick way would have, for as many steps. What is longer, or encoded
//! otherwise than most are, is left to the quick way's look at one value.

use std::sync::Arc;

use crate::compile::Schema;
use crate::flat;
use crate::head;
use crate::kind::Kind;
use crate::program::{Form, Program, Properties, Shape};
use crate::scalar::Scalar;
use crate::text::BYTES_PER_STEP;
use crate::words::Words;

/// Longest key: with its head it is two words.
const NAME_BYTES_MAX: usize = 15;
/// Entries of a map whose head is one byte.
const ENTRIES_MAX: usize = 23;

/// What this way needs to know of a properties form.
#[derive(Debug)]
pub(crate) struct Straight {
    entries: Box<[Entry]>,
}

/// One property.
#[derive(Debug)]
struct Entry {
    /// The first eight bytes of the key's encoding, and which of them count.
    word: u64,
    mask: u64,
    /// The last eight bytes of a longer one.
    last: u64,
    encoded_bytes: u32,
    is_required: bool,
    scalar: Scalar,
    form: Form,
}

impl Straight {
    /// What the form needs, if its keys are short.
    pub(crate) fn new(
        map: &Properties,
        forms: &[Form],
        words: &[Option<Arc<Words>>],
    ) -> Option<Self> {
        let count = map.keys.len();
        let entry = |number: usize| {
            let name = map.keys.name(number).as_bytes();
            if name.len() > NAME_BYTES_MAX {
                return None;
            }
            let form = forms[usize::from(map.children[number])];
            let mut encoded = vec![0x60 | name.len() as u8];
            encoded.extend_from_slice(name);
            let bytes = encoded.len();
            encoded.resize(bytes.max(8), 0);
            Some(Entry {
                word: u64::from_le_bytes(*encoded.first_chunk()?),
                mask: u64::MAX >> (64 - 8 * bytes.min(8)),
                last: u64::from_le_bytes(*encoded.last_chunk()?),
                encoded_bytes: bytes as u32,
                is_required: map.required[number / 64] >> (number % 64) & 1 == 1,
                scalar: Scalar::new(&form, words),
                form,
            })
        };
        let entries: Option<Box<[Entry]>> = (0..count).map(entry).collect();
        entries.map(|entries| Self { entries })
    }

    /// How many entries the map at `at` has, if it is accepted and the delta ends with it. A function of
    /// its own, so that it has the registers.
    #[inline(never)]
    fn accept(&self, program: &Program, bytes: &[u8], at: usize) -> Option<usize> {
        let count = usize::from(bytes.get(at)?.wrapping_sub(0xa0));
        if count > ENTRIES_MAX {
            return None;
        }
        let mut at = at + 1;
        let mut left = count;
        for entry in &self.entries {
            let value = at + entry.encoded_bytes as usize;
            if !entry.is_key(bytes, at, value) {
                if entry.is_required {
                    return None;
                }
                continue;
            }
            at = match entry.scalar.accept(bytes, value) {
                Some(length) => value + length,
                None => flat::scalar(program, &entry.form, bytes, value)?,
            };
            left = left.wrapping_sub(1);
        }
        (left == 0 && at == bytes.len()).then_some(count)
    }
}

/// The steps of a delta that is accepted; none if nothing is said.
#[inline]
pub(crate) fn check(schema: &Schema, bytes: &[u8], steps: u32) -> Option<u32> {
    if bytes.len() > flat::BYTES_MAX || steps < flat::STEPS_MAX {
        return None;
    }
    let program = &schema.program;
    let (form, at) = match (schema.kind(), bytes) {
        (Kind::Cbor, _) => (program.root, 0),
        (Kind::Rows, [0x83, 0 | 2, ..]) => (program.root, record_id_end(bytes)?),
        (Kind::Rows, [0x83, 1, ..]) => (program.partial, record_id_end(bytes)?),
        _ => return None,
    };
    let Shape::Properties(place) = program.forms[usize::from(form)].shape else { return None };
    let straight = program.maps[usize::from(place)].straight.as_ref()?;
    let count = straight.accept(program, bytes, at)?;
    Some(1 + count as u32 + (bytes.len() / BYTES_PER_STEP) as u32)
}

/// Where a number stands for the record that ends.
#[inline]
fn record_id_end(bytes: &[u8]) -> Option<usize> {
    let id = head::read(bytes, 2).ok()?;
    (id.major == head::UNSIGNED).then_some(id.end)
}

impl Entry {
    /// Whether the key's encoding stands from `at` to `end`.
    #[inline(always)]
    fn is_key(&self, bytes: &[u8], at: usize, end: usize) -> bool {
        let at_its_end = || bytes.get(..end).and_then(|before| before.last_chunk());
        match bytes.get(at..).and_then(|rest| rest.first_chunk()) {
            Some(word) => {
                u64::from_le_bytes(*word) & self.mask == self.word
                    && (self.encoded_bytes <= 8
                        || at_its_end().is_some_and(|word| u64::from_le_bytes(*word) == self.last))
            }
            // So near the delta's end that the word begins before it; a longer one has no room.
            None => at_its_end().is_some_and(|word| {
                let unused = 64 - 8 * self.encoded_bytes.min(8);
                u64::from_le_bytes(*word) >> unused == self.word && self.encoded_bytes <= 8
            }),
        }
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::samples::{ALL, bent};
    use crate::{Machine, Progress};

    /// The delta, and what comes of it when a byte is changed, or an entry left out.
    fn variants(delta: &'static [u8]) -> impl Iterator<Item = Vec<u8>> {
        let without = (1..delta.len()).flat_map(move |from| {
            (from..delta.len()).map(move |to| {
                let mut shorter = delta.to_vec();
                shorter[0] -= 1;
                shorter.drain(from..=to);
                shorter
            })
        });
        bent(delta).chain(without)
    }

    /// Whether something is accepted this way that the schema refuses.
    fn is_red(schema: &Schema, delta: &'static [u8]) -> bool {
        let mut machine = Machine::new();
        variants(delta).any(|other| {
            machine.start();
            check(schema, &other, 1_000).is_some()
                && machine.run_general(schema, &other, &mut 10_000) != Progress::Valid
        })
    }

    /// Plants a fault in each property of each sample; says how many had such a one, and demands that some delta
    /// of each turns it red.
    fn planted(plant: impl Fn(&mut Entry) -> bool) -> u32 {
        let mut planted = 0;
        for sample in ALL.iter().filter(|sample| sample.kind == Kind::Cbor) {
            let whole = sample.schema();
            assert!(!sample.deltas.iter().any(|delta| is_red(&whole, delta)));
            let entries = whole.program.maps[0].straight.as_ref().map_or(0, |it| it.entries.len());
            for number in 0..entries {
                let mut schema = sample.schema();
                let Some(straight) = &mut schema.program.maps[0].straight else { continue };
                if plant(&mut straight.entries[number]) {
                    let is_red = sample.deltas.iter().any(|delta| is_red(&schema, delta));
                    assert!(is_red, "property {number} of {}", sample.text);
                    planted += 1;
                }
            }
        }
        planted
    }

    #[test]
    fn a_value_that_is_looked_at_too_little_is_red() {
        assert!(planted(|entry| entry.scalar.blind()) >= 10);
    }

    #[test]
    fn a_key_that_is_taken_for_another_is_red() {
        let plant = |entry: &mut Entry| {
            entry.word ^= 1 << 8;
            if entry.encoded_bytes == 9 {
                // The same letter once more.
                entry.last ^= 1;
            }
            true
        };
        assert!(planted(plant) >= 20);
    }

    #[test]
    fn a_property_that_may_be_missing_is_red() {
        assert!(planted(|entry| std::mem::replace(&mut entry.is_required, false)) >= 9);
    }
}
