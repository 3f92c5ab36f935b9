//! Words: a few short texts, each with its head in eight bytes, found by one multiplication.
//!
//! Which of them a text is costs no wrong guess of the CPU: all go the same way.

use crate::keys::Keys;

/// Texts at most.
const TEXTS_MAX: usize = 8;
/// Longest text: with its head it is one word.
const TEXT_BYTES_MAX: usize = 7;
/// Factors that are tried.
const TRIES: u64 = 4_096;

/// The encoded texts, each in a place of its own.
#[derive(Clone, Debug)]
pub(crate) struct Words {
    factor: u64,
    words: [u64; TEXTS_MAX],
}

impl Words {
    /// The texts, if they are few and short, and a factor gives each its place.
    pub(crate) fn new(names: &Keys) -> Option<Self> {
        let all = || (0..names.len()).map(|number| names.name(number).as_bytes());
        if names.len() > TEXTS_MAX || all().any(|it| it.len() > TEXT_BYTES_MAX) {
            return None;
        }
        let encoded = |text: &[u8]| {
            let word = text.iter().rev().fold(0, |sum: u64, &byte| sum << 8 | u64::from(byte));
            word << 8 | (0x60 | text.len() as u64)
        };
        let first = encoded(all().next()?);
        (0..TRIES).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1).find_map(|factor| {
            // No word is in a place that is not its own, so the first one stands for none.
            let mut it = Self { factor, words: [first; TEXTS_MAX] };
            let mut taken = [false; TEXTS_MAX];
            for text in all() {
                let place = it.place(encoded(text));
                if core::mem::replace(&mut taken[place], true) {
                    return None;
                }
                it.words[place] = encoded(text);
            }
            Some(it)
        })
    }

    /// Whether the word is one of them; bytes behind the text must be 0.
    #[inline(always)]
    pub(crate) fn has(&self, word: u64) -> bool {
        self.words[self.place(word)] == word
    }

    #[inline(always)]
    fn place(&self, word: u64) -> usize {
        (word.wrapping_mul(self.factor) >> 61) as usize
    }
}

/// `length` bytes from `at` on, 8 at most, with zeros behind; none if they are not there, or if neither eight
/// bytes stand from there on, nor eight before their end.
#[inline(always)]
pub(crate) fn short(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    if let Some(word) = bytes.get(at..)?.first_chunk() {
        return Some(u64::from_le_bytes(*word) & below(length)?);
    }
    let word = bytes.get(..at + length)?.last_chunk()?;
    u64::from_le_bytes(*word).checked_shr(64 - 8 * length as u32)
}

/// The first bytes of a word: 1 to 8.
#[inline(always)]
fn below(bytes: usize) -> Option<u64> {
    u64::MAX.checked_shr(64 - 8 * bytes as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_found_and_no_other_word() {
        let alphabet = ["", "a", "b", "ins", "del", "fmt", "seven77", "six666"];
        for count in 1..=alphabet.len() {
            let names = alphabet[..count].iter().map(|&name| name.into()).collect();
            let words = Words::new(&Keys::new(names)).expect("few and short");
            for (number, text) in alphabet.iter().enumerate() {
                let mut encoded = vec![0x60 | text.len() as u8];
                encoded.extend(text.as_bytes());
                encoded.extend(b"more than that");
                let word = short(&encoded, 0, 1 + text.len()).expect("it is there");
                assert_eq!(words.has(word), number < count, "{text} of {count}");
                for bit in 0..64 {
                    let other = word ^ 1 << bit;
                    let is_one = alphabet[..count].iter().any(|text| {
                        let mut bytes = vec![0x60 | text.len() as u8];
                        bytes.extend(text.as_bytes());
                        bytes.resize(8, 0);
                        bytes == other.to_le_bytes()
                    });
                    assert_eq!(words.has(other), is_one);
                }
            }
        }
        assert!(Words::new(&Keys::new(vec!["eightlet".into()])).is_none());
    }

    #[test]
    fn a_short_piece_is_read_wherever_it_stands() {
        let bytes = *b"0123456789";
        for at in 0..=10 {
            for length in 1..=8 {
                let mut word = [0; 8];
                let there = bytes.get(at..at + length);
                if let Some(there) = there
                    && (at + 8 <= 10 || at + length >= 8)
                {
                    word[..length].copy_from_slice(there);
                    assert_eq!(short(&bytes, at, length), Some(u64::from_le_bytes(word)));
                } else {
                    assert_eq!(short(&bytes, at, length), None, "{at} {length}");
                }
            }
        }
        assert_eq!(short(&bytes[..7], 0, 3), None);
    }
}
