//! The number of what a subscriber reads: one for each image, summed, so that documents may
//! interleave as they like.
//!
//! Its document, its first sequence and the checksum of everything that its writer has said are in it. That
//! the bytes are those of the checksum is asked by whoever reads them: one or two flipped bits never pass,
//! other bytes with odds of 2^-32. Any other sum passes with odds below 2^-40: the number is nearly linear in
//! the checksum, so they are not those of its length. It is no defence against an adversary.

use deltaworks_image::DocumentId;

/// Both halves of the product, folded into one word.
#[inline]
pub fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

const SEED: u64 = 0xa076_1d64_78bd_642f;
const STEP: u64 = 0xe703_7ed1_a0b4_28db;

/// The number of one image, whose bytes from the count on have the checksum `payload_crc`. Costs ten
/// instructions, one of them a multiplication.
#[inline(always)]
pub fn image(document: DocumentId, first_sequence: u64, payload_crc: u32) -> u64 {
    let bytes = u64::from(payload_crc) << 32;
    fold(SEED ^ document.to_bits(), STEP ^ first_sequence ^ bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: DocumentId = DocumentId { slot: 5, generation: 1 };

    #[test]
    fn every_bit_is_in_it_and_two_do_not_make_up_for_each_other() {
        let mut seen = std::collections::BTreeSet::new();
        let of = |bits: u128, first: u64| {
            let document = DocumentId::from_bits(bits as u64 ^ DOCUMENT.to_bits());
            image(document, first ^ (bits >> 96) as u64, (bits >> 64) as u32)
        };
        assert!(seen.insert(of(0, 7)));
        for one in 0..128 {
            assert!(seen.insert(of(1 << one, 7)), "{one}");
            for other in 0..one {
                assert!(seen.insert(of(1 << one | 1 << other, 7)), "{one} {other}");
            }
        }
    }

    /// The same images in another order, or at other documents.
    #[test]
    fn images_do_not_make_up_for_each_other() {
        let next = DocumentId { slot: 6, ..DOCUMENT };
        let later = DocumentId { generation: 2, ..DOCUMENT };
        for (one, other) in [(1, 2), (0, 1 << 31), (0x1234_5678, 0x8765_4321)] {
            for far in [1, 2, 1 << 20] {
                let sum = |a, b| image(DOCUMENT, 1, a).wrapping_add(image(DOCUMENT, 1 + far, b));
                assert_ne!(sum(one, other), sum(other, one));
                for elsewhere in [next, later] {
                    let sum = |a, b| image(DOCUMENT, 1, a).wrapping_add(image(elsewhere, far, b));
                    assert_ne!(sum(one, other), sum(other, one));
                }
            }
        }
    }
}
