//! What the others' stream must be: every delta's bytes are computed from its sequence.
//!
//! Owned by one reader each; no socket and no clock, so that a hole, a swap or a changed byte can be
//! planted and must be seen. Keeps one number, whatever comes.

/// Bytes of each delta.
pub const DELTA_BYTES: usize = 46;

/// Deltas of each batch.
pub const DELTAS: u64 = 4;

/// The delta of this sequence.
pub fn content(sequence: u64) -> [u8; DELTA_BYTES] {
    let mut delta = [0; DELTA_BYTES];
    delta[..8].copy_from_slice(&sequence.to_le_bytes());
    let mut word = sequence | 1;
    for piece in delta[8..].chunks_mut(8) {
        word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
        piece.copy_from_slice(&word.to_le_bytes()[..piece.len()]);
    }
    delta
}

/// The sequence of the first delta of the batch of this number, from 0.
pub fn first_sequence(batch: u64) -> u64 {
    batch * DELTAS + 1
}

/// One reader's account of the stream.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    batches: u64,
}

impl Ledger {
    /// Batches that came so far.
    pub fn batches(&self) -> u64 {
        self.batches
    }

    /// The number of the batch that came, which must be the next, with every byte its writer's.
    ///
    /// # Errors
    /// What is missing, comes twice, or differs.
    pub fn take<'a>(
        &mut self,
        sequence: u64,
        deltas: impl Iterator<Item = &'a [u8]>,
    ) -> Result<u64, String> {
        let batch = self.batches;
        let expected = first_sequence(batch);
        if sequence != expected {
            return Err(format!("sequence {sequence} came for {expected}"));
        }
        let mut next = sequence;
        for delta in deltas {
            if delta != content(next) {
                return Err(format!("the bytes of sequence {next} are not its writer's"));
            }
            next += 1;
        }
        if next != expected + DELTAS {
            return Err(format!("batch {batch} has {} deltas", next - expected));
        }
        self.batches += 1;
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(number: u64) -> (u64, Vec<[u8; DELTA_BYTES]>) {
        let first = first_sequence(number);
        (first, (first..first + DELTAS).map(content).collect())
    }

    fn take(
        ledger: &mut Ledger,
        (first, deltas): &(u64, Vec<[u8; DELTA_BYTES]>),
    ) -> Result<u64, String> {
        ledger.take(*first, deltas.iter().map(|delta| &delta[..]))
    }

    #[test]
    fn a_whole_stream_is_taken_and_every_planted_fault_is_seen() {
        let mut ledger = Ledger::default();
        for number in 0..100 {
            assert_eq!(take(&mut ledger, &batch(number)), Ok(number));
        }
        let at = |number| (ledger.clone(), batch(number));
        let (mut hole, after) = at(101);
        assert!(take(&mut hole, &after).is_err());
        let (mut twice, before) = at(99);
        assert!(take(&mut twice, &before).is_err());
        let (mut short, mut next) = at(100);
        next.1.pop();
        assert!(take(&mut short, &next).is_err());
        let (mut long, mut next) = at(100);
        next.1.push(content(405));
        assert!(take(&mut long, &next).is_err());
        let (mut swapped, mut next) = at(100);
        next.1.swap(0, 1);
        assert!(take(&mut swapped, &next).is_err());
        for byte in 0..DELTA_BYTES {
            let (mut changed, mut next) = at(100);
            next.1[3][byte] ^= 1;
            assert!(take(&mut changed, &next).is_err(), "byte {byte}");
        }
        assert_eq!(take(&mut ledger, &batch(100)), Ok(100));
    }
}
