//! JSON Type Definition over CBOR, compiled to a flat program that validates in place.
//!
//! A collection has one [`Schema`], made once from JSON text; a worker has a few [`Machine`]s, each
//! of a fixed size, that check deltas against it and may stop inside a delta when their steps are
//! used up. Checking allocates nothing, and an error's place is put into words only when asked.
//! This crate never knows batches, documents, sockets or time; what is too large, too deep or too
//! wide is an error with a number, never a panic.
//!
//! ```text
//! JSON text ──Schema::compile──▶ Schema (immutable, shared by all workers)
//!                                   │
//! delta bytes ──Machine::check──────┴──▶ Valid | Invalid ──Machine::error──▶ ValidationError
//!                  │        ▲
//!                  └ OutOfSteps: call run again, with more steps
//! ```
#![forbid(unsafe_code)]

mod compile;
mod definition;
mod fault;
mod flat;
mod frame;
mod head;
mod keys;
mod kind;
mod machine;
pub mod mapping;
mod number;
mod program;
mod reach;
mod scalar;
mod stencil;
mod straight;
mod text;
mod timestamp;
mod words;

#[cfg(feature = "testing")]
pub mod adversarial;
#[cfg(feature = "testing")]
pub mod samples;

pub use compile::{Schema, SchemaError, SchemaFlaw};
pub use fault::{Code, ValidationError};
pub use kind::{Kind, KindError};
pub use machine::{Machine, Overlay, Progress};
pub use reach::{Unreachable, reach};

/// Longest delta that is checked, in bytes.
pub const DELTA_BYTES_MAX: usize = 65_536;
/// Arrays, maps and tags that may stand inside each other in a delta.
pub const DEPTH_MAX: usize = 32;
/// Longest map key, in bytes of text; the encoding of one that comes in pieces takes at most twice
/// as many.
pub const KEY_BYTES_MAX: usize = 1_024;
/// Keys outside of the schema that a map may have in any order.
pub const OTHER_KEYS_UNORDERED_MAX: usize = 64;
/// Longest timestamp, in bytes of text.
pub const TIMESTAMP_BYTES_MAX: usize = 64;
/// Longest big number (tags 2 and 3), in bytes.
pub const BIGNUM_BYTES_MAX: usize = 128;
/// Longest record id, in bytes, when it is a text or a byte string.
pub const RECORD_ID_BYTES_MAX: usize = 64;
/// How often a delta's bytes may be read again, on average, because discriminators do not come first
/// in their maps.
pub const REREAD_FACTOR_MAX: usize = 4;
/// Longest path that an error tells, in bytes; the rest of a longer one is cut off and told by `…`.
pub const PATH_BYTES_MAX: usize = 1_024;

/// Longest schema, in bytes of JSON text.
pub const SCHEMA_BYTES_MAX: usize = 65_536;
/// Schemas that may stand inside each other in the text of a schema.
pub const SCHEMA_DEPTH_MAX: usize = 32;
/// Forms that a schema may have, one for each (sub)schema in its text.
pub const SCHEMA_FORMS_MAX: usize = 4_096;
/// Properties of one form, required and optional together.
pub const SCHEMA_PROPERTIES_MAX: usize = 256;
/// Values of one enum, or tags of one mapping.
pub const SCHEMA_ENUM_MAX: usize = 4_096;
