//! What others say of the same formats: the JTD suites, and the examples of the CBOR standard.

mod appendix_a;
mod found;
mod jtd_suite;
