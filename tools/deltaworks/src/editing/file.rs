//! A trace as a file: JSON, plain or compressed with gzip, told apart by the first two bytes.
//!
//! Read as a stream into a [`Trace`], so that the JSON is never whole in memory. Fields that are not
//! known are ignored. What breaks a bound of [`Bounds`] is refused with its name, also if a small file
//! unpacks to much. The format stands in `docs/TRACES.md`.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::{Patch, Trace};

/// How much a trace may hold; the default takes at most about 1 GiB of memory while reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of JSON after unpacking: 256 MiB.
    pub json_bytes_max: u64,
    /// Transactions: 4 Mi.
    pub transactions_max: usize,
    /// Patches of all transactions together: 8 Mi.
    pub patches_max: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { json_bytes_max: 256 << 20, transactions_max: 4 << 20, patches_max: 8 << 20 }
    }
}

/// Why a file was not read as a trace.
#[derive(Debug)]
pub enum FileError {
    /// The file could not be opened, read, unpacked or written.
    Io(io::Error),
    /// The content is no trace; line and column are told.
    Json(serde_json::Error),
    /// More bytes of JSON than this.
    Bytes(u64),
    /// More transactions than this.
    Transactions(usize),
    /// More patches than this.
    Patches(usize),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::Io(error) => write!(f, "{error}"),
            FileError::Json(error) => write!(f, "not a trace: {error}"),
            FileError::Bytes(max) => write!(f, "more than {max} bytes of JSON"),
            FileError::Transactions(max) => write!(f, "more than {max} transactions"),
            FileError::Patches(max) => write!(f, "more than {max} patches"),
        }
    }
}

impl std::error::Error for FileError {}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> FileError {
        FileError::Io(error)
    }
}

impl Trace {
    /// The trace in the file `path`, within the default bounds; it is not verified.
    ///
    /// # Errors
    /// What is wrong with the file, its content, or its size.
    pub fn open(path: &Path) -> Result<Trace, FileError> {
        Trace::read(BufReader::new(File::open(path)?), &Bounds::default())
    }

    /// The trace that `input` holds, plain or gzip, within `bounds`; it is not verified.
    ///
    /// # Errors
    /// What is wrong with the input, its content, or its size.
    pub fn read(mut input: impl BufRead, bounds: &Bounds) -> Result<Trace, FileError> {
        // One byte is enough: JSON starts with a space or a bracket, never with 0x1f.
        if input.fill_buf()?.first() == Some(&0x1f) {
            read_json(MultiGzDecoder::new(input), bounds)
        } else {
            read_json(input, bounds)
        }
    }

    /// Writes the trace as the file `path`, compressed if its name ends in `.gz`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        let file = BufWriter::new(File::create(path)?);
        if path.extension() == Some(OsStr::new("gz")) {
            let mut packed = GzEncoder::new(file, Compression::default());
            self.write(&mut packed)?;
            packed.finish()?.flush()?;
        } else {
            let mut plain = file;
            self.write(&mut plain)?;
            plain.flush()?;
        }
        Ok(())
    }

    /// Writes the trace as JSON.
    ///
    /// # Errors
    /// What `output` says.
    pub fn write(&self, output: &mut impl Write) -> Result<(), FileError> {
        serde_json::to_writer(output, &Document(self)).map_err(|error| FileError::Io(error.into()))
    }
}

fn read_json(input: impl Read, bounds: &Bounds) -> Result<Trace, FileError> {
    let mut input = BufReader::new(input).take(bounds.json_bytes_max.saturating_add(1));
    let mut count = Count { bounds, patches: 0, broken: None };
    let mut json = serde_json::Deserializer::from_reader(&mut input);
    let read = json
        .deserialize_map(DocumentVisitor { count: &mut count })
        .and_then(|trace| json.end().map(|()| trace));
    drop(json);
    match (read, count.broken) {
        (_, Some(broken)) => Err(broken),
        (_, None) if input.limit() == 0 => Err(FileError::Bytes(bounds.json_bytes_max)),
        (Ok(trace), None) => Ok(trace),
        (Err(error), None) if error.is_io() => Err(FileError::Io(error.into())),
        (Err(error), None) => Err(FileError::Json(error)),
    }
}

/// What was read so far, and the bound that it broke.
struct Count<'a> {
    bounds: &'a Bounds,
    patches: usize,
    broken: Option<FileError>,
}

impl Count<'_> {
    fn transaction<E: serde::de::Error>(&mut self, transactions: usize) -> Result<(), E> {
        if transactions > self.bounds.transactions_max {
            self.broken = Some(FileError::Transactions(self.bounds.transactions_max));
            return Err(E::custom("too many transactions"));
        }
        Ok(())
    }

    fn patch<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.patches += 1;
        if self.patches > self.bounds.patches_max {
            self.broken = Some(FileError::Patches(self.bounds.patches_max));
            return Err(E::custom("too many patches"));
        }
        Ok(())
    }
}

struct DocumentVisitor<'a, 'b> {
    count: &'a mut Count<'b>,
}

impl<'de> Visitor<'de> for DocumentVisitor<'_, '_> {
    type Value = Trace;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map with startContent, endContent and txns")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Trace, A::Error> {
        let (mut start, mut end, mut transactions) = (None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "startContent" => fill(&mut start, "startContent", map.next_value()?)?,
                "endContent" => fill(&mut end, "endContent", map.next_value()?)?,
                "txns" => {
                    let read = map.next_value_seed(Transactions { count: self.count })?;
                    fill(&mut transactions, "txns", read)?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Trace {
            start: start.ok_or_else(|| A::Error::missing_field("startContent"))?,
            end: end.ok_or_else(|| A::Error::missing_field("endContent"))?,
            transactions: transactions.ok_or_else(|| A::Error::missing_field("txns"))?,
        })
    }
}

fn fill<T, E: serde::de::Error>(
    place: &mut Option<T>,
    name: &'static str,
    value: T,
) -> Result<(), E> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::duplicate_field(name)),
    }
}

struct Transactions<'a, 'b> {
    count: &'a mut Count<'b>,
}

impl<'de> DeserializeSeed<'de> for Transactions<'_, '_> {
    type Value = Vec<Vec<Patch>>;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        input.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Transactions<'_, '_> {
    type Value = Vec<Vec<Patch>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of transactions")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut transactions = Vec::new();
        while let Some(patches) = seq.next_element_seed(Transaction { count: &mut *self.count })? {
            transactions.push(patches);
            self.count.transaction(transactions.len())?;
        }
        Ok(transactions)
    }
}

struct Transaction<'a, 'b> {
    count: &'a mut Count<'b>,
}

impl<'de> DeserializeSeed<'de> for Transaction<'_, '_> {
    type Value = Vec<Patch>;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        input.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Transaction<'_, '_> {
    type Value = Vec<Patch>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map with patches")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut patches = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == "patches" {
                let read = map.next_value_seed(Patches { count: &mut *self.count })?;
                fill(&mut patches, "patches", read)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        patches.ok_or_else(|| A::Error::missing_field("patches"))
    }
}

struct Patches<'a, 'b> {
    count: &'a mut Count<'b>,
}

impl<'de> DeserializeSeed<'de> for Patches<'_, '_> {
    type Value = Vec<Patch>;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        input.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Patches<'_, '_> {
    type Value = Vec<Patch>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of patches [position, deleted, inserted]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        // Most transactions have one patch: a vector that starts with room for four wastes memory.
        let mut patches = Vec::with_capacity(1);
        while let Some((position, deleted, inserted)) = seq.next_element()? {
            self.count.patch()?;
            patches.push(Patch { position, deleted, inserted });
        }
        Ok(patches)
    }
}

struct Document<'a>(&'a Trace);

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        let mut map = output.serialize_map(Some(3))?;
        map.serialize_entry("startContent", &self.0.start)?;
        map.serialize_entry("endContent", &self.0.end)?;
        map.serialize_entry("txns", &TransactionList(&self.0.transactions))?;
        map.end()
    }
}

struct TransactionList<'a>(&'a [Vec<Patch>]);

impl Serialize for TransactionList<'_> {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        let mut list = output.serialize_seq(Some(self.0.len()))?;
        for patches in self.0 {
            list.serialize_element(&TransactionMap(patches))?;
        }
        list.end()
    }
}

struct TransactionMap<'a>(&'a [Patch]);

impl Serialize for TransactionMap<'_> {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        let mut map = output.serialize_map(Some(1))?;
        let patches: Vec<(u32, u32, &str)> =
            self.0.iter().map(|patch| (patch.position, patch.deleted, &*patch.inserted)).collect();
        map.serialize_entry("patches", &patches)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#" {"kind":"x","startContent":"a","more":[{"deep":[1,null]}],
        "txns":[{"time":"t","patches":[[1,0,"\ud83d\ude00"],[0,1,""]]},{"patches":[],"agent":3}],
        "endContent":"😀"}
"#;

    fn read(json: &str) -> Result<Trace, FileError> {
        Trace::read(json.as_bytes(), &Bounds::default())
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(bytes).expect("memory");
        packed.finish().expect("memory")
    }

    #[test]
    fn unknown_fields_are_ignored_wherever_they_stand() {
        let trace = read(SMALL).expect("a trace");
        assert_eq!((trace.start.as_str(), trace.end.as_str()), ("a", "😀"));
        assert_eq!(trace.transactions.len(), 2);
        assert_eq!(trace.patches(), 2);
        assert_eq!(trace.verify(), Ok(()));
    }

    #[test]
    fn gzip_is_told_by_its_first_byte_and_may_have_several_members() {
        let plain = read(SMALL).expect("a trace");
        let (head, tail) = SMALL.as_bytes().split_at(40);
        let packed = [gzip(head), gzip(tail)].concat();
        assert_eq!(Trace::read(&*packed, &Bounds::default()).expect("a trace"), plain);
        let cut = &packed[..packed.len() - 9];
        assert!(matches!(Trace::read(cut, &Bounds::default()), Err(FileError::Io(_))));
    }

    #[test]
    fn what_is_no_trace_is_refused_at_every_cut() {
        let whole = SMALL.trim_end();
        for cut in (0..whole.len()).filter(|&cut| whole.is_char_boundary(cut)) {
            assert!(matches!(read(&whole[..cut]), Err(FileError::Json(_))), "cut off at {cut}");
        }
        for wrong in [
            "[]",
            r#"{"startContent":"","endContent":""}"#,
            r#"{"startContent":"","endContent":"","txns":[{}]}"#,
            r#"{"startContent":"","endContent":"","endContent":"","txns":[]}"#,
            r#"{"startContent":"","endContent":"","txns":[{"patches":[[0,0]]}]}"#,
            r#"{"startContent":"","endContent":"","txns":[{"patches":[[-1,0,""]]}]}"#,
            r#"{"startContent":"","endContent":"","txns":[{"patches":[[4294967296,0,""]]}]}"#,
            r#"{"startContent":"","endContent":"","txns":[{"patches":[[0,0,"\ud83d"]]}]}"#,
            r#"{"startContent":"","endContent":"","txns":[]} x"#,
        ] {
            assert!(matches!(read(wrong), Err(FileError::Json(_))), "{wrong}");
        }
        let deep = format!("{{\"x\":{}", "[".repeat(100_000));
        assert!(matches!(read(&deep), Err(FileError::Json(_))));
    }

    #[test]
    fn each_bound_is_told_by_name() {
        let whole = SMALL.len() as u64;
        let exact = Bounds { json_bytes_max: whole, transactions_max: 2, patches_max: 2 };
        let with = |bounds: Bounds| Trace::read(SMALL.as_bytes(), &bounds);
        assert!(with(exact).is_ok());
        let told = with(Bounds { json_bytes_max: whole - 1, ..exact });
        assert!(matches!(told, Err(FileError::Bytes(max)) if max == whole - 1));
        let told = with(Bounds { transactions_max: 1, ..exact });
        assert!(matches!(told, Err(FileError::Transactions(1))));
        let told = with(Bounds { patches_max: 1, ..exact });
        assert!(matches!(told, Err(FileError::Patches(1))));
    }

    #[test]
    fn a_small_file_that_unpacks_to_much_is_refused() {
        let packed = gzip(format!("{{\"x\":\"{}\"}}", "y".repeat(4 << 20)).as_bytes());
        let bounds = Bounds { json_bytes_max: 1 << 20, ..Bounds::default() };
        assert!(packed.len() < 64 << 10);
        assert!(matches!(Trace::read(&*packed, &bounds), Err(FileError::Bytes(_))));
    }

    #[test]
    fn what_was_written_is_read() {
        let trace = read(SMALL).expect("a trace");
        let mut json = Vec::new();
        trace.write(&mut json).expect("memory");
        assert_eq!(Trace::read(&*json, &Bounds::default()).expect("a trace"), trace);
    }
}
