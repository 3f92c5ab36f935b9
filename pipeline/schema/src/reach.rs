//! Whether deltas of a schema can have a value behind a path of names, from map to map.
//!
//! For configurations that name a place in deltas: read beside the schema, once. Nothing is
//! compiled; the text has been found to be a schema. Cost: names times forms.

use std::fmt;

use crate::definition::Json;
use crate::fault::escape;

/// No delta of a schema has a value there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// The name that is missing.
    pub name: String,
    /// The form that does not have it, as an RFC 6901 pointer into the schema.
    pub schema_path: String,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no value has the name {:?} at {:?} of the schema", self.name, self.schema_path)
    }
}

impl std::error::Error for Unreachable {}

/// Whether some delta of the schema with that text may have a value behind the names of `path`.
///
/// # Errors
/// The first name that no value can have there, and the place of the form that it was looked for in.
/// A text that is no JSON has no such place: that is for [`Schema::compile`](crate::Schema::compile)
/// to tell.
pub fn reach(json: &str, path: &[String]) -> Result<(), Unreachable> {
    let Ok(root) = serde_json::from_str::<Json>(json) else { return Ok(()) };
    let mut forms = vec![(String::new(), &root)];
    for name in path {
        let mut next: Vec<(String, &Json)> = Vec::new();
        for (place, form) in &forms {
            if step(&root, place, form, name, &mut next) {
                return Ok(());
            }
        }
        // Several forms may lead to one.
        next.sort_by_key(|(_, form)| std::ptr::from_ref(*form).addr());
        next.dedup_by_key(|(_, form)| std::ptr::from_ref(*form).addr());
        if next.is_empty() {
            let schema_path = forms.swap_remove(0).0;
            return Err(Unreachable { name: name.clone(), schema_path });
        }
        forms = next;
    }
    Ok(())
}

/// Finds every form that the value of `name` may have in a value of `form`; `true` if it may be anything.
fn step<'j>(
    root: &'j Json,
    place: &str,
    form: &'j Json,
    name: &str,
    found: &mut Vec<(String, &'j Json)>,
) -> bool {
    let (place, form) = resolve(root, place.to_owned(), form);
    if let Some(values) = form.get("values") {
        found.push((format!("{place}/values"), values));
        return false;
    }
    if let Some(mapping) = form.get("mapping") {
        let is_tag = matches!(form.get("discriminator"), Some(Json::Text(tag)) if tag == name);
        let Json::Map(variants) = mapping else { return true };
        return is_tag
            || variants.iter().any(|(tag, variant)| {
                let place = format!("{place}/mapping{}", token(tag));
                step(root, &place, variant, name, found)
            });
    }
    let is_of_properties =
        ["properties", "optionalProperties"].iter().any(|keyword| form.get(keyword).is_some());
    if is_of_properties {
        let mut is_known = false;
        for keyword in ["properties", "optionalProperties"] {
            if let Some(value) = form.get(keyword).and_then(|properties| properties.get(name)) {
                found.push((format!("{place}/{keyword}{}", token(name)), value));
                is_known = true;
            }
        }
        return !is_known && matches!(form.get("additionalProperties"), Some(Json::Boolean(true)));
    }
    // Types, enums and elements have no names; the empty form may be anything.
    !["type", "enum", "elements"].iter().any(|keyword| form.get(keyword).is_some())
}

/// The form that a chain of refs leads to, which compilation has found to end.
fn resolve<'j>(root: &'j Json, mut place: String, mut form: &'j Json) -> (String, &'j Json) {
    while let Some(Json::Text(name)) = form.get("ref") {
        let definition = root.get("definitions").and_then(|all| all.get(name));
        let Some(definition) = definition else { break };
        (place, form) = (format!("/definitions{}", token(name)), definition);
    }
    (place, form)
}

/// `/name`, escaped.
fn token(name: &str) -> String {
    format!("/{}", escape(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r##"{
        "definitions": {
            "place": { "properties": { "x": { "type": "float64" } }, "additionalProperties": true },
            "again": { "ref": "place" }
        },
        "properties": {
            "id": { "type": "uint32" }, "at": { "ref": "again" }, "any": {},
            "tags": { "elements": { "type": "string" } },
            "by~/name": { "values": { "properties": { "n": { "type": "int8" } } } },
            "shape": { "discriminator": "kind", "mapping": {
                "round": { "properties": { "r": { "type": "float32" } } },
                "flat": { "properties": { "side": { "ref": "place" } } }
            } }
        },
        "optionalProperties": { "note": { "enum": ["a"] } }
    }"##;

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn what_a_delta_may_have_is_reached() {
        crate::Schema::compile(crate::Kind::Cbor, SCHEMA).expect("a schema");
        for text in [
            "id",
            "at",
            "at.x",
            "at.other.deeper",
            "any.thing.at.all",
            "tags",
            "by~/name.k.n",
            "shape.kind",
            "shape.r",
            "shape.side.x",
            "note",
        ] {
            assert_eq!(reach(SCHEMA, &path(text)), Ok(()), "{text}");
        }
        assert_eq!(reach("{}", &path("a.b")), Ok(()));
    }

    #[test]
    fn what_no_delta_has_is_told_with_its_place() {
        for (text, name, place) in [
            ("idd", "idd", ""),
            ("id.x", "x", "/properties/id"),
            ("at.x.y", "y", "/definitions/place/properties/x"),
            ("tags.0", "0", "/properties/tags"),
            ("by~/name.k.m", "m", "/properties/by~0~1name/values"),
            ("shape.area", "area", "/properties/shape"),
            ("note.a", "a", "/optionalProperties/note"),
        ] {
            let told = reach(SCHEMA, &path(text)).expect_err(text);
            assert_eq!((told.name.as_str(), told.schema_path.as_str()), (name, place), "{text}");
        }
    }
}
