//! The daemon's program, for tests of any crate that start it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The daemon's program, built as this test was: nothing stale is ever run.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let test = std::env::current_exe().expect("this test's path");
        // <target>/<profile>/deps/<test>
        let profile = test.ancestors().nth(2).expect("a profile's folder");
        let target = profile.parent().expect("a target folder");
        let mut build = Command::new(env!("CARGO"));
        build
            .args(["build", "--quiet", "--offline", "--workspace", "--bin", "deltaworksd"])
            .arg("--target-dir")
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        if profile.file_name() == Some(OsStr::new("release")) {
            build.arg("--release");
        }
        let output = build.output().expect("cargo built this test, so it can be run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let program = profile.join(format!("deltaworksd{}", std::env::consts::EXE_SUFFIX));
        assert!(program.exists(), "{}", program.display());
        program
    })
}
