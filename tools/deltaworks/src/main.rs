//! Command line of deltaworks: pub, sub, replay, plan.

fn main() {}
