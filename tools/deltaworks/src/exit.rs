//! How the command line ends, in numbers: what each of its help texts lists.

use std::process::ExitCode;

/// It did not work; standard error says why.
pub fn failed() -> ExitCode {
    ExitCode::from(1)
}

/// The command line is wrong.
pub fn usage() -> ExitCode {
    ExitCode::from(2)
}

/// A replay arrived otherwise than it was sent.
pub fn not_verified() -> ExitCode {
    ExitCode::from(3)
}

/// A schema is wrong.
pub fn wrong_schema() -> ExitCode {
    ExitCode::from(3)
}

/// A batch was refused.
pub fn refused() -> ExitCode {
    ExitCode::from(4)
}

/// A document ended before what was asked of it was done.
pub fn ended() -> ExitCode {
    ExitCode::from(5)
}

/// There is advice, and it was asked to count.
pub fn advised() -> ExitCode {
    ExitCode::from(3)
}

/// No daemon answers on its admin socket.
pub fn unreachable() -> ExitCode {
    ExitCode::from(6)
}

/// No document has that name.
pub fn no_document() -> ExitCode {
    ExitCode::from(3)
}

/// Some documents could not be moved.
pub fn some_stayed() -> ExitCode {
    ExitCode::from(3)
}

/// No worker has that number.
pub fn no_worker() -> ExitCode {
    ExitCode::from(5)
}

/// What was waited for has not come in time.
pub fn not_in_time() -> ExitCode {
    ExitCode::from(7)
}
