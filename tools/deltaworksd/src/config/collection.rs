//! Collections of a configuration: `[collections.NAME]` of the file,
//! `NAME=KIND[:SCHEMA-FILE][,KEY=VALUE]` of the command line.
//!
//! Told apart key by key like everything else: a flag gives kind and schema and the keys that it names;
//! what it does not say stays the file's.

use std::collections::BTreeMap;
use std::path::PathBuf;

use deltaworks_pipeline::collection::ConflationKey;
use deltaworks_pipeline::limits::CREDIT_FLOOR_BYTES;
use deltaworks_pipeline::message::Policy;
use deltaworks_schema::Kind;
use serde_json::Value as Json;

use super::key::Change::Restart;
use super::key::Effect::Works;
use super::key::keys;
use super::source::Origin;
use super::value::Range::{Any, Whole};
use super::value::{OrOff, Range, Raw, Shape, Value};

const JOINED: &str = "collections are fixed when the stages are joined";

keys! {
    /// What is configured of one collection: one field a key.
    pub struct CollectionConfig, table COLLECTION_KEYS;

    "Collections" {
        /// What deltas are: opaque, cbor, rows.
        kind: CollectionKind = CollectionKind::default();
            unit "opaque, cbor or rows";
            range Any;
            memory "none";
            Restart(JOINED), Works;

        /// The JSON Type Definition of its deltas, from the folder of this file; none for opaque.
        schema: OrOff<PathBuf> = OrOff(None);
            unit "PATH";
            range Any;
            memory "its compiled program";
            Restart(JOINED), Works;

        /// Whether subscriptions may make publishers wait. Off, because one slow subscriber then slows
        /// every publisher of its document; `deltaworks replay` and `bench --policy wait` need it.
        wait_allowed: bool = false;
            unit "true or false";
            range Any;
            memory "`wait` copies are bounded as spills; of the budget";
            Restart(JOINED), Works;

        /// Whether subscriptions may ask to jump to the newest when they are too far behind.
        skip_allowed: bool = true;
            unit "true or false";
            range Any;
            memory "none";
            Restart(JOINED), Works;

        /// Whether subscriptions may ask to be closed when they are too far behind.
        close_allowed: bool = true;
            unit "true or false";
            range Any;
            memory "none";
            Restart(JOINED), Works;

        /// Whether subscriptions may ask for the newest value of every key when they are too far behind;
        /// only where deltas have keys: those of `rows`, or those that `conflate_key` leads to.
        conflate_allowed: bool = true;
            unit "true or false";
            range Any;
            memory "copies and indices are bounded as spills; of the budget";
            Restart(JOINED), Works;

        /// Where the key of a `cbor` delta stands: names of maps inside each other, each behind a "/". A place
        /// that the schema does not have is a mistake.
        conflate_key: Option<String> = None;
            unit "text";
            range Any;
            memory "none";
            Restart(JOINED), Works;

        /// What happens to subscriptions that fall behind and were opened without a policy.
        policy: PolicyName = PolicyName::default();
            unit "gap, wait, skip, conflate or close";
            range Any;
            memory "none";
            Restart(JOINED), Works;

        /// From how many bytes behind on skip, conflate and close act, also within the window. "auto" is
        /// 1,048,576 for skip and 65,536 for conflate; close then acts behind the window alone.
        behind_bytes: Option<u64> = None;
            unit "bytes";
            range Whole(4096, 1 << 34);
            memory "none";
            Restart(JOINED), Works;

        /// Bytes of one batch with its header at most; a larger one is refused (410).
        /// "auto" is what hello tells: 262,144, or a quarter of a chunk.
        image_bytes_max: Option<u32> = None;
            unit "bytes";
            range Whole(64, 1 << 30);
            memory "chunks of the budget";
            Restart(JOINED), Works;

        /// Deltas of one batch at most; one with more is refused (410). "auto" is 4,096.
        deltas_per_batch_max: Option<u32> = None;
            unit "deltas";
            range Whole(1, 4096);
            memory "none";
            Restart(JOINED), Works;

        /// Credit of each writer at most, where that is less than the daemon's `credit_bytes`.
        credit_bytes: Option<u32> = None;
            unit "bytes";
            range Whole(CREDIT_FLOOR_BYTES as u64, 1 << 30);
            memory "chunks of the budget";
            Restart(JOINED), Works;

        /// Documents at most, of those that the daemon may have; beyond that an open is refused (306).
        /// Each worker keeps its share and an eighth more, and one at least.
        documents: Option<u32> = None;
            unit "documents";
            range Whole(1, u32::MAX as u64);
            memory "part of the daemon's `documents`";
            Restart(JOINED), Works;

        /// Bytes of batches that all writers of its documents together may send; they are granted no more
        /// credit than that. 0 is no bound.
        bytes_per_second: u64 = 0;
            unit "bytes a second";
            range Whole(0, 1 << 40);
            memory "none";
            Restart(JOINED), Works;

        /// Deltas that all writers of its documents together may send. While more have come, no credit is
        /// granted. 0 is no bound.
        deltas_per_second: u64 = 0;
            unit "deltas a second";
            range Whole(0, 1 << 40);
            memory "none";
            Restart(JOINED), Works;

        /// The burst of these two: what flows in in this time may be sent at once.
        burst_ms: u64 = 1_000;
            unit "milliseconds";
            range Whole(1, 3_600_000);
            memory "none";
            Restart(JOINED), Works;

        /// Newest bytes of each document that stay in memory when a hot document turns it over, in whole
        /// batches with their headers; half a chunk at most. 0 keeps nothing. What is kept is copied once
        /// out of a chunk that goes, into the room of `kept_mib`.
        keep_bytes: u32 = 0;
            unit "bytes";
            range Whole(0, 1 << 29);
            memory "part of `kept_mib`";
            Restart(JOINED), Works;

        /// Producers that a document remembers at most; then the oldest that is not connected is
        /// forgotten, or the open refused (308). "auto" is 64.
        producers: Option<u32> = None;
            unit "producers";
            range Whole(1, 64);
            memory "64 bytes each; of the budget";
            Restart(JOINED), Works;
    }
}

/// The collections of a configuration, by name; the default one has the empty name.
pub type CollectionTable = BTreeMap<String, CollectionConfig>;

/// The origins of the keys of each collection, in the order of [`COLLECTION_KEYS`].
pub type CollectionOrigins = BTreeMap<String, Vec<Origin>>;

/// What a collection's deltas are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollectionKind(pub Kind);

impl Default for CollectionKind {
    fn default() -> Self {
        Self(Kind::Opaque)
    }
}

impl Value for CollectionKind {
    const SHAPE: Shape = Shape::One;

    fn read(raw: &Raw, range: Range) -> Result<Self, String> {
        let text = String::read(raw, range)?;
        Kind::from_name(&text).map(Self).map_err(|error| error.to_string())
    }

    fn json(&self) -> Json {
        Json::String(self.0.name().to_owned())
    }
}

/// A policy of subscriptions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyName(pub Policy);

impl Value for PolicyName {
    const SHAPE: Shape = Shape::One;

    fn read(raw: &Raw, range: Range) -> Result<Self, String> {
        let text = String::read(raw, range)?;
        let found = Policy::ALL.into_iter().find(|policy| policy.name() == text);
        found.map(Self).ok_or_else(|| match text.as_str() {
            "catch-up" => {
                "policy catch-up is reserved: there is no log to catch up from".to_owned()
            }
            _ => {
                let names = Policy::ALL.map(Policy::name).join(", ");
                format!("expected one of {names}, found {text:?}")
            }
        })
    }

    fn json(&self) -> Json {
        Json::String(self.0.name().to_owned())
    }
}

impl CollectionConfig {
    /// What the values of its deltas are told apart by.
    pub fn key(&self) -> Option<ConflationKey> {
        match (self.kind.0, &self.conflate_key) {
            (Kind::Rows, _) => Some(ConflationKey::Record),
            (Kind::Cbor, Some(path)) => {
                let names = path.strip_prefix('/')?.split('/').map(str::to_owned);
                Some(ConflationKey::Path(names.collect()))
            }
            _ => None,
        }
    }

    /// Whether subscriptions may ask for `policy`.
    pub fn allows(&self, policy: Policy) -> bool {
        match policy {
            Policy::Gap => true,
            Policy::Wait => self.wait_allowed,
            Policy::Skip => self.skip_allowed,
            Policy::Conflate => self.conflate_allowed && self.key().is_some(),
            Policy::Close => self.close_allowed,
        }
    }
}

/// `NAME=KIND[:SCHEMA-FILE][,KEY=VALUE]`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagCollection {
    /// The name; empty for the default collection.
    pub name: String,
    /// Its kind.
    pub kind: CollectionKind,
    /// Its schema.
    pub schema: OrOff<PathBuf>,
    /// Its other keys and their values, in order.
    pub keys: Vec<(String, String)>,
}

impl FlagCollection {
    /// Takes `text` apart.
    ///
    /// # Errors
    /// A sentence, if it has another form.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut head, mut keys) = (text, Vec::new());
        // From the end, so that a comma in a file's name is one unless `KEY=` follows it.
        while let Some((before, last)) = head.rsplit_once(',')
            && before.contains('=')
            && let Some((key, value)) = last.split_once('=')
            && !key.is_empty()
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        {
            keys.push((key.to_owned(), value.to_owned()));
            head = before;
        }
        keys.reverse();
        let parts = head.split_once('=');
        let (name, kind) =
            parts.ok_or_else(|| format!("{text:?} is not NAME=KIND[:SCHEMA-FILE][,KEY=VALUE]"))?;
        let (kind, file) = match kind.split_once(':') {
            Some((kind, file)) => (kind, (!file.is_empty()).then(|| PathBuf::from(file))),
            None => (kind, None),
        };
        let kind = Kind::from_name(kind);
        let kind = kind.map_err(|error| format!("collection {name:?}: {error}"))?;
        let (name, kind) = (name.to_owned(), CollectionKind(kind));
        Ok(Self { name, kind, schema: OrOff(file), keys })
    }
}

/// What is wrong with a collection's name.
pub(super) fn name_fault(name: &str) -> Option<String> {
    if name.contains('/') {
        return Some(format!("a collection's name has no '/': {name:?}"));
    }
    name.chars()
        .any(char::is_control)
        .then(|| format!("a collection's name has no control characters: {name:?}"))
}

/// What is wrong with a collection as a whole.
pub(super) fn fault(name: &str, collection: &CollectionConfig) -> Option<String> {
    let needs_schema = collection.kind.0 != Kind::Opaque;
    match (needs_schema, collection.schema.0.is_some()) {
        (true, false) => Some(format!(
            "collection {name:?} needs a schema: `schema = \"FILE\"`, or KIND:SCHEMA-FILE"
        )),
        (false, true) => Some(format!("collection {name:?} is opaque, so it has no schema")),
        _ if collection.conflate_key.is_some()
            && (collection.kind.0 != Kind::Cbor || collection.key().is_none()) =>
        {
            Some(format!(
                "collection {name:?}: conflate_key is for cbor, and begins with \"/\", as \"/sensor/id\""
            ))
        }
        _ if !collection.allows(collection.policy.0) => {
            let policy = collection.policy.0.name();
            Some(format!("collection {name:?} has policy {policy} and does not allow it"))
        }
        _ => None,
    }
}
