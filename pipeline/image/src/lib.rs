//! The bytes of a batch: prelude, header, deltas; the same on the wire, in memory and in the log.
//!
//! ```text
//! 0        8          16               24        32       36         40          44      48                  56
//! | prelude | document | first_sequence | time_us | origin | header_crc | payload_crc | count | producer_sequence | body …
//! '- writer '------------- owner: bytes 8..40, one contiguous range -----------'------------- writer -------------
//! ```
//!
//! An image belongs to whoever holds its bytes; this crate only reads and writes slices. It knows
//! no socket, no schema, no document and no thread, it allocates only in [`builder`], and bad
//! input gives a typed error, never a panic. Everything is little-endian and needs no alignment.

#![deny(unsafe_code)]

pub mod prelude;

pub mod header;

pub mod builder;

pub mod check;

pub mod run;

pub mod stamp;

pub mod view;

pub mod crc;

pub use builder::{BatchBuilder, BuildError};
pub use check::{Inbound, check_batch, check_behind, check_info, check_prelude};
pub use header::{DELTA_BYTES_MAX, DocumentId, HEADER_BYTES};
pub use prelude::{ImageError, Kind, Limits, PRELUDE_BYTES, Prelude, VERSION};
pub use run::{InRun, Walked, check_run};
pub use stamp::{Stamp, Stamping, note_received, received_ns, stamp, stamping};
pub use view::{Deltas, Image, OneDelta};
