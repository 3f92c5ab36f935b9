//! Command line of deltaworks.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use deltaworks::arguments::Arguments;
use deltaworks::output;

fn main() -> ExitCode {
    output::ended(Arguments::parse().run())
}
