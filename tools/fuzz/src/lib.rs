//! What is fuzzed: one module for each surface that takes foreign input, one function of bytes each.
//!
//! ```text
//! libFuzzer ──▶ run(data) ──▶ body(the real thing, data)      panics if something is wrong
//! corpus/, regressions/ ──▶ the same functions, in plain tests, in seconds
//! planted faults ──────────▶ body(a broken thing, data)       the corpus must turn it red
//! ```
//!
//! Each function runs on the caller's thread, keeps nothing between two calls, and depends on its
//! bytes alone, so that what was found once is found again. It knows no libFuzzer: its programs stand
//! in `libfuzzer/`, because they need coverage instrumentation and plain builds must not.

#![forbid(unsafe_code)]

pub mod frames;

pub mod control;

pub mod image;

pub mod schema;

pub mod validator;

pub mod sessions;

pub mod pipeline;

pub mod config;

pub mod trace;
