//! What the daemon tells of itself, held against what clients did: figures, lists, recordings,
//! health; and that whoever asks, well or badly, disturbs nobody.

#[path = "../attack/daemon.rs"]
#[expect(dead_code, reason = "the attacks use the rest")]
mod daemon;
mod figures;
#[path = "../attack/flow.rs"]
mod flow;
mod health;
mod hostile;
mod http;
mod lists;
mod openmetrics;
mod recording;
#[path = "../attack/wire.rs"]
#[expect(dead_code, reason = "the attacks use the rest")]
mod wire;
#[path = "../attack/witness.rs"]
#[expect(dead_code, reason = "the attacks use the rest")]
mod witness;
