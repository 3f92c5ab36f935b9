//! The wire protocol, sans-IO.
//!
//! Bytes and time go in through `handle_*`, bytes and events come out through `poll_*`: this crate
//! knows no socket, no thread, no clock and no document's content, and builds for any target.
//! Whatever a peer sends is bounded before it is kept, and answered with a row of [`error_code`].
//!
//! ```text
//! byte stream ──▶ framing ──▶ message ──▶ client session ──▶ events
//!                                    └──▶ server session ──▶ requests to the pipeline
//! ```

#![forbid(unsafe_code)]

pub mod framing;

pub mod message;

pub mod error_code;

pub mod server;

pub mod client;

pub use error_code::{Effect, ErrorCode};
pub use message::{ClientMessage, Control, ServerMessage};
