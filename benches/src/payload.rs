//! Payloads: many different CBOR maps of one length that pass a schema, plain or as records, and how
//! one is made to fail in its last field.
//!
//! They lie back to back, so that the payloads of a batch are one run of bytes. Made once, before
//! anything is timed.

use deltaworks_runtime::prefetch::prefetch_entry;

use crate::script::Random;

/// How many different ones there are.
pub const PAYLOADS: u32 = 4096;

/// The schema that they pass (RFC 8927).
pub const SCHEMA: &str = r#"{
    "properties": {
        "op": { "enum": ["ins", "del", "fmt"] },
        "pos": { "type": "uint32" },
        "user": { "type": "uint16" },
        "text": { "type": "string" },
        "done": { "type": "boolean" }
    }
}"#;

/// Bytes of a payload at least.
pub const BYTES_MIN: usize = 36;
/// Bytes of a payload at most.
pub const BYTES_MAX: usize = 65_536;

/// How far lengths lie around their mean where they are mixed.
pub const SPREAD_BYTES: usize = 9;

/// Whether all deltas have one length.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Lengths {
    /// One: the stencil of the schema checks them in rows.
    Equal,
    /// Many, around the same mean: each is read by itself.
    #[default]
    Mixed,
}

/// What the collection of a run checks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Nothing: the same bytes, unread.
    Opaque,
    /// A map under [`SCHEMA`].
    #[default]
    Cbor,
    /// A record that is upserted, of the same schema.
    Rows,
}

/// In front of a record's map: an array of three, the operation *upsert*; then its id, below 24.
const UPSERT: [u8; 2] = [0x83, 0x02];

/// What stands in a payload's last byte instead of `true` or `false` to make it fail: the number 7.
pub const FAILING_BYTE: u8 = 0x07;

/// Payloads of one length, and as many more at the end as a batch has, for runs over the end.
#[derive(Clone, Debug)]
pub struct Payloads {
    bytes: Vec<u8>,
    delta_bytes: usize,
    batch: usize,
}

impl Payloads {
    /// Payloads of exactly `delta_bytes` each, in runs of `batch`.
    ///
    /// # Errors
    /// If there is no such payload.
    pub fn new(delta_bytes: usize, batch: usize) -> Result<Self, String> {
        Self::of(Form::Cbor, delta_bytes, batch)
    }

    /// The same for a collection of `form`.
    ///
    /// # Errors
    /// If there is no such payload.
    pub fn of(form: Form, delta_bytes: usize, batch: usize) -> Result<Self, String> {
        let in_front = if form == Form::Rows { UPSERT.len() + 1 } else { 0 };
        let least = BYTES_MIN + in_front;
        if !(least..=BYTES_MAX).contains(&delta_bytes) {
            return Err(format!("a delta has {least} to {BYTES_MAX} bytes, not {delta_bytes}"));
        }
        let mut random = Random(delta_bytes as u64);
        let mut bytes = Vec::with_capacity((PAYLOADS as usize + batch) * delta_bytes);
        for _ in 0..PAYLOADS {
            if form == Form::Rows {
                bytes.extend(UPSERT);
                bytes.push(random.below(24) as u8);
            }
            write_payload(&mut bytes, delta_bytes - in_front, &mut random);
        }
        for place in 0..batch {
            let at = place % PAYLOADS as usize * delta_bytes;
            bytes.extend_from_within(at..at + delta_bytes);
        }
        Ok(Self { bytes, delta_bytes, batch })
    }

    /// Bytes of each.
    #[inline]
    pub fn delta_bytes(&self) -> usize {
        self.delta_bytes
    }

    /// Payloads of a run.
    #[inline]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Asks for the beginning of the run of number `first`.
    #[inline]
    pub fn prefetch(&self, first: u32) {
        let at = first as usize * self.delta_bytes;
        prefetch_entry(&self.bytes, at);
        prefetch_entry(&self.bytes, at + self.delta_bytes - 1);
    }

    /// The payloads of a batch that begins with number `first`, back to back.
    #[inline]
    pub fn run(&self, first: u32) -> &[u8] {
        self.run_of(first, self.batch * self.delta_bytes)
    }

    /// The same, of which the caller knows that all of them have `run_bytes`.
    #[inline(always)]
    pub fn run_of(&self, first: u32, run_bytes: usize) -> &[u8] {
        &self.bytes[first as usize * self.delta_bytes..][..run_bytes]
    }
}

/// So many payloads of `mean_bytes` on average: the lengths of each two that follow each other lie equally far,
/// at most [`SPREAD_BYTES`], below and above it.
///
/// # Errors
/// If there is no such payload.
pub fn mixed(mean_bytes: usize, count: usize) -> Result<Vec<Vec<u8>>, String> {
    let lengths = BYTES_MIN + SPREAD_BYTES..=BYTES_MAX - SPREAD_BYTES;
    if !lengths.contains(&mean_bytes) {
        return Err(format!("{lengths:?} bytes on average, not {mean_bytes}"));
    }
    let mut random = Random(mean_bytes as u64);
    let mut payloads = Vec::with_capacity(count + 1);
    while payloads.len() < count {
        let apart = random.below(1 + SPREAD_BYTES as u64) as usize;
        for bytes in [mean_bytes - apart, mean_bytes + apart] {
            let mut payload = Vec::with_capacity(bytes);
            write_payload(&mut payload, bytes, &mut random);
            payloads.push(payload);
        }
    }
    payloads.truncate(count);
    Ok(payloads)
}

fn write_payload(to: &mut Vec<u8>, bytes: usize, random: &mut Random) {
    // A map of five, the keys, three letters, a position of four bytes, the last field's byte.
    const FIXED: usize = 1 + 3 + 4 + 4 + 5 + 5 + 5 + 5 + 1;
    let head = |length| [1, 2, 3][usize::from(length > 23) + usize::from(length > 255)];
    // The user's number evens out what the text's head leaves.
    let fits = |user: &usize| {
        let left = bytes.checked_sub(FIXED + user)?;
        let is_text = |text: &usize| text + head(*text) == left;
        (left.saturating_sub(3)..left).find(is_text).map(|text| (*user, text))
    };
    let sizes = [3, 2, 1].iter().find_map(fits);
    let (user, text) = sizes.expect("every length from the least one on can be made");
    let start = to.len();
    to.push(0xa5);
    to.extend(b"\x62op\x63");
    to.extend([b"ins", b"del", b"fmt"][random.below(3) as usize]);
    to.extend(b"\x63pos\x1a");
    to.extend((0x1_0000 | random.next() as u32).to_be_bytes());
    to.extend(b"\x64user");
    let number = random.next();
    match user {
        3 => to.extend([0x19, 1 | number as u8, (number >> 8) as u8]),
        2 => to.extend([0x18, 0x80 | number as u8]),
        _ => to.push(number as u8 % 24),
    }
    to.extend(b"\x64text");
    match text {
        0..24 => to.push(0x60 | text as u8),
        24..256 => to.extend([0x78, text as u8]),
        _ => to.extend([0x79, (text >> 8) as u8, text as u8]),
    }
    to.extend((0..text).map(|_| b'a' + random.below(26) as u8));
    to.extend(b"\x64done");
    to.push(0xf4 | (random.next() & 1) as u8);
    assert_eq!(to.len() - start, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_can_be_made() {
        let mut random = Random(1);
        for bytes in (BYTES_MIN..1000).chain([4096, BYTES_MAX]) {
            let mut payload = Vec::new();
            write_payload(&mut payload, bytes, &mut random);
            assert_eq!(payload.len(), bytes);
        }
        assert!(Payloads::new(BYTES_MIN - 1, 1).is_err());
        let mixed = mixed(46, 1000).expect("there are such");
        let lengths: Vec<usize> = mixed.iter().map(Vec::len).collect();
        assert_eq!(lengths.iter().sum::<usize>(), 46_000);
        assert!((37..=55).all(|bytes| lengths.contains(&bytes)), "{lengths:?}");
        assert!(super::mixed(BYTES_MIN, 2).is_err());
        assert!(Payloads::new(BYTES_MAX + 1, 1).is_err());
    }

    #[test]
    fn payloads_differ() {
        let payloads = Payloads::new(46, 32).expect("a length that can be made");
        let all: std::collections::BTreeSet<&[u8]> =
            (0..PAYLOADS).map(|first| &payloads.run(first)[..46]).collect();
        assert_eq!(all.len(), PAYLOADS as usize);
        assert_eq!(payloads.run(4095)[46..92], payloads.run(0)[..46]);
    }
}
