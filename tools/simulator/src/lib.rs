//! The whole server on one thread, under a seed.
//!
//! Several cores' stages over real rings and doorbells, sessions with their driver and their way out,
//! clients that keep the rules and connections that do not. A seed decides everything: whatever fails
//! can be run again, bit for bit, and made small. It must not know what the server does inside; what
//! clients must see, the model says.
//!
//! ```text
//! seed ─▶ setting, schedule ─▶ world ┬ clients ─ wires ─ sessions ─ stages of each core
//!                                    └ model: what every client must see
//! ```
#![deny(unsafe_code)]

pub mod dice;

pub mod setting;

pub mod content;

pub mod model;
mod moving;

pub mod coverage;

pub mod wire;

pub mod client;

pub mod core;

pub mod world;

mod ending;

pub mod schedule;

pub mod shrink;

pub mod runner;

pub mod mutants;
