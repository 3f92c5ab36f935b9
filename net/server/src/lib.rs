//! Sessions on TCP and Unix sockets.
//!
//! Joins pipeline and protocol on pinned cores: sockets are read into chunks and written from
//! them. It must not know what a document means, nor where its configuration came from.
//!
//! ```text
//! listener ─▶ doorkeeper ─▶ session task on the least loaded core ─▶ chunk ─▶ stages ─▶ outlet
//! ```
#![deny(unsafe_code)]

mod peer;

pub mod unix_socket;

mod listener;

mod settings;

mod admission;

mod farewell;

mod doorkeeper;

mod socket;

mod connection;

mod session;

mod mutant;

#[cfg(test)]
mod fake;

#[cfg(test)]
mod seeds;

mod outlet;

mod deadlines;

mod station;

mod planted;

mod server;

mod prefault;

#[cfg(feature = "simulation")]
pub mod inline;

mod ending;

mod attendance;

pub mod sizing;

mod desk;

pub mod recording;

pub mod trace_events;

pub mod census;

mod tally;

pub mod latency;

pub mod report;

pub mod placing;

pub mod moving;

mod observer;

pub use deltaworks_pipeline::limits::TURN_BOUND_US;
pub use deltaworks_pipeline::stages::Tuning;
pub use doorkeeper::AcceptCounts;
pub use listener::Inherited;
pub use observer::{Observer, Unanswered};
pub use peer::{Credentials, Peer};
#[cfg(feature = "planted_faults")]
pub use planted::{Plants, UnknownPlant};
pub use server::{AccessConfig, CorePlacement, Server, ServerConfig, StartError, Stopped};
pub use settings::{Settings, SettingsHandle};
