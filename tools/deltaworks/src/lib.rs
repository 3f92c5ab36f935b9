//! What the command line of deltaworks is made of, usable without a terminal.
//!
//! Of the server it knows nothing but the client library; of the machine, the plan alone: no executor,
//! no core, no chunk.

#![forbid(unsafe_code)]

pub mod exit;

pub mod output;

pub mod publish;

pub mod subscribe;

pub mod trace;

pub mod replay;

pub mod plan;

/// Where a daemon without options listens.
pub const DEFAULT_SERVER: &str = "tcp:127.0.0.1:7710";
