//! The throughput harness and criterion benches.
