//! What reception demands of a message before anybody trusts a byte of it.
//!
//! Runs on the core that owns the session, in place, without allocation. It knows no document:
//! whether the handle is open and the producer's number is next is asked elsewhere. The first fault
//! is returned, typed; the message is not changed.

use crate::crc::crc32c;
use crate::header::{
    COUNT, DOCUMENT, FIRST_SEQUENCE, HEADER_BYTES, HEADER_CRC, ORIGIN, PAYLOAD_CRC,
    PRODUCER_SEQUENCE, TIME_US, read_u32, read_u64,
};
use crate::prelude::{
    DELTAS_HARD_MAX, IMAGE_BYTES_HARD_MAX, ImageError, Kind, Limits, PADDING_MASK, PRELUDE_BYTES,
    Prelude, VERSION,
};

/// Bytes of a delta's entry in the table of lengths.
pub(crate) const ENTRY_BYTES: usize = 2;

/// Bytes of the smallest batch: one delta of one byte.
pub(crate) const IMAGE_BYTES_MIN: usize = (HEADER_BYTES + ENTRY_BYTES + 1).next_multiple_of(8);

// The sum of `length - 1` over the longest table fits 32 bits, which lets it be summed in vectors.
const _: () = assert!(DELTAS_HARD_MAX as u64 * u16::MAX as u64 <= u32::MAX as u64);

// The owner's fields are read as three words and the upper half of the document's.
const _: () = assert!(HEADER_CRC == ORIGIN + 4 && PAYLOAD_CRC == ORIGIN + 8);
const _: () = assert!(TIME_US == FIRST_SEQUENCE + 8 && ORIGIN == TIME_US + 8);

/// What reception knows of an image that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// The session's handle of the document.
    pub handle: u32,
    /// The batch's number at its producer; 1 or more.
    pub producer_sequence: u64,
    /// Deltas in the batch; 0 for an info.
    pub count: u32,
}

/// The prelude of a message of which only these bytes have arrived.
///
/// # Errors
/// Version, kind, flags and length, in this order; a length above the limit of its kind.
#[inline]
pub fn check_prelude(bytes: &[u8; PRELUDE_BYTES], limits: &Limits) -> Result<Prelude, ImageError> {
    let word = u64::from_le_bytes(*bytes);
    let (bytes, kind, flags) = (word as u32, (word >> 32) as u8, (word >> 40) as u8);
    let version = (word >> 48) as u16;
    if version != VERSION {
        return Err(ImageError::Version(version));
    }
    let Some(kind) = Kind::from_number(kind) else {
        return Err(ImageError::Kind(kind));
    };
    if flags & !PADDING_MASK != 0 {
        return Err(ImageError::Flags(flags));
    }
    let (min, max) = match kind {
        Kind::Batch => (HEADER_BYTES as u32, limits.image_bytes_max.min(IMAGE_BYTES_HARD_MAX)),
        Kind::Info => {
            let body = limits.info_bytes_max.min(Limits::HARD.info_bytes_max).next_multiple_of(8);
            (HEADER_BYTES as u32, HEADER_BYTES as u32 + body)
        }
        _ => (PRELUDE_BYTES as u32, limits.control_bytes_max.min(Limits::HARD.control_bytes_max)),
    };
    if bytes > max {
        return Err(ImageError::TooLong { bytes, max });
    }
    if !bytes.is_multiple_of(8) || bytes < min + u32::from(flags) {
        return Err(ImageError::Length(bytes));
    }
    Ok(Prelude { bytes, kind, padding: flags })
}

/// Handle, number and count of a whole batch on its way in.
///
/// Costs one pass over the table and one CRC over the bytes; allocates nothing.
///
/// # Errors
/// The first fault of: prelude, length, owner's fields not zero, count, table, padding, CRC.
#[inline]
pub fn check_batch(image: &[u8], limits: &Limits) -> Result<Inbound, ImageError> {
    let (prelude, header) = split(image, limits, Kind::Batch)?;
    let inbound = inbound(header)?;
    let max = limits.deltas_per_batch_max.min(DELTAS_HARD_MAX);
    check_table(image, prelude, inbound.count, max)?;
    check_crc(image, header)?;
    Ok(inbound)
}

/// The same for an image, batch or info, whose `prelude` [`check_prelude`] has accepted.
///
/// # Errors
/// As [`check_batch`] and [`check_info`]; `WrongKind` for a control message.
#[inline]
pub fn check_behind(
    prelude: Prelude,
    image: &[u8],
    limits: &Limits,
) -> Result<Inbound, ImageError> {
    let there = image.len();
    let Some(header) = image.first_chunk().filter(|_| there == prelude.bytes as usize) else {
        return Err(ImageError::Truncated { announced: prelude.bytes, there });
    };
    let inbound = inbound(header)?;
    match prelude.kind {
        Kind::Batch => {
            let max = limits.deltas_per_batch_max.min(DELTAS_HARD_MAX);
            check_table(image, prelude, inbound.count, max)?;
        }
        Kind::Info => check_map(image, prelude, inbound.count, limits.info_bytes_max)?,
        kind => return Err(ImageError::WrongKind(kind)),
    }
    check_crc(image, header)?;
    Ok(inbound)
}

/// What a run of usual batches is checked against.
#[derive(Clone, Copy)]
pub(crate) struct Usual {
    bytes_max: u32,
    deltas_max: u32,
}

impl Usual {
    #[inline]
    pub fn new(limits: &Limits) -> Self {
        let deltas_max = limits.deltas_per_batch_max.min(DELTAS_HARD_MAX);
        // Where no batch may have a delta, none is usual.
        let bytes_max = if deltas_max > 0 { limits.image_bytes_max } else { 0 };
        Self { bytes_max: bytes_max.min(IMAGE_BYTES_HARD_MAX), deltas_max }
    }

    /// The batch at the beginning of `bytes` and its length, if it is whole and right: what [`check_prelude`]
    /// and [`check_behind`] would say, in one pass that has no words for faults. `checksum` is that of a
    /// count and of the whole words that follow it.
    #[inline(always)]
    pub fn check(
        self,
        bytes: &[u8],
        checksum: impl Fn(u32, &[u8]) -> u32,
    ) -> Option<(u32, Inbound)> {
        const FLAGS: u64 = (PADDING_MASK as u64) << 40;
        const USUAL: u64 = (Kind::Batch.number() as u64) << 32 | (VERSION as u64) << 48;
        let word = u64::from_le_bytes(*bytes.first_chunk::<PRELUDE_BYTES>()?);
        let length = word as u32;
        let image = bytes.get(..length as usize)?;
        let (beginning, last) = (image.first_chunk::<IMAGE_BYTES_MIN>()?, image.last_chunk()?);
        let header = beginning.first_chunk::<HEADER_BYTES>()?;
        let unusual =
            owners_fields(header) | ((word & !FLAGS) >> 32 ^ USUAL >> 32) | u64::from(length % 8);
        let producer_sequence = read_u64(header, PRODUCER_SEQUENCE);
        if unusual != 0 || length > self.bytes_max || producer_sequence == 0 {
            return None;
        }
        let (count, padding) = (read_u32(header, COUNT), (word >> 40) as u8 & PADDING_MASK);
        if count == 1 {
            let [.., low, high] = *beginning.first_chunk::<{ HEADER_BYTES + ENTRY_BYTES }>()?;
            let above_one = u32::from(u16::from_le_bytes([low, high]));
            let unpadded = (HEADER_BYTES + ENTRY_BYTES + 1) as u32 + above_one;
            // The high bytes of the last word.
            let is_padded = u64::from_le_bytes(*last) & !(u64::MAX >> (8 * padding)) != 0;
            if unpadded + u32::from(padding) != length || is_padded {
                return None;
            }
        } else {
            let prelude = Prelude { bytes: length, kind: Kind::Batch, padding };
            check_table(image, prelude, count, self.deltas_max).ok()?;
        }
        if checksum(count, &image[COUNT + 4..]) != read_u32(header, PAYLOAD_CRC) {
            return None;
        }
        Some((length, Inbound { handle: read_u32(header, DOCUMENT), producer_sequence, count }))
    }
}

/// Handle and number of a whole info on its way in; its map is [`Image::info_map`].
///
/// Whether the map is well-formed CBOR is not asked here.
///
/// # Errors
/// The first fault of: prelude, length, owner's fields not zero, count not 0, map's length,
/// padding, CRC.
///
/// [`Image::info_map`]: crate::view::Image::info_map
pub fn check_info(image: &[u8], limits: &Limits) -> Result<Inbound, ImageError> {
    let (prelude, header) = split(image, limits, Kind::Info)?;
    let inbound = inbound(header)?;
    check_map(image, prelude, inbound.count, limits.info_bytes_max)?;
    check_crc(image, header)?;
    Ok(inbound)
}

/// Checks that the slice is exactly one message of `kind`, and takes it apart.
#[inline]
pub(crate) fn split<'a>(
    image: &'a [u8],
    limits: &Limits,
    kind: Kind,
) -> Result<(Prelude, &'a [u8; HEADER_BYTES]), ImageError> {
    let there = image.len();
    let Some(bytes) = image.first_chunk::<PRELUDE_BYTES>() else {
        return Err(ImageError::Truncated { announced: PRELUDE_BYTES as u32, there });
    };
    let prelude = check_prelude(bytes, limits)?;
    if prelude.kind != kind {
        return Err(ImageError::WrongKind(prelude.kind));
    }
    match image.first_chunk::<HEADER_BYTES>() {
        Some(header) if there == prelude.bytes as usize => Ok((prelude, header)),
        _ => Err(ImageError::Truncated { announced: prelude.bytes, there }),
    }
}

/// Checks count, table of lengths and padding of a batch that [`split`] accepted.
#[inline]
pub(crate) fn check_table(
    image: &[u8],
    prelude: Prelude,
    count: u32,
    max: u32,
) -> Result<(), ImageError> {
    if count == 0 {
        return Err(ImageError::Count(count));
    }
    if count > max {
        return Err(ImageError::TooManyDeltas { count, max });
    }
    let body = &image[HEADER_BYTES..];
    let Some(table) = body.get(..count as usize * ENTRY_BYTES) else {
        return Err(ImageError::Table);
    };
    let (entries, _) = table.as_chunks::<ENTRY_BYTES>();
    // The sum over a slice is made for long ones.
    let above_one: u32 = match entries {
        [only] => u32::from(u16::from_le_bytes(*only)),
        all => all.iter().map(|entry| u32::from(u16::from_le_bytes(*entry))).sum(),
    };
    let payload = u64::from(above_one) + u64::from(count);
    let unpadded = (HEADER_BYTES + table.len()) as u64 + payload;
    if unpadded != u64::from(prelude.unpadded_bytes()) {
        return Err(ImageError::Table);
    }
    check_padding(image, prelude)
}

/// Checks count, map's length and padding of an info that [`split`] accepted.
pub(crate) fn check_map(
    image: &[u8],
    prelude: Prelude,
    count: u32,
    max: u32,
) -> Result<(), ImageError> {
    if count != 0 {
        return Err(ImageError::Count(count));
    }
    let bytes = prelude.unpadded_bytes() - HEADER_BYTES as u32;
    if bytes == 0 || bytes > max {
        return Err(ImageError::InfoLength { bytes, max });
    }
    check_padding(image, prelude)
}

#[inline]
pub(crate) fn check_crc(image: &[u8], header: &[u8; HEADER_BYTES]) -> Result<(), ImageError> {
    if crc32c(&image[COUNT..]) == read_u32(header, PAYLOAD_CRC) {
        Ok(())
    } else {
        Err(ImageError::PayloadCrc)
    }
}

/// Reads the writer's fields and demands that the owner's are still zero.
#[inline]
fn inbound(header: &[u8; HEADER_BYTES]) -> Result<Inbound, ImageError> {
    if owners_fields(header) != 0 {
        return Err(ImageError::OwnerField);
    }
    let producer_sequence = read_u64(header, PRODUCER_SEQUENCE);
    if producer_sequence == 0 {
        return Err(ImageError::ProducerSequence);
    }
    let handle = read_u32(header, DOCUMENT);
    Ok(Inbound { handle, producer_sequence, count: read_u32(header, COUNT) })
}

/// The owner's fields, laid over each other: 0 if each of them is still zero.
#[inline(always)]
pub(crate) fn owners_fields(header: &[u8; HEADER_BYTES]) -> u64 {
    u64::from(read_u32(header, DOCUMENT + 4))
        | read_u64(header, FIRST_SEQUENCE)
        | read_u64(header, TIME_US)
        | read_u64(header, ORIGIN)
}

#[inline]
fn check_padding(image: &[u8], prelude: Prelude) -> Result<(), ImageError> {
    // At most seven bytes: the high ones of the last word.
    let padding = image.last_chunk().map_or(0, |last| {
        u64::from_le_bytes(*last).checked_shr(64 - 8 * u32::from(prelude.padding)).unwrap_or(0)
    });
    if padding != 0 {
        return Err(ImageError::Padding);
    }
    Ok(())
}
