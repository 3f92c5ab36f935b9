//! How the daemon ends: its exit codes, and the reason of one that is not 0.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// It did not start.
pub const NOT_STARTED: u8 = 1;
/// The command line or the configuration is wrong.
pub const WRONG_USAGE: u8 = 2;
/// It ended with sessions cut.
pub const CUT: u8 = 3;
/// A core failed.
pub const FAILED: u8 = 4;

/// Why the daemon ends with another code than 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// The command line or the configuration is wrong: a line each.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { code: WRONG_USAGE, message: message.to_string() }
    }

    /// It did not start.
    pub fn not_started(message: impl fmt::Display) -> Self {
        Self { code: NOT_STARTED, message: message.to_string() }
    }

    /// A core failed.
    pub fn core_failed(message: impl fmt::Display) -> Self {
        Self { code: FAILED, message: message.to_string() }
    }

    /// Tells it on standard error, and gives its code.
    pub fn tell(&self) -> ExitCode {
        let mut stderr = io::stderr().lock();
        for line in self.message.lines() {
            // Where nobody takes it, the code still tells.
            let _ = writeln!(stderr, "deltaworksd: {line}");
        }
        ExitCode::from(self.code)
    }
}
