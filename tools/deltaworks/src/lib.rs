//! What the command line of deltaworks is made of, usable without a terminal.
//!
//! It knows the client library and nothing below it: no executor of the server, no core, no chunk.

#![forbid(unsafe_code)]

pub mod trace;
