//! Reading a configuration file: TOML to keys with their lines.
//!
//! Knows TOML, and no key. A file that is no TOML is told with every place that is wrong; one that
//! is longer than [`FILE_BYTES_MAX`] is not read.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::value::Raw;

/// Bytes of a configuration file at most.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// One key as a file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its value.
    pub raw: Raw,
    /// The line of its name, from 1.
    pub line: usize,
}

/// One table `[collections.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionEntries {
    /// The collection.
    pub name: String,
    /// The line where it begins, from 1.
    pub line: usize,
    /// Its keys.
    pub entries: Vec<Entry>,
}

/// A fault that has a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// What a file says.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Contents {
    /// The keys at its top, in order.
    pub keys: Vec<Entry>,
    /// The collections.
    pub collections: Vec<CollectionEntries>,
    /// What is no TOML, or a table without a meaning.
    pub faults: Vec<Fault>,
}

/// What `text` says; what is wrong with it stands in the result, too.
pub fn read(text: &str) -> Contents {
    let (table, errors) = DeTable::parse_recoverable(text);
    let lines = Lines::of(text);
    let mut contents = Contents::default();
    for error in errors {
        let line = error.span().map_or(1, |span| lines.line_of(&span));
        contents.faults.push(Fault { line, message: error.message().to_owned() });
    }
    if !contents.faults.is_empty() {
        return contents; // what was recovered from is a guess
    }
    for (name, value) in in_order(table.get_ref()) {
        let line = lines.line_of(&name.span());
        match value.get_ref() {
            DeValue::Table(collections) if name.get_ref() == "collections" => {
                for (name, value) in in_order(collections) {
                    let line = lines.line_of(&name.span());
                    let name = name.get_ref().to_string();
                    let DeValue::Table(table) = value.get_ref() else {
                        let message = format!("collection {name:?} must be a table");
                        contents.faults.push(Fault { line, message });
                        continue;
                    };
                    let entries = entries(table, &lines);
                    contents.collections.push(CollectionEntries { name, line, entries });
                }
            }
            value => {
                let name = name.get_ref().to_string();
                contents.keys.push(Entry { name, raw: raw(value), line });
            }
        }
    }
    contents
}

fn entries(table: &DeTable<'_>, lines: &Lines) -> Vec<Entry> {
    let entry = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let name: &Spanned<toml::de::DeString<'_>> = name;
        let line = lines.line_of(&name.span());
        Entry { name: name.get_ref().to_string(), raw: raw(value.get_ref()), line }
    };
    in_order(table).map(entry).collect()
}

type Pair<'t, 'i> = (&'t Spanned<toml::de::DeString<'i>>, &'t Spanned<DeValue<'i>>);

/// The pairs of a table as they stand in the file.
fn in_order<'t, 'i>(table: &'t DeTable<'i>) -> impl Iterator<Item = Pair<'t, 'i>> {
    let mut pairs: Vec<Pair<'t, 'i>> = table.iter().collect();
    pairs.sort_by_key(|(name, _)| name.span().start);
    pairs.into_iter()
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::Boolean(is_on) => Raw::Bool(*is_on),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map_or(Raw::Odd("a number of another size"), Raw::Whole),
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Array(items) => Raw::List(items.iter().map(|item| raw(item.get_ref())).collect()),
        DeValue::Float(_) => Raw::Odd("a number with a point"),
        DeValue::Datetime(_) => Raw::Odd("a date or time"),
        DeValue::Table(_) => Raw::Odd("a table"),
    }
}

/// Where lines begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let after_ends = text.match_indices('\n').map(|(end, _)| end + 1);
        Self(std::iter::once(0).chain(after_ends).collect())
    }

    fn line_of(&self, span: &Range<usize>) -> usize {
        self.0.partition_point(|begin| *begin <= span.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_lines_and_types() {
        let contents =
            read("a = 1\n\n# a remark\nb = [\"x\", \"y\"]\nc = true\n[collections.n]\nk = 0x10\n");
        assert_eq!(contents.faults, []);
        let lines: Vec<_> = contents.keys.iter().map(|key| (key.name.as_str(), key.line)).collect();
        assert_eq!(lines, [("a", 1), ("b", 4), ("c", 5)]);
        assert_eq!(contents.keys[0].raw, Raw::Whole(1));
        let list = vec![Raw::Text("x".into()), Raw::Text("y".into())];
        assert_eq!(contents.keys[1].raw, Raw::List(list));
        let collection = &contents.collections[0];
        assert_eq!((collection.name.as_str(), collection.line), ("n", 6));
        assert_eq!(collection.entries[0].raw, Raw::Whole(16));
        assert_eq!(collection.entries[0].line, 7);
    }

    #[test]
    fn every_place_that_is_no_toml_is_told() {
        let contents = read("a = \nb = 1\nc = [1,,2]\nb = 2\n");
        let lines: Vec<usize> = contents.faults.iter().map(|fault| fault.line).collect();
        assert!(lines.contains(&1) && lines.contains(&3), "{:?}", contents.faults);
        assert!(contents.keys.is_empty(), "what was recovered is not used");
        assert_eq!(read("collections = 1").keys.len(), 1);
        assert_eq!(read("[collections]\nx = 1").faults[0].line, 2);
    }
}
