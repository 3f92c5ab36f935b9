//! Faults that are planted on purpose: a harness that does not see them proves nothing.

/// What is planted, once.
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
}

/// The image at which a fault is planted, counted over all readers.
pub const PLANTED_IMAGE: u64 = 100;
