//! Faults: what can be wrong with a delta, and the words in which it is told.

use std::fmt;

/// What is wrong with a delta.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Code {
    /// The delta ends inside an item, or a length says more than is there.
    Truncated,
    /// Bytes after the item.
    TrailingBytes,
    /// A head with additional information 28 to 30, or 31 where it has no meaning.
    ReservedInfo,
    /// A piece of a string of indefinite length that is not a definite string of the same type.
    BadChunk,
    /// A break where none may stand.
    UnexpectedBreak,
    /// A text that is not UTF-8.
    BadUtf8,
    /// A simple value below 32 in two bytes.
    BadSimple,
    /// A delta longer than [`crate::DELTA_BYTES_MAX`].
    TooLong,
    /// Deeper than [`crate::DEPTH_MAX`].
    TooDeep,
    /// A map key longer than [`crate::KEY_BYTES_MAX`].
    KeyTooLong,
    /// A map key that is not a text.
    KeyNotText,
    /// A map key for the second time.
    DuplicateKey,
    /// More than [`crate::OTHER_KEYS_UNORDERED_MAX`] keys outside of the schema, and not ascending.
    KeysNotAscending,
    /// A NaN or an infinity.
    NotFinite,
    /// `undefined`, or a simple value other than `false`, `true` and `null`.
    SimpleRefused,
    /// A value of another type than the schema's.
    WrongType,
    /// An integer outside of its type's range, or a number with a fraction where none may be.
    OutOfRange,
    /// A big number longer than [`crate::BIGNUM_BYTES_MAX`], or in pieces.
    BignumRefused,
    /// A text that is no timestamp of RFC 3339, or longer than [`crate::TIMESTAMP_BYTES_MAX`].
    NotATimestamp,
    /// A text that is not one of the enum's.
    NotInEnum,
    /// A required property is missing.
    MissingProperty,
    /// A property that the schema does not have.
    AdditionalProperty,
    /// The discriminator's property is missing.
    MissingTag,
    /// The discriminator's property is not a text.
    TagNotText,
    /// The discriminator's property names no schema of the mapping.
    UnknownTag,
    /// Discriminators inside each other that stand so late in their maps that the delta would be read
    /// more than [`crate::REREAD_FACTOR_MAX`] times again.
    TagTooLate,
    /// A row that is not an array of operation, record id and, but for a delete, a map.
    RowShape,
    /// A row's operation that is not 0 (create), 1 (update), 2 (upsert) or 3 (delete).
    RowOperation,
    /// A record id that is not an unsigned integer or a string of 1 to
    /// [`crate::RECORD_ID_BYTES_MAX`] bytes with a length.
    RowId,
}

impl Code {
    /// Whether the delta is no well-formed CBOR, or beyond a limit: the schema was not the reason.
    pub fn is_malformed(self) -> bool {
        matches!(
            self,
            Self::Truncated
                | Self::TrailingBytes
                | Self::ReservedInfo
                | Self::BadChunk
                | Self::UnexpectedBreak
                | Self::BadUtf8
                | Self::BadSimple
                | Self::TooLong
                | Self::TooDeep
                | Self::KeyTooLong
                | Self::KeyNotText
                | Self::DuplicateKey
                | Self::KeysNotAscending
                | Self::NotFinite
                | Self::SimpleRefused
                | Self::TagTooLate
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Truncated => "the CBOR item ends too early",
            Self::TrailingBytes => "bytes follow the CBOR item",
            Self::ReservedInfo => "reserved additional information in a CBOR head",
            Self::BadChunk => "a piece of a string is not a definite string of the same type",
            Self::UnexpectedBreak => "a break where none may stand",
            Self::BadUtf8 => "a text is not UTF-8",
            Self::BadSimple => "a simple value below 32 in two bytes",
            Self::TooLong => "the delta is longer than 65,536 bytes",
            Self::TooDeep => "more than 32 arrays, maps and tags inside each other",
            Self::KeyTooLong => "a map key is longer than 1,024 bytes",
            Self::KeyNotText => "a map key is not a text",
            Self::DuplicateKey => "a map key stands twice",
            Self::KeysNotAscending => {
                "a map has more than 64 keys outside of the schema, and they do not ascend"
            }
            Self::NotFinite => "a number is not finite",
            Self::SimpleRefused => "a simple value other than false, true and null",
            Self::WrongType => "the value has another type than the schema says",
            Self::OutOfRange => "the number is not one of the schema's integer type",
            Self::BignumRefused => "a big number is longer than 128 bytes, or comes in pieces",
            Self::NotATimestamp => "the text is no RFC 3339 timestamp of at most 64 bytes",
            Self::NotInEnum => "the text is not one of the enum's",
            Self::MissingProperty => "a required property is missing",
            Self::AdditionalProperty => "the schema has no such property",
            Self::MissingTag => "the discriminator's property is missing",
            Self::TagNotText => "the discriminator's property is not a text",
            Self::UnknownTag => "the discriminator's property names no schema of the mapping",
            Self::TagTooLate => "nested discriminators stand too late in their maps",
            Self::RowShape => "a row is [operation, record id, map], or [3, record id]",
            Self::RowOperation => {
                "a row's operation is 0 (create), 1 (update), 2 (upsert) or 3 (delete)"
            }
            Self::RowId => "a record id is an unsigned integer or a string of 1 to 64 bytes",
        })
    }
}

/// The first error of a delta, and its place.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ValidationError {
    /// Byte of the delta at which it was seen.
    pub offset_bytes: u32,
    /// What is wrong.
    pub code: Code,
    /// Where in the delta, as a JSON pointer (RFC 6901); see [`crate::PATH_BYTES_MAX`].
    pub instance_path: String,
    /// Where in the schema, as a JSON pointer (RFC 6901); see [`crate::PATH_BYTES_MAX`].
    pub schema_path: String,
}

impl fmt::Display for ValidationError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} (byte {}, instance {:?}, schema {:?})",
            self.code, self.offset_bytes, self.instance_path, self.schema_path
        )
    }
}

impl std::error::Error for ValidationError {}

/// A JSON pointer that stops growing at [`crate::PATH_BYTES_MAX`].
#[derive(Default)]
pub(crate) struct Pointer {
    text: String,
    is_cut: bool,
}

impl Pointer {
    pub(crate) fn from_whole(text: &str) -> Self {
        let mut pointer = Self::default();
        for token in text.split('/').skip(1) {
            pointer.push_escaped(token.to_owned());
        }
        pointer
    }

    pub(crate) fn push(&mut self, token: &str) {
        if !self.is_cut {
            self.push_escaped(escape(token));
        }
    }

    fn push_escaped(&mut self, token: String) {
        const CUT: &str = "/…";
        if self.is_cut {
            return;
        }
        if self.text.len() + 1 + token.len() + CUT.len() > crate::PATH_BYTES_MAX {
            self.text.push_str(CUT);
            self.is_cut = true;
            return;
        }
        self.text.push('/');
        self.text.push_str(&token);
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// A token as it stands in a JSON pointer.
pub(crate) fn escape(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}
