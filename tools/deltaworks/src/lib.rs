//! What the command line of deltaworks is made of, usable without a terminal.
//!
//! Of the server it knows nothing but the client library; of the machine, the plan alone: no executor,
//! no core, no chunk. A running daemon is asked through its admin socket.

#![forbid(unsafe_code)]

pub mod arguments;

pub mod exit;

pub mod output;

pub mod opening;

pub mod publish;

pub mod subscribe;

pub mod editing;

pub mod replay;

pub mod json_place;

pub mod schema_check;

pub mod bench;

pub mod plan;

pub mod admin;

pub mod status;

pub mod quantity;

pub mod table;

pub mod paging;

pub mod documents;

pub mod sessions;

pub mod workers;

pub mod moving;

pub mod relocation;

pub mod draining;

pub mod evening;

pub mod recording;

pub mod top;

pub mod doctor;

pub mod completions;

pub mod manual;

/// Where a daemon without options listens.
pub const DEFAULT_SERVER: &str = "tcp:127.0.0.1:7710";
