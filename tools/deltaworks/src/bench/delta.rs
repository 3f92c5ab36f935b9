//! A delta of the load: when it was due, who wrote it, which one it is, and bytes that follow from that.

/// Bytes of the fields; no delta is shorter.
pub const DELTA_BYTES_MIN: usize = 24;

/// What a delta says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When its batch was due, since the start.
    pub due_ns: u64,
    /// Who wrote it, from 0.
    pub publisher: u32,
    /// Which of this publisher's deltas in this document it is, from 0.
    pub index: u64,
}

impl Stamp {
    /// Writes the delta, which is as long as `bytes`; at least [`DELTA_BYTES_MIN`].
    pub fn write(&self, bytes: &mut [u8]) {
        bytes[..8].copy_from_slice(&self.due_ns.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.index.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.publisher.to_le_bytes());
        bytes[20..].fill(self.filling());
        let check = self.check(bytes.len());
        bytes[20..24].copy_from_slice(&check.to_le_bytes());
    }

    /// What the delta says, if all of its bytes are as they were written.
    pub fn read(bytes: &[u8]) -> Option<Stamp> {
        let field = |from: usize, to: usize| bytes.get(from..to);
        let stamp = Stamp {
            due_ns: u64::from_le_bytes(field(0, 8)?.try_into().ok()?),
            index: u64::from_le_bytes(field(8, 16)?.try_into().ok()?),
            publisher: u32::from_le_bytes(field(16, 20)?.try_into().ok()?),
        };
        let check = u32::from_le_bytes(field(20, 24)?.try_into().ok()?);
        let filling = stamp.filling();
        let is_whole = check == stamp.check(bytes.len())
            && bytes[DELTA_BYTES_MIN..].iter().all(|byte| *byte == filling);
        is_whole.then_some(stamp)
    }

    fn filling(&self) -> u8 {
        (self.index as u8) ^ (self.publisher as u8).rotate_left(4)
    }

    /// Depends on every field and on the length. The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
    fn check(&self, length: usize) -> u32 {
        let fields = [self.due_ns, self.index, u64::from(self.publisher), length as u64];
        let mixed = fields.iter().fold(0x9e37_79b9_7f4a_7c15_u64, |mixed, field| {
            let mut mixed = mixed ^ field;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        });
        mixed as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_a_delta_is_looked_at() {
        for length in [DELTA_BYTES_MIN, 25, 100] {
            let stamp = Stamp { due_ns: 123_456_789, publisher: 7, index: 1_000_003 };
            let mut bytes = vec![0; length];
            stamp.write(&mut bytes);
            assert_eq!(Stamp::read(&bytes), Some(stamp));
            for bit in 0..length * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Stamp::read(&bytes), None, "bit {bit}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            assert_eq!(Stamp::read(&bytes[..length - 1]), None, "cut");
        }
        assert_eq!(Stamp::read(&[]), None);
    }
}
