//! A strict reader of OpenMetrics text: what a scraper may stumble over is a fault here.
//!
//! Source: the OpenMetrics specification 1.0, "Text format" and "Suffixes".

use std::collections::BTreeMap;

/// Values by series: name and labels as they stand in the text.
pub(crate) type Series = BTreeMap<String, f64>;

/// The series of `text`.
///
/// # Errors
/// The first line that the specification does not allow.
pub(crate) fn read(text: &str) -> Result<Series, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("it does not end with # EOF")?;
    let mut series = Series::new();
    let mut family: Option<(String, String)> = None;
    let mut families = Vec::new();
    for line in body.lines() {
        let fault = |what: &str| Err(format!("{what}: {line:?}"));
        if let Some(told) = line.strip_prefix("# ") {
            let mut words = told.splitn(3, ' ');
            let (Some(word), Some(name), Some(rest)) = (words.next(), words.next(), words.next())
            else {
                return fault("a descriptor of fewer than three words");
            };
            match word {
                "HELP" if families.contains(&name.to_owned()) => return fault("a family twice"),
                "HELP" => {
                    families.push(name.to_owned());
                    family = Some((name.to_owned(), String::new()));
                }
                "TYPE" | "UNIT" => {
                    let Some((known, kind)) = &mut family else { return fault("no HELP before") };
                    if known != name {
                        return fault("another family's descriptor");
                    }
                    if word == "TYPE" {
                        *kind = rest.to_owned();
                    } else if !name.ends_with(&format!("_{rest}")) {
                        return fault("a unit that the name does not end with");
                    }
                }
                _ => return fault("an unknown descriptor"),
            }
            continue;
        }
        let Some((name_and_labels, value)) = line.rsplit_once(' ') else {
            return fault("no value");
        };
        let Ok(value) = value.parse::<f64>() else { return fault("a value that is no number") };
        let (name, labels) = name_and_labels.split_once('{').unwrap_or((name_and_labels, "}"));
        let Some(labels) = labels.strip_suffix('}') else { return fault("labels without an end") };
        let are_labels = labels.is_empty()
            || labels.split(',').all(|label| {
                label.split_once('=').is_some_and(|(name, value)| {
                    !name.is_empty() && value.starts_with('"') && value.ends_with('"')
                })
            });
        if !are_labels {
            return fault("labels that are none");
        }
        let Some((of, kind)) = &family else { return fault("a series without a family") };
        let suffixes: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => return fault("a kind that is not used here"),
        };
        if !suffixes.iter().any(|suffix| format!("{of}{suffix}") == name) {
            return fault("a series of another family");
        }
        if kind == "counter" && (value < 0.0 || value.is_nan()) {
            return fault("a counter below nothing");
        }
        if series.insert(name_and_labels.to_owned(), value).is_some() {
            return fault("a series twice");
        }
    }
    buckets_rise(&series)?;
    Ok(series)
}

/// Buckets are cumulative, and the last holds everything.
fn buckets_rise(series: &Series) -> Result<(), String> {
    let mut of_count: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for (name, value) in series.iter().filter(|(name, _)| name.contains("_bucket{")) {
        let (family, labels) = name.split_once("_bucket{").ok_or("checked above")?;
        let (ends, others): (Vec<&str>, Vec<&str>) =
            labels.trim_end_matches('}').split(',').partition(|label| label.starts_with("le="));
        let [end] = ends[..] else { return Err(format!("no end, or several: {name}")) };
        let end = end.trim_start_matches("le=").trim_matches('"');
        let end = if end == "+Inf" { f64::INFINITY } else { end.parse().map_err(|_| end)? };
        let count = match &others[..] {
            [] => format!("{family}_count"),
            others => format!("{family}_count{{{}}}", others.join(",")),
        };
        of_count.entry(count).or_default().push((end, *value));
    }
    for (count, mut buckets) in of_count {
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        if !buckets.is_sorted_by(|one, other| one.1 <= other.1) {
            return Err(format!("buckets that fall: {count}"));
        }
        let count = series.get(&count);
        if buckets.last().map(|last| last.1) != count.copied() {
            return Err(format!("a last bucket that is not the count: {buckets:?}"));
        }
    }
    Ok(())
}

#[test]
fn the_reader_sees_faults() {
    let sound = "# HELP a_bytes What.\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\n\
                 a_bytes_total{core=\"0\"} 1\na_bytes_total{core=\"1\"} 2\n\
                 # HELP l Time.\n# TYPE l histogram\nl_sum{s=\"x\"} 1.5\nl_count{s=\"x\"} 3\n\
                 l_bucket{s=\"x\",le=\"0.1\"} 1\nl_bucket{s=\"x\",le=\"+Inf\"} 3\n# EOF\n";
    assert_eq!(read(sound).expect("it is sound").len(), 6);
    for (from, to) in [
        ("# EOF\n", ""),
        ("# HELP a_bytes What.\n", ""),
        ("# TYPE a_bytes counter", "# TYPE a_bytes gauge"),
        ("# UNIT a_bytes bytes", "# UNIT a_bytes seconds"),
        ("a_bytes_total{core=\"0\"} 1", "a_bytes{core=\"0\"} 1"),
        ("a_bytes_total{core=\"0\"} 1", "a_bytes_total{core=\"1\"} 1"),
        ("a_bytes_total{core=\"0\"} 1", "a_bytes_total{core=0} 1"),
        ("a_bytes_total{core=\"0\"} 1", "a_bytes_total{core=\"0\"} -1"),
        ("a_bytes_total{core=\"0\"} 1", "a_bytes_total{core=\"0\"}"),
        ("le=\"0.1\"} 1", "le=\"0.1\"} 9"),
        ("l_count{s=\"x\"} 3", "l_count{s=\"x\"} 4"),
        ("# HELP l Time.", "# HELP a_bytes Time."),
    ] {
        let planted = sound.replacen(from, to, 1);
        assert!(read(&planted).is_err(), "not seen: {from:?} for {to:?}");
    }
}
