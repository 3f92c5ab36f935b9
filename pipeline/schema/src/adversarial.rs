//! Adversarial inputs: deltas that cost the machine as much as their bytes allow.
//!
//! For the tests that bound its steps, and the bench that measures nanoseconds per byte.
