//! Documents and the three stages: reception, validation, propagation.
