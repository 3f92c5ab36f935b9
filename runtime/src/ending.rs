//! How cores are told to end, how it is seen that nothing is on its way any more, and how they tell
//! that they have ended.
//!
//! ```text
//! who ends them ── phase ──▶ every core, each turn
//!       ▲  ▲                  │
//!       │  └──── restfulness ─┤ after each turn of an end: what it did, whether it is quiet
//!       └─────────── fate ────┘ with its last breath: in order, or by a panic
//! ```
//!
//! Nobody waits for one that has gone: whoever ends the cores looks at their fates as well.

mod fate;
mod phase;
mod stillness;

pub use fate::{Fate, Living, fate};
pub use phase::PhaseWord;
pub use stillness::{Restfulness, Resting, Stillness, restfulness};
