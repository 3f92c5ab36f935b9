//! Lines on standard output, where a program may read them, a person, or nobody any more.

use std::fmt::Display;
use std::io::{Write, stdout};

/// Prints a line; one that nobody takes is left out, and the exit code still tells how it went.
pub fn print(line: impl Display) {
    let _ = writeln!(stdout().lock(), "{line}");
}
