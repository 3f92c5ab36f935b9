//! Building one program with cargo, and finding it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The program that cargo builds when it is called in the folder `top` with `arguments` (a
/// subcommand and its options), into the build folder `target`. `rustflags` replaces the
/// environment's.
///
/// # Errors
/// The compiler's errors, or that no program was named.
pub fn build(
    top: &Path,
    target: &Path,
    rustflags: &str,
    arguments: &[&str],
) -> Result<PathBuf, String> {
    let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(arguments)
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(top)
        .env("CARGO_TARGET_DIR", target)
        .env("RUSTFLAGS", rustflags)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .map_err(|error| format!("starting cargo: {error}"))?;
    if !built.status.success() {
        return Err(String::from_utf8_lossy(&built.stderr).into_owned());
    }
    last_program(&String::from_utf8_lossy(&built.stdout))
        .ok_or_else(|| "cargo names no program".to_owned())
}

/// The last program that cargo's messages name.
fn last_program(messages: &str) -> Option<PathBuf> {
    let mut programs = messages.lines().filter_map(|line| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        rest.split_once('"').map(|(path, _)| PathBuf::from(path))
    });
    programs.next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_program_counts() {
        let messages = "{\"executable\":null}\n{\"executable\":\"/a/one\"}\n\
                        {\"executable\":\"/a/two\",\"fresh\":true}\n{\"reason\":\"build-finished\"}";
        assert_eq!(last_program(messages), Some(PathBuf::from("/a/two")));
        assert_eq!(last_program("{\"executable\":null}"), None);
    }

    #[test]
    fn errors_are_told() {
        let nowhere = std::env::temp_dir();
        let told = build(&nowhere, &nowhere, "", &["no-such-subcommand"]).unwrap_err();
        assert!(told.contains("no-such-subcommand"), "{told}");
    }
}
