//! Keys of deltas: what a delta gives a value to.
//!
//! Reads CBOR that validation has found to be well-formed; what it does not understand has no key.
//! Nothing is copied and nothing is remembered; a delta costs one pass over its heads.

/// What the values of a collection are told apart by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConflationKey {
    /// The record id, and in an update each property.
    Record,
    /// The value that stands behind these names, from map to map.
    Path(Vec<String>),
}

/// What a delta changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    /// All that is known of `key`.
    Whole { key: &'a [u8] },
    /// One property of `key`.
    Part { key: &'a [u8], property: &'a [u8] },
    /// Nobody knows what.
    Unknown,
}

/// Bytes of a key or a property at most; what is longer has none.
const KEY_BYTES_MAX: usize = 128;
/// How deep items stand in each other at most.
const DEPTH_MAX: usize = 40;

const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const UPDATE: u8 = 1;
const BREAK: u8 = 0xff;

/// Tells what `delta` changes; at least one thing.
pub(super) fn changes<'a>(key: &ConflationKey, delta: &'a [u8], mut tell: impl FnMut(Change<'a>)) {
    let is_known = match key {
        ConflationKey::Record => row(delta, &mut tell),
        ConflationKey::Path(path) => value_at(delta, path).map(|key| tell(Change::Whole { key })),
    };
    if is_known.is_none() {
        tell(Change::Unknown);
    }
}

/// What a change of a record changes. A create, an upsert and a delete replace what is known of it.
fn row<'a>(delta: &'a [u8], tell: &mut impl FnMut(Change<'a>)) -> Option<()> {
    let (major, _, operation) = head(delta, 0)?;
    let (_, number, id) = head(delta, operation)?;
    let id_end = end_of(delta, id, 0)?;
    let key = delta.get(id..id_end).filter(|key| key.len() <= KEY_BYTES_MAX)?;
    if major != ARRAY {
        return None;
    }
    if number != Some(u64::from(UPDATE)) {
        tell(Change::Whole { key });
        return Some(());
    }
    // All of it is looked at before anything is told: half an update would be none.
    each_entry(delta, id_end, |name, _| (name.len() <= KEY_BYTES_MAX).then_some(()))?;
    let mut is_empty = true;
    each_entry(delta, id_end, |property, _| {
        is_empty = false;
        tell(Change::Part { key, property });
        Some(())
    })?;
    (!is_empty).then_some(())
}

/// The value behind `path`.
fn value_at<'a>(delta: &'a [u8], path: &[String]) -> Option<&'a [u8]> {
    let mut at = 0;
    for name in path {
        let mut found = None;
        each_entry(delta, at, |key, value| {
            if text_is(key, name) {
                found = Some(value);
            }
            Some(())
        })?;
        at = found?;
    }
    delta.get(at..end_of(delta, at, 0)?).filter(|key| key.len() <= KEY_BYTES_MAX)
}

/// Whether the item `key` is the text `name`, in one piece.
fn text_is(key: &[u8], name: &str) -> bool {
    head(key, 0).is_some_and(|(major, length, start)| {
        major == TEXT && length.is_some() && key.get(start..) == Some(name.as_bytes())
    })
}

/// Shows each entry of the map at `at`: the key's item, and where the value begins.
fn each_entry<'a>(
    bytes: &'a [u8],
    at: usize,
    mut show: impl FnMut(&'a [u8], usize) -> Option<()>,
) -> Option<()> {
    let (MAP, count, mut at) = head(bytes, at)? else { return None };
    let mut left = count.unwrap_or(u64::MAX);
    while left > 0 && (count.is_some() || bytes.get(at) != Some(&BREAK)) {
        let value = end_of(bytes, at, 0)?;
        show(&bytes[at..value], value)?;
        at = end_of(bytes, value, 0)?;
        left -= 1;
    }
    Some(())
}

/// The head of the item at `at`: its major type, its argument (none: indefinite), what follows it.
fn head(bytes: &[u8], at: usize) -> Option<(u8, Option<u64>, usize)> {
    let first = *bytes.get(at)?;
    let (major, short) = (first >> 5, first & 31);
    let width = match short {
        0..=23 => return Some((major, Some(u64::from(short)), at + 1)),
        24..=27 => 1 << (short - 24),
        31 => return Some((major, None, at + 1)),
        _ => return None,
    };
    let argument = bytes.get(at + 1..at + 1 + width)?;
    let argument = argument.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    Some((major, Some(argument), at + 1 + width))
}

/// Where the item at `at` ends.
fn end_of(bytes: &[u8], at: usize, depth: usize) -> Option<usize> {
    if depth > DEPTH_MAX {
        return None;
    }
    let (major, argument, mut at) = head(bytes, at)?;
    let items = match (major, argument) {
        (2 | 3, Some(length)) => {
            let end = at.checked_add(usize::try_from(length).ok()?)?;
            return (end <= bytes.len()).then_some(end);
        }
        (ARRAY, Some(count)) => count,
        (MAP, Some(count)) => count.checked_mul(2)?,
        (TAG, _) => 1,
        (2..=MAP, None) => {
            while *bytes.get(at)? != BREAK {
                at = end_of(bytes, at, depth + 1)?;
            }
            return Some(at + 1);
        }
        _ => return Some(at),
    };
    for _ in 0..items {
        at = end_of(bytes, at, depth + 1)?;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told<'a>(key: &ConflationKey, delta: &'a [u8]) -> Vec<Change<'a>> {
        let mut all = Vec::new();
        changes(key, delta, |change| all.push(change));
        all
    }

    #[test]
    fn changes_of_records_are_told_whole_or_by_property() {
        let record = ConflationKey::Record;
        // [0, 7, {"n": 1}], [2, "7", {}], [3, 7]
        for (delta, key) in [
            (&b"\x83\x00\x07\xa1\x61n\x01"[..], &b"\x07"[..]),
            (b"\x83\x02\x617\xa0", b"\x617"),
            (b"\x82\x03\x07", b"\x07"),
            (b"\x9f\x03\x18\x2a\xff", b"\x18\x2a"),
        ] {
            assert_eq!(told(&record, delta), [Change::Whole { key }]);
        }
        // [1, 7, {"a": [1, {"x": 2}], "b": 3}], of definite and indefinite length
        let key = &b"\x07"[..];
        let parts =
            [Change::Part { key, property: b"\x61a" }, Change::Part { key, property: b"\x61b" }];
        assert_eq!(told(&record, b"\x83\x01\x07\xa2\x61a\x82\x01\xa1\x61x\x02\x61b\x03"), parts);
        assert_eq!(
            told(&record, b"\x83\x01\x07\xbf\x61a\x9f\x01\xbf\x61x\x02\xff\xff\x61b\x03\xff"),
            parts
        );
        // An update of nothing, and no row at all.
        for delta in [&b"\x83\x01\x07\xa0"[..], b"", b"\x83", b"\x83\x01\x07\xa1\x61a"] {
            assert_eq!(told(&record, delta), [Change::Unknown], "{delta:x?}");
        }
    }

    #[test]
    fn a_path_leads_from_map_to_map() {
        let path = |names: &[&str]| {
            ConflationKey::Path(names.iter().map(|name| (*name).to_owned()).collect())
        };
        // {"v": 1, "at": {"id": "x", "n": 2}}
        let delta = b"\xa2\x61v\x01\x62at\xa2\x62id\x61x\x61n\x02";
        let key = &b"\x61x"[..];
        assert_eq!(told(&path(&["at", "id"]), delta), [Change::Whole { key }]);
        for names in [&["at", "no"][..], &["v", "id"], &["no"]] {
            assert_eq!(told(&path(names), delta), [Change::Unknown]);
        }
        let long = [&b"\xa1\x61k\x58\xc8"[..], &[0; 200]].concat();
        assert_eq!(told(&path(&["k"]), &long), [Change::Unknown], "too long for a key");
        let bottomless = [0x81; 1000];
        assert_eq!(told(&path(&[]), &bottomless), [Change::Unknown]);
    }
}
