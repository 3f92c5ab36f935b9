//! Compilation: from the JSON text of a schema (RFC 8927) to a program.
//!
//! Runs once per collection and allocates. All rules of RFC 8927, section 2.1, are kept, and the
//! limits of this crate: what breaks one is an error with its place. A chain of `ref`s that comes
//! back to itself without going into the value would never end, and is refused, too.

use std::fmt;
use std::sync::Arc;

use crate::definition::Json;
use crate::fault::Pointer;
use crate::flat::Flat;
use crate::keys::Keys;
use crate::kind::Kind;
use crate::program::{ANY, Form, Program, Properties, Shape, Union};
use crate::straight::Straight;
use crate::words::Words;
use crate::{
    KEY_BYTES_MAX, SCHEMA_BYTES_MAX, SCHEMA_DEPTH_MAX, SCHEMA_ENUM_MAX, SCHEMA_FORMS_MAX,
    SCHEMA_PROPERTIES_MAX,
};

/// What the deltas of a collection are checked against: immutable, shared by all workers.
#[derive(Debug)]
pub struct Schema {
    kind: Kind,
    pub(crate) program: Program,
    /// Tells this schema from all others that are there.
    pub(crate) identity: Arc<()>,
}

impl Schema {
    /// The schema that accepts any bytes.
    pub fn opaque() -> Self {
        Self { kind: Kind::Opaque, program: Program::default(), identity: Arc::default() }
    }

    /// The schema that the JSON text tells (RFC 8927), for deltas of that kind. For
    /// [`Kind::Opaque`] the text must be empty, or white space. Cost: allocates; linear in the text.
    ///
    /// # Errors
    /// The first flaw, and its place in the schema: the text is not JSON or has a name twice, breaks
    /// a rule of RFC 8927, or is beyond a limit of this crate; or the kind is [`Kind::Rows`] and the
    /// root is not of the properties form, without `nullable`.
    pub fn compile(kind: Kind, json: &str) -> Result<Self, SchemaError> {
        let root_error = |flaw| Err(SchemaError { flaw, schema_path: String::new() });
        if kind == Kind::Opaque {
            let is_empty = json.trim().is_empty();
            return if is_empty {
                Ok(Self::opaque())
            } else {
                root_error(SchemaFlaw::NotForOpaque)
            };
        }
        if json.len() > SCHEMA_BYTES_MAX {
            return root_error(SchemaFlaw::TooLong);
        }
        let tree: Json = match serde_json::from_str(json) {
            Ok(tree) => tree,
            Err(error) => return root_error(SchemaFlaw::NotJson(error.to_string())),
        };
        let mut program = Compiler::default().compile(&tree)?;
        if kind == Kind::Rows && !add_partial(&mut program) {
            return root_error(SchemaFlaw::RowsNeedProperties);
        }
        add_flats(&mut program);
        Ok(Self { kind, program, identity: Arc::default() })
    }

    /// What the deltas are.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The name of the kind, as clients are told.
    pub fn kind_name(&self) -> &'static str {
        self.kind.name()
    }
}

/// What is wrong with a schema.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SchemaFlaw {
    /// A text for [`Kind::Opaque`], which has no schema.
    NotForOpaque,
    /// Not JSON, or a map with a name twice; with what the parser said.
    NotJson(String),
    /// More than [`SCHEMA_BYTES_MAX`] bytes.
    TooLong,
    /// More than [`SCHEMA_DEPTH_MAX`] schemas inside each other.
    TooDeep,
    /// More than [`SCHEMA_FORMS_MAX`] forms.
    TooManyForms,
    /// More than [`SCHEMA_PROPERTIES_MAX`] properties in one form.
    TooManyProperties,
    /// More than [`SCHEMA_ENUM_MAX`] values in an enum, or tags in a mapping.
    TooManyValues,
    /// A definition's name, a property, value or tag of more than [`KEY_BYTES_MAX`] bytes.
    TooLongText,
    /// A schema that is not a map.
    NotAMap,
    /// A keyword that JTD does not have.
    UnknownKeyword,
    /// Keywords that do not stand together in any form.
    MixedForms,
    /// `definitions` below the root.
    DefinitionsBelowRoot,
    /// A keyword's value of the wrong type.
    WrongKeywordType,
    /// A `type` that JTD does not have.
    UnknownType,
    /// A `ref` to a definition that is not there.
    UnknownRef,
    /// A `ref` that leads back to itself without going into the value.
    EndlessRef,
    /// An `enum` without values.
    EmptyEnum,
    /// An `enum` with a value twice.
    DoubleValue,
    /// A property that is required and optional.
    DoubleProperty,
    /// A mapping whose schema is not of the properties form.
    MappingNotProperties,
    /// A mapping whose schema is nullable.
    MappingNullable,
    /// A mapping whose schema has the discriminator as a property.
    MappingHasTag,
    /// The schema of rows that is not of the properties form, or is nullable.
    RowsNeedProperties,
}

impl fmt::Display for SchemaFlaw {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotForOpaque => "a collection of kind `opaque` has no schema",
            Self::NotJson(error) => return write!(formatter, "not the JSON of a schema: {error}"),
            Self::TooLong => "a schema has at most 65,536 bytes",
            Self::TooDeep => "at most 32 schemas stand inside each other",
            Self::TooManyForms => "a schema has at most 4,096 forms",
            Self::TooManyProperties => "a form has at most 256 properties",
            Self::TooManyValues => "an enum or a mapping has at most 4,096 values",
            Self::TooLongText => {
                "a name of a definition, a property, value or tag has at most 1,024 bytes"
            }
            Self::NotAMap => "a schema is a map",
            Self::UnknownKeyword => "no keyword of JSON Type Definition",
            Self::MixedForms => "these keywords do not stand together in any form",
            Self::DefinitionsBelowRoot => "`definitions` stands at the root only",
            Self::WrongKeywordType => "the keyword's value has the wrong type",
            Self::UnknownType => "no type of JSON Type Definition",
            Self::UnknownRef => "no such definition",
            Self::EndlessRef => "the reference leads back to itself",
            Self::EmptyEnum => "an enum has at least one value",
            Self::DoubleValue => "a value of an enum stands twice",
            Self::DoubleProperty => "a property is either required or optional",
            Self::MappingNotProperties => "a mapping's schema has properties",
            Self::MappingNullable => "a mapping's schema is not nullable",
            Self::MappingHasTag => "a mapping's schema does not have the discriminator's property",
            Self::RowsNeedProperties => "the schema of rows has properties, and is not nullable",
        })
    }
}

/// Why a schema was refused, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SchemaError {
    /// What is wrong.
    pub flaw: SchemaFlaw,
    /// Where in the schema, as a JSON pointer (RFC 6901).
    pub schema_path: String,
}

impl fmt::Display for SchemaError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (schema {:?})", self.flaw, self.schema_path)
    }
}

impl std::error::Error for SchemaError {}

#[derive(Default)]
struct Compiler {
    program: Program,
    /// Names of the definitions, in order.
    names: Vec<String>,
    /// Their forms.
    definitions: Vec<u16>,
    /// Where the compiler stands in the schema.
    place: Vec<String>,
    /// Schemas around the place.
    depth: usize,
}

/// The keywords that make a form, and which of them may stand together.
const FORMS: [&[&str]; 13] = [
    &[],
    &["ref"],
    &["type"],
    &["enum"],
    &["elements"],
    &["properties"],
    &["optionalProperties"],
    &["properties", "optionalProperties"],
    &["properties", "additionalProperties"],
    &["optionalProperties", "additionalProperties"],
    &["properties", "optionalProperties", "additionalProperties"],
    &["values"],
    &["discriminator", "mapping"],
];

type Compiled<T> = Result<T, SchemaError>;

impl Compiler {
    fn compile(mut self, root: &Json) -> Compiled<Program> {
        let any = self.add(Shape::Any, false)?;
        assert_eq!(any, ANY);
        if let Some(definitions) = root.get("definitions") {
            let definitions = self.at("definitions", |this| this.map(definitions))?;
            self.names = definitions.iter().map(|(name, _)| name.clone()).collect();
            for (name, json) in definitions {
                // Every form inside has the name in its path.
                if name.len() > KEY_BYTES_MAX {
                    return self.at("definitions", |this| this.fail(SchemaFlaw::TooLongText));
                }
                let form =
                    self.at("definitions", |this| this.at(name, |this| this.form(json, None)))?;
                self.definitions.push(form);
            }
        }
        self.program.root = self.form(root, None)?;
        self.resolve()?;
        Ok(self.program)
    }

    /// Replaces every `ref` by what it leads to.
    fn resolve(&mut self) -> Compiled<()> {
        for number in 0..self.program.forms.len() {
            let own_path = self.program.forms[number].path;
            let mut form = self.program.forms[number];
            let mut hops = 0;
            while let Shape::Ref(definition) = form.shape {
                if hops > self.definitions.len() {
                    let schema_path = self.program.paths[usize::from(own_path)].to_string();
                    return Err(SchemaError { flaw: SchemaFlaw::EndlessRef, schema_path });
                }
                hops += 1;
                let target =
                    self.program.forms[usize::from(self.definitions[usize::from(definition)])];
                form = Form { nullable: form.nullable || target.nullable, ..target };
            }
            self.program.forms[number] = form;
        }
        Ok(())
    }

    /// Compiles one schema; with the tag's name, one that a mapping has under it.
    fn form(&mut self, json: &Json, tag: Option<&str>) -> Compiled<u16> {
        if self.depth == SCHEMA_DEPTH_MAX {
            return self.fail(SchemaFlaw::TooDeep);
        }
        self.depth += 1;
        let form = self.form_inside(json, tag)?;
        self.depth -= 1;
        Ok(form)
    }

    fn form_inside(&mut self, json: &Json, tag: Option<&str>) -> Compiled<u16> {
        let fields = match json {
            Json::Map(fields) => fields,
            _ => return self.fail(SchemaFlaw::NotAMap),
        };
        let is_root = self.place.is_empty();
        let mut nullable = false;
        let mut keywords = Vec::new();
        for (name, value) in fields {
            match (name.as_str(), value) {
                ("definitions", _) if !is_root => {
                    return self.fail(SchemaFlaw::DefinitionsBelowRoot);
                }
                ("definitions", _) | ("metadata", Json::Map(_)) => {}
                ("nullable", Json::Boolean(value)) => nullable = *value,
                ("nullable" | "metadata", _) => return self.wrong_type(name),
                (keyword, _) if FORMS.iter().any(|form| form.contains(&keyword)) => {
                    keywords.push(keyword);
                }
                _ => return self.at(name, |this| this.fail(SchemaFlaw::UnknownKeyword)),
            }
        }
        let is_form = |form: &&[&str]| {
            form.len() == keywords.len() && keywords.iter().all(|keyword| form.contains(keyword))
        };
        if !FORMS.iter().any(is_form) {
            return self.fail(SchemaFlaw::MixedForms);
        }
        if tag.is_some() && nullable {
            return self.fail(SchemaFlaw::MappingNullable);
        }
        let is_properties = keywords.iter().any(|keyword| keyword.ends_with("roperties"));
        if tag.is_some() && !is_properties {
            return self.fail(SchemaFlaw::MappingNotProperties);
        }
        let shape = match keywords.first() {
            None => Shape::Any,
            _ if is_properties => self.properties(json, tag)?,
            Some(&"discriminator" | &"mapping") => self.union(json)?,
            Some(&keyword) => {
                let value = json.get(keyword).unwrap_or(&Json::Null);
                self.at(keyword, |this| match keyword {
                    "ref" => this.reference(value),
                    "type" => this.scalar(value),
                    "enum" => this.enumeration(value),
                    "elements" => Ok(Shape::Elements(this.form(value, None)?)),
                    _ => Ok(Shape::Values(this.form(value, None)?)),
                })?
            }
        };
        self.add(shape, nullable)
    }

    fn reference(&mut self, value: &Json) -> Compiled<Shape> {
        let Json::Text(name) = value else { return self.fail(SchemaFlaw::WrongKeywordType) };
        match self.names.iter().position(|known| known == name) {
            Some(place) => Ok(Shape::Ref(place as u16)),
            None => self.fail(SchemaFlaw::UnknownRef),
        }
    }

    fn scalar(&mut self, value: &Json) -> Compiled<Shape> {
        let Json::Text(name) = value else { return self.fail(SchemaFlaw::WrongKeywordType) };
        let integer = |min, max| Ok(Shape::Integer { min, max });
        match name.as_str() {
            "boolean" => Ok(Shape::Boolean),
            "float32" | "float64" => Ok(Shape::Number),
            "string" => Ok(Shape::Text),
            "timestamp" => Ok(Shape::Timestamp),
            "int8" => integer(i64::from(i8::MIN), i64::from(i8::MAX)),
            "uint8" => integer(0, i64::from(u8::MAX)),
            "int16" => integer(i64::from(i16::MIN), i64::from(i16::MAX)),
            "uint16" => integer(0, i64::from(u16::MAX)),
            "int32" => integer(i64::from(i32::MIN), i64::from(i32::MAX)),
            "uint32" => integer(0, i64::from(u32::MAX)),
            _ => self.fail(SchemaFlaw::UnknownType),
        }
    }

    fn enumeration(&mut self, value: &Json) -> Compiled<Shape> {
        let Json::Array(items) = value else { return self.fail(SchemaFlaw::WrongKeywordType) };
        if items.is_empty() {
            return self.fail(SchemaFlaw::EmptyEnum);
        }
        if items.len() > SCHEMA_ENUM_MAX {
            return self.fail(SchemaFlaw::TooManyValues);
        }
        let mut names: Vec<Box<str>> = Vec::with_capacity(items.len());
        let mut known = std::collections::HashSet::new();
        for (place, item) in items.iter().enumerate() {
            let flaw = match item {
                Json::Text(text) if text.len() > KEY_BYTES_MAX => SchemaFlaw::TooLongText,
                Json::Text(text) if known.insert(text) => {
                    names.push(text.as_str().into());
                    continue;
                }
                Json::Text(_) => SchemaFlaw::DoubleValue,
                _ => SchemaFlaw::WrongKeywordType,
            };
            return self.at(&place.to_string(), |this| this.fail(flaw));
        }
        let names = Keys::new(names);
        self.program.words.push(Words::new(&names).map(Arc::new));
        self.program.enums.push(names);
        Ok(Shape::Enum(self.program.enums.len() as u16 - 1))
    }

    fn properties(&mut self, json: &Json, tag: Option<&str>) -> Compiled<Shape> {
        let additional = match json.get("additionalProperties") {
            None => false,
            Some(Json::Boolean(value)) => *value,
            Some(_) => return self.wrong_type("additionalProperties"),
        };
        let mut names: Vec<Box<str>> = Vec::new();
        let mut children = Vec::new();
        let mut required = [0; 4];
        for keyword in ["properties", "optionalProperties"] {
            let Some(fields) = json.get(keyword) else { continue };
            let fields = self.at(keyword, |this| this.map(fields))?;
            for (name, child) in fields {
                self.place.extend([keyword.to_owned(), name.clone()]);
                if tag == Some(name) {
                    return self.fail(SchemaFlaw::MappingHasTag);
                }
                if keyword == "optionalProperties"
                    && json.get("properties").is_some_and(|other| other.get(name).is_some())
                {
                    return self.fail(SchemaFlaw::DoubleProperty);
                }
                if name.len() > KEY_BYTES_MAX {
                    return self.fail(SchemaFlaw::TooLongText);
                }
                // One place is kept for the tag.
                if names.len() + usize::from(tag.is_some()) >= SCHEMA_PROPERTIES_MAX {
                    return self.fail(SchemaFlaw::TooManyProperties);
                }
                let number = names.len();
                children.push(self.form(child, None)?);
                names.push(name.as_str().into());
                if keyword == "properties" {
                    required[number / 64] |= 1 << (number % 64);
                }
                self.place.truncate(self.place.len() - 2);
            }
        }
        if let Some(tag) = tag {
            names.push(tag.into());
            children.push(ANY);
        }
        self.program.maps.push(Properties {
            keys: Keys::new(names),
            children: children.into(),
            required,
            additional,
            has_required: json.get("properties").is_some(),
            flat: None,
            straight: None,
        });
        Ok(Shape::Properties(self.program.maps.len() as u16 - 1))
    }

    fn union(&mut self, json: &Json) -> Compiled<Shape> {
        let Some(Json::Text(tag)) = json.get("discriminator") else {
            return self.wrong_type("discriminator");
        };
        if tag.len() > KEY_BYTES_MAX {
            return self.at("discriminator", |this| this.fail(SchemaFlaw::TooLongText));
        }
        let mut names: Vec<Box<str>> = Vec::new();
        let mut children = Vec::new();
        let mapping = json.get("mapping").unwrap_or(&Json::Null);
        let mapping = self.at("mapping", |this| this.map(mapping))?;
        for (name, child) in mapping {
            self.place.extend(["mapping".to_owned(), name.clone()]);
            if names.len() >= SCHEMA_ENUM_MAX {
                return self.fail(SchemaFlaw::TooManyValues);
            }
            if name.len() > KEY_BYTES_MAX {
                return self.fail(SchemaFlaw::TooLongText);
            }
            children.push(self.form(child, Some(tag))?);
            names.push(name.as_str().into());
            self.place.truncate(self.place.len() - 2);
        }
        self.program.unions.push(Union {
            tag: tag.as_str().into(),
            names: Keys::new(names),
            children: children.into(),
        });
        Ok(Shape::Union(self.program.unions.len() as u16 - 1))
    }

    fn add(&mut self, shape: Shape, nullable: bool) -> Compiled<u16> {
        if self.program.forms.len() > SCHEMA_FORMS_MAX {
            return self.fail(SchemaFlaw::TooManyForms);
        }
        self.program.paths.push(self.pointer().into());
        let number = self.program.forms.len() as u16;
        self.program.forms.push(Form { shape, nullable, path: number });
        Ok(number)
    }

    fn map<'a>(&self, json: &'a Json) -> Compiled<&'a [(String, Json)]> {
        match json {
            Json::Map(fields) => Ok(fields),
            _ => self.fail(SchemaFlaw::WrongKeywordType),
        }
    }

    /// Does something one place further down.
    fn at<T>(&mut self, token: &str, inner: impl FnOnce(&mut Self) -> Compiled<T>) -> Compiled<T> {
        self.place.push(token.to_owned());
        let done = inner(self)?;
        self.place.pop();
        Ok(done)
    }

    fn wrong_type<T>(&mut self, keyword: &str) -> Compiled<T> {
        self.at(keyword, |this| this.fail(SchemaFlaw::WrongKeywordType))
    }

    fn fail<T>(&self, flaw: SchemaFlaw) -> Compiled<T> {
        Err(SchemaError { flaw, schema_path: self.pointer() })
    }

    fn pointer(&self) -> String {
        let mut pointer = Pointer::default();
        for token in &self.place {
            pointer.push(token);
        }
        pointer.into_text()
    }
}

/// Adds the form of an update: the same properties, none of them required. Says whether the root
/// is such that it can.
fn add_partial(program: &mut Program) -> bool {
    let root = program.forms[usize::from(program.root)];
    let Shape::Properties(map) = root.shape else { return false };
    if root.nullable {
        return false;
    }
    let whole = &program.maps[usize::from(map)];
    let names = (0..whole.keys.len()).map(|number| whole.keys.name(number).into()).collect();
    let partial = Properties {
        keys: Keys::new(names),
        children: whole.children.clone(),
        required: [0; 4],
        additional: whole.additional,
        has_required: whole.has_required,
        flat: None,
        straight: None,
    };
    program.maps.push(partial);
    let shape = Shape::Properties(program.maps.len() as u16 - 1);
    program.partial = program.forms.len() as u16;
    program.forms.push(Form { shape, ..root });
    true
}

fn add_flats(program: &mut Program) {
    for number in 0..program.maps.len() {
        let map = &program.maps[number];
        let flat = Flat::new(map, &program.forms);
        let straight = flat.is_some().then(|| Straight::new(map, &program.forms, &program.words));
        program.maps[number].flat = flat;
        program.maps[number].straight = straight.flatten();
    }
}
