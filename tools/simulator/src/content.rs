//! What a batch holds: a function of its document, epoch, producer and number, and of nothing else.
//!
//! So a resend has the same bytes, whoever sends it, and every image that a reader gets can be
//! judged without knowing who has read what.

use deltaworks_image::builder::info;
use deltaworks_image::{BatchBuilder, Limits as ImageLimits};

use crate::dice::{Dice, mix};
use crate::setting::{Check, NARROW_IMAGE_BYTES};

/// What a batch or an info holds, and what must become of it if its number is the next.
#[derive(Debug)]
pub struct Content {
    /// The whole image, as it goes to the server, with handle 0.
    pub image: Vec<u8>,
    /// Deltas; 0 in an info.
    pub count: u32,
    /// It is an info.
    pub is_info: bool,
    /// What each delta gives a value to, in a collection that tells values apart.
    pub values: Vec<Option<u8>>,
    /// The number it must be refused with, and the delta that is to blame.
    pub refusal: Option<(u16, Option<u32>)>,
}

/// What decides a content besides its number.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// How the document's collection checks.
    pub check: Check,
    /// The document's epoch.
    pub epoch: u64,
    /// Who writes.
    pub producer: u64,
    /// Bytes of a delta at most, mostly.
    pub delta_bytes: usize,
    /// Bytes of the longest image.
    pub image_bytes_max: u32,
}

impl Content {
    /// The content of batch `number`.
    pub fn of(source: &Source, number: u64) -> Self {
        let seed = mix(source.epoch ^ mix(source.producer << 32 | number));
        let mut dice = Dice::new(seed);
        if dice.says(6) {
            return Self::info(&mut dice, number);
        }
        let count = 1 + dice.below(4);
        let long = (source.image_bytes_max as usize - 200) / count;
        let bytes_max = if dice.says(4) { long } else { source.delta_bytes.min(long) };
        let bad = (source.check == Check::Typed && dice.says(12))
            .then(|| (dice.below(count), dice.says(50)));
        let mut builder = BatchBuilder::new(ImageLimits::HARD);
        let mut delta = Vec::new();
        let mut values = Vec::new();
        for place in 0..count {
            let bytes = 1 + dice.below(bytes_max);
            delta.clear();
            match bad {
                Some((index, is_malformed)) if index == place => {
                    delta.extend_from_slice(if is_malformed { b"\xff" } else { b"\xa0" });
                }
                _ if source.check == Check::Typed => {
                    let value = (!dice.says(10)).then(|| dice.below(4) as u8);
                    typed(&mut delta, bytes, dice.next() as u8, value);
                    values.push(value);
                }
                _ => delta.resize(bytes, dice.next() as u8),
            }
            builder.append(&delta).expect("within the format's limits");
        }
        let image = builder.finish(0, number).expect("it has deltas");
        let beyond = source.check == Check::Narrow && image.len() > NARROW_IMAGE_BYTES as usize;
        let refusal = match bad {
            Some((index, is_malformed)) => {
                Some((if is_malformed { 401 } else { 400 }, Some(index as u32)))
            }
            None => beyond.then_some((410, None)),
        };
        Self { image, count: count as u32, is_info: false, values, refusal }
    }

    fn info(dice: &mut Dice, number: u64) -> Self {
        let is_bad = dice.says(10);
        let map = [if is_bad { 0xff } else { 0xa1 }, 0x61, b'k', 0x18, 24 + (number % 200) as u8];
        let image = info(&ImageLimits::HARD, 0, number, &map).expect("a small map");
        let values = Vec::new();
        Self { image, count: 0, is_info: true, values, refusal: is_bad.then_some((407, None)) }
    }

    /// The bytes that the server leaves as they are.
    pub fn kept(&self) -> &[u8] {
        &self.image[40..]
    }
}

/// A map that holds to the schema, of about `bytes` bytes; behind `k` stands whose value it is.
fn typed(delta: &mut Vec<u8>, bytes: usize, byte: u8, value: Option<u8>) {
    match value {
        Some(value) => delta.extend_from_slice(&[0xa3, 0x61, b'k', value]),
        None => delta.push(0xa2),
    }
    delta.extend_from_slice(b"\x61n\x18\x64\x61x\x59");
    delta.extend_from_slice(&(bytes as u16).to_be_bytes());
    delta.resize(delta.len() + bytes, byte);
}
