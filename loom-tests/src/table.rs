//! The rows that say which models there are and which faults each must find.

pub use deltaworks_mutants::mutant::Mutant;

/// A model: a test of this library under `cfg(loom)`.
#[derive(Debug, Clone, Copy)]
pub struct Model {
    /// The test's path, module included.
    pub name: &'static str,
    /// What it must find.
    pub mutants: &'static [Mutant],
}
