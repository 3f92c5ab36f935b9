//! Pinned cores, rings, doorbells, chunks and the plan that places them.
//!
//! The lowest layer: it knows no protocol, no document and no schema. What two cores share is
//! made here; who uses it for what is the business of the layers above. `platform` is the one
//! place that knows which system this is; in a browser and in a model there is none.
#![deny(unsafe_code)]

pub mod topology;

pub mod plan;

pub mod sync;

mod platform;

pub mod clock;

pub mod padded;

pub mod ring;

pub mod fences;

pub mod doorbell;

pub mod parking;

pub mod zeroed;

pub mod huge_pages;

pub mod prefetch;

pub mod chunk_memory;

pub mod counters;

pub mod count_pair;

pub mod budget;

pub mod versioned;

pub mod letterbox;

pub mod answer;

pub mod seats;

pub mod token_bucket;

pub mod agent;

pub mod idle;

pub mod ending;

pub mod agent_loop;

#[cfg(all(target_os = "linux", not(loom)))]
pub mod core;

#[cfg(all(target_os = "linux", not(loom)))]
pub mod pinned;
