//! Quantities for a person: at most seven characters, three digits that matter, and a unit.

/// A number of things: `9,999`, `12.3 k`, `4.56 M`.
pub fn count(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        1_000..10_000 => format!("{},{:03}", number / 1_000, number % 1_000),
        _ => scaled(number as f64, 1_000.0, &["", " k", " M", " G", " T", " P", " E"]),
    }
}

/// A number of things with their name: `1 document`, `12.3 k batches`. The name is the singular.
pub fn things(number: u64, name: &str) -> String {
    let number_text = count(number);
    match (number, name.strip_suffix('y')) {
        (1, _) => format!("{number_text} {name}"),
        (_, Some(stem)) => format!("{number_text} {stem}ies"),
        (_, None) if name.ends_with("ch") => format!("{number_text} {name}es"),
        (_, None) => format!("{number_text} {name}s"),
    }
}

/// Things a second; a fraction below ten.
pub fn rate(per_second: f64) -> String {
    match per_second {
        rate if !rate.is_finite() || rate <= 0.0 => "0".to_owned(),
        rate if rate < 9.95 => format!("{rate:.1}"),
        rate => count(rate.round() as u64),
    }
}

/// Bytes in powers of 1,024: `512 B`, `1.50 KiB`.
pub fn bytes(number: u64) -> String {
    match number {
        0..1_024 => format!("{number} B"),
        _ => {
            scaled(number as f64, 1_024.0, &[" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"])
        }
    }
}

/// A length of time, from milliseconds to days.
pub fn seconds(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0 => format!("{:.0} ms", seconds.max(0.0) * 1e3),
        1..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3_600 => format!("{}m {:02}s", whole / 60, whole % 60),
        3_600..86_400 => format!("{}h {:02}m", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{}d {:02}h", whole / 86_400, whole % 86_400 / 3_600),
    }
}

/// A latency in microseconds: `0.50 µs`, `12.3 µs`, `1.23 ms`.
pub fn micros(micros: f64) -> String {
    scaled(micros.max(0.0), 1_000.0, &[" µs", " ms", " s", " ks"])
}

/// Three digits of `number` with the unit in whose power of `base` it is.
fn scaled(mut number: f64, base: f64, units: &[&str]) -> String {
    let mut unit = 0;
    // What would be rounded up to the next unit's size is told in the next unit.
    while number >= base - 0.5 && unit + 1 < units.len() {
        number /= base;
        unit += 1;
    }
    let digits = match number {
        number if number < 9.995 => 2,
        number if number < 99.95 => 1,
        _ => 0,
    };
    format!("{number:.digits$}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_matter_and_units_change_where_they_round_up() {
        let counts = [0, 999, 1_000, 9_999, 10_000, 12_345, 999_499, 999_500, 4_560_000, u64::MAX];
        let told = ["0", "999", "1,000", "9,999", "10.0 k", "12.3 k", "999 k", "1.00 M", "4.56 M"];
        for (number, told) in counts.iter().zip(told.iter().chain(&["18.4 E"])) {
            assert_eq!(count(*number), *told);
        }
        let told = [bytes(1_023), bytes(1_024), bytes(1_536), bytes((1 << 20) - 1), bytes(1 << 40)];
        assert_eq!(told, ["1023 B", "1.00 KiB", "1.50 KiB", "1.00 MiB", "1.00 TiB"]);
        let told = [micros(0.5), micros(12.34), micros(999.6), micros(1_234.0), micros(2e6)];
        assert_eq!(told, ["0.50 µs", "12.3 µs", "1.00 ms", "1.23 ms", "2.00 s"]);
        let told = [seconds(0.25), seconds(3.21), seconds(59.9), seconds(61.0), seconds(7_260.0)];
        assert_eq!(told, ["250 ms", "3.2 s", "59 s", "1m 01s", "2h 01m"]);
        assert_eq!(seconds(90_000.0), "1d 01h");
        let told = [rate(0.0), rate(0.25), rate(9.96), rate(1e6), rate(f64::NAN), rate(-1.0)];
        assert_eq!(told, ["0", "0.2", "10", "1.00 M", "0", "0"]);
        let told =
            [(0, "delta"), (1, "delivery"), (2, "delivery"), (1, "batch"), (12_345, "batch")];
        let told: Vec<String> = told.iter().map(|(number, name)| things(*number, name)).collect();
        assert_eq!(told, ["0 deltas", "1 delivery", "2 deliveries", "1 batch", "12.3 k batches"]);
        for number in (0..64).map(|bits| 1_u64 << bits) {
            assert!(count(number).chars().count() <= 7, "{}", count(number));
            assert!(bytes(number).chars().count() <= 8, "{}", bytes(number));
        }
    }
}
