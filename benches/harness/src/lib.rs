//! The harness around the benches: which scenarios there are, when each runs, what became of every
//! sample, and the page, the tables and the verdicts that are made from them.
//!
//! It measures nothing itself: each sample is a child process that prints one JSON object a line, so
//! whoever hangs or crashes costs its sample and nothing else. It knows no crate of the pipeline.
//!
//! ```text
//! entries ─▶ driver ─▶ child processes, in turns ─▶ samples ─▶ results.json ─▶ report.html
//!                                                                    ├─▶ RESULTS.md
//!                                                                    └─▶ compare, guard
//! ```
#![forbid(unsafe_code)]

pub mod entry;

pub mod child;

pub mod reading;

pub mod machine;

pub mod results;

pub mod progress;

pub mod driver;

pub mod statistics;

pub mod quantity;

pub mod bound;

pub mod figure;

pub mod goal;

pub mod plot;

pub mod page;

pub mod tables;

pub mod readme;

pub mod callgrind;

pub mod instructions;

pub mod pairs;

pub mod compare;

pub mod command;
