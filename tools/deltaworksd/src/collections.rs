//! Collections from the command line: `NAME=KIND[:SCHEMA-FILE]`, and the default one.

use deltaworks_pipeline::collection::{Collection, Collections, Schema};
use deltaworks_schema::Kind;

/// The collections; the default one takes any bytes, unless `=KIND` says otherwise.
pub(crate) fn read(given: &[String]) -> Result<Collections, String> {
    let mut all: Vec<Collection> = Vec::new();
    for text in given {
        let collection = read_one(text)?;
        if all.iter().any(|other| other.name == collection.name) {
            return Err(format!("collection {:?} is given twice", collection.name));
        }
        all.push(collection);
    }
    if !all.iter().any(|collection| collection.name.is_empty()) {
        all.push(Collection { name: String::new(), schema: Schema::Opaque, wait_allowed: true });
    }
    Ok(Collections::new(all))
}

fn read_one(text: &str) -> Result<Collection, String> {
    let (name, kind) =
        text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=KIND[:SCHEMA-FILE]"))?;
    if name.contains('/') {
        return Err(format!("a collection's name has no '/': {name:?}"));
    }
    let (kind, file) = match kind.split_once(':') {
        Some((kind, file)) => (kind, Some(file)),
        None => (kind, None),
    };
    let kind = Kind::from_name(kind).map_err(|error| format!("collection {name:?}: {error}"))?;
    let schema = match (kind, file) {
        (Kind::Opaque, None) => Schema::Opaque,
        (_, None) => return Err(format!("collection {name:?} needs a schema: KIND:SCHEMA-FILE")),
        (_, Some(file)) => {
            let json = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
            let schema = deltaworks_schema::Schema::compile(kind, &json);
            Schema::Typed(schema.map_err(|error| format!("{file}: {error}"))?)
        }
    };
    Ok(Collection { name: name.to_owned(), schema, wait_allowed: true })
}
