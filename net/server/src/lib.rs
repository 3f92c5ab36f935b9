//! Sessions on TCP and Unix sockets.
//!
//! Joins pipeline and protocol on pinned cores: sockets are read into chunks and written from
//! them. It must not know what a document means, nor where its configuration came from.
//!
//! ```text
//! listener ─▶ least loaded core ─▶ session task ─▶ chunk ─▶ stages ─▶ outlet ─▶ sendmsg
//! ```
#![deny(unsafe_code)]

mod socket;

mod session;

mod outlet;

mod station;

mod planted;

mod server;

pub mod sizing;

#[cfg(feature = "planted_faults")]
pub use planted::{Plants, UnknownPlant};
pub use server::{CorePlacement, Server, ServerConfig, StartError, Stopped};
