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

pub mod doorbell;

pub mod parking;

pub mod zeroed;

pub mod prefetch;

pub mod chunk_memory;

pub mod counters;

pub mod budget;

pub mod agent;

pub mod idle;

#[cfg(all(target_os = "linux", not(loom)))]
pub mod core;

#[cfg(all(target_os = "linux", not(loom)))]
pub mod pinned;
