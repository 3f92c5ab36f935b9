//! Faults that are planted on purpose: a harness that does not see them proves nothing.

/// What is planted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plant {
    /// One payload byte of one image is another when the subscriber reads it.
    PayloadByte,
    /// Two images of one document come in the wrong order.
    Swap,
    /// One image does not come.
    Missing,
    /// The collection has no schema.
    SkipValidation,
}

/// The image at which a fault is planted, counted over one core's subscribers.
pub const PLANTED_IMAGE: u64 = 100;
