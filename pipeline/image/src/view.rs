//! An image as its readers see it: fields, and the deltas one after another.
//!
//! A view borrows the bytes and copies none. It is what validation reads in place and what a
//! subscriber reads from its socket. A table that lies ends the iteration early, never out of bounds.

use crate::check::{IMAGE_BYTES_MIN, check_crc, check_map, check_table, split};
use crate::crc::{are_right, crc32c};
use crate::header::{
    COUNT, DOCUMENT, DocumentId, FIRST_SEQUENCE, HEADER_BYTES, HEADER_CRC, ORIGIN, PAYLOAD_CRC,
    PRODUCER_SEQUENCE, TIME_US, read_u32, read_u64,
};
use crate::prelude::{DELTAS_HARD_MAX, ImageError, Kind, Limits, PADDING_MASK, PRELUDE_BYTES};

// What `parse` and `checked_before` tell kinds by.
const _: () = assert!(Kind::Batch.number() == 1 && Kind::Info.number() == 2);

/// A batch or an info, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    bytes: &'a [u8],
    header: &'a [u8; HEADER_BYTES],
    kind: Kind,
}

impl<'a> Image<'a> {
    /// The image whose bytes are exactly `bytes`; the CRCs are not compared, the rest is checked.
    ///
    /// # Errors
    /// The first fault of: prelude, kind, length, count, table, padding.
    pub fn parse(bytes: &'a [u8]) -> Result<Image<'a>, ImageError> {
        let kind = match bytes.get(4) {
            Some(2) => Kind::Info,
            _ => Kind::Batch,
        };
        let (prelude, header) = split(bytes, &Limits::HARD, kind)?;
        let count = read_u32(header, COUNT);
        match kind {
            Kind::Info => check_map(bytes, prelude, count, Limits::HARD.info_bytes_max)?,
            _ => check_table(bytes, prelude, count, DELTAS_HARD_MAX)?,
        }
        Ok(Image { bytes, header, kind })
    }

    /// The image whose bytes passed [`check_batch`] or [`check_info`] before; costs nothing.
    ///
    /// On bytes that did not, the fields are what they are and the iteration may end early.
    /// `None` if there are fewer than [`HEADER_BYTES`] or if the kind is a control message's.
    ///
    /// [`check_batch`]: crate::check::check_batch
    /// [`check_info`]: crate::check::check_info
    #[inline]
    pub fn checked_before(bytes: &'a [u8]) -> Option<Image<'a>> {
        let header = bytes.first_chunk::<HEADER_BYTES>()?;
        let kind = match header[4] {
            1 => Kind::Batch,
            2 => Kind::Info,
            _ => return None,
        };
        Some(Image { bytes, header, kind })
    }

    /// The same, if it is a batch and as long as the smallest of them.
    #[inline]
    pub fn batch_checked_before(bytes: &'a [u8]) -> Option<Image<'a>> {
        let header = bytes.first_chunk::<IMAGE_BYTES_MIN>()?.first_chunk()?;
        (header[4] == Kind::Batch.number()).then_some(Image { bytes, header, kind: Kind::Batch })
    }

    /// Compares both CRCs with the bytes, as a receiver does. One pass of an instruction for 8 bytes.
    ///
    /// # Errors
    /// `HeaderCrc` first, then `PayloadCrc`.
    #[inline]
    pub fn verify(&self) -> Result<(), ImageError> {
        if are_right(self.header, &self.bytes[HEADER_BYTES..]) { Ok(()) } else { self.fault() }
    }

    /// Which CRC is wrong.
    #[cold]
    fn fault(&self) -> Result<(), ImageError> {
        if crc32c(&self.header[..HEADER_CRC]) != read_u32(self.header, HEADER_CRC) {
            return Err(ImageError::HeaderCrc);
        }
        check_crc(self.bytes, self.header)
    }

    /// The whole image.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// `Batch` or `Info`.
    #[inline]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The session's handle, on the way in.
    #[inline]
    pub fn handle(&self) -> u32 {
        read_u32(self.header, DOCUMENT)
    }

    /// The document, on the way out.
    #[inline]
    pub fn document(&self) -> DocumentId {
        DocumentId::from_bits(read_u64(self.header, DOCUMENT))
    }

    /// The sequence of the first delta; of an info, the sequence of the delta that follows it.
    #[inline]
    pub fn first_sequence(&self) -> u64 {
        read_u64(self.header, FIRST_SEQUENCE)
    }

    /// When the owner stamped it, in microseconds since the Unix epoch.
    #[inline]
    pub fn time_us(&self) -> u64 {
        read_u64(self.header, TIME_US)
    }

    /// The number that `opened` gave the writer.
    #[inline]
    pub fn origin(&self) -> u32 {
        read_u32(self.header, ORIGIN)
    }

    /// The CRC32C of count, producer sequence, body and padding, as the writer computed it.
    #[inline]
    pub fn payload_crc(&self) -> u32 {
        read_u32(self.header, PAYLOAD_CRC)
    }

    /// Deltas in the batch; 0 for an info.
    #[inline]
    pub fn count(&self) -> u32 {
        read_u32(self.header, COUNT)
    }

    /// The number that the producer gave it; 1 or more.
    #[inline]
    pub fn producer_sequence(&self) -> u64 {
        read_u64(self.header, PRODUCER_SEQUENCE)
    }

    /// The deltas in order; none for an info. Allocates nothing.
    #[inline]
    pub fn deltas(&self) -> Deltas<'a> {
        let body = &self.bytes[HEADER_BYTES..];
        let table_bytes = (self.count() as usize).saturating_mul(2);
        match body.split_at_checked(table_bytes) {
            Some((table, payloads)) => Deltas { table, payloads },
            None => Deltas { table: &[], payloads: &[] },
        }
    }

    /// The only delta of a batch that has one.
    #[inline]
    pub fn only_delta(&self) -> Option<&'a [u8]> {
        if self.count() != 1 {
            return None;
        }
        let (entry, payloads) = self.bytes[HEADER_BYTES..].split_first_chunk()?;
        payloads.get(..delta_bytes(*entry))
    }

    /// The CBOR map of an info, without padding; empty for a batch.
    pub fn info_map(&self) -> &'a [u8] {
        if self.kind != Kind::Info {
            return &[];
        }
        let padding = usize::from(self.header[PRELUDE_BYTES - 3] & PADDING_MASK);
        self.bytes.get(HEADER_BYTES..self.bytes.len() - padding).unwrap_or(&[])
    }
}

/// What batches of one delta have in common that are equally long: a model, which others are held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneDelta {
    prelude: u64,
    delta_bytes: usize,
}

impl OneDelta {
    /// That of an image; none if it is no batch of one delta.
    #[inline(always)]
    pub fn of(image: &Image<'_>) -> Option<Self> {
        if image.kind != Kind::Batch {
            return None;
        }
        let delta_bytes = image.only_delta()?.len();
        let prelude = read_u64(image.header, 0);
        Some(Self { prelude, delta_bytes })
    }

    /// The length of the delta.
    #[inline]
    pub fn delta_bytes(&self) -> usize {
        self.delta_bytes
    }

    /// Another such image and its delta, whose `bytes` passed [`check_batch`] before; none if it is not alike.
    ///
    /// [`check_batch`]: crate::check::check_batch
    #[inline(always)]
    pub fn image<'a>(&self, bytes: &'a [u8]) -> Option<(Image<'a>, &'a [u8])> {
        let header = bytes.first_chunk::<IMAGE_BYTES_MIN>()?.first_chunk()?;
        // Length and padding of a batch of one delta tell how long that is.
        if read_u64(header, 0) != self.prelude || read_u32(header, COUNT) != 1 {
            return None;
        }
        let delta = bytes.get(ONLY_DELTA..ONLY_DELTA + self.delta_bytes)?;
        Some((Image { bytes, header, kind: Kind::Batch }, delta))
    }
}

/// Where the only delta of a batch begins.
const ONLY_DELTA: usize = HEADER_BYTES + 2;

/// The deltas of a batch, first to last.
#[derive(Clone, Debug)]
pub struct Deltas<'a> {
    table: &'a [u8],
    payloads: &'a [u8],
}

impl<'a> Deltas<'a> {
    /// What is left behind the first `deltas`, whose payloads have `payload_bytes` together;
    /// nothing if the batch is shorter. No step per delta.
    #[inline]
    pub fn skip_to(self, deltas: u32, payload_bytes: u32) -> Deltas<'a> {
        let table = self.table.get(2 * deltas as usize..).unwrap_or(&[]);
        let payloads = self.payloads.get(payload_bytes as usize..).unwrap_or(&[]);
        Deltas { table, payloads }
    }

    /// The next deltas that have one length, at most [`ALIKE_MAX`].
    #[inline]
    pub fn alike(&self) -> Option<Alike<'a>> {
        let (entries, _) = self.table.as_chunks::<2>();
        let first = *entries.first()?;
        let count = match entries.first_chunk::<ALIKE_MAX>() {
            // All of them are compared, without a branch for each.
            Some(entries) if entries.iter().fold(true, |all, it| all & (*it == first)) => ALIKE_MAX,
            _ => entries.iter().take(ALIKE_MAX).take_while(|it| **it == first).count(),
        };
        let delta_bytes = delta_bytes(first);
        let bytes = self.payloads.get(..count * delta_bytes)?;
        Some(Alike { bytes, delta_bytes, count: count as u32 })
    }
}

/// Deltas that [`Deltas::alike`] tells of at most.
pub const ALIKE_MAX: usize = 16;

/// Deltas of one length that stand back to back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alike<'a> {
    /// All their bytes.
    pub bytes: &'a [u8],
    /// The bytes of each.
    pub delta_bytes: usize,
    /// How many there are; 1 or more.
    pub count: u32,
}

#[inline]
fn delta_bytes(entry: [u8; 2]) -> usize {
    usize::from(u16::from_le_bytes(entry)) + 1
}

impl<'a> Iterator for Deltas<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (entry, table) = self.table.split_first_chunk::<2>()?;
        let Some((delta, payloads)) = self.payloads.split_at_checked(delta_bytes(*entry)) else {
            self.table = &[];
            return None;
        };
        (self.table, self.payloads) = (table, payloads);
        Some(delta)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.table.len() / 2))
    }
}
