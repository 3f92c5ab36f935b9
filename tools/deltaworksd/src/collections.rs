//! Collections as the pipeline has them, from those of the configuration: schemas are read here.

use deltaworks_pipeline::collection::{Collection, Collections, Schema};
use deltaworks_schema::Kind;

use crate::config::{CollectionConfig, CollectionTable};

/// Bytes of a schema's text at most.
const SCHEMA_BYTES_MAX: u64 = 1 << 20;

/// The collections, with their schemas compiled; the default one takes any bytes, unless it is
/// configured.
///
/// # Errors
/// Each schema that cannot be read or compiled, with its file.
pub fn load(table: &CollectionTable) -> Result<Collections, Vec<String>> {
    let mut all: Vec<Collection> = Vec::new();
    let mut faults = Vec::new();
    for (name, config) in table {
        match load_one(name, config) {
            Ok(collection) => all.push(collection),
            Err(fault) => faults.push(fault),
        }
    }
    if !table.contains_key("") {
        all.push(Collection { name: String::new(), schema: Schema::Opaque, wait_allowed: true });
    }
    if all.len() >= usize::from(u16::MAX) {
        faults.push(format!("{} collections are too many; {} may be", all.len(), u16::MAX - 1));
    }
    if faults.is_empty() { Ok(Collections::new(all)) } else { Err(faults) }
}

fn load_one(name: &str, config: &CollectionConfig) -> Result<Collection, String> {
    let schema = match &config.schema.0 {
        None if config.kind.0 == Kind::Opaque => Schema::Opaque,
        None => return Err(format!("collection {name:?} needs a schema")),
        Some(file) => {
            let shown = file.display();
            let json = crate::reading::read_text(file, SCHEMA_BYTES_MAX)
                .map_err(|error| format!("{shown}: {error}"))?;
            let schema = deltaworks_schema::Schema::compile(config.kind.0, &json);
            Schema::Typed(schema.map_err(|error| format!("{shown}: {error}"))?)
        }
    };
    Ok(Collection { name: name.to_owned(), schema, wait_allowed: config.wait_allowed })
}
