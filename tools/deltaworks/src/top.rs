//! `deltaworks top`: a running daemon at a glance, again and again.
//!
//! ```text
//! admin socket ──▶ Sample ─┬─ and the one before ──▶ Rates ──▶ View ──▶ terminal, text or JSON
//!                          '─ kept for the next
//! ```
//!
//! Owned by the command line. It asks at most once an interval, and not again before it is answered.
//! A daemon that goes away is told in the view, and looked for again.

pub mod command;
pub mod rates;
pub mod sample;
pub mod screen;
pub mod view;
