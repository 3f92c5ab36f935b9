//! A load on a running daemon, at a rate that the daemon does not set, and what it took.
//!
//! ```text
//!            due times, whatever happens           subscriber 0: in order? whole? how late?
//! pacer ──▶ publisher 0 ─▶ ┌────────┐ ─▶ every document ─▶ …
//!       ──▶ publisher …  ─▶ │ daemon │ ─▶ subscriber M − 1
//!           answers: how late? ◀──── └────────┘
//! ```
//!
//! Owned by the command line. The loop is open: when a batch is due is fixed before the start, and every
//! latency is counted from then, so that a daemon that is slow for a second is late with all that this
//! second should have sent. What is due and cannot be sent before the end is told as unsent, never left
//! out. It ends at its bounds: the time, the first fault, or a while without anything moving.

pub mod chart;
pub mod command;
pub mod delta;
pub mod histograms;
pub mod load;
pub mod pacer;
pub mod plot;
pub mod publisher;
pub mod report;
pub mod subscriber;
pub mod tally;

pub use load::{Settings, run};
