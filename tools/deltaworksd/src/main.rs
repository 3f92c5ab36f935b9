//! The deltaworks daemon.

fn main() {}
