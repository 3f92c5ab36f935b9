//! What a machine that is not here would do: measured costs, a plan, and a simulation of queues.
//!
//! Costs come from `throughput calibrate`, the workload from a file, the machine from the planner. This
//! crate measures nothing, starts nothing and reads no clock: the same inputs and seed give the same
//! answer, bit for bit.
//!
//! ```text
//!  costs ─┐
//!  plan ──┼─▶ stage times ─▶ simulation of turns and rings ─▶ forecast: rate, latency, memory
//!  workload ┘                                                   and the stage that is full first
//! ```
#![forbid(unsafe_code)]

pub mod costs;

pub mod workload;

pub mod random;

pub mod popularity;

pub mod layout;

pub mod times;

pub mod simulation;

pub mod memory;

pub mod forecast;

pub mod report;
