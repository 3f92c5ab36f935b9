//! Command line of deltaworks.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use deltaworks::arguments::Arguments;

fn main() -> ExitCode {
    Arguments::parse().run()
}
