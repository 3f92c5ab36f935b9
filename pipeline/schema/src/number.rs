//! Numbers: what an integer type accepts, from integers, floats and big numbers alike.

/// Whether the number is inside `min..=max`, when it is `magnitude` or `-1 - magnitude`.
#[inline]
pub(crate) fn integer_within(negative: bool, magnitude: u64, min: i64, max: i64) -> bool {
    match i64::try_from(magnitude) {
        Ok(magnitude) => {
            let value = if negative { -1 - magnitude } else { magnitude };
            min <= value && value <= max
        }
        Err(_) => false,
    }
}

/// Whether a float has no fraction and is inside `min..=max`, which must be exact as floats.
#[inline]
pub(crate) fn float_within(value: f64, min: i64, max: i64) -> bool {
    value >= min as f64 && value <= max as f64 && value.trunc() == value
}

/// The float whose bits came in a head's argument with `info` 25 (half), 26 (single) or 27.
#[inline]
pub(crate) fn float(info: u8, bits: u64) -> f64 {
    match info {
        25 => half(bits as u16),
        26 => f64::from(f32::from_bits(bits as u32)),
        _ => f64::from_bits(bits),
    }
}

/// Widens a half-precision float (RFC 8949, appendix D says how they are built).
fn half(bits: u16) -> f64 {
    let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let magnitude = match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + mantissa) * 2f64.powi(exponent - 25),
    };
    if bits >> 15 == 0 { magnitude } else { -magnitude }
}

/// What a big number's bytes say when it fits a head's argument.
pub(crate) fn small_bignum(bytes: &[u8]) -> Option<u64> {
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    let rest = &bytes[zeros..];
    if rest.len() > 8 {
        return None;
    }
    Some(rest.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_widened_exactly() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0x3e00, 1.5),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_477_539_063e-8),
            (0x0400, 6.103_515_625e-5),
            (0xc400, -4.0),
        ] {
            assert_eq!(half(bits), value, "{bits:04x}");
        }
        assert!(half(0x8000).is_sign_negative());
        assert!(half(0x7e00).is_nan());
        assert_eq!(half(0xfc00), f64::NEG_INFINITY);
    }

    #[test]
    fn integral_floats_are_integers_and_others_are_not() {
        assert!(float_within(255.0, 0, 255));
        assert!(float_within(-0.0, 0, 255));
        assert!(!float_within(255.5, 0, 300));
        assert!(!float_within(256.0, 0, 255));
        assert!(!float_within(f64::NAN, 0, 255));
    }

    #[test]
    fn integers_at_the_edges() {
        assert!(integer_within(true, 127, -128, 127));
        assert!(!integer_within(true, 128, -128, 127));
        assert!(!integer_within(false, u64::MAX, 0, i64::from(u32::MAX)));
        assert!(!integer_within(true, u64::MAX, 0, i64::from(u32::MAX)));
        assert_eq!(small_bignum(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 2]), Some(258));
        assert_eq!(small_bignum(&[1, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
