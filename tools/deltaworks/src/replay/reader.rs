//! One subscriber's reading of one document: every lane rebuilt, every delta hashed in order.
//!
//! ```text
//! sequence, delta ──▶ as expected? ──▶ hash ──▶ decode ──▶ lane 0 │ lane 1 │ … │ lane N − 1
//! ```
//!
//! Owned by its subscriber's task. It takes nothing on trust that the client has checked already:
//! sequences are held against its own count. Memory: one text a lane, bounded by the trace's.

use std::hash::{DefaultHasher, Hasher};

use super::fault::What;
use crate::editing::{PatchRef, Text, Trace, decode_delta};

/// A document as one subscriber has read it so far.
#[derive(Debug)]
pub struct Reader {
    lanes: Vec<Lane>,
    next_sequence: u64,
    bytes: u64,
    hash: DefaultHasher,
}

#[derive(Debug)]
struct Lane {
    text: Text,
    next_index: u32,
}

impl Reader {
    /// A reader of a document that is empty yet, with `lanes` lanes.
    pub fn new(trace: &Trace, lanes: usize) -> Reader {
        let lanes = (0..lanes).map(|_| Lane { text: Text::new(&trace.start), next_index: 0 });
        Reader { lanes: lanes.collect(), next_sequence: 1, bytes: 0, hash: DefaultHasher::new() }
    }

    /// The sequence that must come next.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Deltas read so far.
    pub fn deltas(&self) -> u64 {
        self.next_sequence - 1
    }

    /// Bytes of the deltas read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The hash over (sequence, bytes) of the deltas read so far, in order.
    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// Takes one delta.
    ///
    /// # Errors
    /// What contradicts what was read before.
    pub fn take(&mut self, sequence: u64, delta: &[u8]) -> Result<(), What> {
        let expected = self.next_sequence;
        if sequence > expected {
            return Err(What::Missing { expected, came: sequence });
        }
        if sequence < expected {
            return Err(What::Doubled { expected, came: sequence });
        }
        self.next_sequence += 1;
        self.bytes += delta.len() as u64;
        self.hash.write_u64(sequence);
        self.hash.write_usize(delta.len());
        self.hash.write(delta);

        let delta = decode_delta(delta).map_err(|error| What::Delta { sequence, error })?;
        let (lane, came) = (delta.lane, delta.index);
        let Some(Lane { text, next_index }) = self.lanes.get_mut(lane as usize) else {
            return Err(What::Lane { sequence, lane });
        };
        if came != *next_index {
            return Err(What::Index { sequence, lane, expected: *next_index, came });
        }
        *next_index += 1;
        for PatchRef { position, deleted, inserted } in delta.patches() {
            text.apply(position, deleted, inserted).map_err(|fault| What::Patch {
                sequence,
                lane,
                fault,
            })?;
        }
        Ok(())
    }

    /// Whether every lane is the whole trace: all its transactions, and its end as text.
    ///
    /// # Errors
    /// The first lane that is not.
    pub fn verify(&self, trace: &Trace) -> Result<(), What> {
        for (lane, Lane { text, next_index }) in self.lanes.iter().enumerate() {
            let lane = lane as u32;
            if *next_index as usize != trace.transactions.len() {
                let expected = trace.transactions.len() as u32;
                let sequence = self.next_sequence;
                return Err(What::Index { sequence, lane, expected, came: *next_index });
            }
            if let Some(position) = text.first_difference(&trace.end) {
                return Err(What::Text { lane, position });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::editing::{Recipe, encode_delta, generate};

    /// Sequences with their deltas.
    type Stream = Vec<(u64, Vec<u8>)>;

    /// A document of two lanes, interleaved.
    fn document(trace: &Trace) -> Stream {
        let mut deltas = Vec::new();
        for (index, patches) in trace.transactions.iter().enumerate() {
            for lane in 0..2 {
                let mut delta = Vec::new();
                encode_delta(lane, index as u32, patches, &mut delta).expect("fits a delta");
                deltas.push((deltas.len() as u64 + 1, delta));
            }
        }
        deltas
    }

    fn trace() -> Trace {
        generate(&Recipe { seed: 3, transactions: 300, chars_max: 2_000 })
    }

    /// The hash of a reading that verifies, or the first fault.
    fn read(trace: &Trace, deltas: &[(u64, Vec<u8>)]) -> Result<u64, What> {
        let mut reader = Reader::new(trace, 2);
        for (sequence, delta) in deltas {
            reader.take(*sequence, delta)?;
        }
        reader.verify(trace)?;
        Ok(reader.hash())
    }

    #[test]
    fn a_whole_document_verifies_with_one_hash() {
        let trace = trace();
        let deltas = document(&trace);
        assert_eq!(deltas.len(), 600);
        let hash = read(&trace, &deltas).expect("verified");
        assert_eq!(read(&trace, &deltas), Ok(hash));
        // The same lanes interleaved otherwise verify, too, and are told apart by the hash.
        let mut other = deltas;
        let (first, second) = (other[0].1.clone(), other[1].1.clone());
        (other[0].1, other[1].1) = (second, first);
        let hash_of_other = read(&trace, &other).expect("verified");
        assert_ne!(hash, hash_of_other);
    }

    #[test]
    fn each_planted_fault_is_named() {
        let trace = trace();
        let good = document(&trace);
        let planted = |plant: &dyn Fn(&mut Stream)| {
            let mut deltas = good.clone();
            plant(&mut deltas);
            read(&trace, &deltas).expect_err("a planted fault")
        };
        let missing = planted(&|deltas| drop(deltas.remove(10)));
        assert_eq!(missing, What::Missing { expected: 11, came: 12 });
        let doubled = planted(&|deltas| deltas.insert(10, deltas[9].clone()));
        assert_eq!(doubled, What::Doubled { expected: 11, came: 10 });
        let swapped = planted(&|deltas| deltas.swap(10, 11));
        assert_eq!(swapped, What::Missing { expected: 11, came: 12 });
        let cut = planted(&|deltas| deltas.truncate(599));
        let expected = What::Index { sequence: 600, lane: 1, expected: 300, came: 299 };
        assert_eq!(cut, expected);
        let lane = planted(&|deltas| deltas[10].1[0] = 2);
        assert_eq!(lane, What::Lane { sequence: 11, lane: 2 });
        let index = planted(&|deltas| deltas[10].1[1] ^= 1);
        let expected = What::Index { sequence: 11, lane: 0, expected: 5, came: 4 };
        assert_eq!(index, expected);
        let delta = planted(&|deltas| deltas[10].1.push(0));
        assert!(matches!(delta, What::Delta { sequence: 11, .. }));
        // Sequences may be renumbered and lanes whole: a transaction that is another one is seen.
        let text = planted(&|deltas| {
            let last = deltas.last_mut().expect("not empty");
            last.1.clear();
            let patch = crate::editing::Patch { position: 0, deleted: 0, inserted: "x".into() };
            encode_delta(1, 299, &[patch], &mut last.1).expect("fits a delta");
        });
        assert!(matches!(text, What::Text { lane: 1, .. }), "{text:?}");
    }
}
