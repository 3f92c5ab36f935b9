//! Models of what two cores share, and the mutants that prove them.
//!
//! A model is a story of two or three threads over the shipping code, small enough that every
//! order of its steps can be tried. Beside each stand its mutants: one exact text of a source
//! file and what replaces it. A mutant that its model does not catch means that the model proves
//! nothing. `cargo run -p deltaworks-loom-tests --bin loom-models` runs both; without `cfg(loom)`
//! this library holds nothing but the tables.
#![deny(unsafe_code)]

#[cfg(all(loom, test))]
mod cores;
#[cfg(all(loom, test))]
mod explore;

pub mod chunk;
pub mod control;
pub mod counters;
pub mod doorbell;
pub mod ending;
pub mod handover;
pub mod kept;
pub mod moving;
pub mod order;
pub mod pending;
pub mod publication;
pub mod retirement;
pub mod reuse;
pub mod ring;
pub mod stream;
pub mod table;

/// Every model with its mutants, in reading order.
pub const STORIES: &[&[table::Model]] = &[
    ring::MODELS,
    doorbell::MODELS,
    chunk::MODELS,
    publication::MODELS,
    stream::MODELS,
    pending::MODELS,
    retirement::MODELS,
    kept::MODELS,
    reuse::MODELS,
    order::MODELS,
    handover::MODELS,
    moving::MODELS,
    ending::MODELS,
    counters::MODELS,
    control::MODELS,
];
