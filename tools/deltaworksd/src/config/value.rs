//! Values of keys: how each kind is read from a file or from words, and how it is written.
//!
//! Belongs to the thread that reads the configuration. What cannot be read is told as a sentence
//! with what was expected and what was found; nothing is rounded, cut or guessed.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::Value as Json;

/// The word that leaves a value to the daemon.
pub const AUTO: &str = "auto";

/// What a source gave for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raw {
    /// `true` or `false` of a file.
    Bool(bool),
    /// A whole number of a file.
    Whole(i128),
    /// A text of a file.
    Text(String),
    /// A list of a file.
    List(Vec<Raw>),
    /// Something of a file that no key takes, with what it is called.
    Odd(&'static str),
    /// Words of the environment or of the command line, which have no types.
    Words(Vec<String>),
}

impl Raw {
    /// It, as a mistake shows it.
    fn found(&self) -> String {
        match self {
            Raw::Bool(is_on) => is_on.to_string(),
            Raw::Whole(number) => number.to_string(),
            Raw::Text(text) => format!("{text:?}"),
            Raw::List(_) => "a list".to_owned(),
            Raw::Odd(name) => (*name).to_owned(),
            Raw::Words(words) => format!("{:?}", words.join(",")),
        }
    }

    /// Its text, if it is one.
    fn text(&self) -> Option<&str> {
        match self {
            Raw::Text(text) => Some(text),
            Raw::Words(words) if words.len() == 1 => Some(&words[0]),
            _ => None,
        }
    }

    /// What is wrong with it, where `expected` was.
    pub fn mismatch(&self, expected: &str) -> String {
        format!("expected {expected}, found {}", self.found())
    }
}

/// What values a key may have, within its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// All of the type.
    Any,
    /// From one whole number to another, both included.
    Whole(u64, u64),
    /// Powers of two within these, both included.
    PowerOfTwo(u64, u64),
}

impl Range {
    fn holds(self, number: u64) -> bool {
        match self {
            Range::Any => true,
            Range::Whole(least, most) => (least..=most).contains(&number),
            Range::PowerOfTwo(least, most) => {
                number.is_power_of_two() && (least..=most).contains(&number)
            }
        }
    }

    /// In words, for the file and for mistakes; empty without one.
    pub fn words(self) -> String {
        match self {
            Range::Any => String::new(),
            Range::Whole(least, most) => format!("from {least} to {most}"),
            Range::PowerOfTwo(least, most) => format!("a power of two from {least} to {most}"),
        }
    }
}

/// How many words a value takes on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One.
    One,
    /// One at a time, again and again; separated by commas in the environment.
    Many,
    /// None, which means `true`, or one behind `=`.
    Switch,
}

/// A value of a key.
pub trait Value: Sized {
    /// How many words it takes.
    const SHAPE: Shape;

    /// The value, or a sentence that says what was expected and what was found.
    ///
    /// # Errors
    /// If `raw` is of another type, or outside of `range`.
    fn read(raw: &Raw, range: Range) -> Result<Self, String>;

    /// It as JSON, which for these values is TOML, too.
    fn json(&self) -> Json;
}

impl Value for bool {
    const SHAPE: Shape = Shape::Switch;

    fn read(raw: &Raw, _: Range) -> Result<Self, String> {
        match raw {
            Raw::Bool(is_on) => Ok(*is_on),
            Raw::Words(words) if words == &["true"] => Ok(true),
            Raw::Words(words) if words == &["false"] => Ok(false),
            _ => Err(raw.mismatch("true or false")),
        }
    }

    fn json(&self) -> Json {
        Json::Bool(*self)
    }
}

macro_rules! whole {
    ($($Type:ty)+) => {$(
        impl Value for $Type {
            const SHAPE: Shape = Shape::One;

            fn read(raw: &Raw, range: Range) -> Result<Self, String> {
                let number = match raw {
                    Raw::Whole(number) => Some(*number),
                    Raw::Words(words) if words.len() == 1 => words[0].replace('_', "").parse().ok(),
                    _ => None,
                };
                let number = number.and_then(|number| u64::try_from(number).ok());
                let fits = number.filter(|number| range.holds(*number));
                let fits = fits.and_then(|number| <$Type>::try_from(number).ok());
                fits.ok_or_else(|| raw.mismatch(&match range {
                    Range::Any => format!("a whole number from 0 to {}", <$Type>::MAX),
                    Range::Whole(..) => format!("a whole number {}", range.words()),
                    Range::PowerOfTwo(..) => range.words(),
                }))
            }

            fn json(&self) -> Json {
                Json::from(*self)
            }
        }
    )+};
}

whole!(u16 u32 u64 usize);

impl Value for String {
    const SHAPE: Shape = Shape::One;

    fn read(raw: &Raw, _: Range) -> Result<Self, String> {
        raw.text().map(str::to_owned).ok_or_else(|| raw.mismatch("a text"))
    }

    fn json(&self) -> Json {
        Json::String(self.clone())
    }
}

impl Value for PathBuf {
    const SHAPE: Shape = Shape::One;

    fn read(raw: &Raw, _: Range) -> Result<Self, String> {
        let path = raw.text().filter(|path| !path.is_empty() && !path.contains('\0'));
        path.map(PathBuf::from).ok_or_else(|| raw.mismatch("a path"))
    }

    fn json(&self) -> Json {
        Json::String(self.to_string_lossy().into_owned())
    }
}

impl Value for SocketAddr {
    const SHAPE: Shape = Shape::One;

    fn read(raw: &Raw, _: Range) -> Result<Self, String> {
        let address = raw.text().and_then(|text| text.parse().ok());
        address.ok_or_else(|| raw.mismatch("ADDRESS:PORT, such as 127.0.0.1:7710 or [::1]:7710"))
    }

    fn json(&self) -> Json {
        Json::String(self.to_string())
    }
}

impl<T: Value> Value for Vec<T> {
    const SHAPE: Shape = Shape::Many;

    fn read(raw: &Raw, range: Range) -> Result<Self, String> {
        match raw {
            Raw::List(items) => items.iter().map(|item| T::read(item, range)).collect(),
            Raw::Words(words) => {
                let items = words.iter().map(|word| Raw::Words(vec![word.clone()]));
                items.map(|item| T::read(&item, range)).collect()
            }
            single => Ok(vec![T::read(single, range)?]),
        }
    }

    fn json(&self) -> Json {
        Json::Array(self.iter().map(Value::json).collect())
    }
}

/// What is `"auto"` is left to the daemon.
impl<T: Value> Value for Option<T> {
    const SHAPE: Shape = T::SHAPE;

    fn read(raw: &Raw, range: Range) -> Result<Self, String> {
        if raw.text() == Some(AUTO) {
            return Ok(None);
        }
        let or_auto = |message: String| message.replacen("expected ", "expected \"auto\" or ", 1);
        T::read(raw, range).map(Some).map_err(or_auto)
    }

    fn json(&self) -> Json {
        self.as_ref().map_or_else(|| Json::String(AUTO.to_owned()), Value::json)
    }
}

/// A value that the empty text turns off.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct OrOff<T>(pub Option<T>);

impl<T: Value> Value for OrOff<T> {
    const SHAPE: Shape = T::SHAPE;

    fn read(raw: &Raw, range: Range) -> Result<Self, String> {
        if raw.text() == Some("") {
            return Ok(Self(None));
        }
        T::read(raw, range).map(|value| Self(Some(value)))
    }

    fn json(&self) -> Json {
        self.0.as_ref().map_or_else(|| Json::String(String::new()), Value::json)
    }
}

/// Permissions of a file, written as three or four octal digits: `"0660"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(pub u32);

impl Value for Mode {
    const SHAPE: Shape = Shape::One;

    fn read(raw: &Raw, _: Range) -> Result<Self, String> {
        let digits = raw.text().filter(|text| (3..=4).contains(&text.len()));
        let mode = digits.filter(|text| text.bytes().all(|digit| (b'0'..=b'7').contains(&digit)));
        let mode = mode.and_then(|text| u32::from_str_radix(text, 8).ok());
        let mode = mode.filter(|mode| *mode <= 0o777);
        mode.map(Self).ok_or_else(|| raw.mismatch("a mode in octal digits, such as \"0660\""))
    }

    fn json(&self) -> Json {
        Json::String(format!("{:04o}", self.0))
    }
}
