//! Starts the server, in a build for tests with the faults that the environment asks for.
//!
//! Belongs to the daemon's start. A release never looks: the name of the variable is not even in
//! it, which a test holds against the program. What cannot be planted is refused.

use deltaworks_server::{Server, ServerConfig};

use crate::exit::Failure;

/// A server that runs.
#[cfg(not(feature = "planted_faults"))]
pub(crate) fn start(config: ServerConfig) -> Result<Server, Failure> {
    Server::start(config).map_err(Failure::not_started)
}

/// A server that runs, with the faults of `DELTAWORKS_PLANT`.
#[cfg(feature = "planted_faults")]
pub(crate) fn start(config: ServerConfig) -> Result<Server, Failure> {
    let text = std::env::var("DELTAWORKS_PLANT").unwrap_or_default();
    let plants: deltaworks_server::Plants =
        text.parse().map_err(|error: deltaworks_server::UnknownPlant| {
            Failure::usage(format!("DELTAWORKS_PLANT: {error}"))
        })?;
    if !text.is_empty() {
        tracing::warn!("faults are planted: {text}");
    }
    Server::start_planted(config, plants).map_err(Failure::not_started)
}
