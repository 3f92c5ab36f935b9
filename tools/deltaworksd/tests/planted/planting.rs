//! Daemons with faults planted in them.

use std::process::Command;

use crate::daemon::{Daemon, Folder, SMALL, program};

/// The program with these faults, not started.
pub(crate) fn planted(faults: &str) -> Command {
    let mut command = program();
    command.env("DELTAWORKS_PLANT", faults);
    command
}

/// A small daemon with these faults and these options more.
pub(crate) fn start(faults: &str, options: &[&str]) -> Daemon {
    Daemon::start_as(planted(faults), Folder::new(), &[&SMALL, options].concat())
}

/// What cannot be planted is refused, as a wrong command line is.
#[test]
fn an_unknown_fault_is_refused() {
    for faults in ["explode", "wedge:0", "wedge:0:1,explode:1", "panic_validation:"] {
        let mut command = planted(faults);
        let output = command.args(["--tcp", "127.0.0.1:0"]).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("DELTAWORKS_PLANT"), "{told}");
    }
}
