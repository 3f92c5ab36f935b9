//! Heads: the first one to nine bytes of every CBOR item (RFC 8949, section 3).

use crate::fault::Code;

pub(crate) const UNSIGNED: u8 = 0;
pub(crate) const NEGATIVE: u8 = 1;
pub(crate) const BYTES: u8 = 2;
pub(crate) const TEXT: u8 = 3;
pub(crate) const ARRAY: u8 = 4;
pub(crate) const MAP: u8 = 5;
pub(crate) const TAG: u8 = 6;

/// What the low five bits say of an item without a length.
pub(crate) const INDEFINITE: u8 = 31;
/// Ends an item without a length.
pub(crate) const BREAK: u8 = 0xff;

/// One head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// The major type, 0 to 7.
    pub(crate) major: u8,
    /// The low five bits.
    pub(crate) info: u8,
    /// The number that follows; 0 with [`INDEFINITE`].
    pub(crate) argument: u64,
    /// Where the head ends.
    pub(crate) end: usize,
}

/// Reads the head at `at`. Whether [`INDEFINITE`] may stand there is the caller's to know, but for
/// the majors that never have it.
#[inline]
pub(crate) fn read(bytes: &[u8], at: usize) -> Result<Head, Code> {
    let Some(&first) = bytes.get(at) else { return Err(Code::Truncated) };
    let (major, info) = (first >> 5, first & 31);
    if info < 24 {
        return Ok(Head { major, info, argument: u64::from(info), end: at + 1 });
    }
    read_long(bytes, at, major, info)
}

fn read_long(bytes: &[u8], at: usize, major: u8, info: u8) -> Result<Head, Code> {
    let rest = &bytes[at + 1..];
    let (argument, length) = match info {
        24 => (rest.first().map(|&byte| u64::from(byte)), 1),
        25 => (rest.first_chunk().map(|&word| u64::from(u16::from_be_bytes(word))), 2),
        26 => (rest.first_chunk().map(|&word| u64::from(u32::from_be_bytes(word))), 4),
        27 => (rest.first_chunk().map(|&word| u64::from_be_bytes(word)), 8),
        INDEFINITE if !matches!(major, UNSIGNED | NEGATIVE | TAG) => (Some(0), 0),
        _ => return Err(Code::ReservedInfo),
    };
    let Some(argument) = argument else { return Err(Code::Truncated) };
    Ok(Head { major, info, argument, end: at + 1 + length })
}
