//! A copy of the workspace's sources, in which faults may be planted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Folders that hold no source.
const SKIPPED: [&str; 4] = ["target", "node_modules", "bench-report", "data"];

/// The copy. Files that have not changed since the last one keep their time, so that only what
/// changed is built again.
pub(crate) struct Copy {
    pub(crate) top: PathBuf,
}

impl Copy {
    pub(crate) fn of(source: &Path, top: &Path) -> io::Result<Self> {
        fs::create_dir_all(top)?;
        mirror(source, top)?;
        Ok(Self { top: top.to_owned() })
    }

    /// Replaces `text`, which must stand exactly once in `file`.
    pub(crate) fn replace_once(
        &self,
        file: &str,
        text: &str,
        replacement: &str,
    ) -> Result<Planted, String> {
        let path = self.top.join(file);
        let whole = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        match whole.matches(text).count() {
            1 => {}
            count => return Err(format!("the text stands {count} times, not once: {text:?}")),
        }
        fs::write(&path, whole.replacen(text, replacement, 1))
            .map_err(|error| error.to_string())?;
        Ok(Planted { path, whole })
    }
}

/// A file with a fault in it.
pub(crate) struct Planted {
    path: PathBuf,
    whole: String,
}

impl Planted {
    pub(crate) fn restore(self) -> io::Result<()> {
        fs::write(self.path, self.whole)
    }
}

fn mirror(source: &Path, target: &Path) -> io::Result<()> {
    for entry in fs::read_dir(target)? {
        let entry = entry?;
        if !source.join(entry.file_name()).exists() {
            let is_folder = entry.file_type()?.is_dir();
            if is_folder {
                fs::remove_dir_all(entry.path())
            } else {
                fs::remove_file(entry.path())
            }?;
        }
    }
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_hidden = name.to_string_lossy().starts_with('.');
        if is_hidden || SKIPPED.iter().any(|skipped| name == *skipped) {
            continue;
        }
        let to = target.join(&name);
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&to)?;
            mirror(&entry.path(), &to)?;
        } else if entry.file_type()?.is_file() {
            let bytes = fs::read(entry.path())?;
            if fs::read(&to).ok().as_ref() != Some(&bytes) {
                fs::write(&to, bytes)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_must_stand_exactly_once_and_is_restored() {
        let top = std::env::temp_dir().join(format!("loom-models-{}", std::process::id()));
        let (from, to) = (top.join("from"), top.join("to"));
        fs::create_dir_all(from.join("a/target")).unwrap();
        fs::write(from.join("a/one.rs"), "let x = 1; let y = 1;").unwrap();
        fs::write(from.join("a/target/skipped"), "").unwrap();
        fs::create_dir_all(to.join("gone")).unwrap();
        let copy = Copy::of(&from, &to).unwrap();
        assert!(!to.join("gone").exists() && !to.join("a/target").exists());
        assert!(
            copy.replace_once("a/one.rs", "= 1", "= 2").is_err_and(|told| told.contains("2 times"))
        );
        assert!(
            copy.replace_once("a/one.rs", "= 3", "= 2").is_err_and(|told| told.contains("0 times"))
        );
        let planted = copy.replace_once("a/one.rs", "y = 1", "y = 2").unwrap();
        assert_eq!(fs::read_to_string(to.join("a/one.rs")).unwrap(), "let x = 1; let y = 2;");
        planted.restore().unwrap();
        assert_eq!(
            fs::read(to.join("a/one.rs")).unwrap(),
            fs::read(from.join("a/one.rs")).unwrap()
        );
        fs::remove_dir_all(top).unwrap();
    }
}
