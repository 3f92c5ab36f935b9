//! How a client makes an image: deltas are appended, then everything is written at once.
//!
//! The builder belongs to one writer and is used again and again, so that a steady client does not
//! allocate. What would exceed its limits is refused and not appended. It never writes what the owner
//! writes, except for the handle, which stands where the document will.

use core::fmt;

use crate::crc::crc32c;
use crate::header::{
    COUNT, DELTA_BYTES_MAX, DOCUMENT, HEADER_BYTES, PAYLOAD_CRC, PRODUCER_SEQUENCE, write_u32,
    write_u64,
};
use crate::prelude::{DELTAS_HARD_MAX, IMAGE_BYTES_HARD_MAX, Kind, Limits, PRELUDE_BYTES, Prelude};

/// Why a delta was not appended or an image not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// A delta or info map without a byte.
    Empty,
    /// A delta of more than [`DELTA_BYTES_MAX`] bytes.
    DeltaTooLong(usize),
    /// The batch has as many deltas as the limit allows.
    TooManyDeltas(u32),
    /// The image would be longer than the limit of bytes that is told here.
    TooLong(u32),
    /// The caller's buffer is shorter than the image, whose bytes are told here.
    BufferTooShort(usize),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            BuildError::Empty => f.write_str("nothing to write"),
            BuildError::DeltaTooLong(bytes) => {
                write!(f, "a delta of {bytes} bytes, the limit is {DELTA_BYTES_MAX}")
            }
            BuildError::TooManyDeltas(max) => write!(f, "more than {max} deltas in a batch"),
            BuildError::TooLong(max) => write!(f, "an image of more than {max} bytes"),
            BuildError::BufferTooShort(bytes) => write!(f, "the image needs {bytes} bytes"),
        }
    }
}

impl core::error::Error for BuildError {}

/// A batch in the making.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    limits: Limits,
    table: Vec<u8>,
    payloads: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch that will stay within `limits`.
    pub fn new(limits: Limits) -> BatchBuilder {
        BatchBuilder { limits, table: Vec::new(), payloads: Vec::new() }
    }

    /// Appends a delta of 1..=65,536 bytes.
    ///
    /// # Errors
    /// `Empty`, `DeltaTooLong`, `TooManyDeltas`, `TooLong`; the batch is then as it was before.
    pub fn append(&mut self, delta: &[u8]) -> Result<(), BuildError> {
        let entry = entry(delta)?;
        check_room(&self.limits, self.count() + 1, self.payloads.len() + delta.len())?;
        self.table.extend_from_slice(&entry);
        self.payloads.extend_from_slice(delta);
        Ok(())
    }

    /// Deltas appended since the last [`clear`](Self::clear).
    pub fn count(&self) -> usize {
        self.table.len() / 2
    }

    /// Whether no delta was appended.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Bytes of the image that [`finish`](Self::finish) would give.
    pub fn image_bytes(&self) -> usize {
        image_bytes(self.count(), self.payloads.len())
    }

    /// Forgets the deltas and keeps the memory.
    pub fn clear(&mut self) {
        self.table.clear();
        self.payloads.clear();
    }

    /// The image as bytes of its own; the builder is empty afterwards.
    ///
    /// # Errors
    /// `Empty` if no delta was appended.
    pub fn finish(&mut self, handle: u32, producer_sequence: u64) -> Result<Vec<u8>, BuildError> {
        let mut image = vec![0; self.image_bytes()];
        self.finish_into(&mut image, handle, producer_sequence)?;
        Ok(image)
    }

    /// Writes the image to the start of `buffer` and returns its bytes; the builder is empty
    /// afterwards.
    ///
    /// # Errors
    /// `Empty` or `BufferTooShort`; the builder then keeps its deltas.
    pub fn finish_into(
        &mut self,
        buffer: &mut [u8],
        handle: u32,
        producer_sequence: u64,
    ) -> Result<usize, BuildError> {
        if self.is_empty() {
            return Err(BuildError::Empty);
        }
        let bytes = self.image_bytes();
        let image = buffer.get_mut(..bytes).ok_or(BuildError::BufferTooShort(bytes))?;
        let (table_bytes, payload_bytes) = (self.table.len(), self.payloads.len());
        let body = &mut image[HEADER_BYTES..];
        body[..table_bytes].copy_from_slice(&self.table);
        body[table_bytes..table_bytes + payload_bytes].copy_from_slice(&self.payloads);
        body[table_bytes + payload_bytes..].fill(0);
        let count = self.count() as u32;
        let unpadded = HEADER_BYTES + table_bytes + payload_bytes;
        seal(
            image,
            Prelude::for_unpadded(Kind::Batch, unpadded as u32),
            count,
            handle,
            producer_sequence,
        );
        self.clear();
        Ok(bytes)
    }
}

/// Writes a batch of `deltas` to the start of `buffer` and returns its bytes; allocates nothing.
///
/// # Errors
/// `Empty`, `DeltaTooLong`, `TooManyDeltas`, `TooLong`, `BufferTooShort`; the buffer's content is
/// then unspecified.
pub fn write_batch(
    buffer: &mut [u8],
    limits: &Limits,
    handle: u32,
    producer_sequence: u64,
    deltas: &[&[u8]],
) -> Result<usize, BuildError> {
    if deltas.is_empty() {
        return Err(BuildError::Empty);
    }
    let payload_bytes = deltas.iter().fold(0usize, |sum, delta| sum.saturating_add(delta.len()));
    check_room(limits, deltas.len(), payload_bytes)?;
    let bytes = image_bytes(deltas.len(), payload_bytes);
    let image = buffer.get_mut(..bytes).ok_or(BuildError::BufferTooShort(bytes))?;
    let mut at = HEADER_BYTES + deltas.len() * 2;
    for (index, delta) in deltas.iter().enumerate() {
        let slot = HEADER_BYTES + index * 2;
        image[slot..slot + 2].copy_from_slice(&entry(delta)?);
        image[at..at + delta.len()].copy_from_slice(delta);
        at += delta.len();
    }
    image[at..].fill(0);
    let prelude = Prelude::for_unpadded(Kind::Batch, at as u32);
    seal(image, prelude, deltas.len() as u32, handle, producer_sequence);
    Ok(bytes)
}

/// The image of an info with the CBOR map `map`.
///
/// # Errors
/// `Empty`, or `TooLong` with the limit of the map's bytes.
pub fn info(
    limits: &Limits,
    handle: u32,
    producer_sequence: u64,
    map: &[u8],
) -> Result<Vec<u8>, BuildError> {
    if map.is_empty() {
        return Err(BuildError::Empty);
    }
    let max = limits.info_bytes_max.min(Limits::HARD.info_bytes_max);
    if map.len() > max as usize {
        return Err(BuildError::TooLong(max));
    }
    let prelude = Prelude::for_unpadded(Kind::Info, (HEADER_BYTES + map.len()) as u32);
    let mut image = vec![0; prelude.bytes as usize];
    image[HEADER_BYTES..HEADER_BYTES + map.len()].copy_from_slice(map);
    seal(&mut image, prelude, 0, handle, producer_sequence);
    Ok(image)
}

/// Writes another handle into an image that was not sent, or is sent again on another session.
///
/// The payload's CRC does not cover the handle, so nothing is computed.
///
/// # Panics
/// If `image` is shorter than [`HEADER_BYTES`].
pub fn set_handle(image: &mut [u8], handle: u32) {
    let header = image.first_chunk_mut::<HEADER_BYTES>().expect("an image begins with its header");
    write_u32(header, DOCUMENT, handle);
}

/// Writes another producer sequence into an image that was not sent, and computes its CRC anew.
///
/// # Panics
/// If `image` is shorter than [`HEADER_BYTES`].
pub fn set_producer_sequence(image: &mut [u8], producer_sequence: u64) {
    let header = image.first_chunk_mut::<HEADER_BYTES>().expect("an image begins with its header");
    write_u64(header, PRODUCER_SEQUENCE, producer_sequence);
    seal_payload(image);
}

/// Bytes of an image with so many deltas and payload bytes.
pub fn image_bytes(count: usize, payload_bytes: usize) -> usize {
    (HEADER_BYTES + count * 2 + payload_bytes).next_multiple_of(8)
}

fn entry(delta: &[u8]) -> Result<[u8; 2], BuildError> {
    match delta.len() {
        0 => Err(BuildError::Empty),
        len if len > DELTA_BYTES_MAX => Err(BuildError::DeltaTooLong(len)),
        len => Ok(((len - 1) as u16).to_le_bytes()),
    }
}

fn check_room(limits: &Limits, count: usize, payload_bytes: usize) -> Result<(), BuildError> {
    let deltas_max = limits.deltas_per_batch_max.min(DELTAS_HARD_MAX);
    if count > deltas_max as usize {
        return Err(BuildError::TooManyDeltas(deltas_max));
    }
    let bytes_max = limits.image_bytes_max.min(IMAGE_BYTES_HARD_MAX);
    if payload_bytes > bytes_max as usize || image_bytes(count, payload_bytes) > bytes_max as usize
    {
        return Err(BuildError::TooLong(bytes_max));
    }
    Ok(())
}

/// Writes the header of an image whose body is complete.
fn seal(image: &mut [u8], prelude: Prelude, count: u32, handle: u32, producer_sequence: u64) {
    let header = image.first_chunk_mut::<HEADER_BYTES>().expect("an image begins with its header");
    header[..PRELUDE_BYTES].copy_from_slice(&prelude.to_bytes());
    header[PRELUDE_BYTES..PAYLOAD_CRC].fill(0);
    write_u32(header, DOCUMENT, handle);
    write_u32(header, COUNT, count);
    write_u64(header, PRODUCER_SEQUENCE, producer_sequence);
    seal_payload(image);
}

fn seal_payload(image: &mut [u8]) {
    let crc = crc32c(&image[COUNT..]);
    image[PAYLOAD_CRC..COUNT].copy_from_slice(&crc.to_le_bytes());
}
