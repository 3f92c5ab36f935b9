//! The daemon as a service: what its manager is told and hands over, who may connect, and what
//! happens when there is no descriptor left.

mod access;
mod activation;
#[path = "../attack/daemon.rs"]
#[expect(dead_code, reason = "the attacks use the rest")]
mod daemon;
mod deadlines;
mod descriptors;
mod listening;
mod notified;
mod notify_socket;
#[path = "../attack/wire.rs"]
#[expect(dead_code, reason = "the attacks use the rest")]
mod wire;
#[path = "../attack/witness.rs"]
#[expect(dead_code, reason = "the attacks use the rest")]
mod witness;
