//! The throughput harness: a generator, subscribers and an independent account around the stages.
//!
//! It drives the same entry points as the sockets do, on pinned threads, and believes nothing
//! that the stages count about themselves: what must have happened is computed afterwards from
//! the generator's seed. It is measured software's neighbour, so what it costs itself is told.
//!
//! ```text
//! script ─▶ generator ─▶ [chunk tail] ─▶ stages ─▶ subscriber: checksums, order ─▶ verdict
//!    └────────────── the same seed again, afterwards ─▶ account ───────────────┘
//! ```
#![forbid(unsafe_code)]

pub mod script;

pub mod payload;

pub mod generator;

pub mod subscriber;

pub mod hash;

pub mod plant;

pub mod account;

pub mod sizing;

pub mod layout;

pub mod cpu_time;

pub mod windows;

pub mod distance;

pub mod core;

pub mod pipeline;

pub mod load;

pub mod relay;

pub mod tcp;

pub mod spread;

pub mod pairs;

pub mod playbill;

pub mod abuse;

pub mod isolation;

pub mod queues;

pub mod soak;

pub mod calibrate;

pub mod layouts;
