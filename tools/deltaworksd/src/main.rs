//! The deltaworks daemon; all of it is in the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use deltaworksd::options::Options;

fn main() -> ExitCode {
    deltaworksd::run::run(&Options::of_this_process())
}
