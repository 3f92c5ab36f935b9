//! CRC32C (Castagnoli), in hardware where there is any.
//!
//! Short inputs, such as a header or a small batch, go through one chain of the CPU's CRC32
//! instruction, longer ones through three that are joined by carry-less multiplications; CPUs without
//! these go to the `crc32c` crate. Nothing is allocated and nothing can fail.

#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls functions that need CPU features which were detected")
)]

use crate::header::{COUNT, HEADER_BYTES, HEADER_CRC, PAYLOAD_CRC};

/// From so many bytes on, three chains beat one.
#[cfg(target_arch = "x86_64")]
const SPLIT_BYTES_MIN: usize = 48 * 8;

/// The CRC32C of `bytes`, as RFC 3720 section 12.1 defines it.
///
/// Costs about 1 ns per 8 bytes up to some hundred bytes, a third of that for longer inputs.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("sse4.2") {
        if bytes.len() < SPLIT_BYTES_MIN {
            // SAFETY: the only requirement is SSE4.2, which was detected on this CPU.
            return unsafe { chains::one(u64::from(u32::MAX), bytes) };
        }
        if is_x86_feature_detected!("pclmulqdq") {
            // SAFETY: the only requirements are SSE4.2 and PCLMULQDQ, which were detected on this CPU.
            return unsafe { chains::three(u64::from(u32::MAX), bytes) };
        }
    }
    crc32c::crc32c(bytes)
}

/// The same of the bytes of `count` and `behind`.
pub(crate) fn of_counted(count: u32, behind: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&count.to_le_bytes()), behind)
}

/// The same of a header, whose length is known: no step asks how much is left.
#[inline]
pub(crate) fn of_header(bytes: &[u8; HEADER_CRC]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("sse4.2") {
        // SAFETY: the only requirement is SSE4.2, which was detected on this CPU.
        return unsafe { chains::of_header(bytes) };
    }
    crc32c::crc32c(bytes)
}

/// Whether both checksums of an image that begins with `header` are those of its bytes: what a reader
/// asks of each image, in one pass. A word of 8 bytes costs one instruction, the rest about 25.
#[inline]
pub fn are_right(header: &[u8; HEADER_BYTES], body: &[u8]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("sse4.2") {
        if body.len() < SPLIT_BYTES_MIN {
            // SAFETY: the only requirement is SSE4.2, which was detected on this CPU.
            return unsafe { chains::are_right(header, body) };
        }
        if is_x86_feature_detected!("pclmulqdq") {
            // SAFETY: the only requirements are SSE4.2 and PCLMULQDQ, which were detected on this CPU.
            return unsafe { chains::are_right_in_threes(header, body) };
        }
    }
    are_right_without_hardware(header, body)
}

#[cold]
#[inline(never)]
fn are_right_without_hardware(header: &[u8; HEADER_BYTES], body: &[u8]) -> bool {
    let payload = crc32c::crc32c_append(crc32c::crc32c(&header[COUNT..]), body);
    crc32c::crc32c(&header[..HEADER_CRC]).to_le_bytes() == header[HEADER_CRC..PAYLOAD_CRC]
        && payload.to_le_bytes() == header[PAYLOAD_CRC..COUNT]
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod chains {
    //! Chains of the CRC32 instruction.
    //!
    //! The instruction takes three cycles and can begin one in each, so that three chains run side by
    //! side. Each begins at nothing; what the first two came to is moved behind what follows them, which
    //! is a multiplication by a power of x, and everything is added up. This is how Gopal et al. (Intel,
    //! 2011) join them.

    use crate::header::{COUNT, HEADER_BYTES, PAYLOAD_CRC, PRODUCER_SEQUENCE};
    use core::arch::x86_64::{
        _mm_clmulepi64_si128, _mm_crc32_u8, _mm_crc32_u32, _mm_crc32_u64, _mm_cvtsi64_si128,
        _mm_cvtsi128_si64, _mm_xor_si128,
    };

    /// Words of a chain at most.
    const CHAIN_WORDS_MAX: usize = 256;

    /// By words: what a checksum is multiplied with to move behind so many, but for the 33 powers of x
    /// that the multiplication of mirrored numbers and the last instruction bring.
    static MOVES: [u32; 2 * CHAIN_WORDS_MAX + 1] = moves();

    const fn moves() -> [u32; 2 * CHAIN_WORDS_MAX + 1] {
        let mut moves = [0; 2 * CHAIN_WORDS_MAX + 1];
        // x to the power of 64 - 33 = 31: mirrored, the lowest bit.
        let mut power: u32 = 1;
        let mut words = 1;
        while words < moves.len() {
            moves[words] = power;
            let mut bit = 0;
            while bit < 64 {
                power = (power >> 1) ^ (0x82f6_3b78 & (power & 1).wrapping_neg());
                bit += 1;
            }
            words += 1;
        }
        moves
    }

    /// Goes on from `crc` with `bytes` in one chain. Steps are written out, because loops over a few of them
    /// cost more than they do.
    #[target_feature(enable = "sse4.2")]
    #[inline]
    pub(super) fn one(crc: u64, bytes: &[u8]) -> u32 {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut crc = of_words(crc, words) as u32;
        let (half, rest) = rest.as_chunks::<4>();
        if let [half] = half {
            crc = _mm_crc32_u32(crc, u32::from_le_bytes(*half));
        }
        for &byte in rest {
            crc = _mm_crc32_u8(crc, byte);
        }
        !crc
    }

    /// The checksum of a count and of whole words behind it, of which most images have few.
    #[target_feature(enable = "sse4.2")]
    #[inline]
    pub(crate) fn of_counted(count: u32, behind: &[u8]) -> u32 {
        let crc = u64::from(_mm_crc32_u32(u32::MAX, count));
        let (words, rest) = behind.as_chunks::<8>();
        debug_assert!(rest.is_empty(), "whole words");
        if words.len() < super::SPLIT_BYTES_MIN / 8 {
            return !(of_words(crc, words) as u32);
        }
        of_many(crc, behind)
    }

    /// Goes on from `crc` with many bytes.
    #[target_feature(enable = "sse4.2")]
    fn of_many(crc: u64, bytes: &[u8]) -> u32 {
        if is_x86_feature_detected!("pclmulqdq") {
            // SAFETY: the only requirements are SSE4.2 and PCLMULQDQ, which were detected on this CPU.
            return unsafe { three(crc, bytes) };
        }
        one(crc, bytes)
    }

    #[target_feature(enable = "sse4.2")]
    #[inline]
    fn of_words(mut crc: u64, mut words: &[[u8; 8]]) -> u64 {
        while let Some((eight, behind)) = words.split_first_chunk::<8>() {
            crc = of(crc, eight);
            words = behind;
        }
        if let Some((four, behind)) = words.split_first_chunk::<4>() {
            crc = of(crc, four);
            words = behind;
        }
        if let Some((two, behind)) = words.split_first_chunk::<2>() {
            crc = of(crc, two);
            words = behind;
        }
        if let Some((one, _)) = words.split_first_chunk::<1>() {
            crc = of(crc, one);
        }
        crc
    }

    #[target_feature(enable = "sse4.2")]
    #[inline]
    pub(crate) fn of_header(bytes: &[u8; super::HEADER_CRC]) -> u32 {
        one(u64::from(u32::MAX), bytes)
    }

    /// What a chain comes to behind bytes and their checksum, whatever they are.
    const BEHIND_CHECKSUM: u32 = {
        let (mut state, mut bit) = (u32::MAX, 0);
        while bit < 32 {
            state = (state >> 1) ^ (0x82f6_3b78 & (state & 1).wrapping_neg());
            bit += 1;
        }
        state
    };

    /// Whether both checksums of an image are right.
    #[target_feature(enable = "sse4.2")]
    pub(super) fn are_right(header: &[u8; HEADER_BYTES], body: &[u8]) -> bool {
        let (words, rest) = body.as_chunks::<8>();
        if !rest.is_empty() {
            return is_header_right(header)
                && one(behind_checksums(header), body) == payload_crc(header);
        }
        if !is_header_right(header) {
            return false;
        }
        let crc = behind_checksums(header);
        let crc = match words.first_chunk() {
            // A delta of some 40 bytes, as many are: no step asks how much is left.
            Some(six) if words.len() == 6 => of::<6>(crc, six),
            _ => of_words(crc, words),
        };
        !(crc as u32) == payload_crc(header)
    }

    /// The same of an image whose body is long.
    #[target_feature(enable = "sse4.2,pclmulqdq")]
    pub(super) fn are_right_in_threes(header: &[u8; HEADER_BYTES], body: &[u8]) -> bool {
        is_header_right(header) && three(behind_checksums(header), body) == payload_crc(header)
    }

    #[target_feature(enable = "sse4.2")]
    #[inline]
    fn is_header_right(header: &[u8; HEADER_BYTES]) -> bool {
        let Some(words) = header.as_chunks::<8>().0.first_chunk::<{ PAYLOAD_CRC / 8 }>() else {
            return false;
        };
        of(u64::from(u32::MAX), words) as u32 == BEHIND_CHECKSUM
    }

    /// The chain behind what of the header belongs to the payload's checksum.
    #[target_feature(enable = "sse4.2")]
    #[inline]
    fn behind_checksums(header: &[u8; HEADER_BYTES]) -> u64 {
        let crc = _mm_crc32_u32(u32::MAX, crate::header::read_u32(header, COUNT));
        let number = crate::header::read_u64(header, PRODUCER_SEQUENCE);
        _mm_crc32_u64(u64::from(crc), number)
    }

    #[inline]
    fn payload_crc(header: &[u8; HEADER_BYTES]) -> u32 {
        crate::header::read_u32(header, PAYLOAD_CRC)
    }

    #[target_feature(enable = "sse4.2")]
    #[inline]
    fn of<const WORDS: usize>(mut crc: u64, words: &[[u8; 8]; WORDS]) -> u64 {
        for word in words {
            crc = _mm_crc32_u64(crc, u64::from_le_bytes(*word));
        }
        crc
    }

    /// Goes on from `crc` with a long input.
    #[target_feature(enable = "sse4.2,pclmulqdq")]
    pub(super) fn three(mut crc: u64, bytes: &[u8]) -> u32 {
        let mut rest = bytes;
        while rest.len() >= super::SPLIT_BYTES_MIN {
            let (words, _) = rest.as_chunks::<8>();
            let length = (words.len() / 3).min(CHAIN_WORDS_MAX);
            let (first, behind) = words.split_at(length);
            let (second, behind) = behind.split_at(length);
            crc = joined(crc, first, second, &behind[..length]);
            rest = &rest[3 * 8 * length..];
        }
        one(crc, rest)
    }

    /// The checksum of three runs of one length, one behind another.
    #[target_feature(enable = "sse4.2,pclmulqdq")]
    #[inline]
    fn joined(first: u64, one: &[[u8; 8]], two: &[[u8; 8]], last: &[[u8; 8]]) -> u64 {
        let (mut a, mut b, mut c) = (first, 0, 0);
        for ((one, two), three) in one.iter().zip(two).zip(last) {
            a = _mm_crc32_u64(a, u64::from_le_bytes(*one));
            b = _mm_crc32_u64(b, u64::from_le_bytes(*two));
            c = _mm_crc32_u64(c, u64::from_le_bytes(*three));
        }
        let words = last.len();
        let moved = |crc: u64, words: usize| {
            let by = _mm_cvtsi64_si128(i64::from(MOVES[words]));
            _mm_clmulepi64_si128::<0>(_mm_cvtsi64_si128(crc as i64), by)
        };
        let both = _mm_xor_si128(moved(a, 2 * words), moved(b, words));
        c ^ _mm_crc32_u64(0, _mm_cvtsi128_si64(both) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bit by bit, from the polynomial alone.
    fn reference(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| {
                (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
            })
        })
    }

    #[test]
    fn the_check_value_is_that_of_the_catalogue() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn every_length_agrees_with_the_polynomial() {
        let bytes: Vec<u8> =
            (0..1_700u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for len in (0..900).chain(1_600..bytes.len()) {
            for start in [0, 1, 3] {
                let part = &bytes[start.min(len)..len];
                assert_eq!(crc32c(part), reference(part), "{start}..{len}");
            }
        }
    }

    #[test]
    fn a_count_and_what_is_behind_it_have_the_checksum_of_both() {
        let bytes: Vec<u8> =
            (0..1_700u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 9) as u8).collect();
        for len in (4..bytes.len()).step_by(8) {
            let (count, behind) = bytes[..len].split_first_chunk().expect("four at least");
            let (count, expected) = (u32::from_le_bytes(*count), reference(&bytes[..len]));
            assert_eq!(of_counted(count, behind), expected, "{len}");
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("sse4.2") {
                // SAFETY: the only requirement is SSE4.2, which was detected on this CPU.
                assert_eq!(unsafe { chains::of_counted(count, behind) }, expected, "{len}");
            }
        }
    }

    #[test]
    fn a_header_has_the_checksum_of_its_bytes() {
        let bytes: [u8; HEADER_CRC] = core::array::from_fn(|at| (at * 37 + 11) as u8);
        assert_eq!(of_header(&bytes), reference(&bytes));
    }

    /// Every bit of an image is in one of its checksums, or is one of theirs; of long ones and short ones.
    #[test]
    fn an_image_is_right_until_a_bit_of_it_is_another() {
        for body_bytes in [0, 8, 48, 72, 13, 376, 384, 391, 1536] {
            let mut image: Vec<u8> =
                (0..HEADER_BYTES + body_bytes).map(|at| (at * 29 + 7) as u8).collect();
            let of_header = reference(&image[..HEADER_CRC]);
            image[HEADER_CRC..PAYLOAD_CRC].copy_from_slice(&of_header.to_le_bytes());
            let of_payload = reference(&image[COUNT..]);
            image[PAYLOAD_CRC..COUNT].copy_from_slice(&of_payload.to_le_bytes());
            let is_right = |image: &[u8]| {
                let (header, body) = image.split_first_chunk().expect("a whole header");
                are_right(header, body)
            };
            assert!(is_right(&image), "{body_bytes}");
            let (header, body) = image.split_first_chunk().expect("a whole header");
            assert!(are_right_without_hardware(header, body), "{body_bytes}");
            for bit in 0..image.len() * 8 {
                image[bit / 8] ^= 1 << (bit % 8);
                assert!(!is_right(&image), "{body_bytes} {bit}");
                let (header, body) = image.split_first_chunk().expect("a whole header");
                assert!(!are_right_without_hardware(header, body), "{body_bytes} {bit}");
                image[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    #[test]
    fn long_inputs_agree_with_the_polynomial() {
        let bytes: Vec<u8> =
            (0..40_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
        // About where chains are as long as they may be, and several times as long.
        for len in (6_100..6_200).chain(12_200..12_350).chain([30_000, 40_000]) {
            assert_eq!(crc32c(&bytes[..len]), reference(&bytes[..len]), "{len}");
        }
    }
}
