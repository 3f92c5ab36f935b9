//! The account: what must have happened, computed from the scripts alone.
//!
//! Plain tables and no code of the stages: checksums, too, are another library's, made of the bytes that the
//! script wants. It is drawn up after the timed region, with the number of batches that each generator
//! has written.

use deltaworks_image::DocumentId;

use crate::hash;
use crate::payload::Payloads;
use crate::script::{Script, Wish};

/// What must have happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Account {
    /// Batches that pass.
    pub accepted_batches: u64,
    /// Deltas in them.
    pub accepted_deltas: u64,
    /// Batches that fail.
    pub refused_batches: u64,
    /// Resends.
    pub duplicate_batches: u64,
    /// The sum of the numbers of accepted images.
    pub hash: u64,
}

impl Account {
    /// The account of one generator: `script` from its beginning, `batches` lines of it, where
    /// `documents` tells by which id subscribers know each document.
    pub fn of(
        mut script: Script,
        batches: u64,
        payloads: &Payloads,
        documents: &[DocumentId],
    ) -> Self {
        let mut account = Self::default();
        let mut sequences = vec![0_u64; documents.len()];
        let mut numbers = vec![0_u64; documents.len()];
        // What the payload's checksum is of: count, number, lengths less one, payloads, zeros up to whole
        // words.
        let (batch, delta_bytes) = (payloads.batch(), payloads.delta_bytes());
        let mut bytes = (batch as u32).to_le_bytes().to_vec();
        let number_at = bytes.len();
        bytes.extend([0; 8]);
        let table_at = bytes.len();
        bytes.extend(((delta_bytes - 1) as u16).to_le_bytes().repeat(batch));
        let payloads_at = bytes.len();
        let payload_bytes = batch * delta_bytes;
        bytes.resize(table_at + (2 * batch + payload_bytes).next_multiple_of(8), 0);
        for _ in 0..batches {
            let line = script.next_line();
            let document = line.document as usize;
            if line.wish == Wish::Resend && numbers[document] > 0 {
                account.duplicate_batches += 1;
                continue;
            }
            numbers[document] += 1;
            if line.wish == Wish::Failing {
                account.refused_batches += 1;
                continue;
            }
            account.accepted_batches += 1;
            account.accepted_deltas += batch as u64;
            bytes[number_at..table_at].copy_from_slice(&numbers[document].to_le_bytes());
            bytes[payloads_at..payloads_at + payload_bytes]
                .copy_from_slice(payloads.run(line.payload));
            let first = sequences[document] + 1;
            sequences[document] += batch as u64;
            let image = hash::image(documents[document], first, crc32c::crc32c(&bytes));
            account.hash = account.hash.wrapping_add(image);
        }
        account
    }

    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            accepted_batches: self.accepted_batches + other.accepted_batches,
            accepted_deltas: self.accepted_deltas + other.accepted_deltas,
            refused_batches: self.refused_batches + other.refused_batches,
            duplicate_batches: self.duplicate_batches + other.duplicate_batches,
            hash: self.hash.wrapping_add(other.hash),
        }
    }
}
