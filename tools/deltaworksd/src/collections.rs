//! Collections as the pipeline has them, from those of the configuration: schemas are read here.

use deltaworks_pipeline::collection::{
    Collection, CollectionLimits, Collections, ConflationKey, Overload, Schema,
};
use deltaworks_pipeline::message::Policy;
use deltaworks_schema::Kind;

use crate::config::{CollectionConfig, CollectionTable, quota};

/// Bytes of a schema's text at most.
const SCHEMA_BYTES_MAX: u64 = 1 << 20;

/// The collections, with their schemas compiled; the default one takes any bytes, unless it is
/// configured. Their documents are spread over so many workers.
///
/// # Errors
/// Each schema that cannot be read or compiled, with its file, and each `conflate_key` to a place that no
/// delta of its schema has.
pub fn load(table: &CollectionTable, workers: usize) -> Result<Collections, Vec<String>> {
    let mut all: Vec<Collection> = Vec::new();
    let mut faults = Vec::new();
    for (name, config) in table {
        match load_one(name, config, workers) {
            Ok(collection) => all.push(collection),
            Err(fault) => faults.push(fault),
        }
    }
    if !table.contains_key("") {
        all.push(Collection {
            name: String::new(),
            schema: Schema::Opaque,
            overload: Overload::default(),
            limits: CollectionLimits::default(),
        });
    }
    if all.len() >= usize::from(u16::MAX) {
        faults.push(format!("{} collections are too many; {} may be", all.len(), u16::MAX - 1));
    }
    if faults.is_empty() { Ok(Collections::new(all)) } else { Err(faults) }
}

fn load_one(name: &str, config: &CollectionConfig, workers: usize) -> Result<Collection, String> {
    let schema = match &config.schema.0 {
        None if config.kind.0 == Kind::Opaque => Schema::Opaque,
        None => return Err(format!("collection {name:?} needs a schema")),
        Some(file) => {
            let shown = file.display();
            let json = crate::reading::read_text(file, SCHEMA_BYTES_MAX)
                .map_err(|error| format!("{shown}: {error}"))?;
            let schema = deltaworks_schema::Schema::compile(config.kind.0, &json);
            let schema = schema.map_err(|error| format!("{shown}: {error}"))?;
            if let Some(ConflationKey::Path(path)) = config.key() {
                deltaworks_schema::reach(&json, &path).map_err(|error| {
                    let key = config.conflate_key.as_deref().unwrap_or_default();
                    format!("{shown}: conflate_key {key:?} of collection {name:?}: {error}")
                })?;
            }
            Schema::Typed(schema)
        }
    };
    let limits = limits(config, workers);
    Ok(Collection { name: name.to_owned(), schema, overload: overload(config), limits })
}

fn overload(config: &CollectionConfig) -> Overload {
    Overload {
        policy: config.policy.0,
        allowed: Policy::ALL.map(|policy| config.allows(policy)),
        behind_bytes: config.behind_bytes,
        key: config.key(),
    }
}

fn limits(config: &CollectionConfig, workers: usize) -> CollectionLimits {
    // Hash alone spreads documents over workers: an eighth more on each.
    let share = |documents: u32| {
        let spread = u64::from(documents) + u64::from(documents) / 8;
        u32::try_from(spread.div_ceil(workers.max(1) as u64)).unwrap_or(u32::MAX)
    };
    let all = CollectionLimits::default();
    CollectionLimits {
        image_bytes_max: config.image_bytes_max.unwrap_or(all.image_bytes_max),
        deltas_per_batch_max: config.deltas_per_batch_max.unwrap_or(all.deltas_per_batch_max),
        credit_bytes: config.credit_bytes.unwrap_or(all.credit_bytes),
        documents_per_worker_max: config.documents.map_or(all.documents_per_worker_max, share),
        producers_per_document_max: config.producers.unwrap_or(all.producers_per_document_max),
        quota: quota(config.bytes_per_second, config.deltas_per_second, config.burst_ms),
        keep_bytes: config.keep_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PolicyName;
    use crate::config::collection::CollectionKind;
    use deltaworks_pipeline::quota::Quota;

    #[test]
    fn policies_are_those_of_the_configuration() {
        let config = CollectionConfig {
            kind: CollectionKind(Kind::Cbor),
            conflate_key: Some("/a/b".to_owned()),
            skip_allowed: false,
            policy: PolicyName(Policy::Close),
            behind_bytes: Some(4096),
            ..CollectionConfig::default()
        };
        let expected = Overload {
            policy: Policy::Close,
            allowed: Policy::ALL.map(|policy| ![Policy::Skip, Policy::Wait].contains(&policy)),
            behind_bytes: Some(4096),
            key: Some(ConflationKey::Path(vec!["a".to_owned(), "b".to_owned()])),
        };
        assert_eq!(overload(&config), expected);
        let opaque = Overload::default().with(Policy::Conflate, false);
        assert_eq!(overload(&CollectionConfig::default()), opaque);
    }

    #[test]
    fn limits_are_those_of_the_configuration_and_documents_are_shared() {
        let config = CollectionConfig {
            image_bytes_max: Some(1024),
            deltas_per_batch_max: Some(3),
            credit_bytes: Some(8192),
            documents: Some(800),
            producers: Some(2),
            bytes_per_second: 5_000,
            burst_ms: 200,
            keep_bytes: 5000,
            ..CollectionConfig::default()
        };
        let expected = CollectionLimits {
            image_bytes_max: 1024,
            deltas_per_batch_max: 3,
            credit_bytes: 8192,
            documents_per_worker_max: 900,
            producers_per_document_max: 2,
            quota: Quota::new(Some(5_000), None, 200_000_000),
            keep_bytes: 5000,
        };
        assert_eq!(limits(&config, 1), expected);
        assert_eq!(limits(&config, 4).documents_per_worker_max, 225);
        assert_eq!(limits(&config, 1000).documents_per_worker_max, 1, "one at least");
        assert_eq!(limits(&CollectionConfig::default(), 4), CollectionLimits::default());
    }
}
