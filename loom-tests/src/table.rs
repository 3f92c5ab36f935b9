//! The rows that say which models there are and which faults each must find.

/// A model: a test of this library under `cfg(loom)`.
#[derive(Debug, Clone, Copy)]
pub struct Model {
    /// The test's path, module included.
    pub name: &'static str,
    /// What it must find.
    pub mutants: &'static [Mutant],
}

/// A fault: an exact text of a source file, and what stands there instead.
#[derive(Debug, Clone, Copy)]
pub struct Mutant {
    /// What is broken, in a few words.
    pub fault: &'static str,
    /// The file, from the top of the repository.
    pub file: &'static str,
    /// The text, which stands in the file exactly once. (A row about its own file splits the text
    /// with `concat!`, if it is of one line, so that it does not find itself.)
    pub text: &'static str,
    /// What replaces it.
    pub replacement: &'static str,
}
