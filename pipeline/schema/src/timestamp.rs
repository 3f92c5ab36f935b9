//! Timestamps: the texts of RFC 3339, section 5.6.

/// Whether `text` is a `date-time`. A leap second is one only where the time in UTC is 23:59.
/// Months have their days, February those of its year; `T` and `Z` may be small (as the RFC's
/// grammar reads). Cost: one pass, no allocation.
pub(crate) fn is_timestamp(text: &[u8]) -> bool {
    // 2026-11-21T10:00:00Z is the shortest.
    let Some((fixed, mut rest)) = text.split_first_chunk::<19>() else { return false };
    let punctuation = [fixed[4], fixed[7], fixed[10] | 0x20, fixed[13], fixed[16]];
    if punctuation != *b"--t::" {
        return false;
    }
    let mut fields = [0i32; 6];
    for (field, (from, to)) in
        fields.iter_mut().zip([(0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19)])
    {
        let Some(number) = digits(&fixed[from..to]) else { return false };
        *field = number;
    }
    let [year, month, day, hour, minute, second] = fields;
    if let Some((b'.', fraction)) = rest.split_first() {
        let count = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return false;
        }
        rest = &fraction[count..];
    }
    let Some(offset_minutes) = offset_minutes(rest) else { return false };
    let leap = second == 60 && (hour * 60 + minute - offset_minutes).rem_euclid(1440) == 1439;
    (1..=12).contains(&month)
        && (1..=days(year, month)).contains(&day)
        && hour <= 23
        && minute <= 59
        && (second <= 59 || leap)
}

fn offset_minutes(text: &[u8]) -> Option<i32> {
    match text {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            let offset = hours * 60 + minutes;
            (hours <= 23 && minutes <= 59).then_some(if *sign == b'-' { -offset } else { offset })
        }
        _ => None,
    }
}

fn digits(text: &[u8]) -> Option<i32> {
    text.iter()
        .try_fold(0, |sum, &byte| byte.is_ascii_digit().then(|| sum * 10 + i32::from(byte - b'0')))
}

fn days(year: i32, month: i32) -> i32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::is_timestamp;

    #[test]
    fn the_grammar_and_the_calendar_decide() {
        for good in [
            "1985-04-12T23:20:50.52Z",
            "1996-12-19T16:39:57-08:00",
            "1990-12-31T23:59:60Z",
            "1990-12-31T15:59:60-08:00",
            "1937-01-01T12:00:27.87+00:20",
            "2000-02-29t00:00:00z",
            "0000-01-01T00:00:00.000000000000Z",
        ] {
            assert!(is_timestamp(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "foo",
            "1985-04-12",
            "1985-04-12T23:20:50",
            "1985-04-12 23:20:50Z",
            "1985-04-12T23:20:50.Z",
            "1985-04-12T23:20:50ZZ",
            "1985-13-12T23:20:50Z",
            "1985-00-12T23:20:50Z",
            "1985-04-31T23:20:50Z",
            "1985-04-00T23:20:50Z",
            "1900-02-29T00:00:00Z",
            "1985-04-12T24:20:50Z",
            "1985-04-12T23:60:50Z",
            "1985-04-12T23:20:61Z",
            "1985-04-12T23:20:60Z",
            "1985-04-12T23:20:50+24:00",
            "1985-04-12T23:20:50+0100",
            "+985-04-12T23:20:50Z",
            "1985-04-12T23:20:5\u{665}Z",
        ] {
            assert!(!is_timestamp(bad.as_bytes()), "{bad}");
        }
    }
}
