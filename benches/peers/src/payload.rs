//! What is published: a tag that says who and which, and bytes that follow from it.
//!
//! A payload's first eight bytes are its publisher's number and its sequence; the rest is one of 32
//! blocks that look random, by the sequence. So a subscriber knows every byte that must come, and
//! compares it: count, order and content, without remembering anything but the next sequence.

/// Messages of one write of a publisher, and different payloads.
pub const PIPELINED: usize = 32;

const SEQUENCE_BITS: u32 = 48;

/// All payloads of one length.
#[derive(Clone, Debug)]
pub struct Payloads {
    bytes: Vec<u8>,
    payload_bytes: usize,
}

impl Payloads {
    /// Payloads of `payload_bytes`, a multiple of 8 and 16 at least.
    pub fn new(payload_bytes: usize) -> Self {
        assert!(payload_bytes >= 16 && payload_bytes.is_multiple_of(8));
        let mut state = payload_bytes as u64;
        let words = std::iter::repeat_with(|| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (state ^ (state >> 29)).to_le_bytes()
        });
        let bytes = words.take(PIPELINED * payload_bytes / 8).flatten().collect();
        Self { bytes, payload_bytes }
    }

    /// Bytes of each.
    #[inline]
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// Appends the payload of `publisher` with `sequence`.
    #[inline]
    pub fn append(&self, to: &mut Vec<u8>, publisher: usize, sequence: u64) {
        to.extend_from_slice(&tag(publisher, sequence).to_le_bytes());
        to.extend_from_slice(self.rest(sequence));
    }

    #[inline]
    fn rest(&self, sequence: u64) -> &[u8] {
        let at = sequence as usize % PIPELINED * self.payload_bytes;
        &self.bytes[at + 8..at + self.payload_bytes]
    }
}

#[inline]
fn tag(publisher: usize, sequence: u64) -> u64 {
    (publisher as u64) << SEQUENCE_BITS | sequence
}

/// What one subscriber has read.
#[derive(Clone, Debug)]
pub struct Reader {
    next: Vec<u64>,
    /// Payloads read, all right.
    pub read: u64,
}

impl Reader {
    /// Nothing, of so many publishers.
    pub fn new(publishers: usize) -> Self {
        Self { next: vec![0; publishers], read: 0 }
    }

    /// Takes the payload that came next; its publisher and sequence.
    ///
    /// # Errors
    /// If it is not the one that must come.
    #[inline]
    pub fn take(&mut self, payloads: &Payloads, payload: &[u8]) -> Result<(usize, u64), String> {
        let told = payload.first_chunk().map_or(u64::MAX, |tag| u64::from_le_bytes(*tag));
        let (publisher, sequence) =
            ((told >> SEQUENCE_BITS) as usize, told & ((1 << SEQUENCE_BITS) - 1));
        let next = self.next.get_mut(publisher).ok_or_else(|| strange(told))?;
        if *next != sequence {
            return Err(format!("of publisher {publisher} came {sequence}, not {next}"));
        }
        if differ(&payload[8..], payloads.rest(sequence)) {
            return Err(format!("bytes of {sequence} of publisher {publisher} are wrong"));
        }
        *next += 1;
        self.read += 1;
        Ok((publisher, sequence))
    }
}

#[cold]
fn strange(tag: u64) -> String {
    format!("a payload begins with {tag:#x}")
}

/// Whether two runs of whole words differ; looks at all of them.
#[inline]
fn differ(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return true;
    }
    let (ones, _) = one.as_chunks::<8>();
    let (others, _) = other.as_chunks::<8>();
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let differences = ones.iter().zip(others).map(|(one, other)| word(one) ^ word(other));
    differences.fold(0, |sum, difference| sum | difference) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_byte_loss_repeat_and_swap_is_seen() {
        let payloads = Payloads::new(64);
        let mut stream = Vec::new();
        (0..40).for_each(|sequence| payloads.append(&mut stream, 3, sequence));
        let read = |stream: &[u8]| {
            let mut reader = Reader::new(4);
            let all = stream.chunks(64).try_for_each(|it| reader.take(&payloads, it).map(drop));
            all.map(|()| reader.read)
        };
        assert_eq!(read(&stream), Ok(40));
        for place in 0..stream.len() {
            let mut other = stream.clone();
            other[place] ^= 1;
            assert!(read(&other).is_err(), "byte {place}");
        }
        assert!(read(&[&stream[..64], &stream[128..]].concat()).is_err(), "lost");
        assert!(read(&[&stream[..64], &stream[..64]].concat()).is_err(), "repeated");
        assert!(read(&[&stream[64..128], &stream[..64]].concat()).is_err(), "swapped");
    }
}
