//! The kinds of collection: what a delta of one is.

use std::fmt;

/// What the deltas of a collection are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Any bytes.
    Opaque,
    /// One CBOR item each, under a schema.
    Cbor,
    /// One change of a record each: an operation, a record id, and a map under a schema.
    Rows,
}

impl Kind {
    /// The name, as configuration and clients have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opaque => "opaque",
            Self::Cbor => "cbor",
            Self::Rows => "rows",
        }
    }

    /// The kind of that name.
    ///
    /// # Errors
    /// [`KindError::Reserved`] for `arrow`, which is kept for later; else [`KindError::Unknown`].
    pub fn from_name(name: &str) -> Result<Self, KindError> {
        match name {
            "opaque" => Ok(Self::Opaque),
            "cbor" => Ok(Self::Cbor),
            "rows" => Ok(Self::Rows),
            "arrow" => Err(KindError::Reserved),
            _ => Err(KindError::Unknown),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Why a name is no kind of collection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KindError {
    /// The name `arrow`, reserved for a kind that this version does not have.
    Reserved,
    /// Not `opaque`, `cbor` or `rows`.
    Unknown,
}

impl fmt::Display for KindError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Reserved => "the kind `arrow` is reserved and not available in this version",
            Self::Unknown => "the kind of a collection is `opaque`, `cbor` or `rows`",
        })
    }
}

impl std::error::Error for KindError {}
