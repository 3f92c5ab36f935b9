//! Faults as rows of text, planted in copies of the sources one at a time.
//!
//! ```text
//!  sources ──▶ copy 1 ─ plant ─ build ─ judge ─ restore ─▶ next row
//!         └──▶ copy 2 ─ plant ─ build ─ judge ─ restore ─▶ next row
//! ```
//!
//! For programs that show that a test can fail. A fault is a text that stands exactly once in a
//! file, and what replaces it; a row that does not match exactly once is an error, so that none
//! rots. The tree itself is never touched. What is built and how it is judged is the caller's.
#![forbid(unsafe_code)]

pub mod mutant;

pub mod copy;

pub mod workshop;

pub mod cargo;

pub mod bounded;
