//! Programs: a compiled schema, flat and immutable, that every worker reads.
//!
//! Forms stand in one array and name each other by their place; a `ref` has become the form that
//! it names. Where a form came from in the schema's text is kept as a JSON pointer, for errors.

use std::sync::Arc;

use crate::flat::Flat;
use crate::keys::Keys;
use crate::straight::Straight;
use crate::words::Words;

/// The place of the form that accepts everything, under keys that a schema does not have.
pub(crate) const ANY: u16 = 0;

/// A compiled schema.
#[derive(Debug, Default)]
pub(crate) struct Program {
    pub(crate) forms: Vec<Form>,
    pub(crate) enums: Vec<Keys>,
    /// The same once more, of those that are few and short.
    pub(crate) words: Vec<Option<Arc<Words>>>,
    pub(crate) maps: Vec<Properties>,
    pub(crate) unions: Vec<Union>,
    pub(crate) paths: Vec<Box<str>>,
    /// The form of a whole delta, or of a row's map in `create` and `upsert`.
    pub(crate) root: u16,
    /// The form of a row's map in `update`.
    pub(crate) partial: u16,
}

/// One form, and what is the same for all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pub(crate) shape: Shape,
    pub(crate) nullable: bool,
    /// Place in [`Program::paths`].
    pub(crate) path: u16,
}

/// What a form accepts (RFC 8927, section 2.2). Numbers are places in the program's arrays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    Any,
    Boolean,
    Number,
    Integer {
        min: i64,
        max: i64,
    },
    Text,
    Timestamp,
    Enum(u16),
    Elements(u16),
    Properties(u16),
    Values(u16),
    Union(u16),
    /// Place of a definition; none is left when the program is done.
    Ref(u16),
}

/// A form with properties.
#[derive(Debug)]
pub(crate) struct Properties {
    pub(crate) keys: Keys,
    /// The form of each key.
    pub(crate) children: Box<[u16]>,
    /// Bit k: key k must be there.
    pub(crate) required: [u64; 4],
    pub(crate) additional: bool,
    /// Whether the schema has the keyword `properties`, and not only `optionalProperties`.
    pub(crate) has_required: bool,
    /// What the quick way needs, where it can be taken.
    pub(crate) flat: Option<Flat>,
    /// And the straight one.
    pub(crate) straight: Option<Straight>,
}

/// A form with a discriminator.
#[derive(Debug)]
pub(crate) struct Union {
    pub(crate) tag: Box<str>,
    pub(crate) names: Keys,
    /// The properties form of each name; they have the tag as one more key.
    pub(crate) children: Box<[u16]>,
}

impl Program {
    /// The keyword that a value breaks that has another type than the form.
    pub(crate) fn keyword(&self, shape: Shape) -> Option<&'static str> {
        match shape {
            Shape::Any | Shape::Ref(_) => None,
            Shape::Boolean
            | Shape::Number
            | Shape::Integer { .. }
            | Shape::Text
            | Shape::Timestamp => Some("type"),
            Shape::Enum(_) => Some("enum"),
            Shape::Elements(_) => Some("elements"),
            Shape::Values(_) => Some("values"),
            Shape::Union(_) => Some("discriminator"),
            Shape::Properties(map) if self.maps[usize::from(map)].has_required => {
                Some("properties")
            }
            Shape::Properties(_) => Some("optionalProperties"),
        }
    }
}
