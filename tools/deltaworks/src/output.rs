//! Lines on standard output and standard error, where a program may read them, a person, or nobody any
//! more.
//!
//! A reader that went away has read what it wanted. Output that is lost for another reason, such as
//! a full disk, is told, and the program does not end with 0.

use std::fmt::Display;
use std::io::{ErrorKind, Write, stderr, stdout};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit;

/// Whether standard output can be written to no more, and whether that is a fault.
static IS_GONE: AtomicBool = AtomicBool::new(false);
static IS_LOST: AtomicBool = AtomicBool::new(false);

/// Prints a line.
pub fn print(line: impl Display) {
    let Err(error) = writeln!(stdout().lock(), "{line}") else { return };
    // Relaxed, here and below: nothing hangs on either but how the program goes on, and whoever
    // prints in another thread has been waited for when it ends.
    IS_GONE.store(true, Ordering::Relaxed);
    // Told once, however many lines there are.
    if error.kind() != ErrorKind::BrokenPipe && !IS_LOST.swap(true, Ordering::Relaxed) {
        complain(format_args!("standard output: {error}"));
    }
}

/// Whether somebody takes what is printed, as far as is known: who prints for ever ends if not.
pub fn is_read() -> bool {
    // Relaxed: as in `print`.
    !IS_GONE.load(Ordering::Relaxed)
}

/// Tells `line` on standard error; where nobody takes it, the exit code still tells how it went.
pub fn tell(line: impl Display) {
    let _ = writeln!(stderr().lock(), "{line}");
}

/// Tells what is wrong on standard error, with this program's name.
pub fn complain(fault: impl Display) {
    tell(format_args!("deltaworks: {fault}"));
}

/// `code`, or that it failed if output was lost.
pub fn ended(code: ExitCode) -> ExitCode {
    // Relaxed: as in `print`.
    if code == ExitCode::SUCCESS && IS_LOST.load(Ordering::Relaxed) { exit::failed() } else { code }
}
