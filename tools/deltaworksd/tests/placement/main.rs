//! Documents that are moved while they are used, because somebody asked for it: one by one, all of a
//! worker, and back; and what cannot be moved, with its number.

#[path = "../attack/daemon.rs"]
#[expect(dead_code, reason = "the attacks use the rest")]
mod daemon;
mod draining;
mod evening;
#[path = "../attack/flow.rs"]
mod flow;
#[path = "../observe/http.rs"]
#[expect(dead_code, reason = "others use the rest")]
mod http;
mod moving;
#[path = "../observe/openmetrics.rs"]
mod openmetrics;
mod owners;
mod reloading;
#[path = "../attack/wire.rs"]
#[expect(dead_code, reason = "the attacks use the rest")]
mod wire;
mod writers;
