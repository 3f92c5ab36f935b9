//! Pinned cores, rings, doorbells, chunks and the plan that places them.
//!
//! The lowest layer: it knows no protocol, no document and no schema. What two cores share is
//! made here; who uses it for what is the business of the layers above. `platform` is the one
//! place that knows which system this is; in a browser and in a model there is none.
#![deny(unsafe_code)]

pub mod sync;

mod platform;

pub mod budget;
pub mod chunk_memory;
pub mod clock;
pub mod counters;
pub mod doorbell;
pub mod padded;
pub mod parking;
pub mod prefetch;
pub mod ring;
pub mod zeroed;
