//! A copy of the workspace's sources, in which faults may be planted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::mutant::Mutant;

/// Folders that hold no source.
const SKIPPED: [&str; 4] = ["target", "node_modules", "bench-report", "data"];

/// The copy. Files that have not changed since the last one keep their time, so that only what
/// changed is built again.
#[derive(Debug)]
pub struct Copy {
    top: PathBuf,
}

impl Copy {
    /// Makes `top` a copy of the folder `source`: what is hidden or built is left out, what is
    /// not in `source` is deleted.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub fn of(source: &Path, top: &Path) -> io::Result<Self> {
        fs::create_dir_all(top)?;
        mirror(source, top)?;
        Ok(Self { top: top.to_owned() })
    }

    /// The copy's top folder.
    pub fn top(&self) -> &Path {
        &self.top
    }

    /// Plants `mutant`, until what is returned is dropped or restored.
    ///
    /// # Errors
    /// If its text does not stand exactly once in its file, or the file cannot be written.
    pub fn plant(&self, mutant: &Mutant) -> Result<Planted, String> {
        let told = |error: io::Error| format!("{} ({}): {error}", mutant.fault, mutant.file);
        let whole = fs::read_to_string(self.top.join(mutant.file)).map_err(told)?;
        self.put(mutant.file, &mutant.apply(&whole)?)
    }

    /// Puts `text` in the place of the file's, until what is returned is dropped.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub(crate) fn put(&self, file: &str, text: &str) -> Result<Planted, String> {
        let told = |error: io::Error| format!("{file}: {error}");
        let path = self.top.join(file);
        let whole = fs::read_to_string(&path).map_err(told)?;
        fs::write(&path, text).map_err(told)?;
        Ok(Planted { path, whole })
    }
}

/// A file with a fault in it; whole again when this is dropped.
#[derive(Debug)]
pub struct Planted {
    path: PathBuf,
    whole: String,
}

impl Drop for Planted {
    fn drop(&mut self) {
        // If that fails, the next copy finds the difference and mends it.
        let _ = fs::write(&self.path, &self.whole);
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
    fn a_copy_has_what_the_source_has_and_a_fault_goes_again() {
        let top = std::env::temp_dir().join(format!("mutants-copy-{}", std::process::id()));
        let (from, to) = (top.join("from"), top.join("to"));
        fs::create_dir_all(from.join("a/target")).unwrap();
        fs::write(from.join("a/one.rs"), "let x = 1; let y = 1;").unwrap();
        fs::write(from.join("a/target/skipped"), "").unwrap();
        fs::create_dir_all(to.join("gone")).unwrap();
        let copy = Copy::of(&from, &to).unwrap();
        assert!(!to.join("gone").exists() && !to.join("a/target").exists());

        let row = Mutant { fault: "wrong", file: "a/one.rs", text: "y = 1", replacement: "y = 2" };
        let planted = copy.plant(&row).unwrap();
        assert_eq!(fs::read_to_string(to.join("a/one.rs")).unwrap(), "let x = 1; let y = 2;");
        assert!(copy.plant(&row).is_err(), "it no longer stands there");
        drop(planted);
        let read = |top: &Path| fs::read(top.join("a/one.rs")).unwrap();
        assert_eq!(read(&to), read(&from));
        assert!(copy.plant(&Mutant { file: "a/none.rs", ..row }).is_err());

        let changed = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        let before = changed(&to.join("a/one.rs"));
        Copy::of(&from, &to).unwrap();
        assert_eq!(changed(&to.join("a/one.rs")), before, "what is the same keeps its time");
        fs::remove_dir_all(top).unwrap();
    }
}
