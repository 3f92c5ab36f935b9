//! Scalars by their first byte: what a form says to each of the 256, looked up.
//!
//! A class tells how long the value is, and which other bits have a say. What is looked at does not
//! depend on the length, so that deltas whose values differ in size cost no wrong guesses of the CPU.
//! A value is accepted, or nothing is said of it.

use std::sync::Arc;

use crate::program::{Form, Shape};
use crate::words::{Words, short};

/// The word of `null`, which only a nullable form has a class for.
const NULL: u64 = 0xf6;
/// Longest text of [`Words`].
const WORD_TEXT_BYTES_MAX: usize = 7;
/// Longest text whose head is one byte.
const TEXT_BYTES_MAX: usize = 23;

/// A value's length, and with it one bit that says whether its argument may only be half as large.
/// 0: nothing is said.
#[derive(Clone, Copy, Debug)]
struct Class(u8);

const LENGTH: u8 = 0x1f;
const HALF: u8 = 0x20;

const _: () = assert!(TEXT_BYTES_MAX < LENGTH as usize);

/// The class of each first byte.
#[derive(Debug)]
struct Classes([Class; 256]);

/// How the values of a form are looked at.
#[derive(Debug)]
pub(crate) struct Scalar {
    look: Look,
    classes: &'static Classes,
    /// What an enum accepts.
    words: Option<Words>,
}

#[derive(Clone, Copy, Debug)]
enum Look {
    /// Not at all.
    Never,
    /// At the argument's first bit, if that.
    Bit,
    /// At the first bit of all bytes of a text.
    Ascii,
    /// At the exponent of a double.
    Double,
    /// At the whole.
    Word,
}

impl Classes {
    const NONE: Self = Self([Class(0); 256]);

    /// Heads with arguments of at most so many bytes; the longest may have half of its values.
    const fn integers(mut self, major: u8, sizes: u8, has_half: bool) -> Self {
        let mut info = 0;
        while info < 24 + sizes {
            let bytes = if info < 24 { 1 } else { 1 + (1 << (info - 24)) };
            let is_half = has_half && info + 1 == 24 + sizes;
            self.0[(major << 5 | info) as usize] =
                Class(if is_half { HALF | bytes } else { bytes });
            info += 1;
        }
        self
    }

    const fn texts(mut self, bytes_max: usize) -> Self {
        let mut length = 0;
        while length <= bytes_max {
            self.0[0x60 + length] = Class(1 + length as u8);
            length += 1;
        }
        self
    }

    const fn simple(mut self, first: usize, bytes: u8) -> Self {
        self.0[first] = Class(bytes);
        self
    }

    /// Without and with `null`.
    const fn pair(self) -> [Self; 2] {
        [Self(self.0), self.simple(0xf6, 1)]
    }
}

static NONE: [Classes; 2] = Classes::NONE.pair();
static BOOLEAN: [Classes; 2] = Classes::NONE.simple(0xf4, 1).simple(0xf5, 1).pair();
static NUMBER: [Classes; 2] =
    Classes::NONE.integers(0, 4, false).integers(1, 4, false).simple(0xfb, 9).pair();
static TEXT: [Classes; 2] = Classes::NONE.texts(TEXT_BYTES_MAX).pair();
static WORD: [Classes; 2] = Classes::NONE.texts(WORD_TEXT_BYTES_MAX).pair();
/// By size: 1, 2 or 4 bytes.
static UNSIGNED: [[Classes; 2]; 3] = [
    Classes::NONE.integers(0, 1, false).pair(),
    Classes::NONE.integers(0, 2, false).pair(),
    Classes::NONE.integers(0, 3, false).pair(),
];
static SIGNED: [[Classes; 2]; 3] = [
    Classes::NONE.integers(0, 1, true).integers(1, 1, true).pair(),
    Classes::NONE.integers(0, 2, true).integers(1, 2, true).pair(),
    Classes::NONE.integers(0, 3, true).integers(1, 3, true).pair(),
];

/// In 24 bytes: the first bits of as many as stand at the end, and at the beginning, behind a head.
static ASCII: [[[u64; 3]; 2]; LENGTH as usize + 1] = {
    let mut masks = [[[0; 3]; 2]; LENGTH as usize + 1];
    let mut length = 0;
    while length <= TEXT_BYTES_MAX {
        let mut place = 0;
        while place < length {
            let at_end = 23 - place;
            masks[1 + length][0][at_end / 8] |= 0x80 << (8 * (at_end % 8));
            masks[1 + length][1][(1 + place) / 8] |= 0x80 << (8 * ((1 + place) % 8));
            place += 1;
        }
        length += 1;
    }
    masks
};

impl Scalar {
    /// How the values of a form are looked at.
    pub(crate) fn new(form: &Form, words: &[Option<Arc<Words>>]) -> Self {
        let (look, pair) = match form.shape {
            Shape::Boolean => (Look::Bit, &BOOLEAN),
            Shape::Number => (Look::Double, &NUMBER),
            Shape::Text => (Look::Ascii, &TEXT),
            Shape::Enum(names) if words[usize::from(names)].is_some() => (Look::Word, &WORD),
            Shape::Integer { min, max } => {
                let sizes = if min == 0 { &UNSIGNED } else { &SIGNED };
                match max.abs_diff(min) {
                    0xff => (Look::Bit, &sizes[0]),
                    0xffff => (Look::Bit, &sizes[1]),
                    0xffff_ffff => (Look::Bit, &sizes[2]),
                    _ => (Look::Never, &NONE),
                }
            }
            _ => (Look::Never, &NONE),
        };
        let words = match form.shape {
            Shape::Enum(names) => words[usize::from(names)].as_deref().cloned(),
            _ => None,
        };
        Self { look, classes: &pair[usize::from(form.nullable)], words }
    }

    /// Looks no longer at what it should; says whether it did.
    #[cfg(test)]
    pub(crate) fn blind(&mut self) -> bool {
        let is_half = (self.classes.0.iter()).any(|class| class.0 & HALF != 0);
        if is_half {
            self.classes = &NUMBER[0];
        }
        is_half | !matches!(core::mem::replace(&mut self.look, Look::Bit), Look::Bit | Look::Never)
    }

    /// The length of the value at `at`, if it is accepted.
    #[inline(always)]
    pub(crate) fn accept(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let class = self.classes.0[usize::from(*bytes.get(at)?)];
        let length = usize::from(class.0 & LENGTH);
        let end = at + length;
        let holds = match self.look {
            Look::Never => false,
            Look::Bit => class.0 & HALF == 0 || *bytes.get(at + 1)? < 0x80,
            Look::Ascii => {
                let [at_end, behind_head] = &ASCII[length];
                let (chunk, masks) = match bytes.get(..end)?.last_chunk::<24>() {
                    Some(chunk) => (chunk, at_end),
                    None => (bytes.get(at..)?.first_chunk::<24>()?, behind_head),
                };
                let (chunk, _) = chunk.as_chunks();
                let word = |place: usize| u64::from_le_bytes(chunk[place]) & masks[place];
                word(0) | word(1) | word(2) == 0
            }
            Look::Double => {
                let exponent = [*bytes.get(at + 1)?, *bytes.get(at + 2)?];
                length < 9 || u16::from_be_bytes(exponent) & 0x7ff0 != 0x7ff0
            }
            Look::Word => match (&self.words, short(bytes, at, length)) {
                (Some(words), Some(word)) => words.has(word) || word == NULL,
                _ => false,
            },
        };
        (holds && length > 0).then_some(length)
    }
}
