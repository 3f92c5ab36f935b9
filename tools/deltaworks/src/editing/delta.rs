//! A transaction as the bytes of one delta: `lane, index, count, count × (position, deleted, text)`.
//!
//! Numbers are LEB128 varints of at most 5 bytes in their shortest form; a text is its length in bytes,
//! then UTF-8. One transaction has one encoding, and nothing may follow it. Decoding checks all bytes
//! once, allocates nothing, and refuses what does not end where it says.

use std::fmt;

use super::Patch;

/// The most bytes that a delta may have.
pub const DELTA_BYTES_MAX: usize = 65_536;

/// The least bytes that a patch has: position, deleted and an empty text.
const PATCH_BYTES_MIN: usize = 3;

/// Why bytes are no transaction, or a transaction no delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeltaError {
    /// The bytes end before the transaction does.
    CutOff,
    /// A number that does not fit 32 bits or is not in its shortest form, at this offset.
    Number(usize),
    /// More patches than the bytes can hold.
    Count(u32),
    /// A text that is not UTF-8, at this offset.
    Text(usize),
    /// Bytes after the end, from this offset on.
    Trailing(usize),
    /// More than [`DELTA_BYTES_MAX`] bytes.
    TooLong(usize),
}

impl fmt::Display for DeltaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeltaError::CutOff => f.write_str("the bytes end before the transaction does"),
            DeltaError::Number(offset) => {
                write!(f, "offset {offset}: a number beyond 32 bits or not in its shortest form")
            }
            DeltaError::Count(count) => write!(f, "{count} patches in too few bytes"),
            DeltaError::Text(offset) => write!(f, "offset {offset}: a text that is not UTF-8"),
            DeltaError::Trailing(offset) => write!(f, "offset {offset}: bytes after the end"),
            DeltaError::TooLong(bytes) => {
                write!(f, "{bytes} bytes, a delta has at most {DELTA_BYTES_MAX}")
            }
        }
    }
}

impl std::error::Error for DeltaError {}

/// Appends the bytes of transaction `index` of `lane` to `bytes`.
///
/// # Errors
/// `TooLong` if they are more than a delta may have; `bytes` is then as it was.
pub fn encode_delta(
    lane: u32,
    index: u32,
    patches: &[Patch],
    bytes: &mut Vec<u8>,
) -> Result<(), DeltaError> {
    let start = bytes.len();
    write_number(bytes, lane);
    write_number(bytes, index);
    write_number(bytes, u32::try_from(patches.len()).unwrap_or(u32::MAX));
    for Patch { position, deleted, inserted } in patches {
        write_number(bytes, *position);
        write_number(bytes, *deleted);
        write_number(bytes, u32::try_from(inserted.len()).unwrap_or(u32::MAX));
        bytes.extend_from_slice(inserted.as_bytes());
        if bytes.len() - start > DELTA_BYTES_MAX {
            let too_long = bytes.len() - start;
            bytes.truncate(start);
            return Err(DeltaError::TooLong(too_long));
        }
    }
    Ok(())
}

/// The transaction that `bytes` are, checked to its last byte; allocates nothing.
///
/// # Errors
/// The first fault.
pub fn decode_delta(bytes: &[u8]) -> Result<Delta<'_>, DeltaError> {
    if bytes.len() > DELTA_BYTES_MAX {
        return Err(DeltaError::TooLong(bytes.len()));
    }
    let mut cursor = Cursor { bytes, at: 0 };
    let lane = cursor.number()?;
    let index = cursor.number()?;
    let count = cursor.number()?;
    if count as usize > (bytes.len() - cursor.at) / PATCH_BYTES_MIN {
        return Err(DeltaError::Count(count));
    }
    let patches = Patches { cursor, left: count };
    for _ in 0..count {
        cursor.patch()?;
    }
    if cursor.at < bytes.len() {
        return Err(DeltaError::Trailing(cursor.at));
    }
    Ok(Delta { lane, index, patches })
}

/// A decoded transaction, borrowed from the delta's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Delta<'a> {
    /// The copy of the trace that this belongs to.
    pub lane: u32,
    /// The transaction's index in the trace, from 0.
    pub index: u32,
    patches: Patches<'a>,
}

impl<'a> Delta<'a> {
    /// The patches in the order in which they apply.
    pub fn patches(&self) -> Patches<'a> {
        self.patches
    }
}

/// A [`Patch`] whose text is borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatchRef<'a> {
    /// Code points before the place of the change.
    pub position: u32,
    /// Code points taken away there.
    pub deleted: u32,
    /// What is put there instead.
    pub inserted: &'a str,
}

/// The patches of a [`Delta`], one after another.
#[derive(Clone, Copy, Debug)]
pub struct Patches<'a> {
    cursor: Cursor<'a>,
    left: u32,
}

impl<'a> Iterator for Patches<'a> {
    type Item = PatchRef<'a>;

    fn next(&mut self) -> Option<PatchRef<'a>> {
        self.left = self.left.checked_sub(1)?;
        // `decode_delta` went through the same bytes, so this cannot fail.
        self.cursor.patch().ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Patches<'_> {}

#[derive(Clone, Copy, Debug)]
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn patch(&mut self) -> Result<PatchRef<'a>, DeltaError> {
        let position = self.number()?;
        let deleted = self.number()?;
        let text_bytes = self.number()? as usize;
        let start = self.at;
        let rest = &self.bytes[start..];
        let text = rest.get(..text_bytes).ok_or(DeltaError::CutOff)?;
        self.at += text_bytes;
        let inserted = str::from_utf8(text).map_err(|_| DeltaError::Text(start))?;
        Ok(PatchRef { position, deleted, inserted })
    }

    fn number(&mut self) -> Result<u32, DeltaError> {
        let start = self.at;
        let mut number = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = *self.bytes.get(self.at).ok_or(DeltaError::CutOff)?;
            self.at += 1;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let shortest = byte != 0 || shift == 0;
                return match u32::try_from(number) {
                    Ok(number) if shortest => Ok(number),
                    _ => Err(DeltaError::Number(start)),
                };
            }
        }
        Err(DeltaError::Number(start))
    }
}

fn write_number(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn patches() -> impl Strategy<Value = Vec<Patch>> {
        let patch = (any::<u32>(), any::<u32>(), any::<String>()).prop_map(
            |(position, deleted, inserted)| Patch { position, deleted, inserted: inserted.into() },
        );
        proptest::collection::vec(patch, 0..20)
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(lane in any::<u32>(), index in any::<u32>(), sent in patches()) {
            let mut bytes = b"before".to_vec();
            encode_delta(lane, index, &sent, &mut bytes).expect("short enough");
            let bytes = &bytes[6..];
            let delta = decode_delta(bytes).expect("what was encoded");
            prop_assert_eq!((delta.lane, delta.index), (lane, index));
            prop_assert_eq!(delta.patches().len(), sent.len());
            for (PatchRef { position, deleted, inserted }, sent) in delta.patches().zip(&sent) {
                prop_assert_eq!((position, deleted, inserted), (sent.position, sent.deleted, &*sent.inserted));
            }
            for cut in 0..bytes.len() {
                prop_assert!(decode_delta(&bytes[..cut]).is_err(), "cut off at {}", cut);
            }
            let mut longer = bytes.to_vec();
            longer.push(0);
            prop_assert_eq!(decode_delta(&longer).err(), Some(DeltaError::Trailing(bytes.len())));
        }

        #[test]
        fn random_bytes_are_refused_or_have_one_encoding(
            bytes in proptest::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..40),
        ) {
            if let Ok(delta) = decode_delta(&bytes) {
                let patches: Vec<Patch> = delta
                    .patches()
                    .map(|PatchRef { position, deleted, inserted }| {
                        Patch { position, deleted, inserted: inserted.into() }
                    })
                    .collect();
                let mut again = Vec::new();
                encode_delta(delta.lane, delta.index, &patches, &mut again).expect("short enough");
                prop_assert_eq!(again, bytes);
            }
        }
    }

    #[test]
    fn numbers_have_one_form_and_32_bits() {
        let head =
            |number: &[u8]| decode_delta(&[number, &[0, 0]].concat()).map(|delta| delta.lane);
        assert_eq!(head(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Ok(u32::MAX));
        assert_eq!(head(&[0xff, 0xff, 0xff, 0xff, 0x1f]), Err(DeltaError::Number(0)));
        assert_eq!(head(&[0x80, 0x80, 0x80, 0x80, 0x80, 0]), Err(DeltaError::Number(0)));
        assert_eq!(head(&[0x80, 0x00]), Err(DeltaError::Number(0)));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        assert_eq!(decode_delta(&[0, 0, 2, 0, 0, 0]).err(), Some(DeltaError::Count(2)));
        assert_eq!(decode_delta(&[0, 0, 1, 0, 0, 9, b'a']).err(), Some(DeltaError::CutOff));
        assert_eq!(decode_delta(&[0, 0, 1, 0, 0, 1, 0xff]).err(), Some(DeltaError::Text(6)));
        let long = vec![0; DELTA_BYTES_MAX + 1];
        assert_eq!(decode_delta(&long).err(), Some(DeltaError::TooLong(DELTA_BYTES_MAX + 1)));
    }

    #[test]
    fn a_transaction_too_long_for_a_delta_is_refused() {
        let patch =
            |text_bytes| Patch { position: 0, deleted: 0, inserted: "x".repeat(text_bytes).into() };
        let mut bytes = vec![7];
        // Lane, index, count, position and deleted take one byte each, the text's length three.
        let most = DELTA_BYTES_MAX - 8;
        assert_eq!(encode_delta(0, 0, &[patch(most)], &mut bytes), Ok(()));
        assert_eq!(bytes.len(), 1 + DELTA_BYTES_MAX);
        let told = encode_delta(0, 0, &[patch(most + 1)], &mut bytes);
        assert_eq!(told, Err(DeltaError::TooLong(DELTA_BYTES_MAX + 1)));
        assert_eq!(bytes.len(), 1 + DELTA_BYTES_MAX);
    }
}
