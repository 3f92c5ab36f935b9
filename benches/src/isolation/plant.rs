//! Faults that are planted on purpose: a harness that does not see them proves nothing.

use std::time::Duration;

/// What is planted, once or all the time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plant {
    /// One image does not come.
    Missing,
    /// One image comes twice.
    Twice,
    /// Two images come in the wrong order.
    Swap,
    /// One delta is another's.
    Byte,
    /// Of one gap nothing is told.
    Untold,
    /// Everybody stands still for a while in every step of a disturbance: it costs the others their rate
    /// and their latency.
    Stall,
    /// The worker that documents move to stands still in every turn, so that moves take long.
    Pause,
    /// Readers come that nobody counted, in the middle of looking at memory.
    Growth,
    /// Writers stop in the middle of a message, while memory is looked at.
    Unfinished,
}

impl Plant {
    /// Whether it is planted where clients read.
    pub fn is_of_readers(self) -> bool {
        matches!(self, Self::Missing | Self::Twice | Self::Swap | Self::Byte | Self::Untold)
    }
}

/// How long a step of [`Plant::Stall`] takes.
pub const STALL: Duration = Duration::from_millis(100);

/// How long a turn of [`Plant::Pause`] takes.
pub const PAUSE: Duration = Duration::from_millis(20);

/// The readers of [`Plant::Growth`].
pub const GROWTH_READERS: usize = 256;

/// The writers of [`Plant::Unfinished`], and what each has sent of a message.
pub const UNFINISHED: (usize, usize) = (20, 15_000);

/// The image at which a fault is planted, counted over all readers.
pub const PLANTED_IMAGE: u64 = 100;
