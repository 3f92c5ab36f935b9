//! Batches whose every delta follows from its document and its sequence, so that whoever reads one can
//! tell without remembering what was written.
//!
//! A template is made once; writing a batch is a copy, a mark in each delta and a checksum. Deltas
//! pass the schema that the harness without sockets uses, too. A dear batch has no marks: only its
//! sequences are checked.

use deltaworks_image::builder::image_bytes;
use deltaworks_image::crc::crc32c;
use deltaworks_image::header::{COUNT, DOCUMENT, HEADER_BYTES, PAYLOAD_CRC, PRODUCER_SEQUENCE};
use deltaworks_image::{Kind, Prelude};

use crate::payload::{Payloads, mixed};

/// The collection of dear documents, and the schema that makes them dear (RFC 8927): a union that
/// is inside itself and whose discriminator stands last is read again at every level.
pub const DEAR: &str = "dear";
/// See [`DEAR`].
pub const DEAR_SCHEMA: &str = r#"{"definitions": {"u": {"discriminator": "t", "mapping": {
    "x": {"properties": {"c": {"ref": "u"}}, "additionalProperties": true},
    "end": {"properties": {}, "additionalProperties": true}}}}, "ref": "u"}"#;

/// The collection whose readers may make publishers wait.
pub const WAITED: &str = "waited";

/// The key by which deltas are told apart where the newest of every key is enough.
pub const KEY: &str = "/user";

/// Unions inside each other: as many as a delta's bytes may be read again.
const DEAR_DEPTH: usize = 4;

/// Deltas of a dear batch, and the bytes of each: some 10 ms of checking on the machine that this was
/// written on; what it really took is told.
const DEAR_DELTAS: usize = 3;
const DEAR_BYTES: usize = 65_000;

/// Where the mark stands in a delta: behind the map's head, the operation and the next key.
const MARK: usize = 13;

/// What every batch of a document looks like.
#[derive(Clone, Debug)]
pub struct Template {
    image: Vec<u8>,
    /// Where in the image each delta has its mark.
    marks: Vec<usize>,
    deltas: u32,
}

impl Template {
    /// Batches of `deltas` deltas of `delta_bytes` bytes.
    ///
    /// # Errors
    /// If there are no such deltas.
    pub fn new(delta_bytes: usize, deltas: u32) -> Result<Self, String> {
        let payloads = Payloads::new(delta_bytes, deltas as usize)?;
        let all: Vec<&[u8]> = payloads.run(0).chunks_exact(delta_bytes).collect();
        Ok(Self::of(&all, true))
    }

    /// The same of deltas that have many lengths, and `mean_bytes` bytes on average.
    ///
    /// # Errors
    /// If there are no such deltas.
    pub fn mixed(mean_bytes: usize, deltas: u32) -> Result<Self, String> {
        let payloads = mixed(mean_bytes, deltas as usize)?;
        let all: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        Ok(Self::of(&all, true))
    }

    /// Batches that are dear to check.
    pub fn dear() -> Self {
        let delta = dear_delta();
        Self::of(&[&delta[..]; DEAR_DELTAS], false)
    }

    fn of(deltas: &[&[u8]], has_marks: bool) -> Self {
        let payload_bytes = deltas.iter().map(|delta| delta.len()).sum();
        let unpadded = HEADER_BYTES + deltas.len() * 2 + payload_bytes;
        let mut image = vec![0; HEADER_BYTES];
        let prelude = Prelude::for_unpadded(Kind::Batch, unpadded as u32);
        image[..DOCUMENT].copy_from_slice(&prelude.to_bytes());
        image[COUNT..COUNT + 4].copy_from_slice(&(deltas.len() as u32).to_le_bytes());
        for delta in deltas {
            image.extend(((delta.len() - 1) as u16).to_le_bytes());
        }
        let mut marks = Vec::new();
        for delta in deltas {
            marks.push(image.len() + MARK);
            image.extend_from_slice(delta);
        }
        image.resize(image_bytes(deltas.len(), payload_bytes), 0);
        if !has_marks {
            marks.clear();
        }
        Self { image, marks, deltas: deltas.len() as u32 }
    }

    /// Deltas of each batch.
    pub fn deltas(&self) -> u32 {
        self.deltas
    }

    /// Bytes of each image.
    pub fn image_bytes(&self) -> usize {
        self.image.len()
    }

    /// Appends the batch of this number, which begins with sequence `first`, to `out`.
    pub fn write(&self, out: &mut Vec<u8>, handle: u32, number: u64, first: u64, salt: u32) {
        let start = out.len();
        out.extend_from_slice(&self.image);
        let image = &mut out[start..];
        for (at, sequence) in self.marks.iter().zip(first..) {
            image[*at..at + 4].copy_from_slice(&mark(sequence, salt));
        }
        image[DOCUMENT..DOCUMENT + 4].copy_from_slice(&handle.to_le_bytes());
        image[PRODUCER_SEQUENCE..PRODUCER_SEQUENCE + 8].copy_from_slice(&number.to_le_bytes());
        let crc = crc32c(&image[COUNT..]);
        image[PAYLOAD_CRC..COUNT].copy_from_slice(&crc.to_le_bytes());
    }

    /// Whether this is the delta of that sequence.
    #[inline]
    pub fn is_of(&self, delta: &[u8], sequence: u64, salt: u32) -> bool {
        self.marks.is_empty() || delta.get(MARK..MARK + 4) == Some(&mark(sequence, salt)[..])
    }
}

#[inline]
fn mark(sequence: u64, salt: u32) -> [u8; 4] {
    (sequence as u32 ^ salt).to_be_bytes()
}

/// Maps inside each other whose kind stands behind everything else.
fn dear_delta() -> Vec<u8> {
    let mut delta = b"\xa2\x61c".repeat(DEAR_DEPTH - 1);
    delta.extend_from_slice(b"\xa2\x61f\x9f");
    delta.resize(DEAR_BYTES, 0);
    delta.extend_from_slice(b"\xff\x61t\x63end");
    delta.extend_from_slice(&b"\x61t\x61x".repeat(DEAR_DEPTH - 1));
    delta
}

#[cfg(test)]
mod tests {
    use super::*;
    use deltaworks_image::{Image, Limits, check_batch};
    use deltaworks_schema::{Kind as SchemaKind, Machine, Progress, Schema};

    #[test]
    fn batches_are_images_that_pass_and_every_delta_has_its_mark() {
        let schema = Schema::compile(SchemaKind::Cbor, crate::payload::SCHEMA).expect("a schema");
        let mut machine = Machine::new();
        let templates =
            [(46, 1), (46, 32), (65_536, 1)].map(|(bytes, deltas)| Template::new(bytes, deltas));
        for template in templates.into_iter().chain([Template::mixed(46, 33)]) {
            let template = template.expect("deltas of that length");
            let deltas = template.deltas();
            let mut out = Vec::new();
            template.write(&mut out, 3, 9, 70_001, 0xdead_0000);
            let inbound = check_batch(&out, &Limits::default()).expect("an image");
            assert_eq!((inbound.handle, inbound.count), (3, deltas));
            let image = Image::parse(&out).expect("an image");
            for (delta, sequence) in image.deltas().zip(70_001..) {
                assert!(template.is_of(delta, sequence, 0xdead_0000));
                assert!(!template.is_of(delta, sequence + 1, 0xdead_0000));
                assert!(!template.is_of(delta, sequence, 0xdead_0001));
                let progress = machine.check(&schema, delta, &mut { u32::MAX });
                assert!(matches!(progress, Progress::Valid));
            }
        }
    }

    #[test]
    fn a_dear_batch_passes_and_takes_many_steps() {
        let schema = Schema::compile(SchemaKind::Cbor, DEAR_SCHEMA).expect("a schema");
        let mut out = Vec::new();
        Template::dear().write(&mut out, 0, 1, 1, 0);
        assert!(check_batch(&out, &Limits::default()).is_ok(), "{} bytes", out.len());
        let mut steps = u32::MAX;
        let delta = dear_delta();
        let progress = Machine::new().check(&schema, &delta, &mut steps);
        assert!(matches!(progress, Progress::Valid));
        let limits = deltaworks_pipeline::limits::Limits::default();
        assert!(u32::MAX - steps > 4 * limits.steps_per_turn, "{}", u32::MAX - steps);
    }
}
