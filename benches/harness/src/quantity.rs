//! Figures as people read them: three digits, and a prefix that the unit has.

/// `value` of `unit` with three digits.
pub fn quantity(value: f64, unit: &str) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let (value, unit) = match unit {
        "ns" | "us" | "ms" | "s" => time(value, unit),
        "bytes" | "byte" | "B" => binary(value, ""),
        "bytes/s" | "B/s" => binary(value, "/s"),
        "1/s" => decimal(value, "/s"),
        "share" | "core" | "of one core" => (value * 100.0, "%".to_owned()),
        unit => decimal(value, unit),
    };
    let gap = if unit.is_empty() { "" } else { " " };
    format!("{}{gap}{unit}", digits(value))
}

/// The same of a round value, without zeros at its end.
pub fn rounded(value: f64, unit: &str) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let text = quantity(value, unit);
    let (number, unit) = text.split_once(' ').unwrap_or((&text, ""));
    let number = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    };
    format!("{number} {unit}").trim_end().to_owned()
}

/// Three digits that count.
pub fn digits(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if !value.is_finite() => "–".to_owned(),
        0.0 => "0".to_owned(),
        _ if size >= 99.95 => format!("{value:.0}"),
        _ if size >= 9.995 => format!("{value:.1}"),
        _ if size >= 0.9995 => format!("{value:.2}"),
        _ if size >= 0.000_95 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}

fn time(value: f64, unit: &str) -> (f64, String) {
    let ns = value
        * match unit {
            "us" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            _ => 1.0,
        };
    let (by, unit) = match ns.abs() {
        it if it < 1e3 => (1.0, "ns"),
        it if it < 1e6 => (1e3, "µs"),
        it if it < 1e9 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    (ns / by, unit.to_owned())
}

fn decimal(value: f64, unit: &str) -> (f64, String) {
    let (by, prefix) = match value.abs() {
        it if it < 1e4 => (1.0, ""),
        it if it < 1e6 => (1e3, "k"),
        it if it < 1e9 => (1e6, "M"),
        _ => (1e9, "G"),
    };
    (value / by, format!("{prefix}{unit}"))
}

fn binary(value: f64, per: &str) -> (f64, String) {
    let (power, prefix) = match value.abs() {
        it if it < 1024.0 => (0, "B"),
        it if it < 1_048_576.0 => (1, "KiB"),
        it if it < 1_073_741_824.0 => (2, "MiB"),
        _ => (3, "GiB"),
    };
    (value / 1024_f64.powi(power), format!("{prefix}{per}"))
}

/// A count without zeros that nobody can count.
pub fn count(value: f64) -> String {
    match value {
        it if it >= 1e6 && it % 1e5 == 0.0 => format!("{} M", it / 1e6),
        it if it >= 1e4 && it % 100.0 == 0.0 => format!("{} k", it / 1e3),
        it if it == it.trunc() && it.abs() < 1e6 => {
            let text = format!("{it:.0}");
            match text.len() {
                4 => format!("{},{}", &text[..1], &text[1..]),
                _ => text,
            }
        }
        it => digits(it),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_prefix() {
        assert_eq!(quantity(16_234_567.0, "1/s"), "16.2 M/s");
        assert_eq!(quantity(999.6, "1/s"), "1000 /s");
        assert_eq!(quantity(12_345.0, "ns"), "12.3 µs");
        assert_eq!(quantity(0.5, "us"), "500 ns");
        assert_eq!(quantity(2_097_152.0, "bytes"), "2.00 MiB");
        assert_eq!(quantity(3e9, "bytes/s"), "2.79 GiB/s");
        assert_eq!(quantity(0.0042, "share"), "0.420 %");
        assert_eq!(quantity(f64::NAN, "1/s"), "–");
        let round = [(5e7, "1/s"), (0.0, "ns"), (150.0, "ns"), (2.5, "ms"), (3.0, "")];
        let round = round.map(|(value, unit)| rounded(value, unit));
        assert_eq!(round, ["50 M/s", "0", "150 ns", "2.5 ms", "3"]);
        assert_eq!((digits(0.0), digits(1e-6)), ("0".to_owned(), "1.0e-6".to_owned()));
        assert_eq!([1.0, 1000.0, 1e4, 1e6].map(count), ["1", "1,000", "10 k", "1 M"]);
    }
}
