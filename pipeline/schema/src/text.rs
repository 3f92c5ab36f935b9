//! Texts: UTF-8 checked slice by slice, and texts that come in pieces put together.

use crate::fault::Code;
use crate::head::{self, BREAK};

/// Bytes of text that one step pays for.
pub(crate) const BYTES_PER_STEP: usize = 64;
/// Bytes of text that are looked at between two looks at the budget.
pub(crate) const SLICE_BYTES: usize = 1_024;

/// Where the first slice of `text` ends that is UTF-8, at most [`SLICE_BYTES`] on; all of a short
/// text. A character on the edge belongs to the next slice.
///
/// # Errors
/// The place of the first byte that is no UTF-8.
#[inline]
pub(crate) fn utf8_slice(text: &[u8]) -> Result<usize, usize> {
    let slice = &text[..text.len().min(SLICE_BYTES)];
    if is_short_ascii(slice) {
        return Ok(slice.len());
    }
    match std::str::from_utf8(slice) {
        Ok(_) => Ok(slice.len()),
        Err(error) if error.error_len().is_none() && slice.len() < text.len() => {
            Ok(error.valid_up_to())
        }
        Err(error) => Err(error.valid_up_to()),
    }
}

/// Whether the text is at most 32 bytes of ASCII. Says no sooner than the standard library.
#[inline]
pub(crate) fn is_short_ascii(text: &[u8]) -> bool {
    text.len() <= 32 && text.iter().fold(0, |sum, &byte| sum | byte) < 0x80
}

/// Puts a text of indefinite length together. `at` is where its head ends. Says how many bytes of
/// `buffer` it took, and where the text ends; the count is `None` if the text is longer than the
/// buffer or its encoding more than twice as long.
pub(crate) fn gather(
    bytes: &[u8],
    mut at: usize,
    buffer: &mut [u8],
) -> Result<(Option<usize>, usize), (Code, usize)> {
    let encoded_end_max = at + 2 * buffer.len();
    let mut length = 0;
    loop {
        if bytes.get(at) == Some(&BREAK) {
            return Ok((Some(length), at + 1));
        }
        let chunk = chunk_head(bytes, at, head::TEXT).map_err(|code| (code, at))?;
        let piece = &bytes[chunk.clone()];
        if let Err(error) = std::str::from_utf8(piece) {
            return Err((Code::BadUtf8, chunk.start + error.valid_up_to()));
        }
        at = chunk.end;
        if length + piece.len() > buffer.len() || at > encoded_end_max {
            return Ok((None, at));
        }
        buffer[length..][..piece.len()].copy_from_slice(piece);
        length += piece.len();
    }
}

/// The content of one piece of a string of indefinite length: definite, and of the string's type.
pub(crate) fn chunk_head(
    bytes: &[u8],
    at: usize,
    major: u8,
) -> Result<std::ops::Range<usize>, Code> {
    let head = head::read(bytes, at)?;
    if head.major != major || head.info == head::INDEFINITE {
        return Err(Code::BadChunk);
    }
    content(bytes, head.end, head.argument)
}

/// `length` bytes from `start`, if they are there.
#[inline]
pub(crate) fn content(
    bytes: &[u8],
    start: usize,
    length: u64,
) -> Result<std::ops::Range<usize>, Code> {
    match usize::try_from(length) {
        Ok(length) if length <= bytes.len() - start => Ok(start..start + length),
        _ => Err(Code::Truncated),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_on_the_edge_of_a_slice_is_not_an_error() {
        for shift in 0..4 {
            let mut text = "a".repeat(shift);
            text.push_str(&"\u{10151}".repeat(1_000));
            let mut rest = text.as_bytes();
            while !rest.is_empty() {
                let end = utf8_slice(rest).unwrap();
                assert!(end > 0);
                rest = &rest[end..];
            }
            let cut = &text.as_bytes()[..text.len() - 1];
            let mut at = 0;
            let error = loop {
                match utf8_slice(&cut[at..]) {
                    Ok(end) => at += end,
                    Err(place) => break at + place,
                }
            };
            assert_eq!(error, text.len() - 4);
        }
    }
}
