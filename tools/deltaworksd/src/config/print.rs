//! A configuration printed: as a file that can be fed back, or as JSON.
//!
//! Every line tells where its value came from; the lines above it tell what it means. Keys without
//! an effect that nobody gave are commented out, so that a printed file does not seem to ask for
//! them.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};

use super::Effective;
use super::collection::{COLLECTION_KEYS, CollectionConfig};
use super::key::{Change, Key};
use super::keys::{Config, KEYS};
use super::source::Origin;

/// It as a TOML file; read again it gives the same values.
pub fn as_toml(effective: &Effective) -> String {
    let mut text = String::from(
        "# The configuration of deltaworksd. Each key is also a flag (--budget-mib) and a variable\n\
         # (DELTAWORKS_BUDGET_MIB): the file wins over the default, the variable over the file, the\n\
         # flag over all. Keys marked \"reload\" take effect at SIGHUP, the others at the next start.\n",
    );
    let mut group = "";
    for (key, origin) in KEYS.iter().zip(&effective.origins) {
        if key.group != group {
            group = key.group;
            let _ = writeln!(text, "\n# ---- {group} ----");
        }
        let _ = write!(text, "\n{}", about(key, &(key.get)(&Config::default())));
        let is_inert = key.void_note().is_some() && *origin == Origin::Default;
        let mark = if is_inert { "# " } else { "" };
        let _ = writeln!(text, "{mark}{}", line(key, &(key.get)(&effective.config), origin));
    }
    text.push_str(COLLECTIONS_ABOUT);
    let default = CollectionConfig::default();
    for key in COLLECTION_KEYS {
        let value = (key.get)(&default);
        let _ = write!(text, "#\n{}", about(key, &value));
        let _ = writeln!(text, "# {} = {}", key.name, toml(&value));
    }
    for (name, collection) in &effective.config.collections {
        let origins = effective.collection_origins.get(name);
        let _ = writeln!(text, "\n[collections.{}]", quoted(name));
        for (place, key) in COLLECTION_KEYS.iter().enumerate() {
            let origin = origins.and_then(|origins| origins.get(place));
            let origin = origin.unwrap_or(&Origin::Default);
            let _ = writeln!(text, "{}", line(key, &(key.get)(collection), origin));
        }
    }
    text
}

const COLLECTIONS_ABOUT: &str = "
# ---- Collections ----
#
# A document trades/EURUSD belongs to collection `trades`, a name without a slash to the default
# collection, which is [collections.\"\"] and takes any bytes unless it is given here.
#
# [collections.trades]
";

/// It as one JSON object: the value and the origin of each key.
pub fn as_json(effective: &Effective) -> Json {
    let mut keys = Map::new();
    for (key, origin) in KEYS.iter().zip(&effective.origins) {
        keys.insert(key.name.to_owned(), entry(key, (key.get)(&effective.config), origin));
    }
    let mut collections = Map::new();
    for (name, collection) in &effective.config.collections {
        let origins = effective.collection_origins.get(name);
        let mut of_one = Map::new();
        for (place, key) in COLLECTION_KEYS.iter().enumerate() {
            let origin = origins.and_then(|origins| origins.get(place));
            let origin = origin.unwrap_or(&Origin::Default);
            of_one.insert(key.name.to_owned(), entry(key, (key.get)(collection), origin));
        }
        collections.insert(name.clone(), Json::Object(of_one));
    }
    json!({ "keys": keys, "collections": collections, "notes": effective.notes })
}

fn entry<C>(key: &Key<C>, value: Json, origin: &Origin) -> Json {
    let mut entry = json!({
        "value": value,
        "origin": origin.to_string(),
        "unit": key.unit,
        "reloads": key.change == Change::Reload,
    });
    if let Some(note) = key.void_note() {
        entry["note"] = Json::String(note);
    }
    entry
}

fn about<C>(key: &Key<C>, default: &Json) -> String {
    let mut text = String::new();
    for line in key.meaning {
        let _ = writeln!(text, "# {}", line.trim());
    }
    let range = match key.range.words() {
        words if words.is_empty() => String::new(),
        words => format!(", {words}"),
    };
    let _ = writeln!(text, "# Unit: {}{range}. Default: {default}.", key.unit);
    let change = match key.change {
        Change::Reload => "reload".to_owned(),
        Change::Restart(why) => format!("restart, because {why}"),
    };
    let _ = writeln!(text, "# Memory: {}.", key.memory);
    let _ = writeln!(text, "# Change: {change}.");
    if let Some(note) = key.void_note() {
        let _ = writeln!(text, "# note: {note}.");
    }
    text
}

fn line<C>(key: &Key<C>, value: &Json, origin: &Origin) -> String {
    format!("{} = {}  # {}", key.name, toml(value), one_line(&origin.to_string()))
}

/// A value as TOML: JSON's texts, numbers, booleans and lists are TOML's, but for one character.
fn toml(value: &Json) -> String {
    value.to_string().replace('\u{7f}', "\\u007f")
}

fn quoted(name: &str) -> String {
    let is_bare = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_bare { name.to_owned() } else { toml(&Json::String(name.to_owned())) }
}

/// A remark ends with its line, whatever a path has in it.
fn one_line(text: &str) -> String {
    text.replace(|char: char| char.is_control(), "?")
}
