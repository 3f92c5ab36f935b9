//! Faults as rows of text, planted in copies of the sources.
//!
//! ```text
//!  sources ──▶ copy 1 ─ all, behind switches ─ build ─▶ one program ─ switch on ─ judge ─▶ next row
//!         ├──▶ copy 1 ─ plant ─ build ─ judge ─ restore ─▶ next row that must be alone
//!         └──▶ copy 2 ─ plant ─ build ─ judge ─ restore ─▶ next row that must be alone
//! ```
//!
//! For programs that show that a test can fail. A fault is a text that stands exactly once in a
//! file, and what replaces it; a row that does not match exactly once is an error, so that none
//! rots. The tree itself is never touched. What is built and how it is judged is the caller's.
#![forbid(unsafe_code)]

pub mod mutant;

pub mod copy;

mod body;

mod guard;

pub mod switchboard;

pub mod workshop;

pub mod cargo;

pub mod bounded;
