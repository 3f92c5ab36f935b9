//! Documents and the three stages: reception, validation, propagation.
//!
//! The pipeline knows no socket, no file, no clock and no thread: bytes, time and the way out are
//! given to it, so the same code runs on pinned cores, fused on one, inline on the caller's
//! thread, and in a browser. It must not know how control messages are encoded.
//!
//! ```text
//! reception ──ring──▶ validation ──stream──▶ propagation
//!    ▲ chunk             │ registry, producers      │ subscriptions
//!    └── retirement ◀────┴──────────────────────────┘
//! ```
#![deny(unsafe_code)]

pub mod limits;

pub mod quota;

pub mod collection;

pub mod port;

pub mod message;

pub mod routes;

pub mod mailbox;

pub mod chunk;

pub mod latency;

pub mod reception;

mod validation;

mod registry;

mod producer;

pub mod heat;

pub mod placement;

pub mod document;

pub mod stream;

mod retirement;

pub mod kept;

pub mod handover;

pub mod pending;

pub mod propagation;

mod subscription;

mod conflation;

pub mod inventory;

pub mod stages;

pub mod inline;

#[cfg(any(feature = "planted_faults", feature = "testing"))]
pub mod planted;
#[cfg(not(any(feature = "planted_faults", feature = "testing")))]
mod planted;

pub use validation::{ASIDE_BYTES, CollectionCounts, MACHINE_BYTES, MACHINES, ValidationCounts};
